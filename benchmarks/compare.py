"""Which method, on equal terms: `python benchmarks/compare.py run --budget small --data FOLDER`.

Tasks x methods x seeds under one budget: every student of a task takes the same number of steps on the same texts. The learning rate of a method is chosen
on validation rows, which are a part of the training data, with seed 0; the test rows are asked once, with what was chosen. One JSON row per run is appended to
compare.jsonl: a run that was killed goes on with what is missing, and a file that was cut in its last line is repaired. Workers are processes of their own
(`--jobs`), which share a GPU if there is one; the runs come in the order of their worth, and after `--minutes` what is finished is kept.

`--budget timed` is the small one with the same CPU time for all: a method takes as many steps as cost what the control's run of the small budget cost, by the
CPU seconds of the small rows, and the learning rates that were chosen there.

`speed` times the shapes of the students, with nothing else running, into the same file; `pack FOLDER` writes tasks, teacher and packages for a machine
without network, where `--data FOLDER --teacher FOLDER/teacher` names them. nbs/results/compare.ipynb reads the rows.
"""
import argparse, base64, contextlib, fcntl, hashlib, json, os, resource, shutil, subprocess, sys, tempfile, threading, time, warnings
from pathlib import Path

VERSION = 1 # of the rows
HERE = Path(__file__).resolve().parent
BUDGETS = dict(
    full=dict(texts=20_000, steps=800, teacher_steps=800, batch=32, max_length=128, depth=dict(half=3, third=2), tiny=dict(n_layers=4, hidden_size=312, intermediate_size=1200)),
    small=dict(texts=4000, steps=240, teacher_steps=240, batch=32, max_length=64, depth=dict(half=3, third=2), tiny=dict(n_layers=4, hidden_size=312, intermediate_size=1200)),
    toy=dict(texts=64, steps=3, teacher_steps=3, batch=8, max_length=16, depth=dict(half=3, third=2), tiny=dict(n_layers=2, hidden_size=48, intermediate_size=64), held=40))
BUDGETS["timed"] = BUDGETS["small"] | dict(like="small") # equal time instead of equal steps
SEEDS, ABLATION_SEEDS, ABLATED = 4, 3, ("SST-2", "MRPC", "RTE", "bshift") # ablations: fewer seeds, on these tasks
KEY = "task", "method", "seed", "budget"

# The file of rows

class BadRows(ValueError): pass

@contextlib.contextmanager
def alone(file):
    "While this process appends to a file no other may: it would make the same runs again, and take a line that is being written for one that was cut."
    try: f = open(file, "ab")
    except OSError as e: raise BadRows(f"{file}: {e.strerror}, expected a file to write to.") from None
    with f:
        try: fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError: raise BadRows(f"{file}: another run writes it. Wait for its end, or name another folder with --results.") from None
        yield

def read_rows(file, repair=True):
    "The rows of a file, which is repaired where a kill cut its last line; refuses other versions, a run that is there twice, and damage elsewhere."
    if not file.is_file(): return []
    raw = file.read_bytes()
    whole, cut, rest = raw.rpartition(b"\n")
    if rest and whole_row(rest): # only its end of line is missing
        if repair:
            with open(file, "ab") as f: f.write(b"\n")
        whole, cut = raw, True
    elif rest and repair:
        print(f"{file}: the last line was cut off, and is removed", file=sys.stderr)
        os.truncate(file, len(raw) - len(rest))
    rows, places = [], {}
    for i, line in enumerate(whole.split(b"\n") if cut else [], 1):
        try: row = json.loads(line)
        except ValueError: raise BadRows(f"{file}, line {i}: not JSON. Remove the line: its run is done again.") from None
        got = row.get("version") if isinstance(row, dict) else None
        if got != VERSION: raise BadRows(f"{file}, line {i}: version {got!r}, expected {VERSION}. Name another folder with --results, or remove the file.")
        lost = [k for k in KEY if k not in row] if "method" in row else []
        if lost: raise BadRows(f"{file}, line {i}: a run without its {lost[0]}. Remove the line: its run is done again.")
        first = places.setdefault(key(row), i) if "method" in row else i
        if first != i: raise BadRows(f"{file}, line {i}: the run of line {first} again. Remove one of the two lines.")
        rows.append(row)
    return rows

