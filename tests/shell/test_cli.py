"The shell commands from end to end on a tiny csv with a tiny random teacher, and every kind of bad input."
import json, os, signal, subprocess, sys, time
from pathlib import Path
from types import SimpleNamespace
import datasets
import pandas as pd
import pytest
import torch
from packaging.version import Version
from transformers import AutoModelForSequenceClassification
from builders import bert, small_lm
from distill_nb.shell.cli import parser
from distill_nb.kit.errors import InputError

TEXTS = [f"the {n} was {v} {w}" for n in ("film", "book") for v in ("very", "not", "")
         for w in ("good", "bad", "fine", "dull")]

@pytest.fixture
def csv(tmp_path):
    df = pd.DataFrame(dict(review=TEXTS, mood=["good" if t.endswith(("good", "fine")) else "bad" for t in TEXTS],
                           stars=[i / 2 for i in range(len(TEXTS))], other=TEXTS[::-1]))
    df.to_csv(tmp_path/"reviews.csv", index=False)
    return tmp_path/"reviews.csv"

COLUMNS = ["--text", "review", "--label", "mood"]
QUICK = ["--layers", "2", "--epochs", "1", "--batch-size", "8", "--no-baseline"]

def refused(result, message):
    "Exit code 2 and one line that says what is wrong."
    code, out, err = result
    errors = [l for l in err.splitlines() if l.startswith("distill_nb: ") and "note: " not in l]
    assert code == 2 and len(errors) == 1 and message in errors[0] and "Traceback" not in err, err

@pytest.mark.parametrize("teacher", ["headless", "tuned"])
def test_train_then_evaluate(shell, csv, tmp_path, teacher, request):
    folder, out = request.getfixturevalue(teacher), tmp_path/"student"
    code, text, _ = shell("train", "--task", csv, *COLUMNS, *QUICK, "--teacher", folder, "--out", out, "--baseline")
    assert code == 0 and "student, distilled" in text and "labels alone" in text and str(out) in text
    assert {"model.safetensors", "tokenizer.json", "README.md", "report.json", "scores.png"} <= {p.name for p in out.iterdir()}
    student = AutoModelForSequenceClassification.from_pretrained(out)
    assert student.config.num_hidden_layers == 2 and student.config.id2label == {0: "bad", 1: "good"}
    told = {r["model"]: r["accuracy"] for r in json.loads((out/"report.json").read_text())["rows"]}
    code, text, _ = shell("evaluate", "--task", csv, *COLUMNS, "--model", out, "--json")
    assert code == 0 and json.loads(text)["accuracy"] == pytest.approx(told["student, distilled"])

def films(path, labels, n):
    pd.DataFrame(dict(text=[f"{TEXTS[i % 24]} {'very ' * (i // 24)}" for i in range(n)], label=(labels * n)[:n])).to_csv(path, index=False)
    return path

@pytest.mark.parametrize("labels, n, split, rows", [
    (["good"], 30, None, "test split, 3"), (["good"], 30, "all", "all rows, 30"), (["bad", "good", ""], 30, "all", "all rows, 20"), (["good", "bad"], 6, None, "all rows, 6"),
    (["good", "bad"], 30, "train", "train split, 24"), (["good", "bad"], 6, "all", "all rows, 6"), (["good", "bad"], 1, None, "all rows, 1")])
def test_any_file_of_a_models_classes_is_scored(shell, tuned, tmp_path, labels, n, split, rows):
    words = ["--split", split] if split else []
    code, out, err = shell("evaluate", "--task", films(tmp_path/"t.csv", labels, n), "--model", tuned, *words)
    assert code == 0 and f"{rows} labelled" in out and "Traceback" not in err
    code, out, _ = shell("evaluate", "--task", tmp_path/"t.csv", "--model", tuned, *words, "--json")
    assert code == 0 and set(json.loads(out)) >= {"accuracy", "f1", "ms", "spread"}

def test_a_test_file_is_scored_as_its_folder(shell, tuned, tmp_path):
    "The same rows, in a file of their own and as a folder's test split."
    (tmp_path/"d").mkdir()
    films(tmp_path/"d/train.csv", ["good", "bad"], 40), films(tmp_path/"d/test.csv", ["good", "bad", "bad"], 18)
    score = lambda *words: json.loads(shell("evaluate", "--model", tuned, "--json", *words)[1])["accuracy"]
    assert score("--task", tmp_path/"d/test.csv", "--split", "all") == score("--task", tmp_path/"d")

def test_a_head_of_other_classes_is_refused(shell, tuned, tmp_path):
    refused(shell("evaluate", "--task", films(tmp_path/"t.csv", ["good", "odd"], 30), "--model", tuned), "label 'odd': expected one of ['bad', 'good']")

@pytest.mark.parametrize("recipe, options, rows", [
    ("bilstm", ["--units", "4", "--width", "6", "--start", "random", "--loss", "kl"], ["student, labels alone", "student, distilled"]),
    ("theseus", ["--layers", "2", "--rate", ".5", "--constant"], ["student, teacher's layers", "distilled, after replacing", "student, distilled"])])
def test_other_recipes_train_and_are_evaluated(shell, csv, tuned, tmp_path, recipe, options, rows):
    out = tmp_path/"student"
    code, text, err = shell("train", "--recipe", recipe, "--task", csv, *COLUMNS, "--epochs", "1", "--batch-size", "8", *options,
                            "--teacher", tuned, "--out", out, "--baseline")
    assert code == 0 and all(row in text for row in rows), err
    code, text, _ = shell("evaluate", "--task", csv, *COLUMNS, "--model", out, "--json")
    assert code == 0 and 0 <= json.loads(text)["accuracy"] <= 1

