"""What a cross-encoder's margins teach a small embedder: `python benchmarks/margins.py`.

Queries are names of functions, positives their docstrings, negatives like docstrings of the same file. One half of the triples to learn
from trains the cross-encoder (the default teacher with one output, binary cross entropy), which then scores the other half for the
students and the held-out triples. Each way is also trained with one and the same margin for all triples, the mean: this is what the
labels say without the cross-encoder. Rows have the share of held-out triples in order and the error of the margins, before the first
step and after the last. Writes nbs/results/margins.json, which nbs/recipes/13_margins.ipynb reads.
"""
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification
import common
from distill_nb.measure.report import Report
from distill_nb.recipes.embedding import vector_setup, vector_student
from distill_nb.recipes.margins import docstring_triples, fit_margins, margin_metrics, split_triples, student_margins, with_margins
from distill_nb.teachers.load import default_teacher, load_pretrained, load_tokenizer
from distill_nb.training.run import fit

WAYS = dict(blocks=(3, "3 blocks"), table=(0, "static"))

def cross_encoder(df, o):
    "The default teacher, trained to tell positives (1) from negatives (0)."
    torch.manual_seed(0)
    model, tok = load_pretrained(AutoModelForSequenceClassification, default_teacher(), num_labels=1), load_tokenizer()
    ids = tok([*df["query"]] * 2, [*df.positive, *df.negative], truncation=True, max_length=o.max_length)
    rows = Dataset.from_dict({**ids, "labels": [[1.]] * len(df) + [[0.]] * len(df), "length": [len(x) for x in ids["input_ids"]]})
    fit(model, dict(train=rows), tok, max_steps=o.cross_steps, learning_rate=o.cross_rate, per_device_train_batch_size=o.batch, disable_tqdm=True)
    return model, tok

def results(o):
    "The cross-encoder's row, the untouched embedder's, then before and after training of each way and seed."
    sides = split_triples(docstring_triples(), o.held_out)
    mine, learn = [sides["train"][i::2].reset_index(drop=True) for i in (0, 1)]
    cross = cross_encoder(mine, o)
    sides = {s: with_margins(df, *cross) for s, df in dict(train=learn[:o.triples], test=sides["test"]).items()}
    test, at = sides["test"], vector_setup(None, o.max_length)
    flat = dict(sides, train=sides["train"].assign(margin=sides["train"].margin.mean()))
    yield dict(model="cross-encoder", parameters=cross[0].num_parameters(), held_out=len(test), learnt=len(sides["train"]),
               **margin_metrics(test.margin, test.margin))
    big, tok, how = at["teacher"], at["tokenizer"], at["how"]
    yield dict(model="embedder", parameters=big.num_parameters(),
               **margin_metrics(student_margins(big, test, tok, how["pool"], o.max_length), test.margin))
    starts = {way: vector_student(big, tok, layers, "spread", how["pool"]) for way, (layers, _) in WAYS.items()}
    for seed in o.seeds:
        for way, start in starts.items():
            for name, given in ("margins", sides), ("one margin", flat):
                student, report = type(start)(start.config), Report(way, "accuracy")
                student.load_state_dict(start.state_dict())
                for (_, p), (_, q) in zip(student.named_parameters(), start.named_parameters()): p.requires_grad_(q.requires_grad)
                steps, rate = getattr(o, f"{way}_steps"), getattr(o, f"{way}_rate")
                torch.manual_seed(seed)
                fit_margins(student, given, tok, report, how, seed=seed, max_steps=steps, learning_rate=rate,
                            per_device_train_batch_size=o.batch, disable_tqdm=True)
                before, after = [{k: row[k] for k in ("accuracy", "margin_mse")} for row in report.rows[1:]]
                about = dict(model=WAYS[way][1], parameters=student.num_parameters())
                if seed == o.seeds[0] and name == "margins": yield about | dict(learnt_from="nothing", steps=0) | before
                yield about | dict(learnt_from=name, seed=seed, steps=steps) | after

if __name__ == "__main__":
    p = common.parser(__doc__)
    p.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    p.add_argument("--triples", type=int, default=20_000, help="most triples to learn from")
    p.add_argument("--held-out", type=float, default=.1, help="share of the queries")
    p.add_argument("--max-length", type=int, default=48)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--cross-steps", type=int, default=1000)
    p.add_argument("--cross-rate", type=float, default=1e-4)
    p.add_argument("--blocks-steps", type=int, default=200)
    p.add_argument("--blocks-rate", type=float, default=1e-4)
    p.add_argument("--table-steps", type=int, default=200)
    p.add_argument("--table-rate", type=float, default=1e-2)
    common.options(p)
    o = p.parse_args()
    common.study(o, "margins.json", results(o), settings=common.settings(o))
