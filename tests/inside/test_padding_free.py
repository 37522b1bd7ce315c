"""Behind nbs/inside/05_padding_free.ipynb: a forward pass without padding gives every family's numbers, or refuses the family by name."""
import pytest, torch
from transformers import (AutoModelForMaskedLM, AutoModelForSequenceClassification,
                          AutoModelForTokenClassification)
import families
from distill_nb.inside.blocks import encoder_blocks
from distill_nb.inside.capture import trace
from distill_nb.inside.padding_free import TOKENS, Packed, can_pack, packed, reads_padding, trace_packed
from distill_nb.kit.errors import InputError
from distill_nb.kit.gpu import masks_of_a_recording, places
from distill_nb.kit.packing import fill_rows, row_places

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
    if family == "mobilebert": model.double() # without norms its gradients are 1e12 times as large as its logits
    batch = batch_of()
    assert can_pack(model) == (family in PACKS)
    if family not in PACKS:
        with pytest.raises(InputError, match=f"{type(model).__name__}, packed"):
            with packed(model, batch): pass
        return
    plain, before = trace(model, batch, NEEDS), hooks(model) # transformers has some of its own
    for at, needs in (places(torch.where(MASK == 1, 1, -100)), NEEDS), (row_places(MASK, 14), NEEDS[:2]), (row_places(MASK, 14), NEEDS):
        same_as_padded(model, plain, trace_packed(model, batch | {TOKENS: at}, needs), needs)
    assert hooks(model) == before

def same_as_padded(model, plain, found, needs):
    for part in needs:
        a, b = [x if isinstance(x, tuple) else (x,) for x in (getattr(plain, part), getattr(found, part))]
        for x, y in zip(a, b, strict=True): torch.testing.assert_close(real(y), real(x), atol=1e-5 * max(1., float(real(x).abs().max())), rtol=1e-5)
    grads = [torch.autograd.grad(real(o.logits).square().sum() + real(o.hidden_states[1]).sum(), [*model.parameters()], allow_unused=True, retain_graph=True) for o in (plain, found)]
    top = max(g.abs().max() for g in grads[0] if g is not None)
    for a, b in zip(*grads):
        assert (a is None) == (b is None)
        if a is not None: assert (a - b).abs().max() < 1e-5 * top

def test_windows_of_modernbert_stay():
    model = families.build("modernbert", local_attention=4, layer_types=["full_attention", "sliding_attention"] * 2)
    batch = batch_of()
    with packed(model, batch): found = trace(model, batch)
    torch.testing.assert_close(found.logits, trace(model, batch).logits, atol=1e-5, rtol=1e-5)
    rows = trace_packed(model, batch | {TOKENS: row_places(MASK, 16)})
    torch.testing.assert_close(found.logits, rows.logits, atol=1e-5, rtol=1e-5)
    wide = families.build("modernbert", local_attention=40, layer_types=["full_attention", "sliding_attention"] * 2)
    assert (trace(wide, batch).logits - found.logits).abs().max() > 1e-3 # a window that matters

@pytest.mark.parametrize("kw", [dict(vocab_size=7), dict(max_position_embeddings=4), dict(vocab_size=6, num_hidden_layers=1, hidden_size=5, num_attention_heads=1)],
                         ids=["few words", "few places", "one of each"])
@pytest.mark.parametrize("family", ["bert", "electra", "distilbert"])
def test_a_model_smaller_than_the_trial_is_tried_too(family, kw):
    if family == "distilbert": kw = {dict(num_hidden_layers="n_layers", hidden_size="dim", num_attention_heads="n_heads").get(k, k): v for k, v in kw.items()}
    model = families.build(family, **kw)
    mask = MASK[:, :4] if "max_position_embeddings" in kw else MASK
    batch = dict(input_ids=torch.arange(mask.numel()).view(mask.shape) % 6, attention_mask=mask)
    torch.testing.assert_close(trace_packed(model, batch | {TOKENS: row_places(mask, mask.shape[1])}).logits, trace(model, batch).logits, atol=1e-5, rtol=1e-5)
    assert not reads_padding(model)