@pytest.mark.parametrize("recipe, words, message", [
    ("bilstm", ["--units", "0"], "--units 0"), ("bilstm", ["--loss", "hinge"], "--loss hinge"), ("bilstm", ["--start", "no.txt"], "no.txt"),
    ("theseus", ["--layers", "4"], "4 successor blocks"), ("theseus", ["--layers", "0"], "0 "), ("theseus", ["--rate", "0"], "--rate 0"),
    ("magic", [], "--recipe magic")])
def test_other_recipes_refuse(shell, csv, tuned, tmp_path, recipe, words, message):
    refused(shell("train", "--recipe", recipe, "--task", csv, *COLUMNS, "--teacher", tuned, "--out", tmp_path/"s", *words), message)
    assert not (tmp_path/"s").exists()

def test_pairs_and_regression(shell, csv, headless, tmp_path):
    code, text, _ = shell("train", "--task", csv, "--text", "review", "--pair", "other", "--label", "stars", *QUICK,
                          "--teacher", headless, "--layers", "0,3", "--out", tmp_path/"s")
    assert code == 0 and "pearson" in text and "layers [0, 3] of 4" in text
    config = AutoModelForSequenceClassification.from_pretrained(tmp_path/"s").config
    assert (config.num_labels, config.problem_type) == (1, "regression")

def test_labels_in_another_order_than_the_teachers(shell, csv, tok, tmp_path):
    "A teacher trained with good = 0 must not be scored as if good = 1."
    names = {0: "good", 1: "bad"}
    bert(id2label=names, label2id={n: i for i, n in names.items()}).save_pretrained(tmp_path/"t")
    tok.save_pretrained(tmp_path/"t")
    code, _, _ = shell("train", "--task", csv, *COLUMNS, *QUICK, "--teacher", tmp_path/"t", "--out", tmp_path/"s")
    assert code == 0
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path/"s").config.id2label == names

def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path

BAD_TASKS = {
    "missing file": (lambda d: d/"nowhere.csv", "no such file"),
    "empty file": (lambda d: write(d/"e.csv", ""), "the file is empty"),
    "header only": (lambda d: write(d/"h.csv", "review,mood\n"), "no rows"),
    "unknown column": (lambda d: write(d/"c.csv", "a,mood\nx,good\n"), "no column 'review'"),
    "one class": (lambda d: write(d/"o.csv", "review,mood\n" + "".join(f"film {i},good\n" for i in range(20))),
                  "every label is 'good'"),
    "other labels": (lambda d: write(d/"l.csv", "review,mood\n" + "".join(f"film {i},{i % 3}\n" for i in range(30))),
                     "the head has"),
    "few texts": (lambda d: write(d/"f.csv", "review,mood\ngood,good\nbad,bad\n"), "2 different texts"),
    "no text": (lambda d: write(d/"t.csv", "review,mood\n" + ",good\n" * 20), "no row with text"),
    "unknown ending": (lambda d: write(d/"x.xlsx", "zip"), "'.xlsx'"),
    "not utf-8": (lambda d: (d/"g.csv", (d/"g.csv").write_bytes("review,mood\n电影,好\n".encode("gbk")))[0], "UTF-8"),
    "broken json": (lambda d: write(d/"b.json", "[{"), "cannot be read"),
}

@pytest.mark.parametrize("case", BAD_TASKS)
def test_bad_tasks(shell, tuned, tmp_path, case):
    make, message = BAD_TASKS[case]
    (tmp_path/"in").mkdir()
    out = tmp_path/"student"
    refused(shell("train", "--task", make(tmp_path/"in"), *COLUMNS, *QUICK, "--teacher", tuned, "--out", out), message)
    assert not out.exists() and not [p for p in tmp_path.iterdir() if p.name.startswith(".")]

@pytest.mark.parametrize("words, message", [
    (["--layers", "5"], "5 student layers"),
    (["--layers", "0"], "0 student layers"),
    (["--layers", "0,4"], "layer 4"),
    (["--layers", "3,1"], "in ascending order"),
    (["--choice", "middle"], "--choice middle"),
    (["--temperature", "0"], "--temperature 0"),
    (["--max-length", "2"], "max_length=2"),
    (["--epochs", "0"], "--epochs 0"),
    (["--batch-size", "0"], "--batch-size 0"),
    (["--learning-rate", "0"], "--learning-rate 0"),
    (["--kind", "ranking"], "--kind ranking"),
])
def test_bad_options(shell, csv, tuned, tmp_path, words, message):
    out = tmp_path/"student"
    refused(shell("train", "--task", csv, *COLUMNS, *QUICK, "--teacher", tuned, "--out", out, *words), message)
    assert not out.exists()

def test_teacher_folder_without_weights(shell, csv, tuned, tmp_path):
    (tuned/"model.safetensors").unlink()
    refused(shell("train", "--task", csv, *COLUMNS, "--teacher", tuned, "--out", tmp_path/"s"), "no weights")

def test_no_network_and_not_cached(shell, csv, tmp_path):
    refused(shell("train", "--task", csv, *COLUMNS, "--teacher", "no-one/has-this", "--out", tmp_path/"s"), "no-one/has-this")
    refused(shell("train", "--task", "no-one/has-this-data", "--out", tmp_path/"s"), "no-one/has-this-data")

