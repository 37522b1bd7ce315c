"trace: attention scores of many families against eager attention, modes, gradients, compile, checkpointing, refusals."
import threading
from functools import partial
import pytest, torch, transformers
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForQuestionAnswering, AutoModelForSequenceClassification, BertConfig, GPT2Config, PreTrainedModel, logging
from transformers.models.layoutlm.modeling_layoutlm import LayoutLMPreTrainedModel
from families import build_odd
from distill_nb.inside import capture
from distill_nb.inside.capture import ATTENTION, trace
from distill_nb.inside.inputs import encoder_of, model_inputs, unwrap
from distill_nb.kit.errors import InputError
from distill_nb.losses import (AttentionKL, AttentionMSE, CosineHidden, HiddenMSE, Relations, SoftTargets, attention_mse)

BASE = dict(vocab_size=60, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2)
RECORDED = {name: BASE for name in ["bert", "roberta", "xlm-roberta", "camembert", "electra", "ernie", "data2vec-text",
            "nomic_bert", "layoutlm", "roberta-prelayernorm", "xlm-roberta-xl", "jina_embeddings_v3"]}
RECORDED |= {"albert": dict(BASE, embedding_size=16),
             "mobilebert": dict(BASE, embedding_size=16, true_hidden_size=16, intra_bottleneck_size=16),
             "modernbert": dict(BASE, local_attention=4, global_attn_every_n_layers=3),
             "eurobert": dict(BASE, num_attention_heads=4, num_key_value_heads=2),
             "distilbert": dict(vocab_size=60, dim=16, n_layers=3, n_heads=2, hidden_dim=32, max_position_embeddings=64)}
REFUSED = {name: BASE for name in ["deberta-v2", "deberta", "mpnet", "roformer", "convbert", "rembert", "big_bird", "fnet", "splinter"]}
if not LayoutLMPreTrainedModel._supports_sdpa: REFUSED["layoutlm"] = RECORDED.pop("layoutlm")  # transformers 5.10
every_family = pytest.mark.parametrize("family", RECORDED)

@pytest.fixture(autouse=True)
def quiet_configs():
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    yield
    logging.set_verbosity(level)

