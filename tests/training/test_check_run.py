"Each mistake that a dry step names is made on purpose, and every named objective is silent on a healthy run."
import json
import pytest
import torch
from datasets import Dataset
from safetensors import safe_open
from transformers import AutoModelForSequenceClassification, BertConfig
from builders import OBJECTIVES, PLAIN, TRIPLE, WORDS, Margin, bert, collate, lm_rows, narrow, rows, sharp, small_lm, weights
from distill_nb.kit.errors import InputError
from distill_nb.kit.findings import dry_run
from distill_nb.kit.models import note
from distill_nb.losses import AttentionMSE, CosineHidden, HardTargets, HiddenMSE, LogitMSE, SoftTargets, Term
from distill_nb.students import init_student
from distill_nb.training import Distiller, check_run, fit, training_args
from distill_nb.training import dry_step as page, machine
from distill_nb.training.dry_step import STEP_CHECKS, dry_step, gradient_shares
from distill_nb.training.finite import BATCH
from distill_nb.training.machine import (
    MACHINE_CHECKS, activation_bytes, checkpoint_bytes, disk_room, free_memory, full_memory, much_padding, needed_memory, planned_steps)
from distill_nb.words import WordDistiller

def make(tok, tmp_path, objective, student=None, teacher=None, data=None, **settings):
    teacher = sharp() if teacher is None else teacher
    own = {k: settings.pop(k) for k in ("optimizers",) if k in settings}
    args = training_args(tmp_path, **{**PLAIN, **settings})
    return Distiller(student or init_student(teacher, [0, 3]), teacher, objective, args, train_dataset=data or rows(tok), processing_class=tok, **own)

@pytest.fixture(autouse=True)
def a_processor_of_float32(monkeypatch):
    "The machine that runs the tests may multiply bf16, which would be a finding of every run."
    monkeypatch.setattr(machine, "fast_bf16", lambda use_cpu=False: False)

def said(found): return [f.what for f in found]

@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("thin", [False, True])
def test_healthy_objectives_are_silent(tok, tmp_path, name, thin):
    if thin and name in ("cosine", "all", "pkd"): return # they want equal widths, and say so
    run = make(tok, tmp_path, OBJECTIVES[name], narrow() if thin else None)
    before, modes = weights(run.model), [m.training for m in run.model.modules()]
    state, teacher = torch.get_rng_state(), weights(run.teacher)
    assert said(check_run(run)) == []
    assert weights(run.model).equal(before) and weights(run.teacher).equal(teacher) and torch.get_rng_state().equal(state)
    assert [m.training for m in run.model.modules()] == modes and run.optimizer is None
    assert all(p.grad is None for p in run.model.parameters())

def test_a_run_that_was_looked_at_takes_the_same_steps(tok, tmp_path):
    def trained(look):
        torch.manual_seed(3)
        teacher = sharp()
        student = AutoModelForSequenceClassification.from_config(BertConfig(**teacher.config.to_dict() | dict(hidden_dropout_prob=.2)))
        run = make(tok, tmp_path, 5*SoftTargets(T=2) + HardTargets() + HiddenMSE(), student, teacher, max_steps=3, learning_rate=.01)
        if look: check_run(run)
        run.show_bar("x").train()
        return weights(run.model)
    assert trained(False).equal(trained(True))

def test_words_are_looked_at(tmp_path, tok):
    lm = small_lm(4, vocab_size=len(WORDS))
    run = WordDistiller(small_lm(2), lm, TRIPLE(), training_args(tmp_path, **PLAIN), train_dataset=Dataset.from_list(lm_rows()),
                        data_collator=lambda some: collate(tok, some))
    assert said(check_run(run)) == []

# Planted mistakes, one for each check

def loud():
    "A teacher whose logits lie far apart."
    teacher = sharp()
    teacher.classifier.weight.data *= 50
    return teacher

def test_a_term_that_drowns_the_others(tok, tmp_path):
    assert any("LogitMSE is 100" in s for s in said(check_run(make(tok, tmp_path, 1e5 * LogitMSE() + HardTargets(), teacher=loud()))))
    assert said(check_run(make(tok, tmp_path, LogitMSE()))) == [] # alone it has nobody to drown

def test_a_term_that_is_next_to_nothing(tok, tmp_path):
    found = said(check_run(make(tok, tmp_path, SoftTargets(T=2) + HardTargets() + 1e-4 * LogitMSE(), teacher=loud())))
    assert len(found) == 1 and found[0].startswith("LogitMSE is 0.00")

