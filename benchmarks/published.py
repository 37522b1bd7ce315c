"""The numbers that papers print, with their places: `python benchmarks/published.py` writes nbs/results/published.json, which nbs/results/compare.ipynb shows.

CoLA: Matthews' correlation; SST-2, RTE: accuracy; MRPC: F1 in TinyBERT's table, mean of F1 and accuracy in Theseus'; STS-B: Spearman's correlation in
TinyBERT's, mean of Pearson's and Spearman's in Theseus'.
"""
from pathlib import Path
import common

TASKS = "CoLA", "SST-2", "MRPC", "RTE", "STS-B"
TABLES = [
    dict(source="Jiao et al. 2020, arXiv 1909.10351v5, table 1", split="test, hidden", teacher="BERT-base", blocks=12, rows={
        "BERT-base": (52.8, 93.4, 87.5, 67.0, 85.2), "TinyBERT-4": (44.1, 92.6, 86.4, 66.6, 80.4), "TinyBERT-6": (51.1, 93.1, 87.3, 70.0, 83.7),
        "DistilBERT, 6 blocks": (49.0, 92.5, 86.9, 58.4, 81.3), "PKD, 4 blocks": (24.8, 89.4, 82.6, 62.3, 79.8)}),
    dict(source="Xu et al. 2020, arXiv 2002.02925, table 2", split="dev", teacher="BERT-base", blocks=12, rows={
        "BERT-base": (54.3, 91.5, 89.5, 71.1, 88.9), "fine-tuned, 6 blocks": (43.4, 89.6, 86.0, 62.1, 81.9), "logits, 6 blocks": (45.1, 90.5, 86.2, 64.9, 84.9),
        "PKD, 6 blocks": (45.5, 91.3, 85.7, 66.5, 86.2), "Theseus, 6 blocks": (51.1, 91.5, 89.0, 68.2, 88.7)})]
ABLATIONS = dict(
    distilbert=dict(source="Sanh et al. 2019, arXiv 1910.01108, table 4", what="change of the GLUE score",
                    rows={"without answers": -2.96, "without cosine": -1.46, "without labels": -0.31, "random start": -3.69}),
    tinybert=dict(source="Jiao et al. 2020, table 3", what="mean of MNLI, MRPC, CoLA (dev)", rows={
        "all": 75.6, "without the first stage": 56.3, "without attention": 71.0, "without hidden": 72.9, "without embeddings": 74.1, "without answers": 73.5}))

if __name__ == "__main__":
    p = common.parser(__doc__)
    common.options(p)
    o = p.parse_args()
    common.write(o.results/"published.json", tables=[t | dict(rows={k: dict(zip(TASKS, v)) for k, v in t["rows"].items()}) for t in TABLES], ablations=ABLATIONS)
