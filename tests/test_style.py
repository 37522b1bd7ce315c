"""The notebooks keep to the style, one test per rule; and each rule can fail: pages with one planted fault."""
from pathlib import Path
import pytest
import lint

NBS = Path(__file__).resolve().parent.parent / "nbs"
PAGES = lint.read_pages(NBS)

def report(rule, faults):
    "Fail with the rule and its faults alone, no traceback."
    if faults: pytest.fail("\n".join([rule.__doc__, *faults]), pytrace=False)

@pytest.mark.parametrize("rule", lint.PAGE_RULES, ids=lambda r: r.__name__)
def test_page_rule(rule):
    report(rule, [fault for page in PAGES for fault in rule(page)])

@pytest.mark.parametrize("rule", lint.PROJECT_RULES, ids=lambda r: r.__name__)
def test_project_rule(rule):
    report(rule, list(rule(PAGES)))

# Planted faults. A small page that keeps every rule, then the same page with one thing wrong.

def markdown(source): return dict(cell_type="markdown", metadata={}, source=source)

def code(source, *outputs):
    return dict(cell_type="code", metadata={}, source=source, outputs=list(outputs), execution_count=None)

def shows(text="2", **data):
    return dict(output_type="execute_result", metadata={}, execution_count=None, data={"text/plain": text, **data})

GOOD = [
    code("#| default_exp half"),
    markdown("# Halves\n\n> What is left when a number is cut in two."),
    markdown("The reader will hold one function of one line, and see that it does what its name promises to do."),
    markdown("## One function"),
    code("#| export\ndef half(x):\n    \"Half of `x`.\"\n    return x/2"),
    markdown("The value below is easy to check by eye, so it is also kept as a test that runs."),
    code("from fastcore.test import test_eq"),
    code("test_eq(half(4), 2)\nassert half(1) == .5\nhalf(4)", shows()),
    code("#| hide\nimport nbdev; nbdev.nbdev_export()"),
]

def page(cells, name="losses/00_half.ipynb"):
    cells = [dict(cell, id=cell.get("id", f"cell{i}")) for i, cell in enumerate(cells)]
    return lint.Page(name, dict(cells=cells, metadata={}, nbformat=4, nbformat_minor=5))

def with_cell(cell, at=7): return GOOD[:at] + [cell] + GOOD[at:]
def instead(cell, at): return GOOD[:at] + [cell] + GOOD[at + 1:]
def folded(question, answer="It is two."): return f"{question}\n\n<details><summary>Answer</summary>\n\n{answer}\n\n</details>\n"
ASKED = [markdown("## Exercises"), markdown(folded("1. What is half of 4?") + folded("2. And of 3?")),
         code("#| code-fold: true\nassert half(3) == 1.5", shows()), markdown(folded("3. *A trap.* And of nothing?")), markdown("Next: [a page](a.ipynb).")]
def asking(old="", new=""):
    "A good page with exercises, one text of theirs replaced."
    cells = [dict(c, source=c["source"].replace(old, new) if old else c["source"]) for c in ASKED]
    return GOOD[:-1] + cells + GOOD[-1:]
WORD = '<span id="{0}">**{0}**</span> ({1}): A word. See [Halves](losses/00_half.ipynb).'
def words(*lines): return [markdown("# Glossary\n\n> Words."), markdown("\n\n".join(lines))]
def long_function(lines): return code("#| export\ndef f():\n" + "\n".join(f"    x = {i}" for i in range(lines - 1)))

@pytest.mark.parametrize("rule", lint.PAGE_RULES, ids=lambda r: r.__name__)
def test_good_page_passes(rule): assert list(rule(page(GOOD))) == []

@pytest.mark.parametrize("rule", lint.PROJECT_RULES, ids=lambda r: r.__name__)
def test_good_project_passes(rule): assert list(rule([page(GOOD[:-1])])) == []  # one page has too few cells to hide