def whole_row(line):
    "Is this the JSON of a row?"
    try: return isinstance(json.loads(line), dict)
    except ValueError: return False

def short(v):
    "Floats to six digits, also inside."
    if isinstance(v, dict): return {k: short(x) for k, x in v.items()}
    if isinstance(v, list): return [short(x) for x in v]
    return None if v != v or v in (float("inf"), -float("inf")) else float(f"{v:.6g}") if isinstance(v, float) else v

def append(file, row):
    "One line, on the disk before the next run begins."
    with open(file, "a", encoding="utf-8") as f:
        f.write(json.dumps(short(row), ensure_ascii=False, separators=(",", ":")) + "\n")
        f.flush()
        os.fsync(f.fileno())

def key(row): return tuple(row[k] for k in KEY)

# What is to be done

def settings_of(o): return BUDGETS[o.budget] | ({"steps": o.steps} if o.steps else {})

def items(o):
    "All runs that were asked for, the most valuable first: seed by seed teachers, floors and main rows, and two seeds later ablations."
    from compare_data import has_new
    from compare_ways import FLOORS, floors_of, ways_of
    found = []
    for t, task in enumerate(o.tasks):
        ways = ways_of(task)
        plan = [("teacher", 0), *[(f, 0) for f in floors_of(task)], *[(name, w.tier) for name, w in ways.items()]]
        for m, (method, tier) in enumerate(plan):
            if o.only and method not in o.only and method != "teacher": continue
            if method.endswith("new texts") and not has_new(task, o.data): continue
            if tier == 2 and task not in ABLATED and not o.only: continue
            for s, seed in enumerate(o.seeds):
                if tier == 2 and s >= ABLATION_SEEDS: continue
                if method in FLOORS and s: continue # nothing is drawn
                worth = (s, 0) if method == "teacher" else (s + 2 * (tier == 2) + .5, m)
                found.append(((*worth, t), dict(task=task, method=method, seed=seed, budget=o.budget)))
    return [item for _, item in sorted(found, key=lambda f: f[0])]

def rate_of(item, rows):
    "The learning rates of a run: those to choose from with the first seed, later the chosen one; None while it is not known."
    from compare_ways import ways_of
    way = ways_of(item["task"]).get(item["method"])
    if way is None: return (1e-4,)
    of = BUDGETS[item["budget"]].get("like", item["budget"])
    if item["first"] and not way.like and of == item["budget"]: return way.rates
    chosen = [r["learning_rate"] for r in rows if r.get("task") == item["task"] and r.get("method") == (way.like or item["method"])
              and r["budget"] == of and r.get("rates", 0)]
    return tuple(chosen[:1]) or None

def check_rates(todo, rows):
    "Refuse a run that would wait for ever for its learning rate, which no row has and no other run will choose."
    from compare_ways import ways_of
    chosen = {(i["task"], i["method"]) for i in todo if i["first"]}
    for i in todo:
        way = ways_of(i["task"]).get(i["method"])
        source = way and (way.like or i["method"])
        if way and rate_of(i, rows) is None and (i["task"], source) not in chosen: raise BadRows(
            f"{i['task']}, {i['method']}: {source!r} chooses its learning rate, and has no row. Ask for it too (--only).")

def steps_of(item, rows):
    "The steps that take a method the CPU time of its task's control, by the rows of the budget that this one is like; None for a floor or a teacher."
    from compare_ways import LABELS_ALONE, ways_of
    of = BUDGETS[item["budget"]].get("like")
    if not of or item["method"] not in ways_of(item["task"]): return None
    made = {r["method"]: r["cpu_seconds"] / len(r.get("rates", "1")) for r in rows if r.get("task") == item["task"] and r["budget"] == of and r.get("seed") == 0
            and r.get("cpu_seconds")}
    for method in LABELS_ALONE, item["method"]:
        if method not in made: raise BadRows(f"{item['task']}, {method}: equal time needs its row of --budget {of} with seed 0. Run that first.")
    return max(1, round(BUDGETS[of]["steps"] * made[LABELS_ALONE] / made[item["method"]]))

# One run, in a worker

