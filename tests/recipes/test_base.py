"A recipe's report is fair: the baseline takes the steps of the distilled student, however few rows have a label."
import inspect, warnings
import numpy as np
import pandas as pd
import pytest, torch
from builders import WORDS, bert, rows, toy
from distill_nb.data.load import load_task
from distill_nb.data.tasks import make_task
from distill_nb import recipes
from distill_nb.kit.errors import InputError
from distill_nb.kit.figures import palette
from distill_nb.kit.models import note
from distill_nb.measure.report import _colour
from distill_nb.measure.scores import predict
from distill_nb.recipes.answers import distil_answers
from distill_nb.recipes.base import DISTILLED, KEPT, LABELS, trust_line
from distill_nb.recipes.layers import distil_layers
from distill_nb.shell.recipes import RECIPES
from distill_nb.teachers.load import load_teacher
from distill_nb.teachers.several import ask_model
from distill_nb.training.run import fit

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

@pytest.mark.parametrize("teachers, files, alone", [(1, 0, True), (0, 1, False), (1, 1, False), (2, 0, False)])
def test_a_student_of_answers_is_compared_with_its_teacher_or_with_nobody(tuned, headless, tok, tmp_path, teachers, files, alone):
    "What the student began with is no teacher: its head is new, and the report would be about nothing."
    task, how = toy(), dict(max_steps=1, disable_tqdm=True, use_cpu=True, eval_strategy="no", baseline=False, shape=dict(layers=2))
    answers = [ask_model(load_teacher(str(tuned)), tok, task, 16, "them")] * files
    done = distil_answers(task, answers, [str(tuned)] * teachers, None if teachers else str(headless), **how)
    assert (done.teacher is not None) == alone and (done.save(tmp_path/"out")/"README.md").is_file()
    if alone: assert done.trust().rows == len(task["test"])
    else:
        with pytest.raises(InputError, match="a result without a teacher model"): done.trust()

@pytest.mark.parametrize("answers", [[[.2, .8]] * 4, np.zeros((4, 2)), torch.zeros(4, 2), dict(train=[[0, 1]])], ids=["list", "array", "tensor", "dict"])
def test_bare_numbers_are_no_answers(answers):
    with pytest.raises(InputError, match="answers of type .*: expected a file, or Answers"): distil_answers(toy(), answers)

@pytest.mark.parametrize("n, says", [(1, "; not compared with the teacher: 1 answers of the student, 1 of the teacher: expected the same rows, two or more, in the same order."),
                                     (20, "; the student agrees with its teacher on 100.0% of 20 texts (at least 86.1%)")])
def test_a_report_says_how_far_both_agree_or_why_nobody_knows(tok, n, says):
    "A refusal of the trust report was answered with silence, whatever it was."
    some, model = rows(tok, n), bert(1)
    note(model, answered=(some._fingerprint, predict(model, some, tok)))
    assert trust_line(model, model, dict(test=some)) == says

@pytest.mark.parametrize("name", [n for n in dir(recipes) if n.startswith("distil_") and "task" in inspect.signature(getattr(recipes, n)).parameters])
@pytest.mark.parametrize("task", ["reviews.csv", None])
def test_a_file_is_no_task(name, task):
    "It was an AttributeError, after a warning that the check before the run had failed."
    recipe = getattr(recipes, name)
    more = ["answers.csv"] if "answers" in inspect.signature(recipe).parameters else []
    for how in dict(check=True), dict(check=False):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(InputError, match="^task .*: expected a Task. Make one with load_task"): recipe(task, *more, **how)

@pytest.mark.parametrize("make, says", [
    (lambda: load_task(None), "rows: NoneType None: expected a data frame, a data set, or a list"), (lambda: load_task(pd.DataFrame()), "rows: no columns"), (lambda: make_task("a", {}), "a: dict of rows: expected a data frame for each split"),
    (lambda: make_task("a", pd.DataFrame()), "a: DataFrame of rows: expected a data frame for each split"), (lambda: fit(bert(1), {}, None), "rows {}: expected a dictionary"), (lambda: fit(bert(1), [1], None), "rows .1.: expected")])
def test_data_of_another_shape_are_refused_in_one_sentence(make, says):
    with pytest.raises(InputError, match=says): make()
