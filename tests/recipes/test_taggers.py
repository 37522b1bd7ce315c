"Taggers from a file to a folder that the pipeline reads, in every recipe; and a teacher that cuts words differently."
import json, random, subprocess, sys
from dataclasses import replace
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForTokenClassification, BertConfig, DataCollatorWithPadding, PreTrainedTokenizerFast, pipeline
from datasets import DatasetDict
from builders import PLAIN, SMALL, WORDS, same_step, weights
from distill_nb.data.classes import head_config
from distill_nb.data.load import load_task
from distill_nb.data.tokens import tokenize
from distill_nb.data.words import PadWords
from distill_nb.inside.inputs import kind_of
from distill_nb.kit.errors import InputError
from distill_nb.losses import CosineHidden, HardTargets, HiddenMSE, LogitMSE, Relations, SoftTargets
from distill_nb.measure.scores import evaluate, score
from distill_nb.measure.trust import trust_models
from distill_nb.recipes.bilstm import answer_terms, check_terms, distil_bilstm
from distill_nb.recipes.layers import distil_layers
from distill_nb.recipes.theseus import distil_theseus
from distill_nb.recipes.tinybert import distil_tinybert
from distill_nb.shell.cli import main
from distill_nb.students.copied import init_student
from distill_nb.teachers.load import load_teacher
from distill_nb.teachers.words import file_answers, with_word_answers, word_answers
from distill_nb.training.distiller import Distiller
from distill_nb.training.run import fit, with_labels
from distill_nb.training.settings import training_args

TAG = dict(good="B-POS", fine="B-POS", bad="B-NEG", dull="B-NEG")
QUICK = dict(max_steps=3, disable_tqdm=True, eval_strategy="epoch")

def reviews(n=60, long=7):
    "The text of a CoNLL file in which a word alone decides its tag."
    r, out = random.Random(0), []
    for i in range(n):
        lines = []
        for w in [r.choice(WORDS[5:]) for _ in range(r.randint(2, long))] + [f"x{i}"]:
            lines.append(f"{w} {TAG.get(w, 'O')}")
        out.append("\n".join(lines))
    return "\n\n".join(out) + "\n"

@pytest.fixture
def task(tmp_path):
    (tmp_path/"reviews.conll").write_text(reviews())
    return load_task(tmp_path/"reviews.conll")

def tagger(task, layers=3, seed=0, width=16, vocabulary=len(WORDS)):
    torch.manual_seed(seed)
    return AutoModelForTokenClassification.from_config(BertConfig(
        vocab_size=vocabulary, hidden_size=width, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=32, hidden_dropout_prob=0.,
        attention_probs_dropout_prob=0., initializer_range=.3, **head_config(task))).eval()

def test_a_tagger_is_trusted_by_texts(task, tok):
    "However many windows a text has, whether its words have labels, and whatever pieces the teacher's tokenizer makes."
    model, other = tagger(task), tagger(task, seed=1)
    short, whole = [trust_models(model, other, task, tok, split="train", max_length=n) for n in (8, 16)]
    assert short.rows == whole.rows == len(task["train"]) and trust_models(model, model, task, tok, split="train", max_length=8).numbers["agreement"] == 1
    words = [sum(c["labelled"] for c in r.classes) for r in (short, whole)]
    assert words == [sum(map(len, task["train"]["words"]))] * 2
    bare = replace(task, splits=DatasetDict(train=task["train"].map(lambda r: dict(label=None), features=task["train"].features)))
    said = trust_models(model, other, bare, tok, split="train", max_length=16)
    assert said.numbers["agreement"] == whole.numbers["agreement"] and "accuracy" not in said.numbers
    pieces = letters()
    its = tagger(task, seed=1, vocabulary=len(pieces))
    assert trust_models(model, its, task, tok, pieces, split="train", max_length=64).rows == whole.rows

@pytest.mark.filterwarnings("ignore")
def test_a_tagger_learns_and_the_validation_score_is_the_score(task, tok, tmp_path):
    rows = tokenize(task, tok, 16)
    run = fit(tagger(task), rows, tok, max_steps=60, learning_rate=1e-2, disable_tqdm=True, eval_strategy="epoch", per_device_eval_batch_size=2)
    mine, its = score(run.student, rows["validation"], tok), run.evaluate()
    assert its["eval_entity_f1"] == pytest.approx(mine["entity_f1"]) and mine["entity_f1"] > .95
    assert evaluate(run.student, task, tok, max_length=8)["entity_f1"] > .9, "in windows, too"

