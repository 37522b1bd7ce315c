"Sweeps behind nbs/students/01_copied.ipynb: layer picks, what a student shares with its teacher. Families: test_families.py."
import copy
import pytest, torch
from distill_nb.kit.errors import InputError
from distill_nb.students.copied import init_student, student_config
from distill_nb.students.layers import check_layers, even, pick_layers, spread
from families import EXTRA, build

# Which layers

PICKS = [
    (12, 6, "spread", [0, 2, 4, 7, 9, 11]), (12, 4, "spread", [0, 4, 7, 11]), (12, 3, "spread", [0, 6, 11]),
    (12, 2, "spread", [0, 11]), (12, 1, "spread", [0]), (6, 3, "spread", [0, 2, 5]), (6, 6, "spread", [0, 1, 2, 3, 4, 5]),
    (24, 12, "spread", [0, 2, 4, 6, 8, 10, 13, 15, 17, 19, 21, 23]), (1, 1, "spread", [0]),
    (12, 6, "even", [0, 2, 4, 6, 8, 10]), (6, 3, "even", [0, 2, 4]), (12, 5, "even", [0, 2, 4, 6, 8]),
    (6, 6, "even", [0, 1, 2, 3, 4, 5]), (6, 1, "even", [0]),
    (12, 3, "first", [0, 1, 2]), (6, 6, "first", [0, 1, 2, 3, 4, 5]), (12, 3, "last", [9, 10, 11]), (6, 1, "last", [5]),
    (12, 3, [1, 5, 9], [1, 5, 9]), (12, 3, (0, 1, 11), [0, 1, 11]), (6, 2, range(4, 6), [4, 5]),
    (12, 2, torch.tensor([3, 7]).numpy(), [3, 7]),
]

@pytest.mark.parametrize("n_teacher, n_student, how, layers", PICKS)
def test_picks(n_teacher, n_student, how, layers):
    assert list(pick_layers(n_teacher, n_student, how)) == layers

@pytest.mark.parametrize("how", ["spread", "even", "first", "last"])
def test_every_pick_is_a_legal_choice(how):
    for n in range(1, 33):
        for m in range(1, n + 1):
            layers = pick_layers(n, m, how)
            assert len(layers) == m and check_layers(n, layers) == layers
            if how == "spread" and m > 1: assert (layers[0], layers[-1]) == (0, n - 1)

def test_spread_and_even_differ_for_distilbert():
    assert spread(12, 6) != even(12, 6)

BAD_PICKS = [
    (6, 7, "spread", "7 student layers: expected 1 to the teacher's 6"), (6, 0, "first", "0 student layers"),
    (6, -1, "last", "-1 student layers"), (6, 3, "middle", "choice='middle': expected one of spread, even, first, last"),
    (6, 3, [0, 1], "2 layers named: expected 3"), (6, 2, [0, 6], "layer 6: expected 0 to 5"),
    (6, 2, [-1, 2], "layer -1"), (6, 2, [2, 1], "ascending"), (6, 2, [1, 1], "each once"), (6, 1, [1.], r"layer 1\.0"),
    (6, 1, ["0"], "layer '0'"), (6, 0, [], "no layers"),
    *((6, 3, how, "expected a list of indices") for how in (3, None, 2.5, True)),
    *((6, n, "first", "student layers: expected 1 to") for n in ("3", 2.5, None, [3])),
]

@pytest.mark.parametrize("n_teacher, n_student, how, message", BAD_PICKS)
def test_bad_picks_are_refused(n_teacher, n_student, how, message):
    with pytest.raises(InputError, match=message): pick_layers(n_teacher, n_student, how)

@pytest.mark.parametrize("layers", [3, None, 2.5])
def test_a_number_is_no_list_of_layers(layers):
    for make in init_student, student_config:
        with pytest.raises(InputError, match="expected a list of indices.*pick_layers"): make(build("bert"), layers)

# What it shares with its teacher

def test_layers_may_come_one_by_one():
    student = init_student(build("bert"), (i for i in (0, 3)))
    assert student.config.num_hidden_layers == 2


@pytest.mark.parametrize("family", EXTRA)
def test_student_owns_its_memory(family):
    teacher = build(family)
    before = copy.deepcopy(teacher.state_dict())
    student = init_student(teacher, [0, 2])
    with torch.no_grad():
        for p in student.parameters(): p.zero_()
    student.config.num_labels = 7
    assert all(torch.equal(t, before[n]) for n, t in teacher.state_dict().items())
    assert teacher.config.num_hidden_layers == 4 and teacher.config.num_labels == 3

@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("training", [True, False])
def test_student_has_the_teachers_mode_and_weights_that_can_be_trained(dtype, training, tmp_path):
    student = init_student(build("bert").to(dtype).train(training), [0])
    whole = torch.float64 if dtype == torch.float64 else torch.float32
    assert {p.dtype for p in student.parameters()} == {whole} and student.training == training
    student.save_pretrained(tmp_path)
    assert type(student).from_pretrained(tmp_path).dtype == whole # what its config.json says

@pytest.mark.parametrize("said", [2, 9])
def test_configuration_of_another_depth_is_refused(said):
    teacher = build("bert")
    teacher.config.num_hidden_layers = said
    with pytest.raises(InputError, match="BertConfig of BertForSequenceClassification: expected one number"):
        student_config(teacher, [0])
