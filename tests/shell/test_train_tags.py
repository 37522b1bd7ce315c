"A file of tags as the teacher on the command line: CoNLL, lists and spans; missing sentences, other entity types and options that do not go together."
import json
import pytest
from transformers import AutoModelForTokenClassification

WORDS = "very not good bad fine dull film book".split()

def texts(n=40):
    "Sentences of words with tags: books and films are entities."
    said = [["very"] * (i % 3) + ["not", WORDS[2 + i % 4], WORDS[6 + i // 4 % 2]] + ["very"] * (i // 8) for i in range(n)]
    return [(words, ["B-FILM" if w == "film" else "B-BOOK" if w == "book" else "O" for w in words]) for words in said]

def conll(rows): return "\n\n".join("\n".join(f"{w} {t}" for w, t in zip(*row)) for row in rows) + "\n"

@pytest.fixture
def data(tmp_path):
    (tmp_path/"t.conll").write_text(conll(texts()))
    return tmp_path/"t.conll"

QUICK = ["--epochs", "1", "--batch-size", "8", "--max-length", "32"]
def report(folder): return {r["model"]: r for r in json.loads((folder/"report.json").read_text())["rows"]}

def as_lists(rows): return "\n".join(json.dumps(dict(words=w, tags=t)) for w, t in rows)

def as_spans(rows):
    found = []
    for words, tags in rows:
        text, spans, at = " ".join(words), [], 0
        for w, t in zip(words, tags):
            if t != "O": spans.append(dict(start=at, end=at + len(w), label=t[2:]))
            at += len(w) + 1
        found.append(json.dumps(dict(text=text, spans=spans)))
    return "\n".join(found)

@pytest.mark.parametrize("name, write, words", [("a.conll", conll, []), ("a.jsonl", as_lists, ["--answers-column", "tags"]), ("s.jsonl", as_spans, ["--answers-column", "spans"])])
def test_a_file_of_tags_teaches(shell, data, headless, tmp_path, name, write, words):
    (tmp_path/name).write_text(write(texts()))
    out = tmp_path/"s"
    code, text, err = shell("train", "--task", data, *QUICK, "--layers", "2", "--answers", tmp_path/name, *words, "--base", headless, "--out", out)
    assert code == 0, err
    rows = report(out)
    assert [*rows] == ["answers", "student, labels alone", "student, distilled"] and rows["answers"]["entity_f1"] == 1
    assert AutoModelForTokenClassification.from_pretrained(out).config.num_hidden_layers == 2 and name in (out/"README.md").read_text()

@pytest.mark.parametrize("recipe, options", [("tinybert", ["--layers", "1", "--width", "8", "--inner", "8"]), ("bilstm", ["--units", "4", "--width", "6"]), ("layers", ["--objective", "answers"])])
def test_other_students(shell, data, headless, tmp_path, recipe, options):
    (tmp_path/"a.conll").write_text(conll(texts()))
    if recipe == "layers": options += ["--layers", "1"]
    code, text, err = shell("train", "--recipe", recipe, "--task", data, *QUICK, *options, "--answers", tmp_path/"a.conll", "--base", headless, "--out", tmp_path/"s", "--no-baseline")
    assert code == 0 and [*report(tmp_path/"s")] == ["answers", "student, distilled"], err

def test_sentences_without_an_answer(shell, data, headless, tmp_path):
    (tmp_path/"a.conll").write_text(conll(texts()[:30]))
    code, text, err = shell("train", "--task", data, *QUICK, "--layers", "1", "--answers", tmp_path/"a.conll", "--base", headless, "--out", tmp_path/"s", "--no-baseline")
    assert code == 0 and "texts have no answer and count in no soft target" in err, err
    assert shell("check", "--task", data, "--layers", "1", "--answers", tmp_path/"a.conll", "--base", headless)[0] == 0

OTHER = conll([(w, [t.replace("FILM", "SONG") for t in tags]) for w, tags in texts()])
@pytest.mark.parametrize("answers, words, message", [
    (OTHER, [], "tag 'B-SONG': expected one of"), ("never O\nseen B-FILM\n", [], "no text of train of 't': expected the same words"),
    (conll(texts()) + "\n" + conll(texts()).replace("B-FILM", "B-BOOK"), [], "two answers to"), ("film B-FILM\nvery\n", [], "a.conll"), ("", [], "a.conll"),
    (conll(texts()), ["--teacher", "headless"], "--teacher with --answers for tags: expected one file of tags"), (conll(texts()), ["--row-id", "nr"], "--row-id with --answers for tags"),
    (conll(texts()), ["--answers", "a.conll,a.conll"], "for tags: expected one file"), (conll(texts()), ["--objective", "pkd"], "expected terms on logits per word"),
    (conll(texts()), ["--objective", "dist"], "objective='dist' for tags"), (conll(texts()), ["--answers", "none.conll"], "none.conll"), (conll(texts()), ["--through", "2"], "--through 2")])
def test_mistakes_are_told_in_one_line(shell, data, headless, tmp_path, answers, words, message):
    (tmp_path/"a.conll").write_text(answers)
    words = [tmp_path/w if w == "headless" else w for w in words]
    code, out, err = shell("train", "--task", data, *QUICK, "--base", headless, "--out", tmp_path/"s", "--layers", "1", "--answers", tmp_path/"a.conll", *words)
    errors = [l for l in err.splitlines() if l.startswith("distill_nb: ") and "note: " not in l]
    assert code == 2 and len(errors) == 1 and message in errors[0] and "Traceback" not in err, err
    assert not (tmp_path/"s").exists()
