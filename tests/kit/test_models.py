"What can be asked of any model: which weights it has."
import copy, warnings
import pytest, torch
from transformers import TrainingArguments
from builders import bert
from distill_nb.kit.models import weights_key
from distill_nb.losses import SoftTargets
from distill_nb.training.resume import run_note

def quantised(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore") # torch announces that this goes to torchao
        return torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear})

WAYS = dict(float32=lambda m: m, bfloat16=lambda m: m.bfloat16(), half=lambda m: m.half(), quantised=quantised)

@pytest.mark.parametrize("way", WAYS)
def test_weights_of_any_number_format_have_a_key(way, tmp_path):
    "A run that goes on may have such a teacher; another weight is another key."
    model = WAYS[way](bert(2))
    assert weights_key(copy.deepcopy(model)) == weights_key(model)
    args = TrainingArguments(tmp_path, use_cpu=True)
    note = run_note([bert(1), model], ["a text"], SoftTargets(T=2), args)
    with torch.no_grad(): model.get_input_embeddings().weight[3, 3] += 1
    assert run_note([bert(1), model], ["a text"], SoftTargets(T=2), args) != note
