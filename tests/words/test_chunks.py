"Sweeps behind nbs/words/01_chunks.ipynb: the chunked losses against the plain ones, over chunks, dtypes, families and recordings."
import json
from functools import partial
import pytest, torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForMaskedLM
from builders import collate, GOLDEN, lm_rows, recorded, small_lm, TRIPLE, WORDS
from families import EXTRA, V, build
from distill_nb.inside.capture import Outputs, trace
from distill_nb.kit.errors import InputError
from distill_nb.losses import ClsMSE, CosineHidden, HardTargets, SoftTargets
from distill_nb.losses.objective import as_objective
from distill_nb.students.copied import init_student
from distill_nb.training.distiller import Distiller
from distill_nb.training.settings import training_args
from distill_nb.words.chunks import HardWords, SoftWords, WordReader, Words, decoder_aside, has_words

FAMILIES = sorted(EXTRA.keys() - {"xlm", "flaubert"})  # these two have no AutoModelForMaskedLM
WITHOUT = {"mobilebert"}

def lm_batch(bs=3, seq=8, vocabulary=V, seed=1, share=.4):
    "Ids, a text that is padded, labels at some places."
    gen = torch.Generator().manual_seed(seed)
    ids, seen = torch.randint(5, vocabulary, (bs, seq), generator=gen), torch.ones(bs, seq, dtype=torch.long)
    ids[0, seq - 2:], seen[0, seq - 2:] = 1, 0
    hidden = (torch.rand(bs, seq, generator=gen) < share) & seen.bool()
    return dict(input_ids=ids, attention_mask=seen, labels=torch.where(hidden, ids, -100))

# The sweep against plain losses

def pair(n, dtype=torch.float64, bias=True, seed=0, d_t=5, W=37):
    "Words of a student that needs gradients and of a wider teacher, (2, n) tokens each."
    gen = torch.Generator().manual_seed(seed)
    make = lambda *shape: torch.randn(*shape, generator=gen, dtype=torch.float64).to(dtype)
    s, t = [Words(make(2, n, d), make(W, d), make(W) if bias else None) for d in (4, d_t)]
    for x in leaves(s): x.requires_grad_()
    return s, t

def leaves(words): return [x for x in (words.states, words.weight, words.bias) if x is not None]

def token_batch(n, seed=0, labels=.4):
    gen = torch.Generator().manual_seed(seed)
    seen = torch.ones(2, n, dtype=torch.long)
    seen[1, n - 1:] = 0
    y = torch.randint(37, (2, n), generator=gen)
    return dict(input_ids=y, attention_mask=seen, labels=torch.where((torch.rand(2, n, generator=gen) < labels) & seen.bool(), y, -100))

def both_ways(s, t, batch, T, unit, chunk):
    "Losses and gradients of the plain terms and of the chunked ones."
    every = torch.ones_like(batch["labels"], dtype=torch.bool)
    z = [Outputs(logits=w.logits(every).view(*every.shape, -1)) for w in (s, t)]
    plain = 5*SoftTargets(T=T, unit=unit) + 2*HardTargets()
    swept = 5*SoftWords(T=T, unit=unit, chunk=chunk) + 2*HardWords(chunk=chunk)
    for objective, outputs in ((plain, z), (swept, (Outputs(words=s), Outputs(words=t)))):
        losses = torch.stack(list(objective(*outputs, batch).values()))
        yield losses.detach(), torch.autograd.grad(losses.sum(), leaves(s))

@pytest.mark.parametrize("unit", ["tokens", "labels"])
@pytest.mark.parametrize("T", [1., 2., 4.])
@pytest.mark.parametrize("chunk", [1, 2, 5, 13, 1000])
def test_any_chunk_gives_the_plain_number(chunk, T, unit):
    for bias in (True, False):
        (a, g), (b, h) = both_ways(*pair(7, bias=bias), token_batch(7), T, unit, chunk)
        torch.testing.assert_close(b, a, rtol=1e-10, atol=1e-12)
        for x, y in zip(g, h, strict=True): torch.testing.assert_close(y, x, rtol=1e-8, atol=1e-12)

