"Sweeps behind nbs/teachers/03 to 05: every form of a file of answers, every mistake in one, and teachers of every kind."
import json, warnings
import numpy as np
import pandas as pd
import pytest, torch
from builders import PLAIN, bert, make_tokenizer, rows, train, weights
from families import EXTRA, build
from distill_nb.data.tasks import make_task
from distill_nb.data.tables import write_table
from distill_nb.kit.errors import InputError
from distill_nb.losses import HardTargets, LogitMSE, SoftTargets
from distill_nb.losses.objective import ANSWERED
from distill_nb.students.copied import init_student
from distill_nb.teachers.answers import Answers, add_answers, read_answers, row_texts, write_answers
from distill_nb.teachers.columns import LOGITS
from distill_nb.teachers.load import load_teacher
from distill_nb.teachers.numbers import as_logits, match_names, mean_logits
from distill_nb.teachers.several import ask_model, average

TEXTS = [f"the film was {'very ' * (i % 4)}{w} {i}" for i in range(15) for w in ("good", "bad")]
LABELS = ["good", "bad"] * 15

def films(labels=LABELS, texts=TEXTS): return make_task("films", dict(train=pd.DataFrame(dict(text=texts, label=labels))))
def three(): return films(["good", "bad", "so so"] * 10)

def told(file, task, **how):
    "(probabilities by text, what was told)."
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        found = read_answers(file, task, **how)
    p = {t: np.exp(z) / np.exp(z).sum() for s in task.splits for t, z in zip(task[s]["text"], found.splits[s])}
    return p, " ".join(str(w.message) for w in heard)

def table(folder, name, **columns):
    write_table(pd.DataFrame(columns), folder/name)
    return folder/name

GOOD = dict(
    labels=("a.csv", dict(answer=LABELS)), capitals=("a.csv", dict(label=[" Good." if x == "good" else "*BAD*" for x in LABELS])),
    classes=("a.csv", dict(good=[.9 if x == "good" else .1 for x in LABELS], Bad=[.1 if x == "good" else .9 for x in LABELS])),
    prefixes=("a.parquet", dict(p_good=[.9 if x == "good" else .1 for x in LABELS], p_bad=[.1 if x == "good" else .9 for x in LABELS])),
    dictionary=("a.jsonl", dict(probs=[{x: .8, {"good": "bad", "bad": "good"}[x]: .2} for x in LABELS])),
    struct=("a.parquet", dict(probs=[{x: .8, {"good": "bad", "bad": "good"}[x]: .2} for x in LABELS])),
    python=("a.csv", dict(answer=[repr({x: .8, {"good": "bad", "bad": "good"}[x]: .2}) for x in LABELS])),
    logprobs=("a.jsonl", dict(logprobs=[{x: -.2} for x in LABELS])), numbers=("a.jsonl", dict(logits=[[-1., 3.] if x == "good" else [3., -1.] for x in LABELS])),
    tokens=("a.jsonl", dict(top_logprobs=[[dict(token=f" {x.title()}", logprob=-.1), dict(token="The", logprob=-3.)] for x in LABELS])),
    pipeline=("a.jsonl", dict(answer=[[dict(label=x, score=.99), dict(label={"good": "bad", "bad": "good"}[x], score=.01)] for x in LABELS])),
    votes=("a.jsonl", dict(annotations=[[x, x, {"good": "bad", "bad": "good"}[x]] for x in LABELS])), counts=("a.jsonl", dict(votes=[{x: 3} for x in LABELS])))

@pytest.mark.parametrize("form", GOOD)
def test_every_form_of_answers_is_read(form, tmp_path):
    name, columns = GOOD[form]
    p, _ = told(table(tmp_path, name, text=TEXTS, reason=["since"] * 30, **columns), films())
    task = films()
    assert all(p[t].argmax() == task.labels.index(x) and p[t].max() > .6 for t, x in zip(TEXTS, LABELS))
    assert all(abs(x.sum() - 1) < 1e-9 for x in p.values())

