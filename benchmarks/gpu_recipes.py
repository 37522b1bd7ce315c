"""The same recipe on a CPU and on a GPU in three precisions: `python benchmarks/gpu_recipes.py`.

Every recipe runs a few steps on the same texts with the same seed and without dropout, whose draws differ between devices: on the CPU in float32, which is what
the others are compared with, then on the GPU in float32, bf16 and fp16. A row has the largest difference of the student's probabilities on the
test texts from the CPU's, and the share of texts with the same answer. Writes nbs/results/recipes-gpu.json after every run; `--rehearse` has the CPU alone.
"""
import gc
from functools import partial
from tempfile import TemporaryDirectory
import torch
from transformers import AutoModel
import common
from distill_nb.data.load import load_task
from distill_nb.data.tokens import tokenize
from distill_nb.measure.scores import predict
from distill_nb.recipes.bilstm import distil_bilstm
from distill_nb.recipes.demo import hide_labels
from distill_nb.recipes.layers import distil_layers
from distill_nb.recipes.minilm import distil_minilm
from distill_nb.recipes.mobilebert import distil_mobilebert
from distill_nb.recipes.theseus import distil_theseus
from distill_nb.recipes.tinybert import distil_tinybert
from distill_nb.teachers.load import default_teacher, load_tokenizer

STAGED = dict(tinybert=distil_tinybert, minilm=distil_minilm, mobilebert=distil_mobilebert) # they take a folder for their stages
RECIPES = dict(layers=distil_layers, theseus=distil_theseus, bilstm=partial(distil_bilstm, student=dict(dropout=0.))) | STAGED
WAYS = {"CPU, float32": dict(use_cpu=True, bf16=False), "GPU, float32": dict(bf16=False), "GPU, bf16": dict(bf16=True), "GPU, fp16": dict(fp16=True, bf16=False)}

def still(folder, source):
    "The teacher in a folder, with no dropout in its configuration."
    model = AutoModel.from_pretrained(source, dtype=torch.float32)
    for name in [k for k in model.config.to_dict() if "dropout" in k and k != "classifier_dropout"]: setattr(model.config, name, 0.)
    model.save_pretrained(folder)
    load_tokenizer(source).save_pretrained(folder)
    return str(folder)

def run(name, how, task, teacher, o, home):
    "The student's probabilities on the test texts, and its report's row."
    place = dict(out=home) if name in STAGED else {}
    settings = dict(num_train_epochs=o.epochs, per_device_train_batch_size=o.batch, eval_strategy="no", disable_tqdm=True, learning_rate=2e-4)
    done = RECIPES[name](task, teacher, baseline=False, max_length=64, check=False, teacher_settings=dict(num_train_epochs=3), **place, **how, **settings)
    rows = tokenize(task, done.tokenizer, max_length=64)["test"]
    return predict(done.student.float(), rows, done.tokenizer).double().softmax(-1).cpu(), done.report.rows[-1]

def rows(o):
    task = hide_labels(load_task(o.sst2) if o.sst2 else load_task("bshift"), o.texts, o.texts)
    task.splits["test"] = task["test"].select(range(min(o.texts, len(task["test"]))))
    with TemporaryDirectory() as tmp:
        teacher = still(f"{tmp}/teacher", default_teacher())
        for name in o.only or RECIPES:
            for way, how in WAYS.items():
                if way.startswith("GPU") and o.rehearse: continue
                gc.collect()
                p, said = run(name, how, task, teacher, o, f"{tmp}/{name} on {way}")
                if way.startswith("CPU"): first = p
                yield dict(recipe=name, way=way, steps=said.get("steps"), accuracy=said["accuracy"], difference=float((p - first).abs().max()),
                           agreement=float((p.argmax(-1) == first.argmax(-1)).double().mean()))

if __name__ == "__main__":
    p = common.parser(__doc__)
    p.add_argument("--sst2", type=common.there, help="folder of GLUE's SST-2 (default: made of docstrings)")
    p.add_argument("--only", nargs="+", choices=RECIPES, help="names of recipes")
    for name, default in dict(texts=320, batch=16, epochs=1.).items(): p.add_argument(f"--{name}", type=common.above_0(type(default)), default=default)
    common.options(p)
    o = common.of_a_gpu(p)
    common.study(o, f"recipes-{'rehearsal' if o.rehearse else 'gpu'}.json", rows(o), settings=common.settings(o, "only", "sst2", "rehearse", "device"))
