"""A student, step by step smaller: `python benchmarks/smaller.py --task FOLDER_OF_SST-2`; needs the extra onnx.

The default teacher is fine-tuned; that is the whole student, of 91 MB. Then its vocabulary is cut to the tokens of the training texts; a share of
its feed-forward units is kept, by importance on training texts without their labels; the result is distilled from the whole student; it becomes a
graph of ONNX in float32 and in int8, embeddings too. Every step: bytes, accuracy on the test split and agreement with the whole student, for each
seed. For the first seed torch's own ways (bfloat16, dynamic int8) beside onnxruntime's. At the end the times of all sizes and ways by turns, in
one process, with the load of the machine before and after. `--no-times` leaves them out, `--seeds` without a number the rest.
Writes nbs/results/smaller.json, which nbs/results/smaller.ipynb reads.
"""
import argparse, os, shutil, tempfile, time
from pathlib import Path
import common
from export import onnx_ways, torch_ways
from distill_nb.data.docstrings import corpus_versions
from distill_nb.data.load import load_task
from distill_nb.data.tokens import tokenize
from distill_nb.deploy.export import row_answers, write_graph
from distill_nb.deploy.onnx import OnnxModel, quantize
from distill_nb.deploy.pruning import importance, prune
from distill_nb.deploy.vocabulary import cut_vocabulary
from distill_nb.losses import SoftTargets
from distill_nb.measure.report import latencies, machine, size_mb
from distill_nb.recipes.demo import hide_labels
from distill_nb.students.layers import some_batches
from distill_nb.teachers.load import load_teacher, load_tokenizer
from distill_nb.training.run import fit, freeze_embeddings

def best(model, rows, tok): return [int(a["logits"].argmax()) for a in row_answers(model, rows, tok)]

def measured(model, rows, tok, whole):
    "Accuracy, and the share of answers that are the whole student's."
    found, known = best(model, rows, tok), rows["labels"][:]
    def share(other): return sum(a == b for a, b in zip(found, other)) / len(found)
    return dict(accuracy=share(known), agreement=share(whole))

def torch_steps(task, seed, o):
    "(name, model, its tokenised splits, its tokenizer, facts) of every step that is a model."
    tok, how = load_tokenizer(), dict(seed=seed, per_device_train_batch_size=o.batch_size, eval_strategy="no")
    rows = tokenize(task, tok)
    whole = load_teacher(task=task)
    fit(freeze_embeddings(whole), rows, tok, name="whole", max_steps=o.teacher_steps, learning_rate=o.teacher_rate, **how)
    yield "whole", whole.eval(), rows, tok, {}
    cut = cut_vocabulary(whole, tok, [*task["train"]["text"]])
    few = tokenize(task, cut.tokenizer)
    test = tok([*task["test"]["text"]])["input_ids"]
    same = sum({*row} <= {*cut.ids} for row in test) / len(test)
    yield "vocabulary", cut.model, few, cut.tokenizer, dict(held_out=cut.held_out, same=cut.same, test_same=same)
    found = importance(cut.model, some_batches(few["train"].remove_columns("labels"), cut.tokenizer, o.batches))
    for share in o.units:
        small = prune(cut.model, found, share)
        yield f"{share:g} of the units", small, few, cut.tokenizer, {}
        fit(freeze_embeddings(small), few, cut.tokenizer, SoftTargets(T=2), cut.model, name=f"{share:g}", max_steps=o.steps,
            learning_rate=o.learning_rate, **how)
        yield f"{share:g} of the units, distilled", small.eval(), few, cut.tokenizer, {}

def graphs(name, model, tok, home):
    "Name -> (folder, bytes) of a model's graphs."
    float32, int8 = home/f"{name}, ONNX", home/f"{name}, ONNX int8"
    float32.mkdir()
    write_graph(model, tok, float32)
    shutil.copytree(float32, int8)
    quantize(float32/"model.onnx", int8/"model.onnx", embeddings=True)
    return {folder.name: (folder, (folder/"model.onnx").stat().st_size) for folder in (float32, int8)}

def served(name, model, rows, tok, home):
    "Rows of results: torch's own ways to serve a student beside onnxruntime's."
    ways, whole = torch_ways(model) | onnx_ways(model, tok, home), best(model, rows, tok)
    del ways["torch float16"]  # see export.py
    for way, (m, size) in ways.items():
        m = OnnxModel(m) if isinstance(m, Path) else m
        yield dict(student=name, way=way, bytes=size, **measured(m, rows, tok, whole))

