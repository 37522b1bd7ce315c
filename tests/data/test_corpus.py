"Sweeps behind nbs/data/08_corpus.ipynb: every kind of source, what is refused, and the reference's own way to hide words."
import json, math
from collections import Counter
import datasets, pytest, torch
import pandas as pd
from datasets import Dataset, DatasetDict, IterableDataset
from safetensors.torch import load_file
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast
from builders import GOLDEN, recorded, WORDS
from distill_nb.data import corpus as module
from distill_nb.data.corpus import count_tokens, cut, hold_out, pack, read_corpus, sequences, useful
from distill_nb.words.hiding import (
    SHOWN, HideWords, choose_rare, choose_tokens, choose_words, mask_tokens, rare_weights, ways, word_batches)
from distill_nb.kit.errors import InputError
from distill_nb.training.order import SeededRows

TEXTS = [f"text {i} is here" for i in range(40)]

@pytest.fixture
def home(tmp_path, monkeypatch):
    "A folder for files; what is cached lies beside it."
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path/"cache")
    (tmp_path/"home").mkdir()
    return tmp_path/"home"

def texts_of(rows): return [r["text"] for r in rows]

# Sources

def as_file(home): (home/"t.txt").write_text("\n".join(TEXTS)); return home/"t.txt"
def as_windows(home): (home/"t.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(TEXTS).encode()); return home/"t.txt"
def as_folder(home):
    (home/"below").mkdir()
    (home/"a").write_text("\n".join(TEXTS[:15])) # no suffix, as WikiExtractor's
    (home/"below"/"b.txt").write_text("\n\n".join(TEXTS[15:]) + "\n")
    (home/".hidden").write_bytes(b"\0")
    return home
def as_saved(home): Dataset.from_dict(dict(text=TEXTS)).save_to_disk(home/"d"); return home/"d"
def as_saved_splits(home): DatasetDict(train=Dataset.from_dict(dict(text=TEXTS)), test=Dataset.from_dict(dict(text=["no"]))).save_to_disk(home/"d"); return home/"d"
def as_tables(home): Dataset.from_dict(dict(text=TEXTS, id=list(range(40)))).to_parquet(home/"d"/"train.parquet"); return home/"d"
def as_jsonl(home): Dataset.from_dict(dict(text=TEXTS)).to_json(home/"t.jsonl"); return home/"t.jsonl"
def as_tsv(home): Dataset.from_dict(dict(text=TEXTS, n=[1] * 40)).to_csv(home/"t.tsv", sep="\t"); return home/"t.tsv"
def as_gaps(home):
    "Cells without a text give no row, whatever a number further down does to the column beside."
    rows = [dict(text=t, n=str(i) if i < 20 else "x") for i, t in enumerate(TEXTS)]
    rows[3:3] = [dict(text="", n="1"), dict(text="  ", n="")]
    pd.DataFrame(rows).to_csv(home/"t.csv", index=False)
    return home/"t.csv"
def as_shouted(home): return as_gaps(home).rename(home/"T.CSV")
def as_nulls(home):
    (home/"t.jsonl").write_text("\n".join(json.dumps(dict(text=t)) for t in [None, *TEXTS, None]) + '\n\n{"id": 7}\n')
    return home/"t.jsonl"
def as_list(home): (home/"t.json").write_text(json.dumps([dict(text=t) for t in TEXTS])); return home/"t.json"
def as_null_parquet(home): Dataset.from_dict(dict(text=[None, *TEXTS, ""])).to_parquet(home/"T.PARQUET"); return home/"T.PARQUET"
def as_arrow(home):
    as_saved(home)
    return next((home/"d").glob("*.arrow")).rename(home/"t.arrow")
def as_saved_nulls(home): Dataset.from_dict(dict(text=[None, *TEXTS, " "])).save_to_disk(home/"d"); return home/"d"
def as_csv_folder(home):
    for name, rows in dict(train=TEXTS, test=["no"]).items(): pd.DataFrame(dict(text=[*rows, ""])).to_csv(home/f"{name}.csv", index=False)
    return home

@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("source", [as_file, as_windows, as_folder, as_saved, as_saved_splits, as_tables, as_jsonl, as_tsv, as_gaps, as_shouted, as_nulls, as_list, as_null_parquet, as_arrow,
                                    as_saved_nulls, as_csv_folder])
def test_every_source_gives_the_same_texts(home, source, streaming):
    rows = read_corpus(source(home), streaming=streaming)
    assert isinstance(rows, IterableDataset if streaming else Dataset)
    assert texts_of(rows) == TEXTS and list(next(iter(rows))) == ["text"]
    assert texts_of(rows) == TEXTS # twice: an epoch is not the end of a stream

@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".json", ".parquet"])
def test_texts_that_look_like_something_else_stay_as_they_are(home, ending, streaming):
    odd = ["NA", "null", "None", "nan", "007", "1e5", "True", 'she said "no"', "a, b", "two\tfields", "two\nlines", "grün", "-"]
    df, file = pd.DataFrame(dict(text=odd, label=range(len(odd)))), home/f"t{ending}"
    if ending in (".csv", ".tsv"): df.to_csv(file, index=False, sep="\t" if ending == ".tsv" else ",")
    elif ending == ".parquet": df.to_parquet(file)
    else: df.to_json(file, orient="records", lines=ending == ".jsonl")
    assert texts_of(read_corpus(file, streaming=streaming)) == odd

