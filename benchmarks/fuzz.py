"""Random input, most of it bad, for everything that reads: a refusal is fine, a traceback, a hang or a silent misreading is not.

    OMP_NUM_THREADS=1 python benchmarks/fuzz.py --cases 20000   # writes nbs/results/fuzz.json

hypothesis makes the cases and shrinks one that fails. Each target is a strategy and a check: the check raises `InputError` where the input is refused,
and returns otherwise; targets whose truth is known (tables that pandas wrote, layers within a depth) compare what was read with it.
"""
import os
os.environ |= dict(HF_HUB_OFFLINE="1", TQDM_DISABLE="1", TOKENIZERS_PARALLELISM="false")
import argparse, io, json, math, random, shutil, signal, sys, tempfile, time, warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
import common, datasets, pandas as pd, torch
from hypothesis import HealthCheck, given, seed, settings, strategies as st
from tokenizers import Tokenizer, models
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast
from distill_nb import losses
from distill_nb.data.corpus import read_corpus
from distill_nb.data.load import load_task
from distill_nb.data.tables import check_table, read_table, write_table
from distill_nb.data.tags import read_conll
from distill_nb.data.tasks import make_task
from distill_nb.data.vectors import read_vectors
from distill_nb.kit.errors import InputError, one_line
from distill_nb.kit.files import output_file
from distill_nb.kit.folders import output_folder
from distill_nb.losses import LayerMap, Term, as_objective
from distill_nb.recipes.layers import OBJECTIVES, named_objective
from distill_nb.shell.cli import main, parser
from distill_nb.shell.options import check_options
from distill_nb.shell.recipes import RECIPES
from distill_nb.students.layers import CHOICES, pick_layers
from distill_nb.teachers.answers import read_answers
from distill_nb.teachers.load import load_teacher, load_tokenizer
from distill_nb.training.saving import span

SLOW = 20. # seconds: a case that takes longer hangs

# What the cases are made of

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
odd = st.sampled_from(["", " ", "NA", "nan", "None", "-1", "1e999", "0,5", '"', "'", '""', "\t", "\n", "\r", "\u2028", "\x1b[31m", "<b>", "=1+1", "#REF!", "|",
                       "\ufeff", "\u202e", "good", "bad", "1.0", "01", "true", "[]", "{}", '{"good": 1}', "[0.5, 0.5]", "../x", "/", "\\N"])
text = words | odd
scalar = st.none() | st.booleans() | st.integers(-5, 5) | st.integers() | st.floats() | text
value = st.recursive(scalar, lambda x: st.lists(x, max_size=3) | st.dictionaries(words, x, max_size=3), max_leaves=5)
lines = st.lists(st.lists(text, min_size=1, max_size=4), max_size=8)
raw = st.binary(max_size=200) | lines.map(lambda rows: "\n".join(",".join(r) for r in rows).encode("utf-8", "replace")) \
    | lines.map(lambda rows: "\n".join("\t".join(r) for r in rows).encode("utf-8", "replace")) | value.map(lambda x: json.dumps(x).encode())
table = st.tuples(st.sampled_from(["text,label\n", "text\tlabel\n", "label,text\n", "sep=;\ntext;label\n", ""]), st.lists(st.tuples(text, text), max_size=8),
                  st.sampled_from([",", "\t", ";"])).map(lambda t: (t[0] + "\n".join(t[2].join(r) for r in t[1])).encode("utf-8", "replace"))
fair = st.lists(st.tuples(text, text), max_size=3).map(lambda more: "text,label\n" + "".join(f"the film number {i} was {w},{w}\n" for i in range(8) for w in ("good", "bad"))
                                                       + "\n".join(",".join(r) for r in more)) # readable, but for a few rows
endings = st.sampled_from([".csv", ".tsv", ".json", ".jsonl", ".parquet", ".txt", ".conll", ""])

# Targets: name -> (strategy, check)

TARGETS = {}
def target(strategy):
    def add(check):
        TARGETS[check.__name__] = strategy, check
        return check
    return add

