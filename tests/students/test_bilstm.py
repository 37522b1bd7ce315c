"The BiLSTM: padding, pairs of any tokenizer, starts, files, bad input, and training by the usual means."
import json, random, subprocess, sys
from pathlib import Path
import pandas as pd, pytest, torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertTokenizer, EarlyStoppingCallback, PreTrainedTokenizerFast, RobertaTokenizer
from builders import WORDS, bert as small_bert
from distill_nb.teachers.load import knows_task, load_teacher
from distill_nb.students.bilstm import (
    BiLstmConfig, BiLstmForSequenceClassification, BothWays, config_for, ends, lstm_student, principal_components, sides)
from distill_nb.recipes.bilstm import answer_terms, distil_bilstm
from distill_nb.inside.capture import trace
from distill_nb.data.tasks import make_task
from distill_nb.data.tokens import tokenize
from distill_nb.kit.errors import InputError
from distill_nb.measure.report import Report, latency
from distill_nb.losses import CosineHidden, HardTargets, LogitMSE, SoftTargets
from distill_nb.training.run import fit
from distill_nb.recipes.base import score
from distill_nb.training.saving import save_student
from distill_nb.training.distiller import Distiller
from distill_nb.training.settings import training_args
from distill_nb.data.vectors import WordVectors

TINY = dict(vocab_size=40, embedding_size=6, hidden_size=5, head_size=7, skipped_token_ids=[0, 2, 3], sep_token_id=3)

def bert(vocab=None, **kw):
    "The tests' tiny BERT, with embeddings for another vocabulary where one is named."
    model = small_bert(**kw)
    if vocab: model.resize_token_embeddings(vocab)
    return model

def make(seed=0, **sizes):
    torch.manual_seed(seed)
    return BiLstmForSequenceClassification(BiLstmConfig(**{**TINY, **sizes})).eval()

def text(rng, n): return [2, *(rng.randrange(4, 40) for _ in range(n)), 3]

def batch(rows, width, left=False):
    "Ids and mask of these rows, filled up to a width on one side."
    ids = [[0] * (width - len(r)) + r if left else r + [0] * (width - len(r)) for r in rows]
    mask = [[0] * (width - len(r)) + [1] * len(r) if left else [1] * len(r) + [0] * (width - len(r)) for r in rows]
    return torch.tensor(ids), torch.tensor(mask)

# Padding

@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("pairs", [False, True])
def test_padding_and_company_change_nothing(layers, pairs):
    rng, model = random.Random(layers), make(num_hidden_layers=layers, pairs=pairs)
    def row(): return text(rng, rng.randrange(6)) + (text(rng, rng.randrange(6))[1:] if pairs else [])
    rows = [row() for _ in range(9)] + [[2, 3]]
    with torch.no_grad():
        alone = torch.cat([model(torch.tensor([r])).logits for r in rows])
        for width in (13, 14, 40):
            for left in (False, True):
                ids, mask = batch(rows, width, left)
                torch.testing.assert_close(model(ids, mask).logits, alone, atol=1e-6, rtol=0)
                noise = torch.where(mask.bool(), ids, torch.randint(4, 40, ids.shape)) # any token may stand in the padding
                torch.testing.assert_close(model(noise, mask).logits, alone, atol=1e-6, rtol=0)

def test_padding_gets_no_gradient():
    model = make()
    ids, mask = batch([[2, 5, 6, 3]], 9)
    ids[mask == 0] = 7
    model(ids, mask).logits.sum().backward()
    grad = model.get_input_embeddings().weight.grad.abs().sum(1)
    assert set(grad.nonzero().flatten().tolist()) == {5, 6}

@pytest.mark.parametrize("bs", [1, 3])
def test_empty_texts_are_zeros(bs):
    for model in make(), make(pairs=True):
        want = model.head(torch.zeros(bs, model.head[0].in_features))
        for ids in torch.tensor([[2, 3]] * bs), torch.zeros(bs, 5, dtype=torch.long), torch.zeros(bs, 0, dtype=torch.long):
            torch.testing.assert_close(model(ids).logits, want)
            model(ids).logits.sum().backward() # and can be trained on

