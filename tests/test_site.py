"""The site, as far as it can be proved without Quarto: names, contrast, pictures, no third parties, and pages that run in Colab."""
import importlib.util, json, os, re, subprocess, sys
from configparser import ConfigParser
from pathlib import Path
import pytest, yaml

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT/"nbs"
CSS = (NBS/"styles.css").read_text(encoding="utf-8")
SITE = yaml.safe_load((ROOT/"_quarto.yml").read_text(encoding="utf-8"))

def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT/f"tools/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

COLAB, LOCAL, README = tool("colab"), tool("local_only"), tool("make_readme")
PAGES = {p.relative_to(NBS).as_posix(): json.loads(p.read_text(encoding="utf-8")) for p in sorted(NBS.rglob("*.ipynb"))
         if ".ipynb_checkpoints" not in p.parts}
def text(cell): return "".join(cell["source"])
def prose(name): return [text(c) for c in PAGES[name]["cells"] if c["cell_type"] == "markdown"]
def title(name): return prose(name)[0].splitlines()[0].removeprefix("# ")

# Names and links

def front_links(): return re.findall(r"\[([^]]+)\]\(([\w/]+\.ipynb)\)", "\n".join(prose("index.ipynb")))

def test_the_front_page_calls_pages_by_their_titles():
    "Links in its three paths; elsewhere a link may be part of a sentence."
    paths = next(t for t in prose("index.ipynb") if t.startswith("| you want to"))
    found = re.findall(r"\[([^]]+)\]\(([\w/]+\.ipynb)\)", paths)
    assert len(found) >= 9 and [(t, p) for t, p in found if title(p) != t] == []

def test_no_two_pages_share_a_title():
    titles = [title(n) for n in PAGES]
    assert sorted({*titles}) == sorted(titles)

def test_navbar_leads_to_pages_of_the_sidebar():
    bar = {i["text"]: i["href"] for i in SITE["website"]["navbar"]["left"]}
    pages = [p for s in SITE["website"]["sidebar"]["contents"] for p in s["contents"]]
    assert list(bar) == ["Use", "Book", "Results"] and set(bar.values()) <= {*pages}
    assert SITE["website"]["sidebar"]["collapse-level"] == 1

def test_links_between_pages_lead_somewhere():
    broken = [(name, target) for name in PAGES for t in prose(name) for target in
              re.findall(r"\]\((?![a-z]+:|#)([^)#\s]+)(?:#[^)]*)?\)", re.sub(r"^```.*?^```|`[^`\n]*`", "", t, flags=re.M | re.S))
              if not (NBS/name).parent.joinpath(target).exists()]
    assert broken == []

def test_no_link_inside_inline_code():
    found = [(name, t[:60]) for name in PAGES for t in prose(name) if re.search(r"`[^`\n]*\]\(http[^`\n]*`", t)]
    assert found == []

# The look

def light(colour):
    "Relative luminance by WCAG."
    digits = colour[1:] if len(colour) == 7 else "".join(c*2 for c in colour[1:])
    rgb = [int(digits[i:i + 2], 16) / 255 for i in (0, 2, 4)]
    return sum(w * (c / 12.92 if c <= .04045 else ((c + .055) / 1.055) ** 2.4) for w, c in zip((.2126, .7152, .0722), rgb))

def contrast(a, b):
    low, high = sorted((light(a), light(b)))
    return (high + .05) / (low + .05)

def pairs(css):
    "(selector, text colour, background) of every rule that sets a text colour."
    for selector, body in re.findall(r"^([^/{}@]+)\{([^}]*)\}", re.sub(r"/\*.*?\*/", "", css, flags=re.S), re.M):
        if colour := re.search(r"(?<![\w-])color: (#\w+)", body):
            behind = re.search(r"background: (#\w+)", body)
            yield selector.strip(), colour[1], behind and behind[1]

def test_contrast_is_computed_right():
    assert contrast("#000", "#fff") == pytest.approx(21) and contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=.01)

def test_text_reaches_contrast_aa():
    rules = list(pairs(CSS))
    assert len(rules) >= 10 and {s.split()[0] for s, *_ in rules} == {".quarto-light", ".quarto-dark"}
    assert [r for r in rules if not r[2] or contrast(*r[1:]) < 4.5] == []

@pytest.mark.parametrize("what", ["main img", 'math[display="block"]', "table", "main pre"])
def test_wide_things_shrink_or_scroll(what):
    rule = next(body for selector, body in re.findall(r"([^{}]+)\{([^}]*)\}", CSS) if what in selector and ("overflow-x" in body or "max-width" in body))
    assert "overflow-x: auto" in rule or "max-width: 100%" in rule