OUTPUT = dict(output_type="stream", name="stdout", text="")
HOME = "/".join(["", "home", "me", "data.csv"])
PAGE_FAULTS = {
    "cell without metadata": (lint.valid_notebook, instead(dict(cell_type="markdown", source="Text."), 2)),
    "unknown cell type": (lint.valid_notebook, with_cell(dict(markdown(""), cell_type="prose"))),
    "same id twice": (lint.unique_ids, with_cell(dict(markdown("Again."), id="cell2"))),
    "title without subtitle": (lint.title_cell, instead(markdown("# Halves"), 1)),
    "title with a paragraph": (lint.title_cell, instead(markdown("# Halves\n\n> One half.\n\nMore."), 1)),
    "no default_exp": (lint.library_order, GOOD[1:]),
    "no footer": (lint.library_order, GOOD[:-1]),
    "code above the title": (lint.library_order, with_cell(code("x = 1"), at=1)),
    "heading with text": (lint.lonely_headings, with_cell(markdown("## Next\n\nMore text."))),
    "short section": (lint.full_sections, with_cell(markdown("## Next"))),
    "import beside code": (lint.separate_imports, with_cell(code("import os\nos.sep"))),
    "print": (lint.no_prints, with_cell(code("for i in range(2): print(i)"))),
    "wide lesson line": (lint.line_widths, with_cell(code("x = " + "1" * 75))),
    "wide exported line": (lint.line_widths, with_cell(code("#| export\nx = " + "1" * 85))),
    "long exported cell": (lint.small_cells, with_cell(code("#| exports\n" + "x = 1\n" * 36))),
    "long function": (lint.small_functions, with_cell(long_function(36))),
    "never run": (lint.stored_outputs, instead(code("half(4)"), 7)),
    "stderr": (lint.clean_outputs, with_cell(code("", dict(OUTPUT, name="stderr", text="careful")))),
    "error": (lint.clean_outputs, with_cell(code("", dict(output_type="error", ename="ValueError", traceback=[])))),
    "widget": (lint.clean_outputs, with_cell(code("", shows(**{lint.WIDGET: {}})))),
    "machine path": (lint.clean_outputs, with_cell(code("", shows(HOME)))),
    "numpy's repr": (lint.clean_outputs, with_cell(code("", dict(OUTPUT, text="(np.float64(1.9), 2)")))),
    "progress bar": (lint.clean_outputs, with_cell(code("", dict(OUTPUT, text=" 50%|##  | 1/2 [00:01<00:01]")))),
    "dump": (lint.clean_outputs, with_cell(code("", dict(OUTPUT, text="x\n" * 41)))),
    "plot without words": (lint.alt_texts, with_cell(code("plot()", shows(**{"image/png": "iVBO"})))),
    "plot without a caption": (lint.alt_texts, with_cell(code("#| fig-alt: A bar.\nplot()", shows(**{"image/png": "iVBO"})))),
    "plot described by its caption alone": (lint.alt_texts, with_cell(code("#| fig-cap: A bar.\nplot()", shows(**{"image/png": "iVBO"})))),
    "a name from a hidden cell": (lint.visible_names, with_cell(code("#| hide\nsecret = 1"))[:8] + [code("secret + 1")]),
    "a name from nowhere": (lint.visible_names, with_cell(code("nowhere(half(2))"))),
    "a name from below": (lint.visible_names, with_cell(code("half(2)"), at=3)),
    "image without words": (lint.alt_texts, with_cell(markdown("![](tree.png)"))),
    "caption with a colon": (lint.yaml_options, with_cell(code("#| fig-cap: Two axes: one is logarithmic\nplot()"))),
    "caption that begins like a list": (lint.yaml_options, with_cell(code("#| fig-alt: [1, 2\nplot()"))),
    "caption with a comment": (lint.yaml_options, with_cell(code("#| fig-cap: Answer #1 of two\nplot()"))),
    "caption that is a number": (lint.yaml_options, with_cell(code("#| fig-cap: 1.5\nplot()"))),
    "caption without words": (lint.yaml_options, with_cell(code("#| fig-cap:\nplot()"))),
    "two captions": (lint.yaml_options, with_cell(code("#| fig-cap: One.\n#| fig-cap: Two.\nplot()"))),
    "misspelt directive": (lint.yaml_options, with_cell(code("#| exprt\nx = 1"))),
    "directive below code": (lint.yaml_options, with_cell(code("plot()\n#| fig-cap: Too late."))),
    "face without exercises": (lint.exercises, (GOOD, "losses/index.ipynb")),
    "no answer": (lint.exercises, asking(folded("2. And of 3?"), "2. And of 3?\n")),
    "an empty answer": (lint.exercises, asking("It is two.", "")),
    "no trap": (lint.exercises, (asking("*A trap.* "), "losses/index.ipynb")),
    "two traps": (lint.exercises, asking("And of 3?", "*A trap.* And of 3?")),
    "two exercises": (lint.exercises, (asking(folded("2. And of 3?"), ""), "losses/index.ipynb")),
    "an answer to be seen": (lint.exercises, asking("#| code-fold: true\n")),
    "terms out of order": (lint.glossary, (words(WORD.format("b", "层"), WORD.format("a", "层")), "glossary.ipynb")),
    "one address twice": (lint.glossary, (words(WORD.format("a", "层"), WORD.format("a", "层")), "glossary.ipynb")),
    "no Chinese name": (lint.glossary, (words(WORD.format("a", "b")), "glossary.ipynb")),
    "no page": (lint.glossary, (words(WORD.format("a", "层").replace(" See", "")[:-40]), "glossary.ipynb")),
    "no terms": (lint.glossary, (words("Nothing."), "glossary.ipynb")),
    "all words": (lint.prose_amount, with_cell(markdown("word " * 200))),
}