@pytest.mark.parametrize("dtype, tol", [(torch.float64, 1e-10), (torch.float32, 1e-5), (torch.bfloat16, .03)])
def test_dtypes(dtype, tol):
    (a, g), (b, h) = both_ways(*pair(40, dtype), token_batch(40), 2., "tokens", 16)
    torch.testing.assert_close(b, a, rtol=tol, atol=tol)
    for x, y in zip(g, h, strict=True):
        assert y.dtype == dtype
        torch.testing.assert_close(y, x, rtol=0, atol=tol * x.abs().max().item())

def test_autocast_multiplies_in_bf16_and_adds_in_float32():
    s, t = pair(40, torch.float32)
    batch, exact = token_batch(40), SoftWords()(Outputs(words=s), Outputs(words=t), token_batch(40))
    with torch.autocast("cpu", torch.bfloat16): rough = SoftWords()(Outputs(words=s), Outputs(words=t), batch)
    assert rough.dtype == torch.float32 and rough != exact
    assert rough.item() == pytest.approx(exact.item(), rel=.02)
    g, h = [torch.autograd.grad(x, leaves(s)) for x in (exact, rough)]
    for x, y in zip(g, h, strict=True):
        assert y.dtype == torch.float32
        torch.testing.assert_close(y, x, rtol=0, atol=.03 * x.abs().max().item())

def test_fp16_keeps_what_is_small():
    "A share of a millionth, as in a large window of batches, is below what fp16 can say."
    s, t = pair(40, torch.float32)
    batch, share, found = token_batch(40), torch.tensor([1e-6, 1e-6]), []
    for on in (False, True):
        with torch.autocast("cpu", torch.float16, enabled=on):
            parts = (5*SoftWords(T=2) + 2*HardWords())(Outputs(words=s), Outputs(words=t), batch, share)
        found.append(torch.autograd.grad(sum(parts.values()), leaves(s)))
    for exact, low in zip(*found, strict=True): torch.testing.assert_close(low, exact, rtol=0, atol=.01 * exact.abs().max().item())

@pytest.mark.parametrize("seed", range(20))
def test_random_masks_and_weights(seed):
    "Also where no word is hidden, or every one."
    batch = token_batch(6, seed, labels=(0., .3, 1.)[seed % 3])
    (a, g), (b, h) = both_ways(*pair(6, seed=seed), batch, 1 + seed / 4, ("tokens", "labels")[seed % 2], 3)
    torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-12)
    for x, y in zip(g, h, strict=True): torch.testing.assert_close(y, x, rtol=1e-8, atol=1e-12)

def test_gradients_are_those_of_finite_differences():
    s, t = pair(3)
    batch = token_batch(3)
    def loss(states, weight, bias):
        objective = 5*SoftWords(T=3, chunk=2) + 2*HardWords()
        return sum(objective(Outputs(words=Words(states, weight, bias)), Outputs(words=t), batch).values())
    assert torch.autograd.gradcheck(loss, leaves(s))

@pytest.mark.parametrize("pull", [(1., 0.), (0., 1.), (3., 3.), (.5, 2.)])
def test_whatever_is_asked_for_in_the_backward_pass(pull):
    "Equal weights take what was computed, others a second sweep; a second backward pass is right too."
    s, t = pair(7)
    batch, pull = token_batch(7), torch.tensor(pull, dtype=torch.float64)
    every = torch.ones(2, 7, dtype=torch.bool)
    z = [Outputs(logits=w.logits(every).view(2, 7, -1)) for w in (s, t)]
    plain = torch.stack(list((SoftTargets(T=2, unit="tokens") + 2*HardTargets())(*z, batch).values()))
    swept = torch.stack(list((SoftWords(T=2) + 2*HardWords())(Outputs(words=s), Outputs(words=t), batch).values()))
    want = torch.autograd.grad((plain * pull).sum(), leaves(s))
    for _ in range(2):
        got = torch.autograd.grad((swept * pull).sum(), leaves(s), retain_graph=True)
        for x, y in zip(want, got, strict=True): torch.testing.assert_close(y, x, rtol=1e-8, atol=1e-12)

def test_what_needs_no_gradient_gets_none():
    s, t = pair(7)
    s.weight.requires_grad_(False)
    loss = SoftWords(T=2)(Outputs(words=s), Outputs(words=t), token_batch(7))
    loss.backward()
    assert s.weight.grad is None and s.states.grad.abs().sum() > 0 and s.bias.grad.abs().sum() > 0
    assert t.states.grad is None
    with torch.no_grad(): torch.testing.assert_close(SoftWords(T=2)(Outputs(words=s), Outputs(words=t), token_batch(7)), loss.detach())

