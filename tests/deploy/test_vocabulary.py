"A smaller vocabulary: every kind of tokenizer and family answers as before, new words are read, and folders load anywhere."
import json, random, subprocess, sys
from functools import cache
import pytest, torch, transformers as T
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from builders import make_tokenizer
from families import build
from distill_nb.data.load import load_task
from distill_nb.deploy.vocabulary import check_answers, cut_model, cut_tokenizer, cut_vocabulary, kept_ids, tokenizer_json
from distill_nb.inside.inputs import model_inputs
from distill_nb.kit.errors import InputError
from distill_nb.students.bilstm import BiLstmConfig, BiLstmForSequenceClassification
from distill_nb.training.saving import save_student

@cache
def corpus(): return [*load_task("bshift")["train"]["text"][:1500]]
def mine(): return corpus()[:300]
BERT = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), "[PAD] [UNK] [CLS] [SEP] [MASK]".split()))
ROBERTA = dict(bos_token="<s>", eos_token="</s>", cls_token="<s>", sep_token="</s>", pad_token="<pad>", unk_token="<unk>", mask_token="<mask>")

@cache
def trained(kind, size=1200, special=("<s>", "<pad>", "</s>", "<unk>", "<mask>"), unk="<unk>"):
    "A tokenizer of one of the algorithms, trained on docstrings: the parts of its tokenizer.json."
    if kind == "WordPiece":
        t, special = Tokenizer(models.WordPiece(unk_token="[UNK]")), [*BERT.values()]
        t.pre_tokenizer, t.normalizer = pre_tokenizers.BertPreTokenizer(), normalizers.BertNormalizer()
        trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=special, show_progress=False)
    elif kind == "BPE":
        t = Tokenizer(models.BPE())
        t.pre_tokenizer, t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=[*special], initial_alphabet=alphabet, show_progress=False)
    else:
        t = Tokenizer(models.Unigram())
        t.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=size, special_tokens=[*special], unk_token=unk, show_progress=False)
    t.train_from_iterator(corpus(), trainer)
    return t

def wordpiece(cls=T.BertTokenizerFast): return cls(vocab=json.loads(trained("WordPiece").to_str())["model"]["vocab"])

def byte_level():
    said = json.loads(trained("BPE").to_str())["model"]
    return T.RobertaTokenizer(vocab=said["vocab"], merges=[tuple(m) for m in said["merges"]])

def unigram(cls=T.XLMRobertaTokenizerFast, *special, unk="<unk>", **how):
    t = trained("Unigram", special=special, unk=unk) if special else trained("Unigram")
    return cls(vocab=[tuple(p) for p in json.loads(t.to_str())["model"]["vocab"]], **how)

def generic():
    "As ModernBERT's: byte-level BPE of no class of its own; special tokens at the end, and others that were added."
    t = Tokenizer.from_str(trained("BPE").to_str())
    t.add_tokens(["  ", "[unused0]", "never used"])
    t.add_special_tokens([*BERT.values()])
    ids = {w: t.token_to_id(w) for w in ("[CLS]", "[SEP]")}
    t.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[*ids.items()])
    return T.PreTrainedTokenizerFast(tokenizer_object=t, **BERT)

def suffixed():
    "BPE whose last parts of words have a mark, and whose words are not bytes."
    t = Tokenizer(models.BPE(unk_token="[UNK]", end_of_word_suffix="</w>"))
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    t.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=900, special_tokens=[*BERT.values()], end_of_word_suffix="</w>", show_progress=False))
    t.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return T.PreTrainedTokenizerFast(tokenizer_object=t, **BERT)

TOKENIZERS = dict(bert=wordpiece, distilbert=lambda: wordpiece(T.DistilBertTokenizerFast), electra=lambda: wordpiece(T.ElectraTokenizerFast),
                  roberta=byte_level, modernbert=generic, suffixed=suffixed, words=make_tokenizer,
                  albert=lambda: unigram(T.AlbertTokenizerFast, "<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")) | {
    "xlm-roberta": unigram, "deberta-v2": lambda: unigram(T.DebertaV2TokenizerFast, "[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]", unk="[UNK]", unk_id=3)}
tokenizer = cache(lambda name: TOKENIZERS[name]())

def ids_of(tok): return dict(vocab_size=len(tok), pad_token_id=tok.pad_token_id, bos_token_id=tok.bos_token_id, eos_token_id=tok.eos_token_id,
                             cls_token_id=tok.cls_token_id, sep_token_id=tok.sep_token_id)

