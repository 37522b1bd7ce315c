"Nothing that a stranger sends runs code, leaves its folder, speaks to the terminal, or is trusted because it lies where a cache would."
import ast, html, json, os, re, shutil, stat, subprocess, sys
from pathlib import Path
import pandas as pd
import pytest, torch
from safetensors.torch import save_file
from builders import bert, make_tokenizer
from distill_nb.data.load import load_task
from distill_nb.data.tasks import make_task
from distill_nb.kit.errors import InputError
from distill_nb.kit.files import MARK, our_files, trusted_folder
from distill_nb.kit.folders import output_folder, whole_folder
from distill_nb.measure.report import Report, load_report
from distill_nb.shell.cli import main
from distill_nb.teachers.cache import CacheError, cache_teacher, open_cache
from distill_nb.teachers.load import load_teacher
from distill_nb.training.saving import save_student

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT/"distill_nb").rglob("*.py"))

# No code of others

CALLS = {"eval", "exec", "compile", "__import__", "system", "popen", "execfile", "run_path", "run_module"}
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "subprocess", "runpy", "code", "ctypes"}
MAY = {("pickle", "UnpicklingError")} # an error's name, to say what was refused
MODEL_CALLS = {"model.eval"}

def faults(source):
    "What of a module could run foreign code."
    for n in ast.walk(ast.parse(source)):
        if isinstance(n, ast.Import): yield from (a.name for a in n.names if a.name.split(".")[0] in MODULES)
        if isinstance(n, ast.ImportFrom) and (n.module or "").split(".")[0] in MODULES:
            yield from (f"{n.module}.{a.name}" for a in n.names if (n.module, a.name) not in MAY)
        if not isinstance(n, ast.Call): continue
        name, given = n.func, {k.arg: k.value for k in n.keywords}
        if isinstance(name, ast.Name) and name.id in CALLS: yield name.id
        if isinstance(name, ast.Attribute):
            whose = ast.unparse(name)
            if name.attr in CALLS - {"eval", "compile"}: yield whose # a model's .eval() and .compile(), re.compile
            if whose.endswith("builtins.eval"): yield whose
            if whose == "torch.load" and not (isinstance(given.get("weights_only"), ast.Constant) and given["weights_only"].value is True): yield whose
            if whose in ("np.load", "numpy.load") and "allow_pickle" in given: yield whose
            if name.attr in ("load", "load_all") and whose.startswith("yaml."): yield whose
        remote = given.get("trust_remote_code")
        if remote is not None and not (isinstance(remote, ast.Constant) and remote.value is False): yield "trust_remote_code"
        if isinstance(given.get("shell"), ast.Constant) and given["shell"].value is True: yield "shell=True"

@pytest.mark.parametrize("file", SOURCES, ids=lambda f: str(f.relative_to(ROOT/"distill_nb")))
def test_no_module_runs_foreign_code(file):
    allowed = ["subprocess"] if file == ROOT/"distill_nb/deploy/page.py" else [] # it asks npm for the browser's runtime, whose bytes are then checked
    assert [*faults(file.read_text(encoding="utf-8"))] == allowed

@pytest.mark.parametrize("line", ["eval('1')", "exec(x)", "import pickle", "from pickle import loads", "torch.load(f)", "torch.load(f, weights_only=False)",
                                  "os.system('x')", "f(trust_remote_code=True)", "f(trust_remote_code=x)", "__import__('os')", "np.load(f, allow_pickle=True)",
                                  "import subprocess", "yaml.load(x)", "run(x, shell=True)"])
def test_the_scan_can_fail(line): assert [*faults(line)]

@pytest.mark.parametrize("line", ["model.eval()", "re.compile('x')", "from pickle import UnpicklingError", "torch.load(f, weights_only=True)", "f(trust_remote_code=False)"])
def test_the_scan_lets_through_what_is_harmless(line): assert not [*faults(line)]

# Names of others

EVIL = ["\x1b[31mred", "<img src=x onerror=alert(1)>", "a\nb", "\u202eevil", "\x07", "good|bad", "---", "`x`", "]8;;http://x\x1b\\"]
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

