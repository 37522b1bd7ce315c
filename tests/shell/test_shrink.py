"`distill_nb shrink`: any saved student gets smaller and stays an ordinary one; bad input."
import json
import pytest, torch
import transformers as T
from huggingface_hub import ModelCard
from builders import WORDS, bert, make_tokenizer
from families import build
from distill_nb.students.bilstm import BiLstmConfig, BiLstmForSequenceClassification
from distill_nb.training.saving import save_student

NAMES = dict(id2label={0: "bad", 1: "good"}, label2id=dict(bad=0, good=1))
TEXTS = ["good film", "very dull film", "not good", "good"] * 6

@pytest.fixture
def texts(tmp_path):
    (tmp_path/"t.txt").write_text("\n".join(TEXTS))
    return tmp_path/"t.txt"

@pytest.fixture
def student(tmp_path):
    save_student(bert(2, **NAMES), make_tokenizer(), tmp_path/"student")
    return tmp_path/"student"

@torch.no_grad()
def logits(folder, said=("good film", "not dull film")):
    tok, model = T.AutoTokenizer.from_pretrained(folder), T.AutoModelForSequenceClassification.from_pretrained(folder)
    return model(**tok([*said], padding=True, return_tensors="pt")).logits

def test_vocabulary(shell, student, texts, tmp_path):
    code, out, err = shell("shrink", student, "--texts", texts, "--vocabulary", "--json")
    assert code == 0, err
    told, small = json.loads(out), tmp_path/"student-small"
    assert told["out"] == str(small) and told["tokens"] == [13, 10] and "13 -> 10 tokens" in err
    assert torch.equal(logits(small), logits(student))
    assert {*T.AutoTokenizer.from_pretrained(small).get_vocab()} == {*WORDS} - {"bad", "fine", "book"}
    assert "agreement" not in told and told == json.loads((small/"shrink.json").read_text()) | dict(out=str(small))
    assert "## Made smaller" in ModelCard.load(small/"README.md").text

def test_words_to_keep_and_rare_tokens(shell, student, texts, tmp_path):
    shell("shrink", student, "--texts", texts, "--vocabulary", "--keep", "book,bad", "--out", tmp_path/"a")
    assert {"book", "bad"} <= {*T.AutoTokenizer.from_pretrained(tmp_path/"a").get_vocab()}
    shell("shrink", student, "--texts", texts, "--vocabulary", "--at-least", 2, "--out", tmp_path/"b")
    assert {*T.AutoTokenizer.from_pretrained(tmp_path/"b").get_vocab()} == {*WORDS[:5], "good", "film"}  # a text that repeats counts once
    table = tmp_path/"t.csv"
    table.write_text("review\ngood film\nbad film\n")
    assert shell("shrink", student, "--texts", table, "--column", "review", "--vocabulary", "--out", tmp_path/"c")[0] == 0
    assert {*T.AutoTokenizer.from_pretrained(tmp_path/"c").get_vocab()} == {*WORDS[:5], "good", "film", "bad"}

def test_units_and_vocabulary(shell, student, texts, tmp_path):
    code, out, err = shell("shrink", student, "--texts", texts, "--units", .25, "--vocabulary", "--out", tmp_path/"o", "--json")
    told, config = json.loads(out), T.AutoConfig.from_pretrained(tmp_path/"o")
    assert code == 0 and (config.intermediate_size, config.vocab_size) == (8, 10) and config.id2label == NAMES["id2label"]
    assert 0 <= told["agreement"] <= 1 and told["units"] == .25 and logits(tmp_path/"o").isfinite().all()

def test_scores_of_before_leave_the_card_with_the_units(shell, tuned, texts, tmp_path):
    from builders import toy
    from distill_nb.recipes.layers import distil_layers
    done = distil_layers(toy(), str(tuned), layers=2, baseline=False, max_steps=1, disable_tqdm=True, eval_strategy="no", use_cpu=True)
    done.save(tmp_path/"s")
    for flags, scores in (["--vocabulary"], True), (["--units", .5], False):
        assert shell("shrink", tmp_path/"s", "--texts", texts, "--out", tmp_path/"o", "--overwrite", *flags)[0] == 0
        card = ModelCard.load(tmp_path/"o/README.md")
        assert bool(card.data.eval_results) == scores == ("those of the student before" not in card.text)

