"The Distiller: what it trains, what it leaves alone, what it saves, and that counting is right."
import subprocess, sys
from pathlib import Path
import pytest, torch
from datasets import Dataset
from safetensors.torch import load_file
from torch import nn
from transformers import (AutoModelForSequenceClassification, BertConfig, DataCollatorWithPadding,
                          DebertaV2Config, DistilBertConfig)

from conftest import WORDS, bert
from distill_nb.capture import trace
from distill_nb.errors import InputError
from distill_nb.evaluate import evaluating, predict
from distill_nb.losses import (AttentionKL, AttentionMSE, ClsMSE, CosineHidden, HardTargets, HiddenMSE, LogitMSE, Relations,
                               SoftTargets)
from distill_nb.student import init_student
from distill_nb.saving import save_student
from distill_nb.train import Distiller, fast_bf16, training_args

def sharp():
    "A teacher whose answers are far from uniform, else there is no gradient to compare."
    teacher = bert()
    with torch.no_grad():
        teacher.classifier.weight *= 50
        for p in teacher.bert.encoder.parameters(): p *= 1.5
    return teacher

def rows(tok, n=32, labels=lambda i: i % 2):
    texts = [" ".join(WORDS[5 + (i * 7 + j) % 8] for j in range(1 + i % 6)) for i in range(n)]
    return Dataset.from_dict({**tok(texts), "labels": [labels(i) for i in range(n)]})

PLAIN = dict(max_steps=1, eval_strategy="no", disable_tqdm=True, optim="sgd", learning_rate=1., warmup_steps=0,
             lr_scheduler_type="constant", max_grad_norm=0., weight_decay=0., bf16=False, seed=0, use_cpu=True)

def train(tok, tmp_path, student, teacher, objective, data=None, resume=None, **settings):
    d = Distiller(student, teacher, objective, training_args(tmp_path, **{**PLAIN, **settings}),
                  train_dataset=data or rows(tok), processing_class=tok)
    d.show_bar("test").train(resume_from_checkpoint=resume)
    return d

def weights(module): return nn.utils.parameters_to_vector(module.parameters()).detach().clone()

OBJECTIVES = {"soft": SoftTargets(T=3), "hard": HardTargets(), "cosine": CosineHidden(), "mse": LogitMSE(),
              "all": 5*SoftTargets(T=2) + 2*HardTargets() + 1*CosineHidden(),
              "tinybert": AttentionMSE() + HiddenMSE(), "relations": AttentionKL() + Relations("qkv", heads=2), "pkd": ClsMSE()}

@pytest.mark.parametrize("labels", [lambda i: int(i % 3 == 0), lambda i: i % 2 if i % 5 == 0 else -100], ids=["all", "some"])
@pytest.mark.parametrize("name", OBJECTIVES)
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

@pytest.mark.parametrize("name", ["all", "tinybert"])
def test_two_processes_are_one_with_the_doubled_batch(tmp_path, name):
    "Whatever order a set of units has in each process: labels, tokens, pairs and examples are unevenly spread over the two."
    trained = []
    for n in (1, 2):
        out, script = tmp_path/f"{n}.pt", Path(__file__).parent/"processes_step.py"
        launch = ["-m", "torch.distributed.run", f"--nproc_per_node={n}", "--standalone"] if n > 1 else []
        run = subprocess.run([sys.executable, *launch, script, out, str(n), name], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr[-2000:]
        trained.append(torch.load(out, weights_only=True))
    before, after = trained[0]
    assert torch.equal(before, trained[1][0]) # the projection too
    assert (after - trained[1][1]).norm() < 1e-4 * (after - before).norm()

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

def narrow(auto=AutoModelForSequenceClassification):
    "A student of another width and depth than its teacher, with as many heads, without dropout."
    torch.manual_seed(0)
    return auto.from_config(BertConfig(vocab_size=len(WORDS), hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
                                       intermediate_size=16, hidden_dropout_prob=0., attention_probs_dropout_prob=0.))

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
