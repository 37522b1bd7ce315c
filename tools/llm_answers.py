"""Make the file that nbs/tutorials/llm_answers.ipynb reads: `python tools/llm_answers.py`.

Real sentences, the first sentences of docstrings of installed open-source packages, for the task libraries: from which package is it? No large
language model can be asked without a network, so the default teacher stands in for one: it is fine-tuned on the labels of half of the training
texts and answers the other half and the test texts. Its answers get the form in which the interfaces of language models return theirs: the three
likeliest tokens with their log probabilities, one answer per line, and some mistakes: texts that were asked twice and answered differently, texts
that were left out, and answers that name no class. The file says what was done, how good the teacher is, and whose sentences these are.
"""
import argparse, json
from pathlib import Path
import datasets, numpy as np
from distill_nb.data.docstrings import corpus_versions
from distill_nb.data.load import load_task
from distill_nb.data.tasks import Task
from distill_nb.measure.report import machine
from distill_nb.recipes.base import set_up
from distill_nb.teachers.several import ask_model
from first_student import licence, write

def answer(text, z, names, again=0.):
    "One line of the file: the three likeliest tokens; `again` moves the logits of a second answer."
    z = z + again
    logs = z - np.logaddexp.reduce(z)
    best = np.argsort(-logs)[:3]
    return [text, [[f" {names[i]}", round(float(logs[i]), 3)] for i in best]]

def mistakes(rows, z, names, texts, o):
    "The rows with some left out, some that name no class, and some asked twice."
    gen = np.random.default_rng(o.seed)
    pick = gen.permutation(o.texts)
    out, nothing, twice = pick[:o.left_out], pick[o.left_out:o.left_out + o.nothing], pick[-o.twice:]
    for i in nothing: rows[i] = [texts[i], [[" I", -.1], [" It", -2.7]]]
    kept = [row for i, row in enumerate(rows) if i not in set(out.tolist())]
    return kept + [answer(texts[i], z[i], names, gen.normal(size=len(names)) * 3) for i in twice]

def made(o):
    "Everything that the file says."
    whole = load_task("libraries")
    train = whole["train"]
    seen, asked = train.select(range(len(train) - o.texts)), train.select(range(len(train) - o.texts, len(train)))
    splits = datasets.DatasetDict(train=seen, validation=whole["validation"], test=whole["test"])
    at = set_up(Task(whole.name, splits, whole.labels, whole.metric), max_length=o.max_length, seed=o.seed)
    at.tune_teacher(num_train_epochs=o.epochs, seed=o.seed, eval_strategy="no")
    texts = Task(whole.name, datasets.DatasetDict(train=asked, test=whole["test"]), whole.labels, whole.metric)
    said, names = ask_model(at.teacher, at.tokenizer, texts, o.max_length), whole.labels
    z, both = said.splits["train"], asked["text"][:]
    rows = [answer(t, x, names) for t, x in zip(both, z)]
    test = [answer(t, x, names) for t, x in zip(whole["test"]["text"], said.splits["test"])]
    table = lambda split, n=None: [[t, names[y] if n is None or i < n else ""] for i, (t, y) in enumerate(zip(split["text"], split["label"]))]
    return dict(
        task="From the documentation of which package is the sentence?", classes=names,
        teacher=dict(at.report.rows[0], name=at.source, labels_seen=len(seen)), settings=vars(o) | dict(out=o.out.name), machine=machine(),
        sentences="First sentences of docstrings of these packages.",
        packages=[dict(name=p, version=v, licence=licence(p)) for p, v in corpus_versions().items()],
        columns=["sentence", "label, empty where nobody has given one"], train=table(asked, o.labelled), test=table(whole["test"]),
        answers=mistakes(rows, z, names, both, o) + test)

if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, default=Path("nbs/tutorials/llm_answers.json"))
    p.add_argument("--texts", type=int, default=3000, help="training sentences that are answered; the teacher sees the labels of the others")
    p.add_argument("--labelled", type=int, default=200, help="of them, whose label the student may see")
    p.add_argument("--left_out", type=int, default=40)
    p.add_argument("--nothing", type=int, default=10, help="answers that name no class")
    p.add_argument("--twice", type=int, default=5, help="texts with two answers")
    p.add_argument("--epochs", type=float, default=4, help="of the teacher's fine-tuning")
    p.add_argument("--max_length", type=int, default=32)
    p.add_argument("--seed", type=int, default=0)
    datasets.disable_progress_bars()
    o = p.parse_args()
    data = made(o)
    write(o.out, data)
    print(data["teacher"], f"{o.out.stat().st_size / 1e6:.2f} MB")
