"Students on the disk: loadable after any kill, kept where they cannot be written, honest about themselves, and one process saves."
import json, os, subprocess, sys
from pathlib import Path
from types import SimpleNamespace
import pytest, torch
from transformers import AutoModelForSequenceClassification
from builders import bert, killed, Margin, state_of, toy
from distill_nb.kit.errors import InputError
from distill_nb.kit.kinds import KINDS
from distill_nb.kit.files import MARK
from distill_nb.kit.folders import output_folder
from distill_nb.losses import HardTargets, SoftTargets
from distill_nb.measure.report import Report
from distill_nb.training.saving import check_finite, fenced, licence_of, model_card, save_result, save_student, span
from distill_nb.training.resume import check_note, run_note, write_note
from distill_nb.training.settings import training_args

def depth(folder): return AutoModelForSequenceClassification.from_pretrained(folder).config.num_hidden_layers

@pytest.mark.slow
def test_a_kill_before_any_change_leaves_a_student_that_loads_or_the_next_call_repairs_it(tok, tmp_path):
    "The old one has 2 blocks, the new one 1: a mixture of the two would not load, or have other weights than either."
    students = {m.config.num_hidden_layers: m for m in (bert(2, hidden_act="relu"), bert(1))}
    def is_one_of_them(folder):
        got = AutoModelForSequenceClassification.from_pretrained(folder)
        want = students[got.config.num_hidden_layers].state_dict()
        return all(torch.equal(w, want[n]) for n, w in got.state_dict().items())
    loaded = []
    for k in range(100):
        out = save_student(students[2], tok, tmp_path/f"o{k}", "# Card\n")
        dead = killed(k, lambda: save_student(students[1], tok, out, overwrite=True))
        if (out/"config.json").exists():
            assert is_one_of_them(out)
            loaded.append(depth(out))
        with output_folder(out, overwrite=True): pass # what the next call does first
        assert is_one_of_them(out) and (depth(out) == 1 or dead)
        if not dead: break
    assert not dead and {1, 2} == set(loaded) and len(loaded) > 10

def test_nothing_half_written_after_a_crash(tok, tmp_path):
    class Broken:
        def save_pretrained(self, folder): raise OSError("disk full")
    with pytest.raises(InputError, match="disk full.*expected a disk with place"): save_student(bert(), Broken(), tmp_path/"student")
    assert list(tmp_path.iterdir()) == []

def test_overwriting_must_be_asked_for(tok, tmp_path):
    out = save_student(bert(2), tok, tmp_path/"s")
    with pytest.raises(InputError, match="is not empty"): save_student(bert(1), tok, out)
    save_student(bert(1), tok, out, overwrite=True)
    assert depth(out) == 1
    with pytest.raises(InputError, match="holds no model"): save_student(bert(1), tok, tmp_path, overwrite=True)
    assert out.is_dir()

class Once:
    "A tokenizer that fails the first time, as on a disk that is full."
    def __init__(self, tok): self.tok, self.calls = tok, 0
    def save_pretrained(self, folder):
        self.calls += 1
        if self.calls == 1: raise OSError(28, "No space left on device")
        self.tok.save_pretrained(folder)

def test_a_student_that_cannot_be_written_is_kept(tok, tmp_path, monkeypatch):
    import tempfile
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path/"tmp"))
    (tmp_path/"tmp").mkdir()
    old = save_student(bert(2), tok, tmp_path/"o")
    with pytest.raises(InputError, match="No space left on device.*The student was kept: it is in") as e:
        save_student(bert(1), Once(tok), old, overwrite=True)
    kept = next((tmp_path/"tmp").iterdir())
    assert str(kept) in str(e.value) and depth(kept) == 1 and depth(old) == 2

@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_student_that_diverged_is_not_saved(tok, tmp_path, value):
    student = bert(1)
    with torch.no_grad(): student.bert.encoder.layer[0].output.dense.weight[0, 0] = value
    with pytest.raises(InputError, match="encoder.layer.0.output.dense.weight"): save_student(student, tok, tmp_path/"o")
    assert not (tmp_path/"o").exists()
    check_finite(bert(1).to(torch.bfloat16))

