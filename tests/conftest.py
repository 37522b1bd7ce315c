"Fixtures of all tests; `builders` makes what they are made of."
import datasets, pytest, transformers
from builders import *

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
