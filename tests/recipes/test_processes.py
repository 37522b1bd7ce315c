"Every recipe in two processes: both end well, one student is saved, and it is an ordinary model."
import json, os, subprocess, sys
from pathlib import Path
import pytest
from builders import small_lm
from distill_nb.shell.recipes import RECIPES

pytestmark = pytest.mark.slow
TESTS = Path(__file__).parents[1]

@pytest.fixture(scope="module", params=["ddp", "fsdp"])
def pair(tmp_path_factory, request):
    "Folder and both processes' findings, with whole students and with sharded ones."
    from builders import bert, make_tokenizer
    home = tmp_path_factory.mktemp("pair")
    tok, names = make_tokenizer(), {0: "bad", 1: "good"}
    bert(id2label=names, label2id={n: i for i, n in names.items()}).save_pretrained(home/"tuned")
    small_lm().save_pretrained(home/"words")
    for folder in "tuned", "words": tok.save_pretrained(home/folder)
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", TESTS/"processes_recipes.py",
                           home, home/"tuned", home/"words", request.param], capture_output=True, text=True, timeout=900,
                          env=os.environ | dict(PYTHONPATH=f"{TESTS.parent}:{TESTS}:{os.environ.get('PYTHONPATH', '')}"))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return home, [json.loads((home/f"{rank}.json").read_text()) for rank in (0, 1)], done

@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_runs_in_two_processes(pair, recipe):
    home, found, done = pair
    assert [f[recipe]["code"] for f in found] == [0, 0], done.stderr[-4000:]
    own = [f[recipe]["own"] for f in found] # what each process holds itself after every training, not what one of them wrote
    assert own[0] and own[0] == own[1]
    report = json.loads((home/recipe/"report.json").read_text())
    if done.args[-1] == "fsdp": assert found[0][recipe]["sharded"] and all(found[0][recipe]["sharded"])
    assert report["rows"] and (home/recipe/"config.json").is_file()
    assert not list(home.glob(f"{recipe}*/**/.*tmp*"))