def test_equals_packed_sequences():
    "torch's own bidirectional LSTM over packed sequences, several layers, same weights."
    torch.manual_seed(0)
    theirs = nn.LSTM(4, 3, num_layers=2, bidirectional=True, batch_first=True)
    mine = [BothWays(4, 3), BothWays(6, 3)]
    for i, layer in enumerate(mine):
        for side, lstm in dict(_reverse=layer.back, **{"": layer.forth}).items():
            lstm.load_state_dict({n: getattr(theirs, n.replace("_l0", f"_l{i}") + side) for n in lstm.state_dict()})
    x, lengths = torch.randn(7, 11, 4), torch.tensor([11, 1, 2, 10, 5, 5, 3])
    want = theirs(pack_padded_sequence(x, lengths, True, enforce_sorted=False))[1][0]
    h = x
    for layer in mine: h = layer(h, lengths)
    torch.testing.assert_close(ends(h, lengths), torch.cat([want[-2], want[-1]], -1), atol=1e-6, rtol=1e-5)

def test_every_weight_learns():
    model = make(pairs=True, num_hidden_layers=2).train()
    ids = torch.tensor([[2, 4, 5, 3, 6, 7, 8, 3], [2, 9, 3, 10, 11, 12, 13, 3]])
    model(ids, labels=torch.tensor([0, 1])).loss.backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []

# Pairs

def tokenizer(how):
    "A BERT-like tokenizer with token types, or a RoBERTa-like one without, of the same words."
    if how == "bert":
        names, single, pair = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"], "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"
        roles = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), names))
    else:
        names, single, pair = ["<s>", "<pad>", "</s>", "<unk>"], "<s> $A </s>", "<s> $A </s> </s> $B </s>"
        roles = dict(bos_token="<s>", cls_token="<s>", eos_token="</s>", sep_token="</s>", pad_token="<pad>", unk_token="<unk>")
    vocabulary = {w: i for i, w in enumerate(names + WORDS[5:])}
    t = Tokenizer(models.WordLevel(vocabulary, roles["unk_token"]))
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    t.post_processor = processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=[(w, vocabulary[w]) for w in names])
    inputs = ["input_ids", "attention_mask"] + ["token_type_ids"] * (how == "bert")
    return PreTrainedTokenizerFast(tokenizer_object=t, model_input_names=inputs, **roles)

def teacher_for(tok): return bert(layers=1, pad_token_id=tok.pad_token_id)

