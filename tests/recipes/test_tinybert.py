"Sweeps behind nbs/recipes/03_tinybert.ipynb: stages that go on where they stopped, tasks of every kind, the shell."
import json, subprocess, sys
from pathlib import Path
import pandas as pd
import pytest, torch
from builders import QUICK, SMALL, frame, toy
from distill_nb.words.augmenter import Augmenter
from distill_nb.shell.cli import main
from distill_nb.data.tasks import make_task
from distill_nb.data.tokens import tokenize
from distill_nb.kit.errors import InputError
from distill_nb.losses import AttentionMSE, HiddenMSE, SoftTargets
from distill_nb.teachers.load import load_teacher, load_tokenizer
from distill_nb.recipes.tinybert import (
    Stage, general_stage, load_stage, longest_text, run_stages, save_stage, tiny_student, distil_tinybert, tinybert_stages)
import distill_nb.recipes.tinybert as module

def scores(): return make_task("toy", dict(train=frame(label=[i / 7 for i in range(40)])))
def pairs(): return make_task("toy", dict(train=frame(pair=[f"dull book {i}" for i in range(40)], label=["good", "bad"] * 20)))
def two(): return [Stage("1-inside", AttentionMSE() + HiddenMSE(), QUICK), Stage("2-answers", SoftTargets(T=1), QUICK)]

@pytest.mark.slow
@pytest.mark.parametrize("task", [toy, scores, pairs])
def test_every_kind_of_task(task, headless, tmp_path):
    done = distil_tinybert(task(), headless, tmp_path/"s", student=SMALL, **QUICK)
    assert list(done.report.table().index) == ["teacher", "student, teacher's layers", "student, distilled"]
    assert sorted(p.name for p in (tmp_path/"s").iterdir()) == ["1-inside", "2-answers", "labels", "teacher"]
    assert done.report.rows[1]["steps"] == done.report.rows[2]["steps"] == 2 * QUICK["max_steps"]
    assert "LogitMSE" in done.objective if task is scores else "SoftTargets" in done.objective
    assert done.student.config.hidden_size == 8 and done.student.config.num_hidden_layers == 2

@pytest.mark.slow
def test_a_killed_run_goes_on_at_its_stage(headless, tmp_path, monkeypatch):
    whole = distil_tinybert(toy(), headless, tmp_path/"a", student=SMALL, stages=two(), **QUICK)
    alone = QUICK | dict(check=False) # the look before the run would call it too
    ran, fit = [], module.fit
    def dies(*args, **kwargs):
        ran.append(args[5])
        if len(ran) == 2: raise KeyboardInterrupt
        return fit(*args, **kwargs)
    monkeypatch.setattr(module, "fit", dies)
    with pytest.raises(KeyboardInterrupt): distil_tinybert(toy(), headless, tmp_path/"b", student=SMALL, stages=two(), **alone)
    assert ran == ["1-inside", "2-answers"] and not (tmp_path/"b"/"2-answers").exists()
    done = distil_tinybert(toy(), headless, tmp_path/"b", student=SMALL, stages=two(), **alone)
    assert ran == ["1-inside", "2-answers", "2-answers", "labels"]
    for name, w in done.student.state_dict().items(): torch.testing.assert_close(w, whole.student.state_dict()[name])

@pytest.mark.slow
def test_other_settings_are_refused(headless, tmp_path):
    distil_tinybert(toy(), headless, tmp_path, student=SMALL, **QUICK)
    with pytest.raises(InputError, match="made by other models, texts or settings"):
        distil_tinybert(toy(), headless, tmp_path, student=SMALL, **QUICK | dict(max_steps=3))

def test_another_dropout_of_equal_weights_is_another_run(tuned, tok, tmp_path):
    "Of the student, and of the teacher that it is compared with."
    task = toy()
    rows = tokenize(task, tok, 16)
    def go(student=0., teacher=0.):
        models = [load_teacher(tuned, task) for _ in range(2)]
        for m, p in zip(models, (student, teacher)): m.config.hidden_dropout_prob = p
        return run_stages(*models, rows, tok, [Stage("one", tinybert_stages(task)[1].objective, QUICK)], tmp_path, seed=0)[1]
    assert (go(), go()) == (["one"], [])
    for other in dict(student=.3), dict(teacher=.3):
        with pytest.raises(InputError, match="made by other models"): go(**other)