@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name, content, where", [
    ("t.csv", b'text,n\na,1\nb,2,3,4\n', "line 3"), ("t.csv", "text\nGrüße\n".encode("latin-1"), "line 2"),
    ("t.CSV", b"text\n\xff\xfe\n", "T|t.CSV"), ("t.tsv", b"", "t.tsv"), ("t.json", b"{]", "t.json"), ("t.jsonl", b'{"text": "a"}\n{"te', "line 2"), ("t.jsonl", b"3\n", "t.jsonl"),
    ("t.parquet", b"PAR1 and no more", "t.parquet"), ("t.arrow", b"ARROW1", "t.arrow"), ("t.csv", b"body\nx\n", "expected texts in 'text'"),
    ("t.jsonl", b'{"body": "x"}\n', "columns .*body"), ("t.jsonl", b'{"text": 3}\n', "expected texts in 'text'"), ("t.csv", b"text\n\n \n", "t.csv")])
def test_a_broken_table_is_named_and_no_network_is_blamed(home, name, content, where, streaming):
    (home/name).write_bytes(content)
    for source in (home/name, home): # alone, and as the only file of a folder
        with pytest.raises(InputError, match=where) as e: list(read_corpus(source, streaming=streaming))
        assert "network" not in str(e.value) and "\n" not in str(e.value)

def test_a_text_that_is_missing_far_down_is_found_while_streaming(home):
    with open(home/"t.jsonl", "w") as f:
        for i in range(3000): f.write(json.dumps(dict(text=None if i == 2000 else f"text {i}")) + "\n")
        f.write('{"text": 5}\n')
    stream = read_corpus(home/"t.jsonl", streaming=True)
    with pytest.raises(InputError, match="row 3001: 5: expected texts"):
        for row in stream: assert isinstance(row["text"], str)

@pytest.mark.parametrize("source", ["nowhere.txt", "no/such/file", "./nowhere", "T.CSV", "x.jsonl.gz", ""])
def test_a_path_that_is_not_there_is_no_question_of_the_network(source):
    with pytest.raises(InputError) as e: read_corpus(source)
    assert "network" not in str(e.value)

def test_a_hub_name_is_asked_for_as_it_was_said(monkeypatch):
    asked = []
    def load(*args, **kwargs):
        asked.append((args, kwargs))
        rows = Dataset.from_dict(dict(body=TEXTS))
        return rows.to_iterable_dataset() if kwargs["streaming"] else rows
    monkeypatch.setattr("datasets.load_dataset", load)
    assert texts_of(read_corpus("owner/name:en", column="body", split="test", streaming=True)) == TEXTS
    assert texts_of(read_corpus("owner/name", column="body")) == TEXTS
    assert asked == [(("owner/name", "en"), dict(split="test", streaming=True)), (("owner/name", None), dict(split="train", streaming=False))]

