"""The project's style as functions: a rule yields one line per fault, naming notebook, cell and line.

Rules end up in `PAGE_RULES` (one page at a time) and `PROJECT_RULES` (numbers over all pages).
"""
import ast, builtins, json, re, statistics
from functools import cached_property
from pathlib import Path
import yaml

EXPORTS = {"export", "exports", "exporti"}
CHECKS = ("assert ", "test_eq(", "test_close(", "test_ne(", "test_fail(", "test_is(", "test_eq_type(",
          "expect_fail(", "ExceptionExpected(", "assert_close(", "pytest.raises(")
MACHINE = re.compile(r"(?<![\w.])/(?:home|root|tmp|work|Users)/|site-packages")
PROGRESS = re.compile(r"\r|█|\d+%\||\bit/s\]|\bs/it\]")
WIDGET = "application/vnd.jupyter.widget-view+json"
DIRECTIVES = EXPORTS | {"default_exp", "hide", "slow", "gpu", "notest"}  # nbdev's; a line with a colon is Quarto's
CLOSING = {"What we saw", "Exercises"}  # a tutorial ends with these, and they may be short

class Cell:
    "One notebook cell, with its directives apart from its code."
    def __init__(self, page, number, raw):
        self.page, self.number, self.raw = page, number, raw
        self.kind, self.source = raw["cell_type"], "".join(raw["source"])
        lines = self.source.splitlines()
        marked = [line[2:].strip().split(None, 1) for line in lines if line.startswith("#|")]
        self.flags = {m[0].rstrip(":"): m[1] if len(m) > 1 else "" for m in marked if m}
        self.lines = [line for line in lines if not line.startswith("#|")]
        self.outputs = raw.get("outputs", [])

    @property
    def is_code(self): return self.kind == "code"
    @property
    def exported(self): return self.is_code and bool(EXPORTS & self.flags.keys())
    @property
    def hidden(self): return "hide" in self.flags
    @property
    def footer(self): return self.hidden and "nbdev_export()" in self.source
    @property
    def install(self): return self.raw.get("id") == "colab-install"  # tools/colab.py writes it
    @property
    def lesson(self): return self.is_code and not self.exported and "default_exp" not in self.flags

    @cached_property
    def tree(self):
        "The parsed code; shell and magic lines count as `pass`."
        code = "\n".join(re.sub(r"^(\s*)[!%].*", r"\1pass", line) for line in self.lines)
        return ast.parse(code)

    @property
    def imports_only(self):
        body = self.tree.body
        return bool(body) and all(map(is_import, body))

    def says(self, fault, line=""):
        return f"{self.page.name} cell {self.number}: {fault}" + (f" | {line.strip()[:100]}" if line else "")

class Page:
    "One notebook: `kind` is library, front, tutorials or results."
    def __init__(self, name, nb):
        self.name, self.nb = name, nb
        self.cells = [Cell(self, i, raw) for i, raw in enumerate(nb["cells"])]
        folder = name.rpartition("/")[0]
        self.kind = folder if folder in ("tutorials", "results") else "library" if folder else "front"

    @property
    def code(self): return [c for c in self.cells if c.is_code]
    @property
    def prose(self): return [c for c in self.cells if c.kind == "markdown"]

def read_pages(nbs):
    "Every notebook below the folder `nbs`."
    paths = [p for p in sorted(Path(nbs).rglob("*.ipynb")) if ".ipynb_checkpoints" not in p.parts]
    return [Page(p.relative_to(nbs).as_posix(), json.loads(p.read_text(encoding="utf-8"))) for p in paths]

# Small helpers

def is_import(node):
    "An import, or a `try`/`if` around imports."
    if isinstance(node, (ast.Try, ast.If)): return all(map(is_import, node.body))
    return isinstance(node, (ast.Import, ast.ImportFrom))

def outside_fences(text):
    "The lines of markdown that are not in a fenced block."
    return re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.M | re.S).splitlines()

def text_of(output):
    "All that an output says in plain text, an error's traceback too."
    data = output.get("data", {})
    texts = [output.get("text", ""), output.get("traceback", "")]
    texts += [data[k] for k in ("text/plain", "text/markdown", "text/html") if k in data]
    return "\n".join("".join(t) for t in texts)

