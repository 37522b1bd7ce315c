"Sweeps behind nbs/students/07_slots.ipynb and nbs/recipes/05_theseus.ipynb: what runs in which pass, what is trained, that a run can be resumed."
import copy, json, subprocess, sys, warnings
from pathlib import Path
import pandas as pd
import pytest, torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions
from transformers.models.bert.modeling_bert import BertEncoder
from transformers import (AutoModel, AutoModelForMaskedLM, AutoModelForQuestionAnswering, AutoModelForSequenceClassification,
                          AutoModelForTokenClassification, AutoTokenizer, DataCollatorWithPadding, Trainer, TrainerCallback)
from builders import ADAM, bert, Coins, rows, sharp
from distill_nb.data.tasks import make_task
from distill_nb.kit.errors import InputError
from distill_nb.losses import HardTargets
from distill_nb.students.copied import init_student
from distill_nb.students.slots import (
    ConstantSchedule, LinearSchedule, Replacing, Slots, check_walk, choosing, find_slots, groups, passes, successor,
    theseus)
from distill_nb.recipes.theseus import distil_theseus
from distill_nb.training.distiller import Distiller
from distill_nb.training.settings import training_args
from distill_nb.inside.blocks import encoder_blocks, n_blocks
from families import EXTRA, V, answers, build

# What the source's code does: its coins are torch's uniform numbers below the rate, n for each pass of a seed.

COINS = {(.3, 6): ["001100000000", "010010000000", "000000010100", "111101000000", "001111000001"],
         (.5, 6): ["101110101011", "011010100100", "010100110100", "111111000010", "001111000011"],
         (.7, 6): ["101111101111", "011010101111", "111101111111", "111111001010", "111111001011"],
         (.3, 2): ["0011", "0100", "0000", "1111", "0011"], (.5, 2): ["1011", "0110", "0101", "1111", "0011"]}
RATES = {LinearSchedule(.3, .1): [.3, .4, .5, .6000000000000001, .7, .8, .9000000000000001, 1., 1.],
         LinearSchedule(.5, .0006): [.5, .5006, .5012, .5018, .5024], LinearSchedule(.3, 0): [.3] * 5,
         ConstantSchedule(.5, 4): [.5] * 4 + [1.] * 4, ConstantSchedule(.5): [.5] * 12, ConstantSchedule(1., 4): [1.] * 6}

@pytest.mark.parametrize("rate, n", COINS)
def test_coins_of_the_source(rate, n):
    for seed, coins in enumerate(COINS[rate, n]):
        assert "".join(str(int(c)) for one in passes(ConstantSchedule(rate), 2, n, seed) for c in one) == coins

@pytest.mark.parametrize("schedule", RATES, ids=repr)
def test_rates_of_the_source(schedule):
    assert [schedule(t) for t in range(len(RATES[schedule]))] == RATES[schedule]

def test_the_sources_trap_is_exact_and_warned_of():
    with pytest.warns(UserWarning, match="steps=None"): trap = ConstantSchedule(.5, 0)
    assert [trap(t) for t in range(4)] == [.5, 1., 1., 1.]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ConstantSchedule(1., 0), ConstantSchedule(.5, 1), LinearSchedule()

GOLDEN = Path(__file__).resolve().parents[3]/"shared/golden/theseus.json"
CASES = json.loads(GOLDEN.read_text())["cases"] if GOLDEN.is_file() else []

@pytest.mark.skipif(not CASES, reason="no recordings beside this checkout")
@pytest.mark.parametrize("case", [c for c in CASES if "runs" in c], ids=lambda c: c["name"])
def test_recorded_passes(case):
    "Block by block what ran in two passes of six seeds, 12 to 6, 4 to 2 and 6 to 2."
    sizes, rate = case["name"].split("/")[1:]
    (N, n), rate = map(int, sizes.split("to")), float(rate[1:])
    for run in case["runs"]:
        slots = Slots([nn.Identity() for _ in range(n)], [nn.Identity() for _ in range(N)], rate, run["seed"]).train()
        names = {id(b): f"scc{i}" for i, b in enumerate(slots._modules.values())} | {
            id(b): f"prd{i}" for i, b in enumerate(slots.predecessors)}
        for k in (0, 1):
            slots.begin()
            assert slots.drawn == [bool(c) for c in run["draws"][k * n:][:n]]
            assert [names[id(b)] for b in slots] == run[f"forward{k}"]

