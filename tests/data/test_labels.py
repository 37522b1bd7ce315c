"Sweeps behind nbs/data/01_labels.ipynb: numbers across files, missing labels in their spellings, and what is told about them."
import itertools
import warnings
import numpy as np
import pandas as pd
import pytest
from datasets import disable_progress_bars
from distill_nb.data.tasks import make_task
from distill_nb.data.load import load_task
from distill_nb.kit.errors import InputError
from distill_nb.data.labels import as_text, class_names, hidden_names, missing_names, read_labels, spellings

disable_progress_bars()

def frame(labels, n=40, start="film"):
    "Rows with these labels in turn."
    return pd.DataFrame(dict(text=[f"{start} {i}" for i in range(n)], label=[*itertools.islice(itertools.cycle(labels), n)]))

def told(f, *args, **kw):
    "What a call returns, and the notes it makes."
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        out = f(*args, **kw)
    texts = [str(n.message) for n in notes if issubclass(n.category, UserWarning)]  # not what pandas says of numpy
    assert all("\n" not in t and len(t) < 400 for t in texts)
    return out, texts

# Numbers

SAME = {"floats": ["0.0", "1.0"], "ints": ["0", "1"], "zeros": ["00", "1"], "signed": ["+0", "+1"], "exponents": ["0e0", "1e0"],
        "long": ["0.00", "1.000"], "dots": ["0.", "1."]}

@pytest.mark.parametrize("a, b", [*itertools.permutations(SAME, 2)])
def test_one_number_is_one_class_in_all_files(a, b, tmp_path):
    frame(SAME[a]).to_csv(tmp_path/"train.csv", index=False), frame(SAME[b], 20, "test").to_csv(tmp_path/"test.csv", index=False)
    task, notes = told(load_task, tmp_path)
    assert task.labels == ["0", "1"] and task.table()["0"].test == .5
    assert any("compared as numbers" in n for n in notes) or "ints" not in (a, b)

WRITE = {"csv": lambda df, f: df.to_csv(f, index=False), "jsonl": lambda df, f: df.to_json(f, orient="records", lines=True),
         "parquet": lambda df, f: df.to_parquet(f)}
KINDS = {"ints": [0, 1], "floats": [0., 1.], "texts": ["0", "1"], "some missing": [0., None, 1., 0., 1.], "bools": [False, True],
         "float32": np.float32([0, 1]), "int8": np.int8([0, 1])}

@pytest.mark.parametrize("one, two", [*itertools.product(WRITE, WRITE)])
@pytest.mark.parametrize("kind", KINDS)
def test_types_do_not_matter_across_formats(one, two, kind, tmp_path):
    WRITE[one](frame([1, 0]), tmp_path/f"train.{one}"), WRITE[two](frame(KINDS[kind], 20, "test"), tmp_path/f"test.{two}")
    task, _ = told(load_task, tmp_path)
    assert task.labels == ["0", "1"] and task.table()["0"].test == pytest.approx(.5)

@pytest.mark.parametrize("names", [["01", "02", "10"], ["007", "008"], ["1", "1.0", "good"], ["a", "A"], ["1.0.0", "1.0"], ["0x1", "1"],
                                   ["1_000", "1000"], ["١", "1"], ["12345678901234567890", "12345678901234567891"], ["1e400", "1e500"]])
def test_text_on_purpose_stays_text(names):
    assert spellings(names) == {}
    assert sorted(told(make_task, "t", dict(train=frame(names)))[0].labels) == sorted(names)

@pytest.mark.parametrize("names, new", [(["01", "1"], {"01": "1"}), (["1", "1e0"], {"1e0": "1"}), (["-0.0", "0"], {"-0.0": "0"}),
                                        (["2.50", "2.5"], {"2.50": "2.5"}), (["true", "TRUE", "false"], {"true": "True", "TRUE": "True", "false": "False"}),
                                        (["true", "0"], {"true": "1"}), (["01", "02", "-1"], {})])
def test_spellings(names, new): assert spellings(names) == new

def test_order_of_classes():
    assert class_names(["10", "9", "-1"]) == ["-1", "9", "10"] and class_names(["10", "9", "nine"]) == ["10", "9", "nine"]

# Missing labels

NAMES = ["NA", "N/A", "n/a", "NaN", "nan", "None", "none", "null", "NULL", "-", "?", "<NA>", "#N/A"]

