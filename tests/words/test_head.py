"Sweeps behind nbs/words/00_head.ipynb and the start of nbs/31: heads that see picked states alone, over families; fitting; evaluation."
import pytest, torch
from datasets import Dataset
from transformers import AutoModelForMaskedLM, BertConfig, BertForMaskedLM
from builders import WORDS
from families import EXTRA, build
from distill_nb.data.tokens import text_rows
from distill_nb.words.head import (
    knows_words, WordDistiller, fit_head, perplexity, ready_masked_lm, word_scores, word_term)
from distill_nb.kit.models import note
from distill_nb.words.hiding import HideWords
from distill_nb.kit.errors import InputError
from distill_nb.training.settings import training_args
from distill_nb.words.chunks import HardWords, SoftWords, masked_logits

FAMILIES = sorted(EXTRA.keys() - {"xlm", "flaubert"})  # these two have no AutoModelForMaskedLM

def batch(seed=1, bs=3):
    gen = torch.Generator().manual_seed(seed)
    ids, seen = torch.randint(5, 90, (bs, 8), generator=gen), torch.ones(bs, 8, dtype=torch.long)
    ids[0, 6:], seen[0, 6:] = 1, 0
    return dict(input_ids=ids, attention_mask=seen), (torch.rand(bs, 8, generator=gen) < .4) & seen.bool()

ONE = torch.zeros(3, 8, dtype=torch.bool)
ONE[1, 2] = True

@pytest.mark.parametrize("which", [lambda mask: mask, torch.ones_like, torch.zeros_like, lambda mask: ONE], ids=["some", "all", "none", "one"])
@pytest.mark.parametrize("family", FAMILIES)
def test_picked_states_give_the_logits_of_all(family, which):
    model, (inputs, mask) = build(family, AutoModelForMaskedLM), batch()
    some = which(mask)
    with torch.no_grad():
        whole, picked = model(**inputs).logits, masked_logits(model, inputs, some)
        torch.testing.assert_close(model(**inputs).logits, whole)  # nothing is left behind
    torch.testing.assert_close(picked, whole[some], atol=2e-5, rtol=1e-5)
    assert not model.base_model._forward_hooks

@pytest.mark.parametrize("where", ["some", "none"])
@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_gradients_are_those_of_the_plain_way(family, where):
    model, (inputs, mask) = build(family, AutoModelForMaskedLM), batch()
    if where == "none": mask = torch.zeros_like(mask)
    found = []
    for z in (lambda: model(**inputs).logits[mask], lambda: masked_logits(model, inputs, mask)):
        model.zero_grad()
        z().logsumexp(-1).sum().backward()
        found.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, g in found[0].items(): torch.testing.assert_close(found[1][name], g, atol=1e-4, rtol=1e-3)

@pytest.mark.parametrize("unit", [None, "labels", "tokens"])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_checkpointing_and_autocast_with_and_without_words(checkpointed, unit):
    "A backward pass of a term on no row, some rows, one row; in bf16 too."
    from distill_nb.inside.capture import trace
    for hidden in (0, 1, 9):
        model, teacher = build("bert", AutoModelForMaskedLM).train(), build("bert", AutoModelForMaskedLM)
        if checkpointed: model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=dict(use_reentrant=False))
        inputs, _ = batch()
        labels = torch.full_like(inputs["input_ids"], -100)
        labels.view(-1)[:hidden] = inputs["input_ids"].view(-1)[:hidden]
        term = HardWords() if unit is None else SoftWords(unit=unit)
        layers = {"words": ("labels",)} if unit != "tokens" else {"words": None}
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad(): t = trace(teacher, inputs | dict(labels=labels), layers)
            loss = term(trace(model, inputs | dict(labels=labels), layers), t, inputs | dict(labels=labels))
        loss.backward()
        assert loss.isfinite() and (hidden or unit == "tokens" or loss == 0)
        assert model.get_input_embeddings().weight.grad.isfinite().all()

# A trainer

FAST = dict(max_steps=1, disable_tqdm=True, logging_steps=1, bf16=False, use_cpu=True, warmup_steps=0, max_grad_norm=0., eval_strategy="no")

