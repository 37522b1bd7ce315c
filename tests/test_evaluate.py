"Metrics against sklearn's and scipy's on random data, the report, latency's conditions."
import math
import numpy as np
import pytest, torch
from datasets import Dataset
from scipy import stats
from sklearn import metrics as sk
from conftest import bert
from distill_nb.data import make_task
from distill_nb.errors import InputError
from distill_nb.evaluate import Report, evaluate, evaluating, latency, load_report, metrics, predict, size_mb

@pytest.mark.parametrize("n_classes", [2, 3, 7])
@pytest.mark.parametrize("hidden", [0, 11], ids=["all labelled", "some not"])
def test_class_metrics(n_classes, hidden):
    rng = np.random.default_rng(n_classes)
    z, y = rng.normal(size=(60, n_classes)), rng.integers(0, n_classes, 60)
    seen, given = slice(hidden, None), y.copy()
    given[:hidden] = -100
    got, pred = metrics(z, given), z.argmax(-1)
    average = "binary" if n_classes == 2 else "macro"
    assert got["accuracy"] == pytest.approx((pred[seen] == y[seen]).mean())
    assert got["matthews"] == pytest.approx(sk.matthews_corrcoef(y[seen], pred[seen]))
    assert got["f1"] == pytest.approx(sk.f1_score(y[seen], pred[seen], average=average))

def test_score_metrics():
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(40, 1)), rng.normal(size=40)
    got = metrics(z, y)
    assert got["pearson"] == pytest.approx(stats.pearsonr(z[:, 0], y)[0])
    assert got["spearman"] == pytest.approx(stats.spearmanr(z[:, 0], y)[0])
    y[:3] = math.nan
    assert metrics(z, y)["mse"] == pytest.approx(((z[3:, 0] - y[3:])**2).mean())

def test_constant_answers_give_zero_not_nan():
    assert metrics(np.zeros((5, 1)), np.arange(5.))["pearson"] == 0
    assert metrics(np.tile([1., 0.], (5, 1)), [0, 1, 0, 1, 1])["matthews"] == 0

def test_nothing_to_compare_with():
    with pytest.raises(InputError, match="3 rows without a label"): metrics(np.zeros((3, 2)), [-100] * 3)

@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_predictions_keep_the_rows_order(tok, batch_size):
    texts = ["good " * (1 + i * 5 % 9) + "film" for i in range(13)]
    rows, model = Dataset.from_dict(dict(tok(texts))), bert()
    alone = torch.cat([model(**tok(t, return_tensors="pt")).logits.detach() for t in texts])
    torch.testing.assert_close(predict(model, rows, tok, batch_size), alone, rtol=1e-4, atol=1e-6)

def test_evaluate_names_a_split(tok):
    import pandas as pd
    df = pd.DataFrame(dict(text=[f"{w} film {i}" for i in range(10) for w in ("good", "bad")], label=["g", "b"] * 10))
    task, model = make_task("toy", dict(train=df)), bert()
    z = predict(model, Dataset.from_dict(dict(tok(task["train"]["text"][:]))), tok)
    want = metrics(z, task["train"]["label"][:])
    assert evaluate(model, task, tok, "train") == pytest.approx(want)

def test_latency_says_its_conditions_and_restores_the_threads():
    before, model = torch.get_num_threads(), bert().train()
    got = latency(model, tokens=7, batch_size=2, threads=1, warmup=1, repeats=3)
    assert (got.tokens, got.batch_size, got.threads, got.repeats, got.device) == (7, 2, 1, 3, "cpu")
    assert torch.get_num_threads() == before and model.training

def test_tied_weights_are_counted_once(tmp_path):
    from transformers import BertConfig, BertForMaskedLM
    model = BertForMaskedLM(BertConfig(vocab_size=5000, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                                       intermediate_size=32))
    model.save_pretrained(tmp_path)
    assert size_mb(model) == pytest.approx((tmp_path/"model.safetensors").stat().st_size / 1e6, rel=.02)

def test_report_round_trip_and_plot(tmp_path):
    report = Report("t", "matthews", note="n").add("teacher", dict(matthews=.5), bert(), 3.)
    report.add("student, distilled", dict(matthews=.4), bert(2)).add("worse than chance", dict(matthews=-.2))
    table = report.table()
    assert table.kept["student, distilled"] == pytest.approx(.8) and np.isnan(table.kept["worse than chance"])
    report.save(tmp_path/"r.json")
    assert load_report(tmp_path/"r.json").rows == report.rows
    report.plot(tmp_path/"r.png")
    assert (tmp_path/"r.png").read_bytes()[:4] == b"\x89PNG"
    assert "-0.200" in report._repr_html_() and "80.0%" in repr(report)

# Whoever only looks leaves the model as it was

class Wrapped(torch.nn.Module):
    "As torch.compile and PEFT hold a model: a module around it."
    def __init__(self, model):
        super().__init__()
        self.inner = model

    def train(self, mode=True):
        "A wrapper may well set more than its own flag."
        self.trained = mode
        return super().train(mode)

@pytest.mark.parametrize("wrap", [lambda m: m, Wrapped, torch.compile], ids=["plain", "wrapped", "compiled"])
@pytest.mark.parametrize("fails", [False, True])
def test_evaluating_restores_each_submodule(wrap, fails):
    model = wrap(bert(2).train())
    parts = list(model.modules())
    for m in parts[::3]: m.training = not m.training
    before = [m.training for m in parts]
    try:
        with evaluating(model), evaluating(model):
            assert not any(m.training for m in parts)
            if fails: raise KeyError
    except KeyError: pass
    assert [m.training for m in parts] == before and not torch.is_inference_mode_enabled()
