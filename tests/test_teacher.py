"Sweeps behind nbs/17_teacher.ipynb: what a folder knows, heads that fit, and folders that cannot be loaded."
import warnings
import pandas as pd
import pytest, torch
from transformers import AutoModelForSequenceClassification, BertConfig, DistilBertConfig, RobertaConfig
from distill_nb.data import make_task
from distill_nb.errors import InputError
from distill_nb.teacher import (check_files, check_labels, head_config, learn_characters, load_teacher, load_tokenizer,
                                match_labels, sha256)

TINY = dict(vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, hidden_dim=24,
            max_position_embeddings=20)
FAMILIES = [BertConfig, RobertaConfig, DistilBertConfig]

def task(labels=("bad", "good")):
    return make_task("films", dict(train=pd.DataFrame(dict(text=[f"film {i}" for i in range(30)],
                                                           label=[labels[i % len(labels)] for i in range(30)]))))
SCORES = [i / 8 for i in range(30)]

def saved(folder, family=BertConfig, head=True, **settings):
    "A tiny teacher in a folder, with or without a trained head."
    model = AutoModelForSequenceClassification.from_config(family(**TINY | settings))
    (model if head else model.base_model).save_pretrained(folder)
    return folder

@pytest.mark.parametrize("family", FAMILIES)
def test_a_trained_head_is_known_and_kept(family, tmp_path):
    films = task()
    saved(tmp_path, family, **head_config(films))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one, two = load_teacher(tmp_path, films), load_teacher(tmp_path)
    assert one.knows_task and two.knows_task
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters()))

@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("labels", [("bad", "good"), ("a", "b", "c"), SCORES], ids=["2", "3", "scores"])
def test_a_new_head_fits_the_task(family, labels, tmp_path):
    films = task(labels)
    teacher = load_teacher(saved(tmp_path, family, head=False), films)
    assert not teacher.knows_task and teacher.config.num_labels == films.n_outputs
    assert match_labels(films, teacher) is films
    if films.labels: assert list(teacher.config.id2label.values()) == films.labels
    else: assert teacher.config.problem_type == "regression"

def test_the_heads_order_wins(tmp_path):
    films = task()
    names = dict(id2label={0: "good", 1: "bad"}, label2id={"good": 0, "bad": 1})
    matched = match_labels(films, load_teacher(saved(tmp_path, **names), films))
    assert matched.labels == ["good", "bad"]
    assert [1 - y for y in matched["train"]["label"]] == films["train"]["label"][:]

@pytest.mark.parametrize("settings, labels, message", [
    (dict(num_labels=3), ("bad", "good"), r"head has 3 outputs: expected the classes \['bad', 'good'\]"),
    (dict(num_labels=2), SCORES, "head has 2 outputs: expected one output"),
    (dict(id2label={0: "no", 1: "yes"}), ("bad", "good"), r"head has the classes \['no', 'yes'\].*Rename the labels"),
])
def test_other_labels_are_refused(settings, labels, message, tmp_path):
    with pytest.raises(InputError, match=message): load_teacher(saved(tmp_path, **settings), task(labels))

def test_a_head_without_names_is_taken_in_order():
    with pytest.warns(UserWarning, match=r"does not name its classes: taken to be \['bad', 'good'\]"):
        check_labels(BertConfig(num_labels=2), task())

def without_config(folder): (folder/"config.json").unlink()
def without_weights(folder): (folder/"model.safetensors").unlink()
def half_the_weights(folder):
    file = folder/"model.safetensors"
    file.write_bytes(file.read_bytes()[:200])
def broken_config(folder): (folder/"config.json").write_text("{")
def of_no_family(folder): (folder/"config.json").write_text("{}")

@pytest.mark.parametrize("spoil, message", [
    (without_config, "no config.json"), (without_weights, "no weights: expected model.safetensors"),
    (half_the_weights, "cannot be loaded"), (broken_config, "cannot be loaded"), (of_no_family, "cannot be loaded")])
def test_spoilt_folders_are_refused_in_one_line(spoil, message, tmp_path):
    spoil(saved(tmp_path))
    with pytest.raises(InputError, match=message) as caught: load_teacher(tmp_path)
    assert "\n" not in str(caught.value)

@pytest.mark.parametrize("load", [load_teacher, load_tokenizer])
def test_unknown_names_are_refused(load, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="no-one/nothing: cannot be loaded"): load("no-one/nothing")

def test_other_bytes_are_refused(tmp_path):
    (tmp_path/"abc").write_bytes(b"abc")
    check_files(tmp_path, {"abc": sha256(tmp_path/"abc")})
    (tmp_path/"abc").write_bytes(b"abd")
    with pytest.raises(InputError, match="abc has sha256"): check_files(tmp_path, {"abc": "ba7816bf" * 8})

CHINESE = [f"{a}部{b}很{c}" for a in "这那" for b in "影书片" for c in "好差新旧长"]

def test_unknown_characters_get_tokens_of_their_own(tok, tmp_path):
    "In an order that does not change from start to start; saved with the tokenizer; the student has them too."
    from conftest import bert
    from distill_nb.student import init_student
    films = make_task("films", dict(train=pd.DataFrame(dict(text=CHINESE, label=["a", "b", "c"] * 10))))
    tokenizer, teacher = type(tok)(tokenizer_object=tok._tokenizer.__class__.from_str(tok._tokenizer.to_str()),
                                   **tok.special_tokens_map), bert()
    teacher.knows_task = False
    with pytest.warns(UserWarning, match="characters were added"): new = learn_characters(tokenizer, teacher, films)
    assert new == sorted(new) and set("这很好") <= set(new)
    assert teacher.config.vocab_size == len(tokenizer) == init_student(teacher, [0]).config.vocab_size
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(tmp_path).tokenize("这部片很好") == list("这部片很好")

def test_a_tuned_teacher_keeps_its_vocabulary(tok):
    from conftest import bert
    films = make_task("films", dict(train=pd.DataFrame(dict(text=CHINESE, label=["a", "b", "c"] * 10))))
    teacher = bert()
    teacher.knows_task = True
    assert learn_characters(tok, teacher, films) == []