def test_output_folder_in_use(shell, csv, tuned, tmp_path):
    "A folder with anything in it is refused; with --overwrite only our own files are replaced."
    out = tmp_path/"student"
    out.mkdir(); (out/"model.safetensors").write_text("precious")
    words = ["train", "--task", csv, *COLUMNS, *QUICK, "--teacher", tuned, "--out", out]
    refused(shell(*words), "is not empty")
    refused(shell(*words, "--overwrite"), "holds no model of ours")
    assert (out/"model.safetensors").read_text() == "precious"
    (out/"model.safetensors").unlink()
    assert shell(*words)[0] == 0
    (out/"notes.md").write_text("mine")
    assert shell(*words, "--layers", "1", "--overwrite")[0] == 0 and (out/"notes.md").exists()
    assert AutoModelForSequenceClassification.from_pretrained(out).config.num_hidden_layers == 1

def test_a_run_whose_student_stands_is_finished_and_not_refused(shell, csv, tuned, tmp_path, monkeypatch):
    "Killed between the last file and the end, the same command trains nothing; another command, other data or damage is refused as before."
    out = tmp_path/"student"
    words = ["train", "--task", csv, *COLUMNS, *QUICK, "--teacher", tuned, "--out", out]
    code, first, _ = shell(*words)
    before = (out/"model.safetensors").stat().st_mtime_ns
    code, again, _ = shell(*words)
    assert code == 0 and "holds what this command makes already" in again and (out/"model.safetensors").stat().st_mtime_ns == before
    assert [l for l in first.splitlines() if "distilled" in l] == [l for l in again.splitlines() if "distilled" in l]
    refused(shell(*words, "--seed", 1), "is not empty")
    (out/"model.safetensors").write_bytes((out/"model.safetensors").read_bytes()[:-1] + b"x")
    refused(shell(*words), "is not empty")
    csv.write_text(csv.read_text() + "another film,good,1,x\n")
    refused(shell(*words), "is not empty")

@pytest.mark.slow
@pytest.mark.parametrize("most", [.5, 1.1]) # of the teacher's file: this stops the weights of a checkpoint, or the state of its optimizer
def test_a_full_disk_is_one_sentence_and_the_same_command_goes_on(shell, tok, tmp_path, most):
    resource = pytest.importorskip("resource")
    small_lm(2).save_pretrained(tmp_path/"lm"), tok.save_pretrained(tmp_path/"lm")
    (tmp_path/"corpus.txt").write_text("\n".join(" ".join([*TEXTS[i % 24].split() * 4, "film " * (i % 7)]) for i in range(60)))
    def run(out): return shell("train", "--recipe", "distilbert", "--corpus", tmp_path/"corpus.txt", "--teacher", tmp_path/"lm", "--layers", 1, "--epochs", 1,
                               "--held-out", .2, "--max-length", 32, "--no-baseline", "--out", out)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(most * (tmp_path/"lm"/"model.safetensors").stat().st_size), hard))
    try: full = run(tmp_path/"s")
    finally: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    refused(full, "expected a disk with place, and the right to use it; kept: checkpoints in ")
    assert (len([*(tmp_path/"s-steps").rglob("model.safetensors")]) > 0) == (most > 1)
    assert run(tmp_path/"s")[0] == run(tmp_path/"whole")[0] == 0
    assert (tmp_path/"s"/"model.safetensors").read_bytes() == (tmp_path/"whole"/"model.safetensors").read_bytes()

def test_a_cache_without_rights_is_one_sentence(shell, csv, tuned, tmp_path, monkeypatch):
    "Whatever library meets it first, and whatever it makes of it."
    def denied(*args, **kwargs):
        try: raise PermissionError(13, "Permission denied", "/cache")
        except PermissionError as e: raise RuntimeError("the cache") from e
    monkeypatch.setattr("distill_nb.data.load.load_task", denied)
    refused(shell("train", "--task", csv, *COLUMNS, "--teacher", tuned, "--out", tmp_path/"s"), "Permission denied: '/cache'): expected a disk with place")

def test_files_behind_links_and_commas_belong_to_the_command(shell, csv, tuned, tmp_path, monkeypatch):
    "Other rows behind a link, in a folder of links or in the second of two files: another student, and no word of an old one."
    one, two = [csv.rename(tmp_path/"real.csv"), tmp_path/"two.csv"]
    two.write_bytes(one.read_bytes())
    csv.symlink_to(one)
    (tmp_path/"hub").mkdir()
    for file in tuned.iterdir(): (tmp_path/"hub"/file.name).symlink_to(file) # as the Hub's cache has them
    monkeypatch.setenv("HOME", str(tmp_path))
    words = ["train", "--task", csv, *COLUMNS, *QUICK, "--teacher", tmp_path/"hub", "--answers", "~/real.csv,~/two.csv", "--answers-column", "mood",
             "--row-id", "other", "--out", tmp_path/"student"]
    assert shell(*words)[0] == 0 and "holds what this command makes already" in shell(*words)[1]
    for file in one, two, tuned/"model.safetensors":
        before = file.read_bytes()
        file.write_bytes(before + b"\n")
        refused(shell(*words), "is not empty")
        file.write_bytes(before)
    assert shell(*words)[0] == 0

