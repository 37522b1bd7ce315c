"A recipe's report is fair: the baseline takes the steps of the distilled student, however few rows have a label."
import inspect
import pandas as pd
import pytest
from builders import WORDS
from distill_nb.data.tasks import make_task
from distill_nb import recipes
from distill_nb.kit.figures import palette
from distill_nb.measure.report import _colour
from distill_nb.recipes.base import DISTILLED, KEPT, LABELS
from distill_nb.recipes.layers import distil_layers
from distill_nb.shell.recipes import RECIPES

@pytest.mark.slow
@pytest.mark.parametrize("labelled", [200, 40, 20])
def test_baseline_and_student_take_equal_steps(headless, labelled):
    texts = [" ".join(WORDS[5 + (i * k) % 8] for k in (1, 3, 5, 7)) + " film" * (i % 7) + " book" * (i // 7) for i in range(200)]
    df = pd.DataFrame(dict(text=texts, label=[["a", "b"][i % 2] if i < labelled else "" for i in range(200)]))
    got = distil_layers(make_task("some", dict(train=df)), str(headless), layers=2, num_train_epochs=2, disable_tqdm=True, use_cpu=True, bf16=False)
    table = got.report.table()
    students = ["student, labels alone", "student, teacher's layers", "student, distilled"]
    assert list(table.index) == ["teacher", *students]
    n = len(got.task["train"])
    assert set(table.steps[students]) == {2 * -(-n // 32)} and f"{2 * -(-n // 32)} steps for every student" in got.report.note
    assert (table.ms > 0).all() and "by turns" in got.report.timed

def test_the_baseline_has_one_default():
    "The same in every recipe, in Python and on the command line."
    functions = [getattr(recipes, name) for name in dir(recipes) if name.startswith("distil_") and inspect.isfunction(getattr(recipes, name))]
    defaults = {f.__name__: inspect.signature(f).parameters["baseline"].default for f in functions if "baseline" in inspect.signature(f).parameters}
    shown = {name: options["baseline"][0] for name, (_, _, options, _) in RECIPES.items() if "baseline" in options}
    assert {*defaults.values()} == {True} == {*shown.values()}
    assert len(functions) - len(defaults) == len(RECIPES) - len(shown) == 2  # embedders, of texts and of triples, are compared with their teacher alone
    assert len(defaults) == len(shown) + 2  # files of answers, and of tags, are an option of several recipes

def test_a_report_colours_a_baseline_with_the_teachers_layers_as_a_baseline():
    roles = {"teacher": "teacher", LABELS: "baseline", KEPT: "baseline", DISTILLED: "student", "bag of words": "baseline"}
    assert {name: _colour(name) for name in roles} == {name: palette[role] for name, role in roles.items()}
