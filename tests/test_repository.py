"""The repository: generated files are fresh, the site is complete, packages are clean, imports point one way."""
import ast, importlib.util, json, os, re, shutil, subprocess, sys, tarfile, zipfile
from configparser import ConfigParser
from pathlib import Path
import pytest, yaml
import distill_nb
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
LIB = ROOT/"distill_nb"
def modules(folder): return {p.relative_to(folder).as_posix(): p.read_text(encoding="utf-8") for p in folder.rglob("*.py")}
GENERATED = modules(LIB)
# A chapter imports only from chapters before it, and a page only from earlier pages of its chapter.
CHAPTERS = "kit losses data inside students measure teachers training words recipes deploy shell".split()

parser = ConfigParser(delimiters=["="])
parser.read(ROOT/"settings.ini", encoding="utf-8")
SETTINGS = parser["DEFAULT"]

def run(*args, cwd=ROOT, **env):
    "A finished command; its output is shown where it fails."
    env = {k: v for k, v in os.environ.items() if k != "IN_TEST"} | env
    done = subprocess.run(args, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, args))}\n{done.stdout}\n{done.stderr}"
    return done.stdout

def tracked():
    "Files of the repository: committed, or new and not ignored."
    if not (ROOT/".git").exists(): pytest.skip("not a git checkout")
    names = run("git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    return [name for name in names if os.path.lexists(ROOT/name)]

def notebooks():
    return sorted(name[4:] for name in tracked() if name.startswith("nbs/") and name.endswith(".ipynb"))

@pytest.fixture
def checkout(tmp_path):
    "A copy of the repository to build in."
    for name in tracked():
        (tmp_path/name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT/name, tmp_path/name, follow_symlinks=False)
    return tmp_path

# Imports

def unused_imports(text):
    "Names that a module imports and neither uses nor exports; a comment on the line says why it stays."
    tree, lines = ast.parse(text), text.splitlines()
    shown = {c.value for n in ast.walk(tree) if isinstance(n, ast.Assign) and any(getattr(t, "id", "") == "__all__" for t in n.targets)
             for c in ast.walk(n.value) if isinstance(c, ast.Constant)}
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} | shown
    bound = [((a.asname or a.name).partition(".")[0], n.lineno) for n in ast.walk(tree) if isinstance(n, ast.Import|ast.ImportFrom) for a in n.names]
    return [name for name, at in bound if name not in used and "#" not in lines[at - 1]]

def test_no_module_imports_what_it_does_not_use():
    found = {name: unused_imports(text) for name, text in GENERATED.items()}
    assert not any(found.values()), {k: v for k, v in found.items() if v}
    assert unused_imports("import json, os\nprint(os)") == ["json"]
    assert unused_imports("import json # registers itself") == []

# Generated files

def test_modules_equal_notebooks(checkout):
    for name in GENERATED.keys() - {"__init__.py", "__main__.py"}: (checkout/"distill_nb"/name).unlink()
    run(sys.executable, "-c", "import nbdev; nbdev.nbdev_export()", cwd=checkout)
    fresh = modules(checkout/"distill_nb")
    assert fresh.keys() == GENERATED.keys()
    stale = [name for name, text in fresh.items() if text != GENERATED[name]]
    assert not stale, f"run make export: {stale} differ from their notebooks"

