"Two operations are killed at a random moment and go on; benchmarks/kills.py does it with every long one, and its table is committed."
import json, os, subprocess, sys
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

@pytest.mark.slow
@pytest.mark.parametrize("operation", ["tinybert", "cache_teacher", "distil_words"])
def test_a_killed_command_goes_on_to_the_same_bits(operation, tmp_path):
    env = os.environ | dict(PYTHONPATH=f"{ROOT}:{os.environ.get('PYTHONPATH', '')}", OMP_NUM_THREADS="1", TMPDIR=str(tmp_path))
    words = ["kills.py", "--kills", "1", "--only", operation, "--seed", "5", "--results", str(tmp_path)]
    done = subprocess.run([sys.executable, *words], cwd=ROOT/"benchmarks", env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    row, = json.loads((tmp_path/"kills.json").read_text())["results"]
    assert row["equal"] and row["code"] == 0 and not row["left"] and not row["traceback"], row

def test_the_committed_table_has_every_operation_and_no_loss():
    text = (ROOT/"benchmarks/kills.py").read_text()
    rows = json.loads((ROOT/"nbs/results/kills.json").read_text())["results"]
    assert sum(len(r["kills"]) for r in rows) >= 20 and {k["signal"] for r in rows for k in r["kills"]} == {"SIGKILL", "SIGTERM", "SIGINT"}
    assert all(f'"{r["operation"]}":' in text for r in rows) and len({r["operation"] for r in rows}) >= 12
    assert not [r for r in rows if not r["equal"] or r["left"] or r["traceback"]]
