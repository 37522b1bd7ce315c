"Sweeps behind nbs/students/04_narrow.ipynb: every way and family, identity where nothing shrinks, the report, refusals."
import pytest, torch
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoModelForTokenClassification
from distill_nb.kit.errors import InputError
from distill_nb.students.narrow import (
    NARROW, averaged, by_product, narrow_config, narrow_student, per_head, singular_directions, sliced)
from distill_nb.students.copied import init_student
from distill_nb.students.transfer import transfer_report
from families import answers, build, build_odd

LIKE_BERT = ["bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "ernie", "data2vec-text", "mpnet"]
SMALL = dict(hidden_size=12, num_attention_heads=2, intermediate_size=32)
SAME = dict(hidden_size=24, num_attention_heads=3, intermediate_size=48)
ways = pytest.mark.parametrize("how", NARROW)

@pytest.mark.parametrize("how", ["slice", "heads"])
@pytest.mark.parametrize("family", LIKE_BERT)
def test_nothing_narrowed_is_the_shallower_student(family, how):
    teacher = build(family)
    student = narrow_student(teacher, [0, 3], **SAME, start=how)
    torch.testing.assert_close(answers(student), answers(init_student(teacher, [0, 3])), atol=1e-5, rtol=1e-5)

@ways
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
@pytest.mark.parametrize("head", [AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoModelForMaskedLM])
def test_narrowed_students_run_save_and_say_what_they_are(family, head, how, tmp_path):
    teacher = build(family, head, num_attention_heads=4, n_heads=4)
    student = narrow_student(teacher, [1, 3], **SMALL, start=how)
    assert student.config.hidden_size == 12 and student.config.num_hidden_layers == 2
    assert torch.isfinite(answers(student)).all()
    student.save_pretrained(tmp_path)
    torch.testing.assert_close(answers(head.from_pretrained(tmp_path).eval()), answers(student))
    if head is AutoModelForMaskedLM: assert student.get_output_embeddings().weight is student.get_input_embeddings().weight
    report = transfer_report(teacher, student)
    ways = dict(slice={"sliced"}, heads={"sliced", "heads averaged"}, svd={"sliced", "PCA", "SVD"})[how]
    assert set(report.rows.how) - {"copied"} == ways and report.new == []

def test_slices_are_slices():
    teacher = build("bert", num_attention_heads=4)
    student = narrow_student(teacher, [2], 16, 4, 32, "slice")
    t, s = teacher.bert.encoder.layer[2], student.bert.encoder.layer[0]
    assert torch.equal(s.intermediate.dense.weight, t.intermediate.dense.weight[:32, :16])
    assert torch.equal(s.output.LayerNorm.weight, t.output.LayerNorm.weight[:16])
    rows = [6 * head + i for head in range(4) for i in range(4)]  # four of each head's six numbers
    assert torch.equal(s.attention.self.query.weight, t.attention.self.query.weight[rows][:, :16])
    assert torch.equal(s.attention.output.dense.weight, t.attention.output.dense.weight[:16][:, rows])

def test_a_table_per_head_keeps_the_heads():
    teacher = build("mpnet", num_attention_heads=4)
    assert torch.isfinite(answers(narrow_student(teacher, [0], 16, 4, 32, "svd"))).all()
    with pytest.raises(InputError, match="relative_attention_bias.*another number of heads"):
        narrow_student(teacher, [0], 12, 2, 32)

def test_averaging_heads_of_equal_heads_loses_nothing():
    teacher = build("bert", num_attention_heads=4, hidden_size=24)
    attention = teacher.bert.encoder.layer[0].attention
    with torch.no_grad():
        for m in (attention.self.query, attention.self.key, attention.self.value):
            for p in (m.weight, m.bias):
                h = p.view(2, 2, 6, -1)
                h[:, 1] = h[:, 0]
    down, up = averaged((4, 2), (6, 6))
    q = attention.self.query.weight.double()
    torch.testing.assert_close(up @ (down @ q) , q)

@pytest.mark.parametrize("rank", [1, 3, 6])
def test_product_inside_heads_is_the_best_of_its_rank(rank):
    torch.manual_seed(0)
    a, b = torch.randn(12, 20).double(), torch.randn(12, 15).double()
    d_a, d_b = by_product(a, b, (2, 2), (6, rank))
    assert d_a.shape == d_b.shape == (2 * rank, 12)
    for h in range(2):
        rows = slice(6 * h, 6 * h + 6), slice(rank * h, rank * h + rank)
        x, s, y = torch.linalg.svd(a[rows[0]].T @ b[rows[0]], full_matrices=False)
        best = x[:, :rank] @ s[:rank].diag() @ y[:rank]
        torch.testing.assert_close((d_a @ a)[rows[1]].T @ (d_b @ b)[rows[1]], best)

def test_maps_go_down_and_up():
    for down, up in (sliced(5, 3), per_head((4, 2), (6, 3)), averaged((4, 2), (6, 3)), singular_directions(torch.randn(40, 8), 5)):
        torch.testing.assert_close(down @ up, torch.eye(len(down), dtype=torch.float64))

@pytest.mark.parametrize("sizes, message", [
    (dict(hidden_size=15, num_attention_heads=2, intermediate_size=32), "width 15: expected a multiple of its 2 heads"),
    (dict(hidden_size=48, num_attention_heads=3, intermediate_size=32), "at most"),
    (dict(hidden_size=24, num_attention_heads=3, intermediate_size=99), "at most"),
    (dict(hidden_size=0, num_attention_heads=3, intermediate_size=9), "at most"),
    (dict(hidden_size=24, num_attention_heads=0, intermediate_size=9), "whole numbers above 0"),
    (dict(hidden_size=24., num_attention_heads=3, intermediate_size=9), "whole numbers above 0"),
    (dict(hidden_size="24", num_attention_heads=3, intermediate_size=9), "whole numbers above 0")])
def test_sizes_that_are_refused(sizes, message):
    with pytest.raises(InputError, match=message): narrow_student(build("bert"), [0], **sizes)

@pytest.mark.parametrize("family, how, message", [
    ("modernbert", "slice", "four square matrices per block"), ("convbert", "slice", "four square matrices"),
    ("electra", "svd", "embeddings 16 wide"), ("bert", "trim", "start='trim'")])
def test_families_and_ways_that_are_refused(family, how, message):
    with pytest.raises(InputError, match=message): narrow_student(build(family), [0], 12, 3, 24, how)

def test_uneven_heads_are_refused():
    with pytest.raises(InputError, match="2 heads from 3"):
        narrow_student(build("bert"), [0], 16, 2, 32, "heads")

def test_heads_do_not_grow():
    with pytest.raises(InputError, match="heads of 12 numbers: expected at most 8"): narrow_student(build("bert"), [0], 24, 2, 32)

def test_configuration_alone():
    config = narrow_config(build("bert"), [0, 1], **SMALL)
    assert (config.hidden_size, config.num_hidden_layers, config.num_labels) == (12, 2, 3)

@pytest.mark.parametrize("how", ["slice", "heads"])
def test_a_convolution_is_narrowed_too(how):
    "DeBERTa-v2's large models have one beside the first block, of three axes; its pooler has a width of its own name."
    teacher = build("deberta-v2", share_att_key=True, conv_kernel_size=3, conv_act="gelu")
    student = narrow_student(teacher, [0, 3], **SAME, start=how)
    torch.testing.assert_close(answers(student), answers(init_student(teacher, [0, 3])), atol=1e-5, rtol=1e-5)
    assert answers(narrow_student(teacher, [0, 3], **(SAME | dict(hidden_size=12)), start=how)).isfinite().all()

@pytest.mark.parametrize("family", ["fnet"])
def test_a_family_without_widths_is_refused(family):
    with pytest.raises(InputError, match="FNetConfig: expected hidden_size and num_attention_heads"): narrow_student(build_odd(family), [0], **SMALL)
