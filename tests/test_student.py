"Sweeps behind nbs/02_student.ipynb: layer picks, students of every family and head, the report, refusals."
import copy
import pytest, torch
from transformers import (AutoModel, AutoModelForMaskedLM, AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification, AutoModelForTokenClassification, BertConfig, DistilBertConfig, ElectraConfig,
    RobertaConfig)
from distill_nb.errors import InputError
from distill_nb.student import (check_layers, even, find_sources, fingerprint, init_student, pick_layers, source_name,
    spread, student_config, transfer_report)
from distill_nb.tree import blocks_name, encoder_blocks

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
    (6, -1, "last", "-1 student layers"), (6, 3, "middle", "how='middle': expected one of spread, even, first, last"),
    (6, 3, [0, 1], "2 layers named: expected 3"), (6, 2, [0, 6], "layer 6: expected 0 to 5"),
    (6, 2, [-1, 2], "layer -1"), (6, 2, [2, 1], "ascending"), (6, 2, [1, 1], "each once"), (6, 1, [1.], r"layer 1\.0"),
    (6, 1, ["0"], "layer 0"), (6, 0, [], "no layers"),
]

@pytest.mark.parametrize("n_teacher, n_student, how, message", BAD_PICKS)
def test_bad_picks_are_refused(n_teacher, n_student, how, message):
    with pytest.raises(InputError, match=message): pick_layers(n_teacher, n_student, how)

# Students of every family and head

TINY = dict(vocab_size=50, hidden_size=16, num_hidden_layers=4, num_labels=3, num_attention_heads=2, pad_token_id=0,
            intermediate_size=24, hidden_dim=24, max_position_embeddings=20, initializer_range=.3)
FAMILIES = [BertConfig, RobertaConfig, DistilBertConfig, ElectraConfig]
HEADS = [AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoModelForQuestionAnswering,
         AutoModelForMaskedLM]
family_and_head = pytest.mark.parametrize("family, head", [(f, h) for f in FAMILIES for h in HEADS],
                                          ids=lambda x: x.__name__)

def build(family=BertConfig, head=AutoModelForSequenceClassification, **settings):
    torch.manual_seed(0)
    if head is AutoModelForQuestionAnswering: settings["num_labels"] = 2 # start and end
    return head.from_config(family(**TINY | settings)).eval()

def answers(model):
    "All tensors that the model answers with, side by side."
    ids = torch.arange(5, 19).view(2, 7)
    with torch.no_grad(): out = model(input_ids=ids, attention_mask=torch.ones_like(ids))
    return torch.cat([v.flatten() for v in out.to_tuple()])

def without(teacher, kept):
    "The teacher itself with the other blocks taken out: what a student of the `kept` ones must equal."
    cut = copy.deepcopy(teacher)
    for i in reversed(range(len(encoder_blocks(cut)))):
        if i not in kept: del encoder_blocks(cut)[i]
    return cut

@family_and_head
def test_student_answers_as_its_blocks_alone(family, head):
    teacher = build(family, head)
    whole = answers(teacher)
    torch.testing.assert_close(answers(init_student(teacher, range(4))), whole)
    for kept in ([0, 3], [1, 2], [0, 1, 2], [3]):
        student = init_student(teacher, kept)
        assert type(student) is type(teacher) and student.config.num_hidden_layers == len(kept)
        torch.testing.assert_close(answers(student), answers(without(teacher, kept)))
        assert (answers(student) - whole).abs().max() > 1e-2

@family_and_head
def test_report_finds_every_tensor(family, head):
    teacher = build(family, head)
    student, kept = init_student(teacher, [0, 3]), [0, 3]
    prefix = blocks_name(teacher)
    for name, source in find_sources(teacher, student).items():
        if name.startswith(prefix): assert source == source_name(name, prefix, kept)
        else: assert torch.equal(student.state_dict()[name], teacher.state_dict()[source])
    report = transfer_report(teacher, student)
    table = report.table().set_index("part")
    assert report.new == [] and report.teacher_parameters == teacher.num_parameters()
    assert report.copied == sum(t.numel() for t in student.state_dict().values())
    assert table.from_part["block 0"] == "block 0" and table.from_part["block 1"] == "block 3"

