"Sweeps behind nbs/41: every family gives the same numbers with packed weights, and what may not be packed is not."
import copy
import pytest, torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModelForMaskedLM

from builders import bert
from distill_nb.kit.cpu import PackedLinear, can_pack, packed
from families import EXTRA, build

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

# Weights that change, and nothing that is drawn

CHANGES = dict(
    in_place=lambda p: p.mul_(3), data=lambda p: p.data.mul_(3), copy=lambda p: p.copy_(torch.randn_like(p)), data_copy=lambda p: p.data.copy_(torch.randn_like(p)),
    pointer=lambda p: setattr(p, "data", torch.randn_like(p)), few=lambda p: p.view(-1)[3].add_(1), average=lambda p: p.lerp_(torch.zeros_like(p), .01))

@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("part", ["weight", "bias"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_copy_notices_that_its_weights_changed(change, part, dtype, multiplied):
    layer, x = nn.Linear(32, 24), torch.randn(5, 32)
    fast = PackedLinear(layer)
    @torch.no_grad()
    def ask(layer):
        "Autocast keeps its own copies, each time it is on, so it is on for one product."
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16): return layer(x).float()
    before = ask(fast)
    for _ in range(2):
        with torch.no_grad(): CHANGES[change](getattr(layer, part))
        torch.testing.assert_close(ask(fast), ask(layer), atol=.1 if dtype == torch.bfloat16 else 1e-4, rtol=.02)
        if change not in ("few", "average"): assert not torch.equal(ask(fast), before)
    assert dtype in multiplied or not can_pack(dtype)

def test_a_parameter_that_is_another_one():
    layer, x = nn.Linear(32, 24), torch.randn(5, 32)
    fast = PackedLinear(layer)
    with torch.no_grad():
        fast(x)
        layer.weight, layer.bias = nn.Parameter(torch.randn(24, 32)), None
        torch.testing.assert_close(fast(x), layer(x), atol=1e-4, rtol=1e-4)

def test_a_load_and_an_optimizer_step_inside():
    model, other = bert(), bert(initializer_range=.3)
    ids = torch.arange(5, 13)[None]
    optimizer = torch.optim.AdamW(model.parameters(), lr=.1)
    with packed(model):
        for change in (lambda: model.load_state_dict(other.state_dict()), optimizer.step):
            model(ids).logits.sum().backward()
            change()
            with torch.no_grad(): asked = model(ids).logits
            torch.testing.assert_close(asked, copy_of(model)(ids).logits, atol=1e-4, rtol=1e-4)

def copy_of(model):
    "The same weights, never packed."
    twin = bert()
    twin.load_state_dict(model.state_dict())
    return twin

def test_unchanged_weights_are_packed_once(monkeypatch):
    seen, own = [], PackedLinear.pack
    monkeypatch.setattr(PackedLinear, "pack", lambda self, dtype: (seen.append(dtype), own(self, dtype))[1])
    fast, x = PackedLinear(nn.Linear(32, 24)), torch.randn(5, 32)
    can_pack(torch.float32)
    seen.clear()
    with torch.no_grad():
        for _ in range(3): fast(x)
    assert len(seen) == can_pack(torch.float32)

def test_weights_of_inference_mode_are_multiplied_plainly(multiplied):
    with torch.inference_mode():
        layer, x = nn.Linear(32, 24), torch.randn(5, 32)
        assert torch.equal(PackedLinear(layer)(x), layer(x)) and not multiplied

def test_nothing_is_drawn(multiplied):
    "Not by the trial, not on entering, not by an answer: the run around it must be the one that it is without."
    model, ids = bert(), torch.arange(5, 13)[None]
    can_pack.cache_clear()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with packed(model), torch.no_grad():
        assert can_pack.cache_info().currsize == 2  # tried before the first answer
        model(ids)
        with torch.autocast("cpu", torch.bfloat16): model(ids)
    for dtype in (torch.float16, torch.float64): can_pack(dtype)
    assert torch.equal(torch.get_rng_state(), before)

def test_a_model_that_moves_away_inside(monkeypatch):
    "Elsewhere than on a CPU the plain product is taken."
    model = bert()
    with packed(model), torch.no_grad():
        model.to("meta")
        assert model(torch.ones(1, 4, dtype=torch.long, device="meta")).logits.device.type == "meta"
