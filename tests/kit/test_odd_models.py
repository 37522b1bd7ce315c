"What is asked of a model before anything is trained, in families of every make: tokens, positions, and what is no model."
import accelerate, pytest, torch
from packaging.version import Version
from torch import nn
from builders import bert, make_tokenizer, rows, PLAIN
from families import EXTRA, ODD, build, build_odd
from distill_nb.kit.errors import InputError
from distill_nb.kit.models import check_length, few_tokens, longest, n_tokens, reads
from distill_nb.losses import HiddenMSE, SoftTargets
from distill_nb.students.copied import init_student
from distill_nb.training.distiller import Distiller
from distill_nb.training.run import fit
from distill_nb.training.settings import training_args

def make(family): return build_odd(family) if family in ODD else build(family)

def tried(model, most=60):
    "The longest text of a run of lengths that the model reads; None: all of them."
    good = [n for n in range(40, most) if reads(model, n)]
    return max(good) if len(good) < most - 40 else None

@pytest.mark.parametrize("family", [*EXTRA, *ODD])
def test_positions_are_what_the_model_can_read(family):
    "Tables have other names and spare rows; where a configuration says nothing it is tried."
    model = make(family)
    most, said = tried(model), longest(model)
    assert said in (most, None) or most is None and said > 59
    if most is None: return check_length(model, 59)
    check_length(model, most)
    with pytest.raises(InputError, match=f"max_length={most + 1}: expected at most {most},"): check_length(model, most + 1)

@pytest.mark.parametrize("family", [*EXTRA, *ODD])
def test_a_few_tokens_are_a_batch_for_every_family(family):
    model = make(family)
    batch = few_tokens(model)
    assert model(**batch).logits.shape == (3, 3) and int(batch["input_ids"].max()) < n_tokens(model)
    assert torch.equal(few_tokens(model)["input_ids"], batch["input_ids"]) # nothing is drawn

WRAPPED = {"compiled": lambda m: torch.compile(m, backend="eager"), "plain": lambda m: m}
OLD = pytest.mark.skipif(Version(accelerate.__version__) < Version("1.11"), reason="accelerate 1.10 does not unwrap what torch 2.13 compiles")

@pytest.mark.parametrize("way", [pytest.param("compiled", marks=OLD), "plain"])
def test_a_compiled_model_is_a_model(way, tok, tmp_path):
    "It has no truth value: bool() of it asks for its length."
    run = Distiller(WRAPPED[way](init_student(bert(), [0])), WRAPPED[way](bert()), SoftTargets(T=2) + HiddenMSE(),
                    training_args(tmp_path, **PLAIN), train_dataset=rows(tok), processing_class=tok)
    run.show_bar("test").train()
    assert run.state.log_history[0]["loss"] > 0

def inference(m):
    with torch.inference_mode(): return init_student(m, [0])

@pytest.mark.parametrize("student, teacher, wanted", [
    (lambda m: init_student(m, [0]), lambda m: nn.DataParallel(m), "DataParallel as the teacher.*take its module"),
    (lambda m: nn.DataParallel(m), lambda m: bert(), "DataParallel as the student"),
    (lambda m: nn.Linear(2, 2), lambda m: m, "Linear as the student: expected a Hugging Face model"),
    (lambda m: init_student(m, [0]), lambda m: "bert-base-uncased", "'bert-base-uncased' as the teacher"),
    (lambda m: init_student(m, [0]).requires_grad_(False), lambda m: m, "a student that is frozen"),
    (lambda m: init_student(m, [0]).to("meta"), lambda m: m, "on the meta device"),
    (inference, lambda m: m, "inference mode")])
@pytest.mark.parametrize("by", ["Distiller", "fit"])
def test_what_is_no_model_is_refused_before_the_first_step(student, teacher, wanted, by, tok, tmp_path):
    models = student(bert()), teacher(bert())
    with pytest.raises(InputError, match=wanted):
        if by == "fit": fit(models[0], dict(train=rows(tok)), tok, SoftTargets(T=2), models[1], **PLAIN)
        else: Distiller(*models, SoftTargets(T=2), training_args(tmp_path, **PLAIN), train_dataset=rows(tok), processing_class=tok)