def one_seed(task, seed, o, home, ways):
    "Rows of results for a seed; `ways` gets those of `served` for the first one."
    whole = None
    for name, model, rows, tok, facts in torch_steps(task, seed, o):
        whole = whole or best(model, rows["test"], tok)
        about = dict(seed=seed, parameters=model.num_parameters(), units=model.config.intermediate_size, tokens=model.config.vocab_size)
        yield about | dict(step=name, bytes=int(size_mb(model) * 1e6), **measured(model, rows["test"], tok, whole), **facts)
        if "distilled" not in name: continue
        for way, (folder, size) in graphs(name, model, tok, made(home/f"{name}, {seed}")).items():
            yield about | dict(step=way, bytes=size, **measured(OnnxModel(folder), rows["test"], tok, whole))
        if seed == o.seeds[0]: ways.extend(served(name, model, rows["test"], tok, made(home/f"{name}, ways")))

def timed_models(task, o, home):
    "Name -> model or folder of every shape and way: time does not depend on the weights, so nothing is trained."
    tok = load_tokenizer()
    whole = load_teacher(task=task).eval()
    cut = cut_vocabulary(whole, tok, [*task["train"]["text"]], held_out=0)
    rows = tokenize(hide_labels(task, 64, 64), cut.tokenizer)["train"].remove_columns("labels")
    small = prune(cut.model, importance(cut.model, some_batches(rows, cut.tokenizer, 2)), o.units[0])
    ways = torch_ways(small) | onnx_ways(small, cut.tokenizer, home)
    del ways["torch float16"]  # see export.py
    share = f"{o.units[0]:g} of the units"
    return {"whole": whole, "vocabulary": cut.model} | {f"{share}, {way}": m for way, (m, _) in ways.items()}

def times(models, o):
    "Milliseconds of each model by turns, for one text and for 32, and the load of the machine around it."
    models, before = {n: OnnxModel(m, 1) if isinstance(m, Path) else m for n, m in models.items()}, os.getloadavg()[0]
    for texts in 1, 32:
        for name, took in zip(models, latencies([*models.values()], batch_size=texts, threads=1, warmup=1, repeats=o.repeats)):
            yield dict(name=name, texts=texts, ms=took.ms, low=took.low, high=took.high, p95=took.p95, load=[before, os.getloadavg()[0]])

def everything(task, o, found, home):
    "Fill `found` part by part; yields after each."
    found |= dict(results=[], ways=[], times=[])
    for seed in o.seeds:
        for row in one_seed(task, seed, o, home, found["ways"]): yield found["results"].append(row) or row
    for row in times(timed_models(task, o, made(home/"times")), o) if o.times else (): yield found["times"].append(row) or row

def made(folder):
    folder.mkdir()
    return folder

if __name__ == "__main__":
    p = common.parser(__doc__)
    p.add_argument("--task", default="bshift", help="a folder of one file per split, or an embedded task")
    p.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    p.add_argument("--times", action=argparse.BooleanOptionalAction, default=True)
    p.add_argument("--units", type=float, nargs="+", default=[.5], help="shares of the units to keep")
    p.add_argument("--texts", type=int, default=10_000)
    p.add_argument("--batches", type=int, default=8, help="of 32 texts, for the importance")
    p.add_argument("--batch-size", type=int, default=16)
    p.add_argument("--teacher-steps", type=int, default=150)
    p.add_argument("--teacher-rate", type=float, default=1e-4)
    p.add_argument("--steps", type=int, default=80)
    p.add_argument("--learning-rate", type=float, default=2e-4)
    p.add_argument("--repeats", type=int, default=8)
    common.options(p)
    o = p.parse_args()
    task = load_task(o.task)
    task, found = hide_labels(task, *[min(o.texts, len(task["train"]))] * 2), {}
    with tempfile.TemporaryDirectory() as home:
        for row in common.under(o, everything(task, o, found, Path(home))):
            print("smaller", round(time.perf_counter() - common.BEGIN), row, flush=True)
            common.write(o.results/"smaller.json", settings=common.settings(o, "task"), task=Path(o.task).name, corpus=corpus_versions(),
                         machine=machine(), **found)
