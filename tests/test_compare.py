"The comparison's runner: rows survive a kill, other versions are refused, runs come in the order of their worth and are done once."
import importlib, json, os, subprocess, sys
from argparse import Namespace
from pathlib import Path
import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent/"benchmarks"

@pytest.fixture
def compare(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("compare")

def row(**more): return dict(version=1, task="bshift", method="teacher", seed=0, budget="toy") | more

def written(compare, file, *rows):
    for r in rows: compare.append(file, r)
    return file

def test_rows_come_back(compare, tmp_path):
    file = written(compare, tmp_path/"x.jsonl", row(metrics=dict(a=float("nan"), b=1/3)), row(seed=1))
    assert compare.read_rows(tmp_path/"none.jsonl") == []
    assert compare.read_rows(file) == [row(metrics=dict(a=None, b=.333333)), row(seed=1)]

def test_a_cut_last_line_is_removed(compare, tmp_path, capsys):
    file = written(compare, tmp_path/"x.jsonl", row(), row(seed=1))
    os.truncate(file, file.stat().st_size - 20)
    assert compare.read_rows(file) == [row()] and "cut off" in capsys.readouterr().err
    written(compare, file, row(seed=2))
    assert compare.read_rows(file) == [row(), row(seed=2)]
    os.truncate(file, 9)
    assert compare.read_rows(file) == [] and file.stat().st_size == 0

@pytest.mark.parametrize("bad, says", [(b'{"version":0}\n', "version 0, expected 1"), (b"{}\n", "version None"), (b'{"version":1,"ta\n', "not JSON"), (b"7\n", "version None"), (b"\n", "not JSON")])
def test_other_versions_and_damage_inside_are_refused(compare, tmp_path, bad, says):
    file = written(compare, tmp_path/"x.jsonl", row())
    file.write_bytes(file.read_bytes() + bad + file.read_bytes())
    size = file.stat().st_size
    with pytest.raises(compare.BadRows, match=f"line 2: {says}"): compare.read_rows(file)
    assert file.stat().st_size == size

def test_a_whole_last_line_without_its_end_is_kept(compare, tmp_path, capsys):
    "As an editor leaves it; the next row must not stand in the same line."
    file = written(compare, tmp_path/"x.jsonl", row(), row(seed=1))
    os.truncate(file, file.stat().st_size - 1)
    assert compare.read_rows(file) == [row(), row(seed=1)] and not capsys.readouterr().err
    assert compare.read_rows(written(compare, file, row(seed=2))) == [row(), row(seed=1), row(seed=2)]

@pytest.mark.parametrize("lost", ["task", "seed", "budget"])
def test_a_run_that_lost_a_part_of_its_name_is_refused(compare, tmp_path, lost):
    with pytest.raises(compare.BadRows, match=f"line 1: a run without its {lost}"):
        compare.read_rows(written(compare, tmp_path/"x.jsonl", {k: v for k, v in row().items() if k != lost}))

@pytest.mark.parametrize("words, says", [
    (["--only", "KD"], "--only KD: expected methods of these tasks: teacher; most frequent; "), (["--only", "pkd"], "--only pkd"),
    (["--tasks", "STS-B", "--only", "PKD", "logits, KL"], "--only logits, KL"), (["--tasks", "bshift@500", "--only", "PKD"], "--only PKD"),
    (["--tasks", "SST2"], "--tasks SST2"), (["--tasks", "bshift@0"], "--tasks bshift@0"), (["--tasks", "bshift@1"], "--tasks bshift@1"), (["--tasks", "bshift@-5"], "--tasks bshift@-5"), (["--tasks", "bshift@"], "--tasks bshift@:"),
    (["--steps", "0"], "--steps 0: expected 1 or more"), (["--jobs", "0"], "--jobs 0"), (["--threads", "-1"], "--threads -1"),
    (["--tasks", "bshift", "--only", "TinyBERT, two stages, new texts"], "new texts: expected NAME.new.parquet in the folder of --data"),
    (["--budget", "timed", "--steps", "5"], "--steps 5 with --budget timed"), (["--texts", "0"], "--texts 0"), (["--minutes", "nan"], "--minutes nan: expected more than 0"), (["--minutes", "-5"], "--minutes -5"), (["--seeds", "0", "-1"], "--seeds -1: expected"),
    (["--seeds", str(2**32)], "--seeds 4294967296"), (["--tasks", "bshift", "--only", "logits, KL, T=1"], "bshift, logits, KL, T=1: 'logits, KL' chooses its learning rate")])
def test_what_would_run_nothing_or_something_else_is_refused(compare, tmp_path, words, says):
    with pytest.raises(compare.BadRows, match=says.replace("(", ".")): compare.main(["list", "--budget", "toy", "--results", str(tmp_path), "--work", str(tmp_path), *words])

def test_what_is_named_twice_runs_once(compare, tmp_path, capsys):
    compare.main(["list", "--budget", "toy", "--results", str(tmp_path), "--work", str(tmp_path), "--tasks", "bshift", "bshift", "--seeds", "0", "0", "--only", "PKD"])
    assert capsys.readouterr().out.splitlines() == ["bshift, teacher, seed 0", "bshift, PKD, seed 0"]

@pytest.mark.parametrize("words, says", [(["--tasks", "TREC"], "--data None for TREC: expected a folder with trec"), (["--tasks", "bshift", "SST-2@500", "--data", "/no/data"], "--data /no/data for SST-2"),
                                         (["--tasks", "bshift", "--teacher", "/no/teacher"], "/no/teacher: ")])
def test_what_is_not_there_is_told_before_anything_runs(compare, tmp_path, words, says):
    from distill_nb.kit.errors import InputError
    with pytest.raises(InputError, match=says): compare.main(["run", "--budget", "toy", "--results", str(tmp_path), "--work", str(tmp_path/"w"), *words])
    assert not (tmp_path/"compare.jsonl").exists()

def test_a_run_that_is_there_twice_is_refused(compare, tmp_path):
    "The page would count it twice."
    file = written(compare, tmp_path/"x.jsonl", row(), row(seed=1), dict(version=1, shape="half"), dict(version=1, shape="half"), row(metrics=dict(a=1)))
    with pytest.raises(compare.BadRows, match="line 5: the run of line 1 again"): compare.read_rows(file)

def test_a_file_of_rows_has_one_writer(compare, tmp_path):
    "A second process would make the same runs; one that only lists leaves a line alone that is being written."
    o = asked(compare, tmp_path, "--tasks", "bshift", "--seeds", "0", "--only", "PKD")
    o.file.write_text('{"version":1,"task":"bsh')
    with compare.alone(o.file):
        with pytest.raises(compare.BadRows, match="compare.jsonl: another run writes it"): compare.run(o)
        compare.main(["list", "--budget", "toy", "--results", str(tmp_path), "--work", str(tmp_path/"w"), "--tasks", "bshift", "--seeds", "0"])
    assert o.file.read_text() == '{"version":1,"task":"bsh'
    with compare.alone(o.file): pass
    o.file.unlink(), o.file.mkdir()
    with pytest.raises(compare.BadRows, match="compare.jsonl: Is a directory, expected a file"): compare.run(o)

def test_a_full_disk_ends_the_runs(compare, tmp_path, monkeypatch):
    "What is made after it would be lost too."
    o = asked(compare, tmp_path, "--tasks", "SST-2", "--seeds", "0", "--only", "PKD")
    queue = compare.Queue(o, planned(compare, o), [])
    def full(file, row): raise OSError(28, "No space left on device")
    monkeypatch.setattr(compare, "append", full)
    queue.done(queue.next()[0], row(task="SST-2", metric="a", metrics=dict(a=1), seconds=0))
    assert queue.failed[0][1].endswith("No space left on device") and queue.next() is None and queue.rows == []

def test_half_a_line_of_a_worker_is_a_failed_run(compare, tmp_path, monkeypatch):
    "A worker that the system ended while it wrote."
    o = asked(compare, tmp_path, "--tasks", "SST-2", "--seeds", "0", "--only", "PKD")
    code = "import sys; sys.stdin.readline(); sys.stdout.write('{\"version\":1,')"
    start = subprocess.Popen
    monkeypatch.setattr(compare.subprocess, "Popen", lambda args, **how: start([sys.executable, "-c", code], **how))
    queue = compare.Queue(o, planned(compare, o), [])
    compare.serve(o, queue, 0, {})
    assert [e for _, e in queue.failed] == ["the worker died"]

def test_a_worker_ends_with_the_run_that_was_killed(tmp_path):
    "Its stdin stays open here, so that it is not the end of its questions that ends it."
    (asks, keep), (said, says) = os.pipe(), os.pipe()
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, {str(BENCHMARKS/'compare.py')!r}, 'worker', '--work', {str(tmp_path)!r}, '--results', {str(tmp_path)!r}], " \
           f"stdin={asks}, stdout={says}, stderr={says}, pass_fds=[{asks}, {says}])\nimport time; time.sleep(4)"
    subprocess.run([sys.executable, "-c", code], pass_fds=[asks, says], env={**os.environ, "PYTHONPATH": str(BENCHMARKS.parent)}, check=True)
    os.close(says)
    import select
    ready, *_ = select.select([said], [], [], 60)
    assert ready and os.read(said, 1) == b"", "the last process that could write is gone"
    for fd in (asks, keep, said): os.close(fd)

