"A few random cases for each reader; benchmarks/fuzz.py makes 20,000. What it found is a test of its kind here."
import importlib.util, json, sys, time
from pathlib import Path
import pytest
pytest.importorskip("hypothesis")
from distill_nb.kit.errors import InputError
from distill_nb.losses import LayerMap
from distill_nb.students.layers import check_layers, pick_layers

BENCHMARKS = Path(__file__).resolve().parent.parent/"benchmarks"
sys.path.insert(0, str(BENCHMARKS))
spec = importlib.util.spec_from_file_location("fuzz", BENCHMARKS/"fuzz.py")
fuzz = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fuzz)
sys.path.remove(str(BENCHMARKS))

@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_random_input_is_read_or_refused(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = fuzz.search(name, 12 if name in fuzz.SHARES else 25, 1)
    assert "failed" not in found and found["cases"] >= 10, found

def test_a_check_that_fails_is_found():
    "The fuzzer can fail: a reader with a fault is caught and its case is shrunk."
    strategy, _ = fuzz.TARGETS["layers"]
    def faulty(at, case): raise KeyError("a fault") if case[0] == 3 else InputError("refused")
    fuzz.TARGETS["faulty"] = strategy, faulty
    try: assert "KeyError" in fuzz.search("faulty", 200)["failed"]
    finally: del fuzz.TARGETS["faulty"]

@pytest.mark.parametrize("n", ["", None, "6", 2.5, -1, 0, [6], 10**9])
def test_a_teacher_of_no_number_of_blocks(n):
    for ask in (lambda: pick_layers(n, 1), lambda: check_layers(n, [0]), lambda: pick_layers(n, 1, [0])):
        with pytest.raises(InputError, match="blocks: expected 1 to 1,000"): ask()

@pytest.mark.parametrize("i", [{"x": "y" * 9999}, ["a"] * 999, "z" * 9999])
def test_a_message_is_short_whatever_was_given(i):
    with pytest.raises(InputError) as e: check_layers(4, [i])
    assert len(str(e.value)) < 200

@pytest.mark.parametrize("depths", [(10**12, 3), (3, 10**12), (10**12, 10**12)])
@pytest.mark.parametrize("ask", [lambda n, m: LayerMap(n, m), lambda n, m: pick_layers(n, m)])
def test_a_depth_that_no_model_has_is_refused_at_once(depths, ask):
    "The fuzzer waited for a map of 10**12 blocks for ever."
    with pytest.raises(InputError): ask(*depths)

def test_a_hang_is_found(monkeypatch):
    monkeypatch.setattr(fuzz, "SLOW", .2)
    fuzz.TARGETS["hanging"] = fuzz.TARGETS["layers"][0], lambda at, case: time.sleep(5)
    try: assert "it hangs" in fuzz.search("hanging", 2)["failed"]
    finally: del fuzz.TARGETS["hanging"]

def test_the_committed_run_is_whole():
    "Every target was tried, none failed, and none hung."
    rows = json.loads((BENCHMARKS.parent/"nbs/results/fuzz.json").read_text())["results"]
    assert [r["target"] for r in rows] == [*fuzz.TARGETS] and sum(r["cases"] for r in rows) >= 20_000
    assert not [r for r in rows if "failed" in r or r["slowest"] > fuzz.SLOW]
