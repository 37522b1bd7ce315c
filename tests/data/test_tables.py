"Sweeps behind nbs/data/00_tables.ipynb: what pandas, Excel, R and a shell write, read back; what is refused, and with which line."
import csv, random
import pandas as pd
import pytest
from distill_nb.kit.errors import InputError
from distill_nb.data.tables import decode, fields, pick_columns, read_table, separator

ODD = ['he said "hi"', '"wrapped"', '"open', 'close"', "a, b", "a\tb", "a; b | c", "two\nlines", "two\r\nlines", "a\rb", "NA", "null",
       "007", "1e5", "电影 很好", "it's", "back\\slash", 'both \\" of them', "", "=1+1", "#x", "a,b\nc,d", 'x\t"y"\tz']

def odd_rows(n=60, seed=0):
    "Texts made of odd parts, with a label each; never blank."
    draw = random.Random(seed)
    rows = [(f"row {i} " + " ".join(draw.choices(ODD, k=draw.randint(1, 3))), draw.choice(["good", "bad"])) for i in range(n)]
    return pd.DataFrame([*rows, *((t, "good") for t in ODD if t)], columns=["text", "label"])

WRITERS = {
    "pandas csv": ("a.csv", lambda df, f: df.to_csv(f, index=False)),
    "pandas csv with its index": ("a.csv", lambda df, f: df.to_csv(f)),
    "pandas tsv": ("a.tsv", lambda df, f: df.to_csv(f, sep="\t", index=False)),
    "R's write.csv, every string quoted": ("a.csv", lambda df, f: df.to_csv(f, quoting=csv.QUOTE_NONNUMERIC)),
    "all quoted, tabs": ("a.tsv", lambda df, f: df.to_csv(f, sep="\t", index=False, quoting=csv.QUOTE_ALL)),
    "Excel in Europe": ("a.csv", lambda df, f: df.to_csv(f, sep=";", index=False, encoding="utf-8-sig", lineterminator="\r\n")),
    "Excel's unicode": ("a.csv", lambda df, f: df.to_csv(f, sep="\t", index=False, encoding="utf-16")),
    "bars": ("a.csv", lambda df, f: df.to_csv(f, sep="|", index=False)),
    "commas under tsv": ("a.tsv", lambda df, f: df.to_csv(f, index=False)),
    "capitals": ("A.CSV", lambda df, f: df.to_csv(f, index=False)),
    "records": ("a.json", lambda df, f: df.to_json(f, orient="records")),
    "columns": ("a.json", lambda df, f: df.to_json(f)),
    "index": ("a.json", lambda df, f: df.to_json(f, orient="index")),
    "split": ("a.json", lambda df, f: df.to_json(f, orient="split")),
    "table": ("a.json", lambda df, f: df.to_json(f, orient="table")),
    "indented": ("a.json", lambda df, f: df.to_json(f, orient="records", indent=2)),
    "lines": ("a.JSONL", lambda df, f: df.to_json(f, orient="records", lines=True)),
    "parquet": ("a.parquet", lambda df, f: df.to_parquet(f, index=False)),
    "parquet with its index": ("a.Parquet", lambda df, f: df.set_index(pd.Index(range(5, 5 + len(df)), name="n")).to_parquet(f))}

@pytest.mark.parametrize("how", WRITERS)
@pytest.mark.parametrize("seed", range(3))
def test_what_was_written_is_read(how, seed, tmp_path):
    name, write = WRITERS[how]
    df = odd_rows(seed=seed)
    write(df, tmp_path/name)
    got = pick_columns(read_table(tmp_path/name))
    assert got.text.tolist() == df.text.tolist() and got.label.tolist() == df.label.tolist()

@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("sep", [",", "\t"])
def test_quotes_in_small_files(n, sep, tmp_path):
    "One odd text is little to go by; the rule must hold for each alone."
    name = {",": "a.csv", "\t": "a.tsv"}[sep]
    for text in filter(None, ODD):
        df = pd.DataFrame(dict(text=[text] + ["plain"] * (n - 1), label=["x"] * n))
        df.to_csv(tmp_path/name, sep=sep, index=False)
        assert read_table(tmp_path/name).text.tolist() == df.text.tolist(), text

BARE = ['"it was', 'it was"', 'said "no" to it', '"No" was said', '""', '"', 'a "b', "it's 5'' by 6\""]

@pytest.mark.parametrize("sep, name", [("\t", "a.tsv"), (",", "a.csv")])
def test_a_shell_quotes_nothing(sep, name, tmp_path):
    "Lines put together by hand: quotes are characters, where no field is wrapped in them."
    texts = [f"{i} {t} x" for i, t in enumerate(BARE)] + ['"No" was said', 'he said "no']
    (tmp_path/name).write_text(f"text{sep}label\n" + "".join(f"{t}{sep}{i % 2}\n" for i, t in enumerate(texts)))
    assert read_table(tmp_path/name).text.tolist() == texts

