"Losses on logits and the cosine: parity with torch's own, masks, dtypes, gradients, sums, refusals (pages 03 to 06)."
import copy, math, subprocess, sys
from types import SimpleNamespace as Out
import numpy as np
import pytest, torch
import torch.nn.functional as F
from torch import nn
from distill_nb.kit.errors import InputError
from distill_nb.losses import (AttentionMSE, CosineHidden, HardTargets, HiddenMSE, LogitMSE, Objective, SoftTargets, Term, as_objective,
    cosine_distance, count, kl_divergence, known_labels, logit_gradient, logit_mse, soft_cross_entropy)
from distill_nb.losses.objective import UNITS
from distill_nb.kit.masks import select_rows

SHAPES = [(1, 2), (4, 3), (2, 5, 7), (2, 3, 4, 6), (3, 1000)]
TEMPERATURES = [.5, 1, 2, 8]
DTYPES = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 1e-5}  # bf16 is summed as float32
LOSSES = dict(soft_cross_entropy=soft_cross_entropy, kl_divergence=kl_divergence, logit_mse=logit_mse,
              cosine_distance=cosine_distance)
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
every_T = pytest.mark.parametrize("T", TEMPERATURES)
masked = pytest.mark.parametrize("masked", [False, True], ids=["all rows", "masked"])

# torch's own words for the same numbers; each takes rows as (n, V) and a temperature

def torch_ce(z_s, z_t, T): return F.cross_entropy(z_s / T, (z_t / T).softmax(-1)) * T**2
def torch_kl(z_s, z_t, T):
    return nn.KLDivLoss(reduction="batchmean")((z_s / T).log_softmax(-1), (z_t / T).softmax(-1)) * T**2
def torch_mse(z_s, z_t, T): return nn.MSELoss()(z_s, z_t)
def torch_cosine(z_s, z_t, T): return nn.CosineEmbeddingLoss()(z_s, z_t, z_s.new_ones(len(z_s)))
TORCH = dict(soft_cross_entropy=torch_ce, kl_divergence=torch_kl, logit_mse=torch_mse, cosine_distance=torch_cosine)

def pair(shape, dtype=torch.float32, seed=0, scale=3.):
    g = torch.Generator().manual_seed(seed)
    return [(scale * torch.randn(shape, generator=g, dtype=torch.float64)).to(dtype) for _ in range(2)]

def some_rows(shape, seed=0):
    "A mask over the rows with the first row on."
    mask = torch.rand(shape[:-1], generator=torch.Generator().manual_seed(seed)) < .6
    mask.view(-1)[0] = True
    return mask

def ours(name, z_s, z_t, T, mask):
    softened = dict(T=T) if name in ("soft_cross_entropy", "kl_divergence") else {}
    return LOSSES[name](z_s, z_t, mask=mask, **softened)

def theirs(name, z_s, z_t, T, mask):
    rows = [z.double().flatten(0, -2) for z in (z_s, z_t)]
    if mask is not None: rows = [z[mask.flatten()] for z in rows]
    return TORCH[name](*rows, T)

# Parity

@pytest.mark.parametrize("name", LOSSES)
@every_shape
@every_dtype
@every_T
@masked
def test_value_and_gradient_are_torchs(name, shape, dtype, T, masked):
    z_s, z_t = pair(shape, dtype)
    z_s.requires_grad_()
    mask = some_rows(shape) if masked else None
    mine, torchs = ours(name, z_s, z_t, T, mask), theirs(name, z_s, z_t, T, mask)
    tol = DTYPES[dtype]
    torch.testing.assert_close(mine.double(), torchs, atol=tol, rtol=tol)
    assert mine.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    g_mine, g_torchs = (torch.autograd.grad(loss, z_s)[0] for loss in (mine, torchs))
    assert g_mine.dtype == dtype
    tol = 1e-2 if dtype == torch.bfloat16 else tol  # the gradient is rounded to the logits' dtype
    torch.testing.assert_close(g_mine.double(), g_torchs.double(), atol=tol, rtol=tol)

