"""Runs of several kinds in one process, or under torchrun in two: what each found goes to argv[1]/CASE-WORLD-RANK.pt.

A test asks the fixture `in_processes` for a case: all of them share one start of Python, which takes longer than they do."""
import os, sys
from functools import partial
from pathlib import Path
import torch
from builders import (
    ADAM, bert, Coins, collate, Draws, lm_rows, make_tokenizer, narrow, OBJECTIVES, PLAIN, rows, sharp, small_bert, small_lm, TRIPLE, weights)
from distill_nb.losses import HardTargets, SoftTargets
from distill_nb.students.copied import init_student
from distill_nb.students.slots import ConstantSchedule, Replacing, find_slots, theseus
from distill_nb.training.distiller import Distiller
from distill_nb.training.settings import training_args

RANK, WORLD, TOK = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)), make_tokenizer()

def arguments(out, **settings): return training_args(out/"run", ddp_backend="gloo" if WORLD > 1 else None, **PLAIN | settings)

def meet_rows(kind, n, out):
    "Two epochs: the rows of every batch, the draws about them, and Theseus' coins."
    collator, coins, calls = Draws(TOK), [], []
    data = rows(TOK, n).add_column("idx", list(range(n)))
    settings = dict(max_steps=-1, num_train_epochs=2, per_device_train_batch_size=8 // WORLD, learning_rate=.1)
    if kind == "stream": data, settings["max_steps"] = data.to_iterable_dataset(), 2 * n // 8
    student, teacher, objective = small_bert(.1), sharp(), SoftTargets(T=2)
    if kind == "theseus": student, teacher, objective, calls = theseus(sharp(), 2, seed=2), None, HardTargets(), [Replacing(ConstantSchedule(.4))]
    torch.manual_seed(RANK) # nobody may count on it
    run = Distiller(student, teacher, objective, arguments(out, **settings), train_dataset=data, processing_class=TOK, data_collator=collator, callbacks=calls)
    if kind == "budget": run.token_budget = 25
    if kind == "theseus":
        slots = find_slots(student)
        student.register_forward_hook(lambda *_: coins.append(list(slots.drawn)) if student.training else None)
    run.show_bar("x").train()
    return dict(seen=collator.seen, coins=coins)

def step(name, out):
    "One step on labels, tokens, pairs and examples that are unevenly spread: the trained module's weights before and after."
    student = narrow() if name == "tinybert" else init_student(bert(), [0, 3])
    data = rows(TOK, labels=lambda i: int(i % 3 == 0) if i % 4 else -100)
    more, objective, teacher = {}, OBJECTIVES.get(name), sharp()
    if name == "words":
        student, teacher, data, objective = init_student(small_lm(), [0, 3]), small_lm(), lm_rows(), TRIPLE()
        more = dict(data_collator=partial(collate, TOK))
    run = Distiller(student, teacher, objective, arguments(out, per_device_train_batch_size=32 // WORLD), train_dataset=data,
                    processing_class=TOK, **more)
    module, before = run.model, weights(run.model)
    run.show_bar("step").train()
    return dict(before=before, after=weights(module))

def replace(checkpointing, out):
    "Eight steps of replacing: the coins, and the successors' weights before and after."
    model, coins = theseus(sharp(), 2, seed=2), Coins()
    def own(): return torch.nn.utils.parameters_to_vector(p for b in find_slots(model).successors for p in b.parameters()).detach().clone()
    args = arguments(out, **ADAM | dict(max_steps=8, optim="sgd", learning_rate=.1, per_device_train_batch_size=16 // WORLD,
                                        gradient_checkpointing=checkpointing))
    run = Distiller(model, None, HardTargets(), args, train_dataset=rows(TOK, 64), processing_class=TOK, callbacks=[Replacing(ConstantSchedule(.4)), coins])
    before = own()
    run.show_bar("step").train()
    return dict(before=before, after=own(), seen=[[*c] for c in coins.seen])

CASES = {f"meet-{kind}-{n}": partial(meet_rows, kind, n) for kind, n in (("rows", 48), ("rows", 37), ("theseus", 37), ("stream", 48), ("budget", 37))}
CASES |= {f"step-{name}": partial(step, name) for name in ("all", "tinybert", "words")}
CASES |= {f"replace-{way}": partial(replace, way == "checkpointing") for way in ("plain", "checkpointing")}

if __name__ == "__main__":
    out = Path(sys.argv[1])
    for name, case in CASES.items(): torch.save(case(out), out/f"{name}-{WORLD}-{RANK}.pt")
    if WORLD > 1: # leave together, and without the interpreter's teardown, in which gloo's threads now and then abort
        torch.distributed.barrier()
        os._exit(0)