@pytest.mark.parametrize("error", [AttributeError, IndexError, AssertionError, RuntimeError])
def test_a_model_that_fails_the_trial_is_refused_every_time(error, monkeypatch):
    "An error other than a few expected ones came through, and left the note that the model packs."
    model = families.build("bert")
    def fails(*args, **kwargs): raise error("of two texts")
    monkeypatch.setattr(model.bert.embeddings, "forward", fails)
    for _ in range(2):
        with pytest.raises(InputError, match="BertForSequenceClassification, packed"), packed(model, batch_of()): pass
    assert not reads_padding(model), "nothing is known about it"

def fnet(head):
    from transformers import FNetConfig
    torch.manual_seed(0)
    return head.from_config(FNetConfig(vocab_size=families.V, hidden_size=24, num_hidden_layers=2, intermediate_size=48, pad_token_id=1, bos_token_id=2, eos_token_id=3)).eval()

@pytest.mark.parametrize("head", HEADS, ids=lambda h: h.__name__)
@pytest.mark.parametrize("family", [*families.EXTRA, "fnet"])
def test_models_that_read_padding_are_found(family, head):
    "One batch at two paddings: the numbers say it, and no list of names; a model that packs reads none."
    try: model = fnet(head) if family == "fnet" else families.build(family, head)
    except (ValueError, KeyError): pytest.skip("no such head")
    assert reads_padding(model) == (family in ("convbert", "fnet"))
    batch = batch_of()
    wide = {k: torch.cat([x, torch.full((3, 7), int(k == "input_ids"))], 1) for k, x in batch.items()}
    a, b = [real(trace(model, x).logits[:, :9]) for x in (batch, wide)]
    assert (float((a - b).abs().max() / a.abs().max()) > 1e-4) == reads_padding(model)

SIDES = { # the sides and tokens of padding, "right" or "left" with the model's own (1) or another one (0), that a family reads
    "fnet": "right1 right0 left1 left0", "xlnet": "right1 right0", "funnel": "right1 right0 left1 left0", "gpt2": "right0 left1 left0",
    "mobilebert": "right0 left1 left0", "llama": "right0", "bert": "left1 left0", "bart": "left1 left0"}

@pytest.mark.parametrize("family", SIDES)
def test_padding_is_asked_about_by_side_and_token_once(family, monkeypatch):
    model = (families.build_odd if family in families.ODD else families.build)(family)
    asked = [(side, pad) for side in ("right", "left") for pad in (1, 0)]
    def found(): return " ".join(f"{side}{pad}" for side, pad in asked if reads_padding(model, side, pad))
    assert found() == SIDES[family]
    assert reads_padding(model) == ("right1" in SIDES[family]), "the model's own token, behind a text"
    def fails(*args, **kwargs): raise AssertionError("asked again")
    monkeypatch.setattr(model, "forward", fails)
    assert found() == SIDES[family]

def test_funnel_of_three_stages_is_tried_too():
    "As the published ones: texts of fewer than five tokens fail in it."
    assert reads_padding(families.build_odd("funnel", block_sizes=[1, 1, 1]))

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
    empty = MASK * torch.tensor([[1], [0], [1]])
    with pytest.raises(InputError, match="a text without tokens.*leave empty texts out"): Packed(lambda rows: dict(attention_mask=empty), True)(None)
    assert TOKENS in Packed(lambda rows: dict(attention_mask=empty))(None)

@pytest.mark.parametrize("at", [places(torch.where(MASK == 1, 1, -100)), row_places(MASK, 14)], ids=["one row", "rows of texts"])
def test_places_ask_nothing_of_the_device(at):
    "With the collator's list no operation depends on values, so a GPU is not waited for."
    model = families.build("bert")
    can_pack(model)
    batch = batch_of()
    batch = {k: v.to("meta") for k, v in (batch | {TOKENS: at}).items()}
    with masks_of_a_recording(): # else transformers asks whether there is padding
        found = trace_packed(model.to("meta"), batch, ("logits", "hidden_states"))
    assert found.hidden_states[-1].shape == (3, 9, 24)