class At:
    "What a run works with: a task's rows, its teachers, the settings."
    def __init__(self, o, name, seed):
        import torch
        from compare_data import fingerprint, read_task
        from distill_nb.data.tokens import tokenize
        from distill_nb.kit.models import weights_key
        from distill_nb.teachers.load import load_teacher, load_tokenizer
        s, self.again = settings_of(o), False
        self.o, self.seed, self.name, self.depth, self.tiny = o, seed, name, s["depth"], s["tiny"]
        self.tokenizer, self.task = load_tokenizer(o.teacher), read_task(name, o.data, s["texts"])
        for split in ("validation", "test") if "held" in s else ():
            self.task.splits[split] = self.task[split].select(range(min(s["held"], len(self.task[split]))))
        self.tokens, self.print = tokenize(self.task, self.tokenizer, s["max_length"]), fingerprint(self.task)
        self.max_length, self.new = s["max_length"], None
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.batch, self.planned, self.teacher_steps = s["batch"], s["steps"], s["teacher_steps"]
        self.steps = self.planned
        torch.manual_seed(0) # for what the checkpoint lacks
        weights = weights_key(load_teacher(o.teacher, self.task).base_model)
        held = hashlib.sha256(json.dumps([VERSION, "answers.pt", s, self.print, weights, name, o.budget]).encode()).hexdigest()[:12]
        self.home = o.work/f"{name}-{held}"

    @property
    def settings(self):
        return dict(seed=self.seed, per_device_train_batch_size=self.batch, eval_strategy="no", logging_steps=10**6, disable_tqdm=True)

    def rows(self, texts):
        "Training rows: all of the task's, those with a label, or all and new ones."
        from compare_data import with_new
        from distill_nb.data.tokens import tokenize
        from distill_nb.training.run import with_labels
        if texts == "new" and self.new is None: self.new = tokenize(with_new(self.task, self.o.data), self.tokenizer, self.max_length)["train"]
        if texts == "new": return self.new
        return with_labels(self.tokens["train"]) if texts == "labelled" else self.tokens["train"]

    def folder(self): return self.home/f"teacher-{self.seed}"

    def teacher(self, who):
        "The teacher as it was pretrained, with a new head, or fine-tuned."
        import torch
        from distill_nb.teachers.load import load_teacher
        torch.manual_seed(self.seed) # a new head is drawn
        return load_teacher(self.o.teacher if who == "pretrained" else str(self.folder()), self.task)

    def answers(self): # of the fine-tuned teacher on the test rows
        import torch
        return torch.load(self.folder()/"answers.pt", weights_only=True)

def tune(at, rate):
    "Fine-tune the teacher; its folder, which holds its test answers too, is there as a whole or not at all, and is what its row is about."
    import torch
    if at.again and at.folder().exists(): return at.teacher("tuned"), at.answers()
    from distill_nb.measure.scores import predict
    from distill_nb.training.run import fit, freeze_embeddings
    teacher = freeze_embeddings(at.teacher("pretrained"))
    fit(teacher, dict(train=at.rows("task")), at.tokenizer, name="teacher", learning_rate=rate, max_steps=at.teacher_steps, **at.settings)
    z = predict(teacher, at.tokens["test"], at.tokenizer)
    new = Path(tempfile.mkdtemp(dir=at.home))
    teacher.save_pretrained(new)
    torch.save(z, new/"answers.pt")
    if at.folder().exists(): shutil.rmtree(at.folder()) # of another file of rows
    new.rename(at.folder())
    return teacher, z

def choose(item, at, rates):
    "The student with the best learning rate by the validation rows, that rate, and its validation score."
    from compare_ways import train, ways_of
    from distill_nb.measure.scores import score
    way, found = ways_of(item["task"])[item["method"]], []
    for rate in rates:
        small = train(item["method"], way, at, rate, at.steps)
        found.append((score(small, at.tokens["validation"], at.tokenizer)[at.task.metric], rate, small))
    best = max(found, key=lambda f: f[0])
    return best[2], best[1], best[0], way.shape

