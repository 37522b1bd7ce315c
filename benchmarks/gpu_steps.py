"""What each remedy is worth on a GPU: `python benchmarks/gpu_steps.py --seconds 200`.

A Distiller takes steps on texts of random words, in ways that differ by one remedy each:

    before     bf16 autocast for both models, every operation launched by Python
    teacher    the teacher's weights are bf16
    graph      and the step is one CUDA graph (the default of a Distiller)
    compiled   and the blocks of both models are compiled
    bare       both passes, the student's backward pass and the optimizer, launched by Python, without a Trainer or a loss

Writes nbs/results/steps-gpu.json after every row: seconds of a step, real tokens a second, share of the card's peak, memory, seconds
until the first step at full speed. `--rehearse` does all of it at toy size on a CPU, where no way but the first two differs.
"""
import argparse, gc, statistics, time
import torch
from datasets import Dataset
from tempfile import TemporaryDirectory
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, BertConfig, TrainerCallback
import common
from distill_nb.losses import AttentionMSE, HiddenMSE, Relations, SoftTargets
from distill_nb.measure.report import machine
from distill_nb.measure.scale import step_flops
from distill_nb.measure.speed import peak
from distill_nb.recipes.distilbert import triple_loss
from distill_nb.training import Distiller, training_args

class Plain:
    "Rows of equal length are a batch as they are."
    def __call__(self, rows): return {k: torch.tensor([r[k] for r in rows]) for k in rows[0] if k != "row_seed"}

class Clock(TrainerCallback):
    "The time after every step that ends a window; the GPU is waited for there alone."
    def __init__(self, o, every): self.o, self.every, self.at, self.n = o, every, [], 0
    def on_train_begin(self, *args, **kwargs): self.begin = time.perf_counter()
    def on_step_end(self, *args, **kwargs):
        self.n += 1
        if self.n % self.every: return
        common.synchronise(self.o.device)
        self.at.append(time.perf_counter())

class Before(Distiller):
    graphs = False
    def few_shapes(self): pass
    def use_gpu(self):
        super().use_gpu()
        self.asked_teacher = self.teacher
class Teacher(Distiller): graphs = False
class Compiled(Distiller): compiles = True
WAYS = dict(before=Before, teacher=Teacher, graph=Distiller, compiled=Compiled)

OBJECTIVES = ["logits", "triple", "tinybert", "minilm"]

def shape(text):
    "A type for argparse: (32, 128) of 32x128."
    try:
        batch, seq = map(common.count, text.split("x"))
        return batch, seq
    except (ValueError, argparse.ArgumentTypeError): raise argparse.ArgumentTypeError(f"{text}: expected batch x length, such as 32x128") from None