def functions(cell):
    "Functions and methods that a cell defines, those inside a function not counted apart."
    tops = [n for node in cell.tree.body for n in (node.body if isinstance(node, ast.ClassDef) else [node])]
    return [n for n in tops if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]

def length(cell, node):
    "Lines of a definition that are not blank."
    return sum(bool(line.strip()) for line in cell.lines[node.lineno - 1:node.end_lineno])

def public(cell):
    "Names that a cell puts into `__all__` by a definition; a `@patch` goes to its class instead."
    if not {"export", "exports"} & cell.flags.keys(): return []
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    defs = [n for n in cell.tree.body if isinstance(n, kinds) and not n.name.startswith("_")]
    return [n.name for n in defs if not any("patch" in ast.unparse(d) for d in n.decorator_list)]

def words(text):
    "Words of prose: no headings, displayed equations, code, tables, html or link targets."
    text = re.sub(r"^(```|~~~).*?^\1|\$\$.*?\$\$|<!--.*?-->", "", text, flags=re.M | re.S)
    text = "\n".join(l for l in text.splitlines() if not re.match(r"\s*(#{1,6} |\||:::)", l))
    text = re.sub(r"\]\([^)]*\)|</?\w[^>]*>", "", text)
    return len(re.findall(r"\w[\w'’.-]*", text))

def count_checks(cell): return sum(line.count(check) for line in cell.lines for check in CHECKS)

# Rules for a page

def valid_notebook(page):
    "nbformat 4.5: each cell has a type, an id, a source and metadata; code has outputs."
    if (page.nb.get("nbformat"), page.nb.get("nbformat_minor", 0) >= 5) != (4, True):
        yield f"{page.name}: expected nbformat 4.5 or newer"
    if "metadata" not in page.nb: yield f"{page.name}: no notebook metadata"
    for cell in page.cells:
        if cell.kind not in ("code", "markdown", "raw"): yield cell.says(f"unknown cell type {cell.kind}")
        wanted = {"id", "metadata", "source"} | ({"outputs", "execution_count"} if cell.is_code else set())
        if missing := wanted - cell.raw.keys(): yield cell.says(f"lacks {', '.join(sorted(missing))}")
        if not re.fullmatch(r"[\w-]{1,64}", cell.raw.get("id", "")):
            yield cell.says("expected an id of 1 to 64 letters, digits, - or _")

def unique_ids(page):
    "No cell id twice: ids are part of the generated files."
    seen = set()
    for cell in page.cells:
        if cell.raw.get("id") in seen: yield cell.says(f"its id {cell.raw['id']} is taken")
        seen.add(cell.raw.get("id"))

def title_cell(page):
    "First markdown: `# Noun phrase`, a blank line, `> one sentence`, nothing else."
    first = next(iter(page.prose), None)
    if first is None: yield f"{page.name}: no title cell"
    elif not re.fullmatch(r"# \S[^\n]*\n\n> [A-Z`\"][^\n]*[.!?]", first.source.strip()):
        yield first.says("expected '# Noun phrase', blank line, '> One sentence.' alone", first.source)

def library_order(page):
    "default_exp, imports, title, story, and the hidden export call as the last cell."
    if page.kind != "library": return
    first, last = page.cells[0], page.cells[-1]
    if "default_exp" not in first.flags: yield first.says("expected #| default_exp in the first cell", first.source)
    if not last.footer: yield last.says("expected a last cell '#| hide' with nbdev.nbdev_export()", last.source)
    title = next(iter(page.prose), last)
    for cell in page.cells[1:title.number]:
        if not (cell.imports_only or cell.hidden):
            yield cell.says("only imports and hidden setup may stand above the title", cell.lines[0])

def lonely_headings(page):
    "A heading has a cell of its own."
    for cell in page.prose[1:]:
        lines = [l for l in outside_fences(cell.source) if l.strip()]
        headings = [l for l in lines if re.match(r"#{1,6} ", l)]
        if headings and len(lines) > 1: yield cell.says("a heading shares its cell", headings[0])

def full_sections(page):
    "An H2 has at least three cells, its heading among them; the front page and a tutorial's closing are free."
    if page.kind == "front": return
    heads = [c for c in page.prose if c.source.startswith("## ")]
    ends = [c.number for c in heads[1:]] + [len(page.cells)]
    for head, end in zip(heads, ends):
        size = sum(not c.footer for c in page.cells[head.number:end])
        if size < 3 and head.source[3:].strip() not in CLOSING:
            yield head.says(f"a section of {size} cells", head.source)

