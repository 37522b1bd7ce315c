"""DistilBERT's recipe on the embedded docstrings over seeds: `python benchmarks/distilbert.py --seeds 0 1 2`.

The default teacher gets its masked-LM head on the training side (once, then it is in the cache). For each seed the student of
some of its layers is measured as it starts, trained on hidden words alone, and distilled with the teacher asked at all
tokens or only where words are hidden; the same steps, rows and hidden held-out words for all. Writes
nbs/results/distilbert.json after every seed, which nbs/results/distilbert.ipynb reads; seeds that are there are kept.
"""
import json
import time
import common
from distill_nb.data.corpus import read_corpus
from distill_nb.data.docstrings import corpus_versions
from distill_nb.measure.report import machine
from distill_nb.recipes.distilbert import (
    PAPER, fit_words, triple_loss, two_sides, word_data, word_student, word_teacher)
from distill_nb.words.head import word_scores

WAYS = {"words alone": None, "all tokens": False, "masked tokens": True}  # only_masked

def one_seed(seed, o, teacher, tok, sides, **settings):
    "Scores of every way for one seed, and the losses over the steps; what there is after each way."
    data, out = word_data(sides, tok, o.max_length, at_most=o.at_most), dict(seed=seed)
    fresh = lambda: word_student(teacher, tok, o.layers)
    out["start"] = word_scores(fresh(), data.batches)
    for name, only_masked in WAYS.items():
        student, start = fresh(), time.time()
        objective = None if only_masked is None else triple_loss(student, teacher, only_masked=only_masked)
        run = fit_words(student, data.rows, data.collate, objective, teacher if objective else None, name=name, seed=seed, **settings)
        losses = run.history().filter(regex="^loss").round(4)
        out[name] = word_scores(student, data.batches) | dict(seconds=round(time.time() - start), losses=losses.reset_index().to_dict("list"),
                                                              objective=repr(run.objective))
        print(seed, name, out[name]["perplexity"], out[name]["seconds"], flush=True)
        yield dict(out)

if __name__ == "__main__":
    p = common.parser(__doc__)
    p.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    p.add_argument("--layers", type=int, default=3)
    p.add_argument("--steps", type=int, default=300)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--max-length", type=int, default=64)
    p.add_argument("--fit-steps", type=int, default=1000, help="of the teacher's head")
    p.add_argument("--at-most", type=int, default=1000, help="held-out sequences")
    common.options(p)
    o = p.parse_args()
    sides, file = two_sides(read_corpus()), o.results/"distilbert.json"
    teacher, tok = word_teacher(None, sides["train"]["text"][:], o.fit_steps)
    settings = {**PAPER, "max_steps": o.steps, "per_device_train_batch_size": o.batch, "disable_tqdm": True, "logging_steps": 10}
    data = word_data(sides, tok, o.max_length, at_most=o.at_most)
    setup = dict(layers=o.layers, max_length=o.max_length, fit_steps=o.fit_steps, settings=settings, corpus=corpus_versions(),
                 sequences={side: rows.num_rows for side, rows in data.rows.items()}, texts={s: t.num_rows for s, t in sides.items()},
                 hidden=sum(int((b["labels"] != -100).sum()) for b in data.batches),
                 parameters=dict(teacher=teacher.num_parameters(), student=word_student(teacher, tok, o.layers).num_parameters()))
    before = json.loads(file.read_text()) if file.is_file() else {}
    rows = before["seeds"] if before.get("setup") == setup else []
    scores = word_scores(teacher, data.batches)
    print("teacher", scores, setup, flush=True)
    for row in common.under(o, (row for seed in o.seeds for row in one_seed(seed, o, teacher, tok, sides, **settings))):
        rows = sorted([r for r in rows if r["seed"] != row["seed"]] + [row], key=lambda r: r["seed"])
        common.write(file, setup=setup, teacher=scores, machine=machine(), seeds=rows)
