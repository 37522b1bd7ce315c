"Damaged bytes: a flipped bit, a cut, zeros. The one before is taken, or one sentence says what to delete; never a wrong result."
import json, os, shutil, subprocess, sys, warnings
from pathlib import Path
import pytest, torch
from builders import bert, make_tokenizer, rows, sharp, train, weights
from distill_nb.kit.errors import InputError
from distill_nb.kit.files import MARK, changed_files, check_bytes, listed_files
from distill_nb.kit.folders import TEMPORARY, temporary_folder
from distill_nb.losses import AttentionMSE, HardTargets, HiddenMSE
from distill_nb.recipes.tinybert import load_stage, save_stage
from distill_nb.teachers.load import load_teacher, load_tokenizer
from distill_nb.training.checkpoints import is_whole, last_whole
from distill_nb.training.resume import last_checkpoint
from distill_nb.training.saving import save_student

def flip(file, share=.6):
    "One bit of a file is another; its time is as it was, as on a bad disk."
    about, raw = file.stat(), bytearray(file.read_bytes())
    raw[int(len(raw) * share)] ^= 4
    file.write_bytes(raw)
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))

DAMAGE = dict(flip=flip, cut=lambda f: f.write_bytes(f.read_bytes()[:-9]), zeros=lambda f: f.write_bytes(bytes(f.stat().st_size)),
              gone=lambda f: f.unlink())
SETTINGS = dict(max_steps=3, save_strategy="steps", save_steps=1, optim="adamw_torch", learning_rate=1e-2)

