"""One training step as a trace of launches and kernels: `python benchmarks/gpu_trace.py`.

BERT-base teaches 6 of its layers by logits, 32 texts of 128 tokens, bf16; `before` launches every operation from Python, `graph` replays a recording. Of one step each,
torch's profiler says when the CPU launched something and when a kernel ran. Of every other objective it says which kernels take the longest. Writes nbs/results/trace-gpu.json: "start:duration" in microseconds since the step began.
`--large` profiles larger steps instead, and says how their time is shared between products of matrices, attention, the optimizer and all other; it writes
nbs/results/kernels-gpu.json. `--rehearse`: a toy pair on a CPU, whose operations stand for launches; there are no kernels.
"""
import statistics, time
from collections import Counter
import torch
from tempfile import TemporaryDirectory
from torch.profiler import ProfilerActivity, profile
from transformers import TrainerCallback
import common
from gpu_steps import WAYS, Plain, models, objective_of, texts
from distill_nb.training import training_args

SMALL = ("before", "logits"), ("graph", "logits"), ("graph", "triple"), ("graph", "tinybert"), ("graph", "minilm")
LARGE = ("graph", 128, 128), ("compiled", 128, 128), ("graph", 1024, 24), ("graph", 1024, 8)

class Watch(TrainerCallback):
    "Profiles the last step; the time of those before it is `steps`, in milliseconds."
    def __init__(self, o, last): self.o, self.last, self.seen, self.at = o, last, None, []
    @property
    def steps(self): return [1e3 * (b - a) for a, b in zip(self.at, self.at[1:])]
    def on_step_begin(self, args, state, control, **kwargs):
        common.synchronise(self.o.device)
        self.at.append(time.perf_counter())
        if state.global_step != self.last - 1: return
        kinds = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * (self.o.device == "cuda")]
        self.seen = profile(activities=kinds)
        self.seen.__enter__()
    def on_step_end(self, args, state, control, **kwargs):
        if self.seen is None: return
        common.synchronise(self.o.device)
        self.seen.__exit__(None, None, None)

def spans(events):
    "Begin and length of events, sorted; events inside another one are left out."
    out, end = [], -1.
    for a, b in sorted((e.time_range.start, e.time_range.end) for e in events):
        if a < end: continue
        out.append((a, b - a))
        end = b
    return out

def longest(events, n=15):
    "The kernels that take most of the time: name, how often, milliseconds."
    total = Counter()
    for e in events: total[e.name] += (e.time_range.end - e.time_range.start) / 1e3
    times = Counter(e.name for e in events)
    return [[name[:120], times[name], round(ms, 3)] for name, ms in total.most_common(n)]

def profiled(o, way, name, batch, seq):
    "What ran during the last of some steps, and the watch that saw it."
    teacher, student = models(o, name)
    watch, data = Watch(o, o.steps), texts(o, batch, seq, o.steps, name == "triple")
    with TemporaryDirectory() as tmp:
        args = training_args(tmp, max_steps=o.steps, per_device_train_batch_size=batch, train_sampling_strategy="sequential", eval_strategy="no", logging_steps=10**6,
                             logging_first_step=False, disable_tqdm=True, use_cpu=o.device == "cpu")
        run = WAYS[way](student, teacher, objective_of(name, teacher, student), args, train_dataset=data, data_collator=Plain(), callbacks=[watch])
        run.show_bar(way).train()
    return list(watch.seen.events()), watch

def kernels(events): return [e for e in events if e.device_type.name == "CUDA" and e.time_range.end > e.time_range.start and "#" not in e.name]

def rows(o):
    for way, name in SMALL:
        events, _ = profiled(o, way, name, o.batch, o.seq)
        on_card = kernels(events)
        calls = [e for e in events if e.name.startswith(("cudaLaunch", "cuLaunch", "cudaGraphLaunch", "cudaMemcpyAsync", "cudaMemsetAsync"))]
        if o.device == "cpu": calls = [e for e in events if e.name.startswith("aten::") and e.cpu_parent is None]
        launches, ran = spans(calls), spans(on_card)
        zero = min(a for a, _ in launches + ran)
        tell = lambda some: " ".join(f"{a - zero:.0f}:{d:.0f}" for a, d in some)
        spans_too = dict(launches=tell(launches), kernels=tell(ran)) if name == "logits" else {}
        yield dict(way=way, objective=name, batch=o.batch, seq=o.seq, n_launches=len(calls), n_kernels=len(on_card),
                   kernels_ms=round(sum(d for _, d in ran) / 1e3, 2), longest=longest(on_card), **spans_too)

def kind(kernel):
    "What a kernel does, by its name."
    signs = {"attention": ("sdpa", "fmha", "flash", "cudnn::fusion"), "matrix products": ("nvjet", "gemm", "cutlass", "splitK"), "optimizer": ("FusedOptimizer",)}
    return next((what for what, names in signs.items() if any(n in kernel for n in names)), "all other")

def large_rows(o):
    "The time of larger steps, shared out; all other is what is left of the median step."
    for way, batch, seq in LARGE:
        events, watch = profiled(o, way, "logits", o.batch if o.rehearse else batch, o.seq if o.rehearse else seq)
        step, found = statistics.median(watch.steps[-5:]), longest(kernels(events), None)
        parts = Counter()
        for name, _, ms in found: parts[kind(name)] += ms
        parts["all other"] = step - sum(ms for what, ms in parts.items() if what != "all other")
        yield dict(way=way, objective="logits", batch=batch, seq=seq, step_ms=step, parts={k: round(v, 2) for k, v in parts.items()}, longest=found[:15])

if __name__ == "__main__":
    p = common.parser(__doc__)
    common.options(p)
    p.add_argument("--large", action="store_true")
    o = common.of_a_gpu(p)
    o.batch, o.seq, o.steps = (2, 8, 6) if o.rehearse else (32, 128, 12)
    o.narrow = dict(num_hidden_layers=1, hidden_size=8, intermediate_size=16) if o.rehearse else dict(num_hidden_layers=4, hidden_size=312, intermediate_size=1200)
    o.big = dict(num_hidden_layers=2, hidden_size=16, num_attention_heads=2, intermediate_size=32, vocab_size=100) if o.rehearse else dict(num_hidden_layers=12, vocab_size=30522)
    name = "kernels" if o.large else "trace"
    common.study(o, f"{name}-rehearsal.json" if o.rehearse else f"{name}-gpu.json", large_rows(o) if o.large else rows(o))