@pytest.mark.slow
def test_what_changes_no_number_finds_the_stage_again(headless, tmp_path):
    for more in (dict(logging_steps=7), dict(per_device_eval_batch_size=3), dict(save_strategy="steps", save_steps=1), {}):
        distil_tinybert(toy(), headless, tmp_path/"s", student=SMALL, **QUICK | more)
    times = [p.stat().st_mtime_ns for p in (tmp_path/"s").glob("*/model.safetensors")]
    distil_tinybert(toy(), headless, tmp_path/"s", student=SMALL, **QUICK | dict(logging_steps=3))
    assert times == [p.stat().st_mtime_ns for p in (tmp_path/"s").glob("*/model.safetensors")]

def test_another_term_of_ones_own_is_another_stage(tuned, tok, tmp_path):
    from builders import Margin
    task = toy()
    teacher, rows = load_teacher(tuned, task), tokenize(task, tok, 16)
    def go(margin): return run_stages(tiny_student(teacher, **SMALL), teacher, rows, tok, [Stage("one", Margin(margin), QUICK)], tmp_path, seed=0)[1]
    assert (go(1.), go(1.)) == (["one"], [])
    with pytest.raises(InputError, match="made by other models"): go(-5.)

@pytest.mark.slow
def test_a_stage_that_is_killed_while_it_is_saved_is_whole_or_made_again(tok, tmp_path):
    "Before every change of the file system, over what an earlier kill has left."
    from builders import bert
    from builders import killed
    for k in range(60):
        folder = tmp_path/f"s{k}"
        dead = killed(k, lambda: save_stage(bert(1), tok, folder, "note"))
        done = load_stage(folder, "note")
        assert done is not None or dead
        if done is None: save_stage(bert(1), tok, folder, "note")
        assert load_stage(folder, "note").config.num_hidden_layers == 1
        if not dead: break
    assert not dead and k > 10

@pytest.mark.parametrize("text", ["", '{"made', "[]"])
def test_a_note_that_was_cut_off_is_one_sentence(tok, tmp_path, text):
    from builders import bert
    save_stage(bert(1), tok, tmp_path/"s", "note")
    (tmp_path/"s"/"stage.json").write_text(text)
    with pytest.raises(InputError, match="stage.json cannot be read"): load_stage(tmp_path/"s", "note")

def test_an_augmenter_may_be_made_late(tuned, tok, tmp_path):
    "Its head costs minutes: what is wrong with the student is told before."
    def never(): raise AssertionError("made too early")
    with pytest.raises(InputError, match="width 99"): distil_tinybert(toy(), tuned, tmp_path, never, student=SMALL | dict(hidden_size=99), **QUICK)
    with pytest.raises(AssertionError, match="too early"): distil_tinybert(toy(), tuned, tmp_path, never, student=SMALL, **QUICK)

PAIR = """
import os, sys, torch
sys.path.insert(0, sys.argv[2])
from distill_nb.recipes.tinybert import distil_tinybert
from builders import QUICK, SMALL, toy
for again in (0, 1):
    done = distil_tinybert(toy(), sys.argv[3], sys.argv[1], student=SMALL, use_cpu=True, bf16=False, ddp_backend="gloo", **QUICK)
total = sum(w.double().sum().item() for w in done.student.state_dict().values())
os.write(1, f"SUM {total}\\n".encode()) # one write: torchrun's processes share the line
torch.distributed.barrier()
os._exit(0)
"""

@pytest.mark.slow
def test_two_processes_write_each_stage_once(headless, tmp_path):
    (tmp_path/"pair.py").write_text(PAIR)
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", tmp_path/"pair.py", tmp_path/"s",
                           Path(__file__).parents[1], headless], capture_output=True, text=True, timeout=300)
    sums = [line for line in done.stdout.splitlines() if line.startswith("SUM")]
    assert done.returncode == 0 and len(sums) == 2 and len(set(sums)) == 1, done.stdout + done.stderr
    for name in ("teacher", "1-inside", "2-answers"): assert (tmp_path/"s"/name/"stage.json").exists() and (tmp_path/"s"/name/"model.safetensors").exists()

