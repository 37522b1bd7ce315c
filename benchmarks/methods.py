"""One row for every way to make a small model that the other studies measured: `python benchmarks/methods.py --speed`.

Reads the committed results of bshift, layers, bilstm, theseus, tinybert and distilbert, and brings them to one form: accuracy on the test split
over the seeds, its gain over the control of the same study within each seed, and the size and CPU latency of its shape. `--speed` times the
shapes, with random weights, by turns on one thread; without it the times of the file stay. Writes nbs/results/methods.json, which
nbs/results/which.ipynb reads.
"""
import json
import statistics
import common

SHAPES = {"teacher": "6 blocks, 384 wide", "layers": "3 blocks, 384 wide", "narrow": "3 blocks, 192 wide", "bilstm": "BiLSTM"}

PICTURE = { # the rows that a picture of all methods shows: study and way -> its name there
    ("bshift", "teacher"): "teacher", ("theseus-SST-2", "teacher"): "teacher",
    ("bshift", "teacher's layers, answers"): "layers", ("theseus-SST-2", "teacher's layers, answers"): "layers",
    ("theseus-bshift", "replacing, then post-training"): "Theseus", ("theseus-SST-2", "replacing, then post-training"): "Theseus",
    ("tinybert-bshift-wide", "two stages"): "TinyBERT, wide", ("tinybert-bshift", "two stages"): "TinyBERT", ("tinybert-SST-2", "two stages"): "TinyBERT",
    ("bilstm-bshift", "answers by mse, extra texts"): "BiLSTM", ("bilstm-SST-2", "answers by mse, extra texts"): "BiLSTM"}

def speed(rounds=7, repeats=3):
    "Parameters and median milliseconds of each shape: texts of 32 tokens, one thread, the shapes by turns in every round."
    from distill_nb.measure.report import latency, machine
    from distill_nb.students.bilstm import lstm_student
    from distill_nb.students.copied import init_student
    from distill_nb.students.narrow import narrow_config
    from distill_nb.teachers.load import load_teacher, load_tokenizer
    teacher = load_teacher()
    narrow = type(teacher)(narrow_config(teacher, [0, 1, 2], hidden_size=192, num_attention_heads=12, intermediate_size=768))
    models = dict(teacher=teacher, layers=init_student(teacher, [0, 1, 2]), narrow=narrow,
                  bilstm=lstm_student(teacher, load_tokenizer(), embedding_size=24))
    seen = {name: {1: [], 32: []} for name in models}
    for _ in range(rounds):
        for bs in 1, 32:
            for name, model in models.items(): seen[name][bs].append(latency(model, batch_size=bs, threads=1, warmup=1, repeats=repeats).ms)
    shapes = {SHAPES[name]: dict(parameters=models[name].num_parameters(), ms={bs: round(statistics.median(t), 3) for bs, t in times.items()})
              for name, times in seen.items()}
    return dict(machine=machine() | dict(threads=1), tokens=32, shapes=shapes)

def spread(x): return dict(mean=statistics.mean(x), low=min(x), high=max(x))

class Study:
    "The rows of one results file; a way is what is trained alike in every seed."
    def __init__(self, o, file):
        self.name, self.data, self.ways = file, json.loads((o.results/f"{file}.json").read_text(encoding="utf-8")), {}
        self.taken = self.data.get("results", [])

    def way(self, name, method, shape, learns, test, control=None, **about):
        "A way: the rows that pass `test`; `control` names the way that its gain is taken over, seed by seed."
        acc = {r.get("seed"): r["accuracy"] for r in self.taken if test(r)}
        self.ways[name] = acc
        row = dict(study=self.name, training=name, method=method, shape=SHAPES.get(shape), learns=learns, **about, seeds=len(acc), **spread(acc.values()))
        row["picture"] = PICTURE.get((self.name, name))
        if control: row |= dict(control=control, gain=spread([a - self.ways[control][seed] for seed, a in acc.items()]))
        return row

def of_bshift(o):
    s = Study(o, "bshift")
    b, like = s.data["budget"], lambda layers, learns: lambda r: r.get("layers") == layers and r.get("learns") == learns
    about = dict(task="bshift", labelled=b["labelled"], steps=b["max_steps"])
    yield s.way("bag of words", "bag of words", None, "labels", lambda r: r["model"] == "bag of words", texts=b["labelled"], **about | dict(steps=None))
    yield s.way("teacher", "teacher", "teacher", "labels", lambda r: r["model"] == "teacher", texts=b["labelled"], **about | dict(steps=None))
    yield s.way("pretrained layers, labels", "layers", "layers", "labels", like("pretrained", "labels"), texts=b["labelled"], **about)
    yield s.way("pretrained layers, answers", "layers", "layers", "answers", like("pretrained", "teacher"), "pretrained layers, labels", texts=b["total"], **about)
    yield s.way("teacher's layers, labels", "layers", "layers", "labels", like("teacher", "labels"), "pretrained layers, labels", texts=b["labelled"], **about)
    yield s.way("teacher's layers, answers", "layers", "layers", "answers", like("teacher", "teacher"), "teacher's layers, labels", texts=b["total"], **about)