def tool(name):
    "The module tools/NAME.py."
    spec = importlib.util.spec_from_file_location(name, ROOT/f"tools/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

def make_readme(): return tool("make_readme")

def test_readme_equals_index():
    text = (ROOT/"README.md").read_text(encoding="utf-8")
    assert text == make_readme().readme(), "run make export"
    assert re.search(r"^# .+\n\n> .+$", text, flags=re.M), "the subtitle is missing"

def test_readme_names_both_commands_first():
    first = re.search(r"```\w*\n(.*?)```", (ROOT/"README.md").read_text(encoding="utf-8"), flags=re.S)[1]
    assert "make demo" in first and "make test" in first

def test_readme_links_lead_somewhere():
    text = (ROOT/"README.md").read_text(encoding="utf-8")
    targets = [link[2].split("#")[0] for link in make_readme().LINK.finditer(text)]
    assert [t for t in targets if not (ROOT/t).exists()] == []

def test_version_in_one_place():
    init = (LIB/"__init__.py").read_text(encoding="utf-8")
    assert f'__version__ = "{SETTINGS["version"]}"' in init
    literal = re.compile(rf"version[\W_]+{re.escape(SETTINGS['version'])}\b", flags=re.I)
    code = [name for name in tracked() if name.endswith((".py", ".yml", ".ipynb", "Makefile"))]
    other = [name for name in code if literal.search((ROOT/name).read_text(encoding="utf-8"))]
    assert other == ["distill_nb/__init__.py"]
    assert f"## {SETTINGS['version']}" in (ROOT/"CHANGELOG.md").read_text(encoding="utf-8")

# The site

def quarto(): return yaml.safe_load((ROOT/"_quarto.yml").read_text(encoding="utf-8"))

def test_quarto_link_is_relative():
    assert os.readlink(ROOT/"nbs/_quarto.yml") == "../_quarto.yml"
    assert not (ROOT/"_quarto.yml").is_symlink()

def test_quarto_says_what_settings_say():
    site = quarto()["website"]
    assert quarto()["project"] == {"type": "website", "output-dir": SETTINGS["doc_path"], "post-render": "../tools/local_only.py"}
    assert (site["title"], site["description"]) == (SETTINGS["title"], SETTINGS["description"])
    assert site["repo-url"] == SETTINGS["git_url"]
    assert site["site-url"] == SETTINGS["doc_host"] + SETTINGS["doc_baseurl"]

def folder_of(section): return str(Path(section["contents"][0]).parent)

def test_sidebar_lists_every_notebook_once():
    sections = quarto()["website"]["sidebar"]["contents"]
    chapters = [c for c in CHAPTERS if (ROOT/"nbs"/c).exists()]
    assert [folder_of(s) for s in sections] == [".", "tutorials", *chapters[1:], "results", "kit"]
    assert all(s["section"][0].isupper() for s in sections)  # words for a reader, not names of packages
    assert sorted(page for s in sections for page in s["contents"]) == notebooks()
    for s in sections: assert {str(Path(p).parent) for p in s["contents"]} == {folder_of(s)}
    for s in sections[2:-2] + sections[-1:]: assert s["contents"] == sorted(s["contents"], key=lambda p: (not p.endswith("index.ipynb"), p))

def test_next_follows_the_sidebar():
    "The last words of a chapter's page lead to the page below it, under that page's title."
    sections = quarto()["website"]["sidebar"]["contents"]
    pages = [page for s in sections if folder_of(s) in CHAPTERS for page in s["contents"]]
    for here, there in zip(pages, pages[1:]):
        prose = [c for c in json.loads((ROOT/"nbs"/here).read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "markdown"]
        title = json.loads((ROOT/"nbs"/there).read_text(encoding="utf-8"))["cells"]
        title = next("".join(c["source"]) for c in title if c["cell_type"] == "markdown").split("\n")[0][2:]
        assert "".join(prose[-1]["source"]) == f"Next: [{title}]({os.path.relpath(there, Path(here).parent)})."

def test_site_files_exist():
    html = quarto()["format"]["html"]
    assert (ROOT/"nbs"/html["css"]).exists() and html["theme"].keys() == {"light", "dark"}

def test_docs_stage_without_quarto(checkout):
    "Every page gets through nbdev's staging, on a PATH where no Quarto can be."
    code = "from nbdev.serve import proc_nbs; proc_nbs(n_workers=0)"
    run(sys.executable, "-c", code, cwd=checkout, PATH=str(checkout/"none"), PYTHONPATH=str(checkout))
    staged = checkout/"_proc"
    assert [n for n in notebooks() if not (staged/n).exists()] == []
    assert (staged/"_quarto.yml").read_text() == (ROOT/"_quarto.yml").read_text() and (staged/"styles.css").exists()
    for name in ("404.qmd", "images/colab.svg", "images/favicon.svg", "images/index-hero.png"): assert (staged/name).exists(), name
    for name in notebooks():
        text = (staged/name).read_text(encoding="utf-8")
        assert "str(get_ipython())" not in text, f"{name} shows the cell that installs"
        assert "output-file: " in text and "nbdev_export()" not in text, f"{name} was copied, not staged"

# What is installed

def requirements(key): return [Requirement(r) for r in SETTINGS[key].split()]

def constraints():
    lines = (ROOT/"constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]

@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_pins_meet_the_requirements(python):
    here = [c for c in constraints() if not c.marker or c.marker.evaluate({"python_version": python})]
    pins = {canonicalize_name(c.name): next(iter(c.specifier)) for c in here}
    assert len(pins) == len(here) and all(p.operator == "==" for p in pins.values())
    for r in requirements("requirements") + requirements("dev_requirements") + requirements("onnx_requirements"):
        pin = pins.get(canonicalize_name(r.name))
        assert pin and r.specifier.contains(pin.version), f"{r}: constraints.txt has {pin}"
    assert pins["torch"].version == "2.13.0"

def test_floors_are_the_lowest_versions_of_the_settings():
    "Every requirement has a floor, and the environment of make test-floors has just that one."
    lines = [Requirement(line) for line in tool("floors").constraints()]
    found = {canonicalize_name(c.name): next(iter(c.specifier)) for c in lines}
    for r in requirements("requirements"):
        floor, pin = [s for s in r.specifier if s.operator == ">="], found[canonicalize_name(r.name)]
        assert len(floor) == 1 and pin.operator == "==", r
        if r.name == "torch": assert pin.version == "2.13.0"
        else: assert pin.version == floor[0].version and r.specifier.contains(pin.version), r
    assert not {canonicalize_name(r.name) for r in requirements("requirements")} & tool("floors").CAPPED

def test_contributing_says_what_was_run():
    "The table of versions has the pins of its Python and the floors, each package once."
    lines = [l.strip("| ").split(" | ") for l in (ROOT/"CONTRIBUTING.md").read_text(encoding="utf-8").splitlines() if l.startswith("| ")]
    head, *rows = lines[next(i for i, l in enumerate(lines) if l[0] == "Python"):]
    said = {row[0].split(":")[0]: dict(zip(head, row[1:])) for row in rows}
    floors = said["floors"] | dict(pair.split() for pair in said["floors"].pop("others").split(", "))
    here = [c for c in constraints() if not c.marker or c.marker.evaluate({"python_version": said["pins"]["Python"]})]
    pins = {canonicalize_name(c.name): Version(next(iter(c.specifier)).version) for c in here}
    for name in said["pins"].keys() - {"Python", "others"}: assert Version(said["pins"][name]) == pins[name], name
    expected = {n: Version(v) for n, v in tool("floors").floors().items()}
    assert {n: Version(v) for n, v in floors.items() if n not in ("Python", "others")} == expected | dict(torch=pins["torch"])
    assert Version(said["the lowest torch"]["torch"]) == Version(f"{expected['torch']}.0")

STANDARD = sys.stdlib_module_names | {"distill_nb"}
DISTRIBUTIONS = {"sklearn": "scikit-learn", "yaml": "pyyaml"}  # where a module's name is not its package's

def imported(file):
    "Top-level names of other packages that a file imports, anywhere in it."
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import): yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level: yield node.module.split(".")[0]

@pytest.mark.parametrize("folder, keys", [("distill_nb", ["requirements", "onnx_requirements"]), ("benchmarks", ["requirements", "dev_requirements", "onnx_requirements"]),
                                          ("tests", ["requirements", "dev_requirements"]),
                                          ("tools", ["requirements", "dev_requirements"])])
def test_what_is_imported_is_required(folder, keys):
    "By name, and not because another package happens to bring it; transformers alone stands for its tokenizers and huggingface_hub."
    named = {canonicalize_name(r.name) for key in keys for r in requirements(key)}
    named |= {"tokenizers", "huggingface_hub"} if "transformers" in named else set()
    files = list((ROOT/folder).rglob("*.py"))
    beside = STANDARD | {f.stem for f in files}
    for file in files:
        missing = {n for n in imported(file) if n not in beside} - {n for n in DISTRIBUTIONS if DISTRIBUTIONS[n] in named} - named
        assert not missing, f"{file.relative_to(ROOT)} imports {sorted(missing)}: name them in settings.ini"

def test_wheel_and_sdist_are_clean(checkout):
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", "dist", cwd=checkout)
    wheel, sdist = next((checkout/"dist").glob("*.whl")), next((checkout/"dist").glob("*.tar.gz"))
    with zipfile.ZipFile(wheel) as z: 
        names, told = z.namelist(), z.read(f"distill_nb-{SETTINGS['version']}.dist-info/METADATA").decode()
        codes = {n: z.read(n).decode() for n in names if n.endswith(".py")}
    def parsed(code, without): # nbdev's lists of names stay outside, but for a face's `__all__`
        return ast.dump(ast.Module([n for n in ast.parse(code).body if not (isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) in without)], []))
    for name, code in codes.items():
        without = {"_all_"} if name.endswith("__init__.py") else {"_all_", "__all__"}
        assert parsed(code, {}) == parsed((ROOT/name).read_text(encoding="utf-8"), without), name
    assert not any("# %% " in code for code in codes.values())
    assert "](nbs/" not in told and f"]({SETTINGS['git_url']}/blob/main/nbs/" in told  # a package index has no repository beside it
    assert re.findall(r"!\[[^]]*\]\((?!https://)", told) == [] and "Provides-Extra: onnx" in told  # nor its pictures
    assert wheel.stat().st_size < 400_000
    if importlib.util.find_spec("twine"): run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist, cwd=checkout)
    info = f"distill_nb-{SETTINGS['version']}.dist-info"
    assert {n.split("/")[0] for n in names} == {"distill_nb", info}
    assert {n.split("/", 1)[1] for n in names if n.startswith("distill_nb/")} == GENERATED.keys() - {"_modidx.py"} | {f"deploy/web/{p.name}" for p in (LIB/"deploy/web").iterdir()}
    assert any(n.endswith("LICENSE") for n in names)
    with tarfile.open(sdist) as t: files = {m.name.split("/", 1)[1] for m in t.getmembers() if m.isfile()}
    assert {"README.md", "LICENSE", "settings.ini", "setup.py"} <= files
    assert not [f for f in files if f.startswith(("nbs/", "tests/", ".venv/")) or f.endswith((".ipynb", ".pyc"))]

