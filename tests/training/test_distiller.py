"The Distiller: what it trains, what it leaves alone, what it saves, and that counting is right."
import json, math, shutil, subprocess, sys
from pathlib import Path
from types import SimpleNamespace
import pytest, torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import nn
import transformers
from transformers import (AutoModelForQuestionAnswering, AutoModelForSequenceClassification, BertConfig, DataCollatorWithPadding,
                          DebertaV2Config, DistilBertConfig, TrainingArguments)

from builders import bert, make_tokenizer, narrow, OBJECTIVES, PLAIN, rows, sharp, train, weights, WORDS
from distill_nb.deploy.export import ready_tokenizer
from distill_nb.teachers.cache import cache_teacher
from distill_nb.inside.capture import trace
from distill_nb.kit.errors import InputError
from distill_nb.measure.scores import predict
from distill_nb.kit.models import evaluating
from distill_nb.losses import (
    AttentionMSE, CosineHidden, HardTargets, HiddenMSE, Relations, SoftTargets)
from distill_nb.students.copied import init_student
from distill_nb.training.saving import save_student
from distill_nb.training.run import fit
from families import EXTRA, build
from distill_nb.training.distiller import Distiller, place
from distill_nb.training.checks import check_pair
from distill_nb.training.settings import check_gpus, fast_bf16, training_args
from distill_nb.training.checkpoints import is_whole, last_whole, load_all
from distill_nb.training.distillation import label_losses

ALL, SOME = lambda i: int(i % 3 == 0), lambda i: i % 2 if i % 5 == 0 else -100

@pytest.mark.parametrize("name, labels", [*((name, ALL) for name in OBJECTIVES), ("all", SOME), ("hard", SOME)])
def test_accumulation_is_the_large_batch(tok, tmp_path, name, labels):
    "1 x 32, 4 x 8 and an uneven 3 x 12 take the same step, for means over examples, tokens, labels and pairs."
    steps = []
    for bs, n in ((32, 1), (8, 4), (12, 3)):
        s = init_student(bert(), [0, 3])
        before = weights(s)
        train(tok, tmp_path, s, sharp(), OBJECTIVES[name], rows(tok, labels=labels),
              per_device_train_batch_size=bs, gradient_accumulation_steps=n)
        steps.append(weights(s) - before)
    assert steps[0].norm() > 1e-3
    for other in steps[1:]: assert (steps[0] - other).norm() < 1e-4 * steps[0].norm()

@pytest.mark.slow
@pytest.mark.parametrize("name", ["all", "tinybert", "words"])
def test_two_processes_are_one_with_the_doubled_batch(in_processes, name):
    "Whatever order a set of units has in each process: labels, tokens, pairs and examples are unevenly spread over the two."
    one, two, _ = in_processes(f"step-{name}")
    assert torch.equal(one["before"], two["before"]) # the projection too
    assert (one["after"] - two["after"]).norm() < 1e-4 * (one["after"] - one["before"]).norm()

def test_one_step_is_the_hand_written_one(tok, tmp_path):
    "Distiller's step equals the five-line loop's, so nothing scales the loss behind our back."
    data, objective, lr = rows(tok, 8), OBJECTIVES["all"], .5
    by_hand, teacher = init_student(bert(), [1, 2]), sharp()
    batch = DataCollatorWithPadding(tok)([data[i] for i in range(8)])
    with torch.no_grad(): t = trace(teacher, batch, objective.needs)
    loss = sum(objective(trace(by_hand, batch, objective.needs), t, batch).values())
    loss.backward()
    with torch.no_grad():
        for p in by_hand.parameters():
            if p.grad is not None: p -= lr * p.grad
    s = init_student(bert(), [1, 2])
    d = train(tok, tmp_path, s, teacher, objective, data, learning_rate=lr, per_device_train_batch_size=8)
    torch.testing.assert_close(weights(s), weights(by_hand), rtol=1e-4, atol=1e-6)
    assert d.state.log_history[0]["loss"] == pytest.approx(loss.item(), rel=1e-4)

def test_teacher_is_left_alone(tok, tmp_path):
    teacher = bert().train()
    before = weights(teacher)
    train(tok, tmp_path, init_student(bert(), [0]), teacher, OBJECTIVES["all"], max_steps=3)
    assert torch.equal(weights(teacher), before)
    assert not teacher.training and all(p.requires_grad for p in teacher.parameters())
    assert all(p.grad is None for p in teacher.parameters())

def test_logs_say_each_term_and_its_share(tok, tmp_path):
    d = train(tok, tmp_path, init_student(bert(), [0]), bert(), OBJECTIVES["all"], max_steps=4, logging_steps=2,
              gradient_accumulation_steps=2, per_device_train_batch_size=4)
    h = d.history()
    assert list(h.index) == [1, 2, 4]
    assert h.filter(regex="^share/").sum(axis=1).tolist() == pytest.approx([1.] * 3, abs=1e-5)
    assert h.filter(regex="^loss/").sum(axis=1).tolist() == pytest.approx(h["loss"].tolist(), rel=1e-3)

def test_evaluation_loss_is_plain_cross_entropy(tok, tmp_path):
    data, student = rows(tok, 16), init_student(bert(), [0, 1])
    args = training_args(tmp_path, disable_tqdm=True, use_cpu=True, bf16=False)
    d = Distiller(student, bert(), 9 * SoftTargets(T=4), args, eval_dataset=data, processing_class=tok)
    got = d.evaluate()
    z, y = predict(student, data, tok), torch.tensor(data["labels"][:])
    assert got["eval_loss"] == pytest.approx(nn.functional.cross_entropy(z, y).item(), rel=1e-4)
    assert got["eval_accuracy"] == pytest.approx((z.argmax(-1) == y).float().mean().item())