def lstm(tok):
    torch.manual_seed(0)
    return BiLstmForSequenceClassification(BiLstmConfig(
        vocab_size=len(tok), embedding_size=6, hidden_size=5, head_size=7, pad_token_id=tok.pad_token_id, sep_token_id=tok.sep_token_id,
        skipped_token_ids=[tok.pad_token_id, tok.cls_token_id, tok.sep_token_id])).eval()

def model_for(family, tok, head=T.AutoModelForSequenceClassification):
    return lstm(tok) if family == "bilstm" else build(family, head, num_hidden_layers=2, **ids_of(tok))

def cut_of(family, head=T.AutoModelForSequenceClassification, **how):
    tok = tokenizer(family if family in TOKENIZERS else "bert")
    model = model_for(family, tok, head)
    return model, tok, cut_vocabulary(model, tok, mine(), **how)

@torch.no_grad()
def said(model, tok, texts):
    batch = tok(texts, padding=True, truncation=True, max_length=40, return_tensors="pt")
    return model(**model_inputs(model, batch))[0], batch["attention_mask"].bool()

# The tokenizer

@pytest.mark.parametrize("name", TOKENIZERS)
def test_texts_of_kept_tokens_are_cut_as_before(name):
    "On the texts that chose, and on all others whose tokens happen to be kept; and no other text is cut alike."
    tok = tokenizer(name)
    texts = mine() if name != "words" else ["good film", "a dull book"]
    ids = kept_ids(T.BertConfig(vocab_size=len(tok), pad_token_id=tok.pad_token_id), tok, {i for r in tok(texts)["input_ids"] for i in r})
    new = cut_tokenizer(tok, ids)
    assert len(new) == len(ids) < len(tok) and sorted(new.get_vocab().values()) == [*range(len(ids))]  # dense
    same = {True: 0, False: 0}
    for text in corpus() + [a + " " + b for a, b in zip(corpus(), corpus()[7:])]:
        old = tok(text)["input_ids"]
        assert ([ids[i] for i in new(text)["input_ids"]] == old) == ({*old} <= {*ids}), text
        same[{*old} <= {*ids}] += 1
    assert min(same.values()) >= (30 if name != "words" else 0), same
    pair = mine()[:2] if name != "words" else texts
    assert [ids[i] for i in new(*pair)["input_ids"]] == tok(*pair)["input_ids"]
    assert new.decode(new(texts[0])["input_ids"]) == tok.decode(tok(texts[0])["input_ids"])

@pytest.mark.parametrize("name", [n for n in TOKENIZERS if n != "words"])
def test_unseen_words_are_read(name):
    "Strings of characters that the corpus has, in orders that it has not: unknown only where they were unknown before."
    tok, draw = tokenizer(name), random.Random(0)
    cut = cut_vocabulary(model_for("bert", tok), tok, mine()[:20])
    letters = sorted({c for t in mine() for c in t if c.isalnum()})
    for _ in range(200):
        word = "".join(draw.choices(letters, k=draw.randint(1, 12)))
        before, after = tok.tokenize(word), cut.tokenizer.tokenize(word)
        if tok.unk_token not in before: assert cut.tokenizer.unk_token not in after and after, word
    bare = cut_vocabulary(model_for("bert", tok), tok, mine()[:20], characters=False)
    assert len(bare.ids) < len(cut.ids)

@pytest.mark.parametrize("name", ["roberta", "modernbert"])
def test_bytes_read_any_text(name):
    tok = tokenizer(name)
    cut = cut_vocabulary(model_for("bert", tok), tok, ["one text"])
    text = "漢字 ☃ naïve \x07"
    assert cut.tokenizer.decode(cut.tokenizer(text, add_special_tokens=False)["input_ids"]) == text

@pytest.mark.parametrize("name", TOKENIZERS)
def test_special_and_added_tokens_stay(name):
    tok = tokenizer(name)
    cut = cut_vocabulary(model_for("bert", tok), tok, ["good film"])
    for role in "pad", "unk", "cls", "sep", "mask":
        old, new = getattr(tok, f"{role}_token_id"), getattr(cut.tokenizer, f"{role}_token_id")
        assert cut.ids[new] == old and getattr(tok, f"{role}_token") == getattr(cut.tokenizer, f"{role}_token")
    assert cut.tokenizer.get_added_vocab().keys() == tok.get_added_vocab().keys()
    assert cut.model.config.pad_token_id == cut.tokenizer.pad_token_id
    masked = f"{tok.mask_token} film"
    assert [cut.ids[i] for i in cut.tokenizer(masked)["input_ids"]][1] == tok.mask_token_id

def test_words_to_keep(): # in the middle of a text and at its start
    for name in "bert", "roberta", "xlm-roberta":
        tok = tokenizer(name)
        cut = cut_vocabulary(model_for("bert", tok), tok, ["one text"], keep=["parameter"])
        for text in "parameter", "one parameter": assert cut.tokenizer.tokenize(text) == tok.tokenize(text)