def test_evaluate_refuses_an_untrained_head_and_an_unknown_split(shell, csv, headless, tuned):
    refused(shell("evaluate", "--task", csv, *COLUMNS, "--model", headless), "its head is untrained")
    refused(shell("evaluate", "--task", csv, *COLUMNS, "--model", tuned, "--split", "dev"), "split 'dev'")

def test_a_real_process_has_no_traceback(tmp_path):
    script = Path(sys.executable).parent/"distill_nb"
    run = subprocess.run([script, "train", "--task", "no.csv", "--out", tmp_path/"s"], capture_output=True, text=True)
    assert run.returncode == 2 and "no such file" in run.stderr and "Traceback" not in run.stderr

# What would fail after the training is refused before anything is read: no task, no teacher is there in these tests.

NOT_A_NUMBER = ["nan", "inf", "-inf", "1e309", "-1"]
HUGE = ["1000000000000000000000", "-1"]
BAD_VALUES = {
    "layers": {"epochs": [*NOT_A_NUMBER, "0"], "seed": ["-1", "4294967296", "1000000000000000000000"], "max-length": [*HUGE, "0"], "batch-size": [*HUGE, "0"],
               "learning-rate": [*NOT_A_NUMBER, "0", "1e6"], "temperature": NOT_A_NUMBER, "choice": ["middle", ""], "kind": ["ranking", ""],
               "teacher": ["", " ", "x/" * 2500], "task": ["", "x" * 5000], "out": ["", "  ", "x" * 5000, "x" * 300], "text": [""], "pair": [""], "label": [""]},
    "tinybert": {"inside-epochs": NOT_A_NUMBER, "answers-epochs": NOT_A_NUMBER, "width": [*HUGE, "0", "1000000000"], "inner": ["0", "1000000000"],
                 "labels": ["x", ""], "p": ["nan", "1.1", "-0.1"], "new": HUGE, "candidates": ["0", *HUGE], "fit-steps": ["-1", "0"], "corpus": [""],
                 "masked-lm": [""], "vectors": [""], "max-length": HUGE, "seed": ["-1", "4294967296"]},
    "bilstm": {"teacher-epochs": [*NOT_A_NUMBER, "0"], "loss": ["hinge", ""], "label-weight": NOT_A_NUMBER, "start": [""], "width": ["0", "1000000000"],
               "units": ["0", "1000000000"], "epochs": NOT_A_NUMBER},
    "theseus": {"post-epochs": NOT_A_NUMBER, "rate": ["0", "nan", "1.5"], "choice": ["x"]},
    "distilbert": {"together": HUGE, "steps": HUGE, "held-out": ["0", "nan", "-1", "2"], "hide": ["all", ""], "corpus": ["", "x" * 5000], "column": [""],
                   "kind": [""], "learning-rate": ["nan"], "max-length": HUGE, "temperature": ["0", "nan"]}}

@pytest.mark.parametrize("recipe, option, value", [(r, o, v) for r, options in BAD_VALUES.items() for o, values in options.items() for v in values],
                         ids=lambda v: repr(v[:24]))
def test_values_are_refused_before_anything_costs_time(shell, tmp_path, monkeypatch, recipe, option, value):
    monkeypatch.chdir(tmp_path)
    given = dict(out="s") | ({} if recipe == "distilbert" else dict(task="none.csv")) | {option: value}
    result = shell("train", "--recipe", recipe, *(f"--{name}={text}" for name, text in given.items()))
    refused(result, "cannot be written" if (option, value) == ("out", "x" * 300) else f"--{option} ")
    assert len(result[2]) < 600 and list(tmp_path.iterdir()) == []

@pytest.mark.parametrize("words", [["augment", "--task", "t.csv", "--out", ""], ["augment", "--task", "t.csv", "--out", "o.csv", "--seed", "-1"],
                                   ["evaluate", "--task", "t.csv", "--model", ""], ["demo", "--out", ""], ["demo", "--seed", "-1"]])
def test_so_do_the_other_commands(shell, words): refused(shell(*words), f"{words[-2]} ")

def test_every_number_has_a_range_and_every_default_is_in_it():
    from distill_nb.shell.cli import AUGMENT, DEMO, EVALUATE, EXPORT
    from distill_nb.shell.options import NEW_TEXTS, TASK, check_options
    from distill_nb.shell.recipes import RECIPES
    tables = [table for _, _, table, _ in RECIPES.values()] + [AUGMENT, DEMO, EVALUATE, EXPORT, NEW_TEXTS, TASK]
    for table in tables:
        check_options(SimpleNamespace(**{name: default for name, (default, *_) in table.items()}), table)
        free = [n for n, (default, _, *allowed) in table.items() if isinstance(default, (int, float)) and not isinstance(default, bool) and not allowed]
        assert set(free) <= {"layers"}

PLACES = dict(below_a_file="reviews.csv/sub", proc="/proc/nowhere", null="/dev/null", a_file="reviews.csv", project="project")

@pytest.mark.parametrize("recipe", ["layers", "tinybert", "distilbert"])
@pytest.mark.parametrize("place", PLACES)
def test_an_out_that_cannot_be_written_is_refused_before_the_training(shell, csv, tmp_path, monkeypatch, recipe, place):
    monkeypatch.chdir(tmp_path)
    (tmp_path/"project").mkdir()
    (tmp_path/"project"/"config.json").write_text("{}")
    before = sorted(tmp_path.rglob("*"))
    task = [] if recipe == "distilbert" else ["--task", "not-even-read.csv"]
    refused(shell("train", "--recipe", recipe, *task, "--out", PLACES[place], "--overwrite"), PLACES[place])
    assert sorted(tmp_path.rglob("*")) == before

