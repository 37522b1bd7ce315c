"Sweeps behind nbs/inside/00_tree.ipynb: families, heads, depths, shared weights, folding, refusals, the widget."
import pytest, torch
from torch import nn
from transformers import (AlbertConfig, AutoModel, AutoModelForMaskedLM, AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification, AutoModelForTokenClassification, BertConfig, DebertaV2Config,
    DistilBertConfig, ElectraConfig, MobileBertConfig, ModernBertConfig, MPNetConfig, RobertaConfig, XLMRobertaConfig)
from distill_nb.kit.errors import InputError
from distill_nb.inside.tree import _rows, module_tree, tree_widget
from distill_nb.inside.blocks import blocks_name, compare, describe, encoder_blocks

SIZES = dict(vocab_size=60, hidden_size=16, num_attention_heads=2, intermediate_size=32, max_position_embeddings=20)
DISTIL = dict(vocab_size=60, dim=16, n_heads=2, hidden_dim=32, max_position_embeddings=20)

def config(family, depth):
    if family is DistilBertConfig: return family(**DISTIL, n_layers=depth)
    extra = dict(embedding_size=8) if family in (ElectraConfig, AlbertConfig) else {}
    if family is MobileBertConfig: extra = dict(embedding_size=8, intra_bottleneck_size=16)
    if family is ModernBertConfig: extra = dict(pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2)
    return family(**SIZES, num_hidden_layers=depth, **extra)

FAMILIES = [BertConfig, RobertaConfig, DistilBertConfig, ElectraConfig]
OTHERS = [XLMRobertaConfig, MPNetConfig, DebertaV2Config, MobileBertConfig, ModernBertConfig]
HEADS = [AutoModel, AutoModelForSequenceClassification, AutoModelForMaskedLM, AutoModelForTokenClassification,
         AutoModelForQuestionAnswering]

def build(family, head=AutoModelForSequenceClassification, depth=3): return head.from_config(config(family, depth))
def size(model): return sum(p.numel() for p in model.parameters())
def by_hand(model):
    base = model.base_model
    return base.transformer.layer if hasattr(base, "transformer") else base.encoder.layer

@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_of_every_family_head_and_depth(family, head, depth):
    model = build(family, head, depth)
    blocks = encoder_blocks(model)
    assert blocks is by_hand(model) and len(blocks) == depth
    assert model.get_submodule(blocks_name(model)) is blocks
    tree = module_tree(model)
    assert tree.params == size(model) == describe(model)["parameters"]
    if depth > 1: assert f"0-{depth-1}: {depth} x {type(blocks[0]).__name__}" in repr(tree)

@pytest.mark.parametrize("family", OTHERS)
def test_blocks_of_further_families(family):
    blocks = encoder_blocks(build(family, AutoModel, 3))
    assert len(blocks) == 3 and len({type(b) for b in blocks}) == 1

def test_albert_has_one_block():
    model = build(AlbertConfig, AutoModel, 4)
    assert len(encoder_blocks(model)) == 1

@pytest.mark.parametrize("family", FAMILIES + OTHERS)
def test_facts_add_up(family):
    f = describe(build(family))
    assert f["embeddings"] > 0 and f["blocks"] > 0 and f["head"] > 0
    assert f["embeddings"] + f["blocks"] + f["head"] == f["parameters"]
    assert (f["depth"], f["width"], f["heads"], f["vocabulary"]) == (3, 16, 2, 60)

@pytest.mark.parametrize("family", FAMILIES)
def test_tied_weights_count_once(family):
    lm = build(family, AutoModelForMaskedLM)
    assert lm.get_input_embeddings().weight is lm.get_output_embeddings().weight
    assert module_tree(lm).params == size(lm) and "(shared)" in repr(module_tree(lm))
    alone = build(family, AutoModel)
    assert "(shared)" not in repr(module_tree(alone))

