"Sweeps behind nbs/data/03_tasks.ipynb: files of every kind, splits, labels, bad input, GLUE's own folders."
import os, signal, subprocess, sys, time, warnings, zipfile
from pathlib import Path
import numpy as np
import pandas as pd
import pyarrow as pa, pyarrow.parquet as pq
import pytest, torch
from datasets import (
    ClassLabel, Dataset, DatasetDict, Features, IterableDataset, List as ListOf, Value, disable_progress_bars)
from distill_nb.data.tasks import UNLABELLED, Task, make_task, split_frame
from distill_nb.data.docstrings import first_sentence, is_prose, read_docstrings, text_hash
from distill_nb.data.embedded import libraries, shift
from distill_nb.data.load import load_task
from distill_nb.kit.errors import InputError
from distill_nb.data import docstrings as docs, embedded, load
import distill_nb.data.tasks as data

disable_progress_bars()

def frame(n=40, **columns):
    return pd.DataFrame(dict(text=[f"film {i} was {w}" for i in range(n // 2) for w in ("dull", "fine")],
                             label=["bad", "good"] * (n // 2)) | columns)

WRITE = {
    "csv": lambda df, path: df.to_csv(path, index=False),
    "tsv": lambda df, path: df.to_csv(path, index=False, sep="\t"),
    "json": lambda df, path: df.to_json(path, orient="records"),
    "jsonl": lambda df, path: df.to_json(path, orient="records", lines=True),
    "parquet": lambda df, path: df.to_parquet(path, index=False),
}
every_ending = pytest.mark.parametrize("ending", WRITE)

def save(df, path):
    WRITE[path.suffix[1:]](df, path)
    return path

def sizes(task): return {split: len(rows) for split, rows in task.splits.items()}
def texts(task, split, columns=("text",)): return list(zip(*(task[split][c] for c in columns)))
def together(task, column): return [v for split in task.splits for v in task[split][column]]

# Files of every kind

@every_ending
def test_classes_from_a_file(ending, tmp_path):
    task = load_task(save(frame(), tmp_path/f"films.{ending}"))
    assert (task.name, task.kind, task.metric, task.labels) == ("films", "classification", "accuracy", ["bad", "good"])
    assert sizes(task) == dict(train=32, validation=4, test=4)
    assert sorted(together(task, "text")) == sorted(frame().text)
    named = dict(zip(frame().text, frame().label))
    for split in task.splits:
        assert all(task.labels[y] == named[t] for t, y in zip(task[split]["text"], task[split]["label"]))

@every_ending
def test_pairs_under_other_names(ending, tmp_path):
    df = frame().rename(columns=dict(text="premise", label="verdict")).assign(claim=[f"claim {i}" for i in range(40)])
    task = load_task(save(df, tmp_path/f"p.{ending}"), text="premise", pair="claim", label="verdict")
    assert task.is_pair and task["train"].column_names == ["text", "pair", "label"]
    assert sorted(together(task, "pair")) == sorted(df.claim)

@every_ending
def test_scores(ending, tmp_path):
    task = load_task(save(frame(label=[i / 8 for i in range(40)]), tmp_path/f"s.{ending}"))
    assert (task.kind, task.metric, task.labels, task.n_outputs) == ("regression", "pearson", None, 1)
    assert sorted(together(task, "label")) == [i / 8 for i in range(40)]

@every_ending
@pytest.mark.parametrize("labels, names", [([0, 1], ["0", "1"]), ([10, 9], ["9", "10"]), ([1., 2.], ["1", "2"]),
                                           ([True, False], ["False", "True"])], ids=str)
def test_numbers_as_classes(ending, labels, names, tmp_path):
    df = frame(label=labels * 20)
    if ending in ("csv", "tsv"): df["label"] = df["label"].map(lambda v: int(v) if isinstance(v, float) else v)
    task = load_task(save(df, tmp_path/f"n.{ending}"))
    assert task.labels == names and together(task, "label").count(0) == 20

def test_whole_numbers_are_scores_when_told(tmp_path):
    task = load_task(save(frame(label=[1, 2, 3, 5] * 10), tmp_path/"stars.csv"), kind="regression", metric="spearman")
    assert (task.kind, task.metric) == ("regression", "spearman")

@every_ending
def test_text_is_text(ending, tmp_path):
    "What pandas would take for a missing value, a number, a date or a truth stays what was written."
    odd = ["NA", "null", "nan", "None", "N/A", "1e5", "007", "2020-01-01", "true", "电影 很好"]
    df = frame(text=odd + [f"text {i}" for i in range(30)])
    assert sorted(together(load_task(save(df, tmp_path/f"odd.{ending}")), "text")) == sorted(df.text)

@pytest.mark.parametrize("ending", ["csv", "tsv", "json", "jsonl"])
def test_byte_order_mark(ending, tmp_path):
    path = save(frame(), tmp_path/f"bom.{ending}")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_task(path).labels == ["bad", "good"]

def test_quotes_in_csv_and_bare_quotes_in_tsv(tmp_path):
    df = frame(text=[f'he said "no, {i}"' for i in range(40)])
    assert sorted(together(load_task(save(df, tmp_path/"q.csv")), "text")) == sorted(df.text)
    lines = ["text\tlabel", *(f'"it was {i}\t{i % 2}' for i in range(40))]
    (tmp_path/"q.tsv").write_text("\n".join(lines))
    assert '"it was 7' in together(load_task(tmp_path/"q.tsv"), "text")

def test_json_lines_under_a_json_name(tmp_path):
    path = save(frame(), tmp_path/"a.jsonl").rename(tmp_path/"a.json")
    assert sizes(load_task(path)) == dict(train=32, validation=4, test=4)

@every_ending
def test_rows_without_text_are_dropped(ending, tmp_path):
    df = frame(text=["", "  ", *frame().text[2:]])
    assert len(together(load_task(save(df, tmp_path/f"e.{ending}")), "text")) == 38

@pytest.mark.parametrize("missing", [None, float("nan"), "", pd.NA])
def test_missing_values_of_every_kind(missing):
    task = make_task("m", dict(train=frame(label=["bad", "good", missing, missing] * 10)))
    assert together(task, "label").count(UNLABELLED) == 20

def test_categories(tmp_path):
    df = frame(label=["bad", "good", None, "good"] * 10).astype(dict(label="category"))
    assert load_task(save(df, tmp_path/"c.parquet")).labels == ["bad", "good"]

# Unlabelled rows

@every_ending
def test_unlabelled_rows_stay_in_train(ending, tmp_path):
    df = frame(200, label=["bad", "good", None, None] * 50)
    task = load_task(save(df, tmp_path/f"u.{ending}"))
    assert sizes(task) == dict(train=180, validation=10, test=10)
    assert task.table().labelled.to_dict() == dict(train=80, validation=10, test=10)

def test_unlabelled_scores_are_nan():
    task = make_task("u", dict(train=frame(label=[.5, None] * 20)))
    assert task.table().labelled.to_dict() == dict(train=16, validation=2, test=2)

def test_unlabelled_copy_of_a_held_out_text_does_not_train():
    labelled = frame(60)
    task = make_task("c", dict(train=pd.concat([labelled, labelled.assign(label="")])))
    held = set(task["validation"]["text"]) | set(task["test"]["text"])
    assert len(held) == 12 and not held & set(task["train"]["text"])

# Splits

@pytest.mark.parametrize("n", [10, 11, 20, 97, 500])
def test_every_split_gets_rows_and_no_text_twice(n):
    df = pd.DataFrame(dict(text=[f"text {i}" for i in range(n)], label=[i % 2 for i in range(n)]))
    task = make_task("n", dict(train=df))
    share = max(1, round(n / 10))
    assert sizes(task) == dict(train=n - 2 * share, validation=share, test=share)
    assert len(set(together(task, "text"))) == n

def test_copies_fall_on_one_side():
    df = pd.concat([frame(60)] * 3, ignore_index=True)
    task = make_task("copies", dict(train=df))
    sides = [set(task[split]["text"]) for split in task.splits]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 60
    assert sum(sizes(task).values()) == 180

def test_a_pair_is_one_text():
    df = frame().assign(text="same", pair=[f"claim {i}" for i in range(40)])
    assert sizes(make_task("pairs", dict(train=df))) == dict(train=32, validation=4, test=4)

def test_held_out_splits_have_a_limit():
    df = pd.DataFrame(dict(text=map(str, range(300))))
    cut = split_frame(df, ["text"], dict(validation=.5, test=.1), at_most=20)
    assert {s: len(f) for s, f in cut.items()} == dict(train=260, validation=20, test=20)

def test_salt_gives_another_split():
    df = pd.DataFrame(dict(text=map(str, range(100))))
    one, two = (set(split_frame(df, ["text"], dict(test=.2), salt=s)["test"].text) for s in "ab")
    assert len(one) == len(two) == 20 and one != two

def test_splits_do_not_depend_on_order_or_process(tmp_path):
    path = save(frame(100), tmp_path/"a.csv")
    task = load_task(path)
    turned = load_task(save(frame(100)[::-1], tmp_path/"b.csv"))
    assert all(texts(task, s) == texts(turned, s) for s in task.splits)
    code = f"from distill_nb import load_task; print(load_task({str(path)!r})['test']['text'][:])"
    env = os.environ | dict(PYTHONHASHSEED="7", PYTHONPATH=str(Path(docs.__file__).parents[2]))
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True).stdout
    assert other.strip().splitlines()[-1] == str(list(task["test"]["text"]))

def test_text_hash_is_a_constant():
    assert text_hash("distil") == 72277156368097036
    assert text_hash("a", "b") != text_hash("ab") and text_hash("\ud800") != text_hash("a")

@pytest.mark.parametrize("dev", ["dev", "val", "valid", "validation"])
def test_folder_with_all_splits(dev, tmp_path):
    for i, split in enumerate(["train", dev, "test"]):
        save(frame(12, text=[f"{i} {j}" for j in range(12)]), tmp_path/f"{split}.csv")
    task = load_task(tmp_path)
    assert sizes(task) == dict(train=12, validation=12, test=12)
    assert task["validation"]["text"][0].startswith("1") and task["test"]["text"][0].startswith("2")

def test_folder_without_a_test_reports_on_its_dev(tmp_path):
    save(frame(40), tmp_path/"train.jsonl"), save(frame(10, text=[f"dev {i}" for i in range(10)]), tmp_path/"dev.jsonl")
    task = load_task(tmp_path)
    assert sizes(task) == dict(train=36, validation=4, test=10)
    assert all(t.startswith("dev") for t in task["test"]["text"])

# Tasks

def test_table_of_a_task():
    table = make_task("t", dict(train=frame(40))).table()
    assert list(table) == ["rows", "labelled", "bad", "good"] and table.rows.tolist() == [32, 4, 4]
    assert (table.bad + table.good).tolist() == pytest.approx([1, 1, 1])

def test_labels_fix_the_order_of_ids():
    task = make_task("t", dict(train=frame(40)), labels=["good", "bad"])
    row = task["train"][0]
    assert (row["label"] == 0) == row["text"].endswith("fine")

@pytest.fixture(scope="module")
def relabel():
    pytest.importorskip("distill_nb.teachers.load")  # adds the method
    return Task.relabel

def test_relabel_keeps_each_rows_name(relabel):
    task = make_task("t", dict(train=frame(200, label=["a", "b", "c", None] * 50)))
    turned = relabel(task, ["c", "a", "b"])
    assert turned.labels == ["c", "a", "b"] and task.labels == ["a", "b", "c"]
    for split in task.splits:
        for old, new in zip(task[split]["label"], turned[split]["label"]):
            assert old == new == UNLABELLED or task.labels[old] == turned.labels[new]
    assert relabel(turned, task.labels)["test"]["label"][:] == task["test"]["label"][:]

def test_relabel_with_nothing_to_do(relabel):
    classes = make_task("t", dict(train=frame()))
    scores = make_task("t", dict(train=frame(label=[i / 8 for i in range(40)])))
    assert relabel(classes, None) is classes and relabel(classes, ["bad", "good"]) is classes
    assert relabel(scores, ["a"]) is scores
    with pytest.raises(InputError, match="expected the classes"): relabel(classes, ["bad", "worse"])

# Embedded tasks, on a few docstrings

def test_first_sentences():
    assert first_sentence("  Reads a.b files. Then stops.") == "Reads a.b files"
    assert first_sentence("Is it?\n\nYes.") == "Is it"
    assert read_docstrings("class A:\n  'One thing.'\n  async def b(): 'Two. Three'") == [("A", "One thing"), ("b", "Two")]
    assert read_docstrings("print 'python 2'") == [] and read_docstrings("\0") == []

@pytest.mark.parametrize("sentence, prose", [
    ("Return the mean of the values", True), ("Return the mean of values", False), (" ".join(["word"] * 12), True),
    (" ".join(["word"] * 13), False), ("Return {a} set of the values", False), ("Gibt die größte der Zahlen zurück", False)])
def test_prose(sentence, prose): assert is_prose(sentence) is prose

def test_shift_swaps_two_neighbours_and_never_the_first():
    for i in range(200):
        sentence = f"Return the mean of all rows in group {i}"
        text, label = shift(sentence)
        a, b = sentence.split(), text.split()
        moved = [j for j in range(len(a)) if a[j] != b[j]]
        assert len(moved) == 2 * int(label) and sorted(a) == sorted(b)
        if moved: assert moved[0] > 0 and moved[1] == moved[0] + 1

@pytest.fixture
def few_docs(monkeypatch):
    rows = [dict(package=p, file=f"{p}/{i % 5}.py", name=f"name_{i}",
                 sentence=f"Return the {p} value of all the rows in group {i}")
            for p in docs.LIBRARIES for i in range(40)]
    monkeypatch.setattr(embedded, "docstrings", lambda: pd.DataFrame(rows))

@pytest.mark.parametrize("name, n_classes, pair", [("bshift", 2, False), ("docnames", 2, True), ("libraries", 8, False)])
def test_embedded_tasks(name, n_classes, pair, few_docs):
    task = load_task(name)
    assert (task.name, len(task.labels), task.is_pair) == (name, n_classes, pair)
    assert sizes(task) == dict(train=256, validation=32, test=32)
    assert set(together(task, "label")) == set(range(n_classes))

def test_libraries_masks_the_names(few_docs):
    df, _ = libraries(embedded.docstrings())
    assert not df.text.str.contains("torch|numpy|pandas|datasets", case=False).any()

# Bad input

def csv(text): return lambda folder: (folder/"a.csv").write_bytes(text.encode("utf-8") if isinstance(text, str) else text)
ROWS = "".join(f"text {i},{i % 2}\n" for i in range(30))
BAD_FILES = {
    "missing": (lambda folder: None, {}, "a.csv: no such file"),
    "empty": (csv(""), {}, "the file is empty"),
    "header only": (csv("text,label\n"), {}, "the file has no rows"),
    "not utf-8": (csv("text,label\nça va,1\n".encode("latin-1")), {}, "Save it as UTF-8"),
    "ragged": (csv('text,label\n"open,1\nb,2,3,4\n'), {}, "line 2: unexpected end of data"),
    "no text column": (csv("review,label\n" + ROWS), {}, "no column 'text' for text: expected one of 'review', 'label'.*--text"),
    "no label column": (csv("text,mood\n" + ROWS), {}, "no column 'label' for label.*--label"),
    "no pair column": (csv("text,label\n" + ROWS), dict(pair="b"), "no column 'b' for pair.*--pair"),
    "misspelt": (csv("text,label\n" + ROWS), dict(text="txet"), "no column 'txet' for text"),
    "one class": (csv("text,label\n" + ROWS.replace(",0", ",1")), {}, "every label is '1': expected at least two classes"),
    "no label at all": (csv("text,label\n" + ROWS.replace(",0", ",").replace(",1", ",")), {}, "no row has a label"),
    "no text at all": (csv("text,label\n,1\n ,0\n"), {}, "no row with text"),
    "too few": (csv("text,label\na,1\nb,0\n"), {}, "2 different texts with a label: expected at least 10"),
    "one text many times": (csv("text,label\n" + "same,1\nsame,0\n" * 20), {}, "1 different texts"),
    "labels are texts": (csv("text,label\n" + "".join(f"t {i},label {i}\n" for i in range(99))), {}, "99 different labels in 99 rows"),
    "words as scores": (csv("text,label\n" + ROWS + "b,good\n"), dict(kind="regression"), "label 'good': expected a finite number"),
    "endless score": (csv("text,label\n" + ROWS + "b,inf\n"), dict(kind="regression"), "label 'inf': expected a finite number"),
    "no score": (csv("text,label\n" + "a b,\n" * 3), dict(kind="regression"), "no row has a label"),
    "strange kind": (csv("text,label\n" + ROWS), dict(kind="ranking"), "kind='ranking': expected 'classification' or"),
}

@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file_is_refused_in_one_sentence(name, tmp_path):
    make, options, message = BAD_FILES[name]
    make(tmp_path)
    with pytest.raises(InputError, match=message) as caught: load_task(tmp_path/"a.csv", **options)
    assert "\n" not in str(caught.value)
    assert [f.name for f in tmp_path.iterdir()] in ([], ["a.csv"])

@pytest.mark.parametrize("ending, text", [("json", "{broken"), ("jsonl", '{"text": 1}\nnot json\n'), ("parquet", "not parquet")])
def test_broken_files_are_refused(ending, text, tmp_path):
    (tmp_path/f"a.{ending}").write_text(text)
    with pytest.raises(InputError, match="cannot be read.*Check the file's format"): load_task(tmp_path/f"a.{ending}")

def test_other_endings_are_refused(tmp_path):
    (tmp_path/"a.pdf").write_text("text")
    with pytest.raises(InputError, match="the ending '.pdf': expected one of .csv, .tsv"): load_task(tmp_path/"a.pdf")

def test_folder_without_train_is_refused(tmp_path):
    save(frame(), tmp_path/"test.csv")
    with pytest.raises(InputError, match="holds no train file"): load_task(tmp_path)

def test_labels_of_test_must_be_known():
    with pytest.raises(InputError, match=r"label 'maybe': expected one of \['bad', 'good'\]"):
        make_task("t", dict(train=frame(), test=frame(2, label=["bad", "maybe"])), labels=["bad", "good"])

def test_unknown_name_without_network(monkeypatch):
    def fail(*_): raise ConnectionError("no network")
    monkeypatch.setattr(load.datasets, "load_dataset", fail)
    for name in ("no-one/nothing", "sst2"):
        with pytest.raises(InputError, match="ConnectionError.*expected one of bshift, docnames, libraries, .*a file"): load_task(name)

# A number with a fraction beside a word: refused or classes, never by the luck of a set's order

@pytest.mark.parametrize("seed", ["0", "2"])
def test_kind_does_not_depend_on_the_hash_seed(seed, tmp_path):
    path = save(frame(label=["1.5", "good"] * 20), tmp_path/"a.csv")
    code = f"from distill_nb import load_task; print(load_task({str(path)!r}).labels)"
    env = os.environ | dict(PYTHONHASHSEED=seed, PYTHONPATH=str(Path(docs.__file__).parents[2]))
    assert "['1.5', 'good']" in subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env).stdout

# The Hub, its answer set down here

def hub(monkeypatch, **splits):
    monkeypatch.setattr(load.datasets, "load_dataset", lambda path, config: DatasetDict(splits))

def test_glue_from_the_hub_leaves_out_its_hidden_test(monkeypatch):
    def pairs(n, label):
        return Dataset.from_dict(dict(sentence1=[f"{label} {i}" for i in range(n)], sentence2=["b"] * n, label=[label] * n))
    hub(monkeypatch, train=pairs(30, 2.5), validation=pairs(5, 1.5), test=pairs(7, -1.))
    task = load_task("stsb")
    assert sizes(task) == dict(train=27, validation=3, test=5)
    assert set(task["test"]["label"]) == {1.5}

@pytest.mark.parametrize("dev", ["validation", "validation_matched"])
def test_class_names_from_the_hub(dev, monkeypatch):
    kinds = Features(premise=Value("string"), hypothesis=Value("string"), label=ClassLabel(names=["yes", "perhaps", "no"]))
    def rows(n):
        columns = dict(premise=[f"p {i}" for i in range(n)], hypothesis=["h"] * n, label=[i % 3 for i in range(n)])
        return Dataset.from_dict(columns, features=kinds)
    hub(monkeypatch, train=rows(30), **{dev: rows(6)})
    task = load_task("mnli")
    assert task.labels == ["yes", "perhaps", "no"] and sizes(task) == dict(train=27, validation=3, test=6)
    assert sorted(task["test"]["label"]) == [0, 0, 1, 1, 2, 2]

# GLUE's folders

GLUE_LINES = {
    "CoLA": ("", "gj04\t{y}\t\tOur friends won't buy \"it {i}\n", "matthews", ["unacceptable", "acceptable"]),
    "SST-2": ("sentence\tlabel\n", "a good film {i}\t{y}\n", "accuracy", ["negative", "positive"]),
    "MRPC": ("\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n", "{y}\t1\t2\tHe said \"no {i}\tHe did {i}\n", "f1", ["not_equivalent", "equivalent"]),
    "RTE": ("index\tsentence1\tsentence2\tlabel\n", "{i}\tIt rains {i}\tIt is wet\t{e}\n", "accuracy", ["entailment", "not_entailment"]),
    "STS-B": ("index\tsentence1\tsentence2\tscore\n", "{i}\tA man {i}\tA woman\t{i}.5\n", "pearson", None),
}

@pytest.mark.parametrize("name", GLUE_LINES)
def test_folder_as_glue_ships_it(name, tmp_path):
    header, line, metric, labels = GLUE_LINES[name]
    folder = tmp_path/name
    folder.mkdir()
    for file, ids in {"train.tsv": range(30), "dev.tsv": range(30, 36)}.items():
        lines = [line.format(i=i, y=i % 2, e=["entailment", "not_entailment"][i % 2]) for i in ids]
        (folder/file).write_text(header + "".join(lines), encoding="utf-8")
    task = load_task(folder)
    assert (task.metric, task.labels) == (metric, labels)
    assert sizes(task) == dict(train=27, validation=3, test=6)
    assert any("30" in t for t in task["test"]["text"])

@pytest.mark.parametrize("said", [b"no JSON", b'{"info": {"features": {"text": {"dtype": "string", "_type": "Value"}, "label": {"_type": "OfTomorrow"}}}}'], ids=["damaged", "newer"])
def test_a_parquet_file_of_another_release_is_read_by_its_ids(said, tmp_path):
    "A column's type that this release of datasets does not know must not cost the file."
    table = pa.table(dict(text=[f"film {i}" for i in range(40)], label=[i % 2 for i in range(40)]))
    pq.write_table(table.replace_schema_metadata({b"huggingface": said}), tmp_path/"a.parquet")
    with pytest.warns(UserWarning, match="a.parquet: classes keep their ids"): assert load_task(tmp_path/"a.parquet").labels == ["0", "1"]

def test_a_class_without_a_name_is_refused(tmp_path):
    said = b'{"info": {"features": {"text": {"dtype": "string", "_type": "Value"}, "label": {"names": ["one"], "_type": "ClassLabel"}}}}'
    table = pa.table(dict(text=[f"film {i}" for i in range(40)], label=[i % 2 for i in range(40)]))
    pq.write_table(table.replace_schema_metadata({b"huggingface": said}), tmp_path/"a.parquet")
    with pytest.raises(InputError, match="a.parquet: id 1: expected one of 1 named classes"): load_task(tmp_path/"a.parquet")

def test_a_line_of_glue_with_too_many_fields_is_left_out_aloud(tmp_path, capfd):
    "QQP has some. pandas warns, and before 2.2 it writes to stderr."
    test_folder_as_glue_ships_it("RTE", tmp_path)
    with open(tmp_path/"RTE"/"train.tsv", "a", encoding="utf-8") as f: f.write("99\tone\ttwo\tthree\tentailment\n")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert len(load_task(tmp_path/"RTE").table()) == 3
    assert "kipping line 32: expected 4 fields, saw 5" in capfd.readouterr().err + " ".join(str(w.message) for w in seen)

def test_glue_folder_without_dev_is_refused(tmp_path):
    (tmp_path/"RTE").mkdir()
    (tmp_path/"RTE/train.tsv").write_text("sentence1\tsentence2\tlabel\na\tb\tentailment\n")
    with pytest.raises(InputError, match="no such file: expected GLUE's train.tsv and dev.tsv"): load_task(tmp_path/"RTE")

REAL = Path(__file__).resolve().parents[3]/"shared"/"data"/"glue"
REAL_ROWS = {"SST-2": (67_349, 872), "CoLA": (8_551, 1_043), "MRPC": (3_667, 408), "RTE": (2_490, 277), "STS-B": (5_749, 1_500)}

@pytest.mark.skipif(not REAL.is_dir(), reason="the real GLUE folders are not here")
@pytest.mark.parametrize("name", REAL_ROWS)
def test_real_glue_folders(name):
    task = load_task(REAL/name)
    n = sizes(task)
    assert (n["train"] + n["validation"], n["test"]) == REAL_ROWS[name]
    assert task.table().labelled.sum() == sum(REAL_ROWS[name])
    columns = ["text", "pair"] if task.is_pair else ["text"]
    assert not set(texts(task, "train", columns)) & set(texts(task, "validation", columns))

# What a source says about its splits

def noted(*args, **kw):
    "A task, and the notes that came with it."
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        task = load_task(*args, **kw)
    return task, [str(n.message) for n in notes if issubclass(n.category, UserWarning)]  # not what pandas says of numpy

def folder_of(path, **splits):
    for name, df in splits.items(): df.to_csv(path/f"{name}.csv", index=False)
    return path

def part(n, labels, start):
    return pd.DataFrame(dict(text=[f"{start} {i}" for i in range(n)], label=(labels * n)[:n]))

@pytest.mark.parametrize("nothing", ["", "NA", "nan", None])
@pytest.mark.parametrize("splits", [["test"], ["dev"], ["test", "dev"]], ids="+".join)
def test_splits_without_labels_are_left_out_before_training(nothing, splits, tmp_path):
    parts = {s: part(30, [nothing] if s in splits else ["a", "b"], s) for s in ("train", "test", "dev")}
    task, notes = noted(folder_of(tmp_path, **parts))
    lacking = task.table().labelled
    assert list(lacking.index) == ["train", "validation", "test"] and (lacking == task.table().rows).all()
    assert sum("has a label, so this split is left out" in n for n in notes) == len(splits)

def test_train_without_labels_is_refused(tmp_path):
    folder_of(tmp_path, train=part(30, [""], "a"), test=part(30, ["a", "b"], "b"))
    with pytest.raises(InputError, match="no row of train has a label"): load_task(tmp_path)

def test_a_class_that_a_split_lacks_is_told(tmp_path):
    task, notes = noted(folder_of(tmp_path, train=part(60, ["a", "b"], "x"), test=part(60, ["a", "c"], "y")))
    assert task.labels == ["a", "b", "c"]
    assert [n for n in notes if "no row of" in n] == [f"{tmp_path.name}: train has no row of 'c'; test has no row of 'b'"]

def test_texts_of_train_in_other_files_are_told(tmp_path):
    both = part(30, ["a", "b"], "x")
    _, notes = noted(folder_of(tmp_path, train=both, test=pd.concat([both[:7], part(9, ["a", "b"], "y")])))
    assert [n for n in notes if "are in train too" in n] and "7 texts of test" in notes[0]
    assert noted(folder_of(tmp_path, train=both, test=part(9, ["a", "b"], "y")))[1] == []

@pytest.mark.parametrize("one, two", [("train.csv", "train.tsv"), ("train.csv", "TRAIN.CSV"), ("dev.csv", "valid.csv"), ("test.csv", "test.jsonl")])
def test_two_files_for_one_split_are_refused(one, two, tmp_path):
    for name in {"train.csv", one, two}: (tmp_path/name).write_text("text,label\na,1\n")
    with pytest.raises(InputError, match=f"({one} beside {two}|{two} beside {one}): expected one file for"): load_task(tmp_path)

@pytest.mark.parametrize("metric", ["nope", "pearson", "Accuracy", ""])
def test_metrics_that_a_task_does_not_have(metric, tmp_path, few_docs):
    path = save(frame(), tmp_path/"a.csv")
    for source in path, "bshift":
        with pytest.raises(InputError, match="metric of a classification='.*': expected 'accuracy' or 'matthews' or 'f1'"): load_task(source, metric=metric)

@pytest.mark.parametrize("score", ["1e39", "-1e39", "inf", "3.5e38"])
def test_scores_beyond_what_a_model_holds(score, tmp_path):
    path = save(frame(label=["0.5"] * 39 + [score]), tmp_path/"a.csv")
    with pytest.raises(InputError, match=f"label '{score}': expected a finite number"): load_task(path, kind="regression")

# A model's classes are more than a file's

@pytest.mark.parametrize("labels", [["good"], ["good", "bad"], ["good", "", "mid"]])
def test_classes_that_are_known_beforehand(labels, tmp_path):
    path = save(part(6, labels, "x"), tmp_path/"a.csv")
    task = load_task(path, labels=["mid", "bad", "good"], hold_out=False)
    assert (task.labels, list(task.splits)) == (["mid", "bad", "good"], ["train"])
    assert [task.labels[y] if y != UNLABELLED else "" for y in task["train"]["label"]] == (labels * 6)[:6]
    with pytest.raises(data.TooFew): load_task(path, labels=["mid", "bad", "good"])
    with pytest.raises(InputError, match="label 'good': expected one of"): load_task(path, labels=["mid", "bad"], hold_out=False)

# Packages of every shape

def test_packages_of_every_shape(tmp_path, monkeypatch):
    for place in "one", "two": # a namespace package has a folder in each
        (tmp_path/place/"space"/"tests").mkdir(parents=True)
        (tmp_path/place/f"space/{place}.py").write_text('"A module."')
        (tmp_path/place/"space/tests/t.py").write_text("")
        monkeypatch.syspath_prepend(tmp_path/place)
    (tmp_path/"one/alone.py").write_text('"Alone."')
    with zipfile.ZipFile(tmp_path/"z.zip", "w") as z:
        for name in "zipped/__init__.py", "zipped/a.py", "zipped/in/b.py", "zipped/tests/c.py", "zipped/d.txt", "other/e.py":
            z.writestr(name, 'def f(): "What it does."')
    monkeypatch.syspath_prepend(tmp_path/"z.zip")
    names = lambda package: [f.name for f in docs.package_files(package)]
    assert (names("space"), names("alone")) == (["one.py", "two.py"], ["alone.py"])
    assert names("zipped") == ["__init__.py", "a.py", "b.py"] and names("json.decoder") == ["decoder.py"]
    assert names("sys") == [] # built in: no file at all
    whole = docs.read_slice("zipped==1#0/1")
    assert [r["sentence"] for r in whole] == ["What it does"] * 3
    assert sorted(r["file"] for i in range(2) for r in docs.read_slice(f"zipped==1#{i}/2")) == sorted(r["file"] for r in whole)

READING = """
import os, sys, time
from distill_nb.data import docstrings as data
def slow(part):
    os.write(1, b"%d\\n" % os.getpid()) # in one piece
    time.sleep(60)
for row in data.read_slices(["a", "b"], 2, slow): pass
"""

def alive(pid):
    try: return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError: return False

@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="one process reads elsewhere")
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_killed_reader_leaves_no_processes(sent):
    env = os.environ | dict(PYTHONPATH=str(Path(docs.__file__).parents[2]))
    p = subprocess.Popen([sys.executable, "-c", READING], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env)
    workers = [int(p.stdout.readline()) for _ in range(2)]
    assert all(map(alive, workers))
    p.send_signal(sent)
    p.wait(30)
    for _ in range(100):
        if not any(map(alive, workers)): break
        time.sleep(.1)
    assert not any(map(alive, workers))

# Folders as people have them

def test_numbered_parts_are_one_split(tmp_path):
    df = frame(40)
    for i, part in enumerate((df[:20], df[20:])): part.to_parquet(tmp_path/f"train-0000{i}-of-00002.parquet", index=False)
    frame(8).to_parquet(tmp_path/"test-00000-of-00001.parquet", index=False)
    task = load_task(tmp_path)
    assert len(task["train"]) + len(task["validation"]) + 8 >= 40 and len(task["test"]) == 8

@pytest.mark.parametrize("name", ["training.csv", "data.csv", "train_2.json", "eval.parquet"])
def test_tables_that_are_not_read_are_told(tmp_path, name):
    save(frame(), tmp_path/"train.csv")
    save(frame(8), tmp_path/name)
    with pytest.warns(UserWarning, match=f"{name}: not read"): load_task(tmp_path)

@pytest.mark.parametrize("name", ["mrpc", "RTE", "sst-2", "CoLA", "glue_qqp"])
def test_a_folder_with_a_glue_name_is_a_folder(tmp_path, name):
    (tmp_path/name).mkdir()
    save(frame(), tmp_path/name/"train.csv")
    assert load_task(tmp_path/name).labels == ["bad", "good"]

@pytest.mark.parametrize("sep", [";", "|", "\t"])
def test_a_separator_is_found_where_the_usual_one_fits_no_row(tmp_path, sep):
    "A comma in a column's name is no separator."
    rows = "".join(f"a film, {i}{sep}{'good' if i % 2 else 'bad'}{'' if i % 3 else ''}\n" for i in range(40))
    (tmp_path/"a.csv").write_text(f"text, as written{sep}label\n{rows}1,2,3{sep}good\n")
    assert load_task(tmp_path/"a.csv", text="text, as written").labels == ["bad", "good"]

def test_a_kind_is_offered_exactly_if_it_can_be_read():
    import distill_nb.data  # its pages register what they read
    from distill_nb.data.tasks import READ
    from distill_nb.shell.options import TASKS
    assert {*TASKS} == {*READ}

@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + ".csv", "a\0b.csv", "loop.csv"], ids=["long", "long csv", "zero byte", "loop"])
def test_a_name_that_cannot_be_looked_up_is_one_sentence(name, tmp_path, monkeypatch):
    "Whatever reads a file or a folder refuses it alike."
    from distill_nb.data.corpus import read_corpus
    from distill_nb.data.vectors import read_vectors
    from distill_nb.students.bilstm import start_vectors
    from distill_nb.teachers.load import load_teacher
    monkeypatch.chdir(tmp_path)
    (tmp_path/"loop.csv").symlink_to("loop.csv")
    for read in load_task, read_corpus, read_vectors, start_vectors, load_teacher:
        with pytest.raises(InputError, match="cannot be looked up"): read(name)

