"""One command for a GPU session: `python benchmarks/on_gpu.py --minutes 8 --sst2 FOLDER`.

Every check and every benchmark of a GPU, in order of worth, each in a process of its own with a time limit; what one writes, it writes after each
of its rows, into nbs/results/*-gpu.json. A part that fails or runs out of time does not stop the others. At the end a summary, which is also written to
nbs/results/on-gpu.json. It needs the installed package, this folder and, for real lengths, GLUE's SST-2; `--rehearse` does everything at toy size on a CPU.
"""
import argparse, json, os, signal, subprocess, sys, time
from pathlib import Path
import common

HERE = Path(__file__).resolve().parent
LEAST = 10 # seconds, below which no part begins
FINE = 0, "out of time", "no time left" # a part that did not fail

def parts(o):
    "Name -> (share of the time, command); the first ones are worth the most."
    py, toy = [sys.executable], ["--rehearse"] if o.rehearse else []
    script = lambda name, *args: [*py, str(HERE/f"{name}.py"), *toy, "--results", str(o.results), *args]
    tests = HERE.parent/"tests"
    sst2 = ["--sst2", str(o.sst2)] * bool(o.sst2) + ["--tokenizer", str(o.tokenizer)] * bool(o.tokenizer)
    return dict(
        checks=(.12, [*py, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests/"kit"/"test_gpu.py")] if tests.is_dir() else None),
        steps=(.5, script("gpu_steps", "--steps", "40", "--window", "5") if not o.rehearse else script("gpu_steps")),
        trace=(.05, script("gpu_trace")),
        kernels=(.1, script("gpu_trace", "--large")),
        attention=(.03, script("gpu_attention")),
        epoch=(.32, script("gpu_epoch", *sst2)),
        recipes=(.4, script("gpu_recipes", *["--sst2", str(o.sst2)] * bool(o.sst2))),
        augment=(.15, None if o.rehearse else [*py, str(HERE/"augment.py"), "--results", str(o.results), "--sentences", "16", "--repeats", "1"]),
        devices=(.1, None if o.rehearse or not tests.is_dir() else [*py, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests/"on_device.py")]),
        words=(.2, None if o.rehearse else [*py, str(HERE/"words_step.py"), "--results", str(o.results), "--batch", "32", "--repeats", "5"]),
        peers=(.2, None if o.rehearse else [*py, str(HERE/"steps.py"), "--results", str(o.results), "--only", "options", "--batch", "32", "--seq", "128"]))

def run(o, name, share, command, left):
    "One part, stopped when its time is over."
    begin, seconds = time.perf_counter(), min(left, max(30, 60 * o.minutes * share))
    if seconds < LEAST: return dict(part=name, ended="no time left")
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1",
           "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])}
    if "--results" in command: command = [*command, *([] if "--seconds" in command else ["--seconds", str(seconds - 8)])]
    log = o.results/f"on-gpu-{name}.txt"
    try:
        with open(log, "w", encoding="utf-8") as out: code = ended(command, seconds, stdout=out, stderr=subprocess.STDOUT, env=env)
        said = [l for l in log.read_text(errors="replace").splitlines() if l.strip()]
    finally: log.unlink()
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
    p.add_argument("--sst2", type=common.there, help="folder of GLUE's SST-2")
    p.add_argument("--tokenizer", type=common.there, help="folder with a BERT vocabulary")
    p.add_argument("--results", type=common.made, default=HERE.parent/"nbs"/"results")
    o = common.of_a_gpu(p, argv)
    if 60 * o.minutes < LEAST: p.error(f"--minutes {o.minutes}: expected {LEAST} seconds or more: no part begins with less")
    every = parts(o)
    for name in o.only or ():
        if name not in every: p.error(f"--only {name}: expected some of {', '.join(every)}")
        if every[name][1] is None: p.error(f"--only {name}: it cannot be rehearsed, or needs the folder of tests")
    return o, {name: part for name, part in every.items() if part[1] is not None and name in (o.only or every)}

def told(done):
    "The summary, a line for every part."
    def line(d): return f"{d['part']:<10} {'fine' if d['ended'] == 0 else d['ended'] if isinstance(d['ended'], str) else 'FAILED':<13} {d.get('seconds', 0):>5} s" + (f"  {d['last'][:120]}" if d["ended"] not in FINE else "")
    return "\n".join(map(line, done))

if __name__ == "__main__":
    o, wanted = asked()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)) # a part that runs is stopped first
    begin, done = time.perf_counter(), []
    for name, (share, command) in wanted.items():
        done.append(run(o, name, share, command, 60 * o.minutes - (time.perf_counter() - begin)))
        print(json.dumps(done[-1], ensure_ascii=False), flush=True)
        common.write(o.results/("on-gpu-rehearsal.json" if o.rehearse else "on-gpu.json"), machine=common.machine(), minutes=o.minutes, parts=done)
    print(told(done))
    sys.exit(any(d["ended"] not in FINE for d in done))
