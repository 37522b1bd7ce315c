"Metrics against sklearn's and scipy's on random data, the report, latency's conditions."
import json, math, warnings
import numpy as np
import pandas as pd
import pytest, torch
from datasets import Dataset
from scipy import stats
from sklearn import metrics as sk
from builders import bert, make_tokenizer
from families import ODD, build, build_odd
import distill_nb.measure.report
from distill_nb.data.tasks import UNLABELLED, make_task
from distill_nb.kit.errors import InputError
from distill_nb.measure.scores import batches_by_length, evaluate, metrics, predict
from distill_nb.measure.report import Report, as_json, latencies, latency, load_report, size_mb
from distill_nb.kit.models import evaluating

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

# Numbers that mean nothing are refused

@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_answers_that_are_no_numbers(bad, width):
    z, y = np.zeros((6, width)), np.arange(6.) if width == 1 else np.array([0, 1] * 3)
    z[2, -1] = bad
    with pytest.raises(InputError, match="1 of 6 answers are NaN or infinite"): metrics(z, y)
    with pytest.raises(InputError, match="1 of 6 answers"): metrics(torch.tensor(z), torch.tensor(y))

@pytest.mark.parametrize("z, y, message", [
    ([[.1], [2.], [3.]], [0, 2, 3], "a head with 1 outputs: expected one for scores"), (np.zeros((3, 2)), [.5, 1., 2.], "a head with 2 outputs"),
    (np.zeros((3, 2)), [0, 1, 2], "labels from 0 to 2: expected ids of the head's 2 classes"), (np.zeros((3, 2)), [0, 1, -1], "labels from -1 to 1"),
    ([[0., 1.], [0., 1., 2.]], [0, 1], r"answers of shape \(0,\): expected a row of equal width"), (np.zeros((2, 2)), [0, 1, 1], "a row of equal width for each of the 3"),
    (np.zeros((3, 2, 2)), [0, 1, 1], r"shape \(3, 2, 2\)"), (np.zeros(3), [0., 1., 1.], r"shape \(3,\)"), ((np.zeros((3, 2)), np.zeros(2)), [0, 1, 1], "answers of shape")])
def test_answers_that_do_not_fit(z, y, message):
    with pytest.raises(InputError, match=message): metrics(z, y)

@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_f1_is_one_definition_per_head(n_classes):
    "Whatever a model answers and whichever classes a split holds."
    rng = np.random.default_rng(0)
    for _ in range(200):
        k = rng.integers(1, n_classes + 1, 2)
        pred, y = rng.integers(0, k[0], 5), rng.integers(0, k[1], 5)
        average = "binary" if n_classes == 2 else "macro"
        assert metrics(np.eye(n_classes)[pred], y)["f1"] == pytest.approx(sk.f1_score(y, pred, average=average, zero_division=0))

def test_one_class_says_nothing_on_the_side():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metrics(np.eye(3)[[1, 1]], [1, 1])["matthews"] == 0

# A model's classes have names

def named(*names):
    return bert(2, id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)})

def words_task(labels, n=20, known=None):
    df = pd.DataFrame(dict(text=[f"{'good' if i % 2 else 'bad'} film {'very ' * (i % 5)}" + "book " * i for i in range(n)], label=(labels * n)[:n]))
    return make_task("words", dict(test=df), known, hold_out=False)

@pytest.mark.parametrize("occur", [["a", "b", "c"], ["c", "a"], ["b"], ["b", "", "c"]])
@pytest.mark.parametrize("split", ["test", "all"])
def test_scored_by_name_on_whatever_occurs(tok, occur, split):
    names = ["c", "a", "b"]
    model = named(*names)
    task = words_task(occur, known=sorted({*occur, "a"} - {""}))
    y = [names.index(l) if l else UNLABELLED for l in (occur * 20)[:20]]
    z = predict(model, Dataset.from_dict(dict(tok(task["test"]["text"][:]))), tok)
    assert evaluate(model, task, tok, split) == pytest.approx(metrics(z, y))

