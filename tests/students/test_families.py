"Students of every family and head: they must answer as the teacher does with just those blocks; and what is refused."
import copy
import json
from pathlib import Path
import pytest, torch
from transformers import (AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForQuestionAnswering, AutoModelForCausalLM,
    AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoModelForSeq2SeqLM)
from distill_nb.kit.errors import InputError
from distill_nb.students.picture import beside, column
from distill_nb.students.copied import check_encoder, init_student, student_config
from distill_nb.students.transfer import block_sources, transfer_report
from distill_nb.inside.tree import module_tree
from distill_nb.inside.blocks import block_lists, describe, encoder_blocks, n_blocks
from families import COMMON, EXTRA, answers, build, run_only

HEADS = [AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoModelForQuestionAnswering, AutoModelForMaskedLM,
         AutoModel]
LACKS = {("xlm", AutoModelForMaskedLM): AutoModelForCausalLM, ("flaubert", AutoModelForMaskedLM): AutoModelForCausalLM}
# no such class in transformers; ERNIE and the rest have all heads
def has(family, head): return type(AutoConfig.for_model(family)) in head._model_mapping.keys()
pairs = pytest.mark.parametrize("family, head", [(f, h) for f in EXTRA for h in HEADS if has(f, h)],
                                ids=lambda x: x if isinstance(x, str) else x.__name__.removeprefix("AutoModel") or "Model")
families = pytest.mark.parametrize("family", EXTRA)
# the first block of ModernBERT has no norm of its own, so a student must start with it
CHOICES = [[0, 3], [0, 1, 2], [0], [0, 2]]

@pairs
def test_student_answers_as_the_teacher_with_those_blocks(family, head):
    teacher = build(family, head)
    whole = answers(teacher)
    assert n_blocks(teacher) == 4
    torch.testing.assert_close(answers(init_student(teacher, range(4))), whole, atol=1e-5, rtol=1e-5)
    for kept in CHOICES:
        student = init_student(teacher, kept)
        assert type(student) is type(teacher) and n_blocks(student) == len(kept)
        torch.testing.assert_close(answers(student), answers(run_only(teacher, kept)), atol=1e-5, rtol=1e-5)
        assert (answers(student) - whole).abs().max() > 1e-3  # what was left out mattered

@pytest.mark.parametrize("family", [f for f in EXTRA if f != "modernbert"])
def test_any_first_block(family):
    teacher = build(family)
    for kept in ([1, 2], [3]):
        torch.testing.assert_close(answers(init_student(teacher, kept)), answers(run_only(teacher, kept)), atol=1e-5, rtol=1e-5)

def test_modernberts_first_block_is_special_and_its_pattern_is_kept():
    teacher = build("modernbert")
    with pytest.raises(InputError, match="attn_norm"): init_student(teacher, [1, 2])
    assert teacher.config.layer_types == ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]
    assert init_student(teacher, [0, 1, 3]).config.layer_types == ["full_attention", "sliding_attention", "full_attention"]

@families
def test_saved_student_is_what_a_stranger_expects(family, tmp_path):
    labels = dict(id2label={0: "no", 1: "maybe", 2: "yes"}, label2id={"no": 0, "maybe": 1, "yes": 2},
                  problem_type="single_label_classification")
    student = init_student(build(family, **labels), [0, 2])
    student.save_pretrained(tmp_path)
    said = json.loads((tmp_path/"config.json").read_text())
    assert said["architectures"] == [type(student).__name__] and said["model_type"] == family
    assert said["id2label"] == {"0": "no", "1": "maybe", "2": "yes"} and said["problem_type"] == labels["problem_type"]
    assert AutoConfig.from_pretrained(tmp_path).num_hidden_layers == 2
    again, info = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    torch.testing.assert_close(answers(again.eval()), answers(student))

@pytest.mark.parametrize("family", [f for f in EXTRA if has(f, AutoModelForMaskedLM)])
def test_tied_stays_tied(family):
    teacher = build(family, AutoModelForMaskedLM)
    tied = lambda m: m.get_output_embeddings().weight is m.get_input_embeddings().weight
    assert tied(init_student(teacher, [0, 2])) == tied(teacher)

@families
def test_report_and_picture_of_every_family(family):
    teacher = build(family)
    student = init_student(teacher, [0, 3])
    report = transfer_report(teacher, student)
    assert report.new == [] and report.copied == sum(t.numel() for t in student.state_dict().values())
    shared = family == "albert"
    assert block_sources(teacher, student) == ({0: 0} if shared else {0: 0, 1: 3})
    picture = beside(teacher, [0, 3])
    assert picture.totals == (teacher.num_parameters(), student.num_parameters()) == (
        describe(teacher)["parameters"], describe(student)["parameters"])
    assert sum(n for _, n in column(teacher)) >= teacher.num_parameters() and (picture.saved == 0) == shared
    assert module_tree(student).params == student.num_parameters()

def test_parallel_lists_are_one_stack():
    xlm = build("xlm", AutoModel)
    assert len(block_lists(xlm)) == 4 and block_lists(build("bert", AutoModel)) == ["encoder.layer"]

# ALBERT

def test_albert_of_groups_keeps_them_or_is_refused():
    teacher = build("albert", num_hidden_groups=2)
    assert (n_blocks(teacher), len(encoder_blocks(teacher))) == (4, 2)
    torch.testing.assert_close(answers(init_student(teacher, [1, 3])), answers(run_only(teacher, [1, 3])))
    with pytest.raises(InputError, match="keep as many of each group"): init_student(teacher, [0, 1])

