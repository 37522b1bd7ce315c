"""Cut the cases of nbs/losses/index.ipynb out of recordings of the peers' code: `python benchmarks/reference.py FOLDER`.

FOLDER holds, for each peer, NAME.json (cases) and NAME.safetensors (their tensors), recorded by running that peer's own
code on fixed random inputs. Writes nbs/results/reference.safetensors: the inputs of one case per term, as the peers
were given them, and in its metadata what their code returned in float64, with function and commit.
"""
import argparse, hashlib
import json
from pathlib import Path
from safetensors.torch import load_file, save_file

STEP = "step/mlm/all/T2.0/restrict"
# case -> peer, its name in the recordings, which of several outputs
CASES = {
    "prediction T=1": ("tinybert", "soft_cross_entropy/T1.0", None),
    "prediction T=4": ("tinybert", "soft_cross_entropy/T4.0", None),
    "intermediate": ("tinybert", "task_distill/intermediate_loss", None),
    "all tokens": ("hfdistil", STEP + "0", "loss_ce"),
    "masked tokens": ("hfdistil", STEP + "1", "loss_ce"),
    "masked words": ("hfdistil", STEP + "0", "loss_mlm"),
    "logits": ("hfdistil", STEP + "0", "loss_mse"),
    "cosine": ("hfdistil", STEP + "0", "loss_cos"),
    "logits/T": ("textbrewer", "kd_mse_loss/2d/T4", None),
    "scores": ("textbrewer", "att_mse_loss/scores_pad/mask", None),
    "scores, no mask": ("textbrewer", "att_mse_loss/scores_pad/nomask", None),
    "attention": ("textbrewer", "att_ce_loss/scores_pad/mask", None),
    "hidden": ("textbrewer", "hid_mse_loss/mask", None),
    "first token": ("textbrewer", "pkd_loss/2d", None),
    "relations": ("minilmv2_bb", "relation_kl", None),
}

def flat(inputs):
    "Input name -> key of its tensor; a list's items are numbered."
    for name, value in inputs.items():
        items = {f"{name}.{i}": v for i, v in enumerate(value)} if isinstance(value, list) else {name: value}
        yield from ((k, v[2:]) for k, v in items.items() if isinstance(v, str) and v.startswith("T:"))

if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", type=Path)
    folder, tensors, facts = p.parse_args().folder, {}, {}
    for name, (peer, case, output) in CASES.items():
        recorded = json.loads((folder/f"{peer}.json").read_text())
        found = next(c for c in recorded["cases"] if c["name"] == case)
        values, out = load_file(folder/f"{peer}.safetensors"), found["out"]["f64"]
        inputs = {}
        for argument, key in flat(found["inputs"]):
            digest = hashlib.sha256(values[key].numpy().tobytes()).hexdigest()[:8] # several cases share their inputs
            inputs[argument] = f"{peer}/{argument}/{digest}"
            tensors[inputs[argument]] = values[key].contiguous()
        facts[name] = dict(peer=peer, function=found["function"], commit=recorded["commit"][:10], inputs=inputs,
                           value=out[output] if output else out)
    out = Path("nbs/results/reference.safetensors")
    save_file(dict(sorted(tensors.items())), out, metadata={"cases": json.dumps(facts)})
    out.chmod(0o644)