CORE = {"bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "albert", "mobilebert", "modernbert"}

def records(model):
    "Does this version of transformers run the family's attention through its AttentionInterface?"
    return model._can_set_attn_implementation() and model._supports_sdpa

def make(family, auto=AutoModel, sharpen=True, **kw):
    "A small random model whose attention is far from uniform, else any scores would pass."
    torch.manual_seed(0)
    model = auto.from_config(AutoConfig.for_model(family, **{**(RECORDED | REFUSED)[family], **kw})).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if sharpen and p.dim() > 1 and not ("embed" in name or "classifier" in name): p *= 12
    if family in RECORDED and not records(model):
        assert family not in CORE
        with pytest.raises(InputError, match="AttentionInterface"): trace(model, batch_of(), {"scores"})
        pytest.skip(f"transformers {transformers.__version__} has no AttentionInterface in {family}")
    return model

def batch_of(seq=11, pair=False, padded=True):
    "Two texts, one of them padded; as a pair the token types change in the middle."
    ids = torch.randint(5, 60, (2, seq), generator=torch.Generator().manual_seed(1))
    if padded: ids[1, 7:] = 0
    types = (torch.arange(seq) > 3).long().expand(2, -1) * (ids > 0)
    return dict(input_ids=ids, attention_mask=(ids > 0).long(), **{"token_type_ids": types} if pair else {})

def eager(model, batch):
    own = model.config._attn_implementation
    model.set_attn_implementation("eager")
    with torch.no_grad(): out = model(**batch, output_attentions=True)
    model.set_attn_implementation(own)
    return out.attentions

def checkpoint_activations(model, use_reentrant=False):
    "Gradient checkpointing, under its newer name or its older one."
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": use_reentrant})

# Values

@every_family
@pytest.mark.parametrize("pair, padded", [(False, True), (True, True), (False, False)], ids=["single", "pair", "unpadded"])
def test_softmax_of_our_scores_is_eagers(family, pair, padded):
    "Without padding transformers makes no mask at all, and that is a way of its own."
    model = make(family)
    if pair and not getattr(model.config, "type_vocab_size", 0) > 1: pytest.skip("no token types")
    batch = batch_of(pair=pair, padded=padded)
    with torch.no_grad(): out = trace(model, batch, {"scores"})
    theirs = eager(model, batch)
    assert len(out.scores) == len(theirs) == model.config.num_hidden_layers
    assert max((p[0].amax(-1) - p[0].amin(-1)).max() for p in theirs) > .05 # far from uniform, so this can fail
    for ours, p in zip(out.scores, theirs):
        assert ours.shape == p.shape
        torch.testing.assert_close(ours.softmax(-1), p, atol=1e-5, rtol=0)

@every_family
def test_the_model_computes_what_it_computes(family):
    model, batch = make(family, AutoModelForMaskedLM if family in ("bert", "modernbert") else AutoModel), batch_of()
    with torch.no_grad():
        plain = model(**batch, output_hidden_states=True)
        states = trace(model, batch, {"hidden_states", *ATTENTION}).hidden_states
    for ours, theirs in zip(states, plain.hidden_states): torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert model.config._attn_implementation == "sdpa"

@pytest.mark.parametrize("family", ["bert", "albert", "distilbert", "modernbert", "eurobert"])
def test_queries_keys_and_values_are_what_attention_is_made_of(family):
    model, batch = make(family), batch_of()
    with torch.no_grad(): out = trace(model, batch, ATTENTION)
    mask = batch["attention_mask"].bool()[:, None, None]
    for q, k, v, scores in zip(out.queries, out.keys, out.values, out.scores):
        assert q.shape == k.shape == v.shape == (*scores.shape[:3], q.shape[-1])
        seen = scores > torch.finfo(scores.dtype).min / 2
        torch.testing.assert_close((q @ k.mT * q.shape[-1]**-.5)[seen], scores[seen])
        assert not (seen & ~mask).any() # nobody looks at padding

def test_bert_by_hand():
    model, batch = make("bert"), batch_of()
    with torch.no_grad():
        out = trace(model, batch, {"hidden_states", "queries", "keys", "values"})
        for i, block in enumerate(model.encoder.layer):
            for part, name in (("queries", "query"), ("keys", "key"), ("values", "value")):
                x = getattr(block.attention.self, name)(out.hidden_states[i]).view(2, 11, 2, 8).transpose(1, 2)
                torch.testing.assert_close(getattr(out, part)[i], x)

def test_only_what_was_asked_for():
    model, batch = make("bert", AutoModelForSequenceClassification), batch_of()
    out = trace(model, batch, {"scores": (2,), "hidden_states": (0, 3)})
    assert [s is None for s in out.scores] == [True, True, False]
    assert [h is None for h in out.hidden_states] == [False, True, True, False]
    assert (out.logits, out.queries, out.keys, out.values) == (None,) * 4
    whole = trace(model, batch, {"scores", "hidden_states", "logits"})
    assert torch.equal(out.scores[2], whole.scores[2]) and torch.equal(out.hidden_states[3], whole.hidden_states[3])
    assert whole.logits.shape == (2, 2)

def test_the_head_does_not_run_where_no_logits_are_wanted():
    model, batch = make("bert", AutoModelForMaskedLM), batch_of()
    ran = []
    model.cls.register_forward_hook(lambda *a: ran.append(1))
    trace(model, batch, {"hidden_states", "scores"})
    assert not ran
    trace(model, batch, {"logits", "scores"})
    assert ran

# Modes

@pytest.mark.parametrize("family", ["bert", "albert", "distilbert", "modernbert", "mobilebert"])
def test_scores_in_training_are_those_before_dropout(family):
    "Without dropout elsewhere, a layer's scores in training are those of eval mode."
    model, batch = make(family), batch_of()
    with torch.no_grad(): still = trace(model, batch, {"scores": (0,)}).scores[0]
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Dropout) and "embed" in name: module.p = 0.
    with torch.no_grad(): drops = trace(model.train(), batch, {"scores": (0,)}).scores[0]
    torch.testing.assert_close(drops, still)

