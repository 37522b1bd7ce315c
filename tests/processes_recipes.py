"""Every recipe of the command line, under torchrun in two processes: each rank writes its exit codes, and what it loads again, to argv[1]/RANK.json.

argv[2] is a folder with a teacher of the classes bad and good, argv[3] one with a masked language model. With argv[4], "fsdp", the students are sharded."""
import json, os, sys
from pathlib import Path
import torch, yaml
from safetensors.torch import load_file
from torch.distributed.tensor import DTensor
from transformers import Trainer, TrainingArguments
from distill_nb.shell.cli import main
from distill_nb.training.distiller import Distiller

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

def shard():
    "What `accelerate launch` says of benchmarks/accelerate/fsdp.yaml; accelerate refuses to shard over CPUs, so it is told that they are GPUs."
    from accelerate import PartialState
    from accelerate.utils import DistributedType
    named = ("fsdp_version", "VERSION"), ("fsdp_auto_wrap_policy", "AUTO_WRAP_POLICY"), ("fsdp_reshard_after_forward", "RESHARD_AFTER_FORWARD"), ("fsdp_state_dict_type", "STATE_DICT_TYPE")
    said = yaml.safe_load((Path(__file__).parents[1]/"benchmarks"/"accelerate"/"fsdp.yaml").read_text())["fsdp_config"]
    os.environ |= {"ACCELERATE_USE_FSDP": "true"} | {f"FSDP_{env}": str(said[k]).upper() if k != "fsdp_reshard_after_forward" else str(said[k]).lower() for k, env in named}
    device = TrainingArguments.device.fget
    def as_gpus(args):
        found, shared = device(args), PartialState._shared_state
        if shared["distributed_type"] != DistributedType.FSDP: shared["distributed_type"] = DistributedType.MULTI_XPU
        return found
    TrainingArguments.device = property(as_gpus)

def watch():
    "After every training each process notes whether its student was sharded, and a number of the weights that it holds itself, whole."
    loop, train = Trainer._inner_training_loop, Distiller.train
    def counted(run, *args, **kwargs):
        done = loop(run, *args, **kwargs)
        SHARDED.append(run.accelerator.is_fsdp2)
        return done
    def noted(run, *args, **kwargs):
        done = train(run, *args, **kwargs)
        OWN.append(digest(run.student.state_dict()))
        return done
    Trainer._inner_training_loop, Distiller.train = counted, noted

SHARDED, OWN = [], [] # of each training: was the student sharded? and its weights, in this process

def digest(state):
    "A number that any change of a weight changes; refuses a part of a weight."
    assert not any(isinstance(x, DTensor) for x in state.values())
    return sum(float((x.double() * (1 + torch.arange(x.numel()).view(x.shape) % 7)).abs().sum()) for x in state.values())

if __name__ == "__main__":
    if RANK == 0:
        rows = [f"{t},{'good' if t.endswith(('good', 'fine')) else 'bad'}" for t in TEXTS]
        (OUT/"reviews.csv").write_text("\n".join(["review,mood", *rows]) + "\n")
        triples = [f"{q},{p},{n},{len(p) - len(n)}" for q, p, n in zip(TEXTS, TEXTS[1:], TEXTS[2:])]
        (OUT/"triples.csv").write_text("\n".join(["query,positive,negative,gap", *triples]) + "\n")
        (OUT/"texts.txt").write_text("\n".join(f"{t} {t} {t} {u}" for t in TEXTS for u in TEXTS[::5]) + "\n")
    if sys.argv[4:] == ["fsdp"]: shard()
    watch()
    torch.distributed.init_process_group("gloo")
    torch.distributed.barrier()
    found = {}
    for recipe, words in RECIPES.items():
        SHARDED.clear(), OWN.clear()
        code = main(["train", "--recipe", recipe, *map(str, words), "--out", str(OUT/recipe)])
        found[recipe] = dict(code=code, own=[*OWN], saved=digest(load_file(OUT/recipe/"model.safetensors")) if code == 0 else None, sharded=[*SHARDED])
        torch.distributed.barrier()
    (OUT/f"{RANK}.json").write_text(json.dumps(found))
    torch.distributed.barrier()
    os._exit(0)
