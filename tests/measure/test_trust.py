"A promise holds over resamples, honest numbers equal others' numbers, and every kind of classifier is told truly."
import json, math
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit, softmax
from scipy.stats import beta
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss
from distill_nb.kit.errors import InputError
from distill_nb.measure.certainty import (brier, calibration, ece, fit_temperature, lower_bound, mcnemar, promise, reliability, rows_needed, units_of,
    versus)
from distill_nb.measure.trust import Trust, keep_temperature, trust

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
    y = np.random.default_rng(1).permutation(y) # nothing to be known
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
    (lambda: trust(FINE, FINE, kind="regression"), "one score each"), (lambda: versus([1, np.nan], [1, 0]), "NaN")])
def test_bad_input_is_one_sentence(what, says):
    with pytest.raises(InputError, match=says): what()

@pytest.mark.parametrize("form", [lambda z: torch.tensor(z).bfloat16(), lambda z: torch.tensor(z, requires_grad=True), lambda z: torch.tensor(z).half(),
                                  lambda z: z.tolist(), lambda z: pd.DataFrame(z, index=range(7, 7 + len(z)))], ids=["bf16", "grad", "fp16", "lists", "frame"])
def test_whatever_holds_the_logits(form):
    z = np.array([[3., 0], [0, 2], [4, 0], [0, 5]]) # exact in half precision
    assert trust(form(z), form(z[::-1].copy()), [0, 1, 0, -100]).numbers == trust(z, z[::-1], [0, 1, 0, -100]).numbers

@pytest.mark.parametrize("form", [list, np.array, lambda x: pd.Series(x, index=range(50, 50 + len(x))), iter, lambda x: dict(enumerate(x))],
                         ids=["list", "array", "series", "iterator", "dict"])
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

def test_mcnemar_by_hand():
    assert mcnemar([1] * 9 + [0], [0] * 9 + [1]) == pytest.approx(2 * 11 / 2**10) and mcnemar([1, 0], [1, 0]) == 1

@pytest.mark.parametrize("a, b", [(["right", "wrong"], ["right", "right"]), (np.ones((2, 2, 3)), np.ones((2, 2, 3))), ([1], [0]), ([1, 0], [1, 0, 1]), (None, [1, 0])])
def test_results_to_compare_are_numbers_of_the_same_rows(a, b):
    with pytest.raises(InputError, match="results of shapes"): versus(a, b)
