"distill_nb check: the arguments of train, a table or JSON, exit 2 for errors and 0 for warnings; --no-check skips the quick form."
import json
import pandas as pd
import pytest
from distill_nb.shell.cli import parser
from distill_nb.shell.options import check_options
from distill_nb.shell.recipes import RECIPES

WORDS = "film book very not good bad fine dull".split()
def sentence(i): return " ".join(WORDS[int(d)] for d in f"{i + 64:o}")

@pytest.fixture
def table(tmp_path):
    def write(name="t.csv", **columns):
        df = dict(text=[sentence(i) for i in range(60)], label=["a", "b", "c"] * 20) | columns
        pd.DataFrame(df).to_csv(tmp_path/name, index=False)
        return tmp_path/name
    return write

SMALL = dict(layers=["--layers", 2], tinybert=["--layers", 2, "--width", 8, "--inner", 16], bilstm=["--width", 8, "--units", 8], theseus=["--layers", 2],
             minilm=["--layers", 2], mobilebert=["--bottleneck", 8], distilbert=[], embedding=["--layers", 2, "--held-out", 20],
             margins=["--scores", "label", "--layers", 2, "--held-out", .3])

@pytest.mark.parametrize("recipe", RECIPES)
def test_check_has_the_options_of_train(recipe):
    def options(command, *words):
        return vars(parser(recipe).parse_args([command, "--recipe", recipe, *words]))
    words = [word for name in RECIPES[recipe][3] for word in (f"--{name}", name)]
    train, check = options("train", *words), options("check", *words)
    assert train.keys() - check.keys() == {"check", "push"} and train["check"]
    assert all(check[k] == train[k] for k in check.keys() - {"command", "run", "options"})
    check_options(parser(recipe).parse_args(["check", "--recipe", recipe, *words]), check["options"])

@pytest.mark.parametrize("recipe", [r for r in RECIPES if r != "distilbert"])
def test_every_recipe_can_be_checked(recipe, shell, table, headless, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    triples = dict(query=[sentence(i + 60) for i in range(60)], positive=[sentence(i) for i in range(60)], negative=[sentence(i + 9) for i in range(60)])
    if recipe == "margins": task = ["--triples", table(**triples, label=[i % 5 for i in range(60)]), "--base", headless]
    else: task = ["--corpus" if recipe == "embedding" else "--task", table(), "--teacher", headless]
    before = sorted(p.name for p in tmp_path.iterdir())
    code, out, err = shell("check", "--recipe", recipe, *task, *SMALL[recipe])
    assert code == 0 and "error" not in out, out + err
    assert sorted(p.name for p in tmp_path.iterdir()) == before

def test_findings_are_a_table_and_json(shell, table, headless):
    odd = table(label=["a", "b"] * 29 + ["b", "c"])
    code, out, err = shell("check", "--task", odd, "--teacher", headless, "--layers", 2)
    assert code == 0 and "warning: train has one row of 'c'" in out and "\n  why: " in out and "\n  do: " in out, out
    code, out, err = shell("check", "--task", odd, "--teacher", headless, "--layers", 2, "--json")
    found = json.loads(out)
    assert code == 0 and found["errors"] == 0 and found["name"] == "t.csv"
    assert any(f["what"] == "train has one row of 'c'" and f["level"] == "warning" and f["do"] for f in found["findings"])

@pytest.mark.parametrize("words, what", [
    (["--layers", 9], "layers"), (["--max-length", 10_000], "positions"), (["--teacher", "nowhere"], "nowhere"),
    (["--label", "none"], "none")])
def test_what_train_refuses_is_an_error(shell, table, headless, words, what):
    given = ["check", "--task", table(), *([] if "--teacher" in words else ["--teacher", headless]), *words]
    code, out, err = shell(*given)
    assert code == 2 and "error: " in out and what in out and "Traceback" not in err, out + err
    code, out, _ = shell(*given, "--json")
    found = json.loads(out)
    assert code == 2 and found["errors"] == 1 and what in json.dumps(found)

def test_a_folder_that_is_taken_is_an_error(shell, table, headless, tmp_path):
    task = table()
    code, out, _ = shell("check", "--task", task, "--teacher", headless, "--layers", 2, "--out", tmp_path)
    assert code == 2 and "is not empty" in out
    code, out, _ = shell("check", "--task", task, "--teacher", headless, "--layers", 2, "--out", tmp_path/"new")
    assert code == 0 and not (tmp_path/"new").exists()

def test_a_full_disk_is_an_error(shell, table, headless, tmp_path, monkeypatch):
    import shutil
    task = table()
    monkeypatch.setattr(shutil, "disk_usage", lambda p: shutil._ntuple_diskusage(10, 10, 0))
    code, out, _ = shell("check", "--task", task, "--teacher", headless, "--layers", 2, "--out", tmp_path/"new")
    assert code == 2 and "GB are free" in out

def test_wrong_options_are_refused_as_ever(shell, table):
    code, out, err = shell("check", "--task", table(), "--epochs", "inf")
    assert code == 2 and err.startswith("distill_nb: --epochs")
    assert shell("check")[0] == 2 # no task

def test_train_looks_first_and_no_check_does_not(shell, table, headless, tmp_path):
    odd, common = table(label=["a", "b"] * 29 + ["b", "c"]), ["--layers", 2, "--epochs", .1, "--no-baseline"]
    code, _, err = shell("train", "--task", odd, "--teacher", headless, *common, "--out", tmp_path/"a")
    assert code == 0 and "note: train has one row of 'c'" in err, err
    code, _, err = shell("train", "--task", odd, "--teacher", headless, *common, "--out", tmp_path/"b", "--no-check")
    assert code == 0 and "one row of" not in err
    a, b = [(tmp_path/x/"model.safetensors").read_bytes() for x in "ab"]
    assert a == b