def test_hostile_names_reach_neither_terminal_nor_page_nor_card(tuned, tmp_path, capsys):
    "Labels, a file's name, a column: through a training from end to end."
    evil, other = "<img src=x onerror=alert(1)>\x1b[31m\u202e", "\x07fine`|\r"
    rows = [dict(text=f"film {i} is {w}", label=[evil, other][i % 2]) for i in range(12) for w in ("good", "bad", "dull")]
    file = tmp_path/"<b onmouseover=alert(2)>.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    model = load_teacher(tuned)
    model.bert.save_pretrained(tmp_path/"encoder")
    make_tokenizer().save_pretrained(tmp_path/"encoder")
    code = main(["train", "--task", str(file), "--teacher", str(tmp_path/"encoder"), "--layers", "2", "--epochs", "1", "--no-baseline", "--out", str(tmp_path/"o")])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert not CONTROL.search(out.replace("\t", "")) and not CONTROL.search(re.sub(r"\r", "", err)), (out, err)
    card = (tmp_path/"o"/"README.md").read_text()
    assert not CONTROL.search(card)
    outside = "".join(part for line in re.sub(r"(?ms)^```.*?^```$", "", card.split("\n---\n", 1)[1]).splitlines() for part in line.split("`")[::2])
    assert "<img" not in outside and "<b on" not in outside
    for shown in (load_report(tmp_path/"o"/"report.json")._repr_html_(), load_task(file)._repr_html_()):
        assert "<img" not in shown and "<b on" not in shown and not CONTROL.search(shown)

@pytest.mark.parametrize("name", EVIL)
def test_a_report_shows_any_name_as_text(name):
    report = Report(name, "accuracy", rows=[dict(model=name, accuracy=.5)], note=name)
    assert "<img" not in report._repr_html_() and not CONTROL.search(report._repr_html_())
    assert not CONTROL.search(repr(report))

@pytest.mark.parametrize("name", EVIL)
def test_a_refusal_shows_any_name_as_text(name, capsys):
    code = main(["evaluate", "--task", f"/none/{name}.csv", "--model", "x"])
    out, err = capsys.readouterr()
    assert code == 2 and not CONTROL.search(out + err) and err.count("\n") <= 2, err

# Nothing outside of the folder that was named

@pytest.mark.parametrize("place", ["../stolen.safetensors", "/etc/hostname", "a/../../stolen.safetensors"])
def test_a_shard_index_does_not_lead_out_of_its_folder(tok, tmp_path, place):
    model, folder = bert(1), tmp_path/"m"
    model.save_pretrained(folder), tok.save_pretrained(folder)
    shutil.move(folder/"model.safetensors", tmp_path/"stolen.safetensors")
    names = dict.fromkeys(model.state_dict(), place)
    (folder/"model.safetensors.index.json").write_text(json.dumps(dict(metadata={}, weight_map=names)))
    with pytest.raises(InputError, match="file beside it"): load_teacher(folder)

@pytest.mark.parametrize("mark", [{"../precious": None}, {"/etc/passwd": None}, {"a/b": None}, {"..": None}, {"": None}])
def test_a_folders_list_names_files_of_the_folder_alone(tmp_path, mark):
    (tmp_path/"precious").write_text("p")
    out = tmp_path/"o"
    out.mkdir()
    from distill_nb.kit.files import file_digest
    files = {name: file_digest(out/name) if name else "x" for name in mark}
    (out/MARK).write_text(json.dumps(dict(files=files)))
    assert our_files(out) == set()
    with output_folder(out, overwrite=True): pass
    assert (tmp_path/"precious").read_text() == "p"

def test_overwrite_follows_no_link_inside(tmp_path):
    (tmp_path/"precious").mkdir()
    (tmp_path/"precious/x").write_text("p")
    out = tmp_path/"o"
    with whole_folder(out) as new: (new/"config.json").write_text("old")
    (out/"more").symlink_to(tmp_path/"precious")
    (out/".distill_nb-old").symlink_to(tmp_path/"precious")
    with whole_folder(out, overwrite=True) as new: (new/"config.json").write_text("new")
    assert (tmp_path/"precious/x").read_text() == "p" and (out/"more").is_symlink()