@every_shape
@every_T
def test_divergence_is_cross_entropy_less_the_teachers_entropy(shape, T):
    z_s, z_t = pair(shape, torch.float64)
    entropy = soft_cross_entropy(z_t, z_t, T)
    torch.testing.assert_close(kl_divergence(z_s, z_t, T), soft_cross_entropy(z_s, z_t, T) - entropy)
    torch.testing.assert_close(logit_gradient(kl_divergence, z_s, z_t, T), logit_gradient(soft_cross_entropy, z_s, z_t, T))

@every_T
@pytest.mark.parametrize("power", [0, 1, 2])
@pytest.mark.parametrize("loss", [soft_cross_entropy, kl_divergence])
def test_power_is_a_factor(loss, T, power):
    z_s, z_t = pair((4, 5), torch.float64)
    torch.testing.assert_close(loss(z_s, z_t, T, power=power), loss(z_s, z_t, T, power=0) * T**power)

@every_T
def test_gradient_is_what_the_student_says_too_much(T):
    z_s, z_t = pair((6, 4), torch.float64)
    on_paper = T * ((z_s / T).softmax(-1) - (z_t / T).softmax(-1)) / 6
    torch.testing.assert_close(logit_gradient(kl_divergence, z_s, z_t, T), on_paper)

def test_hot_divergence_becomes_half_the_mean_square_of_centred_logits():
    z_s, z_t = pair((5, 6), torch.float64)
    centred = [z - z.mean(-1, keepdim=True) for z in (z_s, z_t)]
    torch.testing.assert_close(kl_divergence(z_s, z_t, T=1e4), logit_mse(*centred) / 2, rtol=1e-3, atol=0)

@every_loss
@every_shape
def test_a_student_like_its_teacher_has_nothing_to_learn(loss, shape):
    z, _ = pair(shape, torch.float64)
    least = loss(z, z) if loss is soft_cross_entropy else 0  # cross entropy keeps the teacher's entropy
    torch.testing.assert_close(loss(z, z), torch.as_tensor(least, dtype=torch.float64), atol=1e-12, rtol=0)
    assert logit_gradient(loss, z, z).abs().max() < 1e-10
    assert loss(z + torch.randn_like(z), z) > loss(z, z)

@pytest.mark.parametrize("loss", [soft_cross_entropy, kl_divergence])
def test_far_apart_logits_stay_finite(loss):
    big = torch.tensor([[1e4, -1e4]])
    assert loss(big, -big, T=.5).isfinite() and logit_gradient(loss, big, -big, T=.5).isfinite().all()

# Masks

@every_loss
@every_shape
def test_masked_rows_do_not_count_even_if_they_are_nan(loss, shape):
    z_s, z_t = pair(shape)
    mask = some_rows(shape)
    clean = loss(z_s, z_t, mask=mask)
    dirty_s, dirty_t = (torch.where(mask[..., None], z, math.nan) for z in (z_s, z_t))
    torch.testing.assert_close(loss(dirty_s, dirty_t, mask=mask), clean)
    torch.testing.assert_close(loss(z_s, z_t, mask=mask.long()), clean)
    torch.testing.assert_close(loss(z_s, z_t, mask=torch.ones_like(mask)), loss(z_s, z_t))

@every_loss
@pytest.mark.parametrize("padding", [1, 8])
def test_padding_changes_nothing(loss, padding):
    h_s, h_t = pair((3, 5, 4))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]])
    wide_s, wide_t = (F.pad(h, (0, 0, 0, padding), value=7.) for h in (h_s, h_t))
    torch.testing.assert_close(loss(wide_s, wide_t, mask=F.pad(mask, (0, padding))), loss(h_s, h_t, mask=mask))

def test_selected_rows_by_hand():
    rows = torch.tensor([[1.], [3.], [99.]])
    assert select_rows(torch.tensor([1, 1, 0]), rows)[0].flatten().tolist() == [1, 3]
    assert select_rows(None, rows)[0] is rows and select_rows(torch.ones(3), rows)[0] is rows # no copy

# No gradient in the teacher

@every_loss
@every_dtype
def test_no_gradient_reaches_the_teacher(loss, dtype):
    z_s, z_t = pair((4, 5), dtype)
    z_s.requires_grad_(), z_t.requires_grad_()
    loss(z_s, z_t).backward()
    assert z_t.grad is None and z_s.grad.norm() > 0

