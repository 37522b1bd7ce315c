"Questions with answers: every way to write them, windows that lose nothing, and what is refused."
import json, random
import pandas as pd
import pytest
import torch
from transformers import DataCollatorWithPadding, PreTrainedTokenizerFast
from tokenizers import Tokenizer, models, pre_tokenizers
from builders import WORDS
from distill_nb.data.defaults import default_of, parameters, questions_of
from distill_nb.data.load import load_task
from distill_nb.data.spans import pick_spans
from distill_nb.data.tasks import make_task
from distill_nb.data.tokens import tokenize
from distill_nb.data.windows import LONGEST, answer_places, windows
from distill_nb.data.words import PadWords
from distill_nb.kit.errors import InputError
from distill_nb.teachers.load import load_tokenizer

def asked(context, answer=None, question="good film", nth=0):
    "A record as users write it."
    at = -1
    for _ in range(nth + 1): at = context.find(answer, at + 1) if answer else at
    return dict(question=question, context=context, answers=[dict(text=answer, start=at)] if answer else [])

def some(n=30):
    r = random.Random(0)
    rows = []
    for i in range(n):
        words = [r.choice(WORDS[5:]) for _ in range(r.randint(3, 9))] + [f"x{i}"]
        a = r.randrange(len(words) - 1)
        rows.append(asked(" ".join(words), None if i % 5 == 4 else " ".join(words[a:a + 2])))
    return rows

def written(tmp_path, rows, name="q.jsonl"):
    file = tmp_path/name
    file.write_text("\n".join(map(json.dumps, rows)))
    return file

def squad(rows, **more):
    "The same in SQuAD's nested form, every question in a paragraph of its own."
    def qa(i, r): return dict(id=str(i), question=r["question"], answers=[dict(text=a["text"], answer_start=a["start"]) for a in r["answers"]],
                              **({} if r["answers"] else dict(is_impossible=True, plausible_answers=[dict(text="good", answer_start=0)])))
    return dict(version="v2.0", data=[dict(title="t", paragraphs=[dict(context=r["context"], qas=[qa(i, r)])]) for i, r in enumerate(rows)])

def same(a, b):
    return all([*a[s]] == [*b[s]] for s in a.splits) and {*a.splits} == {*b.splits}

# Ways to write them

def test_every_way_is_the_same_task(tmp_path):
    rows = some()
    plain = load_task(written(tmp_path, rows))
    assert plain.kind == "spans" and plain.metric == "f1" and plain.labels is None and plain.n_outputs == 2
    (tmp_path/"squad.json").write_text(json.dumps(squad(rows)))
    hub = [r | dict(answers=dict(text=[a["text"] for a in r["answers"]], answer_start=[a["start"] for a in r["answers"]])) for r in rows]
    pd.DataFrame(hub).to_parquet(tmp_path/"hub.parquet")
    as_text = pd.DataFrame([r | dict(answers=json.dumps(r["answers"])) for r in rows])
    as_text.to_csv(tmp_path/"q.csv", index=False)
    renamed = [dict(q=r["question"], passage=r["context"], gold=r["answers"]) for r in rows]
    others = [load_task(tmp_path/"squad.json"), load_task(tmp_path/"hub.parquet"), load_task(tmp_path/"q.csv"),
              load_task(written(tmp_path, renamed, "other.jsonl"), "q", "passage", "gold", "spans")]
    for other in others: assert same(plain, other)
    for row in plain["train"]: assert [row["pair"][a:b] for a, b in row["label"]] == row["answers"]
    assert any(not row["label"] for row in plain["train"]), "questions without an answer are kept"

def test_squads_folder_keeps_its_splits(tmp_path):
    rows = some(20)
    for name, part in (("train-v2.0.json", rows[:12]), ("dev-v2.0.json", rows[12:])): (tmp_path/name).write_text(json.dumps(squad(part)))
    task = load_task(tmp_path)
    assert len(task["test"]) == 8 and len(task["train"]) + len(task["validation"]) == 12

def test_a_data_set_of_the_hub_is_read_by_its_columns(tmp_path):
    home = tmp_path/"hub"
    home.mkdir()
    pd.DataFrame([r | dict(answers=dict(text=[a["text"] for a in r["answers"]], answer_start=[a["start"] for a in r["answers"]]))
                  for r in some()]).to_parquet(home/"train.parquet")
    from distill_nb.data.load import read_hub
    frames, names = read_hub(str(home))
    assert names is None and make_task("hub", frames).kind == "spans"

def test_questions_about_one_context_stay_together(tmp_path):
    rows = [asked(r["context"], r["answers"][0]["text"], f"question {i}") for r in some(40) if r["answers"] for i in range(3)]
    task = load_task(written(tmp_path, rows))
    seen = [{*task[s]["pair"]} for s in ("train", "validation", "test")]
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2] and all(seen)