def run_light(code):
    "Heavy modules that are loaded after `code`, in a fresh interpreter."
    tail = "\nimport sys; print('loaded:', *({'torch', 'transformers', 'datasets', 'numpy'} & set(sys.modules)))"
    return run(sys.executable, "-c", code + tail).splitlines()[-1]

def test_import_is_cheap(): assert run_light("import distill_nb; dir(distill_nb)") == "loaded:"

def test_the_main_names_are_at_the_top():
    code = "import distill_nb; print(*(getattr(distill_nb, n).__module__ for n in distill_nb.__all__), sep='\\n')"
    homes = run(sys.executable, "-c", code).splitlines()
    assert len(homes) == len(distill_nb.__all__) == len({*distill_nb.__all__}) and all(h.startswith("distill_nb.") for h in homes)
    with pytest.raises(AttributeError, match="nothing_like_this"): distill_nb.nothing_like_this

def test_help_is_cheap():
    code = """import sys
from distill_nb.shell.cli import main
sys.argv = ["distill_nb", "--help"]
try: main()
except SystemExit as e: assert not e.code"""
    assert run_light(code) == "loaded:"

# How it is built

def imports(file):
    "(module, name) of all that a module imports of this package; the name is None for a module."
    package = ["distill_nb", *file.relative_to(LIB).parts[:-1]]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else []
            home = ".".join([*base, *filter(None, [node.module])])
            for a in node.names: yield (f"{home}.{a.name}", None) if is_module(f"{home}.{a.name}") else (home, a.name)
        elif isinstance(node, ast.Import): yield from ((a.name, None) for a in node.names)