def test_no_term_reaches_the_teacher():
    s, t, batch = passes()
    leaves = [t.logits, t.hidden_states[-1]]
    for leaf in leaves: leaf.requires_grad_()
    for part in (s.logits, s.hidden_states[-1]): part.requires_grad_()
    objective = SoftTargets(T=2) + LogitMSE() + HardTargets() + CosineHidden()
    sum(objective(s, t, batch).values()).backward()
    assert [leaf.grad for leaf in leaves] == [None, None] and s.logits.grad.norm() > 0

# Terms and their sums

def passes(n=4, seq=3, d=5, V=3):
    "Student's and teacher's outputs and a batch with two labels missing and some padding."
    (z_s, z_t), (h_s, h_t) = pair((n, V)), pair((n, seq, d), seed=1)
    mask = torch.ones(n, seq, dtype=torch.long)
    mask[0, 1:] = 0
    labels = torch.tensor([0, -100, 2, -100])
    batch = dict(input_ids=mask * 7, attention_mask=mask, labels=labels)
    return Out(logits=z_s, hidden_states=[None, h_s]), Out(logits=z_t, hidden_states=[None, h_t]), batch

def test_each_term_is_its_function():
    s, t, batch = passes()
    h_s, h_t = s.hidden_states[-1], t.hidden_states[-1]
    close = torch.testing.assert_close
    close(SoftTargets(T=2)(s, t, batch), kl_divergence(s.logits, t.logits, 2))
    close(SoftTargets(T=2, power=0)(s, t, batch), kl_divergence(s.logits, t.logits, 2, power=0))
    close(LogitMSE()(s, t, batch), logit_mse(s.logits, t.logits))
    close(CosineHidden()(s, t, batch), cosine_distance(h_s, h_t, batch["attention_mask"]))
    close(HardTargets()(s, None, batch), F.cross_entropy(s.logits, batch["labels"]))

def test_hard_targets_of_tokens():
    z, y = torch.randn(2, 5, 4), torch.tensor([[0, 1, 2, 3, -100], [1, -100, -100, -100, -100]])
    torch.testing.assert_close(HardTargets()(Out(logits=z), None, dict(labels=y)), F.cross_entropy(z.transpose(1, 2), y))

@every_dtype
def test_hard_targets_of_scores(dtype):
    z = torch.tensor([[3.], [0.], [1.]], dtype=dtype, requires_grad=True)
    loss = HardTargets()(Out(logits=z), None, dict(labels=torch.tensor([1., math.nan, 2.])))
    assert loss.item() == (4 + 1) / 2
    loss.backward()
    assert z.grad.flatten().tolist() == [2, 0, -1]

@pytest.mark.parametrize("labels", [torch.tensor([-100, -100]), torch.tensor([math.nan, math.nan])])
def test_hard_targets_without_a_label_are_zero(labels):
    z = torch.randn(2, 1 if labels.is_floating_point() else 3, requires_grad=True)
    loss = HardTargets()(Out(logits=z), None, dict(labels=labels))
    loss.backward()
    assert loss == 0 and z.grad.abs().max() == 0

@pytest.mark.parametrize("labels", [torch.tensor([1, -100, 2]), torch.tensor([1., math.nan, 2.])], ids=["int", "float"])
def test_a_head_of_one_output_is_a_score_however_its_labels_are_written(labels):
    z = torch.tensor([[3.], [9.], [0.]], requires_grad=True)
    loss = HardTargets()(Out(logits=z), None, dict(labels=labels))
    loss.backward()
    assert loss.item() == (4 + 4) / 2 and z.grad.flatten().tolist() == [2, 0, -2]

several = torch.tensor([[1., 0., 1.], [0., 1., 0.]])

@pytest.mark.parametrize("z, y, message", [
    (torch.zeros(2, 3), several[:, :2], "several labels per text"), (torch.zeros(2, 3), several.long(), "several labels per text"),
    (torch.zeros(2, 3), torch.tensor([1., 2.]), "scores as labels, 3 outputs"), (torch.zeros(2, 5, 3), torch.tensor([0, 1]), "one label per row"),
    (torch.zeros(2, 1), torch.tensor([[1], [2]]), "one label per row")])
def test_labels_that_are_not_the_heads_are_refused(z, y, message):
    with pytest.raises(InputError, match=message): HardTargets()(Out(logits=z), None, dict(labels=y))

