"Tags from every kind of file, what is wrong with such files, and windows that lose no word."
import json, random
import datasets
import pandas as pd
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from transformers import AutoTokenizer
from builders import WORDS
from distill_nb.data import load
from distill_nb.data.load import load_task
from distill_nb.data.tags import read_conll, tags_of, words_of
from distill_nb.data.tasks import make_task
from distill_nb.data.tokens import tokenize
from distill_nb.data.words import as_bio, first_pieces
from distill_nb.kit.errors import InputError
from distill_nb.measure.entities import entities, entity_metrics
from distill_nb.teachers.load import default_teacher

TAG = dict(good="B-POS", fine="B-POS", bad="B-NEG", dull="B-NEG", very="O", film="O", book="O")

def texts(n=40, seed=0):
    "(words, tags) of n texts."
    r = random.Random(seed)
    rows = [[r.choice([*TAG]) for _ in range(r.randint(2, 7))] + [f"x{i}"] for i in range(n)]
    return [(words, [TAG.get(w, "O") for w in words]) for words in rows]

def conll(rows, sep=" ", more=""): return "\n\n".join("\n".join(f"{w}{sep}{t}{more}" for w, t in zip(*row)) for row in rows) + "\n"

@pytest.mark.parametrize("ending, sep, more", [("conll", " ", ""), ("bio", "\t", ""), ("iob2", "  ", " 0"), ("iob", "\t", "\tNN"), ("txt", " ", " _")])
def test_every_file_of_words_and_tags_is_the_same_task(ending, sep, more, tmp_path):
    (tmp_path/f"a.{ending}").write_text("-DOCSTART- -X- O\n\n".replace(" -X- O", "") + conll(texts(), sep, more))
    (tmp_path/"b.jsonl").write_text("\n".join(json.dumps(dict(words=w, tags=t)) for w, t in texts()))
    pd.DataFrame(texts(), columns=["tokens", "ner_tags"]).to_parquet(tmp_path/"c.parquet")
    task, *others = [load_task(tmp_path/f) for f in (f"a.{ending}", "b.jsonl", "c.parquet")]
    assert (task.kind, task.labels, task.metric) == ("tags", ["O", "B-NEG", "B-POS"], "entity_f1")
    assert all(task[s][:] == o[s][:] for o in others for s in task.splits)
    row = task["train"][0]
    assert [task.labels[i] for i in row["label"]] == [TAG.get(w, "O") for w in row["words"]] and row["text"] == " ".join(row["words"])

def test_a_folder_of_splits_and_a_column_by_its_number(tmp_path):
    for name, seed in (("train", 0), ("dev", 1), ("test", 2)): (tmp_path/f"{name}.txt").write_text(conll(texts(12, seed), " ", " NN"))
    task = load_task(tmp_path)
    assert [len(task[s]) for s in ("train", "validation", "test")] == [12] * 3
    (tmp_path/"one.conll").write_text(conll(texts(), " NN "))
    assert load_task(tmp_path/"one.conll").labels == load_task(tmp_path/"one.conll", label="2").labels == task.labels
    with pytest.raises(InputError, match="every tag is 'NN'"): load_task(tmp_path/"one.conll", label="1")
    with pytest.raises(InputError, match="no column '7' for label"): load_task(tmp_path/"one.conll", label="7")
    (tmp_path/"train.csv").write_text("text,label\n" + "\n".join(f"t {i},{'ab'[i % 2]}" for i in range(20)))
    assert load_task(tmp_path).kind == "classification", "notes beside tables are no tables"

@pytest.mark.parametrize("text, message", [
    ("EU B-ORG\nsays\n", "line 2: 1 fields"), ("EU B-ORG 0\n\nsays O\n", "line 3: 2 fields"), ("\n\n", "the file is empty|no word"),
    ("A film that I have seen.\nAnother one\n", "line 2: 2 fields"), ("\tB-ORG\n", "line 1: 2 fields")])
def test_ragged_lines_are_refused(text, message, tmp_path):
    (tmp_path/"a.conll").write_text(text)
    with pytest.raises(InputError, match=message) as caught: load_task(tmp_path/"a.conll", kind="tags")
    assert "\n" not in str(caught.value)