def test_a_changed_file_is_read_again(home):
    file = as_file(home)
    assert len(read_corpus(file)) == 40
    file.write_text("now another")
    assert texts_of(read_corpus(file)) == ["now another"]

@pytest.mark.slow
def test_the_embedded_corpus_streams_too():
    assert next(iter(read_corpus(streaming=True))) == read_corpus()[0]

@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("content, message", [
    (b"", "no text"), (b"\n  \n\n", "no text"), (b"\x89PNG\r\n\0\0\0", "binary"), ("zwei Wörter".encode("utf-16"), "UTF-16"),
    ("fine\nGrüße".encode("latin-1"), "t.txt, line 2: invalid start byte")])
def test_what_is_no_text_is_refused_and_leaves_nothing(home, tmp_path, content, message, streaming):
    (home/"t.txt").write_bytes(content)
    with pytest.raises(InputError, match=message): list(read_corpus(home/"t.txt", streaming=streaming))
    assert not list(tmp_path.rglob("*.arrow")) and not list(tmp_path.rglob("*.incomplete"))

def test_one_bad_file_of_many(home):
    folder = as_folder(home)
    (folder/"below"/"z.bin").write_bytes(b"\0\1")
    with pytest.raises(InputError, match="z.bin: binary"): read_corpus(folder)

@pytest.mark.parametrize("source, message", [
    (lambda h: h, "an empty folder"), (lambda h: h/"nowhere", "nowhere: no such file or folder: expected a text file, a folder, or a data set"),
    (lambda h: (as_saved_splits(h), h/"d")[1], r"split 'dev' of .*\['test', 'train'\]"),
    (lambda h: (Dataset.from_dict(dict(body=["a"])).save_to_disk(h/"e"), h/"e")[1], r"columns \['body'\]: expected texts in 'text'"),
    (lambda h: (Dataset.from_dict(dict(text=[1])).save_to_disk(h/"e"), h/"e")[1], "expected texts in 'text'"),
    (lambda h: (Dataset.from_dict(dict(text=[])).save_to_disk(h/"e"), h/"e")[1], "cannot be loaded|no text")])
def test_bad_sources(home, source, message):
    with pytest.raises(InputError, match=message): read_corpus(source(home), split="dev")

# Sides

@pytest.mark.parametrize("share", [.05, .5])
def test_sides_do_not_depend_on_order_or_company(share):
    rows = Dataset.from_dict(dict(text=TEXTS * 2))
    train, held = hold_out(rows, share)
    assert not set(texts_of(train)) & set(texts_of(held)) and len(train) + len(held) == 80
    other = hold_out(Dataset.from_dict(dict(text=TEXTS[::-1] + ["more"])).to_iterable_dataset(), share)[1]
    assert set(texts_of(other)) - {"more"} == set(texts_of(held))

def test_shares_outside_are_refused():
    for share in (0, 1, -1, 2):
        with pytest.raises(InputError, match="held-out share"): hold_out(None, share)

# Sequences

def test_long_texts_are_cut_and_nothing_is_lost(tok):
    text = " ".join(WORDS[5 + i % 8] for i in range(300))
    plain = tok(text, add_special_tokens=False)["input_ids"]
    got = cut([text, "good"], tok, 20)
    assert max(got["length"]) == 20 and [ids[0] for ids in got["input_ids"]] == [2] * 18
    assert sum((ids[1:-1] for ids in got["input_ids"][:-1]), []) == plain

@pytest.mark.parametrize("n", [1, 7, 8, 9, 50])
def test_packing_keeps_every_token_in_order(tok, n):
    texts = [" ".join(WORDS[5 + (i + j) % 8] for j in range(1 + i % 5)) for i in range(n)]
    got = pack(texts, tok, 12, words=True)
    inner = sum((ids[1:-1] for ids in got["input_ids"]), [])
    want = [i for t in texts for i in [*tok(t, add_special_tokens=False)["input_ids"], 3]][:-1]
    assert inner == want and set(got["length"][:-1]) <= {12}
    numbers = [w for row in got["words"] for w in row if w >= 0]
    assert numbers == list(range(len(numbers))) # every word of this tokenizer is one token
    assert all(len(a) == len(b) for a, b in zip(got["words"], got["input_ids"]))

