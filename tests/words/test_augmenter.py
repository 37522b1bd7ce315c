"Sweeps behind nbs/20 to 22: TinyBERT's recorded run, batches and processes, pairs, long and odd texts, vector files, the head."
import json, random
from dataclasses import replace
from pathlib import Path
import pandas as pd
import pytest, torch
from safetensors.torch import load_file
from transformers import (AutoConfig, AutoModelForMaskedLM, BertConfig, BertForMaskedLM, BertTokenizer, RobertaTokenizer)
from distill_nb.kit.files import FILES
from distill_nb.words.head import knows_words, check_head, fit_head, load_masked_lm, masked_logits, perplexity
from distill_nb.kit.models import note
from distill_nb.words import augmenter as module
from distill_nb.data.tables import check_table, read_table
from distill_nb.words.augmenter import (
    Augmenter, augment, save_table, draw, match_case, replaceable, new_texts, split_words, windows,
    token_words)
from distill_nb.data.tasks import make_task
from distill_nb.data.tokens import tokenize
from distill_nb.kit.errors import InputError
from distill_nb.data.vectors import WordVectors, embedding_vectors, piece_means, read_vectors, token_words
from families import EXTRA, V, build

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] . ! the a good bad fine dull film book very not cat dog un ##good ##s har ##bour 好 坏 电 影".split()

@pytest.fixture(scope="module")
def tok(tmp_path_factory):
    "A real WordPiece tokenizer of a few words, with pieces and Chinese characters."
    return BertTokenizer(vocab={w: i for i, w in enumerate(WORDS)}, do_lower_case=True, model_max_length=40)

@pytest.fixture(scope="module")
def lm():
    torch.manual_seed(0)
    return BertForMaskedLM(BertConfig(vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                                      intermediate_size=32, max_position_embeddings=40, initializer_range=.5)).eval()

@pytest.fixture
def aug(lm, tok): return Augmenter(lm, tok, n_candidates=5, n=6)

# What TinyBERT's own code made

GOLDEN = Path(__file__).parents[3]/"shared"/"golden"

@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the recordings are not here")
def test_tinyberts_recorded_run():
    case = next(c for c in json.loads((GOLDEN/"tinybert.json").read_text())["cases"] if c["name"] == "augment")
    tensors = load_file(GOLDEN/"tinybert.safetensors")
    known = {k: v for k, v in case["config"].items() if k not in ("pre_trained", "training")}
    model = BertForMaskedLM(BertConfig(**known)).eval()
    weights = {k: tensors[v[2:]] for k, v in case["weights"].items()}
    lacking, extra = model.load_state_dict(weights, strict=False)
    model.tie_weights()
    assert all("decoder" in k or "bias" in k or "position_ids" in k for k in lacking), lacking
    tok = BertTokenizer(vocab={w: i for i, w in enumerate(case["vocab"])}, do_lower_case=True, model_max_length=64)
    vectors = WordVectors(case["glove_words"], tensors[case["glove"][2:]])
    aug = Augmenter(model, tok, vectors, n_candidates=5, n=8, reference=True)
    found = aug.candidates(case["sentences"])
    assert found == [{int(i): words for i, words in c.items()} for c in case["candidates"]]
    made = [[text, *draw(text, c, 8, .4, random.Random(case["random_seed"]))] for text, c in zip(case["sentences"], found)]
    theirs = case["augmented"]
    assert made[0] == theirs[0] and made[2] == theirs[2]
    # theirs lowers the whole text once it is split, and so keeps a copy that differs in its capital alone
    assert [t.lower() for t in made[1]] == list(dict.fromkeys(t.lower() for t in theirs[1]))

# One question at a time, and many

