"Sweeps behind nbs/recipes/06_distilbert.ipynb: the recipe over students, objectives, corpora and interruptions, and what it refuses."
import json, shutil, subprocess, sys
import pytest, torch
from datasets import Dataset
from torch import nn
from transformers import AutoModelForMaskedLM, BertConfig, BertForMaskedLM
from builders import WORDS, make_tokenizer
from families import build
from distill_nb.recipes import distilbert as general
from distill_nb.data.corpus import hold_out, read_corpus
from distill_nb.words.hiding import HideWords
from distill_nb.kit.errors import InputError
from distill_nb.measure.report import Latency
from distill_nb.recipes.distilbert import (
    PAPER, accumulate, corpus_name, distil_words, fit_words, triple_loss, two_sides, word_batches, word_collator,
    word_data, word_student, word_teacher)
from distill_nb.training.checkpoints import is_whole
from distill_nb.training.resume import last_checkpoint
from distill_nb.losses import Term
from distill_nb.words.head import load_masked_lm, word_scores
from distill_nb.teachers.load import load_tokenizer
from distill_nb.words.chunks import HardWords, SoftWords

def masked_lm(layers=4, **kw):
    torch.manual_seed(0)
    return BertForMaskedLM(BertConfig(**dict(vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=layers, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=32, hidden_dropout_prob=0., attention_probs_dropout_prob=0., initializer_range=.3) | kw))

@pytest.fixture(autouse=True)
def no_stopwatch(monkeypatch):
    "A report's latency takes most of a second a model."
    monkeypatch.setattr("distill_nb.measure.report.latency", lambda model: Latency(1., 1, 32, 1, 1, "cpu"))

@pytest.fixture
def teacher(tok, tmp_path):
    "Folder of a tiny masked LM with a head and a tokenizer."
    masked_lm().save_pretrained(tmp_path/"teacher")
    tok.save_pretrained(tmp_path/"teacher")
    return tmp_path/"teacher"

def text(i): return " ".join(WORDS[5 + (i * 7 + j * (1 + i % 3)) % 8] for j in range(8 + i % 9))

@pytest.fixture(scope="session")
def corpus(): return Dataset.from_dict(dict(text=[text(i) + f" {i}" for i in range(400)]))

FAST = dict(max_steps=2, per_device_train_batch_size=8, disable_tqdm=True, logging_steps=1, bf16=False, use_cpu=True)
SHORT = dict(max_length=16)

def run(corpus, teacher, **kw): return distil_words(corpus, teacher, **{**dict(text=SHORT, baseline=False, layers=2), **FAST, **kw})

@pytest.mark.parametrize("kw", [
    {}, dict(triple=dict(only_masked=True, T=3.)), dict(objective=HardWords() + 3*SoftWords()), dict(student=dict(kind="distilbert")),
    dict(layers=[1, 3]), dict(layers=2, student=dict(choice="last")), dict(text=dict(max_length=16, packed=True, choose="words")),
    dict(text=dict(max_length=16, choose="rare")), dict(batch=30), dict(baseline=True)], ids=str)
def test_the_recipe_in_its_variants(corpus, teacher, kw):
    done = run(corpus, teacher, **kw)
    names = ["teacher", "student, untrained"] + ["student, words alone"] * kw.get("baseline", 0) + ["student, distilled"]
    assert [r["model"] for r in done.report.rows] == names
    assert all(0 <= r["accuracy"] <= 1 and r["perplexity"] > 1 for r in done.report.rows)
    assert (done.history.filter(regex="^loss") > 0).all().all() and list(done.history.index) == [1, 2]
    assert done.student.num_parameters() < done.teacher.num_parameters()

def test_streams_and_wholes(corpus, teacher):
    done = run(corpus.to_iterable_dataset(), teacher)
    assert done.history.index[-1] == 2
    with pytest.raises(InputError, match="a stream without max_steps"): run(corpus.to_iterable_dataset(), teacher, max_steps=-1)