def test_families_may_differ(tok, tmp_path):
    "A DistilBERT student of a BERT teacher: other inputs, other config."
    student = AutoModelForSequenceClassification.from_config(
        DistilBertConfig(vocab_size=len(WORDS), dim=16, n_layers=2, n_heads=2, hidden_dim=32))
    before = weights(student)
    train(tok, tmp_path, student, bert(), SoftTargets(T=2) + CosineHidden())
    assert not torch.equal(weights(student), before)

@pytest.mark.parametrize("project, n", [("shared", 1), ("each", 3)])
def test_tinybert_trains_its_projections_too(tok, tmp_path, project, n):
    "In the optimizer from the first step, saved for resume, not in the student."
    settings = dict(max_steps=6, optim="adamw_torch", learning_rate=1e-2, save_strategy="steps", save_steps=3, logging_steps=3)
    new = lambda: (narrow(), sharp(), AttentionMSE() + HiddenMSE(project=project))
    torch.manual_seed(0)
    whole = train(tok, tmp_path/"a", *new(), **settings)
    made = whole.objective.terms[1].projections
    assert len(made) == n and all(p.bias.abs().max() > 0 for p in made) # a bias starts at 0
    h = whole.history()
    assert h["loss"].iloc[-1] < h["loss"].iloc[0]
    folder = tmp_path/"a"/"checkpoint-3"
    assert len(load_file(folder/"objective.safetensors")) == 2 * n
    assert not any("projection" in k for k in load_file(folder/"model.safetensors"))
    resumed = train(tok, tmp_path/"b", *new(), resume=str(folder), **settings)
    torch.testing.assert_close(weights(resumed.model), weights(whole.model), rtol=1e-4, atol=1e-6)

def test_only_the_mapped_layers_are_read(tok, tmp_path):
    d = train(tok, tmp_path, narrow(), sharp(), AttentionMSE() + HiddenMSE())
    assert d.of_teacher == dict(scores=(1, 3), hidden_states=(0, 2, 4))
    assert d.model.needs == dict(scores=(0, 1), hidden_states=(0, 1, 2))

@pytest.mark.slow
@pytest.mark.parametrize("setting", [dict(gradient_checkpointing=True), dict(bf16=True),
                                     dict(torch_compile=True, torch_compile_backend="aot_eager")], ids=lambda s: next(iter(s)))
def test_trainers_settings_change_no_number(tok, tmp_path, setting):
    "Nor do they make a term silently 0."
    torch._dynamo.reset()
    losses, steps = [], []
    for extra in ({}, setting):
        s = narrow()
        before = weights(s)
        torch.manual_seed(0)
        d = train(tok, tmp_path, s, sharp(), AttentionMSE() + HiddenMSE() + Relations("v", heads=2) + SoftTargets(T=2),
                  per_device_train_batch_size=32, learning_rate=.1, **extra)
        losses.append(d.history().filter(regex="^loss/").iloc[0])
        steps.append(weights(s) - before)
    rough = "bf16" in setting
    assert (losses[0] > 0).all() and losses[1].tolist() == pytest.approx(losses[0].tolist(), rel=.05 if rough else 1e-3, abs=1e-4 if rough else 0)
    assert (steps[0] - steps[1]).norm() < (.1 if rough else 1e-3) * steps[0].norm()

class Stretched(SoftTargets):
    "A term that owns a parameter."
    def __init__(self):
        super().__init__(T=2)
        self.stretch = nn.Parameter(torch.full((2,), 2.))
    def forward(self, s, t, batch):
        s.logits = s.logits * self.stretch
        return super().forward(s, t, batch)

def test_parameters_of_a_term_are_trained_saved_and_resumed(tok, tmp_path):
    settings = dict(max_steps=6, optim="adamw_torch", learning_rate=1e-2, save_strategy="steps", save_steps=3,
                    lr_scheduler_type="linear")
    new = lambda: (init_student(bert(), [0, 3]), bert(), 3 * Stretched() + HardTargets())
    whole = train(tok, tmp_path/"a", *new(), **settings)
    stretch = whole.objective.terms[0].stretch
    assert (stretch != 2.).all()
    folder = tmp_path/"a"/"checkpoint-3"
    assert not any("stretch" in k or "teacher" in k for k in load_file(folder/"model.safetensors"))
    resumed = train(tok, tmp_path/"b", *new(), resume=str(folder), **settings)
    torch.testing.assert_close(weights(resumed.model), weights(whole.model), rtol=1e-5, atol=1e-7)

def test_best_checkpoint_is_loaded(tok, tmp_path):
    student = init_student(bert(), [0])
    args = training_args(tmp_path, max_steps=4, eval_strategy="steps", eval_steps=2, save_strategy="steps", save_steps=2,
                         load_best_model_at_end=True, metric_for_best_model="loss", disable_tqdm=True, use_cpu=True,
                         optim="sgd", learning_rate=500., warmup_steps=0, bf16=False) # it only gets worse
    d = Distiller(student, None, HardTargets(), args, train_dataset=rows(tok), eval_dataset=rows(tok, 16),
                  processing_class=tok)
    d.show_bar("best").train()
    best = load_file(f"{d.state.best_model_checkpoint}/model.safetensors")
    assert all(torch.equal(best[k], v) for k, v in student.state_dict().items() if k in best)