def separate_imports(page):
    "Imports live in cells of their own; the export call at the end is the exception."
    for cell in page.code:
        found = [n for n in cell.tree.body if is_import(n)]
        if found and not (cell.imports_only or cell.footer):
            yield cell.says("an import beside other code", cell.lines[found[0].lineno - 1])

def no_prints(page):
    "No print in lesson cells: sentences are markdown, values are last lines."
    for cell in filter(lambda c: c.lesson, page.code):
        for node in ast.walk(cell.tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print":
                yield cell.says("print in a lesson cell", cell.lines[node.lineno - 1])

def line_widths(page):
    "Exported lines up to 88 columns, lesson lines up to 78; directives are free."
    for cell in page.code:
        wall = 88 if cell.exported else 78
        for line in cell.lines:
            if len(line) > wall: yield cell.says(f"{len(line)} columns, at most {wall}", line)

def small_cells(page):
    "An exported cell has at most 35 lines."
    for cell in filter(lambda c: c.exported, page.code):
        size = sum(bool(line.strip()) for line in cell.lines)
        if size > 35: yield cell.says(f"an exported cell of {size} lines", cell.lines[0])

def small_functions(page):
    "No exported function or method over 35 lines."
    for cell in filter(lambda c: c.exported, page.code):
        for node in functions(cell):
            if length(cell, node) > 35: yield cell.says(f"{node.name} has {length(cell, node)} lines, at most 35")

def stored_outputs(page):
    "The page was run: it has outputs, unless it is prose alone."
    if page.code and not any(c.outputs for c in page.code): yield f"{page.name}: no stored outputs; run make pages"

def clean_outputs(page):
    "No stderr, errors, widgets, machine paths, progress bars or dumps."
    for cell in page.code:
        for output in cell.outputs:
            text = text_of(output)
            if output.get("name") == "stderr": yield cell.says("stderr in the outputs", text)
            if output["output_type"] == "error": yield cell.says("an error in the outputs", output["ename"])
            if WIDGET in output.get("data", {}): yield cell.says("a widget view in the outputs")
            for what, pattern in (("machine path", MACHINE), ("progress bar", PROGRESS)):
                if found := pattern.search(text): yield cell.says(f"a {what} in the outputs", text[found.start():])
            if found := re.search(r"\bnp\.(float|int|bool|str)\w*\(", text): yield cell.says("numpy's repr in the outputs; say float(...)", text[found.start():])
            plain = "".join(output.get("text", output.get("data", {}).get("text/plain", "")))
            if (lines := len(plain.splitlines())) > 40: yield cell.says(f"{lines} lines of output, at most 40")

def alt_texts(page):
    "Every picture has a caption that names its question, and says in words what it shows."
    for cell in page.code:
        kinds = [k for o in cell.outputs for k in o.get("data", {}) if k.startswith("image/")]
        missing = [option for option in ("fig-cap", "fig-alt") if option not in cell.flags]
        if kinds and missing and not cell.hidden:
            yield cell.says(f"{kinds[0]} without {' and '.join(f'#| {o}:' for o in missing)}", (cell.lines or [""])[-1])
    for cell in page.prose:
        if found := re.search(r"!\[\s*\]\([^)]*\)", cell.source):
            yield cell.says("an image without alt text", found[0])

def yaml_options(page):
    "The `#|` lines stand at the top of their cell; those with a colon are YAML together, and mean what they say."
    for cell in page.cells:
        lines = cell.source.splitlines()
        marked = [line for line in lines if line.startswith("#|")]
        if not cell.is_code: marked = []
        if marked != lines[:len(marked)]: yield cell.says("a directive below the first line of code", marked[-1])
        options = [line[2:].strip() for line in marked if re.match(r"#\|\s*[\w-]+\s*:", line)]
        for line in marked:
            word = line[2:].strip().split(maxsplit=1)[:1]
            if line[2:].strip() not in options and not set(word) & DIRECTIVES:
                yield cell.says("an unknown directive, and no 'key: value'", line)
        yield from (cell.says(*fault) for fault in yaml_faults(options))

def yaml_faults(options):
    "(what is wrong, the line) of `key: value` lines, as Quarto reads them."
    try: read = yaml.safe_load("\n".join(options)) or {}
    except yaml.YAMLError as e:
        return [("no YAML; put the value into quotes", options[min(e.problem_mark.line, len(options) - 1)])]
    keys = [line.split(":")[0].strip() for line in options]
    faults = [("given twice", key) for key in sorted({k for k in keys if keys.count(k) > 1})]
    for key, line in zip(keys, options):
        raw = line.split(":", 1)[1].strip()
        if read.get(key) is None: faults.append(("an option without a value", line))
        elif key in ("fig-cap", "fig-alt") and not isinstance(read[key], str): faults.append(("expected text", line))
        elif isinstance(read[key], str) and raw[0] not in "\"'" and read[key] != raw:
            faults.append((f"YAML reads {read[key]!r}; put the value into quotes", line))
    return faults

def bound(tree):
    "Names that code binds, at any depth."
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load): yield node.id
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)): yield node.name
        elif isinstance(node, ast.arg): yield node.arg
        elif isinstance(node, ast.ExceptHandler) and node.name: yield node.name
        elif isinstance(node, (ast.Import, ast.ImportFrom)): yield from ((a.asname or a.name).split(".")[0] for a in node.names)

