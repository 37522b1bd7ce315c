"""What the benchmarks share: a budget of seconds, JSON that is written after every part, studies over tasks and seeds, timing by turns."""
import argparse, json, math, os, resource, statistics, subprocess, sys, time
from pathlib import Path
import datasets, torch
from torch import nn
from distill_nb.data.docstrings import corpus_versions
from distill_nb.data.load import load_task
from distill_nb.kit.cpu import PackedLinear
from distill_nb.measure.report import machine
from distill_nb.recipes.demo import hide_labels

BEGIN = time.perf_counter()

def parser(doc):
    "A parser that shows a benchmark's docstring as it stands."
    datasets.disable_progress_bars()
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)

def made(folder):
    "The folder of this name: it is made before anything is measured, or argparse refuses."
    try: Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as e: raise argparse.ArgumentTypeError(f"{folder}: {e.strerror}") from None
    if not os.access(folder, os.W_OK): raise argparse.ArgumentTypeError(f"{folder}: no file can be written there")
    return Path(folder)

def there(folder):
    "The folder of this name, or argparse refuses."
    if not Path(folder).is_dir(): raise argparse.ArgumentTypeError(f"{folder}: expected a folder that exists")
    return Path(folder)

def above_0(number, most=math.inf):
    "A type for argparse: a number above 0."
    def of(text):
        try: fine = 0 < (x := number(text)) < most
        except ValueError: fine = False
        if not fine: raise argparse.ArgumentTypeError(f"{text}: expected {'a whole ' if number is int else 'a '}number above 0" + (f" and below {most}" if most < math.inf else ""))
        return x
    return of

count = above_0(int)

def options(parser):
    "What every benchmark can be told."
    parser.add_argument("--seconds", type=float, default=float("inf"), help="no part begins after so many (default: all parts)")
    parser.add_argument("--results", type=made, default=Path(__file__).resolve().parent.parent/"nbs"/"results", help="folder of the JSON files")

def of_a_gpu(p, argv=None):
    "The options of a benchmark for a GPU, read: `--rehearse` takes the CPU, and without a GPU there is nothing else."
    p.add_argument("--rehearse", action="store_true", help="everything at toy size on the CPU")
    o = p.parse_args(argv)
    if not (o.rehearse or torch.cuda.is_available()): p.error("no GPU is here: start this on a machine with one, or add --rehearse, which does it at toy size on the CPU")
    o.device = "cpu" if o.rehearse else "cuda"
    return o

def settings(o, *but):
    "The options that decide what is measured, as the JSON keeps them."
    return {k: v for k, v in vars(o).items() if k not in ("seconds", "results", "out", *but)}

def over(o): return time.perf_counter() - BEGIN > o.seconds

def under(o, parts, at_least=0):
    "The parts as they are made; when the budget is spent, no more of them than `at_least`."
    for i, part in enumerate(parts):
        yield part
        if over(o) and i + 1 >= at_least: break  # before the next one is made

def write(file, **data):
    "The JSON as a whole: neither a reader nor a kill meets half of it."
    file, new = Path(file), Path(f"{file}.new")
    new.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(new, file)

# Studies: rows over tasks and seeds

def named_tasks(specs, texts):
    "The task of each NAME=SOURCE under its name, with at most `texts` training texts, all labelled."
    for name, source in (s.split("=", 1) for s in specs):
        task = load_task(source)
        task.name, n = name, min(texts, len(task["train"]))
        yield hide_labels(task, n, n)

def study(o, file, rows, before=(), **about):
    "Print the rows as they are made, and write all there are, with what they are about, after each; fails if every row did."
    results = [*before]
    for row in under(o, rows):
        results.append(row)
        print(Path(file).stem, round(time.perf_counter() - BEGIN), row, flush=True)
        write(o.results/file, **about, corpus=corpus_versions(), machine=machine(), results=results)
    new = results[len(before):]
    if new and all("failed" in row for row in new): sys.exit(f"{file}: no row of {len(new)} was measured: {new[0]['failed']}")

# Timing: ways take turns in one process, so that a ratio compares neighbours in time

def synchronise(device):
    "Wait until a GPU has done what it was asked for."
    if device == "cuda": torch.cuda.synchronize()

def timed(f, device="cpu"):
    "Seconds of a call, with what it left to the GPU, and its value."
    synchronise(device)
    start = time.perf_counter()
    out = f()
    synchronise(device)
    return time.perf_counter() - start, out

def by_turns(ways, rounds, warmup=1, device="cpu"):
    "Name -> seconds of every round after the first `warmup`; each way goes first in turn."
    found = []
    for i in rounds:
        turn = list(ways.items())[::1 - 2 * (i % 2)]
        found.append({name: timed(way, device)[0] for name, way in turn})
    return {name: [r[name] for r in found[warmup:]] for name in ways}

def quartiles(x): return statistics.quantiles(x, n=4, method="inclusive") if len(x) > 1 else x * 3

def ratios(times, name, to): return [a / b for a, b in zip(times[name], times[to])]

def memory(device):
    "The most MB that this process has held."
    if device == "cuda": return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3

def in_own_process(script, settings, bf16, way):
    "The numbers that `script --peak WAY` prints: a process of its own has a peak of its own."
    flags = [f"--{k}={v}" for k, v in settings.items()] + ["--bf16"] * bf16
    run = subprocess.run([sys.executable, script, *flags, "--peak", way], capture_output=True, text=True, check=True)
    return [*map(float, run.stdout.split()[-2:])]

def peak_rate(n=2048, device="cpu"):
    "GFLOP/s of this machine's matrix products by precision, plain and packed, best of nine: what no way can pass."
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        layer, x = nn.Linear(n, n, dtype=dtype, device=device), torch.randn(n, n, dtype=dtype, device=device)
        ways = [layer, PackedLinear(layer)] if device == "cpu" else [layer]
        with torch.no_grad():
            took = [timed(lambda: way(x), device)[0] for _ in range(10) for way in ways][len(ways):]
        found[str(dtype).removeprefix("torch.")] = 2 * n**3 / min(took) / 1e9
    return found