def test_untied_weights_count_twice():
    cfg = config(BertConfig, 2)
    cfg.tie_word_embeddings = False
    lm = AutoModelForMaskedLM.from_config(cfg)
    assert module_tree(lm).params == size(lm) and "Linear (shared)" not in repr(module_tree(lm))

@pytest.mark.parametrize("depth", [0, 1, 2, 3, 99])
def test_depth_cuts_rows_and_keeps_the_count(depth):
    model = build(BertConfig)
    tree = module_tree(model, depth)
    assert max(level for level, _ in _rows(tree)) == min(depth, max(l for l, _ in _rows(module_tree(model))))
    assert tree.params == size(model)

def test_changed_layers_are_not_folded():
    model = build(BertConfig, depth=4)
    encoder_blocks(model)[1].intermediate.dense = nn.Linear(16, 32, bias=False)
    names = [t.name for _, t in _rows(module_tree(model)) if t.kind == "BertLayer"]
    assert names == ["0", "1", "2-3"]

def test_one_layer_used_twice_counts_once():
    layer = nn.TransformerEncoderLayer(8, 2, 16)
    model = nn.Sequential(nn.ModuleList([layer]), nn.ModuleList([layer]))
    assert module_tree(model).params == size(layer)

def test_plain_torch_encoder_has_blocks_and_facts():
    model = nn.Module()
    model.emb = nn.Embedding(10, 8)
    model.enc = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
    assert blocks_name(model) == "enc.layers"
    f = describe(model)
    assert f["width"] is None and f["embeddings"] == 0 and f["head"] == 80 and "| width | - |" in f._repr_markdown_()

@pytest.mark.parametrize("model", [nn.Linear(2, 2), nn.LSTM(4, 4), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)),
                                   nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.ModuleList(), nn.Module()])
def test_models_without_blocks_are_refused(model):
    for f in (encoder_blocks, blocks_name, describe):
        with pytest.raises(InputError, match="list of equal blocks"): f(model)

@pytest.mark.parametrize("f", [module_tree, encoder_blocks, describe, tree_widget])
def test_what_is_no_module_is_refused(f):
    with pytest.raises(InputError, match="a str: expected a torch module"): f("bert-base-uncased")

def test_negative_depth_is_refused():
    with pytest.raises(InputError, match="depth=-1"): module_tree(nn.Linear(1, 1), -1)

def test_an_empty_module_shows_itself():
    assert module_tree(nn.Module()).params == 0 and "0" in repr(module_tree(nn.Module()))
    assert "<div" in module_tree(nn.Module())._repr_html_()

def test_names_are_escaped():
    model = nn.Sequential()
    model.add_module("<i>", nn.Linear(1, 1))
    assert "<i>" not in module_tree(model)._repr_html_()

def test_comparison_of_unlike_families():
    c = compare(build(BertConfig, depth=4), build(DistilBertConfig, depth=2))
    assert c.ratio["depth"] == .5 and "stack" not in c.ratio
    assert len(c._repr_markdown_().splitlines()) == 2 + len(c.teacher)

@pytest.mark.parametrize("family, total", [(BertConfig(), 109_482_240), (DistilBertConfig(), 66_362_880),
    (BertConfig(num_hidden_layers=6), 66_955_008),
    (RobertaConfig(vocab_size=50265, type_vocab_size=1, max_position_embeddings=514), 124_645_632)])
def test_published_totals(family, total):
    with torch.device("meta"): model = AutoModel.from_config(family)
    assert module_tree(model).params == describe(model)["parameters"] == total

def test_slider_redraws_down_to_the_last_level():
    model = build(ElectraConfig)
    slider, picture = tree_widget(model, depth=99).children
    assert slider.value == slider.max
    for depth in range(slider.max + 1):
        slider.value = depth
        rows = [t for _, t in _rows(module_tree(model, depth))]
        assert picture.value.count("title=") == len(rows)
        assert picture.value.count("<details open>") == sum(bool(t.kids) for t in rows)
