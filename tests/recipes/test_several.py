"Texts of several labels, from a file to a folder that the pipeline reads; and what is wrong with such files."
import copy, json, math
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score
from transformers import BertConfig, pipeline
from builders import SMALL, bert, frame
from distill_nb.data.classes import check_labels
from distill_nb.data.load import load_task
from distill_nb.data.tokens import tokenize
from distill_nb.deploy.export import compare
from distill_nb.inside.capture import Outputs
from distill_nb.inside.inputs import kind_of
from distill_nb.kit.errors import InputError
from distill_nb.kit.gpu import Bucketed
from distill_nb.losses import HardTargets, SoftLabels, binary_divergence, kl_divergence
from distill_nb.measure.scores import evaluate, predict
from distill_nb.measure.several import best_thresholds, label_metrics
from distill_nb.measure.trust import trust_models
from distill_nb.recipes.bilstm import answer_terms, check_terms, distil_bilstm
from distill_nb.recipes.layers import distil_layers
from distill_nb.recipes.theseus import distil_theseus
from distill_nb.recipes.tinybert import distil_tinybert
from distill_nb.shell.cli import main
from distill_nb.students.copied import init_student
from distill_nb.students.distilbert import to_distilbert
from distill_nb.students.narrow import narrow_student
from distill_nb.students.slots import successor, theseus
from distill_nb.teachers.load import load_teacher
from distill_nb.words.augmenter import save_table

NAMES = ["food", "price", "staff"]
QUICK = dict(max_steps=3, disable_tqdm=True, eval_strategy="epoch")

def given(i): return [n for j, n in enumerate(NAMES) if i >> j & 1]

def meals(folder, write="list", n=48, **change):
    "A file of texts with labels, written in one of five ways."
    df = frame(n)
    lists = [given(i) for i in range(n)]
    if write == "columns": df = df.assign(**{c: [int(c in row) for row in lists] for c in NAMES})
    elif write == "joined": df["label"] = ["|".join(row) or "[]" for row in lists]
    elif write == "bare": df["label"] = [f"[{', '.join(row)}]" for row in lists]
    elif write == "python": df["label"] = [repr(row) for row in lists]
    else: df["label"] = lists
    df = df.assign(**change)
    file = folder/f"meals.{'jsonl' if write == 'list' else 'parquet' if write == 'parquet' else 'csv'}"
    if write == "list": df.to_json(file, orient="records", lines=True)
    elif write == "parquet": df.to_parquet(file)
    else: df.to_csv(file, index=False)
    return file

@pytest.mark.parametrize("write", ["parquet", "columns", "joined", "bare", "python"])
def test_every_way_to_write_labels_is_the_same_task(write, tmp_path):
    same, task = load_task(meals(tmp_path, write), kind="multilabel"), load_task(meals(tmp_path))
    assert task.kind == "multilabel" and same.labels == task.labels == NAMES and task.metric == "f1_micro"
    assert all(same[s][:] == task[s][:] for s in task.splits)
    assert {tuple(y) for y in task["train"]["label"]} == {tuple(float(n in given(i)) for n in NAMES) for i in range(8)}

@pytest.mark.parametrize("change, say, message", [
    (dict(label="a"), {}, "every text has the same labels"), (dict(label=""), {}, "no row has a label"),
    (dict(label=[f"x{i}" for i in range(120)]), dict(n=120), "120 different labels in 120 rows"),
    (dict(food=["2"] * 48), dict(label="food"), None), (dict(food=["2"] * 48), dict(label="food,price"), "row 1: food '2': expected 0 or 1"),
    ({}, dict(label="food,wine"), "no column 'wine' for label"), ({}, dict(labels=["food", "price"]), "label 'staff': expected one of")])
def test_bad_labels_are_refused_in_one_sentence(change, say, message, tmp_path):
    file = meals(tmp_path, "joined" if "label" in change or "labels" in say else "columns", n=say.pop("n", 48), **change)
    if message is None: message = "every text has the same labels"
    with pytest.raises(InputError, match=message) as caught: load_task(file, kind="multilabel", **say)
    assert "\n" not in str(caught.value)

