"""Our ONNX export beside sentence-transformers' own, of the same embedder: `python benchmarks/export_peer.py --peer PYTHON`.

PYTHON is an interpreter of another environment, because the exporter that sentence-transformers uses needs older packages than ours:
`python -m venv peer && peer/bin/pip install sentence-transformers==5.1.2 "optimum-onnx[onnxruntime]==0.1.0"`. There it writes its graph, the graph that
onnxruntime optimised for it, and its dynamic int8; all are then asked by the same onnxruntime, by turns: bytes of the file, milliseconds for 1 and 32 texts of
32 tokens with 1 and 2 threads, and the largest difference of a sentence's vector (mean, of length 1) from torch's. Writes nbs/results/export-peer.json.
"""
import statistics, subprocess, sys, time
from pathlib import Path
from tempfile import TemporaryDirectory
import numpy as np
import onnxruntime as ort
import torch
from transformers import AutoModel
import common
from distill_nb import __version__
from distill_nb.data.docstrings import docstrings
from distill_nb.deploy.export import write_graph
from distill_nb.teachers.load import default_teacher, load_tokenizer, DEFAULT_TEACHER

THEIRS = """import sys
from sentence_transformers import (
    SentenceTransformer, __version__, export_dynamic_quantized_onnx_model as int8, export_optimized_onnx_model as optimised)
model = SentenceTransformer(sys.argv[1], backend="onnx", device="cpu", model_kwargs=dict(export=True))
model.save_pretrained(sys.argv[2])
optimised(model, "O2", sys.argv[2])
int8(model, "avx512_vnni", sys.argv[2])
print(__version__)"""

def graphs(o, home):
    "Name -> file of every graph, and the peer's version."
    source, ours = default_teacher(), home/"ours"
    told = subprocess.run([o.peer, "-c", THEIRS, source, str(home/"theirs")], capture_output=True, text=True)
    if told.returncode: sys.exit(told.stderr[-2000:])
    made = home/"theirs"/"onnx"
    found = {"sentence-transformers": made/"model.onnx", "sentence-transformers, optimised (O2)": made/"model_O2.onnx",
             "sentence-transformers, int8": made/"model_qint8_avx512_vnni.onnx"}
    model, tok = AutoModel.from_pretrained(source, dtype=torch.float32).eval(), load_tokenizer(source)
    for name, how in {"ours": {}, "ours, int8": dict(int8=True), "ours, int8, embeddings too": dict(int8=True, embeddings=True)}.items():
        (ours/name).mkdir(parents=True)
        write_graph(model, tok, ours/name, **how)
        found[name] = ours/name/"model.onnx"
    return found, told.stdout.split()[-1], model, tok

def session(file, threads):
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

def vectors(states, mask):
    "Means (n, width) of the real tokens' states, of length 1."
    v = (states * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    return v / np.linalg.norm(v, axis=-1, keepdims=True)

def asked(run, batch):
    names = {i.name for i in run.get_inputs()}
    return run.run(["last_hidden_state"], {k: v for k, v in batch.items() if k in names})[0]

def times(found, tok, o):
    "Milliseconds of every graph by (threads, texts): the median and the 95th of 100."
    rng, took = np.random.default_rng(0), {name: [] for name in found}
    for threads in 1, 2:
        runs = {name: session(file, threads) for name, file in found.items()}
        for texts in 1, 32:
            ids = rng.integers(1000, len(tok), (texts, 32))
            batch = dict(input_ids=ids, attention_mask=np.ones_like(ids), token_type_ids=np.zeros_like(ids))
            each = {name: [] for name in runs}
            for i in range(o.repeats + 3):
                for name, run in [*runs.items()][::1 - 2 * (i % 2)]:
                    if threads > 1: time.sleep(.1) # the threads of the graph before spin for a while
                    begin = time.perf_counter()
                    asked(run, batch)
                    if i > 2: each[name].append(1e3 * (time.perf_counter() - begin))
            for name, ms in each.items():
                took[name].append(dict(threads=threads, texts=texts, ms=statistics.median(ms), p95=float(np.quantile(ms, .95))))
    return took

def rows(o):
    with TemporaryDirectory() as home:
        found, peer, model, tok = graphs(o, Path(home))
        texts = docstrings().sentence[:o.texts].tolist()
        batch = dict(tok(texts, padding=True, truncation=True, max_length=64, return_tensors="pt"))
        with torch.no_grad(): true = vectors(model(**batch).last_hidden_state.numpy(), batch["attention_mask"].numpy())
        took = times(found, tok, o)
        for name, file in found.items():
            v = vectors(asked(session(file, 2), {k: x.numpy() for k, x in batch.items()}), batch["attention_mask"].numpy())
            yield dict(graph=name, version=peer if name.startswith("sentence") else __version__, bytes=file.stat().st_size, difference=float(np.abs(v - true).max()), cosine=float((v * true).sum(-1).min()), times=took[name])

if __name__ == "__main__":
    p = common.parser(__doc__)
    p.add_argument("--peer", required=True, help="Python with sentence-transformers and optimum-onnx")
    p.add_argument("--texts", type=int, default=200, help="that vectors are compared on")
    p.add_argument("--repeats", type=int, default=40)
    common.options(p)
    o = p.parse_args()
    common.study(o, "export-peer.json", rows(o), model=DEFAULT_TEACHER, settings=common.settings(o, "peer"), onnxruntime=ort.__version__)
