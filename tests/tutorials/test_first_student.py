"The first tutorial's file of answers is what it says, and its page finds it beside itself or in the repository."
import ast, importlib.util, json, os, shutil, urllib.request
from pathlib import Path
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT/"nbs/tutorials/first_student.json"
DATA = json.loads(FILE.read_text(encoding="utf-8"))
spec = importlib.util.spec_from_file_location("first_student", ROOT/"tools/first_student.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)

def cells():
    "Source of the page's visible code, cell by cell."
    page = json.loads(FILE.with_suffix(".ipynb").read_text(encoding="utf-8"))
    return ["".join(c["source"]) for c in page["cells"] if c["cell_type"] == "code" and not "".join(c["source"]).startswith("#| hide")]

def test_the_file_is_small_and_whole():
    assert FILE.stat().st_size < 2e6
    assert (len(DATA["train"]), len(DATA["test"])) == (DATA["settings"]["texts"], 2000) == (12000, 2000)
    rows = DATA["train"] + DATA["test"]
    assert {tuple(map(type, row)) for row in rows} == {(str, int, float, float)}
    assert len({sentence for sentence, *_ in rows}) == len(rows), "a sentence in both splits, or twice"

def test_the_teacher_is_as_good_as_the_file_says():
    test = np.array([row[1:] for row in DATA["test"]])
    right = (test[:, 1:].argmax(1) == test[:, 0]).mean()
    assert DATA["teacher"]["accuracy"] == pytest.approx(right, abs=1e-3) and right > .8
    assert abs(test[:, 0].mean() - .5) < .03

def test_every_package_has_a_version_and_an_open_licence():
    known = "PSF", "Apache", "BSD", "Python Software Foundation"
    assert len(DATA["packages"]) == 9
    for package in DATA["packages"]: assert package["version"] and any(k in package["licence"] for k in known), package

def test_the_script_writes_a_row_a_line(tmp_path):
    data = dict(about="ü", train=[["a b", 0, .5, -.5]] * 5, test=[["c", 1, 0., 1.]])
    script.write(tmp_path/"x.json", data)
    text = (tmp_path/"x.json").read_text(encoding="utf-8")
    assert json.loads(text) == data and text.count('["a b", 0, 0.5, -0.5]') == 5 and text.count("\n") == 11

def test_the_first_sections_use_no_library_of_ours():
    source = cells()
    bare = source[:next(i for i, s in enumerate(source) if "distill_nb.data" in s)]
    assert len(bare) >= 9 and not [s for s in bare if "import distill_nb" in s or "from distill_nb" in s]
    learns = [n for s in bare for n in ast.parse(s).body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and n.name != "read"]
    assert {n.name for n in learns} == {"Student", "train", "from_labels", "from_answers"}
    assert sum(n.end_lineno - n.lineno + 1 for n in learns) <= 35

@pytest.mark.parametrize("beside", [True, False])
def test_the_page_finds_its_file(beside, tmp_path, monkeypatch):
    "Beside the page no network is asked; in an empty folder the file comes from the repository's address, under its path there."
    asked = []
    def fetched(url, to):
        asked.append(url)
        shutil.copy(ROOT/url.split("/main/")[1], to)
    monkeypatch.setattr(urllib.request, "urlretrieve", fetched)
    monkeypatch.chdir(FILE.parent if beside else tmp_path)
    names = {}
    for source in cells()[:5]: exec(source, names)
    assert names["data"] == DATA and names["x"].shape[0] == 12000
    assert asked == ([] if beside else ["https://raw.githubusercontent.com/distill-nb/distill_nb/main/nbs/tutorials/first_student.json"])