@pytest.mark.skipif(not CASES, reason="no recordings beside this checkout")
@pytest.mark.parametrize("case", [c for c in CASES if "rate_in_forward" in c], ids=lambda c: c["name"])
@pytest.mark.filterwarnings("ignore:ConstantSchedule")
def test_recorded_rates(case):
    _, kind, a, b = case["name"].split("/")
    schedule = (LinearSchedule(float(a), float(b[1:])) if kind == "linear" else
                ConstantSchedule(float(a), None if b == "None" else int(b[5:])))
    assert [schedule(t) for t in range(12)] == case["rate_in_forward"]
    assert [schedule(t + 1) for t in range(12)] == case["returned_by_step"]

# Groups

@pytest.mark.parametrize("N", [2, 3, 4, 6, 12, 24])
def test_groups_are_a_partition_by_the_rule(N):
    for n in range(1, N):
        found = groups(N, n)
        assert sum(found, []) == list(range(N)) and len(found) == n
        assert [g[-1] for g in found] == [(i + 1) * N // n - 1 for i in range(n)]
        assert max(map(len, found)) - min(map(len, found)) <= 1

# Families: what runs, in which mode

SHARED, SPREAD = {"albert"}, {"xlm", "flaubert"}
FAMILIES = [f for f in EXTRA if f not in SHARED | SPREAD]

close = dict(rtol=0, atol=1e-6)

@pytest.mark.parametrize("family", FAMILIES)
def test_all_predecessors_are_the_teacher_and_all_successors_the_student(family):
    teacher, kept = build(family), {2: [0, 3], 3: [0, 1, 3]} # of 4 blocks: uneven groups among them
    noise = 1e-5 if family == "convbert" else 0 # its convolutions differ in the last digits from call to call
    whole = answers(teacher)
    for n, layers in kept.items():
        if family == "modernbert": layers = [0, 1, 3][:n] # global and local attention
        model = theseus(teacher, n, layers)
        with choosing(model, [0] * n): torch.testing.assert_close(answers(model), whole, rtol=0, atol=noise)
        small = successor(model)
        assert type(small) is type(teacher) and type(encoder_blocks(small)) is nn.ModuleList and n_blocks(small) == n
        torch.testing.assert_close(answers(small), answers(model), rtol=0, atol=noise or 1e-6)
        torch.testing.assert_close(answers(small), answers(init_student(teacher, layers)), rtol=0, atol=noise or 1e-6)
        find_slots(model).rate, find_slots(model).training = 1., True # the walk of training, without dropout
        torch.testing.assert_close(answers(model), answers(small), rtol=0, atol=noise)
        assert int(find_slots(model).passes) == 1
    torch.testing.assert_close(answers(teacher), whole, rtol=0, atol=noise)

@pytest.mark.parametrize("family", FAMILIES)
def test_mixed_passes_run_the_drawn_blocks(family):
    "As the teacher's first two blocks and the successor of the others."
    model = theseus(build(family), 2, [0, 2])
    with torch.no_grad():
        for p in find_slots(model)[1].parameters(): p.mul_(1.1)
    by_hand = init_student(build(family), [0, 1, 2])
    encoder_blocks(by_hand)[2].load_state_dict(find_slots(model)[1].state_dict())
    with choosing(model, [0, 1]): got = answers(model)
    torch.testing.assert_close(got, answers(by_hand), rtol=0, atol=1e-5)
    assert (got - answers(model)).abs().max() > 1e-3

def gradients(model, which, checkpointing):
    "Of each successor after one backward pass with these successors; nothing else has one."
    if checkpointing: getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()  # its newer name
    for m in model.train().modules():
        if isinstance(m, nn.Dropout): m.p = 0.
    ids = torch.randint(5, V, (2, 9), generator=torch.Generator().manual_seed(1))
    with choosing(model, which): model.base_model(input_ids=ids)[0].std().backward()
    new = [[*block.parameters()] for block in find_slots(model).successors]
    assert {id(p) for p in model.parameters() if p.grad is not None} <= {id(p) for ps in new for p in ps}
    return [torch.cat([p.grad.flatten() for p in ps if p.grad is not None]) for ps in new]

@pytest.mark.parametrize("family", FAMILIES)
def test_only_successors_get_a_gradient(family):
    "A pass without any has one too: zero. Checkpointing changes nothing."
    teacher = build(family)
    for which in ([0, 0], [0, 1], [1, 0]):
        plain = gradients(theseus(teacher, 2, [0, 2]), which, False)
        assert [bool(g.abs().max() > 0) for g in plain] == [bool(w) for w in which]
        if not teacher.supports_gradient_checkpointing: continue
        for a, b in zip(plain, gradients(theseus(teacher, 2, [0, 2]), which, True)): torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)

