"The demo's parts: hidden labels, the baseline without a chance, and what a run leaves behind."
import pandas as pd
import pytest
from distill_nb.data.tasks import make_task
from distill_nb.data.load import load_task
from distill_nb.recipes.demo import BUDGET, SETTINGS, bag_of_words, demo, gains, hide_labels
from distill_nb.kit.errors import InputError
from distill_nb.measure.report import Report
from distill_nb.recipes.base import DISTILLED, KEPT, LABELS
from distill_nb.recipes.layers import distil_layers

def toy(n=40):
    df = pd.DataFrame(dict(text=[f"{w} film {i}" for i in range(n // 2) for w in ("good", "bad")], label=["g", "b"] * (n // 2)))
    return make_task("toy", dict(train=df))

def test_hidden_labels_are_a_prefix_and_leave_the_rest_alone():
    task = toy()
    some = hide_labels(task, 5, 12)
    assert some["train"]["label"][:5] == task["train"]["label"][:5] and set(some["train"]["label"][5:]) == {-100}
    assert some["train"]["text"][:] == task["train"]["text"][:12] and some["test"] is task["test"]
    assert [len(x) for s, x in hide_labels(task, 5, 12, held_out=0).splits.items() if s != "train"] == [0, 0]

@pytest.mark.parametrize("label, kind", [([float(i) for i in range(40)], "regression"), ([["a"] if i % 2 else ["a", "b"] for i in range(40)], "multilabel")])
def test_hidden_labels_of_every_kind_are_unknown(label, kind):
    "Scores became -100, which is a score."
    task = hide_labels(make_task("toy", dict(train=pd.DataFrame(dict(text=[f"film {i}" for i in range(40)], label=label))), kind=kind), 5, 12, held_out=3)
    assert task.table().loc["train", ["rows", "labelled"]].tolist() == [12, 5] and len(task["test"]) == 3
    if kind == "regression": assert task["train"].to_pandas().label.isna().sum() == 7

@pytest.mark.parametrize("labelled, total", [(1, 10), (11, 10), (5, 10_000)])
def test_hidden_labels_bad_sizes(labelled, total):
    with pytest.raises(InputError, match="labelled <= total"): hide_labels(toy(), labelled, total)

def test_bag_of_words_can_win_where_words_tell_and_not_on_bshift():
    assert bag_of_words(toy())["accuracy"] == 1
    assert abs(bag_of_words(hide_labels(load_task("bshift"), 4000, 4000))["accuracy"] - .5) < .04

def test_the_budget_gives_both_students_the_same_steps():
    "Once through all texts is `max_steps` batches; the labels alone are read more often to get there."
    assert BUDGET["max_steps"] * SETTINGS["per_device_train_batch_size"] == BUDGET["total"] > BUDGET["labelled"]

@pytest.mark.slow
def test_a_run_from_end_to_end(headless, tmp_path):
    heard, quick = [], dict(layers=2, labelled=40, total=80, max_steps=2, disable_tqdm=True, teacher_settings={})
    got = demo(tmp_path/"out", teacher=headless, say=heard.append, **quick)
    assert list(got.report.table().index) == ["bag of words", "teacher", "student, labels alone", "student, teacher's layers", "student, distilled"]
    assert {"model.safetensors", "scores.png", "training.png", "report.json", "README.md"} <= {p.name for p in (tmp_path/"out").iterdir()}
    assert "80 texts, 40 of them with a label" in heard[1]
    with pytest.raises(InputError, match="is not empty"): demo(tmp_path/"out", teacher=headless, say=heard.append, **quick)

@pytest.mark.slow
def test_each_student_differs_in_one_thing(headless, monkeypatch):
    "The first one starts from the layers before the fine-tuning, the others from those after it; only the last one has a teacher."
    import distill_nb.recipes.base as recipes
    calls, fit = {}, recipes.fit
    def spy(*args, name="model", **kwargs):
        model = kwargs.get("model", args[0] if args else None)
        calls[name] = ({k: v.detach().cpu().clone() for k, v in model.state_dict().items()}, kwargs.get("teacher"))
        return fit(*args, name=name, **kwargs)
    monkeypatch.setattr(recipes, "fit", spy)
    distil_layers(toy(), headless, layers=2, max_steps=3, learning_rate=.1, eval_strategy="no", disable_tqdm=True)
    key = "bert.encoder.layer.0.output.dense.weight"
    start = {name: weights[key] for name, (weights, _) in calls.items()}
    assert (start["student, labels alone"] == start["teacher"]).all()
    assert not (start["student, distilled"] == start["teacher"]).all()
    assert (start["student, distilled"] == start["student, teacher's layers"]).all()
    assert [name for name, (_, teacher) in calls.items() if teacher is not None] == ["student, distilled"]

def test_the_gain_is_split_between_layers_and_answers():
    report = Report("some", "accuracy")
    for name, score in zip(("teacher", LABELS, KEPT, DISTILLED), (.9, .7, .76, .78)): report.add(name, dict(accuracy=score))
    assert gains(report) == pytest.approx({"the teacher's layers": 6, "the teacher's answers": 2})
    report.rows.pop(2)
    assert gains(report) == {}
