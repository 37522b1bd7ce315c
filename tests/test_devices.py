"Whatever makes a tensor makes it where its model is: tests/on_device.py on a GPU, or on one that is pretended; and no tensor is made on `the` device."
import ast, os, re, subprocess, sys
from pathlib import Path
from xml.etree import ElementTree
import pytest, torch
from pretend_gpu import can_pretend

pytestmark = pytest.mark.slow
TESTS = Path(__file__).parent
LIB = TESTS.parent/"distill_nb"

def cases(): return [n.name for n in ast.parse((TESTS/"on_device.py").read_text()).body if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")]

@pytest.fixture(scope="module")
def found(tmp_path_factory):
    "What tests/on_device.py says, in a process of its own: test -> its failures. A pretended device stays for good."
    if not (torch.cuda.is_available() or can_pretend()): pytest.skip("no GPU, and a torch that cannot pretend one")
    file = tmp_path_factory.mktemp("device")/"found.xml"
    plugin = [] if torch.cuda.is_available() else ["-p", "pretend_gpu"]
    path = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, "-W", "ignore", "-m", "pytest", "-q", *plugin, "-p", "no:cacheprovider", str(TESTS/"on_device.py"), f"--junitxml={file}"],
                          capture_output=True, text=True, env=os.environ | dict(PYTHONPATH=path), cwd=TESTS.parent)
    assert file.exists(), done.stdout + done.stderr
    said = {}
    for case in ElementTree.parse(file).iter("testcase"):
        wrong = [x.get("message") or x.text for x in case if x.tag in ("failure", "error")]
        said.setdefault(case.get("name").partition("[")[0], []).extend(f"{case.get('name')}: {w}" for w in wrong)
    return said

@pytest.mark.parametrize("name", cases())
def test_on_a_device(name, found): assert found[name] == [], "\n".join(found[name])

# Factories without a device

MAKES = "zeros ones arange randint rand randn randperm tensor as_tensor empty full eye linspace logspace from_numpy normal bernoulli multinomial tril_indices".split()
# where the CPU is meant: (module, function) -> why
ON_CPU = {
    ("bilstm", "check_boundary"): "ids of a tokenizer alone",
    ("bilstm", "check_terms"): "one made-up row", ("columns", "padded"): "a collator", ("corpus", "count_tokens"): "counts of a data set",
    ("hiding", "__init__"): "taken to the ids where it is used", ("hiding", "choose"): "a collator's numbers", ("hiding", "__call__"): "a collator",
    ("head", "word_scores"): "a number", ("head", "start_at_frequency"): "copied into the bias", ("narrow", "sliced"): "linear algebra in float64",
    ("narrow", "averaged"): "linear algebra in float64", ("cpu", "can_pack"): "packing is the CPU's", ("slots", "draw"): "coins, read by Python",
    ("slots", "__init__"): "a buffer, which moves with its model", ("slots", "rewind"): "coins", ("vectors", "read_vectors"): "a table for words",
    ("vectors", "piece_means"): "a table for words", ("temperature", "soften"): "a number becomes a tensor, a tensor stays where it is",
    ("words", "__call__"): "a collator", ("words", "word_answers"): "answers are kept on the CPU", ("words", "with_word_answers"): "a column",
    ("words", "logits"): "a column", ("onnx", "forward"): "onnxruntime's numbers", ("packing", "column"): "a collator",
    ("vectors", "embed"): "an order, read by Python", ("static", "token_vectors"): "ids of a tokenizer, taken to the teacher",
    ("temperature", "entropy"): "as soften", ("temperature", "_prediction"): "as soften", ("order", None): "orders of rows and seeds, read by Python",
    ("kinds", "_tag_rows"): "answers are kept on the CPU", ("pruning", "total_loss"): "drawn alike everywhere, then taken to the answers", ("pruning", "places"): "indices, taken to the tensor that they pick from",
    ("widget", "shares_of"): "numbers of a few bars", ("margins", "__call__"): "a collator", ("run", "start_at_frequencies"): "copied into the bias"}

def factories(tree):
    "(function, call) of every torch factory that is not told where."
    def walk(node, where):
        for child in ast.iter_child_nodes(node):
            inside = child.name if isinstance(child, ast.FunctionDef) else where
            f = getattr(child, "func", None)
            called = isinstance(f, ast.Attribute) and isinstance(f.value, ast.Name) and f.value.id == "torch" and f.attr in MAKES
            if called and not any(k.arg == "device" for k in child.keywords): yield inside, ast.unparse(child)
            yield from walk(child, inside)
    return [*walk(tree, None)]

def test_a_factory_without_a_device_is_seen():
    seen = factories(ast.parse("def f(x):\n    a = torch.zeros(3)\n    return torch.ones(3, device=x.device) + x.new_zeros(3)"))
    assert seen == [("f", "torch.zeros(3)")]

def test_tensors_are_made_where_their_model_is():
    "`device=`, `x.new_zeros`, `torch.zeros_like`; a place where the CPU is meant is named above, with its reason."
    odd, used = [], set()
    for file in sorted(LIB.rglob("*.py")):
        for function, call in factories(ast.parse(file.read_text(encoding="utf-8"))):
            key = next((k for k in ((file.stem, function), (file.stem, None)) if k in ON_CPU), None)
            used.add(key)
            if key is None: odd.append(f"{file.name}, {function}: {call}")
    assert not odd, "\n".join(odd)
    assert not ON_CPU.keys() - used, "no longer there: remove it from ON_CPU"

def test_no_device_is_written_down():
    "No `.cuda()`, no `.to('cuda')`: a model's own device, or TrainingArguments', is asked."
    strange = re.compile(r"\.cuda\(|\.to\([\"']|device=[\"'](?!meta)")
    odd = [f"{f.name}: {line.strip()}" for f in sorted(LIB.rglob("*.py")) for line in f.read_text(encoding="utf-8").splitlines() if strange.search(line)]
    assert odd == ['transfer.py: t = tensor.detach().to("cpu", torch.float32).contiguous()']