def one_run(o, item, rates, at):
    "The row of a run."
    import numpy as np
    from compare_ways import FLOORS, floor
    from distill_nb.measure.report import size_mb
    from distill_nb.measure.scores import predict
    began, cpu, about, model = time.perf_counter(), cpu_seconds(), {}, None
    at.home.mkdir(parents=True, exist_ok=True)
    if item["method"] in FLOORS: (z, about["parameters"]), shape, steps = floor(item["method"], at), None, 0
    elif item["method"] == "teacher": (model, z), shape, steps, about["learning_rate"] = tune(at, rates[0]), "teacher", at.teacher_steps, rates[0]
    else:
        (model, rate, held, shape), steps = choose(item, at, rates), at.steps
        about |= dict(learning_rate=rate, validation=held)
        if len(rates) > 1: about["rates"] = [*rates]
        z = predict(model, at.tokens["test"], at.tokenizer)
    if model is not None: about |= dict(parameters=model.num_parameters(), bytes=round(1e6 * size_mb(model)))
    lengths = np.asarray(at.tokens["train"]["length"])
    return dict(version=VERSION, **item, shape=shape, metric=at.task.metric, **judged(z, at, model), **about, labelled=len(at.rows("labelled")),
                texts=len(lengths), tests=len(at.task["test"]), steps=steps, tokens=round(steps * at.batch * float(lengths.mean())),
                seconds=time.perf_counter() - began, cpu_seconds=cpu_seconds() - cpu, data=at.print, settings=settings_of(o), **provenance(o))

def judged(z, at, model):
    "What a row says of answers to the test rows: metrics, trust beside the fine-tuned teacher, and which rows are right."
    from distill_nb.measure.scores import SCORERS, metrics
    from distill_nb.measure.trust import OWN, of_words, trust_logits
    rows, kind, z_t, right = at.tokens["test"], at.task.kind, at.answers(), None
    if kind in SCORERS: found = SCORERS[kind](z, rows, model.config)
    else: found, right = metrics(z, rows["labels"]), packed_right(z, rows["labels"])
    if kind in OWN: return dict(metrics=found, trust=None, right=None) # of spans: it would ask both models again
    y = rows["labels"]
    if kind == "tags": (z, y), (z_t, _) = of_words(z, rows), of_words(z_t, rows)
    said = trust_logits(z, z_t, y, kind, at.task.labels)
    keep = "threshold", "coverage", "agreement", "bound", "enough"
    return dict(metrics=found, trust={**said.numbers, **{f"promised {k}": said.promise[k] for k in keep}}, right=right)

def packed_right(z, y):
    "Which test rows are right, as bits in base64: what a paired test needs. None for scores."
    import numpy as np
    if z.shape[1] == 1: return None
    return base64.b64encode(np.packbits(np.asarray(z).argmax(-1) == np.asarray(y)).tobytes()).decode()

def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime

