"One step of tiny models, run by test_train.py in one process and in two: writes the student's weights to argv[1]."
import sys
import torch
from conftest import bert, make_tokenizer
from test_train import OBJECTIVES, PLAIN, rows, sharp, weights
from distill_nb.student import init_student
from distill_nb.train import Distiller, training_args

out, n = sys.argv[1], int(sys.argv[2])
tok, student = make_tokenizer(), init_student(bert(), [0, 3])
data = rows(make_tokenizer(), labels=lambda i: int(i % 3 == 0) if i % 4 else -100)
args = training_args(f"{out}-run", **PLAIN, per_device_train_batch_size=32 // n, ddp_backend="gloo" if n > 1 else None)
run = Distiller(student, sharp(), OBJECTIVES["all"], args, train_dataset=data, processing_class=tok)
run.show_bar("step").train()
if run.is_world_process_zero(): torch.save(weights(student), out)
if n > 1: # leave together: a process whose peer is gone aborts
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