def test_an_unknown_kind_is_named_before_the_columns(tmp_path):
    (tmp_path/"a.conll").write_text("a O\nb B-X\n")
    for kind in "nonsense", "embedding":
        with pytest.raises(InputError, match=f"kind='{kind}'"): load_task(tmp_path/"a.conll", kind=kind)

def test_half_a_character_in_memory(): assert make_task("half", dict(train=pd.DataFrame(dict(
    text=[f"{i} \ud83d" for i in range(20)], label=["a", "b"] * 10), dtype=object)))["train"][0]["text"].endswith("\ufffd")

@pytest.mark.parametrize("label", [[[0, 4, "PER"]], [{"start": 0}], [["a"], ["b"]]], ids=repr)
def test_marks_of_characters_are_no_labels(label):
    with pytest.raises(InputError, match="marks.*--kind tags|list with the label.*--kind tags"):
        make_task("marks", dict(train=pd.DataFrame(dict(text=[f"Anna {i}" for i in range(20)], label=[label] * 20))))

def test_an_invisible_mark_of_direction_makes_no_class():
    "Excel sheets in Arabic or Hebrew have them."
    with pytest.warns(UserWarning, match="looks like another label"):
        task = make_task("marks", dict(train=pd.DataFrame(dict(text=[str(i) for i in range(40)], label=["good", "bad", "\u200fgood", "bad\u202c"] * 10))))
    assert task.labels == ["bad", "good"]

