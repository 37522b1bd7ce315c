"""What a step of masked-LM distillation costs, BERT-base to 6 layers, 8 x 128: `python benchmarks/words_step.py --repeats 12`.

The floors are bare steps: the teacher's forward pass without gradients, the student's forward and backward pass on the sum of
its logits, and AdamW; with logits at every token, or with the head at hidden words only. `reference` is what DistilBERT's code
does in plain torch: all logits of both models, rows selected, three losses. Ours are the recipe's terms through `trace`. All
ways take turns on the same student in one process, so that each ratio compares neighbours in time; the memory is the peak of a
process that takes one way alone, once more without torch's and the models' share. TinyBERT's general distillation at 32 x 64 is
measured for its memory. Writes nbs/results/words-step-DEVICE.json after each of these parts.
"""
import argparse
import statistics
import sys
from functools import partial
from itertools import chain, product
import torch
import torch.nn.functional as F
from transformers import BertConfig, BertForMaskedLM
import common
from distill_nb.inside.capture import trace
from distill_nb.measure.report import machine
from distill_nb.recipes.distilbert import triple_loss
from distill_nb.losses import AttentionMSE, HiddenMSE

FLOORS = {"floor, all logits": None, "floor, masked logits": None, "reference": "floor, all logits",
          "ours, all tokens": "floor, all logits", "ours, masked": "floor, masked logits"}
TINY = dict(hidden_size=312, num_hidden_layers=4, num_attention_heads=12, intermediate_size=1200)

def make_batch(bs, seq, device, V=30522, share=.15):
    "Random ids without padding, labels at exactly `share` of the places."
    g = torch.Generator().manual_seed(0)
    ids, n = torch.randint(1000, V, (bs, seq), generator=g), bs * seq
    hidden = torch.zeros(n, dtype=torch.bool)
    hidden[torch.randperm(n, generator=g)[:round(share * n)]] = True
    labels = torch.where(hidden.view(bs, seq), ids, -100)
    return {k: v.to(device) for k, v in dict(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).items()}

class Bench:
    "Teacher, student, optimizer, a batch, and the losses by name."
    def __init__(self, o, bf16):
        torch.manual_seed(0)
        self.o, self.bf16, self.batch = o, bf16, make_batch(o.batch, o.seq, o.device)
        self.inputs = {k: v for k, v in self.batch.items() if k != "labels"}
        self.teacher = BertForMaskedLM(BertConfig()).eval().to(o.device)
        self.student = BertForMaskedLM(BertConfig(num_hidden_layers=o.layers)).train().to(o.device)
        self.opt = torch.optim.AdamW(self.student.parameters(), lr=1e-5, fused=True)
        self.ways = {"floor, all logits": self.all_logits, "floor, masked logits": self.masked_logits, "reference": self.reference,
                     "ours, all tokens": self.ours(False), "ours, masked": self.ours(True)}

    def autocast(self): return torch.autocast(self.o.device, torch.bfloat16, enabled=self.bf16)

    def pair(self, run):
        "What `run` gives for both models, the teacher's without gradients."
        with torch.no_grad(), self.autocast(): t = run(self.teacher)
        with self.autocast(): return run(self.student), t

    def all_logits(self): return self.pair(lambda m: m(**self.inputs).logits)[0].float().sum()

    def masked_logits(self):
        hidden = self.batch["labels"] != -100
        return self.pair(lambda m: m.cls(m.bert(**self.inputs).last_hidden_state[hidden]))[0].float().sum()

    def reference(self, T=2.):
        s, t = self.pair(lambda m: m(**self.inputs, output_hidden_states=True))
        seen, V = self.batch["attention_mask"].bool(), s.logits.shape[-1]
        with self.autocast():
            z_s, z_t = [z[seen[..., None].expand_as(z)].view(-1, V) for z in (s.logits, t.logits)]
            soft = F.kl_div(F.log_softmax(z_s / T, -1), F.softmax(z_t / T, -1), reduction="batchmean") * T**2
            hard = F.cross_entropy(s.logits.view(-1, V), self.batch["labels"].view(-1))
            h_s, h_t = [x.hidden_states[-1][seen] for x in (s, t)]
            return 5*soft + 2*hard + F.cosine_embedding_loss(h_s, h_t, h_s.new_ones(len(h_s)))

    def ours(self, only_masked):
        objective = triple_loss(self.student, self.teacher, only_masked=only_masked)
        of_student, of_teacher = objective.reads(self.o.layers, 12)
        def loss():
            with torch.no_grad(), self.autocast(): t = trace(self.teacher, self.batch, of_teacher)
            with self.autocast():
                return sum(objective(trace(self.student, self.batch, of_student), t, self.batch).values())
        return loss

    def step(self, way):
        self.ways[way]().backward()
        self.opt.step()
        self.opt.zero_grad()

