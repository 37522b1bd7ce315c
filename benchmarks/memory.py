"""Does a long run grow? Resident memory over 10,000 steps, 10 million rows that stream, and a text of a megabyte.

    OMP_NUM_THREADS=1 python benchmarks/memory.py   # writes nbs/results/memory.json

Each part runs in a process of its own, on a CPU, with tiny models: what grows with the steps would grow in a large model's run as well.
"""
import os
os.environ |= dict(HF_HUB_OFFLINE="1", TQDM_DISABLE="1", TOKENIZERS_PARALLELISM="false", CUDA_VISIBLE_DEVICES="")
import argparse, json, random, subprocess, sys, tempfile, time
from pathlib import Path
import common

def now():
    "Resident megabytes of this process."
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)

def peak():
    "The most resident megabytes of this program; ru_maxrss would begin with those of the process that started it."
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return round(int(lines["VmHWM"].split()[0]) * 1024 / 1e6, 1)

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] good bad fine dull film book very not".split()

def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast
    t = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, "[UNK]"))
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    t.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return PreTrainedTokenizerFast(tokenizer_object=t, model_max_length=64, **dict(zip("pad_token unk_token cls_token sep_token mask_token".split(), WORDS)))

def model(kind, layers=2):
    import torch, transformers
    torch.manual_seed(0)
    return getattr(transformers, kind)(transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=32, max_position_embeddings=64))

def texts(n):
    rng = random.Random(0)
    return [" ".join(rng.choices(WORDS[5:], k=rng.randint(3, 40))) for _ in range(n)]

class Watch:
    "Trainer's callback: resident memory at some steps."
    def __new__(cls, at, seen):
        from transformers import TrainerCallback
        class Looks(TrainerCallback):
            def on_step_end(self, args, state, control, **kwargs):
                if state.global_step in at: seen[state.global_step] = now()
        return Looks()

def grown(seen, steps, seconds):
    first, last = min(seen), max(seen)
    return dict(steps=steps, seconds=round(seconds), mb={str(k): v for k, v in seen.items()}, grown=round(seen[last] - seen[first], 1), peak=peak())