def test_nobody_runs_the_teachers_code(tok, tmp_path):
    student = bert(1, problem_type="regression", num_labels=3)
    student.config.auto_map = {"AutoModel": "attacker/repo--evil.EvilModel"}
    tok.init_kwargs["auto_map"] = {"AutoTokenizer": ["attacker/repo--evil.Evil", None]}
    try: out = save_student(student, tok, tmp_path/"o")
    finally: del tok.init_kwargs["auto_map"]
    assert "attacker" not in "".join(p.read_text() for p in out.glob("*.json"))
    assert AutoModelForSequenceClassification.from_pretrained(out).config.problem_type is None

@pytest.mark.parametrize("kind, labels, kept", [("regression", 1, True), ("regression", 3, False), ("regression", 2, False),
                                                ("single_label_classification", 3, True), ("multi_label_classification", 3, True)])
def test_the_kind_of_problem_is_what_the_head_can_do(tok, tmp_path, kind, labels, kept):
    out = save_student(bert(1, problem_type=kind, num_labels=labels), tok, tmp_path/"o")
    assert json.loads((out/"config.json").read_text()).get("problem_type") == (kind if kept else None)

EVIL = ["a\nb", "---", "```", "<script>x</script>", "`", "[x](http://y)", "\x1b[31mred", "", "# no", "x" * 5000, "| a | b |", "\u202e"]

def test_names_of_others_are_not_markup():
    class task: name, labels, kind, about, splits = "t\n---\n<b>", EVIL, "classification", KINDS["classification"], {}
    card = model_card("ti\n# tle", bert(1), "te`acher", task, SoftTargets(), fenced("```\n<i>\n````"))
    assert card.startswith("---\n") and card.count("\n---\n") == 1 and len(card) < 5000
    for line in card.splitlines(): assert line.count("`") % 2 == 0 or line.strip("`") in ("", "python")
    outside = "".join(part for line in card.splitlines() for part in line.split("`")[::2])
    assert not set("<>|\x1b\u202e") & set(outside) - set("<i>") and "script" not in outside
    assert all(span(e).count("`") == 2 and span(e).isprintable() for e in EVIL)

SAME = [dict(logging_steps=7), dict(per_device_eval_batch_size=3), dict(save_steps=9, save_strategy="steps"), dict(disable_tqdm=True),
        dict(eval_strategy="no"), dict(report_to="none"), dict(run_name="x"), dict(save_total_limit=1), dict(logging_first_step=False),
        dict(dataloader_num_workers=1)]
OTHER = [dict(learning_rate=2e-4), dict(num_train_epochs=4), dict(max_steps=7), dict(per_device_train_batch_size=8), dict(seed=1),
         dict(weight_decay=.5), dict(gradient_accumulation_steps=2), dict(lr_scheduler_type="constant"), dict(dataloader_drop_last=True),
         dict(load_best_model_at_end=True, save_strategy="epoch"), dict(max_grad_norm=9.), dict(label_smoothing_factor=.1)]

def a_note(tmp_path, objective=SoftTargets(), models=(), texts=("a",), **settings):
    return run_note(models or [bert(1)], texts, objective, training_args(tmp_path, **settings))

@pytest.mark.parametrize("settings", SAME, ids=str)
def test_settings_that_change_no_number_are_not_in_the_note(tmp_path, settings): assert a_note(tmp_path, **settings) == a_note(tmp_path)

@pytest.mark.parametrize("settings", OTHER, ids=str)
def test_settings_that_change_numbers_are_in_the_note(tmp_path, settings): assert a_note(tmp_path, **settings) != a_note(tmp_path)