def test_a_file_of_answers_is_for_one_answer_per_text(tmp_path):
    "Two labels of a text are no votes for one of them."
    columns = dict(text=TEXTS, label=[["a", "b"], ["a"]] * 15)
    task = make_task("films", dict(train=pd.DataFrame(columns)), kind="multilabel")
    with pytest.raises(InputError, match="a.jsonl: answers for multilabel: expected a task with one answer per text"): read_answers(table(tmp_path, "a.jsonl", **columns), task)

def test_annotators_columns_are_votes(tmp_path):
    "An empty field is an annotator who did not answer."
    file = table(tmp_path, "a.csv", text=TEXTS, anna=LABELS, ben=LABELS, carl=["good"] * 10 + [""] * 20)
    p, _ = told(file, films(), column=["anna", "ben", "carl"])
    assert p[TEXTS[1]] == pytest.approx([2/3, 1/3], abs=1e-6) and p[TEXTS[29]] == pytest.approx([1, 0], abs=1e-6)

def test_what_the_top_few_leave_is_shared(tmp_path):
    p, _ = told(table(tmp_path, "a.jsonl", text=TEXTS, answer=[{x: float(np.log(.7))} for x in ["good", "bad", "so so"] * 10]), three())
    assert sorted(p[TEXTS[0]]) == pytest.approx([.15, .15, .7], abs=1e-6)

def test_tokens_that_are_no_class_are_left_out_and_those_of_one_class_added(tmp_path):
    tokens = [[dict(token=x, logprob=float(np.log(.4))), dict(token=f" {x.upper()}", logprob=float(np.log(.2))), dict(token="Hm", logprob=-2.)] for x in LABELS]
    p, _ = told(table(tmp_path, "a.jsonl", text=TEXTS, answer=tokens), films())
    assert max(p[TEXTS[0]]) == pytest.approx(.6, abs=1e-6) # .4 is left for the other class

def test_names_are_told(tmp_path):
    _, heard = told(table(tmp_path, "a.csv", text=TEXTS, answer=["Good" if x == "good" else x for x in LABELS]), films())
    assert "'Good' as 'good'" in heard

def test_names_that_could_be_two_classes_are_refused():
    with pytest.raises(InputError, match="the class 'GOOD'"): match_names(["GOOD"], ["Good", "good"])
    assert match_names(["1.0", "0"], ["0", "1"]) == {"1.0": "1", "0": "0"}

def test_scores_of_a_regression(tmp_path):
    stars = films([i / 8 for i in range(30)])
    file = table(tmp_path, "a.jsonl", text=TEXTS, score=[[i / 8, i / 8 + 1] for i in range(30)])
    found = read_answers(file, stars)
    by_text = {t: z.item() for s in stars.splits for t, z in zip(stars[s]["text"], found.splits[s])}
    assert by_text[TEXTS[8]] == 1.5 and found.score(stars)["pearson"] > .99
    again = read_answers(write_answers(found, stars, tmp_path/"b.csv"), stars)
    assert all(np.allclose(again.splits[s], found.splits[s]) for s in stars.splits)
    with pytest.raises(InputError, match="row 1: high: expected a number"):
        read_answers(table(tmp_path, "c.csv", text=TEXTS, answer=["high"] * 30), stars)

