"Sweeps behind nbs/41: every family gives the same numbers with packed weights, and what may not be packed is not."
import copy
import pytest, torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModelForMaskedLM

from conftest import bert
from distill_nb import packing
from distill_nb.losses import HardTargets, SoftTargets
from distill_nb.packing import PackedLinear, can_pack, packed
from distill_nb.student import init_student
from families import EXTRA, build
from test_train import rows, train

def n_packed(model): return sum(isinstance(vars(m).get("forward"), PackedLinear) for m in model.modules())

@pytest.fixture
def multiplied(monkeypatch):
    "How many products ran with packed weights."
    seen, own = [], PackedLinear.multiply
    monkeypatch.setattr(PackedLinear, "multiply", lambda self, x, dtype: (seen.append(dtype), own(self, x, dtype))[1])
    return seen

# DeBERTa v1 fails under bf16 autocast by itself: it fills with float32's lowest number
@pytest.mark.parametrize("family,bf16", [(f, bf16) for f in sorted(EXTRA) for bf16 in (False, True) if (f, bf16) != ("deberta", True)])
def test_families_answer_the_same(family, bf16, multiplied):
    model = build(family)
    ids = torch.arange(4, 30).view(2, 13)
    inputs = dict(input_ids=ids, attention_mask=torch.ones_like(ids))
    inputs["attention_mask"][1, 9:] = 0
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        plain = model(**inputs).logits.float()
        with packed(model): fast = model(**inputs).logits.float()
    assert torch.allclose(fast, plain, atol=.1 if bf16 else 1e-4)
    dtype = torch.bfloat16 if bf16 else torch.float32
    assert n_packed(model) == 0 and (not can_pack(dtype) or dtype in multiplied)

@pytest.mark.parametrize("shape", [(64,), (5, 64), (0, 64), (2, 0, 64), (2, 3, 64)])
def test_shapes_and_no_bias(shape):
    x, layer = torch.randn(shape), nn.Linear(64, 48, bias=False)
    with torch.no_grad(): assert torch.allclose(PackedLinear(layer)(x), layer(x), atol=1e-5)

def test_rows_that_are_not_in_a_row():
    layer = nn.Linear(64, 48)
    with torch.no_grad():
        for x in torch.randn(7, 4, 64).transpose(0, 1), torch.randn(4, 7, 80)[..., :64]:
            assert torch.allclose(PackedLinear(layer)(x), layer(x), atol=1e-5)

def test_a_gradient_takes_the_plain_way(multiplied):
    model = bert()
    twin = copy.deepcopy(model)
    ids = torch.arange(5, 13)[None]
    with packed(model): model(ids).logits.sum().backward()
    twin(ids).logits.sum().backward()
    assert not multiplied
    for a, b in zip(model.parameters(), twin.parameters()):
        assert (a.grad is None) == (b.grad is None) and (a.grad is None or torch.equal(a.grad, b.grad))

def test_half_and_double_take_the_plain_way_where_they_must():
    for dtype in (torch.float16, torch.float64):
        layer, x = nn.Linear(64, 48, dtype=dtype), torch.randn(3, 64, dtype=dtype)
        with torch.no_grad(): assert torch.allclose(PackedLinear(layer)(x), layer(x), atol=1e-2)

def test_a_torch_without_the_operations(monkeypatch):
    def fail(*args): raise AttributeError("no such operation")
    monkeypatch.setattr(PackedLinear, "pack", fail)
    can_pack.cache_clear()
    try:
        assert not can_pack(torch.float32)
        layer, x = nn.Linear(64, 48), torch.randn(3, 64)
        with torch.no_grad(): assert torch.equal(PackedLinear(layer)(x), layer(x))
    finally: can_pack.cache_clear()

def test_wrong_products_are_not_used(monkeypatch):
    monkeypatch.setattr(PackedLinear, "multiply", lambda self, x, dtype: F.linear(x, self.layer.weight))  # no bias
    can_pack.cache_clear()
    try: assert not can_pack(torch.float32)
    finally: can_pack.cache_clear()

def test_layers_are_as_before_after_an_error_and_when_nested():
    model = bert()
    with pytest.raises(ValueError), packed(model):
        with packed(model): assert n_packed(model)
        assert n_packed(model)  # the inner one leaves the outer one's
        raise ValueError
    assert n_packed(model) == 0 and all("forward" not in vars(m) for m in model.modules())

def test_a_layer_that_somebody_hooked_is_left_alone():
    model = bert()
    layer = next(m for m in model.base_model.modules() if type(m) is nn.Linear)
    layer.forward = own = lambda x: F.linear(x, layer.weight, layer.bias)
    with packed(model): assert layer.forward is own
    assert layer.forward is own

def test_heads_and_other_kinds_of_layers_are_not_packed():
    class Other(nn.Linear): pass
    model = build("bert", AutoModelForMaskedLM)
    block = model.bert.encoder.layer[0].intermediate
    block.dense = Other(24, 48)
    with packed(model):
        assert "forward" not in vars(block.dense) and n_packed(model) == n_packed(model.bert) == 4 * 6 - 1

def test_a_distiller_asks_a_packed_teacher(tok, tmp_path, monkeypatch, multiplied):
    teacher = bert()
    student = init_student(teacher, [0])
    d = train(tok, tmp_path, student, teacher, SoftTargets(T=2) + HardTargets(), max_steps=2)
    assert n_packed(teacher) == 0 and (not can_pack(torch.float32) or len(multiplied) >= 2)
    monkeypatch.setattr(packing, "can_pack", lambda dtype: False)
    twin = init_student(teacher, [0])
    train(tok, tmp_path/"plain", twin, teacher, SoftTargets(T=2) + HardTargets(), max_steps=2)
    for a, b in zip(d.student.parameters(), twin.parameters()): assert torch.allclose(a, b, atol=1e-5)