# Families: what is refused

@pytest.mark.parametrize("make, n, layers, message", [
    (lambda: bert(), 0, "first", "0 successor blocks: expected 1 to 3"), (lambda: bert(), 4, "first", "4 successor blocks"),
    (lambda: bert(), 9, "first", "9 successor blocks"), (lambda: bert(), -1, "first", "-1 successor blocks"), (lambda: bert(), 1.5, "first", "1.5 successor"),
    (lambda: bert(1), 1, "first", "1 successor blocks"), (lambda: bert(), 2, "middle", "choice='middle'"), (lambda: bert(), 2, [0], "1 layers named"),
    (lambda: bert(), 2, [0, 7], "layer 7"), (lambda: bert(), 2, [1, 0], "ascending"),
    (lambda: build("albert"), 2, "first", "AlbertForSequenceClassification, which runs 1 stored block"),
    (lambda: build("xlm"), 2, "first", "XLMForSequenceClassification, whose blocks are spread over 4 lists"),
    (lambda: build("flaubert"), 2, "first", "FlaubertForSequenceClassification, whose blocks are spread"),
    (lambda: build("modernbert"), 2, "last", "attn_norm"), (lambda: build("modernbert"), 1, "first", "ModernBert.* with layers .0. .KeyError.'sliding_attention'"),
    (lambda: nn.LSTM(4, 4), 1, "first", "a list of equal blocks"), (lambda: theseus(bert(), 2), 1, "first", "which has slots"),
    (lambda: bert().to("meta"), 2, "first", "meta device"), (lambda: "bert", 2, "first", "a str"),
    (lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2), 1, "first", "a Hugging Face model")])
def test_refused_by_name(make, n, layers, message):
    with pytest.raises(InputError, match=message): theseus(make(), n, layers)

@pytest.mark.parametrize("rate", [0, 0., -.1, 1.01, float("nan"), "half", None])
def test_rates_that_are_refused(rate):
    message = "expected a number above 0, at most 1"
    model = theseus(bert(), 2)
    for use in (lambda: theseus(bert(), 2, rate=rate), lambda: LinearSchedule(rate), lambda: ConstantSchedule(rate),
                lambda: setattr(find_slots(model), "rate", rate)):
        with pytest.raises(InputError, match=message): use()
    assert find_slots(model).rate == .5

def test_other_faults(tok, tmp_path):
    with pytest.raises(InputError, match="k=-0.1: expected 0 or more"): LinearSchedule(.3, -.1)
    with pytest.raises(InputError, match="steps=-1: expected 0 or more"): ConstantSchedule(.3, -1)
    with pytest.raises(InputError, match="1 choices: expected 2"):
        with choosing(theseus(bert(), 2), [1]): pass
    for use in (successor, lambda m: choosing(m, [1]).__enter__()):
        with pytest.raises(InputError, match="BertForSequenceClassification: expected a model made by theseus"): use(bert())
    with pytest.raises(InputError, match="a model without slots"): train(tok, tmp_path, bert())