two = dict(good=[.5] * 30)
BAD = dict(
    unknown=(dict(answer=["god"] * 30), {}, "a.csv: the class 'god': expected one of 'bad', 'good'. The nearest is 'good'."),
    negative=(dict(good=[-.2] * 30, bad=[1.2] * 30), dict(means="probabilities"), "a.csv, row 1: probabilities [1.2, -0.2]: expected no number below 0."),
    nan=(dict(good=["nan"] * 30, bad=[.5] * 30), {}, "a.csv, row 1: nan for 'good': expected a number."),
    nan_in_a_dict=(dict(probs=["{'good': nan, 'bad': .5}"] * 30), {}, "a.csv: the class"),
    words=(dict(good=["high"] * 30, bad=["low"] * 30), {}, "row 1: low for 'bad': expected a number"),
    logits=(dict(good=[3.] * 30, bad=[2.5] * 30), dict(means="probabilities"), "row 1: probabilities [2.5, 3.0]: expected a sum of 1. If these are logits, say means='scores'"),
    unclear=(dict(good=[3.] * 30, bad=[2.5] * 30), {}, "a.csv: numbers from 2.5 to 3: expected probabilities up to 1"),
    not_one=(dict(good=[.3] * 30, bad=[.3] * 30), {}, "row 1: probabilities [0.3, 0.3]: expected a sum of 1"),
    one_class=(dict(answer=["good"] * 30), {}, "a.csv: no answer anywhere for 'bad': expected one for each class. Ask for it too, or say partial=True (--partial)."),
    one_column=(two, {}, "no answer anywhere for 'bad'"), zeros=(dict(good=[1.] * 30, bad=[0.] * 30), {}, "no answer anywhere for 'bad'"),
    two_columns=(dict(answer=LABELS, label=LABELS), {}, "the columns 'answer', 'label': expected one with the answers. Name it with column= (--answers-column)."),
    no_column=(dict(mine=LABELS, yours=LABELS), {}, "the columns 'mine', 'yours'"), wrong_column=(dict(answer=LABELS), dict(column="anwser"), "no column 'anwser' for answers"),
    no_text=(dict(answer=LABELS), dict(text="review"), "no column 'review' for the texts: expected one of 'text', 'answer'"),
    means=(dict(answer=LABELS), dict(means="odds"), "means='odds'"), said_otherwise=(dict(answer=LABELS), dict(means="logprobs"), "a.csv: votes: expected logprobs"),
    empty=(dict(answer=[""] * 30), {}, "a.csv: no row with an answer"), short=(dict(probs=["[.2, .3, .5]"] * 30), {}, "row 1: a list of 3 numbers: expected one for each of the 2 classes"),
    mixed=(dict(answer=["good", "[.2, .8]"] * 15), {}, "votes and numbers in one column"), duplicates=(dict(answer=LABELS), dict(duplicates="first"), "duplicates='first'"))

@pytest.mark.parametrize("mistake", BAD)
def test_mistakes_are_told_in_one_sentence(mistake, tmp_path):
    columns, how, message = BAD[mistake]
    with pytest.raises(InputError) as e: read_answers(table(tmp_path, "a.csv", text=TEXTS, **columns), films(), **how)
    assert message in str(e.value) and "\n" not in str(e.value)

def test_logits_under_the_name_of_probabilities_are_refused(tmp_path):
    with pytest.raises(InputError, match="probabilities .* below 0"):
        read_answers(table(tmp_path, "a.jsonl", text=TEXTS, probabilities=[[2., -2.], [-1., 4.]] * 15), films())

def test_a_class_may_be_missing_on_demand(tmp_path):
    p, _ = told(table(tmp_path, "a.csv", text=TEXTS, answer=["good"] * 30), films(), partial=True)
    assert p[TEXTS[0]].max() > .999

def test_answers_about_other_texts(tmp_path):
    other = table(tmp_path, "a.csv", text=[f"elsewhere {i}" for i in range(30)], answer=LABELS)
    with pytest.raises(InputError, match="none of its 30 rows is about a training text of films"): read_answers(other, films())
    some = table(tmp_path, "b.csv", text=[*TEXTS[:20], "elsewhere"], answer=[*LABELS[:20], "good"])
    p, heard = told(some, films())
    assert "1 row about no text of films" in heard and "training texts have no answer" in heard
    assert sum(np.isnan(x).any() for x in p.values()) == 10

def test_spaces_of_texts_do_not_count(tmp_path):
    p, heard = told(table(tmp_path, "a.csv", text=[f"  {t.replace(' ', chr(160) + ' ')}\n" for t in TEXTS], answer=LABELS), films())
    assert not heard and not any(np.isnan(x).any() for x in p.values())

def test_duplicates(tmp_path):
    twice = table(tmp_path, "a.csv", text=[*TEXTS, *TEXTS[:2]], answer=[*LABELS, "good", "good"])
    with pytest.raises(InputError, match="a.csv: rows 2 and 32 answer 'the film was bad 0' differently"): read_answers(twice, films())
    p, _ = told(twice, films(), duplicates="average")
    assert p[TEXTS[1]] == pytest.approx([.5, .5]) and p[TEXTS[0]].max() > .999

