"""A student of some of a teacher's layers on one process or many: `accelerate launch --config_file ... benchmarks/accelerate/distil.py --help`.

The same as `torchrun --nproc_per_node=8 benchmarks/accelerate/distil.py ...`. The processes share the filling of the teacher cache. Without FSDP the
command line does as much, with a report: `torchrun --nproc_per_node=8 -m distill_nb train ...`. One process with `--batch 256` takes the steps of eight with `--batch 32`.
"""
import argparse
import datasets
from distill_nb.data.load import load_task
from distill_nb.data.tokens import tokenize
from distill_nb.kit.folders import output_folder
from distill_nb.losses import HardTargets, SoftTargets
from distill_nb.training.run import fit
from distill_nb.students.copied import init_student
from distill_nb.teachers.load import load_teacher, load_tokenizer
from distill_nb.data.classes import match_labels

if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--task", required=True, help="as for distill_nb train")
    p.add_argument("--teacher", required=True, help="folder or Hub name of a teacher that knows the task")
    p.add_argument("--out", required=True)
    p.add_argument("--layers", type=int, default=3)
    p.add_argument("--epochs", type=float, default=3.)
    p.add_argument("--batch", type=int, default=32, help="texts per process and step")
    p.add_argument("--max-length", type=int, default=128)
    o = p.parse_args()
    datasets.disable_progress_bars()
    with output_folder(o.out) as out: # tried before the training, held to the end
        tok, task = load_tokenizer(o.teacher), load_task(o.task)
        teacher = load_teacher(o.teacher, task)
        rows = tokenize(match_labels(task, teacher), tok, o.max_length)
        run = fit(init_student(teacher, range(o.layers)), rows, tok, 5*SoftTargets(T=2) + 2*HardTargets(), teacher,
                  num_train_epochs=o.epochs, per_device_train_batch_size=o.batch)
        run.save_model(str(out)) # all take part: under FSDP the weights are gathered first