def test_folders_that_cannot_be_written(compare, tmp_path):
    (tmp_path/"file").touch()
    with pytest.raises(compare.BadRows, match="file: .*, expected a folder to write to"): asked(compare, tmp_path, "--results", str(tmp_path/"file"))
    for what in "pack", "new":
        with pytest.raises(compare.BadRows, match=f"{what}: expected a folder"): compare.main([what, "--results", str(tmp_path), "--work", str(tmp_path/"w")])

@pytest.mark.parametrize("change, says", [(dict(cpu_seconds=0), "PKD: equal time needs its row"), (dict(cpu_seconds=None), "PKD: equal time needs its row"),
                                          (dict(settings=dict(steps=5)), "other settings")])
def test_equal_time_needs_seconds_of_the_same_settings(compare, tmp_path, change, says):
    o = asked(compare, tmp_path, "--budget", "timed", "--tasks", "bshift", "--seeds", "0", "--only", "PKD")
    small = dict(budget="small", settings=json.loads(json.dumps(compare.BUDGETS["small"])), cpu_seconds=8., learning_rate=1e-4, rates=[1e-4])
    rows = [row(method="labels, pretrained layers", **small), row(method="PKD", **small)]
    assert [i["steps"] for i in planned(compare, o, rows)] == [None, 240]
    assert planned(compare, o, [rows[0], rows[1] | dict(cpu_seconds=1e6)])[1]["steps"] == 1
    with pytest.raises(compare.BadRows, match=says): planned(compare, o, [rows[0], rows[1] | change])

