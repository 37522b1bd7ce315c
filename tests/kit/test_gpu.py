"""Behind nbs/kit/06_gpu.ipynb: recorded steps give what plain steps give. Without a GPU a stand-in records nothing and does the work again at every replay, which is
enough for all that is ours: which addresses are read and written, when a shape is recorded, and what is left when no recording can be made."""
import copy, warnings
from contextlib import contextmanager
import pytest, torch
from torch import nn
from distill_nb.kit import gpu
from distill_nb.kit.gpu import Bucketed, Graphs, bucket, half_copy, pad_tokens, shapes_of
from distill_nb.losses import AttentionMSE, HardTargets, HiddenMSE, Relations, SoftTargets, CosineHidden, as_objective
from distill_nb.training import Distiller, training_args
from datasets import Dataset
from distill_nb.kit.errors import InputError
from distill_nb.kit.packing import quick
from transformers import BertConfig, BertForSequenceClassification, DataCollatorWithPadding, PreTrainedTokenizerFast

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"

class StandIn:
    "A `torch.cuda.CUDAGraph` that does the work again."
    current = None
    def replay(self):
        new = self.work(self.static)
        for x, y in zip(self.out, new): x.copy_(y)

@pytest.fixture
def recorder(monkeypatch):
    "Graphs record, on a GPU as they do, elsewhere with the stand-in; returns the list of recordings."
    made, record = [], Graphs.record
    def noted(self, batch):
        made.append({k: tuple(x.shape) for k, x in batch.items()})
        if CUDA: return record(self, batch)
        graph, static = StandIn(), {k: x.clone() for k, x in batch.items()}
        self.hold_gradients()
        before = {p: p.grad.clone() for p in self.module.parameters() if p.grad is not None}
        state = torch.get_rng_state()
        out = [x.clone() for x in self.work(static)] # a capture runs nothing: undo it
        torch.set_rng_state(state)
        for p, g in before.items(): p.grad.copy_(g)
        graph.work, graph.static, graph.out = self.work, static, out
        return graph, static, out
    monkeypatch.setattr(Graphs, "record", noted)
    if not CUDA: monkeypatch.setattr(gpu, "shapes_of", lambda batch: tuple(sorted((k, *x.shape, x.dtype) for k, x in batch.items())))
    return made

def small_model(): return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)).to(DEVICE)

def run(model, work, batches, accumulate=1):
    opt, losses = torch.optim.AdamW(model.parameters(), lr=.1), []
    for i, x in enumerate(batches):
        losses.append(work({"x": x})[0].clone())
        if (i + 1) % accumulate == 0:
            opt.step()
            opt.zero_grad()
    return losses

@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_recorded_steps_are_plain_steps(recorder, accumulate):
    torch.manual_seed(0)
    batches = [torch.randn(2 + i % 3, 4, device=DEVICE) for i in range(18)]
    model = small_model()
    other, unused = copy.deepcopy(model), nn.Linear(3, 3).to(DEVICE)
    def work(m):
        def one(batch):
            loss = m(batch["x"]).square().mean() / accumulate
            loss.backward()
            return loss.detach(),
        return one
    plain = run(model, work(model), batches, accumulate)
    graphs = Graphs(work(other), nn.ModuleList([other, unused]))
    recorded = run(other, graphs, batches, accumulate)
    assert len(recorder) == len(graphs.made) == 3 and len({tuple(r["x"]) for r in recorder}) == 3
    torch.testing.assert_close(recorded, plain)
    torch.testing.assert_close(list(other.parameters()), list(model.parameters()))
    assert all(p.grad is None for p in unused.parameters()) # what gets no gradient has none: no decay

def test_what_cannot_be_recorded_goes_on_in_the_plain_way(monkeypatch):
    monkeypatch.setattr(gpu, "shapes_of", lambda batch: tuple((k, *x.shape) for k, x in batch.items()))
    model, calls = small_model(), []
    def work(batch):
        calls.append(1)
        loss = model(batch["x"]).square().mean()
        loss.backward()
        if CUDA: loss.item() # a wait
        return loss.detach(),
    def refuse(self, batch): raise RuntimeError("operation not permitted\nmore lines")
    if not CUDA: monkeypatch.setattr(Graphs, "record", refuse)
    graphs = Graphs(work, model)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(8): graphs({"x": torch.ones(2, 4, device=DEVICE)})
    said = [str(w.message) for w in seen if "no CUDA graph" in str(w.message)]
    assert len(said) == 1 and "\n" not in said[0] and not graphs.made and len(calls) >= 8
    torch.rand(3, device=DEVICE) # the generator is whole

