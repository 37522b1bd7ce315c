"Sweeps behind nbs/teachers/00_load.ipynb: what a folder knows, heads that fit, and folders that cannot be loaded."
import copy
import json
import math
import pickle
import warnings
import pandas as pd
import pytest, torch
from safetensors.torch import load_file, save_file
from transformers import (AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoModelForTokenClassification,
                          BertConfig, DistilBertConfig, RobertaConfig)
from builders import bert, make_tokenizer
from families import EXTRA, V, build
from distill_nb.words.head import knows_words, load_masked_lm
from distill_nb.kit.files import file_digest
from distill_nb.kit.model_folders import check_config
from distill_nb.teachers.load import (
    knows_task, check_files, learn_characters, load_teacher, load_tokenizer)
from distill_nb.data.classes import check_labels, head_config, head_names, match_labels
from distill_nb.kit.models import note, check_tokenizer_fits, longest
from distill_nb.inside.capture import trace
from distill_nb.data.tasks import make_task
from distill_nb.students.distilbert import to_distilbert
from distill_nb.kit.errors import InputError
from distill_nb.measure.scores import evaluate
from distill_nb.students.narrow import narrow_student
from distill_nb.recipes.base import set_up
from distill_nb.students.copied import init_student

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
    assert knows_task(one) and knows_task(two)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters()))

@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("labels", [("bad", "good"), ("a", "b", "c"), SCORES], ids=["2", "3", "scores"])
def test_a_new_head_fits_the_task(family, labels, tmp_path):
    films = task(labels)
    teacher = load_teacher(saved(tmp_path, family, head=False), films)
    assert not knows_task(teacher) and teacher.config.num_labels == films.n_outputs
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

def test_other_kinds_of_heads_are_refused():
    films, stars = task(), task(SCORES)
    for kind, given, message in (("multi_label_classification", films, "head of several labels per text"), ("regression", films, "problem_type='regression'"),
                                 ("multi_label_classification", stars, "head of several labels")):
        n = given.n_outputs
        with pytest.raises(InputError, match=message) as caught: check_labels(BertConfig(num_labels=n, problem_type=kind), given)
        assert "\n" not in str(caught.value)

@pytest.mark.parametrize("said, message", [
    (dict(id2label={1: "bad", 2: "good"}), "a name for each id from 0 on"), (dict(id2label={0: "bad", 1: "bad"}), "each once"),
    (dict(id2label={0: "bad", 1: "good"}, label2id={"bad": 1, "good": 0}), "the same in both")])
def test_names_that_contradict_themselves_are_refused(said, message):
    with pytest.raises(InputError, match=message): head_names(BertConfig(**said))

def test_placeholders_are_names_where_the_data_use_them():
    "By alphabet LABEL_10 comes before LABEL_2; the head counts."
    names = [f"LABEL_{i}" for i in range(12)]
    many = task(names)
    assert many.labels == sorted(names) != names
    matched = match_labels(many, bert(num_labels=12))
    assert matched.labels == names and [int(t.split()[1]) % 12 for t in matched["train"]["text"]] == matched["train"]["label"]

@pytest.mark.parametrize("labels", [("bad", "good"), ("a", "b", "c", "")])
def test_relabelled_rows_keep_their_class_and_their_lack_of_one(labels):
    films = task(labels)
    turned = films.relabel(films.labels[::-1])
    def named(t, split): return [t.labels[y] if y >= 0 else None for y in t[split]["label"]]
    for split in films.splits: assert named(films, split) == named(turned, split)
    with pytest.raises(InputError, match="each once"): films.relabel(films.labels + films.labels[:1])
    stars = task(SCORES)
    assert stars.relabel(["any"]) is stars