@pytest.fixture(scope="module")
def run(tok, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    return out, weights(train(tok, out, bert(2), None, HardTargets(), **SETTINGS).student)

@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"])
def test_a_damaged_checkpoint_is_passed_over_with_a_word(run, tmp_path, file, how):
    shutil.copytree(run[0], tmp_path/"r")
    assert is_whole(tmp_path/"r/checkpoint-3")
    DAMAGE[how](tmp_path/"r/checkpoint-3"/file)
    with pytest.warns(UserWarning, match="checkpoint-3 is incomplete or damaged"): assert last_whole(tmp_path/"r").name == "checkpoint-2"

def test_the_run_goes_on_from_the_one_before_and_ends_equal(tok, run, tmp_path):
    shutil.copytree(run[0], tmp_path/"r")
    for name in "checkpoint-3/optimizer.pt", "checkpoint-2/model.safetensors": flip(tmp_path/"r"/name)
    with pytest.warns(UserWarning, match="passed over"): again = train(tok, tmp_path/"r", bert(2), None, HardTargets(), resume=True, **SETTINGS)
    assert weights(again.student).equal(run[1])

def test_a_damaged_checkpoint_that_is_named_is_refused(tok, run, tmp_path):
    shutil.copytree(run[0], tmp_path/"r")
    flip(tmp_path/"r/checkpoint-3/optimizer.pt")
    with pytest.raises(InputError, match=r"checkpoint-3: no whole checkpoint: expected one, such as .*checkpoint-2. Its optimizer.pt changed"):
        train(tok, tmp_path/"r", bert(2), None, HardTargets(), resume=str(tmp_path/"r/checkpoint-3"), **SETTINGS)

def test_checkpoints_without_a_list_are_taken_as_before(run, tmp_path):
    shutil.copytree(run[0], tmp_path/"r")
    for part in (tmp_path/"r").glob("checkpoint-*"): (part/MARK).unlink()
    assert last_whole(tmp_path/"r").name == "checkpoint-3"

def test_what_is_edited_by_hand_in_a_checkpoint_is_fine(run, tmp_path):
    shutil.copytree(run[0], tmp_path/"r")
    (tmp_path/"r/checkpoint-3/config.json").write_text("{}")
    assert is_whole(tmp_path/"r/checkpoint-3")

def test_projections_are_among_the_listed(tok, tmp_path):
    train(tok, tmp_path, bert(2), sharp(), HiddenMSE(), **SETTINGS)
    assert {"model.safetensors", "optimizer.pt", "trainer_state.json"} <= listed_files(tmp_path/"checkpoint-3").keys()

def test_a_broken_checkpoint_is_set_aside_once_and_again(run, tmp_path):
    "Two kills at the same step: the second must not land inside of the first."
    home = tmp_path/"r"
    assert last_checkpoint(home, "mine") is None
    for _ in range(2):
        shutil.copytree(run[0]/"checkpoint-1", home/"checkpoint-1", dirs_exist_ok=True)
        shutil.copytree(run[0]/"checkpoint-2", home/"checkpoint-2")
        flip(home/"checkpoint-2/optimizer.pt")
        with pytest.warns(UserWarning, match="checkpoint-2 is incomplete"): assert last_checkpoint(home, "mine").name == "checkpoint-1"
    assert sorted(p.name for p in home.iterdir()) == ["broken-checkpoint-2", "checkpoint-1", "run.json"]
    assert not [*(home/"broken-checkpoint-2").glob("checkpoint-*")]

# Models and stages

@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_model_is_one_sentence(tok, tmp_path, how):
    out = save_student(bert(2), tok, tmp_path/"m")
    DAMAGE[how](out/"model.safetensors")
    with pytest.raises(InputError, match="no weights" if how == "gone" else "model.safetensors changed or lost.*delete the folder"): load_teacher(out)

def test_every_bit_of_the_weights_counts(tok, tmp_path):
    out = save_student(bert(1), tok, tmp_path/"m")
    raw = (out/"model.safetensors").read_bytes()
    for share in (0, .01, .1, .3, .5, .7, .9, .999):
        flip(out/"model.safetensors", share)
        with pytest.raises(InputError): load_teacher(out)
        (out/"model.safetensors").write_bytes(raw)
    load_teacher(out)

@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_configuration_that_is_edited_is_used_with_a_word(tok, tmp_path, file):
    out = save_student(bert(1), tok, tmp_path/"m", "card")
    (out/file).write_text(json.dumps(json.loads((out/file).read_text()) | dict(mine=1)))
    with pytest.warns(UserWarning, match=f"{file} changed since distill_nb wrote it"): load_teacher(out), load_tokenizer(out)

def test_a_card_that_is_edited_is_nobodys_business(tok, tmp_path):
    out = save_student(bert(1), tok, tmp_path/"m", "card")
    (out/"README.md").write_text("mine")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        load_teacher(out)

def test_weights_that_were_trained_further_load_without_the_list(tok, tmp_path):
    out = save_student(bert(1), tok, tmp_path/"m")
    sharp().save_pretrained(out)
    with pytest.raises(InputError, match=f"If you changed it yourself, delete {MARK}"): load_teacher(out)
    (out/MARK).unlink()
    assert load_teacher(out).config.num_hidden_layers == 4

def test_a_damaged_stage_is_one_sentence(tok, tmp_path):
    save_stage(bert(1), tok, tmp_path/"s", "note")
    flip(tmp_path/"s/model.safetensors")
    with pytest.raises(InputError, match="delete the folder"): load_stage(tmp_path/"s", "note")

def test_a_link_in_the_place_of_weights_is_a_change(tok, tmp_path):
    out = save_student(bert(1), tok, tmp_path/"m")
    (out/"model.safetensors").rename(tmp_path/"w")
    (out/"model.safetensors").symlink_to(tmp_path/"w")
    assert changed_files(out) == ["model.safetensors"]

# What killed runs leave in the temporary folder

KILLED = """
import os
from distill_nb.kit.folders import temporary_folder
with temporary_folder() as folder:
    (folder/"big").write_bytes(bytes(99))
    print(folder, flush=True)
    os.kill(os.getpid(), 9)
"""

def test_the_next_run_removes_a_killed_runs_temporary_folder(tmp_path, monkeypatch):
    import tempfile
    left = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, env=os.environ | dict(TMPDIR=str(tmp_path))).stdout.strip()
    assert Path(left, "big").is_file() and Path(left).name.startswith(TEMPORARY)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path/"precious").mkdir()
    (tmp_path/f"{TEMPORARY}link").symlink_to(tmp_path/"precious")
    with temporary_folder() as mine: assert not Path(left).exists() and mine.is_dir()
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{TEMPORARY}link", "precious"]

def test_another_users_temporary_folder_stays(tmp_path, monkeypatch):
    import tempfile
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path/f"{TEMPORARY}theirs").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with temporary_folder(): assert (tmp_path/f"{TEMPORARY}theirs").exists()