def test_rows_without_a_text_are_told():
    rows = dict(text=["a", " ", "b"] * 8, label=["x", "x", "y"] * 8)
    rows["text"] = [f"{t} {i}" if t.strip() else t for i, t in enumerate(rows["text"])]
    with pytest.warns(UserWarning, match="own: 8 rows without a text left out"): task = make_task("own", dict(train=pd.DataFrame(rows)))
    assert sum(map(len, task.splits.values())) == 16

# Rows in memory

def stream(df): return IterableDataset.from_generator(lambda: iter(df.to_dict("records")))

HELD = {"frame": lambda df: df, "records": lambda df: df.to_dict("records"), "generator": lambda df: (r for r in df.to_dict("records")),
        "columns": lambda df: df.to_dict("list"), "dataset": Dataset.from_pandas, "stream": stream,
        "arrow": lambda df: Dataset.from_pandas(df).data.table, "other index": lambda df: df.set_axis([7] * len(df)),
        "splits": lambda df: dict(train=df), "datasets": lambda df: DatasetDict(train=Dataset.from_pandas(df)),
        "records by split": lambda df: dict(train=df.to_dict("records"))}

@pytest.mark.parametrize("how", HELD)
def test_rows_in_memory_are_read_as_a_file_of_them(how, tmp_path):
    df = frame().rename(columns=dict(text="review", label="mood"))
    df.to_parquet(tmp_path/"a.parquet")
    names = dict(text="review", label="mood")
    wanted, task = load_task(tmp_path/"a.parquet", **names), load_task(HELD[how](df), **names)
    assert task.labels == wanted.labels and all(task[s][:] == wanted[s][:] for s in wanted.splits)

