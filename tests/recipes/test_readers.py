"Students of spans, from a file to a folder that answers questions: every recipe that can, cached answers, padding and accumulation."
import json, random, subprocess, sys
from dataclasses import replace
import pytest
import torch
from transformers import AutoModelForMultipleChoice, AutoModelForQuestionAnswering, BertConfig, DataCollatorWithPadding
from builders import SMALL, WORDS, same_step, weights
from distill_nb.data.classes import head_config
from distill_nb.data.load import load_task
from distill_nb.data.tokens import tokenize
from distill_nb.data.words import PadWords
from distill_nb.inside.capture import trace
from distill_nb.inside.inputs import kind_of
from distill_nb.kit.errors import InputError
from distill_nb.losses import AttentionMSE, CosineHidden, DIST, HardTargets, HiddenMSE, LogitMSE, Relations, SoftTargets
from distill_nb.measure.scores import evaluate, score
from distill_nb.measure.spans import answer
from distill_nb.measure.trust import keep_temperature, trust_models
from distill_nb.recipes.answers import distil_answers
from distill_nb.recipes.bilstm import distil_bilstm
from distill_nb.recipes.layers import distil_layers
from distill_nb.recipes.minilm import distil_minilm
from distill_nb.recipes.mobilebert import distil_mobilebert
from distill_nb.recipes.theseus import distil_theseus
from distill_nb.recipes.tinybert import distil_tinybert
from distill_nb.shell.cli import main
from distill_nb.students.copied import init_student
from distill_nb.teachers.cache import cache_teacher
from distill_nb.teachers.load import load_teacher
from distill_nb.training.run import fit

QUICK = dict(max_steps=3, disable_tqdm=True, eval_strategy="epoch")

def quiz(n=80, none=True):
    "Which word follows the asked one? Every fourth context has none."
    r, rows = random.Random(0), []
    for i in range(n):
        words = r.sample(WORDS[5:], r.randint(3, 6))
        at = r.randrange(len(words) - 1)
        start = len(" ".join(words[:at + 1])) + 1
        answers = [dict(text=words[at + 1], start=start)]
        if none and i % 4 == 3: words, answers = [w for w in words if w != words[at]], []
        rows.append(dict(question=words[at] if answers else "very", context=" ".join(w for w in words if answers or w != "very") + f" x{i}", answers=answers))
    return rows

def written(folder, rows):
    file = folder/"quiz.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return file

@pytest.fixture
def task(tmp_path): return load_task(written(tmp_path, quiz()))

def reader(task, layers=3, seed=0, width=16):
    torch.manual_seed(seed)
    return AutoModelForQuestionAnswering.from_config(BertConfig(
        vocab_size=len(WORDS), hidden_size=width, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=32, hidden_dropout_prob=0.,
        attention_probs_dropout_prob=0., initializer_range=.3, **head_config(task))).eval()

@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_reader_learns_and_the_validation_score_is_the_score(task, tok):
    rows = tokenize(task, tok, 16)
    run = fit(reader(task, 2, width=32), rows, tok, max_steps=150, learning_rate=5e-3, disable_tqdm=True, eval_strategy="epoch", per_device_eval_batch_size=2, bf16=False) # score asks in float32
    mine, its = score(run.student, rows["validation"], tok), run.evaluate()
    assert its["eval_f1"] == pytest.approx(mine["f1"]) and its["eval_exact"] == pytest.approx(mine["exact"])
    assert score(run.student, rows["train"], tok)["exact"] > .9 > .5 > score(reader(task, 2, width=32), rows["train"], tok)["exact"]
    windows = tokenize(task, tok, 8)
    assert len(windows["train"]) > len(rows["train"]) and evaluate(run.student, task, tok, "train", max_length=8)["exact"] > .4

def test_loss_and_logits_do_not_depend_on_padding(task, tok):
    rows, model, teacher = tokenize(task, tok, 16)["train"], reader(task), reader(task, seed=1)
    collate = PadWords(DataCollatorWithPadding(tok))
    short, long = [pick(range(len(rows)), key=lambda i: rows[i]["length"]) for pick in (min, max)]
    one, more = collate([rows[short]]), collate([rows[short], rows[long]])
    assert more["input_ids"].shape[1] > one["input_ids"].shape[1]
    n = one["input_ids"].shape[1]
    z, wide = [trace(model, b).logits for b in (one, more)]
    torch.testing.assert_close(wide[:1, :, :n], z, atol=1e-4, rtol=1e-5)
    assert z.shape == (1, 2, n) and (z.softmax(-1)[0, :, one["place_mask"][0] == 0] == 0).all()
    alike = {k: v[:1] for k, v in more.items()}
    for term in (SoftTargets(T=3, unit="spans"), HardTargets(), SoftTargets(T=2, unit="labels")):
        losses = [term(trace(model, b), trace(teacher, b), b) for b in (one, alike)]
        assert losses[0] > 0
        torch.testing.assert_close(*losses, atol=1e-5, rtol=1e-4)
    assert SoftTargets(unit="spans")(trace(model, one), trace(model, one), one).item() == pytest.approx(0, abs=1e-6)