@every_family
def test_gradients_reach_the_student(family):
    model, batch = make(family), batch_of()
    model.train()
    with torch.no_grad(): target = trace(make(family), batch_of(), {"scores"}).scores
    scores = trace(model, batch, {"scores"}).scores
    sum(attention_mse(a, t + 1, batch["attention_mask"]) for a, t in zip(scores, target)).backward()
    touched = [n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert any("embed" in n for n in touched) and any(s in n for n in touched for s in ("query", "q_lin", "q_proj", "Wqkv", "qkv"))

def test_no_gradient_under_no_grad_and_none_leaks():
    model, batch = make("bert"), batch_of()
    with torch.no_grad(): out = trace(model, batch, {"scores", "hidden_states"})
    assert not any(x.requires_grad for x in (*out.scores, *out.hidden_states))

@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    model, batch = make("bert", sharpen=False), batch_of()
    plain = trace(model, batch, {"scores"}).scores
    with torch.autocast("cpu", dtype): cast = trace(model, batch, {"scores"}).scores
    for a, b in zip(plain, cast):
        assert b.dtype == dtype
        torch.testing.assert_close(b.float().softmax(-1), a.softmax(-1), atol=2e-2, rtol=0)
    attention_mse(cast[0], plain[0].to(dtype), batch["attention_mask"]).backward()
    assert model.embeddings.word_embeddings.weight.grad.isfinite().all()

@pytest.mark.parametrize("family", ["bert", "albert"])
def test_compiled_models_give_the_same_numbers(family):
    torch._dynamo.reset()
    model, batch = make(family, AutoModelForSequenceClassification), batch_of()
    compiled = torch.compile(model, backend="aot_eager")
    assert unwrap(compiled) is model
    for needs in ({"scores", "logits"}, {"scores", "keys", "hidden_states"}): # switched between them, and back
        grads = []
        compiled(**batch)
        for m in (model, compiled):
            model.zero_grad()
            out = trace(m, batch, needs)
            sum(s.clamp(min=-1e3).square().mean() for s in out.scores).backward()
            grads.append((out.scores[-1].detach(), model.get_input_embeddings().weight.grad.clone()))
        for ours, theirs in zip(*grads): torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)

@pytest.mark.parametrize("family", ["bert", "electra", "distilbert", "modernbert"])
def test_a_compiled_block_is_recorded_in_one_piece(family, monkeypatch):
    "All blocks, and a loss over what they gave, are one graph each; the numbers and gradients are the plain ones."
    from distill_nb.losses import AttentionMSE, Relations, SoftTargets
    from distill_nb.losses.objective import as_objective
    from distill_nb.training.gpu import compile_blocks, plain_blocks
    torch._dynamo.reset()
    pieces = []
    def counted(graph, inputs):
        pieces.append(graph)
        return graph.forward
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counted))
    model, batch, grads = make(family, AutoModelForSequenceClassification), batch_of(), []
    objective = as_objective(SoftTargets() + AttentionMSE() + Relations("qv")).bind(model, model)
    with torch.no_grad(): other = trace(model, {k: v.roll(1, 1) if k == "input_ids" else v for k, v in batch.items()}, ("logits", *ATTENTION))
    def work():
        model.zero_grad()
        losses = objective(trace(model, batch, ("logits", *ATTENTION)), other, batch)
        sum(losses.values()).backward()
        return [*losses.values(), model.get_input_embeddings().weight.grad.clone()]
    plain = work()
    compile_blocks(model, objective)
    try: torch.testing.assert_close(work(), plain, atol=1e-4, rtol=1e-4)
    finally: plain_blocks(model, objective)
    assert len(pieces) == (3 if family == "modernbert" else 2) # with windows of attention and without
    torch.testing.assert_close(work(), plain)

@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_compiled_blocks_that_are_recomputed_give_the_same_gradients(family, monkeypatch):
    from distill_nb.training.gpu import compile_blocks, plain_blocks
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    model, batch = make(family, AutoModelForSequenceClassification).train(), batch_of()
    for m in model.modules():
        if isinstance(m, torch.nn.Dropout): m.p = 0.
    def work():
        model.zero_grad()
        out = trace(model, batch, {"scores", "logits"})
        (sum(s.clamp(min=-1e3).square().mean() for s in out.scores) + out.logits.sum()).backward()
        return model.get_input_embeddings().weight.grad.clone()
    plain = work()
    model.gradient_checkpointing_enable(dict(use_reentrant=False))
    compile_blocks(model)
    try: torch.testing.assert_close(work(), plain, atol=1e-4, rtol=1e-4)
    finally: plain_blocks(model)

