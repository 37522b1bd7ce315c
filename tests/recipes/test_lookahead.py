"The check before a run: silent on healthy runs of every recipe and kind, never part of the numbers, and early where something is wrong."
import random, warnings
from dataclasses import replace
import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset, DatasetDict
from transformers import AutoModel, AutoModelForSequenceClassification, BertConfig, BertForMaskedLM
from builders import SMALL, WORDS
from distill_nb.data.tasks import make_task
from distill_nb.kit.errors import InputError
from distill_nb.kit.findings import dry, dry_run
from distill_nb.losses import HardTargets, HiddenMSE, SoftTargets
from distill_nb.recipes import (
    check_recipe, distil_answers, distil_bilstm, distil_embedding, distil_layers, distil_margins, distil_minilm, distil_mobilebert,
    distil_theseus, distil_tinybert, distil_words)
from distill_nb.recipes import base, lookahead
from distill_nb.recipes.lookahead import few, few_rows, quick_check, tell
from distill_nb.recipes.tinybert import Stage
from distill_nb.teachers.answers import read_answers

CONFIG = dict(vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32, initializer_range=.4,
              max_position_embeddings=128)

def folder(tok, path, cls=AutoModel, **more):
    torch.manual_seed(0)
    config = BertConfig(**CONFIG | more)
    model = cls(config) if cls is BertForMaskedLM else cls.from_config(config)
    model.save_pretrained(path), tok.save_pretrained(path)
    return str(path)

@pytest.fixture
def pretrained(tok, tmp_path): return folder(tok, tmp_path/"pretrained")

@pytest.fixture
def masked(tok, tmp_path): return folder(tok, tmp_path/"masked", BertForMaskedLM)

def sentence(i): return " ".join(WORDS[5 + int(d)] for d in f"{i + 64:o}")
def texts(n=240): return [sentence(i) for i in range(n)]

def corpus(): return Dataset.from_dict(dict(text=[" ".join(sentence(7 * i + j) for j in range(6)) for i in range(600)]))

def made(kind, n=240):
    "A small task of a kind, all of its texts different."
    df = pd.DataFrame(dict(text=texts(n)))
    if kind == "pairs": df["pair"] = df.text[::-1].tolist()
    if kind in ("classes", "pairs"): df["label"] = ["bad", "good", "dull"] * (n // 3)
    if kind == "scores": df["label"] = [i % 11 / 2 for i in range(n)]
    if kind == "several": df["label"] = [[w for w in ("good", "bad") if w in t.split()] for t in df.text]
    if kind == "tags": df = pd.DataFrame(dict(words=[t.split() for t in df.text],
                                              label=[["B-X" if w == "good" else "O" for w in t.split()] for t in df.text]))
    how = dict(scores="regression", several="multilabel", tags="tags")
    if kind == "tags": df["text"] = [" ".join(w) for w in df.words]
    return make_task(kind, dict(train=df), kind=how.get(kind))

KINDS = "classes", "pairs", "scores", "several", "tags"
FAST = dict(disable_tqdm=True, eval_strategy="no", max_steps=2, per_device_train_batch_size=8)

CALLS = {
    "layers": (distil_layers, KINDS, lambda at: dict(layers=2, **FAST)),
    "bilstm": (distil_bilstm, KINDS, lambda at: dict(student=dict(embedding_size=8, hidden_size=8), **FAST)),
    "tinybert": (distil_tinybert, KINDS, lambda at: dict(out=at/"t", student=SMALL, max_length=32, **FAST)),
    "minilm": (distil_minilm, KINDS, lambda at: dict(out=at/"m", layers=2, **FAST)),
    "mobilebert": (distil_mobilebert, KINDS, lambda at: dict(out=at/"b", bottleneck=8, **FAST)),
    "theseus": (distil_theseus, KINDS, lambda at: dict(layers=2, **FAST)),
    "answers": (distil_answers, KINDS[:3], lambda at: dict(shape=dict(layers=2), **FAST))}

def silent(recipe, *args, **kwargs):
    "Neither form finds anything, says anything, or leaves a file."
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=UserWarning, module="distill_nb")
        found = quick_check(recipe, *args, **kwargs)
        assert [*map(str, found)] == [] and not hasattr(found, "failed"), getattr(found, "failed", "")
        assert [*map(str, check_recipe(recipe, *args, **kwargs))] == []