def test_a_note_is_of_weights_texts_and_objective(tmp_path):
    notes = [a_note(tmp_path), a_note(tmp_path, models=[bert(2)]), a_note(tmp_path, models=[bert(1), None]), a_note(tmp_path, texts=("b",)),
             a_note(tmp_path, SoftTargets(T=3)), a_note(tmp_path, 1.0000001 * SoftTargets()), a_note(tmp_path, Margin(1.)), a_note(tmp_path, Margin(-5.)),
             a_note(tmp_path, HardTargets())]
    assert len(set(notes)) == len(notes) and a_note(tmp_path, Margin(1.)) in notes

@pytest.mark.parametrize("text", ["", "{", '{"made', "[]", "{}", "3", '{"made_by": null}', "\x00\xff"])
def test_a_note_that_was_cut_off_is_one_sentence(tmp_path, text):
    write_note(tmp_path/"run.json", "x")
    assert check_note(tmp_path/"run.json", "x") and not check_note(tmp_path/"other.json", "x")
    (tmp_path/"run.json").write_bytes(text.encode("latin1"))
    with pytest.raises(InputError, match="run.json cannot be read"): check_note(tmp_path/"run.json", "x")

PAIR = """
import os, sys, torch
from pathlib import Path
from builders import bert, make_tokenizer
from distill_nb.training.saving import save_student
out, rank = Path(sys.argv[1]), int(os.environ["RANK"])
save_student(bert(1 + rank), make_tokenizer(), out)
assert (out/"model.safetensors").is_file() # the others wait until it is there
save_student(bert(1), make_tokenizer(), out, overwrite=True)
os.write(1, f"RANK {rank} fine\\n".encode()) # one write: the processes share the line
torch.distributed.barrier()
os._exit(0)
"""

@pytest.mark.slow
def test_two_processes_save_once(tmp_path):
    (tmp_path/"pair.py").write_text(PAIR)
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", tmp_path/"pair.py", tmp_path/"o"],
                          capture_output=True, text=True, timeout=300, env=os.environ | dict(PYTHONPATH=f"{Path(__file__).parents[1]}:{os.environ.get('PYTHONPATH', '')}"))
    assert done.returncode == 0 and done.stdout.count("fine") == 2, done.stdout + done.stderr
    assert depth(tmp_path/"o") == 1 and state_of(tmp_path/"o") >= {MARK, "config.json", "model.safetensors"}

def test_a_disk_that_is_full_everywhere_is_one_sentence(tok, tmp_path, monkeypatch):
    "safetensors has an error of its own, which is no OSError."
    from safetensors import SafetensorError
    def full(*args, **kwargs): raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    model = bert()
    monkeypatch.setattr(model, "save_pretrained", full)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path/"tmp"))
    (tmp_path/"tmp").mkdir()
    with pytest.raises(InputError, match="No space left.*expected a disk with place"): save_student(model, tok, tmp_path/"s")
    assert not (tmp_path/"s").exists() and not [*(tmp_path/"tmp").iterdir()]

@pytest.mark.parametrize("source", ["x" * 300, "one.csv, " * 60, "user/" + "m" * 90, ""], ids=["long", "files", "Hub", "none"])
def test_a_student_is_saved_wherever_its_answers_came_from(source, tok, tmp_path):
    "The names of many files together were looked up as one, which the file system refuses: after the training."
    done = SimpleNamespace(student=bert(1), tokenizer=tok, source=source, objective=HardTargets(), report=Report("toy", "accuracy").add("a", dict(accuracy=.5)))
    assert save_result(done, toy(), tmp_path/"s")/"README.md" and licence_of(source) is None
    assert source[:40] in (tmp_path/"s"/"README.md").read_text()

def test_a_teachers_folder_goes_by_its_name_and_tells_its_licence(tok, tmp_path):
    (tmp_path/"mine").mkdir()
    (tmp_path/"mine"/"README.md").write_text("---\nlicense: mit\n---\n# Mine\n")
    done = SimpleNamespace(student=bert(1), tokenizer=tok, source=str(tmp_path/"mine"), objective=HardTargets(), report=Report("toy", "accuracy").add("a", dict(accuracy=.5)))
    card = (save_result(done, toy(), tmp_path/"s")/"README.md").read_text()
    assert "`mine`" in card and str(tmp_path) not in card and "license: mit" in card