def test_the_same_model_scores_the_same_in_any_order_of_its_classes(tok):
    "In Python too: `evaluate` matches classes by name, and refuses others."
    films = task()
    one = bert(initializer_range=.3, id2label={0: "bad", 1: "good"}, label2id={"bad": 0, "good": 1})
    two = copy.deepcopy(one)
    two.config.id2label, two.config.label2id = {0: "good", 1: "bad"}, {"good": 0, "bad": 1}
    with torch.no_grad():
        for p in two.classifier.parameters(): p.copy_(p.flip(0))
    assert evaluate(one, films, tok) | dict(f1=0) == evaluate(two, films, tok) | dict(f1=0) # f1 is that of the last class
    two.config.id2label, two.config.label2id = {0: "yes", 1: "no"}, {"yes": 0, "no": 1}
    with pytest.raises(InputError, match=r"the classes \['yes', 'no'\]"): evaluate(two, films, tok)

def test_a_head_without_names_is_taken_in_order():
    with pytest.warns(UserWarning, match=r"does not name its classes: taken to be \['bad', 'good'\]"):
        check_labels(BertConfig(num_labels=2), task())

# What is trained has float32 weights

HALVES = [torch.float16, torch.bfloat16, torch.float64]

def stored(folder, dtype, head=None):
    "A checkpoint of these numbers: an encoder, or with a head."
    model = (head or AutoModel).from_config(BertConfig(**TINY)).to(dtype)
    model.save_pretrained(folder)
    return model

@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("head", [None, AutoModelForSequenceClassification, AutoModelForMaskedLM], ids=["base", "head", "words"])
def test_a_checkpoint_is_loaded_in_float32(dtype, head, tmp_path):
    model = stored(tmp_path, dtype, head)
    loaded = [load_masked_lm(tmp_path), load_teacher(tmp_path, None if head is AutoModelForSequenceClassification else task())]
    for m in loaded:
        assert {p.dtype for p in m.parameters()} == {torch.float32}
        assert torch.equal(m.get_input_embeddings().weight, model.get_input_embeddings().weight.float())
        m.save_pretrained(tmp_path/"again")
        assert json.loads((tmp_path/"again/config.json").read_text())["dtype"] == "float32"

@pytest.mark.parametrize("dtype", HALVES[:2])
@pytest.mark.parametrize("make", [lambda t: init_student(t, [0]), lambda t: to_distilbert(t, [0]), lambda t: narrow_student(t, [0], 8, 2, 12),
                                  lambda t: narrow_student(t, [0], 8, 2, 12, start="svd")], ids=["layers", "distilbert", "slice", "svd"])
def test_a_small_teachers_student_is_float32(dtype, make):
    "Of a teacher given as an object, which may answer in half precision."
    teacher = AutoModelForSequenceClassification.from_config(BertConfig(**TINY)).to(dtype)
    student = make(teacher)
    assert {p.dtype for p in student.parameters()} == {torch.float32} and teacher.dtype == dtype
    assert student(torch.tensor([[5, 6]])).logits.isfinite().all()

# Did the weights arrive?

def renamed(f):
    def spoil(folder):
        tensors = load_file(folder/"model.safetensors")
        save_file({f(n): x for n, x in tensors.items() if f(n)}, folder/"model.safetensors", metadata={"format": "pt"})
    return spoil
def as_bin(**kinds):
    def spoil(folder):
        tensors = load_file(folder/"model.safetensors")
        (folder/"model.safetensors").unlink()
        torch.save({k: tensors for k in kinds} if kinds else tensors, folder/"pytorch_model.bin")
    return spoil
def said(**fields):
    def spoil(folder):
        file = folder/"config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | fields))
    return spoil
def of_another_family(folder): RobertaConfig(**TINY | dict(max_position_embeddings=22)).save_pretrained(folder)
def a_flipped_letter(name): return name.replace("layer.1.output.dense.bias", "layer.1.output.dense.bhas")
def with_number(value):
    def spoil(folder):
        tensors = load_file(folder/"model.safetensors")
        next(x for n, x in tensors.items() if n.endswith("word_embeddings.weight"))[49, 3] = value # of a word that no text has
        save_file(tensors, folder/"model.safetensors", metadata={"format": "pt"})
    return spoil