def test_stages_that_cannot_be_written_are_refused_before_the_training(shell, csv, headless, tmp_path, monkeypatch):
    import distill_nb.recipes.base, distill_nb.recipes.tinybert
    monkeypatch.setattr(distill_nb.recipes.base, "fit", None) # would be called
    (tmp_path/"s-stages").write_text("a file")
    refused(shell("train", "--recipe", "tinybert", "--task", csv, *COLUMNS, "--teacher", headless, "--out", f"{tmp_path}/s/", "--layers", 2, "--width", 8, "--inner", 16),
            "s-stages")

def test_a_slash_at_the_end_of_out_changes_nothing(shell, csv, headless, tmp_path):
    words = ["train", "--recipe", "tinybert", "--task", csv, *COLUMNS, "--teacher", headless, "--layers", 2, "--width", 8, "--inner", 16, "--epochs", 1,
             "--inside-epochs", 1, "--answers-epochs", 1]
    assert shell(*words, "--out", f"{tmp_path}/s/")[0] == 0
    assert (tmp_path/"s"/"model.safetensors").exists() and (tmp_path/"s-stages"/"2-answers"/"stage.json").exists()

def test_through_a_link_and_into_the_working_folder(shell, csv, tuned, tmp_path, monkeypatch):
    (tmp_path/"real").mkdir()
    (tmp_path/"link").symlink_to("real")
    monkeypatch.chdir(tmp_path/"real")
    words = ["train", "--task", csv, *COLUMNS, *QUICK, "--teacher", tuned, "--out"]
    assert shell(*words, tmp_path/"link")[0] == 0 and (tmp_path/"link").is_symlink()
    assert shell(*words, ".", "--overwrite", "--layers", 1)[0] == 0
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path/"real").config.num_hidden_layers == 1

def test_a_student_that_cannot_be_saved_is_kept(shell, csv, tuned, tmp_path, monkeypatch):
    import tempfile
    import distill_nb.recipes.base as recipes
    (tmp_path/"tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path/"tmp"))
    real = recipes.fit
    def fit(*args, **kwargs): # meanwhile somebody else saves there
        (tmp_path/"s"/"config.json").write_text("theirs")
        return real(*args, **kwargs)
    monkeypatch.setattr(recipes, "fit", fit)
    result = shell("train", "--task", csv, *COLUMNS, *QUICK, "--teacher", tuned, "--out", tmp_path/"s")
    refused(result, "The student was kept: it is in")
    kept = Path(result[2].split()[-1].rstrip("."))
    assert (tmp_path/"s"/"config.json").read_text() == "theirs"
    assert {"report.json", "scores.png", "README.md"} <= {p.name for p in kept.iterdir()}
    assert AutoModelForSequenceClassification.from_pretrained(kept).config.num_hidden_layers == 2

# What a command reads is never what it writes

@pytest.mark.parametrize("spelling", ["{csv}", "{folder}/x/../{name}", "{folder}/link.csv", "{folder}/new.csv"])
def test_augment_never_replaces_its_input(shell, csv, headless, tmp_path, spelling):
    before = csv.read_bytes()
    (tmp_path/"link.csv").symlink_to(csv)
    out = spelling.format(csv=csv, folder=csv.parent, name=csv.name)
    task = csv if "new" not in spelling else csv.parent
    refused(shell("augment", "--task", task, *COLUMNS, "--masked-lm", headless, "--out", out, "--overwrite"), "is part of the input")
    assert csv.read_bytes() == before and not (csv.parent/"new.csv").exists()

# Interrupting

def test_interrupting_leaves_nothing(shell, csv, tuned, tmp_path, monkeypatch):
    import distill_nb.recipes.base
    def stop(*args, **kwargs): raise KeyboardInterrupt
    monkeypatch.setattr(distill_nb.recipes.base, "fit", stop)
    code, _, err = shell("train", "--task", csv, *COLUMNS, "--teacher", tuned, "--out", tmp_path/"s", *QUICK)
    assert code == 130 and "interrupted; nothing was saved" in err and not (tmp_path/"s").exists()

@pytest.mark.slow
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("comes_out_as", [None, ImportError, OSError, InputError])
def test_a_signal_ends_a_run_with_one_sentence(shell, csv, tuned, tmp_path, monkeypatch, number, code, comes_out_as):
    "Whatever a library makes of it; and the finished stage is told of."
    import distill_nb.recipes.tinybert as module
    real, before = module.fit, signal.getsignal(number)
    def fit(*args, **kwargs):
        if args[5] != "2-answers": return real(*args, **kwargs)
        try: os.kill(os.getpid(), number); time.sleep(9)
        except KeyboardInterrupt:
            if comes_out_as: raise comes_out_as("numpy cannot be imported") from None
            raise
    monkeypatch.setattr(module, "fit", fit)
    got, _, err = shell("train", "--recipe", "tinybert", "--task", csv, *COLUMNS, "--teacher", tuned, "--out", tmp_path/"s", "--layers", 2, "--width", 8,
                        "--inner", 16, "--inside-epochs", 1, "--no-check") # which would meet the signal first
    told = [l for l in err.splitlines() if "interrupted" in l]
    assert got == code and told == [f"distill_nb: interrupted; kept: 1-inside in {tmp_path}/s-stages/, where the same command goes on"], err
    assert not (tmp_path/"s").exists() and signal.getsignal(number) == before

def start(tmp_path, *words):
    code = "import sys; from distill_nb.shell.cli import main; sys.exit(main())"
    (tmp_path/"tmp").mkdir()
    return subprocess.Popen([sys.executable, "-c", code, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
                            env=os.environ | dict(TMPDIR=str(tmp_path/"tmp")))

@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143)]) # SIGINT is sent to this process above
def test_a_real_process_leaves_no_traceback_and_no_temporary_folder(csv, tuned, tmp_path, number, code):
    run = start(tmp_path, "train", "--task", csv, *COLUMNS, "--layers", 2, "--epochs", 5000, "--teacher", tuned, "--out", "s")
    deadline = time.time() + 120
    while not any((tmp_path/"tmp").iterdir()) and time.time() < deadline: time.sleep(.1) # Trainer's folder: it trains
    time.sleep(1)
    run.send_signal(number)
    _, err = run.communicate(timeout=60)
    assert run.returncode == code and "interrupted; nothing was saved" in err and "Traceback" not in err, err
    assert not (tmp_path/"s").exists() and [p.name for p in (tmp_path/"tmp").iterdir()] == []

