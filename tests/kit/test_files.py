"""What is written is whole, ours, and written by one process: kills before every change of the file system, places that cannot be written,
two runs with one name, two processes of one run."""
import os
import stat
import subprocess
import sys
from pathlib import Path
import pytest
from builders import killed, state_of
from distill_nb.kit.files import (
    MARK, atomic_file, changed_files, mark_file, mark_folder, our_files, output_file, rewrite, save_text, saved_file, short_name)
from distill_nb.kit.errors import InputError
from distill_nb.kit.folders import HELD, output_folder, whole_folder, working_folder

HERE = Path(__file__).parents[1]
ROOT = os.geteuid() == 0

def run(code, *args, **env):
    "A fresh interpreter: (exit code, stdout + stderr)."
    done = subprocess.run([sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True, env=os.environ | env)
    return done.returncode, done.stdout + done.stderr

def fill(out, text, overwrite=False, names=("config.json", "model.safetensors", "README.md")):
    with whole_folder(out, overwrite) as new:
        for name in names: (new/name).write_text(text)

def state(out): return {p.name: p.read_text() for p in sorted(out.iterdir()) if p.name[0] != "."} if out.exists() else {}
def hidden(out): return [p.name for p in out.glob(".*") if p.name.startswith(".distill_nb") and p.name != MARK]

# Kills. The process ends before the k-th change; a kill inside of a change is one before it or after it.

def write_file(out):
    with atomic_file(out) as new: new.write_text("new")

@pytest.mark.parametrize("before", ["nothing", "a student"])
@pytest.mark.parametrize("kind", ["same", "other"])
def test_a_kill_leaves_the_old_the_new_or_what_the_next_run_repairs(tmp_path, kind, before):
    "Before every change: what can be loaded is never a mixture, and strangers' files stay."
    names = "config.json", "model.safetensors", "README.md" if kind == "same" else "vocab.txt"
    new = dict.fromkeys(names, "new")
    for k in range(100):
        out, old = tmp_path/f"o{k}", {}
        if before == "a student":
            fill(out, "old")
            old = state(out)
            (out/"notes.md").write_text("mine")
        dead = killed(k, lambda: fill(out, "new", True, names))
        found = {n: t for n, t in state(out).items() if n != "notes.md"}
        assert "config.json" not in found or found in (old, new), (k, found)
        with output_folder(out, overwrite=True): pass # the next run begins
        found = state(out)
        assert found.pop("notes.md", "mine") == "mine" and (before == "nothing" or (out/"notes.md").exists())
        assert found in ((old, new) if dead else (new,)) and hidden(out) == [], (k, found)
        if out.exists(): assert our_files(out) == set(found)
        if not dead: break
    assert not dead and k > 10 # each of the changes had its kill

def test_a_killed_file_is_the_old_or_the_new_one_and_its_rest_goes(tmp_path):
    for k in range(9):
        file = tmp_path/"a.txt"
        file.write_text("old")
        dead = killed(k, lambda: write_file(file))
        assert file.read_text() in ("old", "new")
        with atomic_file(file) as new: new.write_text("next")
        assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
        if not dead: break
    assert not dead and k

def test_what_another_process_writes_at_the_moment_is_left_alone(tmp_path):
    with atomic_file(tmp_path/"a.txt") as mine:
        code, text = run("import sys\nfrom distill_nb.kit.files import atomic_file\nwith atomic_file(sys.argv[1]) as new: new.write_text('theirs')", tmp_path/"a.txt")
        assert code == 0, text
        mine.write_text("mine")
    assert (tmp_path/"a.txt").read_text() == "mine" and len([*tmp_path.iterdir()]) == 1

def test_files_are_as_open_would_make_them(tmp_path):
    with atomic_file(tmp_path/"a") as new: new.write_text("x")
    (tmp_path/"b").write_text("x")
    assert stat.S_IMODE((tmp_path/"a").stat().st_mode) == stat.S_IMODE((tmp_path/"b").stat().st_mode)

def test_a_planted_link_is_not_followed(tmp_path):
    (tmp_path/"precious").write_text("p")
    fill(tmp_path/"o", "old")
    (tmp_path/"o"/"model.safetensors").unlink()
    (tmp_path/"o"/"model.safetensors").symlink_to(tmp_path/"precious")
    with pytest.raises(InputError, match="model.safetensors"): fill(tmp_path/"o", "new", overwrite=True)
    assert (tmp_path/"precious").read_text() == "p" and state(tmp_path/"o")["config.json"] == "old"

def test_an_error_in_the_middle_gives_the_old_back(tmp_path, monkeypatch):
    "A file that cannot be moved (here: by decree) must not cost the old student or the new one."
    real = os.replace
    for bad in ("config.json", "README.md", "model.safetensors", MARK):
        out = tmp_path/bad.strip(".")
        fill(out, "old")
        def replace(a, b):
            if Path(a).parent.name == ".distill_nb-ready" and Path(a).name == bad and Path(b).parent == out: raise PermissionError(1, "no", str(a))
            return real(a, b)
        monkeypatch.setattr(os, "replace", replace)
        with pytest.raises(PermissionError): fill(out, "new", overwrite=True)
        monkeypatch.undo()
        assert set(state(out).values()) == {"old"} and hidden(out) == [] and our_files(out) == set(state(out))

# What may be replaced

def test_only_our_own_files_are_replaced(tmp_path):
    web = tmp_path/"web"
    (web/"src").mkdir(parents=True)
    (web/"config.json").write_text('{"port": 80}')
    with pytest.raises(InputError, match="holds no model of ours"): fill(web, "new", overwrite=True)
    assert (web/"config.json").read_text() == '{"port": 80}' and (web/"src").is_dir()
    out = tmp_path/"o"
    fill(out, "old")
    for stranger in ("notes.md", "checkpoint-500/optimizer.pt", ".git/HEAD"):
        (out/stranger).parent.mkdir(exist_ok=True)
        (out/stranger).write_text("mine")
    fill(out, "new", overwrite=True, names=("config.json",))
    assert state_of(out) == {"config.json", MARK, "notes.md", "checkpoint-500/optimizer.pt", ".git/HEAD"}

@pytest.mark.parametrize("mark", ["", "{", "[]", '{"files": 3}', '{"files": {"../precious": "x", "notes.md": "y"}}'])
def test_a_mark_that_lies_removes_nothing(tmp_path, mark):
    (tmp_path/"precious").write_text("p")
    out = tmp_path/"o"
    out.mkdir()
    (out/"notes.md").write_text("mine")
    (out/MARK).write_text(mark)
    with pytest.raises(InputError): fill(out, "new", overwrite=True)
    assert (tmp_path/"precious").exists() and state(out) == {"notes.md": "mine"}

def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path):
    with pytest.raises(InputError, match="config.json, which we did not write"):
        with whole_folder(tmp_path/"o") as new:
            (new/"config.json").write_text("new")
            (tmp_path/"o"/"config.json").write_text("theirs")
    assert state(tmp_path/"o") == {"config.json": "theirs"} and hidden(tmp_path/"o") == []

