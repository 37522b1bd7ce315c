"""Make the file that nbs/tutorials/first_student.ipynb reads: `python tools/first_student.py`.

Real sentences, the first sentences of docstrings of installed open-source packages, for the task bshift: were two neighbouring words
swapped? The default teacher is fine-tuned on the first rows' labels, as a recipe does it. It then answers all of them. The file has sentences,
labels and answers, so the page depends on no installed version, and says what was done, how good the teacher is, and whose sentences these are.
"""
import argparse, json
from importlib.metadata import metadata
from pathlib import Path
import datasets
from distill_nb.data.docstrings import corpus_versions
from distill_nb.data.load import load_task
from distill_nb.measure.report import machine
from distill_nb.measure.scores import predict
from distill_nb.recipes.base import set_up
from distill_nb.recipes.demo import hide_labels

def licence(package):
    "What a package says of its licence, in one line."
    if package == "python": return "PSF-2.0"
    m = metadata(package)
    said = m.get("License-Expression") or next((c for c in m.get_all("Classifier") or [] if c.startswith("License")), None) or m["License"]
    return said.splitlines()[0].split(" :: ")[-1]

def rows(split, answers, digits=3):
    "[sentence, label, the teacher's two logits] of every row."
    return [[text, label, *(round(z, digits) for z in logits)]
            for text, label, logits in zip(split["text"], split["label"], answers.tolist())]

def made(o):
    "Everything that the file says."
    whole = load_task("bshift")
    at = set_up(hide_labels(whole, o.labelled, o.texts), max_length=32, seed=o.seed)
    at.tune_teacher(num_train_epochs=o.epochs, max_steps=o.steps, seed=o.seed, eval_strategy="no")
    train = whole["train"].select(range(o.texts))  # with the labels that the teacher did not see
    answers = {s: predict(at.teacher, at.rows[s], at.tokenizer) for s in ("train", "test")}
    return dict(
        task="Were two neighbouring words of the sentence swapped? 0: no, 1: yes.", classes=whole.labels,
        teacher=dict(at.report.rows[0], name=at.source, labels_seen=o.labelled, parameters=at.teacher.num_parameters()), settings=vars(o) | dict(out=o.out.name),
        machine=machine(), sentences="First sentences of docstrings of these packages; in half of them two words are swapped.",
        packages=[dict(name=p, version=v, licence=licence(p)) for p, v in corpus_versions().items()],
        columns=["sentence", "label", "logit of 0", "logit of 1"], train=rows(train, answers["train"]), test=rows(whole["test"], answers["test"]))

def write(file, data):
    "JSON with a line for each row."
    line = lambda x: json.dumps(x, ensure_ascii=False)
    listed = lambda x: "[\n" + ",\n".join(map(line, x)) + "\n]" if isinstance(x, list) and len(x) > 4 else line(x)
    text = "{\n" + ",\n".join(f"{line(k)}: {listed(v)}" for k, v in data.items()) + "\n}\n"
    assert json.loads(text) == data
    Path(file).write_text(text, encoding="utf-8")

if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, default=Path("nbs/tutorials/first_student.json"))
    p.add_argument("--texts", type=int, default=12000, help="sentences that the teacher answers")
    p.add_argument("--labelled", type=int, default=4000, help="of them, whose label the teacher sees")
    p.add_argument("--epochs", type=float, default=4, help="of the teacher's fine-tuning")
    p.add_argument("--steps", type=int, default=-1, help="of the teacher's fine-tuning, in place of epochs")
    p.add_argument("--seed", type=int, default=0)
    datasets.disable_progress_bars()
    o = p.parse_args()
    data = made(o)
    write(o.out, data)
    print(data["teacher"], f"{o.out.stat().st_size / 1e6:.2f} MB")