def test_a_closed_pipe_does_not_end_a_training(csv, tuned, tmp_path):
    run = start(tmp_path, "train", "--task", csv, *COLUMNS, *QUICK, "--teacher", tuned, "--out", "s")
    run.stdout.close() # as head does
    err = run.stderr.read()
    assert run.wait(timeout=120) == 0 and "Traceback" not in err and "BrokenPipe" not in err, err
    assert (tmp_path/"s"/"model.safetensors").is_file()

@pytest.mark.slow
def test_two_processes_report_and_save_once(csv, tuned, tmp_path):
    (tmp_path/"go.py").write_text("import sys; from distill_nb.shell.cli import main; sys.exit(main())")
    words = ["train", "--task", csv, *COLUMNS, *QUICK, "--teacher", tuned, "--out", tmp_path/"s", "--baseline"]
    def go(): return subprocess.run([sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", tmp_path/"go.py", *map(str, words)],
                                    capture_output=True, text=True, timeout=300, env=os.environ | dict(ACCELERATE_USE_CPU="true"))
    done = go()
    assert done.returncode == 0 and done.stdout.count("student, distilled") == 1, done.stdout + done.stderr
    assert {"model.safetensors", "report.json", "scores.png"} <= {p.name for p in (tmp_path/"s").iterdir()}
    again = go() # the student is there already: both see it and train nothing
    assert again.returncode == 0 and "is not empty" not in again.stderr, again.stderr
    words += ["--seed", "1"] # another command is refused, once, by both
    other = go()
    assert other.returncode and other.stderr.count("is not empty") == 1, other.stderr

def test_every_option_has_help():
    top = parser()
    commands = next(a for a in top._actions if a.dest == "command").choices
    assert {"augment", "demo", "train", "evaluate", "export", "completion"} <= set(commands)
    assert all(a.help for p in (top, *commands.values()) for a in p._actions)

def test_a_language_model_from_a_file_of_text(shell, tuned, tok, tmp_path):
    from transformers import AutoModelForMaskedLM, BertForMaskedLM
    BertForMaskedLM(bert(max_position_embeddings=64).config).save_pretrained(tmp_path/"lm")
    tok.save_pretrained(tmp_path/"lm")
    (tmp_path/"reviews.txt").write_text("\n".join(f"{a} {b} {c} " * 5 for a in ("good", "bad", "very") for b in ("film", "book", "dull")
                                                  for c in ("not", "fine", "good", "bad", "film")))
    words = ["train", "--recipe", "distilbert", "--corpus", tmp_path/"reviews.txt", "--teacher", tmp_path/"lm", "--layers", 2, "--max-length", 16,
             "--steps", 2, "--held-out", .2, "--out", tmp_path/"student"]
    code, text, err = shell(*words)
    assert code == 0 and "perplexity" in text and "reviews" in text, err
    assert AutoModelForMaskedLM.from_pretrained(tmp_path/"student").config.num_hidden_layers == 2
    refused(shell(*words[:4], tmp_path/"none.txt", *words[5:-1], tmp_path/"x"), "none.txt")
    refused(shell(*words[:-1], tmp_path/"y", "--hide", "all"), "--hide all")

def test_evaluate_says_how_far_a_student_may_answer_for_its_teacher(shell, csv, tuned, tmp_path, monkeypatch):
    "Against a model, against a file of its answers, with the temperature kept; and wrongly."
    import shutil
    student = tmp_path/"student"
    shutil.copytree(tuned, student)
    sure = AutoModelForSequenceClassification.from_pretrained(tuned)
    sure.classifier.bias.data.copy_(torch.tensor([2., 0])) # it says bad, and misses a quarter
    for folder in tuned, student: sure.save_pretrained(folder)
    pd.read_csv(csv).assign(mood=["bad", "bad", "good", "bad"] * 6).to_csv(csv, index=False)
    words = ["evaluate", "--task", csv, *COLUMNS, "--model", student, "--split", "all"]
    from distill_nb.measure import scores
    asked, predict = [], scores.predict
    monkeypatch.setattr(scores, "predict", lambda model, *how: asked.append(model) or predict(model, *how))
    code, out, _ = shell(*words, "--against", tuned)
    again = Version(datasets.__version__) < Version("5") # an old release gives the same rows another fingerprint
    assert len({*map(id, asked)}) == 2 and len(asked) == 2 + again, "the student and the teacher, once each"
    assert code == 0 and "No share of the 24 rows is certain to agree on 95%; about 90 rows would suffice" in out
    code, out, err = shell(*words, "--against", tuned, "--agree", ".5", "--calibrate", "--json")
    assert "the report is of confidences without it" in err
    said = json.loads(out)["trust"]
    assert said["numbers"]["agreement"] == 1 == said["promise"]["coverage"] and said["sentence"].startswith("Answers 100.0% of the 24 rows")
    assert json.loads((student/"config.json").read_text())["calibration_temperature"] == pytest.approx(said["numbers"]["temperature"], abs=1e-3)
    answers = pd.DataFrame(dict(review=TEXTS[:20], answer=["good", "bad"] * 10))
    answers.to_csv(tmp_path/"answers.csv", index=False)
    code, out, _ = shell(*words, "--against", tmp_path/"answers.csv", "--json")
    assert code == 0 and json.loads(out)["trust"]["rows"] == 20
    refused(shell(*words, "--against", tmp_path/"none.csv"), "none.csv: no such file")
    refused(shell(*words, "--against", tuned, "--tolerance", ".1"), "--tolerance 0.1 for classification: expected one for scores alone")
    refused(shell(*words, "--tolerance", ".1"), "--tolerance: expected --against TEACHER")
    answers[:1].to_csv(tmp_path/"one.csv", index=False)
    refused(shell(*words, "--against", tmp_path/"one.csv"), "one.csv: 1 of 24 texts answered: expected two or more")
    answers.assign(review=[f"unheard {i}" for i in range(20)]).to_csv(tmp_path/"one.csv", index=False)
    refused(shell(*words, "--against", tmp_path/"one.csv"), "one.csv: none of its 20 rows is about a text of reviews")
    refused(shell(*words[:-1], "test", "--against", tmp_path/"one.csv"), "one.csv: none of its 20 rows is about a test text of reviews")
    refused(shell(*words, "--against", tuned, "--agree", "1"), "--agree 1.0: expected a share between 0 and 1")
    refused(shell(*words, "--agree", "95"), "--agree 95")
    refused(shell(*words, "--calibrate"), "--calibrate: expected --against TEACHER")
    refused(shell(*words, "--against", tmp_path/"nowhere"), "nowhere")

def test_rows_to_look_at_are_rows_of_the_split(shell, csv, tuned, tmp_path):
    "Also where a file answers some of its texts: a row is named by its place and its text."
    student = [*COLUMNS, "--model", tuned, "--split", "all", "--json"]
    pd.DataFrame(dict(review=TEXTS, answer=["good", "bad"] * 12))[9:].to_csv(tmp_path/"a.csv", index=False)
    look = json.loads(shell("evaluate", "--task", csv, *student, "--against", tmp_path/"a.csv")[1])["trust"]["look"]
    assert look and all(r["text"].split() == TEXTS[r["row"]].split() and r["row"] >= 9 for r in look)

def test_a_file_is_read_for_the_report_as_for_a_training(shell, csv, tuned, tmp_path):
    "Its advice names options; they are there."
    df = pd.DataFrame(dict(review=TEXTS + TEXTS[:2], said=["good", "bad"] * 12 + ["bad", "good"], note="since"))
    df.to_csv(tmp_path/"a.csv", index=False)
    words = ["evaluate", "--task", csv, *COLUMNS, "--model", tuned, "--split", "all", "--json", "--against"]
    refused(shell(*words, tmp_path/"a.csv"), "Name it with column= (--answers-column)")
    refused(shell(*words, tmp_path/"a.csv", "--answers-column", "said"), "differently: expected one answer. Remove one, or say duplicates='average' (--duplicates)")
    code, out, err = shell(*words, tmp_path/"a.csv", "--answers-column", "said", "--duplicates", "average")
    assert code == 0 and json.loads(out)["trust"]["rows"] == 24, err
    refused(shell(*words, tuned, "--duplicates", "average"), "--duplicates: expected --against FILE OF ANSWERS beside it")

@pytest.mark.parametrize("kind", ["multilabel", "regression"])
def test_what_a_kind_has_not_is_refused_before_the_texts_are_read(shell, tok, tmp_path, kind):
    bert(**(dict(num_labels=1) if kind == "regression" else dict(num_labels=2, id2label={0: "a", 1: "b"}, label2id=dict(a=0, b=1), problem_type="multi_label_classification"))
         ).save_pretrained(tmp_path/"m")
    tok.save_pretrained(tmp_path/"m")
    words = ["evaluate", "--task", tmp_path/"nothing.csv", "--model", tmp_path/"m", "--against"]
    (tmp_path/"a.csv").write_text("text,label\ngood,a\n")
    if kind == "multilabel": refused(shell(*words, tmp_path/"a.csv"), "--against a file for multilabel: expected a teacher's folder")
    else: refused(shell(*words, tmp_path/"m", "--calibrate"), "--calibrate for regression: expected a model of classes")

def test_a_test_split_of_one_row_does_not_end_a_training(shell, headless, tmp_path):
    "There is no agreement to tell of; the student is saved all the same."
    (tmp_path/"d").mkdir()
    films(tmp_path/"d/train.csv", ["good", "bad"], 40), films(tmp_path/"d/test.csv", ["good"], 1)
    code, out, err = shell("train", "--task", tmp_path/"d", *QUICK, "--teacher", headless, "--out", tmp_path/"s")
    assert code == 0 and (tmp_path/"s/model.safetensors").is_file() and "agrees with its teacher" not in out, err

# Scripts: one object on stdout, exit codes, completion

def test_train_tells_a_script_and_leaves_its_command_in_the_card(shell, csv, tuned, tmp_path):
    code, out, err = shell("train", "--task", csv, *COLUMNS, *QUICK, "--teacher", tuned, "--out", tmp_path/"s", "--json")
    told = json.loads(out)
    assert code == 0 and told["out"] == str(tmp_path/"s") and {"teacher", "student, distilled"} <= {r["model"] for r in told["rows"]}
    assert "Student: " in err # what a person reads is on stderr
    card = (tmp_path/"s"/"README.md").read_text()
    assert "distill_nb train --task reviews.csv --text review --label mood --layers 2" in card and str(tmp_path) not in card

def test_every_command_knows_json():
    from distill_nb.shell.manual import all_flags
    known = all_flags([parser()])
    assert len(known) >= 6 and [c for c, flags in known.items() if "--json" not in flags] == []

def test_bad_input_is_a_sentence_with_json_too(shell, tmp_path):
    code, out, err = shell("evaluate", "--task", tmp_path/"none.csv", "--model", tmp_path, "--json")
    refused((code, out, err), "")
    assert out == ""

@pytest.mark.parametrize("kind", ["bash", "zsh"])
def test_completion(shell, kind, tmp_path):
    code, script, _ = shell("completion", kind)
    assert code == 0
    bash = script.removeprefix("autoload -U +X bashcompinit && bashcompinit\n")
    assert (bash == script) == (kind == "bash")
    def offered(*words):
        line = " ".join(f"'{w}'" for w in words)
        asked = f"{bash}\nCOMP_WORDS=({line}) COMP_CWORD={len(words) - 1}\n_distill_nb\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
        return subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True).stdout.split()
    assert {"train", "export", "evaluate"} <= {*offered("distill_nb", "")} and offered("distill_nb", "tr") == ["train"]
    assert offered("distill_nb", "train", "--recipe", "bi") == ["bilstm"] and "--units" in offered("distill_nb", "train", "--u")
    assert offered("distill_nb", "export", "--to", "") == ["onnx"]

