"A promise holds over resamples, honest numbers equal others' numbers, and every kind of classifier is told truly."
import json, math, warnings
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit, softmax
from scipy.stats import beta
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss
from transformers import AutoModelForSequenceClassification
from builders import bert, frame, toy
from distill_nb.data.tasks import make_task
from distill_nb.kit.files import check_bytes
from distill_nb.kit.kinds import KINDS
from distill_nb.teachers.load import load_pretrained
from distill_nb.training.saving import save_student
from distill_nb.kit.errors import InputError
from distill_nb.measure.certainty import (brier, calibration, ece, fit_temperature, lower_bound, mcnemar, promise, reliability, rows_needed, units_of,
    versus)
from distill_nb.measure.report import Report, load_report
from distill_nb.measure.spans import Answer, agreement
from distill_nb.measure.trust import Trust, keep_temperature, trust, trust_models, trust_scores

def drawn(n, classes=3, noise=1., seed=0):
    rng = np.random.default_rng(seed)
    z_t = 2 * rng.normal(size=(n, classes))
    y = (rng.uniform(size=(n, 1)) > softmax(z_t, axis=1).cumsum(1)).sum(1)
    return z_t + noise * rng.normal(size=z_t.shape), z_t, y

# Calibration

@pytest.mark.parametrize("bins", [1, 5, 10, 15])
def test_calibration_equals_sklearns(bins):
    z, _, y = drawn(700, 2)
    p = softmax(z, axis=1)
    assert brier(p, y) == pytest.approx(2 * brier_score_loss(y, p[:, 1]))
    right, sure = (p.argmax(1) == y).astype(int), p.max(1)
    accuracy, confidence = calibration_curve(right, sure, n_bins=bins)
    table = reliability(p, y, bins)
    assert table.accuracy.to_numpy() == pytest.approx(accuracy) and table.confidence.to_numpy() == pytest.approx(confidence)
    assert ece(p, y, bins) == pytest.approx((abs(accuracy - confidence) * table.rows).sum() / 700)