@pytest.mark.slow
def test_the_default_teacher_gets_a_head_from_what_is_not_measured(tmp_path, monkeypatch, corpus):
    asked = []
    def ready(source, task, steps, seed, texts):
        asked.append((source, texts))
        return load_masked_lm(), load_tokenizer()
    monkeypatch.setattr(general, "ready_masked_lm", ready)
    texts = Dataset.from_dict(dict(text=[f"the sum of all the values is here said for the time number {i}" for i in range(100)]))
    done = distil_words(texts, layers=1, baseline=False, held_out=.1, text=SHORT, **FAST | dict(max_steps=1))
    (source, fitted), held = asked[0], set(hold_out(texts, .1)[1]["text"]) | set(hold_out(read_corpus(), .1)[1]["text"])
    assert source is None and len(fitted) > 20_000 and texts[0]["text"] in fitted and not held & set(fitted)
    assert "all-MiniLM" in done.source

def test_text_files(tmp_path, teacher, corpus):
    (tmp_path/"mine.txt").write_text("\n".join(corpus["text"]))
    done = run(tmp_path/"mine.txt", teacher)
    assert done.report.task == "mine"

def test_it_learns(corpus, teacher):
    "Distilled on a corpus that has a pattern, with a teacher that knows it."
    big, tok = word_teacher(teacher, [])
    data = word_data(two_sides(corpus, .1), tok, **SHORT)
    how = {**PAPER, **FAST, "max_steps": 60, "learning_rate": 1e-2, "per_device_train_batch_size": 32}
    fit_words(big, data.rows, data.collate, **how)
    before = word_scores(word_student(big, tok, 2), data.batches)
    student = word_student(big, tok, 2)
    fit_words(student, data.rows, data.collate, triple_loss(student, big), big, **how)
    after, theirs = word_scores(student, data.batches), word_scores(big, data.batches)
    assert theirs["perplexity"] < 9 and after["perplexity"] < before["perplexity"]