class TinyBench(Bench):
    "TinyBERT's general distillation: attention and hidden states of a narrow student."
    def __init__(self, o, bf16):
        super().__init__(o, bf16)
        self.student = BertForMaskedLM(BertConfig(**TINY)).train().to(o.device)
        objective = (AttentionMSE() + HiddenMSE()).bind(self.student, self.teacher)
        self.opt = torch.optim.AdamW([*self.student.parameters(), *objective.parameters()], lr=1e-5, fused=True)
        of_student, of_teacher = objective.reads(TINY["num_hidden_layers"], 12)
        def loss():
            with torch.no_grad(), self.autocast(): t = trace(self.teacher, self.batch, of_teacher)
            with self.autocast(): return sum(objective(trace(self.student, self.batch, of_student), t, self.batch).values())
        self.ways = {"TinyBERT": loss}

def measure(o, bf16):
    "A row per way: median seconds of its step, and the quartiles of its ratios to its floor in the same round."
    bench, tokens = Bench(o, bf16), o.batch * o.seq
    rounds = common.under(o, range(o.warmup + o.repeats), at_least=o.warmup + 2)
    times = common.by_turns({way: partial(bench.step, way) for way in bench.ways}, rounds, o.warmup, o.device)
    for way, floor in FLOORS.items():
        seconds = statistics.median(times[way])
        yield dict(way=way, floor=floor, bf16=bf16, repeats=len(times[way]), seconds=seconds, tokens_per_second=tokens / seconds,
                   paired=common.quartiles(common.ratios(times, way, floor or way)))

def peak(o, way, bf16, **sizes):
    "Peak MB of a process that takes three steps of one way, and MB before the first one."
    settings = {k: getattr(o, k) for k in ("batch", "seq", "layers", "device")} | sizes
    return dict(zip(("peak_mb", "before_mb"), common.in_own_process(__file__, settings, bf16, way)))

def peak_here(o):
    bench = (TinyBench if o.peak == "TinyBERT" else Bench)(o, o.bf16)
    before = common.memory(o.device)
    for _ in range(3): bench.step(o.peak)
    return common.memory(o.device), before

if __name__ == "__main__":
    p = common.parser(__doc__)
    p.add_argument("--repeats", type=int, default=12)
    p.add_argument("--warmup", type=int, default=2)
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--seq", type=int, default=128)
    p.add_argument("--layers", type=int, default=6)
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    common.options(p)
    p.add_argument("--peak", help=argparse.SUPPRESS)
    p.add_argument("--bf16", action="store_true", help=argparse.SUPPRESS)
    o = p.parse_args()
    if o.peak: sys.exit(print(*peak_here(o)))
    settings = dict(batch=o.batch, seq=o.seq, teacher="BERT-base", layers=o.layers, share=.15)
    found = dict(rows=[], peaks={}, tiny=[])
    def times():
        for bf16 in (False, True):
            found["rows"] += measure(o, bf16)
            yield found["rows"][-len(FLOORS):]
    def memory():
        for way, bf16 in product(FLOORS, (False, True)):
            found["peaks"][way, bf16] = peak(o, way, bf16)
            yield way, bf16, found["peaks"][way, bf16]
        for bf16 in (False, True):
            found["tiny"].append(dict(bf16=bf16, batch=32, seq=64, **peak(o, "TinyBERT", bf16, batch=32, seq=64)))
            yield found["tiny"][-1]
    # on a CPU the memory comes first, while this process is small: a child's peak starts from its parent's size
    for part in common.under(o, chain(times(), memory()) if o.device == "cuda" else chain(memory(), times())):
        print(part, flush=True)
        rows = [row | found["peaks"].get((row["way"], row["bf16"]), {}) for row in found["rows"]]
        common.write(o.results/f"words-step-{o.device}.json", settings=settings, machine=machine(), results=rows, tinybert=found["tiny"])
