"Benchmarks stop when their seconds are spent, and what they finished is in the file, also after a kill."
import argparse, importlib.util, itertools, json, signal, subprocess, sys
from pathlib import Path
import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent/"benchmarks"
spec = importlib.util.spec_from_file_location("common", BENCHMARKS/"common.py")
common = importlib.util.module_from_spec(spec)
spec.loader.exec_module(common)

def asked(*line):
    p = argparse.ArgumentParser()
    p.add_argument("--steps", type=int, default=3)
    common.options(p)
    return p.parse_args(line)

APART = "common", "reference", "on_gpu", "published" # measure nothing, or run others
MEASURING = sorted(f for f in BENCHMARKS.glob("*.py") if f.stem not in APART and not f.stem.startswith("compare"))

@pytest.mark.parametrize("file", MEASURING, ids=lambda f: f.stem)
def test_every_benchmark_has_a_budget(file):
    text = file.read_text(encoding="utf-8").split('"""', 2)[2]
    assert "common.options(p)" in text and ("common.study(o, " in text or "common.under(o, " in text and "common.write(" in text)
    assert "nbs/results/" not in text, "the folder is an option"

def test_all_parts_are_made_without_a_budget():
    assert [*common.under(asked(), range(5))] == [0, 1, 2, 3, 4]

@pytest.mark.parametrize("at_least, made", [(0, [0]), (1, [0]), (3, [0, 1, 2])])
def test_no_part_begins_after_the_budget(at_least, made):
    "The one that is under way ends; comparisons have a few rounds in any case."
    begun = []
    def parts():
        for i in itertools.count():
            begun.append(i)
            yield i
    assert [*common.under(asked("--seconds", "0"), parts(), at_least)] == begun == made

def test_settings_are_what_decides_the_numbers(tmp_path):
    assert common.settings(asked("--seconds", "9", "--results", str(tmp_path))) == dict(steps=3) == common.settings(asked())
    assert common.settings(asked(), "steps") == {}

@pytest.mark.slow
def test_what_was_finished_is_there_after_a_kill(tmp_path):
    script = """if True:
    import argparse, os, signal, sys
    sys.path.insert(0, sys.argv.pop(1))
    import common
    p = argparse.ArgumentParser()
    common.options(p)
    o, rows = p.parse_args(), []
    for part in common.under(o, range(9)):
        if part == 2: os.kill(os.getpid(), signal.SIGKILL)
        rows.append(part)
        common.write(o.results/"x.json", results=rows)"""
    done = subprocess.run([sys.executable, "-c", script, BENCHMARKS, "--results", tmp_path])
    assert done.returncode == -signal.SIGKILL and json.loads((tmp_path/"x.json").read_text()) == dict(results=[0, 1])

def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    common.write(tmp_path/"x.json", results=[1])
    with pytest.raises(TypeError): common.write(tmp_path/"x.json", results=[object()])
    assert json.loads((tmp_path/"x.json").read_text()) == dict(results=[1])

# One command for a GPU session

def on_gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("on_gpu", BENCHMARKS/"on_gpu.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "LEAST", 0)
    return module

@pytest.mark.parametrize("script, left, ended, last", [
    ("print('done')", 60, 0, "done"), ("raise SystemExit('no GPU here')", 60, 1, "no GPU here"),
    ("import time; print('begun', flush=True); time.sleep(60)", 3, "out of time", "begun"), ("", -1, "no time left", None)])
def test_a_part_ends_in_time_and_says_how(script, left, ended, last, tmp_path, monkeypatch):
    module = on_gpu(monkeypatch)
    done = module.run(argparse.Namespace(minutes=1, results=tmp_path), "part", .1, [sys.executable, "-c", script], left)
    assert done["ended"] == ended and done.get("last") == last and not [*tmp_path.iterdir()]

def test_every_part_of_a_gpu_session_can_be_started(tmp_path, monkeypatch):
    module = on_gpu(monkeypatch)
    for rehearse in (False, True):
        parts = module.parts(argparse.Namespace(rehearse=rehearse, results=tmp_path, sst2=None, tokenizer=None))
        for share, command in parts.values():
            assert 0 < share < 1 and (command is None or Path(next(w for w in command if w.endswith(".py"))).exists())
def test_the_rows_of_all_methods_are_those_of_the_studies(monkeypatch):
    "methods.json is derived: what its script makes of the other files now is what it holds."
    monkeypatch.setitem(sys.modules, "common", common)
    there = importlib.util.spec_from_file_location("methods", BENCHMARKS/"methods.py")
    there.loader.exec_module(methods := importlib.util.module_from_spec(there))
    results = BENCHMARKS.parent/"nbs"/"results"
    held = json.loads((results/"methods.json").read_text(encoding="utf-8"))
    assert held["rows"] == json.loads(json.dumps([*methods.rows(argparse.Namespace(results=results))]))
    assert {r["shape"] for r in held["rows"]} - {None} == set(held["speed"]["shapes"])

def test_the_folder_of_results_is_made_before_anything_is_measured(tmp_path):
    assert asked().results == BENCHMARKS.parent/"nbs"/"results" # wherever it is called
    assert asked("--results", str(tmp_path/"a"/"b")).results.is_dir()
    (tmp_path/"file").touch()
    with pytest.raises(SystemExit): asked("--results", str(tmp_path/"file"/"b"))
