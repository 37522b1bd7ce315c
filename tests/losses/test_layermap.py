"Layer maps, and the losses on hidden states, scores and relations: properties, dtypes, masks, widths, refusals (pages 05 to 07)."
import copy, math
import pytest, torch
import torch.nn.functional as F
from distill_nb.losses.attention import real_pairs, regroup, relation_scores
from distill_nb.inside.capture import Outputs
from distill_nb.kit.errors import InputError
from distill_nb.losses.layermap import MAPS
from distill_nb.losses import (
    AttentionKL, AttentionMSE, ClsMSE, CosineHidden, HiddenMSE, LayerMap, LogitMSE, Relations, HardTargets,
    SoftTargets, attention_kl, attention_mse, cls_mse, count, hidden_mse, kl_divergence, logit_gradient, relation_kl,
    soft_cross_entropy)
from transformers import BertConfig, BertModel

LOWEST = torch.finfo(torch.float32).min

def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)

def lengths(*n, seq): return (torch.arange(seq) < torch.tensor(n)[:, None]).long()

# Layer maps

@pytest.mark.parametrize("n, m", [(12, 4), (12, 6), (24, 12), (6, 3), (4, 4), (6, 1)])
def test_uniform_is_tinyberts_two_lists(n, m):
    k, pairs = n // m, LayerMap(n, m)
    assert pairs.blocks == {i: i*k + k - 1 for i in range(m)}
    assert pairs.states == {j: j*k for j in range(m + 1)}

@pytest.mark.parametrize("how", ["uniform", "top", "bottom"])
def test_named_maps_are_ascending_for_any_depths(how):
    for n in range(1, 25):
        for m in range(1, n + 1):
            blocks = LayerMap(n, m, how).blocks
            teachers = list(blocks.values())
            assert list(blocks) == list(range(m)) and teachers == sorted(set(teachers)) and 0 <= teachers[0] <= teachers[-1] < n
            if how != "bottom": assert teachers[-1] == n - 1