@pytest.mark.parametrize("name", PAGE_FAULTS)
def test_planted_fault_is_found(name):
    rule, cells = PAGE_FAULTS[name]
    cells, place = cells if isinstance(cells, tuple) else (cells, "losses/00_half.ipynb")
    faults = list(rule(page(cells, place)))
    assert faults and all(place in fault for fault in faults)

PROJECT_FAULTS = {
    "median": (lint.function_sizes, [long_function(9)] * 2),
    "ninetieth percentile": (lint.function_sizes, [long_function(2)] * 8 + [long_function(23)] * 2),
    "never shown": (lint.shown_working, instead(code("1 + 1", shows()), 7)),
    "shown too late": (lint.shown_working, with_cell(code("1 + 1"), 5)[:6] + [code("2 + 2"), code("half(4)")]),
    "shown in secret": (lint.shown_working, instead(code("#| hide\nhalf(4)"), 7)),
    "too few checks": (lint.enough_checks, instead(code("half(4)"), 7)),
    "checks in secret": (lint.enough_checks, instead(code("#| hide\nassert half(4) == 2\nassert half(2) == 1"), 7)),
    "a term that is not there": (lint.glossary_links, with_cell(markdown("A [logit](../glossary.ipynb#logit)."))),
    "hidden cells": (lint.few_hidden, GOOD[:-1] + [code("#| hide\nx = 1")]),
}

@pytest.mark.parametrize("name", PROJECT_FAULTS)
def test_planted_project_fault_is_found(name):
    rule, cells = PROJECT_FAULTS[name]
    assert list(rule([page(cells)]))

def test_good_exercises_and_terms_pass():
    assert list(lint.exercises(page(asking()))) == list(lint.exercises(page(asking(), "losses/index.ipynb"))) == []
    assert list(lint.glossary(page(words(WORD.format("a", "层"), WORD.format("b", "层")), "glossary.ipynb"))) == []

def test_the_glossary_calls_pages_by_their_titles():
    half, terms = page(GOOD), page(words(WORD.format("a", "层")), "glossary.ipynb")
    assert list(lint.glossary_links([half, terms])) == []
    assert list(lint.glossary_links([page(instead(markdown("# Thirds\n\n> Three."), 1)), terms])) and list(lint.glossary_links([terms]))

def test_options_that_are_yaml_pass():
    cell = code("#| echo: false\n#| fig-cap: \"Two axes: one of them logarithmic\"\n#| fig-alt: A line, twice.\nplot()")
    assert list(lint.yaml_options(page(with_cell(cell)))) == []

@pytest.mark.parametrize("name", ["index.ipynb", "tutorials/a.ipynb", "results/a.ipynb"])
def test_other_pages_have_as_many_words_as_they_need(name):
    assert list(lint.prose_amount(page(with_cell(markdown("word " * 200)), name))) == []

def test_words_are_counted_as_a_reader_would():
    text = "# Not this\n\nTwo words.\n\n$$x = y$$\n\n```python\nnot this\n```\n\n| no | table |\n\n[one](far/away/page.html)"
    assert lint.words(text) == 3