def test_row_ids(tmp_path):
    ids = [f"r{i}" for i in range(30)]
    data = table(tmp_path, "data.csv", id=ids, text=TEXTS, label=LABELS)
    found = read_answers(table(tmp_path, "a.csv", id=[*ids[::-1], "r99"], answer=[*LABELS[::-1], "good"]), films(), key="id", ids=row_texts(data, "id"))
    assert all(found.known(s).all() for s in found.splits) and found.score(films())["accuracy"] == 1
    with pytest.raises(InputError, match="none of its 30 rows"):
        read_answers(table(tmp_path, "b.csv", id=[f"x{i}" for i in range(30)], answer=LABELS), films(), key="id", ids=row_texts(data, "id"))
    with pytest.raises(InputError, match="no column 'id' for the row id"): read_answers(table(tmp_path, "c.csv", nr=ids, answer=LABELS), films(), key="id", ids=row_texts(data, "id"))
    for source, message in ("bshift", "row ids of bshift"), (data, r"no column 'number' for row_id: .* Name it with row_id= .--row-id."):
        with pytest.raises(InputError, match=message): row_texts(source, "number")

def test_pairs(tmp_path):
    pairs = make_task("pairs", dict(train=pd.DataFrame(dict(text=TEXTS, pair=TEXTS[::-1], label=LABELS))))
    found = read_answers(table(tmp_path, "a.csv", text=TEXTS, other=TEXTS[::-1], answer=LABELS), pairs, pair="other")
    assert found.score(pairs)["accuracy"] == 1
    again = read_answers(write_answers(found, pairs, tmp_path/"b.jsonl"), pairs)
    assert all(np.allclose(again.splits[s], found.splits[s]) for s in found.splits)
    with pytest.raises(InputError, match="no column 'pair'"): read_answers(table(tmp_path, "c.csv", text=TEXTS, answer=LABELS), pairs)

@pytest.mark.parametrize("seed", range(5))
def test_probabilities_come_back(seed):
    p = np.random.default_rng(seed).dirichlet(np.ones(4) / 3, 20)
    for means, x in ("probabilities", p.round(3)), ("logprobs", np.log(np.maximum(p, 1e-12))), ("scores", np.log(np.maximum(p, 1e-9)) + seed):
        z = as_logits(x, means)
        assert np.isfinite(z).all() and np.exp(z) / np.exp(z).sum(1, keepdims=True) == pytest.approx(p, abs=2e-3)

@pytest.mark.parametrize("T", [1., 2., 5.])
def test_one_term_with_the_mean_has_the_gradient_of_a_term_per_teacher(T):
    gen = np.random.default_rng(0)
    z, w = gen.normal(size=(3, 6, 4)) * 3, np.array([.5, .3, .2])
    z_s = torch.tensor(gen.normal(size=(6, 4)), requires_grad=True)
    from distill_nb.losses.logits import kl_divergence, logit_mse
    def gradient(loss): return torch.autograd.grad(loss, z_s)[0]
    each = gradient(sum(float(a) * kl_divergence(z_s, torch.tensor(t), T) for a, t in zip(w, z)))
    mean = torch.tensor(mean_logits(z, np.repeat(w[:, None], 6, 1), T=T))
    torch.testing.assert_close(gradient(kl_divergence(z_s, mean, T)), each)
    each = gradient(sum(float(a) * logit_mse(z_s, torch.tensor(t)) for a, t in zip(w, z)))
    mean = torch.tensor(mean_logits(z, np.repeat(w[:, None], 6, 1), "logit"))
    torch.testing.assert_close(gradient(logit_mse(z_s, mean)), each)

def test_a_mean_of_those_who_answered():
    nan, one = np.full((2, 2), np.nan), np.log([[.9, .1], [.2, .8]])
    a, b = Answers(["x", "y"], dict(train=one)), Answers(["y", "x"], dict(train=np.concatenate([one[:1, ::-1], nan[:1]])))
    both = average([a, b], [1, 3])
    assert np.exp(both.splits["train"]) == pytest.approx(np.exp(one))
    with pytest.raises(InputError, match="answers for"): average([a, Answers(["x", "z"], dict(train=one))])
    for weights in [0, 1], [1, float("nan")], [-1, 1]:
        with pytest.raises(InputError): average([a, b], weights)

