"""Several labels, tags and spans: `python benchmarks/kinds.py --task gaps=gaps --task CoNLL=FOLDER --task GoEmotions=FOLDER --task Restaurant8k=FOLDER`.

For every task and seed a teacher learns from the texts that have a label, and `distil_layers` makes students of its layers: on labels alone, from the
teacher's layers, and distilled on all texts. Writes nbs/results/kinds.json after every model, which nbs/recipes/11_kinds.ipynb reads. A folder with
labels.txt is read as GoEmotions was published: a text, the numbers of its labels and a key a line. One with train_3.json is read as Restaurant8k was:
each slot that a guest was asked for, or names, is a question about what the guest says.
"""
import json
from dataclasses import replace
from pathlib import Path
import pandas as pd
import common
from distill_nb.data.load import load_task
from distill_nb.data.spans import pick_spans
from distill_nb.data.tasks import make_task
from distill_nb.recipes.demo import hide_labels
from distill_nb.recipes.layers import distil_layers

ASKED = dict(time="At what time?", date="On which day?", people="How many people?", first_name="What is the first name?", last_name="What is the last name?")

def read_slots(file):
    "Questions about what guests of a restaurant say: the slots that they were asked for or name; every fifth text is also asked for one that it lacks."
    rows = []
    for i, said in enumerate(json.loads(Path(file).read_text(encoding="utf-8"))):
        text, found = said["userInput"]["text"], {}
        for label in said.get("labels", ()):
            span = label.get("valueSpan", {})
            a, b = span.get("startIndex", 0), span.get("endIndex", len(text))
            found.setdefault(label["slot"], []).append(dict(text=text[a:b], start=a))
        asked = {*said.get("context", {}).get("requestedSlots", ())} | {*found} | ({[*ASKED][i // 5 % 5]} if i % 5 == 0 else set())
        rows += [dict(question=ASKED[s], context=text, answers=found.get(s, [])) for s in sorted(asked)]
    return pick_spans(pd.DataFrame(rows, dtype=object), where=Path(file).name)

def read_task(name, source):
    "A task of the library's, or GoEmotions' or Restaurant8k's files."
    folder, frames = Path(source), {}
    if (folder/"train_3.json").is_file():
        frames = dict(train=pd.concat([read_slots(folder/f"train_{i}.json") for i in (2, 3)]).drop_duplicates(["text", "pair"]))
        return make_task(name, frames | dict(test=read_slots(folder/"test.json")), None, "spans")
    if not (folder/"labels.txt").is_file(): return replace(load_task(source), name=name)
    names = (folder/"labels.txt").read_text().split()
    for split, file in dict(train="train", validation="dev", test="test").items():
        df = pd.read_csv(folder/f"{file}.tsv", sep="\t", names=["text", "label", "key"], dtype=str, quoting=3)
        frames[split] = df.assign(label=[[names[int(i)] for i in y.split(",")] for y in df.label])[["text", "label"]]
    return make_task(name, frames, names, "multilabel")

def rows(o):
    "A row for every model of every run."
    for name, source in (s.split("=", 1) for s in o.task):
        task = hide_labels(read_task(name, source), o.labelled, o.texts, o.held_out)
        for seed in range(o.seeds):
            done = distil_layers(task, layers=o.layers, max_length=o.max_length, seed=seed, num_train_epochs=o.epochs, per_device_train_batch_size=16,
                                 learning_rate=o.rate, eval_strategy="no", disable_tqdm=True, teacher_settings=dict(num_train_epochs=o.teacher_epochs))
            for row in done.report.rows:
                yield dict(task=name, kind=task.kind, labels=len(task.labels or ()), seed=seed, labelled=o.labelled, texts=len(task["train"]), max_length=o.max_length,
                           **{k: v for k, v in row.items() if k not in ("seconds", "ms", "spread", "mb")})

if __name__ == "__main__":
    p = common.parser(__doc__)
    p.add_argument("--task", action="append", default=[], metavar="NAME=SOURCE")
    for name, default in dict(labelled=1000, texts=2000, held_out=1000, layers=3, max_length=64, seeds=3, epochs=2., teacher_epochs=4., rate=2e-4).items():
        p.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    p.add_argument("--add", action="store_true", help="keep the rows of other tasks that the file has")
    common.options(p)
    o = p.parse_args()
    file, named = o.results/"kinds.json", [s.split("=")[0] for s in o.task]
    held = json.loads(file.read_text(encoding="utf-8"))["results"] if o.add and file.is_file() else []
    common.study(o, "kinds.json", rows(o), [r for r in held if r["task"] not in named], settings=common.settings(o, "task", "add", "labelled", "texts", "max_length"))
