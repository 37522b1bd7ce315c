"The teacher cache: found when nothing changed, missed when anything did, right after a kill, and as good as the live teacher."
import os, re, signal, subprocess, sys, tempfile, time
from pathlib import Path
import pytest, torch
from datasets import Dataset, DatasetDict, concatenate_datasets
from transformers import (AutoModelForMaskedLM, AutoModelForSequenceClassification, BertConfig, DataCollatorForTokenClassification)

from builders import bert, long_rows, make_tokenizer, PLAIN, rows, sharp, train, weights, WORDS
from families import EXTRA, build
from distill_nb.teachers import cache
from distill_nb.teachers.cache import (
    NOTE, CacheError, cache_teacher, check_range, open_cache, teacher_key, worth_caching)
from distill_nb.teachers.columns import (
    COLUMNS, LOGITS, REST, STATES, TOP, TOP_IDS, teacher_classes, teacher_columns, top_logits, uncovered,
    from_top)
from distill_nb.kit.errors import InputError
from distill_nb.measure.scores import predict
from distill_nb.losses import AttentionMSE, ClsMSE, CosineHidden, HardTargets, HiddenMSE, LogitMSE, SoftTargets
from distill_nb.training.run import fit
from distill_nb.students.copied import init_student
from distill_nb.training.distiller import Distiller
from distill_nb.training.settings import training_args

HERE = Path(__file__).parents[1]

def files(folder): return sorted(p.name for p in folder.glob("*.arrow"))

@pytest.fixture
def asked(monkeypatch):
    "How many texts the teacher was asked so far."
    seen, plain = [], cache.ask
    def ask(question, columns):
        seen.append(len(columns["input_ids"]))
        return plain(question, columns)
    monkeypatch.setattr(cache, "ask", ask)
    return lambda: sum(seen)

def test_answers_are_the_teachers_in_the_order_of_the_rows(tok, tmp_path):
    data = rows(tok, 50)
    got = cache_teacher(sharp(), data, tok, folder=tmp_path, per_file=16)
    torch.testing.assert_close(torch.tensor(got[LOGITS][:]), predict(sharp(), data, tok), rtol=1e-5, atol=1e-5)
    assert got.remove_columns(LOGITS).to_dict() == data.to_dict()
    assert len(files(tmp_path)) == 4
    assert all(LOGITS in c for c in [got.column_names]) and got.cache_files

def test_a_second_run_finds_it(tok, tmp_path, asked):
    "In another process too, with models and rows loaded anew from other folders."
    first = cache_teacher(sharp(), rows(tok, 40), tok, folder=tmp_path/"c", per_file=16)
    assert asked() == 40
    sharp().save_pretrained(tmp_path/"moved")
    copy = AutoModelForSequenceClassification.from_pretrained(tmp_path/"moved")
    rows(tok, 40).save_to_disk(tmp_path/"rows")
    again = cache_teacher(copy, Dataset.load_from_disk(tmp_path/"rows"), make_tokenizer(), folder=tmp_path/"c", per_file=16)
    assert asked() == 40 and again[LOGITS][:] == first[LOGITS][:]

def other_word(tok, i=0):
    data = rows(tok, 40).to_dict()
    data["input_ids"][i] = [*data["input_ids"][i][:-2], 12, 3]
    return Dataset.from_dict(data)

def longer(tok):
    texts = ["good bad fine dull film book"] * 40
    return [Dataset.from_dict(dict(tok(texts, truncation=True, max_length=n))) for n in (5, 8)]

def other_tokenizer():
    "The same words with other numbers."
    from tokenizers import Tokenizer, models
    tok = make_tokenizer()
    turned = WORDS[:5] + WORDS[5:][::-1]
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(turned)}, "[UNK]"))
    made.pre_tokenizer, made.post_processor = tok.backend_tokenizer.pre_tokenizer, tok.backend_tokenizer.post_processor
    return type(tok)(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]")

def nudged():
    t = sharp()
    with torch.no_grad(): t.classifier.bias[0] += 1e-6
    return t