@pytest.mark.parametrize("several", [False, True], ids=["one label", "several"])
def test_a_data_sets_classes_have_names_and_hidden_ones_none(several):
    label = ClassLabel(names=["pos", "neg"])
    y = [[i % 2] if i % 3 else [0, 1] for i in range(40)] if several else [-1, *[1, 0] * 19, 1]
    features = Features(text=Value("string"), label=ListOf(label) if several else label)
    task = load_task(Dataset.from_dict(dict(text=[f"film {i}" for i in range(40)], label=y), features=features))
    assert task.labels == ["pos", "neg"] # in the data set's order
    if not several: assert task.table().labelled.sum() == 39

@pytest.mark.parametrize("several", [False, True], ids=["one label", "several"])
def test_a_parquet_file_of_datasets_keeps_the_names_of_its_classes(several, tmp_path):
    "Their ids say nothing; a hidden label is none."
    label = ClassLabel(names=["pos", "neg"])
    y = [[i % 2] if i % 3 else [0, 1] for i in range(40)] if several else [-1, *[1, 0] * 19, 1]
    features = Features(text=Value("string"), label=ListOf(label) if several else label)
    Dataset.from_dict(dict(text=[f"film {i}" for i in range(40)], label=y), features=features).to_parquet(tmp_path/"a.parquet")
    task = load_task(tmp_path/"a.parquet")
    assert sorted(task.labels) == ["neg", "pos"]
    if not several:
        assert task.table().labelled.sum() == 39
        ids = {t: task.labels[i] for s in task.splits for t, i in zip(task[s]["text"], task[s]["label"]) if i >= 0}
        assert all(ids[f"film {i}"] == label.names[y[i]] for i in range(1, 40))

