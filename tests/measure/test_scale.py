"The configuration files for many processes load and name what accelerate knows, and the sums of `scale` are torch's."
from pathlib import Path
import pytest, torch, yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForMaskedLM, AutoModelForSequenceClassification

from distill_nb.kit.errors import InputError
from distill_nb.measure.scale import GPUS, Plan, forward_flops

FOLDER = Path(__file__).parents[2]/"benchmarks"/"accelerate"
CONFIGS = sorted(FOLDER.glob("*.yaml"))

@pytest.mark.parametrize("file", CONFIGS, ids=lambda f: f.stem)
def test_configurations_load(file):
    "With accelerate's own reader, which refuses unknown names; inner names are options of `accelerate launch`."
    config = load_config_from_file(str(file))
    assert config.num_processes > 1 and str(config.distributed_type.value) in ("MULTI_GPU", "FSDP")
    known = {a.dest for a in launch_command_parser()._actions}
    assert set(yaml.safe_load(file.read_text()).get("fsdp_config", {})) <= known
    assert f"--config_file benchmarks/accelerate/{file.name} -m distill_nb train " in file.read_text() # tests/recipes/test_processes.py runs it

def test_both_configurations_are_there(): assert [f.stem for f in CONFIGS] == ["ddp", "fsdp"]

def counted(model, seq, bs=2, backward=False):
    model.set_attn_implementation("eager") # torch counts no products inside SDPA's kernel for CPUs
    ids = torch.ones(bs, seq, dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as f:
        out = model(input_ids=ids).logits
        if backward: out.sum().backward()
    return f.get_total_flops() / (bs * seq)

@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra"])
@pytest.mark.parametrize("seq", [16, 200])
def test_flops_are_torchs(family, seq):
    config = AutoConfig.for_model(family)
    with torch.device("meta"): models = [c.from_config(config) for c in (AutoModelForSequenceClassification, AutoModelForMaskedLM)]
    assert counted(models[0], seq) == pytest.approx(forward_flops(config, seq), rel=.03)
    if family != "electra": # whose head is narrower
        assert counted(models[1], seq) == pytest.approx(forward_flops(config, seq, head=1), rel=.01)
        assert counted(models[1], seq, backward=True) == pytest.approx(3 * forward_flops(config, seq, head=1), rel=.01)

@pytest.mark.parametrize("kw, message", [(dict(gpu="T800"), "gpu='T800'"), (dict(dtype="fp8"), "dtype='fp8'"), (dict(n_gpus=0), "n_gpus=0"),
                                         (dict(utilisation=1.2), "utilisation=1.2"), (dict(tokens=-1), "tokens=-1")])
def test_plans_that_cannot_be(kw, message):
    bert = AutoConfig.for_model("bert")
    with pytest.raises(InputError, match=message): Plan(bert, bert, **{**dict(tokens=1e9), **kw})

def test_twice_the_gpus_half_the_hours_and_the_same_cost():
    bert = AutoConfig.for_model("bert")
    one, two = (Plan(bert, bert, tokens=1e9, gpu=next(iter(GPUS)), dtype="fp16", n_gpus=n, price=2.) for n in (4, 8))
    assert two.hours == pytest.approx(one.hours / 2) and two.cost == pytest.approx(one.cost)