def test_a_folder_without_a_note_is_no_stage(tmp_path):
    assert load_stage(tmp_path, "x") is None
    (tmp_path/"stage.json").write_text(json.dumps(dict(made_by="y")))
    with pytest.raises(InputError, match="other models"): load_stage(tmp_path, "x")

def test_the_first_stage_moves_what_the_second_does_not_ask(tuned, tok, tmp_path):
    task = toy()
    teacher, rows = load_teacher(tuned, task), tokenize(task, tok, 16)
    student = tiny_student(teacher, **SMALL)
    head = student.classifier.weight.clone()
    first, _ = run_stages(student, teacher, rows, tok, two()[:1], tmp_path, seed=0)
    assert torch.equal(first.classifier.weight.cpu(), head.cpu())

def test_augmented_texts_are_learnt_from(tuned, tok, tmp_path, monkeypatch):
    from transformers import BertForMaskedLM
    config = load_teacher(tuned, toy()).config
    seen, stages = [], module.run_stages
    monkeypatch.setattr(module, "run_stages", lambda s, t, rows, *a, **k: (seen.append(len(rows["train"])), stages(s, t, rows, *a, **k))[1])
    augmenter = Augmenter(BertForMaskedLM(config).eval(), tok, n=3)
    done = distil_tinybert(toy(), tuned, tmp_path, augmenter, student=SMALL, check=False, **QUICK)
    assert seen[0] > len(done.task["train"])

@pytest.mark.parametrize("name, epochs", [("CoLA", 50), ("mnli", 10), ("QQP", 10), ("SST-2", 20), ("mine", 20)])
def test_epochs_of_the_paper(name, epochs):
    task = toy()
    task.name = name
    assert [s.settings["num_train_epochs"] for s in tinybert_stages(task)] == [epochs, 3]

def test_gold_scores_on_demand():
    assert ["HardTargets" in repr(tinybert_stages(scores(), gold)[1].objective) for gold in (False, True)] == [False, True]

@pytest.mark.parametrize("student, message", [(dict(start="best"), "start='best'"), (dict(n_layers=9), "a student of 9 blocks"),
                                              (dict(hidden_size=99), "widths|width 99")])
def test_students_that_are_refused(tuned, student, message):
    with pytest.raises(InputError, match=message): tiny_student(load_teacher(tuned, toy()), **SMALL | student)

def test_impossible_sizes_leave_nothing_behind(headless, tmp_path):
    with pytest.raises(InputError, match="width 99"): distil_tinybert(toy(), headless, tmp_path/"s", student=SMALL | dict(hidden_size=99))
    assert not (tmp_path/"s").exists()

def test_random_start_has_the_same_shape(tuned):
    teacher = load_teacher(tuned, toy())
    a, b = [tiny_student(teacher, **SMALL, start=s) for s in ("random", "svd")]
    assert {n: t.shape for n, t in a.state_dict().items()} == {n: t.shape for n, t in b.state_dict().items()}

@pytest.mark.slow
def test_from_the_shell(tuned, tmp_path, capsys):
    frame(label=["good", "bad"] * 20).to_csv(tmp_path/"t.csv", index=False)
    words = ["train", "--recipe", "tinybert", "--task", tmp_path/"t.csv", "--teacher", tuned, "--out", tmp_path/"s", "--layers", 2, "--width", 8,
             "--inner", 16, "--epochs", 1]
    assert main([str(w) for w in words]) == 0
    assert (tmp_path/"s"/"model.safetensors").is_file() and (tmp_path/"s-stages"/"2-answers"/"stage.json").is_file()
    assert main([str(w) for w in [*words, "--recipe", "magic"]]) == 2 and "--recipe magic" in capsys.readouterr().err
    for extra in (["--temperature", "4"], ["--choice", "last"]):  # nothing that is asked for is ignored
        with pytest.raises(SystemExit): main([str(w) for w in [*words[:8], tmp_path/"z", "--recipe", "tinybert", *extra]])
        assert f"unrecognized arguments: {' '.join(extra)}" in capsys.readouterr().err