@pytest.mark.parametrize("family", ["bert", "electra", "distilbert", "modernbert"]) # ALBERT has no checkpointing
def test_gradient_checkpointing_changes_no_number(family):
    batch, grads = batch_of(), []
    for again in (False, True):
        model = make(family, AutoModelForSequenceClassification).train()
        for m in model.modules():
            if isinstance(m, torch.nn.Dropout): m.p = 0.
        for name in ("attention_dropout", "attention_probs_dropout_prob"):
            if hasattr(model.config, name): setattr(model.config, name, 0.)
        for m in model.modules():
            if isinstance(getattr(m, "attention_dropout", None), float): m.attention_dropout = 0.
        if again: checkpoint_activations(model)
        out = trace(model, batch, {"scores", "logits", "hidden_states"})
        assert len(out.scores) == 3
        (sum(s.clamp(min=-1e3).square().mean() for s in out.scores) + out.logits.sum()).backward()
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert grads[0].norm() > 0
    torch.testing.assert_close(grads[1], grads[0], atol=1e-5, rtol=1e-4)

def test_checkpointing_that_cuts_gradients_is_refused():
    model = make("bert").train()
    checkpoint_activations(model, use_reentrant=True)
    with pytest.raises(InputError, match="use_reentrant=False"): trace(model, batch_of(), {"scores"})
    assert model.config._attn_implementation == "sdpa"

def test_checkpointing_with_eager_attention_is_refused_and_eager_alone_works():
    model, batch = make("bert"), batch_of()
    want = trace(model, batch, {"scores"}).scores
    model.set_attn_implementation("eager")
    for a, b in zip(trace(model, batch, {"scores"}).scores, want): torch.testing.assert_close(a, b)
    assert model.config._attn_implementation == "eager"
    checkpoint_activations(model.train())
    with pytest.raises(InputError, match="with eager attention"): trace(model, batch, {"scores"})

def test_traces_may_nest():
    "A teacher asked from inside a student's forward pass does not disturb it."
    model, teacher, batch = make("bert"), make("distilbert"), batch_of()
    inner = []
    model.encoder.layer[1].register_forward_pre_hook(lambda *a: inner.append(trace(teacher, batch, {"scores"}).scores))
    outer = trace(model, batch, {"scores"}).scores
    assert len(outer) == 3 and len(inner[0]) == 3
    assert torch.equal(inner[0][2], trace(teacher, batch, {"scores"}).scores[2])

# What a step pays for

@pytest.mark.parametrize("needs", [["logits"], ["hidden_states"], ["scores"], ["queries", "values", "logits"]], ids="+".join)
@pytest.mark.parametrize("training", [False, True])
def test_a_later_trace_does_not_walk_through_the_model(monkeypatch, needs, training):
    "A walk through 12 blocks takes as long as a block; a step of a small model must not pay for it."
    model, batch = make("bert", AutoModelForSequenceClassification).train(training), batch_of()
    trace(model, batch, needs)
    def walk(self, *args, **kwargs): raise AssertionError("walked")
    monkeypatch.setattr(torch.nn.Module, "named_modules", walk)
    trace(model, batch, needs)

class Part(PreTrainedModel):
    "A model inside another one, with a configuration of its own."
    config_class, _supports_sdpa = BertConfig, True

def test_parts_with_settings_of_their_own_get_them_back(monkeypatch):
    model, batch = make("bert"), batch_of()
    model.part = Part(BertConfig(**BASE))
    monkeypatch.setattr(Part, "_can_set_attn_implementation", classmethod(lambda cls: True))
    seen, settings = [], lambda: [m.config._attn_implementation for m in (model, model.part)]
    model.register_forward_pre_hook(lambda *a: seen.append(settings()))
    for own in ("eager", "sdpa"):
        model.part.config._attn_implementation = own
        assert settings() == ["sdpa", own]
        trace(model, batch, {"scores"})
        assert settings() == ["sdpa", own]
    assert seen == [[capture.NAME] * 2] * 2

def test_a_configuration_that_was_replaced_is_read():
    model, batch = make("bert"), batch_of()
    trace(model, batch, {"scores"})
    other = make("bert")
    model.embeddings, model.encoder, model.config = other.embeddings, other.encoder, other.config
    for a, b in zip(trace(model, batch, {"scores"}).scores, trace(other, batch, {"scores"}).scores): assert torch.equal(a, b)