def used(tree, later=False):
    "Names that code reads: when it runs, or with `later` those in the functions that it defines."
    functions = [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.Lambda))]
    inside = {id(n) for f in functions for part in (f.body if isinstance(f.body, list) else [f.body]) for n in ast.walk(part)}
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load) and (id(n) in inside) == later}

def visible_names(page):
    "A page that is copied cell by cell runs: what a visible cell uses comes from it or from a visible cell."
    known, seen = {*dir(builtins), "__file__", "get_ipython"}, [c for c in page.code if not (c.hidden or c.footer)]
    whole = known.union(*(bound(c.tree) for c in seen))
    for cell in seen:
        known |= {*bound(cell.tree)}
        missing = sorted((used(cell.tree) - known) | (used(cell.tree, later=True) - whole))
        if missing: yield cell.says(f"uses {', '.join(missing)}, which no visible cell above makes")

# Rules for the project

def function_sizes(pages):
    "Exported functions: median at most 8 lines, nine in ten at most 22."
    sizes = sorted(length(c, n) for p in pages for c in p.code if c.exported for n in functions(c))
    if not sizes: return
    median, p90 = statistics.median(sizes), sizes[min(len(sizes) - 1, int(.9 * len(sizes)))]
    if median > 8: yield f"{len(sizes)} exported functions have a median of {median} lines, at most 8"
    if p90 > 22: yield f"{len(sizes)} exported functions have {p90} lines at the 90th percentile, at most 22"

def shown_working(pages):
    "At least 75 % of public definitions are used in one of the next two visible lesson cells of their page."
    total, missing = 0, []
    for page in pages:
        examples = [c for c in page.code if c.lesson and not c.hidden and not c.imports_only]
        for cell in page.code:
            after = [c.source for c in examples if c.number > cell.number]
            for name in public(cell):
                total += 1
                if not re.search(rf"\b{name}\b", "\n".join(after[:2])):
                    missing.append(cell.says(f"{name} is not used in the next two cells"))
    if len(missing) > .25 * total:
        yield f"{total - len(missing)} of {total} public definitions shown working, at least 75 %"
        yield from missing

def enough_checks(pages):
    "1.5 checks per public definition, two thirds of them where a reader sees them."
    lessons = [c for p in pages for c in p.code if c.lesson]
    total = sum(map(count_checks, lessons))
    seen = sum(count_checks(c) for c in lessons if not c.hidden)
    names = sum(len(public(c)) for p in pages for c in p.code)
    if total < 1.5 * names: yield f"{total} checks for {names} public definitions, at least 1.5 each"
    if seen < 2 / 3 * total: yield f"{seen} of {total} checks are visible, at least two thirds"

def few_hidden(pages):
    "At most 8 % of the code cells are hidden, the export call at a page's end among them; the cell for Colab is not counted."
    code = [c for p in pages for c in p.code if not c.install]
    hidden = [c for c in code if c.hidden]
    if len(hidden) > .08 * len(code):
        yield f"{len(hidden)} of {len(code)} code cells are hidden, at most 8 %"
        yield from (c.says("hidden", (c.lines or [""])[0]) for c in hidden if not c.footer)

