"A real tokenizer of a few words and tiny random teachers, shared by the tests."
import datasets, pytest, torch, transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModelForSequenceClassification, BertConfig, PreTrainedTokenizerFast

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] good bad fine dull film book very not".split()

@pytest.fixture(scope="session", autouse=True)
def no_progress_bars():
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()

def make_tokenizer():
    "A real fast tokenizer of thirteen words."
    t = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, "[UNK]"))
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    t.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    special = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), WORDS))
    return PreTrainedTokenizerFast(tokenizer_object=t, **special)

@pytest.fixture(scope="session")
def tok(): return make_tokenizer()

def bert(layers=4, **kw):
    "A tiny BERT with a classification head, without dropout; always the same weights."
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=layers, num_attention_heads=2,
                        intermediate_size=32, hidden_dropout_prob=0., attention_probs_dropout_prob=0., **kw)
    return AutoModelForSequenceClassification.from_config(config).eval()

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
