"""What could stand in a word's place: `python benchmarks/words.py --glove FILE --task FOLDER_OF_SST-2 --chinese FILE --chinese-vocab FOLDER`.

GloVe's neighbours beside those of the default teacher's own embeddings, for the words of real reviews; and augmentation of Chinese
reviews with a masked language model that is trained here, from nothing, on such reviews. Writes nbs/results/words.json, which
nbs/results/augment.ipynb reads.
"""
import json
import random
from pathlib import Path
import torch
from transformers import BertConfig, BertForMaskedLM, BertTokenizer
import common
from distill_nb.kit.models import note
from distill_nb.words.augmenter import Augmenter, draw, replaceable, split_words
from distill_nb.data.load import load_task
from distill_nb.measure.report import machine
from distill_nb.words.head import fit_head, load_masked_lm
from distill_nb.teachers.load import load_tokenizer
from distill_nb.training.settings import fast_bf16
from distill_nb.data.vectors import embedding_vectors, piece_means, read_vectors

EXAMPLES = ["funny", "dull", "unfunny", "filmmaking", "heartfelt", "storytelling"]

def alike(word, others, letters=4):
    "Share of the others that begin with the same letters: forms of one word, mostly."
    return sum(o[:letters] == word[:letters] for o in others) / max(1, len(others))

def compare(o):
    "Counts and neighbours of both kinds of vectors over the words of a task."
    task, tok, lm = load_task(o.task), load_tokenizer(), load_masked_lm()
    words = {w.lower() for t in task["train"]["text"][:o.texts] for w, _, _ in split_words(t) if replaceable(w)}
    long = {w for w in words if len(w) >= 4}
    pieces = {w for w in words if len(tok.tokenize(w)) > 1}
    glove, own = read_vectors(o.glove), embedding_vectors(lm, tok)
    near = {"GloVe": lambda ws: glove.nearest(ws, 15), "embeddings": lambda ws: own.nearest(ws, 15, lambda w: piece_means(w, lm, tok))}
    both = sorted(w for w in long if w in glove)
    found = {name: f(both) for name, f in near.items()}
    shared = [len({*a} & {*b}) for a, b in zip(found["GloVe"], found["embeddings"])]
    return dict(texts=o.texts, words=len(words), pieces=len(pieces), glove_rows=len(glove), own_rows=len(own),
                pieces_in_glove=len([w for w in pieces if w in glove]), compared=len(both), shared=sum(shared) / len(both),
                alike={name: sum(map(alike, both, lists)) / len(both) for name, lists in found.items()},
                examples={w: {name: f([w])[0][:6] for name, f in near.items()} | dict(pieces=tok.tokenize(w)) for w in EXAMPLES})

def chinese(o):
    "A small masked language model for Chinese, its perplexity, and what it finds for a few reviews."
    torch.manual_seed(0)
    lines = Path(o.chinese).read_text(encoding="utf-8").splitlines()
    texts, tok = [line.split("\t")[0] for line in lines], BertTokenizer.from_pretrained(o.chinese_vocab)
    config = BertConfig(vocab_size=len(tok), hidden_size=192, num_hidden_layers=3, num_attention_heads=3, intermediate_size=768)
    lm = BertForMaskedLM(config)
    note(lm, knows_words=False)
    fitted = fit_head(lm, tok, texts, max_steps=o.steps, per_device_train_batch_size=32, learning_rate=1e-3)
    augmenter, rows = Augmenter(lm, tok, n=o.new, bf16=fast_bf16()), []
    for text in [t for t in texts if 12 <= len(t) <= 24][:3]:
        found, parts = augmenter.candidates([text])[0], [w for w, _, _ in split_words(text)]
        rows.append(dict(text=text, candidates={f"{i} {parts[i]}": c[:6] for i, c in found.items()},
                         new=draw(text, found, o.new, augmenter.p, random.Random(0))))
    return dict(steps=o.steps, texts=len(texts), parameters=lm.num_parameters(), before=fitted.before, after=fitted.after, rows=rows)

if __name__ == "__main__":
    p = common.parser(__doc__)
    p.add_argument("--glove", required=True, help="a GloVe text file")
    p.add_argument("--task", required=True, help="a folder of SST-2")
    p.add_argument("--chinese", required=True, help="a file with a Chinese review per line, before the first tab")
    p.add_argument("--chinese-vocab", required=True, help="a folder with the vocabulary of bert-base-chinese")
    p.add_argument("--texts", type=int, default=10_000)
    p.add_argument("--steps", type=int, default=1000)
    p.add_argument("--new", type=int, default=4)
    common.options(p)
    o = p.parse_args()
    data = {}
    for name in common.under(o, ("vectors", "chinese")):
        data |= {name: (compare if name == "vectors" else chinese)(o), "machine": machine()}
        print(json.dumps(data[name], indent=1, ensure_ascii=False), flush=True)
        common.write(o.results/"words.json", **data)