@pytest.mark.parametrize("family", FAMILIES)
def test_tied_embeddings_stay_tied(family):
    student = init_student(build(family, AutoModelForMaskedLM), [1, 2])
    assert student.get_output_embeddings().weight is student.get_input_embeddings().weight

@pytest.mark.parametrize("family", FAMILIES)
def test_student_owns_its_memory(family):
    teacher = build(family)
    before = copy.deepcopy(teacher.state_dict())
    student = init_student(teacher, [0, 2])
    with torch.no_grad():
        for p in student.parameters(): p.zero_()
    student.config.num_labels = 7
    assert all(torch.equal(t, before[n]) for n, t in teacher.state_dict().items())
    assert teacher.config.num_hidden_layers == 4 and teacher.config.num_labels == 3

@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("training", [True, False])
def test_student_has_the_teachers_dtype_and_mode(dtype, training):
    student = init_student(build().to(dtype).train(training), [0])
    assert student.dtype == dtype and student.training == training

def test_labels_travel_with_the_student():
    teacher = build(id2label={0: "no", 1: "maybe", 2: "yes"}, label2id={"no": 0, "maybe": 1, "yes": 2})
    assert init_student(teacher, [0, 1]).config.id2label == {0: "no", 1: "maybe", 2: "yes"}

@pytest.mark.parametrize("family", FAMILIES)
def test_saved_student_answers_the_same(family, tmp_path):
    student = init_student(build(family), [0, 3])
    student.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(answers(again), answers(student))

@pytest.mark.parametrize("layers, message", [([], "no layers"), ([4], "layer 4"), ([1, 0], "ascending")])
def test_bad_layers_make_no_student(layers, message):
    with pytest.raises(InputError, match=message): init_student(build(), layers)

def test_model_without_blocks_is_refused():
    with pytest.raises(InputError, match="a list of equal blocks"): init_student(torch.nn.Linear(2, 2), [0])

def test_configuration_of_another_depth_is_refused():
    teacher = build()
    teacher.config.num_hidden_layers = 9
    with pytest.raises(InputError, match="num_hidden_layers is 9: expected the number of blocks, 4"):
        student_config(teacher, 2)

# The report

def test_report_names_what_is_new():
    teacher = build()
    student = init_student(teacher, [0, 3])
    torch.nn.init.normal_(student.classifier.weight)
    report = transfer_report(teacher, student)
    assert report.new == ["classifier.weight"]
    assert report.copied == sum(t.numel() for t in student.state_dict().values()) - student.classifier.weight.numel()
    assert "new" in repr(report) and "block 3" in report._repr_html_()

@pytest.mark.parametrize("swapped", [1, 2])
def test_report_sees_a_wrong_block(swapped):
    teacher = build()
    student = init_student(teacher, [0, 3])
    encoder_blocks(student)[1].load_state_dict(encoder_blocks(teacher)[swapped].state_dict())
    table = transfer_report(teacher, student).table().set_index("part")
    assert table.from_part["block 1"] == f"block {swapped}"

def test_report_of_strangers_finds_no_weights():
    teacher = build()
    torch.manual_seed(1)
    stranger = AutoModelForSequenceClassification.from_config(BertConfig(**TINY))
    new = transfer_report(teacher, stranger).new
    assert all(f"bert.encoder.layer.{i}.output.dense.weight" in new for i in range(4))

def test_report_of_a_headless_teacher():
    teacher, student = build(head=AutoModel), init_student(build(), [0, 3])
    assert set(transfer_report(teacher, student).new) <= {"classifier.weight", "classifier.bias"}

def test_fingerprint_sees_shape_and_content_alone():
    a = torch.randn(3, 4)
    assert fingerprint(a) == fingerprint(a.clone().requires_grad_()) == fingerprint(a.T.contiguous().T)
    assert len({fingerprint(t) for t in (a, a.view(4, 3), a + 1e-3, a.T)}) == 4