def test_completion_for_another_shell(shell): refused(shell("completion", "fish"), "fish")

def test_help_names_the_exit_codes(shell):
    code, out, _ = shell("--help")
    assert code == 0 and "2 wrong input" in " ".join(out.split())

def test_the_package_is_the_command():
    "As torchrun and accelerate launch start it."
    done = subprocess.run([sys.executable, "-m", "distill_nb", "train", "--epochs", "0", "--task", "no.csv", "--out", "s"], capture_output=True, text=True)
    assert done.returncode == 2 and "--epochs" in done.stderr and "Traceback" not in done.stderr

def test_a_head_of_another_kind_is_refused(shell, csv, tok, tmp_path):
    from builders import WORDS
    from transformers import BertConfig, BertForQuestionAnswering
    BertForQuestionAnswering(BertConfig(vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)).save_pretrained(tmp_path/"qa")
    tok.save_pretrained(tmp_path/"qa")
    refused(shell("evaluate", "--task", csv, *COLUMNS, "--model", tmp_path/"qa", "--kind", "classification"), "expected spans, the kind of its head")

@pytest.mark.parametrize("words, message", [(["--answers", ","], "names with commas"), (["--teacher", " , "], "names with commas"), (["--weights", "1,2"], "expected several teachers"),
                                            (["--out", "s\udcff"], "has bytes that are no text"), (["--task", "x" * 300 + ".csv"], "cannot be looked up (File name too long)")])
