"Sweeps behind nbs/students/00_layers.ipynb: families, padding, batches, and the choice in a recipe."
import pytest, torch
from datasets import Dataset
from transformers import AutoModel
from distill_nb.kit.errors import InputError
from distill_nb.students.layers import Influence, block_influence, changes, choose_layers, some_batches
from distill_nb.inside.blocks import n_blocks
from families import EXTRA, V, build

def batch(bs=3, seq=9, seed=1):
    ids = torch.randint(5, V, (bs, seq), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones_like(ids)
    mask[0, 5:] = 0
    return dict(input_ids=ids, attention_mask=mask)

@pytest.mark.parametrize("family", EXTRA)
def test_every_family_has_one_number_per_block(family):
    model = build(family, AutoModel)
    found = block_influence(model, [batch()])
    assert len(found.change) == n_blocks(model) == 4 and found.tokens == 23
    assert all(0 <= c <= 2 for c in found.change) and max(found.change) > 1e-3
    assert choose_layers(model, 2, "measured", [batch()]) == found.keep(2)

def test_batches_count_by_their_tokens():
    model, a, b = build("bert", AutoModel), batch(), batch(5, seed=2)
    parts = [block_influence(model, [x]) for x in (a, b)]
    both = block_influence(model, [a, b])
    mean = [(x * parts[0].tokens + y * parts[1].tokens) / both.tokens for x, y in zip(parts[0].change, parts[1].change)]
    assert both.change == pytest.approx(mean, abs=1e-6)

def test_mode_and_gradients_are_left_as_they_were():
    model = build("bert", AutoModel).train()
    one, two = [block_influence(model, [batch()]).change for _ in range(2)]
    assert model.training and one == two and all(p.grad is None for p in model.parameters())

def test_length_alone_is_no_change():
    h = torch.randn(2, 3, 8)
    assert changes([h, 2 * h, .1 * h]).abs().max() < 1e-6

def test_ties_keep_the_lower_block(): assert Influence([.1, .1, .1], 1).keep(2) == [0, 1]

@pytest.mark.parametrize("n", [0, 5])
def test_impossible_depths(n):
    with pytest.raises(InputError, match=f"{n} student layers"): Influence([.1] * 4, 1).keep(n)

def test_batches_of_rows(tok):
    rows = Dataset.from_dict(dict(tok(["good film", "bad", "very dull book"])) | {"labels": [1, 0, 0], "length": [4, 3, 5]})
    two = some_batches(rows, tok, n=8, batch_size=2)
    assert [b["input_ids"].shape for b in two] == [(2, 4), (1, 5)] and "labels" not in two[0]
    assert len(some_batches(rows, tok, n=1, batch_size=2)) == 1

def test_a_recipe_measures_on_its_own_texts(headless):
    from distill_nb.recipes.layers import distil_layers
    from builders import toy
    done = distil_layers(toy(), headless, layers=2, choice="measured", max_steps=2, baseline=False, eval_strategy="no", disable_tqdm=True)
    assert n_blocks(done.student) == 2 and "layers [" in done.report.note