def asked(compare, tmp_path, *more): return compare.prepared(["run", "--budget", "toy", "--results", str(tmp_path), "--work", str(tmp_path/"work"), *more])

def planned(compare, o, rows=()):
    o.tasks = o.tasks or ["SST-2", "STS-B", "bshift@500"]
    return compare.plan(o, [*rows])

def test_runs_come_by_worth_and_equal_for_all_tasks(compare, tmp_path):
    todo = planned(compare, asked(compare, tmp_path, "--seeds", "0", "1", "2"))
    assert len({compare.key(i) for i in todo}) == len(todo)
    assert {(i["method"], i["seed"]) for i in todo[:3]} == {("teacher", 0)}
    main = [i for i in todo if i["method"] == "labels, pretrained layers"]
    assert [i["seed"] for i in main] == [0, 0, 0, 1, 1, 1, 2, 2, 2] and [i["first"] for i in main] == [True] * 3 + [False] * 6
    assert {i["seed"] for i in todo if i["method"] == "triple, without labels"} == {0, 1, 2}
    of = lambda task: {i["method"] for i in todo if i["task"] == task}
    assert "logits, KL" in of("SST-2") and "logits, KL" not in of("STS-B") and "logits, MSE" in of("STS-B")
    assert "logits, KL, labelled texts alone" in of("bshift@500") and "PKD" not in of("bshift@500")
    assert not any("new texts" in m for m in of("SST-2")), "there are none"