def test_other_classes_are_refused(tok):
    with pytest.raises(InputError, match=r"the classes \['a', 'b'\]: expected the classes \['a', 'd'\] of words"): evaluate(named("a", "b"), words_task(["a", "d"]), tok)
    with pytest.raises(InputError, match=r"split 'dev': expected one of \['test', 'all'\]"): evaluate(named("a", "b"), words_task(["a", "b"]), tok, "dev")

def test_all_splits_are_all_rows(tok):
    df = pd.DataFrame(dict(text=[f"good {'book ' * i}" for i in range(40)], label=["a", "b"] * 20))
    task, model = make_task("t", dict(train=df)), named("a", "b")
    whole = make_task("t", dict(train=df), hold_out=False)
    assert evaluate(model, task, tok, "all") == pytest.approx(evaluate(model, whole, tok, "train"))

def test_texts_beyond_the_positions_are_refused(tok):
    model = bert(2, max_position_embeddings=8)
    with pytest.raises(InputError, match="expected at most 8, the positions"): evaluate(model, words_task(["a", "b"]), tok)
    assert evaluate(model, words_task(["a", "b"]), tok, max_length=8)
    assert latency(model, warmup=0, repeats=1).tokens == 8

# Times are taken by turns

def test_models_take_turns(monkeypatch):
    "A machine that is ten times slower for a while, as seen by a clock that we hold."
    seen, now = [], [0.]
    one, two = bert(1), bert(1)
    def asked(model, **batch):
        seen.append(model)
        now[0] += .010 if 40 < len(seen) < 60 else .001
    monkeypatch.setattr(type(one), "forward", asked)
    monkeypatch.setattr(distill_nb.measure.report.time, "perf_counter", lambda: now[0])
    got = latencies([one, two], warmup=3, repeats=30)
    assert seen == [one, two] * 33
    assert [t.ms for t in got] == [1, 1] and [t.low for t in got] == [1, 1] and got[0].repeats == 30
    report = Report("t", "f1").add("a", dict(f1=1.), one).add("b", dict(f1=.5), two)
    seen.clear()
    assert report.table().faster["b"] == 1 and seen[:4] == [one, two, one, two]
    report.table()
    assert len(seen) == 70 # once
    report.add("c", dict(f1=1.), bert(1)).table()
    assert len(seen) == 70 + 105 # a new row: all anew

def test_latency_draws_nothing():
    model = bert(1).train()
    before = torch.get_rng_state()
    latency(model, warmup=0, repeats=1)
    assert torch.equal(before, torch.get_rng_state())

class Elsewhere(torch.nn.Module):
    "A model on a device without data: what is made for it must be made there."
    device, config = torch.device("meta"), bert(1).config
    def get_input_embeddings(self): return torch.nn.Embedding(self.config.vocab_size, 1, device="meta")
    def forward(self, input_ids, attention_mask):
        assert {t.device.type for t in (input_ids, attention_mask)} == {"meta"}
        raise KeyboardInterrupt

def test_batches_are_made_where_the_model_is(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda device: None)
    with pytest.raises(KeyboardInterrupt): latency(Elsewhere())

# What a report shows

def test_names_cannot_be_html(tmp_path):
    bad = "<img src=x onerror=alert(1)>\n```\x1b[1m"
    report = Report(bad, "accuracy", note=bad).add(bad, dict(accuracy=.5))
    assert "<img" not in report._repr_html_() and "\n`" not in repr(report) and "\x1b" not in repr(report) and "```" not in repr(report)
    assert len(repr(report).splitlines()) == 4
    df = pd.DataFrame(dict(text=[f"t {i}" for i in range(40)], label=["a", bad] * 20))
    task = make_task(bad, dict(train=df))
    assert "<img" not in task._repr_html_() and "\x1b" not in repr(task)
    Report("costs $5 or $_{", "f1").add("$x^$", dict(f1=.5)).plot(tmp_path/"a.png")