def test_saved_student_is_an_ordinary_model(tok, tmp_path):
    "Same logits in a process where distill_nb cannot be imported; safetensors, no pickle, nothing of the teacher."
    d = train(tok, tmp_path/"run", init_student(bert(), [0, 2]), bert(), OBJECTIVES["all"])
    out = save_student(d.student, tok, tmp_path/"student", card="# Card\n")
    names = {p.name for p in out.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md"} <= names
    assert not [n for n in names if n.endswith((".bin", ".pt", ".pkl"))]
    x = torch.tensor([[2, 5, 6, 3]])
    with evaluating(d.student): want = d.student(x).logits.tolist()
    code = f"""
import sys; sys.modules["distill_nb"] = None # any import of it raises
import json, torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
model = AutoModelForSequenceClassification.from_pretrained({str(out)!r}).eval()
assert AutoTokenizer.from_pretrained({str(out)!r})("good bad").input_ids == [2, 5, 6, 3]
print(json.dumps(model(torch.tensor([[2, 5, 6, 3]])).logits.tolist()))"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    torch.testing.assert_close(torch.tensor(eval(run.stdout.splitlines()[-1])), torch.tensor(want), rtol=0, atol=1e-6)

def test_a_saved_tokenizer_keeps_nothing_of_its_last_call(tmp_path):
    "Else the file told whether the texts were tokenised in this run or found in a cache, and other libraries cut all texts to that length."
    words, kept = make_tokenizer(), []
    for name in "ab":
        save_student(bert(1), words, tmp_path/name)
        kept.append((tmp_path/name/"tokenizer.json").read_text())
        words(["good film", "bad"], truncation=True, max_length=3, padding="max_length")
    assert kept[0] == kept[1] and words("good film").input_ids == [2, 5, 9, 3]
    ready_tokenizer(words, tmp_path/"a")
    assert Tokenizer.from_file(str(tmp_path/"a"/"tokenizer.json")).truncation is None

def deberta():
    return AutoModelForSequenceClassification.from_config(DebertaV2Config(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32))

@pytest.mark.parametrize("student, teacher, objective, message", [
    (lambda: bert(1), lambda: None, SoftTargets(), "without a teacher"),
    (lambda: bert(1, num_labels=3), lambda: bert(), SoftTargets(), "num_labels 3"),
    (lambda: bert(1), lambda: bert(), "kl", "a term or a sum of terms"),
    (lambda: deberta(), lambda: bert(), AttentionMSE(), "scores of DebertaV2ForSequenceClassification"),
    (lambda: bert(4), lambda: bert(2), AttentionMSE(), "not deeper"),
    (lambda: bert(2), lambda: bert(4), HiddenMSE({1: 4}), "teacher block 4"),
])
def test_bad_pairs_are_refused(tmp_path, student, teacher, objective, message):
    with pytest.raises(InputError, match=message):
        Distiller(student(), teacher(), objective, training_args(tmp_path, use_cpu=True))

def test_unequal_widths_need_a_projection(tok, tmp_path):
    with pytest.raises(InputError, match="hidden states"):
        wide = AutoModelForSequenceClassification.from_config(BertConfig(
            vocab_size=len(WORDS), hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32))
        train(tok, tmp_path, wide, bert(), CosineHidden())

def test_fast_by_default(tok, tmp_path):
    "SDPA and no gradients for the teacher, length groups, padding to the longest of a batch, fused AdamW, bf16 where the machine multiplies in it."
    args = training_args(tmp_path, per_device_train_batch_size=4, eval_strategy="no", use_cpu=True)
    teacher = bert()
    d = Distiller(init_student(teacher, [0]), teacher, OBJECTIVES["all"], args, train_dataset=rows(tok), processing_class=tok)
    assert teacher.config._attn_implementation == "sdpa" and args.bf16 == fast_bf16() and "fused" in args.optim
    assert d.create_optimizer().param_groups[0]["fused"]
    batches = list(d.get_train_dataloader())
    assert len({b["input_ids"].shape[1] for b in batches}) > 1 # each as long as its longest
    assert sum(int((b["attention_mask"] == 0).sum()) for b in batches) < .2 * sum(b["input_ids"].numel() for b in batches)
    t = d.ask_teacher(batches[0])
    assert not t.logits.requires_grad and not t.logits.is_inference() # autograd may have to keep them

# Versions

def test_bf16_is_asked_for_in_every_torch(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False) # as before torch 2.11
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert fast_bf16() is False and training_args("x", use_cpu=True).bf16 is False

@pytest.mark.parametrize("name, value", [("gradient_accumulation_steps", 0), ("per_device_eval_batch_size", 0), ("per_device_train_batch_size", -1), ("num_train_epochs", 0),
                                         ("learning_rate", float("nan"))])
def test_a_number_that_makes_no_step_is_refused_by_name(name, value, tmp_path):
    "Trainer divided by zero."
    with pytest.raises(InputError, match=f"{name}={value}: expected"): training_args(tmp_path, **{name: value})

# What `accelerate launch` says

@pytest.mark.parametrize("said, settings, precision", [
    ("no", {}, "no"), ("bf16", {}, "bf16"), ("fp16", {}, "fp16"), ("bf16", dict(bf16=False), "no"), ("fp16", dict(bf16=False, fp16=False), "no"),
    ("bf16", dict(fp16=True), "fp16"), ("fp16", dict(bf16=True), "bf16"), (None, dict(bf16=False), "no")])
def test_the_precision_of_the_settings_is_that_of_the_run(tmp_path, monkeypatch, tok, said, settings, precision):
    "A configuration with mixed_precision: bf16 computed in bf16 also where the settings said bf16=False; it holds where they say nothing."
    if said: monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", said)
    monkeypatch.setattr("distill_nb.training.settings.fast_bf16", lambda use_cpu=False: False)
    args = training_args(tmp_path, **{k: v for k, v in PLAIN.items() if k != "bf16"} | settings)
    assert (args.bf16, args.fp16, args.mixed_precision) == (precision == "bf16", precision == "fp16", precision)
    run = Distiller(bert(2), None, HardTargets(), args, train_dataset=rows(tok), processing_class=tok)
    assert run.accelerator.mixed_precision == precision

@pytest.mark.parametrize("env, gpus, refused", [
    (dict(LOCAL_WORLD_SIZE="8", ACCELERATE_MIXED_PRECISION="no"), 0, "8 processes of accelerate launch and 0 GPUs: expected a GPU for each"),
    (dict(LOCAL_WORLD_SIZE="8", ACCELERATE_MIXED_PRECISION="bf16"), 2, "8 processes of accelerate launch and 2 GPUs"),
    (dict(LOCAL_WORLD_SIZE="2", ACCELERATE_MIXED_PRECISION="no"), 2, None), (dict(LOCAL_WORLD_SIZE="8"), 0, None), (dict(ACCELERATE_MIXED_PRECISION="no"), 0, None),
    (dict(LOCAL_WORLD_SIZE="2", ACCELERATE_MIXED_PRECISION="no", ACCELERATE_USE_CPU="true"), 0, None)])
def test_processes_that_were_started_for_gpus_have_one_each(env, gpus, refused, monkeypatch):
    "accelerate launch began eight runs on two CPU cores where a machine has no GPU."
    for k, v in env.items(): monkeypatch.setenv(k, v)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: gpus)
    if refused is None: check_gpus()
    else:
        with pytest.raises(InputError, match=refused): check_gpus()

@pytest.mark.parametrize("name", ["all", "tinybert"])
def test_accumulated_loss_is_logged_whole(tok, tmp_path, name):
    "The loss that Trainer logs is not divided once more by the number of batches, in any version."
    runs = [train(tok, tmp_path/str(n), init_student(bert(), [0, 3]), sharp(), OBJECTIVES[name], per_device_train_batch_size=32 // n,
                  gradient_accumulation_steps=n) for n in (1, 4)]
    for d in runs: assert d.history().filter(regex="^loss/").sum(axis=1).tolist() == pytest.approx(d.history()["loss"].tolist(), rel=1e-4)
    assert runs[0].history()["loss"].tolist() == pytest.approx(runs[1].history()["loss"].tolist(), rel=1e-4)

# Logs

LOGGED = dict(max_steps=6, optim="adamw_torch", learning_rate=1e-3, save_strategy="steps", save_steps=1, logging_steps=3)

def sums(d): return d.history().filter(regex="^loss/").sum(axis=1).tolist()

@pytest.mark.parametrize("step", [1, 4]) # inside of a window of logs, and at its end
def test_terms_sum_to_the_loss_after_a_resume(tok, tmp_path, step):
    new = lambda: (init_student(bert(), [0, 3]), sharp(), OBJECTIVES["all"])
    train(tok, tmp_path/"a", *new(), **LOGGED)
    d = train(tok, tmp_path/"b", *new(), resume=str(tmp_path/f"a/checkpoint-{step}"), **LOGGED)
    assert sums(d) == pytest.approx(d.history()["loss"].tolist(), rel=1e-3)
    for _ in range(2): # and in more trainings of one Distiller
        d.train()
        assert sums(d) == pytest.approx(d.history()["loss"].tolist(), rel=1e-3)

ZERO = {"a copy": lambda: (init_student(bert(), range(4)), bert(), SoftTargets(T=2), {}),
        "no label": lambda: (init_student(bert(), [0]), None, HardTargets(), dict(labels=lambda i: -100)),
        "few labels": lambda: (init_student(bert(), [0]), None, HardTargets(), dict(labels=lambda i: -100 if i < 30 else 1)),
        "weight 0": lambda: (init_student(bert(), [0]), bert(), 0*SoftTargets(T=2) + 0*CosineHidden(), {})}

@pytest.mark.parametrize("case", ZERO)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_loss_of_zero_is_ordinary(tok, tmp_path, case, accumulate):
    student, teacher, objective, data = ZERO[case]()
    d = train(tok, tmp_path, student, teacher, objective, rows(tok, **data), max_steps=8, logging_steps=1, per_device_train_batch_size=4,
              gradient_accumulation_steps=accumulate)
    assert d.state.global_step == 8 and d.history().notna().all(axis=None)
    assert sums(d) == pytest.approx(d.history()["loss"].tolist(), abs=1e-5)

# Evaluation

@pytest.mark.parametrize("size", [1, 3, 8, 64])
@pytest.mark.parametrize("known", [1, 5, 16, 64])
def test_evaluation_loss_is_a_mean_over_labels(tok, tmp_path, size, known):
    data = rows(tok, 64, labels=lambda i: i % 2 if (i * 7) % 64 < known else -100)
    d = Distiller(sharp(), None, HardTargets(), training_args(tmp_path, **PLAIN | dict(per_device_eval_batch_size=size)),
                  train_dataset=rows(tok), processing_class=tok, compute_metrics=None)
    z, y = predict(d.student, data, tok), torch.tensor(data["labels"][:])
    want = nn.functional.cross_entropy(z, y).item() # of the labels that are known
    got = d.evaluate(data)
    assert got["eval_loss"] == pytest.approx(want, rel=1e-4)
    assert d.predict(data).metrics["test_loss"] == pytest.approx(want, rel=1e-4)
    assert {f"eval_{k}_loss" for k in "ab"} <= d.evaluate(dict(a=data, b=data)).keys()

def test_an_evaluation_without_labels_has_no_loss(tok, tmp_path):
    d = Distiller(sharp(), None, HardTargets(), training_args(tmp_path, **PLAIN), train_dataset=rows(tok), processing_class=tok,
                  compute_metrics=None)
    assert math.isnan(d.evaluate(rows(tok, labels=lambda i: -100))["eval_loss"])
    assert "eval_loss" not in d.evaluate(rows(tok).remove_columns("labels"))

@pytest.mark.parametrize("z, y", [
    (torch.randn(5, 3), torch.tensor([0, -100, 2, 1, -100])), (torch.randn(5, 1), torch.tensor([.5, math.nan, 1., 0., 2.])),
    (torch.randn(5, 4, 7), torch.randint(7, (5, 4)).masked_fill(torch.eye(5, 4).bool(), -100))], ids=["classes", "scores", "words"])
def test_losses_of_rows_add_up_to_the_term(z, y):
    total, n = label_losses(z, y).sum(0)
    from distill_nb.inside.capture import Outputs
    assert (total / n).item() == pytest.approx(HardTargets()(Outputs(logits=z), None, dict(labels=y)).item(), rel=1e-5)

# An objective is a description

@pytest.mark.parametrize("name", ["tinybert", "stretched"])
def test_two_runs_with_one_objective_are_two_fresh_runs(tok, tmp_path, name):
    objective = AttentionMSE() + HiddenMSE() if name == "tinybert" else 3*Stretched() + HardTargets()
    new = narrow if name == "tinybert" else lambda: init_student(bert(), [0, 3])
    said, runs = repr(objective), []
    for n in range(3):
        torch.manual_seed(n) # what was drawn before is nobody's business
        runs.append(train(tok, tmp_path/str(n), new(), sharp(), objective, max_steps=5, optim="adamw_torch", learning_rate=1e-2))
    assert all(weights(r.model).equal(weights(runs[0].model)) for r in runs)
    assert repr(objective) == said and not any(p is q for p in objective.parameters() for q in runs[0].model.parameters())

# Trainer's features

def distiller(tok, tmp_path, data=None, args=None, student=None, **kwargs):
    settings = {k: kwargs.pop(k) for k in [*kwargs] if hasattr(TrainingArguments, k) or k in TrainingArguments.__dataclass_fields__}
    return Distiller(student or init_student(bert(), [0, 3]), sharp(), OBJECTIVES["all"], args or training_args(tmp_path, **PLAIN | settings),
                     train_dataset=rows(tok) if data is None else data, processing_class=tok, **kwargs).show_bar("x")

@pytest.mark.parametrize("settings, message", [
    (dict(label_smoothing_factor=.1), "label_smoothing_factor=0.1"), (dict(use_liger_kernel=True), "use_liger_kernel=True"),
    (dict(batch_eval_metrics=True), "batch_eval_metrics=True"), (dict(compute_loss_func=lambda *_, **k: 0), "compute_loss_func"),
    (dict(load_best_model_at_end=True, eval_strategy="steps", save_strategy="steps"), "no eval_dataset"),
    (dict(eval_on_start=True), "no eval_dataset"), (dict(resume_from_checkpoint=True), "no whole checkpoint")])
def test_what_cannot_be_obeyed_is_refused(tok, tmp_path, settings, message):
    with pytest.raises(InputError, match=message): distiller(tok, tmp_path, **settings).train()

@pytest.mark.parametrize("settings", [
    dict(neftune_noise_alpha=5.), dict(include_num_input_tokens_seen="all"), dict(auto_find_batch_size=True), dict(bf16_full_eval=True),
    dict(eval_strategy="epoch"), dict(train_sampling_strategy="batch_rebalance"), dict(torch_empty_cache_steps=1), dict(ignore_data_skip=True)],
    ids=lambda s: next(iter(s)))
def test_what_can_be_obeyed_works(tok, tmp_path, settings):
    if settings.get("train_sampling_strategy") and transformers.__version__ < "5.17": pytest.skip("not there yet")
    d = distiller(tok, tmp_path, **settings)
    d.train()
    assert d.state.global_step == 1 and d.history()["loss"].notna().all()

def test_noise_on_the_embeddings_changes_the_student_alone(tok, tmp_path):
    losses = [distiller(tok, tmp_path, **more) for more in ({}, dict(neftune_noise_alpha=50.))]
    for d in losses: d.train()
    assert abs(losses[0].history().loss.iloc[0] - losses[1].history().loss.iloc[0]) > 1e-3
    assert not losses[1].student.get_input_embeddings()._forward_hooks # taken off again

@pytest.mark.parametrize("more", [{}, dict(group_by="length")], ids=["plain", "length"])
def test_plain_arguments_keep_the_columns_that_are_read(tok, tmp_path, more):
    "remove_unused_columns is on: what student and teacher read, the labels and a teacher's answers stay, other columns go."
    plain = TrainingArguments(str(tmp_path), max_steps=2, disable_tqdm=True, use_cpu=True, report_to="none")
    data = rows(tok).add_column("text", ["x"] * 32).add_column("length", [3] * 32)
    d = distiller(tok, tmp_path, data, plain)
    d.train()
    batch = next(iter(d.get_train_dataloader()))
    assert {"input_ids", "attention_mask", "labels"} <= {*batch} and not {"text", "length"} & {*batch}
    held = cache_teacher(sharp(), rows(tok), tok, folder=tmp_path/"cache")
    d = Distiller(init_student(bert(), [0]), sharp(), SoftTargets(T=2), plain, train_dataset=held, processing_class=tok)
    d.show_bar("x").train()
    assert d.cached and "teacher_logits" in next(iter(d.get_train_dataloader()))

def test_without_arguments_or_evaluation_set(tok, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    d = Distiller(init_student(bert(), [0]), sharp(), SoftTargets(T=2), train_dataset=rows(tok, 8), processing_class=tok)
    d.show_bar("x").train()
    asked = training_args(tmp_path, use_cpu=True, bf16=False)
    Distiller(init_student(bert(), [0]), sharp(), SoftTargets(T=2), asked, train_dataset=rows(tok, 8), processing_class=tok)
    assert asked.eval_strategy == "epoch" # the caller's own is left alone
    run = fit(init_student(bert(), [0]), dict(train=rows(tok, 8)), tok, num_train_epochs=1, disable_tqdm=True)
    assert run.state.global_step == 1

def test_model_init_makes_a_new_pair_for_every_training(tok, tmp_path):
    made = []
    def init():
        made.append(narrow())
        return made[-1]
    d = Distiller(None, sharp(), AttentionMSE() + HiddenMSE(), training_args(tmp_path, **PLAIN | dict(max_steps=3)), model_init=init,
                  train_dataset=rows(tok), processing_class=tok).show_bar("x")
    found = []
    for _ in range(2):
        d.train()
        assert d.student is made[-1] and d.model.student is d.student and d.model.objective is d.objective
        found.append(weights(d.model))
    assert found[0].equal(found[1]) and not found[0][:200].equal(weights(narrow())[:200])
    with pytest.raises(InputError, match="student and model_init"): distiller(tok, tmp_path, model_init=init)
    with pytest.raises(InputError, match="student and model_init"): Distiller(None, sharp(), SoftTargets())

def test_a_search_over_settings_trains_anew_each_time(tok, tmp_path, monkeypatch):
    "hyperparameter_search, with a back end of two trials: each gets a student and an objective of its own."
    d = Distiller(None, sharp(), OBJECTIVES["all"], training_args(tmp_path, **PLAIN | dict(eval_strategy="steps", eval_steps=1)),
                  model_init=lambda: init_student(bert(), [0]), train_dataset=rows(tok), eval_dataset=rows(tok, 8), processing_class=tok)
    d.show_bar("x")
    students, scores = [], []
    for rate in (1e-9, 1.):
        d.args.learning_rate = rate
        d.train(trial=None)
        students.append(d.student)
        scores.append(d.evaluate()["eval_loss"])
    assert students[0] is not students[1] and scores[0] != scores[1]

def test_model_cards_and_the_hub(tok, tmp_path, monkeypatch):
    "create_model_card, push_to_hub and a push at every save, against a hub of our own."
    sent = []
    hub = SimpleNamespace(create_repo=lambda name, **k: SimpleNamespace(repo_id=f"me/{name}"),
                          upload_folder=lambda **k: sent.append(sorted(p.name for p in Path(k["folder_path"]).iterdir())) or SimpleNamespace(
                              done=lambda: True, result=lambda: None, cancel=lambda: None))
    from transformers import trainer as module
    if hasattr(module, "hf_api"): monkeypatch.setattr(module, "hf_api", lambda: hub)
    else: [monkeypatch.setattr(module, n, getattr(hub, n)) for n in ("create_repo", "upload_folder")]
    d = distiller(tok, tmp_path/"out", push_to_hub=True, save_strategy="steps", save_steps=1)
    d.train()
    d.push_to_hub()
    assert sent and {"README.md", "model.safetensors", "config.json"} <= {*sent[-1]}
    d.create_model_card(model_name="small")
    assert "small" in (tmp_path/"out"/"README.md").read_text()

@pytest.mark.parametrize("name", ["share", "teacher", "batch", "needs"])
def test_a_column_may_have_any_name(tok, tmp_path, name):
    assert distiller(tok, tmp_path, rows(tok).add_column(name, [1.] * 32)).train().global_step == 1

@pytest.mark.parametrize("teacher", [True, False])
def test_cached_rows_may_stream(tok, tmp_path, teacher):
    held = cache_teacher(sharp(), rows(tok), tok, folder=tmp_path/"cache").to_iterable_dataset()
    d = train(tok, tmp_path, init_student(bert(), [0]), sharp() if teacher else None, SoftTargets(T=2), held, max_steps=5,
              per_device_train_batch_size=8)
    assert d.cached and d.state.global_step == 5

# Pairs

def named(names, layers=2): return bert(layers, id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)})

@pytest.mark.parametrize("student, teacher, fine", [
    (["bad", "good"], ["bad", "good"], True), (["good", "bad"], ["bad", "good"], False), (["neg", "pos"], ["bad", "good"], False),
    (["LABEL_0", "LABEL_1"], ["bad", "good"], True), (["bad", "good"], ["LABEL_0", "LABEL_1"], True), (list("abc"), list("bca"), False)])
def test_classes_are_compared_by_name(student, teacher, fine):
    pair = named(student), named(teacher)
    if fine: check_pair(*pair, SoftTargets())
    else:
        with pytest.raises(InputError, match="student classes"): check_pair(*pair, SoftTargets())
    check_pair(*pair, CosineHidden()) # reads no class

def test_spare_rows_of_a_table_are_no_other_vocabulary(tok, tmp_path):
    "Rows beyond the tokenizer's words are padding; without the tokenizer nobody knows."
    wide = AutoModelForSequenceClassification.from_config(BertConfig(vocab_size=len(WORDS) + 3, hidden_size=16, num_hidden_layers=2,
                                                                     num_attention_heads=2, intermediate_size=32))
    assert train(tok, tmp_path, bert(2), wide, SoftTargets(T=2)).state.global_step == 1
    assert train(tok, tmp_path, wide, bert(2), SoftTargets(T=2)).state.global_step == 1
    for pair in ((bert(2), wide), (wide, bert(2))):
        with pytest.raises(InputError, match="vocab_size"): check_pair(*pair, SoftTargets())

def test_equal_vocabularies_are_equal_words(tok, tmp_path):
    "A teacher from a folder whose tokenizer gives other ids to the words, with a table of the same size."
    from tokenizers import Tokenizer, models
    swapped = [*WORDS[:5], *reversed(WORDS[5:])]
    bert().save_pretrained(tmp_path/"t")
    Tokenizer(models.WordLevel({w: i for i, w in enumerate(swapped)}, "[UNK]")).save(str(tmp_path/"t"/"tokenizer.json"))
    other = AutoModelForSequenceClassification.from_pretrained(tmp_path/"t")
    with pytest.raises(InputError, match="8 words of the teacher"): train(tok, tmp_path/"x", bert(2), other, SoftTargets(T=2))
    tok.save_pretrained(tmp_path/"t")
    assert train(tok, tmp_path/"x", bert(2), other, SoftTargets(T=2)).state.global_step == 1
    longer = tok.__class__.from_pretrained(tmp_path/"t")
    longer.add_tokens(["new"]) # words that were added later are no contradiction
    check_pair(bert(2), other, CosineHidden(), tokenizer=longer) if len(longer) <= 13 else None

def turned(model, by=1):
    "The same model with its classes in another order."
    with torch.no_grad():
        for p in (model.classifier.weight, model.classifier.bias): p.copy_(p.roll(by, 0))
    return model

@pytest.mark.parametrize("size", [.01, 1., 50.])
@pytest.mark.parametrize("classes", [2, 3, 8])
@pytest.mark.parametrize("shift", [0., 5.])
def test_answers_are_compared_column_by_column(tok, tmp_path, classes, size, shift):
    "Small or large logits, or all of them shifted: another order of the classes is found, the teacher itself is not refused."
    def new():
        teacher = bert(num_labels=classes)
        with torch.no_grad():
            teacher.classifier.weight.normal_(std=size, generator=torch.Generator().manual_seed(1))
            teacher.classifier.bias.normal_(std=size, generator=torch.Generator().manual_seed(2)).add_(shift * size)
        return teacher
    for bf16 in (False, True):
        held = cache_teacher(new(), rows(tok), tok, folder=tmp_path/f"{bf16}", bf16=bf16)
        start = lambda t: Distiller(bert(2, num_labels=classes), t, SoftTargets(T=2), training_args(tmp_path/"x", **PLAIN), train_dataset=held,
                                    processing_class=tok)
        assert start(new()).cached
        with pytest.raises(InputError, match="another teacher"): start(turned(new()))

@pytest.mark.parametrize("case", ["head", "tuple"])
def test_outputs_without_logits_are_refused(tok, tmp_path, case):
    student, teacher = bert(2), bert(4)
    if case == "head": student, teacher = [AutoModelForQuestionAnswering.from_config(m.config) for m in (student, teacher)]
    else: teacher.config.return_dict = False
    with pytest.raises(InputError, match="'spans' for answers to questions|return_dict=False"): train(tok, tmp_path, student, teacher, SoftTargets(T=2))

def test_a_teacher_that_cannot_be_moved_stays(tok, tmp_path):
    "Quantised, or spread over several devices: `.to` would raise."
    class Fixed(nn.Linear):
        hf_device_map = {"": 0}
        def to(self, *_): raise ValueError("cannot be moved")
    assert not place(Fixed(1, 1).train(), "cpu").training
    quantised = bert()
    quantised.is_quantized = True
    quantised.to = None # would raise
    assert train(tok, tmp_path, bert(2), quantised, SoftTargets(T=2)).state.global_step == 1

def test_one_gpu_of_several_is_used_with_a_word(tok, tmp_path):
    args = training_args(tmp_path, **PLAIN)
    args.n_gpu
    args._n_gpu = 2
    with pytest.warns(UserWarning, match="torchrun --nproc_per_node=2"): d = distiller(tok, tmp_path, args=args)
    assert d.args.n_gpu == 1

# Checkpoints

@pytest.mark.parametrize("student", [lambda: bert(4), lambda: bert(1), lambda: bert(2, num_labels=3), lambda: narrow(),
                                     lambda: AutoModelForSequenceClassification.from_config(DistilBertConfig(
                                         vocab_size=len(WORDS), dim=16, n_layers=2, n_heads=2, hidden_dim=32))])
def test_a_checkpoint_of_another_student_is_refused(tok, tmp_path, student):
    settings = dict(max_steps=2, save_strategy="steps", save_steps=2, save_only_model=True)
    train(tok, tmp_path/"a", bert(2), None, HardTargets(), **settings)
    other = student()
    before = weights(other)
    with pytest.raises(InputError, match="tensors are others, such as"):
        train(tok, tmp_path/"b", other, None, HardTargets(), resume=str(tmp_path/"a/checkpoint-2"), **settings)
    assert weights(other).equal(before)

def test_projections_are_resumed_or_refused(tok, tmp_path):
    settings = dict(max_steps=4, save_strategy="steps", save_steps=2)
    train(tok, tmp_path/"a", narrow(), sharp(), AttentionMSE() + HiddenMSE(), **settings)
    (tmp_path/"a/checkpoint-2/objective.safetensors").unlink()
    with pytest.raises(InputError, match="objective.safetensors"):
        train(tok, tmp_path/"b", narrow(), sharp(), AttentionMSE() + HiddenMSE(), resume=str(tmp_path/"a/checkpoint-2"), **settings)

BROKEN = ["trainer_state.json", "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"]

HALF = dict(max_steps=3, save_strategy="steps", save_steps=1, optim="adamw_torch", learning_rate=1e-2)

@pytest.fixture(scope="module")
def three_steps(tok, tmp_path_factory):
    out = tmp_path_factory.mktemp("three")
    return out, weights(train(tok, out, bert(2), None, HardTargets(), **HALF).student)

@pytest.mark.parametrize("file", BROKEN)
@pytest.mark.parametrize("how", ["gone", "empty", "cut"])
def test_a_checkpoint_that_breaks_off_is_seen(three_steps, tmp_path, file, how):
    shutil.copytree(three_steps[0], tmp_path, dirs_exist_ok=True)
    part = tmp_path/"checkpoint-2"/file
    data = part.read_bytes()
    part.unlink() if how == "gone" else part.write_bytes(data[:len(data) // 2] if how == "cut" else b"")
    for later in (tmp_path/"checkpoint-3").iterdir(): later.unlink()
    if how == "gone" and file in ("scheduler.pt", "rng_state.pth"): return # written before the optimizer's, or not at all
    assert not is_whole(part.parent) and last_whole(tmp_path).name == "checkpoint-1"

def test_a_checkpoint_that_breaks_off_is_passed_over(tok, three_steps, tmp_path):
    "Killed while it was written, or the disk was full: True goes on from the one before, its own name is refused."
    shutil.copytree(three_steps[0], tmp_path, dirs_exist_ok=True)
    part, settings = tmp_path/"checkpoint-2"/"model.safetensors", HALF
    part.write_bytes(part.read_bytes()[:99])
    shutil.rmtree(tmp_path/"checkpoint-3")
    with pytest.raises(InputError, match="checkpoint-2: no whole checkpoint: expected one, such as .*checkpoint-1"):
        train(tok, tmp_path, bert(2), None, HardTargets(), resume=str(part.parent), **settings)
    resumed = train(tok, tmp_path, bert(2), None, HardTargets(), resume=True, **settings)
    assert weights(resumed.student).equal(three_steps[1])

@pytest.mark.parametrize("how", ["argument", "setting", "fit"])
def test_a_run_goes_on_however_it_is_asked(tok, tmp_path, how, monkeypatch):
    settings = dict(max_steps=4, save_strategy="steps", save_steps=2, optim="adamw_torch", learning_rate=1e-2)
    whole, at = train(tok, tmp_path/"a", bert(2), None, HardTargets(), **settings), str(tmp_path/"a/checkpoint-2")
    steps, own = [], Distiller.training_step
    monkeypatch.setattr(Distiller, "training_step", lambda self, *a, **k: steps.append(1) or own(self, *a, **k))
    if how == "fit": d = fit(bert(2), dict(train=rows(tok)), tok, out=tmp_path, resume_from_checkpoint=at, **PLAIN | settings)
    elif how == "setting": d = train(tok, tmp_path/"b", bert(2), None, HardTargets(), resume_from_checkpoint=at, **settings)
    else: d = train(tok, tmp_path/"b", bert(2), None, HardTargets(), resume=at, **settings)
    assert len(steps) == 2 and weights(d.student).equal(weights(whole.student))

@pytest.mark.slow
def test_sharded_runs_resume_and_load_their_best(tmp_path):
    script = Path(__file__).parents[1]/"processes_fsdp.py"
    run = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", script, tmp_path],
                         capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[:3000]
    found = json.loads((tmp_path/"found.json").read_text())
    assert found["gap"] == 0 and found["over"] == 0 and found["best"]

def test_adapters_are_saved_and_resumed(tok, tmp_path):
    peft = pytest.importorskip("peft")
    def new():
        torch.manual_seed(1)
        return peft.get_peft_model(bert(2), peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "value"]))
    settings = dict(max_steps=4, save_strategy="steps", save_steps=2, optim="adamw_torch", learning_rate=1e-2)
    whole = train(tok, tmp_path/"a", new(), sharp(), OBJECTIVES["all"], **settings)
    resumed = train(tok, tmp_path/"b", new(), sharp(), OBJECTIVES["all"], resume=str(tmp_path/"a/checkpoint-2"), **settings)
    assert weights(whole.student).equal(weights(resumed.student)) and not weights(whole.student).equal(weights(new()))

@pytest.mark.parametrize("family", EXTRA)
def test_every_familys_checkpoint_is_loaded_whole(tok, tmp_path, family):
    "Names in the file are the model's own, tied weights are there once, buffers too: a strict load finds each tensor."
    for head in AutoModelForSequenceClassification, transformers.AutoModelForMaskedLM:
        try: model = build(family, head)
        except ValueError: continue # no such head
        run = Distiller(model, None, HardTargets(), training_args(tmp_path, **PLAIN))
        run.save_model(tmp_path/"out")
        other = build(family, head)
        with torch.no_grad():
            for p in other.parameters(): p.zero_()
        load_all(other, tmp_path/"out"/"model.safetensors")
        assert weights(other).equal(weights(model))
        again, info = head.from_pretrained(tmp_path/"out", output_loading_info=True) # and is an ordinary model
        assert not info["missing_keys"] and not info["unexpected_keys"] and weights(again).equal(weights(model))

@pytest.mark.parametrize("how", [dict(max_steps=2), dict(num_train_epochs=1)], ids=str)
def test_a_training_without_rows_is_refused(tok, tmp_path, how):
    args = training_args(tmp_path, disable_tqdm=True, use_cpu=True, bf16=False, eval_strategy="no", **how)
    run = Distiller(init_student(bert(), [0]), sharp(), OBJECTIVES["all"], args, train_dataset=rows(tok).select([]), processing_class=tok)
    with pytest.raises(InputError, match="0 rows to train on: expected 1 or more"): run.train()

def test_tokens_a_second_are_those_of_all_processes(tok, tmp_path, monkeypatch):
    from accelerate import Accelerator
    monkeypatch.setattr(Accelerator, "reduce", lambda self, x, how="sum", scale=1.: 3 * x if how == "sum" else x)
    run = train(tok, tmp_path, init_student(bert(), [0]), sharp(), OBJECTIVES["all"], rows(tok), max_steps=1)
    run.meter.rates = lambda: dict(tokens_per_second=10., mfu=.25)
    assert run.rates() == dict(tokens_per_second=30., mfu=.25)
    run.meter.rates = lambda: {}
    assert run.rates() == {}

def test_a_finished_run_resumed_takes_no_further_step(tok, tmp_path):
    "Trainer itself takes one more where max_steps ends inside an epoch."
    how = dict(max_steps=3, save_strategy="steps", save_steps=3, num_train_epochs=3)
    whole = train(tok, tmp_path, init_student(bert(), [0]), sharp(), OBJECTIVES["all"], rows(tok), **how)
    again = train(tok, tmp_path, init_student(bert(), [0]), sharp(), OBJECTIVES["all"], rows(tok), resume_from_checkpoint=True, **how)
    assert again.state.global_step == 3
    torch.testing.assert_close(weights(again.student), weights(whole.student), rtol=0, atol=0)
    with pytest.raises(InputError, match="max_steps=2, and .*checkpoint-3: expected 3 or more"):
        train(tok, tmp_path, init_student(bert(), [0]), sharp(), OBJECTIVES["all"], rows(tok), resume_from_checkpoint=True, **how | dict(max_steps=2))
