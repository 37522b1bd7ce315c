"""Kill every long operation at random moments, give the same command again, and compare the weights bit by bit.

    OMP_NUM_THREADS=1 python benchmarks/kills.py --kills 3   # writes nbs/results/kills.json

Each operation runs in a copy of this process (a fork, so that nothing is imported again), on a CPU, with tiny random models. It is first run to its
end; then, in new folders, it is killed by SIGKILL, SIGTERM or SIGINT at a random moment of that time, every third time twice, and then left alone.
A row tells the moments, the exit codes, whether the result has the bits of the uninterrupted one, and what was left behind for good.
"""
import os
os.environ |= dict(HF_HUB_OFFLINE="1", TQDM_DISABLE="1", TOKENIZERS_PARALLELISM="false", CUDA_VISIBLE_DEVICES="")
import random, re, shutil, signal, sys, tempfile, time, traceback
from pathlib import Path
import common, datasets, pandas as pd, torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast
from distill_nb import cache_teacher, load_task
from distill_nb.data.corpus import read_corpus, sequences
from distill_nb.data.tokens import tokenize
from distill_nb.kit.files import file_digest
from distill_nb.recipes import distil_words
from distill_nb.shell.cli import main
from distill_nb.teachers import load_teacher
from distill_nb.teachers.load import load_tokenizer
from distill_nb.words import load_masked_lm
from distill_nb.words.augmenter import Augmenter, augment
import distill_nb.deploy.export, distill_nb.measure.report, distill_nb.recipes.embedding, distill_nb.recipes.kinds, distill_nb.shell.train # before the forks
import matplotlib.pyplot

SPECIAL = "[PAD] [UNK] [CLS] [SEP] [MASK]".split()
WORDS = [a + b for a in "film book play song meal trip game talk".split() for b in ("", "s", "er", "y")]
SIGNALS = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
NAMES = {s: s.name for s in SIGNALS}

# Tiny models and texts

def make_tokenizer():
    t = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*SPECIAL, "good", "bad", *WORDS])}, "[UNK]"))
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    t.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return PreTrainedTokenizerFast(tokenizer_object=t, model_max_length=128, **dict(zip("pad_token unk_token cls_token sep_token mask_token".split(), SPECIAL)))

def prepare(home):
    "Texts with labels, texts without, and three teachers: without a head, with one, for words."
    rng = random.Random(0)
    def text(word=""): return " ".join([*rng.choices(WORDS, k=rng.randint(4, 12)), word]).strip()
    pd.DataFrame([dict(text=text(w), label=w) for w in ["good", "bad"] * 40]).to_csv(home/"task.csv", index=False)
    (home/"corpus.txt").write_text("\n".join(text() for _ in range(400)))
    tok, config = make_tokenizer(), dict(vocab_size=len(SPECIAL) + 2 + len(WORDS), hidden_size=32, num_hidden_layers=4, num_attention_heads=2,
                                         intermediate_size=64, max_position_embeddings=128)
    for name, kind in dict(encoder=BertModel, tuned=BertForSequenceClassification, words=BertForMaskedLM).items():
        torch.manual_seed(0)
        kind(BertConfig(**config, id2label={0: "bad", 1: "good"}, label2id=dict(bad=0, good=1))).save_pretrained(home/name)
        tok.save_pretrained(home/name)

# Operations: each makes something below `at` and returns what is compared

def shell(*words):
    "A command whose student is compared."
    def run(at, home):
        code = main([str(w).format(at=at, home=home) for w in words])
        if code: sys.exit(code)
        return file_digest(next(at.glob("out/model.*")))
    return run

def train(recipe, *words, teacher="encoder", epochs=4):
    return shell("train", "--recipe", recipe, "--task", "{home}/task.csv", "--teacher", "{home}/" + teacher, "--out", "{at}/out", "--batch-size", "8",
                 *(["--epochs", epochs] if epochs else []), *words)

def hidden_words(at, home):
    "A masked language model with checkpoints."
    done = distil_words(home/"corpus.txt", home/"words", folder=at/"steps", num_train_epochs=2, save_steps=3, logging_steps=5, use_cpu=True, bf16=False,
                        per_device_train_batch_size=32, text=dict(max_length=32), seed=0)
    return hashed(done.student.state_dict())

def cached(at, home):
    teacher, tok = load_teacher(home/"tuned"), load_tokenizer(home/"tuned")
    rows = tokenize(load_task(home/"task.csv"), tok, 32)["train"]
    ids = [[*x[:-1], 5 + i, x[-1]] for i in range(30) for x in rows["input_ids"]]
    many = Dataset.from_dict(dict(input_ids=ids, attention_mask=[[1] * len(x) for x in ids]))
    return hashed(dict(z=torch.tensor(cache_teacher(teacher, many, tok, folder=at/"cache", per_file=128)["teacher_logits"])))

def new_texts(at, home):
    task, tok = load_task(home/"task.csv"), load_tokenizer(home/"words")
    made = augment(task, Augmenter(load_masked_lm(home/"words"), tok, n=8), folder=at/"cache", rows_per_file=4)
    return hashed(made["train"].to_dict())

def corpus(at, home):
    "A packed corpus, as it is kept in the cache of datasets."
    rows = sequences(read_corpus(str(home/"corpus.txt")), load_tokenizer(home/"words"), 32, True)
    return hashed(rows.to_dict())