def plainly(aug, text):
    "The paper's way: one forward per word, the whole vocabulary sorted."
    words, found = [w for w, _, _ in split_words(text)], {}
    for i, w in enumerate(words):
        pieces = aug.tokenizer.tokenize(w)
        if not replaceable(w) or len(pieces) != 1 or pieces == [aug.tokenizer.unk_token]: continue
        masked = [*words[:i], aug.tokenizer.mask_token, *words[i+1:]]
        batch = aug.tokenizer(" ".join(masked), " ".join(words), return_tensors="pt")
        at = (batch["input_ids"][0] == aug.tokenizer.mask_token_id).nonzero()[0].item()
        with torch.no_grad(): z = aug.model(**batch).logits[0, at]
        best = z.argsort(descending=True)[:aug.n_candidates].tolist()
        found[i] = [aug.words[t] for t in best if aug.words[t]]
    return found

TEXTS = ["the good film", "a very dull book !", "not bad , not fine", "cats", "", "the unknown dog", "good " * 9]

@pytest.mark.parametrize("batch_tokens", [1, 60, 4096])
def test_batches_answer_as_one_by_one(aug, batch_tokens):
    aug = replace(aug, batch_tokens=batch_tokens)
    single = [{i: c for i, c in found.items() if len(aug.tokenizer.tokenize(split_words(t)[i][0])) == 1
               and aug.tokenizer.tokenize(split_words(t)[i][0]) != ["[UNK]"]} for t, found in zip(TEXTS, aug.candidates(TEXTS))]
    assert single == [plainly(aug, t) for t in TEXTS]

@pytest.mark.parametrize("family", [f for f in EXTRA if type(AutoConfig.for_model(f)) in AutoModelForMaskedLM._model_mapping.keys()
                                    and f not in ("xlm", "flaubert")])
def test_the_head_of_every_family_runs_only_where_it_is_read(family):
    model = build(family, AutoModelForMaskedLM)
    ids = torch.randint(5, V, (3, 9), generator=torch.Generator().manual_seed(1))
    batch = dict(input_ids=ids, attention_mask=torch.ones_like(ids))
    mask = torch.rand(3, 9, generator=torch.Generator().manual_seed(2)) < .3
    with torch.no_grad():
        torch.testing.assert_close(masked_logits(model, batch, mask), model(**batch).logits[mask], atol=1e-5, rtol=1e-5)
        assert model(**batch).logits.shape == (3, 9, V)  # and the model is as it was

# Drawing

def test_rows_do_not_depend_on_their_batch(aug):
    rows = dict(text=["the good film", "a dull book", "bad dog"], label=[0, 1, 1])
    whole = aug(rows, [4, 5, 6])
    for i in range(3):
        one = aug({k: [v[i]] for k, v in rows.items()}, [4 + i])
        keep = [j for j, s in enumerate(whole["source"]) if s == 4 + i]
        assert one == {k: [v[j] for j in keep] for k, v in whole.items()}

def test_seeds_differ_and_repeat(aug):
    rows = dict(text=["a very good film and a dull book"], label=[0])
    assert aug(rows, [0]) == aug(rows, [0]) != replace(aug, seed=1)(rows, [0])

def test_p_and_n(aug):
    rows = dict(text=["a very good film and a dull book"], label=[0])
    assert replace(aug, p=0)(rows, [0])["text"] == rows["text"]
    assert len(replace(aug, n=2)(rows, [0])["text"]) <= 3
    changed = [t.split() for t in replace(aug, p=1.)(rows, [0])["text"][1:]]
    assert all(c[0] == "a" and c[4] == "and" for c in changed)

def test_a_pair_changes_one_side_at_a_time(aug):
    rows = dict(text=["the good film"], pair=["a dull book"], label=[1])
    made = aug(rows, [0])
    for text, pair, new in zip(made["text"], made["pair"], made["new"]):
        assert (text == rows["text"][0]) or (pair == rows["pair"][0])
        assert new == ((text, pair) != ("the good film", "a dull book"))
    assert len(set(zip(made["text"], made["pair"]))) == len(made["text"]) > 3

@pytest.mark.parametrize("text", ["", "   ", "the of and", "🙂 !!", "\x00\x07\u200b", "123 4th", "the's"])
def test_nothing_to_replace_leaves_the_text_alone(aug, text):
    assert aug(dict(text=[text], label=[0]), [0])["text"] == [text]