@target(st.tuples(table | raw | fair.map(lambda t: t.encode()), endings) | st.tuples(fair.map(lambda t: t.encode()), st.just(".csv")))
def tasks(at, case):
    "Any bytes as a task, under any ending."
    file = at/f"task{case[1]}"
    file.write_bytes(case[0])
    task = load_task(file)
    if b"number 7 was bad" in case[0]: # what is readable is read as it stands
        read = {(t, task.labels[y]) for rows in task.splits.values() for t, y in zip(rows["text"], rows["label"]) if task.labels and isinstance(y, int) and y >= 0}
        assert not read or {(f"the film number {i} was {w}", w) for i in range(8) for w in ("good", "bad")} <= read, read

@target(st.tuples(st.lists(st.tuples(words, st.sampled_from(["good", "bad", "so so"])), min_size=1, max_size=8), st.sampled_from([".csv", ".tsv", ".jsonl", ".parquet", ".json"])))
def tables(at, case):
    "What pandas writes is what is read; a tsv whose text holds a tab and a line break has two readings."
    if case[1] == ".tsv" and any("\t" in t and ("\n" in t or "\r" in t) for t, _ in case[0]): return
    df, file = pd.DataFrame(case[0], columns=["text", "label"]), at/f"table{case[1]}"
    writers = {".csv": lambda: df.to_csv(file, index=False), ".tsv": lambda: df.to_csv(file, sep="\t", index=False), ".parquet": lambda: df.to_parquet(file),
               ".jsonl": lambda: df.to_json(file, orient="records", lines=True), ".json": lambda: df.to_json(file, orient="records")}
    writers[case[1]]()
    got = read_table(file)
    assert got[["text", "label"]].astype(str).values.tolist() == df.values.tolist(), got.values.tolist()

@target(st.tuples(st.lists(st.tuples(text | words, st.sampled_from(["good", "bad"])), min_size=1, max_size=8), st.sampled_from([".csv", ".tsv", ".jsonl", ".parquet"])))
def written(at, case):
    "What this library writes is what it reads, whatever the texts hold."
    df, file = pd.DataFrame(case[0], columns=["text", "label"]), at/f"table{case[1]}"
    write_table(df, check_table(file))
    got = read_table(file)
    assert got[["text", "label"]].astype(str).values.tolist() == df.values.tolist(), got.values.tolist()

@target(st.lists(st.tuples(scalar, st.lists(scalar, max_size=3) | scalar), min_size=1, max_size=8))
def frames(at, case):
    fine = [dict(text=f"film {i} {w}", label=w) for i in range(8) for w in ("good", "bad")]
    make_task("fuzz", dict(train=pd.DataFrame([*fine, *(dict(text=t, label=y) for t, y in case)])))

@target(lines.map(lambda rows: "\n".join(" ".join(r) for r in rows)) | words)
def conll(at, case): read_conll(case, "x.conll")

said = st.sampled_from(["good", "bad", " Good", "BAD", "god"]) | st.lists(st.floats(), min_size=2, max_size=2) | st.lists(st.sampled_from(["good", "bad"]), max_size=3) \
    | st.dictionaries(st.sampled_from(["good", "bad"]), st.floats(0, 1) | st.integers(0, 5) | scalar, min_size=1)

@target(st.tuples(st.lists(st.tuples(text, said), min_size=3, max_size=6) | st.lists(st.tuples(text, value), min_size=1, max_size=6), st.sampled_from(["answer", "logits", "votes", "probs", "label", "x"]), st.sampled_from([".jsonl", ".csv"])))
def answers(at, case):
    "Any cells as answers to a task of three texts."
    rows, column, ending = case
    file = at/f"answers{ending}"
    df = pd.DataFrame([{"text": t, column: x} for t, x in [*zip(["a good one", "a bad one", "a dull one"], [x for _, x in rows]), *rows]])
    (df.to_json(file, orient="records", lines=True) if ending == ".jsonl" else df.to_csv(file, index=False))
    read_answers(file, TASK())

vector = st.tuples(words, st.lists(st.floats(-3, 3, width=32), min_size=3, max_size=3)).map(lambda v: " ".join([v[0] or "x", *map(str, v[1])]))

@target(raw | st.lists(vector, min_size=1, max_size=8).map(lambda v: "\n".join(v).encode()))
def vectors(at, case):
    (at/"vectors.txt").write_bytes(case)
    read_vectors(at/"vectors.txt")