def test_a_large_loss_with_a_small_slope_is_left_alone(tok, tmp_path):
    class Offset(Term):
        def forward(self, s, t, batch): return 1e4 + (s.logits - t.logits).square().mean()
    run = make(tok, tmp_path, Offset() + HardTargets())
    shares = gradient_shares(run, dry_step(run))
    assert min(shares.values()) > .01 and not [s for s in said(check_run(run)) if "first loss" in s]

def test_a_frozen_student(tok, tmp_path):
    run = make(tok, tmp_path, SoftTargets(T=2))
    run.student.requires_grad_(False)
    assert "no weight of the student is trained" in said(check_run(run).errors)

def test_a_teacher_that_says_one_thing(tok, tmp_path):
    teacher = sharp()
    teacher.classifier.weight.data.zero_()
    assert any("different texts alike" in s for s in said(check_run(make(tok, tmp_path, SoftTargets(T=2), teacher=teacher))))

def test_a_teacher_with_a_fresh_head(tok, tmp_path):
    run = make(tok, tmp_path, SoftTargets(T=2), teacher=note(sharp(), knows_task=False))
    assert said(check_run(run).errors) == ["the teacher's head is untrained"]
    inside = make(tok, tmp_path, HiddenMSE(), teacher=note(sharp(), knows_task=False)) # nobody reads the head
    assert said(check_run(inside)) == []
    teacher = note(sharp(), knows_task=False)
    fit(teacher, {"train": rows(tok)}, tok, **PLAIN)
    assert said(check_run(make(tok, tmp_path, SoftTargets(T=2), teacher=teacher))) == []

def test_a_teacher_in_training_mode(tok, tmp_path):
    run = make(tok, tmp_path, SoftTargets(T=2))
    run.teacher.bert.encoder.layer[1].train()
    assert said(check_run(run).errors) == ["the teacher is in training mode"]

def test_weights_that_both_have(tok, tmp_path):
    run = make(tok, tmp_path, SoftTargets(T=2))
    run.student.bert.embeddings = run.teacher.bert.embeddings
    assert any("share 5 trained tensors" in s for s in said(check_run(run).errors))
    run.student.bert.embeddings.requires_grad_(False)
    assert said(check_run(run)) == []

@pytest.mark.parametrize("break_it, what", [
    (lambda out: setattr(out, "scores", ()), "gives 0 of"), (lambda out: setattr(out, "scores", None), "gives 0 of"),
    (lambda out: setattr(out, "scores", tuple(x and None for x in ()) or out.scores[:1]), "gives 1 of 2"),
    (lambda out: setattr(out, "scores", tuple(x if x is None else torch.zeros_like(x) for x in out.scores)), "constant numbers")])
def test_attention_that_was_not_captured(tok, tmp_path, break_it, what):
    run = make(tok, tmp_path, AttentionMSE())
    for side in "student", "teacher":
        step = dry_step(run)
        assert page.lost_attention(run, step) == []
        break_it(getattr(step, side))
        (found,) = page.lost_attention(run, step)
        assert found.error and side in found.what and (what in found.what or "of" in found.what)

def test_a_projection_outside_the_optimizer(tok, tmp_path):
    student = narrow()
    run = make(tok, tmp_path, HiddenMSE(), student, optimizers=(torch.optim.SGD(student.parameters(), lr=.1), None))
    assert any("projection" in s for s in said(check_run(run).errors)) and run.optimizer is not None
    whole = make(tok, tmp_path, HiddenMSE(), narrow())
    whole.optimizer = torch.optim.SGD(whole.model.parameters(), lr=.1)
    assert said(check_run(whole)) == []
    whole.optimizer = torch.optim.SGD([*whole.model.parameters(), *whole.teacher.parameters()], lr=.1)
    assert said(check_run(whole).errors) == ["the optimizer has weights of the teacher"]

@pytest.mark.parametrize("T, what", [(1e5, "all classes"), (.01, "likeliest")])
def test_temperatures_that_leave_nothing(tok, tmp_path, T, what):
    found = [str(f) for f in check_run(make(tok, tmp_path, SoftTargets(T=T))) if "T=" in f.what]
    assert len(found) == 1 and what in found[0]

class Sum(Term):
    needs = frozenset({"hidden_states"})
    def forward(self, s, t, batch): return (s.hidden_states[-1] - t.hidden_states[-1]).square().sum()