def test_short_and_foreign_sequences_are_dropped(tok):
    assert not useful([1, 1, 1], unknown=1, shortest=2) and useful([1, 1, 5, 5], unknown=1, shortest=2)
    texts = ["good " * 20, "good bad", "xyz " * 20, "good xyz " * 10]
    rows = sequences(Dataset.from_dict(dict(text=texts)), tok, max_length=64)
    assert len(rows) == 2 and rows["length"][:] == [22, 22]

@pytest.mark.parametrize("packed", [False, True])
def test_streams_give_the_rows_of_the_whole(tok, packed):
    corpus = Dataset.from_dict(dict(text=["good bad fine dull " * (1 + i % 9) for i in range(50)]))
    whole = sequences(corpus, tok, max_length=16, packed=packed, words=True)
    stream = sequences(corpus.to_iterable_dataset(), tok, max_length=16, packed=packed, words=True)
    assert list(stream) == list(whole) and set(whole.column_names) == {"input_ids", "length", "words"}
    assert torch.equal(count_tokens(stream, len(tok)), count_tokens(whole, len(tok)))

def test_bad_sequences(tok):
    corpus = Dataset.from_dict(dict(text=["good"]))
    with pytest.raises(InputError, match="no sequence of 12 tokens"): sequences(corpus, tok)
    with pytest.raises(InputError, match="no sequence of 12 tokens"): sequences(Dataset.from_dict(dict(text=["日本 " * 30])), tok)
    with pytest.raises(InputError, match="max_length=4"): sequences(corpus, tok, max_length=4)
    short = PreTrainedTokenizerFast(tokenizer_object=tok.backend_tokenizer, pad_token="[PAD]", mask_token="[MASK]", model_max_length=32)
    with pytest.raises(InputError, match="max_length=64: expected at least 8 tokens, at most 32"): sequences(corpus, short, max_length=64)

@pytest.mark.parametrize("what", ["mask", "pad"])
def test_a_tokenizer_that_cannot_hide_words(tok, what):
    special = {f"{w}_token": f"[{w.upper()}]" for w in ("mask", "pad") if w != what}
    other = PreTrainedTokenizerFast(tokenizer_object=tok.backend_tokenizer, **special)
    for use in (lambda: HideWords(other), lambda: sequences(Dataset.from_dict(dict(text=["good"])), other)):
        with pytest.raises(InputError, match=f"without a {what} token"): use()

# Hiding

def test_shares_of_what_a_hidden_word_becomes(tok):
    torch.manual_seed(0)
    ids = torch.full((300, 300), 7)
    new, labels = mask_tokens(ids, torch.rand(300, 300) < .5, tok, *ways(torch.rand(300, 300, 2), len(tok)))
    hidden = labels != -100
    assert (new[~hidden] == 7).all() and (labels[hidden] == 7).all()
    got, n = Counter(new[hidden].tolist()), int(hidden.sum())
    assert got[4] / n == pytest.approx(.8 + .1 / 13, abs=.01) and got[7] / n == pytest.approx(.1 + .1 / 13, abs=.01)
    assert set(got) == set(range(13)) # any word, special ones too: the reference's rule

def test_whole_words_stand_and_fall_together():
    torch.manual_seed(0)
    words = torch.tensor([[-1, 0, 0, 1, 2, 2, 2, -1, 3, 3]]).expand(500, -1)
    mask = choose_words(words < 0, .15, words, torch.rand(words.shape))
    for a, b in ((1, 2), (4, 6), (8, 9)): assert (mask[:, a] == mask[:, b]).all()
    assert not mask[:, [0, 7]].any() and mask[:, 1:].float().mean() == pytest.approx(.15 * 8 / 9, abs=.03)
    assert (mask[:, 1] != mask[:, 4]).any()

