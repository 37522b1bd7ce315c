"""One command for a GPU session: `python benchmarks/on_gpu.py --minutes 8 --glue FOLDER`.

Every check and every benchmark of a GPU, in order of worth, each in a process of its own with a time limit; what one writes, it writes after each
of its rows, into nbs/results/*-gpu.json. A part that fails or runs out of time does not stop the others. At the end a summary, which is also written to
nbs/results/on-gpu.json; with `--only` the other parts of an earlier summary of the same card stay. It needs the installed package, this folder and, for real
lengths and the quality of students, the folders of GLUE's tasks (`--sst2 FOLDER` names one of them); `--rehearse` does everything at toy size on a CPU.

Eight minutes reach the speed of steps, epochs, augmentation, masked-LM steps and options. The parts after them need more: the recipes, which run on the CPU
too, and the quality runs of compare.py, which go on where an earlier session ended.
"""
import argparse, json, os, signal, subprocess, sys, time
from pathlib import Path
from tempfile import TemporaryDirectory
import common

HERE = Path(__file__).resolve().parent
GLUE = "SST-2", "MRPC", "RTE", "CoLA", "STS-B"
LEAST = 10 # seconds, below which no part begins
FINE = 0, "out of time", "no time left" # a part that did not fail

def parts(o):
    "Name -> (share of the time, command); the first ones are worth the most."
    py, toy, tests = [sys.executable], ["--rehearse"] if o.rehearse else [], HERE.parent/"tests"
    sst2 = ["--sst2", str(o.sst2)] * bool(o.sst2)
    words = ["--tokenizer", str(o.tokenizer)] * bool(o.tokenizer)
    def script(name, *args, rehearses=True): # None: it cannot be rehearsed
        if rehearses: args = *toy, *args
        return None if o.rehearse and not rehearses else [*py, str(HERE/f"{name}.py"), "--results", str(o.results), "--seconds", "SECONDS", *args]
    def pytest(file): return [*py, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests/file)] if tests.is_dir() else None
    return dict(
        checks=(.12, pytest("kit/test_gpu.py")),
        steps=(.33, script("gpu_steps", *["--steps", "40", "--window", "5"] * (not o.rehearse))),
        trace=(.04, script("gpu_trace")),
        kernels=(.08, script("gpu_trace", "--large")),
        attention=(.03, script("gpu_attention")),
        epoch=(.2, script("gpu_epoch", *sst2, *words)),
        augment=(.08, script("augment", "--sentences", "16", "--repeats", "1", rehearses=False)),
        words=(.08, script("words_step", "--batch", "32", "--repeats", "5", rehearses=False)),
        peers=(.08, script("steps", "--only", "options", "--batch", "32", "--seq", "128", rehearses=False)),
        devices=(.1, None if o.rehearse else pytest("on_device.py")),
        recipes=(.4, script("gpu_recipes", *sst2)),
        compare=(.9, quality(o)))

def quality(o):
    "The command of compare.py: all that is missing in the rows of GLUE's tasks, four runs at a time."
    if not (o.rehearse or o.glue): return None
    what = ["--budget", "toy", "--results", "SCRATCH", "--work", "SCRATCH", "--tasks", "bshift", "--seeds", "0", "--only", "logits, KL"] if o.rehearse else \
        ["--budget", "full", "--results", str(o.results), "--data", str(o.glue), "--jobs", "4", "--tasks", *GLUE]
    return [sys.executable, str(HERE/"compare.py"), "run", "--minutes", "MINUTES", *what]

def run(o, name, share, command, left):
    "One part, stopped when its time is over."
    begin, seconds = time.perf_counter(), min(left, max(30, 60 * o.minutes * share))
    if seconds < LEAST: return dict(part=name, ended="no time left")
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1",
           "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])}
    own = max(1, seconds - 8) # it ends by itself a little earlier
    with TemporaryDirectory() as scratch:
        log, words = Path(scratch)/"log.txt", dict(SECONDS=str(own), MINUTES=str(own / 60), SCRATCH=scratch)
        with open(log, "w", encoding="utf-8") as out:
            code = ended([words.get(w, w) for w in command], seconds, stdout=out, stderr=subprocess.STDOUT, env=env)
        said = [l for l in log.read_text(encoding="utf-8", errors="replace").splitlines() if l.strip()]
    return dict(part=name, ended=code, seconds=round(time.perf_counter() - begin), last=said[-1][-300:] if said else "", tail=said[-12:] if code not in FINE else [])

def ended(command, seconds, **how):
    "How a process ended. It and all that it started are over then, also where this one is told to stop."
    with subprocess.Popen(command, start_new_session=True, **how) as part:
        try: return part.wait(timeout=seconds)
        except subprocess.TimeoutExpired: return "out of time"
        finally:
            try: os.killpg(part.pid, signal.SIGKILL) # workers too, which would keep the card
            except ProcessLookupError: pass

def asked(argv=None):
    "The arguments and the parts that they name; argparse refuses what cannot be done before anything begins."
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--minutes", type=common.above_0(float, 24 * 60), default=8)
    p.add_argument("--only", nargs="+", metavar="PART", help="names of parts")
    p.add_argument("--glue", type=common.there, help=f"folder with {', '.join(GLUE)} of GLUE")
    p.add_argument("--sst2", type=common.there, help="folder of GLUE's SST-2 (default: the one in --glue)")
    p.add_argument("--tokenizer", type=common.there, help="folder with a BERT vocabulary")
    p.add_argument("--results", type=common.made, default=HERE.parent/"nbs"/"results")
    o = common.of_a_gpu(p, argv)
    if 60 * o.minutes < LEAST: p.error(f"--minutes {o.minutes}: expected {LEAST} seconds or more: no part begins with less")
    if o.glue and not (o.glue/"SST-2").is_dir(): p.error(f"--glue {o.glue}: expected a folder with {', '.join(GLUE)}")
    o.sst2 = o.sst2 or o.glue and o.glue/"SST-2"
    every = parts(o)
    for name in o.only or ():
        if name not in every: p.error(f"--only {name}: expected some of {', '.join(every)}")
        if every[name][1] is None: p.error(f"--only {name}: it cannot be rehearsed, or needs the folder of tests, or --glue")
    return o, {name: part for name, part in every.items() if part[1] is not None and name in (o.only or every)}

def told(done):
    "The summary, a line for every part."
    def line(d): return f"{d['part']:<10} {'fine' if d['ended'] == 0 else d['ended'] if isinstance(d['ended'], str) else 'FAILED':<13} {d.get('seconds', 0):>5} s" + (f"  {d['last'][:120]}" if d["ended"] not in FINE else "")
    return "\n".join(map(line, done))

def earlier(file, machine, wanted):
    "The parts of an earlier summary of this machine that are not done again."
    try: said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError): return []
    return [d for d in said["parts"] if d["part"] not in wanted] if said.get("machine") == machine else []

if __name__ == "__main__":
    o, wanted = asked()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)) # a part that runs is stopped first
    file, machine = o.results/("on-gpu-rehearsal.json" if o.rehearse else "on-gpu.json"), common.machine()
    before = earlier(file, machine, wanted) if o.only else []
    begin, done = time.perf_counter(), []
    for name, (share, command) in wanted.items():
        done.append(run(o, name, share, command, 60 * o.minutes - (time.perf_counter() - begin)))
        print(json.dumps(done[-1], ensure_ascii=False), flush=True)
        common.write(file, machine=machine, minutes=o.minutes, parts=[*before, *done])
    print(told(done))
    sys.exit(any(d["ended"] not in FINE for d in done))