@pytest.mark.parametrize("rows, wanted", [
    (None, "NoneType None: expected a data frame"), (7, "int 7: expected a data frame"), ([1, 2], "record 1 is 1"),
    ([("a", "b")], "record 1 is"), (dict(text=7), "one object with text"), ({"unsupervised": frame()}, "one object|no column 'text'"),
    (frame().drop(columns="label"), "no column 'label' for label")])
def test_rows_in_memory_that_are_no_table(rows, wanted):
    with pytest.raises(InputError, match=wanted) as caught: load_task(rows)
    assert "\n" not in str(caught.value)

@pytest.mark.parametrize("frames, wanted", [
    (dict(train=frame(), test=frame().assign(pair="b")), "train has the columns .*expected text and pair in every split"),
    (dict(train=frame().assign(pair="b"), test=frame()), "expected text and pair in every split"),
    (dict(train=frame().rename(columns=dict(text="review"))), "train has the columns .*expected text in every split"),
    (dict(train=frame().drop(columns="label")), "no row has a label"), (frame(), "DataFrame of rows: expected a data frame for each split"),
    (dict(train=frame().to_dict("records")), "load_task takes other tables"), ({}, "expected a data frame for each split"),
    (dict(train=frame(), test=None), "expected a data frame for each split")])
def test_frames_that_do_not_fit_together(frames, wanted):
    "A split without the second text would be read as pairs with nothing."
    with pytest.raises(InputError, match=wanted): make_task("t", frames)

