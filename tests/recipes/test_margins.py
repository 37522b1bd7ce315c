"The recipe of margins: sentence-transformers' formula through a whole step, scores from a file and from a teacher, what is saved, bad input, the command line."
import json, re
import numpy as np
import pandas as pd
import pytest, torch
from datasets import Dataset, DatasetDict
from torch import nn
from transformers import AutoModel, AutoModelForSequenceClassification, GPT2Config, GPT2Model
from builders import PLAIN, WORDS, make_tokenizer
from families import build
from distill_nb.kit.errors import InputError
from distill_nb.measure.report import Latency, Report
from distill_nb.measure.vectors import embed
from distill_nb.recipes.embedding import carry_sentence_files, pooling_of, sentence_files
from distill_nb.recipes.margins import (
    MarginMSE, PadTriples, cross_scores, distil_margins, docstring_triples, load_cross_encoder, margin_metrics, read_triples, split_triples,
    student_margins, triple_rows, with_margins)
from distill_nb.training.run import fit

TEXTS = [" ".join(WORDS[5 + int(d)] for d in f"{i:o}") for i in range(64, 160)]
TABLE = pd.DataFrame(dict(query=TEXTS[:32], positive=TEXTS[32:64], negative=TEXTS[64:]))
GIVEN = TABLE.assign(margin=[.5 * (i % 7) - 1 for i in range(32)])
FAST = dict(max_steps=2, per_device_train_batch_size=8, disable_tqdm=True, use_cpu=True, bf16=False, held_out=.25, max_length=16)

@pytest.fixture(autouse=True)
def no_stopwatch(monkeypatch):
    monkeypatch.setattr("distill_nb.measure.report.latencies", lambda models, **kw: [Latency(1., 1, 32, 1, 1, "cpu", 1., 1., 1.)] * len(models))

def saved(folder, auto=AutoModel, family="bert", **more):
    build(family, auto, vocab_size=len(WORDS), pad_token_id=0, **more).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder

@pytest.fixture
def base(tmp_path): return saved(tmp_path/"base")

@pytest.fixture
def cross(tmp_path): return saved(tmp_path/"cross", AutoModelForSequenceClassification, num_labels=1)

def plain_vectors(model, texts, tok):
    "Mean of the last states, one text at a time: no padding, no code of ours."
    with torch.no_grad(): return torch.cat([model(**tok(t, return_tensors="pt")).last_hidden_state.mean(1) for t in texts])

STILL = dict(hidden_dropout_prob=0., attention_probs_dropout_prob=0.)

@pytest.mark.parametrize("family, still", dict(bert=STILL, roberta=STILL, distilbert=dict(dropout=0., attention_dropout=0.), modernbert={}).items())
def test_a_step_has_the_loss_of_sentence_transformers(tmp_path, family, still):
    "The loss of a first step over all rows is MarginMSELoss of version 6.2.0 (dot products, nn.MSELoss) on vectors made one by one."
    tok, student = make_tokenizer(), build(family, AutoModel, vocab_size=len(WORDS), pad_token_id=0, **still)
    q, p, n = [plain_vectors(student.eval(), TABLE[c], tok) for c in TABLE]
    want = nn.MSELoss()((q * p).sum(-1) - (q * n).sum(-1), torch.tensor(GIVEN.margin.tolist()))
    rows = dict(train=triple_rows(GIVEN, tok, 32))
    run = fit(student, rows, tok, MarginMSE(), collate=PadTriples(tok), remove_unused_columns=False, logging_steps=1,
              per_device_train_batch_size=32, **PLAIN | dict(learning_rate=1e-9))
    assert run.history().loss.iloc[0] == pytest.approx(want.item(), rel=1e-4)

def test_the_package_itself_gives_the_same_loss():
    st = pytest.importorskip("sentence_transformers")
    losses, tok, student = pytest.importorskip("sentence_transformers.losses"), make_tokenizer(), build("bert", AutoModel, vocab_size=len(WORDS), pad_token_id=0)
    class Given(nn.Module): # their losses ask a model for vectors
        def forward(self, x): return x
    ask = [dict(sentence_embedding=plain_vectors(student, TABLE[c], tok)) for c in TABLE]
    batch = PadTriples(tok)([*triple_rows(GIVEN, tok)])
    out = student(**{k: v for k, v in batch.items() if k != "labels"}, output_hidden_states=True)
    theirs = losses.MarginMSELoss(Given())(ask, torch.tensor(GIVEN.margin.tolist()))
    assert MarginMSE()(out, None, batch).item() == pytest.approx(theirs.item(), rel=1e-5) and st

