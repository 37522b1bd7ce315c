"""What an objective adds to a step where arithmetic is nothing: `python benchmarks/overhead.py`, on one thread of a CPU.

A GPU's small steps are bound by launches, and launches by Python. So a pair of 12 and 6 blocks, 64 wide, on texts of 8 tokens takes steps in
which hardly anything is multiplied. Of each objective: (a) the operators that reach the device in a step beside those of the bare step (two forward
passes, one backward pass, the optimizer), (b) the time of the step beside the bare step's, by turns in one process, as quartiles over the rounds, (c) the
same for a step whose blocks and losses are compiled, beside the bare step in eager mode.

Writes nbs/results/overhead-cpu.json after every row.
"""
import statistics
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, BertConfig
import common
from distill_nb.inside.capture import trace
from distill_nb.losses import AttentionMSE, HiddenMSE, Relations, SoftTargets, as_objective
from distill_nb.recipes.distilbert import triple_loss
from distill_nb.training.gpu import compile_blocks

class Counting(TorchDispatchMode):
    n = 0
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.n += 1
        return func(*args, **(kwargs or {}))

def operators(step):
    with Counting() as seen: step()
    return seen.n

def pair(o, words, narrow=False):
    torch.manual_seed(0)
    kind = AutoModelForMaskedLM if words else AutoModelForSequenceClassification
    sizes = dict(vocab_size=200, hidden_size=o.width, intermediate_size=2 * o.width, num_attention_heads=4)
    small = sizes | (dict(hidden_size=o.width // 2, intermediate_size=o.width) if narrow else {})
    return kind.from_config(BertConfig(num_hidden_layers=12, **sizes)).eval(), kind.from_config(BertConfig(num_hidden_layers=4 if narrow else 6, **small)).train()

def steps_of(o, name, objective, words=False, narrow=False):
    teacher, student = pair(o, words, narrow)
    ids = torch.randint(1, 200, (2, 8))
    labels = torch.where(torch.arange(8) % 4 == 1, ids, -100) if words else torch.tensor([0, 1])
    x = dict(input_ids=ids, attention_mask=torch.ones_like(ids))
    batch = x | dict(labels=labels)
    terms = as_objective(objective(teacher, student)).bind(student, teacher)
    mine, theirs = terms.reads(student.config.num_hidden_layers, 12)
    opt = torch.optim.AdamW([*student.parameters(), *terms.parameters()], lr=1e-6, fused=True)
    def end(loss):
        loss.backward()
        opt.step()
        opt.zero_grad()
    def bare():
        with torch.no_grad(): teacher(**x)
        end(student(**x).logits.sum())
    def distil():
        with torch.no_grad(): t = trace(teacher, batch, theirs)
        end(sum(terms(trace(student, batch, mine), t, batch).values()))
    return bare, distil, (teacher, student, terms)

OBJECTIVES = dict(
    logits=(lambda t, s: SoftTargets(T=2), {}),
    triple=(lambda t, s: triple_loss(s, t, only_masked=True), dict(words=True)),
    tinybert=(lambda t, s: AttentionMSE() + HiddenMSE(), dict(narrow=True)),
    minilm=(lambda t, s: Relations("qkv", heads=4), {}))

def rows(o):
    for name in o.objectives:
        objective, how = OBJECTIVES[name]
        bare, distil, _ = steps_of(o, name, objective, **how)
        _, compiled, parts = steps_of(o, name, objective, **how)
        compile_blocks(*parts)
        for step in (bare, distil, compiled): step(), step()
        counts = {"bare": operators(bare), "step": operators(distil)}
        times = common.by_turns(dict(bare=bare, step=distil, compiled=compiled), range(o.rounds), warmup=3)
        yield dict(objective=name, operators=counts, operators_ratio=counts["step"] / counts["bare"], bare_ms=1e3 * statistics.median(times["bare"]),
                   step_ms=1e3 * statistics.median(times["step"]), ratio=common.quartiles(common.ratios(times, "step", "bare")),
                   compiled_ratio=common.quartiles(common.ratios(times, "compiled", "bare")))

if __name__ == "__main__":
    p = common.parser(__doc__)
    common.options(p)
    p.add_argument("--objectives", nargs="+", default=list(OBJECTIVES), choices=OBJECTIVES)
    p.add_argument("--width", type=int, default=64)
    p.add_argument("--rounds", type=int, default=60)
    o = p.parse_args()
    torch.set_num_threads(1)
    common.study(o, "overhead-cpu.json", rows(o), settings=common.settings(o, "objectives"))