CHANGES = dict(
    text=lambda tok: dict(rows=other_word(tok)), order=lambda tok: dict(rows=rows(tok, 40).select(range(39, -1, -1))),
    tokenizer=lambda tok: dict(rows=rows(other_tokenizer(), 40)), weights=lambda tok: dict(teacher=nudged()),
    activation=lambda tok: dict(teacher=bert(hidden_act="relu")), precision=lambda tok: dict(bf16=True), kept=lambda tok: dict(states=True))

@pytest.mark.parametrize("change", CHANGES)
def test_any_change_misses_it(tok, tmp_path, asked, change):
    same = dict(teacher=sharp(), rows=rows(tok, 40), tokenizer=tok, folder=tmp_path)
    cache_teacher(**same)
    cache_teacher(**{**same, **CHANGES[change](tok)})
    assert asked() == 80 and len(files(tmp_path)) == 2
    cache_teacher(**same)
    assert asked() == 80

def test_another_length_misses_it_and_the_same_tokens_do_not(tok, tmp_path, asked):
    short, long = longer(tok)
    for data in (short, long, short): cache_teacher(sharp(), data, tok, folder=tmp_path)
    assert asked() == 80
    labelled = long.add_column("labels", [1] * 40) # no answer depends on a label
    cache_teacher(sharp(), labelled, tok, folder=tmp_path)
    assert asked() == 80

def test_only_changed_and_added_parts_are_asked(tok, tmp_path, asked):
    ask = lambda data: cache_teacher(sharp(), data, tok, folder=tmp_path, per_file=10)
    ask(rows(tok, 40))
    ask(rows(tok, 50))
    assert asked() == 50
    ask(other_word(tok, 25))
    assert asked() == 60

def start(folder, slow, **env):
    return subprocess.Popen([sys.executable, HERE/"cache_run.py", folder, str(slow)], stdout=subprocess.PIPE,
                            env={**os.environ, **env}, text=True)

def test_a_kill_leaves_nothing_wrong(tok, tmp_path, asked):
    "Killed after some parts: those are found, the others are asked, and no half of one is taken for an answer."
    run = start(tmp_path, .3)
    until = time.time() + 60
    while len(files(tmp_path)) < 2 and time.time() < until: time.sleep(.02)
    run.send_signal(signal.SIGKILL)
    run.wait()
    done = len(files(tmp_path))
    assert 2 <= done < 10
    got = cache_teacher(sharp(), long_rows(tok), tok, folder=tmp_path, per_file=100)
    assert asked() == 1000 - 100 * done
    torch.testing.assert_close(torch.tensor(got[LOGITS][:]), predict(sharp(), long_rows(tok), tok), rtol=1e-4, atol=1e-4)
    for left in tmp_path.glob("tmp*"): os.utime(left, (0, 0))
    open_cache(tmp_path)
    assert {p.suffix for p in tmp_path.iterdir()} <= {".arrow", ".json"}

@pytest.mark.slow
def test_two_processes_share_the_work(tok, tmp_path):
    runs = [start(tmp_path, .05, RANK=str(r), WORLD_SIZE="2") for r in (0, 1)]
    sums = {r.communicate()[0] for r in runs}
    assert [r.returncode for r in runs] == [0, 0] and len(sums) == 1 and len(files(tmp_path)) == 10