def commit():
    "The checkout's commit."
    run = subprocess.run(["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return run.stdout.strip() or "unknown"

def provenance(o):
    import transformers
    from distill_nb.measure.report import machine
    from distill_nb import __version__
    here = machine()
    return dict(hardware={k: here[k] for k in ("processor", "threads", "device")}, commit=o.commit,
                versions={k: here[k] for k in ("python", "torch")} | dict(transformers=transformers.__version__, distill_nb=__version__))

def end_with(parent):
    "End this process where the one that started it was killed: who goes on with its rows wants the processor, and the teachers' folders."
    while os.getppid() == parent: time.sleep(.5)
    os._exit(1)

def work(o):
    "A worker: items from stdin, rows to the stdout that it was started with; whatever else is written goes to stderr."
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import torch, datasets
    from transformers.utils import logging
    torch.set_num_threads(o.threads)
    datasets.disable_progress_bars()
    logging.set_verbosity_error()
    warnings.filterwarnings("ignore")
    kept = {} # the rows of the tasks so far
    for line in sys.stdin:
        item, rates = json.loads(line)
        item.pop("first", None)
        steps, data, again = [item.pop(k, None) for k in ("steps", "data", "again")]
        try:
            at = kept[item["task"]] = kept.get(item["task"]) or At(o, item["task"], item["seed"])
            at.seed, at.steps, at.again = item["seed"], steps or at.planned, again
            if data not in (None, at.print): raise BadRows(f"{o.file}: its rows of {item['task']} are of other texts ({data}, and here {at.print}). Name another folder with --results.")
            said = one_run(o, item, rates, at)
        except Exception as e:
            import traceback
            traceback.print_exc()
            said = dict(error=f"{type(e).__name__}: {e}"[:300])
        out.write(json.dumps(said) + "\n")
        out.flush()
        if torch.cuda.is_available(): torch.cuda.empty_cache()

# The queue, in the parent

class Queue:
    "Hands out runs whose teacher and learning rate are known, and takes their rows."
    def __init__(self, o, todo, rows):
        self.o, self.todo, self.rows, self.busy, self.failed = o, todo, rows, 0, []
        self.ready = {(r["task"], r["seed"]) for r in todo if r["method"] == "teacher"} # whose teachers are still to come
        self.free, self.end = threading.Condition(), time.monotonic() + 60 * o.minutes

    def next(self):
        "A run and its learning rates; None when there is none left, or no time."
        with self.free:
            while time.monotonic() < self.end:
                for item in self.todo:
                    waits = item["method"] != "teacher" and (item["task"], item["seed"]) in self.ready
                    rates = None if waits else rate_of(item, self.rows)
                    if rates is None: continue
                    self.todo.remove(item)
                    self.busy += 1
                    return item, rates
                if not (self.todo and self.busy): return None
                self.free.wait(1)

    def data_of(self, item):
        "The fingerprint of the texts that a task's rows are of; None without any."
        budgets = item["budget"], BUDGETS[item["budget"]].get("like")
        return next((r["data"] for r in self.rows if r.get("task") == item["task"] and r["budget"] in budgets and r.get("data")), None)

    def done(self, item, said):
        with self.free:
            self.busy -= 1
            if "error" not in said and not item.get("again"):
                try: append(self.o.file, said)
                except OSError as e: said, self.end = dict(error=f"{self.o.file}: {e.strerror}"), 0 # the next row would not be kept either
            if "error" in said: self.failed.append((item, said["error"]))
            else:
                if item["method"] == "teacher": self.ready.discard((item["task"], item["seed"]))
                self.rows.append(said)
            told = said.get("error") or f"{said['metric']} {said['metrics'][said['metric']]:.3f}, {said['seconds']:.0f} s"
            print(f"{item['task']}, {item['method']}, seed {item['seed']}: {told}", flush=True)
            self.free.notify_all()

def serve(o, queue, number, processes):
    "One worker process, started again where it dies."
    log = open(o.work/f"worker-{number}.txt", "ab")
    while got := queue.next():
        item, rates = got
        if number not in processes or processes[number].poll() is not None:
            args = [sys.executable, str(HERE/"compare.py"), "worker", *o.passed]
            processes[number] = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=o.env)
        try:
            p = processes[number]
            p.stdin.write(json.dumps([item | dict(data=queue.data_of(item)), rates]) + "\n")
            p.stdin.flush()
            said = json.loads(p.stdout.readline())
        except (OSError, ValueError): # no line, or half of one
            if time.monotonic() >= queue.end: return # it was stopped
            said = dict(error="the worker died")
        queue.done(item, said)

def plan(o, rows):
    "What is left of the runs; where one needs a teacher that has a row it is asked for again, and tuned again if its folder is gone."
    have, wanted = {key(r): r for r in rows if "method" in r}, items(o)
    like = BUDGETS[o.budget].get("like") # whose seconds are read
    meant = json.loads(json.dumps({o.budget: settings_of(o)} | ({like: BUDGETS[like]} if like else {})))
    for r in have.values():
        if r["budget"] in meant and r.get("settings") != meant[r["budget"]]: raise BadRows(
            f"{o.file}: {r['task']}, {r['method']} was made with other settings ({r.get('settings')}). Name another folder with --results.")
    for item in wanted: item["first"] = item["seed"] == o.seeds[0]
    for item in wanted: item["steps"] = steps_of(item, rows)
    begun = {(r["task"], r["method"]) for r in have.values() if r["budget"] == o.budget}
    def later(item): return (item["task"], item["method"]) not in begun # more seeds of what there is come before new methods
    todo = sorted((i for i in wanted if key(i) not in have), key=later)
    check_rates(todo, rows)
    asked = {} # task and seed -> will its teacher be needed late?
    for i in todo:
        if i["method"] != "teacher": asked.setdefault((i["task"], i["seed"]), later(i))
    again = [i | dict(again=True) for i in wanted if i["method"] == "teacher" and key(i) in have and (i["task"], i["seed"]) in asked]
    early = [i for i in again if not asked[i["task"], i["seed"]]]
    new = next((n for n, i in enumerate(todo) if later(i)), len(todo))
    return early + todo[:new] + [i for i in again if i not in early] + todo[new:]

def run(o):
    "All workers until the runs or the minutes are over."
    with alone(o.file): return run_all(o)

def run_all(o):
    rows = read_rows(o.file)
    todo = plan(o, rows)
    total = len(todo)
    print(f"{total} runs to do, {len(rows)} rows in {o.file}", flush=True)
    queue, processes = Queue(o, todo, rows), {}
    threads = [threading.Thread(target=serve, args=(o, queue, n, processes), daemon=True) for n in range(min(o.jobs, total))]
    for t in threads: t.start()
    try:
        while any(t.is_alive() for t in threads) and time.monotonic() < queue.end: time.sleep(.2)
    finally:
        for p in processes.values(): p.kill()
    for t in threads: t.join(5)
    for item, error in queue.failed: print(f"failed: {item['task']}, {item['method']}, seed {item['seed']}: {error}", file=sys.stderr)
    print(f"{len(queue.todo)} runs are left", flush=True)
    return 1 if queue.failed else 0

# The shapes' speed

def speed(o, repeats=40):
    """Rows with parameters and latencies at batch 1 and 32 of every shape: texts of 32 tokens, one thread, by turns; on the GPU too if there is one.

    What the file has stays: shapes are compared within a run, so a device and a batch are measured as a whole or not at all."""
    import torch
    from compare_ways import Way, student
    from distill_nb.measure.report import latencies, size_mb
    at, where = At(o, "bshift", 0), ["cpu"] + ["cuda"] * torch.cuda.is_available()
    at.folder = lambda: Path(o.teacher or "")
    at.teacher = lambda who, plain=At.teacher: plain(at, "pretrained")
    models = dict(teacher=at.teacher("pretrained")) | {shape: student(Way([], shape), at, "pretrained") for shape in ("half", "third", "tiny", "bilstm")}
    there = {(r["device"], r["batch"]) for r in read_rows(o.file) if "task" not in r and r["budget"] == o.budget}
    for device in where:
        for m in models.values(): m.to(device)
        for batch in 1, 32:
            if (device, batch) in there:
                print(f"{o.file} has the speed on {device} at batch {batch}: remove those rows to measure it again", flush=True)
                continue
            found = latencies([*models.values()], batch_size=batch, threads=1, repeats=repeats)
            for (shape, m), took in zip(models.items(), found):
                with alone(o.file): append(o.file, dict(version=VERSION, shape=shape, budget=o.budget, device=device, batch=batch, tokens=took.tokens, ms=took.ms, p95=took.p95,
                                    parameters=m.num_parameters(), bytes=round(1e6 * size_mb(m)), **provenance(o)))

def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["run", "speed", "pack", "new", "worker", "list"])
    p.add_argument("folder", nargs="?", type=Path, help="of `pack` and `new`")
    p.add_argument("--budget", choices=BUDGETS, default="small", help="small: CPU cores; full: a GPU; toy: a rehearsal")
    p.add_argument("--data", type=Path, help="folder of the published data, or a packed one")
    p.add_argument("--teacher", help="folder or Hub name (default: the default teacher)")
    p.add_argument("--tasks", nargs="+", help="default: all")
    p.add_argument("--only", nargs="+", help="names of methods (default: all)")
    p.add_argument("--seeds", type=int, nargs="+", default=[*range(SEEDS)], help="the first one chooses learning rates")
    p.add_argument("--steps", type=int, help="of every student, in place of the budget's")
    p.add_argument("--python", default="3.12", help="of `pack`: the version on the other machine")
    p.add_argument("--texts", type=int, default=2000, help="of `new`: how many texts get new ones")
    p.add_argument("--jobs", type=int, default=1, help="worker processes")
    p.add_argument("--threads", type=int, default=1, help="of each worker")
    p.add_argument("--minutes", type=float, default=float("inf"), help="after which nothing goes on")
    p.add_argument("--work", type=Path, default=Path(tempfile.gettempdir())/"distill_nb-compare", help="folder of fine-tuned teachers")
    p.add_argument("--commit", default=None, help="named in the rows (default: this checkout's)")
    p.add_argument("--results", type=Path, default=HERE.parent/"nbs"/"results", help="folder of compare.jsonl")
    return p