def test_checkpointing_is_seen_wherever_it_was_switched_on():
    model = make("bert").train()
    assert not capture.recomputes(model)
    model.encoder.layer[2].gradient_checkpointing = True
    assert capture.recomputes(model) and not capture.recomputes(model.eval())
    with torch.no_grad(): assert not capture.recomputes(model.train())

# Threads

def together(*jobs, times=25):
    "Run the jobs in threads that begin at once; the errors."
    errors, gate = [], threading.Barrier(len(jobs))
    def work(job):
        gate.wait()
        for _ in range(times):
            try:
                with torch.no_grad(): job()
            except BaseException as e: errors.append(e)
    threads = [threading.Thread(target=work, args=(job,)) for job in jobs]
    for t in threads: t.start()
    for t in threads: t.join()
    return errors

@pytest.mark.parametrize("own", ["sdpa", "eager"])
@pytest.mark.parametrize("others", [["scores"], ["base"], ["plain"], ["keys", "logits", "base"], ["crash", "scores"]], ids="+".join)
def test_threads_get_right_answers_and_leave_the_model_as_it_was(own, others):
    if own == "eager" and "plain" in others: pytest.skip("its masks are others; the page says that it should not be called beside a trace")
    model, batch = make("bert", AutoModelForSequenceClassification), batch_of()
    model.set_attn_implementation(own)
    want = [s.detach() for s in trace(model, batch, {"scores"}).scores]
    plain = model(**batch).logits.detach()
    def close(a, b): torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    def scores():
        for a, b in zip(trace(model, batch, {"scores"}).scores, want): close(a, b)
    def base():
        for a, b in zip(trace(model.bert, batch, {"scores"}).scores, want): close(a, b)
    def crash():
        with pytest.raises(IndexError): trace(model, dict(input_ids=batch["input_ids"] + 1000), {"scores"})
    jobs = dict(scores=scores, base=base, crash=crash, plain=lambda: close(model(**batch).logits, plain),
                keys=lambda: len(trace(model, batch, {"keys"}).keys) == 3 or 1 / 0, logits=lambda: close(trace(model, batch).logits, plain))
    assert not together(scores, *[jobs[o] for o in others])
    assert model.config._attn_implementation == own and not capture._traced

def test_readers_look_into_a_model_one_at_a_time(monkeypatch):
    from contextlib import contextmanager
    inside, most = [], []
    class Reader:
        def check(model, wanted): pass
        @contextmanager
        def reading(model, batch, wanted):
            inside.append(1)
            most.append(len(inside))
            yield lambda out: out
            inside.pop()
    monkeypatch.setitem(capture.READERS, "words", Reader)
    model, batch = make("bert"), batch_of()
    assert not together(*[lambda: trace(model, batch, {"words"})] * 3) and max(most) == 1

# Wrappers

class Wrapper(torch.nn.Module):
    "As PEFT's: the base model is not the encoder, and arguments are handed on unnamed."
    def __init__(self, model):
        super().__init__()
        self.base_model = torch.nn.Sequential(model)
    def __getattr__(self, name):
        try: return super().__getattr__(name)
        except AttributeError: return getattr(super().__getattr__("base_model")[0], name)
    def forward(self, *args, **kwargs): return self.base_model[0](*args, **kwargs)

class Naming(Wrapper):
    def forward(self, input_ids=None, attention_mask=None, labels=None, **kwargs):
        return self.base_model[0](input_ids=input_ids, attention_mask=attention_mask, labels=labels, **kwargs)

def lora(model):
    peft = pytest.importorskip("peft")
    settings = peft.LoraConfig(task_type=peft.TaskType.SEQ_CLS, r=2, target_modules=["query", "value", "q_lin", "v_lin", "Wqkv"][: 2 if hasattr(model, "bert") else 5])
    return peft.get_peft_model(model, settings).eval()

