"""Behind nbs/losses/06_logit_variants.ipynb and 07_feature_maps.ipynb: the papers' formulas in numpy, and what every term must hold."""
import numpy as np, pytest, torch
from distill_nb.inside.capture import Outputs
from distill_nb.kit.errors import InputError
from distill_nb.losses import DIST, DecoupledTargets, FeatureMaps, StandardizedTargets, as_objective, kl_divergence
from distill_nb.losses.feature_maps import feature_map_loss
from distill_nb.losses.logit_variants import decoupled, decoupled_kd, dist_loss, standardized_kl

def pair(n=5, V=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, V, generator=g, dtype=torch.float64) * 2, torch.randn(n, V, generator=g, dtype=torch.float64) * 3

def softmax(z): return np.exp(z - z.max(-1, keepdims=True)) / np.exp(z - z.max(-1, keepdims=True)).sum(-1, keepdims=True)

@pytest.mark.parametrize("T", [1., 4.])
def test_dist_is_huangs_correlations(T):
    z_s, z_t = pair()
    q, p = softmax(z_s.numpy() / T), softmax(z_t.numpy() / T)
    inter = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(q, p)])
    intra = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(q.T, p.T)])
    assert dist_loss(z_s, z_t, T, 1.5, .5).item() == pytest.approx(T**2 * (1.5 * inter + .5 * intra), abs=1e-6)

@pytest.mark.parametrize("T", [1., 2.])
def test_standardised_logits_are_suns(T):
    z_s, z_t = pair()
    def std(z): return (z - z.mean(-1, keepdims=True)) / (1e-7 + z.std(-1, ddof=1, keepdims=True))
    q, p = softmax(std(z_s.numpy()) / T), softmax(std(z_t.numpy()) / T)
    assert standardized_kl(z_s, z_t, T).item() == pytest.approx(T**2 * (p * np.log(p / q)).sum(-1).mean(), abs=1e-6)

@pytest.mark.parametrize("T", [1., 4.])
def test_decoupled_is_zhaos(T):
    z_s, z_t = pair()
    y = torch.tensor([0, 3, 1, 1, 2])
    q, p = softmax(z_s.numpy() / T), softmax(z_t.numpy() / T)
    rows, at = np.arange(5), y.numpy()
    b_p, b_q = p[rows, at], q[rows, at]
    tckd = b_p * np.log(b_p / b_q) + (1 - b_p) * np.log((1 - b_p) / (1 - b_q))
    def rest(x): return np.stack([np.delete(row, i) / np.delete(row, i).sum() for row, i in zip(x, at)])
    nckd = (rest(p) * np.log(rest(p) / rest(q))).sum(-1)
    assert decoupled_kd(z_s, z_t, y, T, 2., 6.).item() == pytest.approx(T**2 * (2 * tckd + 6 * nckd).mean(), abs=1e-6)
    whole = torch.stack([kl_divergence(a[None], b[None], T) for a, b in zip(z_s, z_t)]) / T**2
    torch.testing.assert_close(sum(x * y for x, y in zip(decoupled(z_s, z_t, y, T), (1, 1 - torch.tensor(b_p)))), whole)

def test_extreme_logits_and_gradients_are_finite():
    z_s, y = torch.tensor([[1e4, -1e4, 0.], [0., 0., 0.]], requires_grad=True), torch.tensor([0, 1])
    z_t = -z_s.detach()
    for loss in (dist_loss(z_s, z_t), standardized_kl(z_s[:1], z_t[:1]), decoupled_kd(z_s, z_t, y)):
        grad, = torch.autograd.grad(loss, z_s, allow_unused=True)
        assert loss.isfinite() and grad.isfinite().all()

def test_a_broken_teacher_is_not_a_loss_of_zero():
    z_s, _ = pair()
    for loss in (dist_loss, standardized_kl, lambda a, b: decoupled_kd(a, b, torch.zeros(5, dtype=torch.long))):
        assert loss(z_s, z_s * torch.nan).isnan()

def test_rows_without_a_label_have_no_target():
    z_s, z_t = pair()
    y = torch.tensor([0, -100, 1, -100, 2])
    s, t = Outputs(logits=z_s), Outputs(logits=z_t)
    some = y >= 0
    torch.testing.assert_close(DecoupledTargets(T=2)(s, t, dict(labels=y)), decoupled_kd(z_s[some], z_t[some], y[some], 2.))
    assert DecoupledTargets()(s, t, dict(labels=torch.full((5,), -100))) == 0

@pytest.mark.parametrize("term", [DIST(T=2), StandardizedTargets(), DecoupledTargets(), FeatureMaps()], ids=lambda t: type(t).__name__)
def test_terms_wait_for_no_gpu_and_say_how_to_make_them_again(term):
    assert repr(eval(repr(term).split("*", 1)[1])) == repr(term)
    logits, states = torch.empty(3, 4, device="meta"), tuple(torch.empty(3, 6, 8, device="meta") for _ in range(3))
    out, batch = Outputs(logits=logits, hidden_states=states), dict(labels=torch.zeros(3, dtype=torch.long, device="meta"), attention_mask=torch.ones(3, 6, device="meta"))
    parts = as_objective(term)(out, out, batch)
    assert all(part.is_meta for part in parts.values())

def test_feature_maps_are_the_published_codes():
    g = np.random.default_rng(0)
    s, t = g.normal(size=(2, 5, 7)), 2 * g.normal(size=(2, 5, 7)) + 1
    def norm(h): return (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-5)
    want = (100 * ((norm(s) - norm(t))**2).mean(-1) + 5000 * (s.mean(-1) - t.mean(-1))**2 + 5 * abs(s.var(-1) - t.var(-1)))
    mask = np.array([[1] * 5, [1, 1, 0, 0, 0]])
    found = feature_map_loss(torch.tensor(s), torch.tensor(t), torch.tensor(mask))
    assert found.item() == pytest.approx(want[mask == 1].mean(), rel=1e-6)

def test_wrong_arguments():
    for make in (lambda: DIST(T=0), lambda: DIST(gamma="a"), lambda: StandardizedTargets(T=-1), lambda: DecoupledTargets(alpha=-2)):
        with pytest.raises(InputError): make()
    with pytest.raises(InputError, match="one class per text"): DecoupledTargets()(Outputs(logits=torch.ones(2, 3)), Outputs(logits=torch.ones(2, 3)), dict(labels=torch.ones(2)))
