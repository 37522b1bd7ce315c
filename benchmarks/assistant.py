"""Does a teacher assistant pay? `python benchmarks/assistant.py --seeds 0 1 2`.

A student of two of the default teacher's six layers learns on bshift with the demo's texts, labels and settings: directly, directly for as many
steps as assistant and student take together, and from an assistant of four layers. Writes nbs/results/assistant.json, which
nbs/recipes/02_layers.ipynb reads. Rows of other seeds that are in the file stay, so seeds can be run one after the other.
"""
import json
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
    file = o.results/"assistant.json"
    before = json.loads(file.read_text(encoding="utf-8"))["results"] if file.exists() else []
    common.study(o, file.name, (row for seed in o.seeds for row in one_seed(task, o, seed)), [r for r in before if r["seed"] not in o.seeds],
                 settings=common.settings(o, "seeds"), training=SETTINGS)
