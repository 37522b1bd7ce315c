"""What makes or mixes tensors, on a GPU; where there is none, `pytest -p pretend_gpu tests/on_device.py`, which tests/test_devices.py runs.

The models are on the device, batches where they belong; every test ends with a gradient or a number that is the CPU's."""
import copy
from functools import partial
import pandas as pd
import pytest, torch
from datasets import Dataset
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, BertConfig, BertForMaskedLM, DataCollatorWithPadding
from builders import WORDS, bert
from families import EXTRA, V, build
from distill_nb.teachers.load import knows_task, load_teacher
from distill_nb.kit.models import note, longest
from distill_nb.inside.attention_maps import attention_pair, head_losses
from distill_nb.words.augmenter import Augmenter, augment
from distill_nb.students.bilstm import lstm_student
from distill_nb.recipes.bilstm import distil_bilstm
from distill_nb.teachers.cache import cache_teacher
from distill_nb.teachers.columns import KeepAnswers, cached_outputs
from distill_nb.inside.capture import trace
from distill_nb.data.corpus import count_tokens, sequences
from distill_nb.words.hiding import HideWords, rare_weights
from distill_nb.data.tasks import make_task
from distill_nb.data.tokens import tokenize
from distill_nb.students.distilbert import to_distilbert
from distill_nb.measure.scores import evaluate, predict
from distill_nb.measure.report import Report, latencies, latency
from distill_nb.recipes.distilbert import distil_words
from distill_nb.students.layers import block_influence, choose_layers
from distill_nb.losses import *
from distill_nb.words.head import fit_head, perplexity
from distill_nb.students.narrow import NARROW, narrow_student
from distill_nb.recipes.layers import distil_layers
from distill_nb.students.copied import init_student
from distill_nb.losses.temperature import entropy, soften
from distill_nb.students.slots import choosing, find_slots, successor, theseus
from distill_nb.recipes.theseus import distil_theseus
from distill_nb.recipes.tinybert import distil_tinybert
from distill_nb.students.transfer import transfer_report
from distill_nb.inside.blocks import describe
from distill_nb.words.chunks import HardWords, SoftWords, has_words, masked_logits
from distill_nb.data.vectors import WordVectors, embedding_vectors, piece_means

DEVICE = torch.device("cuda:0" if torch.cuda.is_available() else "pretend:0")
def there(x): return {k: v.to(DEVICE) for k, v in x.items()} if isinstance(x, dict) else x.to(DEVICE)
def grads(model): return [p.grad.cpu() for p in model.parameters() if p.grad is not None]
def close(a, b): torch.testing.assert_close(a.cpu(), b.cpu(), atol=1e-4, rtol=1e-3)

@pytest.fixture(autouse=True)
def seeded(): torch.manual_seed(0)

def batch(labels=(0, 1, -100), words=13, pad=0):
    ids = torch.randint(5, words, (3, 7), generator=torch.Generator().manual_seed(1))
    seen = torch.ones_like(ids)
    ids[0, 4:], seen[0, 4:] = pad, 0
    return dict(input_ids=ids, attention_mask=seen, labels=torch.tensor(labels))

def test_mixing_is_an_error():
    x, y = torch.ones(2, 3), there(torch.ones(2, 3))
    for mix in (lambda: x + y, lambda: x @ y.T, lambda: torch.cat([x, y]), lambda: torch.where(y > 0, x, y), lambda: y.mul_(x), lambda: torch.nn.Linear(3, 2)(y)):
        with pytest.raises(RuntimeError, match="same device|two devices"): mix()
    assert (y + torch.tensor(1.)).device == DEVICE and y[torch.tensor([1, 0])].shape == (2, 3) # a number, and indices, may come from the CPU

def pair(**kw): return bert(2, initializer_range=.3, **kw), bert(4, initializer_range=.4, **kw)

def both(make, inputs):
    "The same on the CPU and on the device: losses and gradients."
    found = []
    for place in (lambda x: x), there:
        objective, student, teacher = [place(m) for m in make()]
        rows = place(inputs)
        with torch.no_grad(): t = trace(teacher, rows, objective.needs)
        losses = objective(trace(student, rows, objective.needs), t, rows)
        student.zero_grad()
        sum(losses.values()).backward()
        found.append((list(losses.values()), grads(student) + grads(objective)))
    for a, b in zip(*found):
        assert len(a) == len(b) and len(a)
        for x, y in zip(a, b): close(x.detach(), y.detach())