def test_groups_of_an_uneven_map_differ_by_at_most_one():
    for n in range(1, 40):
        for m in range(1, n + 1):
            ends = [-1, *LayerMap(n, m).blocks.values()]
            sizes = {b - a for a, b in zip(ends, ends[1:])}
            assert sizes <= {n // m, n // m + 1}

@pytest.mark.parametrize("how, blocks", [([2, 5, 8, 11], {0: 2, 1: 5, 2: 8, 3: 11}), ({-1: -1}, {3: 11}), ("last", {3: 11}),
                                         ({0: 0, 3: 9}, {0: 0, 3: 9}), ((1, 1, 1, 1), dict.fromkeys(range(4), 1))])
def test_explicit_maps(how, blocks): assert LayerMap(12, 4, how).blocks == blocks

@pytest.mark.parametrize("args, message", [
    ((12, 4, "even"), "layers='even'"), ((12, 4, [1, 2]), "2 teacher blocks"), ((12, 4, []), "at least one pair"),
    ((12, 4, {}), "at least one pair"), ((12, 4, [3, 6, 9, 12]), "teacher block 12"), ((12, 4, {4: 1}), "student block 4"),
    ((12, 4, {0: -13}), "teacher block -13"), ((12, 4, {0: 1.5}), "teacher block 1.5"), ((4, 6), "not deeper"),
    ((0, 0), "a depth of 0"), ((12, None), "a depth of None")])
def test_maps_that_point_outside_are_refused(args, message):
    with pytest.raises(InputError, match=message): LayerMap(*args)

def test_a_deeper_student_may_name_its_pairs():
    assert LayerMap(4, 6, {i: min(i, 3) for i in range(6)}).blocks[5] == 3
    assert LayerMap(4, 6, "last").blocks == {5: 3}

def test_table_and_picture():
    pairs = LayerMap(12, 4)
    assert pairs.table().iloc[1].tolist() == ["block 0", "block 2", 1, 3] and "block 11" in repr(pairs)
    texts = [t.get_text() for t in pairs.plot().axes[0].texts]
    assert "block 11 → state 12" in texts and sum("→ state" in t for t in texts) == 13 + 5

# Losses against plain loops

def test_attention_mse_by_loops():
    a_s, a_t, mask = draw(3, 2, 5, 5), draw(3, 2, 5, 5, seed=1), lengths(5, 2, 3, seq=5)
    squares = [(a_s[b, h, i, j] - a_t[b, h, i, j])**2 for b in range(3) for h in range(2)
               for i in range(mask[b].sum()) for j in range(mask[b].sum())]
    torch.testing.assert_close(attention_mse(a_s, a_t, mask), sum(squares) / len(squares))

def test_attention_kl_by_loops():
    a_s, a_t, mask, rows = draw(3, 2, 5, 5), draw(3, 2, 5, 5, seed=1), lengths(5, 2, 3, seq=5), []
    texts = []
    for b in range(3):
        n = mask[b].sum()
        q, p = [a[b, :, :n, :n].softmax(-1) for a in (a_s, a_t)]
        here = (p * (p / q).log()).sum(-1).flatten()
        rows += here.tolist()
        texts.append(here.mean())
    torch.testing.assert_close(attention_kl(a_s, a_t, mask).item(), sum(rows) / len(rows))
    torch.testing.assert_close(attention_kl(a_s, a_t, mask, reference=True), sum(texts) / 3)

@pytest.mark.parametrize("heads", [1, 3, 4, 12])
def test_relations_by_loops(heads):
    "Of vectors with unequal heads and widths: 4 x 6 in the student, 3 x 16 in the teacher."
    x_s, x_t, mask = draw(2, 4, 5, 6), draw(2, 3, 5, 16, seed=1), lengths(5, 3, seq=5)
    rows = []
    for b in range(2):
        n, per_head = mask[b].sum(), []
        for x in (x_s, x_t):
            flat = x[b].transpose(0, 1).reshape(5, -1)[:n] # (tokens, width)
            per_head.append([F.softmax(part @ part.T / part.shape[1]**.5, -1) for part in flat.chunk(heads, dim=1)])
        for q, p in zip(*per_head): rows += (p * (p / q).log()).sum(-1).tolist()
    torch.testing.assert_close(relation_kl(x_s, x_t, heads, mask).item(), sum(rows) / len(rows))

def test_queries_against_keys_at_the_models_heads_is_attention():
    q_s, k_s, q_t, k_t = (draw(2, 4, 5, 6, seed=i) for i in range(4))
    scores = [q @ k.mT / 6**.5 for q, k in ((q_s, k_s), (q_t, k_t))]
    torch.testing.assert_close(relation_kl(q_s, q_t, None, None, k_s, k_t), attention_kl(*scores))

def test_regroup_is_its_own_inverse():
    x = draw(2, 12, 5, 8)
    assert torch.equal(regroup(regroup(x, 48), 12), x)
    assert relation_scores(x, x, 48).shape == (2, 48, 5, 5)

def test_cls_mse_reads_the_first_token_alone():
    h_s, h_t = draw(3, 4, 6), draw(3, 4, 6, seed=1)
    want = cls_mse(h_s, h_t)
    h_s[:, 1:], h_t[:, 1:] = 9., math.nan
    torch.testing.assert_close(cls_mse(h_s, h_t), want)
    torch.testing.assert_close(cls_mse(5 * h_s, h_t / 7), want)

def test_patient_reference_is_one_mse_over_all_layers():
    s, t = [Outputs(hidden_states=tuple(draw(3, 4, 6, seed=i + 9 * k) for i in range(n + 1))) for k, n in ((0, 3), (1, 6))]
    stack = lambda o, layers: F.normalize(torch.stack([o.hidden_states[i][:, 0] for i in layers], 1), dim=-1)
    torch.testing.assert_close(ClsMSE(reference=True)(s, t, {}), F.mse_loss(stack(s, [1, 2]), stack(t, [2, 4])))

# Masks and dtypes

PAIRED = dict(mse=attention_mse, kl=attention_kl, relations=lambda a, b, m: relation_kl(a, b, 2, m))
every_pair = pytest.mark.parametrize("name", PAIRED)

@every_pair
@pytest.mark.parametrize("junk", [7., -9e3, math.nan])
def test_what_stands_in_padding_does_not_count(name, junk):
    a_s, a_t, mask = draw(2, 4, 5, 5), draw(2, 4, 5, 5, seed=1), lengths(5, 3, seq=5)
    want = PAIRED[name](a_s, a_t, mask)
    dirty = [a.clone() for a in (a_s, a_t)]
    for a in dirty:
        a[1, :, 3:] = junk
        if name != "relations": a[1, :, :, 3:] = junk
    if name == "relations" and math.isnan(junk): pytest.skip("a product with NaN is NaN: states of padding are numbers")
    dirty[0].requires_grad_()
    loss = PAIRED[name](*dirty, mask)
    torch.testing.assert_close(loss.detach(), want)
    loss.backward()
    assert dirty[0].grad.isfinite().all() and dirty[0].grad[1, :, 3:].abs().max() < 1e-12

@pytest.mark.parametrize("loss", [attention_mse, attention_kl])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_lowest_numbers_and_half_precision_stay_finite(loss, dtype):
    "Masked keys, windows that differ between the models, and a text that is all padding."
    a_s, a_t = draw(3, 2, 6, 6, dtype=dtype), draw(3, 2, 6, 6, seed=1, dtype=dtype)
    mask, low = lengths(6, 4, 0, seq=6), torch.finfo(dtype).min
    hidden = ~mask.bool()[:, None, None].expand_as(a_s)
    a_s, a_t = a_s.masked_fill(hidden, low), a_t.masked_fill(hidden, low)
    window = (torch.arange(6)[:, None] - torch.arange(6)).abs() > 2
    a_t = a_t.masked_fill(window, low)
    a_s.requires_grad_()
    got = loss(a_s, a_t, mask)
    got.backward()
    assert 0 < got < 20 and a_s.grad.isfinite().all() and got.dtype == torch.float32
    assert a_s.grad.masked_select(hidden | window).abs().max() == 0

def test_entries_masked_in_either_model_do_not_count():
    a = draw(1, 1, 3, 3, dtype=torch.float32)
    b = a + 1
    b[0, 0, 0, 2] = LOWEST
    assert real_pairs(a, b).sum() == 8
    torch.testing.assert_close(attention_mse(a, b), torch.tensor(8 / 9)) # a mean over pairs, of which one adds 0

@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_as_float32(dtype):
    h_s, h_t = draw(4, 8, 16, dtype=dtype), draw(4, 8, 16, seed=1, dtype=dtype)
    for loss in (hidden_mse, cls_mse): torch.testing.assert_close(loss(h_s, h_t), loss(h_s.float(), h_t.float()))
    x_s, x_t = draw(2, 4, 8, 8, dtype=dtype), draw(2, 4, 8, 8, seed=1, dtype=dtype)
    assert attention_mse(x_s, x_t).dtype == torch.float32
    torch.testing.assert_close(attention_mse(x_s, x_t), attention_mse(x_s.float(), x_t.float()))

@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("loss", [kl_divergence, soft_cross_entropy])
def test_logits_of_ten_thousand_and_a_padded_vocabulary(loss, dtype):
    z_s, z_t = 1e4 * draw(4, 5, dtype=dtype).sign(), 1e4 * draw(4, 5, seed=1, dtype=dtype).sign()
    for z in ((z_s, z_t), [F.pad(z, (0, 3), value=-math.inf) for z in (z_s, z_t)]):
        assert loss(*z).isfinite() and logit_gradient(loss, *z).isfinite().all()
    assert not loss(z_s, F.pad(z_t[:, :2], (0, 3), value=-math.inf)).isnan()

@pytest.mark.parametrize("loss", [attention_mse, attention_kl])
def test_nothing_to_learn_and_no_gradient_to_the_teacher(loss):
    a = draw(2, 3, 4, 4).requires_grad_()
    b = a.detach().clone().requires_grad_()
    got = loss(a, b)
    got.backward()
    assert abs(got.item()) < 1e-12 and a.grad.abs().max() < 1e-9 and b.grad is None

def test_gradient_of_attention_kl_is_q_less_p():
    a_s, a_t, mask = draw(2, 3, 4, 4), draw(2, 3, 4, 4, seed=1), lengths(4, 2, seq=4)
    g = logit_gradient(attention_kl, a_s, a_t, mask)
    hide = lambda a: a.masked_fill(~mask.bool()[:, None, None], -1e300).softmax(-1)
    want = (hide(a_s) - hide(a_t)) * mask[:, None, :, None] / (3 * mask.sum())
    torch.testing.assert_close(g, want)

# Projections

def bert(d, n): return BertModel(BertConfig(vocab_size=20, hidden_size=d, num_hidden_layers=n, num_attention_heads=2, intermediate_size=8))

def test_an_objective_bound_again_begins_anew():
    "For the same models, and for others; and its key never tells of it."
    objective = HiddenMSE() + 2 * HiddenMSE(project="each")
    said = copy.deepcopy(objective.key())
    objective.bind(bert(8, 2), bert(16, 4))
    before = [p.detach().clone() for p in objective.parameters()]
    objective.bind(bert(8, 2), bert(16, 4))
    assert all(not torch.equal(a, b) for a, b in zip(before, objective.parameters()) if a.dim() > 1)
    objective.bind(bert(8, 2), bert(24, 3))
    assert [p.shape[0] for p in objective.parameters()] == [24] * 2 * (1 + 3)
    objective.bind(bert(8, 2), bert(8, 2))
    assert not list(objective.parameters()) and objective.key() == said

def test_projections_are_shared_by_weighted_copies():
    term = HiddenMSE()
    weighted = 2 * term
    (weighted + AttentionMSE()).bind(bert(8, 2), bert(16, 4))
    assert len(term.projections) == 1 and term.projections[0] is weighted.projections[0]
    assert copy.deepcopy(term).projections[0].weight is not term.projections[0].weight

@pytest.mark.parametrize("project, n", [("shared", 1), ("each", 3)])
def test_one_projection_or_one_per_state(project, n):
    term = HiddenMSE(project=project)
    term.bind(bert(8, 2), bert(16, 4))
    states = lambda d, k: tuple(draw(2, 3, d, seed=i, dtype=torch.float32) for i in range(k + 1))
    s, t = Outputs(hidden_states=states(8, 2)), Outputs(hidden_states=states(16, 4))
    batch = dict(attention_mask=torch.ones(2, 3))
    term(s, t, batch).backward()
    assert [p.weight.grad.norm() > 0 for p in term.projections] == [True] * n
    by_hand = sum(F.mse_loss(term.projections[i % n](s.hidden_states[i]), t.hidden_states[2 * i]) for i in range(3))
    torch.testing.assert_close(term(s, t, batch), by_hand)

def test_equal_widths_have_no_projection():
    term = HiddenMSE()
    term.bind(bert(8, 2), bert(8, 4))
    assert not list(term.parameters())

# A mean, times what it counts, adds up to the large batch

def captured(n, seq, heads=2, d=4, V=3, seed=0, window=None):
    "Outputs of two blocks for n texts; with a window each block masks other pairs."
    low = torch.finfo(torch.float64).min
    far = (torch.arange(seq)[:, None] - torch.arange(seq)).abs()
    scores = [draw(n, heads, seq, seq, seed=seed + i) for i in range(2)]
    if window: scores[0] = scores[0].masked_fill(far > window, low)
    vectors = lambda k: tuple(draw(n, heads, seq, d, seed=seed + k + i) for i in range(2))
    return Outputs(draw(n, V, seed=seed), tuple(draw(n, seq, 2 * d, seed=seed + 7 + i) for i in range(3)), tuple(scores), *map(vectors, (20, 30, 40)))

def some(out, rows):
    cut = lambda x: x if x is None else tuple(y[rows] for y in x) if isinstance(x, tuple) else x[rows]
    return Outputs(*(cut(getattr(out, f)) for f in Outputs.__dataclass_fields__))

@pytest.mark.parametrize("term", [
    AttentionMSE(), AttentionMSE(reference=True), AttentionKL(), AttentionKL(layers="uniform"), AttentionKL(reference=True), Relations(heads=2),
    Relations(("qk", "v"), heads=2, reference=True), HiddenMSE(), HiddenMSE(reference=True), CosineHidden(), ClsMSE(), ClsMSE(reference=True),
    SoftTargets(T=2), SoftTargets(reference=True), LogitMSE(), HardTargets()], ids=repr)
@pytest.mark.parametrize("window", [None, 1, 3])
@pytest.mark.parametrize("cuts", [[2, 4], [1, 2, 3, 4, 5], [3]])
@pytest.mark.parametrize("padded", [False, True], ids=["", "with a row of padding"])
def test_small_batches_add_up_to_the_large_one(term, window, cuts, padded):
    seq, n = 6, 6
    mask = lengths(6, 2, 4, 3, 1, 5, seq=seq)
    if padded: mask[1] = 0
    labels = torch.tensor([0, -100, 2, -100, -100, 1])
    batch = dict(input_ids=mask * 7, attention_mask=mask, labels=labels)
    s, t = captured(n, seq, window=window), captured(n, seq, seed=99, window=window and window + 1)
    hide = lambda a: a.masked_fill(~mask.bool()[:, None, None], torch.finfo(a.dtype).min)
    s.scores, t.scores = [tuple(map(hide, o.scores)) for o in (s, t)]
    whole, total = term(s, t, batch), 0
    for rows in torch.arange(n).tensor_split(cuts):
        part = {k: v[rows] for k, v in batch.items()}
        if part["attention_mask"].any(): # a batch of nothing but padding is refused
            total += term(some(s, rows), some(t, rows), part) * count(part, term.unit) / count(batch, term.unit)
        elif term.unit != "examples" and "places" not in term.unit: assert count(part, term.unit) == 0 or term.unit == "labels"
        else: pytest.skip("it counts, and is refused")
    assert whole > 0
    torch.testing.assert_close(total, whole)

# NaN

@pytest.mark.parametrize("term", [AttentionMSE(), AttentionMSE(reference=True), AttentionKL(), AttentionKL(reference=True), Relations(heads=2),
    Relations("q", heads=2, reference=True), HiddenMSE(), CosineHidden(), ClsMSE(), SoftTargets(), SoftTargets(reference=True), LogitMSE()], ids=repr)
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["all", "one"])
def test_a_broken_teacher_gives_no_number(term, ragged, bad, where):
    s, t, mask = captured(3, 5), captured(3, 5, seed=9), lengths(5, 3, 4, seq=5) if ragged else lengths(5, 5, 5, seq=5)
    def broken(x):
        x = x.clone()
        x[slice(None) if where == "all" else (0, 0)] = bad
        return x
    for part in ("hidden_states", "scores", "queries", "keys", "values"): setattr(t, part, tuple(map(broken, getattr(t, part))))
    t.logits = broken(t.logits)
    loss = term(s, t, dict(input_ids=mask, attention_mask=mask))
    assert not loss.isfinite()

