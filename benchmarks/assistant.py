"""Does a teacher assistant pay? `python benchmarks/assistant.py --seeds 0 1 2`.

A student of two of the default teacher's six layers learns on bshift with the demo's texts, labels and settings: directly, directly for as many
steps as assistant and student take together, and from an assistant of four layers. Writes nbs/results/assistant.json, which
nbs/recipes/01_layers.ipynb reads.
"""
import common
from distill_nb.data.load import load_task
from distill_nb.inside.blocks import n_blocks
from distill_nb.losses import SoftTargets
from distill_nb.recipes.base import score, set_up
from distill_nb.recipes.demo import BUDGET, SETTINGS, hide_labels
from distill_nb.recipes.layers import assisted
from distill_nb.students.copied import init_student
from distill_nb.students.layers import choose_layers

def one_seed(task, o, seed):
    "Rows of results for one seed."
    at, objective = set_up(task, max_length=BUDGET["max_length"], seed=seed), SoftTargets(T=2)
    plan = SETTINGS | dict(seed=seed, max_steps=o.steps, disable_tqdm=True)
    at.tune_teacher(**plan | BUDGET["teacher_settings"])
    def student(of, name, steps):
        small = init_student(of, choose_layers(of, o.layers, "first", ()))
        run = at.fit(name, small, teacher=of, objective=objective, **plan | dict(max_steps=steps))
        return dict(model=name, seed=seed, steps=steps, layers=n_blocks(small), parameters=small.num_parameters(), **score(run.student, at.rows, at.tokenizer))
    yield dict(model="teacher", seed=seed, layers=n_blocks(at.teacher), **score(at.teacher, at.rows, at.tokenizer))
    yield student(at.teacher, "direct", o.steps)
    yield student(at.teacher, "direct, twice the steps", 2 * o.steps)
    big = assisted(at, [o.through], "first", objective, **plan)
    yield dict(model="assistant", seed=seed, steps=o.steps, layers=n_blocks(big), **score(big, at.rows, at.tokenizer))
    yield student(big, "through the assistant", o.steps)

if __name__ == "__main__":
    p = common.parser(__doc__)
    p.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    p.add_argument("--layers", type=int, default=2)
    p.add_argument("--through", type=int, default=4)
    p.add_argument("--steps", type=int, default=BUDGET["max_steps"])
    p.add_argument("--texts", type=int, default=BUDGET["total"])
    p.add_argument("--labelled", type=int, default=BUDGET["labelled"])
    common.options(p)
    o = p.parse_args()
    task = hide_labels(load_task("bshift"), o.labelled, o.texts)
    common.study(o, "assistant.json", (row for seed in o.seeds for row in one_seed(task, o, seed)), settings=common.settings(o), training=SETTINGS)