def moments(n): return {n // 10, n // 4, n // 2, n * 3 // 4, n}

def train(n):
    "A Distiller with every kind of term."
    from datasets import Dataset
    from distill_nb.losses import CosineHidden, HardTargets, SoftTargets
    from distill_nb.training import Distiller
    from distill_nb.training.settings import training_args
    tok, seen = tokenizer(), {}
    rows = tok(texts(640), truncation=True, max_length=48)
    data = Dataset.from_dict({**rows, "labels": [i % 2 for i in range(640)], "length": [len(x) for x in rows["input_ids"]]})
    with tempfile.TemporaryDirectory() as home:
        args = training_args(home, max_steps=n, eval_strategy="no", disable_tqdm=True, use_cpu=True, bf16=False, per_device_train_batch_size=4, seed=0)
        run = Distiller(model("BertForSequenceClassification", 1), model("BertForSequenceClassification").eval(), 5*SoftTargets(T=2) + 2*HardTargets() + CosineHidden(),
                        args, train_dataset=data, processing_class=tok, callbacks=[Watch(moments(n), seen)])
        start = time.perf_counter()
        run.show_bar("x").train()
    return grown(seen, n, time.perf_counter() - start)

def words(n):
    "The masked language model's run, with DistilBERT's triple loss and lengths that vary."
    from distill_nb.data.corpus import sequences
    from datasets import Dataset
    tok, seen = tokenizer(), {}
    rows = dict(train=sequences(Dataset.from_dict(dict(text=texts(1000))), tok, 48))
    student, teacher = model("BertForMaskedLM", 1), model("BertForMaskedLM")
    start = time.perf_counter()
    watched_words(student, teacher, rows, tok, n, seen)
    return grown(seen, n, time.perf_counter() - start)

def watched_words(student, teacher, rows, tok, n, seen):
    from distill_nb.recipes.distilbert import triple_loss, word_collator
    from distill_nb.training.settings import training_args
    from distill_nb.words.head import WordDistiller
    with tempfile.TemporaryDirectory() as home:
        args = training_args(home, max_steps=n, eval_strategy="no", disable_tqdm=True, use_cpu=True, bf16=False, per_device_train_batch_size=4, seed=0)
        WordDistiller(student, teacher, triple_loss(student, teacher), args, train_dataset=rows["train"], data_collator=word_collator(tok, rows["train"]),
                      callbacks=[Watch(moments(n), seen)]).show_bar("x").train()

def rows(n):
    "A corpus of n lines, read as a stream."
    from distill_nb.data.corpus import read_corpus
    with tempfile.TemporaryDirectory() as home:
        file = Path(home)/"corpus.txt"
        with file.open("w") as f:
            for i in range(n): f.write(f"film number {i} was good and the book was not\n")
        size, before, start, read = file.stat().st_size, now(), time.perf_counter(), 0
        for row in read_corpus(str(file), streaming=True): read += bool(row["text"])
        seconds = time.perf_counter() - start
    assert read == n
    return dict(rows=n, file_mb=round(size / 1e6), seconds=round(seconds), per_second=round(n / seconds), before=before, peak=peak(), grown=round(peak() - before, 1))

def long_text(n):
    "A text of n characters, among others, is cut: by a task's tokens, by a corpus's, and where a model is asked."
    import pandas as pd, torch
    from datasets import Dataset
    from distill_nb.data.corpus import sequences
    from distill_nb.data.load import load_task
    from distill_nb.data.tokens import tokenize
    from distill_nb.measure.scores import predict
    tok = tokenizer()
    huge = "good film " * (n // 10)
    with tempfile.TemporaryDirectory() as home:
        pd.DataFrame([*(dict(text=f"good film {i}", label="good") for i in range(20)), *(dict(text=f"bad film {i}", label="bad") for i in range(20)),
                      dict(text=huge, label="good")]).to_csv(Path(home)/"t.csv", index=False)
        task, before, start = load_task(Path(home)/"t.csv"), now(), time.perf_counter()
        data = tokenize(task, tok, 48)
        most = max(max(map(len, d["input_ids"])) for d in data.values())
        for split in data: predict(model("BertForSequenceClassification").eval(), data[split], tok)
        packed = sequences(Dataset.from_dict(dict(text=[huge, "good film"])), tok, 48)
    return dict(characters=n, longest=most, corpus=max(map(len, packed["input_ids"])), seconds=round(time.perf_counter() - start, 1), grown=round(peak() - before, 1))

PARTS = dict(train=(train, 10_000), words=(words, 10_000), rows=(rows, 10_000_000), long_text=(long_text, 1_000_000))

def apart(part, n):
    "A part in a fresh process."
    done = subprocess.run([sys.executable, __file__, "--part", part, "--n", str(n)], capture_output=True, text=True, env=os.environ | dict(OMP_NUM_THREADS="1"))
    if done.returncode: raise SystemExit(done.stderr)
    return dict(part=part, **json.loads(done.stdout.splitlines()[-1]))

if __name__ == "__main__":
    p = common.parser(__doc__)
    common.options(p)
    p.add_argument("--part", help="run this part here and print its row")
    p.add_argument("--n", type=int, default=0, help="steps, rows or characters of a part (default: the committed numbers)")
    p.add_argument("--out", type=Path, default="memory.json")
    o = p.parse_args()
    if o.part:
        measured, n = PARTS[o.part]
        print(json.dumps(measured(o.n or n)))
        sys.exit()
    results = []
    for name in common.under(o, PARTS):
        results.append(apart(name, PARTS[name][1]))
        print(results[-1], flush=True)
        common.write(o.results/o.out, settings=common.settings(o, "part", "n"), machine=common.machine(), results=results)