@pytest.mark.parametrize("side", ["left", "right"])
def test_labels_stand_at_their_tokens_wherever_the_padding_is(side, task, tok, monkeypatch):
    monkeypatch.setattr(tok, "padding_side", side)
    rows = tokenize(task, tok, 16)["train"]
    batch = PadWords(DataCollatorWithPadding(tok))([rows[i] for i in range(8)])
    assert (batch["attention_mask"][:, 0 if side == "left" else -1] == 0).any()
    for i in range(8):
        real = batch["attention_mask"][i].bool()
        assert batch["labels"][i][real].tolist() == rows[i]["labels"] and (batch["labels"][i][~real] == -100).all() and batch["word_mask"][i][~real].sum() == 0

@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("objective", [HardTargets(), SoftTargets(T=2, unit="words"), LogitMSE(unit="words"), HiddenMSE(), CosineHidden(), Relations("qkv", heads=2),
                                       SoftTargets(T=2, unit="words") + HardTargets()], ids=repr)
def test_four_small_batches_make_one_step(objective, task, tok, tmp_path):
    "The mean is over words, whatever batch they are in."
    rows = tokenize(task, tok, 16)["train"].select(range(16))
    same_step(tok, tmp_path, lambda: init_student(tagger(task), [0, 2]), tagger(task, seed=1), objective, rows, 2e-5)

def test_a_mean_over_texts_is_refused_for_words(task, tok, tmp_path):
    rows = tokenize(task, tok, 16)["train"]
    run = Distiller(tagger(task), tagger(task, seed=1), SoftTargets(), training_args(tmp_path, **PLAIN), train_dataset=rows, processing_class=tok)
    with pytest.raises(InputError, match="unit='words' for tags"): run.train()
    with pytest.raises(InputError, match="unit='words' for tags"): check_terms(SoftTargets(), 3, "tags")
    assert repr(check_terms(answer_terms(kind="tags"), 3, "tags")) == "1*LogitMSE(unit='words')"

@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_recipe_and_the_pipeline(task, headless, tok, tmp_path):
    done = distil_layers(task, headless, layers=2, max_length=16, **QUICK)
    assert repr(done.objective) == "5*SoftTargets(T=2, unit='words') + 2*HardTargets() + 1*CosineHidden()"
    out = done.save(tmp_path/"student")
    assert "token-classification" in (out/"README.md").read_text() and kind_of(load_teacher(out)) == "tags"
    found = pipeline("token-classification", str(out), ignore_labels=[])("good film")
    with torch.no_grad(): best = load_teacher(out)(**done.tokenizer("good film", return_tensors="pt")).logits[0, 1:-1].argmax(-1)
    assert [f["entity"] for f in found] == [task.labels[i] for i in best]
    assert evaluate(load_teacher(out), task, done.tokenizer, max_length=16)["word_accuracy"] == pytest.approx(done.report.rows[-1]["word_accuracy"])
    small = distil_bilstm(task, out, student=dict(embedding_size=8, hidden_size=8), max_length=16, **QUICK)
    read = small.save(tmp_path/"bilstm")
    script = f"import distill_nb.students; from transformers import AutoModelForTokenClassification as A; print(type(A.from_pretrained({str(read)!r})).__name__)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "BiLstmForTokenClassification"
    for recipe, how in ((distil_theseus, dict(layers=1)), (distil_tinybert, dict(out=tmp_path/"stages", student=SMALL, texts=["good film", "bad book"] * 4))):
        report = recipe(task, out, max_length=16, **how, **QUICK).report
        assert report.metric == "entity_f1" and all(0 <= r["entity_f1"] <= 1 for r in report.rows)
    assert kind_of(load_teacher(tmp_path/"stages"/"2-answers")) == "tags"

@pytest.mark.filterwarnings("ignore")
def test_texts_without_tags_are_learnt_from_the_teacher_alone(task, tok, tmp_path):
    train = task["train"].map(lambda r, i: {"label": r["label"] if i % 2 else None}, with_indices=True)
    half = replace(task, splits=type(task.splits)({**task.splits, "train": train}))
    rows = tokenize(half, tok, 16)
    assert len(with_labels(rows["train"])) == len(train) // 2 and sum(map(sum, rows["train"]["word_mask"])) == sum(map(len, train["words"]))
    student = init_student(tagger(task, seed=1), [0])
    fit(student, {"train": rows["train"].select(range(0, len(train), 2))}, tok, SoftTargets(unit="words"), tagger(task), **QUICK)
    assert (weights(student) - weights(init_student(tagger(task, seed=1), [0]))).abs().max() > 1e-6

# Teachers that cut words differently

def letters():
    "A tokenizer of single letters."
    t = Tokenizer(models.WordLevel({c: i for i, c in enumerate(["[PAD]", "[UNK]", *"abcdefghijklmnopqrstuvwxyz"])}, "[UNK]"))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Split("", "isolated")])
    return PreTrainedTokenizerFast(tokenizer_object=t, pad_token="[PAD]", unk_token="[UNK]")