def test_a_split_without_a_label_column_has_no_labels():
    with pytest.warns(UserWarning, match="no row of test has a label"):
        task = make_task("t", dict(train=frame(), test=frame()[["text"]]))
    assert len(task["test"]) < 10 # cut from train

@pytest.mark.parametrize("labels", ["bad,good", {0: "bad", 1: "good"}, ["bad", "good", "good"], [], 7], ids=str)
def test_names_of_classes_are_a_list_each_once(labels):
    with pytest.raises(InputError, match="a list of names in the order of their ids"): make_task("t", dict(train=frame()), labels)

def test_a_set_of_classes_has_no_order():
    test_names_of_classes_are_a_list_each_once({"bad", "good"})

@pytest.mark.parametrize("make", [tuple, np.array, list])
def test_names_of_classes_in_any_list(make):
    assert make_task("t", dict(train=frame()), make(["good", "bad"])).labels == ["good", "bad"]
    assert make_task("t", dict(train=frame(label=[0, 1] * 20)), make([0, 1])).labels == ["0", "1"]

@pytest.mark.parametrize("one", [torch.tensor, np.array, np.int64, float])
def test_a_label_is_its_number(one):
    assert make_task("t", dict(train=frame(label=[one(i % 2) for i in range(40)]))).labels == ["0", "1"]

