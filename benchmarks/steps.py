"""What distilling costs, in sections: `python benchmarks/steps.py --sst2 FOLDER`, or some with `--only steps epoch`.

    steps      a step of each objective over its floor: the bare passes, in the same precision and process, by turns
    epoch      an epoch of SST-2: the reference's way (padded, float32), ours with the teacher in the loop, with its answers
               cached, and plain fine-tuning of the same student; on a sample of the batches, scaled
    growth     how a step grows with batch, length, layers and vocabulary; tokens per second, share of the matrix peak
    options    what each default of speed is worth, and what torch.compile would bring
    processes  the loss curve of two processes under torchrun beside that of one with the doubled batch

Writes nbs/results/benchmarks-DEVICE.json after every row of a section, which nbs/results/benchmarks.ipynb reads; sections that were not asked for
stay in it. The weights are random. `--teacher 4 128 --student 2 128 --quick` is a smoke run. What each term of the
attention losses adds, and their memory, is benchmarks/losses.py.
"""
import argparse, json, os, random, statistics, subprocess, sys, time
from pathlib import Path
from tempfile import TemporaryDirectory
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, BertConfig, Trainer, TrainerCallback
import common
from common import peak_rate, quartiles, timed
from losses import STUDENT, make_batch
from distill_nb.teachers.cache import cache_teacher
from distill_nb.inside.capture import trace
from distill_nb.data.load import load_task
from distill_nb.data.tokens import tokenize
from distill_nb.measure.report import machine
from distill_nb.losses import AttentionMSE, CosineHidden, HardTargets, HiddenMSE, Relations, SoftTargets, as_objective
from distill_nb.kit.cpu import packed
from distill_nb.students.copied import init_student
from distill_nb.teachers.load import load_tokenizer
from distill_nb.training.distiller import Distiller
from distill_nb.training.settings import show_bar
from distill_nb.training.settings import fast_bf16, training_args
try: from distill_nb.recipes.distilbert import triple_loss
except ImportError: triple_loss = None # then all logits are made

TARGETS = {"logits": {False: 1.03, True: 1.03}, "triple, masked": {False: 1.05, True: 1.05},
           "TinyBERT stage 1": {False: 1.05, True: 1.15}, "MiniLM relations": {False: 1.05, True: 1.05}}

