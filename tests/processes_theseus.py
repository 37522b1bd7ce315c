"Eight steps of replacing, without gradient checkpointing and with it: coins and weights before and after, to argv[1]-RANK."
import os, sys
import torch
from torch import nn
from builders import ADAM, Coins, make_tokenizer, rows, sharp
from distill_nb.losses import HardTargets
from distill_nb.students.slots import ConstantSchedule, Replacing, find_slots, theseus
from distill_nb.training.distiller import Distiller
from distill_nb.training.settings import training_args

out, n, found = sys.argv[1], int(sys.argv[2]), []
for checkpointing in (False, True):
    tok, model, coins = make_tokenizer(), theseus(sharp(), 2, seed=2), Coins()
    def weights(): return nn.utils.parameters_to_vector(p for b in find_slots(model).successors for p in b.parameters()).detach().clone()
    args = training_args(f"{out}-run", **ADAM | dict(max_steps=8, optim="sgd", learning_rate=.1, per_device_train_batch_size=16 // n,
                         gradient_checkpointing=checkpointing, ddp_backend="gloo" if n > 1 else None))
    run = Distiller(model, None, HardTargets(), args, train_dataset=rows(tok, 64), processing_class=tok,
                    callbacks=[Replacing(ConstantSchedule(.4)), coins])
    before = weights()
    run.show_bar("step").train()
    found.append(dict(before=before, after=weights(), seen=[[*c] for c in coins.seen]))
torch.save(found, f"{out}-{args.process_index}")
if n > 1: # leave together, and without the interpreter's teardown, in which gloo's threads now and then abort
    torch.distributed.barrier()
    os._exit(0)