def is_module(name):
    path = ROOT/Path(*name.split("."))
    return path.with_suffix(".py").exists() or (path/"__init__.py").exists()

def pages():
    "Module -> its page, as nbdev wrote it into the file: 'losses/02_logits.ipynb'."
    found = {name: re.search(r"File to edit: [./]*nbs/(\S+?)\.?$", text, re.M) for name, text in GENERATED.items()}
    return {name: m[1] for name, m in found.items() if m}

def order(name):
    "The place of a module: its chapter, then its page; a chapter's face comes after its pages."
    return CHAPTERS.index(name.split("/")[0]), name.endswith("__init__.py"), pages().get(name, "")

@pytest.mark.parametrize("name", sorted(n for n in GENERATED if "/" in n))
def test_imports_come_from_earlier_pages(name):
    for home, _ in imports(LIB/name):
        if not home.startswith("distill_nb."): continue
        path = "/".join(home.split(".")[1:])
        other = f"{path}.py" if f"{path}.py" in GENERATED else f"{path}/__init__.py"
        face = other.endswith("__init__.py")
        assert order(other) < order(name) and not (face and other.split("/")[0] == name.split("/")[0]), f"{name} imports {other}"

def test_no_module_bears_a_name_of_its_chapters_face():
    "The module's name would hide the function's, or the other way round."
    for chapter in CHAPTERS:
        face = GENERATED.get(f"{chapter}/__init__.py", "")
        exported = set(re.findall(r"'(\w+)'", (re.search(r"__all__ = \[(.*?)\]", face, re.S) or [None, ""])[1]))
        assert not exported & {Path(n).stem for n in GENERATED if n.startswith(f"{chapter}/")}, chapter