@pytest.mark.parametrize("mask", ["bool", "float", "none"])
def test_rows_left_over_are_numbers_too(mask):
    "A place without a token attends to its like, whatever the mask: its softmax is no division of nothing."
    from distill_nb.kit.packing import Packing
    whole = MASK[:, None, None].bool().expand(-1, 1, 9, -1)
    given = dict(bool=whole, float=torch.zeros(3, 1, 9, 9).masked_fill(~whole, torch.finfo(torch.float32).min), none=None)[mask]
    at = row_places(MASK, 14, size=lambda n: n + 2)
    rows = Packing(MASK, at)
    who = rows.row_mask(given)
    assert rows.row_mask(given) is who and who.shape == (4, 1, 14, 14)
    x = torch.randn(4, 2, 14, 4)
    assert torch.nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=who).isfinite().all()
    seen = who[:, 0] if who.dtype == torch.bool else who[:, 0] == 0
    text = at // 9
    assert (seen == (text[:, :, None] == text[:, None])).all()

def test_texts_fill_rows_well_and_each_is_in_one():
    lengths = torch.randint(1, 60, (500,), generator=torch.Generator().manual_seed(0)).tolist()
    rows = fill_rows(lengths, 128)
    assert sorted(sum(rows, [])) == [*range(500)] and max(sum(lengths[i] for i in r) for r in rows) <= 128
    assert len(rows) <= 1.02 * sum(lengths) / 128 + 1
    with pytest.raises(InputError, match="12 tokens in rows of 8"): row_places(torch.ones(2, 12, dtype=torch.long), 8)

@pytest.mark.parametrize("side", ["left", "right"])
def test_a_collator_of_rows_lists_every_token_once_where_that_saves_work(side):
    lengths = [3, 40, 7, 12, 5, 33, 2, 9]
    mask = torch.tensor([[1] * n + [0] * (40 - n) if side == "right" else [0] * (40 - n) + [1] * n for n in lengths])
    at = Packed(lambda rows: dict(attention_mask=mask), row=32)(None)[TOKENS]
    assert at.shape == (3, 40) and sorted(at[at >= 0].tolist()) == mask.flatten().nonzero().squeeze(-1).tolist()
    for text in range(8): assert ((at // 40 == text) & (at >= 0)).any(1).sum() == 1
    assert TOKENS not in Packed(lambda rows: dict(attention_mask=mask[:1, :38]), row=128)(None) # one row is more than the padding

@pytest.mark.parametrize("family", ["bert", "modernbert", "distilbert"])
def test_compiled_blocks_are_packed_anew_in_every_pass(family, monkeypatch):
    "The compiler must not keep the packing of the first batch; without a compiler of C++, what it traces runs as it is."
    from functools import partial
    from distill_nb.training.gpu import compile_blocks, plain_blocks
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    model, batch = families.build(family), batch_of()
    can_pack(model)
    other = {k: v.flip(0) for k, v in batch.items()}
    wanted = [[trace(model, b).logits, torch.autograd.grad(trace(model, b).logits.square().sum(), next(model.parameters()))[0]] for b in (batch, other)]
    compile_blocks(model)
    try:
        for b, (z, grad) in zip((batch, other), wanted):
            found = trace_packed(model, b | {TOKENS: row_places(b["attention_mask"], 14)}).logits
            torch.testing.assert_close(found, z, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(torch.autograd.grad(found.square().sum(), next(model.parameters()))[0], grad, atol=1e-4, rtol=1e-4)
    finally: plain_blocks(model)
    assert not any("forward" in vars(b) for b in encoder_blocks(model))