def lm(layers=2, **kw):
    torch.manual_seed(0)
    return BertForMaskedLM(BertConfig(**dict(vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32, hidden_dropout_prob=0., attention_probs_dropout_prob=0., initializer_range=.3) | kw))

def texts(n): return [" ".join(WORDS[5 + (i * 7 + j * (1 + i % 3)) % 8] for j in range(1 + i % 11)) for i in range(n)]

class Labelled:
    "A collator of rows with labels, so that every split of a window hides the same words."
    def __init__(self, tok): self.tok = tok
    def __call__(self, rows):
        long = max(len(r["input_ids"]) for r in rows)
        fill = lambda x, v: torch.tensor([r[x] + [v] * (long - len(r[x])) for r in rows])
        return dict(input_ids=fill("input_ids", 0), labels=fill("labels", -100),
                    attention_mask=(torch.arange(long) < torch.tensor([[len(r["input_ids"])] for r in rows])).long())

def one_step(tok, tmp_path, monkeypatch, batch_size, windows, hidden, **kw):
    "What a step of fit_head's Trainer logs, and the weights after it; `hidden`: row -> which of its tokens."
    rows = text_rows(texts(32), tok)
    labels = [[i if hidden(n, j) else -100 for j, i in enumerate(ids)] for n, ids in enumerate(rows["input_ids"])]
    model = lm(**kw)
    run = WordDistiller(model, None, word_term(model), training_args(tmp_path, **FAST | dict(
        optim="sgd", learning_rate=1., weight_decay=0., lr_scheduler_type="constant", per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=windows)), train_dataset=rows.add_column("labels", labels), data_collator=Labelled(tok))
    run.show_bar("x").train()
    return run.history().loss.iloc[0], torch.nn.utils.parameters_to_vector(model.parameters()).detach()

@pytest.mark.parametrize("hidden, batch_size, windows", [
    (lambda n, j: j % 3 == 1, 12, 3), (lambda n, j: n % 4 == 0 and j == 1, 8, 4), (lambda n, j: n % 4 == 0 and j == 1, 1, 32),
    (lambda n, j: n == 31 and j == 1, 8, 4)], ids=["even", "whole rows without", "rows of their own", "one word of all"])
def test_accumulation_is_the_large_batch(tok, tmp_path, monkeypatch, hidden, batch_size, windows):
    (loss, all_at_once), (other, in_parts) = [one_step(tok, tmp_path, monkeypatch, *how, hidden) for how in ((32, 1), (batch_size, windows))]
    start = torch.nn.utils.parameters_to_vector(lm().parameters()).detach()
    assert (all_at_once - start).norm() > 1e-2 and other == pytest.approx(loss, rel=1e-4)
    assert (all_at_once - in_parts).norm() < 1e-4 * (all_at_once - start).norm()

def test_a_window_without_a_word_changes_nothing(tok, tmp_path, monkeypatch):
    loss, after = one_step(tok, tmp_path, monkeypatch, 8, 4, lambda n, j: False)
    assert loss == 0 and torch.equal(after, torch.nn.utils.parameters_to_vector(lm().parameters()).detach())

@pytest.mark.parametrize("size, windows", [(1, 1), (1, 3), (2, 1), (7, 2)])
def test_short_rows_and_small_batches_are_ordinary(tok, size, windows):
    "Rows of one to eleven words: most batches of one row hide none."
    fitted = fit_head(lm(), tok, texts(60), seed=1, **FAST | dict(max_steps=20, per_device_train_batch_size=size, gradient_accumulation_steps=windows))
    assert fitted.steps == 20 and fitted.after > 1

def evaluation(tok, tmp_path, model, data, **kw):
    run = WordDistiller(model, None, word_term(model), training_args(tmp_path, **FAST | kw), eval_dataset=data, data_collator=HideWords(tok))
    torch.rand(7) # whatever was drawn before
    return run.evaluate()["eval_loss"]

