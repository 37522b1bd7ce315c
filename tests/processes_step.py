"One step of test_train.py or test_vocabulary.py in one process and in two: the trained module's weights before and after, to argv[1]."
import os, sys
from functools import partial
import torch
from builders import bert, collate, lm_rows, make_tokenizer, narrow, OBJECTIVES, PLAIN, rows, sharp, small_lm, TRIPLE, weights
from distill_nb.students.copied import init_student
from distill_nb.training.distiller import Distiller
from distill_nb.training.settings import training_args

out, n, name = sys.argv[1], int(sys.argv[2]), sys.argv[3]
tok, student = make_tokenizer(), narrow() if name == "tinybert" else init_student(bert(), [0, 3])
data = rows(make_tokenizer(), labels=lambda i: int(i % 3 == 0) if i % 4 else -100)
more, objective, teacher = {}, OBJECTIVES.get(name), sharp()
if name == "words":
    student, teacher, data, objective = init_student(small_lm(), [0, 3]), small_lm(), lm_rows(), TRIPLE()
    more = dict(data_collator=partial(collate, tok))
args = training_args(f"{out}-run", **PLAIN, per_device_train_batch_size=32 // n, ddp_backend="gloo" if n > 1 else None)
run = Distiller(student, teacher, objective, args, train_dataset=data, processing_class=tok, **more)
module, before = run.model, weights(run.model)
run.show_bar("step").train()
if run.is_world_process_zero(): torch.save((before, weights(module)), out)
if n > 1: # leave together, and without the interpreter's teardown, in which gloo's threads now and then abort
    torch.distributed.barrier()
    os._exit(0)