@pytest.mark.parametrize("name, kind", [(name, kind) for name, (_, kinds, _) in CALLS.items() for kind in kinds])
def test_healthy_runs_are_silent(name, kind, pretrained, tmp_path):
    recipe, _, how = CALLS[name]
    before = sorted(p.name for p in tmp_path.iterdir())
    silent(recipe, made(kind), teacher=pretrained, **how(tmp_path))
    assert sorted(p.name for p in tmp_path.iterdir()) == before and dry() is None

def test_healthy_runs_without_labels_are_silent(pretrained, masked, tmp_path):
    before = sorted(p.name for p in tmp_path.iterdir())
    silent(distil_embedding, texts(), pretrained, layers=2, held_out=20, **FAST)
    silent(distil_embedding, texts(), pretrained, layers=0, held_out=20, **FAST)
    triples = pd.DataFrame(dict(query=texts(), positive=texts()[::-1], negative=texts()[9:] + texts()[:9], gap=[i % 5 for i in range(240)]))
    silent(distil_margins, triples[triples.positive != triples.negative], base=pretrained, layers=2, scores="gap", **FAST)
    silent(distil_words, corpus(), masked, held_out=.1, folder=tmp_path/"steps", **FAST)
    silent(distil_words, corpus().to_iterable_dataset(), masked, held_out=.1, **FAST)
    silent(distil_tinybert, made("classes"), pretrained, out=tmp_path/"g", student=SMALL, max_length=32, texts=texts(), **FAST)
    assert sorted(p.name for p in tmp_path.iterdir()) == before

def state():
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()

def weights(model): return {k: v.clone() for k, v in model.state_dict().items()}

@pytest.mark.slow
@pytest.mark.parametrize("name, kind", [("layers", "classes"), ("bilstm", "tags"), ("tinybert", "scores"), ("theseus", "several"),
                                        ("mobilebert", "pairs")])
def test_the_check_changes_no_bit(name, kind, pretrained, tmp_path):
    recipe, _, how = CALLS[name]
    def run(check, out):
        torch.manual_seed(7), np.random.seed(7), random.seed(7)
        done = recipe(made(kind), teacher=pretrained, check=check, baseline=False, **how(tmp_path/out))
        return weights(done.student), state(), {k: v for k, v in done.report.rows[-1].items() if k not in ("seconds", "ms", "spread")}
    a, b = run(False, "a"), run(True, "b")
    assert a[0].keys() == b[0].keys() and all(torch.equal(a[0][k], b[0][k]) for k in a[0])
    assert a[1:] == b[1:]

@pytest.mark.slow
def test_the_check_changes_no_bit_without_labels(pretrained, masked, tmp_path):
    for recipe, at, how in (distil_embedding, texts(), dict(teacher=pretrained, layers=2, held_out=20)), (
            distil_words, corpus(), dict(teacher=masked, held_out=.1, baseline=False)):
        found = []
        for check in False, True:
            torch.manual_seed(7)
            found.append((weights(recipe(at, check=check, **how, **FAST).student), torch.get_rng_state()))
        (a, s), (b, t) = found
        assert all(torch.equal(a[k], b[k]) for k in a) and torch.equal(s, t)

# What is wrong is said first

class Trained(Exception): "Somebody took a step."

@pytest.fixture
def no_step(monkeypatch):
    "A training is reached only if a test says so."
    def train(*args, **kwargs): raise Trained
    monkeypatch.setattr("distill_nb.training.distiller.Distiller.train", train)

def test_what_fails_after_the_teacher_fails_before_it(pretrained, no_step):
    with pytest.raises(InputError, match="student block 3.*no-check"):
        distil_layers(made("classes"), pretrained, layers=2, objective=HiddenMSE({3: 3}), **FAST)
    with pytest.raises(Trained): distil_layers(made("classes"), pretrained, layers=2, objective=HiddenMSE({3: 3}), check=False, **FAST)

def test_what_is_refused_at_once_is_refused_by_the_run_itself(pretrained, no_step):
    with pytest.raises(InputError) as e: distil_layers(made("classes"), pretrained, layers=9, **FAST)
    assert "no-check" not in str(e.value)

@pytest.mark.parametrize("stages, said", [
    ([Stage("a", 1e6 * HiddenMSE() + SoftTargets(T=1)), Stage("b", SoftTargets(T=1))], "HiddenMSE is 100"),
    ([Stage("a", HiddenMSE()), Stage("b", SoftTargets(T=1e4))], "SoftTargets has T=10000")])