def test_one_batch_and_small_ones_give_the_same_step(tmp_path):
    "Batches of 5 rows, the last one of 2, added up to one step: each triple counts alike."
    after = []
    for batch, together in (32, 1), (5, 7):
        tok, student = make_tokenizer(), build("bert", AutoModel, vocab_size=len(WORDS), pad_token_id=0, **STILL)
        fit(student, dict(train=triple_rows(GIVEN, tok)), tok, MarginMSE(), collate=PadTriples(tok), remove_unused_columns=False,
            per_device_train_batch_size=batch, gradient_accumulation_steps=together, **PLAIN | dict(learning_rate=1e-3))
        after.append(nn.utils.parameters_to_vector(student.parameters()).detach())
    torch.testing.assert_close(*after, atol=1e-5, rtol=1e-4)

def test_scores_from_a_file_and_from_the_teacher_are_the_same(tmp_path, base, cross):
    model, tok = load_cross_encoder(cross)
    good, bad = [cross_scores(model, tok, TABLE["query"], TABLE[c]) for c in ("positive", "negative")]
    alone = [model(**tok(q, p, return_tensors="pt")).logits.item() for q, p in zip(TABLE["query"], TABLE.positive)]
    assert np.allclose(good, alone, atol=1e-5) and np.std(good) > 1e-3
    asked = with_margins(TABLE, model, tok)
    TABLE.assign(good=good, bad=bad, gap=good - bad).to_csv(tmp_path/"t.csv", index=False)
    for scores in ["gap"], ["good", "bad"]:
        assert np.allclose(read_triples(tmp_path/"t.csv", scores=scores).margin, asked.margin, rtol=0, atol=1e-6)
    one = distil_margins(TABLE, cross, base, 2, **FAST)
    two = distil_margins(tmp_path/"t.csv", base=base, layers=2, scores=("good", "bad"), **FAST)
    assert torch.allclose(one.embed(TEXTS), two.embed(TEXTS), atol=1e-6)
    assert one.report.rows[0].keys() > two.report.rows[0].keys() # a file has no parameters

def test_every_different_pair_is_asked_once(cross, monkeypatch):
    model, tok = load_cross_encoder(cross)
    seen = []
    def counting(model, rows, tok):
        seen.append(len(rows))
        return dict(teacher_logits=[[float(i)] for i in range(len(rows))])
    monkeypatch.setattr("distill_nb.recipes.margins.cache_teacher", counting)
    assert cross_scores(model, tok, ["a", "b", "a"], ["x", "x", "x"]).tolist() == [0, 1, 0] and seen == [2]

@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "disk", "rows", "frame", "list", "dict"])
def test_wherever_the_triples_lie(tmp_path, kind):
    file, rows = tmp_path/f"t.{kind}", Dataset.from_pandas(GIVEN)
    if kind == "csv": GIVEN.to_csv(file, index=False)
    if kind == "jsonl": GIVEN.to_json(file, orient="records", lines=True)
    if kind == "parquet": GIVEN.to_parquet(file)
    if kind == "disk": rows.save_to_disk(file)
    found = read_triples(dict(rows=rows, frame=GIVEN, list=GIVEN.to_dict("records"), dict=GIVEN.to_dict("list")).get(kind, file), scores="margin")
    assert found.margin.tolist() == GIVEN.margin.tolist() and all(found[c].tolist() == GIVEN[c].tolist() for c in TABLE)

@pytest.mark.parametrize("source, wanted", [
    (DatasetDict(train=Dataset.from_pandas(GIVEN)), "triples of type DatasetDict: expected a frame or a Dataset. Of several splits"),
    (7, "triples: int 7: expected a data frame, a data set, or a list of records"), (iter(()), "triples: no columns: expected query and positive")],
    ids=["splits", "number", "iterator"])
def test_what_holds_no_rows_is_refused(source, wanted):
    with pytest.raises(InputError, match=wanted): read_triples(source)

def test_no_query_is_on_both_sides():
    many = pd.concat([TABLE, TABLE.assign(negative=TABLE.negative[::-1].tolist())])
    sides = split_triples(many, .2)
    assert not {*sides["train"]["query"]} & {*sides["test"]["query"]} and sum(map(len, sides.values())) == 64
    assert sides["test"]["query"].nunique() == 6

