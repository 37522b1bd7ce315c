"""Behind nbs/inside/05_padding_free.ipynb: a forward pass without padding gives every family's numbers, or refuses the family by name."""
import pytest, torch
from transformers import (AutoModelForMaskedLM, AutoModelForSequenceClassification,
                          AutoModelForTokenClassification)
import families
from distill_nb.inside.blocks import encoder_blocks
from distill_nb.inside.capture import trace
from distill_nb.inside.padding_free import TOKENS, Packed, can_pack, packed, trace_packed
from distill_nb.kit.errors import InputError
from distill_nb.kit.gpu import masks_of_a_recording, places

HEADS = [AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoModelForMaskedLM]
PACKS = ["bert", "roberta", "camembert", "electra", "distilbert", "modernbert", "xlm-roberta", "data2vec-text", "ernie", "albert", "nomic_bert", "mobilebert"]
MASK = torch.tensor([[1] * 9, [1] * 4 + [0] * 5, [1] * 7 + [0] * 2])
NEEDS = ("logits", "hidden_states", "scores", "values")

def batch_of():
    ids = torch.randint(5, families.V, MASK.shape, generator=torch.Generator().manual_seed(1))
    return dict(input_ids=ids * MASK + (1 - MASK), attention_mask=MASK)

def hooks(model): return [[len(b._forward_hooks), len(b._forward_pre_hooks)] for b in encoder_blocks(model)]

def real(x):
    "What counts of a part: everything of a text's answer, real tokens of states, real pairs of scores."
    if x.dim() == 2 and x.shape[1] != MASK.shape[1]: return x
    if x.dim() < 4: return x[MASK.bool()]
    if x.shape[-1] != x.shape[-2] or x.shape[-1] != MASK.shape[1]: return x.transpose(1, 2)[MASK.bool()]
    return x[(MASK[:, None, :, None] * MASK[:, None, None, :]).bool().expand_as(x)]

@pytest.mark.parametrize("head", HEADS, ids=lambda h: h.__name__)
@pytest.mark.parametrize("family", [f for f in families.EXTRA if f not in ("xlm", "flaubert")])
def test_every_part_and_gradient_is_the_padded_one_or_it_is_refused(family, head):
    try: model = families.build(family, head)
    except (ValueError, KeyError): pytest.skip("no such head")
    batch = batch_of()
    assert can_pack(model) == (family in PACKS)
    if family not in PACKS:
        with pytest.raises(InputError, match=f"{type(model).__name__}, packed"):
            with packed(model, batch): pass
        return
    plain, before = trace(model, batch, NEEDS), hooks(model) # transformers has some of its own
    found = trace_packed(model, batch | {TOKENS: places(torch.where(MASK == 1, 1, -100))}, NEEDS)
    for part in NEEDS:
        a, b = [x if isinstance(x, tuple) else (x,) for x in (getattr(plain, part), getattr(found, part))]
        for x, y in zip(a, b, strict=True): torch.testing.assert_close(real(y), real(x), atol=1e-5, rtol=1e-5)
    grads = [torch.autograd.grad(real(o.logits).square().sum() + real(o.hidden_states[1]).sum(), [*model.parameters()], allow_unused=True) for o in (plain, found)]
    top = max(g.abs().max() for g in grads[0] if g is not None)
    for a, b in zip(*grads):
        assert (a is None) == (b is None)
        if a is not None: assert (a - b).abs().max() < 1e-5 * top
    assert hooks(model) == before

def test_windows_of_modernbert_stay():
    model = families.build("modernbert", local_attention=4, layer_types=["full_attention", "sliding_attention"] * 2)
    batch = batch_of()
    with packed(model, batch): found = trace(model, batch)
    torch.testing.assert_close(found.logits, trace(model, batch).logits, atol=1e-5, rtol=1e-5)
    wide = families.build("modernbert", local_attention=40, layer_types=["full_attention", "sliding_attention"] * 2)
    assert (trace(wide, batch).logits - found.logits).abs().max() > 1e-3 # a window that matters

def test_an_error_inside_leaves_a_plain_model():
    model, batch = families.build("bert"), batch_of()
    trace(model, batch, ["hidden_states"]) # transformers has hooks of its own, from the first time on
    before = hooks(model)
    with pytest.raises(ZeroDivisionError), packed(model, batch): 1 / 0
    assert hooks(model) == before
    assert model.config._attn_implementation == "sdpa"
    trace(model, batch)

def test_what_cannot_be_packed_is_refused():
    model = families.build("bert").train()
    model.gradient_checkpointing_enable(dict(use_reentrant=False))
    with pytest.raises(InputError, match="gradient checkpointing"), packed(model, batch_of()): pass

def test_a_batch_without_padding_is_left_alone():
    whole = Packed(lambda rows: dict(attention_mask=torch.ones(2, 3, dtype=torch.long)))(None)
    assert TOKENS not in whole
    assert TOKENS not in Packed(lambda rows: dict(input_ids=MASK))(None), "without a mask every token is real"
    padded = Packed(lambda rows: dict(attention_mask=MASK))(None)
    assert padded[TOKENS].tolist()[:9] == list(range(9)) and (padded[TOKENS] >= 0).sum() == MASK.sum()

def test_padding_in_the_place_that_a_head_reads_is_refused():
    for first, mask in (True, MASK), (False, MASK.flip(1)): assert TOKENS in Packed(lambda rows: dict(attention_mask=mask), first)(None)
    with pytest.raises(InputError, match="padding on the left"): Packed(lambda rows: dict(attention_mask=MASK.flip(1)), True)(None)

def test_places_ask_nothing_of_the_device():
    "With the collator's list no operation depends on values, so a GPU is not waited for."
    model = families.build("bert")
    can_pack(model)
    batch = batch_of()
    batch = {k: v.to("meta") for k, v in (batch | {TOKENS: places(torch.where(MASK == 1, 1, -100))}).items()}
    with masks_of_a_recording(): # else transformers asks whether there is padding
        found = trace_packed(model.to("meta"), batch, ("logits", "hidden_states"))
    assert found.hidden_states[-1].shape == (3, 9, 24)