def hashed(value):
    from datasets.fingerprint import Hasher
    return Hasher.hash(sorted(value.items()))

OPERATIONS = {
    "layers": train("layers", "--layers", 2),
    "tinybert": train("tinybert", "--layers", 2, "--width", 16, "--inner", 32, "--inside-epochs", 4, "--answers-epochs", 4),
    "bilstm": train("bilstm", "--units", 16, "--width", 16),
    "theseus": train("theseus", "--layers", 2),
    "minilm": train("minilm", "--layers", 2),
    "mobilebert": train("mobilebert"),
    "embedding": shell("train", "--recipe", "embedding", "--corpus", "{home}/corpus.txt", "--teacher", "{home}/encoder", "--out", "{at}/out", "--layers", 2,
                       "--epochs", 2, "--held-out", 20),
    "distilbert": shell("train", "--recipe", "distilbert", "--corpus", "{home}/corpus.txt", "--teacher", "{home}/words", "--out", "{at}/out", "--layers", 2,
                        "--epochs", 2, "--batch-size", 32, "--max-length", 32),
    "distil_words": hidden_words, "cache_teacher": cached, "augment": new_texts, "corpus": corpus,
    "export": shell("export", "{home}/tuned", "--task", "{home}/task.csv", "--out", "{at}/out", "--no-timed")}

# One run in a copy of this process

def begin(name, at, home):
    "Start an operation below `at`; the number of its process."
    for folder in "tmp", "datasets": (at/folder).mkdir(parents=True, exist_ok=True)
    child = os.fork()
    if child: return child
    code = 1
    try:
        os.environ["TMPDIR"] = tempfile.tempdir = str(at/"tmp")
        datasets.config.HF_DATASETS_CACHE = at/"datasets"
        log = os.open(at/"log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1), os.dup2(log, 2)
        torch.set_num_threads(1)
        (at/"digest").write_text(OPERATIONS[name](at, home) if name in OPERATIONS else prepare(home) or "")
        code = 0
    except SystemExit as e: code = e.code
    except KeyboardInterrupt: code = 130 # of a function, not of a command
    except BaseException: traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code or 0)

def ended(child): return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def left_behind(at):
    "What a run should have removed: temporary files and folders."
    return sorted(str(p.relative_to(at)) for pattern in (".distill_nb-????????-*", ".distill_nb-new", ".distill_nb-ready", ".distill_nb-old", "distill_nb-run-*",
                                                         "distill_nb-student-*") for p in at.rglob(pattern))

def told_fault(log):
    "Is there a traceback, but for Python's own where a signal came inside a destructor or a callback, which loses it?"
    return "Traceback" in re.sub(r"^Exception ignored in.*(\n.*)?\nTraceback", "", log, flags=re.M)

def kill(name, home, reference, seconds, rng, at, twice=False):
    "A row: an operation that is killed once or twice and then goes on."
    told = []
    for _ in range(1 + twice):
        moment, number = rng.uniform(0, seconds), rng.choice(SIGNALS)
        child = begin(name, at, home)
        time.sleep(moment)
        os.kill(child, number)
        code = ended(child)
        told.append(dict(signal=NAMES[number], after=round(moment, 2), code=code))
    code = ended(begin(name, at, home))
    log = (at/"log").read_text(errors="replace")
    equal = code == 0 and (at/"digest").read_text() == reference
    return dict(operation=name, kills=told, code=code, equal=equal, left=left_behind(at), traceback=told_fault(log),
                **({} if equal else dict(said=log.strip().splitlines()[-1:])))

def rows(o, home):
    rng = random.Random(o.seed)
    if ended(begin("prepare", home, home)): raise SystemExit((home/"log").read_text())
    for name in o.only.split(",") if o.only else OPERATIONS:
        start, at = time.perf_counter(), home/name
        if ended(begin(name, at, home)): raise SystemExit(f"{name}: " + (at/"log").read_text())
        seconds, reference = time.perf_counter() - start, (at/"digest").read_text()
        for i in range(o.kills):
            at = home/f"{name}-{i}"
            yield kill(name, home, reference, seconds, rng, at, i % 3 == 2) | dict(seconds=round(seconds, 2))
            if not o.keep: shutil.rmtree(at)

if __name__ == "__main__":
    p = common.parser(__doc__)
    common.options(p)
    p.add_argument("--kills", type=int, default=3, help="of each operation")
    p.add_argument("--only", default="", help="operations, with commas")
    p.add_argument("--seed", type=int, default=0, help="of moments and signals")
    p.add_argument("--keep", action="store_true", help="leave the folders of the runs")
    p.add_argument("--out", type=Path, default="kills.json")
    o = p.parse_args()
    results, home = [], Path(tempfile.mkdtemp(prefix="kills-"))
    try:
        for row in common.under(o, rows(o, home)):
            results.append(row)
            print(row, flush=True)
            common.write(o.results/o.out, settings=common.settings(o, "keep"), machine=common.machine(), results=results)
    finally:
        if not o.keep: shutil.rmtree(home, ignore_errors=True)
    bad = [r for r in results if not r["equal"] or r["left"] or r["traceback"]]
    print(f"{sum(len(r['kills']) for r in results)} kills, {len(results) - len(bad)} of {len(results)} as they should be")
    sys.exit(bool(bad))
