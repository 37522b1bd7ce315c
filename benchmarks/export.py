"""Ways to serve a student on a CPU: `python benchmarks/export.py --task FOLDER_OF_SST-2`; needs the extra onnx.

A teacher is fine-tuned; two students learn from its answers: some of its blocks, and a narrow one whose vocabulary is most of its weights.
Each is served by torch (float32, bfloat16, float16, and torch's own dynamic int8) and by onnxruntime (float32, int8, int8 with embeddings):
accuracy on the test split, agreement with torch in float32, bytes of a file, and median and 95 of 100 milliseconds by turns for 1 and 32 texts
with 1 and 2 threads. `--no-times` leaves the times out, for a machine that others use. Writes nbs/results/export.json, which
nbs/results/export.ipynb reads.
"""
import argparse, copy, io, tempfile, warnings
from pathlib import Path
import torch
from torch import nn
import common
from distill_nb.data.load import load_task
from distill_nb.data.tokens import tokenize
from distill_nb.deploy.export import compare, write_graph
from distill_nb.deploy.onnx import OnnxModel
from distill_nb.losses import SoftTargets
from distill_nb.measure.report import latencies
from distill_nb.measure.scores import score
from distill_nb.recipes.demo import hide_labels
from distill_nb.students.copied import init_student
from distill_nb.students.narrow import narrow_student
from distill_nb.teachers.load import load_teacher, load_tokenizer
from distill_nb.training.run import fit, freeze_embeddings

NARROWER = dict(hidden_size=96, num_attention_heads=12, intermediate_size=384, start="svd")

def torch_int8(model):
    "torch's own dynamic int8: linear layers, weights per tensor."
    from torch.ao.quantization import quantize_dynamic
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torchao will have it
        return quantize_dynamic(copy.deepcopy(model), {nn.Linear}, torch.qint8)

def file_bytes(model):
    "Of the weights as torch saves them."
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    return file.getbuffer().nbytes

def torch_ways(model):
    "Name -> (model, bytes of its file)."
    ways = {"torch float32": model, "torch bfloat16": copy.deepcopy(model).bfloat16(), "torch float16": copy.deepcopy(model).half(),
            "torch int8": torch_int8(model)}
    return {name: (m, file_bytes(m)) for name, m in ways.items()}

def onnx_ways(model, tok, home):
    "Name -> (folder, bytes of the graph)."
    ways = {"onnx float32": {}, "onnx int8": dict(int8=True), "onnx int8, embeddings too": dict(int8=True, embeddings=True)}
    for name, how in ways.items():
        (home/name).mkdir()
        write_graph(model, tok, home/name, **how)
    return {name: (home/name, (home/name/"model.onnx").stat().st_size) for name in ways}

def times(ways, o):
    "Milliseconds of every way by (threads, texts): median and 95 of 100."
    found = {name: [] for name in ways}
    for threads in 1, 2:
        models = {name: OnnxModel(m, threads) if isinstance(m, Path) else m for name, (m, _) in ways.items()}
        for texts in 1, 32:
            for name, took in zip(models, latencies([*models.values()], batch_size=texts, threads=threads, repeats=o.repeats)):
                found[name].append(dict(threads=threads, texts=texts, ms=took.ms, p95=took.p95))
    return found

def student_rows(name, model, rows, tok, o):
    "A row for every way to serve a student."
    table = model.get_input_embeddings().weight.numel() / model.num_parameters()
    with tempfile.TemporaryDirectory() as home:
        ways = torch_ways(model) | onnx_ways(model, tok, Path(home))
        took = times(ways, o) if o.times else {}
        for way, (m, size) in ways.items():
            m = OnnxModel(m) if isinstance(m, Path) else m
            same = compare(model, m, rows["test"], tok)
            yield dict(student=name, way=way, parameters=model.num_parameters(), vocabulary=table, bytes=size,
                       times=took.get(way), **same, **score(m, rows["test"], tok))

def one_seed(task, seed, o):
    "Rows of results: teacher and students are trained, then served in every way."
    tok = load_tokenizer()
    rows, how = tokenize(task, tok), dict(seed=seed, per_device_train_batch_size=32, learning_rate=o.learning_rate, eval_strategy="no")
    torch.manual_seed(seed)  # the teacher's new head
    teacher = load_teacher(task=task)
    fit(freeze_embeddings(teacher), rows, tok, name="teacher", **how, max_steps=o.teacher_steps)
    first = [*range(o.layers)]
    students = {f"{o.layers} blocks": init_student(teacher, first), "narrow": narrow_student(teacher, first, **NARROWER)}
    for name, model in students.items():
        fit(model, rows, tok, SoftTargets(T=2), teacher, name=name, **how, max_steps=o.steps)
        for row in student_rows(name, model.eval(), rows, tok, o): yield dict(seed=seed, **row)

if __name__ == "__main__":
    p = common.parser(__doc__)
    p.add_argument("--task", default="bshift", help="a folder of one file per split, or an embedded task")
    p.add_argument("--seeds", type=int, nargs="+", default=[0])
    p.add_argument("--layers", type=int, default=3, help="blocks of a student")
    p.add_argument("--texts", type=int, default=10_000)
    p.add_argument("--teacher-steps", type=int, default=300)
    p.add_argument("--steps", type=int, default=300)
    p.add_argument("--learning-rate", type=float, default=3e-4)
    p.add_argument("--repeats", type=int, default=30)
    p.add_argument("--times", action=argparse.BooleanOptionalAction, default=True)
    common.options(p)
    o = p.parse_args()
    task = load_task(o.task)
    task = hide_labels(task, min(o.texts, len(task["train"])), min(o.texts, len(task["train"])))
    rows = (row for seed in o.seeds for row in one_seed(task, seed, o))
    common.study(o, "export.json", rows, settings=common.settings(o, "task"), task=Path(o.task).name)