def test_texts_without_tags_are_unlabelled(tmp_path):
    rows = [dict(words=w, tags=t if i % 2 else None) for i, (w, t) in enumerate(texts(60))]
    (tmp_path/"a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    table = load_task(tmp_path/"a.jsonl").table()
    assert table.labelled["train"] < table.rows["train"] and (table.labelled == table.rows)[["validation", "test"]].all()

@pytest.mark.parametrize("row, message", [
    (dict(words=["a", "b"], tags=["O"]), "2 words, 1 tags"), (dict(words=["a", ""], tags=["O", "O"]), "the word ''"),
    (dict(words=["a", None], tags=["O", "O"]), "the word None")])
def test_rows_that_do_not_match_are_refused(row, message, tmp_path):
    (tmp_path/"a.jsonl").write_text("\n".join(json.dumps(r) for r in [*[dict(words=w, tags=t) for w, t in texts()], row]))
    with pytest.raises(InputError, match=f"row 41: {message}"): load_task(tmp_path/"a.jsonl")

def test_hub_columns_have_names(monkeypatch):
    names = ["O", "B-NEG", "B-POS"]
    made = Dataset.from_dict(dict(tokens=[w for w, _ in texts()], ner_tags=[[names.index(t) for t in tags] for _, tags in texts()]),
                             features=Features(tokens=List(Value("string")), ner_tags=List(ClassLabel(names=names))))
    monkeypatch.setattr(load.datasets, "load_dataset", lambda *_: DatasetDict(train=made, test=made.select(range(9))))
    task = load_task("someone/names")
    assert task.labels == names and task["test"][0]["label"] == made[0]["ner_tags"]

# Marks of characters

def test_marks_are_tags():
    words, tags = tags_of("I saw New York, twice.", [dict(start=6, end=14, label="LOC")])
    assert [w for w, t in zip(words, tags) if t != "O"] == ["New", "York"] and tags[2:4] == ["B-LOC", "I-LOC"]
    assert tags_of("New York Paris", [[0, 8, "LOC"], [9, 14, "LOC"]])[1] == ["B-LOC", "I-LOC", "B-LOC"]
    assert [w for w, *_ in words_of("北京 über 3.5 can't")] == ["北", "京", "über", "3", ".", "5", "can", "'", "t"]

@pytest.mark.parametrize("spans, message", [
    ([[6, 9, "LOC"], [7, 14, "LOC"]], "overlap at 7"), ([[6, 8, "LOC"]], "cuts the word 'New'"), ([[7, 9, "LOC"]], "cuts the word 'New'"),
    ([[6, 99, "LOC"]], "mark 6 to 99"), ([[9, 6, "LOC"]], "mark 9 to 6"), ([dict(start=6, end=9)], "mark {'start': 6"), (["LOC"], "mark 'LOC'"), ([[6, 9]], "mark")])
def test_bad_marks_are_refused(spans, message, tmp_path):
    rows = [dict(text="I saw New York, twice.", spans=spans)] * 12
    (tmp_path/"a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(InputError, match=f"row 1: .*{message}") as caught: load_task(tmp_path/"a.jsonl", kind="tags")
    assert "\n" not in str(caught.value)

# One way to write tags

@pytest.mark.parametrize("tags", ["I-PER I-PER O I-LOC B-LOC I-PER", "B-PER O I-PER I-PER", "B-PER I-LOC I-LOC B-LOC", "S-PER B-PER E-PER S-LOC O I-LOC E-LOC"])
def test_rewritten_tags_mark_the_same_entities(tags):
    new = as_bio(tags.split())
    assert entities(new) == entities(tags.split()) and as_bio(new) == new and {t[0] for t in new} <= {*"BIO"}

def test_the_scheme_of_a_model_stays(tmp_path):
    (tmp_path/"a.conll").write_text(conll([(["a", "b", f"c{i}"], ["S-LOC", "O", "O"]) for i in range(20)]))
    assert load_task(tmp_path/"a.conll", labels=["O", "S-LOC", "B-LOC", "E-LOC"])["train"][0]["label"] == [1, 0, 0]
    with pytest.warns(UserWarning, match="20 tags are written otherwise"): assert load_task(tmp_path/"a.conll").labels == ["O", "B-LOC"]

# What seqeval 1.2.2 computes, recorded once

@pytest.mark.parametrize("names, f1, precision, recall", [
    ("O O O B-PER I-PER B-LOC I-LOC", 0.749295774648, 0.786982248521, 0.715053763441),
    ("O O B-PER I-PER E-PER S-PER B-LOC I-LOC E-LOC S-LOC", 0.754782608696, 0.753472222222, 0.756097560976),
    ("O I-PER I-LOC", 0.665048543689, 0.688442211055, 0.643192488263)])
def test_scores_are_seqevals(names, f1, precision, recall):
    names, r = names.split(), random.Random(0)
    gold = [[r.choice(names) for _ in range(r.randint(1, 12))] for _ in range(60)]
    pred = [[t if r.random() < .7 else r.choice(names) for t in row] for row in gold]
    got = entity_metrics(pred, gold)
    assert [got[k] for k in ("entity_f1", "precision", "recall")] == pytest.approx([f1, precision, recall])

@pytest.mark.parametrize("tags, found", [
    ("I-PER I-PER O I-LOC B-LOC I-PER", [("PER", 0, 1), ("LOC", 3, 3), ("LOC", 4, 4), ("PER", 5, 5)]), ("B-PER O I-PER I-PER", [("PER", 0, 0), ("PER", 2, 3)]),
    ("B-PER I-LOC I-LOC B-LOC", [("PER", 0, 0), ("LOC", 1, 2), ("LOC", 3, 3)]),
    ("S-PER I-PER E-PER E-PER B-LOC S-LOC", [("PER", 0, 0), ("PER", 1, 2), ("PER", 3, 3), ("LOC", 4, 4), ("LOC", 5, 5)])])
def test_entities_are_seqevals(tags, found): assert entities(tags.split()) == {(t, a, b + 1) for t, a, b in found}

# Windows

def task_of(rows):
    df = pd.DataFrame(rows, columns=["words", "label"])
    return make_task("t", dict(train=df.assign(text=df.words.map(" ".join))), kind="tags", hold_out=False)

@pytest.mark.parametrize("max_length", [8, 11, 16, 33])
@pytest.mark.parametrize("which", ["words", "pieces"])
def test_every_word_counts_once_and_in_order(max_length, which, tok):
    r, t = random.Random(max_length), tok if which == "words" else AutoTokenizer.from_pretrained(default_teacher())
    pool = [*WORDS[5:], *([] if which == "words" else ["internationalisation", "\u200b", "naïve", "北京", "#", "..."])]
    rows = [([r.choice(pool) for _ in range(r.choice([1, 5, 20, 90]))]) for _ in range(12)]
    rows = [(w, [r.choice(["O", "B-X", "I-X"]) for _ in w]) for w in rows]
    task = task_of(rows + [(["good"], ["B-X"])])
    out = tokenize(task, t, max_length)["train"]
    whole = tokenize(task, t, 4000)["train"]
    assert max(out["length"]) <= max_length and len(whole) == len(task["train"])
    def by_text(rows):
        said = {}
        for n, y, mask in zip(rows["row"], rows["labels"], rows["word_mask"]):
            assert [v != -100 for v in y] == [m == 1 for m in mask]
            said.setdefault(n, []).extend(v for v in y if v != -100)
        return said
    assert by_text(out) == by_text(whole) == dict(enumerate(task["train"]["label"]))

@pytest.mark.parametrize("model", ["roberta", "bert"])
def test_first_pieces_of_byte_pairs_and_word_pieces(model):
    "Byte-level tokens may claim the space in front of them."
    words, starts = ["New", "York", "!"], [0, 4, 9]
    spans = dict(bert=[(0, 0), (0, 3), (4, 6), (6, 8), (9, 10), (0, 0)], roberta=[(0, 0), (0, 3), (3, 6), (6, 8), (8, 10), (0, 0)])[model]
    assert first_pieces(words, spans, starts) == {0: 1, 1: 2, 2: 4}

@pytest.mark.parametrize("word", ["New\xa0York", "a\u2028b", "a\x85b", "a\x0cb", "\u3000"], ids=ascii)
def test_a_word_may_hold_any_space_but_the_separator(word):
    assert read_conll(f"{word} B-LOC\nfilm O\n\nx O\n").words[0] == [word, "film"]
    assert read_conll(f"{word}\tB-LOC\r\nfilm\tO\r\n").words[0] == [word, "film"]

def test_small_letters_are_tags_too():
    from distill_nb.data.tags import pick_tags
    from distill_nb.data.words import read_tags
    table = pick_tags(read_conll("Anna b-per\nin o\n\nRom i-loc\n"))
    with pytest.warns(UserWarning, match="1 tags are written otherwise"): assert read_tags(table, None, "x")[1] == ["O", "B-loc", "B-per"]

@pytest.mark.parametrize("paragraphs", ["oops", [["no"]], [dict(context="c", qas=["no"])], [dict(context="c", qas=None)], None, 3], ids=repr)
def test_a_damaged_squad_file_is_one_sentence(paragraphs):
    from distill_nb.data.spans import from_squad
    with pytest.raises(InputError, match="as SQuAD's files have"): from_squad(pd.DataFrame([dict(paragraphs=paragraphs)]), "x.json")

def test_a_treebank_by_the_names_of_its_columns(tmp_path):
    "Parts of words and words that nobody wrote are passed over; comments may stand anywhere; another width is refused."
    def word(n, *fields): return "\t".join([str(n), *fields, *["_"] * (9 - len(fields))])
    text = "\n\n".join("\n".join([f"# sent_id = {i}", word(1, f"Dogs{i}", "dog", "NOUN"), "# new", word("2-3", "don't"), word(2, "do", "do", "AUX"),
                                  word(3, "n't", "not", "PART"), word("3.1", "bark", "bark", "VERB")]) for i in range(20)) + "\n"
    (tmp_path/"tree.conllu").write_text(text)
    task = load_task(tmp_path/"tree.conllu", label="upos")
    assert {*task.labels} == {"NOUN", "AUX", "PART"} and all(row[1:] == ["do", "n't"] for row in task["train"]["words"])
    with pytest.raises(InputError, match="no column 'pos' for label: expected one of 'lemma', 'upos'"): load_task(tmp_path/"tree.conllu", label="pos")
    (tmp_path/"thin.conllu").write_text("1\tDogs\tNOUN\n")
    with pytest.raises(InputError, match="3 columns: expected ten"): load_task(tmp_path/"thin.conllu")
