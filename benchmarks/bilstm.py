"""A teacher in a BiLSTM: `python benchmarks/bilstm.py --task TREC=FOLDER --task SST-2=FOLDER --task bshift=bshift`.

One teacher per seed and task, fine-tuned on the labels that it gets; its answers to all texts are cached. Equal BiLSTMs
take the same number of steps on the same labelled texts: on the labels, on the answers by KL and by squared error; then with the texts that
have no label for the others, by KL, by squared error, and, as an upper control, with their true labels. For the tasks of `--curve` also
over the number of texts, with answers and with labels. `--speed` times models of these sizes. Writes nbs/results/bilstm-TASK.json after every row, which nbs/results/bilstm.ipynb reads. A folder with TREC.train.all and TREC.test.all is read as it was published: a class and a question a line.
"""
import json
import statistics
import time
from itertools import product
from pathlib import Path
import pandas as pd
import torch
from transformers import BertConfig, BertForSequenceClassification
import common
from distill_nb.students.bilstm import lstm_student
from distill_nb.teachers.cache import cache_teacher
from distill_nb.data.tasks import make_task
from distill_nb.data.docstrings import corpus_versions
from distill_nb.data.load import load_task
from distill_nb.data.tokens import tokenize
from distill_nb.recipes.demo import bag_of_words, hide_labels
from distill_nb.measure.report import latency, machine
from distill_nb.losses import HardTargets, LogitMSE, SoftTargets
from distill_nb.training.run import fit, freeze_embeddings
from distill_nb.recipes.base import score
from distill_nb.teachers.load import load_teacher, load_tokenizer
from distill_nb.training.settings import fast_bf16

def read_task(name, source):
    "A task of the library's, or TREC's files."
    files = {"train": Path(source)/"TREC.train.all", "test": Path(source)/"TREC.test.all"}
    if not files["train"].is_file(): task = load_task(source)
    else:
        lines = {s: [l.split(" ", 1) for l in f.read_text(encoding="latin-1").splitlines() if l.strip()] for s, f in files.items()}
        task = make_task(name, {s: pd.DataFrame(rows, columns=["label", "text"]) for s, rows in lines.items()})
    task.name = name
    return task