class Padded(Term):
    "A mean over all places, padding too."
    needs = frozenset({"hidden_states"})
    def forward(self, s, t, batch):
        real = batch["attention_mask"][..., None]
        return (real * (s.hidden_states[-1] - t.hidden_states[-1]).square()).mean()

@pytest.mark.parametrize("term, what", [(Sum, "the rows twice"), (Padded, "more padding")])
def test_terms_that_are_no_means(tok, tmp_path, term, what):
    found = said(check_run(make(tok, tmp_path, term())))
    assert any(what in s for s in found), found
    assert said(check_run(make(tok, tmp_path, Margin(.9)))) == []

def test_a_loss_that_is_no_number_hides_nothing_else(tok, tmp_path):
    run = make(tok, tmp_path, LogitMSE() + HardTargets())
    run.student.classifier.bias.data[0] = float("nan")
    assert said(check_run(run)) == ["the first loss of LogitMSE, HardTargets is not finite"]

def test_a_teacher_that_will_be_tuned_counts_as_trained(tok, tmp_path):
    "Its fresh head answers nearly alike, and losses on that would mislead."
    teacher = note(bert(), knows_task=False)
    with dry_run() as found:
        fit(teacher, {"train": rows(tok)}, tok, **PLAIN)
        fit(init_student(teacher, [0, 3]), {"train": rows(tok)}, tok, 5*SoftTargets(T=2) + 2*HardTargets() + CosineHidden(), teacher, **PLAIN)
    assert said(found) == []
    with dry_run() as found:
        fit(teacher, {"train": rows(tok)}, tok, **PLAIN)
        fit(init_student(teacher, [0, 3]), {"train": rows(tok)}, tok, 1e5*LogitMSE() + HardTargets(), teacher, **PLAIN)
    assert any("LogitMSE" in s for s in said(found))

# The machine

def test_half_precision_weights_are_refused_as_ever(tok, tmp_path):
    with pytest.raises(InputError, match="bfloat16"): make(tok, tmp_path, SoftTargets(T=2), init_student(sharp(), [0]).bfloat16())

def test_eager_attention(tok, tmp_path):
    teacher = sharp()
    teacher.set_attn_implementation("eager")
    assert "the teacher has eager attention" in said(check_run(make(tok, tmp_path, SoftTargets(T=2), init_student(sharp(), [0]), teacher)))

def test_float32_where_bf16_is_there(tok, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "fast_bf16", lambda use_cpu=False: True)
    assert said(check_run(make(tok, tmp_path, SoftTargets(T=2)))) == ["the run computes in float32, and this machine multiplies bf16"]
    monkeypatch.setattr(machine, "autocast_fault", lambda m: "it cannot")
    assert said(check_run(make(tok, tmp_path, SoftTargets(T=2)))) == []

def test_batches_of_padding(tok, tmp_path):
    texts = ["good film " * (1 + 30 * (i % 2)) for i in range(64)]
    data = Dataset.from_dict({**tok(texts), "labels": [0, 1] * 32})
    mixed = make(tok, tmp_path, SoftTargets(T=2), data=data, train_sampling_strategy="random", per_device_train_batch_size=8)
    assert any("is padding" in s for s in said(check_run(mixed)))
    even = Dataset.from_dict({**tok(["good film"] * 64), "labels": [0, 1] * 32})
    assert much_padding(make(tok, tmp_path, SoftTargets(T=2), data=even, train_sampling_strategy="random")) == []
    stream = make(tok, tmp_path, SoftTargets(T=2), data=data.to_iterable_dataset())
    assert much_padding(stream) == [] and said(check_run(stream)) == []

def test_memory_that_is_not_there(tok, tmp_path, monkeypatch):
    run = make(tok, tmp_path, SoftTargets(T=2))
    assert 0 < needed_memory(run) < free_memory("cpu")
    monkeypatch.setattr(machine, "free_memory", lambda device: 1000)
    (found,) = full_memory(run)
    assert "GB are free" in found.what and "batch" in found.do
    assert activation_bytes(run.student.config, 8, 128, half=True) * 2 == activation_bytes(run.student.config, 8, 128)

