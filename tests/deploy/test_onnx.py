"ONNX: every family and head as a graph, on batches of every size; int8; an environment without torch; bad input."
import json, os, subprocess, sys
from pathlib import Path
import pytest, torch
from builders import WORDS, bert, make_tokenizer
from families import EXTRA, build
from distill_nb.inside.inputs import model_inputs
from distill_nb.kit.errors import InputError
from distill_nb.students.bilstm import BiLstmConfig, BiLstmForSequenceClassification
from distill_nb.deploy.onnx import OPSET, OPSETS, OnnxModel, answers, quantize, to_onnx

onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
TEXTS = [["good"], ["good bad film", "dull"], ["very good film not bad", "good", "fine " * 9, ""]]

def greatest_gap(model, file, tok):
    "Largest difference of the graph's answers from the model's at real tokens, and the names of its outputs."
    session, worst = runtime.InferenceSession(str(file)), 0.
    for texts in TEXTS:
        rows = tok(texts, padding=True, return_tensors="pt")
        with torch.no_grad(): want = answers(model(**model_inputs(model, rows)))
        got = session.run(None, {i.name: rows[i.name].numpy() for i in session.get_inputs()})
        for x, y in zip(want.values(), got):
            gap = (x - torch.tensor(y)).abs()
            if gap.dim() > 1 and gap.shape[:2] == rows["input_ids"].shape: gap = gap[rows["attention_mask"].bool()]
            worst = max(worst, gap.max().item())
    return worst, [o.name for o in session.get_outputs()]

QUICK = ["bert", "modernbert", "deberta-v2"]
@pytest.mark.parametrize("family", [*EXTRA] if "ALL_FAMILIES" in os.environ else QUICK)
def test_families(family, tok, tmp_path):
    "ALL_FAMILIES=1 takes all twenty."
    model = build(family, num_hidden_layers=2)
    to_onnx(model, tok, tmp_path/"model.onnx")
    gap, names = greatest_gap(model, tmp_path/"model.onnx", tok)
    assert gap < 5e-5 and names == ["logits"]

def lstm(**sizes):
    torch.manual_seed(0)
    config = dict(vocab_size=len(WORDS), embedding_size=6, hidden_size=5, head_size=7, skipped_token_ids=[0, 2, 3], sep_token_id=3)
    return BiLstmForSequenceClassification(BiLstmConfig(**config | sizes))

@pytest.mark.parametrize("sizes", [dict(), dict(pairs=True), dict(num_hidden_layers=2)], ids=str)
def test_bilstm(sizes, tok, tmp_path):
    model = lstm(**sizes).train()
    model.head.eval() # whatever its modes, the graph is without dropout, and they are kept
    to_onnx(model, tok, tmp_path/"model.onnx")
    assert model.training and model.reader.training and not model.head.training
    gap, names = greatest_gap(model.eval(), tmp_path/"model.onnx", tok)
    assert gap < 1e-5 and names == ["logits"]
    quantize(tmp_path/"model.onnx", tmp_path/"int8.onnx", embeddings=True)
    assert greatest_gap(model, tmp_path/"int8.onnx", tok)[0] < .05

def test_half_precision_becomes_float32_and_stays_itself(tok, tmp_path):
    model = bert(1).bfloat16()
    to_onnx(model, tok, tmp_path/"model.onnx")
    assert model.dtype == torch.bfloat16
    assert greatest_gap(bert(1).bfloat16().float(), tmp_path/"model.onnx", tok)[0] < 1e-5

ALONE = """import sys
class Never:
    def find_spec(self, name, *rest):
        if name.split(".")[0] in ("torch", "transformers", "distill_nb", "datasets"): raise ImportError(name)
sys.meta_path.insert(0, Never())
import json, numpy as np, onnxruntime
from tokenizers import Tokenizer
"""
def test_the_page_s_lines_run_without_torch(tok, tmp_path):
    "The cell that the page shows, in a process where torch and transformers cannot be imported."
    page = json.loads((Path(__file__).parents[2]/"nbs/deploy/00_onnx.ipynb").read_text(encoding="utf-8"))
    source, = ["".join(c["source"]) for c in page["cells"] if "Tokenizer.from_file" in "".join(c["source"])]
    shown = source[source.index("words ="):source.index("p = prob")]
    assert len([l for l in shown.splitlines() if l.strip()]) < 20
    model = bert(1, id2label={0: "bad", 1: "good"}, label2id=dict(bad=0, good=1))
    tok.save_pretrained(tmp_path), model.config.save_pretrained(tmp_path)
    to_onnx(model, tok, tmp_path/"model.onnx")
    texts = ["never seen before", "good", "a very dull book not"]
    code = f"{ALONE}folder = {str(tmp_path)!r}\n{shown}\nprint(json.dumps(probabilities({texts}).tolist()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with torch.no_grad(): want = model(**tok(texts, padding=True, return_tensors="pt")).logits.softmax(-1)
    torch.testing.assert_close(torch.tensor(json.loads(done.stdout)), want, atol=1e-5, rtol=0)
    broken = subprocess.run([sys.executable, "-c", ALONE + "import torch"], capture_output=True, text=True)
    assert "ImportError: torch" in broken.stderr # the guard guards