def test_a_number_names_one_page():
    "The pages of a chapter are numbered in reading order, so no two share a number."
    numbers = [name[:name.index("/") + 3] for name in notebooks() if re.match(r"[a-z]+/\d\d_", name)]
    assert len(numbers) > 100 and sorted({n for n in numbers if numbers.count(n) > 1}) == []

def test_every_module_is_in_a_chapter():
    outside = {name for name in GENERATED if "/" not in name}
    assert outside == {"__init__.py", "__main__.py", "_modidx.py"}
    assert {name.split("/")[0] for name in GENERATED.keys() - outside} <= set(CHAPTERS)

# A chapter's face

def face(chapter):
    "The text of the markdown cells of a chapter's face, and its code."
    cells = json.loads((ROOT/f"nbs/{chapter}/index.ipynb").read_text(encoding="utf-8"))["cells"]
    return ["\n".join("".join(c["source"]) for c in cells if c["cell_type"] == kind) for kind in ("markdown", "code")]

@pytest.mark.parametrize("chapter", [c for c in CHAPTERS if (ROOT/"nbs"/c).exists()])
def test_a_face_maps_its_chapter_and_asks(chapter):
    "The map links every page once; a picture; three exercises or more, each with a folded answer, one of them a trap."
    text, code = face(chapter)
    rows = re.findall(r"^\| \[[^]]+\]\((\w+\.ipynb)\) \|.+\|$", text, flags=re.M)
    assert rows == sorted(Path(n).name for n in notebooks() if n.startswith(f"{chapter}/") and not n.endswith("index.ipynb"))
    asked = re.split(r"^## Exercises$", text, flags=re.M)[1]
    questions = re.findall(r"^\d+\. ", asked, flags=re.M)
    answers = re.findall(r"<details><summary>Answer</summary>\n\n\S.+?\n\n</details>", asked, flags=re.S)
    assert 3 <= len(questions) == len(answers) <= 5 and asked.count("*A trap.*") == 1
    assert f"#| default_exp {chapter}.__init__" in code and "#| fig-cap:" in code

