"""Write the cells that let a page run in Colab into every chapter page and tutorial: `python tools/colab.py`; `make export` calls it.

Below the title stands a badge, which opens the page there. Above the first code stands a hidden cell, the same on each page: it installs
the package in Colab and does nothing elsewhere. A chapter's last cell exports where nbdev is, and Colab has no nbdev. Cells are known by
their ids. Files of ours that a page reads come through `distill_nb.kit.files.page_file`.
"""
import json, re
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INSTALL, BADGE = "colab-install", "colab-badge"  # ids
FOOTER = "#| hide\ntry: import nbdev; nbdev.nbdev_export()\nexcept ModuleNotFoundError: pass # no nbdev in Colab"
PLAIN = {"index.ipynb", "glossary.ipynb"}  # nothing to run there

def settings():
    parser = ConfigParser(delimiters=["="])
    parser.read(ROOT/"settings.ini", encoding="utf-8")
    return parser["DEFAULT"]

def install_source(name=""):
    "The package from the repository, the extra onnx for pages of `deploy`, and the default teacher as make installs it."
    teacher = re.search(r"^TEACHER *:= *(\S+)", (ROOT/"Makefile").read_text(encoding="utf-8"), re.M)[1]
    extra = " ".join(re.findall(r"(\w+)>=", settings()["onnx_requirements"]))
    extra = f"    %pip install -q {extra}\n" if name.startswith("deploy/") else ""
    return ("#| hide\nif \"google.colab\" in str(get_ipython()): # the package, which Colab lacks\n"
            f"    %pip install -q git+{settings()['git_url']}\n{extra}    %pip install -q --no-deps {teacher}")

def badge_source(name):
    "A picture that leads to the page `name` (below nbs/) in Colab."
    s, up = settings(), "../" * name.count("/")
    address = f"https://colab.research.google.com/github/{s['user']}/{s['repo']}/blob/{s['branch']}/nbs/{name}"
    return f"[![Open in Colab]({up}images/colab.svg)]({address})"

def pages(nbs=ROOT/"nbs"):
    "Names of the pages that get the cells."
    names = (p.relative_to(nbs).as_posix() for p in sorted(nbs.rglob("*.ipynb")) if ".ipynb_checkpoints" not in p.parts)
    return [n for n in names if n not in PLAIN and not n.startswith("results/")]

def text(cell): return "".join(cell["source"])

def written(nb, name):
    "The notebook with its cells for Colab, and no second copy of them."
    cells = [c for c in nb["cells"] if c["id"] not in (INSTALL, BADGE)]
    lines = lambda s: s.splitlines(keepends=True)
    install = dict(cell_type="code", execution_count=None, id=INSTALL, metadata={}, outputs=[], source=lines(install_source(name)))
    badge = dict(cell_type="markdown", id=BADGE, metadata={}, source=lines(badge_source(name)))
    title = next(i for i, c in enumerate(cells) if c["cell_type"] == "markdown")
    library = text(cells[0]).startswith("#| default_exp")
    cells[title + 1:title + 1] = [badge] if library else [badge, install]
    if library: cells.insert(1, install)
    for c in cells:
        if c["cell_type"] == "code" and "nbdev.nbdev_export()" in text(c): c["source"] = lines(FOOTER)
    return dict(nb, cells=cells)

def main(nbs=ROOT/"nbs"):
    for name in pages(nbs):
        old = (nbs/name).read_text(encoding="utf-8")
        new = json.dumps(written(json.loads(old), name), indent=1, ensure_ascii=False) + "\n"
        if new != old: (nbs/name).write_text(new, encoding="utf-8")

if __name__ == "__main__": main()