@pytest.mark.filterwarnings("ignore")
def test_answers_by_the_word_are_the_answers_by_the_token(task, tok):
    "With one tokenizer for both, a column of word answers trains like the teacher itself."
    rows, teacher = tokenize(task, tok, 12)["train"], tagger(task, seed=1)
    answered, after = with_word_answers(rows, word_answers(teacher, task, tok, max_length=12)), []
    for data, asked in ((rows, teacher), (answered, None)):
        student = init_student(tagger(task), [0, 2])
        fit(student, {"train": data}, tok, SoftTargets(T=2, unit="words") + HardTargets(), asked, max_steps=6, disable_tqdm=True, bf16=False, use_cpu=True)
        after.append(weights(student))
    torch.testing.assert_close(*after, atol=1e-6, rtol=1e-5)

@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_student_of_letters_learns_from_a_teacher_of_words(task, tok):
    teacher = fit(tagger(task), tokenize(task, tok, 16), tok, max_steps=60, learning_rate=1e-2, disable_tqdm=True, eval_strategy="no").student
    other, turned = letters(), task.relabel(task.labels[::-1]) # a task in another order of tags
    rows = tokenize(turned, other, 24)
    unlabelled = rows["train"].remove_columns("labels").add_column("labels", [[-100] * n for n in rows["train"]["length"]])
    answered = with_word_answers(unlabelled, word_answers(teacher, turned, tok, max_length=16))
    student = tagger(turned, width=32, vocabulary=len(other))
    fit(student, {"train": answered}, other, SoftTargets(unit="words"), max_steps=150, learning_rate=1e-2, disable_tqdm=True, eval_strategy="no")
    assert score(student, rows["test"], other)["entity_f1"] > .6 > .3 > score(tagger(turned, width=32, vocabulary=len(other)), rows["test"], other)["entity_f1"]

def test_a_file_of_tags_is_a_teacher(task, tok, tmp_path):
    file = tmp_path/"answers.bio"
    file.write_text(reviews())
    answers = file_answers(file, task)
    assert [z.argmax(-1).tolist() for z in answers] == task["train"]["label"][:]
    torch.testing.assert_close(answers[0].exp().sum(-1), torch.ones(len(answers[0])))
    file.write_text(reviews(30))
    with pytest.warns(UserWarning, match="texts have no answer"): some = file_answers(file, task)
    rows = with_word_answers(tokenize(task, tok, 16)["train"], some)
    assert sum(map(sum, rows["word_mask"])) == sum(len(z) for z in some if z is not None)
    for bad, message in ((reviews() + "\n" + reviews().replace("B-POS", "B-NEG"), "two answers to"), (reviews().replace("B-POS", "B-MISC"), "tag 'B-MISC': expected one of"),
                         ("never O\nseen B-POS\n", "no text of train")):
        file.write_text(bad)
        with pytest.raises(InputError, match=message): file_answers(file, task)

# The shell

@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_shell_trains_evaluates_and_refuses(task, headless, tok, tmp_path, capsys):
    file, out = tmp_path/"reviews.conll", tmp_path/"out"
    assert main(["train", "--task", str(file), "--teacher", str(headless), "--out", str(out), "--layers", "1", "--epochs", "1", "--max-length", "16"]) == 0
    assert "entity_f1" in capsys.readouterr().out
    assert main(["evaluate", "--task", str(file), "--model", str(out), "--json"]) == 0
    assert {"entity_f1", "precision", "recall", "word_accuracy"} <= set(json.loads(capsys.readouterr().out))
    file.write_text(reviews().replace("B-POS", "B-LOC"))
    for command in (["evaluate", "--model", str(out)], ["train", "--teacher", str(out), "--out", str(tmp_path/"new")]):
        assert main([*command, "--task", str(file)]) == 2 and "B-LOC" in capsys.readouterr().err
    assert not (tmp_path/"new").exists()
    for text, message in ((reviews() + "\nonly", "line"), ("", "empty")):
        file.write_text(text)
        assert main(["train", "--task", str(file), "--teacher", str(headless), "--out", str(tmp_path/"new")]) == 2 and message in capsys.readouterr().err

@pytest.mark.filterwarnings("ignore")
def test_new_texts_are_refused_for_tags(task, headless, tmp_path, capsys):
    code = main(["train", "--recipe", "tinybert", "--task", str(tmp_path/"reviews.conll"), "--teacher", str(headless), "--out", str(tmp_path/"o"), "--augment", "--layers", "1"])
    assert code == 2 and "new texts for tags" in capsys.readouterr().err