def test_blocks_that_work_by_their_number_are_caught_by_trying():
    "Not believed by name: such a family would answer otherwise."
    class Numbered(BertEncoder):
        def forward(self, h, *args, **kwargs):
            for i, block in enumerate(self.layer): h = block(h) * (i + len(self.layer))
            return BaseModelOutputWithPastAndCrossAttentions(h)
    model, whole = theseus(bert(), 2), bert()
    check_walk(model, whole, [0, 1])
    for m in (model, whole): m.bert.encoder.__class__ = Numbered
    with pytest.raises(InputError, match="with layers .0, 1. .other answers.: expected blocks that can be left out"): check_walk(model, whole, [0, 1])

def test_the_teacher_is_left_alone():
    teacher = bert().train()
    before, hooks = copy.deepcopy(teacher.state_dict()), len(teacher.bert.encoder._forward_hooks)
    model = theseus(teacher, 2)
    assert teacher.training and model.training and all(p.requires_grad for p in teacher.parameters())
    mine = {t.data_ptr() for t in model.state_dict().values()}
    assert not mine & {t.data_ptr() for t in teacher.state_dict().values()} and hooks == len(teacher.bert.encoder._forward_hooks)
    with torch.no_grad():
        for p in model.parameters(): p.zero_()
    assert all(torch.equal(t, before[n]) for n, t in teacher.state_dict().items())

def test_dtype_mode_and_hidden_states():
    teacher = bert().to(torch.bfloat16)
    model = theseus(teacher, 2).eval()
    assert {p.dtype for p in model.parameters()} == {torch.float32} and successor(model).dtype == torch.float32
    ids = torch.tensor([[2, 5, 6, 3]])
    teacher(ids, output_hidden_states=True) # installs transformers' hooks, which must not come along
    model = theseus(teacher, 2).eval()
    assert len(model(ids, output_hidden_states=True).hidden_states) == model.config.num_hidden_layers + 1
    for which, n in (([0, 0], 4), ([0, 1], 3), ([1, 1], 2)):
        with choosing(model.train(), which): assert len(model(ids, output_hidden_states=True).hidden_states) == n + 1
    assert len(encoder_blocks(model)) == 2 and n_blocks(model) == 2

@pytest.mark.parametrize("family", ["bert", "modernbert", "nomic_bert", "distilbert"])
def test_without_a_head(family):
    "In some families the stack is then the model's own."
    teacher = build(family, AutoModel)
    model = theseus(teacher, 2, [0, 2]).train()
    with choosing(model.eval(), [0, 0]): assert torch.equal(answers(model), answers(teacher))
    torch.testing.assert_close(answers(successor(model)), answers(model), **close)
    with choosing(model, [0, 0]): model(input_ids=torch.tensor([[5, 6]])).last_hidden_state.sum().backward()
    assert all(p.grad is not None for b in find_slots(model).successors for p in b.parameters())

def test_a_copy_throws_its_own_coins():
    model = theseus(bert(), 2).train()
    ids = torch.tensor([[2, 5, 6, 3]])
    model(ids)
    other = copy.deepcopy(model)
    seen = [(m(ids), list(find_slots(m).drawn))[1] for m in [model] * 3 + [other] * 3]
    assert seen[:3] == seen[3:] and int(find_slots(model).passes) == int(find_slots(other).passes) == 4

HEADS = [AutoModelForTokenClassification, AutoModelForQuestionAnswering, AutoModelForMaskedLM]

@pytest.mark.parametrize("head", HEADS, ids=lambda h: h.__name__[12:])
@pytest.mark.parametrize("frozen", [True, False])
def test_heads_and_what_is_frozen(head, frozen, tmp_path):
    model = theseus(build("bert", head), 2, frozen=frozen)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert not any("predecessors" in n for n in trained) and all("encoder.layer" in n for n in trained) == frozen
    assert {n for n in trained if "encoder.layer" in n} == {n for n, _ in model.named_parameters() if ".layer.0." in n or ".layer.1." in n} - {
        n for n, _ in model.named_parameters() if "predecessors" in n}
    small = successor(model)
    assert all(p.requires_grad for p in small.parameters())
    small.save_pretrained(tmp_path)
    again, info = head.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    torch.testing.assert_close(answers(again.eval()), answers(model), **close)
    if head is AutoModelForMaskedLM: assert small.get_output_embeddings().weight is small.get_input_embeddings().weight

