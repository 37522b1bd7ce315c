"Each mistake in data, made on purpose, and silence on the embedded tasks."
import numpy as np
import pandas as pd
import pytest
from datasets import Dataset
from distill_nb.data import suspects
from distill_nb.data.load import load_task
from distill_nb.data.suspects import CHECKS, QUICK, class_rows, cut_texts, leaked, lonely_classes, other_order, repeated, suspicious, unlike_labels
from distill_nb.data.tasks import make_task

PLAIN = [(f"film {i}", "abc"[i % 3]) for i in range(60)]

def task(train, kind=None, **splits):
    frames = {s: pd.DataFrame(part, columns=["text", "label"]) for s, part in dict(train=train, **splits).items()}
    return make_task("t", frames, kind=kind, hold_out=False)

@pytest.mark.parametrize("name", ["bshift", "docnames", "libraries", "gaps", "codewords"])
def test_embedded_tasks_are_silent(name):
    for quick in False, True: assert suspicious(load_task(name), quick) == []

def test_texts_that_come_again():
    assert repeated(task(PLAIN)) == [] and len(repeated(task(PLAIN + PLAIN[:20]))) == 1
    assert repeated(task(PLAIN + PLAIN[:5])) == [] # a few are ordinary

def test_texts_with_two_labels():
    assert unlike_labels(task(PLAIN + PLAIN[:20])) == []
    (found,) = unlike_labels(task(PLAIN + [("film 0", "b"), ("film 1", "c")]))
    assert found.what.startswith("4 of 62")
    assert unlike_labels(task([(f"film {i % 5}", i / 7) for i in range(30)], kind="regression")) == [] # people differ
    assert unlike_labels(task(PLAIN + [("film 0", "")])) == [] # no label is none

def test_pairs_are_compared_as_pairs():
    df = pd.DataFrame(dict(text=["a"] * 20, pair=[f"{i}" for i in range(20)], label=list("xy") * 10))
    pairs = make_task("p", dict(train=df), hold_out=False)
    assert repeated(pairs) == [] and unlike_labels(pairs) == []

def test_texts_in_two_splits():
    for split in "validation", "test":
        (found,) = leaked(task(PLAIN, **{split: PLAIN[:3] + [("new", "a")]}))
        assert found.what == f"3 of 4 texts of {split} are in train too"
    assert leaked(task(PLAIN, test=[("new", "a"), ("newer", "b")])) == []

@pytest.mark.parametrize("kind, labels", [("classification", ["a", "b"] * 5 + ["c"]), ("multilabel", [["a", "b"]] * 10 + [["c"]])])
def test_classes_with_one_row(kind, labels):
    several = task([(f"film {i}", y) for i, y in enumerate(labels)], kind=kind)
    (found,) = lonely_classes(several)
    assert found.what == "train has one row of 'c'" and class_rows(several)["c"] == 1
    assert lonely_classes(task(PLAIN)) == []

def test_a_tag_in_one_row():
    def tags(last): return make_task("t", dict(train=pd.DataFrame(dict(
        text=["a b"] * 5, words=[["a", "b"]] * 5, label=[["B-X", "O"]] * 4 + [["B-X", last]]))), kind="tags", hold_out=False)
    assert "B-Y" in lonely_classes(tags("B-Y"))[0].what and lonely_classes(tags("O")) == []

def test_scores_have_no_classes():
    scores = task([(f"film {i}", i / 7) for i in range(30)], kind="regression")
    assert class_rows(scores) == {} and suspicious(scores) == []

def test_texts_that_are_cut():
    assert cut_texts([5] * 9 + [64], 64) == []
    assert "--max-length" in cut_texts([64] * 5 + [5] * 5, 64, 512)[0].do and "Split" in cut_texts([512] * 5, 512, 512)[0].do

@pytest.mark.parametrize("classes", [2, 3, 8])
@pytest.mark.parametrize("seed", range(5))
def test_answers_in_another_order(classes, seed):
    rng = np.random.default_rng(seed)
    y, names = rng.integers(0, classes, 200), [*map(str, range(classes))]
    z = np.eye(classes)[np.where(rng.random(200) < .85, y, rng.integers(0, classes, 200))] + .1 * rng.random((200, classes))
    assert other_order(z, y, names) == [] and other_order(rng.random((200, classes)), y, names) == []
    order = np.roll(np.arange(classes), 1)
    (found,) = other_order(z[:, order], y, names)
    assert found.error and f"outputs mean {', '.join(repr(names[i]) for i in order)}" in found.what

def test_few_or_unknown_answers_say_nothing():
    z, y = np.eye(2)[[1, 0] * 20], np.array([0, 1] * 20)
    assert other_order(z, y, "ab") and other_order(z[:10], y[:10], "ab") == []
    assert other_order(np.full_like(z, np.nan), y, "ab") == [] and other_order(z, np.full(40, -100), "ab") == []

def test_the_quick_form_looks_at_no_huge_task(monkeypatch):
    rare = task(PLAIN + [("x", "d")])
    assert suspicious(rare, quick=True)
    monkeypatch.setattr(suspects, "MOST", 10)
    assert suspicious(rare, quick=True) == [] and suspicious(rare)
    assert {*QUICK} < {*CHECKS}