def models(o, objective):
    "A fresh pair; TinyBERT's student is narrower."
    torch.manual_seed(0)
    kind = AutoModelForMaskedLM if objective == "triple" else AutoModelForSequenceClassification
    big = BertConfig(**o.big)
    small = BertConfig(**o.big | (o.narrow if objective == "tinybert" else dict(num_hidden_layers=o.big["num_hidden_layers"] // 2)))
    return kind.from_config(big).to(o.device).eval(), kind.from_config(small).to(o.device)

def objective_of(name, teacher, student):
    if name == "triple": return triple_loss(student, teacher, only_masked=True)
    return dict(logits=SoftTargets(T=2), tinybert=AttentionMSE() + HiddenMSE(), minilm=Relations("qkv", heads=teacher.config.num_attention_heads))[name]

def texts(o, batch, seq, steps, words):
    "Random words; with `words`, a label at 15 % of the places."
    g = torch.Generator().manual_seed(0)
    ids = torch.randint(1, o.big["vocab_size"], (batch * steps, seq), generator=g)
    labels = torch.where(torch.rand(ids.shape, generator=g) < .15, ids, -100) if words else torch.randint(0, 2, (len(ids),), generator=g)
    return Dataset.from_dict(dict(input_ids=ids.tolist(), attention_mask=torch.ones_like(ids).tolist(), labels=labels.tolist()))

def measured(o, way, name, batch, seq):
    teacher, student = models(o, name)
    rows, clock = texts(o, batch, seq, o.steps, name == "triple"), Clock(o, o.window)
    if o.device == "cuda": torch.cuda.reset_peak_memory_stats()
    with TemporaryDirectory() as tmp:
        args = training_args(tmp, max_steps=o.steps, per_device_train_batch_size=batch, train_sampling_strategy="sequential", eval_strategy="no",
                             logging_steps=10**6, logging_first_step=False, disable_tqdm=True, dataloader_num_workers=o.workers, use_cpu=o.device == "cpu")
        run = WAYS[way](student, teacher, objective_of(name, teacher, student), args, train_dataset=rows, data_collator=Plain(), callbacks=[clock])
        run.show_bar(way).train()
    gaps = [(b - a) / o.window for a, b in zip(clock.at, clock.at[1:])]
    took = statistics.median(gaps[len(gaps) // 2:])
    return row(o, teacher, student, way, name, batch, seq, took, ready=clock.at[0] - clock.begin - took * o.window, gaps=gaps)

def bare(o, name, batch, seq):
    "The two passes and the optimizer, as a plain loop has them."
    teacher, student = models(o, name)
    ids = torch.ones(batch, seq, dtype=torch.long, device=o.device)
    x, opt = dict(input_ids=ids, attention_mask=ids), torch.optim.AdamW(student.parameters(), lr=1e-4, fused=True)
    half = lambda: torch.autocast(o.device, torch.bfloat16)
    def step():
        with torch.no_grad(), half(): (teacher.base_model if name == "triple" else teacher)(**x)
        with half(): out = (student.base_model if name == "triple" else student)(**x)[0].float().sum()
        out.backward()
        opt.step()
        opt.zero_grad()
    for _ in range(3): step()
    gaps = [common.timed(lambda: [step() for _ in range(o.window)], o.device)[0] / o.window for _ in range(3)]
    return row(o, teacher, student, "bare", name, batch, seq, statistics.median(gaps), ready=None, gaps=gaps)

def row(o, teacher, student, way, name, batch, seq, seconds, ready, gaps):
    tokens = batch * seq
    flops = tokens * step_flops(teacher.config, student.config, seq, .15 if name == "triple" else 0.)
    top = peak(torch.cuda.get_device_name()) if o.device == "cuda" else None
    return dict(way=way, objective=name, batch=batch, seq=seq, ms=1e3 * seconds, tokens_per_second=tokens / seconds, mfu=top and flops / seconds / top,
                memory_mb=common.memory(o.device), ready_s=ready, windows_ms=[round(1e3 * g, 2) for g in gaps])

def rows(o):
    for way in o.ways: # the most telling ones first
        for batch, seq in o.shapes:
            for name in o.objectives:
                gc.collect()
                if o.device == "cuda": torch.cuda.empty_cache()
                try: yield bare(o, name, batch, seq) if way == "bare" else measured(o, way, name, batch, seq)
                except Exception as e: yield dict(way=way, objective=name, batch=batch, seq=seq, failed=f"{type(e).__name__}: {str(e)[:300]}")

if __name__ == "__main__":
    p = common.parser(__doc__)
    common.options(p)
    p.add_argument("--ways", nargs="+", default=["graph", "before", "bare", "compiled", "teacher"], choices=["bare", *WAYS])
    p.add_argument("--objectives", nargs="+", default=OBJECTIVES, choices=OBJECTIVES)
    p.add_argument("--shapes", nargs="+", type=shape, default=[(32, 128), (128, 128)], help="batch x length, such as 32x128")
    p.add_argument("--steps", type=common.count, default=60)
    p.add_argument("--window", type=common.count, default=10, help="steps that are timed together: at most half of --steps")
    p.add_argument("--workers", type=int, default=2, help="processes that make batches")
    o = common.of_a_gpu(p)
    o.big = dict(vocab_size=30522, num_hidden_layers=12)
    o.narrow = dict(num_hidden_layers=4, hidden_size=312, intermediate_size=1200)
    if o.rehearse:
        o.big = dict(vocab_size=99, num_hidden_layers=4, hidden_size=24, intermediate_size=32, num_attention_heads=12)
        o.narrow, o.steps, o.window = dict(num_hidden_layers=2, hidden_size=12, intermediate_size=16), 4, 1
        o.shapes, o.workers = [(2, 8)], 0
    if 2 * o.window > o.steps: p.error(f"--window {o.window}: expected at most half of --steps {o.steps}, for the first window is not counted")
    common.study(o, "steps-gpu.json" if o.device == "cuda" else "steps-rehearsal.json", rows(o), settings=common.settings(o, "shapes"))