def test_json_has_no_nan(tmp_path):
    report = Report("t", "f1").add("a", dict(f1=math.nan, mse=math.inf, accuracy=1.))
    report.save(tmp_path/"r.json")
    def refuse(name): raise AssertionError(name)
    assert json.loads((tmp_path/"r.json").read_text(), parse_constant=refuse)["rows"] == [dict(model="a", f1=None, mse=None, accuracy=1.)]
    assert json.loads(as_json(report.rows[0]), parse_constant=refuse)["f1"] is None
    assert "-" in repr(load_report(tmp_path/"r.json"))

def test_kept_of_a_score_of_zero():
    report = Report("t", "f1").add("teacher", dict(f1=0.), bert(1)).add("student", dict(f1=.5), bert(1))
    assert report.table().kept.isna().all() and "inf" not in repr(report)

def test_steps_are_a_column():
    report = Report("t", "f1").add("a", dict(f1=1.), steps=1200, seconds=3.).add("b", dict(f1=1.))
    assert "1,200" in repr(report) and report.pretty().steps["b"] == "-"

def test_a_report_without_rows_or_without_its_metric_shows_itself(tmp_path):
    "It raised a KeyError of pandas, in a notebook where a cell ends with it."
    for report in Report("t", "f1"), Report("t", "f1").add("a", {}), Report("t", "f1").add("a", dict(accuracy=.5), bert(1)):
        assert "t by f1" in repr(report) and "<table" in report._repr_html_()
        report.save(tmp_path/"r.json")
        assert load_report(tmp_path/"r.json").rows == report.rows
        with pytest.raises(InputError, match="a report without f1"): report.plot()
    assert report.table().faster.tolist() == [1.]

@pytest.mark.parametrize("how", [dict(repeats=0), dict(tokens=0), dict(batch_size=-1), dict(tokens=2.5), dict(repeats=True)], ids=str)
def test_a_latency_of_nothing_is_refused(how):
    with pytest.raises(InputError, match=f"{[*how][0]}=.*: expected a whole number of 1 or more"): latency(bert(1), **how)

# Padding that a model sees

PADS = {"fnet": {}, "convbert": {}, "xlnet": {}, "funnel": {}, "gpt2": {}, "llama": {}, "bart": {}, "bert": {}, "mobilebert": {}}

@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", PADS)
@torch.no_grad()
def test_answers_do_not_depend_on_the_texts_beside_them(family, side):
    "FNet mixes padding in, XLNet reads the last place, GPT-2 counts places from the left, and a pad token may be another one's."
    model = (build_odd if family in ODD else build)(family)
    g = torch.Generator().manual_seed(1)
    lists = [torch.randint(5, 13, (n,), generator=g).tolist() + [3] for n in (4, 9, 3, 7, 4, 11, 6)]
    tok = make_tokenizer() # pads with 0, and these models' own pad token is 1
    tok.padding_side = side
    rows = Dataset.from_dict(dict(input_ids=lists, attention_mask=[[1] * len(x) for x in lists]))
    alone = torch.cat([model(input_ids=torch.tensor([x])).logits for x in lists])
    for size in (1, 3, 64): torch.testing.assert_close(predict(model, rows, tok, size), alone, atol=1e-5, rtol=1e-4)

def test_a_model_that_masks_its_padding_keeps_large_batches(tok):
    columns = dict(input_ids=[[2] * n for n in (4, 9, 3, 7)], attention_mask=[[1] * n for n in (4, 9, 3, 7)])
    assert [pick for pick, _ in batches_by_length(columns, tok, 64, bert())] == [[2, 0, 3, 1]]
    fnet = build_odd("fnet")
    assert len([*batches_by_length(columns, tok, 64, fnet)]) == 4