def test_several_answers_and_rows_without_a_label(tmp_path):
    rows = some()
    rows[0]["answers"] = [asked(rows[0]["context"], w)["answers"][0] for w in rows[0]["context"].split()[:2]]
    rows[1]["answers"] = None
    task = load_task(written(tmp_path, rows), hold_out=False)
    assert len(task["train"][0]["answers"]) == 2 and task["train"][1]["label"] is None and task.table().labelled["train"] == 29

# What is refused

@pytest.mark.parametrize("change, message", [
    (lambda r: r["answers"][0].update(start=r["answers"][0]["start"] + 1), "row 3: the answer .* at .*, where the context has .*: expected its place, "),
    (lambda r: r["answers"][0].update(text="nowhere"), "the answer 'nowhere' .*expected an answer that is in the context"),
    (lambda r: r["answers"][0].update(text="", start=0), "the answer '' at 0: expected a text that is not empty"),
    (lambda r: r["answers"][0].update(start="4"), "the answer .* at '4': expected .*a whole number"),
    (lambda r: r["answers"][0].update(start=-1), "the answer .* at -1"),
    (lambda r: r["answers"][0].pop("start"), "a list of texts with their start"),
    (lambda r: r.update(answers="yes"), "answers 'yes': expected a list of texts with their start"),
    (lambda r: r.update(context=" "), "row 3: context ' ': expected a text"),
    (lambda r: r.update(question=""), "row 3: question '': expected a text"),
    (lambda r: r.update(question=None), "row 3: question None: expected a text")])
def test_bad_rows_are_refused_with_their_number(change, message, tmp_path):
    rows = some()
    change(rows[2])
    with pytest.raises(InputError, match=message): load_task(written(tmp_path, rows))

def test_missing_columns_choices_and_nothing_to_learn_are_refused(tmp_path):
    rows = some()
    for gone in ("question", "context", "answers"):
        less = [{k: v for k, v in r.items() if k != gone} for r in rows]
        with pytest.raises(InputError, match=f"no column '{gone}' for"): load_task(written(tmp_path, less), kind="spans")
    for choices in (dict(choices=["a", "b"]), dict(ending0="a", ending1="b"), dict(options=["a", "b"])):
        quiz = [dict(question=r["question"], context=r["context"], label="a", **choices) for r in rows]
        with pytest.raises(InputError, match="multiple choice"): load_task(written(tmp_path, quiz))
    with pytest.raises(InputError, match="no question with an answer"): load_task(written(tmp_path, [r | dict(answers=[]) for r in rows]))
    (tmp_path/"s.json").write_text(json.dumps(dict(data=[dict(paragraphs=[dict(text="a", qas=[])])])))
    with pytest.raises(InputError, match="expected context and qas"): load_task(tmp_path/"s.json")
    with pytest.raises(InputError, match="metric of a spans"): load_task(written(tmp_path, rows), metric="accuracy")

# Windows

def task_of(rows): return make_task("q", {"train": pick_spans(pd.DataFrame(rows, dtype=object))}, hold_out=False)

def test_windows_cover_everything_and_agree_on_the_answer():
    tok, r = load_tokenizer(), random.Random(1)
    rows = []
    for i in range(40):
        words = [r.choice("one two three embedding tokenizer distillation, seven. U.S.".split()) for _ in range(r.randint(5, 120))]
        a = r.randrange(len(words) - 2)
        context = " ".join(words)
        start = len(" ".join(words[:a])) + (a > 0)
        text = " ".join(words[a:a + 2])
        rows.append(dict(question=f"Which words are number {i}?", context=context, answers=[dict(text=text, start=start)]))
    found = tokenize(task_of(rows), tok, 48)["train"]
    assert len(found) > 80
    for i, row in enumerate(rows):
        mine = [w for w in found if w["row"] == i]
        covered = {c for w in mine for p, (a, b) in enumerate(w["offsets"]) if w["place_mask"][p] and p for c in range(a, b)}
        assert {c for c, x in enumerate(row["context"]) if not x.isspace()} <= covered, "no character is lost"
        answer, = row["answers"]
        held = [w for w in mine if w["labels"] != [0, 0]]
        assert held and len(mine[0]["input_ids"]) <= 48
        for w in held:
            s, e = w["labels"]
            assert w["context"][w["offsets"][s][0]:w["offsets"][e][1]] == answer["text"] and w["place_mask"][s] and w["place_mask"][e]
        for w in mine: # the question and the ends of the texts are no places
            assert w["place_mask"][0] and sum(w["place_mask"]) == 1 + sum(p > 0 for p in w["place_mask"][1:]) and w["offsets"][0] == [0, 0]

