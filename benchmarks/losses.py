"""What the terms of TinyBERT's first stage cost over the bare step: `python benchmarks/losses.py --repeats 24`.

The bare step is the teacher's forward pass without gradients, the student's forward and backward pass on its logits, and
AdamW, all under SDPA. Every objective takes the same step with `trace` and
its own losses. It alternates with the bare step, so that each ratio compares neighbours in time; the memory is the peak
of a process that runs one variant. Writes nbs/results/losses-DEVICE.json, precision by precision, which
nbs/results/losses.ipynb reads; rows of objectives that were not asked for stay in it.
"""
import argparse
import json
import statistics
import sys
from itertools import chain, product
import torch
from transformers import BertConfig, BertForSequenceClassification
import common
from distill_nb.inside.capture import trace
from distill_nb.measure.report import machine
from distill_nb.losses import AttentionKL, AttentionMSE, HiddenMSE, Relations, SoftTargets, as_objective

OBJECTIVES = {"SoftTargets": SoftTargets, "AttentionMSE": AttentionMSE, "HiddenMSE": HiddenMSE,
              "TinyBERT stage 1": lambda: AttentionMSE() + HiddenMSE(),
              "MiniLM v1": lambda: AttentionKL() + Relations("v"), "MiniLM v2": lambda: Relations("qkv", heads=12)}
STUDENT = dict(hidden_size=312, num_hidden_layers=4, num_attention_heads=12, intermediate_size=1200)

def make_batch(bs, seq, ragged, vocabulary=30522):
    "Random ids; with `ragged`, texts of a quarter of `seq` to all of it."
    g = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, vocabulary, (bs, seq), generator=g)
    lengths = torch.randint(seq // 4, seq + 1, (bs, 1), generator=g) if ragged else torch.full((bs, 1), seq)
    lengths[0] = seq
    mask = (torch.arange(seq) < lengths).long()
    return dict(input_ids=ids * mask, attention_mask=mask)

class Bench:
    "Teacher, student, a batch on one device, and steps by name."
    def __init__(self, o, ragged, bf16):
        torch.manual_seed(0)
        self.device, self.bf16 = o.device, bf16
        self.teacher = BertForSequenceClassification(BertConfig()).eval().to(o.device)
        self.student = BertForSequenceClassification(BertConfig(**STUDENT)).train().to(o.device)
        self.batch = {k: v.to(o.device) for k, v in make_batch(o.batch, o.seq, ragged).items()}
        self.steps = {"bare": self.step(self.bare, self.student.parameters())}
        for name in o.objectives: self.steps[name] = self.step(*self.distil(name))

    def step(self, loss, parameters):
        opt = torch.optim.AdamW(list(parameters), lr=1e-5, fused=True)
        def run():
            loss().backward()
            opt.step()
            opt.zero_grad()
        return run

    def autocast(self): return torch.autocast(self.device, torch.bfloat16, enabled=self.bf16)

    def bare(self):
        with torch.no_grad(), self.autocast(): self.teacher(**self.batch)
        with self.autocast(): return self.student(**self.batch).logits.float().sum()

    def distil(self, name):
        objective = as_objective(OBJECTIVES[name]()).bind(self.student, self.teacher)
        of_student, of_teacher = objective.reads(4, 12)
        def loss():
            with torch.no_grad(), self.autocast(): t = trace(self.teacher, self.batch, of_teacher)
            with self.autocast():
                return sum(objective(trace(self.student, self.batch, of_student), t, self.batch).values())
        return loss, [*self.student.parameters(), *objective.parameters()]

def measure(o, ragged, bf16):
    "Rows: median seconds of an objective's step, and its ratios to the bare step right before it."
    bench, times = Bench(o, ragged, bf16), {}
    def timed(name): return common.timed(bench.steps[name], o.device)[0]
    for name in common.under(o, o.objectives):
        pairs = [(timed("bare"), timed(name)) for _ in common.under(o, range(o.warmup + o.repeats), o.warmup + 2)][o.warmup:]
        times[name] = [own for _, own in pairs]
        times.setdefault("bare", []).extend(bare for bare, _ in pairs)
        ratios = [own / bare for bare, own in pairs]
        yield dict(objective=name, bf16=bf16, padding=ragged, repeats=len(pairs), seconds=statistics.median(times[name]),
                   bare=statistics.median(bare for bare, _ in pairs), paired=statistics.quantiles(ratios, n=4))
    yield dict(objective="bare", bf16=bf16, padding=ragged, repeats=len(times["bare"]), paired=[1., 1., 1.],
               seconds=statistics.median(times["bare"]), bare=statistics.median(times["bare"]))

def peak(o, name, bf16):
    "Peak memory in MB of a process that takes three steps of one variant."
    return common.in_own_process(__file__, {k: getattr(o, k) for k in ("batch", "seq", "device")}, bf16, name)[-1]

def peak_here(o):
    o.objectives = [] if o.peak == "bare" else [o.peak]
    step = list(Bench(o, False, o.bf16).steps.values())[-1]
    for _ in range(3): step()
    return common.memory(o.device)

if __name__ == "__main__":
    p = common.parser(__doc__)
    p.add_argument("--repeats", type=int, default=24)
    p.add_argument("--warmup", type=int, default=2)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--seq", type=int, default=64)
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--objectives", nargs="+", default=list(OBJECTIVES), choices=OBJECTIVES)
    common.options(p)
    p.add_argument("--peak", help=argparse.SUPPRESS)
    p.add_argument("--bf16", action="store_true", help=argparse.SUPPRESS)
    o = p.parse_args()
    if o.peak: sys.exit(print(peak_here(o)))
    settings, peaks, rows = dict(batch=o.batch, seq=o.seq, teacher="BERT-base", student=STUDENT), {}, []
    out = o.results/f"losses-{o.device}.json"
    before = json.loads(out.read_text()) if out.is_file() else dict(settings=None)
    others = [r for r in before["results"] if r["objective"] not in {*o.objectives, "bare"}] if before["settings"] == settings else []
    def memory():
        for key in product(["bare", *o.objectives], (False, True)):
            peaks[key] = peak(o, *key)
            yield key, peaks[key]
    def times():
        for bf16, ragged in product((False, True), repeat=2):
            for row in measure(o, ragged, bf16):
                rows.append(row)
                yield row
    def held(row):
        key = row["objective"], row["bf16"]
        return row | (dict(peak_mb=peaks[key]) if key in peaks and not row["padding"] else {})
    # on a CPU the memory comes first, while this process is small: a child's peak starts from its parent's size
    for part in common.under(o, chain(times(), memory()) if o.device == "cuda" else chain(memory(), times())):
        print(part, flush=True)
        common.write(out, settings=settings, machine=machine(), results=[held(row) for row in rows] + others)
