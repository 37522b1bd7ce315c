"""The demo's comparison over several seeds: `python benchmarks/bshift.py --seeds 0 1 2`.

Four students of the same three layers and the same number of steps: from the labels alone or from the teacher's
answers, starting from the layers before or after the teacher's fine-tuning. So the head start and the answers are told
apart. Writes nbs/results/bshift.json, which nbs/results/bshift.ipynb reads.
"""
import common
from distill_nb.data.load import load_task
from distill_nb.data.tokens import tokenize
from distill_nb.recipes.demo import BUDGET, SETTINGS, bag_of_words, hide_labels
from distill_nb.losses import SoftTargets
from distill_nb.training.run import fit, freeze_embeddings
from distill_nb.recipes.base import score
from distill_nb.students.copied import init_student
from distill_nb.students.layers import pick_layers
from distill_nb.teachers.load import load_teacher, load_tokenizer
from distill_nb.inside.blocks import encoder_blocks

def one_seed(task, rows, tok, seed, steps):
    "Rows of results for one seed."
    settings = {k: v for k, v in SETTINGS.items() if k != "freeze"} | dict(seed=seed, max_steps=steps)
    teacher = load_teacher(task=task)
    keep = pick_layers(len(encoder_blocks(teacher)), BUDGET["layers"], BUDGET["choice"])
    before = lambda: init_student(load_teacher(task=task), keep)
    after = lambda: init_student(teacher, keep)
    fit(freeze_embeddings(teacher), rows, tok, name="teacher", **settings | BUDGET["teacher_settings"])
    yield dict(model="teacher", seed=seed, parameters=teacher.num_parameters(), **score(teacher, rows, tok))
    for start, make in dict(pretrained=before, teacher=after).items():
        for learns, how in dict(labels={}, teacher=dict(teacher=teacher, objective=SoftTargets(T=2))).items():
            student = freeze_embeddings(make())
            fit(student, rows, tok, name=f"seed {seed}: layers {start}, learns from {learns}", **how, **settings)
            yield dict(model="student", layers=start, learns=learns, seed=seed,
                       parameters=student.num_parameters(), **score(student, rows, tok))

if __name__ == "__main__":
    p = common.parser(__doc__)
    p.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    common.options(p)
    o = p.parse_args()
    task = hide_labels(load_task("bshift"), BUDGET["labelled"], BUDGET["total"])
    tok = load_tokenizer()
    rows = tokenize(task, tok, BUDGET["max_length"])
    common.study(o, "bshift.json", (row for seed in o.seeds for row in one_seed(task, rows, tok, seed, BUDGET["max_steps"])),
                 [dict(model="bag of words", **bag_of_words(task))], budget=BUDGET, settings=SETTINGS)