@pytest.mark.parametrize("how", ["bert", "roberta"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_pairs_come_apart(how, side):
    tok = tokenizer(how)
    tok.padding_side = side
    firsts, seconds = ["good film", "very", "", "zzz dull"], ["bad", "fine book not good", "dull", ""]
    out = tok(firsts, seconds, padding=True, return_tensors="pt")
    assert ("token_type_ids" in out) == (how == "bert")
    model = lstm_student(teacher_for(tok), tok, pairs=True, start="random", embedding_size=4, hidden_size=3)
    c = model.config
    kept = sides(out["input_ids"], out["attention_mask"].bool(), c.skipped_token_ids, c.sep_token_id)
    for keep, texts in zip(kept, (firsts, seconds)):
        got = [tok.convert_ids_to_tokens(row[k].tolist()) for row, k in zip(out["input_ids"], keep)]
        assert got == [[w if w in WORDS else tok.unk_token for w in t.split()] for t in texts]
    assert model(**out).logits.shape == (4, 2) # token types are taken and not needed

REAL = Path(__file__).parents[3]/"shared"/"data"/"tokenizers"

@pytest.mark.skipif(not REAL.is_dir(), reason="the tokenizers are not here")
@pytest.mark.parametrize("cls, name", [(BertTokenizer, "bert-base-cased"), (RobertaTokenizer, "roberta-base")], ids=str)
def test_pairs_of_the_real_tokenizers(cls, name):
    tok = cls.from_pretrained(REAL/name)
    model = lstm_student(bert(layers=1, vocab=len(tok), pad_token_id=tok.pad_token_id), tok, pairs=True, start="random", embedding_size=4)
    c, texts = model.config, (["A fine film!", "x"], ["unbelievableness", "It's not? [MASK] <mask>"])
    out = tok(*texts, padding=True, return_tensors="pt")
    for keep, side in zip(sides(out["input_ids"], out["attention_mask"].bool(), c.skipped_token_ids, c.sep_token_id), texts):
        want = tok(side, add_special_tokens=False)["input_ids"]
        assert [row[k].tolist() for row, k in zip(out["input_ids"], keep)] == want

def test_towers_are_siamese():
    "Both towers are one reader: h1 of (a, b) is h2 of (b, a), and the order counts."
    tok = tokenizer("roberta")
    model = lstm_student(teacher_for(tok), tok, pairs=True, start="random", embedding_size=4, hidden_size=3).eval()
    seen = []
    model.head.register_forward_pre_hook(lambda m, x: seen.append(x[0].chunk(4, -1)))
    for a, b in ("good film", "dull"), ("dull", "good film"): model(**tok(a, b, return_tensors="pt"))
    (h1, h2, gap, product), (k1, k2, *same) = seen
    torch.testing.assert_close((h1, h2), (k2, k1))
    torch.testing.assert_close((gap, product), ((h1 - h2).abs(), h1 * h2))
    torch.testing.assert_close((gap, product), tuple(same))

def test_separator_missing():
    tok = tokenizer("bert")
    tok.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A", pair="[CLS] $A $B:1", special_tokens=[("[CLS]", 2)])
    with pytest.raises(InputError, match="pairs of .*: expected a separator between the two texts"):
        lstm_student(teacher_for(tok), tok, pairs=True, start="random")

# Regression, classes, losses

def test_losses_are_the_usual_ones():
    ids = torch.tensor([[2, 5, 6, 3], [2, 7, 8, 3]])
    z = make().forward(ids, labels=torch.tensor([0, 1]))
    torch.testing.assert_close(z.loss, nn.functional.cross_entropy(z.logits, torch.tensor([0, 1])))
    y = torch.tensor([.3, 4.])
    r = make(num_labels=1, problem_type="regression")(ids, labels=y)
    torch.testing.assert_close(r.loss, nn.functional.mse_loss(r.logits[:, 0], y))

def scores_task(n=40):
    frame = pd.DataFrame(dict(text=[f"{'good ' * (i % 5)}film {i}" for i in range(n)], label=[i % 5 + .5 for i in range(n)]))
    return make_task("stars", dict(train=frame))

def reviews(n=40, pair=False):
    frame = pd.DataFrame(dict(text=[f"{'good' if i % 2 else 'bad'} film {i}" for i in range(n)], label=["good" if i % 2 else "bad" for i in range(n)]))
    if pair: frame["pair"] = [f"very {'fine' if i % 3 else 'dull'} {i}" for i in range(n)]
    return make_task("reviews", dict(train=frame))

QUICK = dict(disable_tqdm=True, eval_strategy="no", max_length=16, teacher_settings=dict(max_steps=2, disable_tqdm=True, eval_strategy="no"))
SMALL = dict(embedding_size=8, hidden_size=6, head_size=6)

@pytest.mark.parametrize("pair", [False, True])
def test_recipe_learns(headless, pair):
    "The labels alone suffice for a task of one word; the teacher's answers make the same student."
    done = distil_bilstm(reviews(pair=pair), headless, answer_terms("kl", labels=1.), student=SMALL | dict(dropout=0.), num_train_epochs=8, per_device_train_batch_size=4,
                         learning_rate=.02, **QUICK)
    assert done.report.rows[1]["accuracy"] == 1.
    assert list(done.report.table().index) == ["teacher", "student, labels alone", "student, distilled"]
    assert done.student.config.pairs == pair

def test_regression_recipe(headless):
    done = distil_bilstm(scores_task(), headless, student=SMALL, num_train_epochs=8, per_device_train_batch_size=4,
                         learning_rate=.02, **QUICK)
    assert done.student.config.problem_type == "regression"
    assert done.report.rows[1]["pearson"] > .9
    with pytest.raises(InputError, match="Use LogitMSE"):
        distil_bilstm(scores_task(), headless, answer_terms("kl"), student=SMALL, max_steps=1, **QUICK)
    with pytest.raises(InputError, match="expected terms on logits. A BiLSTM has no layers"):
        distil_bilstm(scores_task(), headless, LogitMSE() + CosineHidden(), student=SMALL, max_steps=1, **QUICK)

def test_unlabelled_rows_are_distilled_and_not_for_the_baseline(headless):
    frame = reviews(60)["train"].to_pandas()
    frame["label"] = [["bad", "good"][y] if i < 20 else "" for i, y in enumerate(frame.label)]
    done = distil_bilstm(make_task("some", dict(train=frame)), headless, student=SMALL, num_train_epochs=1,
                         per_device_train_batch_size=4, logging_steps=1, **QUICK)
    assert len(done.history) == -(-len(done.task["train"]) // 4) > 5 # every text, labelled or not

# Starts

def distances(x): return torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")

def test_principal_is_the_best_of_its_rank():
    torch.manual_seed(0)
    table = torch.randn(60, 9) @ torch.randn(9, 9) + 3
    centred = table - table.mean(0)
    for k in 1, 4, 9:
        best = torch.linalg.svd(centred, full_matrices=False)
        left = (best.S[k:]**2).sum()
        short = principal_components(table, k)
        back = short @ torch.linalg.lstsq(short, centred).solution # what the k columns can say of the table
        torch.testing.assert_close((centred - back).square().sum(), left, atol=1e-3, rtol=1e-4)
        u, s, _ = torch.pca_lowrank(table, q=9, niter=20)
        torch.testing.assert_close(short.abs(), (u * s)[:, :k].abs(), atol=1e-3, rtol=1e-3)
        gaps = distances(short) - distances(centred)
        assert (gaps < 1e-3).all() and (k < 9 or gaps.abs().max() < 1e-3) # a projection; a rotation where nothing is left out

def test_start_has_the_scale_of_a_random_one(tok):
    teacher = bert(layers=1)
    table = lstm_student(teacher, tok, embedding_size=8).get_input_embeddings().weight
    other = lstm_student(teacher, tok, embedding_size=8, start="random").get_input_embeddings().weight
    assert .5 < table.std() / other.std() < 2
    assert table.data_ptr() != teacher.get_input_embeddings().weight.data_ptr()

def test_vectors_from_a_file(tok, tmp_path):
    file = tmp_path/"glove.txt"
    file.write_text("good 1 0 0\nbad 0 2 0\nzebra 0 0 1\n")
    torch.manual_seed(0)
    table = lstm_student(bert(layers=1), tok, start=str(file), embedding_size=3).get_input_embeddings().weight.detach()
    good, bad, film = table[[WORDS.index(w) for w in ("good", "bad", "film")]]
    assert (good[1:] == 0).all() and good[0] > 0 and (bad[[0, 2]] == 0).all() and film.all()
    with pytest.raises(InputError, match="word vectors of 3 dimensions: expected embedding_size=4. Set embedding_size"):
        lstm_student(bert(layers=1), tok, start=str(file), embedding_size=4)
    with pytest.raises(InputError, match="expected a word of the tokenizer's vocabulary"):
        lstm_student(bert(layers=1), tok, start=WordVectors(["zebra"], torch.ones(1, 4)), embedding_size=4)

# Bad input

@pytest.mark.parametrize("size", ["embedding_size", "hidden_size", "head_size", "num_hidden_layers"])
@pytest.mark.parametrize("value", [0, -1])
def test_no_units(tok, size, value):
    with pytest.raises(InputError, match=f"{size}={value}: expected a whole number above 0"):
        lstm_student(bert(layers=1), tok, start="random", **{size: value})

def test_other_bad_values(tok, headless):
    with pytest.raises(InputError, match="dropout=1.0"): lstm_student(bert(layers=1), tok, dropout=1., start="random")
    with pytest.raises(InputError, match="embedding_size=99: expected 13 or less"):
        lstm_student(bert(layers=1), tok, embedding_size=99)
    with pytest.raises(InputError, match="start='techer': expected 'teacher', 'random' or a GloVe file"):
        lstm_student(bert(layers=1), tok, start="techer", embedding_size=4)

def test_vocabulary_of_another_tokenizer(tok):
    teacher = bert(layers=1)
    with pytest.raises(InputError, match="padding 1 of the tokenizer: expected 0, the teacher's. Take the teacher's own"):
        config_for(teacher, tokenizer("roberta"))
    larger = tokenizer("bert")
    larger.add_tokens(["more", "words"])
    with pytest.raises(InputError, match="a tokenizer of 14 tokens: expected the model's 13 or fewer"):
        lstm_student(teacher, larger, start="random")
    student = make(vocab_size=14) # check_pair, before the first step
    with pytest.raises(InputError, match="student vocab_size 14, teacher vocab_size 13"):
        Distiller(student, teacher, LogitMSE(), training_args("unused", use_cpu=True))

def test_terms_that_a_bilstm_cannot_serve(tok):
    rows = tokenize(reviews(), tok, 16)
    student = lstm_student(bert(layers=1), tok, start="random", **SMALL)
    with pytest.raises(InputError, match="hidden states of a BiLSTM: expected its logits"):
        fit(student, rows, tok, CosineHidden(), bert(), max_steps=1, disable_tqdm=True)
    with pytest.raises(InputError, match="AttentionInterface"): trace(student, dict(input_ids=torch.tensor([[5]])), {"scores"})

# The usual means

@pytest.mark.parametrize("objective", [LogitMSE(), SoftTargets(T=2), .5 * SoftTargets(T=3) + HardTargets()], ids=repr)
def test_no_gradient_to_the_teacher_and_the_student_comes_near(tok, objective):
    teacher, rows = bert(layers=1), tokenize(reviews(), tok, 16)
    before = {n: p.clone() for n, p in teacher.state_dict().items()}
    student = lstm_student(teacher, tok, **SMALL)
    some = tok(["good film", "bad film very dull"], padding=True, return_tensors="pt")
    def gap():
        own = some.to(student.device) # Trainer moves it
        with torch.no_grad(): z, t = student.eval()(**own).logits, teacher.to(student.device)(**own).logits
        return (z.softmax(-1) - t.softmax(-1)).abs().max()
    start = gap()
    run = fit(student, rows, tok, objective, teacher, num_train_epochs=10, learning_rate=.02, eval_strategy="no", disable_tqdm=True)
    if "HardTargets" not in repr(objective): assert gap() < start
    assert all((before[n] == p.cpu()).all() for n, p in teacher.state_dict().items())
    assert len(run.history()) > 0

def test_report_and_latency(tok):
    model = lstm_student(bert(layers=1), tok, start="random", **SMALL)
    row = Report("any", "accuracy").add("student", dict(accuracy=.5), model).time().rows[0]
    assert row["parameters"] == model.num_parameters() and row["ms"] > 0
    assert latency(make(pairs=True), repeats=2, warmup=0).ms > 0

def test_resume(tok, tmp_path):
    "A run that is cut and resumed ends with the weights of one that was not."
    rows = tokenize(reviews(), tok, 16)
    def run(folder, cut):
        torch.manual_seed(0)
        args = training_args(folder, num_train_epochs=4, save_strategy="epoch", eval_strategy="no", per_device_train_batch_size=8,
                             disable_tqdm=True, bf16=False, seed=3)
        student = lstm_student(bert(layers=1), tok, **SMALL)
        d = Distiller(student, bert(layers=1), LogitMSE(), args, train_dataset=rows["train"], processing_class=tok)
        d.train(resume_from_checkpoint=cut)
        return student.cpu().state_dict()
    whole = run(tmp_path/"a", None)
    first = sorted((tmp_path/"a").glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))[1]
    again = run(tmp_path/"b", str(first))
    assert all(torch.equal(whole[n], again[n]) for n in whole)

def test_early_stopping_counts_for_each_run(headless, tmp_path):
    stop = EarlyStoppingCallback(early_stopping_patience=1)
    done = distil_bilstm(reviews(), headless, student=SMALL, num_train_epochs=6, learning_rate=1e-9, callbacks=[stop], out=tmp_path/"runs",
                         eval_strategy="epoch", save_strategy="epoch", load_best_model_at_end=True, metric_for_best_model="accuracy",
                         lr_scheduler_type="reduce_lr_on_plateau", logging_strategy="epoch",
                         **{k: v for k, v in QUICK.items() if k != "eval_strategy"})
    assert done.history.epoch.iloc[-1] == 2
    assert sorted(p.name for p in (tmp_path/"runs").iterdir()) == ["student, distilled", "student, labels alone"]

def test_tables_of_weights_are_few(tmp_path):
    make(pairs=True).save_pretrained(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"config.json", "model.safetensors"}

FRESH = """import distill_nb.students.bilstm, sys, torch
from transformers import AutoModelForSequenceClassification as Auto, AutoTokenizer, pipeline
folder = sys.argv[1]
model, tok = Auto.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
print(model.eval()(**tok("good film", return_tensors="pt")).logits.tolist())
print(pipeline("text-classification", model=folder)("good film")[0]["label"])"""

OURS = """import sys
from distill_nb.teachers.load import knows_task, load_teacher, load_tokenizer
folder = sys.argv[1]
model, tok = load_teacher(folder), load_tokenizer(folder)
print(model.eval()(**tok("good film", return_tensors="pt")).logits.tolist())
print(model.config.id2label[1 - knows_task(model)])"""

def fresh(code, *args): return subprocess.run([sys.executable, "-W", "ignore", "-c", code, *map(str, args)], capture_output=True, text=True)

@pytest.mark.slow
@pytest.mark.parametrize("order", ["the module first", "transformers first", "our loaders"])
def test_loads_in_a_fresh_process(tok, tmp_path, order):
    "Once its module is imported, before or after transformers; our loaders import it themselves."
    names = dict(id2label={0: "bad", 1: "good"}, label2id={"bad": 0, "good": 1})
    student = lstm_student(bert(layers=1, **names), tok, **SMALL).eval()
    folder = save_student(student, tok, tmp_path/"student")
    code = {"the module first": FRESH, "transformers first": "from transformers import AutoModel\n" + FRESH, "our loaders": OURS}[order]
    done = fresh(code, folder)
    assert done.returncode == 0, done.stderr
    z = student(**tok("good film", return_tensors="pt")).logits
    lines = done.stdout.splitlines()
    torch.testing.assert_close(torch.tensor(eval(lines[0])), z.detach(), atol=1e-6, rtol=0)
    if order == "our loaders": assert lines[1] == "bad" # knows_task is True
    else: assert lines[1] == names["id2label"][z.argmax().item()]

def test_importing_the_package_registers_nothing():
    "No hook waits on sys.meta_path, and torch is not loaded; then the module is what registers the class."
    done = fresh("import sys; before = sys.meta_path[:]; import distill_nb; print(sys.meta_path == before, 'torch' in sys.modules)")
    assert done.stdout.split() == ["True", "False"], done.stderr

@pytest.mark.slow
def test_the_command_line_evaluates_it_in_a_fresh_process(tok, tmp_path):
    names = dict(id2label={0: "bad", 1: "good"}, label2id={"bad": 0, "good": 1})
    folder = save_student(lstm_student(bert(layers=1, **names), tok, **SMALL), tok, tmp_path/"student")
    reviews()["train"].to_pandas().assign(label=lambda d: d.label.map(names["id2label"])).to_csv(tmp_path/"task.csv", index=False)
    done = fresh("import sys; from distill_nb.shell.cli import main; sys.exit(main())", "evaluate", "--task", tmp_path/"task.csv", "--model", folder, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["parameters"] > 0

def test_a_bilstm_can_be_the_teacher(tok, tmp_path):
    names = dict(id2label={0: "bad", 1: "good"}, label2id={"bad": 0, "good": 1})
    folder = save_student(lstm_student(bert(layers=1, **names), tok, **SMALL), tok, tmp_path/"first")
    assert knows_task(load_teacher(folder, reviews()))
    done = distil_bilstm(reviews(), folder, baseline=False, student=dict(SMALL, embedding_size=4), max_steps=2, **QUICK)
    assert score(done.student, tokenize(done.task, tok, 16), tok)

def test_tokens_of_the_teacher_may_grow(tok):
    "resize_token_embeddings, which learn_characters calls on a teacher, works on the student too."
    student = lstm_student(bert(layers=1), tok, start="random", **SMALL)
    student.resize_token_embeddings(20)
    assert student.config.vocab_size == 20 and student(torch.tensor([[19]])).logits.isfinite().all()

@pytest.mark.parametrize("sizes", [dict(), dict(pairs=True), dict(num_hidden_layers=2)], ids=str)
def test_traced_graph_is_the_model(sizes):
    "What ONNX is written from: a trace fits texts and batches of other sizes."
    model, rng = make(**sizes), random.Random(0)
    ones = torch.ones(2, 8, dtype=torch.long)
    graph = torch.jit.trace(model, (ones, ones), strict=False, check_trace=False)
    for bs, width in (1, 3), (2, 8), (5, 21):
        ids, mask = batch([text(rng, rng.randrange(width - 1)) for _ in range(bs)], width)
        torch.testing.assert_close(graph(ids, mask)["logits"], model(ids, mask).logits, atol=1e-6, rtol=0)
