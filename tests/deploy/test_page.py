"The page: its files and what it refuses; its tokenizer beside Python's (with node); the page itself in Chromium, where it and the runtime are."
import json, os, random, re, shutil, subprocess, warnings
from functools import cache
from itertools import product
from pathlib import Path
import pytest, torch, transformers as T
from tokenizers import AddedToken, Regex, Tokenizer, models as M, normalizers as N, pre_tokenizers as P, processors as R, trainers as TR
from browser import CHROMIUM, EXPORTS, Browser
from builders import bert, frame, make_tokenizer
from families import build
from distill_nb.data.load import load_task
from distill_nb.data.tags import words_of
from distill_nb.deploy import page as pages
from distill_nb.deploy.export import write_graph
from distill_nb.deploy.page import KNOWN, PINNED, WEB, check_parts, label_cuts, recorded, runtime_cache, runtime_files, static_page
from distill_nb.kit.errors import InputError
from distill_nb.kit.figures import palette
from distill_nb.losses.vectors import pooled
from distill_nb.teachers.load import load_tokenizer
from distill_nb.training.saving import save_student

NODE = shutil.which("node")
RUNTIME = os.environ.get("ONNXRUNTIME_WEB") or runtime_cache()
browses = pytest.mark.skipif(not (CHROMIUM and EXPORTS and all((Path(RUNTIME)/n).is_file() or (Path(RUNTIME)/"dist"/n).is_file() for n in PINNED)),
                             reason="no chromium, no extra onnx, or no onnxruntime-web (ONNXRUNTIME_WEB=folder)")
nodes = pytest.mark.skipif(not NODE, reason="no node")
NAMES = dict(id2label={0: "bad", 1: "good"}, label2id=dict(bad=0, good=1))
EVIL = "</script><img src=x onerror=alert(1)> & \"quotes\" 'and' ${x} \u2028 <b>"

@pytest.fixture(scope="module")
def fake(tmp_path_factory):
    "A folder with files called like the runtime's."
    home = tmp_path_factory.mktemp("runtime")
    for name in PINNED: (home/name).write_bytes(b"// ONNX Runtime Web v9.9.9")
    return home

# The tokenizer

SP, RS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
@cache
def texts(n): return load_task("bshift")["train"]["text"][:n]

def trained(model, trainer, normalizer=None, pre=None, post=None, ends=("<s>", "</s>"), **how):
    t = Tokenizer(model)
    if normalizer: t.normalizer = normalizer
    if pre: t.pre_tokenizer = pre
    special = SP if ends[0] == "[CLS]" else RS
    t.train_from_iterator(texts(300), trainer(vocab_size=600, special_tokens=special + how.pop("more", []), show_progress=False, **how))
    a, b = ends
    t.post_processor = post or R.TemplateProcessing(single=f"{a} $A {b}", pair=f"{a} $A {b} $B:1 {b}:1",
                                                    special_tokens=[(a, t.token_to_id(a)), (b, t.token_to_id(b))])
    return t

BERT = ("[CLS]", "[SEP]")
def roberta():
    t = trained(M.BPE(), TR.BpeTrainer, None, P.ByteLevel(add_prefix_space=False), R.RobertaProcessing(("</s>", 2), ("<s>", 0)), initial_alphabet=P.ByteLevel.alphabet())
    t.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    return t