OBJECTIVES = SoftTargets(T=2), LogitMSE(), 5*SoftTargets(T=2) + 2*HardTargets()

@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
@pytest.mark.parametrize("batch, accumulate", [(32, 1), (8, 4)])
def test_texts_without_an_answer_do_not_count(tok, tmp_path, objective, batch, accumulate):
    "A step on them equals one on the answered texts; the labels of all count."
    data = rows(tok, 32)
    z = np.random.default_rng(0).normal(size=(32, 2))
    half = z.copy()
    half[::3] = np.nan
    how = dict(per_device_train_batch_size=batch, gradient_accumulation_steps=accumulate)
    def step(data, objective, **how): return weights(train(tok, tmp_path, bert(2), None, objective, data, **how).student) - weights(bert(2))
    found = step(add_answers(data, Answers(None, dict(train=half))), objective, **how)
    known = ~np.isnan(half).any(1)
    some = add_answers(data.select(np.flatnonzero(known)), Answers(None, dict(train=z[known])))
    assert ANSWERED not in some.column_names
    soft = [t for t in getattr(objective, "terms", [objective]) if t.needs_teacher]
    expected = step(some, soft[0], per_device_train_batch_size=32)
    if len(soft) < len(getattr(objective, "terms", [objective])): expected = expected + step(data, 2*HardTargets(), per_device_train_batch_size=32)
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-4)

def test_a_student_of_the_file_equals_one_of_the_model(tok, tmp_path):
    task = make_task("films", dict(train=pd.DataFrame(dict(text=[f"good film {w} {v} {u}" for w in ("bad", "fine", "dull") for v in ("book", "very", "not")
                                                                 for u in ("good", "book", "fine")], label=(["bad", "good"] * 14)[:27]))))
    teacher = bert(id2label={0: "good", 1: "bad"}, label2id=dict(good=0, bad=1))
    said = ask_model(teacher, tok, task, folder=tmp_path/"cache")
    from distill_nb.data.tokens import tokenize
    data = tokenize(task, tok, 16)["train"]
    def student(answers): return weights(train(tok, tmp_path, bert(2, id2label={0: "bad", 1: "good"}, label2id=dict(bad=0, good=1)), None, SoftTargets(T=2) + LogitMSE(),
                                               add_answers(data, answers), max_steps=4).student)
    again = [read_answers(write_answers(said, task, tmp_path/f"a{end}"), task) for end in (".csv", ".tsv", ".jsonl", ".parquet")]
    for answers in again: torch.testing.assert_close(student(answers), student(said), atol=1e-6, rtol=0)
    torch.testing.assert_close(student(average([said, *again], [1, 2, 3, 4, 5])), student(said), atol=1e-6, rtol=0)

@pytest.mark.parametrize("family", EXTRA)
def test_teachers_of_every_family_answer(family, tok, tmp_path):
    from transformers import AutoModelForSequenceClassification
    teacher = build(family, AutoModelForSequenceClassification).eval()
    names = dict(enumerate(["bad", "good"]))
    teacher.config.id2label, teacher.config.label2id = names, {n: i for i, n in names.items()}
    said = ask_model(teacher, tok, films(texts=[f"good bad {'very ' * i}" for i in range(1, 31)]), 8, folder=tmp_path)
    assert said.labels == ["bad", "good"] and all(np.isfinite(z).all() for z in said.splits.values())

def test_a_quantised_teacher_answers(tok, tmp_path):
    teacher = bert(id2label={0: "bad", 1: "good"}, label2id=dict(bad=0, good=1))
    small = torch.ao.quantization.quantize_dynamic(teacher, {torch.nn.Linear}, dtype=torch.qint8)
    task = films(texts=[f"good film {'very ' * i}bad" for i in range(30)])
    plain, said = [ask_model(m, tok, task, folder=tmp_path) for m in (teacher, small)]
    assert 0 < np.abs(plain.splits["train"] - said.splits["train"]).max() < .1
    run = train(tok, tmp_path, init_student(teacher, [0, 1]), small, SoftTargets(T=2)) # and during training
    assert run.state.global_step == 1
    with pytest.raises(InputError, match="which is quantised: expected plain weights"): init_student(small, [0, 1])