@pytest.mark.parametrize("head", ["ForTokenClassification", "ForMaskedLM", ""])
def test_other_heads(shell, head, texts, tmp_path):
    names = dict(id2label={0: "O", 1: "B-x", 2: "I-x"}, label2id={"O": 0, "B-x": 1, "I-x": 2}) if "Token" in head else {}
    save_student(build("distilbert", getattr(T, f"AutoModel{head}"), n_layers=1, **names), make_tokenizer(), tmp_path/"s")
    code, out, err = shell("shrink", tmp_path/"s", "--texts", texts, "--units", .5, "--vocabulary", "--out", tmp_path/"o")
    assert code == 0, err
    assert getattr(T, f"AutoModel{head}").from_pretrained(tmp_path/"o").config.hidden_dim == 24

def test_a_bilstm(shell, texts, tmp_path):
    torch.manual_seed(0)
    model = BiLstmForSequenceClassification(BiLstmConfig(vocab_size=len(WORDS), embedding_size=6, hidden_size=5, head_size=7,
                                                         skipped_token_ids=[0, 2, 3], sep_token_id=3, **NAMES))
    save_student(model, make_tokenizer(), tmp_path/"s")
    assert shell("shrink", tmp_path/"s", "--texts", texts, "--vocabulary", "--out", tmp_path/"o")[0] == 0
    assert torch.equal(logits(tmp_path/"o"), logits(tmp_path/"s"))
    code, _, err = shell("shrink", tmp_path/"s", "--texts", texts, "--units", .5, "--out", tmp_path/"p")
    assert code == 2 and "BiLstmForSequenceClassification" in err and not (tmp_path/"p").exists()

def bad(case, student, texts, tmp_path):
    other, weightless, empty = tmp_path/"other", tmp_path/"weightless", tmp_path/"empty.txt"
    other.mkdir(), weightless.mkdir(), empty.write_text("\n\n")
    (other/"theirs.txt").write_text("theirs")
    (weightless/"config.json").write_bytes((student/"config.json").read_bytes())
    cut = ["--vocabulary", "--out", tmp_path/"o"]
    return {"nothing asked for": ([student, "--texts", texts, "--out", tmp_path/"o"], "nothing to remove: expected --vocabulary"),
            "keep alone": ([student, "--texts", texts, "--units", .5, "--keep", "a"], "--keep a: expected --vocabulary beside it"),
            "all units": ([student, "--texts", texts, "--units", 0, "--out", tmp_path/"o"], "--units 0.0"),
            "heads of BERT": ([student, "--texts", texts, "--heads", .5, "--out", tmp_path/"o"], "2 -> 1 heads for BertConfig"),
            "no texts": ([student, "--texts", empty, *cut], "no text"),
            "no such file": ([student, "--texts", tmp_path/"none.txt", *cut], "no such file"),
            "no weights": ([weightless, "--texts", texts, *cut], "no weights"),
            "something else": ([student, "--texts", texts, "--vocabulary", "--out", other], "is not empty"),
            "its own folder": ([student, "--texts", texts, "--vocabulary", "--out", student, "--overwrite"], "is the model's own folder")}[case]

@pytest.mark.parametrize("case", ["nothing asked for", "keep alone", "all units", "heads of BERT", "no texts", "no such file", "no weights",
                                  "something else", "its own folder"])
def test_bad_input_is_one_sentence_and_leaves_nothing(case, shell, student, texts, tmp_path):
    words, message = bad(case, student, texts, tmp_path)
    before = {p for p in tmp_path.rglob("*")}
    code, out, err = shell("shrink", *words)
    lines = [l for l in err.splitlines() if l.startswith("distill_nb: ") and "note: " not in l]
    assert code == 2 and len(lines) == 1 and message in lines[0] and "Traceback" not in err, err
    assert {p for p in tmp_path.rglob("*")} == before

def test_texts_are_required(shell, student):
    code, out, err = shell("shrink", student, "--vocabulary")
    assert code == 2 and "--texts" in err

@pytest.mark.parametrize("flags", [["--units", .5], ["--units", .5, "--vocabulary"]], ids=str)
def test_the_uncut_student_can_teach_the_smaller_one(flags, shell, student, texts, tmp_path):
    from builders import frame
    frame(label=["good", "bad"] * 20).to_csv(tmp_path/"t.csv", index=False)
    assert shell("shrink", student, "--texts", texts, *flags)[0] == 0
    code, out, err = shell("train", "--task", tmp_path/"t.csv", "--teacher", student, "--base", tmp_path/"student-small", "--layers", 2, "--epochs", 1,
                           "--no-baseline", "--out", tmp_path/"again")
    assert code == 0, err
    again = T.AutoConfig.from_pretrained(tmp_path/"again")
    assert (again.intermediate_size, again.num_hidden_layers) == (16, 2)
    assert again.vocab_size == T.AutoConfig.from_pretrained(tmp_path/"student-small").vocab_size
