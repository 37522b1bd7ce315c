"""What a small embedder keeps of its teacher: `python benchmarks/embedding.py --sts FOLDER_OF_STS-B`.

The default teacher has 6 blocks. A student of 3 of them, and a static one with none, learn its vectors of sentences from docstrings.
Each row has the likeness to the teacher on held-out sentences and, with `--sts`, Spearman's correlation with people's scores on the
pairs of STS-B's dev.tsv, before the first step and after the last. Writes nbs/results/embedding.json, which nbs/recipes/12_embedding.ipynb reads.
"""
import csv
from pathlib import Path
import pandas as pd
import torch
import common
from distill_nb.data.corpus import read_corpus
from distill_nb.data.tokens import text_rows
from distill_nb.recipes.embedding import scorer, split_texts, vector_setup, vector_student, vectors_objective
from distill_nb.training.run import fit

WAYS = dict(blocks=(3, "3 blocks"), table=(0, "static"))

def sts_pairs(folder):
    "Pairs with people's scores from 0 to 5, or None."
    if not folder: return None
    table = pd.read_csv(Path(folder)/"dev.tsv", sep="\t", quoting=csv.QUOTE_NONE)
    return table.rename(columns=dict(sentence1="text", sentence2="pair", score="label"))[["text", "pair", "label"]]

def results(o):
    "The teacher's row, then before and after training of each way and seed."
    at = vector_setup(None, o.max_length)
    big, tok, pool = at["teacher"], at["tokenizer"], at["how"]["pool"]
    learn, held = split_texts(read_corpus()["text"], o.held_out)
    rows = {"train": text_rows(learn[:o.texts], tok, o.max_length)}
    score = scorer(big, tok, held, sts_pairs(o.sts), pool, o.max_length)
    yield dict(model="teacher", parameters=big.num_parameters(), **score(big))
    starts = {way: vector_student(big, tok, layers, "spread", pool) for way, (layers, _) in WAYS.items()}
    for way, student in starts.items():
        yield dict(model=WAYS[way][1], steps=0, parameters=student.num_parameters(), **score(student))
    for seed in o.seeds:
        for way, start in starts.items():
            student = type(start)(start.config)
            student.load_state_dict(start.state_dict())
            for (_, p), (_, q) in zip(student.named_parameters(), start.named_parameters()): p.requires_grad_(q.requires_grad)
            steps, rate = getattr(o, f"{way}_steps"), getattr(o, f"{way}_rate")
            torch.manual_seed(seed)
            fit(student, rows, tok, vectors_objective(pool), big, f"seed {seed}: {way}", seed=seed, max_steps=steps, learning_rate=rate,
                per_device_train_batch_size=o.batch, disable_tqdm=True)
            yield dict(model=WAYS[way][1], seed=seed, steps=steps, parameters=student.num_parameters(), **score(student))

if __name__ == "__main__":
    p = common.parser(__doc__)
    p.add_argument("--sts", help="GLUE's folder STS-B")
    p.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    p.add_argument("--texts", type=int, default=20_000, help="most sentences to learn from")
    p.add_argument("--held-out", type=int, default=300)
    p.add_argument("--max-length", type=int, default=64)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--blocks-steps", type=int, default=150)
    p.add_argument("--blocks-rate", type=float, default=3e-4)
    p.add_argument("--table-steps", type=int, default=200)
    p.add_argument("--table-rate", type=float, default=1e-2)
    common.options(p)
    o = p.parse_args()
    settings = {k: v for k, v in common.settings(o, "sts").items()}
    common.study(o, "embedding.json", results(o), settings=settings)
