"""Every recipe of the command line, under torchrun in two processes: each rank writes its exit codes, and what it loads again, to argv[1]/RANK.json.

argv[2] is a folder with a teacher of the classes bad and good, argv[3] one with a masked language model."""
import json, os, sys
from pathlib import Path
import torch
from safetensors.torch import load_file
from distill_nb.shell.cli import main

OUT, TUNED, WORDS, RANK = *map(Path, sys.argv[1:4]), int(os.environ["RANK"])
TEXTS = [f"the {n} was {v} {w}" for n in ("film", "book") for v in ("very", "not", "") for w in ("good", "bad", "fine", "dull")]
TASK = ["--task", OUT/"reviews.csv", "--text", "review", "--label", "mood", "--teacher", TUNED, "--epochs", 1, "--batch-size", 4]
CORPUS = ["--corpus", OUT/"texts.txt", "--epochs", 1, "--batch-size", 4]
RECIPES = dict(
    layers=[*TASK, "--layers", 2], tinybert=[*TASK, "--layers", 2, "--width", 16, "--inner", 32],
    bilstm=[*TASK, "--units", 4, "--width", 6, "--start", "random"], theseus=[*TASK, "--layers", 2], minilm=[*TASK, "--layers", 2],
    mobilebert=[*TASK, "--bottleneck", 16], distilbert=[*CORPUS, "--teacher", WORDS, "--layers", 2, "--max-length", 16, "--held-out", .2],
    embedding=[*CORPUS, "--teacher", TUNED, "--layers", 2, "--held-out", 5],
    margins=["--triples", OUT/"triples.csv", "--scores", "gap", "--base", TUNED, "--layers", 2, "--held-out", .2, "--epochs", 1, "--batch-size", 4])

def digest(folder):
    "A number that any change of a weight changes."
    return sum(float(x.double().abs().sum()) for x in load_file(folder/"model.safetensors").values())

if __name__ == "__main__":
    if RANK == 0:
        rows = [f"{t},{'good' if t.endswith(('good', 'fine')) else 'bad'}" for t in TEXTS]
        (OUT/"reviews.csv").write_text("\n".join(["review,mood", *rows]) + "\n")
        triples = [f"{q},{p},{n},{len(p) - len(n)}" for q, p, n in zip(TEXTS, TEXTS[1:], TEXTS[2:])]
        (OUT/"triples.csv").write_text("\n".join(["query,positive,negative,gap", *triples]) + "\n")
        (OUT/"texts.txt").write_text("\n".join(f"{t} {t} {t} {u}" for t in TEXTS for u in TEXTS[::5]) + "\n")
    torch.distributed.init_process_group("gloo")
    torch.distributed.barrier()
    found = {}
    for recipe, words in RECIPES.items():
        code = main(["train", "--recipe", recipe, *map(str, words), "--out", str(OUT/recipe)])
        found[recipe] = dict(code=code, weights=digest(OUT/recipe) if code == 0 else None)
        torch.distributed.barrier()
    (OUT/f"{RANK}.json").write_text(json.dumps(found))
    torch.distributed.barrier()
    os._exit(0)