# Bad input

@pytest.mark.parametrize("odd", ["2", 2, 1.5, [], {}, 1j, object()], ids=lambda x: type(x).__name__)
@pytest.mark.parametrize("make", [
    lambda x: LayerMap(4, 2, x), lambda x: AttentionMSE(x).map(2, 4), lambda x: AttentionKL(x).map(2, 4), lambda x: HiddenMSE(x).map(2, 4),
    lambda x: ClsMSE(x).map(2, 4), lambda x: Relations(layers=x).map(2, 4), lambda x: AttentionMSE(reference=x), lambda x: AttentionKL(reference=x),
    lambda x: HiddenMSE(project=x), lambda x: HiddenMSE(embeddings=x), lambda x: HiddenMSE(reference=x), lambda x: ClsMSE(reference=x),
    lambda x: Relations(x), lambda x: Relations(reference=x), lambda x: Relations(heads=x) if x != 2 else Relations(heads=-1),
    lambda x: LayerMap(x, 1) if x != 2 else LayerMap(0, 1), lambda x: LayerMap(4, x) if x != 2 else LayerMap(4, -1)])
def test_odd_types_get_one_sentence(make, odd):
    with pytest.raises(InputError): make(odd)

def test_layers_as_numpy_or_a_range_are_lists():
    import numpy as np
    for how in (np.array([1, 3]), range(1, 4, 2), (1, 3)):
        assert LayerMap(4, 2, how).blocks == {0: 1, 1: 3} and "1, 3" in repr(AttentionMSE(how))