@pytest.mark.parametrize("bad", ["inf", "-inf", "Infinity", float("inf")])
def test_an_infinite_score_is_no_class(bad):
    with pytest.raises(InputError, match="expected a finite number"): make_task("t", dict(train=frame(label=[bad, .5] * 20)))

# A number for each label

HOT = [[1, 1, 1], [0, 1, 0], [0, 0, 1], [1, 0, 0]] * 10

@pytest.mark.parametrize("one", [int, float, bool, str, np.float32])
@pytest.mark.parametrize("row", [list, tuple, np.array, torch.tensor])
def test_a_list_with_a_number_per_label_needs_their_names(one, row):
    "Floats are what trains such a model; as names they would be the two classes 0.0 and 1.0."
    if row is torch.tensor and one is str: return
    df = frame(label=[row([one(v) for v in y]) for y in HOT])
    with pytest.raises(InputError, match="a list of 0 and 1.*name the places"): make_task("t", dict(train=df))
    task = make_task("t", dict(train=df), ["x", "y", "z"])
    at = dict(zip(df.text, HOT))
    for s in task.splits: assert task[s]["label"][:] == [at[t] for t in task[s]["text"][:]]
    with pytest.raises(InputError, match="or 2 of 0 and 1"): make_task("t", dict(train=df), ["x", "y"])

@pytest.mark.parametrize("y", [[[.1, .9], [.5, .5]], [[3, 3], [1, 2]], [[1, -100], [0, 0]], [[1, 0, 1], [0, 1]]], ids=str)
def test_other_numbers_in_lists_are_no_names(y):
    with pytest.raises(InputError, match="a list of"): make_task("t", dict(train=frame(label=y * 20)), kind="multilabel")
