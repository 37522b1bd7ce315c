"""Named objectives and recipes at equal steps: `python benchmarks/objectives.py --task FOLDER_OF_TREC --name TREC --seeds 0 1 2`.

One teacher per seed, fine-tuned on all labels. Students of half its blocks learn for the same number of steps: from labels, from the teacher's answers, by every
objective of `OBJECTIVES`, and by MiniLM (half of the steps on relations, half on answers). MobileBERT's thin student takes a share of the steps for each of its
blocks and half of them on answers; beside it stands the same student on labels. Without `--task` it is the embedded task libraries. Writes
nbs/results/objectives-TASK.json, which the pages of the recipes read.
"""
import tempfile
import torch
import common
from distill_nb.data.load import load_task
from distill_nb.data.tokens import tokenize
from distill_nb.inside.blocks import n_blocks
from distill_nb.losses import HardTargets
from distill_nb.recipes.base import ANSWERS, score
from distill_nb.recipes.demo import hide_labels
from distill_nb.recipes.layers import OBJECTIVES, named_objective
from distill_nb.recipes.minilm import minilm_terms
from distill_nb.recipes.mobilebert import mobilebert_stages, mobilebert_student
from distill_nb.recipes.tinybert import Stage, run_stages
from distill_nb.students.copied import init_student
from distill_nb.students.layers import choose_layers
from distill_nb.teachers.load import load_teacher, load_tokenizer
from distill_nb.training.run import fit

TEMPERATURES = dict(pkd=10., dist=1., decoupled=4.) # the papers'; others 2

def stages_of(way, task, teacher, o):
    "The stages of a way: (objective, steps, what is trained)."
    if way == "labels" or way == "thin, labels": return [Stage("all", HardTargets(), dict(max_steps=o.steps))]
    if way.startswith("MiniLM"):
        half = dict(max_steps=o.steps // 2)
        return [Stage("relations", minilm_terms(int(way[-1])), half), Stage("answers", ANSWERS[task.kind](T=1), half)]
    if way == "MobileBERT":
        *blocks, last = mobilebert_stages(task, n_blocks(teacher))
        for stage in blocks: stage.settings |= dict(max_steps=o.steps // 2 // len(blocks))
        last.settings |= dict(max_steps=o.steps // 2)
        return [*blocks, last]
    return [Stage("all", named_objective(task, way, TEMPERATURES.get(way, 2.)), dict(max_steps=o.steps))]

def one_seed(task, rows, tok, seed, o):
    torch.manual_seed(seed)  # the teacher's new head
    settings = dict(seed=seed, per_device_train_batch_size=32, learning_rate=o.learning_rate, eval_strategy="no")
    teacher = load_teacher(task=task)
    fit(teacher, rows, tok, name="teacher", **settings, max_steps=o.teacher_steps)
    yield dict(way="teacher", seed=seed, steps=o.teacher_steps, parameters=teacher.num_parameters(), **score(teacher, rows, tok))
    kept = choose_layers(teacher, n_blocks(teacher) // 2, "even")
    names = [n for n in OBJECTIVES if n != "standardized" or teacher.config.num_labels > 2]
    for way in ["labels", *names, "MiniLM 1", "MiniLM 2", "thin, labels", "MobileBERT"]:
        torch.manual_seed(seed)
        student = mobilebert_student(teacher) if way in ("thin, labels", "MobileBERT") else init_student(teacher, kept)
        stages = stages_of(way, task, teacher, o)
        for stage in stages: stage.settings = settings | dict(learning_rate=stage.settings.get("learning_rate", o.learning_rate)) | stage.settings
        with tempfile.TemporaryDirectory() as home: student, _ = run_stages(student, teacher, rows, tok, stages, home, **settings)
        yield dict(way=way, seed=seed, steps=sum(s.settings["max_steps"] for s in stages), parameters=student.num_parameters(), **score(student, rows, tok))

if __name__ == "__main__":
    p = common.parser(__doc__)
    p.add_argument("--task", default="libraries", help="a folder of one file per split, or an embedded task")
    p.add_argument("--name", help="what the results file calls it (default: the task's own name)")
    p.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    p.add_argument("--texts", type=int, default=10_000, help="most texts to learn from")
    p.add_argument("--teacher-steps", type=int, default=300)
    p.add_argument("--steps", type=int, default=240)
    p.add_argument("--learning-rate", type=float, default=1e-4)
    common.options(p)
    o = p.parse_args()
    task, tok = load_task(o.task), load_tokenizer()
    task = hide_labels(task, min(o.texts, len(task["train"])), min(o.texts, len(task["train"])))
    rows, name = tokenize(task, tok, 64), o.name or task.name
    common.study(o, f"objectives-{name}.json", (row for seed in o.seeds for row in one_seed(task, rows, tok, seed, o)),
                 settings=common.settings(o, "task") | dict(name=name), test=len(rows["test"]))