@pytest.mark.parametrize("term", [2 * AttentionMSE("top"), AttentionKL(layers=[2, 5]), HiddenMSE(project="each", embeddings=False, reference=True),
    Relations(("qk", "v"), layers={-1: 20}), Relations("v", heads=4, reference=True), ClsMSE("bottom"), CosineHidden()], ids=repr)
def test_repr_makes_the_term_again(term): assert eval(repr(term)).key() == term.key()

SHAPE, OTHER = draw(2, 4, 5, 5), draw(2, 8, 5, 5)

@pytest.mark.parametrize("call, message", [
    (lambda: attention_mse(SHAPE, OTHER), "Are the heads"), (lambda: attention_kl(SHAPE, OTHER), "Are the heads"),
    (lambda: attention_mse(SHAPE, SHAPE, torch.ones(2, 4)), "mask of shape"), (lambda: attention_mse(SHAPE, SHAPE, torch.zeros(2, 5)), "all zero"),
    (lambda: attention_kl(SHAPE, SHAPE, torch.ones(3, 5)), "mask of shape"), (lambda: attention_kl(SHAPE, SHAPE, torch.zeros(2, 5)), "all zero"),
    (lambda: relation_kl(SHAPE, OTHER, 3), "3 relation heads, width 20"), (lambda: relation_kl(SHAPE, OTHER, 0), "0 relation heads"),
    (lambda: relation_kl(SHAPE, draw(2, 4, 6, 5)), "Are the heads and the length"),
    (lambda: hidden_mse(draw(2, 3, 4), draw(2, 3, 8)), "need a projection"), (lambda: hidden_mse(draw(2, 3, 4), draw(2, 3, 4), torch.ones(2, 4)), "mask of shape"),
    (lambda: hidden_mse(draw(2, 3, 4), draw(2, 3, 4), torch.zeros(2, 3)), "all zero"), (lambda: cls_mse(draw(2, 4), draw(2, 8)), "equal shapes"),
    (lambda: HiddenMSE(project="none"), "project='none'"), (lambda: ClsMSE().pairs(1, 12), "PKD needs two"),
    (lambda: Relations(""), "kinds=''"), (lambda: Relations("qz"), "kinds='qz'"), (lambda: Relations(("qkv",)), "kinds="),
    (lambda: Relations(heads=0), "heads=0"), (lambda: SoftTargets(unit="lines"), "unit='lines'"), (lambda: LogitMSE(unit="pairs"), "unit='pairs'"),
    (lambda: AttentionMSE("best").map(2, 4), "layers='best'"),
    (lambda: math.nan * AttentionMSE(), "weight nan of AttentionMSE"), (lambda: -1 * HiddenMSE(), "weight -1 of HiddenMSE")])