TERMS = {"soft": SoftTargets(T=3), "reference": SoftTargets(T=2), "hard": HardTargets(), "logits": LogitMSE(), "cosine": CosineHidden(), "hidden": HiddenMSE(),
         "cls": ClsMSE(), "attention": AttentionMSE(), "kl": AttentionKL(), "relations": Relations("qkv", heads=2), "sum": SoftTargets(T=2) + 2*HardTargets() + HiddenMSE()}

@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("kind", ["classes", "scores"])
def test_terms(name, kind):
    if kind == "scores" and name not in ("hard", "logits", "hidden"): return
    more = dict(num_labels=1, problem_type="regression") if kind == "scores" else {}
    y = (0., 1.5, float("nan")) if kind == "scores" else (0, 1, -100)
    def make():
        student, teacher = pair(**more)
        if name in ("hidden", "sum"): # with a projection
            torch.manual_seed(0)
            student = AutoModelForSequenceClassification.from_config(BertConfig(**{**student.config.to_diff_dict(), "hidden_size": 8}))
        torch.manual_seed(0)
        return as_objective(copy.deepcopy(TERMS[name])).bind(student, teacher), student, teacher
    both(make, batch(y))

WORD_TERMS = {"hard": HardWords(), "soft": SoftWords(T=2.), "labels": SoftWords(unit="labels"), "both": HardWords() + 3*SoftWords() + CosineHidden()}

@pytest.mark.parametrize("name", WORD_TERMS)
@pytest.mark.parametrize("family", ["bert", "modernbert", "distilbert"])
def test_word_terms(name, family):
    rows = batch(words=V, pad=1)
    rows["labels"] = torch.where(torch.rand(3, 7, generator=torch.Generator().manual_seed(2)) < .4, rows["input_ids"], -100)
    def make():
        teacher = build(family, AutoModelForMaskedLM)
        return as_objective(copy.deepcopy(WORD_TERMS[name])), init_student(teacher, [0, 2]), teacher
    both(make, rows)

@pytest.mark.parametrize("family", EXTRA)
def test_families(family):
    "Every part that can be recorded, the answers, and a student."
    teacher, rows = build(family), batch(words=V, pad=1)
    rows.pop("labels")
    here = trace(teacher, rows, {"logits", "hidden_states"})
    teacher = there(teacher)
    out = trace(teacher, there(rows), {"logits", "hidden_states"})
    close(here.logits, out.logits)
    assert all(h.device == DEVICE for h in out.hidden_states)
    student = init_student(teacher, [0, 2])
    assert student.device == DEVICE and describe(student)["depth"] == 2 and longest(student) == longest(teacher)
    assert transfer_report(teacher, student).new == []

@pytest.mark.parametrize("part", ["scores", "queries", "keys", "values"])
@pytest.mark.parametrize("family", ["bert", "distilbert", "modernbert", "roberta"])
def test_recorded_attention(part, family):
    teacher, rows = build(family), batch(words=V, pad=1)
    here = getattr(trace(teacher, rows, {part}), part)
    for a, b in zip(here, getattr(trace(there(teacher), there(rows), {part}), part)): close(a.clamp(min=-1e4), b.clamp(min=-1e4))

@pytest.mark.parametrize("how", NARROW)
def test_narrow_students(how):
    teacher = bert(4, initializer_range=.3)
    here = narrow_student(teacher, [0, 2], 8, 2, 16, start=how)
    student = narrow_student(there(teacher), [0, 2], 8, 2, 16, start=how)
    assert student.device == DEVICE
    for n, x in here.state_dict().items(): close(x, student.state_dict()[n])

def test_other_students(tok):
    teacher = there(bert(4))
    small = to_distilbert(teacher, [0, 2])
    assert small.device == DEVICE and small(**{k: v for k, v in there(batch()).items()}).logits.device == DEVICE
    vectors = WordVectors(["good", "bad"], torch.eye(2, 8))
    for start in "teacher", "random", vectors:
        student = lstm_student(teacher, tok, pairs=True, start=start, embedding_size=8, hidden_size=3)
        student(**there(batch((0, 1, 0)))).loss.backward()
        assert student.device == DEVICE and grads(student)

