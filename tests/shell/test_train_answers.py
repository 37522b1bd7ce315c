"Files of answers, several teachers and other tokenizers on the command line, and what is refused there."
import json
import pandas as pd
import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from builders import bert, make_tokenizer

TEXTS = [f"the {n} was {v} {w}" for n in ("film", "book") for v in ("very", "not", "") for w in ("good", "bad", "fine", "dull")]
MOODS = ["good" if t.endswith(("good", "fine")) else "bad" for t in TEXTS]
QUICK = ["--epochs", "1", "--batch-size", "8", "--text", "review", "--label", "mood"]

@pytest.fixture
def data(tmp_path):
    pd.DataFrame(dict(nr=range(24), review=TEXTS, mood=MOODS)).to_csv(tmp_path/"reviews.csv", index=False)
    return tmp_path/"reviews.csv"

@pytest.fixture
def llm(tmp_path):
    "An answer for each text but the last, under its id and its text."
    said = [dict(nr=i, review=t, why="It says so.", answer={m: .9, {"good": "bad", "bad": "good"}[m]: .1}) for i, (t, m) in enumerate(zip(TEXTS, MOODS))]
    (tmp_path/"llm.jsonl").write_text("\n".join(map(json.dumps, said[:-1])))
    return tmp_path/"llm.jsonl"

def report(folder): return {r["model"]: r for r in json.loads((folder/"report.json").read_text())["rows"]}

@pytest.mark.parametrize("recipe, options", [("layers", ["--layers", "2"]), ("tinybert", ["--layers", "1", "--width", "8", "--inner", "8"]),
                                             ("bilstm", ["--units", "4", "--width", "6"])])
def test_answers_alone_teach(shell, data, llm, headless, tmp_path, recipe, options):
    out = tmp_path/"student"
    code, text, err = shell("train", "--recipe", recipe, "--task", data, *QUICK, *options, "--answers", llm, "--base", headless, "--out", out, "--answers-are", "probabilities")
    assert code == 0, err
    rows = report(out)
    assert [*rows] == ["answers", "student, labels alone", "student, distilled"] and rows["answers"]["accuracy"] == 1
    assert len({r.get("steps") for r in rows.values()} - {None}) == 1 and "llm.jsonl" in (out/"README.md").read_text()
    assert "training texts have no answer" in err or "test texts" in text # the last text has none
    if recipe != "bilstm": assert AutoModelForSequenceClassification.from_pretrained(out).config.num_hidden_layers == int(options[1])

@pytest.mark.slow
def test_answers_beside_teachers(shell, data, llm, tuned, headless, tmp_path):
    out = tmp_path/"student"
    code, text, err = shell("train", "--task", data, *QUICK, "--layers", "2", "--answers", llm, "--row-id", "nr", "--teacher", tuned, "--weights", "2,1", "--space", "logit", "--out", out)
    assert code == 0, err
    assert [*report(out)] == ["answers", "teacher", "teachers together", "student, teacher's layers", "student, distilled"]
    code, text, err = shell("train", "--task", data, *QUICK, "--layers", "2", "--teacher", f"{tuned},{headless}", "--out", tmp_path/"two", "--no-baseline")
    assert code == 0 and [*report(tmp_path/"two")] == ["teacher tuned", "teacher headless", "teachers together", "student, distilled"], err

def test_a_teacher_with_another_tokenizer(shell, data, tuned, tmp_path):
    "The student has the vocabulary of its base, in which the teacher's tokens mean other words."
    base, words = tmp_path/"base", "[UNK] [PAD] very film book not good bad fine dull [CLS] [SEP] [MASK]".split()
    tok = json.loads(make_tokenizer().backend_tokenizer.to_str())
    tok["model"]["vocab"] = {w: i for i, w in enumerate(words)}
    for token in tok["added_tokens"]: token["id"] = words.index(token["content"])
    for name, token in tok["post_processor"]["special_tokens"].items(): token["ids"] = [words.index(name)]
    bert(2).base_model.save_pretrained(base)
    make_tokenizer().save_pretrained(base)
    (base/"tokenizer.json").write_text(json.dumps(tok))
    code, text, err = shell("train", "--task", data, *QUICK, "--layers", "1", "--teacher", tuned, "--base", base, "--out", tmp_path/"s")
    assert code == 0 and [*report(tmp_path/"s")] == ["teacher", "student, labels alone", "student, distilled"], err
    assert AutoTokenizer.from_pretrained(tmp_path/"s").convert_tokens_to_ids("good") == words.index("good") != make_tokenizer().convert_tokens_to_ids("good")