def check(o):
    "Refuse tasks, methods and numbers that would run nothing, or something else; what is named twice is meant once."
    from compare_data import FEW, TASKS, check_there
    from compare_ways import FLOORS, ways_of
    from distill_nb.teachers.load import load_tokenizer
    o.tasks, o.seeds = [*dict.fromkeys(o.tasks or [*TASKS, *FEW])], [*dict.fromkeys(o.seeds)]
    for t in o.tasks:
        name, at, n = t.partition("@")
        if name not in TASKS or at and not (n.isdecimal() and int(n) > 1): raise BadRows(
            f"--tasks {t}: expected some of {', '.join(TASKS)}, with @NUMBER for few labels.")
    known = ["teacher", *FLOORS, *dict.fromkeys(m for t in o.tasks for m in ways_of(t))]
    for method in o.only or ():
        if method not in known: raise BadRows(f"--only {method}: expected methods of these tasks: {'; '.join(known)}.")
        if method not in {i["method"] for i in items(o)}: raise BadRows(f"--only {method}: expected NAME.new.parquet in the folder of --data. Make it with `compare.py new FOLDER`.")
    if o.steps and "like" in BUDGETS[o.budget]: raise BadRows(f"--steps {o.steps} with --budget {o.budget}: expected none, since a method's time decides.")
    for name in "steps", "jobs", "threads", "texts":
        if (n := getattr(o, name)) is not None and n < 1: raise BadRows(f"--{name} {n}: expected 1 or more.")
    if not o.minutes > 0: raise BadRows(f"--minutes {o.minutes}: expected more than 0.")
    for seed in o.seeds:
        if not 0 <= seed < 2**32: raise BadRows(f"--seeds {seed}: expected numbers from 0 to 2**32 - 1.")
    if o.what in ("pack", "new") and not o.folder: raise BadRows(f"{o.what}: expected a folder to write, `compare.py {o.what} FOLDER`.")
    for t in dict(run=o.tasks, new=o.tasks, pack=TASKS).get(o.what, ()): check_there(t, o.data)
    if o.what == "run" and o.teacher: load_tokenizer(o.teacher) # is there such a model?