# Training

def train(tok, out, model, schedule=LinearSchedule(.3), data=None, resume=None, **settings):
    "A Distiller after training, with the coins that it threw."
    coins = Coins()
    d = Distiller(model, None, HardTargets(), training_args(out, **{**ADAM, **settings}), train_dataset=data or rows(tok),
                  processing_class=tok, callbacks=[Replacing(schedule), coins][:1 + (find_slots(model) is not None)])
    d.show_bar("replacing").train(resume_from_checkpoint=resume)
    return d, coins

def state(model): return {n: t.clone() for n, t in model.state_dict().items()}

def test_frozen_is_frozen_and_clipping_counts_the_trained(tok, tmp_path):
    "Not a bit of the rest moves, with weight decay and clipping on; the norm that is clipped is that of the successors."
    model = theseus(sharp(), 2)
    before = state(model)
    d, coins = train(tok, tmp_path, model, weight_decay=.1, max_grad_norm=1., logging_steps=1)
    assert {n for n, t in model.state_dict().items() if not torch.equal(t, before[n])} <= {
        n for n, p in model.named_parameters() if p.requires_grad} | {"bert.encoder.layer.passes"}
    assert {id(p) for group in d.optimizer.param_groups for p in group["params"]} == {
        id(p) for b in find_slots(model).successors for p in b.parameters()}
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
    idle = [i for i, c in enumerate(coins.seen) if not any(c)]
    assert idle and all(d.state.log_history[i]["grad_norm"] == 0 for i in idle) # a pass of predecessors alone trains nothing

def test_trained_on_request(tok, tmp_path):
    model = theseus(sharp(), 2, frozen=False)
    before = state(model)
    train(tok, tmp_path, model)
    moved = {n for n, t in model.state_dict().items() if not torch.equal(t, before[n])}
    assert {"bert.embeddings.word_embeddings.weight", "classifier.weight"} <= moved and not any("predecessors" in n for n in moved)

def test_the_rate_follows_the_schedule_and_is_logged(tok, tmp_path):
    d, coins = train(tok, tmp_path, theseus(bert(), 2), ConstantSchedule(.25, 3), logging_steps=1, gradient_accumulation_steps=2)
    assert d.history().replacing_rate.tolist() == [.25] * 3 + [1.] * 3
    assert len(coins.seen) == 12 and set(coins.seen[6:]) == {(True, True)} # two passes a step
    assert coins.seen[:6] == [tuple(c) for c in passes(ConstantSchedule(.25), 6, 2)]

def test_reporters_named_after_it_see_the_rate(tok, tmp_path):
    class Reporter(TrainerCallback):
        seen = []
        def on_log(self, args, state, control, logs=None, **kwargs): self.seen.append(logs.get("replacing_rate"))
    args = training_args(tmp_path, **ADAM, logging_steps=3)
    Distiller(theseus(bert(), 2), None, HardTargets(), args, train_dataset=rows(tok), processing_class=tok,
              callbacks=[Replacing(LinearSchedule(.4)), Reporter()]).show_bar("x").train()
    assert Reporter.seen[:2] == [.4, pytest.approx(.6)]

def test_evaluation_throws_no_coin(tok, tmp_path):
    settings = dict(eval_strategy="steps", eval_steps=1, max_steps=4)
    seen = []
    for extra in ({}, settings):
        args = training_args(tmp_path, **{**ADAM, "max_steps": 4, **extra})
        model, coins = theseus(bert(), 2), Coins()
        Distiller(model, None, HardTargets(), args, train_dataset=rows(tok), eval_dataset=rows(tok, 8), processing_class=tok,
                  callbacks=[Replacing(LinearSchedule()), coins]).show_bar("x").train()
        seen.append((coins.seen, int(find_slots(model).passes)))
    assert seen[0] == seen[1] and seen[0][1] == 4