def wrong(folder, **columns):
    pd.DataFrame(dict(review=TEXTS, **columns)).to_csv(folder/"wrong.csv", index=False)
    return folder/"wrong.csv"

@pytest.mark.parametrize("columns, words, message", [
    (dict(answer=["god"] * 24), [], "wrong.csv: the class 'god': expected one of 'bad', 'good'. The nearest is 'good'."),
    (dict(good=[-.1] * 24, bad=[1.1] * 24), ["--answers-are", "probabilities"], "row 1: probabilities [1.1, -0.1]: expected no number below 0"),
    (dict(good=["nan"] * 24, bad=[.5] * 24), [], "wrong.csv, row 1: nan for 'good': expected a number"),
    (dict(probs=["[2.0, -1.0]"] * 24), ["--answers-are", "probabilities"], "say means='scores' (--answers-are scores)"),
    (dict(answer=["good"] * 24), [], "no answer anywhere for 'bad'"), (dict(answer=MOODS), ["--text", "other"], "no column 'other'"),
    (dict(answer=MOODS, label=MOODS), [], "--answers-column"), (dict(answer=MOODS), ["--answers-are", "odds"], "--answers-are odds"),
    (dict(answer=MOODS), ["--weights", "1,2"], "--weights 1,2: expected several teachers"), (dict(answer=MOODS), ["--weights", "much"], "--weights much"),
    (dict(answer=MOODS), ["--row-id", "id"], "no column 'id'"), (dict(answer=MOODS), ["--duplicates", "first"], "--duplicates first"),
    (dict(answer=MOODS), ["--recipe", "theseus"], "--answers with --recipe theseus: expected layers, tinybert, bilstm"),
    (dict(answer=MOODS), ["--recipe", "distilbert"], "--answers with --recipe distilbert"),
    (dict(answer=MOODS), ["--recipe", "tinybert", "--augment"], "--augment or --corpus with --answers")])
def test_mistakes_are_told_in_one_line(shell, data, headless, tmp_path, columns, words, message):
    code, out, err = shell("train", "--task", data, *QUICK, "--base", headless, "--out", tmp_path/"s", "--answers", wrong(tmp_path, **columns), *words)
    errors = [l for l in err.splitlines() if l.startswith("distill_nb: ") and "note: " not in l]
    assert code == 2 and len(errors) == 1 and message in errors[0] and "Traceback" not in err, err
    assert not (tmp_path/"s").exists()

def test_answers_to_other_texts(shell, data, headless, tmp_path):
    pd.DataFrame(dict(review=["elsewhere"], answer=["good"])).to_csv(tmp_path/"a.csv", index=False)
    code, out, err = shell("train", "--task", data, *QUICK, "--base", headless, "--out", tmp_path/"s", "--answers", tmp_path/"a.csv", "--partial")
    assert code == 2 and "none of its 1 row is about a training text of reviews" in err

@pytest.mark.parametrize("words, message", [(["--row-id", "nr"], "--row-id without --answers"), (["--answers", "none.csv"], "none.csv: no such file"), (["--base", "/no/model"], "no answers and no teacher"), (["--base", "/no/model", "--teacher", "one"], "/no/model")])
def test_options_that_need_others(shell, data, headless, tmp_path, words, message):
    code, out, err = shell("train", "--task", data, *QUICK, "--out", tmp_path/"s", *words)
    assert code == 2 and message in err and not (tmp_path/"s").exists()

def test_teacher_assistants(shell, data, tuned, llm, tmp_path):
    out = tmp_path/"s"
    code, text, err = shell("train", "--task", data, *QUICK, "--layers", "1", "--through", "3,2", "--teacher", tuned, "--out", out, "--no-baseline")
    assert code == 0 and [*report(out)] == ["teacher", "assistant, 3 layers", "assistant, 2 layers", "student, distilled"], err
    for words, message in (["--through", "1"], "through=[1] from 4 to 1 layers"), (["--through", "x"], "'x'"), (["--through", "2", "--answers", llm], "--through 2: expected one teacher"):
        code, _, err = shell("train", "--task", data, *QUICK, "--layers", "1", "--teacher", tuned, "--out", tmp_path/"no", *words)
        assert code == 2 and message in err and not (tmp_path/"no").exists()