WRAPPED = "module.", "_orig_mod.", "model.", "base_model.model.", "_forward_module.", "student."
NOT_HERE = {f"prefix {p}": (renamed(lambda n, p=p: p + n), rf"lacks \d+ tensors of the encoder \(bert\.emb.*holds {p}") for p in WRAPPED} | {
    "half of its blocks": (renamed(lambda n: "layer.1." not in n and n), r"\(bert\.encoder\.layer\.1\."),
    "no embeddings": (renamed(lambda n: "word_embeddings" not in n and n), r"lacks 1 tensor .*word_embeddings"),
    "a flipped letter": (renamed(a_flipped_letter), r"lacks 1 tensor .*layer\.1\.output\.dense\.bias.*holds .*bhas"),
    "nested": (as_bin(state_dict=1), "lacks .*|cannot be loaded"), "nested twice": (as_bin(model=1, ema=1), "lacks .*|cannot be loaded"),
    "another family": (of_another_family, "lacks .* tensors|in the file: expected"), "a block too many": (said(num_hidden_layers=3), r"layer\.2\."),
    "a block too few": (said(num_hidden_layers=1), r"holds 16 tensors .*layer\.1\..* no place: expected 1 blocks"),
    "other words": (said(vocab_size=99), r"word_embeddings\.weight is \(50, 16\) in the file: expected \(99, 16\)"),
    "very many words": (said(vocab_size=10**11), r"word_embeddings\.weight is \(50, 16\) in the file"),
    "wider": (said(hidden_size=18), r" in the file: expected"), "NaN": (with_number(math.nan), "NaN or infinite weights in bert.embeddings.word"),
    "infinity": (with_number(-math.inf), "NaN or infinite weights"), "NaN from a norm": (said(layer_norm_eps=-5.), "answers .* with NaN")}

@pytest.mark.parametrize("head", [None, AutoModelForSequenceClassification, AutoModelForMaskedLM], ids=["base", "head", "words"])
@pytest.mark.parametrize("case", NOT_HERE)
def test_weights_that_did_not_arrive_are_refused(case, head, tmp_path):
    spoil, message = NOT_HERE[case]
    stored(tmp_path, torch.float32, head)
    if head is None: message = message.replace(r"holds .*bhas", r"holds encoder.*bhas")
    spoil(tmp_path)
    for load in load_teacher, load_masked_lm:
        with pytest.raises(InputError, match=message) as caught: load(tmp_path)
        assert "\n" not in str(caught.value) and str(caught.value).startswith(str(tmp_path))

@pytest.mark.parametrize("family", EXTRA)
@pytest.mark.filterwarnings("ignore")
def test_a_head_may_be_new_in_every_family(family, tmp_path):
    "Encoders and language models get a new head, taggers and classifiers keep theirs; what is missing is the head's, and a strange prefix is noticed."
    def made(head):
        try: return build(family, head)
        except ValueError: return None # no such class
    for model in filter(None, map(made, (AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoModelForTokenClassification))):
        model.save_pretrained(tmp_path)
        whole = type(model).__name__.endswith(("SequenceClassification", "TokenClassification"))
        teacher = load_teacher(tmp_path)
        assert knows_task(teacher) == whole
        mine, its = teacher.base_model.state_dict(), model.base_model.state_dict()
        assert all(torch.equal(mine[n], its[n]) for n in mine if "pooler" not in n)
        if made(AutoModelForMaskedLM): assert knows_words(load_masked_lm(tmp_path)) == ("LM" in type(model).__name__[5:])
        renamed(lambda n: f"wrapped.{n}")(tmp_path)
        with pytest.raises(InputError, match="tensors of the encoder"): load_teacher(tmp_path)

def test_a_head_that_arrived_in_part_is_new(tmp_path):
    saved(tmp_path, **head_config(task()))
    renamed(lambda n: n != "classifier.weight" and n)(tmp_path)
    three = task(("a", "b", "c"))
    assert not knows_task(load_teacher(tmp_path)) and load_teacher(tmp_path, three).config.num_labels == 3