@pytest.mark.parametrize("setting", [dict(gradient_checkpointing=True), dict(bf16=True)], ids=lambda s: next(iter(s)))
def test_trainers_settings(tok, tmp_path, setting):
    "The same coins; recomputed blocks are those that ran, so the weights are the same; bf16 is near."
    ends, coins = [], []
    for extra in ({}, setting):
        model = theseus(sharp(), 2, seed=3)
        _, c = train(tok, tmp_path, model, ConstantSchedule(.5), optim="sgd", learning_rate=.1, **extra)
        ends.append(nn.utils.parameters_to_vector(model.parameters())), coins.append(c.seen)
    start = nn.utils.parameters_to_vector(theseus(sharp(), 2).parameters())
    assert coins[0] == coins[1] and len(set(coins[0])) > 1
    assert (ends[0] - ends[1]).norm() < (.2 if "bf16" in setting else 1e-5) * (ends[0] - start).norm()

def test_a_plain_trainer_will_do(tok, tmp_path):
    model = theseus(bert(), 2)
    args = training_args(tmp_path, **ADAM, logging_steps=2)
    t = Trainer(model, args, train_dataset=rows(tok), data_collator=DataCollatorWithPadding(tok), callbacks=[Replacing(LinearSchedule(.4))])
    t.train()
    assert [l["replacing_rate"] for l in t.state.log_history if "loss" in l] == [.4, pytest.approx(.5), pytest.approx(.7), pytest.approx(.9)]

@pytest.mark.parametrize("engine", ["distiller", "trainer"])
def test_resume_in_the_middle(tok, tmp_path, engine):
    "The same coins and the same weights as without a break, dropout and accumulation included."
    def teacher():
        t = sharp()
        for m in t.modules():
            if isinstance(m, nn.Dropout): m.p = .1
        return t
    settings = dict(max_steps=8, save_strategy="steps", save_steps=3, gradient_accumulation_steps=2, per_device_train_batch_size=4)
    def run(name, resume=None):
        model, coins = theseus(teacher(), 2, seed=5), Coins()
        for m in model.modules():
            if isinstance(m, nn.Dropout): m.p = .1
        args, back = training_args(tmp_path/name, **{**ADAM, **settings}), [Replacing(LinearSchedule(.3)), coins]
        t = Trainer(model, args, train_dataset=rows(tok), data_collator=DataCollatorWithPadding(tok), callbacks=back) if engine == "trainer" else (
            Distiller(model, None, HardTargets(), args, train_dataset=rows(tok), processing_class=tok, callbacks=back).show_bar("x"))
        t.train(resume_from_checkpoint=resume)
        return model, coins.seen
    whole, seen = run("a")
    resumed, rest = run("b", str(tmp_path/"a"/"checkpoint-3"))
    assert len(seen) == 16 and rest == seen[6:] and len(set(seen)) > 2
    for n, t in whole.state_dict().items(): assert torch.equal(t, resumed.state_dict()[n]), n
    opened = AutoModelForSequenceClassification.from_pretrained(tmp_path/"a"/"checkpoint-6") # the small model as it was then
    assert opened.config.num_hidden_layers == 2 and type(encoder_blocks(opened)) is nn.ModuleList

@pytest.mark.parametrize("way", ["plain", "checkpointing"])
def test_two_processes_throw_the_same_coins(in_processes, way):
    "Each sees half of a batch, both the same blocks: the weights are those of one process, passes without successors among them."
    one, first, second = in_processes(f"replace-{way}")
    assert one["seen"] == first["seen"] == second["seen"] and [False, False] in one["seen"] and len({*map(tuple, one["seen"])}) > 2
    assert torch.equal(first["after"], second["after"])
    assert (one["after"] - first["after"]).norm() < 1e-4 * (one["after"] - one["before"]).norm()

def test_a_pass_of_predecessors_alone_can_be_scaled():
    "fp16 training unscales gradients and refuses a step without any."
    model, scaler = theseus(bert(), 2).train(), torch.amp.GradScaler("cpu")
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.)
    before = state(model)
    with choosing(model, [0, 0]): loss = model(torch.tensor([[2, 5, 6, 3]]), labels=torch.tensor([1])).loss
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items() if "passes" not in n)