def counts(task, o):
    "Number of texts and of those whose label teacher and baseline see, half of them at most."
    n = min(o.texts, len(task["train"]))
    return n, min(o.labelled, n // 2)

def plans(o, n, labelled, curve):
    "(learns from, objective, number of texts, whose labels are seen) of every student of a seed."
    ways = dict(labels=HardTargets, kl=lambda: SoftTargets(T=o.temperature), mse=LogitMSE)
    for learns, make in ways.items():
        for texts in (labelled, n): yield learns, make(), texts
    for texts in sorted({t for t in o.sizes if t < n} - {labelled, n}) if curve else ():
        for learns in "labels", "mse": yield learns, ways[learns](), texts

def speed(o, rounds=5, repeats=2):
    "Parameters and median milliseconds of models with random weights, 32 tokens a text, one thread; they take turns in every round."
    tok, base = load_tokenizer(), BertForSequenceClassification(BertConfig())
    teacher = load_teacher()
    models = {"BERT-base": base, "teacher": teacher, "BiLSTM": lstm_student(teacher, tok, **o.student),
              "BiLSTM, 300 wide": lstm_student(teacher, tok)}
    seen = {name: {1: [], 32: []} for name in models}
    for _ in range(rounds):
        for bs in 1, 32:
            for name, model in models.items():
                seen[name][bs].append(latency(model, batch_size=bs, threads=1, warmup=1, repeats=repeats).ms)
    return [dict(model=name, parameters=models[name].num_parameters(), ms={bs: statistics.median(t) for bs, t in times.items()})
            for name, times in seen.items()]

def one_seed(task, seed, o, curve):
    "Rows of results for one seed; `task` has its labels."
    (n, labelled), start, tok = counts(task, o), time.time(), load_tokenizer()
    rows = tokenize(hide_labels(task, n, n), tok, o.max_length)
    known = tokenize(hide_labels(task, labelled, n), tok, o.max_length)
    torch.manual_seed(seed) # the teacher's new head
    teacher = load_teacher(task=task)
    common = dict(seed=seed, eval_strategy="no", logging_steps=10**6)
    fit(freeze_embeddings(teacher), known, tok, name="teacher", max_steps=o.teacher, per_device_train_batch_size=16, **common)
    yield dict(model="teacher", seed=seed, texts=labelled, parameters=teacher.num_parameters(), seconds=time.time() - start,
               **score(teacher, rows, tok))
    train = cache_teacher(teacher, rows["train"], tok, bf16=fast_bf16())
    for learns, objective, texts in plans(o, n, labelled, curve):
        torch.manual_seed(seed)
        student, start = lstm_student(teacher, tok, **o.student), time.time()
        fit(student, {"train": train.select(range(texts)), "validation": rows["validation"]}, tok, objective, teacher,
            f"seed {seed}: {texts} texts, {learns}", max_steps=o.steps, learning_rate=o.learning_rate, cache=False, **common)
        yield dict(model="student", learns=learns, seed=seed, texts=texts, parameters=student.num_parameters(), objective=repr(objective),
                   seconds=time.time() - start, **score(student, rows, tok))

def words_alone(task, o):
    "The scores of a bag of words with the labels that teacher and baseline see, and with all."
    n, labelled = counts(task, o)
    return dict(labelled=bag_of_words(hide_labels(task, labelled, n)), all=bag_of_words(hide_labels(task, n, n)))

def write(file, task, o, words, results):
    "Everything so far as JSON."
    n, labelled = counts(task, o)
    settings = common.settings(o, "task", "curve", "speed", "labelled") | dict(name=task.name, labelled=labelled)
    common.write(file, settings=settings, train=n, test=len(task["test"]), classes=len(task.labels), corpus=corpus_versions(), machine=machine(),
                 words=words, results=results)

if __name__ == "__main__":
    p = common.parser(__doc__)
    p.add_argument("--task", action="append", default=[], metavar="NAME=SOURCE", help="may be given several times")
    p.add_argument("--speed", action="store_true", help="time the models too: bilstm-speed.json")
    p.add_argument("--curve", nargs="*", default=["bshift"], help="tasks with a curve over the number of texts")
    p.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    p.add_argument("--texts", type=int, default=12000, help="most texts")
    p.add_argument("--labelled", type=int, default=4000, help="texts whose label teacher and baseline see")
    p.add_argument("--sizes", type=int, nargs="+", default=[1000, 2000, 4000, 8000, 12000], help="points of the curve")
    p.add_argument("--max-length", type=int, default=32)
    p.add_argument("--teacher", type=int, default=400, help="steps")
    p.add_argument("--steps", type=int, default=800, help="of every student")
    p.add_argument("--learning-rate", type=float, default=5e-3)
    p.add_argument("--temperature", type=float, default=2., help="of KL")
    p.add_argument("--student", type=json.loads, default=dict(embedding_size=24), help="fields of BiLstmConfig, as JSON")
    common.options(p)
    o = p.parse_args()
    if o.speed: # `latency` takes one thread, whatever the process has
        common.write(o.results/"bilstm-speed.json", machine=machine() | dict(threads=1), results=speed(o))
    tasks = [read_task(*t.split("=", 1)) for t in o.task]
    results = {task.name: [] for task in tasks}
    words = {task.name: words_alone(task, o) for task in tasks}
    def students():
        for seed, task in product(o.seeds, tasks):
            for row in one_seed(task, seed, o, task.name in o.curve): yield task, row
    for task, row in common.under(o, students()):
        results[task.name].append(row)
        print(task.name, row, flush=True)
        write(o.results/f"bilstm-{task.name}.json", task, o, words[task.name], results[task.name])