def test_other_kinds_of_answers_have_a_floor_of_their_own(compare, tmp_path):
    todo = planned(compare, asked(compare, tmp_path, "--tasks", "CoNLL", "--seeds", "0"))
    assert {"frozen teacher", "logits, KL", "TinyBERT, two stages"} < {i["method"] for i in todo} and "linear probe" not in {i["method"] for i in todo}

@pytest.mark.slow
def test_tags_are_judged_by_entities(compare, tmp_path):
    "CoNLL's own format, in a few sentences: the row of a floor has metrics, trust over words, and the teacher's answers as they are kept."
    (tmp_path/"conll2003").mkdir()
    lines = "".join(f"{name} B-PER 0\nlives O 0\nin O 0\n{place} B-LOC 0\n\n" for name in ("Ann", "Bob", "Cleo", "Dan", "Eve") for place in ("Paris", "Rome", "Oslo", "Lima"))
    for file in "train", "valid", "test": (tmp_path/"conll2003"/f"{file}.txt").write_text(lines.replace("lives", {"train": "lives", "valid": "works", "test": "sleeps"}[file]))
    args = ["--budget", "toy", "--tasks", "CoNLL", "--seeds", "0", "--only", "frozen teacher", "--data", str(tmp_path), "--results", str(tmp_path), "--work", str(tmp_path/"work")]
    assert compare.main(["run", *args]) == 0
    teacher, floor = compare.read_rows(tmp_path/"compare.jsonl")
    assert floor["metric"] == "entity_f1" and floor["trust"]["agreement"] >= 0 and floor["right"] is None and floor["tests"] == teacher["tests"] == 20
    assert teacher["trust"]["agreement"] == 1 and floor["shape"] == "whole" and floor["parameters"] == teacher["parameters"]

def test_finished_runs_are_left_out_and_their_teachers_come_back(compare, tmp_path):
    o = asked(compare, tmp_path, "--tasks", "SST-2", "--seeds", "0", "--only", "PKD", "logits, KL")
    settings = json.loads(json.dumps(compare.settings_of(o)))
    done = [row(task="SST-2", method=m, settings=settings) for m in ("teacher", "PKD")]
    left = planned(compare, o, done)
    assert [(i["method"], i.get("again", False)) for i in left] == [("teacher", True), ("logits, KL", False)]
    assert planned(compare, o, [*done, row(task="SST-2", method="logits, KL", settings=settings)]) == []
    with pytest.raises(compare.BadRows, match="other settings"): planned(compare, o, [row(task="SST-2", method="PKD", settings=settings | dict(steps=9))])

def test_later_seeds_take_the_chosen_learning_rate(compare):
    WAYS = importlib.import_module("compare_ways").WAYS
    item = lambda method, first: row(method=method, task="SST-2", first=first)
    chosen = [row(task="SST-2", method="triple form", learning_rate=3e-4, rates=[1e-4, 3e-4])]
    assert compare.rate_of(item("triple form", True), []) == WAYS["triple form"].rates
    assert compare.rate_of(item("triple form", False), []) is None
    assert compare.rate_of(item("triple form", False), chosen) == (3e-4,) == compare.rate_of(item("triple, without labels", True), chosen)
    assert compare.rate_of(item("PKD", False), chosen) is None

def test_the_queue_waits_for_teachers_and_ends(compare, tmp_path):
    o = asked(compare, tmp_path, "--tasks", "SST-2", "--seeds", "0", "--only", "PKD", "linear probe")
    queue = compare.Queue(o, planned(compare, o), [])
    item, rates = queue.next()
    assert item["method"] == "teacher"
    queue.done(item, row(task="SST-2", metric="a", metrics=dict(a=1), seconds=0))
    assert {queue.next()[0]["method"] for _ in range(2)} == {"linear probe", "PKD"} and queue.next() is None
    late = compare.Queue(o, planned(compare, o), [])
    late.end = 0
    assert late.next() is None
    lost = compare.Queue(o, planned(compare, o), [])
    lost.done(lost.next()[0], dict(error="no"))
    assert lost.next() is None and len(lost.failed) == 1, "what needs the teacher cannot be run"

