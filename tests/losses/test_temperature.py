"Sweeps behind nbs/losses/00_temperature.ipynb: parity with torch, limits, shapes, dtypes, refusals, the widget."
import math, subprocess, sys
import pytest, torch
from distill_nb.kit.errors import InputError
from distill_nb.losses.temperature import (dark_knowledge, entropy, plot_softening, soften,
                               temperature_explorer)

TEMPERATURES = [.01, .5, 1, 2, 4, 20, 1e4]
SHAPES = [(1,), (5,), (3, 7), (2, 4, 11)]

def logits(shape, dtype=torch.float64, scale=5., seed=0):
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale).to(dtype)

@pytest.mark.parametrize("T", TEMPERATURES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype, tol", [(torch.float64, 1e-12), (torch.float32, 2e-5), (torch.bfloat16, 2e-2)])
def test_soften_is_torchs_softmax(T, shape, dtype, tol):
    z = logits(shape, dtype)
    p = soften(z, T)
    assert p.dtype == dtype and p.shape == z.shape
    want = (z.double() / T).softmax(-1)
    if dtype != torch.bfloat16 or T >= 1: torch.testing.assert_close(p.double(), want, atol=tol, rtol=tol)
    torch.testing.assert_close(p.double().sum(-1), torch.ones(shape[:-1]).double(), atol=tol*4, rtol=0)

@pytest.mark.parametrize("T", TEMPERATURES)
def test_soften_forgets_a_common_shift(T):
    z = logits((4, 9))
    torch.testing.assert_close(soften(z + 123., T), soften(z, T))

def test_soften_takes_masked_and_integer_logits_and_lists():
    assert soften([0., -math.inf], 2).tolist() == [1., 0.]
    assert soften([3, 3]).tolist() == [.5, .5]
    assert soften(torch.tensor([0, 1, 2])).is_floating_point()

@pytest.mark.parametrize("T", [1e-30, 1e-300, 1e30, 1e300])
def test_soften_stays_finite_at_absurd_temperatures(T):
    p = soften(logits((3, 6), scale=1e4), T)
    assert p.isfinite().all()
    if T < 1: assert torch.equal(p, torch.nn.functional.one_hot(p.argmax(-1), 6).double())
    else: torch.testing.assert_close(p, torch.full_like(p, 1/6))

@pytest.mark.parametrize("T", [0, -1, -.001, math.nan, math.inf, -math.inf])
def test_soften_refuses_what_is_no_temperature(T):
    with pytest.raises(InputError, match=r"^T=.*finite"): soften(torch.zeros(3), T)

@pytest.mark.parametrize("T", [1, 2, 8])
def test_gradient_of_soft_cross_entropy_is_the_closed_form(T):
    z_s, z_t = logits((5, 6), seed=1).requires_grad_(), logits((5, 6), seed=2)
    loss = -(soften(z_t, T) * (z_s / T).log_softmax(-1)).sum()
    loss.backward()
    torch.testing.assert_close(z_s.grad, (soften(z_s, T) - soften(z_t, T)).detach() / T)

def test_soften_has_torchs_gradient():
    a, b = (logits((3, 5)).requires_grad_() for _ in range(2))
    w = logits((3, 5), seed=3)
    (soften(a, 3.) * w).sum().backward(), ((b / 3.).softmax(-1) * w).sum().backward()
    torch.testing.assert_close(a.grad, b.grad)

@pytest.mark.parametrize("shape", SHAPES)
def test_entropy_is_torchs(shape):
    z = logits(shape)
    h = entropy(z.softmax(-1))
    assert h.shape == shape[:-1]
    torch.testing.assert_close(h, torch.distributions.Categorical(logits=z).entropy())

@pytest.mark.parametrize("V", [1, 2, 8, 1000])
def test_entropy_between_certain_and_uniform(V):
    assert entropy(torch.eye(V)[0]).item() == 0
    assert math.isclose(entropy(torch.full((V,), 1/V, dtype=torch.float64)).item(), math.log(V), abs_tol=1e-9)

def test_entropy_never_falls_with_temperature():
    z = logits((50, 10))
    h = torch.stack([entropy(soften(z, T)) for T in (.1, .3, 1, 3, 10, 30)])
    assert (h.diff(dim=0) >= -1e-9).all()

def test_dark_knowledge_orders_and_adds_up():
    z, labels = logits((6,)), list("abcdef")
    d = dark_knowledge(z, labels, T=3)
    assert d.labels == [labels[i] for i in z.argsort(descending=True)]
    assert (d.p_T.diff() <= 0).all() and math.isclose(d.rest[1] + d.p_T[0].item(), 1, abs_tol=1e-6)
    assert len(d._repr_markdown_().splitlines()) == 2 + 6 + 2

def test_dark_knowledge_escapes_and_detaches():
    d = dark_knowledge(torch.zeros(2, requires_grad=True), ["a|b", "c"])
    assert not d.p_T.requires_grad and r"a\|b" in d._repr_markdown_()

@pytest.mark.parametrize("shape", [(3,), (2, 2), ()])
@pytest.mark.parametrize("f", [dark_knowledge, plot_softening, temperature_explorer])
def test_logits_that_do_not_fit_their_labels(f, shape):
    with pytest.raises(InputError, match="a number per label"): f(torch.zeros(shape), ["a", "b"])

@pytest.mark.parametrize("Ts", [(2,), (1, 2, 4, 8)])
def test_figure_has_a_panel_per_temperature(Ts):
    fig = plot_softening(logits((4,)), list("abcd"), Ts)
    assert [ax.get_title() for ax in fig.axes] == [f"T = {T}" for T in Ts]
    widths = [p.get_width() for p in fig.axes[-1].patches]
    torch.testing.assert_close(torch.tensor(sorted(widths)).double(), soften(logits((4,)).float(), Ts[-1]).sort()[0].double())

def test_slider_redraws():
    z = logits((4,))
    slider, picture = temperature_explorer(z, ["a", "<b>", "c", "d"]).children
    for T in (.25, 1, 16):
        slider.value = T
        assert f"{soften(z, T).max():.3f}" in picture.value and f"T = {T:.2f}" in picture.value
    assert "<b>" not in picture.value

def test_import_is_cheap():
    code = "import distill_nb.losses, distill_nb.kit.models, sys; print({'matplotlib', 'ipywidgets', 'transformers'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