def test_minus_infinity_in_the_bias_is_a_word_that_does_not_exist():
    s, t = pair(5)
    with torch.no_grad():
        for w in (s, t): w.bias[-3:] = -torch.inf
    loss = SoftWords(T=2)(Outputs(words=s), Outputs(words=t), token_batch(5))
    loss.backward()
    assert loss.isfinite() and all(x.grad.isfinite().all() for x in leaves(s))
    short = [Words(w.states.detach(), w.weight[:-3].detach(), w.bias[:-3].detach()) for w in (s, t)]
    torch.testing.assert_close(loss.detach(), SoftWords(T=2)(*[Outputs(words=w) for w in short], token_batch(5)))

def test_two_soft_terms_share_a_sweep():
    s, t = pair(7)
    o = SoftWords(T=1) + 3*SoftWords(T=4, unit="labels")
    parts = o(Outputs(words=s), Outputs(words=t), token_batch(7))
    alone = [w * term(Outputs(words=s), Outputs(words=t), token_batch(7)) for w, term in zip((1, 3), (SoftWords(T=1), SoftWords(T=4, unit="labels")))]
    torch.testing.assert_close(torch.stack(list(parts.values())), torch.stack(alone))
    assert len({p.grad_fn.name() for p in parts.values()}) == 1

# What the reference's own code computed

CASES = [c for c in json.loads((GOLDEN/"hfdistil.json").read_text())["cases"] if c["name"].startswith("step/mlm")] if GOLDEN.is_dir() else []

@recorded
@pytest.mark.parametrize("chunk", [3, None])
@pytest.mark.parametrize("case", CASES, ids=lambda c: c["name"])
def test_distilberts_recorded_steps(case, chunk):
    "With a decoder that hands its states on (the identity), recorded logits are states."
    tensors = load_file(GOLDEN/"hfdistil.safetensors")
    i = {k: tensors[v[2:]] for k, v in case["inputs"].items() if isinstance(v, str) and v.startswith("T:")}
    i = {k: x.double() if x.is_floating_point() else x for k, x in i.items()}
    z_s, h_s = [i[f"s_{k}"].clone().requires_grad_() for k in ("logits", "hidden")]
    one = torch.eye(z_s.shape[-1], dtype=torch.float64)
    s, t = Outputs(words=Words(z_s, one), hidden_states=(h_s,)), Outputs(words=Words(i["t_logits"], one), hidden_states=(i["t_hidden"],))
    batch = dict(attention_mask=i["attention_mask"].long(), labels=i["lm_labels"])
    T, unit = case["temperature"], "labels" if case["restrict_ce_to_mask"] else "tokens"
    terms = dict(ce=SoftWords(T=T, unit=unit, chunk=chunk), mlm=HardWords(chunk=chunk), cos=CosineHidden())
    alphas = {k: w for k, w in case["alphas"].items() if k in terms}
    objective = as_objective(sum((w * terms[k] for k, w in list(alphas.items())[1:]), list(alphas.values())[0] * terms[list(alphas)[0]]))
    parts = dict(zip(alphas, objective(s, t, batch).values()))
    for k, part in parts.items(): assert part.item() == pytest.approx(alphas[k] * case["out"]["f64"][f"loss_{k}"], rel=1e-9)
    if set(case["alphas"]) - set(alphas): return  # the squared error of logits is no term of this page
    sum(parts.values()).backward()
    for argument, want in case["grad"]["f64"].items():
        g, mine = tensors[want[2:]].double(), dict(s_logits=z_s, s_hidden=h_s)[argument].grad
        torch.testing.assert_close(mine, g, rtol=0, atol=1e-9 * g.abs().max().item())

# Models