def test_the_losses_are_torchs_own(task, tok):
    rows, model, teacher = tokenize(task, tok, 16)["train"], reader(task), reader(task, seed=1)
    batch = PadWords(DataCollatorWithPadding(tok))([rows[i] for i in range(4)])
    out, big = [m(**{k: batch[k] for k in tok.model_input_names if k in batch}) for m in (model, teacher)]
    hide = batch["place_mask"] == 0
    def clear(z): return z.masked_fill(hide, -torch.inf)
    s, t = trace(model, batch), trace(teacher, batch)
    hard = sum(torch.nn.functional.cross_entropy(clear(z), batch["labels"][:, i]) for i, z in enumerate((out.start_logits, out.end_logits))) / 2
    torch.testing.assert_close(HardTargets()(s, t, batch), hard)
    soft = 0
    for a, b in ((out.start_logits, big.start_logits), (out.end_logits, big.end_logits)):
        for i in range(4):
            keep = ~hide[i]
            soft += torch.nn.functional.kl_div((a[i][keep] / 2).log_softmax(-1), (b[i][keep] / 2).softmax(-1), reduction="sum") * 4 / 8
    torch.testing.assert_close(SoftTargets(T=2, unit="spans")(s, t, batch), soft)

@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("objective", [HardTargets(), SoftTargets(T=2, unit="spans"), HiddenMSE(), CosineHidden(), Relations("qkv", heads=2), AttentionMSE(),
                                       5*SoftTargets(T=2, unit="spans") + 2*HardTargets()], ids=repr)
def test_four_small_batches_make_one_step(objective, task, tok, tmp_path):
    rows = tokenize(task, tok, 16)["train"].select(range(16))
    same_step(tok, tmp_path, lambda: init_student(reader(task), [0, 2]), reader(task, seed=1), objective, rows, 5e-5)

@pytest.mark.filterwarnings("ignore")
def test_cached_answers_train_the_same_student(task, tok):
    rows, teacher, after = tokenize(task, tok, 16), reader(task, seed=1), []
    kept = cache_teacher(teacher, rows["train"], tok)
    assert len(kept[0]["teacher_logits"]) == rows["train"][0]["length"] and len(kept[0]["teacher_logits"][0]) == 2
    for data, asked, cache in ((rows["train"], teacher, False), (kept, None, False), (rows["train"], teacher, True), (kept, teacher, False)):
        student = init_student(reader(task), [0, 2])
        fit(student, {"train": data}, tok, SoftTargets(T=2, unit="spans") + HardTargets(), asked, cache=cache, num_train_epochs=2, disable_tqdm=True,
            bf16=False, use_cpu=True)
        after.append(weights(student))
    for other in after[1:]: torch.testing.assert_close(other, after[0], atol=1e-5, rtol=1e-4)
    with pytest.raises(InputError, match="answers of another teacher"):
        fit(init_student(reader(task), [0]), {"train": kept}, tok, SoftTargets(unit="spans"), reader(task, seed=9), cache=False, **QUICK)

@pytest.mark.parametrize("term, message", [(SoftTargets(), "'spans' for answers to questions"), (LogitMSE(), "unit='examples'"), (DIST(), "unit='examples'")])
def test_terms_for_one_answer_per_text_are_refused(term, message, task, tok):
    with pytest.raises(InputError, match=message):
        fit(reader(task), tokenize(task, tok, 16), tok, term, reader(task, seed=1), cache=False, **QUICK)

