"Sweeps behind nbs/students/02_transfer.ipynb: the report finds what was copied and what was not, without being told."
import pytest, torch
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForQuestionAnswering, AutoModelForSequenceClassification
from distill_nb.students.copied import init_student, source_name
from distill_nb.students.transfer import block_sources, find_sources, fingerprint, transfer_report
from distill_nb.inside.blocks import block_lists, encoder_blocks
from families import build

@pytest.mark.parametrize("head", [AutoModelForSequenceClassification, AutoModelForQuestionAnswering, AutoModelForMaskedLM])
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra", "xlm"])
def test_report_finds_every_tensor(family, head):
    if family == "xlm" and head is AutoModelForMaskedLM: head = AutoModel
    teacher = build(family, head)
    student, kept = init_student(teacher, [0, 3]), [0, 3]
    lists = block_lists(teacher)
    for name, source in find_sources(teacher, student).items():
        if name.startswith(tuple(lists)): assert source == source_name(name, lists, kept)
        else: assert torch.equal(student.state_dict()[name], teacher.state_dict()[source])
    report = transfer_report(teacher, student)
    table = report.table().set_index("part")
    assert report.new == [] and report.teacher_parameters == teacher.num_parameters()
    assert report.copied == sum(t.numel() for t in student.state_dict().values())
    assert table.from_part["block 0"] == "block 0" and table.from_part["block 1"] == "block 3"

def test_report_names_what_is_new():
    teacher = build("bert")
    student = init_student(teacher, [0, 3])
    torch.nn.init.normal_(student.classifier.weight)
    report = transfer_report(teacher, student)
    assert report.new == ["classifier.weight"]
    assert report.copied == sum(t.numel() for t in student.state_dict().values()) - student.classifier.weight.numel()
    assert "new" in repr(report) and "block 3" in report._repr_html_()

@pytest.mark.parametrize("swapped", [1, 2])
def test_report_sees_a_wrong_block(swapped):
    teacher = build("bert")
    student = init_student(teacher, [0, 3])
    encoder_blocks(student)[1].load_state_dict(encoder_blocks(teacher)[swapped].state_dict())
    table = transfer_report(teacher, student).table().set_index("part")
    assert table.from_part["block 1"] == f"block {swapped}" and block_sources(teacher, student) == {0: 0, 1: swapped}

def test_report_of_strangers_finds_no_weights():
    teacher = build("bert")
    torch.manual_seed(1)
    stranger = AutoModelForSequenceClassification.from_config(teacher.config)
    new = transfer_report(teacher, stranger).new
    assert all(f"bert.encoder.layer.{i}.output.dense.weight" in new for i in range(4))
    assert block_sources(teacher, stranger) == {}

def test_report_of_a_headless_teacher():
    teacher, student = build("bert", AutoModel), init_student(build("bert"), [0, 3])
    assert set(transfer_report(teacher, student).new) <= {"classifier.weight", "classifier.bias"}

def test_fingerprint_sees_shape_and_content_alone():
    a = torch.randn(3, 4)
    assert fingerprint(a) == fingerprint(a.clone().requires_grad_()) == fingerprint(a.T.contiguous().T)
    assert len({fingerprint(t) for t in (a, a.view(4, 3), a + 1e-3, a.T)}) == 4
