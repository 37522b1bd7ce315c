"""Parts of other packages that they do not promise and that the library reads, calls or replaces: each is named here, with its use.

Where one is gone or changed, its test says so in one sentence; a new use without a line here fails too. What belongs to
Trainer is in test_trainer_privates.py. And no module uses what the lowest torch of settings.ini lacks.
"""
import argparse, ast, inspect
from pathlib import Path
import datasets, pytest, torch, transformers
from torch import nn
from datasets import Dataset, Features, IterableDataset, Value
from datasets.fingerprint import Hasher
from transformers import AutoModel, BertConfig, BertModel, PreTrainedModel, Trainer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

LIB = Path(__file__).resolve().parent.parent/"distill_nb"
TREES = {str(f.relative_to(LIB)): ast.parse(f.read_text(encoding="utf-8")) for f in LIB.rglob("*.py") if f.stem != "_modidx"}
VERSIONS = f"torch {torch.__version__}, transformers {transformers.__version__}, datasets {datasets.__version__}"

def hold(what, why, found):
    if not found: pytest.fail(f"{what} is not what it was with {VERSIONS}: {why}", pytrace=False)

def parameters(function): return inspect.signature(function).parameters

# Attributes that begin with an underscore

def tiny_model(): return BertModel(BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8))
def picked_rows(): return Dataset.from_dict(dict(a=[1, 2, 3])).select([2, 0])

# name -> (an object that has it, what the library does with it)
READ = {
    "_attn_implementation": (lambda: tiny_model().config, "`trace` puts a model's attention back to what it was"),
    "_can_set_attn_implementation": (lambda: PreTrainedModel, "`trace` refuses families whose attention cannot be recorded"),
    "_hf_peft_config_loaded": (lambda: PreTrainedModel, "a student is not made of blocks with adapters that are not merged"),
    "_supports_sdpa": (lambda: PreTrainedModel, "`trace` refuses families without SDPA"),
    "_name_or_path": (lambda: tiny_model().config, "a model card names the teacher by it"),
    "_fingerprint": (picked_rows, "answers that were given to a table are found again by its fingerprint"),
    "_indices": (picked_rows, "cached rows are flattened where rows were picked out of order"),
    "_actions": (argparse.ArgumentParser, "the manual and the completion of the shell list a parser's options"),
    "_modules": (nn.ModuleList, "slots are replaced in a module list without becoming part of the student"),
    "_foreach_zero_": (lambda: torch, "gradients that stay for a CUDA graph are set to zero with one launch"),
    "_dynamo": (lambda: torch, "the compiler may take more shapes than its default allows"),
    "_linear_pointwise": (lambda: torch.ops.mkldnn, "a packed layer multiplies with it on a CPU"),
    "_reorder_linear_weight": (lambda: torch.ops.mkldnn, "a layer's weights are packed with it on a CPU"),
}
FALLS_BACK = {"_linear_pointwise", "_reorder_linear_weight"}  # a build of torch may lack them; then nothing is packed
DISPLAY = {"_repr_html_", "_repr_png_", "_repr_markdown_"}

def own_names():
    "Names that the library itself defines or assigns, as functions, variables or attributes."
    for node in (n for tree in TREES.values() for n in ast.walk(tree)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)): yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store): yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store): yield node.id

def private_reads():
    "Private attributes of others that the library reads, `getattr(x, '_y')` too."
    for node in (n for tree in TREES.values() for n in ast.walk(tree)):
        if isinstance(node, ast.Attribute): name = node.attr
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "hasattr"):
            name = str(getattr(node.args[1], "value", ""))
        else: continue
        if name.startswith("_") and not name.startswith("__"): yield name

def test_every_module_is_read(): assert len(TREES) > 50 and "training/distiller.py" in TREES

TRAINER = inspect.getsource(Trainer) + inspect.getsource(transformers.TrainingArguments)

def of_trainer(name):
    "Is it Trainer's own, or its arguments'? Those have a file of their own."
    return f"self.{name}" in TRAINER or f"def {name}(" in TRAINER

def test_no_private_part_is_read_that_is_not_named():
    found = {n for n in private_reads() if not of_trainer(n)} - set(own_names()) - DISPLAY
    assert found - READ.keys() - {"_exit"} == set(), "name them in READ, with their use"  # os._exit is public

@pytest.mark.parametrize("name", READ)
def test_private_attribute(name):
    if name in FALLS_BACK and not torch.backends.mkldnn.is_available(): pytest.skip("a torch without oneDNN")
    owner, use = READ[name]
    hold(name, use, hasattr(owner(), name))

def test_indices_tell_whether_rows_were_picked():
    hold("Dataset._indices", READ["_indices"][1], picked_rows()._indices is not None and Dataset.from_dict(dict(a=[1]))._indices is None)

# Functions that are no promise, or get an argument that is none

def test_attention_function():
    known = parameters(sdpa_attention_forward)
    names = ["module", "query", "key", "value", "attention_mask"]
    hold("sdpa_attention_forward", "`trace` records its inputs and calls it in their order", list(known)[:5] == names)
    hold("sdpa_attention_forward(scaling=, dropout=)", "`trace` passes them on", {"scaling", "dropout"} <= known.keys())
    x = torch.randn(1, 2, 3, 4)
    hold("sdpa_attention_forward", "the first of what it gives is the attention's output, heads behind tokens",
         sdpa_attention_forward(nn.Module(), x, x, x, None, is_causal=False)[0].shape == (1, 3, 2, 4))