def test_without_the_packages(tok, tmp_path, monkeypatch):
    monkeypatch.setattr("distill_nb.deploy.onnx.find_spec", lambda name: None)
    for call in (lambda: to_onnx(bert(1), tok, tmp_path/"a.onnx"), lambda: quantize("a", tmp_path/"b"), lambda: OnnxModel(tmp_path)):
        with pytest.raises(InputError, match=r'no package onnx.*: expected what ONNX needs. pip install "distill_nb\[onnx\]"'): call()
    assert not list(tmp_path.iterdir())

@pytest.mark.parametrize("opset", [0, 17, 24, 99])
def test_opsets(opset, tok, tmp_path):
    with pytest.raises(InputError, match=f"opset {opset}: expected 18 to 23"): to_onnx(bert(1), tok, tmp_path/"a.onnx", opset)
    assert not list(tmp_path.iterdir())

@pytest.mark.parametrize("opset", OPSETS)
def test_every_opset_in_float_and_int8(opset, tok, tmp_path):
    "Opset 23 has an attention of its own, which the quantiser took for another one."
    to_onnx(bert(1), tok, tmp_path/"a.onnx", opset)
    assert greatest_gap(bert(1), tmp_path/"a.onnx", tok)[0] < 1e-5
    quantize(tmp_path/"a.onnx", tmp_path/"b.onnx")
    assert greatest_gap(bert(1), tmp_path/"b.onnx", tok)[0] < .2

def test_the_default_opset_is_one():
    from inspect import signature
    from distill_nb.deploy.card import export_card
    from distill_nb.deploy.export import export_folder, write_graph
    from distill_nb.shell.export import EXPORT
    assert {signature(f).parameters["opset"].default for f in (to_onnx, write_graph, export_folder, export_card)} == {OPSET} == {EXPORT["opset"][0]}

def test_onnxruntime_joins_nothing_that_is_slower_joined(tok, tmp_path):
    "A sum and the layer norm after it stay two; GELU is one operation; attention is the plain one."
    import onnx, onnxruntime as ort
    to_onnx(bert(2), tok, tmp_path/"a.onnx")
    said = ort.SessionOptions()
    said.optimized_model_filepath = str(tmp_path/"b.onnx")
    ort.InferenceSession(str(tmp_path/"a.onnx"), said, providers=["CPUExecutionProvider"])
    found = {n.op_type for n in onnx.load(tmp_path/"b.onnx").graph.node}
    assert "LayerNormalization" in found and not found & {"SkipLayerNormalization", "Erf", "IsNaN"}, found

def test_nothing_of_the_machine_is_in_the_graph(tok, tmp_path):
    to_onnx(bert(1), tok, tmp_path/"a.onnx")
    data = (tmp_path/"a.onnx").read_bytes()
    assert b"site-packages" not in data and str(Path.cwd()).encode() not in data and b".py" not in data
    assert len(data) < 2 * sum(p.numel() * 4 for p in bert(1).parameters())

def test_runtimes_do_not_disturb_each_other(tok, tmp_path, monkeypatch):
    "The threads of a runtime spin before they sleep: there is a pause before a pass of another one, and only there."
    from distill_nb.measure import report
    model, paused = bert(1), []
    monkeypatch.setattr(report, "PAUSE", .001)
    monkeypatch.setattr(report.time, "sleep", paused.append)
    to_onnx(model, tok, tmp_path/"model.onnx")
    model.config.save_pretrained(tmp_path)
    graph = OnnxModel(tmp_path, 2)
    for models, threads, pauses in (([model, graph], 2, {.001}), ([model, graph], 1, {0}), ([model, model], 2, {0}), ([graph, graph], 2, {0})):
        paused.clear()
        report.latencies(models, threads=threads, warmup=0, repeats=2)
        assert {*paused} == pauses and len(paused) == 4