def test_margins_of_a_student():
    found, margin = np.array([2., -1., .5]), np.array([1., -1., -.5])
    assert margin_metrics(found, margin) == dict(accuracy=2 / 3, margin_mse=2 / 3)
    tok, student = make_tokenizer(), build("bert", AutoModel, vocab_size=len(WORDS), pad_token_id=0)
    q, p, n = [plain_vectors(student, TABLE[c], tok) for c in TABLE]
    assert np.allclose(student_margins(student, TABLE, tok), (q * (p - n)).sum(-1).numpy(), atol=1e-4)

@pytest.mark.parametrize("layers", [2, 0])
def test_a_student_learns_is_saved_and_loaded(tmp_path, base, layers):
    "The margin is how many words more the positive shares with the query: held-out triples come into order."
    def shared(a, b): return len({*a.split()} & {*b.split()})
    texts = [" ".join(WORDS[5 + int(d)] for d in f"{i:o}") for i in range(64, 511)]
    triples = [(*t, float(shared(t[0], t[1]) - shared(t[0], t[2]))) for t in zip(texts[::3], texts[1::3], texts[::-3])]
    rows = pd.DataFrame(triples, columns=[*GIVEN])
    more = FAST | dict(max_steps=60, learning_rate=1e-2)
    done = distil_margins(rows, base=base, layers=layers, scores="margin", **more)
    teacher, before, after = done.report.rows
    assert teacher["margin_mse"] == 0 and after["margin_mse"] < .7 * before["margin_mse"] and after["accuracy"] > before["accuracy"] + .1
    out = done.save(tmp_path/"out")
    assert pooling_of(out) == ("mean", False)
    assert json.loads((out/"config_sentence_transformers.json").read_text()) == dict(similarity_fn_name="dot")
    again = AutoModel.from_pretrained(out)
    assert torch.allclose(embed(again, TEXTS[:5], done.tokenizer, normalize=False), done.embed(TEXTS[:5]), atol=1e-5)
    assert done.embed(TEXTS[:5]).norm(dim=-1).std() > 1e-3 # their lengths count
    (tmp_path/"copy").mkdir()
    carry_sentence_files(out, tmp_path/"copy")
    assert (tmp_path/"copy/config_sentence_transformers.json").is_file()

def test_sentence_transformers_gives_the_same_products(tmp_path, base):
    st = pytest.importorskip("sentence_transformers")
    for layers in 0, 2:
        done = distil_margins(GIVEN, base=base, layers=layers, scores="margin", **FAST)
        model = st.SentenceTransformer(str(done.save(tmp_path/f"out{layers}")), device="cpu")
        u, v = model.encode(TEXTS[:5], convert_to_tensor=True), done.embed(TEXTS[:5])
        assert model.similarity_fn_name == "dot" and torch.allclose(u, v, atol=1e-5) and torch.allclose(model.similarity(u, u), v @ v.T, atol=1e-4)

def test_the_same_seed_gives_the_same_student(base):
    a, b = [distil_margins(GIVEN, base=base, layers=2, scores="margin", seed=3, **FAST).embed(TEXTS) for _ in range(2)]
    assert torch.equal(a, b)

def bad_models(tmp_path):
    "A cross-encoder of two outputs, a tagger of one, a language model that reads one way."
    saved(tmp_path/"two", AutoModelForSequenceClassification, num_labels=2)
    from transformers import AutoModelForTokenClassification
    saved(tmp_path/"tagger", AutoModelForTokenClassification, num_labels=1)
    GPT2Model(GPT2Config(vocab_size=len(WORDS), n_embd=8, n_layer=2, n_head=2, n_positions=32, bos_token_id=2, eos_token_id=3)).save_pretrained(tmp_path/"gpt")
    make_tokenizer().save_pretrained(tmp_path/"gpt")

def test_passages_that_are_the_same_are_left_out_and_told():
    rows = GIVEN.assign(negative=[*GIVEN.positive[:2], *GIVEN.negative[2:]])
    with pytest.warns(UserWarning, match="2 rows whose positive and negative are the same text are left out, first row 1"):
        found = read_triples(rows, scores="margin")
    assert [*found.index] == [*range(len(rows) - 2)] and [*found["query"]] == [*rows["query"][2:]]

