"""Write README.md from nbs/index.ipynb; `make export` calls it.

nbdev's own way needs Quarto and loses the subtitle (the `>` line) of the title cell. Here cells are taken as
they stand: prose, visible code as ```python blocks, the text of their outputs. Links to other pages, relative
to nbs/ in the notebook, become relative to the top of the repository. A figure with a label is stored as
nbs/images/index-NAME.png and linked by its whole address, so that package indexes show it too.
"""
import base64, posixpath, re
from configparser import ConfigParser
from pathlib import Path
from execnb.nbio import read_nb

ROOT = Path(__file__).resolve().parent.parent
HIDING = {"hide", "export", "exporti", "default_exp"}
NOTE = "<!-- Made from nbs/index.ipynb by tools/make_readme.py: edit there. -->\n\n"
LINK = re.compile(r"(\]\()(?![a-z]+:|#|/)([^)\s]+)")

def from_top(markdown):
    "Relative links as they read from the repository's top."
    return LINK.sub(lambda m: m[1] + posixpath.normpath(posixpath.join("nbs", m[2])), markdown)

def options(cell):
    "The `#| key: value` options of a cell, quotes taken off."
    found = re.findall(r'^#\| *([\w-]+): *"?(.*?)"?$', cell.source, re.M)
    return dict(found)

def picture_name(cell): return options(cell)["label"].replace("fig-", "index-") + ".png"

def picture_address():
    "The folder of pictures as everybody can fetch it."
    parser = ConfigParser(delimiters=["="])
    parser.read(ROOT/"settings.ini", encoding="utf-8")
    s = parser["DEFAULT"]
    return f"https://raw.githubusercontent.com/{s['user']}/{s['repo']}/{s['branch']}/nbs/images/"

def pictures(path=ROOT / "nbs/index.ipynb"):
    "File name -> content of every figure of the page at `path`."
    return {picture_name(c): base64.b64decode("".join(o["data"]["image/png"])) for c in read_nb(path).cells
            if c.cell_type == "code" for o in c.get("outputs", []) if "image/png" in o.get("data", {})}

def output_text(output, cell):
    "One output as markdown: markdown as it is, text as a block, a picture by its address."
    data = output.get("data", {})
    if "image/png" in data: return f"![{options(cell)['fig-alt']}]({picture_address()}{picture_name(cell)})"
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
    return block + [text for o in cell.get("outputs", []) if (text := output_text(o, cell))]

def readme(path=ROOT / "nbs/index.ipynb"):
    "The README's text, from the notebook at `path`."
    parts = []
    for cell in read_nb(path).cells:
        if cell.cell_type == "markdown": parts.append(from_top(cell.source.strip()))
        elif cell.cell_type == "code": parts += code_block(cell)
    return NOTE + "\n\n".join(parts) + "\n"

if __name__ == "__main__":
    (ROOT / "README.md").write_text(readme(), encoding="utf-8")
    for name, content in pictures().items(): (ROOT / "nbs/images" / name).write_bytes(content)