def test_special_tokens_are_never_hidden(tok):
    ids = torch.tensor([[2, 5, 1, 6, 3, 0, 0]])
    rows = [dict(input_ids=ids[0, :5].tolist())] * 300
    for collate in (HideWords(tok, .9), HideWords(tok, .3, weights=rare_weights(torch.ones(13), tok.all_special_ids))):
        batch = collate(rows)
        assert set(batch["labels"].unique().tolist()) == {-100, 5, 6}

def test_every_batch_is_hidden_anew_and_workers_too(tok):
    rows = [dict(input_ids=[2, *[5 + i % 8] * 30, 3]) for i in range(64)]
    for workers in (0, 2):
        torch.manual_seed(0)
        loader = DataLoader(rows, 16, collate_fn=HideWords(tok), num_workers=workers)
        epochs = [torch.cat([b["labels"] for b in loader]) for _ in range(2)]
        assert (epochs[0] != epochs[1]).any()
        torch.manual_seed(0)
        assert torch.equal(epochs[0], torch.cat([b["labels"] for b in loader]))

def test_exactly_the_share_and_never_more_than_there_is():
    weights = rare_weights(torch.tensor([5, 9, 0, 1]), [0])
    assert weights.tolist() == pytest.approx([0, 9**-.7, 1, 1])
    ids = torch.tensor([[0, 1, 2, 3], [0, 1, 0, 0]])
    draws = lambda: torch.empty(2, 4).exponential_()
    for n in ([[2], [1]], [[1], [0]]):
        for _ in range(20): assert choose_rare(ids, torch.tensor(n), weights, draws()).sum(1, True).tolist() == n
    assert choose_rare(ids, 4, weights, draws()).sum(1).tolist() == [3, 1]  # there are no more
    assert choose_rare(ids * 0, 4, weights, draws()).sum() == 0 and choose_rare(ids, 2, weights, draws() * 0).sum() == 3
    assert choose_tokens(torch.ones(3, 3).bool(), .9, torch.zeros(3, 3)).sum() == 0

def test_rare_tokens_are_drawn_as_torch_draws():
    "In proportion to their weights, against torch.multinomial without replacement."
    torch.manual_seed(0)
    weights, ids = torch.tensor([0., 1., 2., 4., 8.]), torch.arange(5).expand(20_000, -1)
    ours = choose_rare(ids, 2, weights, torch.empty(ids.shape).exponential_()).float().mean(0)
    theirs = torch.zeros(20_000, 5).scatter_(1, torch.multinomial(weights.expand(20_000, -1), 2), 1.).mean(0)
    torch.testing.assert_close(ours, theirs, atol=.02, rtol=0)

# A function of the seed and the row