def test_options_that_mean_nothing_are_refused_before_training(shell, csv, tuned, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    before = {*tmp_path.iterdir()}
    refused(shell("train", "--task", csv, *COLUMNS, *QUICK, "--teacher", tuned, "--out", tmp_path/"s", *words), message)
    assert {*tmp_path.iterdir()} == before

def test_a_current_folder_that_is_gone_is_one_sentence(shell, tmp_path, monkeypatch):
    (tmp_path/"gone").mkdir()
    monkeypatch.chdir(tmp_path/"gone")
    (tmp_path/"gone").rmdir()
    refused(shell("completion", "bash"), "the current folder (No such file or directory)")

@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("words, stream, code", [(["completion", "bash"], "stdout", 2), (["evaluate", "--task", "no.csv", "--model", "x", "--agree", "7"], "stderr", 2)])
def test_an_output_that_cannot_be_written_ends_without_a_traceback(words, stream, code):
    with open("/dev/full", "w") as full:
        streams = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE) | {stream: full}
        done = subprocess.run([sys.executable, "-m", "distill_nb", *words], text=True, **streams)
    assert done.returncode == code and "Traceback" not in f"{done.stderr}{done.stdout}"
    assert stream == "stderr" or "the output cannot be written (No space left on device)" in done.stderr

def test_variables_of_torchrun_that_are_no_numbers(shell, csv, tuned, monkeypatch):
    monkeypatch.setenv("RANK", "x")
    assert shell("evaluate", "--model", tuned, "--task", csv) == (2, "", "distill_nb: RANK=x, WORLD_SIZE=1: expected whole numbers, as torchrun sets them. Unset these variables.\n")