def exercises(page):
    "A chapter's face ends with three to five exercises, one of them a trap; here and elsewhere each has a folded answer, and code is folded."
    heads = [c for c in page.cells if c.kind == "markdown" and re.match(r"#+ Exercises\s*$", c.source)]
    if not heads and page.kind == "library" and page.name.endswith("/index.ipynb"): yield f"{page.name}: no exercises"
    for head in heads if page.kind != "tutorials" else ():
        after = page.cells[head.number + 1:]
        section = [c for c in after if not any(h.number <= c.number for h in after if h.source.startswith("#") and h.kind == "markdown")]
        text = "\n".join(c.source for c in section if c.kind == "markdown")
        folds = re.findall(r"<details><summary>Answers?</summary>\n\n(\S.*?)\n\n</details>", text, re.S)
        asked = re.findall(r"^\d\. ", re.sub(r"<details>.*?</details>", "", text, flags=re.S), re.M)
        answers = sum(len(re.findall(r"^\d\. ", fold, re.M)) or 1 for fold in folds)
        many = page.kind != "library" or page.name.endswith("/index.ipynb")
        if not (3 if many else 1) <= len(asked) <= 5: yield head.says(f"{len(asked)} exercises, expected three to five")
        if (traps := text.count("*A trap.*")) > 1 or traps < many: yield head.says(f"{traps} of them marked '*A trap.*', expected one")
        if answers != len(asked): yield head.says(f"{answers} folded answers to {len(asked)} exercises")
        for cell in section:
            if cell.is_code and not (cell.imports_only or cell.footer or "code-fold" in cell.flags):
                yield cell.says("an answer that is not folded: #| code-fold: true", (cell.lines or [""])[0])

def glossary(page):
    "The glossary's terms are in order, each under an address of its own, with its Chinese name and a page's link."
    if page.name != "glossary.ipynb": return
    entries = [(cell, line) for cell in page.prose for line in cell.source.splitlines() if line.startswith("<span")]
    form = re.compile(r'<span id="([a-z0-9-]+)">\*\*(.+?)\*\*</span> \([^:]*[\u4e00-\u9fff][^:]*\): .+ See \[.+\]\(\S+\.ipynb\)\.')
    found = [(cell, line, form.fullmatch(line)) for cell, line in entries]
    for cell, line, match in found:
        if not match: yield cell.says("expected an id, the term, its Chinese name, a sentence and a link", line)
    terms = [match[2].lower() for *_, match in found if match]
    ids = [match[1] for *_, match in found if match]
    if terms != sorted(terms): yield f"{page.name}: terms out of order"
    if len({*ids}) < len(ids): yield f"{page.name}: an address that two terms share"
    if not entries: yield f"{page.name}: no terms"

def prose_amount(page):
    "A chapter's page has at most 30 words of prose per code cell; tutorials and results have as many as they need."
    total = sum(words(c.source) for c in page.prose)
    if page.kind == "library" and total > 30 * len(page.code):
        yield f"{page.name}: {total} words of prose beside {len(page.code)} code cells, at most 30 a cell"

def glossary_links(pages):
    "A link to a term leads to a term that the glossary has, and the glossary calls pages by their titles."
    ids = {i for p in pages if p.name == "glossary.ipynb" for c in p.prose for i in re.findall(r'<span id="([^"]+)">', c.source)}
    for page in pages:
        for cell in page.prose:
            for term in re.findall(r"\]\([./]*glossary\.ipynb#([^)]*)\)", cell.source):
                if term not in ids: yield cell.says(f"no term {term!r} in the glossary", cell.source)
    titles = {p.name: p.prose[0].source.splitlines()[0][2:] for p in pages if p.prose}
    for cell in (c for p in pages if p.name == "glossary.ipynb" for c in p.prose):
        for title, name in re.findall(r"See \[([^]]+)\]\((\S+?)\)", cell.source):
            if titles.get(name) != title: yield cell.says(f"{title!r} is {titles.get(name)!r}", name)

PAGE_RULES = [valid_notebook, unique_ids, title_cell, library_order, lonely_headings, full_sections,
              separate_imports, no_prints, line_widths, small_cells, small_functions, stored_outputs,
              clean_outputs, alt_texts, yaml_options, visible_names, exercises, glossary, prose_amount]
PROJECT_RULES = [function_sizes, shown_working, enough_checks, few_hidden, glossary_links]
