"""Write README.md from nbs/index.ipynb; `make export` calls it.

nbdev's own way needs Quarto and loses the subtitle (the `>` line) of the title cell. Here cells are taken as
they stand: prose, visible code as ```python blocks, the text of their outputs. Links to other pages, relative
to nbs/ in the notebook, become relative to the top of the repository.
"""
import posixpath, re
from pathlib import Path
from execnb.nbio import read_nb

ROOT = Path(__file__).resolve().parent.parent
HIDING = {"hide", "export", "exporti", "default_exp"}
NOTE = "<!-- Made from nbs/index.ipynb by tools/make_readme.py: edit there. -->\n\n"
LINK = re.compile(r"(\]\()(?![a-z]+:|#|/)([^)\s]+)")

def from_top(markdown):
    "Relative links as they read from the repository's top."
    return LINK.sub(lambda m: m[1] + posixpath.normpath(posixpath.join("nbs", m[2])), markdown)

def output_text(output):
    "One output as markdown: markdown as it is, text as a block; images belong in files."
    data = output.get("data", {})
    if "text/markdown" in data: return from_top("".join(data["text/markdown"]))
    text = "".join(output.get("text", data.get("text/plain", ""))).rstrip()
    return f"```\n{text}\n```" if text else ""

def code_block(cell):
    "The visible lines of a code cell and its outputs, or nothing where it is hidden."
    lines = cell.source.splitlines()
    flags = [line[2:].strip().split() for line in lines if line.startswith("#|")]
    if any(flag and flag[0] in HIDING for flag in flags): return []
    echo = ["echo:", "false"] not in flags
    code = "\n".join(line for line in lines if not line.startswith("#|"))
    block = [f"```python\n{code}\n```"] if echo and code.strip() else []
    return block + [text for text in map(output_text, cell.get("outputs", [])) if text]

def readme(path=ROOT / "nbs/index.ipynb"):
    "The README's text, from the notebook at `path`."
    parts = []
    for cell in read_nb(path).cells:
        if cell.cell_type == "markdown": parts.append(from_top(cell.source.strip()))
        elif cell.cell_type == "code": parts += code_block(cell)
    return NOTE + "\n\n".join(parts) + "\n"

if __name__ == "__main__": (ROOT / "README.md").write_text(readme(), encoding="utf-8")