@pytest.mark.parametrize("name", NAMES + ["-1", "-100", "-1.0"])
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_beside_numbers_every_name_is_a_missing_label(name, ending, tmp_path):
    WRITE[ending](frame(["0", "1", name, "1", "0"]), tmp_path/f"a.{ending}")
    task, notes = told(load_task, tmp_path/f"a.{ending}")
    assert task.labels == ["0", "1"] and task.table().rows.sum() - task.table().labelled.sum() == 8
    assert sum("count as unlabelled" in n and "(8)" in n for n in notes) == 1

@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [None, "regression"])
def test_beside_scores_too(name, kind, tmp_path):
    frame([".5", "1.25", name, "-1"]).to_csv(tmp_path/"a.csv", index=False)
    task, notes = told(load_task, tmp_path/"a.csv", kind=kind)
    assert task.kind == "regression" and task.table().labelled.sum() == 30 and sum("unlabelled" in n for n in notes) == 1

@pytest.mark.parametrize("names, missing", [
    (["good", "bad", "NA"], {"NA"}), (["good", "bad", "NaN"], {"NaN"}), (["good", "bad", "nan", "None"], {"nan", "None"}),
    (["good", "bad", "?"], {"?"}), (["+", "-"], set()), (["+", "-", "nan"], {"nan"}), (["EU", "US", "NA"], set()), (["EU", "US", "<NA>"], {"<NA>"}),
    (["Favor", "Against", "None"], set()), (["favor", "against", "none"], set()), (["Good", "bad", "None"], {"None"}),
    (["NA", "None"], set()), (["nan"], set()), (["True", "False", "None"], {"None"}), (["good", "bad", "null"], {"null"})])
def test_beside_words_a_name_may_be_a_class(names, missing):
    assert missing_names(names) == missing
    if len({*names} - missing) > 1:
        task, notes = told(make_task, "t", dict(train=frame(names)))
        assert task.labels == sorted({*names} - missing)
        assert all(any(repr(n) in t for t in notes) for n in names if n.lower() in {"na", "nan", "none", "-", "?", "<na>", "null"})

@pytest.mark.parametrize("names, hidden", [(["-1", "1"], set()), (["-1", "0"], set()), (["-2", "-1", "0", "1"], set()), (["-100", "-1", "0", "1"], {"-1", "-100"}),
                                           (["-1", "good", "bad"], set()), (["-1", "0.5", "1"], set()), (["-1", "1", "2", "3"], {"-1"})])
def test_minus_one_beside_counted_classes(names, hidden): assert hidden_names(names) == hidden

def test_scores_of_minus_one_are_scores():
    task, notes = told(make_task, "t", dict(train=frame(["-1", "0", "1", "2"])), kind="regression")
    assert task.table().labelled.sum() == 40 and notes == []

def test_known_names_decide():
    y, notes = told(read_labels, pd.Series(["None", "yes", "NA", "no"]), "t", known=["None", "no", "yes"])
    assert list(y) == ["None", "yes", "", "no"] and len(notes) == 1 and "'NA' (1)" in notes[0]
    assert told(read_labels, pd.Series(["1.0", "0"]), "t", known=["0", "1"])[0].tolist() == ["1", "0"]

def test_an_ordinary_task_says_nothing():
    for labels in (["good", "bad"], [0, 1], ["good", "bad", ""], [True, False], [.5, 1.5], ["01", "02"]):
        assert told(make_task, "t", dict(train=frame(labels, 200)))[1] == []

@pytest.mark.parametrize("a, b", [("pos", "Pos"), ("very good", "very  good"), ("a b", "A\u00a0b")])
def test_names_that_nearly_agree_are_told(a, b):
    task, notes = told(make_task, "t", dict(train=frame([a, b, "other"])))
    assert len(task.labels) == 3 and any("are different classes" in n for n in notes)

# Values that are not one

@pytest.mark.parametrize("value", [[0, 1], ["a"], {"a": 1}, (1,), {1}, b"bytes", np.array([1, 0])], ids=str)
@pytest.mark.parametrize("role", ["text", "label", "pair"])
def test_several_values_are_refused(value, role):
    df = frame(["a", "b"]).assign(pair="p")
    df[role] = pd.Series([df[role][0], *[value] * 39])
    with pytest.raises(InputError, match=f"t, train, row 2: {role} .*expected one value in a row") as caught: make_task("t", dict(train=df))
    assert "\n" not in str(caught.value)