def test_albert_saves_time_and_no_parameter():
    teacher = build("albert")
    student = init_student(teacher, [0, 1])
    assert student.num_parameters() == teacher.num_parameters() and student.config.num_hidden_layers == 2

# What is refused

@pytest.mark.parametrize("make, message", [
    (lambda: AutoModelForCausalLM.from_config(AutoConfig.for_model("gpt2", n_embd=8, n_head=2, n_layer=2)), "causal language model"),
    (lambda: AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", hidden_size=8, intermediate_size=8, num_hidden_layers=2,
        num_attention_heads=2, vocab_size=20)), "causal language model"),
    (lambda: AutoModelForCausalLM.from_config(AutoConfig.for_model("bert", is_decoder=True, **COMMON)), "causal language model"),
    (lambda: AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model("t5", d_model=8, d_ff=8, d_kv=4, num_heads=2, num_layers=2,
        vocab_size=20)), "an encoder with a decoder"),
    (lambda: AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model("bart", d_model=8, encoder_layers=2, decoder_layers=2,
        encoder_ffn_dim=8, decoder_ffn_dim=8, encoder_attention_heads=2, decoder_attention_heads=2, vocab_size=20)), "with a decoder"),
    (lambda: build("bert").to("meta"), "meta device"),
    (lambda: torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(8, 2, 16), 2), "a Hugging Face model"),
    (lambda: torch.nn.LSTM(4, 4), "a list of equal blocks"),
    (lambda: AutoModel.from_config(AutoConfig.for_model("funnel", architectures=[], block_sizes=[2, 2], d_model=24, n_head=3, d_head=8, d_inner=32,
        vocab_size=90)), "FunnelConfig"),
])
def test_refused_by_name(make, message):
    with pytest.raises(InputError, match=message): init_student(make(), [0])

@pytest.mark.filterwarnings("ignore")
def test_quantised_is_refused():
    quantised = torch.ao.quantization.quantize_dynamic(build("bert"), {torch.nn.Linear})
    with pytest.raises(InputError, match="quantised"): init_student(quantised, [0])
    halves = build("bert")
    halves.hf_quantizer = object()
    with pytest.raises(InputError, match="quantised"): check_encoder(halves)

@pytest.mark.parametrize("layers, message", [([], "no layers"), ([4], "layer 4"), ([1, 0], "ascending"), ([1, 1], "each once"),
                                             ([-1], "layer -1"), ([0.5], "layer 0.5"), (range(9), "layer 4")])
def test_layers_that_are_refused(layers, message):
    with pytest.raises(InputError, match=message): init_student(build("bert"), layers)

def test_refusal_leaves_the_teacher_alone():
    teacher = build("modernbert")
    before, config = copy.deepcopy(teacher.state_dict()), teacher.config.to_dict()
    with pytest.raises(InputError): init_student(teacher, [1])
    assert teacher.config.to_dict() == config and all(torch.equal(t, before[n]) for n, t in teacher.state_dict().items())

# On paper

def test_half_of_roberta_large_on_paper():
    config = AutoConfig.for_model("roberta", vocab_size=50265, hidden_size=1024, num_hidden_layers=24, num_attention_heads=16,
                                  intermediate_size=4096, max_position_embeddings=514, type_vocab_size=1)
    with torch.device("meta"):
        teacher = AutoModel.from_config(config)
        student = AutoModel.from_config(student_config(teacher, range(0, 24, 2)))
    assert len(encoder_blocks(student)) == 12
    assert (teacher.num_parameters(), student.num_parameters()) == (355_359_744, 204_205_056)
    assert beside(teacher, range(0, 24, 2)).totals == (355_359_744, 204_205_056)

SHARED = Path(__file__).parents[3]/"shared"/"data"/"configs"
KIND = dict(albert="albert", bert="bert", deberta="deberta-v2", distilbert="distilbert", distilroberta="roberta", electra="electra",
            modernbert="modernbert", roberta="roberta", textbrewer="bert")

@pytest.mark.skipif(not SHARED.is_dir(), reason="the recordings are not here")
@pytest.mark.parametrize("file", sorted(SHARED.rglob("*.json")), ids=lambda p: p.relative_to(SHARED).as_posix())
def test_real_configurations_on_paper(file):
    said = json.loads(file.read_text())
    kind = said.get("model_type") or KIND[file.relative_to(SHARED).parts[0].partition("-")[0].partition(".")[0]]
    config = AutoConfig.for_model(kind, **{k: v for k, v in said.items() if k != "model_type"})
    with torch.device("meta"): teacher = AutoModel.from_config(config)
    n = n_blocks(teacher)
    assert n == config.num_hidden_layers
    kept = range(0, n, 2)
    with torch.device("meta"): student = AutoModel.from_config(student_config(teacher, kept))
    assert n_blocks(student) == len(kept) and student.config.model_type == kind
    assert student.num_parameters() == beside(teacher, kept).totals[1] == describe(student)["parameters"]

def test_a_tensor_that_grows_with_the_depth_is_refused():
    "ESM's contact head reads the attention of every block."
    teacher = AutoModelForSequenceClassification.from_config(AutoConfig.for_model("esm", **COMMON, mask_token_id=4))
    with pytest.raises(InputError, match="contact_head.regression.weight.*is of another size in a student"): init_student(teacher, [0, 2])
    torch.testing.assert_close(answers(init_student(teacher.eval(), range(4))), answers(teacher))

def test_adapters_are_merged_first():
    teacher = build("bert")
    teacher._hf_peft_config_loaded = True # as transformers' add_adapter sets it
    with pytest.raises(InputError, match="with adapters.*merge_and_unload"): init_student(teacher, [0])
