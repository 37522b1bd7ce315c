"A recipe's report is fair: the baseline takes the steps of the distilled student, however few rows have a label."
import pandas as pd
import pytest
from builders import WORDS
from distill_nb.data.tasks import make_task
from distill_nb.recipes.layers import distil_layers

@pytest.mark.parametrize("labelled", [200, 40, 20])
def test_baseline_and_student_take_equal_steps(headless, labelled):
    texts = [" ".join(WORDS[5 + (i * k) % 8] for k in (1, 3, 5, 7)) + " film" * (i % 7) + " book" * (i // 7) for i in range(200)]
    df = pd.DataFrame(dict(text=texts, label=[["a", "b"][i % 2] if i < labelled else "" for i in range(200)]))
    got = distil_layers(make_task("some", dict(train=df)), str(headless), layers=2, num_train_epochs=2, disable_tqdm=True, use_cpu=True, bf16=False)
    table = got.report.table()
    assert list(table.index) == ["teacher", "student, labels alone", "student, distilled"]
    n = len(got.task["train"])
    assert table.steps["student, distilled"] == table.steps["student, labels alone"] == 2 * -(-n // 32)
    assert (table.ms > 0).all() and "by turns" in got.report.timed