@pytest.mark.parametrize("family", FAMILIES)
def test_words_of_every_family_or_a_refusal(family):
    model, batch = build(family, AutoModelForMaskedLM), lm_batch()
    before = set(vars(model))
    assert has_words(model) == (family not in WITHOUT)
    assert set(vars(model)) == before and model.base_model.training is False # nothing is planted
    if family in WITHOUT:
        with pytest.raises(InputError, match="read its logits"): trace(model, batch, {"words"})
        return
    labelled = batch["labels"] != -100
    with torch.no_grad():
        plain = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        every = trace(model, batch, {"words", "hidden_states"})
        some = trace(model, batch, {"words": ("labels",)}).words
        beside = trace(model, batch, {"words": ("labels",), "hidden_states": None})
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(every.words.logits(real), plain[real], atol=1e-4, rtol=1e-4)
    for words in (some, beside.words): torch.testing.assert_close(words.logits(labelled), plain[labelled], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(beside.hidden_states[-1][real], every.hidden_states[-1][real])
    with torch.no_grad(): torch.testing.assert_close(trace(model, batch).logits, plain)  # nothing is left behind

@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra", "modernbert", "deberta-v2", "albert"])
@pytest.mark.parametrize("unit", ["tokens", "labels"])
def test_whole_models_get_the_plain_gradients(family, unit):
    teacher, batch = build(family, AutoModelForMaskedLM), lm_batch()
    student = init_student(teacher, range(4) if family == "albert" else [0, 3])
    with torch.no_grad():
        for p in student.parameters(): p.add_(.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(2)))
    plain = 5*SoftTargets(T=2, unit=unit) + 2*HardTargets() + CosineHidden()
    swept = 5*SoftWords(T=2, unit=unit, chunk=4) + 2*HardWords() + CosineHidden()
    found = []
    for objective in (plain, swept):
        of_s, of_t = objective.reads(4 if family == "albert" else 2, 4)
        with torch.no_grad(): t = trace(teacher, batch, of_t)
        parts = objective(trace(student, batch, of_s), t, batch)
        student.zero_grad()
        sum(parts.values()).backward()
        found.append((torch.stack(list(parts.values())).detach(), {n: p.grad.clone() for n, p in student.named_parameters() if p.grad is not None}))
    (a, g), (b, h) = found
    torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-6)
    size = max(x.abs().max() for x in g.values()).item()
    assert g.keys() == h.keys()
    for name in g: torch.testing.assert_close(h[name], g[name], rtol=0, atol=1e-5 * size, msg=name)

def test_a_forward_that_was_put_on_the_decoder_comes_back():
    linear = nn.Linear(2, 3)
    own = linear.forward = lambda x: x + 1
    with decoder_aside(linear): assert torch.equal(linear(torch.ones(2)), torch.ones(2))
    assert linear.forward is own
    with pytest.raises(ZeroDivisionError):
        with decoder_aside(linear): 1 / 0
    assert linear.forward is own

def test_bad_input():
    bert = build("bert", AutoModelForMaskedLM)
    with pytest.raises(InputError, match="chunk=0"): SoftWords(chunk=0)
    with pytest.raises(InputError, match="T=-1"): SoftWords(T=-1)
    with pytest.raises(InputError, match="one of tokens, labels"): SoftWords(unit="examples")
    with pytest.raises(InputError, match="words and logits"): trace(bert, lm_batch(), {"words", "logits"})
    with pytest.raises(InputError, match="student with 37 words, teacher with 36"):
        s, t = pair(7)
        SoftWords()(Outputs(words=s), Outputs(words=Words(t.states, t.weight[1:], None)), token_batch(7))
    with pytest.raises(InputError, match="words of Bert"): WordReader.check(bert.base_model, {})
    with pytest.raises(InputError, match="student vocab_size"):
        Distiller(build("bert", AutoModelForMaskedLM, vocab_size=V - 1), bert, SoftWords(), training_args("x", use_cpu=True))

# Training

PLAIN = dict(max_steps=1, eval_strategy="no", disable_tqdm=True, optim="sgd", learning_rate=1., warmup_steps=0,
             lr_scheduler_type="constant", max_grad_norm=0., weight_decay=0., bf16=False, seed=0, use_cpu=True)

def weights(module): return nn.utils.parameters_to_vector(module.parameters()).detach().clone()

def one_step(tok, folder, objective, rows=None, **settings):
    "The student's step, and the Distiller."
    student = init_student(small_lm(), [0, 3])
    before = weights(student)
    d = Distiller(student, small_lm(), objective, training_args(folder, **{**PLAIN, **settings}), train_dataset=rows or lm_rows(),
                  processing_class=tok, data_collator=partial(collate, tok))
    d.show_bar("test").train()
    return weights(student) - before, d

