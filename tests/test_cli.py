"The shell commands from end to end on a tiny csv with a tiny random teacher, and every kind of bad input."
import json, subprocess, sys
from pathlib import Path
import pandas as pd
import pytest
from transformers import AutoModelForSequenceClassification
from conftest import bert
from distill_nb.cli import main, parser

TEXTS = [f"the {n} was {v} {w}" for n in ("film", "book") for v in ("very", "not", "")
         for w in ("good", "bad", "fine", "dull")]

@pytest.fixture
def csv(tmp_path):
    df = pd.DataFrame(dict(review=TEXTS, mood=["good" if t.endswith(("good", "fine")) else "bad" for t in TEXTS],
                           stars=[i / 2 for i in range(len(TEXTS))], other=TEXTS[::-1]))
    df.to_csv(tmp_path/"reviews.csv", index=False)
    return tmp_path/"reviews.csv"

COLUMNS = ["--text", "review", "--label", "mood"]
QUICK = ["--layers", "2", "--epochs", "1", "--batch-size", "8"]

@pytest.fixture
def shell(capsys):
    "Runs a command: (exit code, stdout, stderr)."
    def run(*words):
        try: code = main([str(w) for w in words])
        except SystemExit as e: code = e.code
        return (code, *capsys.readouterr())
    return run

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
    ("theseus", ["--layers", "2", "--rate", ".5", "--constant"], ["labels alone", "after replacing", "after post-training"])])
def test_other_recipes_train_and_are_evaluated(shell, csv, tuned, tmp_path, recipe, options, rows):
    out = tmp_path/"student"
    code, text, err = shell("train", "--recipe", recipe, "--task", csv, *COLUMNS, "--epochs", "1", "--batch-size", "8", *options,
                            "--teacher", tuned, "--out", out, "--baseline")
    assert code == 0 and all(row in text for row in rows), err
    code, text, _ = shell("evaluate", "--task", csv, *COLUMNS, "--model", out, "--json")
    assert code == 0 and 0 <= json.loads(text)["accuracy"] <= 1

@pytest.mark.parametrize("recipe, words, message", [
    ("bilstm", ["--units", "0"], "hidden_size=0"), ("bilstm", ["--loss", "hinge"], "how='hinge'"), ("bilstm", ["--start", "no.txt"], "no.txt"),
    ("theseus", ["--layers", "4"], "4 successor blocks"), ("theseus", ["--layers", "0"], "0 "), ("theseus", ["--rate", "0"], "rate of 0"),
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
    (["--how", "middle"], "how='middle'"),
    (["--temperature", "0"], "T=0"),
    (["--max-length", "2"], "max_length=2"),
    (["--epochs", "0"], "num_train_epochs=0"),
    (["--epochs", "-1"], "num_train_epochs=-1"),
    (["--batch-size", "0"], "per_device_train_batch_size=0"),
    (["--learning-rate", "0"], "learning_rate=0"),
    (["--kind", "ranking"], "kind='ranking'"),
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
    out = tmp_path/"student"
    out.mkdir(); (out/"model.safetensors").write_text("precious")
    words = ["train", "--task", csv, *COLUMNS, *QUICK, "--teacher", tuned, "--out", out]
    refused(shell(*words), "is not empty")
    assert (out/"model.safetensors").read_text() == "precious"
    assert shell(*words, "--overwrite")[0] == 0
    assert AutoModelForSequenceClassification.from_pretrained(out).config.num_hidden_layers == 2

def test_evaluate_refuses_an_untrained_head_and_an_unknown_split(shell, csv, headless, tuned):
    refused(shell("evaluate", "--task", csv, *COLUMNS, "--model", headless), "its head is untrained")
    refused(shell("evaluate", "--task", csv, *COLUMNS, "--model", tuned, "--split", "dev"), "split 'dev'")

def test_a_real_process_has_no_traceback(tmp_path):
    script = Path(sys.executable).parent/"distill_nb"
    run = subprocess.run([script, "train", "--task", "no.csv", "--out", tmp_path/"s"], capture_output=True, text=True)
    assert run.returncode == 2 and "no such file" in run.stderr and "Traceback" not in run.stderr

def test_interrupting_leaves_nothing(shell, csv, tuned, tmp_path, monkeypatch):
    import distill_nb.recipes
    def stop(*args, **kwargs): raise KeyboardInterrupt
    monkeypatch.setattr(distill_nb.recipes, "fit", stop)
    code, _, err = shell("train", "--task", csv, *COLUMNS, "--teacher", tuned, "--out", tmp_path/"s", *QUICK)
    assert code == 130 and "interrupted" in err and not (tmp_path/"s").exists()

def test_every_option_has_help():
    top = parser()
    commands = next(a for a in top._actions if a.dest == "command").choices
    assert set(commands) == {"augment", "demo", "train", "evaluate"}
    assert all(a.help for p in (top, *commands.values()) for a in p._actions)

def test_a_language_model_from_a_file_of_text(shell, tuned, tok, tmp_path):
    import torch
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
    refused(shell(*words[:-1], tmp_path/"y", "--hide", "all"), "choose='all'")
