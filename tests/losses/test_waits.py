"""A loss on a GPU asks nothing of it: no value is read by Python, and no shape depends on one.

There is no GPU here, but tensors on the device `meta` have no values at all: an operator that would have to wait for one fails."""
import pytest, torch
from distill_nb.inside.capture import Outputs
from distill_nb.losses import (AttentionKL, AttentionMSE, ClsMSE, CosineHidden, HardTargets, HiddenMSE, LogitMSE, Relations, SoftTargets)

BS, SEQ, D, V, HEADS = 3, 5, 8, 4, 2

def outputs(seed, logits=(BS, V)):
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=g)
    by_block = lambda *shape: tuple(draw(*shape) for _ in range(2))
    heads = BS, HEADS, SEQ, D // HEADS
    return Outputs(logits=draw(*logits), hidden_states=tuple(draw(BS, SEQ, D) for _ in range(3)), scores=by_block(BS, HEADS, SEQ, SEQ),
                   queries=by_block(*heads), keys=by_block(*heads), values=by_block(*heads))

def batch(*lengths, labels):
    mask = torch.stack([(torch.arange(SEQ) < n).long() for n in lengths])
    return dict(input_ids=torch.arange(BS * SEQ).reshape(BS, SEQ), attention_mask=mask, labels=torch.tensor(labels))

TOKENS = [[1, -100, 2, 0, -100], [3, -100, -100, -100, -100], [-100] * 5]
PER_TEXT = [HardTargets(), SoftTargets(T=2), SoftTargets(T=2, reference=True), SoftTargets(unit="labels"), LogitMSE(), LogitMSE(unit="labels"), CosineHidden(),
            HiddenMSE(), HiddenMSE(reference=True), ClsMSE(), AttentionMSE(), AttentionMSE(reference=True), AttentionKL(), Relations("qkv", heads=4)]
PER_TOKEN = [HardTargets(), SoftTargets(T=2, unit="tokens"), SoftTargets(unit="labels"), LogitMSE(unit="tokens")]
CASES = [(term, (BS, V), [1, -100, 3]) for term in PER_TEXT] + [(term, (BS, SEQ, V), TOKENS) for term in PER_TOKEN]

def to(x, device):
    "Outputs or a batch on another device."
    if isinstance(x, torch.Tensor): return x.to(device)
    if isinstance(x, dict): return {k: to(v, device) for k, v in x.items()}
    return Outputs(**{k: tuple(v.to(device) for v in x) if isinstance(x, tuple) else to(x, device) for k, x in vars(x).items() if x is not None})

def value_and_gradients(term, shape, rows, device="cpu"):
    s, t = [to(outputs(seed, shape), device) for seed in (0, 1)]
    leaves = [x.requires_grad_() for x in (s.logits, *s.hidden_states, *s.scores, *s.queries, *s.keys, *s.values)]
    loss = term(s, t, to(rows, device))
    return loss.detach(), torch.autograd.grad(loss, leaves, allow_unused=True)

@pytest.fixture
def elsewhere(monkeypatch):
    "Values are not at hand, as on a GPU."
    for module in ("kit.masks", "losses.attention"): monkeypatch.setattr(f"distill_nb.{module}.at_hand", lambda x: False)

@pytest.mark.parametrize("term, shape, labels", CASES, ids=lambda x: repr(x) if not isinstance(x, (list, tuple)) else "")
def test_no_loss_waits(term, shape, labels):
    loss, grads = value_and_gradients(term, shape, batch(5, 3, 1, labels=labels), "meta")
    assert loss.shape == () and any(g is not None for g in grads)

@pytest.mark.parametrize("term, shape, labels", CASES, ids=lambda x: repr(x) if not isinstance(x, (list, tuple)) else "")
@pytest.mark.parametrize("lengths", [(5, 3, 1), (5, 5, 5)], ids=["padded", "full"])
def test_the_numbers_are_the_same(term, shape, labels, lengths, request):
    rows = batch(*lengths, labels=labels)
    loss, grads = value_and_gradients(term, shape, rows)
    request.getfixturevalue("elsewhere")
    fast, others = value_and_gradients(term, shape, rows)
    torch.testing.assert_close(fast, loss)
    for a, b in zip(grads, others): assert (a is None) == (b is None) and (a is None or torch.allclose(a, b, atol=1e-6))

@pytest.mark.parametrize("term, shape", [(SoftTargets(unit="labels"), (BS, V)), (LogitMSE(unit="labels"), (BS, V)), (SoftTargets(unit="labels"), (BS, SEQ, V))],
                         ids=repr)
def test_a_batch_without_a_label_is_a_loss_of_zero(term, shape, elsewhere):
    rows = batch(5, 3, 1, labels=[[-100] * SEQ] * BS if len(shape) == 3 else [-100] * BS)
    loss, grads = value_and_gradients(term, shape, rows)
    assert loss == 0 and not any(g.any() for g in grads if g is not None)

@pytest.mark.parametrize("waits", [lambda h, mask: h[mask].sum(), lambda h, mask: h.sum() * mask.any().item(), lambda h, mask: h.sum() if mask.all() else 0])
def test_the_test_sees_a_loss_that_waits(waits):
    class Waits(HiddenMSE):
        def forward(self, s, t, batch): return waits(s.hidden_states[0], batch["attention_mask"].bool())
    with pytest.raises((RuntimeError, NotImplementedError), match="(?i)meta"):
        value_and_gradients(Waits(), (BS, V), batch(5, 3, 1, labels=[1, 0, 2]), "meta")
