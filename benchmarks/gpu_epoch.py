"""Real tokens a second on real lengths: `python benchmarks/gpu_epoch.py --sst2 FOLDER`, with GLUE's SST-2 in the folder.

BERT-base teaches 6 of its layers (random weights: speed does not depend on them), bf16. Steps of the training set as a Distiller takes them,
grouped by length, teacher in the loop or its answers cached, at several batch sizes; `before` launches every operation and asks the
teacher under autocast, `padded` also pads every text to 64 as the reference code does; `mixed` takes the rows in a random order, `packed`
takes them so without computing the padding, and `packed, compiled` also compiles the blocks. The log's own `tokens_per_second` is what is
read: real tokens, padding not counted, dataloader and optimizer included. `tokens_per_second` of a row is all tokens over all seconds after the first third of the
steps: grouped by length, steps of short texts are slower by the token than those of long ones, so no single log speaks for an epoch.

Writes nbs/results/epoch-gpu.json after every row. `--rehearse`: toy sizes on a CPU and made-up texts.
"""
import gc, statistics, time
from tempfile import TemporaryDirectory
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, BertTokenizerFast, DataCollatorWithPadding, TrainerCallback
import common
from gpu_steps import Before
from distill_nb.data.load import load_task
from distill_nb.data.tokens import tokenize
from distill_nb.losses import SoftTargets
from distill_nb.students.copied import init_student
from distill_nb.teachers.cache import cache_teacher
from distill_nb.teachers.load import load_tokenizer
from distill_nb.training import Distiller, training_args

WAYS = ["packed, compiled", "packed", "graph", "before", "cached", "mixed", "padded"]

def padded(tok): return DataCollatorWithPadding(tok, padding="max_length", max_length=64)

class When(TrainerCallback):
    "The time of every log."
    def __init__(self): self.at = []
    def on_train_begin(self, *args, **kwargs): self.at.append(time.perf_counter())
    def on_log(self, args, state, control, logs=None, **kwargs):
        if "tokens_per_second" in logs: self.at.append(time.perf_counter())

def row(o, way, batch, teacher, rows, tok):
    kind, when = Before if way in ("before", "padded") else Distiller, When()
    student = init_student(teacher, range(0, o.layers, 2))
    if o.device == "cuda": torch.cuda.reset_peak_memory_stats()
    with TemporaryDirectory() as tmp:
        args = training_args(tmp, max_steps=o.steps, per_device_train_batch_size=batch, eval_strategy="no", logging_steps=max(1, o.steps // 12),
                             logging_first_step=False, disable_tqdm=True, dataloader_num_workers=o.workers, use_cpu=o.device == "cpu",
                             **dict(train_sampling_strategy="random") if way in ("padded", "mixed") or way.startswith("packed") else {})
        run = kind(student, None if way == "cached" else teacher, SoftTargets(T=2), args, train_dataset=rows, processing_class=tok, callbacks=[when],
                   **dict(data_collator=padded(tok)) if way == "padded" else {})
        if way.startswith("packed"): run.pack_tokens()
        run.compiles = way.endswith("compiled")
        begin = time.perf_counter()
        run.show_bar(way).train()
    logs = [l for l in run.state.log_history if "tokens_per_second" in l]
    late = [(b - a, l) for a, b, l in zip(when.at, when.at[1:], logs)][len(logs) // 3:]
    mean = lambda name: sum(t * l[name] for t, l in late) / sum(t for t, _ in late) if name in late[0][1] else None
    return dict(way=way, batch=batch, tokens_per_second=mean("tokens_per_second"), mfu=mean("mfu"), all=[round(l["tokens_per_second"]) for l in logs],
                steps=o.steps, seconds=time.perf_counter() - begin, shapes=logs[-1].get("recorded_shapes"), memory_mb=common.memory(o.device))

def rows(o):
    tok = BertTokenizerFast.from_pretrained(o.tokenizer) if o.tokenizer else load_tokenizer()
    task = load_task(o.sst2) if o.sst2 else load_task("libraries")
    texts = tokenize(task, tok, max_length=64)["train"]
    torch.manual_seed(0)
    sizes = dict(num_hidden_layers=o.layers) if o.device == "cuda" else dict(num_hidden_layers=o.layers, hidden_size=24, num_attention_heads=2, intermediate_size=32)
    teacher = AutoModelForSequenceClassification.from_config(BertConfig(vocab_size=len(tok), num_labels=len(task.labels), **sizes)).eval().to(o.device)
    with TemporaryDirectory() as home:
        for way in o.ways:
            for batch in o.batches[::-1]:
                gc.collect()
                if o.device == "cuda": torch.cuda.empty_cache()
                try:
                    held = cache_teacher(teacher, texts, tok, folder=home, bf16=o.device == "cuda") if way == "cached" else texts
                    yield row(o, way, batch, teacher, held, tok) | dict(mean_length=statistics.mean(texts["length"][:]))
                except Exception as e: yield dict(way=way, batch=batch, failed=f"{type(e).__name__}: {str(e)[:300]}")

if __name__ == "__main__":
    p = common.parser(__doc__)
    common.options(p)
    p.add_argument("--sst2", type=common.there, help="folder of GLUE's SST-2")
    p.add_argument("--tokenizer", type=common.there, help="folder with a BERT vocabulary (default: the default teacher's)")
    p.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    p.add_argument("--batches", type=common.count, nargs="+", default=[32, 256, 1024])
    p.add_argument("--steps", type=common.count, default=120)
    p.add_argument("--workers", type=int, default=4)
    o = common.of_a_gpu(p)
    o.layers = 2 if o.rehearse else 12
    if o.rehearse: o.batches, o.steps, o.workers = [8], 12, 0
    common.study(o, "epoch-rehearsal.json" if o.rehearse else "epoch-gpu.json", rows(o), settings=common.settings(o, "sst2", "tokenizer"))