@pytest.mark.parametrize("column", ["text\tlabel", "label\ttext"])
def test_bare_quotes_of_glue(column, tmp_path):
    "As GLUE's files have them: single quotes at a field's beginning or end, which pair up over lines by chance."
    first = column.startswith("text")
    texts = ['"open one', "plain", 'close one"', "plain too", 'both "of" them', '"again']
    rows = [f"{t}\t{i % 2}" if first else f"{i % 2}\t{t}" for i, t in enumerate(texts)]
    (tmp_path/"a.tsv").write_text("\n".join([column, *rows]) + "\n")
    assert read_table(tmp_path/"a.tsv").text.tolist() == texts

def test_r_escapes_quotes(tmp_path):
    (tmp_path/"a.csv").write_text('"text","label"\n"he said \\"hi, you\\"","1"\n"plain","0"\n')
    assert read_table(tmp_path/"a.csv").values.tolist() == [['he said "hi, you"', "1"], ["plain", "0"]]

@pytest.mark.parametrize("code", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json"])
def test_encodings(code, name, tmp_path):
    text = {"a.csv": "text,label\nça va,1\n", "a.tsv": "text\tlabel\nça va\t1\n", "a.jsonl": '{"text": "ça va", "label": 1}\n',
            "a.json": '[{"text": "ça va", "label": 1}]'}[name]
    (tmp_path/name).write_bytes(text.encode(code))
    if code == "utf-16-le": # nothing says so
        with pytest.raises(InputError, match=rf"{name}, line [12].*Save it as UTF-8"): read_table(tmp_path/name)
    else: assert read_table(tmp_path/name).text.tolist() == ["ça va"]

@pytest.mark.parametrize("code", ["latin-1", "cp1252", "shift_jis", "gb18030"])
def test_other_encodings_name_the_line(code, tmp_path):
    word = {"shift_jis": "映画", "gb18030": "电影"}.get(code, "ça")
    (tmp_path/"a.csv").write_bytes(f"text,label\nplain,0\n{word},1\n".encode(code))
    with pytest.raises(InputError, match="a.csv, line 3: .*Save it as UTF-8"): read_table(tmp_path/"a.csv")

def test_line_breaks_of_all_systems():
    for end in "\n", "\r\n", "\r":
        assert decode(f"text,label{end}good,1{end}".encode()) is not None
        assert len(fields(f"text,label{end}good,1{end}bad,0{end}".replace("\r", "\n"))) == 3

@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("tail", ["", "{}", "{}{}", ",{}", ",,{}"])
def test_ends_of_lines_and_of_files(end, tail, tmp_path):
    (tmp_path/"a.csv").write_bytes(f"text,label{end}good,1{end}bad,0{end}{tail.replace('{}', end)}".encode())
    assert read_table(tmp_path/"a.csv").values.tolist() == [["good", "1"], ["bad", "0"]]

@pytest.mark.parametrize("text", ["text,label,\ngood,1\n", "text,label\ngood,1,\n", "text,label,\ngood,1,\n", "text,label\ngood,1,,\n",
                                  "\n\ntext,label\n\ngood,1\n", "sep=;\ntext;label\ngood;1\n", " text , label\ngood,1\n",
                                  "text;label\ngood;1\n", "text\tlabel\ngood\t1\n", "text|label\r\ngood|1\r\n"])
def test_habits_that_change_nothing(text, tmp_path):
    (tmp_path/"a.csv").write_bytes(text.encode())
    assert pick_columns(read_table(tmp_path/"a.csv")).values.tolist() == [["good", "1"]]

def test_a_field_may_be_long(tmp_path):
    before = csv.field_size_limit()
    pd.DataFrame(dict(text=["x, " * 100_000, "y"], label=[0, 1])).to_csv(tmp_path/"a.csv", index=False)
    assert read_table(tmp_path/"a.csv").text.map(len).tolist() == [300_000, 1] and csv.field_size_limit() == before

SHIFTED = {
    "in the first row": ("text,label\nwell, good,1\nbad,0\n", 2), "in a later row": ("text,label\ngood,1\nwell, bad,0\n", 3),
    "in each row": ("text,label\n" + "a, b,1\n" * 9, 2), "behind an id": ("id,text,label\n" + "".join(f"{i},a {i}, b,1\n" for i in range(9)), 2),
    "after a text of two lines": ('text,label\n"one\ntwo",1\nwell, bad,0\n', 4), "a field too few": ("text,label\ngood,1\nbad\n", 3),
    "a text in two lines": ("text,label\nbegan\nand ended,1\n", 2), "row names without a name": ("text\tlabel\n1\tgood\t1\n2\tbad\t0\n", 2),
    "a quote that is not closed": ('text,label\n"well, good",1\n"bad,0\nfine,1\n', 3), "a quote inside": ('text,label\n"a ""b"" c",1\n"bad" one, well,0\n', 3),
    "among blank lines": ("\n\ntext,label\n\nwell, good,1\n", 5), "below sep=": ("sep=,\ntext,label\nwell, good,1\n", 3)}

@pytest.mark.parametrize("name", SHIFTED)
def test_shifted_rows_are_refused_by_line(name, tmp_path):
    text, line = SHIFTED[name]
    (tmp_path/"a.csv").write_text(text)
    with pytest.raises(InputError, match=rf"a\.csv, line {line}: ") as caught: read_table(tmp_path/"a.csv")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400

BAD_JSON = {
    "cut": ('[{"text": "a"}, {"text"', "cannot be read"), "a broken line": ('{"text": "a"}\n{"text": "b"\n', "line 2"),
    "numbers": ("[1, 2]", "record 1 is 1"), "lists": ('[["a", 1], ["b", 0]]', r"record 1 is \['a', 1\]"), "a number": ("3", "3: expected a list"),
    "splits": ('{"train": [{"text": "a"}], "test": [{"text": "b"}]}', "the tables train, test: expected one"), "words": ('"text"', "expected a list"),
    "nested": ('{"a": {"b": 1}, "c": [1], "d": "e"}', "one object with a, c, d"), "uneven": ('{"text": ["a", "b"], "label": [1]}', "cannot be read"),
    "one odd record": ('[{"text": "a"}, null]', "record 2 is None"), "nothing": ("  \n", "cannot be read"), "no rows": ("[]", "no rows")}

@pytest.mark.parametrize("name", BAD_JSON)
@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_json_that_is_no_table_is_refused(name, ending, tmp_path):
    text, message = BAD_JSON[name]
    (tmp_path/f"a.{ending}").write_text(text)
    with pytest.raises(InputError, match=message) as caught: read_table(tmp_path/f"a.{ending}")
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)

