"What can be asked of any model: which weights it has, and what was found out about it."
import copy, gc, warnings, weakref
import pytest, torch
from transformers import TrainingArguments
from builders import bert
from distill_nb.kit.models import in_eval_mode, noted, tried_once, twin, weights_key
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

@pytest.mark.parametrize("found", [True, False, None])
def test_a_fact_is_looked_for_once_whatever_it_is(found):
    "None is a finding too, a copy knows it, and a table of facts keeps no model alive."
    model, calls = torch.nn.Linear(1, 1), []
    def find(m): calls.append(m is model); return found
    assert [tried_once(model, "a", find), tried_once(model, "a", find), tried_once(twin(model), "a", find)] == [found] * 3
    assert calls == [True] and noted(model, "a") is found
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None

def test_an_attempt_that_fails_is_made_again():
    model, calls = torch.nn.Linear(1, 1), []
    def find(m):
        calls.append(m)
        if len(calls) == 1: raise RuntimeError("out of memory")
        return True
    with pytest.raises(RuntimeError): tried_once(model, "a", find)
    assert tried_once(model, "a", find) and len(calls) == 2

def test_modes_come_back_after_an_error_and_gradients_stay():
    model = bert(2).train()
    model.bert.eval()
    modes = [m.training for m in model.modules()]
    with pytest.raises(RuntimeError), in_eval_mode(model):
        assert not any(m.training for m in model.modules()) and torch.is_grad_enabled()
        raise RuntimeError
    assert [m.training for m in model.modules()] == modes
