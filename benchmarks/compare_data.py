"""The tasks of `compare.py`: read from their published files, or from a folder that `compare.py pack` made for a machine without network.

A packed folder holds every task's splits as compressed tables, so that a machine with other versions of the packages whose docstrings are a task compares on
the same rows; the default teacher in half precision (it is widened to float32 when it is loaded); and the packages that such a machine may lack.
"""
import csv, hashlib, json, subprocess, sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
import pandas as pd
import torch
from datasets import Dataset, DatasetDict, concatenate_datasets
from transformers import AutoModel
import kinds
from distill_nb.data.embedded import EMBEDDED
from distill_nb.data.load import load_task, read_glue
from distill_nb.data.tasks import Task, make_task
from distill_nb.kit.errors import expect
from distill_nb.recipes.demo import hide_labels
from distill_nb.teachers.load import default_teacher, load_tokenizer
from distill_nb.training.settings import fast_bf16
from distill_nb.words.augmenter import Augmenter, augment
from distill_nb.words.head import ready_masked_lm

GLUE = "SST-2", "MRPC", "RTE", "CoLA", "STS-B"
FOLDERS = dict(TREC="trec", banking77="banking77", GoEmotions="goemotions", CoNLL="conll2003", Restaurant8k="restaurant8k") # others: glue/NAME
TASKS = *GLUE, "TREC", "banking77", "bshift", "docnames", "GoEmotions", "CoNLL", "Restaurant8k"
FEW = "SST-2@500", "TREC@500", "bshift@500" # the labels of 500 texts are seen, all others are text alone
PACKED = "tasks.json"
LACKING = "datasets", "dill", "multiprocess", "fastcore" # what a machine with torch and transformers may not have

def read_trec(folder) -> Task:
    "TREC's files: a class with a subclass, and a question, a line."
    files = dict(train=folder/"TREC.train.all", test=folder/"TREC.test.all")
    lines = {s: [l.split(" ", 1) for l in f.read_text(encoding="latin-1").splitlines() if l.strip()] for s, f in files.items()}
    return make_task("TREC", {s: pd.DataFrame(rows, columns=["label", "text"]) for s, rows in lines.items()})

def read_banking(folder) -> Task:
    "banking77's csv files: a text and one of 77 intents."
    def rows(file): return pd.read_csv(file, dtype=str, keep_default_na=False, quoting=csv.QUOTE_MINIMAL).rename(columns=dict(category="label"))
    return make_task("banking77", {s: rows(folder/f"{s}.csv") for s in ("train", "test")})

def source_of(name, data) -> Path:
    "The folder of a task's published files below `data`."
    folder = FOLDERS.get(name, f"glue/{name}")
    found = [data/f for f in (folder, name) if data is not None and (data/f).is_dir()] # the folder of GLUE itself, too
    expect(found, f"--data {data} for {name}", f"a folder with {folder}, or one that `compare.py pack` made")
    return found[0]

def read_source(name, data) -> Task:
    "A task from the published files below `data`, or made of this machine's docstrings."
    if name in EMBEDDED: return load_task(name)
    readers = dict(TREC=read_trec, banking77=read_banking) | dict.fromkeys(GLUE, read_glue)
    return readers[name](source_of(name, data)) if name in readers else kinds.read_task(name, source_of(name, data))

def is_packed(data): return bool(data) and (data/PACKED).is_file()

def packed_about(name, data) -> dict:
    "What `pack` noted about a task."
    about = json.loads((data/PACKED).read_text(encoding="utf-8"))
    expect(name in about, f"task {name}", f"one of {', '.join(about)}, which {data} holds")
    return about[name]

def check_there(name, data):
    "Refuse a task whose files are not there, before anything is run."
    plain = name.partition("@")[0]
    if is_packed(data): packed_about(plain, data)
    elif plain not in EMBEDDED: source_of(plain, data)

def read_packed(name, data) -> Task:
    "A task as `pack` wrote it."
    about = packed_about(name, data)
    def split(s): return Dataset.from_pandas(pd.read_parquet(data/f"{name}.{s}.parquet"), preserve_index=False)
    return Task(name, DatasetDict({s: split(s) for s in ("train", "validation", "test")}), **about)

def read_task(name, data, texts) -> Task:
    "A task with at most `texts` training texts; NAME@500 sees the labels of 500 of them."
    plain, _, seen = name.partition("@")
    expect(plain in TASKS and seen.isdigit() >= bool(seen), f"task {name!r}", f"one of {', '.join(TASKS)}, with @NUMBER for few labels")
    task = (read_packed if is_packed(data) else read_source)(plain, data)
    n = min(texts, len(task["train"]))
    splits = DatasetDict({**task.splits, "train": task["train"].select(range(n))})
    task = replace(task, name=name, splits=splits)
    return hide_labels(task, min(int(seen), n), n) if seen else task

def new_texts(out, names, data, texts, n=8):
    "Write NAME.new.parquet for each task: TinyBERT's new texts, up to `n` for each of the first `texts` training texts."
    out.mkdir(parents=True, exist_ok=True)
    model, tok = ready_masked_lm(None, load_task("bshift"), 400)
    for name in names:
        more = augment(read_task(name, data, texts), Augmenter(model, tok, n=n, bf16=fast_bf16()))
        rows = more["train"].to_pandas()
        made = rows[rows.duplicated("source")] if "source" in rows else rows
        made[[*more.sides, "label"]].to_parquet(out/f"{name}.new.parquet", compression="zstd", index=False)
        print(f"{name}: {len(made):,} new texts", flush=True)

def with_new(task, data) -> Task:
    "The task whose training texts are followed by its new ones."
    made = Dataset.from_pandas(pd.read_parquet(data/f"{task.name}.new.parquet"), preserve_index=False).cast(task["train"].features)
    return replace(task, splits=DatasetDict({**task.splits, "train": concatenate_datasets([task["train"], made])}))

def has_new(name, data): return bool(data) and (data/f"{name}.new.parquet").is_file()

def fingerprint(task) -> str:
    "Sixteen digits of a hash of all texts and labels."
    found = hashlib.sha256()
    for s in ("train", "validation", "test"):
        for row in zip(*(task[s][c] for c in task[s].column_names if c in (*task.sides, "label", "words", "answers"))): found.update(repr(row).encode())
    return found.hexdigest()[:16]

def pack(out, data, texts, python):
    "Write tasks, teacher and packages for a version of Python to an empty folder; returns its megabytes."
    expect(not out.exists() or not any(out.iterdir()), f"{out}", "an empty folder")
    (out/"teacher").mkdir(parents=True)
    about = {}
    for name in TASKS:
        task = read_task(name, data, texts)
        about[name] = dict(labels=task.labels, metric=task.metric, kind=task.kind)
        for s, rows in task.splits.items(): rows.to_pandas().to_parquet(out/f"{name}.{s}.parquet", compression="zstd", index=False)
    source = default_teacher()
    AutoModel.from_pretrained(source, dtype=torch.float16).save_pretrained(out/"teacher")
    load_tokenizer().save_pretrained(out/"teacher")
    wanted = [f"{name}=={metadata.version(name)}" for name in LACKING]
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-compile", "--only-binary", ":all:", "--python-version", python,
                    "--target", str(out/"packages"), *wanted], check=True)
    (out/PACKED).write_text(json.dumps(about), encoding="utf-8")
    return sum(f.stat().st_size for f in out.rglob("*") if f.is_file()) / 1e6