def test_every_stage_is_looked_at(pretrained, tmp_path, no_step, stages, said):
    with pytest.warns(UserWarning, match=said), pytest.raises(Trained):
        distil_tinybert(made("classes"), pretrained, tmp_path/"t", stages=stages, student=SMALL, max_length=32, **FAST)

def test_a_student_that_nothing_trains_is_an_error(pretrained, tmp_path, no_step):
    def frozen(teacher):
        from distill_nb.recipes import tiny_student
        return tiny_student(teacher, **SMALL).requires_grad_(False)
    with pytest.raises(InputError, match="parameter's name|no weight"):
        distil_tinybert(made("classes"), pretrained, tmp_path/"t", student=frozen, max_length=32, **FAST)

def test_a_fault_of_the_check_stops_no_run(pretrained, monkeypatch):
    def broken(*args): raise KeyError("a fault")
    monkeypatch.setattr(lookahead, "suspicious", broken)
    with pytest.warns(UserWarning, match="check before the run failed .KeyError"):
        done = distil_layers(made("classes"), pretrained, layers=2, baseline=False, **FAST)
    assert done.report.rows[-1]["steps"] == 2
    with pytest.raises(KeyError): check_recipe(distil_layers, made("classes"), pretrained, layers=2)

def test_nested_recipes_look_once(pretrained, tmp_path, monkeypatch, no_step):
    looks = []
    monkeypatch.setattr(lookahead, "suspicious", lambda *a: looks.append(a) or [])
    with pytest.raises(Trained): distil_minilm(made("classes"), pretrained, tmp_path/"m", layers=2, **FAST)
    assert len(looks) == 1

def test_a_check_takes_few_rows(pretrained, monkeypatch):
    seen, real = [], base.tokenize
    monkeypatch.setattr(base, "tokenize", lambda task, *a: seen.append([len(r) for r in task.splits.values()]) or real(task, *a))
    task = made("classes", 3000)
    quick_check(distil_layers, task, pretrained, layers=2, **FAST)
    assert seen == [[48, 48, 48]]

def test_rows_with_labels_come_first():
    task = made("classes", 600)
    y = task["train"]["label"]
    hidden = replace(task, splits=DatasetDict({**task.splits, "train": task["train"].map(
        lambda r, i: dict(label=-100 if i < 400 else r["label"]), with_indices=True)}))
    some = few_rows(hidden, 40)["train"]
    assert len(some) == 40 and sum(v >= 0 for v in some["label"]) == 30
    assert few("text", 3) == "text" and len(few(Dataset.from_dict(dict(text=["a"] * 3000)), 3)) == lookahead.SPARE

# Checks of recipes

def named(tok, path, names, **how):
    "A teacher that knows its task, because its classifier reads single words: it says which of two words it saw."
    torch.manual_seed(0)
    config = BertConfig(**CONFIG | dict(num_hidden_layers=1, initializer_range=.1), **({} if names is None else dict(
        id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)})))
    model = AutoModelForSequenceClassification.from_config(config)
    model.save_pretrained(path), tok.save_pretrained(path)
    return str(path), model

def fitted(tok, path, task, names, flip=False):
    "The same, trained for some steps; `flip`: its two outputs change places afterwards."
    from distill_nb.data.tokens import tokenize
    from distill_nb.training import fit
    source, model = named(tok, path, names)
    fit(model, {"train": tokenize(task, tok, 16)["train"]}, tok, max_steps=150, learning_rate=5e-3, disable_tqdm=True, eval_strategy="no",
        per_device_train_batch_size=16, use_cpu=True, bf16=False)
    if flip:
        with torch.no_grad():
            for p in model.classifier.parameters(): p.copy_(p.flip(0))
    model.save_pretrained(path)
    return source