@target(st.tuples(raw, st.sampled_from([".txt", ".csv", ".jsonl", ".json", ".parquet"])))
def corpora(at, case):
    file = at/f"corpus{case[1]}"
    file.write_bytes(case[0])
    for row in read_corpus(str(file), streaming=True): assert isinstance(row["text"], str)

recipe_options = st.sampled_from([(r, n) for r, (_, _, options, *_) in RECIPES.items() for n, (default, *_) in options.items() if not isinstance(default, bool)])

@target(st.tuples(recipe_options, text | st.integers().map(str) | st.floats().map(str)))
def cli(at, case):
    "Any value of any option: exit code 2 and a sentence, or it is among what is allowed."
    (recipe, name), given = case
    argv = ["train", "--recipe", recipe, "--task", "bshift", "--out", str(at/"o"), f"--{name.replace('_', '-')}={given}"]
    if name in ("recipe", "task", "out"): return
    with redirect_stderr(io.StringIO()):
        try: o = parser(recipe).parse_args([a for a in argv if recipe not in ("distilbert", "embedding") or a not in ("--task", "bshift")])
        except SystemExit as e: raise InputError(str(e)) if e.code == 2 else e
    check_options(o, o.options)

@target(st.lists(text, max_size=5))
def commands(at, case):
    "Any words as a command line: one sentence, no traceback, no help that fails."
    heard = io.StringIO()
    with redirect_stdout(heard), redirect_stderr(heard):
        try: code = main(["evaluate", "--task", str(at/"none.csv"), *case] if random.Random(str(case)).random() < .5 else case)
        except SystemExit as e: code = e.code or 0
    assert code in (0, 2) and "Traceback" not in heard.getvalue(), heard.getvalue()

@target(st.tuples(st.integers(1, 30) | scalar, st.integers(1, 30) | value, st.sampled_from([*CHOICES, "x"]) | value))
def layers(at, case):
    n, m, choice = case
    got = pick_layers(n, m, choice)
    assert len(got) == m and got == sorted({*got}) and all(0 <= i < n for i in got), got

pairs = st.sampled_from(["uniform", "top", "bottom", "last", "x"]) | value | st.lists(st.integers(-3, 12), max_size=6) | st.dictionaries(st.integers(-2, 6), st.integers(-2, 12), max_size=4)

@target(st.tuples(st.integers(1, 13) | scalar, st.integers(1, 7) | scalar, pairs))
def layer_maps(at, case):
    got = LayerMap(*case)
    assert all(0 <= i < case[1] and 0 <= j < case[0] for i, j in got.blocks.items())

TERMS = sorted(n for n, c in vars(losses).items() if isinstance(c, type) and issubclass(c, Term) and c is not Term)

@target(st.tuples(st.sampled_from(TERMS), st.sampled_from(["T", "power", "unit", "weight", "layers", "margin", "beta", "alpha", "heads", "what"]), scalar, scalar))
def terms(at, case):
    "A term with any value of an argument that it has, times any weight, in a sum."
    name, argument, x, weight = case
    kind = getattr(losses, name)
    import inspect
    known = inspect.signature(kind.__init__).parameters
    term = kind(**({argument: x} if argument in known else {}))
    if isinstance(weight, (int, float)) and not isinstance(weight, bool): as_objective(weight * term + term)
    as_objective(term).key()

@target(st.tuples(st.sampled_from([*OBJECTIVES, "dist", "decoupled", "x"]) | scalar, st.floats(.1, 9) | scalar))
def objectives(at, case): named_objective(TASK(), *case)

config_keys = st.sampled_from("model_type num_hidden_layers hidden_size num_attention_heads vocab_size id2label label2id architectures problem_type hidden_act dtype "
                              "max_position_embeddings layer_norm_eps pad_token_id type_vocab_size intermediate_size auto_map attn_implementation".split())

@target(st.tuples(config_keys, value))
def configs(at, case):
    "One field of a model's configuration is anything."
    said = json.loads((MODEL/"config.json").read_text())
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json"): shutil.copy(MODEL/name, at/name)
    (at/"config.json").write_text(json.dumps(said | {case[0]: case[1]}))
    load_teacher(at)