def test_successor_is_an_ordinary_model(tok, tmp_path):
    "In a process where distill_nb cannot be imported."
    model = theseus(bert(), 2)
    train(tok, tmp_path/"run", model)
    small = successor(model.eval())
    small.save_pretrained(tmp_path/"small")
    ids = torch.tensor([[2, 5, 6, 3]])
    with torch.no_grad(): want = model(ids).logits
    code = f"""
import sys; sys.modules["distill_nb"] = None
import torch
from transformers import AutoModelForSequenceClassification
model, info = AutoModelForSequenceClassification.from_pretrained({str(tmp_path/"small")!r}, output_loading_info=True)
assert not info["missing_keys"] and not info["unexpected_keys"] and model.config.num_hidden_layers == 2
print(model.eval()(torch.tensor([[2, 5, 6, 3]])).logits.tolist())"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    torch.testing.assert_close(torch.tensor(json.loads(run.stdout.splitlines()[-1])), want, **close)
    assert not any(k in n for n in small.state_dict() for k in ("predecessors", "passes"))
    assert not small.bert.encoder._forward_hooks and not small.bert.encoder._forward_pre_hooks

# The recipe

QUICK = dict(max_steps=2, eval_strategy="no", disable_tqdm=True)
def frame(n=40, **more): return pd.DataFrame(dict(text=[f"{w} film {i}" for i in range(n // 2) for w in ("good", "bad")], **more))
def toy(): return make_task("toy", dict(train=frame(label=["good", "bad"] * 20)))
def scores(): return make_task("toy", dict(train=frame(label=[i / 7 for i in range(40)])))
def pairs(): return make_task("toy", dict(train=frame(pair=[f"dull book {i}" for i in range(40)], label=["good", "bad"] * 20)))

@pytest.mark.parametrize("task", [scores, pairs])
@pytest.mark.filterwarnings("ignore")
def test_recipe_for_every_kind_of_task(task, headless, tmp_path):
    done = distil_theseus(task(), headless, layers=3, **QUICK)
    assert list(done.report.table().index) == ["teacher", "student, teacher's layers", "distilled, after replacing", "student, distilled"]
    out = done.save(tmp_path/"student")
    assert AutoModelForSequenceClassification.from_pretrained(out).config.num_hidden_layers == 3
    assert "LinearSchedule" in (out/"README.md").read_text() and AutoTokenizer.from_pretrained(out)("good").input_ids

@pytest.mark.filterwarnings("ignore")
def test_recipe_of_a_tuned_teacher_and_chosen_layers(tuned, monkeypatch):
    import distill_nb.recipes.theseus as module
    seen, fit = [], module.fit
    def noted(model, *args, **how):
        seen.append((how.get("name"), how["learning_rate"]))
        return fit(model, *args, **how)
    monkeypatch.setattr(module, "fit", noted)
    done = distil_theseus(toy(), tuned, layers=[1, 3], frozen=False, baseline=False, schedule=ConstantSchedule(.9), seed=3, learning_rate=1e-3,
                          post_settings=dict(learning_rate=1e-5), check=False, **QUICK)
    assert seen == [("replacing", 1e-3)] and len(done.report.rows) == 3 and done.student.config.num_hidden_layers == 2
    assert "[1, 3]" in done.report.note and "seed 3" in done.report.note and set(done.history.index.levels[0]) == {"post-training", "replacing"}

@pytest.mark.filterwarnings("ignore")
def test_recipe_is_repeatable(headless):
    a, b = [distil_theseus(toy(), headless, layers=2, baseline=False, seed=1, **QUICK) for _ in range(2)]
    for n, t in a.student.state_dict().items(): assert torch.equal(t, b.student.state_dict()[n])

@pytest.mark.parametrize("layers, message", [(4, "4 successor blocks"), (0, "0 student layers|0 successor"), ([3, 1], "ascending")])
def test_recipe_refuses_before_the_teacher_is_tuned(headless, layers, message, monkeypatch):
    monkeypatch.setattr("distill_nb.training.run.fit", lambda *a, **k: 1 / 0)
    with pytest.raises(InputError, match=message): distil_theseus(toy(), headless, layers=layers, **QUICK)