def two_words(n=600):
    rest = [" ".join(WORDS[7 + int(d)] for d in np.base_repr(i // 2 + 1296, 6)) for i in range(n)] # neither good nor bad
    df = pd.DataFrame(dict(text=[f"{'good' if i % 2 else 'bad'} {t}" for i, t in enumerate(rest)]))
    return make_task("two", dict(train=df.assign(label=["good" if i % 2 else "bad" for i in range(n)])))

@pytest.mark.parametrize("flip", [False, True])
def test_a_teacher_whose_nameless_classes_are_in_another_order(tok, tmp_path, flip):
    task = two_words()
    teacher = fitted(tok, tmp_path/"fitted", task, None, flip)
    call = lambda: distil_layers(task, teacher, layers=[0], **FAST)
    quick = quick_check(distil_layers, task, teacher, layers=[0], **FAST)
    full = check_recipe(distil_layers, task, teacher, layers=[0], **FAST)
    assert [f.what for f in quick.errors] == [f.what for f in full.errors if "outputs mean" in f.what] or flip
    assert ["outputs mean" in f.what for f in quick.errors] == [True] * flip
    assert any("does not name its classes" in f.what for f in full.warnings)
    if flip:
        with pytest.raises(InputError, match="outputs mean 'good', 'bad'"): call()

@pytest.mark.slow
def test_a_teacher_at_chance(tok, tmp_path):
    task = two_words()
    teacher = fitted(tok, tmp_path/"wrong", task, ["bad", "good"], flip=True)
    found = [str(f) for f in check_recipe(distil_layers, task, teacher, layers=[0], **FAST)]
    assert sum("no better than a constant answer" in f for f in found) == 1, found
    good = fitted(tok, tmp_path/"fitted", task, ["bad", "good"])
    assert [*check_recipe(distil_layers, task, good, layers=[0], **FAST)] == []

@pytest.mark.parametrize("wrong", [False, True])
def test_answers_in_another_order(pretrained, tmp_path, wrong):
    task = two_words()
    rows = [dict(text=t, bad=.9 if (y == 0) != wrong else .1, good=.1 if (y == 0) != wrong else .9) for part in task.splits.values()
            for t, y in zip(part["text"], part["label"])]
    pd.DataFrame(rows).to_csv(tmp_path/"a.csv", index=False)
    answers = read_answers(tmp_path/"a.csv", task, means="probabilities")
    call = dict(answers=str(tmp_path/"a.csv"), base=pretrained, shape=dict(layers=1), reading=dict(means="probabilities"), **FAST)
    found = check_recipe(distil_answers, task, **call)
    assert ["outputs mean" in f.what for f in found.errors] == [True] * wrong
    assert [f for f in found.warnings] == []

def test_a_padding_token_that_is_another_one(tok, tmp_path):
    source = folder(tok, tmp_path/"odd", pad_token_id=3)
    found = quick_check(distil_layers, made("classes"), source, layers=2, **FAST)
    assert [f.what for f in found] == ["the tokenizer pads with 0, the model's config.json says 3"]

def test_rows_without_special_tokens(tok, pretrained):
    from types import SimpleNamespace
    model = SimpleNamespace(config=SimpleNamespace(pad_token_id=0))
    whole, bare = Dataset.from_dict(dict(input_ids=[[2, 5, 3]])), Dataset.from_dict(dict(input_ids=[[5, 6]]))
    assert base.special_tokens(whole, tok, model) == []
    assert base.special_tokens(bare, tok, model)[0].what == "the rows have no [CLS]"

def test_texts_that_are_cut(pretrained):
    df = pd.DataFrame(dict(text=[t * 1 + " film" * 40 for t in texts(60)], label=["a", "b"] * 30))
    task = make_task("long", dict(train=df))
    assert any("16 tokens or more" in f.what for f in quick_check(distil_layers, task, pretrained, layers=2, max_length=16, **FAST))
    assert [*quick_check(distil_layers, task, pretrained, layers=2, max_length=64, **FAST)] == []

def test_a_full_disk_is_seen_before_the_stages(pretrained, tmp_path, monkeypatch):
    import shutil
    monkeypatch.setattr(shutil, "disk_usage", lambda p: shutil._ntuple_diskusage(10, 10, 0))
    found = quick_check(distil_tinybert, made("classes"), pretrained, out=tmp_path/"t", student=SMALL, max_length=32, **FAST)
    assert ["the stages" in f.what for f in found.errors] == [True]
    found = quick_check(distil_layers, made("classes"), pretrained, layers=2, out=str(tmp_path/"runs"), save_strategy="epoch", **FAST)
    assert found.errors and "checkpoints" in found.errors[0].what

# The report

def test_a_student_at_chance_is_told_in_the_report(pretrained):
    task = made("classes")
    done = distil_layers(task, pretrained, layers=1, baseline=False, check=False, learning_rate=1e-9, **FAST)
    last = done.report.rows[-1] | dict(accuracy=.01)
    assert "no better than a constant answer" in base.student_line([last], task)
    assert ("no better" in done.report.note) == base.no_better(done.report.rows[-1], task)
    for kind in KINDS[2:]: base.student_line([dict(model="student, distilled", pearson=.9, f1_micro=.9, entity_f1=.9)], made(kind))

def test_draws_are_put_back():
    before = state()
    with dry_run(): torch.rand(2), np.random.rand(2), random.random()
    assert state() == before