@pytest.mark.parametrize("bins", [5, 10, 15])
def test_confidences_on_the_edges_are_in_sklearns_bins(bins):
    "Rounded ones, .7 * 10 is a little more than 7, and those of the edges themselves."
    for sure in (np.arange(50, 101) / 100, np.linspace(0, 1, bins + 1)[bins // 2 + 1:]):
        p = np.stack([sure, 1 - sure], 1)
        accuracy, confidence = calibration_curve(np.ones(len(p)), sure, n_bins=bins)
        assert reliability(p, [0] * len(p), bins).confidence.to_numpy() == pytest.approx(confidence)

def test_an_edge_belongs_to_the_bin_below():
    p = np.array([[.5, .5], [1., 0.], [.8, .2]])
    assert reliability(p, [0, 0, 0], 10).index.tolist() == [4, 7, 9]

@pytest.mark.parametrize("T", [.5, 1, 4])
def test_the_fitted_temperature_is_the_likeliest(T):
    _, z, y = drawn(3000)
    p = softmax(z * T, axis=1)
    found = fit_temperature(p, y)
    assert found == pytest.approx(T, rel=.12)
    at = lambda t: log_loss(y, softmax(z * T / t, axis=1))
    assert at(found) <= min(at(found * 1.02), at(found / 1.02))

def test_calibration_after_is_not_judged_on_the_rows_that_chose_it():
    _, z, y = drawn(40)
    y[::2] = np.random.default_rng(1).permutation(y[::2]) # not much to be known
    found = calibration(softmax(3 * z, axis=1), y)
    best = softmax(np.log(softmax(3 * z, axis=1)) / found["temperature"], axis=1)
    assert found["brier_after"] > brier(best, y)

def test_labels_that_take_turns_do_not_spoil_the_halves():
    "In many files a good text follows a bad one: with every second row left out, a temperature would see one class alone."
    z, _, y = drawn(400, 2)
    by = np.argsort(y, kind="stable")
    turns = np.stack([by[:150], by[-150:]], 1).ravel()
    z, y = 3 * z[turns], y[turns]
    shuffled = np.random.default_rng(2).permutation(len(y))
    one, two = [calibration(softmax(z[i], axis=1), y[i])["brier_after"] for i in (np.arange(len(y)), shuffled)]
    assert set(y[::2]) == {0} and one == pytest.approx(two, rel=.05)
    flat = np.tile([.6, .4], (300, 1)) # a constant answer: .5 of both classes, which no half may miss
    assert calibration(flat, y)["brier_after"] < .55

# Bounds and the promise

@pytest.mark.parametrize("hits, n", [(0, 5), (1, 5), (47, 50), (50, 50)])
def test_the_bound_is_clopper_and_pearsons(hits, n):
    assert lower_bound(hits, n) == pytest.approx(beta.ppf(.05, hits, n - hits + 1) if hits else 0)

@pytest.mark.parametrize("rate, target", [(1., .95), (.97, .95), (.99, .9), (.96, .95)])
def test_rows_needed_are_the_fewest(rate, target):
    n = rows_needed(rate, target)
    assert lower_bound(math.floor(rate * n + 1e-9), n) >= target and rows_needed(target, target) is None
    assert lower_bound(math.floor(rate * (n - 1) + 1e-9), n - 1) < target

@pytest.mark.parametrize("name, rate", [("rises", lambda u: .75 + .25 * u**.3), ("flat at the target", lambda u: .9 + 0 * u), ("just below at the top", lambda u: .89 + 0 * u),
                                        ("confident errors", lambda u: np.where(u > .9, .6, .99)), ("never", lambda u: .5 + 0 * u)])
@pytest.mark.parametrize("n", [120, 1000])
def test_the_promise_holds_in_95_of_100_resamples(name, rate, n):
    "The truth above a threshold is known; ties too, by rounding."
    rng, grid, kept = np.random.default_rng(5), (np.arange(200_000) + .5) / 200_000, 0
    for i in range(200):
        u = rng.uniform(size=n)
        shown = u.round(2) if i % 2 else u
        found = promise(shown, rng.uniform(size=n) < rate(u), .9)
        if found.threshold is None: kept += 1; continue
        seen = grid.round(2) if i % 2 else grid
        above = seen > found.threshold
        kept += rate(grid[above]).mean() >= .9 - 1e-9
        assert found.bound >= .9 and found.coverage == pytest.approx((shown > found.threshold).mean())
    assert kept >= 190, name

def test_a_large_sample_is_not_wasted():
    rng = np.random.default_rng(0)
    u = rng.uniform(size=20_000)
    assert promise(u, rng.uniform(size=len(u)) < .8 + .2 * u, .95).coverage == pytest.approx(.5, abs=.04) # true agreement above t: .9 + .1t

@pytest.mark.parametrize("n, says", [(58, False), (500, True)])
def test_few_rows_are_told_how_many_would_do(n, says):
    found = promise(np.linspace(0, 1, n), np.ones(n, bool), .95)
    assert (found.threshold is not None) is says
    if not says: assert found.enough == 90 # .95**90 < .01, a fifth of 5 %
    if not says: assert promise(np.linspace(0, 1, 90), np.ones(90, bool), .95).coverage == 1

# Truly told

def test_perfect_random_and_constant_students():
    z_s, z_t, y = drawn(600)
    same = trust(z_t, z_t, y)
    assert same.numbers["agreement"] == 1 == same.numbers["kappa"] == same.promise["coverage"] and same.numbers["kl"] == pytest.approx(0)
    rng = np.random.default_rng(9)
    lost = trust(rng.normal(size=z_t.shape), z_t, y)
    assert lost.promise["threshold"] is None and abs(lost.numbers["kappa"]) < .1 and "would not help" in lost.sentence()
    rare = np.where(np.arange(600) % 20, 4., -4.)[:, None] * [1, 0]
    said = trust(np.ones((600, 1)) * [3., 0], rare)
    assert said.numbers["agreement"] == .95 == said.numbers["constant"] and said.numbers["kappa"] == 0
    assert [c["agreement"] for c in said.classes] == [1., 0.]

def test_labels_are_given_by_each_models_own_thresholds():
    "Agreement, accuracy and kappa are of what each model gives; KL and calibration are of probabilities alone."
    g = np.random.default_rng(0)
    z_t = g.normal(size=(300, 3))
    z_s, y = z_t + .3 * g.normal(size=z_t.shape), (g.random(z_t.shape) < expit(z_t)).astype(int)
    own, theirs = [.2, .5, .9], [.6, .3, .5]
    found = trust(z_s, z_t, y, "multilabel", thresholds=(own, theirs))
    s, t = expit(z_s) > own, expit(z_t) > theirs
    assert found.numbers["agreement"] == pytest.approx((s == t).all(1).mean()) and found.numbers["accuracy"] == pytest.approx((s == y).mean())
    assert found.classes[1]["teacher says"] == t.sum() and found.classes[1]["agreement"] == pytest.approx((s == t)[t].mean())
    half = trust(z_s, z_t, y, "multilabel").numbers
    assert all(found.numbers[k] == half[k] for k in ("kl", "ece", "brier", "temperature")) and found.numbers["kappa"] != half["kappa"]
    same = trust(z_t, z_t, y, "multilabel", thresholds=(theirs, theirs))
    assert same.numbers["agreement"] == 1 and same.promise["coverage"] == 1
    at = trust(z_t, z_t, kind="multilabel", thresholds=([0, 1, .5], [0, 1, .5])).classes # all, none, and the half
    assert [c["teacher says"] for c in at] == [600 - (z_t[:, 2] > 0).sum(), 300 + (z_t[:, 2] > 0).sum()]
    for bad in ([.5, .5], [.5, .5, 2.], "half", [np.nan] * 3):
        with pytest.raises(InputError, match="for 3 labels: expected a probability, or one for each"):
            trust(z_s, z_t, kind="multilabel", thresholds=(bad, .5))

def test_agreement_and_accuracy_are_apart():
    z = np.array([[3., 0], [0, 3], [3, 0], [0, 3]])
    said = trust(z, z[::-1] + .5, [0, 1, 0, -100]).numbers
    assert said["agreement"] == 0 and said["accuracy"] == 1 and said["teacher_accuracy"] == 0
    assert "ece" not in trust(z, z).numbers, "no labels"

def test_texts_agree_where_all_their_units_do():
    z_t = np.array([[3., -3], [3, 3]])
    z_s = np.array([[3., -3], [3, -.1]])
    assert trust(z_s, z_t, [[1, 0], [1, 1]], "multilabel").numbers["agreement"] == .5
    words = [np.array([[2., 0], [0, 2], [0, 3]]), np.array([[0, 1.], [0, 1]])]
    other = [np.array([[2., 0], [2, 0], [0, 3]]), np.array([[1., 0], [0, 1]])]
    said = trust(other, words, [[-100, 1, 1], [-100, 1]], "tags") # the first of both is a special token
    assert said.numbers["agreement"] == .5 and said.rows == 2 and said.numbers["accuracy"] == pytest.approx(2 / 3)

def test_scores():
    t = np.random.default_rng(0).normal(size=(300, 1))
    said = trust(t + .3, t, t[:, 0], "regression", tolerance=.5)
    assert said.numbers["bias"] == pytest.approx(.3) == said.numbers["error"] and said.promise["coverage"] == 1
    assert trust(t + .3, t, kind="regression", tolerance=.1).promise["threshold"] is None

@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_it_shows_itself_and_is_saved(kind, tmp_path):
    z_s, z_t, y = drawn(300)
    said = trust(z_s, z_t, y, texts=["<b>"] * 300) if kind == "classification" else trust(z_s[:, :1], z_t[:, :1], kind=kind)
    said.save(tmp_path/"trust.json")
    back = json.loads((tmp_path/"trust.json").read_text())
    assert back["sentence"] == said.sentence() in said._repr_markdown_() and said.sentence() in repr(said)
    assert Trust(**{k: v for k, v in back.items() if k != "sentence"}).rows == 300
    assert "<b><b>" not in said._repr_html_() and "&lt;b&gt;" in said._repr_html_() if kind == "classification" else said._repr_html_()
    said.plot(tmp_path/"trust.png")
    assert (tmp_path/"trust.png").stat().st_size > 1000

@pytest.mark.parametrize("save", [lambda r, f: r.save(f), lambda r, f: r.plot(f)], ids=["save", "plot"])
@pytest.mark.parametrize("report", [lambda: trust(*drawn(30)), lambda: Report("t", "f1").add("a", dict(f1=.5))], ids=["trust", "report"])
def test_reports_are_saved_alike_or_refused_in_one_sentence(save, report, tmp_path):
    "Into a folder that is missing, over a file, and never below one."
    for _ in range(2): save(report(), tmp_path/"new"/"a.png")
    assert [p.name for p in tmp_path.rglob("*")] == ["new", "a.png"]
    with pytest.raises(InputError, match="a.png/b.png cannot be written"): save(report(), tmp_path/"new"/"a.png"/"b.png")

@pytest.mark.parametrize("text", ["", "[1]", '{"task": "a"}', "\0"])
def test_what_is_no_report_is_refused(text, tmp_path):
    (tmp_path/"r.json").write_text(text)
    with pytest.raises(InputError, match="r.json: expected a saved report"): load_report(tmp_path/"r.json")
    with pytest.raises(InputError, match="No such file"): load_report(tmp_path/"none.json")

@pytest.mark.parametrize("kind", ["multilabel", "classification"])
def test_a_models_logits_are_never_taken_for_probabilities(kind, tok):
    "All logits of a cautious student may lie from 0 to 1, and a row's may have the sum 1."
    task = toy() if kind == "classification" else make_task("many", dict(train=frame(label=[["good"], ["bad"], ["good", "bad"], []] * 10)), kind=kind)
    model = AutoModelForSequenceClassification.from_config(bert(1).config.__class__(**bert(1).config.to_dict() | dict(problem_type=KINDS[kind].problem,
        id2label=dict(enumerate(task.labels)), label2id={n: i for i, n in enumerate(task.labels)})))
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor([.2, .8]))
    assert trust_models(model, model, task, tok, max_length=16).numbers["agreement"] == 1
    with pytest.raises(InputError, match="look like probabilities"): trust([[.2, .8]] * 9, [[.2, .8]] * 9, kind=kind)

SAID, OTHER = Answer("a", 1., 0., .5), Answer("b", 1., 0., .5)
FINE = np.array([[2., 0], [0, 3], [1, 0]])
@pytest.mark.parametrize("what, says", [
    (lambda: trust(FINE, FINE[:2]), "3 answers of the student, 2 of the teacher"), (lambda: trust(FINE[:1], FINE[:1]), "two or more"),
    (lambda: trust(FINE, FINE[:, :1]), "the same classes"), (lambda: trust(FINE[:, :1], FINE[:, :1]), "one class"),
    (lambda: trust(FINE * np.nan, FINE), "student: 3 of 3 rows are NaN"), (lambda: trust(FINE, softmax(FINE, axis=1)), "teacher: rows from 0 to 1 whose sums are 1"),
    (lambda: trust(FINE, FINE, [0, 1, 2]), "label 2"), (lambda: trust(FINE, FINE, [0, 1]), "2 labels for 3 rows"), (lambda: trust(FINE, FINE, agree=95), "agree=95"),
    (lambda: trust(FINE, FINE, kind="spans"), "kind='spans'"), (lambda: units_of([["a"]]), "of shape"), (lambda: versus([1, 0], [1, 0, 1]), "the same rows"),
    (lambda: trust(FINE, FINE, ["a", "b", "a"]), "labels of row 0: 'a': expected 1 number"), (lambda: trust(FINE, FINE, np.eye(3)), "labels of row 0"),
    (lambda: trust(FINE, FINE, [0, .5, 1]), "label .0.5.: expected whole numbers"), (lambda: trust(FINE, FINE, [0, np.inf, 1]), "label .inf."),
    (lambda: trust(FINE, FINE, labels=["bad"]), "1 names, 2 needed"), (lambda: trust(FINE, FINE, texts=["a"]), "1 texts, 3 needed"),
    (lambda: trust(expit(FINE), expit(FINE), kind="multilabel"), "student: rows from 0 to 1: .* look like probabilities"),
    (lambda: trust(FINE, FINE, [[0, 1], [1], [0, 1]], "multilabel"), "labels of row 1: .1.: expected 2 numbers"),
    (lambda: trust([[.33, .66], [.5, .49], [.2, .79]], FINE), "student: rows from 0 to 1 whose sums are 1"),
    (lambda: trust([FINE, FINE[:2]], [FINE[:2], FINE], kind="tags"), "other words of the teacher"),
    (lambda: trust([FINE, FINE[:2]], [FINE, FINE[:2]], [[0, 1], [0, 1, 1]], "tags"), "labels of row 0: .0, 1.: expected 3 numbers"),
    (lambda: trust([FINE, FINE[:, :1]], [FINE, FINE], kind="tags"), "student of shape"),
    (lambda: trust(FINE[:, :1], FINE[:, :1], ["a", "b", "c"], "regression"), "0 labels in numbers for 3 rows"),
    (lambda: trust(FINE[:, :1], FINE[:, :1], kind="regression", tolerance=-1), "tolerance=-1"),
    (lambda: keep_temperature("/no/folder", trust(FINE, FINE, [0, 1, 0])), "/no/folder: no config.json"),
    (lambda: calibration(softmax(FINE, axis=1), [0, 1, 0], [7, 7, 7]), "1 texts with a label"),
    (lambda: trust(FINE, FINE, agree=".95"), "agree='.95': expected a share"), (lambda: trust(FINE, FINE, tolerance=1), "tolerance=1 for classification"),
    (lambda: trust(FINE[:, :1], FINE[:, :1], kind="regression", tolerance="1"), "tolerance=1: expected a finite number"),
    (lambda: trust(FINE[:, :1], FINE[:, :1], [1, np.inf, 2], "regression"), "an infinite label"), (lambda: trust(FINE[:, :1], FINE[:, :1], kind="regression", texts=["a"]), "1 texts, 3"),
    (lambda: trust(FINE, FINE, labels={"bad": 0, "good": 1}), "names for .'bad', 'good'.: expected for ids from 0 to 1"), (lambda: trust(FINE, FINE, labels={0: "bad"}), "names for .'0'."),
    (lambda: trust(FINE, FINE, labels=2), "names 2: expected a list"), (lambda: trust(FINE, FINE, labels="ab"), "names 'ab': expected a list"),
    (lambda: lower_bound(5, 3), "5 hits of 3 rows"), (lambda: promise([.5, .6], [1]), "confidences .2,., agreements .1,."), (lambda: promise([.5, np.nan], [1, 0]), "a number, and true"),
    (lambda: promise([.5, .6], [1, 7]), "true or false, for each"), (lambda: mcnemar([1, 0], [1, 0, 1]), "the same rows"), (lambda: mcnemar([2, 0], [1, 0]), "a result of 2.0"),
    (lambda: trust(FINE, FINE, kind="regression"), "one score each"), (lambda: trust(None, FINE), "student's answers None: expected an answer for each text"),
    (lambda: trust(FINE, torch.tensor(1.)), "teacher's answers tensor"), (lambda: trust_scores(FINE[:, :1], FINE[:2, :1]), "3 answers of the student, 2 of the teacher"),
    (lambda: agreement(None, [SAID] * 2, [["a"]] * 2), "student's answers None"), (lambda: agreement([SAID] * 2, [SAID] * 2, [["a"]]), "1 accepted, 2 needed"),
    (lambda: agreement([SAID] * 2, [OTHER] * 2, [["a"]] * 2, ["What?"]), "1 questions, 2 needed"), (lambda: versus([1, np.nan], [1, 0]), "NaN")])
def test_bad_input_is_one_sentence(what, says):
    with pytest.raises(InputError, match=says): what()

@pytest.mark.parametrize("form", [lambda z: torch.tensor(z).bfloat16(), lambda z: torch.tensor(z, requires_grad=True), lambda z: torch.tensor(z).half(),
                                  lambda z: z.tolist(), lambda z: pd.DataFrame(z, index=range(7, 7 + len(z)))], ids=["bf16", "grad", "fp16", "lists", "frame"])
def test_whatever_holds_the_logits(form):
    z = np.array([[3., 0], [0, 2], [4, 0], [0, 5]]) # exact in half precision
    assert trust(form(z), form(z[::-1].copy()), [0, 1, 0, -100]).numbers == trust(z, z[::-1], [0, 1, 0, -100]).numbers

@pytest.mark.parametrize("change", [lambda p: p.round(2), lambda p: p.astype(np.float16), lambda p: p * 1.0005, lambda p: p - 1e-6, lambda p: np.vstack([p, p[:3] / 2])],
                         ids=["rounded", "half", "above 1", "below 0", "a few damaged"])
@pytest.mark.parametrize("classes", [2, 20, 80])
def test_probabilities_are_known_in_every_state(change, classes):
    "Of 80 classes, rounded to two digits, the sums are off by a fifth."
    z, t, _ = drawn(200, classes)
    p = change(softmax(np.vstack([2 * z, [[40.] + [0] * (classes - 1)]]), axis=1))
    with pytest.raises(InputError, match="look like probabilities"): trust(p, p)
    assert trust(z / abs(z).max(), z).rows == 200 and trust(np.clip(z, 0, 1), z).rows == 200, "small logits are none"

@pytest.mark.parametrize("form", [list, np.array, lambda x: pd.Series(x, index=range(50, 50 + len(x))), iter, lambda x: dict(enumerate(x)),
                                  lambda x: dict([*enumerate(x)][::-1]), lambda x: {str(i): v for i, v in [*enumerate(x)][::-1]}],
                         ids=["list", "array", "series", "iterator", "dict", "permuted", "of JSON"])
def test_names_and_texts_are_taken_by_their_place(form):
    z = np.array([[3., 0], [0, 2], [4, 0], [0, 5]])
    found = trust(z, z[::-1], labels=form(["bad", "good"]), texts=form(list("abcd")))
    assert [(r["student"], r["text"]) for r in found.look] == [("good", "d"), ("bad", "c"), ("bad", "a"), ("good", "b")]
    assert [c["class"] for c in found.classes] == ["bad", "good"]

def test_labels_in_every_second_row_and_as_a_column():
    z_s, z_t, y = drawn(200)
    some = np.where(np.arange(200) % 2, -100, y)
    half = trust(z_s, z_t, some).numbers
    assert half["ece"] == pytest.approx(trust(z_s[::2], z_t[::2], y[::2]).numbers["ece"])
    assert half["brier_after"] == pytest.approx(trust(z_s[::2], z_t[::2], y[::2]).numbers["brier_after"])
    assert trust(z_s, z_t, y[:, None]).numbers == trust(z_s, z_t, y).numbers
    for none in (None, np.nan, -100, -1, pd.NA): assert trust(z_s, z_t, [none if i % 2 else v for i, v in enumerate(y)]).numbers == half
    assert trust(z_s, z_t, pd.Series(y).astype("Int64").mask(some < 0)).numbers == half
    assert "ece" not in trust(z_s, z_t, [0] + [np.nan] * 199).numbers
    assert "ece" not in trust(z_s, z_t, [[0, 1, 0]] + [[np.nan] * 3] * 199, "multilabel").numbers, "all are of one text"

def test_words_without_labels():
    "Where no word of a text has a label, all of them are compared."
    z = [np.array([[2., 0], [0, 2], [0, 3]]), np.array([[0, 1.], [0, 1]])]
    other = [z[0], -z[1]]
    for y in (None, [[-100] * 3, [-100] * 2], [[-100, 1, 1], [-100, -100]]):
        said = trust(z, other, y, "tags")
        assert said.numbers["agreement"] == .5 and said.rows == 2

def test_scores_and_labels_in_a_column():
    t = np.random.default_rng(0).normal(size=(50, 1))
    assert trust(t, t, t, "regression").numbers == trust(t, t, t[:, 0], "regression").numbers
    exact = trust(t + np.array([[0], [1e-3]] * 25), t, kind="regression", tolerance=0)
    assert exact.numbers["tolerance"] == 0 and exact.numbers["agreement"] == .5
    trust(t + .1, t, kind="regression").plot() # differences that are equal but for rounding

def test_a_report_from_json_shows_itself():
    z = np.ones((40, 1)) * [3., 0]
    said = trust(z, z, [0] * 40) # kappa is no number here
    back = Trust(**{k: v for k, v in json.loads(json.dumps(said.plain())).items() if k != "sentence"})
    assert back.numbers["kappa"] is None and repr(back) == repr(said) and back._repr_html_() == said._repr_html_() and back._repr_markdown_()
    back.plot()

@pytest.mark.parametrize("agree, said", [(.95, "95%"), (.955, "95.5%"), (.999, "99.9%"), (.3, "30%")])
def test_the_sentence_promises_what_was_tested(agree, said):
    z, _, _ = drawn(5000)
    assert f"at least {said} of them" in trust(z, z, agree=agree).sentence() and f"agree on {said};" in trust(z[:2], z[:2], agree=agree).sentence()

@pytest.mark.parametrize("bold", [1, 8, 15])
def test_a_threshold_never_looks_like_one(bold):
    "Overconfident students have thresholds such as .99999."
    z_s, z_t, _ = drawn(3000, noise=.5)
    said = trust(bold * z_s, bold * z_t)
    shown = float(said.sentence().partition("above ")[2].partition(", and")[0])
    sure = softmax(bold * z_s, axis=1).max(1)
    assert shown < 1 and (sure > shown).mean() == pytest.approx(said.promise["coverage"], abs=.005)

def test_rows_of_scores_to_look_at_have_their_texts():
    t = np.arange(12.)[:, None]
    look = trust(t + (t == 7), t, kind="regression", texts=[f"text {i}" for i in range(12)]).look
    assert look[0] == dict(row=7, student=8., teacher=7., text="text 7")

@pytest.mark.parametrize("z, y, ok", [(3 * np.eye(2)[[0, 1] * 30], [0, 1] * 30, False), (9 * np.eye(2)[[0, 1] * 30], [1, 0] * 30, False), (3 * np.eye(2)[[0, 1] * 30], [0, 1] * 28 + [1, 0] * 2, True)])
def test_a_temperature_at_the_end_of_the_search_is_not_kept(z, y, ok, tmp_path):
    "Where all labels are hit, or missed, no temperature is the best."
    (tmp_path/"config.json").write_text("{}")
    said = trust(z, z, y)
    if ok: assert keep_temperature(tmp_path, said) == pytest.approx(said.numbers["temperature"], abs=1e-3)
    else:
        with pytest.raises(InputError, match="where the search ends"): keep_temperature(tmp_path, said)

def test_a_temperature_that_is_kept_in_a_students_folder_is_no_foreign_change(tok, tmp_path):
    "Every load warned that config.json was edited, and the folder could not be overwritten any more."
    out = save_student(bert(1), tok, tmp_path/"s")
    said = trust(*drawn(300))
    keep_temperature(out, said)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_bytes(out)
    assert load_pretrained(AutoModelForSequenceClassification, out).config.calibration_temperature == pytest.approx(said.numbers["temperature"], abs=1e-3)
    save_student(bert(2), tok, out, overwrite=True)

# Two students

@pytest.mark.parametrize("gain, words", [(.2, {"BEATS"}), (-.2, {"NO BEATS"}), (.01, {"INCONCLUSIVE"})])
def test_verdicts(gain, words):
    rng = np.random.default_rng(3)
    a, b = rng.uniform(size=(4, 300)) < .7 + gain, rng.uniform(size=(4, 300)) < .7
    assert {versus(a, b).word} == words

def test_equal_students_seldom_beat_each_other():
    rng = np.random.default_rng(4)
    words = [versus(rng.uniform(size=200) < .8, rng.uniform(size=200) < .8, draws=400).word for _ in range(200)]
    assert words.count("BEATS") <= 10

@pytest.mark.parametrize("n", [20, 60, 150, 300])
@pytest.mark.parametrize("seeds", [1, 3])
def test_what_gains_more_than_the_margin_is_seldom_told_not_to(n, seeds):
    "A gain of 1.5 points, which many small samples do not show at all."
    rng, words = np.random.default_rng(n), []
    for i in range(200):
        a = np.ones((seeds, n))
        words.append(versus(a, a - (rng.uniform(size=n) < .015), draws=400, seed=i).word)
    assert words.count("NO BEATS") <= 10

@pytest.mark.parametrize("shape", [(5,), (100,), (4, 5)])
@pytest.mark.parametrize("value", [0., 1., 2.5])
def test_a_few_rows_without_a_difference_prove_nothing(shape, value):
    same = np.full(shape, value)
    assert versus(same, same).word == "INCONCLUSIVE"
    assert versus(np.ones((1, 5000)), np.ones((1, 5000))).word == "NO BEATS", "and many do"

def test_mcnemar_by_hand():
    assert mcnemar([1] * 9 + [0], [0] * 9 + [1]) == pytest.approx(2 * 11 / 2**10) and mcnemar([1, 0], [1, 0]) == 1

@pytest.mark.parametrize("a, b", [(["right", "wrong"], ["right", "right"]), (np.ones((2, 2, 3)), np.ones((2, 2, 3))), ([1], [0]), ([1, 0], [1, 0, 1]), (None, [1, 0])])
def test_results_to_compare_are_numbers_of_the_same_rows(a, b):
    with pytest.raises(InputError, match="results of shapes"): versus(a, b)