def test_adapters_as_teacher_and_student(tok, tmp_path):
    peft = pytest.importorskip("peft")
    def adapted(): return peft.get_peft_model(bert(id2label={0: "bad", 1: "good"}, label2id=dict(bad=0, good=1)), peft.LoraConfig(
        task_type="SEQ_CLS", r=2, target_modules=["query", "value"], init_lora_weights=False)).eval()
    task = films(texts=[f"good film {'very ' * i}bad" for i in range(30)])
    said = ask_model(adapted(), tok, task, folder=tmp_path)
    assert np.isfinite(said.splits["train"]).all()
    train(tok, tmp_path, adapted(), adapted(), SoftTargets(T=2))

def test_a_folder_of_an_adapter_is_refused(tok, tmp_path):
    (tmp_path/"adapter_config.json").write_text(json.dumps(dict(peft_type="LORA", base_model_name_or_path="bert")))
    tok.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="an adapter alone.*merge_and_unload"): load_teacher(tmp_path)

CHAT = dict(fence=lambda x: f'```json\n{{"label": "{x}"}}\n```', object=lambda x: dict(label=x, confidence=.7, reason="since"), text=lambda x: f'{{"answer": "{x}"}}',
            twice=lambda x: json.dumps(json.dumps({"label": x.upper()})), wide=lambda x: "".join(chr(ord(c) + 0xfee0) for c in x))

@pytest.mark.parametrize("form", CHAT)
def test_a_chat_s_ways_to_write_a_label(form, tmp_path):
    p, _ = told(table(tmp_path, "a.jsonl", text=TEXTS, answer=[CHAT[form](x) for x in LABELS]), films())
    assert all(p[t].argmax() == films().labels.index(x) and p[t].max() > .99 for t, x in zip(TEXTS, LABELS))

def test_a_pipeline_s_scores_are_probabilities_where_they_sum_to_one(tmp_path):
    "transformers calls them score; read as logits, .8 and .2 would be .65 and .35."
    other = {"good": "bad", "bad": "good"}
    p, _ = told(table(tmp_path, "a.jsonl", text=TEXTS, answer=[[dict(label=x, score=.8), dict(label=other[x], score=.2)] for x in LABELS]), films())
    assert max(p[TEXTS[0]]) == pytest.approx(.8, abs=1e-6)
    p, _ = told(table(tmp_path, "b.jsonl", text=TEXTS, answer=[[dict(label=x, score=3.), dict(label=other[x], score=-1.)] for x in LABELS]), films())
    assert max(p[TEXTS[0]]) == pytest.approx(1 / (1 + np.exp(-4)), abs=1e-6)

@pytest.mark.parametrize("cell", ["[" * 3000 + "]" * 3000, "(" * 3000 + ")" * 3000, '"' * 5, "```json\n```"], ids=["deep", "deep tuple", "quotes", "empty fence"])
def test_an_odd_cell_is_refused(cell, tmp_path):
    with pytest.raises(InputError): told(table(tmp_path, "a.csv", text=TEXTS, answer=[cell] * 30), films())

def test_none_is_the_class_that_is_called_none(tmp_path):
    task = make_task("t", dict(train=pd.DataFrame(dict(text=TEXTS, label=["none", "some", "more"] * 10))))
    p, _ = told(table(tmp_path, "a.jsonl", text=TEXTS, answer=["None", "some", "more"] * 10), task)
    assert p[task["train"]["text"][0]].max() > .99

@pytest.mark.parametrize("cell", [dict(score=1), [dict(score=1)], [[1]], True, "I'd say 1"], ids=repr)
def test_what_is_no_score_is_refused_and_no_answer_is_none(cell, tmp_path):
    task = make_task("r", dict(train=pd.DataFrame(dict(text=TEXTS, label=[i / 7 for i in range(30)]))))
    assert read_answers(table(tmp_path, "a.jsonl", text=TEXTS, answer=["N/A", None, 1.5] * 10), task).known("train").sum() < len(task["train"])
    with pytest.raises(InputError, match="row 1: .*expected a number"): read_answers(table(tmp_path, "b.jsonl", text=TEXTS, answer=[cell] * 30), task)