ROWS = [dict(input_ids=[2, *[5 + (i * j) % 8 for j in range(5 + i)], 3], words=[-1, *[j // 2 for j in range(5 + i)], -1]) for i in range(40)]

def collators(tok): return [HideWords(tok), HideWords(tok, whole_words=True), HideWords(tok, weights=rare_weights(torch.arange(13), tok.all_special_ids))]

@pytest.mark.parametrize("way", range(3))
@pytest.mark.parametrize("size", [1, 3, 40])
def test_hidden_words_do_not_depend_on_company_or_past(tok, way, size):
    seeded = SeededRows(ROWS, seed=5)
    def row(collate, i, company):
        got = collate(seeded.__getitems__([i, *company]))
        n = len(ROWS[i]["input_ids"])
        return {k: v[0, :n].tolist() for k, v in got.items()}
    for i in (0, 7, 39):
        torch.manual_seed(i)
        alone = row(collators(tok)[way], i, [])
        torch.rand(11)
        assert row(collators(tok)[way], i, range(size - 1)) == alone
    before = row(collators(tok)[way], 39, [])
    seeded.set_epoch(1)
    assert row(collators(tok)[way], 39, []) != before

@pytest.mark.parametrize("way", range(3))
def test_the_share_is_kept_row_by_row(tok, way):
    rows = [dict(input_ids=[2, *[5 + (i * j) % 8 for j in range(40)], 3], words=[-1, *range(40), -1], row_seed=i) for i in range(500)]
    collate = collators(tok)[way]
    assert (collate(rows)["labels"] >= 0).sum() == pytest.approx(.15 * 500 * (42 if way == 2 else 40), rel=.05)
    torch.manual_seed(1) # nothing is drawn from the global generator
    collate(rows)
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(1))

def test_padding_is_never_hidden_whatever_a_subclass_chooses(tok):
    class All(HideWords):
        def choose(self, ids, n_tokens, words=None): return torch.ones_like(ids).bool()
    got = All(tok)(ROWS[:5])
    assert torch.equal(got["labels"] >= 0, got["attention_mask"] > 0)

def test_a_row_of_special_tokens_and_an_empty_choice(tok):
    for collate in collators(tok):
        got = collate([dict(input_ids=[2, 3], words=[-1, -1])])
        assert (got["labels"] == -100).all() and got["input_ids"].tolist() == [[2, 3]]

@pytest.mark.parametrize("size", [1, 7, 50])
def test_scores_ask_every_model_the_same(tok, size):
    whole, parts = [word_batches(ROWS, HideWords(tok), at_most=30, size=n) for n in (30, size)]
    at = 0
    for part in parts:
        n, width = part["labels"].shape
        assert torch.equal(part["labels"], whole[0]["labels"][at:at + n, :width])
        at += n
    state = torch.get_rng_state()
    assert at == 30 and not torch.equal(word_batches(ROWS, HideWords(tok), seed=1, size=30)[0]["labels"], whole[0]["labels"])
    assert torch.equal(torch.get_rng_state(), state)

def test_a_key_holds_what_decides(tok):
    keys = [str(c.key()) for c in collators(tok)] + [str(HideWords(tok, .2).key())]
    assert len(set(keys)) == 4 and str(HideWords(tok).key()) == keys[0]

def test_bad_collators(tok):
    for share in (0, 1, 1.5):
        with pytest.raises(InputError, match="share="): HideWords(tok, share)
    with pytest.raises(InputError, match="one way to choose"): HideWords(tok, whole_words=True, weights=torch.ones(13))
    with pytest.raises(InputError, match="rows without 'words'"): HideWords(tok, whole_words=True)([dict(input_ids=[2, 5, 3])])

# What the reference's own code did

@recorded
def test_the_recorded_draw():
    "Weights exactly, and with its seed the very words that were hidden and what they became."
    case = next(c for c in json.loads((GOLDEN/"hfdistil.json").read_text())["cases"] if c["name"] == "prepare_batch_mlm")
    tensors, i = load_file(GOLDEN/"hfdistil.safetensors"), case["inputs"]
    get = lambda key: tensors[key.removeprefix("T:")]
    special = i["special_tok_ids"]
    weights = rare_weights(get(i["counts"]), special.values(), i["mlm_smoothing"])
    torch.testing.assert_close(weights, get(case["out"]["token_probs"]).float(), rtol=0, atol=0)
    ids, n = get(i["token_ids"]).long(), get(i["lengths"])
    class Tok: # what `mask_tokens` reads of a tokenizer
        mask_token_id = special["mask_token"]
        def __len__(self): return i["vocab_size"]
    torch.manual_seed(0)
    hidden = math.ceil(i["mlm_mask_prop"] * int(n.sum())) # of the whole batch, as one row
    mask = choose_rare(ids.view(1, -1), hidden, weights, torch.empty(1, ids.numel()).exponential_()).view(ids.shape)
    assert mask.sum() == case["out"]["n_tgt"]
    any_word = torch.randint_like(ids[mask], len(Tok()))
    way = torch.multinomial(torch.tensor(SHOWN), hidden, replacement=True)
    spread = lambda x: torch.zeros_like(ids).masked_scatter(mask, x)
    new, labels = mask_tokens(ids, mask, Tok(), spread(way), spread(any_word))
    assert torch.equal(labels, get(case["out"]["seed0_labels"])) and torch.equal(new, get(case["out"]["seed0_token_ids"]))
