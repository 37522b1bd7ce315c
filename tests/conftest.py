"Fixtures of all tests; `builders` makes what they are made of."
import os, signal, subprocess, sys, time
from collections import Counter
from pathlib import Path
from zlib import crc32
import datasets, pytest, torch, transformers
from builders import *

# A shell starts what runs in the background with SIGINT ignored; tests send it, and their processes inherit what is set here
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN: signal.signal(signal.SIGINT, signal.default_int_handler)

def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes over five seconds; left out at the lowest versions")

def pytest_addoption(parser):
    parser.addoption("--every", type=int, default=1, metavar="N", help="run every Nth case of each parametrised test")

def pytest_generate_tests(metafunc):
    "The processes of pytest-xdist must collect the same tests: a set has another order, and another name, in each of them."
    for mark in metafunc.definition.iter_markers("parametrize"):
        values = mark.args[1] if len(mark.args) > 1 else mark.kwargs["argvalues"]
        named = [values, *values] if callable(mark.kwargs.get("ids")) else [values]
        assert not any(isinstance(v, (set, frozenset)) and len(v) > 1 for v in named), f"{metafunc.definition.name}: cases from a set"

def chosen(items, n):
    "Tests without cases, and of the others every nth case: one at least, and not the same ones for each test."
    def test(item): return item.path, getattr(item, "originalname", item.name)
    cases, met = Counter(map(test, items)), Counter()
    for item in items:
        name = test(item)
        if met[name] % n == crc32(name[1].encode()) % min(n, cases[name]): yield item
        met[name] += 1

def pytest_collection_modifyitems(config, items):
    "Files with the most slow tests come first, or one process would be left alone with them in the end."
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path]) # a stable sort: the order within a file stays
    if (n := config.getoption("--every")) > 1:
        kept = {*chosen(items, n)}
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = [item for item in items if item in kept]

@pytest.fixture(scope="session", autouse=True)
def no_progress_bars():
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()

@pytest.fixture(scope="session")
def tok(): return make_tokenizer()

@pytest.fixture
def headless(tok, tmp_path):
    "Folder of a tiny pretrained encoder without a head."
    bert().base_model.save_pretrained(tmp_path/"headless")
    tok.save_pretrained(tmp_path/"headless")
    return tmp_path/"headless"

@pytest.fixture
def tuned(tok, tmp_path):
    "Folder of a tiny teacher whose head knows the classes bad and good."
    names = {0: "bad", 1: "good"}
    bert(id2label=names, label2id={n: i for i, n in names.items()}).save_pretrained(tmp_path/"tuned")
    tok.save_pretrained(tmp_path/"tuned")
    return tmp_path/"tuned"

@pytest.fixture
def shell(capsys):
    "Runs a command of the shell: (exit code, stdout, stderr)."
    from distill_nb.shell.cli import main
    def run(*words):
        try: code = main([str(w) for w in words])
        except SystemExit as e: code = e.code
        return (code, *capsys.readouterr())
    return run

@pytest.fixture
def csv(tmp_path):
    "A table of forty short reviews, good or bad."
    frame(label=["good", "bad"] * 20).to_csv(tmp_path/"t.csv", index=False)
    return tmp_path/"t.csv"

def once_for_all(folder, make):
    "`make()` in the first of the processes that run tests; the others wait for it."
    try: folder.mkdir()
    except FileExistsError: pass
    else:
        try: make()
        finally: (folder/"done").touch()
    while not (folder/"done").exists(): time.sleep(.2)

@pytest.fixture(scope="session")
def in_processes(tmp_path_factory):
    "Case of tests/processes.py -> what one process found, then what each of two did."
    root, script = tmp_path_factory.getbasetemp(), Path(__file__).parent/"processes.py"
    out = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root)/"processes"
    def make():
        for launch in [], ["-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]:
            run = subprocess.run([sys.executable, *launch, script, out], capture_output=True, text=True)
            assert run.returncode == 0, run.stderr[-3000:]
    once_for_all(out, make)
    return lambda case: [torch.load(out/f"{case}-{world}-{rank}.pt", weights_only=True) for world, rank in ((1, 0), (2, 0), (2, 1))]