@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
@pytest.mark.parametrize("role", ["text", "label"])
def test_several_values_in_files(ending, role, tmp_path):
    df = frame(["a", "b"])
    df[role] = [[0, 1], [1, 1]] * 20
    df.to_parquet(tmp_path/"a.parquet") if ending == "parquet" else df.to_json(tmp_path/f"a.{ending}", orient="records", lines=ending == "jsonl")
    wanted = "row 1: text.*Several labels or texts are not supported" if role == "text" else r"a list of 0 and 1, \['[01]', '1'\]: expected names of labels"
    with pytest.raises(InputError, match=wanted): load_task(tmp_path/f"a.{ending}")

@pytest.mark.parametrize("value", [None, float("nan"), pd.NA, pd.NaT, np.nan, np.datetime64("NaT"), ""])
def test_nothing_is_nothing(value): assert list(as_text(pd.Series([value, "a"], dtype=object))) == ["", "a"]

# What a head's names are called in a file

@pytest.mark.parametrize("known, written, read", [
    (["0", "1"], ["True", "false", "1.0", "0"], ["1", "0", "1", "0"]),
    (["True", "False"], ["1", "0.0", "true", "FALSE"], ["True", "False", "True", "False"]),
    (["0", "1"], ["-1", "-100", "-1.0", "1"], ["", "", "", "1"]),  # as in training
    (["-1", "0", "1"], ["-1", "0", "1.0"], ["-1", "0", "1"]),
    (["neg", "pos"], ["#REF!", "\\N", "n.a.", "pos"], ["", "", "", "pos"]),
    (["caf\xe9", "bar"], ["cafe\u0301", "bar\u200b", "\xa0bar"], ["caf\xe9", "bar", "bar"]),
    (["none", "some"], ["none", "some"], ["none", "some"])])
def test_labels_are_read_as_the_heads_names(known, written, read):
    with warnings.catch_warnings(action="ignore"): assert read_labels(pd.Series(written), "t", known).tolist() == read

@pytest.mark.parametrize("known, written", [(["1", "7"], ["01", "07"]), (["01", "07"], ["1", "7"]), (["yes", "no"], ["1", "0"]), (["1.0", "1", "0"], ["1.00"])])
def test_what_is_another_name_stays_one(known, written):
    assert read_labels(pd.Series(written), "t", known).tolist() == written

@pytest.mark.parametrize("missing", ["#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!", "#N/A", "\\N", ".", "N.A.", "missing", "--", "<NA>", "NaT"])
def test_every_programs_word_for_nothing(missing):
    with pytest.warns(UserWarning, match="count as unlabelled"): assert read_labels(pd.Series(["0", "1", missing]), "t").tolist() == ["0", "1", ""]

def test_one_word_beside_numbers_is_told():
    with pytest.warns(UserWarning, match="'unknown' is a class beside numbers"): read_labels(pd.Series(["0", "1", "2", "unknown"]), "t")

@pytest.mark.parametrize("same", [("cafe\u0301", "caf\xe9"), ("good\u200b", "good"), ("very\xa0good", "very good"), ("\ufeffgood", "good")])
def test_names_that_look_alike_are_one(same):
    with pytest.warns(UserWarning, match="looks like another label"): y = read_labels(pd.Series([*same, "other"]), "t")
    assert y.nunique() == 2 and set(y) == {same[1], "other"}

@pytest.mark.parametrize("written, read", [(["0,5", "1", "2,25"], ["0.5", "1", "2.25"]), (["1,5", "-2,75"], ["1.5", "-2.75"]), (["0,125", "1,250"], ["0.125", "1.250"])])
def test_decimal_commas_are_numbers(written, read): assert read_labels(pd.Series(written), "t").tolist() == read

def test_commas_between_thousands_are_asked_for():
    with pytest.raises(InputError, match="t: labels such as '1,000'"): read_labels(pd.Series(["1,000", "2,500"]), "t")
    assert read_labels(pd.Series(["1,000", "2,500"]), "t", scores=False).tolist() == ["1,000", "2,500"]  # classes, if you say so