@pytest.mark.slow
def test_new_texts_and_epochs_from_the_shell(tuned, tmp_path, monkeypatch):
    from transformers import BertForMaskedLM
    BertForMaskedLM(load_teacher(tuned, toy()).config).save_pretrained(tmp_path/"lm")
    load_tokenizer(tuned).save_pretrained(tmp_path/"lm")
    frame(label=["good", "bad"] * 20).to_csv(tmp_path/"t.csv", index=False)
    seen, run = [], module.run_stages
    def spy(student, teacher, rows, tok, stages, *args, **kwargs):
        seen.append((len(rows["train"]), [s.settings["num_train_epochs"] for s in stages]))
        return run(student, teacher, rows, tok, stages, *args, **kwargs)
    monkeypatch.setattr(module, "run_stages", spy)
    for name, extra in dict(plain=[], new=["--augment", "--masked-lm", tmp_path/"lm", "--new", 2]).items():
        words = ["train", "--recipe", "tinybert", "--task", tmp_path/"t.csv", "--teacher", tuned, "--out", tmp_path/name, "--layers", 2,
                 "--width", 8, "--inner", 16, "--inside-epochs", 1, "--no-check", *extra]
        assert main([str(w) for w in words]) == 0
    distilled = [(n, epochs) for n, epochs in seen if len(epochs) == 2]  # the others are the labels' own stage
    assert distilled[1][0] > distilled[0][0] and [e for _, e in distilled] == [[1, 3]] * 2 and len(seen) == 4

def test_augment_from_the_shell(tuned, tmp_path, capsys):
    from transformers import BertForMaskedLM
    BertForMaskedLM(load_teacher(tuned, toy()).config).save_pretrained(tuned/"lm")
    load_tokenizer(tuned).save_pretrained(tuned/"lm")
    frame(label=["good", "bad"] * 20).to_csv(tmp_path/"t.csv", index=False)
    words = [str(w) for w in ["augment", "--task", tmp_path/"t.csv", "--masked-lm", tuned/"lm", "--out", tmp_path/"new.tsv", "--new", 2]]
    assert main(words) == 0
    made = pd.read_csv(tmp_path/"new.tsv", sep="\t")
    assert {"text", "label", "source", "new"} <= set(made.columns) and made.new.any() and set(made.label) == {"good", "bad"}
    assert main(words) == 2 and "exists" in capsys.readouterr().err
    assert main([*words[:-3], str(tmp_path/"new.xls"), "--new", "2"]) == 2 and "ends in" in capsys.readouterr().err

@pytest.mark.slow
def test_general_distillation_is_a_stage_of_its_own(headless, tmp_path):
    texts = [f"{w} book {i}" for i in range(9) for w in ("dull", "fine")]
    done = distil_tinybert(toy(), headless, tmp_path, texts=texts, student=SMALL, **QUICK)
    assert {p.name for p in tmp_path.iterdir()} >= {"0-general", "1-inside", "2-answers", "teacher"}
    assert done.objective.count("AttentionMSE") == 2 and (tmp_path/"0-general"/"stage.json").is_file()

def test_the_general_stage_serves_another_task(headless, tok, tmp_path, monkeypatch):
    "It depends on the pretrained teacher and the texts, not on what the teacher is tuned for."
    texts = [f"{w} book {i}" for i in range(9) for w in ("dull", "fine")]
    ran, fit = [], module.fit
    monkeypatch.setattr(module, "fit", lambda *a, **k: (ran.append(a[5]), fit(*a, **k))[1])
    base = load_teacher(headless, toy())
    for epochs in (1, 2):
        tuned, rows = load_teacher(headless, toy()), tokenize(toy(), tok, 16)
        tuned.load_state_dict({n: w + epochs if "classifier" in n else w for n, w in base.state_dict().items()})
        torch.manual_seed(0)
        stages = [general_stage(base, texts, tok, **QUICK), two()[1]]
        stages[1].name += str(epochs)
        run_stages(tiny_student(base, **SMALL), tuned, rows, tok, stages, tmp_path, seed=0)
    assert ran == ["0-general", "2-answers1", "2-answers2"]

@pytest.mark.parametrize("texts", [[], ["", "  "]])
def test_general_distillation_needs_texts(tuned, tok, texts):
    with pytest.raises(InputError, match="no text for general distillation"): general_stage(load_teacher(tuned, toy()), texts, tok)

def test_the_longest_text_is_the_papers(): assert [longest_text(task()) for task in (toy, scores, pairs)] == [64, 64, 128]
