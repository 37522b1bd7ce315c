"""Which layers to keep, and how to narrow them: `python benchmarks/layers.py --task FOLDER_OF_SST-2 --seeds 0 1 2`.

One teacher per seed, fine-tuned on all labels that it gets. Students of half its blocks, chosen in six ways, learn from
its answers for the same number of steps, evaluated after an eighth of them and at the end; so do students of half its
width, started in four ways. Without `--task` it is the embedded task bshift. Writes nbs/results/layers-TASK.json, which
nbs/results/layers.ipynb reads.
"""
import torch
import common
from distill_nb.data.load import load_task
from distill_nb.data.tokens import tokenize
from distill_nb.recipes.demo import hide_labels
from distill_nb.students.layers import block_influence, choose_layers, some_batches, CHOICES
from distill_nb.losses import SoftTargets
from distill_nb.students.narrow import NARROW, narrow_config, narrow_student
from distill_nb.training.run import fit, freeze_embeddings
from distill_nb.recipes.base import score
from distill_nb.students.copied import init_student
from distill_nb.teachers.load import load_teacher, load_tokenizer

NARROWER = dict(hidden_size=192, num_attention_heads=12, intermediate_size=768)

def scratch(teacher, layers):
    "A narrower student with random weights."
    return type(teacher)(narrow_config(teacher, layers, **NARROWER))

def students(teacher, batches, n_student):
    "(group, way, layers, model) of every student, made when its turn comes."
    for how in [*CHOICES, "measured"]:
        layers = choose_layers(teacher, n_student, how, batches)
        yield "layers", how, layers, lambda: init_student(teacher, layers)
    first = choose_layers(teacher, n_student, "first")
    yield "layers", "random weights", [], lambda: type(teacher)(init_student(teacher, first).config)
    yield "width", "random weights", [], lambda: scratch(teacher, first)
    for how in NARROW: yield "width", how, first, lambda: narrow_student(teacher, first, **NARROWER, start=how)

def one_seed(task, rows, tok, seed, o):
    "Rows of results for one seed."
    torch.manual_seed(seed)  # the teacher's new head
    common = dict(seed=seed, per_device_train_batch_size=32, learning_rate=o.learning_rate, eval_strategy="no")
    teacher = load_teacher(task=task)
    fit(freeze_embeddings(teacher), rows, tok, name="teacher", **common, max_steps=o.teacher_steps)
    batches = some_batches(rows["train"], tok)
    yield dict(group="teacher", how="teacher", seed=seed, parameters=teacher.num_parameters(), steps=o.teacher_steps,
               change=block_influence(teacher, batches).change, **score(teacher, rows, tok))
    for group, how, layers, make in students(teacher, batches, o.layers):
        for steps in (o.steps // 8, o.steps):
            torch.manual_seed(seed)
            model = make()
            kept = model.num_parameters()
            if group == "layers" and how != "random weights": freeze_embeddings(model)
            fit(model, rows, tok, SoftTargets(T=2), teacher, name=f"seed {seed}: {group}, {how}", **common, max_steps=steps)
            yield dict(group=group, how=how, layers=layers, seed=seed, steps=steps, parameters=kept, **score(model, rows, tok))

if __name__ == "__main__":
    p = common.parser(__doc__)
    p.add_argument("--task", default="bshift", help="a folder of one file per split, or an embedded task")
    p.add_argument("--name", help="what the results file calls it (default: the task's own name)")
    p.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    p.add_argument("--layers", type=int, default=3, help="blocks of a student")
    p.add_argument("--texts", type=int, default=10_000, help="most texts to learn from")
    p.add_argument("--teacher-steps", type=int, default=300)
    p.add_argument("--steps", type=int, default=240)
    p.add_argument("--learning-rate", type=float, default=3e-4)
    common.options(p)
    o = p.parse_args()
    task, tok = load_task(o.task), load_tokenizer()
    task = hide_labels(task, o.texts, o.texts)
    rows = tokenize(task, tok, 64)
    name = o.name or task.name
    settings = common.settings(o, "task") | dict(name=name, narrower=NARROWER)
    common.study(o, f"layers-{name}.json", (row for seed in o.seeds for row in one_seed(task, rows, tok, seed, o)), settings=settings,
                 test=len(rows["test"]))