def test_an_evaluation_is_always_the_same_and_weighs_by_words(tok, tmp_path):
    model, data = lm(), text_rows(texts(65), tok) # the last batch of 64 is one row
    found = [evaluation(tok, tmp_path, model, data, per_device_eval_batch_size=n, **kw)
             for n, kw in ((64, {}), (64, {}), (13, {}), (1, {}), (13, dict(dataloader_num_workers=2)))]
    assert found == pytest.approx([found[0]] * 5, rel=1e-5)

def test_an_evaluation_equals_word_scores(tok, tmp_path):
    from distill_nb.training.order import SeededRows
    model, data = lm(), text_rows(texts(40), tok)
    marked = SeededRows(data, 0, fixed=True)
    scores = word_scores(model, [HideWords(tok)(marked.__getitems__(range(40)))])
    assert evaluation(tok, tmp_path, model, data) == pytest.approx(torch.tensor(scores["perplexity"]).log().item(), rel=1e-5)

@pytest.mark.parametrize("rows", [1, 2])
def test_an_evaluation_of_a_short_row_or_without_words(tok, tmp_path, rows):
    data = Dataset.from_dict(dict(input_ids=[[2, 3]] * rows, length=[2] * rows)) # nothing can be hidden
    assert evaluation(tok, tmp_path, lm(), data) != evaluation(tok, tmp_path, lm(), data) # NaN: not the best there is

def test_a_loss_above_88_is_a_number(tok, tmp_path):
    model = lm(initializer_range=30.)
    with torch.no_grad(): model.get_output_embeddings().weight.mul_(40)
    data = text_rows(texts(40), tok)
    assert 88 < evaluation(tok, tmp_path, model, data) < 1e6
    assert perplexity(model, tok, texts(40)) > 1e38

@pytest.mark.parametrize("family", ["bert", "mobilebert"])
def test_what_is_scored_may_hold_batches_without_words(family):
    model, (inputs, mask) = build(family, AutoModelForMaskedLM), batch()
    labels = torch.where(mask, inputs["input_ids"], -100)
    blind = inputs | dict(labels=torch.full_like(labels, -100))
    some = word_scores(model, [inputs | dict(labels=labels)])
    assert word_scores(model, [blind, inputs | dict(labels=labels), blind]) == some
    with pytest.raises(InputError, match="without a word to hide"): word_scores(model, [blind])

def test_a_head_without_a_bias_is_fitted_too(tok):
    class Bare(BertForMaskedLM): pass
    model = lm()
    model.cls.predictions.decoder.bias = None
    note(model, knows_words=False)
    assert fit_head(model, tok, texts(60), **FAST).steps == 1

def test_two_runs_that_fit_the_same_head_at_once_both_go_on(tok, tmp_path, monkeypatch):
    "Minutes of fitting are not lost because another run has kept the same head in the meantime: the same, whatever was drawn before."
    lm().bert.save_pretrained(tmp_path/"headless"), tok.save_pretrained(tmp_path/"headless")
    def ready(): return ready_masked_lm(tmp_path/"headless", steps=1, folder=tmp_path/"kept", texts=texts(40))[0]
    def fit(*args, **kwargs):
        monkeypatch.undo()
        torch.rand(3), others.append(ready())
        return fit_head(*args, **kwargs)
    others = []
    monkeypatch.setattr("distill_nb.words.head.fit_head", fit)
    with pytest.warns(UserWarning, match="head is not kept: .* is not empty"): mine = ready()
    kept = others[0].state_dict()
    assert knows_words(mine) and all(torch.equal(kept[k], w) for k, w in mine.state_dict().items())

def test_a_fitted_head_is_kept_once(tok, tmp_path):
    lm().bert.save_pretrained(tmp_path/"headless"), tok.save_pretrained(tmp_path/"headless")
    for again in (False, True):
        with pytest.warns(UserWarning, match="head was fresh") if not again else pytest.warns() as said:
            ready, _ = ready_masked_lm(tmp_path/"headless", steps=1, folder=tmp_path/"kept", texts=texts(40))
            if again:
                import warnings
                warnings.warn("nothing else")
        assert [("fresh" in str(w.message)) for w in said].count(True) == (not again)
        assert knows_words(ready) and not ready.training