def test_right_rows_are_packed(compare):
    import base64
    z = np.eye(3)[[0, 1, 2, 0, 1, 2, 0, 0, 1]]
    y = np.array([0, 1, 1, 0, 1, 2, 0, 1, 1])
    raw = np.frombuffer(base64.b64decode(compare.packed_right(z, y)), np.uint8)
    assert np.unpackbits(raw)[:9].tolist() == [1, 1, 0, 1, 1, 1, 1, 0, 1] and compare.packed_right(z[:, :1], y) is None

@pytest.mark.slow
def test_a_small_run_goes_on_after_a_kill(tmp_path):
    "Two methods on the embedded task; the second call finds the first one's rows, and a task that is not there is one sentence."
    args = [sys.executable, str(BENCHMARKS/"compare.py"), "run", "--budget", "toy", "--tasks", "bshift", "--seeds", "0", "--results", tmp_path, "--work", tmp_path/"work"]
    env = {**os.environ, "PYTHONPATH": str(BENCHMARKS.parent)} # the embedded task is read once for all tests
    one = subprocess.run([*args, "--only", "most frequent"], capture_output=True, text=True, env=env)
    assert one.returncode == 0, one.stderr
    file = tmp_path/"compare.jsonl"
    with open(file, "a") as f: f.write('{"version":1,"task":"bsh')
    two = subprocess.run([*args, "--only", "most frequent", "labels, teacher's layers"], capture_output=True, text=True, env=env)
    assert two.returncode == 0 and "cut off" in two.stderr, two.stderr
    (home,) = (tmp_path/"work").glob("bshift-*")
    assert [f.name for f in home.iterdir()] == ["teacher-0"], "it was found again"
    rows = [json.loads(l) for l in file.read_text().splitlines()]
    assert [r["method"] for r in rows] == ["teacher", "most frequent", "labels, teacher's layers"]
    student = rows[-1]
    assert student["rates"] == [1e-4, 3e-4] and student["learning_rate"] in student["rates"] and student["steps"] == 3
    assert 0 < student["parameters"] < rows[0]["parameters"] and {"agreement", "ece", "promised coverage"} <= {*student["trust"]}
    kept = [f.stat().st_mtime for f in home.glob("teacher-0/*")]
    os.rename(file, tmp_path/"kept.jsonl")
    third = subprocess.run([*args, "--only", "teacher"], capture_output=True, text=True, env=env)
    assert third.returncode == 0 and [f.name for f in home.iterdir()] == ["teacher-0"]
    assert min(f.stat().st_mtime for f in home.glob("teacher-0/*")) > max(kept), "a new row is about the teacher that its students will have"
    file.write_text("".join(json.dumps(r | dict(data="0123")) + "\n" for r in rows))
    other = subprocess.run([*args, "--only", "linear probe"], capture_output=True, text=True, env=env)
    assert other.returncode == 1 and f"its rows of bshift are of other texts (0123, and here {rows[0]['data']})" in other.stderr and len(file.read_text().splitlines()) == 3
    wrong = subprocess.run([*args, "--tasks", "nonsense"], capture_output=True, text=True, env=env)
    assert wrong.returncode == 1 and wrong.stderr.startswith("compare: --tasks nonsense: expected some of SST-2"), wrong.stderr

def test_equal_time_is_as_many_steps_as_cost_what_the_control_cost(compare, tmp_path):
    o = asked(compare, tmp_path, "--tasks", "SST-2", "--seeds", "0", "1", "--only", "labels, pretrained layers", "logits, KL")
    o.budget = "timed"
    def cost(method, seconds, **more): return row(task="SST-2", method=method, budget="small", settings=compare.BUDGETS["small"], cpu_seconds=seconds, learning_rate=3e-4, **more)
    control, twice = cost("labels, pretrained layers", 60, rates=[1e-4, 3e-4]), cost("logits, KL", 120, rates=[1e-4, 3e-4])
    todo = planned(compare, o, [control, twice])
    assert {(i["method"], i["steps"]) for i in todo} == {("teacher", None), ("labels, pretrained layers", 240), ("logits, KL", 120)}
    assert {compare.rate_of(i, [control, twice]) for i in todo if i["method"] == "logits, KL"} == {(3e-4,)}, "chosen in the small budget"
    with pytest.raises(compare.BadRows, match="SST-2, logits, KL: equal time needs its row of --budget small"): planned(compare, o, [control])