def test_short_contexts_are_as_without_windows():
    tok, rows = load_tokenizer(), some()
    found = tokenize(task_of(rows), tok, 64)["train"]
    plain = tok([r["question"] for r in rows], [r["context"] for r in rows])
    assert found["input_ids"][:] == plain["input_ids"] and found["token_type_ids"][:] == plain["token_type_ids"] and found["row"][:] == [*range(30)]
    assert tokenize(task_of(rows), tok, 128)["train"]["labels"][:] == found["labels"][:]

def test_a_long_answer_is_in_no_window_and_told():
    context = " ".join(f"{i}" for i in range(60))
    rows = [dict(question="Which?", context=context, answers=[dict(text=context[:79], start=0)]), asked("good film", "film")]
    with pytest.warns(UserWarning, match="in no window as a whole, and their windows have no label"): found = tokenize(task_of(rows), load_tokenizer(), 24)["train"]
    own = [w["labels"] for w in found if w["row"] == 0]
    assert [-100, -100] in own and [0, 0] in own and not any(y[0] > 0 for y in own)

def test_an_answer_that_is_longer_than_any_looked_for_is_told():
    context = " ".join(str(i % 10) for i in range(50))
    with pytest.warns(UserWarning, match=f"more than {LONGEST} tokens"):
        found = tokenize(task_of([asked(context, context[:70]), asked("good film", "film")]), load_tokenizer(), 96)["train"]
    assert found[0]["labels"][1] - found[0]["labels"][0] == 34

def test_an_answer_within_a_token_is_stretched_and_told():
    rows = [asked("Add 300 to it", "30"), asked("good film", "film")]
    with pytest.warns(UserWarning, match="within a token, and the whole token is learnt, such as '30'"): found = tokenize(task_of(rows), load_tokenizer(), 24)["train"]
    s, e = found[0]["labels"]
    assert found[0]["context"][found[0]["offsets"][s][0]:found[0]["offsets"][e][1]] == "300"

def test_long_questions_are_cut_and_told():
    rows = [dict(question="one two three " * 20, context="good film " * 9, answers=[dict(text="film", start=5)]), asked("good film", "film")]
    with pytest.warns(UserWarning, match="questions have more than"): found = tokenize(task_of(rows), load_tokenizer(), 32)["train"]
    assert max(found["length"]) <= 32 and sum(y != [0, 0] for y, n in zip(found["labels"], found["row"]) if n == 0)

def test_tokenizers_that_do_not_fit_are_refused(tok, monkeypatch):
    task = task_of(some())
    with pytest.raises(InputError, match="tokens or more for a question"): windows(load_tokenizer(), ["a"], ["b"], 7)
    monkeypatch.setattr(tok, "padding_side", "left")
    with pytest.raises(InputError, match="padding_side = 'right'"): tokenize(task, tok, 24)
    bare = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, "[UNK]"))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(InputError, match="without a first token"): tokenize(task, PreTrainedTokenizerFast(tokenizer_object=bare, pad_token="[PAD]", unk_token="[UNK]"), 24)

def test_batches_pad_places_and_leave_texts_out(tok):
    rows = tokenize(task_of(some()), tok, 24)["train"]
    batch = PadWords(DataCollatorWithPadding(tok))([rows[i] for i in range(8)])
    assert batch["labels"].shape == (8, 2) and batch["place_mask"].shape == batch["input_ids"].shape
    assert all(torch.is_tensor(x) for x in batch.values()) and (batch["place_mask"] <= batch["attention_mask"]).all()

def test_the_first_fitting_tokens_win_over_no_answer():
    part = [(0, 0), (0, 3), (4, 7)], [1, 2]
    assert answer_places([[0, 3], [4, 7]], [part]) == [[1, 1]], "the first answer is learnt"
    assert answer_places([[20, 30]], [part]) == [[-100, -100]], "characters without any token"

# The embedded task

def test_defaults_are_read_off_docstrings():
    doc = "Do it.\n\nArgs:\n    x (`int`, *optional*, defaults to 5):\n        How often.\n    y: a list\n\nReturns:\n    z: default of x\n"
    listed = parameters(doc)
    assert listed[:2] == [("x", "x (`int`, *optional*, defaults to 5): How often."), ("y", "y: a list")]
    rows = {r["text"]: r for r in questions_of(listed[:2])}
    row = rows["What is the default of x?"]
    assert [row["pair"][a:b] for a, b in row["label"]] == ["5"] and rows["What is the default of y?"]["label"] == []
    for text, found in (("x : int, default: -1", "-1"), ("eps: small. Default: ``1e-5``", "1e-5"), ("x : str, default 'mean'", "mean"), ("(default is None)", "None")):
        assert text[slice(*default_of(text))] == found
    assert default_of("the default is to use the mean") is None

@pytest.mark.slow
def test_the_embedded_task_is_whole():
    task = load_task("defaults")
    assert task.kind == "spans" and len(task["train"]) > 1000 and 100 < len(task["test"])
    for row in task["test"]: assert [row["pair"][a:b] for a, b in row["label"]] == row["answers"]
