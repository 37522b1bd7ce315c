"FSDP2 on CPUs: a whole run, one resumed at its middle, and the best model loaded at the end. argv: out"
import json, os, sys
import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from builders import bert, make_tokenizer, OBJECTIVES, PLAIN, rows, sharp
from distill_nb.students import init_student
from distill_nb.training.distiller import Distiller
from distill_nb.training.settings import training_args

out, found, tok = sys.argv[1], {}, make_tokenizer()

def run(name, resume=None, **settings):
    sharded = dict(version=2, transformer_layer_cls_to_wrap="BertLayer", state_dict_type="FULL_STATE_DICT")
    args = training_args(f"{out}/{name}", **PLAIN | dict(
        max_steps=4, save_strategy="steps", save_steps=2, per_device_train_batch_size=8, optim="adamw_torch", learning_rate=1e-2,
        ddp_backend="gloo", fsdp=True, fsdp_config=sharded) | settings)
    args.device
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_XPU # accelerate refuses to shard over CPUs
    d = Distiller(init_student(bert(), [0, 3]), sharp(), OBJECTIVES["all"], args, train_dataset=rows(tok), eval_dataset=rows(tok, 16),
                  processing_class=tok)
    d.show_bar("x").train(resume_from_checkpoint=resume)
    return [p.detach().flatten() for p in d.given.parameters()], d # whole again

whole, _ = run("whole")
resumed, _ = run("resumed", f"{out}/whole/checkpoint-2")
over, _ = run("whole", f"{out}/whole/checkpoint-4") # nothing is left to train
_, best = run("best", eval_strategy="steps", eval_steps=2, load_best_model_at_end=True, metric_for_best_model="loss")
if best.is_world_process_zero():
    gap = lambda some: max(float((a - b).abs().max()) for a, b in zip(whole, some))
    json.dump(dict(gap=gap(resumed), over=gap(over), best=best.state.best_model_checkpoint), open(f"{out}/found.json", "w"))
torch.distributed.barrier()
os._exit(0)
