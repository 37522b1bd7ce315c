"The recipe for sentence embedders: other families, folders that are saved, changed and loaded, and what it refuses."
import json
import numpy as np
import pandas as pd
import pytest, torch
from datasets import Dataset
from transformers import AutoConfig, AutoModel
from builders import WORDS, make_tokenizer
from families import build
from distill_nb.kit.errors import InputError
from distill_nb.measure.report import Latency
from distill_nb.measure.vectors import embed
from distill_nb.recipes.embedding import check_pairs, distil_embedding, pooling_of, sentence_files, vector_student
from distill_nb.teachers.load import load_pretrained

TEXTS = [" ".join(WORDS[5 + int(d)] for d in f"{i:o}") for i in range(64, 128)]
FAST = dict(max_steps=2, per_device_train_batch_size=8, disable_tqdm=True, use_cpu=True, bf16=False, held_out=8, max_length=16)

@pytest.fixture(autouse=True)
def no_stopwatch(monkeypatch):
    monkeypatch.setattr("distill_nb.measure.report.latencies", lambda models, **kw: [Latency(1., 1, 32, 1, 1, "cpu", 1., 1., 1.)] * len(models))

def saved(folder, family="bert", pool=None):
    tok = make_tokenizer()
    build(family, AutoModel, vocab_size=len(WORDS), pad_token_id=0).save_pretrained(folder)
    tok.save_pretrained(folder)
    if pool: sentence_files(folder, 24, pool, normalize=False)
    return folder

@pytest.mark.parametrize("family", ["roberta", "modernbert", "distilbert", "electra"])
@pytest.mark.parametrize("layers", [2, 0])
def test_families(tmp_path, family, layers):
    done = distil_embedding(TEXTS, saved(tmp_path/"teacher", family), layers, **FAST)
    done.save(tmp_path/"out")
    try: AutoConfig.from_pretrained(tmp_path/"out")
    except Exception as e: pytest.skip(f"this transformers cannot read a configuration that it wrote: {str(e)[:60]}")
    again = load_pretrained(AutoModel, tmp_path/"out")
    assert again.config.num_hidden_layers == layers
    assert torch.allclose(embed(again, TEXTS[:5], done.tokenizer), done.embed(TEXTS[:5]), atol=1e-5)

def test_the_teachers_pooling_goes_with_the_student(tmp_path):
    done = distil_embedding(TEXTS, saved(tmp_path/"teacher", pool="cls"), 2, **FAST)
    assert all(term.pool == "cls" for term in done.objective.terms)
    assert pooling_of(done.save(tmp_path/"out")) == ("cls", False)
    assert "sentence-similarity" in (tmp_path/"out/README.md").read_text()

def test_a_folder_is_overwritten_whole_and_only_if_unchanged(tmp_path):
    done = distil_embedding(TEXTS, saved(tmp_path/"teacher"), 2, **FAST)
    out = done.save(tmp_path/"out")
    with pytest.raises(InputError, match="is not empty"): done.save(out)
    done.save(out, overwrite=True)
    file = out/"1_Pooling/config.json"
    assert json.loads(file.read_text())["pooling_mode_mean_tokens"] is True
    file.write_text("{}")
    with pytest.raises(InputError, match="1_Pooling changed"): done.save(out, overwrite=True)
    assert file.read_text() == "{}"

def test_the_same_seed_gives_the_same_student(tmp_path):
    folder = saved(tmp_path/"teacher")
    a, b = [distil_embedding(TEXTS, folder, 2, seed=3, **FAST).embed(TEXTS) for _ in range(2)]
    assert torch.equal(a, b)

def test_peoples_scores_stand_in_the_report(tmp_path):
    pairs = pd.DataFrame(dict(text=TEXTS[:6], pair=TEXTS[1:7], label=range(6)))
    done = distil_embedding(TEXTS, saved(tmp_path/"teacher"), 2, pairs=pairs, **FAST)
    assert done.report.metric == "spearman"
    assert all({"likeness", "spearman", "pearson"} <= {*row} for row in done.report.rows)