def test_the_lowest_score_prices_unknown_characters():
    "Unigram: without it, an unknown character would cost less, and a text with one be cut otherwise."
    pieces = [("<s>", 0.), ("<pad>", 0.), ("</s>", 0.), ("<unk>", 0.), ("▁", -2.), ("a", -3.), ("b", -3.), ("a☃", -12.), ("rare", -20.), ("<mask>", 0.)]
    tok = T.XLMRobertaTokenizerFast(vocab=pieces)
    cut = cut_vocabulary(model_for("bert", tok), tok, ["ba☃ b", "a☃☃"])
    assert "rare" in cut.tokenizer.get_vocab() and cut.tokenizer.tokenize("ba☃☃ b") == tok.tokenize("ba☃☃ b")

@pytest.mark.parametrize("folder", ["roberta-base"])
def test_a_published_vocabulary(folder): # where the data are beside the checkout
    "50,000 real merges."
    from builders import ROOT
    home = ROOT.parent/f"shared/data/tokenizers/{folder}"
    if not home.is_dir(): pytest.skip("no published vocabulary beside this checkout")
    tok = T.RobertaTokenizer(vocab=f"{home}/vocab.json", merges=f"{home}/merges.txt")
    seen = {i for r in tok(corpus()[:1000])["input_ids"] for i in r}
    ids = kept_ids(T.RobertaConfig(vocab_size=len(tok)), tok, seen)
    new = cut_tokenizer(tok, ids)
    for text in corpus():
        old = tok(text)["input_ids"]
        assert ([ids[i] for i in new(text)["input_ids"]] == old) == ({*old} <= {*ids})
    assert len(ids) < 8000

# The model

FAMILIES = ["bert", "roberta", "distilbert", "xlm-roberta", "electra", "modernbert", "bilstm", "albert", "deberta-v2", "mpnet"]

@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_the_same_bit_for_bit(family):
    model, tok, cut = cut_of(family)
    for texts in mine()[:32], mine()[40:41]:
        (z, _), (new, _) = said(model, tok, texts), said(cut.model, cut.tokenizer, texts)
        assert torch.equal(z, new)
    assert cut.model.get_input_embeddings().weight.shape[0] == cut.model.config.vocab_size == len(cut.tokenizer)
    old, new = model.state_dict(), cut.model.state_dict()
    assert old.keys() == new.keys() and sum(old[n].shape != new[n].shape for n in old) == 1
    assert cut.model.dtype == model.dtype and not cut.model.training

@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "xlm-roberta", "electra", "modernbert"])
def test_masked_language_models_are_cut_with_their_table(family):
    model, tok, cut = cut_of(family, T.AutoModelForMaskedLM)
    (z, real), (new, _) = said(model, tok, mine()[:8]), said(cut.model, cut.tokenizer, mine()[:8])
    torch.testing.assert_close(new[real], z[real][:, cut.ids], atol=1e-5, rtol=1e-5)
    a, b = cut.model.get_input_embeddings().weight, cut.model.get_output_embeddings().weight
    assert (a is b) == (model.get_input_embeddings().weight is model.get_output_embeddings().weight) and len(b) == len(cut.ids)

def test_half_precision_and_training_mode_stay():
    tok = tokenizer("bert")
    model = model_for("bert", tok).bfloat16().train()
    cut = cut_vocabulary(model, tok, mine()[:20])
    assert cut.model.dtype == torch.bfloat16 and cut.model.training and model.training

def test_positions_begin_where_they_did():
    "RoBERTa counts positions from its padding id: that id stays."
    model, tok, cut = cut_of("roberta")
    assert cut.model.config.pad_token_id == model.config.pad_token_id == 1
    assert cut.model.base_model.embeddings.position_embeddings.padding_idx == 1

def test_rows_that_no_token_has_go():
    tok = tokenizer("bert")
    model = build("bert", num_hidden_layers=1, **ids_of(tok) | dict(vocab_size=len(tok) + 50))
    cut = cut_vocabulary(model, tok, mine())
    assert cut.model.config.vocab_size == len(cut.tokenizer) and cut.before == len(tok) + 50

# Folders