@pytest.mark.parametrize("chapter", [c for c in CHAPTERS if (ROOT/"nbs"/c).exists()])
def test_a_face_calls_its_pages_by_their_titles(chapter):
    for title, name in re.findall(r"^\| \[([^]]+)\]\((\w+\.ipynb)\) \|", face(chapter)[0], flags=re.M):
        cells = json.loads((ROOT/"nbs"/chapter/name).read_text(encoding="utf-8"))["cells"]
        first = next("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
        assert first.splitlines()[0] == f"# {title}", name

def test_no_page_patches_a_method_over_another_pages():
    "A second `@patch` of one name takes the first one's place without a word."
    found = [(name, node.name) for name, tree in ((f.name, ast.parse(f.read_text(encoding="utf-8"))) for f in (ROOT/"distill_nb").rglob("*.py"))
             for node in tree.body if isinstance(node, ast.FunctionDef) and node.args.args and node.args.args[0].arg == "self"
             for name in [getattr(node.args.args[0].annotation, "id", "")]]
    assert ("Distiller", "train") in found and {x for x in found if found.count(x) > 1} == set()

def test_tests_mirror_the_chapters():
    "A folder of tests is a chapter's or the tutorials'; no test imports another: what several need is in tests/builders.py."
    folders = {f.name for f in (ROOT/"tests").iterdir() if f.is_dir() and not f.name.startswith(("_", "."))}
    assert folders <= {*CHAPTERS, "tutorials"}
    taken = [f"{f.name}: {line}" for f in (ROOT/"tests").rglob("*.py") for line in f.read_text(encoding="utf-8").splitlines()
             if re.match(r"\s*(from|import) test_", line)]
    assert taken == []

LAYOUT = """nbs/index.ipynb nbs/styles.css nbs/tutorials nbs/results distill_nb tests settings.ini setup.py _quarto.yml
README.md LICENSE CONTRIBUTING.md CHANGELOG.md Makefile constraints.txt MANIFEST.in .gitignore .gitattributes .ci/run
.github/workflows/test.yml .github/workflows/docs.yml tools/run_pages.py tools/make_readme.py tools/floors.py""".split()

def test_layout(): assert [name for name in LAYOUT if not (ROOT/name).exists()] == []

def test_ci_runs_the_test_command():
    script = ROOT/".ci/run"
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in (lines := script.read_text(encoding="utf-8").splitlines())
    assert lines[-2:] == ["make test", "exec make test-floors"]

def test_workflows_are_yaml():
    for file in (ROOT/".github/workflows").glob("*.yml"):
        assert "jobs" in yaml.safe_load(file.read_text(encoding="utf-8")), file.name

@pytest.mark.parametrize("installs", [True, False])
def test_docs_bring_quarto_or_stop_before_nbdev(checkout, installs):
    "nbdev would call sudo to install it: it must be on nbdev's PATH, or nbdev must not be called."
    path, bin = checkout/"path", checkout/".venv/bin"
    path.mkdir(), bin.mkdir(parents=True)
    for program in ("make", "touch"): (path/program).symlink_to(shutil.which(program))
    pip = f"echo \"$@\"; {'printf quarto > .venv/bin/quarto; chmod +x .venv/bin/quarto' if installs else 'exit 1'}"
    for name, text in {"python": pip, "nbdev_docs": "command -v quarto || echo sudo"}.items():
        (bin/name).write_text(f"#!/bin/sh\nPATH=$PATH:/bin:/usr/bin\n{text}\n" if name == "python" else f"#!/bin/sh\n{text}\n")
        (bin/name).chmod(0o755)
    (checkout/".venv/.ready").touch()
    done = subprocess.run(["make", "docs"], cwd=checkout, env={"PATH": str(path)}, capture_output=True, text=True)
    assert "pip install quarto-cli==1.7." in done.stdout and "sudo" not in done.stdout
    assert (done.returncode == 0) == installs == (f"{bin}/quarto" in done.stdout), done.stderr

def test_make_help_lists_the_commands():
    text = run("make", "help")
    for target in "demo test test-floors pages export docs audit licences clean".split(): assert f"make {target} " in text

# Names of the package index and of machines, written so that this file does not contain them.
HOSTS = "|".join(["py" + r"pi\.org", "python" + r"hosted\.org", r"download\.py" + r"torch\.org", "/opt/" + "pypi",
                  "/opt/" + "wheels"])
MACHINE = r"(?<![\w.])/(?:home|root|tmp|work|Users)/"

def test_no_machine_path_and_no_package_host():
    found = []
    for name in tracked():
        if (ROOT/name).is_symlink() or name.endswith((".png", ".jpg", ".gif", ".safetensors", ".onnx")): continue
        for number, line in enumerate((ROOT/name).read_text(encoding="utf-8").splitlines(), 1):
            hit = re.search(f"{HOSTS}|{MACHINE}", line)
            if hit: found.append(f"{name}:{number}: {line[max(0, hit.start() - 30):hit.end() + 30].strip()}")
    assert not found, "\n".join(found)

def test_every_sixth_case_is_one_at_least():
    "What CI runs at the lowest versions: tests without cases, and a sixth of the others, as Makefile has it."
    names = ["tests/kit/test_models.py", "tests/test_kills.py"]
    def collected(*more): return run(sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:xdist", *more, *names, cwd=ROOT).split("\n\n")[0].split()
    whole, some = collected(), collected("--every", "6")
    def tests(found): return {c.partition("[")[0] for c in found}
    assert tests(some) == tests(whole) and {*some} < {*whole} and len(some) <= len(whole) / 2 and "--every 6" in (ROOT/"Makefile").read_text()
