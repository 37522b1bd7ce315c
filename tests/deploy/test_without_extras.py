"Without the packages of the extra onnx everything is imported, and one sentence says what to install."
import subprocess, sys

CODE = """import sys
class Never:
    def find_spec(self, name, *rest):
        if name.split(".")[0] in ("onnx", "onnxscript", "onnxruntime"): raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Never())
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name.startswith("onnx") else real(name, *rest)
import distill_nb.deploy, distill_nb.deploy.card, distill_nb.deploy.export
from distill_nb.shell.cli import main
sys.exit(main(["export", sys.argv[1], "--out", sys.argv[2]]))
"""
def test_without_the_extra(tuned, tmp_path):
    done = subprocess.run([sys.executable, "-c", CODE, tuned, tmp_path/"o"], capture_output=True, text=True)
    said = 'distill_nb: no package onnx, onnxscript, onnxruntime: expected what ONNX needs. pip install "distill_nb[onnx]".'
    assert done.returncode == 2 and done.stderr.strip().splitlines()[-1] == said, done.stderr
    assert not (tmp_path/"o").exists()