def test_disks_that_are_full(tok, tmp_path, monkeypatch):
    run = make(tok, tmp_path, SoftTargets(T=2), save_strategy="steps", save_steps=1, max_steps=10)
    few = make(tok, tmp_path, SoftTargets(T=2), save_strategy="steps", save_steps=1, save_total_limit=2)
    assert checkpoint_bytes(run, 10) > checkpoint_bytes(few, 10) > 0 == checkpoint_bytes(make(tok, tmp_path, SoftTargets(T=2)), 10)
    assert disk_room(tmp_path/"a"/"b", 10, "x") == [] and disk_room(tmp_path/"a", 10**18, "x")[0].error
    assert not (tmp_path/"a").exists() and planned_steps(run.args, 5) == 10

def test_every_check_is_in_a_list():
    named = {n for m in (page, machine) for n, f in vars(m).items() if callable(f) and getattr(f, "__module__", "") == m.__name__
             and f.__annotations__.get("return") is list and not n.startswith("_")}
    parts = {"attention_faults", "disk_room", "first_rows", "odd_losses"} # called by others
    assert {f.__name__ for f in STEP_CHECKS + MACHINE_CHECKS} == named - parts

# Numbers that are none

class Root(Term):
    "Zero for logits of zero, with an infinite slope there."
    needs_teacher = False
    def forward(self, s, t, batch): return s.logits.square().sum(-1).sqrt().mean()

def blank():
    student = bert()
    for p in student.classifier.parameters(): p.data.zero_()
    return student

@pytest.mark.parametrize("clip", [0., 1.])
def test_a_gradient_of_nan_stops_before_the_weights(tok, tmp_path, clip):
    student = blank()
    before = weights(student)
    run = make(tok, tmp_path, Root() + HardTargets(), student, max_grad_norm=clip, max_steps=3)
    with pytest.raises(InputError, match="step 1: a loss or a gradient that is NaN or infinite.*Its batch is in"): run.show_bar("x").train()
    assert weights(student).equal(before)
    (file,) = tmp_path.glob(f"{BATCH}*")
    with safe_open(file, "pt") as kept:
        told, ids = json.loads(kept.metadata()["distill_nb"]), kept.get_tensor("0.input_ids")
        assert kept.get_tensor("0.student_logits").shape == (len(ids), 2) and ids.shape[0] == min(32, len(rows(tok)))
    assert told["step"] == 1 and "classifier.weight" in told["gradients"] and told["weights"] == [] and {*told["parts"]} == {"Root", "HardTargets"}

def test_the_batch_of_a_bad_loss_is_kept_where_no_folder_was_named(tok):
    import re, shutil
    from pathlib import Path
    teacher = sharp()
    teacher.classifier.bias.data[0] = float("nan")
    with pytest.raises(InputError, match="teacher's weights are not all numbers") as e:
        fit(init_student(sharp(), [0]), {"train": rows(tok)}, tok, SoftTargets(T=2), teacher, cache=False, **PLAIN)
    file = Path(re.search(r"Its batch is in (\S+\.safetensors)", str(e.value))[1])
    with safe_open(file, "pt") as kept: assert "0.labels" in [*kept.keys()]
    shutil.rmtree(file.parent)

def test_the_second_step_is_the_one_that_is_kept(tok, tmp_path):
    run = make(tok, tmp_path, HardTargets() + LogitMSE(), max_steps=4, per_device_train_batch_size=8, train_sampling_strategy="sequential")
    real, calls = run.compute_loss, []
    def poisoned(model, inputs, *a, **k):
        calls.append(inputs["input_ids"].tolist())
        out = real(model, inputs, *a, **k)
        return out * float("nan") if len(calls) == 3 else out
    run.compute_loss = poisoned
    with pytest.raises(InputError, match="step 3"): run.show_bar("x").train()
    (file,) = tmp_path.glob(f"{BATCH}*")
    with safe_open(file, "pt") as kept:
        assert [kept.get_tensor(f"{i}.input_ids").tolist() for i in (0, 1)] == calls[1:]
        assert json.loads(kept.metadata()["distill_nb"])["step"] == 3

@pytest.mark.parametrize("name, value", [("max_steps", 0), ("max_steps", -2), ("num_train_epochs", 0), ("learning_rate", 0.), ("per_device_train_batch_size", 0)])
def test_a_training_of_nothing_is_refused(name, value, tmp_path):
    "Trainer would take one step for 0 of them."
    with pytest.raises(InputError, match=f"{name}={value}: expected a number above 0"): training_args(tmp_path, **{name: value})
    assert training_args(tmp_path, max_steps=-1).max_steps == -1