@pytest.mark.filterwarnings("ignore")
def test_questions_without_a_label_are_learnt_from_the_teacher_alone(task, tok):
    train = task["train"].map(lambda r, i: {"label": r["label"] if i % 2 else None, "answers": r["answers"] if i % 2 else None}, with_indices=True)
    half = replace(task, splits=type(task.splits)({**task.splits, "train": train}))
    rows = tokenize(half, tok, 16)["train"]
    assert sum(y == [-100, -100] for y in rows["labels"]) == (len(train) + 1) // 2
    student = init_student(reader(task, seed=1), [0])
    fit(student, {"train": rows.select(range(0, len(rows), 2))}, tok, SoftTargets(unit="spans"), reader(task), **QUICK)
    assert (weights(student) - weights(init_student(reader(task, seed=1), [0]))).abs().max() > 1e-6

@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_recipe_and_the_saved_folder(task, headless, tok, tmp_path):
    done = distil_layers(task, headless, layers=2, max_length=16, **QUICK)
    assert repr(done.objective) == "5*SoftTargets(T=2, unit='spans') + 2*HardTargets() + 1*CosineHidden()"
    out = done.save(tmp_path/"student")
    card = (out/"README.md").read_text()
    assert "pipeline_tag: question-answering" in card and "type: exact_match" in card and kind_of(load_teacher(out)) == "spans"
    assert "agrees with its teacher" in done.report.note
    back = load_teacher(out)
    assert evaluate(back, task, done.tokenizer, max_length=16)["f1"] == pytest.approx(done.report.rows[-1]["f1"])
    asked = "fine", "good fine film"
    said = answer(back, done.tokenizer, *asked, max_length=16)
    code = card.split("```python\n")[1].split("```")[0].replace("'student'", repr(str(out)))
    code = code.replace("question, context = ", "question, context = ('fine', 'good fine film') #")
    found = subprocess.run([sys.executable, "-c", code + "\nprint(answer)"], capture_output=True, text=True)
    assert found.returncode == 0 and found.stdout.strip() == said.text, found.stderr[-500:]
    for recipe, how in ((distil_theseus, dict(layers=1)), (distil_tinybert, dict(out=tmp_path/"stages", student=SMALL, texts=["good film", "bad book"] * 4)),
                        (distil_minilm, dict(out=tmp_path/"relations", layers=1)), (distil_mobilebert, dict(out=tmp_path/"blocks", bottleneck=8))):
        report = recipe(task, out, max_length=16, **how, **QUICK).report
        assert report.metric == "f1" and all(0 <= r["exact"] <= r["f1"] <= 1 for r in report.rows)
    assert kind_of(load_teacher(tmp_path/"stages"/"2-answers")) == "spans"
    with pytest.raises(InputError, match="a BiLSTM for spans"): distil_bilstm(task, out, max_length=16, **QUICK)
    with pytest.raises(InputError, match="answers to spans: expected one answer per text"): distil_answers(task, [], out, max_length=16, **QUICK)
    for name in ("pkd", "answers"): assert distil_layers(task, out, layers=2, objective=name, baseline=False, max_length=16, **QUICK).report.rows[-1]["f1"] >= 0
    with pytest.raises(InputError, match="objective='dist' for spans"): distil_layers(task, out, layers=1, objective="dist", max_length=16, **QUICK)

def test_a_student_is_trusted_by_exact_match(task, tok, tmp_path):
    model, other = reader(task), reader(task, seed=1)
    itself, apart = [trust_models(model, m, task, tok, split="train", max_length=16, agree=.5) for m in (model, other)]
    assert itself.numbers["agreement"] == 1 and itself.promise["coverage"] == 1 and not itself.look
    assert apart.numbers["agreement"] < 1 and apart.rows == len(task["train"]) and apart.look[0]["question"] in task["train"]["text"][:]
    assert apart.numbers["exact"] == pytest.approx(evaluate(model, task, tok, "train", max_length=16)["exact"])
    assert apart.numbers["teacher_exact"] == pytest.approx(evaluate(other, task, tok, "train", max_length=16)["exact"])
    apart.save(tmp_path/"trust.json"), apart.plot(tmp_path/"trust.png"), repr(apart), apart._repr_html_()
    with pytest.raises(InputError, match="without a temperature"): keep_temperature(model, apart)

