"Small random models of many encoder families, with any head, and the same with some blocks cut out."
import copy, torch
from transformers import AutoConfig, AutoModelForSequenceClassification
from distill_nb.inside.blocks import block_lists

V = 90
COMMON = dict(vocab_size=V, hidden_size=24, num_hidden_layers=4, num_attention_heads=3, intermediate_size=48, num_labels=3,
              max_position_embeddings=48, pad_token_id=1, bos_token_id=2, eos_token_id=3, initializer_range=.3)
XLM = dict(emb_dim=24, n_layers=4, n_heads=3, vocab_size=V, num_labels=3, pad_index=1, init_std=.3, embed_init_std=.3)
EXTRA = dict(
    bert={}, roberta={}, camembert={}, electra=dict(embedding_size=16), albert=dict(embedding_size=16),
    distilbert=dict(dim=24, n_layers=4, n_heads=3, hidden_dim=48),
    mobilebert=dict(embedding_size=16, intra_bottleneck_size=12), modernbert=dict(cls_token_id=2, sep_token_id=3, initializer_cutoff_factor=2.),
    deberta=dict(relative_attention=True, pos_att_type=["p2c", "c2p"], position_biased_input=True), mpnet={}, ernie={}, roformer={},
    xlm=XLM, flaubert=XLM, nomic_bert={}, convbert=dict(embedding_size=24, conv_kernel_size=3), squeezebert=dict(embedding_size=24)) | {
    "xlm-roberta": {}, "data2vec-text": {}, "deberta-v2": dict(relative_attention=True, pos_att_type=["p2c", "c2p"])}

def build(family, head=AutoModelForSequenceClassification, **kw):
    "Always the same weights, without dropout since in eval mode."
    torch.manual_seed(0)
    settings = EXTRA[family] if family in ("xlm", "flaubert") else {**COMMON, **EXTRA[family]}
    if "QuestionAnswering" in head.__name__: settings = {**settings, "num_labels": 2}  # start and end
    return head.from_config(AutoConfig.for_model(family, **{**settings, **kw})).eval()

def run_only(teacher, kept):
    "A copy in which just these blocks run: what a student that keeps them must equal."
    cut = copy.deepcopy(teacher)
    n = len(cut.get_submodule(block_lists(cut)[0]))
    if teacher.config.model_type == "albert":
        cut.config.num_hidden_layers = len(kept)
        return cut
    for path in block_lists(cut):
        stack = cut.get_submodule(path)
        for i in reversed(range(n)):
            if i not in kept: del stack[i]
    if hasattr(cut.base_model, "n_layers"): cut.base_model.n_layers = len(kept)
    return cut

@torch.no_grad()
def answers(model, bs=2, seq=9):
    "All floating-point outputs of one batch, in a row."
    ids = torch.randint(5, V, (bs, seq), generator=torch.Generator().manual_seed(1))
    out = model(input_ids=ids, attention_mask=torch.ones_like(ids)).to_tuple()
    return torch.cat([x.float().flatten() for x in out if torch.is_tensor(x) and x.is_floating_point()])

ODD = { # families beside the usual encoders: other tables of positions, heads that read the last place or look for an end, padding that counts
    "nystromformer": dict(num_landmarks=48, segment_means_seq_len=48), "mra": dict(approx_mode="full"), "yoso": {}, "ibert": {}, "fnet": {},
    "gpt2": dict(n_embd=24, n_layer=4, n_head=3, n_positions=48), "opt": dict(ffn_dim=48, word_embed_proj_dim=24), "llama": dict(num_key_value_heads=3),
    "gptj": dict(n_embd=24, n_layer=4, n_head=3, n_positions=48, rotary_dim=8), "openai-gpt": dict(n_embd=24, n_layer=4, n_head=3, n_positions=48),
    "ctrl": dict(n_embd=24, n_layer=4, n_head=3, n_positions=48, dff=48), "xlnet": dict(d_model=24, n_layer=4, n_head=3, d_inner=48),
    "funnel": dict(block_sizes=[2, 2], num_decoder_layers=1, d_model=24, n_head=3, d_head=8, d_inner=48),
    "bart": dict(d_model=24, encoder_layers=2, decoder_layers=2, encoder_attention_heads=3, decoder_attention_heads=3, encoder_ffn_dim=48,
                 decoder_ffn_dim=48),
    "t5": dict(d_model=24, num_layers=2, num_heads=3, d_kv=8, d_ff=48, decoder_start_token_id=1)}
OWN_NAMES = {"gpt2", "gptj", "openai-gpt", "ctrl", "xlnet", "funnel", "bart", "t5"} # of the sizes

def build_odd(family, head=AutoModelForSequenceClassification, **kw):
    "As `build`, for the families of `ODD`."
    torch.manual_seed(0)
    left = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "initializer_range")
    left += ("max_position_embeddings",) * (family in ("xlnet", "funnel", "t5", *[f for f in OWN_NAMES if "n_positions" in ODD[f]]))
    if family == "fnet": left = ("num_attention_heads",)
    common = {k: v for k, v in COMMON.items() if family not in {*OWN_NAMES, "fnet"} or k not in left}
    model = head.from_config(AutoConfig.for_model(family, **{**common, **ODD[family], **kw})).eval()
    for p in model.parameters():
        if p.dim() > 1: torch.nn.init.normal_(p, std=.2)
    return model