def test_pictures_of_the_site_exist():
    site = SITE["website"]
    for name in (site["favicon"], site["image"], "images/colab.svg", "404.qmd"): assert (NBS/name).is_file(), name

def test_footer_has_licence_and_version():
    parser = ConfigParser(delimiters=["="])
    parser.read(ROOT/"settings.ini", encoding="utf-8")
    assert f"distill_nb {parser['DEFAULT']['version']}," in SITE["website"]["page-footer"]["left"]
    assert "Apache License 2.0" in SITE["website"]["page-footer"]["left"]

def test_readme_has_the_pictures_of_the_front_page():
    made, said = README.pictures(), (ROOT/"README.md").read_text(encoding="utf-8")
    assert len(made) == 4 and all((NBS/"images"/name).read_bytes() == content for name, content in made.items()), "run make export"
    assert all(f"({README.picture_address()}{name})" in said for name in made)

# No third party

def test_mathematics_is_drawn_without_scripts(): assert SITE["format"]["html"]["html-math-method"] == "mathml"

REMOTE = "https://cdn.example.org/"
def test_scripts_and_styles_of_others_are_dropped():
    page = (f'<head><script src="{REMOTE}a.js" integrity="x"></script>\n<link href="{REMOTE}a.css" rel="stylesheet">\n'
            '<script src="site_libs/a.js"></script><link rel="stylesheet" href="styles.css"></head>'
            f"<script type=\"application/javascript\">define('jquery', [], function() {{}})</script>\n<p><a href=\"{REMOTE}\">a link</a></p>")
    assert LOCAL.local(page) == ('<head><script src="site_libs/a.js"></script><link rel="stylesheet" href="styles.css"></head>'
                                 f'<p><a href="{REMOTE}">a link</a></p>')

def test_a_picture_from_others_stops_the_build(tmp_path):
    (tmp_path/"a.html").write_text(f'<img src="{REMOTE}a.png">')
    with pytest.raises(SystemExit, match="a.html asks a third party"): LOCAL.main(tmp_path)

def test_fonts_of_others_are_dropped_from_styles(tmp_path):
    (tmp_path/"a.css").write_text(f'@import url("{REMOTE}font.css");\np {{ color: red }}')
    LOCAL.main(tmp_path)
    assert (tmp_path/"a.css").read_text() == "p { color: red }"

def test_no_page_shows_a_picture_from_others():
    assert [(n, t[:60]) for n in PAGES for t in prose(n) if re.search(r"!\[[^]]*\]\(https?:", t)] == []

# Colab

@pytest.mark.parametrize("name", COLAB.pages())
def test_pages_have_the_cells_for_colab(name):
    assert COLAB.written(PAGES[name], name) == PAGES[name], "run make export"

def test_which_pages_open_in_colab():
    assert {*COLAB.pages()} == {n for n in PAGES if "/" in n and not n.startswith("results/")} | {"pitfalls.ipynb", "commands.ipynb", "errors.ipynb"}

def test_the_cells_are_mended_where_they_are_lost_or_old():
    name = "losses/02_logits.ipynb"
    bare = [c for c in PAGES[name]["cells"] if c["id"] not in (COLAB.INSTALL, COLAB.BADGE)]
    old = [dict(c, source=["import nbdev; nbdev.nbdev_export()"]) if c is bare[-1] else c for c in bare]
    assert COLAB.written(dict(PAGES[name], cells=old), name) == PAGES[name]

def test_no_page_reads_a_file_beside_it():
    "Such a page cannot run in Colab: `page_file` fetches what is not there."
    found = [n for n in COLAB.pages() for c in PAGES[n]["cells"] if c["cell_type"] == "code" and '"../results/' in text(c)]
    assert found == []

SAMPLE = ["losses/index.ipynb", "measure/03_scale.ipynb", "kit/02_files.ipynb", "inside/00_tree.ipynb"]
@pytest.mark.parametrize("name", COLAB.pages() if os.environ.get("ALL_PAGES") else SAMPLE)
def test_page_runs_in_an_empty_folder_without_nbdev(name, tmp_path):
    "ALL_PAGES=1 takes every page."
    env = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    env.pop("IN_TEST", None)
    done = subprocess.run([sys.executable, str(ROOT/"tests/as_colab.py"), name], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