def head(**config): return Out(config=Out(**config))

@pytest.mark.parametrize("term, student, message", [
    (SoftTargets(), head(problem_type="multi_label_classification", num_labels=3), "several labels per text"),
    (SoftTargets(), head(problem_type="regression", num_labels=1), "LogitMSE")])
def test_heads_are_refused_before_the_first_step(term, student, message):
    with pytest.raises(InputError, match=message): (LogitMSE() + term).bind(student, student)
    if not term.needs_teacher:
        with pytest.raises(InputError, match=message): (LogitMSE() + term).bind(student, None)
    (SoftTargets(unit="tokens") + HardTargets()).bind(head(num_labels=1), head(num_labels=1)) # a vocabulary

def test_sum_weights_and_names():
    s, t, batch = passes()
    objective = 2 * (SoftTargets(T=2) + 3*HardTargets() + SoftTargets(T=4))
    assert repr(objective) == "2*SoftTargets(T=2) + 6*HardTargets() + 2*SoftTargets(T=4)"
    assert objective.names == ["SoftTargets_0", "HardTargets", "SoftTargets_2"]
    assert list(objective(s, t, batch)) == objective.names
    by_hand = (2 * kl_divergence(s.logits, t.logits, 2) + 6 * F.cross_entropy(s.logits, batch["labels"])
               + 2 * kl_divergence(s.logits, t.logits, 4))
    torch.testing.assert_close(sum(objective(s, t, batch).values()), by_hand)

@pytest.mark.parametrize("objective, needs, teacher", [
    (as_objective(HardTargets()), {"logits"}, False),
    (HardTargets() + SoftTargets(), {"logits"}, True),
    (as_objective(CosineHidden()), {"hidden_states"}, True),
    (5*SoftTargets(T=2) + 2*HardTargets() + CosineHidden(), {"logits", "hidden_states"}, True)], ids=lambda x: repr(sorted(x)) if isinstance(x, set) else repr(x))
def test_needs_are_the_union(objective, needs, teacher):
    assert (objective.needs, objective.needs_teacher) == (needs, teacher)
    assert as_objective(objective) is objective

def test_weighing_leaves_the_term_alone_and_shares_its_parameters():
    class Projected(Term):
        def __init__(self):
            super().__init__()
            self.project = nn.Linear(2, 2)
    term = Projected()
    objective = 3*term + 2*HardTargets()
    assert term.weight == 1 and objective.terms[0].weight == 3
    assert objective.terms[0].project is term.project
    assert {id(p) for p in objective.parameters()} == {id(p) for p in term.parameters()}
    assert copy.deepcopy(objective).terms[0].project is not term.project

def test_means_of_small_batches_weigh_as_one_large_batch():
    "What gradient accumulation relies on: a mean, times its count, over the count of all."
    objective = 2*SoftTargets(T=2) + HardTargets() + CosineHidden()
    s, t, batch = passes()
    rows = [slice(0, 1), slice(1, 4)]
    cut = lambda out, r: Out(logits=out.logits[r], hidden_states=[h if h is None else h[r] for h in out.hidden_states])
    whole, total = objective(s, t, batch), torch.zeros(3)
    for r in rows:
        part = {k: v[r] for k, v in batch.items()}
        shares = [count(part, term.unit) / count(batch, term.unit) for term in objective.terms]
        total += torch.stack(list(objective(cut(s, r), cut(t, r), part).values())) * torch.stack(shares)
    torch.testing.assert_close(total, torch.stack(list(whole.values())))

