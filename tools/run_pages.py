"""Run notebooks top to bottom in place and keep only outputs fit to be read: `make pages` or `python tools/run_pages.py NB ...`.

What is dropped: stderr, widget views (a dead slider on a page says nothing; its static twin stands beside it),
execution noise in the metadata. A cell that raises stops the run, and that notebook stays as it was.
"""
import os, sys, time, traceback
from pathlib import Path
from execnb.nbio import read_nb, write_nb
from execnb.shell import CaptureShell

WIDGET = "application/vnd.jupyter.widget-view+json"

def readable(output):
    "The output as it should be stored, or None where it says nothing to a reader."
    if output.get("name") == "stderr" or WIDGET in output.get("data", {}): return None
    if "execution_count" in output: output["execution_count"] = None  # else every run is a diff
    return output

def run(path):
    "Execute one notebook and store its clean outputs; the seconds it took."
    nb, start = read_nb(path), time.time()
    folder = os.getcwd()
    os.chdir(path.parent)
    try: CaptureShell(path=".").run_all(nb, exc_stop=True)
    except Exception: raise SystemExit(f"{path}: a cell failed; the notebook stays as it was\n{traceback.format_exc()}")
    finally: os.chdir(folder)
    for cell in (c for c in nb.cells if c.cell_type == "code"):
        cell.execution_count = None
        cell.metadata = {}
        cell.outputs = [o for o in map(readable, cell.get("outputs", [])) if o]
    write_nb(nb, path)
    return time.time() - start

if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    for path in map(Path, sys.argv[1:]): print(f"{run(path):6.1f} s  {path}", flush=True)
