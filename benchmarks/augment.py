"""How fast new texts are found: `python benchmarks/augment.py`.

Ours asks many gaps in a batch and runs the head at the masks alone; the plain way is that of TinyBERT's code: one forward
pass per word at batch 1, all logits, the vocabulary sorted. Both take turns on the same model and sentences, and their
candidates are compared. Writes nbs/results/augment-DEVICE.json, model by model, which nbs/results/augment.ipynb reads.
"""
import json
import math
import random
import time
from contextlib import nullcontext
from unittest.mock import patch
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertForMaskedLM
import common
from distill_nb.words import augmenter as augment_page
from distill_nb.words.augmenter import Augmenter, draw, replaceable, split_words
from distill_nb.data.docstrings import docstrings
from distill_nb.measure.report import machine
from distill_nb.kit.cpu import packed
from distill_nb.teachers.load import load_tokenizer

MODELS = {"BERT-base": BertConfig(), "2 layers, 128 wide": BertConfig(hidden_size=128, num_hidden_layers=2,
                                                                        num_attention_heads=2, intermediate_size=512)}

@torch.no_grad()
def plain(augmenter, texts):
    "Candidates one word at a time."
    tok, found = augmenter.tokenizer, []
    for text in texts:
        words = [w for w, _, _ in split_words(text)]
        found.append({})
        for i, w in enumerate(words):
            if not replaceable(w) or len(tok.tokenize(w)) != 1: continue
            batch = tok(" ".join([*words[:i], tok.mask_token, *words[i+1:]]), " ".join(words), return_tensors="pt")
            at = int((batch["input_ids"][0] == tok.mask_token_id).nonzero()[0])
            z = augmenter.model(**batch.to(augmenter.model.device)).logits[0, at]
            best = z.argsort(descending=True)[:augmenter.n_candidates].tolist()
            found[-1][i] = [augmenter.words[t] for t in best if augmenter.words[t]]
    return found

def batched(augmenter, texts): return augmenter.candidates(texts)

def single(found, augmenter, texts):
    "The candidates of words that are one token, which is what the plain way finds."
    keep = []
    for text, c in zip(texts, found):
        words = [w for w, _, _ in split_words(text)]
        keep.append({i: w for i, w in c.items() if len(augmenter.tokenizer.tokenize(words[i])) == 1})
    return keep

def timed(f, *args, device="cpu"): return common.timed(lambda: f(*args), device)

def product_flops(x, weight, *args, out_shape=None, **kwargs): return 2 * math.prod(x) * weight[0]

PRODUCTS = {torch.ops.mkldnn._linear_pointwise: product_flops}  # the packed ones, which torch's counter does not know

def work(f, *args):
    "Floating-point operations of the matrix products in a call."
    with FlopCounterMode(display=False, custom_mapping=PRODUCTS) as count: f(*args)
    return count.get_total_flops()

def measure(name, o, texts):
    "Rounds in which the plain way and ours, in both precisions, take turns."
    torch.manual_seed(0)
    tok = load_tokenizer()
    model = BertForMaskedLM(MODELS[name]).eval().to(o.device)
    slow = Augmenter(model, tok)
    ways = {bf16: Augmenter(model, tok, bf16=bf16, batch_tokens=o.batch_tokens) for bf16 in (False, True)}
    plain(slow, texts[:2])
    for fast in ways.values(): fast.candidates(texts)
    flops = dict(plain_flops=work(plain, slow, texts), flops=work(batched, ways[False], texts))
    rounds = []
    for _ in common.under(o, range(o.repeats), at_least=1):
        rounds.append({"plain": timed(plain, slow, texts, device=o.device)})
        for bf16, way in ways.items():
            with packed(model):
                way.candidates(texts[:2])  # packs the weights, as is done once per data set
                rounds[-1][bf16] = timed(batched, way, texts, device=o.device)
    speed = lambda k: len(texts) / min(r[k][0] for r in rounds)
    for bf16, way in ways.items():
        theirs, ours = rounds[0]["plain"][1], single(rounds[0][bf16][1], way, texts)
        pairs = [(a.get(i), b.get(i)) for a, b in zip(theirs, ours) for i in a.keys() | b.keys()]
        ratios = sorted(r["plain"][0] / r[bf16][0] for r in rounds)
        yield dict(model=name, bf16=bf16, sentences=len(texts), gaps=len(pairs), same=sum(a == b for a, b in pairs),
                   overlap=sum(len({*a} & {*b}) / max(len(a), 1) for a, b in pairs) / len(pairs), ratios=ratios,
                   plain=speed("plain"), ours=speed(bf16), **flops)

def packing(o, texts):
    "How many times the processor time augmentation with BERT-base takes where no weights are packed, by turns."
    def spent():
        start = time.process_time()
        way.candidates(texts)
        return time.process_time() - start
    model, tok, found = BertForMaskedLM(BertConfig()).eval(), load_tokenizer(), {}
    for bf16 in (False, True):
        way, ratios = Augmenter(model, tok, bf16=bf16), []
        for _ in common.under(o, range(o.repeats + 1), at_least=2):
            with packed(model):
                way.candidates(texts[:2])
                ours = spent()
            with patch.object(augment_page, "packed", lambda model: nullcontext()): ratios.append(spent() / ours)
        found["bfloat16" if bf16 else "float32"] = sorted(ratios[1:])  # the first one warms up
    return found

def drawing(augmenter, texts):
    "Sentences per second of the draws alone."
    found = augmenter.candidates(texts)
    start = time.perf_counter()
    for i, (t, c) in enumerate(zip(texts, found)): draw(t, c, 30, .4, random.Random(i))
    return len(texts) / (time.perf_counter() - start)

if __name__ == "__main__":
    p = common.parser(__doc__)
    p.add_argument("--sentences", type=int, default=64)
    p.add_argument("--repeats", type=int, default=5)
    p.add_argument("--batch-tokens", type=int, help="per forward pass (default: by the model's width)")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--packing", action="store_true", help="measure only what packed weights save, beside what the file holds")
    common.options(p)
    o = p.parse_args()
    texts = [t for t in docstrings().sentence if 10 <= len(t.split()) <= 16][::97][:o.sentences]
    file = o.results/f"augment-{o.device}.json"
    before = json.loads(file.read_text()) if file.is_file() else {}
    def about():
        small = Augmenter(BertForMaskedLM(MODELS["2 layers, 128 wide"]).eval().to(o.device), load_tokenizer())
        words = sum(len(split_words(t)) for t in texts) / len(texts)
        return dict(settings=common.settings(o, "packing") | dict(words=words), machine=machine(), peak=common.peak_rate(device=o.device),
                    drawn_per_s=drawing(small, texts))
    data = before if o.packing else before | about() | dict(results=[])
    if o.packing: common.write(file, **data | dict(packing=dict(sentences=len(texts), machine=machine(), ratios=packing(o, texts))))
    for name in common.under(o, MODELS) if not o.packing else ():
        data["results"] += measure(name, o, texts)
        print(*data["results"][-2:], sep="\n", flush=True)
        common.write(file, **data)
