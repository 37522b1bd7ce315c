"What of Trainer we override or read although it is private, or may change: each is there, takes what we give it, and is called."
import ast, inspect
from pathlib import Path
import pytest, transformers
from accelerate import Accelerator
from transformers import Trainer, TrainingArguments
from distill_nb.recipes import distilbert as general
from distill_nb.words import head as masked_lm
from distill_nb.training.order import OrderedTrainer
from distill_nb.training.distiller import Distiller
from builders import OBJECTIVES, PLAIN, bert, rows, sharp
from distill_nb.students import init_student
from distill_nb.training.settings import training_args

OURS = [c for module in (general, masked_lm) for c in vars(module).values()
        if inspect.isclass(c) and issubclass(c, Trainer) and c is not Trainer]
OURS = list(dict.fromkeys([OrderedTrainer, Distiller, *OURS]))

# overridden method -> what the override does there, and the parameters that it names or passes on by name
OVERRIDDEN = {
    "train": ("starts from the seed; resumes from a whole checkpoint", ["resume_from_checkpoint"]),
    "create_accelerator_and_postprocess": ("streams are read by each process, one GPU for each", []),
    "_get_dataloader": ("every loader gets rows that carry their seed", ["dataset", "description", "batch_size", "is_training"]),
    "_get_train_sampler": ("the order of rows depends on seed and epoch", ["train_dataset"]),
    "_get_eval_sampler": ("evaluation keeps the order of rows", ["eval_dataset"]),
    "_set_signature_columns_if_needed": ("remove_unused_columns keeps what student and teacher read", []),
    "training_step": ("a loss of NaN is noticed", []),
    "get_batch_samples": ("the items of a window are counted", ["epoch_iterator", "num_batches", "device"]),
    "compute_loss": ("the objective is the loss", ["model", "inputs", "return_outputs", "num_items_in_batch"]),
    "prediction_step": ("each row's loss is kept", ["model", "inputs", "prediction_loss_only", "ignore_keys"]),
    "evaluation_loop": ("the loss is a mean over labels", ["metric_key_prefix"]),
    "call_model_init": ("a new student gets a new objective", ["trial"]),
    "log": ("one number for each term", ["logs"]),
    "_save": ("the student alone is saved", ["output_dir", "state_dict"]),
    "_save_checkpoint": ("its files are listed with their SHA-256", ["model", "trial"]),
    "_load_from_checkpoint": ("all tensors are loaded, or it is refused", ["resume_from_checkpoint", "model"]),
    "_load_best_model": ("as from a checkpoint", []),
}
CALLED_AND_READ = ["_remove_unused_columns", "_train_batch_size", "_signature_columns", "_get_output_dir", "is_fsdp_enabled", "is_deepspeed_enabled",
                   "current_gradient_accumulation_steps", "model_accepts_loss_kwargs"]

def sentence(name, why): return f"transformers {transformers.__version__}: Trainer.{name} {why}"

@pytest.mark.parametrize("name", OVERRIDDEN)
def test_what_we_override_is_there(name):
    does, parameters = OVERRIDDEN[name]
    there = getattr(Trainer, name, None)
    assert there is not None, sentence(name, f"is gone. Our override is never called: {does}")
    known = inspect.signature(there).parameters
    lacking = [p for p in parameters if p not in known]
    assert not lacking, sentence(name, f"has no {lacking}, which our override names: {does}")

def test_every_override_is_named_here():
    found = {n for c in OURS for n, v in vars(c).items() if callable(v) and hasattr(Trainer, n) and not n.startswith("__")}
    assert found == OVERRIDDEN.keys(), f"name these in OVERRIDDEN, with what they are for: {found ^ OVERRIDDEN.keys()}"

def test_nothing_of_ours_only_looks_like_an_override():
    "A private method that Trainer does not have would be an override of something that is gone."
    lost = [f"{c.__name__}.{n}" for c in OURS for n in vars(c) if n[0] == "_" and not n.startswith(("__", "_orig_"))
            and callable(getattr(c, n)) and not hasattr(Trainer, n)]
    assert not lost, sentence(", ".join(lost), "does not exist: who calls these?")

@pytest.mark.parametrize("name", CALLED_AND_READ)
def test_what_we_read_is_there(name, tok, tmp_path):
    d = Distiller(init_student(bert(), [0]), sharp(), OBJECTIVES["all"], training_args(tmp_path, **PLAIN), train_dataset=rows(tok),
                  processing_class=tok)
    d.show_bar("x").train()
    assert hasattr(d, name), sentence(name, "is gone: distill_nb/order.py or train.py reads it")

def test_arguments_that_we_read_are_there():
    for name in ("train_sampling_strategy", "length_column_name", "accelerator_config", "dataloader_drop_last", "data_seed", "_n_gpu",
                 "neftune_noise_alpha", "label_smoothing_factor", "use_liger_kernel", "batch_eval_metrics", "eval_on_start",
                 "resume_from_checkpoint"):
        args = TrainingArguments("x", use_cpu=True, report_to="none")
        args.n_gpu # makes _n_gpu
        assert hasattr(args, name), f"transformers {transformers.__version__}: TrainingArguments.{name} is gone"
    assert {"dispatch_batches", "split_batches"} <= {*vars(args.accelerator_config)}, "accelerator_config has other fields"
    assert {"reduce", "gather_for_metrics", "autocast", "wait_for_everyone"} <= {*dir(Accelerator)}

def test_every_override_is_called(tok, tmp_path, monkeypatch):
    "A run that trains, evaluates, saves, loads the best model and goes on calls each of them, so Trainer still knows them by these names."
    called = set()
    def spy(cls, name):
        own = vars(cls)[name]
        def call(self, *args, **kwargs):
            called.add(name)
            return own(self, *args, **kwargs)
        monkeypatch.setattr(cls, name, call)
    for cls in (OrderedTrainer, Distiller):
        for name in OVERRIDDEN:
            if name in vars(cls): spy(cls, name)
    def run(out, resume=None, **settings):
        args = training_args(out, **PLAIN | dict(max_steps=2, eval_strategy="steps", eval_steps=1, save_strategy="steps", save_steps=1,
                                                 remove_unused_columns=True) | settings)
        d = Distiller(None, sharp(), OBJECTIVES["all"], args, model_init=lambda: init_student(bert(), [0]), train_dataset=rows(tok),
                      eval_dataset=rows(tok, 8), processing_class=tok)
        d.show_bar("x").train(resume_from_checkpoint=resume)
        return d
    run(tmp_path, load_best_model_at_end=True, metric_for_best_model="loss")
    run(tmp_path, str(tmp_path/"checkpoint-1"))
    silent = OVERRIDDEN.keys() - called
    assert not silent, sentence(", ".join(sorted(silent)), "is not called any more: what our override does is lost")

def test_the_divisor_of_a_window_is_known():
    "Two ways in which Trainer asks whether the loss is scaled already: a class attribute (5.19 and later), a count that is not None."
    tree = ast.parse(Path(inspect.getfile(Trainer)).read_text(encoding="utf-8"))
    names = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    assert "loss_is_scaled_for_ga" in names or "model_accepts_loss_kwargs" in names, sentence(
        "training_step", "scales the loss in a third way: see Distiller.get_batch_samples")
