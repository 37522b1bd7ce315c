"Benchmarks stop when their seconds are spent, and what they finished is in the file, also after a kill."
import argparse, importlib, importlib.util, itertools, json, os, re, runpy, signal, subprocess, sys, time
from pathlib import Path
import pytest
import torch
from distill_nb.kit.errors import InputError

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

@pytest.mark.parametrize("line, said", [
    ("", "no GPU is here: .* --rehearse"), ("--rehearse --only nonsense", "--only nonsense: expected some of checks, steps"),
    ("--rehearse --only trace peers", "--only peers: it cannot be rehearsed"), ("--rehearse --minutes 0", "--minutes: 0: expected a number above 0"),
    ("--rehearse --minutes=-3", "-3: expected a number above 0"), ("--rehearse --minutes nan", "nan: expected a number"), ("--rehearse --minutes 0.01", "10 seconds or more"),
    ("--rehearse --minutes inf", "inf: expected a number"), ("--rehearse --sst2 nowhere", "nowhere: expected a folder that exists"),
    ("--rehearse --glue .", "--glue .: expected a folder with SST-2"), ("--rehearse --tokenizer nowhere", "nowhere: expected a folder that exists"), ("--rehearse --results FILE", "File exists"), ("--rehearse --results FILE/more", "Not a directory")])
def test_a_gpu_session_that_cannot_be_is_refused_at_once(line, said, tmp_path, monkeypatch, capsys):
    "An unknown part ended well, 0 minutes wrote an empty summary, and without a GPU every row of steps-gpu.json was replaced by a failed one."
    module = on_gpu(monkeypatch)
    monkeypatch.setattr(module, "LEAST", 10)
    monkeypatch.setattr(module.common.torch.cuda, "is_available", lambda: False)
    (tmp_path/"file").touch()
    argv = line.replace("FILE", str(tmp_path/"file")).split()
    with pytest.raises(SystemExit) as e: module.asked(argv if "--results" in argv else [*argv, "--results", str(tmp_path)])
    error = capsys.readouterr().err
    assert e.value.code == 2 and re.search(said, error.splitlines()[-1]), error
    assert [f.name for f in tmp_path.iterdir()] == ["file"]

@pytest.mark.parametrize("line, said", [
    ("gpu_steps.py", "no GPU is here"), ("gpu_trace.py", "no GPU is here"), ("gpu_attention.py", "no GPU is here"), ("gpu_epoch.py", "no GPU is here"),
    ("gpu_recipes.py", "no GPU is here"), ("gpu_steps.py --rehearse --shapes 32by128", "32by128: expected batch x length"), ("gpu_steps.py --rehearse --objectives x", "invalid choice: 'x'"),
    ("gpu_steps.py --rehearse --steps 0", "0: expected a whole number above 0"), ("gpu_epoch.py --rehearse --ways x", "invalid choice: 'x'"),
    ("gpu_epoch.py --rehearse --batches 0", "0: expected a whole number"), ("gpu_attention.py --rehearse --lengths 200", "expected at most --row 128"),
    ("gpu_recipes.py --rehearse --epochs 0", "0: expected a number above 0")])
def test_a_part_of_it_refuses_what_it_cannot_do(line, said, tmp_path, monkeypatch, capsys):
    script, *more = line.split()
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", [script, *more, "--results", str(tmp_path)])
    with pytest.raises(SystemExit) as e: runpy.run_path(str(BENCHMARKS/script), run_name="__main__")
    error = capsys.readouterr().err
    assert e.value.code == 2 and said in error.splitlines()[-1], error[-500:]
    assert not [*tmp_path.iterdir()]

def test_a_study_of_failures_alone_fails(tmp_path):
    o = asked("--results", str(tmp_path))
    common.study(o, "x.json", [dict(failed="out of memory"), dict(ms=3)])
    with pytest.raises(SystemExit, match="no row of 2 was measured: out of memory"): common.study(o, "x.json", [dict(failed="out of memory")] * 2)
    common.study(o, "x.json", [])

@pytest.mark.slow
def test_a_session_that_is_told_to_stop_leaves_nothing_behind(tmp_path):
    "The part that ran went on without it, on the card, and its log stayed."
    scratch = tmp_path/"tmp"
    scratch.mkdir()
    session = subprocess.Popen([sys.executable, BENCHMARKS/"on_gpu.py", "--rehearse", "--only", "attention", "epoch", "--results", tmp_path],
                               stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(scratch)})
    for _ in range(600):
        begun = [*scratch.glob("*/log.txt")]
        parts = Path(f"/proc/{session.pid}/task/{session.pid}/children").read_text().split() if begun else []
        if parts: break
        time.sleep(.1)
    session.terminate()
    assert session.wait(timeout=30) == 143 and parts
    assert not Path(f"/proc/{parts[0]}").exists() and not [*scratch.iterdir()]

def test_a_part_is_over_with_all_that_it_started(tmp_path, monkeypatch):
    module, file = on_gpu(monkeypatch), tmp_path/"pid"
    inner = f"import os, time; open({str(file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    assert module.ended([sys.executable, "-c", outer], 3) == "out of time"
    time.sleep(.3)
    state = Path(f"/proc/{file.read_text()}/stat") # a zombie waits for whoever adopted it
    assert not state.exists() or state.read_text().split()[2] == "Z"

def test_every_part_of_a_gpu_session_can_be_started(tmp_path, monkeypatch):
    module = on_gpu(monkeypatch)
    for rehearse in (False, True):
        for glue in (None, tmp_path):
            parts = module.parts(argparse.Namespace(rehearse=rehearse, results=tmp_path, sst2=None, tokenizer=None, glue=glue))
            for share, command in parts.values():
                assert 0 < share < 1 and (command is None or Path(next(w for w in command if w.endswith(".py"))).exists())
            assert (parts["compare"][1] is None) == (not rehearse and glue is None)

def test_a_session_of_some_parts_keeps_the_others_of_the_same_card(tmp_path, monkeypatch):
    module, file = on_gpu(monkeypatch), tmp_path/"on-gpu.json"
    card, parts = dict(device="H100"), [dict(part="steps", ended=0), dict(part="epoch", ended=1)]
    assert module.earlier(file, card, ["epoch"]) == []
    common.write(file, machine=card, minutes=8, parts=parts)
    assert module.earlier(file, card, ["epoch"]) == parts[:1] and module.earlier(file, dict(device="T4"), ["epoch"]) == []
    file.write_text("{") # cut by a kill
    assert module.earlier(file, card, []) == []

def test_glues_own_folder_is_a_folder_of_data(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    source_of = importlib.import_module("compare_data").source_of
    (tmp_path/"SST-2").mkdir()
    assert source_of("SST-2", tmp_path) == tmp_path/"SST-2"
    with pytest.raises(InputError, match="for RTE: expected a folder with glue/RTE"): source_of("RTE", tmp_path)
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