@pytest.mark.parametrize("unit", ["tokens", "labels"])
def test_accumulation_is_the_large_batch_and_the_plain_way(tok, tmp_path, unit):
    steps = [one_step(tok, tmp_path, TRIPLE(unit), per_device_train_batch_size=bs, gradient_accumulation_steps=n)[0]
             for bs, n in ((32, 1), (8, 4), (12, 3))]
    plain = 5*SoftTargets(T=2, unit=unit) + 2*HardTargets() + CosineHidden()
    steps.append(one_step(tok, tmp_path, plain, per_device_train_batch_size=32)[0])
    assert steps[0].norm() > 1e-2
    for other in steps[1:]: assert (steps[0] - other).norm() < 1e-4 * steps[0].norm()

@pytest.mark.slow
@pytest.mark.parametrize("setting", [dict(gradient_checkpointing=True), dict(bf16=True),
                                     dict(torch_compile=True, torch_compile_backend="aot_eager")], ids=lambda s: next(iter(s)))
def test_trainers_settings_change_no_number(tok, tmp_path, setting):
    torch._dynamo.reset()
    for unit in ("tokens",) if "torch_compile" in setting else ("tokens", "labels"):
        common = dict(per_device_train_batch_size=16, max_steps=2, learning_rate=.1, logging_steps=1)
        (a, d), (b, e) = [one_step(tok, tmp_path, TRIPLE(unit), **common, **extra) for extra in ({}, setting)]
        rough = "bf16" in setting
        mine, other = [x.history().filter(regex="^loss/") for x in (d, e)]
        assert (mine > 0).all().all()
        assert other.values.ravel().tolist() == pytest.approx(mine.values.ravel().tolist(), rel=.1 if rough else 1e-3)
        assert (a - b).norm() < (.1 if rough else 1e-3) * a.norm()

def test_one_number_per_term_is_logged(tok, tmp_path):
    _, d = one_step(tok, tmp_path, TRIPLE(), per_device_train_batch_size=8, gradient_accumulation_steps=2, max_steps=2, logging_steps=1)
    h = d.history()
    assert list(h.filter(regex="^share/")) == ["share/SoftWords", "share/HardWords", "share/CosineHidden"]
    assert h.filter(regex="^loss/").sum(axis=1).tolist() == pytest.approx(h["loss"].tolist(), rel=1e-3)

def test_tied_weights_learn_from_both_sides(tok, tmp_path):
    student = init_student(small_lm(), [0])
    assert student.get_output_embeddings().weight is student.get_input_embeddings().weight
    loose = init_student(small_lm(tie_word_embeddings=False), [0])
    grads = {}
    for name, s in dict(tied=student, loose=loose).items():
        batch = lm_batch(vocabulary=len(WORDS))
        SoftWords()(trace(s, batch, {"words"}), trace(small_lm().eval(), batch, {"words"}), batch).backward()
        grads[name] = s.get_output_embeddings().weight.grad.norm()
    assert grads["tied"] != grads["loose"]

def padded_left(rows):
    long = max(r["length"] for r in rows)
    fill = lambda x, v: torch.tensor([[v] * (long - len(r[x])) + r[x] if x in r else [0] * (long - r["length"]) + [1] * r["length"] for r in rows])
    return dict(input_ids=fill("input_ids", 0), labels=fill("labels", -100), attention_mask=fill("mask", 0))

def left_run(tmp_path, objective):
    args = training_args(tmp_path, max_steps=2, logging_steps=1, eval_strategy="no", disable_tqdm=True, bf16=False, use_cpu=True, per_device_train_batch_size=8)
    return Distiller(small_lm(2), small_lm(3), objective, args, train_dataset=lm_rows(), data_collator=padded_left)

@pytest.mark.parametrize("objective", ["words", "logits"])
def test_a_masked_lm_is_packed_with_padding_on_the_left_too(objective, tmp_path):
    "It was refused for a head that reads the first place; one that answers every token reads none."
    goal = lambda: TRIPLE() if objective == "words" else SoftTargets(T=2, unit="tokens") + HardTargets()
    losses = []
    for packs in False, True:
        run = left_run(tmp_path, goal())
        if packs: run.pack_tokens()
        run.show_bar("").train()
        losses.append([*run.history()["loss"]])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)

def test_a_term_that_reads_the_first_place_is_not_packed_with_padding_on_the_left(tmp_path):
    run = left_run(tmp_path, HardTargets() + ClsMSE()).pack_tokens()
    with pytest.raises(InputError, match="packed tokens with padding on the left"): run.train()