BAD = [
    (dict(negative=lambda t: t.positive + " "), [], "32 rows whose positive and negative are the same text: expected two texts"),
    (dict(drop="negative"), [], "no column 'negative' for negative: expected one of 'query', 'positive', 'margin'. "
     "Name it with columns={\"negative\": ...} (--negative)"),
    ({}, ["--query", "question"], "no column 'question' for query"),
    (dict(margin=["1"] * 5 + ["nan"] + ["2"] * 26), [], "margin, row 6: 'nan': expected a finite number"),
    (dict(margin=["1"] * 31 + [""]), [], "margin, row 32: '': expected a finite number"),
    (dict(positive=["good"] * 3 + ["  "] + ["bad"] * 28), [], "positive, row 4: '  ': expected a text"),
    ({}, ["--scores", "gap"], "no column 'gap' for scores"),
    ({}, ["--scores", "a,b,c"], "scores=['a', 'b', 'c']: expected a column of margins, or two of scores"),
    ({}, ["--teacher", "cross"], "expected one of them"),
    ({}, ["--no-scores"], "expected one of them"),
    ({}, ["--teacher", "two", "--no-scores"], "two: 2 outputs for classification: expected a cross-encoder"),
    ({}, ["--teacher", "tagger", "--no-scores"], "tagger: 1 output for tags: expected a cross-encoder"),
    ({}, ["--teacher", "base", "--no-scores"], "base: an untrained head: expected a cross-encoder"),
    ({}, ["--teacher", "/no/model", "--no-scores"], "/no/model"),
    ({}, ["--base", "gpt"], "GPT2Model, a causal language model: expected an encoder"),
    ({}, ["--layers", "9"], "9 student layers: expected 1 to the teacher's 4"),
    ({}, ["--held-out", "1"], "held_out=1.0, different queries: 32: expected a share between 0 and 1"),
    (dict(query=["good"] * 32), [], "held_out=0.25, different queries: 1: expected"),
    ({}, ["--max-length", "999"], "max_length=999"),
    ({}, ["--answers", "a.csv"], "--answers with --recipe margins: expected layers, tinybert, bilstm")]

@pytest.mark.parametrize("change, words, message", BAD)
def test_bad_input_is_one_sentence_and_exit_2(shell, base, cross, tmp_path, change, words, message):
    bad_models(tmp_path)
    table = GIVEN.drop(columns=change["drop"]) if "drop" in change else GIVEN.astype(dict(margin=str)).assign(**change)
    table.to_csv(tmp_path/"t.csv", index=False)
    given = {"--base": base, "--held-out": .25, "--max-length": 16, "--scores": "margin"}
    if "--no-scores" in words: given.pop("--scores")
    words = [w for w in words if w != "--no-scores"]
    given |= {a: tmp_path/b if (tmp_path/b).exists() else b for a, b in zip(words[::2], words[1::2])}
    code, out, err = shell("train", "--recipe", "margins", "--triples", tmp_path/"t.csv", "--out", tmp_path/"out", *(x for pair in given.items() for x in pair))
    errors = [l for l in err.splitlines() if l.startswith("distill_nb: ") and "note: " not in l]
    assert code == 2 and len(errors) == 1 and message in errors[0] and "Traceback" not in err, err
    assert not (tmp_path/"out").exists()

def test_the_command(shell, base, cross, tmp_path):
    TABLE.rename(columns=dict(query="question")).to_json(tmp_path/"t.jsonl", orient="records", lines=True)
    words = ["--recipe", "margins", "--triples", tmp_path/"t.jsonl", "--query", "question", "--teacher", cross, "--base", base, "--layers", 2,
             "--held-out", .25, "--max-length", 16, "--epochs", 1, "--batch-size", 8]
    code, out, err = shell("check", *words, "--json")
    assert code == 0 and json.loads(out)["errors"] == 0, out + err
    code, out, err = shell("train", *words, "--out", tmp_path/"s", "--json")
    assert code == 0, err
    rows = json.loads(out)["rows"]
    assert [row["model"] for row in rows] == ["teacher", "student, not trained", "student, distilled"]
    assert all(0 <= row["accuracy"] <= 1 for row in rows) and rows[0]["margin_mse"] == 0 < rows[2]["margin_mse"] and rows[2]["steps"] == 3
    card = (tmp_path/"s/README.md").read_text()
    assert "sentence-similarity" in card and "cross" in card and str(tmp_path) not in card and "--recipe margins" in card
    pairs = pd.DataFrame(dict(text=TEXTS[:12], pair=TEXTS[1:13], label=range(12)))
    pairs.to_csv(tmp_path/"p.csv", index=False)
    assert shell("evaluate", "--model", tmp_path/"s", "--task", tmp_path/"p.csv")[0] == 0

def test_names_and_docstrings_of_one_file():
    found = docstring_triples()
    assert len(found) > 1000 and not found["query"].duplicated().any() and (found.positive != found.negative).all()
    assert found["query"].map(lambda q: bool(re.fullmatch("[a-z0-9 ]+", q))).all()
