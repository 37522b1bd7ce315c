"Order of rows and draws about rows: functions of (seed, epoch, row), whatever was drawn, resumed, in whichever process or worker."
import numpy as np
import pytest
import torch
from datasets import Dataset
from builders import bert, Draws, OBJECTIVES, PLAIN, rows, sharp, small_bert, weights
from distill_nb.kit.errors import InputError
from distill_nb.losses import CosineHidden, HardTargets, SoftTargets
from distill_nb.training.order import (
    Order, SeededRows, SeededStream, TokenBudget, deal, lengths_of, row_generators, row_seed)
from distill_nb.training.distiller import Distiller
import distill_nb.training.gpu # pack_tokens, few_shapes
from distill_nb.training.settings import training_args
from distill_nb.students import init_student

def numbered(tok, n): return rows(tok, n).add_column("idx", list(range(n)))

# Parts

@pytest.mark.parametrize("world", [2, 3, 5])
@pytest.mark.parametrize("batch", [2, 3, 8])
def test_deal_gives_every_row_once_and_no_empty_batch(batch, world):
    for n in range(world, 4 * batch * world + 3):
        dealt = deal([*range(100, 100 + n)], batch, world)
        batches = [dealt[i:i + batch] for i in range(0, len(dealt), batch)]
        assert sorted(i for i in dealt if i >= 0) == [*range(100, 100 + n)]
        assert len(dealt) % (batch * world) == 0 and all(any(i >= 0 for i in b) for b in batches)
        assert len(batches) == -(-n // (batch * world)) * world # as many steps as before

@pytest.mark.parametrize("n", [0, 1, 7, 64, 301])
@pytest.mark.parametrize("how", ["random", "lengths", "sequential"])
@pytest.mark.parametrize("world", [1, 2])
def test_order_is_a_function_of_seed_and_epoch(n, how, world):
    data = Dataset.from_dict(dict(input_ids=[[1] * (1 + i * 7 % 12) for i in range(n)]))
    def order(seed, epoch):
        o = Order(SeededRows(data, seed), lengths_of(data) if how == "lengths" else None, 4, world, shuffle=how != "sequential")
        o.set_epoch(epoch)
        torch.rand(3)
        assert len([*o]) == len(o)
        return [i for i in o if i >= 0]
    assert order(0, 1) == order(0, 1) and sorted(order(0, 1)) == [*range(n)]
    if how != "sequential" and n > 7: assert order(0, 1) != order(0, 2) != order(1, 2)
    if how == "sequential": assert order(0, 1) == [*range(n)]
    if how == "lengths" and n > 60:
        dealt = [lengths_of(data)[i] for i in order(0, 0)]
        assert sum(max(dealt[i:i + 4]) - min(dealt[i:i + 4]) for i in range(0, n, 4)) < n # at random: about twice that

@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("tokens, batch", [(60, 4), (64, 64), (200, 16), (10**6, 500), (10**6, 8)])
def test_a_budget_holds_every_text_once_in_equally_many_batches(world, tokens, batch):
    "No batch is empty, none has more texts than it may, and none passes the budget by more than one text."
    lengths = [int(n) for n in torch.randint(1, 30, (301,), generator=torch.Generator().manual_seed(tokens))]
    rows = SeededRows([dict(input_ids=[1] * n) for n in lengths])
    found = TokenBudget(Order(rows, batch=batch, world=world), lengths, tokens)
    def batches(epoch):
        found.set_epoch(epoch)
        flat = [*found]
        assert len(flat) == len(found) and len(flat) % (batch * world) == 0
        return [[i for i in flat[at:at + batch] if i >= 0] for at in range(0, len(flat), batch)]
    one, two = batches(0), batches(1)
    assert len(one) == len(two) and one != two and one == batches(0)
    for cut in one, two:
        assert sorted(sum(cut, [])) == [*range(301)] and 0 < min(map(len, cut)) and max(map(len, cut)) <= batch
        assert max(sum(lengths[i] for i in part) for part in cut) < tokens + max(lengths)
    if batch == 64: assert min(sum(lengths[i] for i in part) for part in one) > 64 - 2 * max(lengths)

@pytest.mark.parametrize("tokens", [0, -3, 2.5, "64", 20])
def test_a_budget_that_holds_no_text_is_refused(tokens):
    with pytest.raises(InputError, match="a budget of"): TokenBudget(Order(SeededRows([0] * 9), batch=4), [25] + [1] * 8, tokens)

@pytest.mark.parametrize("budget", [0, -8, 2.5, True, "64"])
def test_a_budget_is_a_number_of_tokens(tok, tmp_path, budget):
    run = Distiller(sharp(), None, HardTargets(), training_args(tmp_path, **PLAIN), train_dataset=rows(tok), processing_class=tok)
    with pytest.raises(InputError, match=f"a budget of {budget!r} tokens"): run.pack_tokens(budget).train()

@pytest.mark.parametrize("data, n", [([], 0), ([dict(x=1)] * 3, 3)])
def test_a_budget_needs_lengths(data, n):
    with pytest.raises(InputError, match=f"for {n} rows without length"): TokenBudget(Order(SeededRows(data), batch=4), lengths_of(data), 64)

def test_a_budget_counts_real_tokens(tok, tmp_path):
    "Rows that were padded before, and a number of NumPy's, make the same batches."
    texts, found = ["good " * n for n in (1, 9, 2, 3, 7, 1, 1, 5)], []
    for more, budget in ({}, 24), (dict(padding="max_length", max_length=16), np.int64(24)):
        data = Dataset.from_dict({**tok(texts, **more), "labels": [0, 1] * 4})
        run = Distiller(small_bert(), None, HardTargets(), training_args(tmp_path, **PLAIN), train_dataset=data, processing_class=tok).pack_tokens(budget)
        found.append([b["attention_mask"].sum(1).tolist() for b in run.get_train_dataloader()])
    assert found[0] == found[1] and len(found[0]) > 1

@pytest.mark.parametrize("first", ["few_shapes", "pack_tokens"])
def test_packed_batches_may_be_bucketed_too(tok, tmp_path, first):
    "Whichever is called first: the places of tokens are those in the wider batch."
    def trained(*calls):
        run = Distiller(small_bert(), sharp(), SoftTargets(T=2) + CosineHidden(), training_args(tmp_path, **PLAIN | dict(max_steps=2, per_device_train_batch_size=4)),
                        train_dataset=rows(tok), processing_class=tok)
        for call in calls: getattr(run, call)()
        run.show_bar("x").train()
        return weights(run.student)
    other = "few_shapes" if first == "pack_tokens" else "pack_tokens"
    torch.testing.assert_close(trained(first, other), trained(), atol=1e-5, rtol=1e-4)

def test_a_stream_has_no_budget(tok, tmp_path):
    run = Distiller(sharp(), None, HardTargets(), training_args(tmp_path, **PLAIN), train_dataset=rows(tok).to_iterable_dataset(), processing_class=tok)
    with pytest.raises(InputError, match="a budget of tokens for a stream"): run.pack_tokens(64)

@pytest.mark.parametrize("data", [
    [dict(input_ids=[1] * (i % 3 + 1)) for i in range(6)], Dataset.from_dict(dict(input_ids=[[1] * (i % 3 + 1) for i in range(6)])),
    Dataset.from_dict(dict(input_ids=[[1]] * 6, length=[1, 2, 3] * 2)),
    Dataset.from_dict(dict(input_ids=[[1] * (i % 3 + 1) for i in range(6)])).with_format("torch")], ids=["list", "data", "column", "torch"])
def test_lengths_are_read_or_counted(data): assert list(map(int, lengths_of(data))) == [1, 2, 3] * 2

def test_rows_without_lengths_are_shuffled_alike():
    assert lengths_of([]) is None and lengths_of(["a"]) is None and lengths_of(Dataset.from_dict(dict(x=[1]))) is None

def test_seeds_differ_and_travel():
    assert len({row_seed(s, e, r) for s in range(3) for e in [*range(5), "evaluation"] for r in range(200)}) == 3600
    torch.manual_seed(0)
    a = [torch.rand(2, generator=g) for g in row_generators([{}, {"row_seed": 5}])]
    b = [torch.rand(2, generator=g) for g in row_generators([{"row_seed": 5}, {}])]
    assert a[1].equal(b[0]) and not a[0].equal(b[1]) # one without a seed draws one
    torch.manual_seed(0)
    assert torch.rand(2, generator=row_generators([{}])[0]).equal(a[0]) # from the global generator

# Loaders

def loaded(tok, collate, data, epochs=2, **settings):
    "What every epoch's loader yields: row numbers and draws."
    args = training_args(".", **PLAIN | dict(per_device_train_batch_size=4, seed=3) | settings)
    loader = Distiller(small_bert(), None, HardTargets(), args, train_dataset=data, processing_class=tok,
                       data_collator=collate).get_train_dataloader()
    found = []
    for epoch in range(epochs):
        loader.set_epoch(epoch)
        torch.rand(epoch + 1) # draws elsewhere
        found.append([(b["idx"].tolist(), b["draws"].tolist()) for b in loader])
    return found

WORKERS = [dict(dataloader_num_workers=1), dict(dataloader_num_workers=2, dataloader_prefetch_factor=4),
           dict(dataloader_num_workers=2, dataloader_persistent_workers=True)]

@pytest.mark.parametrize("how, strategy", list(zip(WORKERS, ["group_by_length", "random", "sequential"])), ids=["one", "prefetching", "persistent"])
def test_workers_change_nothing(tok, strategy, how):
    how = how | dict(train_sampling_strategy=strategy)
    plain = loaded(tok, Draws(tok), numbered(tok, 22), train_sampling_strategy=strategy)
    assert loaded(tok, Draws(tok), numbered(tok, 22), **how) == plain
    draws = [dict(zip(sum((i for i, _ in e), []), sum((d for _, d in e), []))) for e in plain]
    assert all(draws[0][i] != draws[1][i] for i in draws[0]) # anew in every epoch
    assert draws[1] == {i: torch.randint(10**6, (), generator=torch.Generator().manual_seed(row_seed(3, 1, i))).item() for i in range(22)}

@pytest.mark.slow
@pytest.mark.parametrize("how", [{}, *WORKERS[1:]], ids=["none", "prefetching", "persistent"])
def test_streams_repeat_with_new_draws(tok, how):
    "Twelve steps of four over ten rows: passes follow each other, each with its own draws, and end where they should."
    data = numbered(tok, 10).map(lambda r, i: {"input_ids": [2, 5 + i % 8, 5 + i // 8, 3], "attention_mask": [1] * 4}, with_indices=True)
    found = loaded(tok, Draws(tok), data.to_iterable_dataset(), 1, max_steps=12, **how)[0][:12]
    assert sum((i for i, _ in found), []) == [i % 10 for i in range(48)]
    draws = sum((d for _, d in found), [])
    assert len(set(draws)) == 48 # every row, in every pass

@pytest.mark.slow
def test_a_stream_that_shuffles_does_it_anew(tok):
    stream = numbered(tok, 30).to_iterable_dataset().shuffle(seed=1, buffer_size=8)
    seen = [r["idx"] for r in SeededStream(stream, at_most=60)]
    assert sorted(seen[:30]) == sorted(seen[30:]) == [*range(30)] and seen[:30] != seen[30:]
    assert [r["idx"] for r in SeededStream(stream, at_most=60)] == seen

def test_evaluation_is_the_same_every_time(tok, tmp_path):
    "In the order of the rows, with the same draws, before, during and after a training, and after another one."
    collate, found = Draws(tok), []
    args = training_args(tmp_path, **PLAIN | dict(per_device_eval_batch_size=4, per_device_train_batch_size=4, max_steps=4))
    run = Distiller(small_bert(.1), None, HardTargets(), args, train_dataset=numbered(tok, 16), processing_class=tok, data_collator=collate)
    for turn in range(3):
        for ask in run.evaluate, run.predict:
            collate.seen = []
            ask(numbered(tok, 10))
            found.append([*collate.seen])
        run.train()
    assert all(f == found[0] for f in found) and [i for b in found[0] for i, _ in b] == [*range(10)]

def test_predictions_belong_to_their_rows(tok, tmp_path):
    run = Distiller(sharp(), None, HardTargets(), training_args(tmp_path, **PLAIN | dict(per_device_eval_batch_size=4)),
                    train_dataset=rows(tok), processing_class=tok, compute_metrics=None)
    data = rows(tok, 40)
    one_by_one = [run.predict(data.select([i])).predictions[0].tolist() for i in range(0, 40, 7)]
    got = run.predict(data)
    assert got.label_ids.tolist() == data["labels"][:]
    torch.testing.assert_close(torch.tensor(got.predictions[::7]), torch.tensor(one_by_one), rtol=1e-4, atol=1e-5)

# Runs

def whole_run(tok, out, resume=None, data=None, dropout=.1, budget=None, **settings):
    collate = Draws(tok)
    args = training_args(out, **PLAIN | dict(max_steps=12, per_device_train_batch_size=4, save_strategy="steps", save_steps=1,
                                             optim="adamw_torch", learning_rate=1e-2) | settings)
    run = Distiller(small_bert(dropout), sharp(), SoftTargets(T=2) + CosineHidden(), args,
                    train_dataset=numbered(tok, 18) if data is None else data, processing_class=tok, data_collator=collate)
    run.token_budget = budget
    run.show_bar("x").train(resume_from_checkpoint=resume)
    return weights(run.student)

@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, dict(dataloader_num_workers=2), dict(gradient_accumulation_steps=2, max_steps=7),
                                      dict(train_sampling_strategy="random", dataloader_drop_last=True, eval_strategy="steps", eval_steps=2),
                                      dict(budget=20), dict(stream=True), dict(stream=True, dataloader_num_workers=2)],
                         ids=["plain", "workers", "windows", "random, dropped and evaluated", "budget", "stream", "stream of workers"])
def test_resumed_at_any_step_it_is_the_same_run(tok, tmp_path, settings):
    "Five batches an epoch: inside the first, at its end, inside the second, at its end, inside the third. With dropout, to the bit."
    settings = dict(settings)
    data = numbered(tok, 18).to_iterable_dataset() if settings.pop("stream", False) else None
    whole = whole_run(tok, tmp_path/"whole", data=data, **settings)
    last = settings.get("max_steps", 12)
    for step in (3, 5, 6, 11) if settings in ({}, dict(dataloader_num_workers=2)) else (3, 5):
        if step >= last: continue
        torch.manual_seed(step) # another process has drawn something else
        assert whole_run(tok, tmp_path/f"{step}", str(tmp_path/f"whole/checkpoint-{step}"), data, **settings | dict(save_strategy="no")).equal(whole), step

def test_two_runs_with_one_seed_are_one(tok, tmp_path):
    "The first run of a process is no other than the second; nor are two that were made before either was trained."
    one, two = [whole_run(tok, tmp_path/n) for n in "ab"]
    assert one.equal(two)
    def made(out):
        args = training_args(out, **PLAIN | dict(max_steps=4, per_device_train_batch_size=4))
        return Distiller(small_bert(.1), sharp(), OBJECTIVES["all"], args, train_dataset=rows(tok), processing_class=tok).show_bar("x")
    both = [made(tmp_path/n) for n in "cd"]
    for run in both: run.train()
    assert weights(both[0].student).equal(weights(both[1].student))

@pytest.mark.parametrize("kind, n", [("rows", 48), ("rows", 37), ("theseus", 37), ("stream", 48), ("budget", 37)])
def test_two_processes_meet_every_row_once_an_epoch(in_processes, kind, n):
    "37 rows do not divide by two processes; dropout draws other numbers in each. The draws about a row are those of one process."
    alone, *found = in_processes(f"meet-{kind}-{n}")
    steps = [-(-n // 8) if kind != "budget" else len(run["seen"]) // 2 for run in (alone, *found)]
    assert steps[1] == steps[2]
    for epoch in range(2):
        met = [tuple(r) for rank in found for batch in rank["seen"][epoch * steps[1]:(epoch + 1) * steps[1]] for r in batch]
        assert sorted(i for i, _ in met) == [*range(n)]
        assert sorted(met) == sorted(tuple(r) for batch in alone["seen"][epoch * steps[0]:(epoch + 1) * steps[0]] for r in batch)
    assert found[0]["coins"] == found[1]["coins"] == alone["coins"]

# Numbers

class NaNTerm(SoftTargets):
    "Its loss is NaN from its third call on."
    calls = 0
    def forward(self, s, t, batch):
        NaNTerm.calls += 1
        return super().forward(s, t, batch) * (float("nan") if NaNTerm.calls > 2 else 1.)

def broken(model, value):
    with torch.no_grad(): next(model.parameters())[5] = value
    return model

@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("case, message", [("term", "step 3: .*lower learning_rate=1"), ("teacher", "step 1: .*The teacher's weights"),
                                           ("student", "step 1: .*are all weights numbers")])
def test_a_loss_that_is_no_number_stops_the_run(tok, tmp_path, case, message, value):
    NaNTerm.calls, student, teacher = 0, init_student(bert(), [0, 3]), sharp()
    if case == "teacher": broken(teacher, value)
    if case == "student": broken(student, value)
    term = NaNTerm() if case == "term" else CosineHidden()
    args = training_args(tmp_path, **PLAIN | dict(max_steps=9, per_device_train_batch_size=8, save_strategy="steps", save_steps=1))
    run = Distiller(student, teacher, term, args, train_dataset=rows(tok), processing_class=tok)
    with pytest.raises(InputError, match=message): run.show_bar("x").train()
    assert sorted(p.name for p in tmp_path.glob("checkpoint-*")) == ([f"checkpoint-{i}" for i in (1, 2)] if case == "term" else [])
    if case == "term": assert all(p.isfinite().all() for p in student.parameters()) # the step was not taken

def test_a_rate_that_is_too_high_ends_in_a_sentence_and_saves_nothing(tok, tmp_path):
    args = training_args(tmp_path, **PLAIN | dict(max_steps=50, per_device_train_batch_size=8, learning_rate=1e30, save_strategy="epoch"))
    run = Distiller(init_student(bert(), [0, 3]), sharp(), OBJECTIVES["all"], args, train_dataset=rows(tok), processing_class=tok)
    with pytest.raises(InputError, match="lower learning_rate=1e[+]30"): run.show_bar("x").train()
    assert not [*tmp_path.glob("checkpoint-*")]

def test_weights_that_are_no_numbers_are_not_saved(tok, tmp_path):
    run = Distiller(broken(bert(2), float("nan")), None, HardTargets(), training_args(tmp_path, **PLAIN), train_dataset=rows(tok),
                    processing_class=tok)
    with pytest.raises(InputError, match="weights that are NaN"): run.save_model(tmp_path/"out")
    assert not (tmp_path/"out"/"model.safetensors").exists()

def test_a_budget_needs_a_row_for_every_process():
    order = Order(SeededRows([dict(input_ids=[1] * 4)] * 2), batch=4, world=3)
    with pytest.raises(InputError, match="2 rows in 3 processes"): TokenBudget(order, [4, 4], 16)

@pytest.mark.parametrize("batch, world", [(1, 1), (1, 2), (1, 3), (2, 2), (3, 4), (8, 1), (8, 3)])
def test_the_advice_for_a_budget_is_one_that_is_taken(batch, world):
    "Twice the longest text was refused again where processes share few rows."
    import random
    r, advised = random.Random(0), 0
    for _ in range(300):
        lengths = [r.choice([1, 2, 5, 9, 30]) for _ in range(r.randint(world, world + 6))]
        make = lambda tokens: TokenBudget(Order(SeededRows([dict(input_ids=[1] * n) for n in lengths]), batch=batch, world=world), lengths, tokens)
        tokens = r.choice([1, 10, 30, 64, 1000])
        try: make(tokens)
        except InputError as e:
            advice = str(e).split("a text for each. ")[1]
            if advice.startswith("Leave the budget out"): assert batch == 1
            else:
                found = make(int(advice.split()[1].strip(",")))
                flat = [*found]
                assert all(any(i >= 0 for i in flat[at:at + batch]) for at in range(0, len(flat), batch))
            advised += 1
    assert advised