def prepared(argv):
    "Options, and what a worker needs of them."
    o = options().parse_args(argv)
    o.commit, o.file = o.commit or commit(), o.results/"compare.jsonl"
    o.passed = ["--budget", o.budget, "--work", str(o.work), "--results", str(o.results), "--threads", str(o.threads), "--commit", o.commit]
    for name in "data", "teacher", "steps":
        if getattr(o, name): o.passed += [f"--{name}", str(getattr(o, name))]
    o.env = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": str(o.threads), "MKL_NUM_THREADS": str(o.threads)}
    for folder in (o.results, o.work):
        try: folder.mkdir(parents=True, exist_ok=True)
        except OSError as e: raise BadRows(f"{folder}: {e.strerror}, expected a folder to write to.") from None
    return o

def main(argv=None):
    o = prepared(argv)
    if o.what == "worker": return work(o)
    from compare_data import new_texts, pack
    check(o)
    if o.what == "pack": return print(f"{o.folder}: {pack(o.folder, o.data, BUDGETS['full']['texts'], o.python):.1f} MB")
    if o.what == "new": return new_texts(o.folder, o.tasks, o.data, o.texts)
    if o.what == "list": return print("\n".join(f"{i['task']}, {i['method']}, seed {i['seed']}" for i in plan(o, read_rows(o.file, repair=False))))
    if o.what == "speed": return speed(o)
    return run(o)

if __name__ == "__main__":
    try: sys.exit(main())
    except ValueError as e: # what was asked for, or the file of rows
        if type(e).__name__ not in ("BadRows", "InputError"): raise
        sys.exit(f"compare: {e}")
