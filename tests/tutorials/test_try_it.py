"The demo of the tutorial: small, whole, and in Chromium as in Python; without a runtime the site says so."
import importlib.util, json, os
from pathlib import Path
import pytest
from tokenizers import Tokenizer
from browser import CHROMIUM, EXPORTS, Browser
from distill_nb.deploy.page import PINNED, runtime_cache

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT/"nbs/demo"
RUNTIME = Path(os.environ.get("ONNXRUNTIME_WEB") or runtime_cache())
browses = pytest.mark.skipif(not (CHROMIUM and EXPORTS and all((RUNTIME/n).is_file() or (RUNTIME/"dist"/n).is_file() for n in PINNED)), reason="no chromium, no extra onnx, or no runtime")

@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("try_it", ROOT/"tools/try_it.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

def test_what_is_committed_is_small_and_learned_something():
    said = json.loads((DEMO/"demo.json").read_text())
    assert sum(p.stat().st_size for p in DEMO.rglob("*") if p.is_file()) < 8e6 and said["bytes"] == (DEMO/"student/model.onnx").stat().st_size
    assert said["accuracy"]["teacher"] > said["accuracy"]["small"] - .02 and said["accuracy"]["small"] > .5 and said["settings"]["epochs"] >= 5
    graph = (DEMO/"student/model.onnx").read_bytes()
    assert not [w for w in [b"site-packages", *(f"/{d}/".encode() for d in ("home", "work", "root", "tmp"))] if w in graph]
    assert {p.name for p in (DEMO/"student").iterdir()} == {"model.onnx", "config.json", "export.json", "tokenizer.json", "tokenizer_config.json"}

def test_the_small_tokenizer_spells_everything(tool):
    from distill_nb.teachers.load import load_tokenizer
    small, kept = tool.smaller(load_tokenizer(), ["a common sentence"], 2500)
    assert small.tokenize("a common sentence") == ["a", "common", "sentence"]
    pieces = small.tokenize("zebra")
    assert len(pieces) > 1 and "".join(p.removeprefix("##") for p in pieces) == "zebra" and small.unk_token not in pieces
    assert small("a").input_ids == [small.cls_token_id, small.convert_tokens_to_ids("a"), small.sep_token_id] and len(kept) <= 2500

def test_without_a_runtime_the_site_says_so(tool, tmp_path, capsys):
    tool.site(tmp_path/"demo", runtime=tmp_path)
    assert "no demo: runtime=" in capsys.readouterr().err and "distill_nb page nbs/demo/student" in (tmp_path/"demo/index.html").read_text()

@browses
def test_the_demo_answers_as_python_does(tool, tmp_path):
    import numpy as np, onnxruntime
    tool.site(tmp_path/"demo", runtime=RUNTIME)
    words, session = Tokenizer.from_file(str(DEMO/"student/tokenizer.json")), onnxruntime.InferenceSession(str(DEMO/"student/model.onnx"))
    words.no_padding()
    with Browser(1400, 1000) as b:
        b.open(f"file://{tmp_path/'demo/index.html'}")
        b.wait("document.body.dataset.ready === 'all'")
        found, said = b.run("PAGE.examples.map(e => e.student)"), json.loads((DEMO/"demo.json").read_text())["examples"]
        for z, e in zip(found, said):
            ids = words.encode(e["text"]).ids
            given = dict(input_ids=[ids], attention_mask=[[1] * len(ids)])
            want = session.run(None, {i.name: given[i.name] for i in session.get_inputs()})[0][0]
            p, q = (np.exp(x) / np.exp(x).sum() for x in (np.array(z), want))
            assert abs(p - q).max() < 1e-4
        if "PICTURES" in os.environ:
            b.wait("at('words').dataset.done")
            b.picture(Path(os.environ["PICTURES"])/"try-it.png")