def test_numbers_in_lists_are_names_and_flags_in_lists_are_refused(tmp_path):
    file = tmp_path/"a.jsonl"
    frame(20).assign(label=[[0, 2], [1]] * 10).to_json(file, orient="records", lines=True)
    assert load_task(file).labels == ["0", "1", "2"]
    frame(20).assign(label=[[0, 1, 1], [1, 0, 0]] * 10).to_json(file, orient="records", lines=True)
    with pytest.raises(InputError, match="a list of 0 and 1"): load_task(file)

def test_texts_without_labels_are_learnt_from_the_teacher_alone(tok, tmp_path):
    lists = [given(i) if i % 2 else None for i in range(48)]
    frame(48).assign(label=lists).to_json(tmp_path/"a.jsonl", orient="records", lines=True)
    task = load_task(tmp_path/"a.jsonl")
    assert task.table().labelled["train"] < task.table().rows["train"]
    rows = tokenize(task, tok)["train"]
    blank = [all(map(math.isnan, y)) for y in rows["labels"]]
    assert sum(blank) == task.table().rows["train"] - task.table().labelled["train"] > 5
    y, z = torch.tensor(rows["labels"][:]), torch.randn(len(rows), 3, requires_grad=True)
    HardTargets()(Outputs(logits=z), None, dict(labels=y)).backward()
    assert (z.grad[torch.tensor(blank)] == 0).all() and z.grad[~torch.tensor(blank)].abs().min() > 0