def test_what_somebody_removed_or_left_is_no_obstacle(tmp_path):
    fill(tmp_path/"o", "old")
    for name in state(tmp_path/"o"): (tmp_path/"o"/name).unlink() # the mark is hidden and stays
    (tmp_path/"o"/"lost+found").mkdir() # of a fresh volume
    (tmp_path/"o"/".distill_nb-new").mkdir() # of a killed run
    fill(tmp_path/"o", "new")
    assert set(state_of(tmp_path/"o")) == {"config.json", "model.safetensors", "README.md", MARK}

# Where it goes

def test_links_the_working_folder_and_long_names(tmp_path, monkeypatch):
    (tmp_path/"real").mkdir()
    (tmp_path/"link").symlink_to("real")
    fill(tmp_path/"link", "a")
    fill(tmp_path/"link", "b", overwrite=True)
    assert (tmp_path/"link").is_symlink() and state(tmp_path/"real")["config.json"] == "b"
    (tmp_path/"dangling").symlink_to("later")
    fill(tmp_path/"dangling", "c")
    assert state(tmp_path/"later")["config.json"] == "c" and (tmp_path/"dangling").is_symlink()
    (tmp_path/"w"/"deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path/"w"/"deep")
    fill(".", "d")
    fill(".", "e", overwrite=True)
    with pytest.raises(InputError, match="is not empty"): fill("..", "f")
    with pytest.raises(InputError, match="no model of ours"): fill("..", "f", overwrite=True)
    assert state(tmp_path/"w"/"deep")["config.json"] == "e"
    fill(tmp_path/("n" * 250), "g")
    with atomic_file(tmp_path/"link-file") as new: new.write_text("x")
    (tmp_path/"to").symlink_to("link-file")
    with atomic_file(tmp_path/"to") as new: new.write_text("y")
    assert (tmp_path/"to").is_symlink() and (tmp_path/"link-file").read_text() == "y"
    with atomic_file(tmp_path/("电" * 80 + ".csv")) as new: new.write_text("x")

IMPOSSIBLE = dict(file="{d}/file", below_a_file="{d}/file/sub", proc="/proc/nowhere", null="/dev/null", long="{d}/" + "n" * 300, longer="x/" * 4000,
                  zero="{d}/a\0b", empty="", loop="{d}/loop")

@pytest.mark.parametrize("place", IMPOSSIBLE)
def test_places_that_cannot_be_written_are_one_sentence(tmp_path, place):
    (tmp_path/"file").write_text("x")
    (tmp_path/"loop").symlink_to("loop")
    out = IMPOSSIBLE[place].format(d=tmp_path)
    for how in (output_folder, working_folder):
        with pytest.raises(InputError) as e:
            with how(out): pass
        assert len(str(e.value)) < 500 and "\n" not in str(e.value)
    with pytest.raises(InputError): output_file(f"{out}/a.csv" if out else out)
    with pytest.raises(InputError) as e: save_text(f"{out}/a.txt" if out else out, "x")
    assert len(str(e.value)) < 500 and "\n" not in str(e.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "loop"] and not HELD

@pytest.mark.skipif(ROOT, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path):
    parent = tmp_path/"ro"
    (parent/"out").mkdir(parents=True)
    parent.chmod(0o555)
    try:
        fill(parent/"out", "a") # its own folder may be written
        with pytest.raises(InputError, match="Permission denied"): fill(parent/"other", "a")
    finally: parent.chmod(0o755)

def test_a_saved_file_is_whole_and_its_folder_is_made(tmp_path):
    save_text(tmp_path/"a"/"b"/"c.txt", "old")
    with pytest.raises(RuntimeError), saved_file(tmp_path/"a"/"b"/"c.txt") as new:
        new.write_text("ha")
        raise RuntimeError
    with pytest.raises(RuntimeError), saved_file(tmp_path/"d"/"c.txt"): raise RuntimeError
    assert [p.name for p in tmp_path.rglob("*")] == ["a", "b", "c.txt"] and (tmp_path/"a"/"b"/"c.txt").read_text() == "old\n"
    with pytest.raises(InputError, match="Is a directory"): save_text(tmp_path/"a", "x")

def test_a_source_goes_by_its_own_name(tmp_path, monkeypatch):
    (tmp_path/"teacher").mkdir()
    (tmp_path/"a.csv").write_text("x")
    monkeypatch.chdir(tmp_path/"teacher")
    names = {"..": tmp_path.name, ".": "teacher", str(tmp_path/"a.csv"): "a.csv", tmp_path/"teacher": "teacher"}
    assert {n: short_name(n) for n in names} == names
    assert all(short_name(n) == n for n in ("", "user/model", "x" * 300, "a\0b"))

@pytest.mark.parametrize("before", ["ours", "edited", "no mark"])
def test_what_is_rewritten_in_a_folder_of_ours_stays_ours(tmp_path, before):
    "A temperature that was fitted later made every load warn of a foreign change; somebody's own change is still told."
    (tmp_path/"config.json").write_text("{}")
    (tmp_path/"w.safetensors").write_bytes(bytes(9))
    if before != "no mark": mark_folder(tmp_path)
    if before == "edited": (tmp_path/"config.json").write_text('{"mine": 1}')
    rewrite(tmp_path/"config.json", '{"T": 2}')
    assert (tmp_path/"config.json").read_text() == '{"T": 2}\n' and changed_files(tmp_path) == ["config.json"] * (before == "edited")
    assert our_files(tmp_path) == dict(ours={"config.json", "w.safetensors"}, edited={"w.safetensors"}).get(before, set())

def test_what_was_made_and_stays_empty_goes_again(tmp_path):
    with pytest.raises(RuntimeError):
        with output_folder(tmp_path/"a"/"b"/"c"): raise RuntimeError
    with pytest.raises(KeyboardInterrupt):
        with output_folder(tmp_path/"a"): raise KeyboardInterrupt
    assert not (tmp_path/"a").exists() and not HELD

# Several processes

HOLD = """
import sys, time
from distill_nb.kit.folders import output_folder
from pathlib import Path
with output_folder(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""

def test_the_second_run_with_one_name_is_refused_at_once(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path/"o"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "held\n"
    with pytest.raises(InputError, match="another run writes to it"):
        with output_folder(tmp_path/"o"): pass
    other.kill()
    other.wait()
    with output_folder(tmp_path/"o"): # a killed run holds nothing
        child = os.fork() # and a worker of this one neither, when this one has gone
        if not child: os._exit(len(HELD))
        assert os.waitpid(child, 0)[1] == 0

PAIR = """
import os, sys, time, torch
from pathlib import Path
from distill_nb.kit.errors import InputError
from distill_nb.kit.files import once, world
from distill_nb.kit.folders import output_folder, whole_folder
out, rank = Path(sys.argv[1]), int(os.environ["RANK"])
def write():
    with whole_folder(out) as new:
        time.sleep(.3)
        (new/"config.json").write_text(str(rank))
    return once(lambda: sorted(p.name for p in out.iterdir()))[-1] # one inside of another
told = once(write)
assert (told, (out/"config.json").read_text()) == ("config.json", "0"), told # it stands when the others go on
def folder():
    with output_folder(out): pass
for wrong in (folder, lambda: once(lambda: 1 / 0)):
    try: wrong()
    except InputError as e: assert "is not empty" in str(e)
    except (ZeroDivisionError, RuntimeError) as e: assert "division by zero" in str(e)
    else: raise SystemExit(f"rank {rank} went on")
os.write(1, f"RANK {rank} fine\\n".encode()) # one write: the processes share the line
torch.distributed.barrier()
os._exit(0)
"""

def test_two_processes_one_writes(tmp_path):
    script = tmp_path/"pair.py"
    script.write_text(PAIR)
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", script, tmp_path/"o"],
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "RANK 0 fine" in done.stdout and "RANK 1 fine" in done.stdout, done.stdout + done.stderr

# A single file is replaced only if it is ours, and never is what a command reads

SPELLINGS = {"itself": lambda p: p, "a detour": lambda p: p.parent/"x"/".."/p.name, "a link": lambda p: linked(p, Path.symlink_to),
             "a hard link": lambda p: linked(p, Path.hardlink_to)}

def linked(path, link):
    other = path.parent.parent/f"other{path.suffix}"
    link(other, path)
    return other

@pytest.mark.parametrize("inside", [False, True], ids=["the file", "a file of the folder"])
@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("ours", [False, True])
def test_an_input_is_never_replaced(tmp_path, spelling, inside, ours):
    file = tmp_path/"task"/"train.csv"
    (tmp_path/"task"/"x").mkdir(parents=True)
    file.write_text("mine")
    if ours: mark_file(file) # we wrote it once: it is an input all the same
    out = SPELLINGS[spelling](file)
    if spelling == "a hard link" and inside: pytest.skip("a folder does not know its files' other names")
    with pytest.raises(InputError, match="is part of the input|is a link"): output_file(out, overwrite=True, inputs=[file.parent if inside else file])
    assert file.read_text() == "mine"

def test_a_new_file_inside_of_an_input_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="is part of the input"): output_file(tmp_path/"new.csv", inputs=[tmp_path])
    assert output_file(tmp_path/"new.csv", inputs=[None, "bshift", tmp_path/"no-such.csv"]).name == "new.csv"

def test_only_our_own_file_is_replaced(tmp_path):
    file = tmp_path/"t.csv"
    file.write_text("theirs")
    with pytest.raises(InputError, match="not as distill_nb wrote it"): output_file(file, overwrite=True)
    mark_file(file)
    assert output_file(file, overwrite=True) == file
    with pytest.raises(InputError, match="exists"): output_file(file)
    file.write_text("edited by hand")
    with pytest.raises(InputError, match="not as distill_nb wrote it"): output_file(file, overwrite=True)
    (tmp_path/"l.csv").symlink_to("nowhere.csv")
    with pytest.raises(InputError, match="is a link to"): output_file(tmp_path/"l.csv", overwrite=True)

def test_the_mark_of_a_file_makes_no_folder_ours(tmp_path):
    (tmp_path/"t.csv").write_text("a table of ours in somebody's folder")
    mark_file(tmp_path/"t.csv")
    with pytest.raises(InputError, match="holds no model of ours"):
        with output_folder(tmp_path, overwrite=True): pass
    assert (tmp_path/"t.csv").exists()

def test_a_home_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert output_file("~/new/t.csv") == tmp_path/"new"/"t.csv"
    with output_folder("~/s") as folder: assert folder == tmp_path/"s"

@pytest.mark.parametrize("rank, many, found", [("1", None, (0, 1)), ("1", "2", (1, 2)), (None, None, (0, 1)), ("x", None, None), ("", "2", None), ("-1", "2", None)])
def test_variables_that_torchrun_did_not_set(monkeypatch, rank, many, found):
    "A number that was left over makes no process silent, and what is no number is one sentence."
    from distill_nb.kit.files import world
    for name, value in (("RANK", rank), ("WORLD_SIZE", many)): monkeypatch.setenv(name, value) if value is not None else monkeypatch.delenv(name, raising=False)
    if found: assert world() == found
    else:
        with pytest.raises(InputError, match="expected whole numbers, as torchrun"): world()
