"""Behind nbs/recipes/02_layers.ipynb, 09_minilm.ipynb and 10_mobilebert.ipynb: named objectives, and MiniLM between models of every family that records attention."""
import pytest, torch
import families
from distill_nb.inside.blocks import n_blocks
from distill_nb.inside.capture import trace
from distill_nb.kit.errors import InputError
from distill_nb.recipes.layers import OBJECTIVES
from distill_nb.recipes.minilm import minilm_student, minilm_terms
from distill_nb.recipes.mobilebert import mobilebert_config, mobilebert_student
from distill_nb.shell.options import PAPERS

def test_the_shell_knows_every_objective_of_the_recipe(): assert set(PAPERS) == {*OBJECTIVES}

@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "distilbert", "modernbert", "xlm-roberta", "mobilebert"])
@pytest.mark.parametrize("version", [1, 2])
def test_minilm_between_a_family_and_its_layers(family, version):
    teacher = families.build(family)
    student, terms = minilm_student(teacher, 2).train(), minilm_terms(version)
    ids = torch.randint(5, families.V, (2, 9), generator=torch.Generator().manual_seed(1))
    batch = dict(input_ids=ids, attention_mask=torch.ones_like(ids))
    s, t = terms.reads(2, n_blocks(teacher))
    with torch.no_grad(): big = trace(teacher, batch, t)
    losses = terms(trace(student, batch, s), big, batch)
    sum(losses.values()).backward()
    assert all(loss > 0 for loss in losses.values())
    last = student.get_submodule(next(n for n, m in student.named_modules() if len(list(m.children())) == 2 and n.endswith(("layer", "layers")))) if family != "mobilebert" else student
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in last.parameters())
    itself = terms(trace(teacher, batch, t), big, batch)
    assert all(abs(loss) < 1e-5 for loss in itself.values())

def test_windows_and_gates_of_modernbert_are_copied():
    teacher = families.build("modernbert", layer_types=["full_attention", "sliding_attention"] * 2)
    student = minilm_student(teacher, 2)
    kept = [student.config.layer_types, [b.attention_type for b in student.model.layers]]
    assert kept[0] == kept[1] and len(kept[0]) == 2
    assert student.model.layers[0].mlp.Wi.weight.shape == teacher.model.layers[0].mlp.Wi.weight.shape

def test_mobilebert_wants_a_bert():
    for family in ("roberta", "modernbert"):
        with pytest.raises(InputError, match="expected a BERT"): mobilebert_config(families.build(family))
    with pytest.raises(InputError, match="heads"): mobilebert_student(families.build("bert"), 5)
    thin = mobilebert_student(families.build("bert"), 6)
    assert n_blocks(thin) == 4 and thin.config.num_labels == 3
