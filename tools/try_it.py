"""Make the demo of nbs/tutorials/try_it.ipynb: `python tools/try_it.py` trains its student, `--site FOLDER` writes its page.

The task is `libraries`: which of eight installed packages does the first sentence of a docstring come from? The default teacher is fine-tuned on
it, and a BiLSTM learns its answers. Of the teacher's vocabulary the student keeps the tokens that training sentences use, and all single
characters, so every other word is still spelled. nbs/demo/ holds the exported student in int8 and demo.json: the scores, and the teacher's
recorded answers to some test sentences. `make docs` calls the second form; without onnxruntime-web it leaves a page that says so.
"""
import argparse, copy, json, shutil, sys
from collections import Counter
from pathlib import Path
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast
from distill_nb.data.load import load_task
from distill_nb.data.tokens import text_rows
from distill_nb.deploy.export import export_folder
from distill_nb.deploy.onnx import OnnxModel
from distill_nb.deploy.page import recorded, static_page
from distill_nb.kit.errors import InputError
from distill_nb.kit.files import MARK
from distill_nb.measure.report import machine
from distill_nb.measure.scores import evaluate
from distill_nb.recipes.bilstm import distil_bilstm

HOME = Path(__file__).resolve().parent.parent/"nbs/demo"

def smaller(tokenizer, texts, most):
    "The tokenizer with its special tokens, all characters and the most used tokens alone, and their old ids."
    spec, counts = json.loads(tokenizer.backend_tokenizer.to_str()), Counter()
    for ids in tokenizer([*texts])["input_ids"]: counts.update(ids)
    words = {i: w for w, i in tokenizer.get_vocab().items()}
    first = [*tokenizer.all_special_ids, *(i for i, w in words.items() if len(w.removeprefix("##")) == 1)]
    kept = [*dict.fromkeys([*sorted(set(tokenizer.all_special_ids)), *first, *(i for i, _ in counts.most_common())])][:most]
    new = {old: i for i, old in enumerate(kept)}
    spec["model"]["vocab"] = {words[old]: i for old, i in new.items()}
    for token in spec["added_tokens"]: token["id"] = new[token["id"]]
    for token in spec["post_processor"]["special_tokens"].values(): token["ids"] = [new[i] for i in token["ids"]]
    spec["padding"] = spec["truncation"] = None
    special = {k: v for k, v in tokenizer.special_tokens_map.items() if isinstance(v, str)}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(spec)), model_input_names=["input_ids", "attention_mask"], **special), kept

def cut(student, tokenizer, kept):
    "The student with the embeddings of the kept tokens alone."
    small, new = copy.deepcopy(student).cpu().eval(), {old: i for i, old in enumerate(kept)}
    old = small.get_input_embeddings()
    table = torch.nn.Embedding(len(kept), old.embedding_dim, padding_idx=None if old.padding_idx is None else new[old.padding_idx])
    table.weight.data = old.weight.data[kept].clone()
    small.set_input_embeddings(table)
    small.config.vocab_size, small.config.sep_token_id, small.config.pad_token_id = len(kept), tokenizer.sep_token_id, tokenizer.pad_token_id
    small.config.skipped_token_ids = sorted(new[i] for i in student.config.skipped_token_ids)
    return small

def made(o):
    "Train, cut, export; what demo.json says."
    task = load_task("libraries")
    sizes, how = dict(embedding_size=o.width, hidden_size=o.units), dict(disable_tqdm=True, seed=o.seed, max_length=48)
    done = distil_bilstm(task, student=sizes, baseline=False, teacher_settings=dict(num_train_epochs=o.teacher_epochs), num_train_epochs=o.epochs, **how)
    tokenizer, kept = smaller(done.tokenizer, task["train"]["text"], o.tokens)
    small, texts = cut(done.student, tokenizer, kept), task["test"]["text"]
    shutil.rmtree(HOME/"student", ignore_errors=True)  # without the mark it is nobody's, so it is not overwritten
    gate = export_folder(small, tokenizer, HOME/"student", text_rows(texts, tokenizer), int8=True, embeddings=True, timed=False, drop=.05)
    (HOME/"student"/MARK).unlink()
    def score(model, tok): return round(evaluate(model, task, tok)["accuracy"], 4)
    shown = [t for t in dict.fromkeys(texts) if 25 < len(t) < 90][:o.examples]
    return dict(
        task="Which package does the first sentence of a docstring come from?", classes=task.labels, rows={s: len(task[s]) for s in ("train", "test")},
        accuracy=dict(teacher=score(done.teacher, done.tokenizer), student=score(done.student, done.tokenizer), small=score(OnnxModel(HOME/"student"), tokenizer)),
        parameters=dict(teacher=done.teacher.num_parameters(), student=done.student.num_parameters(), small=small.num_parameters()),
        bytes=(HOME/"student/model.onnx").stat().st_size, agreement=gate.agreement, settings={k: v for k, v in vars(o).items() if k != "site"}, machine=machine(),
        sentences="First sentences of docstrings of the packages that are the classes; \"it\" stands for a package's own name.",
        examples=[dict(text=t, teacher=[round(x, 3) for x in z]) for t, z in zip(shown, recorded(done.teacher, done.tokenizer, shown, task.labels))])

WITHOUT = """<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>No demo</title>
<p>The demo was left out when this site was built, because onnxruntime-web was not there. Run <code>distill_nb page nbs/demo/student --out site</code>.</p></html>
"""

def site(out, runtime=None):
    "Write the demo's page into a folder; without the runtime one that says so."
    said = json.loads((HOME/"demo.json").read_text(encoding="utf-8"))
    texts, told = zip(*((e["text"], e["teacher"]) for e in said["examples"]))
    try: static_page(HOME/"student", out, texts, told, "all-MiniLM-L6-v2, fine-tuned", "Which package says this?", runtime=runtime, overwrite=True)
    except InputError as e:
        print(f"no demo: {e}", file=sys.stderr)
        Path(out).mkdir(parents=True, exist_ok=True)
        (Path(out)/"index.html").write_text(WITHOUT, encoding="utf-8")

def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--site", help="write the page into this folder, train nothing")
    for name, default in dict(seed=0, teacher_epochs=2., epochs=12., width=128, units=128, tokens=5000, examples=8).items():
        p.add_argument(f"--{name.replace('_', '-')}", default=default, type=type(default))
    o = p.parse_args()
    if o.site: return site(o.site)
    HOME.mkdir(exist_ok=True)
    (HOME/"demo.json").write_text(json.dumps(made(o), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

if __name__ == "__main__": main()
