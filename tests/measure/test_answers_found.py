"Exact match and F1 as SQuAD's official scripts give them, and the best span over windows."
import itertools, json
import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForQuestionAnswering, BertConfig
from builders import WORDS
from distill_nb.data.spans import pick_spans
from distill_nb.data.tasks import make_task
from distill_nb.data.tokens import tokenize
from distill_nb.kit.errors import InputError
from distill_nb.measure.scores import evaluate, predict, score
from distill_nb.measure.spans import Answer, answer, answer_metrics, best_pair, best_spans, normalized, score_spans, word_f1

# answer, accepted ones, F1, exact match: worked by hand after the published rules
CASES = [
    ("Denver Broncos", ["Denver Broncos", "Denver Broncos", "Denver Broncos"], 1, 1),
    ("the Denver Broncos.", ["Denver Broncos"], 1, 1),
    ("Broncos", ["Denver Broncos"], 2 / 3, 0),
    ("Denver Broncos team", ["Denver Broncos"], .8, 0),
    ("Santa Clara", ["Santa Clara, California", "Levi's Stadium", "Levi's Stadium in Santa Clara, California"], .8, 0),
    ("Levis Stadium", ["Levi's Stadium"], 1, 1),
    ("in the bay bay area", ["bay area bay"], 2 * 3 / (4 + 3), 0),
    ("U.S.", ["us"], 1, 1),
    ("1,000", ["1000"], 1, 1),
    ("10 -5", ["10 5"], 1, 1),
    ("Paris", ["London"], 0, 0),
    ("", ["London"], 0, 0),
    ("London", [], 0, 0),
    ("", [], 1, 1),
    ("the", [], 1, 1), # nothing is left of an article
    ("a, the!", ["an"], 1, 1), # an accepted answer of articles counts as none
    ("x", ["the", "x"], 1, 1),
    ("naïve Café", ["Naïve café"], 1, 1),
    ("thethe a", ["thethe"], 1, 1)] # only whole words are articles

@pytest.mark.parametrize("found, gold, f1, exact", CASES)
def test_known_cases(found, gold, f1, exact):
    got = answer_metrics([found], [gold])
    assert got["f1"] == pytest.approx(f1) and got["exact"] == exact

def test_the_mean_is_over_questions():
    got = answer_metrics([c[0] for c in CASES], [c[1] for c in CASES])
    assert got["f1"] == pytest.approx(np.mean([c[2] for c in CASES])) and got["exact"] == pytest.approx(np.mean([c[3] for c in CASES]))
    assert normalized(" An  (odd) the\nanswer ") == "odd answer" and word_f1("a", "the") == 1

def test_the_best_pair_is_the_best_of_all_pairs():
    rng = np.random.default_rng(0)
    for n, most in itertools.product((1, 2, 7, 40), (1, 3, 30)):
        s, e = rng.normal(size=(2, n))
        score, i, j = best_pair(s, e, most)
        slow = max((s[a] + e[b], a, b) for a in range(n) for b in range(a, min(n, a + most)))
        assert score == pytest.approx(slow[0]) and (i, j) == slow[1:]

# A model's answers

def rows_of(tok, contexts, max_length=24, answers=None, question="good film"):
    rows = [dict(question=question, context=c, answers=[] if a is None else [dict(text=a, start=c.index(a))]) for c, a in zip(contexts, answers or itertools.repeat("good"))]
    return make_task("q", {"train": pick_spans(pd.DataFrame(rows, dtype=object))}, hold_out=False)

def reader(seed=0, layers=2):
    torch.manual_seed(seed)
    return AutoModelForQuestionAnswering.from_config(BertConfig(vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=layers, num_attention_heads=2,
        intermediate_size=32, initializer_range=.5, hidden_dropout_prob=0., attention_probs_dropout_prob=0.)).eval()

CONTEXTS = ["bad dull good book", "good", "very good " * 9, "not dull film good book very bad"]

def test_answers_are_those_of_a_slow_search(tok):
    model, rows = reader(), tokenize(rows_of(tok, CONTEXTS[:2] + CONTEXTS[3:]), tok, 48)["train"]
    found = best_spans(predict(model, rows, tok, 2), rows)
    for n, row in enumerate(rows):
        with torch.no_grad(): out = model(**{k: torch.tensor([row[k]]) for k in tok.model_input_names if k in row})
        s, e = out.start_logits[0], out.end_logits[0]
        places = [p for p, m in enumerate(row["place_mask"]) if m and p]
        best = max((float(s[a] + e[b]), a, b) for a in places for b in places if a <= b)
        assert found[n].score == pytest.approx(best[0], abs=1e-4)
        assert found[n].text == row["context"][row["offsets"][best[1]][0]:row["offsets"][best[2]][1]]
        assert found[n].none == pytest.approx(float(s[0] + e[0]), abs=1e-4) and 0 < found[n].sure <= 1

def test_one_question_and_a_task_give_the_same_answer(tok):
    model, task = reader(), rows_of(tok, CONTEXTS)
    rows = tokenize(task, tok, 16)["train"]
    assert len(rows) > len(CONTEXTS), "one context has several windows"
    found = best_spans(predict(model, rows, tok), rows)
    for n, context in enumerate(CONTEXTS):
        one = answer(model, tok, "good film", context, max_length=16)
        assert one.text == found[n].text and one.score == pytest.approx(found[n].score, abs=1e-4)
    assert evaluate(model, task, tok, "train", max_length=16) == score(model, rows, tok)

def window(z, context, accepted, row=0):
    n = len(z[0])
    return dict(row=[row], accepted=[json.dumps(accepted)], context=[context], place_mask=[[1] * n], offsets=[[[0, 0]] + [[2 * i, 2 * i + 1] for i in range(n - 1)]])

def test_no_answer_needs_every_window():
    sure, unsure = np.array([[5., 1, 0], [5, 0, 1]]), np.array([[0., 3, 0], [0, 0, 3]])
    both = {k: v * 2 for k, v in window(sure, "x y", []).items()}
    assert best_spans([sure, sure], both)[0].text == "" and best_spans([sure, unsure], both)[0].text == "x y"
    assert score_spans([sure, sure], both) == dict(f1=1., exact=1.)
    answered = {k: v * 2 for k, v in window(sure, "x y", ["x y"]).items()}
    assert best_spans([sure, sure], answered)[0].text == "x y", "in a data set where each question has an answer"
    assert best_spans([sure, sure], answered, empty=True)[0].text == ""

def test_unlabelled_questions_do_not_count_and_bad_numbers_are_refused():
    z = np.array([[0., 3, 0], [0, 3, 0]])
    rows = {k: v + w for (k, v), w in zip(window(z, "x y", ["x"]).items(), window(z, "x y", None, 1).values())}
    assert score_spans([z, z], rows) == dict(f1=1., exact=1.)
    with pytest.raises(InputError, match="without a label"): score_spans([z], window(z, "x y", None))
    with pytest.raises(InputError, match="NaN or infinity"): score_spans([z * np.nan], window(z, "x y", ["x"]))

@pytest.mark.parametrize("question, context, message", [("", "good", "question ''"), ("good", " ", "context ' '"), ("good", None, "context None")])
def test_empty_questions_are_refused(question, context, message, tok):
    with pytest.raises(InputError, match=message): answer(reader(), tok, question, context)

def test_a_model_with_another_vocabulary_is_refused(tok):
    small = reader()
    small.resize_token_embeddings(5)
    with pytest.raises(InputError, match="a tokenizer of 13 tokens"): answer(small, tok, "good", "film")