@pytest.mark.parametrize("wrap", [Wrapper, Naming, lambda m: Naming(Wrapper(m)), lora], ids=["unnamed", "naming", "nested", "lora"])
@pytest.mark.parametrize("family", ["bert", "distilbert", "modernbert"])
def test_wrappers_give_what_the_model_inside_gives(wrap, family):
    "Token types arrive where the model reads them, and every part is its own."
    plain, batch = make(family, AutoModelForSequenceClassification), batch_of(pair=True) | dict(labels=torch.tensor([0, 1]), length=[11, 7])
    wrapped = wrap(make(family, AutoModelForSequenceClassification))
    assert set(model_inputs(wrapped, batch)) == set(model_inputs(plain, batch)) and encoder_of(wrapped).config.model_type == family
    for needs in ({"logits"}, {"hidden_states"}, {"scores"}, {"logits", "keys", "hidden_states"}):
        with torch.no_grad(): a, b = [trace(m, batch, needs) for m in (wrapped, plain)]
        for part in needs: torch.testing.assert_close(getattr(a, part), getattr(b, part))
    with pytest.raises(InputError, match="layer .9. of scores"): trace(wrapped, batch, {"scores": (9,)})

def test_token_types_matter():
    model, batch = make("bert", AutoModelForSequenceClassification), batch_of(pair=True)
    with torch.no_grad(): a, b = trace(Wrapper(model), batch).logits, trace(Wrapper(model), batch_of()).logits
    assert (a - b).abs().max() > 1e-3

@pytest.mark.parametrize("needs", [{"logits"}, {"hidden_states"}, {"scores"}])
def test_tuples_are_no_hindrance(needs):
    model, batch = make("bert", AutoModelForSequenceClassification), batch_of()
    with torch.no_grad():
        want = trace(model, batch, needs)
        model.config.return_dict = False
        got = trace(model, batch, needs)
    for part in needs: torch.testing.assert_close(getattr(got, part), getattr(want, part))
    assert model.config.return_dict is False

# Refusals

def test_a_head_of_spans_gives_starts_and_ends_and_none_gives_no_logits():
    model, batch = make("bert", AutoModelForQuestionAnswering), batch_of()
    z, real = trace(model, batch).logits, batch["attention_mask"].bool()
    assert (~real).any() and (z.mT[~real] < -1e8).all(), "padding is no place of an answer"
    with torch.no_grad(): out = model(**batch)
    torch.testing.assert_close(z.mT[real], torch.stack([out.start_logits, out.end_logits], -1)[real])
    with pytest.raises(InputError, match="BertModel gives no logits"): trace(model.bert, batch)
    assert len(trace(model, batch, {"hidden_states"}).hidden_states) == 4

@pytest.mark.parametrize("needs", ["logits", 3, None, [3], [None], {"scores": 2}, {"scores": ["a"]}, {"scores": (1.5,)}], ids=repr)
def test_needs_of_odd_types_get_one_sentence(needs):
    with pytest.raises(InputError): trace(make("bert"), batch_of(), needs)

@pytest.mark.parametrize("family", REFUSED)
@pytest.mark.parametrize("part", sorted(ATTENTION))
def test_families_without_the_interface_are_refused(family, part):
    model, batch = make(family, sharpen=False), batch_of()
    with pytest.raises(InputError, match=type(model).__name__): trace(model, batch, {part})
    assert len(trace(model, batch, {"hidden_states"}).hidden_states) == 4

def test_causal_attention_is_refused():
    model = AutoModel.from_config(GPT2Config(vocab_size=60, n_embd=16, n_layer=1, n_head=2))
    with pytest.raises(InputError, match="causal attention in GPT2Attention"): trace(model, {"input_ids": torch.ones(1, 4).long()}, {"scores"})

def test_a_crash_restores_the_setting():
    model = make("bert")
    def crash(*a): raise RuntimeError("boom")
    hook = model.encoder.layer[1].register_forward_pre_hook(crash)
    with pytest.raises(RuntimeError, match="boom"): trace(model, batch_of(), {"scores"})
    hook.remove()
    assert model.config._attn_implementation == "sdpa"
    assert len(trace(model, batch_of(), {"scores"}).scores) == 3 # and no call of the crashed pass is left

@pytest.mark.parametrize("needs, message", [({"attention"}, "needs="), ({"scores": (3,)}, "layer"), ({"scores": (-1,)}, "layer"),
                                            ({"hidden_states": (4,)}, "0 to 3")])
def test_unknown_parts_and_layers_are_refused(needs, message):
    with pytest.raises(InputError, match=message): trace(make("bert"), batch_of(), needs)