def test_foreign_code_is_not_handed_on(tmp_path):
    "auto_map of a config.json would be in the student's, and run where somebody trusts that one."
    said(auto_map={"AutoModel": "evil.Evil"}, return_dict=False)(saved(tmp_path/"t"))
    teacher = load_teacher(tmp_path/"t")
    init_student(teacher, [0]).save_pretrained(tmp_path/"s")
    assert "auto_map" not in (tmp_path/"s/config.json").read_text()
    assert trace(teacher, dict(input_ids=torch.tensor([[5]]))).logits.shape == (1, 2) # and answers have names again

# What cannot be read

def without_config(folder): (folder/"config.json").unlink()
def without_weights(folder): (folder/"model.safetensors").unlink()
def half_the_weights(folder):
    file = folder/"model.safetensors"
    file.write_bytes(file.read_bytes()[:200])
def broken_config(folder): (folder/"config.json").write_text("{")
def of_no_family(folder): (folder/"config.json").write_text("{}")
class Bomb:
    def __reduce__(self): return (pytest.fail, ("code of a checkpoint ran",))
def a_pickle(folder):
    (folder/"model.safetensors").unlink()
    torch.save(dict(a=Bomb()), folder/"pytorch_model.bin")
def a_whole_model(folder):
    (folder/"model.safetensors").unlink()
    torch.save(bert(2), folder/"pytorch_model.bin")
def a_raw_pickle(folder):
    (folder/"model.safetensors").unlink()
    (folder/"pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
def a_cut_bin(folder):
    as_bin()(folder)
    (folder/"pytorch_model.bin").write_bytes((folder/"pytorch_model.bin").read_bytes()[:2000])
def written(name, content, weights=True):
    def spoil(folder):
        if not weights: (folder/"model.safetensors").unlink()
        (folder/name).write_bytes(content)
    return spoil
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 440449768\n"
INDEX = "model.safetensors.index.json"

UNREADABLE = {"no config": (without_config, "no config.json"), "no weights": (without_weights, "no weights: expected model.safetensors"),
    "half": (half_the_weights, "cannot be loaded"), "broken": (broken_config, "cannot be loaded"), "no family": (of_no_family, "cannot be loaded"),
    "pickle": (a_pickle, "cannot be loaded .*more than tensors could run code"), "raw pickle": (a_raw_pickle, "could run code"),
    "a whole model": (a_whole_model, "could run code"), "cut bin": (a_cut_bin, "cannot be loaded"), "empty": (written("model.safetensors", b""), "cannot be loaded"),
    "lfs safetensors": (written("model.safetensors", LFS), "model.safetensors is a pointer of git-lfs: expected .* Run git lfs pull"),
    "lfs bin": (written("pytorch_model.bin", LFS, False), "pytorch_model.bin is a pointer of git-lfs"), "lfs config": (written("config.json", LFS), "config.json is a pointer"),
    "lfs tokenizer": (written("tokenizer.json", LFS), "tokenizer.json is a pointer"), "cut index": (written(INDEX, b'{"weight_map": {"a', False), "cannot be loaded"),
    "index of nothing": (written(INDEX, b'{"metadata": {}, "weight_map": {"a": "model-00001.safetensors"}}', False), "cannot be loaded"),
    "index without a map": (written(INDEX, b"{}", False), "cannot be loaded"), "a list": (written("config.json", b"[]"), "cannot be loaded"),
    "kernel": (said(attn_implementation="somebody/kernel"), "attn_implementation 'somebody/kernel': expected 'sdpa' or 'eager'"),
    "flash": (said(_attn_implementation="flash_attention_3"), "expected 'sdpa' or 'eager'"), "kernels": (said(attn_implementation={"": "a/b"}), "expected 'sdpa'")}

@pytest.mark.parametrize("case", UNREADABLE)
def test_spoilt_folders_are_refused_in_one_line(case, tmp_path):
    spoil, message = UNREADABLE[case]
    spoil(saved(tmp_path))
    with pytest.raises(InputError, match=message) as caught: load_teacher(tmp_path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500

ODD = [-1, 0, 10**12, "x", None, [], {}, math.nan, math.inf, True, {"1": "a", "2": "b"}, {"0": "a", "1": "a"}, {"0": None}]

@pytest.mark.parametrize("value", ODD, ids=str)
def test_no_value_in_a_config_leads_to_a_traceback(value, tmp_path):
    "Each field in turn: the model loads and answers with numbers, or one sentence says why not, soon."
    saved(tmp_path)
    fields = json.loads((tmp_path/"config.json").read_text()) | dict(id2label={"0": "a", "1": "b"}, problem_type=None, num_labels=2, attn_implementation=None)
    for field in fields:
        (tmp_path/"config.json").write_text(json.dumps(fields | {field: value}))
        try: teacher = load_teacher(tmp_path)
        except InputError as e: assert "\n" not in str(e)
        else: assert teacher(torch.tensor([[5, 6]])).logits.isfinite().all() and not (isinstance(value, float) and not math.isfinite(value))

def test_numbers_are_checked_wherever_they_stand():
    check_config(dict(rope=dict(theta=[1., 2.])))
    with pytest.raises(InputError, match=r"rope\.theta\.1=inf"): check_config(dict(rope=dict(theta=[1., math.inf])))
    for n in ("num_hidden_layers", "n_layers", "num_hidden_groups"):
        with pytest.raises(InputError, match=f"{n}=1000000 in config.json: expected 1,000 at most"): check_config({n: 10**6})

# Tokenizers

@pytest.mark.parametrize("family", [f for f in EXTRA if f not in ("xlm", "flaubert")]) # theirs needs a package
def test_no_tokenizer_is_made_up(family, tmp_path):
    build(family).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="no tokenizer|cannot be loaded") as caught: load_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)
    make_tokenizer().save_pretrained(tmp_path)
    assert len(load_tokenizer(tmp_path)) == 13