LOAD = """import sys, json, torch, transformers as T
tok, model = T.AutoTokenizer.from_pretrained(sys.argv[1]), T.AutoModelForSequenceClassification.from_pretrained(sys.argv[1])
texts = json.loads(sys.argv[2])
with torch.no_grad(): z = model(**tok(texts, padding=True, truncation=True, max_length=40, return_tensors="pt")).logits
said = T.pipeline("text-classification", model=sys.argv[1])(texts, truncation=True, max_length=40)
print("distill_nb" in sys.modules, json.dumps([z.tolist(), [s["score"] for s in said], tok(texts)["input_ids"]]))
"""
@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "modernbert"])
def test_a_saved_folder_loads_in_a_fresh_process(family, tmp_path):
    model, tok, cut = cut_of(family)
    save_student(cut.model, cut.tokenizer, tmp_path/"cut")
    done = subprocess.run([sys.executable, "-c", LOAD, tmp_path/"cut", json.dumps(mine()[:4])], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("False "), done.stderr[-2000:]
    z, scores, rows = json.loads(done.stdout.split(" ", 1)[1])
    want = said(model, tok, mine()[:4])[0]
    torch.testing.assert_close(torch.tensor(z), want, atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.tensor(scores), want.softmax(-1).max(-1).values, atol=1e-3, rtol=0)
    assert [[cut.ids[i] for i in r] for r in rows] == tok(mine()[:4])["input_ids"]

def test_a_cut_student_is_exported(tmp_path):
    pytest.importorskip("onnxruntime"), pytest.importorskip("onnxscript")
    from distill_nb.data.tokens import text_rows
    from distill_nb.deploy.export import export_folder
    model, tok, cut = cut_of("bert")
    rows = text_rows(mine()[:40], cut.tokenizer, 40)
    gate = export_folder(cut.model, cut.tokenizer, tmp_path/"onnx", rows, timed=False)
    assert gate.agreement == 1 and gate.megabytes["graph"] < 4e-6 * model.num_parameters()
    alone = Tokenizer.from_file(str(tmp_path/"onnx/tokenizer.json"))
    for text in mine()[:40]:
        row = alone.encode(text)
        ids = [cut.ids[i] for i, real in zip(row.ids, row.attention_mask) if real]
        assert ids[:-1] == tok(text)["input_ids"][:len(ids)][:-1]  # of a longer text the end, but its separator, is cut off

# What is said about new texts

def test_the_held_out_share_is_what_the_others_vocabulary_does():
    model, tok, cut = cut_of("roberta")
    texts = [*dict.fromkeys(mine())]
    apart, others = texts[9::10], [t for i, t in enumerate(texts) if i % 10 != 9]
    small = cut_vocabulary(model, tok, others, held_out=0)
    same = [[small.ids[i] for i in small.tokenizer(t)["input_ids"]] == tok(t)["input_ids"] for t in apart]
    assert cut.held_out == len(apart) and cut.same == pytest.approx(sum(same) / len(same)) and 0 < cut.same < 1
    assert small.held_out == 0 and small.same != small.same and "held-out" not in repr(small)

def test_more_texts_more_tokens_rarer_fewer():
    model, tok, cut = cut_of("bert")
    few, rare = cut_vocabulary(model, tok, mine()[:30]), cut_vocabulary(model, tok, mine(), at_least=5)
    assert len(few.ids) < len(cut.ids) and len(rare.ids) < len(cut.ids) and few.megabytes[1] < cut.megabytes[1] < cut.megabytes[0]

# Bad input

class Slow(T.PreTrainedTokenizer if hasattr(T, "PreTrainedTokenizer") else object): is_fast = False

def test_refusals():
    tok, model = tokenizer("bert"), model_for("bert", tokenizer("bert"))
    with pytest.raises(InputError, match="no texts"): cut_vocabulary(model, tok, [])
    with pytest.raises(InputError, match=r"a vocabulary without \[CLS\]"): cut_tokenizer(tok, [0, 1, 3, 4])
    with pytest.raises(InputError, match="a tokenizer of"): cut_vocabulary(build("bert"), tok, mine())
    with pytest.raises(InputError, match="no fast tokenizer"): tokenizer_json(Slow.__new__(Slow))
    t = T.PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE({"a": 0, "[PAD]": 1}, [], dropout=.1)), pad_token="[PAD]")
    with pytest.raises(InputError, match="draws its tokens"): tokenizer_json(t)

def test_a_family_that_reads_ids_otherwise_is_refused():
    "A position that depends on an id which moved."
    tok, model = tokenizer("bert"), model_for("bert", tokenizer("bert"))
    ids = kept_ids(model.config, tok, {i for r in tok(mine())["input_ids"] for i in r})
    new = cut_model(model, ids)
    rows = tok(mine()[:4])["input_ids"]
    check_answers(model, new, rows, ids)
    model.base_model.embeddings.register_forward_hook(lambda m, args, kw, out: out + kw["input_ids"][..., None] * .1, with_kwargs=True)
    with pytest.raises(InputError, match="BertForSequenceClassification, whose logits change by"): check_answers(model, new, rows, ids)