def of_layers(o, task="SST-2"):
    s = Study(o, f"layers-{task}")
    n = s.data["settings"]
    about = dict(task=task, labelled=n["texts"], texts=n["texts"])
    like = lambda group, how: lambda r: (r["group"], r["how"]) == (group, how) and r["steps"] == n["steps"]
    yield s.way("teacher", "teacher", "teacher", "labels", lambda r: r["group"] == "teacher", steps=n["teacher_steps"], **about)
    for group, control, shape in ("layers", "random weights", "layers"), ("width", "random weights, half width", "narrow"):
        yield s.way(control, "layers" if group == "layers" else "narrow", shape, "answers", like(group, "random weights"), steps=n["steps"], **about)
        for how in {"layers": ("first", "spread", "even", "last"), "width": ("svd", "slice")}[group]:
            yield s.way(f"{how} layers" if group == "layers" else f"{how}, half width", "layers" if group == "layers" else "narrow", shape, "answers",
                        like(group, how), control, steps=n["steps"], **about)

def of_bilstm(o, task):
    s = Study(o, f"bilstm-{task}")
    n, known, every = s.data["settings"], s.data["settings"]["labelled"], s.data["train"]
    about = dict(task=task, labelled=known)
    for texts, key in (known, "labelled"), (every, "all"):
        words = dict(accuracy=s.data["words"][key]["accuracy"], model=f"words {key}")
        s.taken.append(words)
        yield s.way(f"bag of words, {key} texts", "bag of words", None, "labels", lambda r: r is words, task=task, labelled=texts, texts=texts, steps=None)
    yield s.way("teacher", "teacher", "teacher", "labels", lambda r: r["model"] == "teacher", texts=known, steps=n["teacher"], **about)
    like = lambda learns, texts: lambda r: r["model"] == "student" and (r["learns"], r["texts"]) == (learns, texts)
    yield s.way("labels", "BiLSTM", "bilstm", "labels", like("labels", known), texts=known, steps=n["steps"], **about)
    for learns in "kl", "mse":
        for texts, more in (known, ""), (every, ", extra texts"):
            yield s.way(f"answers by {learns}{more}", "BiLSTM", "bilstm", "answers", like(learns, texts), "labels", texts=texts, steps=n["steps"], **about)
    yield s.way("labels of all texts", "BiLSTM", "bilstm", "labels", like("labels", every), "labels", texts=every, steps=n["steps"], **about | dict(labelled=every))

def of_theseus(o, task):
    s = Study(o, f"theseus-{task}")
    n, texts = s.data["settings"], s.data["train"]
    about = dict(task=task, labelled=texts, texts=texts, steps=n["replacing"] + n["post"])
    like = lambda model: lambda r: r["model"] == model and r.get("schedule") in (None, "linear")
    yield s.way("teacher", "teacher", "teacher", "labels", like("teacher"), **about | dict(steps=n["teacher_steps"]))
    yield s.way("teacher's layers, labels", "layers", "layers", "labels", like("labels alone"), **about)
    yield s.way("teacher's layers, answers", "layers", "layers", "answers", like("logits"), "teacher's layers, labels", **about)
    yield s.way("replacing, then post-training", "Theseus", "layers", "replacing", like("post-training"), "teacher's layers, labels", **about)

def of_tinybert(o, task):
    s = Study(o, f"tinybert-{task}")
    n, texts, wide = s.data["settings"], s.data["train"], s.data["settings"]["student"]["hidden_size"] == 384
    about = dict(task=task.removesuffix("-wide"), labelled=texts, texts=texts, steps=n["inside"] + n["answers"])
    like = lambda model: lambda r: r["model"] == model
    yield s.way("teacher", "teacher", "teacher", "labels", like("teacher"), **about | dict(steps=n["teacher"]))
    shape = "layers" if wide else "narrow"
    yield s.way("labels", "narrow", shape, "labels", like("labels alone"), **about)
    yield s.way("answers", "narrow", shape, "answers", like("answers alone"), "labels", **about)
    yield s.way("two stages", "TinyBERT", shape, "inside, then answers", like("two stages"), "labels", **about)
    yield s.way("two stages, new texts", "TinyBERT", shape, "inside, then answers", like("two stages, new texts"), "labels",
                **about | dict(texts=s.data["with_new"]))

def of_words(o):
    s = Study(o, "distilbert")
    setup, ways = s.data["setup"], {"words alone": "labels", "masked tokens": "answers", "all tokens": "answers"}
    s.taken = [dict(model=way, seed=r["seed"], accuracy=r[way]["accuracy"]) for r in s.data["seeds"] for way in ways]
    s.taken.append(dict(model="teacher", seed=None, accuracy=s.data["teacher"]["accuracy"]))
    about = dict(task="hidden words", labelled=None, texts=setup["texts"]["train"])
    yield s.way("teacher", "teacher", "teacher", "labels", lambda r: r["model"] == "teacher", steps=setup["fit_steps"], **about)
    for way, learns in ways.items():
        yield s.way(way, "masked LM", "layers", learns, lambda r: r["model"] == way, None if way == "words alone" else "words alone",
                    steps=setup["settings"]["max_steps"], **about)

def rows(o):
    yield from of_bshift(o)
    yield from of_layers(o)
    for task in "TREC", "SST-2", "bshift": yield from of_bilstm(o, task)
    for task in "SST-2", "bshift": yield from of_theseus(o, task)
    for task in "SST-2", "MRPC", "bshift", "bshift-wide", "docnames": yield from of_tinybert(o, task)
    yield from of_words(o)

if __name__ == "__main__":
    p = common.parser(__doc__)
    p.add_argument("--speed", action="store_true", help="time the shapes; without it the times of the file stay")
    common.options(p)
    o = p.parse_args()
    file = o.results/"methods.json"
    common.write(file, speed=speed() if o.speed else json.loads(file.read_text(encoding="utf-8"))["speed"], rows=[*common.under(o, rows(o))])
