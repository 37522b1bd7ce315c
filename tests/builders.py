"A real tokenizer of a few words, tiny random models, rows and runs of them: what several tests build."
import os
from pathlib import Path
import pandas as pd
import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import (
    AutoModelForSequenceClassification, BertConfig, BertForMaskedLM, DataCollatorWithPadding, PreTrainedTokenizerFast, TrainerCallback)
from distill_nb.data.tasks import make_task
from distill_nb.losses import AttentionKL, AttentionMSE, ClsMSE, CosineHidden, HardTargets, HiddenMSE, LogitMSE, Relations, SoftTargets, Term
from distill_nb.students.slots import find_slots
from distill_nb.training.distiller import Distiller
from distill_nb.training.order import row_generators
from distill_nb.training.settings import training_args
from distill_nb.words.chunks import HardWords, SoftWords

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] good bad fine dull film book very not".split()

def make_tokenizer():
    "A real fast tokenizer of thirteen words."
    t = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, "[UNK]"))
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    t.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    special = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), WORDS))
    return PreTrainedTokenizerFast(tokenizer_object=t, **special)

def bert(layers=4, **kw):
    "A tiny BERT with a classification head, without dropout; always the same weights."
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=layers, num_attention_heads=2,
                        intermediate_size=32, hidden_dropout_prob=0., attention_probs_dropout_prob=0., **kw)
    return AutoModelForSequenceClassification.from_config(config).eval()

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

def same_step(tok, out, make, teacher, objective, data, atol):
    "One step on sixteen rows and one on four batches of four end with the same weights, which have moved."
    before, after = weights(make()), []
    for batch, together in (16, 1), (4, 4):
        after.append(weights(train(tok, out, make(), teacher, objective, data, per_device_train_batch_size=batch,
                                   gradient_accumulation_steps=together).student))
    torch.testing.assert_close(*after, atol=atol, rtol=1e-4)
    assert (after[0] - before).abs().max() > 1e-5

def weights(module): return nn.utils.parameters_to_vector(module.parameters()).detach().clone()

OBJECTIVES = {"soft": SoftTargets(T=3), "hard": HardTargets(), "cosine": CosineHidden(), "mse": LogitMSE(),
              "all": 5*SoftTargets(T=2) + 2*HardTargets() + 1*CosineHidden(),
              "tinybert": AttentionMSE() + HiddenMSE(), "relations": AttentionKL() + Relations("qkv", heads=2), "pkd": ClsMSE()}

def narrow(auto=AutoModelForSequenceClassification):
    "A student of another width and depth than its teacher, with as many heads, without dropout."
    torch.manual_seed(0)
    return auto.from_config(BertConfig(vocab_size=len(WORDS), hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
                                       intermediate_size=16, hidden_dropout_prob=0., attention_probs_dropout_prob=0.))

def small_bert(dropout=0.):
    "A student whose dropout draws from the global generator."
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout))

class Draws(DataCollatorWithPadding):
    "Pads, and draws a number about each row; remembers both."
    row_seeds = True
    seen = None
    def __call__(self, rows):
        draws = [torch.randint(10**6, (), generator=g).item() for g in row_generators(rows)]
        if self.seen is None: self.seen = []
        self.seen.append([[r["idx"], d] for r, d in zip(rows, draws)])
        batch = super().__call__([{k: v for k, v in r.items() if k not in ("idx", "row_seed")} for r in rows])
        return batch | dict(idx=torch.tensor([r["idx"] for r in rows]), draws=torch.tensor(draws))

ADAM = PLAIN | dict(max_steps=6, optim="adamw_torch", learning_rate=1e-2, per_device_train_batch_size=8)

class Coins(TrainerCallback):
    "Notes the draws of every forward pass of a training."
    def on_train_begin(self, args, state, control, model=None, **kwargs):
        self.slots, self.seen = find_slots(model), []
        begin = self.slots.begin
        def noted(*a):
            begin(*a)
            if self.slots.training: self.seen.append(tuple(self.slots.drawn))
        place = next(m for m in model.modules() if self.slots in m._modules.values())
        (key,) = [k for k, h in place._forward_pre_hooks.items() if getattr(h, "__self__", None) is self.slots or h.__name__ == "noted"]
        place._forward_pre_hooks[key] = noted

def long_rows(tok, n=1000):
    "No two texts are the same."
    return Dataset.from_dict({**tok([" ".join(WORDS[5 + int(d)] for d in f"{i:o}") for i in range(512, 512 + n)])})

def small_lm(layers=4, **kw):
    torch.manual_seed(0)
    return BertForMaskedLM(BertConfig(**dict(vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=layers, num_attention_heads=2,
        intermediate_size=32, hidden_dropout_prob=0., attention_probs_dropout_prob=0., initializer_range=.3) | kw))

def lm_rows(n=32):
    "Rows of unlike lengths, with labels at an uneven share of places."
    gen = torch.Generator().manual_seed(0)
    rows = []
    for i in range(n):
        ids = torch.randint(5, len(WORDS), (4 + i % 7,), generator=gen)
        hidden = torch.rand(len(ids), generator=gen) < (.1 if i % 2 else .6)
        rows.append(dict(input_ids=ids.tolist(), labels=torch.where(hidden, ids, -100).tolist(), length=len(ids)))
    return rows

def collate(tok, rows):
    long = max(r["length"] for r in rows)
    fill = lambda x, v: x + [v] * (long - len(x))
    return dict(input_ids=torch.tensor([fill(r["input_ids"], tok.pad_token_id) for r in rows]),
                labels=torch.tensor([fill(r["labels"], -100) for r in rows]),
                attention_mask=torch.tensor([fill([1] * r["length"], 0) for r in rows]))

TRIPLE = lambda unit="tokens", chunk=5: 5*SoftWords(T=2, unit=unit, chunk=chunk) + 2*HardWords(chunk=chunk) + CosineHidden()

class Margin(Term):
    def __init__(self, margin):
        super().__init__()
        self.margin = margin
    def forward(self, s, t, batch): return (s.logits - self.margin * t.logits).square().mean()

QUICK = dict(max_steps=2, eval_strategy="no", disable_tqdm=True)

SMALL = dict(n_layers=2, hidden_size=8, intermediate_size=16)

def frame(n=40, **more): return pd.DataFrame(dict(text=[f"{w} film {i}" for i in range(n // 2) for w in ("good", "bad")], **more))

def toy(): return make_task("toy", dict(train=frame(label=["good", "bad"] * 20)))

CHANGES = "replace", "rename", "unlink", "remove", "rmdir", "mkdir"

def killed(k, write):
    "Let a copy of this process `write()` and die before its k-th change of the file system: did it?"
    child = os.fork()
    if child: return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    left = [k]
    def dies(real):
        def change(*args, **kwargs):
            if not left[0]: os._exit(9)
            left[0] -= 1
            return real(*args, **kwargs)
        return change
    for name in CHANGES: setattr(os, name, dies(getattr(os, name)))
    try: write()
    finally: os._exit(0)

def state_of(out): return {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
GOLDEN = ROOT.parent/"shared/golden"
recorded = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no recordings beside this checkout")
