"Losses on text vectors: the formulas of sentence-transformers, padding, half precision, and a whole run with a projection."
import pytest, torch
from torch import nn
from transformers import AutoModel
from builders import make_tokenizer, narrow, rows, train
from families import build
from distill_nb.losses.vectors import (
    POOLS, Similarities, VectorCosine, VectorMSE, cosines, margin_mse, pooled, similarity_mse, vector_mse)

def draw(*shape, seed=0): return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))

def test_the_formulas_of_sentence_transformers():
    "The formulas of version 6.2.0 on these tensors; the test below asks the package itself where it is installed."
    q, p, n = draw(3, 8, 5)
    margin = draw(8, seed=1)
    assert margin_mse(q, p, n, margin).item() == pytest.approx(nn.MSELoss()((q * p).sum(-1) - (q * n).sum(-1), margin).item(), rel=1e-6)
    assert vector_mse(q, p).item() == pytest.approx(nn.MSELoss()(q, p).item(), rel=1e-6)

def test_sentence_transformers_itself():
    st = pytest.importorskip("sentence_transformers")
    util, losses = st.util, pytest.importorskip("sentence_transformers.losses")
    q, p, n = draw(3, 8, 5)
    class Given(nn.Module): # their losses ask a model for vectors
        def forward(self, x): return x
    ask, margin = [dict(sentence_embedding=x) for x in (q, p, n)], draw(8, seed=1)
    theirs = losses.MarginMSELoss(Given())(ask, margin)
    assert margin_mse(q, p, n, margin).item() == pytest.approx(theirs.item(), rel=1e-5)
    assert vector_mse(q, p).item() == pytest.approx(losses.MSELoss(Given())(ask[:1], p).item(), rel=1e-5)
    assert torch.allclose(cosines(q), util.cos_sim(q, q), atol=1e-6)
    i, j = torch.triu_indices(8, 8, 1)
    pairs, labels = [dict(sentence_embedding=q[k]) for k in (i, j)], util.cos_sim(p, p)[i, j]
    theirs = losses.CosineSimilarityLoss(Given())(pairs, labels)
    assert similarity_mse(q, p).item() == pytest.approx(theirs.item(), rel=1e-5)

@pytest.mark.parametrize("pool", POOLS)
def test_padding_changes_nothing(pool):
    h, mask = draw(2, 4, 6), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    wide = torch.cat([h, torch.full((2, 3, 6), 1e4)], 1)
    assert torch.equal(pooled(h, mask, pool), pooled(wide, nn.functional.pad(mask, (0, 3)), pool))
    assert torch.allclose(pooled(h, mask, pool)[1], pooled(h[1:, :2], mask[1:, :2], pool)[0], atol=1e-6)

def test_texts_that_do_not_count():
    u, v = draw(2, 6, 4)
    mask = torch.tensor([1, 1, 0, 1, 0, 0])
    kept = mask.bool()
    for loss in (similarity_mse, vector_mse):
        assert loss(u, v, mask).item() == pytest.approx(loss(u[kept], v[kept]).item(), rel=1e-5)

def test_half_precision_is_summed_in_float32():
    u, v = draw(2, 16, 32).bfloat16()
    assert similarity_mse(u, v).dtype == vector_mse(u, v).dtype == torch.float32
    assert similarity_mse(u, v).item() == pytest.approx(similarity_mse(u.float(), v.float()).item(), rel=1e-4)

@pytest.mark.parametrize("term", [VectorMSE(), VectorCosine("cls"), Similarities("max")])
def test_a_run_trains_student_and_projection_alone(tmp_path, term):
    tok, teacher, student = make_tokenizer(), build("bert", AutoModel, vocab_size=13, hidden_size=24), narrow(AutoModel)
    before = {n: p.clone() for n, p in teacher.named_parameters()}
    first = {n: p.clone() for n, p in student.named_parameters()}
    run = train(tok, tmp_path, student, teacher, term, max_steps=3, logging_steps=1, learning_rate=.1)
    assert all(torch.equal(p, before[n]) for n, p in teacher.named_parameters())
    assert any(not torch.equal(p, first[n]) for n, p in student.named_parameters())
    assert len(getattr(run.objective.terms[0], "projections", ())) == (not isinstance(term, Similarities))
    assert run.history().loss.notna().all()
