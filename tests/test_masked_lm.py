"Sweeps behind nbs/20_masked_lm.ipynb: heads and last blocks that work on picked states alone, over families."
import pytest, torch
from families import EXTRA, build
from transformers import AutoModelForMaskedLM
from distill_nb.errors import InputError
from distill_nb.masked_lm import head_only_at, last_block_only_at, leaves_early, masked_logits

FAMILIES = sorted(EXTRA.keys() - {"xlm", "flaubert"})  # these two have no AutoModelForMaskedLM
EARLY = {"bert", "roberta", "camembert", "electra", "distilbert", "mobilebert", "modernbert", "ernie", "nomic_bert", "xlm-roberta", "data2vec-text"}

def batch():
    gen = torch.Generator().manual_seed(1)
    ids, seen = torch.randint(5, 90, (3, 8), generator=gen), torch.ones(3, 8, dtype=torch.long)
    ids[0, 6:], seen[0, 6:] = 1, 0
    return dict(input_ids=ids, attention_mask=seen), (torch.rand(3, 8, generator=gen) < .4) & seen.bool()

@pytest.mark.parametrize("family", FAMILIES)
def test_picked_states_give_the_logits_of_all(family):
    model, (inputs, mask) = build(family, AutoModelForMaskedLM), batch()
    assert leaves_early(model) == (family in EARLY)
    with torch.no_grad(): whole, picked = model(**inputs).logits[mask], masked_logits(model, inputs, mask)
    torch.testing.assert_close(picked, whole, atol=2e-5, rtol=1e-5)
    with torch.no_grad(): torch.testing.assert_close(model(**inputs).logits[mask], whole)  # nothing is left behind
    assert model.config._attn_implementation != "distill_nb" and not model.base_model._forward_hooks

@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_gradients_are_those_of_the_plain_way(family):
    model, (inputs, mask) = build(family, AutoModelForMaskedLM), batch()
    found = []
    for z in (lambda: model(**inputs).logits[mask], lambda: masked_logits(model, inputs, mask)):
        model.zero_grad()
        z().logsumexp(-1).sum().backward()
        found.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, g in found[0].items(): torch.testing.assert_close(found[1][name], g, atol=1e-4, rtol=1e-3)

def test_a_checkpointed_pass_takes_the_plain_way():
    model, (inputs, mask) = build("bert", AutoModelForMaskedLM).train(), batch()
    leaves_early(model)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=dict(use_reentrant=False))
    masked_logits(model, inputs, mask).sum().backward()
    assert model.get_input_embeddings().weight.grad.abs().sum() > 0

def test_a_family_that_cannot_is_refused_by_name_and_takes_the_plain_way():
    model, (inputs, mask) = build("roformer", AutoModelForMaskedLM), batch()
    with pytest.raises(InputError, match="RoFormerLayer: expected a block"), torch.no_grad():
        with last_block_only_at(model, mask): model(**inputs)
    with torch.no_grad(), head_only_at(model, mask): assert model(**inputs).logits.shape == (1, int(mask.sum()), 90)

def test_one_row_and_every_row():
    model, (inputs, mask) = build("bert", AutoModelForMaskedLM), batch()
    with torch.no_grad(): whole = model(**inputs).logits
    for some in (torch.ones_like(mask), torch.zeros_like(mask).index_put((torch.tensor(1), torch.tensor(2)), torch.tensor(True))):
        with torch.no_grad(): torch.testing.assert_close(masked_logits(model, inputs, some), whole[some])