@pytest.mark.parametrize("spoil", [lambda s: "{", lambda s: s[:len(s) // 2], lambda s: "[]", lambda s: "null", lambda s: s.replace("WordLevel", "WordLevex"),
                                   lambda s: s.replace('"good":5', '"good":"x"'), lambda s: "", lambda s: s.replace("Whitespace", "Nowhere")])
def test_damaged_tokenizers_are_refused_in_one_line(spoil, tmp_path, tok):
    tok.save_pretrained(tmp_path)
    text = json.dumps(json.loads((tmp_path/"tokenizer.json").read_text()), separators=(",", ":"))
    (tmp_path/"tokenizer.json").write_text(spoil(text))
    with pytest.raises(InputError, match="cannot be loaded|no tokenizer") as caught: load_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)

@pytest.mark.parametrize("family", EXTRA)
def test_the_longest_text_is_the_longest_that_runs(family):
    "At so many tokens the model answers, with one more it does not; None: it never ends."
    model = build(family)
    n = longest(model)
    def run(length):
        ids = torch.randint(5, V, (1, length))
        more = dict(token_type_ids=torch.zeros_like(ids)) if family == "nomic_bert" else {}  # as its tokenizer gives them; older ones need it
        return model(input_ids=ids, attention_mask=torch.ones_like(ids), **more).logits
    with torch.no_grad():
        run(n or 200)
        if n is None: return
        with pytest.raises((IndexError, RuntimeError, ValueError)): run(n + 1)

@pytest.mark.parametrize("family, n", [("bert", 48), ("roberta", 46), ("mpnet", 46), ("xlm", 512), ("modernbert", None), ("nomic_bert", None), ("roformer", 48)])
def test_positions_of_families(family, n): assert longest(build(family)) == n

