"Nothing grows with the steps or the rows; benchmarks/memory.py measures it at full size, and its numbers are committed."
import json, os, subprocess, sys
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parent.parent
linux = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")

def part(name, n):
    env = os.environ | dict(PYTHONPATH=f"{ROOT}:{os.environ.get('PYTHONPATH', '')}", OMP_NUM_THREADS="1")
    done = subprocess.run([sys.executable, "memory.py", "--part", name, "--n", str(n)], cwd=ROOT/"benchmarks", env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])

@linux
@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "words"])
def test_steps_do_not_grow(name):
    "A tensor of a batch that is kept each step would be some 10 MB by then."
    mb = part(name, 400)["mb"]
    assert mb["400"] - mb["200"] < 4, mb

@linux
@pytest.mark.slow
def test_rows_are_streamed():
    assert part("rows", 50_000)["grown"] < 20 # the file itself has 2.5 MB, a list of its texts some 8

@linux
@pytest.mark.slow
def test_a_text_of_a_megabyte_is_cut():
    found = part("long_text", 1_000_000)
    assert found["longest"] == 48 == found["corpus"] and found["grown"] < 600

def test_the_committed_numbers():
    rows = {r["part"]: r for r in json.loads((ROOT/"nbs/results/memory.json").read_text())["results"]}
    assert rows["rows"]["rows"] == 10_000_000 and rows["rows"]["grown"] < 100
    for name in ("train", "words"): assert rows[name]["steps"] == 10_000 and rows[name]["mb"]["10000"] - rows[name]["mb"]["1000"] < 5
    assert rows["long_text"]["longest"] == 48
