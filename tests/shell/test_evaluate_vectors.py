"Sentence embedders on the command line: scored by pairs as the recipe's report scores them, exported and shrunk with their pooling; bad input."
import json
import pandas as pd
import pytest
from transformers import AutoModel
from builders import WORDS, make_tokenizer
from families import build
from distill_nb.measure.report import Latency
from distill_nb.recipes.embedding import distil_embedding, pooling_of, sentence_files

TEXTS = [" ".join(WORDS[5 + int(d)] for d in f"{i:o}") for i in range(64, 128)]
PAIRS = pd.DataFrame(dict(text=TEXTS[:12], pair=TEXTS[1:13], label=[i * 7 % 12 for i in range(12)]))
FAST = dict(max_steps=2, per_device_train_batch_size=8, disable_tqdm=True, use_cpu=True, bf16=False, held_out=8, max_length=16)

@pytest.fixture(autouse=True)
def no_stopwatch(monkeypatch):
    monkeypatch.setattr("distill_nb.measure.report.latencies", lambda models, **kw: [Latency(1., 1, 32, 1, 1, "cpu", 1., 1., 1.)] * len(models))

@pytest.fixture
def teacher(tmp_path):
    build("bert", AutoModel, vocab_size=len(WORDS), pad_token_id=0).save_pretrained(tmp_path/"teacher")
    make_tokenizer().save_pretrained(tmp_path/"teacher")
    sentence_files(tmp_path/"teacher", 24, "cls", normalize=False, max_length=16)
    return tmp_path/"teacher"

@pytest.fixture
def pairs(tmp_path):
    PAIRS.to_csv(tmp_path/"pairs.csv", index=False)
    return tmp_path/"pairs.csv"

@pytest.mark.parametrize("layers", [2, 0])
def test_the_score_is_that_of_the_recipes_report(shell, teacher, pairs, tmp_path, layers):
    done = distil_embedding(TEXTS, teacher, layers, pairs=PAIRS, **FAST)
    done.save(tmp_path/"s")
    code, out, err = shell("evaluate", "--model", tmp_path/"s", "--task", pairs, "--json")
    assert code == 0 and "all rows, 12 labelled" in err, err
    want, found = done.report.rows[-1], json.loads(out)
    assert all(found[name] == pytest.approx(want[name], abs=1e-6) for name in ("spearman", "pearson"))

def test_other_columns_splits_and_rows_without_a_score(shell, teacher, tmp_path):
    (tmp_path/"d").mkdir()
    named = PAIRS.rename(columns=dict(text="a", pair="b", label="score"))
    for name, rows in dict(train=named, test=named.assign(score=[*range(9), "", "", ""])).items(): rows.to_csv(tmp_path/f"d/{name}.csv", index=False)
    columns = ["--text", "a", "--pair", "b", "--label", "score", "--model", teacher, "--task", tmp_path/"d"]
    for words, told in (([], "test split, 9 labelled"), (["--split", "train"], "train split, 12 labelled"), (["--split", "all"], "all rows, 21 labelled")):
        code, out, err = shell("evaluate", *columns, *words)
        assert code == 0 and told in out, err

def test_against_its_teacher(shell, teacher, pairs, tmp_path):
    distil_embedding(TEXTS, teacher, 2, **FAST).save(tmp_path/"s")
    said = {}
    for model in "teacher", "s":
        code, out, err = shell("evaluate", "--model", tmp_path/model, "--task", pairs, "--against", teacher, "--agree", ".7", "--json")
        assert code == 0, err
        said[model] = json.loads(out)
    assert said["teacher"]["likeness"] == pytest.approx(1) and said["s"]["likeness"] < 1
    trust = said["teacher"]["trust"]
    assert trust["numbers"]["agreement"] == 1 and trust["numbers"]["mae"] == pytest.approx(0, abs=1e-6) and "12 rows" in trust["sentence"]
    assert said["s"]["trust"]["numbers"]["mae"] > 0

@pytest.mark.parametrize("columns, words, message", [
    (["text", "label"], [], "no column 'pair' for pair"), (["text", "pair"], [], "no column 'label'"), ({"label": ["high"] * 12}, [], "label 'high'"),
    ({"label": [1, 2] + [""] * 10}, [], "2 pairs with columns"), ({}, ["--kind", "tags"], "--kind tags for a sentence embedder: expected pairs with scores"),
    ({}, ["--against", "t.csv"], "for a sentence embedder: expected a teacher's folder"), ({}, ["--against", "tuned"], "tuned: a model with a head"),
    ({}, ["--against", "teacher", "--calibrate"], "--calibrate for a sentence embedder"), ({}, ["--split", "validation"], "split 'validation'"),
    ({}, ["--task", "bshift"], "bshift: classification for a sentence embedder"), ({}, ["--against", "/no/model"], "/no/model")])
def test_what_is_refused(shell, teacher, tuned, tmp_path, columns, words, message):
    table = PAIRS.assign(**columns) if isinstance(columns, dict) else PAIRS[columns]
    table.to_csv(tmp_path/"t.csv", index=False)
    words = [tmp_path/w if (tmp_path/w).exists() else w for w in words]
    code, out, err = shell("evaluate", "--model", teacher, "--task", tmp_path/"t.csv", *words)
    errors = [l for l in err.splitlines() if l.startswith("distill_nb: ") and "note: " not in l]
    assert code == 2 and len(errors) == 1 and message in errors[0] and "Traceback" not in err, err

def test_shrunk_embedders_pool_as_before(shell, teacher, pairs, tmp_path):
    (tmp_path/"t.txt").write_text("\n".join(TEXTS))
    code, out, err = shell("shrink", teacher, "--texts", tmp_path/"t.txt", "--vocabulary", "--out", tmp_path/"small")
    assert code == 0 and pooling_of(tmp_path/"small") == ("cls", False), err
    scores = [json.loads(shell("evaluate", "--model", m, "--task", pairs, "--json")[1])["spearman"] for m in (teacher, tmp_path/"small")]
    assert scores[0] == pytest.approx(scores[1])

def test_exported_embedders_pool_as_before(shell, teacher, pairs, tmp_path):
    for package in "onnx", "onnxscript", "onnxruntime": pytest.importorskip(package)
    code, out, err = shell("export", teacher, "--task", pairs, "--no-timed", "--out", tmp_path/"o")
    assert code == 0 and "24 rows" in out and pooling_of(tmp_path/"o") == ("cls", False), err

def test_checkpoints_without_a_word_about_pooling_are_no_embedders(shell, headless, pairs):
    code, _, err = shell("evaluate", "--model", headless, "--task", pairs)
    assert code == 2 and "its head is untrained" in err