@pytest.mark.parametrize("term", [HiddenMSE(), AttentionMSE(), LogitMSE()], ids=repr)
@pytest.mark.parametrize("padded", [False, True])
def test_a_large_batch_is_added_up_to_the_last_digits(term, padded):
    "A float32 norm of millions of equal numbers is two per cent off."
    def big(*shape): return torch.full(shape, .37) * (1 + torch.arange(shape[-1]) % 3 / 3)
    s = Out(logits=big(2**12, 512), hidden_states=(big(2**10, 16, 256),) * 2, scores=(big(2**6, 4, 128, 128),))
    t = Out(logits=1.3 * s.logits, hidden_states=tuple(1.3 * h.flip(-1) for h in s.hidden_states), scores=(1.3 * s.scores[0],))
    n = 128 if isinstance(term, AttentionMSE) else 16
    mask = torch.ones(2**6 if n == 128 else 2**10, n, dtype=torch.long)
    if padded: mask[::2, n // 2:] = 0
    def wide(out): return Out(logits=out.logits.double(), hidden_states=tuple(h.double() for h in out.hidden_states), scores=(out.scores[0].double(),))
    batch = dict(attention_mask=mask)
    torch.testing.assert_close(term(s, t, batch).double(), term(wide(s), wide(t), batch), rtol=2e-6, atol=0)

def test_counts():
    _, _, batch = passes()
    batch["word_mask"] = batch["input_ids"] * 0
    batch["word_mask"][:, 0] = 1
    assert {u: count(batch, u).item() for u in UNITS} == {
        "examples": 4, "tokens": 10, "words": 4, "spans": 4, "labels": 2, "pairs": 1 + 3 * 9, "places": 12, "places squared": 36}
    del batch["labels"]
    assert count(batch, "labels") == 0
    assert known_labels(torch.tensor([0, -100, 5])).tolist() == [True, False, True]
    assert known_labels(torch.tensor([0., math.nan])).tolist() == [True, False]

# A term as a description

class Margin(Term):
    "A user's own, whose argument has another name than its attribute."
    def __init__(self, m, kind=None):
        super().__init__()
        self.margin, self.kind = m, kind
        self.register_buffer("by_class", torch.tensor([1., m]))

class Focal(SoftTargets):
    "A user's own that inherits, and adds an argument."
    def __init__(self, gamma=2., **kw):
        super().__init__(**kw)
        self.gamma = gamma

class Weighted(LogitMSE):
    def __init__(self, per_class):
        super().__init__()
        self.per_class = per_class

@pytest.mark.parametrize("one, other", [
    (Margin(1.), Margin(-5.)), (Margin(1.), Margin(1. + 1e-9)), (Margin(1.), Margin(1., "x")), (Focal(), Focal(3.)), (Focal(), Focal(T=2)),
    (Focal(), SoftTargets()), (SoftTargets(), SoftTargets(T=1. + 1e-9)), (SoftTargets(), (1 + 1e-9) * SoftTargets()),
    (Weighted(torch.ones(4000)), Weighted(torch.cat([torch.ones(2000), torch.zeros(1), torch.ones(1999)]))), (HardTargets(), LogitMSE())], ids=repr)
def test_another_setting_is_another_key(one, other):
    from datasets.fingerprint import Hasher
    same = lambda a, b: Hasher.hash(as_objective(a).key()) == Hasher.hash(as_objective(b).key())
    assert not same(one, other) and same(one, copy.deepcopy(one)) and same(other, copy.deepcopy(other))
    if not isinstance(one, Weighted): assert repr(one) != repr(other) # a long tensor is not written out

def test_a_key_is_the_same_in_another_process_and_through_arithmetic():
    code = ("from datasets.fingerprint import Hasher; from distill_nb.losses import *; "
            "print(Hasher.hash((5*SoftTargets(T=2) + HiddenMSE('top') + Relations('qk', heads=4, layers={-1: 3})).key()))")
    two = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout for _ in range(2)}
    assert len(two) == 1
    assert (2 * (2.5 * SoftTargets(T=2))).key() == (5 * SoftTargets(T=2.)).key() == (SoftTargets(T=2) * 5).key()

@pytest.mark.parametrize("term", [SoftTargets(T=2.0000001, power=0, unit="tokens"), .1 * LogitMSE(unit="labels"), Focal(1.5, T=4), 3 * HardTargets()], ids=repr)
def test_repr_makes_the_term_again(term):
    assert eval(repr(term)).key() == term.key()

# Bad input

ODD = ["2", None, [2], {}, 1j, torch.tensor([1., 2.]), np.array([1, 2]), object()]
BOTH = dict(z_s=torch.zeros(2, 3), z_t=torch.zeros(2, 3))

