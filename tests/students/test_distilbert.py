"Sweeps behind nbs/students/05_distilbert.ipynb: the folded student equals BERT's of the same layers, with every head."
import pytest, torch
from transformers import (AutoModel, AutoModelForMaskedLM, AutoModelForMultipleChoice, AutoModelForPreTraining,
    AutoModelForQuestionAnswering, AutoModelForSequenceClassification, AutoModelForTokenClassification)
from distill_nb.students.distilbert import to_distilbert
from distill_nb.kit.errors import InputError
from distill_nb.students.copied import init_student
from distill_nb.students.transfer import block_sources, transfer_report
from families import V, build

def states(model, **inputs):
    ids = torch.randint(5, V, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad(): return model(input_ids=ids, attention_mask=torch.ones_like(ids), **inputs)

PER_TOKEN = [AutoModelForMaskedLM, AutoModelForTokenClassification]

@pytest.mark.parametrize("layers", [[0, 3], [1], [0, 1, 2, 3]])
@pytest.mark.parametrize("head", PER_TOKEN)
def test_folded_student_equals_berts(head, layers):
    teacher = build("bert", head)
    torch.testing.assert_close(states(to_distilbert(teacher, layers)).logits, states(init_student(teacher, layers)).logits,
                               atol=1e-5, rtol=1e-5)

@pytest.mark.parametrize("layers", [[0, 3], [2]])
def test_hidden_states_and_spans_agree(layers):
    bare, spans = build("bert", AutoModel), build("bert", AutoModelForQuestionAnswering)
    small, big = to_distilbert(bare, layers), init_student(bare, layers)
    torch.testing.assert_close(states(small).last_hidden_state, states(big).last_hidden_state, atol=1e-5, rtol=1e-5)
    small, big = to_distilbert(spans, layers), init_student(spans, layers)
    torch.testing.assert_close(states(small).start_logits, states(big).start_logits, atol=1e-5, rtol=1e-5)

def test_without_the_fold_the_token_type_is_missing_and_nothing_else():
    teacher = build("bert", AutoModel)
    dropped, folded = [to_distilbert(teacher, [0, 3], fold_token_types=f).state_dict() for f in (False, True)]
    row = teacher.embeddings.token_type_embeddings.weight[0]
    for name, t in folded.items():
        torch.testing.assert_close(t - dropped[name], row.expand_as(t) if "position" in name else torch.zeros_like(t))

@pytest.mark.parametrize("head, name", [(AutoModelForPreTraining, "DistilBertForMaskedLM"), (AutoModel, "DistilBertModel"),
    (AutoModelForSequenceClassification, "DistilBertForSequenceClassification"),
    (AutoModelForMultipleChoice, "DistilBertForMultipleChoice")])
def test_every_head_has_its_class(head, name):
    teacher = build("bert", head, problem_type="single_label_classification")
    student = to_distilbert(teacher, [0, 2])
    assert type(student).__name__ == name and student.config.n_layers == 2 and not student.training
    assert student.config.problem_type == "single_label_classification" and student.config.num_labels == teacher.config.num_labels
    assert block_sources(teacher, student) == {0: 0, 1: 2}

def test_a_fresh_transform_is_fresh_and_the_projector_is_tied():
    teacher = build("bert", AutoModelForMaskedLM)
    student = to_distilbert(teacher, [0, 2], vocab_transform=False)
    new = transfer_report(teacher, student).new
    assert "vocab_transform.weight" in new and student.vocab_projector.weight is student.get_input_embeddings().weight

def test_saved_and_loaded_alike(tmp_path):
    student = to_distilbert(build("bert", AutoModelForMaskedLM), [0, 2])
    student.save_pretrained(tmp_path)
    again = AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(states(again).logits, states(student).logits)

def test_the_teachers_dtype_and_memory():
    teacher = build("bert", AutoModelForMaskedLM).to(torch.float64)
    student = to_distilbert(teacher, [0])
    assert student.dtype == torch.float64
    with torch.no_grad():
        for p in student.parameters(): p.zero_()
    assert all(p.abs().sum() > 0 for n, p in teacher.named_parameters() if n.endswith("dense.weight"))

@pytest.mark.parametrize("make, message", [
    (lambda: build("roberta"), "RobertaForSequenceClassification: expected a BERT"),
    (lambda: build("bert", layer_norm_eps=1e-5), "layer_norm_eps=1e-05"),
    (lambda: build("distilbert"), "DistilBertForSequenceClassification"),
    (lambda: build("bert").to("meta"), "meta device")])
def test_refused(make, message):
    with pytest.raises(InputError, match=message): to_distilbert(make(), [0])

def test_layers_outside_are_refused():
    with pytest.raises(InputError, match="layer 4"): to_distilbert(build("bert"), [4])