def test_theseus_models():
    teacher = there(bert(4))
    model = theseus(teacher, 2).train()
    assert find_slots(model).passes.device == DEVICE
    for which in [0, 1], [1, 1], None:
        with choosing(model, which or [0, 0]): model(**there(batch((0, 1, 0)))).loss.backward()
    model(**there(batch((0, 1, 0)))).loss.backward()
    assert successor(model).device == DEVICE

def frame(n=40, **kw): return pd.DataFrame(dict(text=[f"{w} film very {WORDS[5 + i % 8]}" + f" {i}" for i in range(n // 2) for w in ("good", "bad")],
                                                label=["good", "bad"] * (n // 2), **kw))
def task(): return make_task("toy", dict(train=frame()))

def test_measuring(tok):
    rows, (student, teacher) = tokenize(task(), tok, 16), map(there, pair())
    teacher.config.id2label, teacher.config.label2id = {0: "bad", 1: "good"}, {"bad": 0, "good": 1}
    z = predict(teacher, rows["test"], tok)
    close(z, predict(teacher.cpu(), rows["test"], tok))
    teacher = there(teacher)
    assert evaluate(teacher, task(), tok)["accuracy"] >= 0 and latency(student, repeats=2, warmup=0).device == DEVICE.type
    Report("any", "accuracy").add("student", dict(accuracy=.5), student)
    batches = [there(batch())]
    assert choose_layers(teacher, 2, "measured", batches) and block_influence(teacher, batches)
    assert head_losses(student, teacher, there(batch())).shape == (2, 2)
    assert attention_pair(student, teacher, tok, "good bad film").student[0].shape == (2, 5, 5)
    assert entropy(soften(there(z), 2.)).device == DEVICE

def test_cached_answers(tok, tmp_path):
    rows, teacher = tokenize(task(), tok, 16)["train"], there(bert(4))
    for kw in {}, dict(states=True):
        done = cache_teacher(teacher, rows, tok, folder=tmp_path/str(len(kw)), **kw)
        some = there(dict(KeepAnswers(DataCollatorWithPadding(tok))([done[i] for i in range(3)])))
        assert cached_outputs(some).logits.device == DEVICE
    lm = there(word_model())
    done = cache_teacher(lm, rows.remove_columns("labels"), tok, top_k=3, folder=tmp_path/"words")
    some = there(dict(KeepAnswers(DataCollatorWithPadding(tok))([{k: v for k, v in done[i].items()} for i in range(3)])))
    assert cached_outputs(some, len(WORDS)).logits.device == DEVICE

def word_model():
    torch.manual_seed(0)
    return BertForMaskedLM(BertConfig(vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32,
                                      max_position_embeddings=32, initializer_range=.3)).eval()

def corpus(n=120): return [" ".join(WORDS[5 + (i * 7 + j * (1 + i % 3)) % 8] for j in range(8 + i % 9)) + f" {i}" for i in range(n)]

def test_hidden_words(tok):
    lm = there(word_model())
    rows = sequences(Dataset.from_dict(dict(text=corpus())), tok, max_length=16)
    counts = count_tokens(rows, len(WORDS))
    for how in {}, dict(weights=rare_weights(counts, tok.all_special_ids)):
        some = HideWords(tok, **how)([rows[i] for i in range(4)])
        mask = some["labels"] != -100
        z = masked_logits(lm, some, mask) # from a collator on the CPU
        close(z, masked_logits(lm, there(dict(some)), there(mask)))
    assert has_words(lm) and perplexity(lm, tok, corpus(20)) > 1
    assert embedding_vectors(lm, tok).matrix.device.type == "cpu" and piece_means(["goodbad"], lm, tok) is not None

def test_new_texts(tok, tmp_path):
    aug = Augmenter(there(word_model()), tok, n=3)
    assert augment(task(), aug, folder=tmp_path)["train"].num_rows > 20

QUICK = dict(max_steps=2, eval_strategy="no", disable_tqdm=True, logging_steps=1, per_device_train_batch_size=4)
SHORT = dict(max_length=16, teacher_settings=QUICK)

@pytest.mark.parametrize("recipe", ["layers", "bilstm", "theseus", "tinybert"])
def test_recipes(recipe, headless, tmp_path, monkeypatch):
    monkeypatch.setattr("distill_nb.measure.report.latencies", partial(latencies, repeats=1, warmup=0))
    run = dict(layers=lambda: distil_layers(task(), headless, 2, objective=SoftTargets(T=2) + HiddenMSE() + AttentionMSE(), **SHORT, **QUICK),
               bilstm=lambda: distil_bilstm(task(), headless, student=dict(embedding_size=8, hidden_size=4, head_size=4), **SHORT, **QUICK),
               theseus=lambda: distil_theseus(task(), headless, 2, post_settings=QUICK, **SHORT, **QUICK),
               tinybert=lambda: distil_tinybert(task(), headless, tmp_path/"t", student=dict(n_layers=2, hidden_size=8, intermediate_size=16), texts=corpus(8),
                                         **SHORT, **QUICK))
    done = run[recipe]()
    assert done.student.device == DEVICE
    done.save(tmp_path/"s")
    assert knows_task(load_teacher(tmp_path/"s"))

def test_the_general_recipe(tok, tmp_path, monkeypatch):
    monkeypatch.setattr("distill_nb.measure.report.latencies", partial(latencies, repeats=1, warmup=0))
    word_model().save_pretrained(tmp_path/"t")
    tok.save_pretrained(tmp_path/"t")
    done = distil_words(Dataset.from_dict(dict(text=corpus())), str(tmp_path/"t"), layers=2, text=dict(max_length=16), **{**QUICK, "per_device_train_batch_size": 8})
    assert done.student.device == DEVICE
    lm = word_model()
    note(lm, knows_words=False)
    assert fit_head(lm, tok, corpus(), max_length=16, **{k: v for k, v in QUICK.items() if k != "eval_strategy"}).after > 1

def test_a_packed_training_in_rows(tok, tmp_path):
    "As on a GPU: rows of several texts; the losses are those of padded batches."
    from distill_nb.training import Distiller, training_args
    losses = []
    for packs in False, True:
        torch.manual_seed(0)
        student, teacher = there(bert(1)), there(bert(2))
        args = training_args(tmp_path, max_steps=3, eval_strategy="no", logging_steps=1, disable_tqdm=True, per_device_train_batch_size=16, bf16=False)
        run = Distiller(student, teacher, SoftTargets(T=2), args, train_dataset=tokenize(task(), tok, max_length=32)["train"], processing_class=tok)
        if packs:
            run.pack_tokens()
            if DEVICE.type != "cuda": run.data_collator.row = 32 # a pretended GPU is no GPU to `pack_tokens`
        run.show_bar("").train()
        losses.append(list(run.history()["loss"]))
    close(torch.tensor(losses[0]), torch.tensor(losses[1]))

@pytest.mark.skipif(DEVICE.type != "cuda", reason="counts how often a GPU's queue is waited for")
@pytest.mark.parametrize("objective", ["logits", "hidden", "attention", "minilm"])
@pytest.mark.parametrize("packs", [False, True])
def test_a_step_does_not_wait_for_the_gpu(objective, packs, tok, tmp_path):
    import warnings
    from transformers import TrainerCallback
    from distill_nb.training import Distiller, training_args
    wanted = dict(logits=SoftTargets(T=2), hidden=HiddenMSE() + SoftTargets(), attention=AttentionMSE(), minilm=Relations("qkv", heads=2))[objective]
    class Watch(TrainerCallback):
        seen = None
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step != 8: return
            self.catch = warnings.catch_warnings(record=True)
            self.seen = self.catch.__enter__()
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step != 10: return
            torch.cuda.set_sync_debug_mode("default")
            self.catch.__exit__(None, None, None)
    args = training_args(tmp_path, max_steps=12, eval_strategy="no", logging_steps=100, logging_first_step=False, disable_tqdm=True, per_device_train_batch_size=16)
    run = Distiller(there(bert(2)), there(bert(4)), wanted, args, train_dataset=tokenize(task(), tok, max_length=32)["train"], processing_class=tok, callbacks=[watch := Watch()])
    if packs: run.pack_tokens()
    run.show_bar("").train()
    waits = [str(w.message) for w in watch.seen if "synchron" in str(w.message)]
    # accelerate's loader waits for one flag per epoch at most
    assert len(waits) <= 1, waits