def test_only_so_many_shapes(recorder):
    model = small_model()
    def work(batch):
        loss = model(batch["x"]).sum()
        loss.backward()
        return loss.detach(),
    graphs = Graphs(work, model, after=1, most=2)
    for n in (1, 2, 3, 4) * 3: graphs({"x": torch.ones(n, 4, device=DEVICE)})
    assert len(graphs.made) == 2

def test_tensors_elsewhere_are_no_shape():
    assert shapes_of({"x": torch.ones(2)}) is None and shapes_of({"x": "text"}) is None

# In a Distiller

def teacher_and_student(dropout=.1):
    torch.manual_seed(0)
    how = dict(vocab_size=50, hidden_size=32, num_attention_heads=4, intermediate_size=64, num_labels=3, hidden_dropout_prob=dropout)
    return [BertForSequenceClassification(BertConfig(num_hidden_layers=n, **how)) for n in (4, 2)]

def texts(n=70):
    g = torch.Generator().manual_seed(0)
    rows = [torch.randint(1, 50, (int(torch.randint(3, 30, (), generator=g)),), generator=g).tolist() for _ in range(n)]
    return Dataset.from_dict(dict(input_ids=rows, attention_mask=[[1] * len(r) for r in rows], labels=[i % 3 if i % 5 else -100 for i in range(n)]))

class Padding:
    def __call__(self, rows):
        long = max(len(r["input_ids"]) for r in rows)
        pad = lambda k: torch.tensor([r[k] + [0] * (long - len(r[k])) for r in rows])
        return dict(input_ids=pad("input_ids"), attention_mask=pad("attention_mask"), labels=torch.tensor([r["labels"] for r in rows]))

OBJECTIVES = {"distilbert": lambda: 5*SoftTargets(T=2) + 2*HardTargets() + CosineHidden(), "tinybert": lambda: AttentionMSE() + HiddenMSE(), "minilm": lambda: Relations("qkv"),
              "labels": lambda: SoftTargets(unit="labels") + HardTargets()}

def trained(tmp_path, graphs, objective, **settings):
    teacher, student = teacher_and_student()
    args = training_args(tmp_path, **dict(num_train_epochs=6, per_device_train_batch_size=8, eval_strategy="no", disable_tqdm=True, logging_steps=1, learning_rate=1e-3,
                                          bf16=False, use_cpu=not CUDA) | settings)
    run = Distiller(student, teacher, OBJECTIVES[objective](), args, train_dataset=texts(), data_collator=Bucketed(Padding()) if not CUDA else Padding())
    run.graphs = graphs
    if graphs and not CUDA: # as `use_gpu` does it
        begin = run.begin
        def also(): begin(); run.work = Graphs(run.one_step, run.model)
        run.begin = also
    run.show_bar("run").train()
    return torch.nn.utils.parameters_to_vector(student.parameters()).detach().cpu(), run.history()["loss"]

@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("settings", [{}, dict(gradient_accumulation_steps=3), pytest.param(dict(fp16=True), marks=pytest.mark.skipif(not CUDA, reason="of a GPU"))],
                         ids=["", "accumulation", "fp16"])