# name -> tokenizer; each stands for families
TOKENIZERS = dict(
    bert=lambda: load_tokenizer().backend_tokenizer,
    cased=lambda: trained(M.WordPiece(unk_token="[UNK]"), TR.WordPieceTrainer, N.BertNormalizer(lowercase=False), P.BertPreTokenizer(),
                          R.BertProcessing(("[SEP]", 3), ("[CLS]", 2)), BERT),
    roberta=roberta,
    prefix=lambda: trained(M.BPE(), TR.BpeTrainer, N.NFC(), P.ByteLevel(add_prefix_space=True), R.Sequence([R.ByteLevel(), R.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)])]), initial_alphabet=P.ByteLevel.alphabet()),
    splits=lambda: trained(M.BPE(), TR.BpeTrainer, N.NFC(), P.Sequence([P.Split(Regex(
        r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"), "isolated"),
        P.ByteLevel(add_prefix_space=False, use_regex=False)]), initial_alphabet=P.ByteLevel.alphabet()),
    fallback=lambda: trained(M.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True), TR.BpeTrainer, N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")]),
                             more=[f"<0x{i:02X}>" for i in range(256)]),
    clip=lambda: trained(M.BPE(unk_token="<unk>", end_of_word_suffix="</w>"), TR.BpeTrainer, N.Sequence([N.NFC(), N.Lowercase()]),
                         P.Split(Regex(r"'s|'t|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), "removed", invert=True), end_of_word_suffix="</w>"),
    unigram=lambda: trained(M.Unigram(), TR.UnigramTrainer, N.Sequence([N.NFKC(), N.Replace(Regex(" {2,}"), " ")]), P.Metaspace(), unk_token="<unk>"),
    albert=lambda: trained(M.Unigram(), TR.UnigramTrainer, N.Sequence([N.NFKD(), N.StripAccents(), N.Lowercase()]),
                           P.Sequence([P.WhitespaceSplit(), P.Metaspace()]), unk_token="<unk>"),
    words=lambda: trained(M.WordLevel(unk_token="[UNK]"), TR.WordLevelTrainer, N.Strip(), P.Sequence([P.Whitespace(), P.Digits(True)]), ends=BERT))

@cache
def tokenizer(name): return Tokenizer.from_str(TOKENIZERS[name]().to_str())

ODD = """é ü ñ İ ß ς Σ 中 文 日本語 한국어 русский العربية हिन्दी 👩‍👩‍👧 🎉 ﬁ Å ① ½ … — “ ’ 's n't can't 1,234.5 [MASK] [CLS] <s> <unk> <mask> </s> ǅ ＜ｆｕｌｌ＞ @user #tag
http://a.b/c?d=e _ __init__ e\u0301""".split() + ["\u200b", "\u00a0", "\t", "\n", "  ", "\ufeff", "\u0000", "\u3000", "x" * 120]
@cache
def strange(n, seed=0):
    rng, words = random.Random(seed), [t.split() for t in texts(400)]
    return ["".join(rng.choice([" ", ""]) + rng.choice(ODD + rng.choice(words)) for _ in range(rng.randint(0, 14))) for _ in range(n)]

IN_NODE = """const {makeTokenizer} = require(process.argv[1]);
let given = "";
process.stdin.on("data", d => given += d).on("end", () => {
  const {spec, rows, most} = JSON.parse(given), t = makeTokenizer(spec, most ?? Infinity);
  process.stdout.write(JSON.stringify(rows.map(r => r.words ? t.encodeWords(r.words) : t.encode(r.text, r.pair ?? null))));
});"""
def in_node(spec, rows, most=None):
    done = subprocess.run([NODE, "-e", IN_NODE, str(WEB/"tokenizer.js")], input=json.dumps(dict(spec=spec, rows=rows, most=most)), capture_output=True, text=True)
    if done.returncode: raise RuntimeError(done.stderr)
    return json.loads(done.stdout)

@nodes
@pytest.mark.parametrize("most", [None, 12])
@pytest.mark.parametrize("name", TOKENIZERS)
def test_tokenizer_says_what_python_says(name, most):
    "900 rows: single texts, pairs and lists of words; ids, types, and the word of each token."
    t = tokenizer(name)
    t.no_padding(), t.no_truncation()
    rows = [dict(text=x) for x in texts(250) + strange(400)] + [dict(text=a, pair=b) for a, b in zip(strange(150, 1), strange(150, 2))]
    rows += [dict(words=w) for x in strange(100, 3) if (w := x.split())]
    if most: t.enable_truncation(most)
    for row, got in zip(rows, in_node(json.loads(t.to_str()), rows, most)):
        e = t.encode(row["words"], is_pretokenized=True) if "words" in row else t.encode(row["text"], row.get("pair"))
        assert (got["ids"], got["types"]) == (e.ids, e.type_ids), row
        if "words" in row: assert got["words"] == [-1 if w is None else w for w in e.word_ids], row

@nodes
def test_precompiled_characters():
    "A double array with two keys, made by hand: 'a' -> 'x', and U+00C9 (two bytes) -> 'yy'."
    import struct
    from base64 import b64encode
    # unit 0 leads to block 256; a leaf's value is the place of its text
    units = [0] * 1280
    def node(label, to, at, leaf=False): units[at] = label | ((to ^ at) << 10) | (256 if leaf else 0)
    units[0] = 256 << 10
    node(ord("a"), 512, 256 ^ ord("a"), True); units[512] = 0 | 1 << 31
    node(0xC3, 768, 256 ^ 0xC3)
    node(0x89, 1024, 768 ^ 0x89, True); units[1024] = 2 | 1 << 31
    data = struct.pack("<I", 4 * len(units)) + struct.pack(f"<{len(units)}I", *units) + b"x\0yy\0"
    spec = json.loads(tokenizer("unigram").to_str())
    spec["truncation"] = None
    spec["normalizer"] = dict(type="Precompiled", precompiled_charsmap=b64encode(data).decode())
    t = Tokenizer.from_str(json.dumps(spec))
    assert t.normalizer.normalize_str("abÉ") == "xbyy"
    rows = [dict(text=x) for x in ["abÉ", "a\u0301É a", *texts(50), *strange(100)]]
    assert [r["ids"] for r in in_node(spec, rows)] == [t.encode(r["text"]).ids for r in rows]

@nodes
def test_python_and_javascript_know_the_same_parts():
    source = (WEB/"tokenizer.js").read_text()
    for part, table in dict(normalizer="NORMALIZERS", pre_tokenizer="PRE_TOKENIZERS", model="MODELS", post_processor="POST_PROCESSORS").items():
        code = source.replace("return function makeTokenizer", f"return Object.keys({table});\nreturn function makeTokenizer") + ";console.log(makeTokenizer.join(' '))"
        found = subprocess.run([NODE, "-e", code], capture_output=True, text=True).stdout.split()
        assert {*found} == {*KNOWN[part]}, part

@nodes
def test_words_are_those_of_python():
    code = (WEB/"engine.js").read_text() + ";let s='';process.stdin.on('data',d=>s+=d).on('end',()=>process.stdout.write(JSON.stringify(JSON.parse(s).map(wordsOf))))"
    rows = texts(200) + strange(300)
    found = json.loads(subprocess.run([NODE, "-e", code], input=json.dumps(rows), capture_output=True, text=True).stdout)
    assert found == [[w for w, *_ in words_of(t)] for t in rows]

@nodes
@pytest.mark.parametrize("pool", ["mean", "cls", "max"])
def test_vectors_are_pooled_as_python_does(pool):
    h = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    code = (WEB/"engine.js").read_text() + f";const h = {h.tolist()};console.log(cosine(...h.map(rows => pooled(rows, '{pool}'))))"
    u, v = pooled(h, torch.ones(2, 5), pool)
    got = float(subprocess.run([NODE, "-e", code], capture_output=True, text=True).stdout)
    assert got == pytest.approx(float(torch.cosine_similarity(u, v, dim=0)), abs=1e-6)

def test_foreign_parts_are_refused_by_name():
    t = Tokenizer.from_str(tokenizer("words").to_str())
    t.pre_tokenizer = P.Sequence([P.Whitespace(), P.UnicodeScripts()])
    with pytest.raises(InputError, match="pre_tokenizer is UnicodeScripts"): check_parts(json.loads(t.to_str()))
    t.pre_tokenizer = P.Split(Regex("(?i:a)b++"), "isolated")
    with pytest.raises(InputError, match="the pattern"): check_parts(json.loads(t.to_str()))
    for name in TOKENIZERS: check_parts(json.loads(tokenizer(name).to_str()))

# The files

@torch.no_grad()
def awaken(model):
    "Larger weights, so that answers depend on the words."
    for p in model.parameters(): p *= 12 if p.dim() > 1 else 1

@pytest.fixture(scope="module")
def student(tmp_path_factory):
    home = tmp_path_factory.mktemp("student")/"tiny"
    home.mkdir()
    model = bert(1, **NAMES)
    awaken(model)
    pytest.importorskip("onnx"), pytest.importorskip("onnxscript")
    write_graph(model, make_tokenizer(), home)
    return home

def test_files_name_no_host_and_escape_everything(student, fake, tmp_path):
    out = static_page(student, tmp_path/"site", ["good", EVIL], [[0., 1.], None], EVIL, EVIL, runtime=fake)
    assert out == tmp_path/"site"/"index.html"
    files = {p.name: p.read_text() for p in (tmp_path/"site").iterdir()}
    assert files.keys() == {p.name for p in WEB.iterdir()} | {"answers.js", "student.js", "runtime.js", ".distill_nb.json"}
    for name, text in files.items():
        assert not re.search(r"(https?:|wss?:|\"|'|\()//\w", re.sub(r"https?://a\.b", "", text)), name
        assert "<img" not in text and "alert(1)>" not in text.replace("\\u003cimg src=x onerror=alert(1)>", ""), name
    assert "innerHTML" not in files["page.js"] + files["engine.js"] + files["tokenizer.js"] and "eval(" not in files["page.js"]
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', files["index.html"])[1]
    assert "default-src 'none'" in policy and "connect-src 'none'" in policy and "unsafe-inline" not in policy

def contrast(a, b):
    def light(c):
        parts = [int(c[i:i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = [x / 12.92 if x <= .03928 else ((x + .055) / 1.055) ** 2.4 for x in parts]
        return .2126 * r + .7152 * g + .0722 * b
    x, y = sorted((light(a), light(b)))
    return (y + .05) / (x + .05)

def test_colours_are_the_house_s_and_reach_aa():
    css = (WEB/"style.css").read_text()
    light, dark = [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", css, re.S)]
    assert light.keys() == dark.keys()
    for role in "teacher", "student", "good", "accent", "ink": assert light[role].upper() == palette[role].upper()
    for theme in light, dark:
        for ground in "paper", "sheet":
            for text in "ink", "muted", "good", "accent", "link", "bad": assert contrast(theme[text], theme[ground]) >= 4.5, (text, ground)
            for edge in "line", "student", "teacher": assert contrast(theme[edge], theme[ground]) >= 3, (edge, ground)
    for fill in re.findall(r"background: (#\w{6})", css): assert contrast(light["ink"], fill) >= 4.5

# The runtime

def test_npm_brings_the_runtime_once(tmp_path, monkeypatch, fake):
    "A program called npm that packs our fake files."
    bin = tmp_path/"bin"
    bin.mkdir()
    (bin/"npm").write_text(f"#!/bin/sh\necho $2 >> {tmp_path}/asked\nmkdir -p package/dist && cp {fake}/* package/dist && tar czf x.tgz package\n")
    (bin/"npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin}:{os.environ['PATH']}"), monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path/"cache"))
    with warnings.catch_warnings(record=True) as told, pytest.raises(InputError, match="is not as published: expected sha256"):
        warnings.simplefilter("always")
        runtime_files()
    assert "npm fetches onnxruntime-web" in str(told[0].message)
    monkeypatch.setattr(pages, "PINNED", {n: pages.file_digest(fake/n) for n in PINNED})
    for _ in range(2): assert runtime_files() == {n: (fake/n).read_bytes() for n in PINNED}
    assert (tmp_path/"asked").read_text().split() == [f"{pages.RUNTIME}@{pages.VERSION}"]

def test_without_npm_one_sentence_says_what_to_do(tmp_path, monkeypatch, student):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path/"cache")), monkeypatch.setattr(pages.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match=r"no onnxruntime-web and no npm: expected the runtime's files. Run npm pack onnxruntime-web@.*\(--runtime\)"):
        static_page(student, tmp_path/"site")
    assert not (tmp_path/"site").exists() and not (tmp_path/"cache").exists()

@pytest.mark.parametrize("why, regex", [("exit 1", "npm could not fetch"), ("echo 'no network' >&2; exit 1", "no network")])
def test_npm_without_a_network(why, regex, tmp_path, monkeypatch):
    (tmp_path/"npm").write_text(f"#!/bin/sh\n{why}\n"), (tmp_path/"npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}"), monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path/"cache"))
    with warnings.catch_warnings(), pytest.raises(InputError, match=regex):
        warnings.simplefilter("ignore")
        runtime_files()

# In a browser

@browses
def test_a_typed_sentence_has_python_s_probabilities(student, tmp_path):
    import onnxruntime
    out = static_page(student, tmp_path/"site", ["good film", EVIL], [[0., 3.], [1., 0.]], "teacher <b>", EVIL, runtime=RUNTIME)
    words, session = Tokenizer.from_file(str(student/"tokenizer.json")), onnxruntime.InferenceSession(str(student/"model.onnx"))
    def python(text, heat=1.):
        e = words.encode(text)
        given = dict(input_ids=e.ids, attention_mask=[1] * len(e.ids), token_type_ids=e.type_ids)
        z = session.run(None, {i.name: [given[i.name]] for i in session.get_inputs()})[0][0]
        return torch.tensor(z / heat).softmax(0).tolist()
    with Browser() as b:
        b.open(f"file://{out}")
        b.wait("document.body.dataset.ready === 'all'")
        assert b.run("document.querySelector('h1').textContent") == EVIL
        assert b.run("document.querySelectorAll('img').length") == 0 and "agrees on" in b.run("at('examples-note').textContent")
        assert b.run("at('said').textContent").count("teacher") == 1 and b.run("document.querySelectorAll('.track.teacher').length") == 2
        for text in "a very good book", "not fine, dull film", "good":
            b.run("at('text').focus(); at('text').select()")
            b.type(text)
            b.wait(f"at('bars').dataset.done === {json.dumps(text)}")
            got = b.run("[...document.querySelectorAll('#bars [data-value]')].map(x => Number(x.dataset.value))")
            assert got == pytest.approx(python(text), abs=1e-4)
        assert got != pytest.approx(python("dull"), abs=1e-2)
        b.run("at('text').select()")
        b.type("very good film")
        b.wait("at('words').textContent.includes('film') && document.querySelectorAll('.word[data-value]').length === 3")
        whole = python("very good film")
        k = whole.index(max(whole))
        effects = b.run("[...document.querySelectorAll('.word')].map(x => Number(x.dataset.value))")
        assert effects == pytest.approx([whole[k] - python(t)[k] for t in ("good film", "very film", "very good")], abs=1e-4)
        b.run("at('temperature').focus()")
        for _ in range(4): b.key("ArrowRight", 39)
        heat = b.run("heat()")
        got = b.run("[...document.querySelectorAll('#bars [data-value]')].map(x => Number(x.dataset.value))")
        assert heat > 1.2 and got == pytest.approx(python("very good film", heat), abs=1e-4)
        b.run("at('text').select()")
        b.key("Backspace", 8)
        b.wait("at('said').textContent === 'Type a text.'")
        assert b.said == [] and all(a.startswith(("file://", "blob:null")) for a in b.asked), b.asked

def small(head, **kw): return build("distilbert", getattr(T, f"AutoModel{head}"), n_layers=1, **kw)
TAGS = {0: "O", 1: "B-LOC", 2: "I-LOC"}
# kind -> (model, examples, how to write the page, what must be seen)
KIND_CASES = dict(
    pairs=(lambda: bert(1, **NAMES), [("good film", "dull book"), ("bad", "not bad")], {}, "Second text"),
    regression=(lambda: bert(1, num_labels=1, problem_type="regression"), ["good film", "very dull"], {}, "score"),
    multilabel=(lambda: bert(1, problem_type="multi_label_classification", **NAMES), ["good film", "very dull"], {}, "class"),
    tags=(lambda: small("ForTokenClassification", id2label=TAGS, label2id={n: i for i, n in TAGS.items()}), ["good film, very dull", "book"], {}, "word"),
    embedding=(lambda: small(""), [("good film", "dull book"), ("bad", "not bad book")], {}, "similarity"))

@pytest.fixture(scope="module")
def tab():
    with Browser() as b: yield b

@browses
@pytest.mark.parametrize("case", KIND_CASES)
def test_every_kind_answers_as_python_does(case, tab, tmp_path):
    "The examples, which the browser answers, beside what Python says of them."
    make, examples, how, seen = KIND_CASES[case]
    model, tok = make(), make_tokenizer()
    awaken(model)
    write_graph(model, tok, tmp_path)
    labels = list(model.config.id2label.values()) if case in ("pairs", "multilabel", "tags") else None
    told = recorded(model, tok, examples, labels, **how)
    out = static_page(tmp_path, tmp_path/"site", examples, told, runtime=RUNTIME, **how)
    tab.said.clear()
    tab.open(f"file://{out}")
    tab.wait("document.body.dataset.ready === 'all'")
    found = tab.run("PAGE.examples.map(e => e.student)")
    for z, want in zip(found, told): torch.testing.assert_close(torch.tensor(z), torch.tensor(want), atol=2e-4, rtol=1e-4)
    text = tab.run("document.body.innerText")
    assert seen in text and "undefined" not in text and "NaN" not in text and tab.said == [], text
    if case in ("pairs", "multilabel", "tags"): assert f"agrees on {len(examples)} of {len(examples)}" in text
    if case != "tags": tab.wait("document.querySelectorAll('.word[data-value]').length > 0")
    else:
        assert tab.run("document.querySelectorAll('#bars tbody tr').length") == len(words_of(examples[0]))
        tags = tab.run("[...document.querySelectorAll('#bars tbody td:nth-child(2)')].map(x => x.textContent)")
        assert tags == [TAGS[max(range(3), key=row.__getitem__)] for row in told[0]]

@browses
def test_labels_are_given_by_each_models_own_thresholds(tab, tmp_path):
    "The teacher says the very same logits; with other thresholds it means other labels, at every temperature."
    model, tok, texts = bert(1, problem_type="multi_label_classification", **NAMES), make_tokenizer(), ["good film", "very dull"]
    awaken(model)
    z = recorded(model, tok, texts, list(model.config.id2label.values()))
    model.config.thresholds = torch.tensor([min(row[i] for row in z) - .1 for i in range(len(z[0]))]).sigmoid().tolist() # all given
    model.config.calibration_temperature = 3.
    write_graph(model, tok, tmp_path)
    seen = {}
    for name, cuts in ("as the student", label_cuts(model.config, "multilabel")), ("none given", [max(row[i] for row in z) + .1 for i in range(len(z[0]))]):
        tab.open(f"file://{static_page(tmp_path, tmp_path/name, texts, z, runtime=RUNTIME, cuts=cuts)}")
        tab.wait("document.body.dataset.ready === 'all'")
        seen[name] = tab.run("[document.body.innerText, document.getElementById('said').textContent]")
    names = ", ".join(model.config.id2label.values())
    assert "agrees on 2 of 2" in seen["as the student"][0] and f"The student says: {names}. The teacher: {names}." in seen["as the student"][1]
    assert "agrees on 0 of 2" in seen["none given"][0] and f"The student says: {names}. The teacher: none. They disagree." in seen["none given"][1]

@browses
def test_nothing_is_cut_off(student, tmp_path):
    "1400 and 400 pixels, light and dark: no sideways scrolling; every control has a name and is reached by the keyboard. PICTURES=folder keeps screenshots."
    long = "averylongword" * 30
    out = static_page(student, tmp_path/"site", ["good film", f"a {long} b"], [[0., 3.], [2., 0.]], title="A student with a rather long name to show", runtime=RUNTIME)
    with Browser() as b:
        b.open(f"file://{out}")
        b.wait("document.body.dataset.ready === 'all' && at('words').dataset.done")
        for width, theme in product((1400, 400), ("light", "dark")):
            b.size(width), b.theme(theme)
            if "PICTURES" in os.environ: b.picture(Path(os.environ["PICTURES"])/f"page-{width}-{theme}.png")
        b.run("document.querySelectorAll('#rows button')[1].click()")
        b.wait("at('text').value.length > 300 && at('tokens').children.length > 2")
        for width in 400, 1400:
            b.size(width)
            assert b.run("document.documentElement.scrollWidth") <= width
        nameless = b.run("[...document.querySelectorAll('textarea,input,button')].filter(x => !(x.labels?.length || x.textContent)).length")
        assert nameless == 0
        b.run("document.activeElement.blur()")
        reached = set()
        for _ in range(6):
            b.key("Tab", 9)
            reached.add(b.run("document.activeElement.id || document.activeElement.tagName + document.activeElement.className"))
        assert {"text", "temperature", "BUTTON"} <= reached, reached

@browses
def test_a_missing_file_is_one_sentence(student, tmp_path, tab):
    out = static_page(student, tmp_path/"site", ["good"], runtime=RUNTIME)
    (tmp_path/"site"/"runtime.js").unlink()
    tab.open(f"file://{out}")
    tab.wait("document.body.dataset.ready === 'failed'")
    assert tab.run("at('status').textContent") == "The student could not start: runtime.js is missing beside this page."

# The command

def facts_of(out): return json.loads(re.fullmatch(r"const PAGE = (.*);\n", (out/"answers.js").read_text())[1])

def test_command_with_a_teacher(shell, student, tuned, csv, fake, tmp_path):
    code, out, err = shell("page", student, "--task", csv, "--teacher", tuned, "--out", tmp_path/"site", "--runtime", fake, "--examples", 3, "--json")
    assert code == 0, err
    said, told = json.loads(out), facts_of(tmp_path/"site")
    assert said["examples"] == len(told["examples"]) == 3 and Path(said["page"]).is_file()
    assert told["teacher"] == "tuned" and all(len(e["teacher"]) == 2 for e in told["examples"]) and str(tmp_path) not in (tmp_path/"site"/"answers.js").read_text()
    model, tok = bert(**NAMES), make_tokenizer()
    with torch.no_grad(): want = model(**tok([told["examples"][0]["texts"][0]], return_tensors="pt")).logits[0].tolist()
    assert told["examples"][0]["teacher"] == pytest.approx(want, abs=1e-4)
    code, out, err = shell("page", student, "--out", tmp_path/"site", "--runtime", fake, "--overwrite", "--title", EVIL[:20])
    assert code == 0 and not facts_of(tmp_path/"site")["examples"][0]["teacher"], err

def test_command_with_a_file_of_answers(shell, student, csv, fake, tmp_path):
    rows = frame(answer=["good", "bad"] * 20).sort_values("text").tail(12)
    rows.to_csv(tmp_path/"answers.csv", index=False)
    code, out, err = shell("page", student, "--task", csv, "--split", "all", "--answers", tmp_path/"answers.csv", "--out", tmp_path/"site", "--runtime", fake, "--examples", 5)
    assert code == 0, err
    told = facts_of(tmp_path/"site")
    assert told["teacher"] == "answers.csv" and len(told["examples"]) == 5
    for e in told["examples"]: assert e["texts"][0] in {*rows.text} and told["labels"][e["teacher"].index(max(e["teacher"]))] == e["texts"][0].split()[0]

def test_command_exports_a_trained_student(shell, tuned, csv, fake, tmp_path):
    pytest.importorskip("onnx"), pytest.importorskip("onnxscript"), pytest.importorskip("onnxruntime")
    code, out, err = shell("page", tuned, "--task", csv, "--out", tmp_path/"site", "--runtime", fake)
    assert code == 0 and facts_of(tmp_path/"site")["labels"] == ["bad", "good"], err

def bad(student, tmp_path, fake, csv):
    weightless, other, spans, foreign = [tmp_path/n for n in ("weightless", "other", "spans", "foreign")]
    for folder in weightless, other, foreign: folder.mkdir()
    for name in "config.json", "tokenizer.json": (weightless/name).write_bytes((student/name).read_bytes())
    (other/"theirs.txt").write_text("theirs")
    for file in student.iterdir(): (foreign/file.name).write_bytes(file.read_bytes())
    spec = json.loads((student/"tokenizer.json").read_text())
    (foreign/"tokenizer.json").write_text(json.dumps(spec | dict(pre_tokenizer=dict(type="UnicodeScripts"))))
    save_student(small("ForQuestionAnswering"), make_tokenizer(), spans)
    with_runtime = ["--runtime", fake]
    return {
        "no folder": ([tmp_path/"none", *with_runtime], "no such folder"),
        "a folder without weights": ([weightless, *with_runtime], "no weights"),
        "a kind that cannot be shown": ([spans, *with_runtime], "a model of spans"),
        "a foreign tokenizer": ([foreign, *with_runtime], "pre_tokenizer is UnicodeScripts"),
        "no runtime": ([student, "--runtime", other], "no ort.wasm.bundle.min.mjs"),
        "something else in the folder": ([student, "--out", other, *with_runtime], "is not empty"),
        "a disk that cannot be written": ([student, "--out", "/proc/site", *with_runtime], "cannot be written"),
        "two teachers": ([student, "--teacher", "a", "--answers", csv, *with_runtime], "--teacher and --answers"),
        "a teacher that is none": ([student, "--teacher", weightless, *with_runtime], "no weights"),
        "too many examples": ([student, "--examples", 9999, *with_runtime], "--examples 9999")}

CASES = ["no folder", "a folder without weights", "a kind that cannot be shown", "a foreign tokenizer", "no runtime", "something else in the folder",
         "a disk that cannot be written", "two teachers", "a teacher that is none", "too many examples"]
@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_sentence(shell, student, csv, fake, tmp_path, case):
    words, message = bad(student, tmp_path, fake, csv)[case]
    if "--out" not in words: words = [*words, "--out", tmp_path/"site"]
    before = {*tmp_path.rglob("*")}
    code, out, err = shell("page", *words)
    lines = [l for l in err.splitlines() if l.startswith("distill_nb: ") and "note: " not in l]
    assert code == 2 and len(lines) == 1 and message in lines[0] and "Traceback" not in err, err
    assert {*tmp_path.rglob("*")} == before