def shape(n_layers, d, vocabulary=30522, **kw):
    sizes = dict(num_attention_heads=max(1, d // 64), intermediate_size=4 * d, vocab_size=vocabulary)
    return BertConfig(num_hidden_layers=n_layers, hidden_size=d, **{**sizes, **kw})

def make(config, words=False):
    torch.manual_seed(0)
    return (AutoModelForMaskedLM if words else AutoModelForSequenceClassification).from_config(config)

def batch_of(bs, seq, o, words=False, vocabulary=30522):
    "Random ids; with `words`, a label at 15 % of the places."
    batch = make_batch(bs, seq, False, vocabulary)
    g = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 2, (bs,), generator=g)
    if words:
        labels = torch.where(torch.rand(bs, seq, generator=g) < .15, batch["input_ids"], -100)
        labels[:, 1] = batch["input_ids"][:, 1]
    return {k: v.to(o.device) for k, v in dict(batch, labels=labels).items()}

def by_turns(o, ways, repeats, warmup=1): return common.by_turns(ways, range(warmup + repeats), warmup, o.device)

def ratios(times, name, to):
    "Quartiles of a way's time over that of its neighbour in the same round."
    return quartiles(common.ratios(times, name, to))

class Pair:
    "Teacher and student on one device, and a step made of their passes and a loss."
    def __init__(self, o, teacher, student, bf16, words=False):
        self.o, self.bf16, self.words = o, bf16, words
        self.teacher = make(teacher, words).eval().to(o.device)
        self.student = make(student, words).train().to(o.device)

    def autocast(self): return torch.autocast(self.o.device, torch.bfloat16, enabled=self.bf16)

    def step(self, loss, more=(), **adamw):
        opt = torch.optim.AdamW([*self.student.parameters(), *more], lr=1e-5, **{"fused": True, **adamw})
        def run():
            loss().backward()
            opt.step()
            opt.zero_grad()
        return run

    def answer(self, model, batch):
        "Logits; of a masked language model at labelled places only."
        inputs = {k: v for k, v in batch.items() if k != "labels"}
        if not self.words: return model(**inputs).logits
        return model.cls(model.base_model(**inputs).last_hidden_state[batch["labels"] != -100])

    def bare(self, batch, without=torch.no_grad):
        def loss():
            with without(), self.autocast(): self.answer(self.teacher, batch)
            with self.autocast(): return self.answer(self.student, batch).float().sum()
        return loss

    def distil(self, batch, objective):
        objective = as_objective(objective).bind(self.student, self.teacher)
        mine, theirs = objective.reads(self.student.config.num_hidden_layers, self.teacher.config.num_hidden_layers)
        def loss():
            with torch.no_grad(), self.autocast(): t = trace(self.teacher, batch, theirs)
            with self.autocast(): return sum(objective(trace(self.student, batch, mine), t, batch).values())
        return self.step(loss, objective.parameters())

def objectives(o):
    "Name -> (student's configuration, objective of a pair, is it a masked language model)."
    n, d = o.student
    heads = o.config.num_attention_heads
    own = BertConfig(**STUDENT) if d == 768 else shape(n, d // 2, num_attention_heads=heads)
    triple = (lambda p: triple_loss(p.student, p.teacher, only_masked=True)) if triple_loss else (
        lambda p: 5*SoftTargets(T=2, unit="labels") + 2*HardTargets() + CosineHidden())
    return {"logits": (shape(n, d), lambda p: SoftTargets(T=2), False), "triple, masked": (shape(n, d), triple, True),
            "TinyBERT stage 1": (own, lambda p: AttentionMSE() + HiddenMSE(), False),
            "MiniLM relations": (shape(n, d), lambda p: Relations("qkv", heads=heads), False)}

def steps(o):
    rows = []
    for name, (student, objective, words) in objectives(o).items():
        for bf16 in (False, True):
            pair = Pair(o, o.config, student, bf16, words)
            batch = batch_of(o.batch, o.seq, o, words)
            times = by_turns(o, {"floor": pair.step(pair.bare(batch)), name: pair.distil(batch, objective(pair))}, o.repeats)
            rows.append(dict(objective=name, bf16=bf16, floor=statistics.median(times["floor"]), seconds=statistics.median(times[name]),
                             ratio=ratios(times, name, "floor"), target=TARGETS[name][bf16], repeats=o.repeats))
            yield dict(batch=o.batch, seq=o.seq, chunked=triple_loss is not None, rows=rows)

# An epoch of SST-2

class Clock(TrainerCallback):
    "When each step ended; the first one is the warm-up."
    def __init__(self, o): self.o, self.at = o, []
    def on_step_end(self, *args, **kwargs):
        common.synchronise(self.o.device)
        self.at.append(time.perf_counter())
    def seconds(self): return self.at[-1] - self.at[0]

def sst2_rows(o, tok):
    "The training rows, and batches of them as grouping by length makes them: quantiles of their padded lengths, in random order."
    rows = tokenize(load_task(o.sst2), tok, max_length=64)["train"]
    args = training_args(o.tmp, per_device_train_batch_size=32, eval_strategy="no", disable_tqdm=True, use_cpu=True)
    sampler = Distiller(make(shape(1, 64)), None, HardTargets(), args, train_dataset=rows, processing_class=tok)._get_train_sampler()
    order, lengths = list(sampler), rows["length"][:]
    batches = [order[i:i+32] for i in range(0, len(order) - 31, 32)]
    batches.sort(key=lambda b: max(lengths[i] for i in b))
    picked = [batches[(2 * i + 1) * len(batches) // (2 * o.sample)] for i in range(o.sample)]
    random.Random(0).shuffle(picked)
    return rows, picked

def padded_way(o, teacher, student, rows, tok, length=64):
    "The reference code's way: float32, every text padded to `length`, one loop; seconds of all but the first batch."
    teacher, student = teacher.to(o.device).eval(), student.to(o.device).train()
    opt, at = torch.optim.AdamW(student.parameters(), lr=1e-5, foreach=False), []
    columns = rows.select_columns(["input_ids", "attention_mask", "token_type_ids"])
    for i in range(0, len(rows), 32):
        batch = tok.pad(columns[i:i+32], padding="max_length", max_length=length, return_tensors="pt").to(o.device)
        with torch.no_grad(): z_t = teacher(**batch).logits
        loss = -(z_t.softmax(-1) * student(**batch).logits.log_softmax(-1)).mean()
        loss.backward()
        opt.step()
        opt.zero_grad()
        common.synchronise(o.device)
        at.append(time.perf_counter())
    return at[-1] - at[0]

def trainer_way(o, kind, rows, tok, *models, **kw):
    "Seconds that a Trainer takes for all but the first batch of the rows, in their order."
    args = training_args(o.tmp, num_train_epochs=1, per_device_train_batch_size=32, train_sampling_strategy="sequential",
                         eval_strategy="no", disable_tqdm=True, use_cpu=o.device == "cpu")
    clock = Clock(o)
    run = kind(*models, args=args, train_dataset=rows, processing_class=tok, callbacks=[clock], **kw)
    show_bar(run, "epoch").train()
    return clock.seconds()

def epoch(o):
    if not o.sst2: return print("epoch: give --sst2 FOLDER (train.tsv, dev.tsv)")  # no part is made
    tok = load_tokenizer()
    rows, batches = sst2_rows(o, tok)
    student = lambda: init_student(teacher, range(o.student[0])) if o.student[1] == o.teacher[1] else make(shape(*o.student, num_labels=2))
    teacher = make(shape(*o.teacher, num_labels=2)).eval()
    flat = rows.select([i for b in batches for i in b]).remove_columns("length").flatten_indices()
    lengths = rows["length"][:]
    padded = sum(32 * max(lengths[i] for i in b) for b in batches) / len(flat)
    with TemporaryDirectory() as home:
        ask = lambda rows: cache_teacher(teacher, rows, tok, bf16=fast_bf16(), folder=home)
        ask(flat.select(range(32)))
        filled, found = timed(lambda: ask(flat), o.device)[0], timed(lambda: ask(flat), o.device)[0]
        cached = ask(flat)
        few = lambda rows, r: rows.select(range(r * o.part * 32, (r + 1) * o.part * 32))
        soft, times = SoftTargets(T=1), []
        for r in range(o.sample // o.part): # every way gets the same batches in turn
            one = few(flat, r)
            plain = one.rename_column("labels", "label")
            times.append(dict(
                reference=padded_way(o, teacher, student(), one.select(range(min(len(one), 32 * o.padded))), tok),
                live=trainer_way(o, Distiller, one, tok, student(), teacher, soft),
                cached=trainer_way(o, Distiller, few(cached, r), tok, student(), None, soft),
                plain=trainer_way(o, Trainer, plain, tok, student())))
            yield epoch_so_far(o, rows, lengths, flat, padded, times) | dict(
                fill_seconds=(filled - found) / len(flat) * len(rows), found_seconds=found)

def epoch_so_far(o, rows, lengths, flat, padded, times):
    "What the rounds so far say of a whole epoch."
    steps = {k: o.part - 1 for k in times[0]} | dict(reference=min(o.part, o.padded) - 1)
    per_step = {k: [t[k] / steps[k] for t in times] for k in times[0]}
    whole = len(rows) / 32
    return dict(rows=len(rows), mean_length=statistics.mean(lengths), sampled=len(flat), bf16=fast_bf16(), padded_to=64,
                tokens_with_padding=padded, steps_timed={k: s * len(times) for k, s in steps.items()},
                epoch_seconds={k: statistics.median(v) * whole for k, v in per_step.items()},
                speedup={k: quartiles([a / b for a, b in zip(per_step["reference"], per_step[k])]) for k in ("live", "cached", "plain")},
                cached_over_plain=quartiles([a / b for a, b in zip(per_step["cached"], per_step["plain"])]),
                targets=dict(live=9, cached=18, cached_over_plain=1.08))

# How a step grows

def counted(teacher, student, bs, seq, words):
    "FLOPs of a step as torch counts them, on no device; the eager attention, of which it sees every product."
    o = argparse.Namespace(device="cpu")
    with torch.device("meta"): models = [make(c, words) for c in (teacher, student)]
    for m in models: m.set_attn_implementation("eager")
    pair = Pair.__new__(Pair)
    pair.words = words
    batch = batch_of(bs, seq, o, words, min(c.vocab_size for c in (teacher, student)))
    ids = batch["input_ids"].to("meta")
    n = int((batch["labels"] != -100).sum())
    def answer(m):
        if not words: return m(input_ids=ids).logits
        return m.cls(m.base_model(input_ids=ids).last_hidden_state.flatten(0, 1)[:n])
    with FlopCounterMode(display=False) as f:
        with torch.no_grad(): answer(models[0])
        answer(models[1]).sum().backward()
    return f.get_total_flops()

def growth(o):
    bf16, top = fast_bf16(), peak_rate(2048 if o.device == "cpu" else 8192, o.device)
    base = dict(batch=8, length=64, layers=o.teacher[0], vocabulary=30522)
    axes = dict(batch=[1, 2, 4, 8, 16, 32], length=[16, 32, 64, 128, 256, 512], layers=[2, 4, 6, 12, 24],
                vocabulary=[2000, 8000, 30522, 120000])
    if o.quick: axes = {k: [v for v in vs if v <= 2 * base[k]][-3:] for k, vs in axes.items()}
    rows = []
    for axis, values in axes.items():
        for value in values:
            at = {**base, axis: value}
            words, n, (share, d) = axis == "vocabulary", at["layers"], (o.student[0] / o.teacher[0], o.teacher[1])
            configs = [shape(k, d, at["vocabulary"]) for k in (n, max(1, round(n * share)))]
            pair = Pair(o, *configs, bf16, words)
            batch = batch_of(at["batch"], at["length"], o, words, at["vocabulary"])
            objective = objectives(o)["triple, masked"][1](pair) if words else SoftTargets(T=2)
            times = by_turns(o, dict(step=pair.distil(batch, objective)), min(o.repeats, 3))["step"]
            s, tokens = statistics.median(times), at["batch"] * at["length"]
            flops = counted(*configs, at["batch"], at["length"], words)
            rows.append(dict(axis=axis, value=value, seconds=s, tokens_per_s=tokens / s, flops=flops, flops_per_s=flops / s))
            yield dict(base=base, bf16=bf16, peak=top, rows=rows)
            del pair

# What the defaults are worth

def options(o):
    bf16 = fast_bf16()
    pair = Pair(o, o.config, shape(*o.student), bf16)
    batch = batch_of(o.batch, 16, o) # about SST-2's length
    rows, base = [], pair.step(pair.bare(batch))
    def compare(name, way, **more):
        times = by_turns(o, {"default": base, name: way}, o.repeats)
        rows.append(dict(option=name, ratio=ratios(times, name, "default"), seconds=statistics.median(times[name]), **more))
        return dict(batch=o.batch, seq=16, bf16=bf16, rows=rows)
    yield compare("teacher in inference mode", pair.step(pair.bare(batch, torch.inference_mode)))
    yield compare("AdamW not fused", pair.step(pair.bare(batch), fused=False))
    if bf16:
        full = Pair(o, o.config, shape(*o.student), False)
        yield compare("float32", full.step(full.bare(batch)))
        del full
    quick = Pair(o, o.config, shape(*o.student), bf16)
    with packed(quick.teacher): found = compare("teacher packed", quick.step(quick.bare(batch)))
    yield found
    del quick
    eager = Pair(o, o.config, shape(*o.student), bf16)
    eager.teacher.set_attn_implementation("eager")
    yield compare("eager teacher", eager.step(eager.bare(batch)))
    def with_gradients():
        with pair.autocast(): pair.teacher(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        with pair.autocast(): return pair.answer(pair.student, batch).float().sum()
    yield compare("teacher with gradients", pair.step(with_gradients))
    yield compare("padded to 64", pair.step(pair.bare(batch_of(o.batch, 64, o))))
    if o.compile:
        try:
            fast = Pair(o, o.config, shape(*o.student), bf16)
            fast.teacher, fast.student = [torch.compile(m) for m in (fast.teacher, fast.student)]
            step = fast.step(fast.bare(batch))
            found = compare("torch.compile", step, compile_seconds=timed(step, o.device)[0])
        except Exception as e: rows.append(dict(option="torch.compile", failed=f"{type(e).__name__}: {str(e)[:200]}"))
        yield found

# Two processes are one

def curve_here(out, n, steps_taken=30):
    "Train small models in this process, one of `n`, and write the losses of its steps."
    task, tok = load_task("libraries"), load_tokenizer()
    rows = tokenize(task, tok, max_length=32)["train"].select(range(16 * steps_taken))
    still = dict(num_labels=len(task.labels), hidden_dropout_prob=0., attention_probs_dropout_prob=0.)
    teacher = make(shape(4, 64, len(tok), initializer_range=.2, **still)).eval()
    args = training_args(f"{out}-run", per_device_train_batch_size=16 // n, train_sampling_strategy="random", max_steps=steps_taken,
                         eval_strategy="no", logging_steps=1, disable_tqdm=True, bf16=False, use_cpu=True, learning_rate=1e-3,
                         ddp_backend="gloo" if n > 1 else None)
    objective = 5*SoftTargets(T=2) + 2*HardTargets() + CosineHidden()
    run = Distiller(init_student(teacher, [0, 3]), teacher, objective, args, train_dataset=rows, processing_class=tok).show_bar("curve")
    run.train()
    if run.is_world_process_zero(): Path(out).write_text(json.dumps(run.history()["loss"].tolist()))
    if n > 1: # leave together, without the interpreter's teardown, in which gloo's threads now and then abort
        torch.distributed.barrier()
        os._exit(0)

def processes(o):
    curves = {}
    with TemporaryDirectory() as tmp:
        for n in (1, 2):
            launch = ["-m", "torch.distributed.run", f"--nproc_per_node={n}", "--standalone"] if n > 1 else []
            subprocess.run([sys.executable, *launch, __file__, "--curve", f"{tmp}/{n}.json", "--processes", str(n)], check=True,
                           env={**os.environ, "OMP_NUM_THREADS": "1"})
            curves[n] = json.loads(Path(f"{tmp}/{n}.json").read_text())
    gap = max(abs(a - b) / a for a, b in zip(*curves.values()))
    yield dict(backend="gloo", batch={"1": 16, "2": 8}, curves=curves, largest_gap=gap)

SECTIONS = dict(steps=steps, epoch=epoch, growth=growth, options=options, processes=processes)

if __name__ == "__main__":
    p = common.parser(__doc__)
    p.add_argument("--only", nargs="+", default=list(SECTIONS), choices=SECTIONS)
    p.add_argument("--sst2", help="folder of GLUE's SST-2")
    p.add_argument("--teacher", type=int, nargs=2, default=[12, 768], help="layers and width")
    p.add_argument("--student", type=int, nargs=2, default=[6, 768])
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--seq", type=int, default=64)
    p.add_argument("--repeats", type=int, default=5, help="rounds of each comparison")
    p.add_argument("--sample", type=int, default=36, help="SST-2's batches of 32, evenly spread over an epoch")
    p.add_argument("--part", type=int, default=12, help="batches in turn")
    p.add_argument("--padded", type=int, default=4, help="of them that the reference's way takes: it is slow, and all cost the same")
    p.add_argument("--no-compile", dest="compile", action="store_false")
    p.add_argument("--quick", action="store_true", help="fewer repeats and sizes, to see that it runs")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    common.options(p)
    p.add_argument("--curve", help=argparse.SUPPRESS)
    p.add_argument("--processes", type=int, help=argparse.SUPPRESS)
    o = p.parse_args()
    if o.curve: sys.exit(curve_here(o.curve, o.processes))
    if o.quick: o.repeats, o.sample, o.part = 2, 8, 4
    o.config = shape(*o.teacher)
    out = o.results/f"benchmarks-{o.device}.json"
    data = json.loads(out.read_text()) if out.is_file() else {}
    with TemporaryDirectory() as o.tmp:
        for name in common.under(o, o.only):
            start = time.time()
            for found in common.under(o, SECTIONS[name](o)):
                print(name, found["rows"][-1] if isinstance(found.get("rows"), list) else found, flush=True)
                data[name] = dict(teacher=o.teacher, student=o.student, quick=o.quick, machine=machine(), **found, minutes=(time.time() - start) / 60)
                common.write(out, **data)