def test_a_distiller_learns_the_same_with_graphs(objective, settings, tmp_path, recorder):
    plain, losses = trained(tmp_path/"a", False, objective, **settings)
    assert not recorder
    recorded, others = trained(tmp_path/"b", True, objective, **settings)
    assert len(recorder) > 2
    near = dict(rtol=1e-5, atol=1e-6) if not CUDA else dict(rtol=1e-2, atol=2e-3) if "fp16" in settings else dict(rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(recorded, plain, **near)
    torch.testing.assert_close(torch.tensor(others.tolist()), torch.tensor(losses.tolist()), **near)

def test_the_scale_of_fp16_is_one_tensor_that_changes_in_place():
    "So a recording multiplies by the scale of now, and the gradients are divided outside of it by the same number."
    scaler, weight = torch.amp.GradScaler(DEVICE, init_scale=1024., growth_interval=2), nn.Parameter(torch.ones(2, device=DEVICE))
    optimizer, scales, tensors = torch.optim.SGD([weight], lr=.1), [], set()
    for factor in 1, 1, 1, float("inf"), 1:
        scaler.scale(factor * weight.sum()).backward()
        scales.append(scaler.get_scale())
        tensors.add((id(scaler._scale), scaler._scale.data_ptr()))
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    assert scales == [1024, 1024, 2048, 2048, 1024] and len(tensors) == 1

def test_steps_in_fp16_are_recorded(tmp_path):
    args = training_args(tmp_path, max_steps=2, eval_strategy="no", disable_tqdm=True, bf16=False, use_cpu=True)
    run = Distiller(teacher_and_student()[1], None, HardTargets(), args, train_dataset=texts(), data_collator=Padding())
    run.args.fp16 = True
    assert run.can_be_recorded()
    run.args.gradient_checkpointing = True
    assert not run.can_be_recorded()

def test_another_decision_of_python_is_another_recording(recorder):
    "A loss whose weight a callback changes, and parameters that are thawed, would else be repeated as they were."
    weight, model = [1.], small_model()
    for p in model[0].parameters(): p.requires_grad_(False)
    graphs = Graphs(lambda b: [(weight[0] * model(b["x"]).square().mean()).backward()] and [model(b["x"]).sum()], model, decided=lambda: weight[0])
    x = {"x": torch.ones(2, 4, device=DEVICE)}
    def gradients():
        for p in model.parameters(): p.grad = None
        graphs(x)
        return [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    once = [gradients() for _ in range(6)][-1]
    assert len(recorder) == 1 and once[0] is None
    weight[0] = 2.
    torch.testing.assert_close([gradients() for _ in range(6)][-1][2], 2 * once[2])
    assert len(recorder) == 2
    for p in model[0].parameters(): p.requires_grad_(True)
    assert [gradients() for _ in range(6)][-1][0].abs().sum() > 0 and len(recorder) == 3

def test_blocks_that_python_draws_are_not_recorded(tmp_path):
    "A recording would run the same draw for ever: Theseus on a GPU did."
    from transformers import FlaubertConfig, FlaubertForSequenceClassification
    from distill_nb.students.slots import choosing, theseus
    teacher, student = teacher_and_student()
    dropping = FlaubertForSequenceClassification(FlaubertConfig(vocab_size=40, emb_dim=8, n_layers=2, n_heads=2, layerdrop=.2))
    args = training_args(tmp_path, max_steps=2, eval_strategy="no", disable_tqdm=True, bf16=False, use_cpu=True)
    def can(model): return Distiller(model, None, HardTargets(), args, train_dataset=texts(), data_collator=Padding()).can_be_recorded()
    assert can(student) and not can(theseus(teacher, 2)) and not can(dropping)

@pytest.mark.parametrize("fails", [False, True])
def test_after_a_training_nothing_is_left(fails, tmp_path, monkeypatch):
    "Recordings go, the user's teacher is the one that is asked, and compiled blocks are plain again; also where the training fails."
    from distill_nb.inside.blocks import encoder_blocks as blocks
    from distill_nb.training.gpu import compile_blocks
    teacher, student = teacher_and_student()
    monkeypatch.setattr(Distiller, "compiles", True)
    monkeypatch.setattr(torch, "compile", lambda forward, **how: lambda *args, **kwargs: forward(*args, **kwargs))
    args = training_args(tmp_path, max_steps=2, eval_strategy="no", disable_tqdm=True, bf16=False, use_cpu=not CUDA)
    run = Distiller(student, teacher, SoftTargets(), args, train_dataset=texts(), data_collator=Padding())
    begin = run.begin
    def also():
        begin()
        compile_blocks(*run.compiled_parts())
        run.work = Graphs(run.one_step, run.model)
        if fails: raise KeyboardInterrupt
    run.begin = also
    if fails:
        with pytest.raises(KeyboardInterrupt): run.show_bar("run").train()
    else: run.show_bar("run").train()
    assert run.work == run.one_step and run.asked_teacher is teacher and not any("forward" in vars(b) for b in [*blocks(student), *blocks(teacher), run.objective])

def test_a_bf16_teacher_answers_as_autocast_does():
    teacher, _ = teacher_and_student()
    x = dict(input_ids=torch.arange(1, 33).view(4, 8), attention_mask=torch.ones(4, 8).long())
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16): plain = teacher.eval()(**x).logits
        half = half_copy(teacher)(**x).logits
    assert half.dtype == torch.bfloat16 and next(teacher.parameters()).dtype == torch.float32
    torch.testing.assert_close(half.float(), plain.float(), atol=.02, rtol=.05)

# Shapes

@pytest.mark.parametrize("n", [1, 7, 8, 9, 63, 64, 65, 127, 128, 129, 511, 512, 513, 8192])
def test_buckets(n):
    b = bucket(n)
    assert b >= n and b % 8 == 0 and bucket(b) == b and b - n <= max(7, n // 8 + 1)
    assert bucket(n, longest=n) == n and bucket(n, longest=max(1, n - 1)) >= n

def test_padding_changes_no_loss():
    teacher, student = [m.eval() for m in teacher_and_student(0.)]
    from distill_nb.inside.capture import trace
    few = [texts()[i] for i in range(8)]
    plain, wide = Padding()(few), Bucketed(Padding())(few)
    assert wide["input_ids"].shape[1] % 8 == 0 and plain["input_ids"].shape[1] % 8
    for make in OBJECTIVES.values():
        objective = as_objective(make()).bind(student, teacher)
        losses = [sum(objective(*[trace(m, b, objective.needs) for m in (student, teacher)], b).values()) for b in (plain, wide)]
        torch.testing.assert_close(*losses)

def test_only_tokens_are_padded():
    x = torch.ones(3, 5)
    assert pad_tokens(x, 2, -1).tolist()[0] == [1] * 5 + [-1] * 2
    square = dict(input_ids=torch.ones(3, 5).long(), probabilities=torch.ones(3, 4), answers=torch.ones(3, 5, 7), names=["a", "b", "c"])
    out = Bucketed(lambda rows: dict(square))(None)
    assert out["probabilities"].shape == (3, 4) and out["answers"].shape == (3, 8, 7) and out["names"] == ["a", "b", "c"]
    assert out["attention_mask"].tolist() == [[1] * 5 + [0] * 3] * 3, "without a mask the padding would be read"

def test_states_of_as_many_blocks_as_tokens_are_no_tokens():
    "Four blocks and embeddings, kept for texts of five tokens."
    kept = dict(input_ids=torch.ones(3, 5).long(), teacher_states=torch.ones(3, 5, 7), teacher_logits=torch.ones(3, 5))
    out = Bucketed(lambda rows: dict(kept))(None)
    assert out["teacher_states"].shape == (3, 5, 7) and out["teacher_logits"].shape == (3, 5) and out["input_ids"].shape == (3, 8)

@pytest.mark.parametrize("more", [{}, dict(attention_mask=1), dict(special_tokens_mask=0), dict(attention_mask=1, special_tokens_mask=0),
                                  dict(attention_mask=1, token_type_ids=0)])
@pytest.mark.parametrize("side", ["left", "right"])
def test_quick_padding_is_transformers_padding(tok, side, more):
    rows = [dict(input_ids=[2, *[5] * n, 3], labels=n) | {k: [v] * (n + 2) for k, v in more.items()} for n in (1, 4, 2)]
    before, tok.padding_side = tok.padding_side, side
    slow = DataCollatorWithPadding(tok)
    try: want, got = slow(rows), quick(slow)(rows)
    finally: tok.padding_side = before
    assert {*want} == {*got} and all(got[k].equal(want[k]) for k in want)

def test_what_cannot_be_padded_is_said_by_transformers(tok):
    with pytest.raises(ValueError, match="`text` in this case"):
        quick(DataCollatorWithPadding(tok))([dict(input_ids=[2, 3], attention_mask=[1, 1], text="a")] * 2)
    tok.backend_tokenizer.no_padding() # else it keeps the padding token of an earlier call
    bare = PreTrainedTokenizerFast(tokenizer_object=tok.backend_tokenizer)
    with pytest.raises(ValueError, match="does not have a padding token"):
        quick(DataCollatorWithPadding(bare))([dict(input_ids=[2] * n, attention_mask=[1] * n) for n in (1, 2)])

# Words: where the labels are is said by the collator

def word_models():
    from transformers import BertForMaskedLM
    torch.manual_seed(0)
    how = dict(vocab_size=60, hidden_size=32, num_attention_heads=4, intermediate_size=64, hidden_dropout_prob=0., attention_probs_dropout_prob=0.)
    return [BertForMaskedLM(BertConfig(num_hidden_layers=n, **how)) for n in (3, 2)]

def word_batch(share=.2):
    g = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 60, (4, 11), generator=g)
    labels = torch.where(torch.rand(4, 11, generator=g) < share, ids, -100)
    return dict(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels)

@pytest.mark.parametrize("share", [0., .2, 1.])
@pytest.mark.parametrize("scale", [1., 3.])
def test_places_of_the_labels_change_no_number(share, scale):
    from distill_nb.inside.capture import trace
    from distill_nb.words import HardWords, SoftWords
    found = []
    for gpu_like in (False, True):
        teacher, student = word_models()
        objective = as_objective(5*SoftWords(T=2, unit="labels") + 2*HardWords() + CosineHidden()).bind(student, teacher)
        assert not any(t.waits for t in objective.terms) and SoftWords().waits
        batch = word_batch(share)
        if gpu_like: batch = Bucketed(lambda rows: dict(batch), size=lambda n, longest=None: n + 0 if n == 11 else bucket(n))(None)
        with torch.no_grad(): t = trace(teacher.eval(), batch, objective.reads(2, 3)[1])
        parts = objective(trace(student, batch, objective.reads(2, 3)[0]), t, batch)
        (scale * sum(parts.values())).backward()
        found.append([torch.stack(list(parts.values())).detach(), *[p.grad for p in student.parameters() if p.grad is not None]])
    torch.testing.assert_close(*found)

@pytest.mark.parametrize("order", ["few_shapes pack_tokens", "pack_tokens few_shapes"])
def test_packed_batches_have_few_shapes(order, tmp_path):
    "Where the blocks compute no padding, the padded length is the next power of two, and the rows are of few numbers."
    import families
    from distill_nb.inside.padding_free import TOKENS
    g = torch.Generator().manual_seed(0)
    rows = [dict(input_ids=[5] * n, attention_mask=[1] * n, labels=0) for n in torch.randint(3, 40, (2000,), generator=g).tolist()]
    class Pad:
        def __call__(self, rows):
            most = max(len(r["input_ids"]) for r in rows)
            return {k: torch.tensor([r[k] + [0] * (most - len(r[k])) if k != "labels" else r[k] for r in rows]) for k in ("input_ids", "attention_mask", "labels")}
    args = training_args(tmp_path, max_steps=1, eval_strategy="no", disable_tqdm=True, bf16=False, use_cpu=True, per_device_train_batch_size=256)
    run = Distiller(families.build("bert"), families.build("bert"), SoftTargets(), args, train_dataset=Dataset.from_list(rows), data_collator=Pad())
    for step in order.split():
        getattr(run, step)()
        if step == "pack_tokens": run.data_collator.row = 128 # as on a GPU
    assert run.data_collator.row == 128
    made = [run.data_collator(rows[i:i + 250]) for i in range(0, 2000, 250)]
    assert {b["input_ids"].shape for b in made} == {(250, min(64, run.data_collator.base.longest or 64))}
    assert len({b[TOKENS].shape for b in made}) <= 3 and all(b[TOKENS].numel() < 1.08 * b["attention_mask"].sum() for b in made)

# What a model does not allow

def distiller(tmp_path, student, teacher=None, **settings):
    args = training_args(tmp_path, **dict(max_steps=1, eval_strategy="no", disable_tqdm=True, bf16=False, use_cpu=True) | settings)
    return Distiller(student, teacher, HardTargets(), args, train_dataset=texts(), data_collator=Padding())

def test_blocks_that_are_left_out_by_chance_are_not_packed(tmp_path):
    "The tokens went back after a count of blocks that was never reached: an error about shapes in the middle of a pass."
    from distill_nb.students.slots import theseus
    from transformers import OPTConfig, OPTForSequenceClassification
    teacher, _ = teacher_and_student()
    dropping = OPTForSequenceClassification(OPTConfig(vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, ffn_dim=32, word_embed_proj_dim=16, num_labels=3,
                                                      max_position_embeddings=64, pad_token_id=0, layerdrop=.3))
    for model in theseus(teacher, 2), dropping:
        run = distiller(tmp_path, model)
        with pytest.raises(InputError, match=f"{type(model).__name__} of which blocks are left out by chance"): run.pack_tokens(50)
        assert run.token_budget is None, "what is refused changes nothing"
    dropping.config.layerdrop = 0.
    distiller(tmp_path, dropping).pack_tokens()

@pytest.mark.parametrize("who", ["student", "teacher", "cached"])
def test_batches_of_a_model_that_reads_padding_keep_their_length(who, tmp_path):
    import families
    convbert, bert = families.build("convbert"), families.build("bert")
    run = distiller(tmp_path, *((convbert, None) if who == "student" else (bert, convbert)))
    run.cached, before = who == "cached", run.data_collator
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        run.few_shapes()
    said = [str(w.message) for w in seen if "reads padding" in str(w.message)]
    assert said == [] if who == "cached" else len(said) == 1 and said[0].startswith("ConvBertForSequenceClassification")
    assert (run.data_collator is before) == (who != "cached")

@pytest.mark.parametrize("packs", ["", "packs after", "packs before"])
@pytest.mark.parametrize("who", ["student", "teacher"])
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_few_shapes_are_not_longer_than_a_model_of_the_pair(who, family, packs, tmp_path):
    "A teacher with fewer places than the student failed at a text that it could read; on a card that is an assertion without a name."
    import families
    short = families.build(family, max_position_embeddings=22)
    n = 22 if family == "bert" else 20 # RoBERTa begins after its padding's number
    rows = Dataset.from_list([dict(input_ids=[5] * k, attention_mask=[1] * k, labels=0) for k in (n, n - 3, n - 9, 4)])
    class Pad:
        def __call__(self, rows):
            rows = [{k: torch.tensor(v) for k, v in r.items() if k != "row_seed"} for r in rows]
            pad = lambda k: nn.utils.rnn.pad_sequence([r[k] for r in rows], True)
            return {k: pad(k) if rows[0][k].dim() else torch.stack([r[k] for r in rows]) for k in rows[0]}
    pair = [short, families.build("bert")][::1 if who == "student" else -1]
    args = training_args(tmp_path, max_steps=1, eval_strategy="no", disable_tqdm=True, bf16=False, use_cpu=True, per_device_train_batch_size=4)
    run = Distiller(*pair, SoftTargets(), args, train_dataset=rows, data_collator=Pad())
    if packs == "packs before": run.pack_tokens()
    run.few_shapes()
    if packs == "packs after": run.pack_tokens()
    assert run.data_collator([*rows])["input_ids"].shape == (4, n)
    run.show_bar("run").train()

@pytest.mark.parametrize("at", ["compiler", "model"])
def test_where_the_compiler_fails_blocks_are_plain_again(at, monkeypatch):
    "One line says what it costs, and the numbers are the plain ones; an error of the model is its own."
    from functools import partial
    from distill_nb.inside.blocks import encoder_blocks
    from distill_nb.inside.capture import trace
    from distill_nb.training.gpu import compile_blocks
    import families
    def fails(graph, inputs): raise RuntimeError("no compiler of C++ was found\nmore lines")
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=fails))
    models = families.build("bert"), families.build("electra")
    batch = dict(input_ids=torch.arange(5, 11).view(2, 3), attention_mask=torch.ones(2, 3, dtype=torch.long))
    plain = [trace(m, batch, ("logits", "scores")) for m in models]
    if at == "model":
        def breaks(*args, **kwargs): raise ZeroDivisionError("of the model")
        monkeypatch.setattr(encoder_blocks(models[0])[0], "forward", breaks)
    compile_blocks(*models)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        if at == "model":
            with pytest.raises(ZeroDivisionError, match="of the model"): trace(models[0], batch)
        found = [trace(m, batch, ("logits", "scores")) for m in models[at == "model":]]
    said = [str(w.message) for w in seen if "not compiled" in str(w.message)]
    assert len(said) == 1 and "no compiler of C++" in said[0] and "\n" not in said[0]
    torch.testing.assert_close([f.logits for f in found], [p.logits for p in plain[at == "model":]])
    assert not any("forward" in vars(b) for b in encoder_blocks(models[1]))

def test_losses_over_a_vocabulary_are_not_compiled():
    "They are computed in chunks, with gradients of their own."
    from distill_nb.training.gpu import compile_blocks, plain_blocks
    from distill_nb.losses.objective import as_objective
    from distill_nb.words.chunks import HardWords
    words, plain = as_objective(HardWords()), as_objective(SoftTargets())
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        compile_blocks(words, plain, None)
    assert ["forward" in vars(o) for o in (words, plain)] == [False, True]
    plain_blocks(words, plain)
    assert "forward" not in vars(plain)

def test_a_model_without_blocks_is_not_compiled_and_the_other_one_is():
    from distill_nb.inside.blocks import encoder_blocks
    from distill_nb.training.gpu import compile_blocks, plain_blocks
    import families
    lstm, model = nn.LSTM(2, 2), families.build("bert")
    with pytest.warns(UserWarning, match="LSTM is not compiled, .* slower: it has no list of equal blocks"): compile_blocks(lstm, model, None)
    assert all("forward" in vars(b) for b in encoder_blocks(model))
    plain_blocks(lstm, model, None)
    assert not any("forward" in vars(b) for b in encoder_blocks(model))