@pytest.mark.parametrize("wrong, said", [
    (dict(layers=9), "9 student layers: expected 1 to the teacher's 4"), (dict(layers=2, width=4), "width=4 with layers=2"),
    (dict(layers=0, width=99), "width=99"), (dict(held_out=60), "60 of them held out"), (dict(texts=["a"] * 99), "1 different texts"),
    (dict(pairs=pd.DataFrame(dict(text=["a"]))), "1 pairs with columns"), (dict(max_length=999), "max_length=999")])
def test_what_is_refused(tmp_path, wrong, said):
    how = {**FAST, "texts": TEXTS, "layers": 2} | wrong
    with pytest.raises(InputError, match=said): distil_embedding(teacher=saved(tmp_path/"teacher"), **how)

@pytest.mark.parametrize("texts", ["corpus.txt", dict(text=TEXTS), pd.DataFrame(dict(text=TEXTS)), Dataset.from_dict(dict(text=TEXTS))], ids=["file", "dict", "frame", "data"])
def test_a_table_or_a_file_is_no_list_of_texts(tmp_path, texts):
    with pytest.raises(InputError, match=f"texts of type {type(texts).__name__}: expected a list"): distil_embedding(texts, saved(tmp_path/"teacher"), 2, **FAST)

def test_texts_of_an_iterator_are_learnt_from(tmp_path):
    "The look before the run must not use them up."
    same = [distil_embedding(texts, saved(tmp_path/"teacher"), 2, **FAST | dict(held_out=np.int64(8))).embed(TEXTS) for texts in (TEXTS, iter(TEXTS))]
    assert torch.equal(*same)

PAIRS = pd.DataFrame(dict(text=TEXTS[:6], pair=TEXTS[1:7], label=range(6)))

@pytest.mark.parametrize("form", [lambda p: p, Dataset.from_pandas, lambda p: p.to_dict("records"), lambda p: p.to_dict("list")])
def test_whatever_holds_pairs(form): assert check_pairs(form(PAIRS)).label.tolist() == [*range(6)]

@pytest.mark.parametrize("pairs, said", [(PAIRS.assign(text=[None] * 6), "a text of pairs .None."), (PAIRS.assign(pair=[" "] * 6), "a text of pairs .' '."), ("pairs.csv", "pairs: str 'pairs.csv': expected a data frame")])
def test_pairs_without_texts_are_refused(pairs, said):
    with pytest.raises(InputError, match=said): check_pairs(pairs)

@pytest.mark.parametrize("text, said", [("{", "modules.json .*: expected JSON"), ('[{"idx": 0}]', "a step .'None'.")])
def test_a_damaged_list_of_steps_is_refused(tmp_path, text, said):
    sentence_files(tmp_path, 24)
    (tmp_path/"modules.json").write_text(text)
    with pytest.raises(InputError, match=said): pooling_of(tmp_path)

def test_a_step_that_cannot_be_repeated_is_refused(tmp_path):
    sentence_files(tmp_path, 24)
    file = tmp_path/"modules.json"
    file.write_text(file.read_text().replace("models.Normalize", "models.Dense"))
    with pytest.raises(InputError, match="a step .'Dense'."): pooling_of(tmp_path)

def test_sentence_transformers_gives_the_same_vectors(tmp_path):
    st = pytest.importorskip("sentence_transformers")
    for layers in (0, 2):
        done = distil_embedding(TEXTS, saved(tmp_path/f"teacher{layers}"), layers, **FAST)
        out = done.save(tmp_path/f"out{layers}")
        theirs = st.SentenceTransformer(str(out), device="cpu").encode(TEXTS[:5], convert_to_tensor=True)
        wide = torch.nn.functional.normalize(theirs, dim=-1) # a teacher without modules.json: as it is
        assert torch.allclose(wide, done.embed(TEXTS[:5]), atol=1e-5)