def test_an_error_in_between_leaves_no_file(tok, tmp_path):
    teacher = bert()
    with torch.no_grad(): teacher.classifier.bias.fill_(float("nan"))
    with pytest.raises(InputError, match="NaN"): cache_teacher(teacher, rows(tok), tok, folder=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [NOTE]

@pytest.mark.parametrize("prepare, message", [
    (lambda p: p.write_text(""), "cannot be written"), (lambda p: p.mkdir() or (p/"mine.txt").write_text(""), "holds .'mine.txt'. and no cache"),
    (lambda p: open_cache(p) and (p/NOTE).write_text('{"version": 9}'), "version 9: expected version 1"),
    (lambda p: open_cache(p) and (p/NOTE).write_text("{"), "version unknown")], ids=["file", "strange", "newer", "damaged"])
def test_folders_that_cannot_be_used(tok, tmp_path, prepare, message):
    prepare(tmp_path/"c")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(CacheError, match=message): cache_teacher(bert(), rows(tok), tok, folder=tmp_path/"c")
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before

def limited(folder, what):
    "The last line of a process that caches 40 rows after `what`."
    code = f"""
import os, resource, sys
sys.path[:0] = [{str(HERE)!r}]
from builders import bert, make_tokenizer
from datasets import Dataset
from distill_nb.teachers import cache
tok = make_tokenizer()
data = Dataset.from_dict(dict(tok(["good film", "dull book"] * 20)))
asked = []; plain = cache.ask
cache.ask = lambda *a: (asked.append(1), plain(*a))[1]
{what}
try: cache.cache_teacher(bert(), data, tok, folder={str(folder)!r})
except cache.CacheError as e: print(len(asked), "CacheError", e)
else: print(len(asked), "fine")
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()[-1]

@pytest.mark.slow
def test_a_full_disk_is_said_in_one_sentence(tmp_path):
    open_cache(tmp_path)
    said = limited(tmp_path, "resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))")
    assert re.match("1 CacheError .* cannot be written .*File too large", said), said
    assert [p.name for p in tmp_path.iterdir()] == [NOTE]

@pytest.mark.parametrize("filled", [False, True])
def test_a_folder_that_cannot_be_written_is_found_before_anything_is_asked(tok, tmp_path, asked, filled, monkeypatch):
    "What it holds is read all the same. Root may write anywhere, so the refusal is planted."
    open_cache(tmp_path)
    if filled: cache_teacher(sharp(), rows(tok, 40), tok, folder=tmp_path)
    before = asked()
    def refused(*args, **kw): raise PermissionError(13, "Permission denied")
    monkeypatch.setattr(cache.tempfile, "TemporaryFile", refused)
    if filled: cache_teacher(sharp(), rows(tok, 40), tok, folder=tmp_path)
    else:
        with pytest.raises(CacheError, match="cannot be written .Permission denied"): cache_teacher(sharp(), rows(tok, 40), tok, folder=tmp_path)
    assert asked() == before

@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tok, tmp_path, asked):
    open_cache(tmp_path)
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(CacheError, match="cannot be written .Permission denied"): cache_teacher(sharp(), rows(tok, 40), tok, folder=tmp_path)
    finally: tmp_path.chmod(0o755)
    assert asked() == 0

def test_an_error_of_the_teacher_is_not_the_disks(tok, tmp_path):
    teacher = bert()
    def broken(*a, **k): raise ValueError("an odd model")
    teacher.forward = broken
    with pytest.raises(ValueError, match="an odd model") as e: cache_teacher(teacher, rows(tok), tok, folder=tmp_path)
    assert not isinstance(e.value, InputError)

def test_names_of_unfinished_files_are_nobodys_to_guess(tok, tmp_path, monkeypatch):
    "In a container every process has the same number; a link planted under a name would be followed."
    seen, replace = [], Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, to: (seen.append(self.parent.name), replace(self, to))[1])
    monkeypatch.setattr(os, "getpid", lambda: 1)
    for n in (10, 20): cache_teacher(sharp(), rows(tok, n), tok, folder=tmp_path)
    assert len(set(seen)) == 2 and all(re.fullmatch("tmp[a-z0-9_]{8}", name) for name in seen)

def test_another_process_opens_the_cache_too(tmp_path):
    "Its note is on the way, or was there a moment later; its file is gone when we look at it."
    (tmp_path/".123").write_text("")
    open_cache(tmp_path)
    (tmp_path/"tmpgone").symlink_to(tmp_path/"nowhere")
    assert open_cache(tmp_path) == tmp_path

def flip(f, at):
    data = bytearray(f.read_bytes())
    data[int(at * (len(data) - 1))] ^= 4
    f.write_bytes(data)

DAMAGE = dict(cut=lambda f: f.write_bytes(f.read_bytes()[:300]), empty=lambda f: f.write_bytes(b""), other=lambda f: f.write_bytes(b"x" * 99),
              zeros=lambda f: f.write_bytes(f.read_bytes()[:-400] + bytes(400)), longer=lambda f: f.write_bytes(f.read_bytes() + b"x"))
DAMAGE |= {f"bit at {at}": lambda f, at=at: flip(f, at) for at in (0, .2, .4, .6, .7, .8, .9, 1)}

@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_no_answer(tok, tmp_path, damage):
    ask = lambda: cache_teacher(bert(), rows(tok), tok, folder=tmp_path)
    ask()
    DAMAGE[damage](file := tmp_path/files(tmp_path)[0])
    with pytest.raises(CacheError, match="is damaged.*Remove it"): ask()
    file.unlink()
    ask()

# What cannot be kept

@pytest.mark.parametrize("size, fine", [(6e4, True), (7e4, False), (-7e4, False), (float("inf"), False), (float("nan"), False)])
@pytest.mark.parametrize("layer", [0, 1])
def test_states_that_float16_cannot_hold_are_refused(tok, tmp_path, size, fine, layer):
    teacher = sharp()
    norm = teacher.bert.embeddings.LayerNorm if layer == 0 else teacher.bert.encoder.layer[-1].output.LayerNorm
    with torch.no_grad(): norm.bias[0], norm.weight[0] = size, 0.
    if not torch.isfinite(torch.tensor(size)): teacher.config.num_hidden_layers # logits break too: refused either way
    ask = lambda: cache_teacher(teacher, rows(tok), tok, states=True, folder=tmp_path)
    if fine: return torch.testing.assert_close(torch.tensor(ask()[STATES][:])[:, 0 if layer == 0 else -1, 0], torch.full((32,), size))
    with pytest.raises(InputError, match="teacher_.*65504 at most|NaN or infinite"): ask()
    assert not files(tmp_path)

@pytest.mark.parametrize("name", [LOGITS, STATES, TOP, REST])
@pytest.mark.parametrize("x, fine", [(6e4, True), (-6e4, True), (7e4, False), (float("nan"), False), (float("-inf"), False)])
def test_every_column_is_checked(name, x, fine):
    fine = fine or (name == LOGITS and x == 7e4)  # float32
    rows = [torch.tensor([1., x])]
    if fine: return check_range(name, rows)
    with pytest.raises(InputError, match=name): check_range(name, rows)

# Classes by name

def named(*names): return bert(num_labels=len(names), id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)})

def in_parquet(d):
    with tempfile.TemporaryDirectory() as home:
        d.to_parquet(f"{home}/d.parquet")
        return Dataset.from_parquet(f"{home}/d.parquet", cache_dir=home, keep_in_memory=True)

@pytest.mark.parametrize("after", [lambda d: d, lambda d: d.select([3, 1]), lambda d: d.shuffle(seed=0), lambda d: d.filter(lambda r: r["labels"] == 1),
    lambda d: d.remove_columns("labels"), lambda d: d.map(lambda r: dict(twice=2 * r["labels"])), lambda d: d.with_format("torch"),
    lambda d: d.to_iterable_dataset(), lambda d: DatasetDict(train=d)["train"],
    lambda d: d.train_test_split(.5)["train"], lambda d: concatenate_datasets([d, d]), in_parquet])
def test_the_classes_of_answers_go_along(tok, tmp_path, after):
    data = rows(tok)
    for names in (["bad", "good"], ["good", "bad"], ['odd "name"\n', "Classes of the teacher's answers: []"]):
        cached = cache_teacher(named(*names), data, tok, folder=tmp_path)
        assert teacher_classes(after(cached)) == names
        data = cached # asked anew: the other teacher's note is gone
    assert teacher_classes(cache_teacher(bert(), data, tok, folder=tmp_path)) is None and teacher_classes(rows(tok)) is None
    cached.save_to_disk(tmp_path/"d")
    assert teacher_classes(Dataset.load_from_disk(tmp_path/"d")) == names

@pytest.mark.parametrize("kind", [lambda d: d.to_iterable_dataset(), lambda d: d.to_iterable_dataset().map(lambda r: r), lambda d: [d[i] for i in range(len(d))]])
def test_streamed_and_listed_rows_show_their_answers(tok, tmp_path, kind):
    cached = cache_teacher(sharp(), rows(tok), tok, states=True, folder=tmp_path)
    found = teacher_columns(kind(cached))
    assert set(found) == {LOGITS, STATES} and found[STATES].shape == (5, 16)
    assert not teacher_columns(kind(rows(tok)))

@pytest.mark.parametrize("what, message", [
    (lambda tok: dict(rows=DatasetDict(train=rows(tok))), "one split"), (lambda tok: dict(rows=Dataset.from_dict(dict(text=["a"]))), "input_ids"),
    (lambda tok: dict(rows=rows(tok).select([])), "a row or more"), (lambda tok: dict(top_k=3), "top_k=3"), (lambda tok: dict(teacher=masked_lm()), "top_k for a vocabulary"),
    (lambda tok: dict(teacher=masked_lm(), top_k=13), "top_k=13: expected 1 to 12"),
    (lambda tok: dict(top_k="3"), "top_k='3'"), (lambda tok: dict(top_k=-1), "top_k=-1"), (lambda tok: dict(per_file=0), "per_file=0"), (lambda tok: dict(per_file=2.5), "per_file=2.5"),
    (lambda tok: dict(states="yes"), "'yes'"), (lambda tok: dict(bf16=None), "None"), (lambda tok: dict(rows=None), "rows: None"), (lambda tok: dict(rows=rows(tok).to_iterable_dataset()), "a Dataset")])
def test_what_cannot_be_asked(tok, tmp_path, what, message):
    with pytest.raises(InputError, match=message): cache_teacher(**{**dict(teacher=bert(), rows=rows(tok), tokenizer=tok, folder=tmp_path), **what(tok)})

@pytest.mark.parametrize("family", EXTRA)
def test_keys_of_families(family, tmp_path):
    "The same after saving and loading; another after a change."
    model = build(family)
    model.save_pretrained(tmp_path)
    assert teacher_key(AutoModelForSequenceClassification.from_pretrained(tmp_path)) == teacher_key(model)
    with torch.no_grad(): next(model.parameters()).view(-1)[7] += 1e-3
    assert teacher_key(AutoModelForSequenceClassification.from_pretrained(tmp_path)) != teacher_key(model)

# Training

ALONE = 5*SoftTargets(T=2) + 2*HardTargets()
SIX = dict(max_steps=6, learning_rate=.3, per_device_train_batch_size=8, logging_steps=1)

@pytest.mark.parametrize("objective, accumulate", [(ALONE, 3), (LogitMSE(), 1), (SoftTargets() + ClsMSE(), 3)], ids=["5/2", "mse", "pkd"])
def test_the_same_student_without_a_teacher(tok, tmp_path, objective, accumulate, layers=(0, 3)):
    data, runs = rows(tok, 40), []
    cached = cache_teacher(sharp(), data, tok, states=True, folder=tmp_path/"c")
    for teacher, text in ((sharp(), data), (None, cached), (sharp(), cached)):
        torch.manual_seed(0)
        runs.append(train(tok, tmp_path/"run", init_student(bert(), layers), teacher, objective, text, gradient_accumulation_steps=accumulate, **SIX))
    live, *alone = runs
    rough = 10 if "Cls" in repr(objective) else 1 # float16
    for d in alone:
        assert d.cached
        assert d.history()["loss"].tolist() == pytest.approx(live.history()["loss"].tolist(), rel=1e-3 * rough)
        moved = (weights(live.student) - weights(init_student(bert(), layers))).norm()
        assert (weights(d.student) - weights(live.student)).norm() < 2e-3 * rough * moved

def test_a_cached_teacher_never_runs(tok, tmp_path):
    teacher = sharp()
    cached = cache_teacher(teacher, rows(tok, 40), tok, folder=tmp_path/"c")
    calls = []
    teacher.register_forward_hook(lambda *a: calls.append(1))
    train(tok, tmp_path, init_student(bert(), [0]), teacher, ALONE, cached, **SIX)
    assert len(calls) == 1 # to see that the answers are its own

def test_scores_and_selected_rows(tok, tmp_path):
    "Regression, and rows that were filtered, shuffled and cached before."
    t = bert(num_labels=1)
    data = rows(tok, 60, labels=lambda i: i / 7).shuffle(seed=1).select(range(5, 45))
    cached = cache_teacher(t, cache_teacher(sharp(), data, tok, folder=tmp_path/"c"), tok, folder=tmp_path/"c")
    torch.testing.assert_close(torch.tensor(cached[LOGITS][:]), predict(t, data, tok), rtol=1e-5, atol=1e-5)
    student = init_student(bert(num_labels=1), [0, 2])
    d = train(tok, tmp_path, student, None, LogitMSE() + HardTargets(), cached.shuffle(seed=3), **SIX)
    assert d.history()["loss"].notna().all()

def masked_lm():
    "Without positions, so that padding on the left changes nothing."
    torch.manual_seed(0)
    m = AutoModelForMaskedLM.from_config(BertConfig(vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, hidden_dropout_prob=0., attention_probs_dropout_prob=0., initializer_range=.5)).eval()
    m.bert.embeddings.position_embeddings.weight.requires_grad_(False).zero_()
    return m

@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("unit", ["tokens", "labels"])
def test_masked_language_models(tmp_path, unit, side):
    "With all but one of the logits kept nothing is lost but float16's digits; with few it is close at T=1."
    tok = make_tokenizer()
    tok.padding_side = side
    data = rows(tok, 32).map(lambda r: dict(labels=[i if j % 3 == 1 else -100 for j, i in enumerate(r["input_ids"])]))
    losses = {}
    for k in (0, 12, 6):
        text = cache_teacher(masked_lm(), data, tok, top_k=k, folder=tmp_path/"c") if k else data
        losses[k] = step_losses(masked_lm(), None if k else masked_lm(), text, tok, unit, tmp_path)
    assert losses[12] == pytest.approx(losses[0], rel=1e-2, abs=2e-3)
    assert losses[6] == pytest.approx(losses[0], rel=.3, abs=.1)

def step_losses(student, teacher, data, tok, unit, tmp_path):
    with torch.no_grad(): student.bert.encoder.layer[0].output.dense.weight *= .5 # else nothing to learn
    args = training_args(tmp_path/"run", **{**PLAIN, **SIX})
    d = Distiller(student, teacher, SoftTargets(T=1, unit=unit) + HardTargets(), args, train_dataset=data,
                  data_collator=DataCollatorForTokenClassification(tok), processing_class=tok)
    d.show_bar("words").train()
    assert d.cached == (teacher is None)
    return d.history()["loss"].tolist()

def test_top_logits_keep_the_probabilities():
    z = 3 * torch.randn(4, 5, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for k in (1, 7, 39):
        ids, best, rest = top_logits(z, k)
        again, p = from_top(ids, best, rest, 40).softmax(-1), z.softmax(-1)
        torch.testing.assert_close(again.gather(-1, ids), p.gather(-1, ids))
        torch.testing.assert_close(again.sum(-1), torch.ones(4, 5, dtype=torch.float64))

@pytest.mark.parametrize("objective, columns, left", [
    (ALONE, (), 1), (ALONE, (LOGITS,), 0), (HardTargets(), (), 0), (ALONE + CosineHidden(), (LOGITS, STATES), 1), (ALONE + ClsMSE(), (LOGITS, STATES), 0),
    (ClsMSE(), (LOGITS,), 1), (AttentionMSE() + HiddenMSE(), COLUMNS, 2), (LogitMSE(), (TOP_IDS, TOP, REST), 1), (SoftTargets(), (TOP_IDS, TOP, REST), 0)])
def test_what_columns_cover(objective, columns, left): assert len(uncovered(objective, columns)) == left

def test_needs_beyond_the_cache(tok, tmp_path):
    "Without a teacher refused, naming what is there; with one it is asked as ever."
    cached = cache_teacher(sharp(), rows(tok), tok, folder=tmp_path/"c")
    triple = ALONE + CosineHidden()
    with pytest.raises(InputError, match="CosineHidden.*without a teacher.*the rows hold teacher_logits"):
        train(tok, tmp_path, init_student(bert(), [0]), None, triple, cached)
    d = train(tok, tmp_path, init_student(bert(), [0]), sharp(), triple, cached)
    assert not d.cached and d.history()["loss/CosineHidden"].iloc[0] > 0

def test_answers_of_another_teacher_or_of_other_classes(tok, tmp_path):
    cached = cache_teacher(sharp(), rows(tok), tok, folder=tmp_path/"c")
    with pytest.raises(InputError, match="another teacher"): train(tok, tmp_path, init_student(bert(), [0]), bert(), ALONE, cached)
    with pytest.raises(InputError, match=r"student logits \(8, 3\), teacher logits \(8, 2\)"):
        train(tok, tmp_path, bert(1, num_labels=3), None, SoftTargets(), cached, **SIX)

def test_cached_answers_and_heads_agree_on_the_order_of_classes(tok, tmp_path):
    named = lambda *names, **kw: bert(id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)}, **kw)
    cached = cache_teacher(named("bad", "good"), rows(tok), tok, folder=tmp_path/"c")
    for teacher in (None, named("good", "bad")):
        student = init_student(named("good", "bad"), [0])
        with pytest.raises(InputError, match=r"classes \['good', 'bad'\], cached answers for \['bad', 'good'\]"):
            train(tok, tmp_path, student, teacher, SoftTargets(), cached)
    train(tok, tmp_path, init_student(named("bad", "good"), [0]), None, SoftTargets(), cached)

def test_a_cache_that_cannot_be_kept_costs_time_only(tok, tmp_path, monkeypatch):
    (tmp_path/"file").write_text("no folder")
    monkeypatch.setattr(cache.datasets.config, "HF_DATASETS_CACHE", str(tmp_path/"file"))
    splits = dict(train=rows(tok, 24), validation=rows(tok, 8))
    with pytest.warns(UserWarning, match="asked in every epoch: .*cannot be written"):
        run = fit(init_student(bert(), [0]), splits, tok, ALONE, sharp(), disable_tqdm=True, use_cpu=True, bf16=False)
    assert not run.cached and run.state.global_step

def test_fit_caches_by_itself(tok, tmp_path, monkeypatch, asked):
    monkeypatch.setattr(cache.datasets.config, "HF_DATASETS_CACHE", str(tmp_path))
    splits = dict(train=rows(tok, 24), validation=rows(tok, 8))
    common = dict(tokenizer=tok, teacher=sharp(), disable_tqdm=True, use_cpu=True, bf16=False, per_device_train_batch_size=8, learning_rate=1e-2)
    trained = []
    for kw in (dict(), dict(cache=False)):
        d = fit(init_student(bert(), [0, 3]), splits, objective=ALONE, **common, **kw)
        trained.append(weights(d.student))
        assert d.cached == (not kw) and asked() == 24
    torch.testing.assert_close(*trained, rtol=1e-3, atol=1e-4)
    for objective, kw in ((ALONE, dict(num_train_epochs=1)), (ALONE + CosineHidden(), {}), (ALONE, dict(max_steps=2)), (HardTargets(), {})):
        assert not fit(init_student(bert(), [0]), splits, objective=objective, **{**common, **kw}).cached
    assert asked() == 24

def test_worth_caching_counts_texts_not_steps(tok, tmp_path):
    args = lambda **kw: training_args(tmp_path, use_cpu=True, bf16=False, per_device_train_batch_size=8, **kw)
    data = rows(tok, 32)
    assert not worth_caching(ALONE, data, args(max_steps=4)) and worth_caching(ALONE, data, args(max_steps=5))
    assert worth_caching(ALONE, data, args(max_steps=3, gradient_accumulation_steps=2))
    assert not worth_caching(SoftTargets(unit="tokens"), data, args(num_train_epochs=3))

def test_inference_tensors_are_no_use_in_the_step(tok):
    "Why the teacher in the loop answers under no_grad: autograd may have to keep what it said."
    x, seen = torch.ones(3, requires_grad=True), None
    with torch.inference_mode(): seen = torch.ones(3)
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved"): torch.nn.functional.mse_loss(x, seen)

def test_fit_with_a_teacher_and_no_objective_learns_labels(tok, tmp_path, asked):
    "The teacher is not asked, and not in the way."
    teacher, data = bert(), rows(tok)
    run = fit(init_student(teacher, [0]), {"train": data, "validation": data}, tok, teacher=teacher, max_steps=2, eval_strategy="no",
              disable_tqdm=True)
    assert run.state.global_step == 2 and repr(run.objective) == repr(1*HardTargets()) and not run.cached and asked() == 0

def test_an_interruption_while_a_file_is_written_is_one(monkeypatch, tmp_path):
    "The library closes its file, and fails over the closed one: the interruption is what happened."
    from distill_nb.teachers import cache
    def interrupted(*args):
        try: raise KeyboardInterrupt
        finally: raise ValueError("I/O operation on closed file")
    monkeypatch.setattr(cache, "_map", interrupted)
    with pytest.raises(KeyboardInterrupt): cache._write(None, None, tmp_path/"stem", None)
    assert not [*tmp_path.iterdir()]