def test_json_keeps_values_as_they_are(tmp_path):
    (tmp_path/"a.json").write_text('[{"date": "2020-01-01", "id": 12345678901234567891, "ok": true}, {"date": null, "id": null, "ok": false}]')
    assert read_table(tmp_path/"a.json").values.tolist()[0] == ["2020-01-01", 12345678901234567891, True]

def test_whole_numbers_of_parquet_stay_whole(tmp_path):
    pd.DataFrame(dict(id=pd.Series([2**60 + 1, None], dtype="Int64"))).to_parquet(tmp_path/"a.parquet")
    assert read_table(tmp_path/"a.parquet").id[0] == 2**60 + 1

# Which column is which

@pytest.mark.parametrize("columns, how, message", [
    (["text", "label", "label"], {}, "2 columns are called 'label': expected one for label"),
    (["text", "label", " label"], {}, "2 columns are called 'label'"),
    (["text", "label"], dict(label="text"), "'text' for text and label: expected a column for each"),
    (["text", "label"], dict(pair="text"), "'text' for text and pair"),
    (["text", "label"], dict(pair="label"), "'label' for pair and label"),
    (["Text", "label"], {}, "no column 'text' for text: expected one of 'Text', 'label'"),
    ([f"column {i}" for i in range(200_000)], {}, "and 199,988 more")])
def test_columns_that_say_nothing_are_refused(columns, how, message):
    with pytest.raises(InputError, match=message) as caught: pick_columns(pd.DataFrame([[1] * len(columns)], columns=columns), **how)
    assert len(str(caught.value)) < 500

def test_names_need_not_be_tidy():
    df = pd.DataFrame([["a", 1]], columns=[" text", "label "])
    assert pick_columns(df).to_dict("list") == dict(text=["a"], label=[1])
    assert pick_columns(pd.DataFrame([["a", 1]], columns=[0, 1]), "0", label="1").to_dict("list") == dict(text=["a"], label=[1])

def test_separator_of_the_header_alone():
    assert separator("text,label\na;b;c;d,1\n")[0] == "," and separator("text;label\na,b,c,1;1\n")[0] == ";"

def test_half_a_character_becomes_the_replacement_character(tmp_path):
    "A program that cuts texts after a number of UTF-16 units leaves half an emoji behind."
    from distill_nb.data.corpus import read_corpus
    from distill_nb.data.load import load_task
    file = tmp_path/"cut.jsonl"
    file.write_text("\n".join('{"text": "film %d \\ud83d", "label": "%s"}' % (i, "ab"[i % 2]) for i in range(20)))
    assert read_table(file).text[0] == "film 0 \ufffd" and load_task(file)["train"][0]["text"].endswith("\ufffd")
    assert next(iter(read_corpus(str(file), streaming=True)))["text"].endswith("\ufffd")
    file.write_text('{"text": "whole \\ud83d\\ude00"}')
    assert read_table(file).text[0] == "whole \U0001f600"