@target(st.tuples(st.sampled_from(["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]), st.integers(0, 10**6), st.binary(max_size=8), st.booleans()))
def folders(at, case):
    "A few bytes of a model's file are others, or the file ends there."
    name, place, new, cut = case
    for file in MODEL.iterdir(): shutil.copy(file, at/file.name)
    data = (at/name).read_bytes()
    place %= len(data)
    (at/name).write_bytes(data[:place] + new + (b"" if cut else data[place + len(new):]))
    load_teacher(at), load_tokenizer(at)

@target(st.tuples(text | words.map(lambda t: t * 40), st.booleans(), st.booleans()))
def names(at, case):
    "Any name to write to: refused, or inside of the folder that it names."
    name, folder, overwrite = case
    if os.path.isabs(name) or ".." in name or name.startswith("~"): return
    before = os.getcwd()
    os.chdir(at)
    try:
        if not folder: output_file(name, overwrite)
        else:
            with output_folder(name, overwrite) as home: assert Path(at).resolve() in (home, *home.parents)
        assert not [p for p in at.rglob(".distill_nb-*")]
    finally: os.chdir(before)

@target(text | st.text(max_size=300))
def shown(at, case):
    "Names of others on a terminal and in a card: one line, nothing that a terminal obeys."
    assert one_line(case).isprintable() and span(case).isprintable() and span(case).count("`") == 2

# Running

MODEL = None
def TASK(): return make_task("three", dict(train=pd.DataFrame(dict(text=["a good one", "a bad one", "a dull one"], label=["good", "bad", "bad"]))), hold_out=False)

def make_model(at):
    torch.manual_seed(0)
    BertForSequenceClassification(BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
                                             max_position_embeddings=32)).save_pretrained(at)
    vocab = {w: i for i, w in enumerate("[PAD] [UNK] [CLS] [SEP] [MASK] good bad one".split())}
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(vocab, "[UNK]")), pad_token="[PAD]", unk_token="[UNK]").save_pretrained(at)
    return at

def search(name, n, number=0):
    "n cases of a target: how many were refused, and the shortest one that failed."
    global MODEL
    strategy, check = TARGETS[name]
    found = dict(target=name, cases=0, refused=0, slowest=0.)
    def hangs(*_): raise TimeoutError(f"it hangs: more than {SLOW} s")
    before = signal.signal(signal.SIGALRM, hangs)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as home, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        MODEL = make_model(Path(home)/"model")
        @seed(number)
        @settings(max_examples=n, database=None, deadline=None, suppress_health_check=[*HealthCheck])
        @given(strategy)
        def cases(case):
            at, start = Path(tempfile.mkdtemp(dir=home)), time.perf_counter()
            found["cases"] += 1
            signal.setitimer(signal.ITIMER_REAL, SLOW)
            try: check(at, case)
            except InputError as e:
                found["refused"] += 1
                assert str(e).strip(), "a refusal without words"
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                shutil.rmtree(at, ignore_errors=True)
                found["slowest"] = round(max(found["slowest"], time.perf_counter() - start), 2)
        try: cases()
        except BaseException as e: found |= dict(failed=f"{type(e).__name__}: {e}"[:300], notes=[n[:300] for n in getattr(e, "__notes__", [])[:1]])
    signal.signal(signal.SIGALRM, before)
    return found

SHARES = dict(configs=.3, folders=.3, commands=.3, corpora=.5) # these cases cost more

if __name__ == "__main__":
    p = common.parser(__doc__)
    common.options(p)
    p.add_argument("--cases", type=int, default=20_000, help="of all targets together")
    p.add_argument("--only", default="", help="targets, with commas")
    p.add_argument("--seed", type=int, default=0, help="of hypothesis")
    p.add_argument("--out", type=Path, default="fuzz.json")
    o = p.parse_args()
    chosen, results = o.only.split(",") if o.only else [*TARGETS], []
    each = o.cases / sum(SHARES.get(n, 1) for n in chosen)
    for name in common.under(o, chosen):
        start = time.perf_counter()
        results.append(search(name, math.ceil(each * SHARES.get(name, 1)), o.seed) | dict(seconds=round(time.perf_counter() - start)))
        print(results[-1], flush=True)
        common.write(o.results/o.out, settings=common.settings(o), machine=common.machine(), results=results)
    bad = [r["target"] for r in results if "failed" in r]
    print(f"{sum(r['cases'] for r in results):,} cases, {len(bad)} targets failed: {bad}")
    sys.exit(bool(bad))