def test_a_model_with_files_that_lead_out_writes_nothing_there(tok, tmp_path):
    "What a folder brings along (a template, more vocabularies) is written beside the student or not at all."
    student = bert(1)
    student.config._name_or_path = "../../outside"
    tok.init_kwargs["vocab_file"] = "../../outside/vocab.txt"
    try: out = save_student(student, tok, tmp_path/"deep"/"o")
    finally: del tok.init_kwargs["vocab_file"]
    assert {p.relative_to(tmp_path).parts[:2] for p in tmp_path.rglob("*") if p.is_file()} == {("deep", "o")} and out.is_dir()

# Caches that somebody planted

def test_a_cache_that_anybody_may_write_to_is_not_trusted(tmp_path):
    home = tmp_path/"cache"
    home.mkdir()
    home.chmod(0o777)
    with pytest.raises(CacheError, match="anybody may write to it.*chmod o-w"): open_cache(home)
    home.chmod(0o755)
    assert open_cache(home) == home

def test_a_cache_of_another_user_in_a_shared_folder_is_not_trusted(tmp_path, monkeypatch):
    shared = tmp_path/"tmp"
    (shared/"cache").mkdir(parents=True)
    shared.chmod(0o1777)
    monkeypatch.setattr(os, "getuid", lambda: 4321)
    real = os.stat(shared/"cache").st_uid
    monkeypatch.setattr("distill_nb.kit.files.ROOT", 99999) # root is nobody special here
    with pytest.raises(InputError, match=f"user {real} made it in a folder that all share"): trusted_folder(shared/"cache")

def test_a_teams_cache_in_a_folder_of_its_own_is_trusted(tmp_path, monkeypatch):
    (tmp_path/"team"/"cache").mkdir(parents=True)
    monkeypatch.setattr(os, "getuid", lambda: 4321)
    monkeypatch.setattr("distill_nb.kit.files.ROOT", 99999)
    monkeypatch.setattr("distill_nb.kit.files._shared", lambda folder: False)
    assert trusted_folder(tmp_path/"team"/"cache") == tmp_path/"team"/"cache"

def test_new_texts_and_heads_keep_to_trusted_folders():
    "Every module that keeps something in the cache of datasets asks first."
    for file in SOURCES:
        text = file.read_text(encoding="utf-8")
        if "HF_DATASETS_CACHE" in text: assert "trusted_folder(" in text, file

# Packages of others

@pytest.mark.parametrize("said, code, expected", [("No known vulnerabilities found", 0, (0, "No known")), ("Found 1 known vulnerability in x", 1, (2, "Found 1")),
                                                  ("requests.exceptions.ConnectionError: Max retries exceeded", 1, (2, "there is no network; nothing was looked up"))])
def test_audit_tells_faults_from_a_missing_network(tmp_path, said, code, expected):
    shutil.copy(ROOT/"Makefile", tmp_path)
    tool = tmp_path/".venv-audit/bin/pip-audit"
    tool.parent.mkdir(parents=True)
    tool.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit {code}\n")
    tool.chmod(0o755)
    done = subprocess.run(["make", "audit"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == expected[0] and expected[1] in done.stdout + done.stderr, done.stdout + done.stderr

def test_the_licences_are_those_of_todays_dependencies():
    import importlib.util
    spec = importlib.util.spec_from_file_location("licences", ROOT/"tools/licences.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    rows = dict(re.findall(r"(?m)^\| ([\w-]+) \| ([^|]+) \| (?:the library|the extra)", tool.PAGE.read_text(encoding="utf-8")))
    assert rows.keys() == tool.dependencies().keys(), "run make licences"
    assert not [n for n, said in rows.items() if "see the package" in said or "GPL" in said and "LGPL" not in said or "not installed" in said]