def test_tokenizers_and_lengths_that_do_not_fit_are_refused_before_training(headless):
    films = task()
    assert set_up(films, headless, max_length=512).rows["train"]
    with pytest.raises(InputError, match="max_length=513: expected at most 512, the positions of this Bert"): set_up(films, headless, max_length=513)
    for no in (0, None): check_tokenizer_fits(make_tokenizer(), bert(), no)
    larger = load_tokenizer(headless)
    larger.add_tokens(["<brand>"])
    larger.save_pretrained(headless)
    with pytest.raises(InputError, match="a tokenizer of 14 tokens: expected the model's 13 or fewer"): set_up(films, headless)
    with pytest.raises(InputError, match="a tokenizer of 14 tokens"): evaluate(bert(), films, larger)
    with pytest.raises(InputError, match="max_length=600"): evaluate(bert(), films, make_tokenizer(), max_length=600)
    unpadded = make_tokenizer()
    unpadded.pad_token = None
    with pytest.raises(InputError, match="without a padding token"): check_tokenizer_fits(unpadded, bert())

@pytest.mark.parametrize("load", [load_teacher, load_tokenizer])
def test_unknown_names_are_refused(load, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="no-one/nothing: cannot be loaded"): load("no-one/nothing")

def test_other_bytes_are_refused(tmp_path):
    (tmp_path/"abc").write_bytes(b"abc")
    check_files(tmp_path, {"abc": file_digest(tmp_path/"abc")})
    (tmp_path/"abc").write_bytes(b"abd")
    with pytest.raises(InputError, match="abc has sha256"): check_files(tmp_path, {"abc": "ba7816bf" * 8})

CHINESE = [f"{a}部{b}很{c}" for a in "这那" for b in "影书片" for c in "好差新旧长"]

def test_unknown_characters_get_tokens_of_their_own(tok, tmp_path):
    "In an order that does not change from start to start; saved with the tokenizer; the student has them too."
    from builders import bert
    from distill_nb.students.copied import init_student
    films = make_task("films", dict(train=pd.DataFrame(dict(text=CHINESE, label=["a", "b", "c"] * 10))))
    tokenizer, teacher = type(tok)(tokenizer_object=tok._tokenizer.__class__.from_str(tok._tokenizer.to_str()),
                                   **tok.special_tokens_map), bert()
    note(teacher, knows_task=False)
    with pytest.warns(UserWarning, match="characters were added"): new = learn_characters(tokenizer, teacher, films)
    assert new == sorted(new) and set("这很好") <= set(new)
    assert teacher.config.vocab_size == len(tokenizer) == init_student(teacher, [0]).config.vocab_size
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(tmp_path).tokenize("这部片很好") == list("这部片很好")

def test_a_tuned_teacher_keeps_its_vocabulary(tok):
    from builders import bert
    films = make_task("films", dict(train=pd.DataFrame(dict(text=CHINESE, label=["a", "b", "c"] * 10))))
    teacher = bert()
    note(teacher, knows_task=True)
    assert learn_characters(tok, teacher, films) == []

def test_a_head_may_spell_its_classes_otherwise():
    "Truth values and numbers are the same classes in a head and in a file."
    task = make_task("t", dict(train=pd.DataFrame(dict(text=[f"film {i}" for i in range(40)], label=["1", "0"] * 20))))
    head = BertConfig(id2label={0: "True", 1: "False"}, label2id={"True": 0, "False": 1})
    check_labels(head, task)
    turned = task.relabel(["True", "False"])
    assert turned.labels == ["True", "False"] and turned["test"]["label"][:] == [1 - y for y in task["test"]["label"][:]]
    with pytest.raises(InputError, match="the head has the classes"): check_labels(BertConfig(id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1}), task)

@pytest.mark.parametrize("blocks", [0, -1])
def test_a_configuration_without_blocks_does_not_lose_those_of_the_file(tuned, blocks):
    config = json.loads((tuned/"config.json").read_text())
    (tuned/"config.json").write_text(json.dumps(config | dict(num_hidden_layers=blocks)))
    with pytest.raises(InputError, match="for which the config.json has no place"): load_teacher(tuned)

def test_a_head_of_one_label_is_refused_for_several(tuned):
    task = make_task("t", dict(train=pd.DataFrame(dict(text=[f"film {i}" for i in range(20)], label=[["bad"], ["bad", "good"]] * 10))))
    with pytest.raises(InputError, match="problem_type=None.*expected 'multi_label_classification'"): load_teacher(tuned, task)