def test_bad_input_gets_one_clear_error(call, message):
    with pytest.raises(InputError, match=message): call()

@pytest.mark.parametrize("term, said", [
    (AttentionMSE(), "1*AttentionMSE()"), (2 * AttentionMSE("top"), "2*AttentionMSE(layers='top')"), (AttentionKL(), "1*AttentionKL()"),
    (HiddenMSE(project="each", embeddings=False), "1*HiddenMSE(project='each', embeddings=False)"), (CosineHidden(), "1*CosineHidden()"),
    (Relations("qkv", heads=48), "1*Relations('qkv', heads=48)"), (Relations(("qk", "v"), layers={-1: 20}), "1*Relations(('qk', 'v'), layers={-1: 20})"),
    (AttentionMSE(reference=True), "1*AttentionMSE(reference=True)"), (ClsMSE("top", reference=True), "1*ClsMSE(layers='top', reference=True)"),
    (SoftTargets(T=2, unit="tokens"), "1*SoftTargets(T=2, unit='tokens')")], ids=repr)
def test_terms_say_what_they_are(term, said): assert repr(term) == said

@pytest.mark.parametrize("how", MAPS)
def test_reads_is_what_forward_uses(how):
    objective = AttentionMSE(how) + HiddenMSE(how) + Relations("v", layers=how, heads=2)
    of_student, of_teacher = objective.reads(3, 7)
    pick = lambda n, needs, part, make: tuple(make(i) if needs[part] and i in needs[part] else None for i in range(n))
    def outputs(n, needs, seed):
        return Outputs(hidden_states=pick(n + 1, needs, "hidden_states", lambda i: draw(2, 4, 8, seed=seed + i)),
                       scores=pick(n, needs, "scores", lambda i: draw(2, 2, 4, 4, seed=seed + i)),
                       values=pick(n, needs, "values", lambda i: draw(2, 2, 4, 4, seed=seed + i)))
    parts = objective(outputs(3, of_student, 0), outputs(7, of_teacher, 50), dict(attention_mask=torch.ones(2, 4)))
    assert all(v > 0 for v in parts.values())
