"Two epochs in one of several processes: the rows of every batch and the draws about them, to argv[1]-RANK.json. argv: out, kind, rows, processes"
import json, os, sys
import torch
from builders import Draws, make_tokenizer, PLAIN, rows, sharp, small_bert
from distill_nb.losses import HardTargets, SoftTargets
from distill_nb.students.slots import ConstantSchedule, Replacing, find_slots, theseus
from distill_nb.training.distiller import Distiller
from distill_nb.training.settings import training_args

out, kind, n, world = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
rank, tok, coins = int(os.environ.get("RANK", 0)), make_tokenizer(), []
collate = Draws(tok)
data = rows(tok, n).add_column("idx", list(range(n)))
settings = PLAIN | dict(max_steps=-1, num_train_epochs=2, per_device_train_batch_size=8 // world, learning_rate=.1,
                        ddp_backend="gloo" if world > 1 else None)
if kind == "stream": data, settings["max_steps"] = data.to_iterable_dataset(), 2 * n // 8
args = training_args(f"{out}-run", **settings)
student, teacher, objective, calls = small_bert(.1), sharp(), SoftTargets(T=2), []
if kind == "theseus": student, teacher, objective, calls = theseus(sharp(), 2, seed=2), None, HardTargets(), [Replacing(ConstantSchedule(.4))]
torch.manual_seed(rank) # nobody may count on it
run = Distiller(student, teacher, objective, args, train_dataset=data, processing_class=tok, data_collator=collate, callbacks=calls)
if kind == "theseus":
    slots = find_slots(student)
    student.register_forward_hook(lambda *_: coins.append(list(slots.drawn)) if student.training else None)
run.show_bar("x").train()
json.dump(dict(seen=collate.seen, coins=coins), open(f"{out}-{rank}.json", "w"))
if world > 1: # leave together, and without the interpreter's teardown, in which gloo's threads now and then abort
    torch.distributed.barrier()
    os._exit(0)