@pytest.mark.parametrize("T", [1, 3, .5])
def test_one_label_is_two_classes(T):
    z_s, z_t = torch.randn(2, 20, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    two = [torch.cat([torch.zeros_like(z), z], -1) for z in (z_s, z_t)]
    torch.testing.assert_close(binary_divergence(z_s, z_t, T), kl_divergence(*two, T))
    torch.testing.assert_close(binary_divergence(z_s, z_t, [T]), binary_divergence(z_s, z_t, T))

def test_each_label_has_its_temperature():
    z_s, z_t = torch.randn(2, 6, 3)
    apart = [binary_divergence(z_s[:, [j]], z_t[:, [j]], T) for j, T in enumerate((1., 2., 8.))]
    torch.testing.assert_close(binary_divergence(z_s, z_t, [1., 2., 8.]), sum(apart) / 3)
    assert eval(repr(SoftLabels(T=[1., 2.]) + HardTargets())).terms[0].T == [1., 2.]

def test_metrics_are_sklearns_and_thresholds_the_best():
    g = np.random.default_rng(0)
    z, y = g.normal(size=(200, 4)), (g.random((200, 4)) < .2).astype(float)
    z += 2 * y - 1.5
    mine = label_metrics(z, y)
    assert mine["f1_macro"] == pytest.approx(f1_score(y, z > 0, average="macro")) and mine["exact"] == ((z > 0) == y).all(1).mean()
    for j, t in enumerate(best_thresholds(z, y)):
        tried = [f1_score(y[:, j], z[:, j] > c) for c in np.sort(z[:, j]) - 1e-9]
        assert f1_score(y[:, j], 1 / (1 + np.exp(-z[:, j])) > t) == pytest.approx(max(tried))

def test_terms_and_heads_of_another_kind_are_refused(tmp_path):
    task = load_task(meals(tmp_path))
    assert check_terms(answer_terms("kl", kind="multilabel"), 3, "multilabel").names == ["SoftLabels"]
    with pytest.raises(InputError, match="a head of several labels per text"):
        plain = load_task(meals(tmp_path, "columns"), label="food")
        check_labels(BertConfig(num_labels=2, problem_type="multi_label_classification"), plain)
    with pytest.raises(InputError, match="problem_type='single_label_classification'"):
        check_labels(BertConfig(num_labels=3, problem_type="single_label_classification"), task)

def test_a_batch_of_as_many_labels_as_tokens_is_padded_right(tok):
    "Numbers per class have the shape (bs, classes), which may be that of the tokens."
    batch = dict(input_ids=torch.ones(2, 9).long(), labels=torch.zeros(2, 9), teacher_logits=torch.zeros(2, 9))
    padded = Bucketed(lambda rows: dict(batch), size=lambda n, longest: 16)([])
    assert [padded[k].shape[1] for k in batch] == [16, 9, 9] and "label_places" not in padded

@pytest.mark.parametrize("make", [
    lambda t: init_student(t, [0, 2]), lambda t: init_student(t, [0, 1, 2]), lambda t: narrow_student(t, [0, 1], 8, 2, 16),
    lambda t: successor(theseus(t, 1)), lambda t: to_distilbert(t, [0, 2])])
def test_a_student_takes_over_nothing_that_was_measured_on_its_teacher(make):
    teacher = bert(3, problem_type="multi_label_classification", layer_norm_eps=1e-12)
    teacher.config.thresholds, teacher.config.calibration_temperature = [.2, .9], 3.
    student = make(teacher)
    assert not {"thresholds", "calibration_temperature"} & {*student.config.to_dict()}
    assert teacher.config.thresholds == [.2, .9] and teacher.config.calibration_temperature == 3.

def test_every_report_gives_labels_by_each_models_own_thresholds(tok, tmp_path):
    "Whatever the order of the teacher's labels; and an export's gate compares what is given."
    names = dict(id2label=dict(enumerate(NAMES)), label2id={n: i for i, n in enumerate(NAMES)})
    task, (student, teacher) = load_task(meals(tmp_path)), [bert(2, problem_type="multi_label_classification", **names) for _ in range(2)]
    for model, own, times in (student, [.4, .5, .6], 20), (teacher, [.3, .45, .5], 30):
        model.config.thresholds = own
        with torch.no_grad(): model.classifier.weight *= times
    turned, back = copy.deepcopy(teacher), [2, 0, 1]
    with torch.no_grad():
        for name in "weight", "bias": getattr(turned.classifier, name).copy_(getattr(teacher.classifier, name)[back])
    turned.config.id2label, turned.config.label2id = dict(enumerate(NAMES[i] for i in back)), {NAMES[i]: n for n, i in enumerate(back)}
    turned.config.thresholds = [teacher.config.thresholds[i] for i in back]
    straight, other = [trust_models(student, m, task, tok, split="train") for m in (teacher, turned)]
    assert straight.numbers == pytest.approx(other.numbers)
    rows = tokenize(task, tok)["train"]
    s, t = [predict(m, rows, tok).sigmoid() > torch.tensor(m.config.thresholds) for m in (student, teacher)]
    assert straight.numbers["agreement"] == pytest.approx((s == t).all(1).float().mean().item())
    graph = copy.deepcopy(student) # which says a little more of the first label
    with torch.no_grad(): graph.classifier.bias[0] += .3
    p, q = [predict(m, rows, tok).sigmoid()[:, 0] for m in (student, graph)]
    for own in .5, p.median().item(), p.min().item() / 2: # a half; where the shift changes what is given; where all is given before and after
        student.config.thresholds = [own, .5, .5]
        assert compare(student, graph, rows, tok)["agreement"] == pytest.approx(((p > own) == (q > own)).float().mean().item())

@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_from_a_file_to_the_pipeline(headless, tmp_path):
    task = load_task(meals(tmp_path, n=80))
    done = distil_layers(task, headless, layers=2, **QUICK)
    assert repr(done.objective) == "5*SoftLabels(T=2) + 2*HardTargets() + 1*CosineHidden()"
    assert [*done.report.rows[0]][1:4] == ["f1_micro", "f1_macro", "exact"] and len(done.student.config.thresholds) == 3
    out = done.save(tmp_path/"student")
    again = load_teacher(out)
    assert kind_of(again) == "multilabel" and again.config.thresholds == done.student.config.thresholds
    rows = done.report.rows[-1]
    assert evaluate(again, task, done.tokenizer)["f1_macro"] == pytest.approx(rows["f1_macro"])
    answer = pipeline("text-classification", str(out), top_k=None)(["good film 1"])[0]
    with torch.no_grad(): p = again(**done.tokenizer("good film 1", return_tensors="pt")).logits.sigmoid()[0]
    assert {a["label"]: pytest.approx(a["score"], abs=1e-4) for a in answer} == dict(zip(NAMES, p.tolist()))
    for recipe, how in ((distil_theseus, dict(layers=1)), (distil_bilstm, dict(student=dict(embedding_size=8, hidden_size=8))),
                        (distil_tinybert, dict(out=tmp_path/"stages", student=SMALL, texts=["good film", "bad book"] * 4))):
        report = recipe(task, out, **how, **QUICK).report
        assert report.metric == "f1_micro" and all(0 <= r["f1_micro"] <= 1 for r in report.rows)

@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_one_label_can_be_saved_and_read_again(headless, tmp_path):
    frame(40).assign(rude=[0, 1] * 20).to_csv(tmp_path/"one.csv", index=False)
    task = load_task(tmp_path/"one.csv", kind="multilabel")
    assert task.labels == ["rude"]
    out = distil_layers(task, headless, layers=1, **QUICK).save(tmp_path/"student")
    assert json.loads((out/"config.json").read_text())["problem_type"] == "multi_label_classification" and kind_of(load_teacher(out)) == "multilabel"

@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_shell_trains_and_evaluates(headless, tmp_path, capsys):
    file, out = meals(tmp_path, "columns"), tmp_path/"out"
    train = ["train", "--task", str(file), "--kind", "multilabel", "--teacher", str(headless), "--out", str(out), "--layers", "1", "--epochs", "1", "--batch-size", "16"]
    assert main(train) == 0 and "f1_macro" in capsys.readouterr().out
    assert main(["evaluate", "--task", str(file), "--model", str(out), "--json"]) == 0
    assert {"f1_micro", "f1_macro", "exact"} <= set(json.loads(capsys.readouterr().out))
    assert main([*train[:4], "spams", *train[5:]]) == 2
    pd.DataFrame(dict(text=["a"] * 20, label=["x|y", "x"] * 10)).to_csv(file, index=False)
    assert main(["evaluate", "--task", str(file), "--model", str(out)]) == 2
    assert "label 'x'" in capsys.readouterr().err

def test_new_texts_keep_their_labels_in_a_file(tmp_path):
    task = load_task(meals(tmp_path))
    for name in "a.csv", "a.jsonl":
        save_table(task, tmp_path/name)
        again = load_task(tmp_path/name, kind="multilabel", hold_out=False)
        assert [*again.splits] == ["test"] or dict(zip(again["train"]["text"], again["train"]["label"])) == dict(zip(task["train"]["text"], task["train"]["label"]))

def test_a_new_head_begins_with_the_frequencies_of_its_labels(tok):
    "From one half each, the first steps teach a model of many rare labels to answer alike to every text."
    from datasets import Dataset
    from distill_nb.training.run import fit, start_at_frequencies
    from builders import bert
    def fresh(): return bert(num_labels=9, problem_type="multi_label_classification")
    y = torch.zeros(60, 9)
    y[torch.arange(60), torch.arange(60) % 7] = 1.
    y[::5, 2] = float("nan") # unknown
    rows = Dataset.from_dict(dict(input_ids=[[2, 5 + i % 7, 3] for i in range(60)], attention_mask=[[1] * 3] * 60, labels=y.tolist()))
    model, known = fresh(), ~y.isnan()
    with torch.no_grad(): model.classifier.bias.zero_()
    start_at_frequencies(model, rows)
    share = (y.nan_to_num().sum(0) + .5) / (known.sum(0) + 1)
    torch.testing.assert_close(model.classifier.bias.sigmoid(), share)
    own = model.classifier.bias.detach().clone()
    start_at_frequencies(model, rows.select(range(9)))
    assert model.classifier.bias.equal(own), "trained heads stay"
    start_at_frequencies(model, rows.remove_columns("labels")), start_at_frequencies(model, rows.to_iterable_dataset())