@pytest.mark.parametrize("odd", ODD, ids=lambda x: type(x).__name__)
@pytest.mark.parametrize("make", [
    lambda x: SoftTargets(T=x), lambda x: SoftTargets(power=x), lambda x: SoftTargets(unit=x), lambda x: SoftTargets(reference=x), lambda x: LogitMSE(unit=x),
    lambda x: x * SoftTargets(), lambda x: Objective([x]), lambda x: as_objective(x), lambda x: kl_divergence(**BOTH, T=x), lambda x: kl_divergence(**BOTH, power=x),
    lambda x: soft_cross_entropy(**BOTH, T=x), lambda x: soft_cross_entropy(**BOTH, power=x)])
def test_odd_types_get_one_sentence(make, odd):
    with pytest.raises(InputError): make(odd)

@pytest.mark.parametrize("loss", [soft_cross_entropy, kl_divergence, logit_mse, cosine_distance])
@pytest.mark.parametrize("whose", ["student", "teacher"])
@pytest.mark.parametrize("row", [slice(None), slice(0, 1)], ids=["all", "one row"])
def test_nan_is_never_nothing_to_learn(loss, whose, row):
    z_s, z_t = pair((4, 5))
    (z_s if whose == "student" else z_t)[row] = math.nan
    assert loss(z_s, z_t).isnan()

@pytest.mark.parametrize("T", [0, -1, math.nan, math.inf, -math.inf])
def test_bad_temperatures_are_refused(T):
    z_s, z_t = pair((2, 3))
    for loss in (soft_cross_entropy, kl_divergence):
        with pytest.raises(InputError, match="a finite temperature above 0"): loss(z_s, z_t, T=T)
    with pytest.raises(InputError, match="a finite temperature above 0"): SoftTargets(T=T)

@every_loss
@pytest.mark.parametrize("shapes", [((2, 3), (2, 4)), ((2, 3), (1, 3)), ((2, 3), (3,)), ((2, 3), (1, 2, 3))], ids=str)
def test_other_shapes_are_refused_and_not_broadcast(loss, shapes):
    with pytest.raises(InputError, match="equal shapes"): loss(*map(torch.zeros, shapes))

@pytest.mark.parametrize("loss", [soft_cross_entropy, kl_divergence])
def test_one_class_is_refused(loss):
    with pytest.raises(InputError, match="1 class: expected two or more"): loss(torch.zeros(4, 1), torch.zeros(4, 1))

@every_loss
@pytest.mark.parametrize("mask, message", [(torch.ones(3), "mask of shape"), (torch.ones(2, 3), "mask of shape"),
                                           (torch.zeros(2), "all zero")])
def test_bad_masks_are_refused(loss, mask, message):
    with pytest.raises(InputError, match=message): loss(*pair((2, 3)), mask=mask)

@pytest.mark.parametrize("weight", [-1, math.nan, math.inf, "2", None, [1], True, 1j, torch.tensor(2.), np.array([1, 2])], ids=repr)
def test_bad_weights_are_refused(weight):
    with pytest.raises(InputError, match="weight .* of SoftTargets"): weight * SoftTargets()
    with pytest.raises(InputError, match="weight"): weight * (SoftTargets() + HardTargets())
    with pytest.raises(InputError, match="weight"): SoftTargets() * weight

@pytest.mark.parametrize("weight", [2, 2., np.float32(2), np.int64(2)], ids=repr)
def test_weights_from_either_side_and_sums(weight):
    for t in weight * SoftTargets(), SoftTargets() * weight: assert t.weight == 2 and type(t.weight) is float
    for o in weight * (SoftTargets() + HardTargets()), sum([SoftTargets(), HardTargets()]) * weight:
        assert repr(o) == "2*SoftTargets(T=1) + 2*HardTargets()"

@pytest.mark.parametrize("stranger", [3, None, "", [], kl_divergence, "SoftTargets"])
def test_strangers_in_a_sum_are_refused(stranger):
    with pytest.raises(InputError, match="a term or a sum of terms"): SoftTargets() + stranger
    if not isinstance(stranger, list): # [] + x is list's own error
        with pytest.raises(InputError, match="a term or a sum of terms"): stranger + SoftTargets()
    with pytest.raises(InputError, match="terms such as"): Objective([SoftTargets(), stranger])
    with pytest.raises(InputError, match="a term or a sum of terms"): as_objective(stranger)

def test_empty_objective_is_refused():
    with pytest.raises(InputError, match="without terms"): Objective([])
