"The list of all refusals is complete and current, and its messages are those that are raised."
import ast, json, re
from pathlib import Path
import pytest
import distill_nb
from distill_nb.kit.errors import InputError
from distill_nb.losses import LayerMap, SoftTargets
from distill_nb.students import pick_layers

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = sorted(f.name for f in (ROOT/"distill_nb").iterdir() if f.is_dir() and f.name[0] != "_")
PAGE = json.loads((ROOT/"nbs/errors.ipynb").read_text(encoding="utf-8"))
CELL = next("".join(c["source"]) for c in PAGE["cells"] if "def refusals(" in "".join(c["source"])) # the page reads the code by itself
exec(compile(CELL, "nbs/errors.ipynb", "exec"), space := dict(ast=ast, Path=Path, distill_nb=distill_nb))
refusals = space["refusals"]
SHOWN = {line for c in PAGE["cells"] for o in c.get("outputs", []) for line in "".join(o.get("data", {}).get("text/markdown", "")).splitlines()}

@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_page_is_current(chapter):
    said = {" ".join(m.replace("`", "'").replace("|", "/").split()) for _, _, m in refusals(chapter)}
    shown = {line.partition(" | `")[2].removesuffix("` |") for line in SHOWN}
    assert said and said <= shown, f"run make pages NB=nbs/errors.ipynb: {sorted(said - shown)[:3]}"

def test_the_page_has_nothing_that_is_gone():
    n = sum(len({r for r in refusals(c)}) for c in CHAPTERS)
    assert len(SHOWN) - 2 <= n and n > 400

def test_every_refusal_of_the_code_is_in_the_list():
    "Counted another way: by the words of the source."
    for chapter in CHAPTERS:
        text = "".join(f.read_text(encoding="utf-8") for f in (ROOT/"distill_nb"/chapter).glob("*.py") if (chapter, f.stem) != ("kit", "errors"))
        calls = [n for n in ast.walk(ast.parse(re.sub(r"(?m)^from __future__.*$", "", text))) if isinstance(n, ast.Call) and getattr(n.func, "id", "") in ("expect", "refuse", "InputError", "CacheError")]
        assert len(calls) == len(refusals(chapter)), chapter

@pytest.mark.parametrize("ask", [lambda: pick_layers(6, 9), lambda: pick_layers(6, 2, "best"), lambda: pick_layers(6, 2, [5, 1]), lambda: LayerMap(0, 1), lambda: SoftTargets(T=-1)])
def test_a_message_that_is_raised_is_in_the_list(ask):
    with pytest.raises(InputError) as e: ask()
    patterns = [re.sub(r"‹[^›]*›", ".*", re.escape(m)) for c in CHAPTERS for _, _, m in refusals(c)]
    assert [p for p in patterns if re.fullmatch(p, str(e.value)) and p.strip(".*")]