@pytest.mark.filterwarnings("ignore")
def test_the_gate_of_an_export_compares_answers(task, tok, tmp_path):
    pytest.importorskip("onnxruntime"), pytest.importorskip("onnxscript")
    from distill_nb.deploy.export import export_folder, load_saved
    from distill_nb.deploy.onnx import OnnxModel
    from distill_nb.measure.scores import labelled_rows
    from distill_nb.training.saving import save_student
    save_student(reader(task), tok, tmp_path/"student")
    model = load_saved(tmp_path/"student")
    rows = labelled_rows(model, task, tok, "train", 16)
    gate = export_folder(model, tok, tmp_path/"onnx", rows, "f1", timed=False)
    assert gate.metric == "f1" and gate.before == pytest.approx(gate.after) == score(model, rows, tok)["f1"] and gate.agreement == 1
    graph = OnnxModel(tmp_path/"onnx")
    assert kind_of(graph) == "spans" and answer(graph, tok, "fine", "good fine film", max_length=16).text == answer(model, tok, "fine", "good fine film", max_length=16).text

# The shell

@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_shell_trains_evaluates_exports_and_refuses(task, headless, tok, tmp_path, capsys):
    file, out = tmp_path/"quiz.jsonl", tmp_path/"out"
    plain = ["train", "--task", str(file), "--teacher", str(headless), "--epochs", "1", "--max-length", "16"]
    train = [*plain, "--layers", "1"]
    assert main([*train, "--out", str(out)]) == 0 and "spans" in (text := capsys.readouterr().out) and "exact" in text # read off the columns
    evaluate = ["evaluate", "--task", str(file), "--model", str(out), "--max-length", "16"]
    assert main([*evaluate, "--json"]) == 0 and {"f1", "exact"} <= set(json.loads(capsys.readouterr().out))
    assert main([*evaluate, "--against", str(out), "--json"]) == 0 and json.loads(capsys.readouterr().out)["trust"]["numbers"]["agreement"] == 1
    assert main([*evaluate, "--against", str(file)]) == 2 and "--against a file for spans: expected a teacher's folder" in capsys.readouterr().err
    named = tmp_path/"named.jsonl"
    named.write_text("\n".join(json.dumps(dict(q=r["question"], passage=r["context"], gold=r["answers"])) for r in quiz()))
    say = ["--text", "q", "--pair", "passage", "--label", "gold", "--kind", "spans"]
    assert main([*train[:2], str(named), *train[3:], *say, "--out", str(tmp_path/"named")]) == 0
    for more, message in ((["--recipe", "bilstm"], "a BiLSTM for spans"), (["--recipe", "tinybert", "--augment"], "new texts for spans"),
                          (["--answers", str(file)], "answers to spans"), (["--objective", "dist"], "objective='dist' for spans")):
        capsys.readouterr()
        assert main([*plain, *more, "--out", str(tmp_path/"no")]) == 2 and message in capsys.readouterr().err, more
        assert not (tmp_path/"no").exists()

@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("change, message", [
    (lambda r: r["answers"][0].update(start=r["answers"][0]["start"] + 2), "expected its place"), (lambda r: r.update(context=""), "context '': expected a text"),
    (lambda r: r.update(answers=["yes"]), "a list of texts with their start"), (lambda r: r.pop("context"), "row 3: context")])
def test_the_shell_names_the_bad_row_and_leaves_nothing(change, message, headless, tmp_path, capsys):
    rows = quiz()
    change(rows[2])
    code = main(["train", "--task", str(written(tmp_path, rows)), "--teacher", str(headless), "--out", str(tmp_path/"o"), "--kind", "spans"])
    assert code == 2 and message in capsys.readouterr().err and not (tmp_path/"o").exists()

def test_multiple_choice_is_refused(task, headless, tmp_path, capsys):
    rows = [dict(question="a", choices=["b", "c"], answer=i % 2) for i in range(20)]
    assert main(["train", "--task", str(written(tmp_path, rows)), "--teacher", str(headless), "--out", str(tmp_path/"o")]) == 2
    assert "multiple choice, by the column ['choices']" in capsys.readouterr().err
    model = AutoModelForMultipleChoice.from_config(reader(task).config)
    model.save_pretrained(tmp_path/"choice")
    (tmp_path/"choice"/"tokenizer.json").write_bytes((headless/"tokenizer.json").read_bytes())
    with pytest.raises(InputError, match="a multiple-choice head .BertForMultipleChoice.: expected another kind of model"): load_teacher(tmp_path/"choice", task)
    quizzes = str(written(tmp_path, quiz()))
    assert main(["train", "--task", quizzes, "--teacher", str(tmp_path/"choice"), "--out", str(tmp_path/"o")]) == 2
    assert "multiple choice is not distilled" in capsys.readouterr().err
    assert main(["train", "--task", quizzes, "--kind", "multiple-choice", "--out", str(tmp_path/"o")]) == 2 and "spans" in capsys.readouterr().err