def test_case_and_spaces_are_kept():
    made = draw("Good  FILM, isn't\tit?", {0: ["bad"], 1: ["book"]}, 30, .5, random.Random(0))
    assert set(made) == {"Bad  FILM, isn't\tit?", "Good  BOOK, isn't\tit?", "Bad  BOOK, isn't\tit?"}
    assert match_case("iPhone", "dog") == "dog" and match_case("A", "dog") == "Dog" and match_case("cat", "NASA") == "NASA"

def test_long_texts_are_asked_in_stretches(aug):
    text = "good film bad book " * 500
    found = aug.candidates([text])[0]
    assert len(found) == 2000
    assert all(len(g.ids) <= 40 for g in aug.gaps([text])[0])
    assert windows(["a"] * 5, [2] * 5, 4) == [(0, 2), (2, 4), (4, 5)] and windows([], [], 4) == []

def test_chinese_by_characters(aug):
    text = "好电影 film"
    found = aug.candidates([text])[0]
    assert sorted(found) == [0, 1, 2, 3]
    made = draw(text, {0: ["坏"]}, 9, .5, random.Random(0))
    assert made == ["坏电影 film"]

def test_special_tokens_and_pieces_are_no_candidates(aug):
    allowed = set(WORDS) - {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    assert all(w in allowed and not w.startswith("##") for c in aug.candidates(TEXTS)[0:1] for words in c.values() for w in words)
    assert token_words(aug.tokenizer, special=True)[2] == "[CLS]" and token_words(aug.tokenizer)[2] is None

VOCAB = Path(__file__).parents[3]/"shared"/"data"/"tokenizers"/"roberta-base"

@pytest.mark.skipif(not VOCAB.is_dir(), reason="the tokenizers are not here")
def test_byte_pairs_of_roberta():
    tok = RobertaTokenizer.from_pretrained(VOCAB)
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(AutoConfig.for_model("roberta", vocab_size=len(tok), hidden_size=16, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=16, max_position_embeddings=80, type_vocab_size=1))
    found = Augmenter(model, tok).candidates(["The good film, unbelievableness!"])[0]
    assert set(found) == {1, 2, 4} and all(" " not in w and "Ġ" not in w for words in found.values() for w in words)
    words = [w for w in token_words(tok) if w]
    assert "film" in words and "café" in words # bytes are read as the letters they spell
    assert not [w for w in words if "Ġ" in w or "\ufffd" in w or w != "".join(w.split())]

# A whole training set

def toy(n=25, label=lambda i: "ab"[i % 2]):
    return make_task("toy", dict(train=pd.DataFrame(dict(text=[f"the good film {i}" for i in range(n)], label=[label(i) for i in range(n)]))))

def test_a_killed_run_goes_on_where_it_stopped(aug, tmp_path, monkeypatch):
    whole = augment(toy(), aug, folder=tmp_path/"a", rows_per_file=5)
    asked, ask = [], Augmenter.candidates
    def dies(self, texts):
        asked.append(len(texts))
        if len(asked) == 3: raise KeyboardInterrupt
        return ask(self, texts)
    monkeypatch.setattr(Augmenter, "candidates", dies)
    with pytest.raises(KeyboardInterrupt): augment(toy(), aug, folder=tmp_path/"b", rows_per_file=5)
    left = sorted(p.name for p in (tmp_path/"b").rglob("*") if p.is_file())
    assert [name.partition("-")[0] for name in left] == ["000000000", "000000005"]  # nothing half-written
    again = augment(toy(), aug, folder=tmp_path/"b", rows_per_file=5)
    n = len(toy()["train"])
    assert len(asked) == 3 + -(-n // 5) - 2  # the two finished files were not asked again
    assert again["train"][:] == whole["train"][:]

DAMAGE = {"a flipped bit": lambda raw: raw[:len(raw) // 3] + bytes([raw[len(raw) // 3] ^ 4]) + raw[len(raw) // 3 + 1:],
          "the footer's bit": lambda raw: raw[:-40] + bytes([raw[-40] ^ 1]) + raw[-39:], "cut": lambda raw: raw[:len(raw) // 2],
          "zeros": lambda raw: raw[:len(raw) // 2] + bytes(len(raw) - len(raw) // 2), "empty": lambda raw: b"", "other": lambda raw: b"PAR1" * 9}

@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_made_again(aug, tmp_path, damage):
    whole = augment(toy(), aug, folder=tmp_path/"a", rows_per_file=10)["train"][:]
    parts = sorted((tmp_path/"a").rglob("*.parquet"))
    raw = parts[1].read_bytes()
    parts[1].write_bytes(DAMAGE[damage](raw))
    assert augment(toy(), aug, folder=tmp_path/"a", rows_per_file=10)["train"][:] == whole
    assert parts[1].read_bytes() == raw

def test_dropout_is_off_whatever_the_models_mode(tok, tmp_path):
    torch.manual_seed(0)
    model = BertForMaskedLM(BertConfig(vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
                                       max_position_embeddings=40, initializer_range=.5, hidden_dropout_prob=.4)).train()
    model.bert.pooler, modes = None, [m.training for m in model.modules()]
    model.bert.embeddings.eval()
    modes = [m.training for m in model.modules()]
    aug = Augmenter(model, tok, n_candidates=5, n=6)
    first = aug.candidates(TEXTS)
    assert first == aug.candidates(TEXTS) and modes == [m.training for m in model.modules()]
    assert first == Augmenter(model.eval(), tok, n_candidates=5, n=6).candidates(TEXTS)

def test_answers_that_are_nan_are_refused(lm, tok, tmp_path):
    import copy
    broken = copy.deepcopy(lm)
    broken.bert.encoder.layer[0].output.dense.weight.data[0, 0] = float("nan")
    aug = Augmenter(broken, tok, WordVectors(["a"], torch.ones(1, 2)))
    with pytest.raises(InputError, match="answers NaN"): aug.candidates(["the good film"])
    with pytest.raises(InputError, match="answers NaN"): augment(toy(), aug, folder=tmp_path)
    assert not list(tmp_path.rglob("*.parquet"))
    with pytest.raises(InputError, match=r"vectors of \['dog'\]"): WordVectors(["cat", "dog"], torch.tensor([[1., 2], [float("nan"), 1]]))

def test_processes_share_the_work_and_agree(aug, tmp_path, monkeypatch):
    whole = augment(toy(), aug, folder=tmp_path/"one", rows_per_file=5)
    done = []
    write = module._write
    monkeypatch.setattr(module, "_write", lambda rows, home, start: (done.append(start), write(rows, home, start)))
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    second = augment(toy(), aug, folder=tmp_path/"two", rows_per_file=5)
    assert done[0] == 5 and second["train"][:] == whole["train"][:]

def test_any_change_begins_anew(aug, tmp_path, lm):
    base = aug.key("x")
    other = BertForMaskedLM(lm.config)
    changed = [replace(aug, p=.3), replace(aug, seed=2), replace(aug, n=7), replace(aug, model=other),
               replace(aug, vectors=WordVectors(["a"], torch.ones(1, 2)))]
    assert len({base, *(a.key("x") for a in changed), aug.key("y")}) == 7 and replace(aug, batch_tokens=2).key("x") == base

def test_the_augmented_task_is_tokenised_and_labelled(aug, tok, tmp_path):
    made = augment(toy(), aug, folder=tmp_path)
    rows = tokenize(made, tok, 16)
    train = made["train"]
    assert len(rows["train"]) == len(train) > 2 * len(toy()["train"]) and set(rows["train"]["labels"]) == {0, 1}
    labels = toy()["train"]["label"]
    assert all(y == labels[s] for y, s in zip(train["label"], train["source"]))
    silent = augment(toy(), aug, "teacher", tmp_path)["train"]
    assert all((y == -100) == new for y, new in zip(silent["label"], silent["new"]))

def test_scores_of_a_teacher_are_unknown(aug, tmp_path):
    task = toy(label=lambda i: i / 7 + .01)
    made = augment(task, aug, "teacher", tmp_path)["train"]
    assert task.labels is None and all(pd.isna(y) == new for y, new in zip(made["label"], made["new"]))

@pytest.mark.parametrize("name, n", [("SST-2", 20), ("sst2", 20), ("STS-B", 30), ("MNLI", 10), ("other", 30)])
def test_new_texts_per_task(name, n): assert new_texts(name) == n

@pytest.mark.parametrize("change, message", [(dict(p=1.5), "p=1.5"), (dict(n=0), "n=0"), (dict(n_candidates=-1), "n_candidates=-1"),
                                             (dict(batch_tokens=0), "batch_tokens=0")])
def test_settings_that_are_refused(aug, change, message):
    with pytest.raises(InputError, match=message): replace(aug, **change)

def test_labels_that_are_refused(aug):
    with pytest.raises(InputError, match="labels='gold'"): augment(toy(), aug, labels="gold")

# As a file

ODD = ['she said "no"', '"all of it"', 'an odd " one', "two\tfields", "two\nlines", "dos\r\nlines", "a\rmac", " spaces ", "comma, comma", "semi;colon", "NA", "null", "007",
       "1.50", "'single'", "back\\slash", "\\t", '\\"', "#hash", "=1+1", "Grüße 好 🙂", "\u00a0nbsp", "\ufeffbom", "|pipe|", '""', '"', "a\u2028b", "true", "-", "x" * 200_000]

@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet", ".TSV", ".CSV"])
@pytest.mark.parametrize("texts", [ODD, [t for t in ODD if '"' in t], ["\t", *ODD[:12]]] + [[t, "plain"] for t in ODD[:9]], ids=lambda t: f"{len(t)} {t[0][:9]!r}")
def test_what_is_written_is_read(tmp_path, ending, texts):
    "A table of odd texts, pairs and unknown labels comes back as it was."
    filler = [f"plain text {i}" for i in range(60)]
    rows = [*texts, *filler]
    task = make_task("odd", dict(train=pd.DataFrame(dict(text=rows, pair=rows[::-1], label=["no" if i % 2 else "yes" for i in range(len(rows))])),
                                 test=pd.DataFrame(dict(text=filler, pair=filler, label=["no", "yes"] * 30))))
    out = check_table(tmp_path/"new"/f"t{ending}")
    save_table(task, out)
    df, written = read_table(out), task["train"].to_pandas()
    assert df["text"].tolist() == written["text"].tolist() and df["pair"].tolist() == written["pair"].tolist()
    assert df["label"].tolist() == [task.labels[i] for i in written["label"]]

def test_where_a_table_can_go(tmp_path):
    (tmp_path/"t.csv").write_text("mine")
    (tmp_path/"file").write_text("")
    for bad, message in {"t.csv": "exists", "t.xlsx": "a name that ends in", "file/t.csv": "cannot be written", "t": "a name that ends in"}.items():
        with pytest.raises(InputError, match=message): check_table(tmp_path/bad)
    with pytest.raises(InputError, match="not as distill_nb wrote it"): check_table(tmp_path/"t.csv", overwrite=True)
    task = make_task("x", dict(train=pd.DataFrame(dict(text=list("abcdefghijkl" * 3), label=["a", "b"] * 18))))
    save_table(task, tmp_path/"u.csv")
    assert check_table(tmp_path/"u.csv", overwrite=True) == tmp_path/"u.csv" and (tmp_path/"t.csv").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == [FILES, "file", "t.csv", "u.csv"]

# Word vectors

def test_a_fresh_head_is_refused(tok, lm, tmp_path):
    lm.bert.save_pretrained(tmp_path)
    tok.save_pretrained(tmp_path)
    model = load_masked_lm(tmp_path)
    with pytest.raises(InputError, match="freshly initialised"): Augmenter(model, tok)
    lm.save_pretrained(tmp_path/"whole")
    check_head(load_masked_lm(tmp_path/"whole"))

def vectors(tmp_path, raw, name="v.txt"):
    (tmp_path/name).write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    return read_vectors(tmp_path/name)

@pytest.mark.parametrize("lines, message", [
    ("cat 1 2\ndog 1\n", "line 2: 1 numbers: expected 2"), ("cat 1 2\ndog 1 2 3\n", "line 2: 3 numbers"), ("", "no word"), ("\n \n", "no word"),
    ("3 2\n", "no word"), ("cat one two\n", "line 1"), ("cat 1\n", "line 1: 1 numbers"), ("cat 1 2\n\ndog nan 1\n", "line 3: a number that is not finite"),
    ("cat 1 2\ndog inf 1\n", "line 2"), ("cat 1 2\ndog 1e39 1\n", "line 2"), ("cat 1 2\ndog -1e999 1\n", "line 2"), ("cat 1 2\ndog 1,5 2\n", "line 2"),
    ("cat,1,2\ndog,1,2\n", "line 1"), ("2 300\ncat 1 2\ndog 1 2\n", "line 2: 2 numbers: expected 300"), ("cat 1 2\ngrün 1 2\n".encode("latin-1"), "line 2"),
    ("cat 1 2\n".encode("utf-16"), "v.txt, line 1: binary, or UTF-16"), (b"3 2\ncat \0\1\2", "binary"), ("cat 1 2\n1 2\n", "line 2: 1 numbers")])
def test_vector_files_that_are_refused(tmp_path, lines, message):
    with pytest.raises(InputError, match=message) as e: vectors(tmp_path, lines)
    assert "\n" not in str(e.value)

@pytest.mark.parametrize("raw", [
    "cat 3 0\ndog 1 1\ncar 0 2\n", "3 2\ncat 3 0\ndog 1 1\ncar 0 2", "cat 3 0\r\ndog 1 1\r\ncar 0 2\r\n", "cat\t3\t0\ndog\t1\t1\ncar\t0\t2\n",
    "cat\t3 0\ndog\t1 1\ncar\t0 2\n", "cat 3 0 \ndog 1 1 \ncar 0 2 \n", "\ufeffcat 3 0\ndog 1 1\ncar 0 2\n", "cat  3  0\n\n\ndog 1.0 1e0\n   \ncar 0 +2\n\n"],
    ids=["glove", "word2vec", "crlf", "tabs", "tab and spaces", "spaces at the end", "bom", "blank lines"])
@pytest.mark.parametrize("packed", [False, True])
def test_vector_files_in_their_spellings(tmp_path, raw, packed):
    import gzip
    v = vectors(tmp_path, gzip.compress(raw.encode()) if packed else raw, "v.txt.GZ" if packed else "v.txt")
    assert v.words == ["cat", "dog", "car"] and v.matrix[2].tolist() == [0, 1]

@pytest.mark.parametrize("word", [". . .", "at name@domain.com", "new york", "a b c d", "1 .", "$ 5.5 -", "\u00a0", "\x85x", "word\u3000word", "1"])
@pytest.mark.parametrize("first", [False, True])
def test_words_with_spaces_are_words(tmp_path, word, first):
    lines = [f"{word} 5 6 7", "soup 1 2 3", "lamp 2 3 4"]
    assert vectors(tmp_path, "\n".join(lines if first else lines[::-1])).words == ([word, "soup", "lamp"] if first else ["lamp", "soup", word])

@pytest.mark.parametrize("odd", [b"w2 1", b"w2 nan 1", b"w2 1e39 1", b"gr\xfcn 1 2", b"room 101 1 2", b"w2 x y", b"7"])
def test_an_odd_line_among_many_is_left_out_and_told(tmp_path, odd):
    lines = [f"w{i} {i} 1".encode() for i in range(1000)]
    lines[2] = odd
    with pytest.warns(UserWarning, match="1 lines were left out, the first: v.txt, line 3"): v = vectors(tmp_path, b"\n".join(lines))
    assert len(v) == 999 and v.matrix.isfinite().all()

def test_a_cut_gz(tmp_path):
    import gzip
    raw = gzip.compress(b"".join(b"w%d 1 2\n" % i for i in range(999)))
    for bad in (raw[:len(raw) // 2], b"no gz"):
        with pytest.raises(InputError, match="cannot be read"): vectors(tmp_path, bad, "v.gz")

def test_vector_files(tmp_path):
    (tmp_path/"v.txt").write_text("4 2\ncat 3 0\ndog 1 1\ncat 0 1\ncar 0 2\n")
    v = read_vectors(tmp_path/"v.txt")
    assert v.words == ["cat", "dog", "car"] and v.matrix[0].tolist() == [1, 0]
    assert read_vectors(tmp_path/"v.txt", limit=2).words == ["cat", "dog"]
    assert v.nearest(["cat", "moon", "car"], 9) == [["dog", "car"], [], ["dog", "cat"]] and v.nearest([], 3) == []
    with pytest.raises(InputError, match="no such file"): read_vectors(tmp_path/"none.txt")

def test_vectors_of_a_model_and_of_pieces(lm, tok):
    own = embedding_vectors(lm, tok)
    assert "good" in own and "##s" not in own and "[CLS]" not in own and "." not in own
    means = lambda words: piece_means(words, lm, tok)
    table = lm.get_input_embeddings().weight.detach()
    mean = table[[WORDS.index("har"), WORDS.index("##bour")]].mean(0)
    torch.testing.assert_close(means(["harbour"])[0], mean, check_dtype=False)
    best = [own.words[i] for i in (own.matrix @ mean).topk(3).indices]
    assert own.nearest(["harbour", "good"], 3, means) == [best, *own.nearest(["good"], 3)]

def test_neighbours_do_not_depend_on_the_company(lm, tok):
    own, means = embedding_vectors(lm, tok), lambda words: piece_means(words, lm, tok)
    assert own.nearest(["harbour", "harbourbour"], 3, means)[:1] == own.nearest(["harbour"], 3, means)

# The head

def test_fitting_lowers_perplexity_and_can_leave_the_encoder(lm, tok):
    import copy
    texts = [f"the {a} {b} !" for a in ("good", "bad", "fine", "dull") for b in ("film", "book", "cat", "dog")] * 8
    for freeze in (True, False):
        model = copy.deepcopy(lm)
        note(model, knows_words=False)
        before = copy.deepcopy(model.bert.state_dict())
        fitted = fit_head(model, tok, texts, freeze=freeze, max_steps=30, per_device_train_batch_size=16, learning_rate=3e-3,
                          disable_tqdm=True, use_cpu=True)
        assert fitted.after < .7 * fitted.before and fitted.steps == 30 and knows_words(model) and not model.training
        same = all(torch.equal(t, before[n]) for n, t in model.bert.state_dict().items())
        assert same == freeze and all(p.requires_grad for p in model.parameters())
        assert model.get_output_embeddings().weight is model.get_input_embeddings().weight

def test_perplexity_is_repeatable_and_refuses_nothing(lm, tok):
    texts = ["the good film", "a dull book"] * 20
    assert perplexity(lm, tok, texts) == perplexity(lm, tok, texts) > 1
    with pytest.raises(InputError, match="3 texts"): fit_head(lm, tok, ["a", "b", "", "c"])

def test_vectors_are_compared_in_full_precision(aug, lm, tok, monkeypatch, tmp_path):
    "bf16 is for the model's products; a task's new texts are those of single rows."
    seen = []
    monkeypatch.setattr(type(aug.known), "nearest", lambda self, words, *rest: (seen.append(torch.is_autocast_enabled("cpu")), [[] for _ in words])[1])
    rows = pd.DataFrame(dict(text=[f"{w} film {i}" for i in range(8) for w in ("good", "unharbour")], label=["a", "b"] * 8))
    augment(make_task("toy", dict(train=rows)), replace(aug, bf16=True), folder=tmp_path)
    assert seen and not any(seen)