def test_masks_ask_whether_they_are_traced():
    "Older releases have no such name: there a compiled step may fall back to the plain way."
    from transformers import masking_utils
    found = "is_tracing(" in inspect.getsource(masking_utils.sdpa_mask) + inspect.getsource(masking_utils._ignore_bidirectional_mask_sdpa) \
        if hasattr(masking_utils, "_ignore_bidirectional_mask_sdpa") and hasattr(masking_utils, "is_tracing") else not hasattr(masking_utils, "is_tracing")
    hold("masking_utils.is_tracing", "a recorded step makes the masks that it made before it was recorded", found)

def test_mask_function():
    "Registered beside our attention: without it a padded batch would have no mask."
    hold("sdpa_mask", "it is registered as the mask of recorded attention", callable(sdpa_mask))

@pytest.mark.parametrize("interface", ["AttentionInterface", "AttentionMaskInterface"])
def test_interfaces_take_functions_by_name(interface):
    kind = getattr(transformers, interface)
    name = "distill_nb-test"
    kind.register(name, sdpa_mask)
    try: hold(f"{interface}.register", "`trace` registers itself with it", kind()[name] is sdpa_mask)
    finally: kind._global_mapping.pop(name)

def test_attention_can_be_set_by_name():
    model = tiny_model()
    model.set_attn_implementation("eager")
    hold("set_attn_implementation", "`trace` switches a model with it", model.config._attn_implementation == "eager")

def test_what_was_loaded_is_told(tmp_path):
    "from_pretrained(output_loading_info=True) is how a missing encoder or head is noticed."
    tiny_model().save_pretrained(tmp_path)
    _, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    hold("output_loading_info", "a checkpoint that does not fit is refused by it", {"missing_keys", "mismatched_keys"} <= set(info))

def one_row(): yield dict(a=1)

@pytest.mark.parametrize("kind", [Dataset, IterableDataset])
def test_rows_come_from_a_generator(kind):
    rows = kind.from_generator(one_row, features=Features(a=Value("int64")))
    hold(f"{kind.__name__}.from_generator(features=)", "docstrings and corpora are read with it", list(rows) == [dict(a=1)])

def test_a_generated_data_set_is_found_by_its_name(tmp_path):
    def rows(value): yield dict(a=value)
    made = [Dataset.from_generator(rows, gen_kwargs=dict(value=i), cache_dir=str(tmp_path), fingerprint="ours")["a"][0] for i in (1, 2)]
    hold("Dataset.from_generator(fingerprint=)", "embedded tasks and corpora are read once, by a name of ours", made == [1, 1])

def test_a_map_is_kept_under_a_name():
    known = parameters(Dataset.map)
    hold("Dataset.map(cache_file_name=, new_fingerprint=)", "a teacher's answers are a file of that name",
         {"cache_file_name", "new_fingerprint", "load_from_cache_file"} <= known.keys())

def test_hashes_do_not_depend_on_the_object():
    hold("datasets.fingerprint.Hasher.hash", "caches and stages are named by it", Hasher.hash(["a", 1]) == Hasher.hash(["a", 1]) != Hasher.hash(["a", 2]))

# The lowest torch

# Public names that torch has gained since 2.7, the lowest that settings.ini allows, up to 2.13: `dir` of both, compared.
# Where the pin of torch moves, add what is new; one that is needed is asked for by getattr, with what to do without it.
NEWER = {
    "torch": "AcceleratorError float4_e2m1fn_x2 hash_tensor thread_safe_generator",
    "torch.Tensor": "const_data_ptr grad_dtype hash_tensor",
    "torch.accelerator": "Graph empty_cache empty_host_cache get_device_capability get_memory_info graphs max_memory_allocated "
        "max_memory_reserved memory memory_allocated memory_reserved memory_stats reset_accumulated_memory_stats reset_peak_memory_stats",
    "torch.backends.cuda": "is_ck_sdpa_available",
    "torch.cpu": "get_capabilities is_initialized",
    "torch.cuda": "GreenContext caching_allocator_disabled",
    "torch.distributed": "all_gather_single reduce_scatter_single shrink_group",
    "torch.func": "rearrange",
    "torch.nn": "LinearCrossEntropyLoss LinearCrossEntropyOptions",
    "torch.nn.functional": "grouped_mm linear_cross_entropy scaled_grouped_mm scaled_mm",
    "torch.optim": "Muon",
    "torch.random": "thread_safe_generator",
}
NEWER = {f"{module}.{name}" for module, names in NEWER.items() for name in names.split()}
SHORT = {"nn": "torch.nn", "F": "torch.nn.functional", "Tensor": "torch.Tensor"}

def torch_names(tree):
    "Dotted names of torch in a module, `nn` and `F` written out, and what it imports from torch."
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "torch":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute):
            first, _, rest = ast.unparse(node).partition(".")
            if first in {"torch", *SHORT}: yield f"{SHORT.get(first, first)}.{rest}"

@pytest.mark.parametrize("module", TREES)
def test_the_lowest_torch_has_what_is_used(module):
    assert {n for n in torch_names(TREES[module]) if n in NEWER} == set(), "newer than torch's floor: ask for it by getattr"

def test_a_newer_name_would_be_found():
    found = torch_names(ast.parse("from torch.optim import Muon\ntorch.cpu.get_capabilities()\nF.scaled_mm(x)"))
    assert set(found) & NEWER == {"torch.optim.Muon", "torch.cpu.get_capabilities", "torch.nn.functional.scaled_mm"}

def test_settings_without_what_older_torch_lacks(monkeypatch):
    "The only newer name that is asked for: what the CPU can. Without it a CPU trains in float32."
    from distill_nb.training.settings import fast_bf16, training_args
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert fast_bf16() is False and training_args("out").bf16 is False