@pytest.mark.slow
def test_a_saved_student_is_an_ordinary_masked_lm(corpus, teacher, tmp_path):
    "In a process where distill_nb cannot be imported."
    done = run(corpus, teacher)
    out = done.save(tmp_path/"student")
    card = (out/"README.md").read_text()
    assert "pipeline_tag: fill-mask" in card and "`teacher`" in card and str(tmp_path) not in card and "5*SoftWords(T=2)" in card
    assert json.loads((out/"report.json").read_text())["task"] == "a data set"
    code = f"""
import sys; sys.modules["distill_nb"] = None
from transformers import AutoModelForMaskedLM, AutoTokenizer
m, t = AutoModelForMaskedLM.from_pretrained({str(out)!r}), AutoTokenizer.from_pretrained({str(out)!r})
print(m.config.num_hidden_layers, m(**t("good [MASK]", return_tensors="pt")).logits.shape[-1])"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == ["2", "13"]
    with pytest.raises(InputError, match="is not empty"): done.save(out)
    done.save(out, overwrite=True)

class Dies(HideWords):
    "Hides words as ever, until it has made so many batches."
    left = None
    def __call__(self, rows):
        if self.left == 0: raise KeyboardInterrupt
        if self.left: self.left -= 1
        return super().__call__(rows)

vec = lambda model: nn.utils.parameters_to_vector(model.parameters()).detach()

@pytest.mark.parametrize("kw, stop", [
    (dict(max_steps=6, gradient_accumulation_steps=2), 10), (dict(max_steps=-1, num_train_epochs=3, per_device_train_batch_size=64, save_steps=5), 17),
    (dict(max_steps=6, dropout=.1), 5), (dict(max_steps=6, dataloader_num_workers=2), None), (dict(max_steps=6, stream=True), 5)],
    ids=["accumulated", "third epoch", "dropout", "workers", "stream"])
def test_a_killed_run_ends_where_the_whole_one_does(tok, corpus, tmp_path, kw, stop):
    "With the very words hidden that the whole run hides."
    kw = dict(kw)
    big = masked_lm(hidden_dropout_prob=kw.pop("dropout", 0.))
    texts = corpus.to_iterable_dataset() if kw.pop("stream", False) else corpus
    data = word_data(two_sides(texts), tok, **SHORT)
    def train(folder, stop=None, **more):
        student, collate = word_student(big, tok, 2), Dies(tok)
        collate.left = stop
        return fit_words(student, data.rows, collate, triple_loss(student, big), big, tmp_path/folder, **PAPER | FAST | dict(
            save_steps=2) | kw | more)
    if stop is None: train("a", max_steps=4) # which is made longer, a worker cannot be killed from here
    else:
        with pytest.raises(KeyboardInterrupt): train("a", stop)
    (tmp_path/"a"/"checkpoint-5").mkdir() # what a kill while saving would leave
    whole = train("b")
    torch.rand(3) # whatever was drawn before
    resumed = train("a")
    rough = 1e-2 if stop is None else 1e-6 # the rate falls more slowly over more steps
    torch.testing.assert_close(vec(resumed.student), vec(whole.student), rtol=1e-5, atol=rough)
    assert resumed.state.global_step == whole.state.global_step and (resumed.history().index == whole.history().index).all()
    assert resumed.history().loss.tolist() == pytest.approx(whole.history().loss.tolist(), rel=1e-1 if stop is None else 1e-4)
    with pytest.raises(InputError, match="made by other models"): train("a", learning_rate=1e-3)

def test_two_runs_in_one_process_give_the_same_bits(tok, corpus):
    data = word_data(two_sides(corpus), tok, **SHORT)
    runs = []
    for _ in range(2):
        student, big = masked_lm(2, hidden_dropout_prob=.1), masked_lm()
        fit_words(student, data.rows, data.collate, triple_loss(student, big), big, **PAPER | FAST)
        runs.append(vec(student))
    assert torch.equal(*runs)

def shares(n=400): return dict(rows=dict(train=Dataset.from_dict(dict(input_ids=[[2, *[5 + (i * 3 + j) % 8 for j in range(10)], 3] for i in range(n)], length=[12] * n))))

class Mine(Term):
    "A term of a user's own, who wrote no `settings`."
    def __init__(self, margin):
        super().__init__()
        self.margin = margin
    needs_teacher = False
    def forward(self, s, t, batch): return self.margin * s.logits.square().mean()

def test_a_note_holds_what_changes_numbers_and_nothing_else(tok, tmp_path):
    rows, settings = shares(64)["rows"], PAPER | FAST | dict(max_steps=2, save_steps=1)
    def train(objective=Mine(1.), collate=HideWords(tok), student=1, **kw):
        return fit_words(masked_lm(student), rows, collate, objective, folder=tmp_path/"run", **settings | kw)
    first = vec(train().student)
    for same in (dict(logging_steps=7), dict(per_device_eval_batch_size=3), dict(save_total_limit=1), dict(save_steps=5), dict(disable_tqdm=True),
                 dict(objective=Mine(1.)), dict(collate=HideWords(tok))):
        again = train(**same)
        assert again.state.global_step == 2 and torch.equal(vec(again.student), first), same
    for other in (dict(objective=Mine(-5.)), dict(objective=2*Mine(1.)), dict(collate=HideWords(tok, .3)), dict(collate=HideWords(tok, weights=torch.ones(13))),
                  dict(learning_rate=1e-3), dict(seed=1), dict(per_device_train_batch_size=4), dict(weight_decay=.5), dict(student=2)):
        with pytest.raises(InputError, match="made by other models"): train(**other)
    assert train(max_steps=4).state.global_step == 4
    with pytest.raises(InputError, match="max_steps=2, and .*checkpoint-4: expected 4 or more"): train()
    with pytest.raises(InputError, match="save_only_model"): train(save_only_model=True)

@pytest.mark.parametrize("other", [lambda ids: [*ids[:1500], [2, 5, 3], *ids[1501:]], lambda ids: [*ids, [2, 5, 3]], lambda ids: ids[::-1]])
def test_rows_far_behind_the_first_belong_to_a_run(tok, tmp_path, other):
    "Nobody sees that texts were added at the end of a corpus, unless all rows are in the note."
    ids = [[2, *map(int, f"{i:o}"), 3] for i in range(2000)]
    def train(ids): return fit_words(masked_lm(1), dict(train=Dataset.from_dict(dict(input_ids=ids, length=[*map(len, ids)]))), HideWords(tok), Mine(1.),
                                     folder=tmp_path/"run", **PAPER | FAST | dict(max_steps=1, save_steps=1))
    train(ids), train(ids)
    with pytest.raises(InputError, match="made by other models"): train(other(ids))

HALF = {"no state": lambda p: (p/"trainer_state.json").unlink(), "an empty state": lambda p: (p/"trainer_state.json").write_bytes(b""),
        "half a state": lambda p: (p/"trainer_state.json").write_bytes((p/"trainer_state.json").read_bytes()[:99]),
        "an optimizer cut off": lambda p: (p/"optimizer.pt").write_bytes((p/"optimizer.pt").read_bytes()[:500]),
        "no optimizer": lambda p: (p/"optimizer.pt").unlink(), "empty generators": lambda p: (p/"rng_state.pth").write_bytes(b""),
        "a scheduler of zeros": lambda p: (p/"scheduler.pt").write_bytes(bytes(900)),
        "weights cut off": lambda p: (p/"model.safetensors").write_bytes((p/"model.safetensors").read_bytes()[:900])}

def test_a_half_written_checkpoint_is_passed_over(tok, tmp_path):
    rows = shares(64)["rows"]
    train = lambda folder: fit_words(masked_lm(1), rows, HideWords(tok), folder=tmp_path/folder, **PAPER | FAST | dict(max_steps=3, save_steps=1))
    whole = train("a")
    shutil.copytree(tmp_path/"a", tmp_path/"kept")
    for name, damage in HALF.items():
        shutil.copytree(tmp_path/"kept"/"checkpoint-3", tmp_path/name)
        damage(tmp_path/name)
        assert not is_whole(tmp_path/name), name
    damage(tmp_path/"a"/"checkpoint-3")
    again = train("a")
    assert torch.equal(vec(again.student), vec(whole.student)) and again.state.global_step == 3
    assert sorted(p.name for p in (tmp_path/"a").glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-3"]

def test_folders_that_are_not_a_runs(tmp_path):
    (tmp_path/"file").write_text("")
    with pytest.raises(InputError, match="is a file"): last_checkpoint(tmp_path/"file", "n")
    with pytest.raises(InputError, match="made by other models"): last_checkpoint(tmp_path, "n")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]

@pytest.mark.parametrize("left", [[".123-run.json"], [".distill_nb-12345678-run.json", ".nfs0001"], []])
def test_what_a_killed_run_left_belongs_to_nobody(tmp_path, left):
    (tmp_path/"run").mkdir()
    for name in left: (tmp_path/"run"/name).touch()
    assert last_checkpoint(tmp_path/"run", "mine") is None and last_checkpoint(tmp_path/"run", "mine") is None
    with pytest.raises(InputError, match="made by other"): last_checkpoint(tmp_path/"run", "theirs")

@pytest.mark.parametrize("raw", [b"", b"{", b"\0" * 40, b"[1]", b'{"made_by": 3}', b"\xff\xfe"])
def test_a_note_that_cannot_be_read(tmp_path, raw):
    (tmp_path/"run.json").write_bytes(raw)
    with pytest.raises(InputError, match="run.json"): last_checkpoint(tmp_path, "mine")

def test_accumulated_batches(monkeypatch):
    assert accumulate(4000, 50) == dict(per_device_train_batch_size=50, gradient_accumulation_steps=80)
    assert accumulate(100, 32)["gradient_accumulation_steps"] == 4 and accumulate(None, 8)["gradient_accumulation_steps"] == 1
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert accumulate(4000, 50)["gradient_accumulation_steps"] == 20

def test_evaluation_during_training(tok, corpus, teacher, tmp_path):
    "The loss at hidden words, from which the best checkpoint can be taken."
    data = word_data(two_sides(corpus, .1), tok, **SHORT)
    student = masked_lm(1)
    d = fit_words(student, data.rows, HideWords(tok), folder=tmp_path/"run", **PAPER | FAST | dict(
        max_steps=4, eval_strategy="steps", eval_steps=2, save_steps=2, load_best_model_at_end=True, metric_for_best_model="loss", learning_rate=1e-2))
    losses = [l["eval_loss"] for l in d.state.log_history if "eval_loss" in l]
    assert len(losses) == 2 and d.state.best_metric == min(losses)
    rows = data.rows["validation"]
    scores = word_scores(student, word_batches(rows, HideWords(tok), len(rows))) # the best one was loaded
    assert min(losses) == pytest.approx(torch.tensor(scores["perplexity"]).log().item(), rel=1e-4)

@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "modernbert", "deberta-v2", "mobilebert", "xlm-roberta"])
def test_families(family, tok, corpus):
    big = build(family, AutoModelForMaskedLM)
    student = word_student(big, tok, 2)
    data = word_data(two_sides(corpus), tok, **SHORT)
    run = fit_words(student, data.rows, data.collate, triple_loss(student, big), big, **PAPER | FAST)
    assert (run.history().filter(regex="^loss").iloc[0] >= 0).all()
    assert ("SoftTargets" in repr(run.objective)) == (family == "mobilebert")

@pytest.mark.slow
def test_bad_input(tok, corpus, teacher, tmp_path):
    big, _ = word_teacher(teacher, [])
    masked_lm().bert.save_pretrained(tmp_path/"headless")
    tok.save_pretrained(tmp_path/"headless")
    other = make_tokenizer()
    other.add_tokens(["more"])
    larger = masked_lm(vocab_size=14)
    larger.save_pretrained(tmp_path/"larger"), other.save_pretrained(tmp_path/"larger")
    masked_lm(hidden_size=8).save_pretrained(tmp_path/"narrow"), tok.save_pretrained(tmp_path/"narrow")
    for message, call in {
            "whose head is freshly initialised": lambda: run(corpus, tmp_path/"headless"),
            "14 words, the teacher's tokenizer has 13": lambda: run(corpus, teacher, student=dict(kind=tmp_path/"larger")),
            "a student of width 8, a teacher of 16": lambda: run(corpus, teacher, student=dict(kind=tmp_path/"narrow")),
            "9 student layers": lambda: run(corpus, teacher, layers=9),
            "choose='nouns'": lambda: run(corpus, teacher, text=dict(max_length=16, choose="nouns")),
            "no held-out text": lambda: run(corpus.select(range(2)), teacher),
            "held-out share 1": lambda: run(corpus, teacher, held_out=1),
            "max_length=4": lambda: run(corpus, teacher, text=dict(max_length=4)),
            "no sequence of 12 tokens": lambda: run(Dataset.from_dict(dict(text=["good"] * 3 + [f"bad {i}" for i in range(400)])), teacher),
            "nowhere": lambda: run(tmp_path/"nowhere", teacher),
            "T=0": lambda: run(corpus, teacher, triple=dict(T=0)),
            "learning_rate=0": lambda: run(corpus, teacher, learning_rate=0)}.items():
        with pytest.raises(InputError, match=message): call()

def test_names_of_corpora(tmp_path):
    (tmp_path/"wiki.txt").touch()
    assert [corpus_name(c) for c in (None, tmp_path/"wiki.txt", "owner/name")] == ["docstrings", "wiki", "owner/name"]

@pytest.mark.parametrize("choose", ["tokens", "words", "rare"])
def test_collators(tok, corpus, choose):
    data = word_data(two_sides(corpus), tok, choose=choose, **SHORT)
    collate = word_collator(tok, data.rows["train"], choose)
    assert (collate.weights is not None) == (choose == "rare") and collate.whole_words == (choose == "words")