def test_calls_that_are_not_one_per_block_are_refused():
    "ALBERT with two attention modules a group: nobody could say which call is which layer."
    model = make("albert", inner_group_num=2)
    with pytest.raises(InputError, match="6 attention calls in AlbertModel"): trace(model, batch_of(), {"scores"})

# With objectives

EVERYTHING = lambda: (SoftTargets(T=2) + CosineHidden() + HiddenMSE() + AttentionMSE() + AttentionKL()
                      + Relations("qkv", heads=4) + Relations(("qk",)))

@pytest.mark.parametrize("family", ["bert", "modernbert", "albert", "nomic_bert"])
@pytest.mark.parametrize("extra", [1, 9])
def test_padding_changes_neither_loss_nor_gradient(family, extra):
    teacher, losses, grads = make(family, AutoModelForSequenceClassification, num_hidden_layers=6), [], []
    batch = batch_of()
    wide = {k: torch.nn.functional.pad(v, (0, extra)) for k, v in batch.items()}
    for b in (batch, wide):
        student = make(family, AutoModelForSequenceClassification, sharpen=False)
        objective = EVERYTHING()
        of_student, of_teacher = objective.reads(3, 6)
        with torch.no_grad(): t = trace(teacher, b, of_teacher)
        parts = objective(trace(student, b, of_student), t, b)
        sum(parts.values()).backward()
        losses.append(torch.stack(list(parts.values())))
        grads.append(torch.cat([p.grad.flatten() for p in student.parameters() if p.grad is not None]))
    assert (losses[0] > 0).all() and grads[0].norm() > 0
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-4, atol=1e-5)
    assert (grads[1] - grads[0]).norm() < 1e-3 * grads[0].norm()

def test_what_reads_names_is_enough():
    teacher, student, batch = make("bert", AutoModelForSequenceClassification, num_hidden_layers=6), make("distilbert", AutoModelForSequenceClassification), batch_of()
    objective = EVERYTHING()
    few = [trace(m, batch, needs) for m, needs in zip((student, teacher), objective.reads(3, 6))]
    all_ = [trace(m, batch, objective.needs) for m in (student, teacher)]
    assert sum(h is None for h in few[1].hidden_states) == 3 and sum(s is None for s in few[1].scores) == 3
    for a, b in zip(objective(*few, batch).values(), objective(*all_, batch).values()): torch.testing.assert_close(a, b)

# Scores that serve the pass

@pytest.mark.parametrize("ragged", [False, True])
def test_training_with_dropout_is_what_sdpa_computes(ragged):
    "On a CPU the recorded scores also make the output: same draws, same numbers, same gradients."
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(BertConfig(vocab_size=60, hidden_size=24, num_hidden_layers=3,
        num_attention_heads=3, intermediate_size=48, attention_probs_dropout_prob=.3, initializer_range=.3)).train()
    ids = torch.randint(5, 60, (3, 8))
    mask = torch.ones_like(ids)
    if ragged: mask[0, 5:] = 0
    batch = dict(input_ids=ids, attention_mask=mask)
    def run(f):
        torch.manual_seed(1)
        model.zero_grad()
        z = f()
        z.square().sum().backward()
        return z, [p.grad.clone() for p in model.parameters()]
    (z, grads), (z_t, grads_t) = run(lambda: model(**batch).logits), run(lambda: trace(model, batch, {"logits", "scores"}).logits)
    torch.testing.assert_close(z_t, z)
    for a, b in zip(grads_t, grads): torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)

def test_states_that_are_no_blocks_are_refused():
    "Funnel's decoder gives states of its own, and the last block's would be none of them."
    ids = torch.randint(5, 60, (2, 9))
    funnel = build_odd("funnel", AutoModel, architectures=[])
    with pytest.raises(InputError, match="7 hidden states of FunnelModel: expected 4 blocks' and the embeddings'"):
        trace(funnel, dict(input_ids=ids), {"hidden_states": (4,)})
    assert len(trace(build_odd("funnel"), dict(input_ids=ids), {"hidden_states"}).hidden_states) == 5

@pytest.mark.parametrize("family", ["bart", "t5"])
def test_attention_of_an_encoder_with_a_decoder_is_refused(family):
    with pytest.raises(InputError, match="an encoder with transformers' AttentionInterface"): trace(build_odd(family), dict(input_ids=torch.ones(1, 4).long()), {"scores"})
