"""Values and gradients of every loss against recordings of the papers' own code.

The committed excerpt (one case per term, with its source) is checked everywhere; all recorded cases and whole models
where the recordings are at hand, in ../shared/golden beside the checkout.
"""
import json
from pathlib import Path
import pytest, torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import BertConfig, BertForSequenceClassification, BertModel
from distill_nb.inside.capture import Outputs, trace
from distill_nb.losses import (AttentionMSE, CosineHidden, HardTargets, HiddenMSE, LogitMSE, Relations, SoftTargets,
    attention_kl, attention_mse, cls_mse, cosine_distance, hidden_mse, logit_mse, soft_cross_entropy)

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT.parent/"shared/golden"
DTYPES = {torch.float64: ("f64", 1e-6), torch.float32: ("f32", 1e-5)}
recorded = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no recordings beside this checkout")
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=["f64", "f32"])

def close(ours, theirs, dtype, tol=None):
    "Equal to the relative tolerance of the dtype."
    ours, theirs = (torch.as_tensor(x, dtype=dtype) for x in (ours, theirs))
    torch.testing.assert_close(ours, theirs, rtol=tol or DTYPES[dtype][1], atol=0)

# Facts: what the functions returned, in float64, with the commit of each code base. The inputs are committed too.

FACTS = {"prediction T=1": 0.7003831052096645, "prediction T=4": 0.3720245642561248, # TinyBERT 0598f02d7f
         "intermediate": 34.76016326153402,
         "all tokens": 3.8292817767767096, "masked tokens": 3.7062441816204355, # DistilBERT fccd0cdab0
         "masked words": 6.576782497255918, "logits": 172.50860489062447, "cosine": 0.9558474039606857,
         "logits/T": 0.6438228848837454, "scores": 4.773933186040973, # TextBrewer 2c105fa664
         "attention": 2.4367892717307504, "hidden": 2.0039264538290102, "first token": 2.536683917441033,
         "relations": 1.057773254930612} # open MiniLM v2, 0d78e201a8

def stage1(i):
    pick = lambda name: tuple(v for k, v in i.items() if k.startswith(name))
    s, t = [Outputs(scores=pick(f"{who}_atts"), hidden_states=pick(f"{who}_reps")) for who in ("student", "teacher")]
    return sum((AttentionMSE(reference=True) + HiddenMSE(reference=True))(s, t, dict(attention_mask=torch.ones(3, 7))).values())

def step(term):
    def loss(i):
        s, t = [Outputs(logits=i[f"{w}_logits"], hidden_states=(i[f"{w}_hidden"],)) for w in "st"]
        return term(s, t, dict(attention_mask=i["attention_mask"].long(), labels=i["lm_labels"]))
    return loss

def attention_ce(i, mask):
    "Cross entropy of attention: the divergence and the teacher's own entropy."
    rows = lambda a: a.transpose(1, 2)
    t = i["attention_T"]
    return attention_kl(i["attention_S"], t, mask) + soft_cross_entropy(rows(t), rows(t), mask=mask)

OURS = {"prediction T=1": lambda i: soft_cross_entropy(i["logits_S"], i["logits_T"], 1, reference=True),
        "prediction T=4": lambda i: soft_cross_entropy(i["logits_S"], i["logits_T"], 4, reference=True),
        "intermediate": stage1,
        "all tokens": step(SoftTargets(T=2, unit="tokens")), "masked tokens": step(SoftTargets(T=2, unit="labels")),
        "masked words": step(HardTargets()), "logits": lambda i: 20 * step(LogitMSE(unit="tokens"))(i),
        "cosine": step(CosineHidden()),
        "logits/T": lambda i: logit_mse(i["logits_S"] / 4, i["logits_T"] / 4),
        "scores": lambda i: attention_mse(i["attention_S"], i["attention_T"], i["mask"]),
        "attention": lambda i: attention_ce(i, i["mask"]),
        "hidden": lambda i: hidden_mse(i["state_S"], i["state_T"], i["mask"]),
        "first token": lambda i: cls_mse(i["state_S"], i["state_T"]),
        "relations": lambda i: attention_kl(i["rel_S"], i["rel_T"], i["attention_mask"], reference=True)}

@pytest.mark.parametrize("case", FACTS)
@every_dtype
def test_committed_cases(case, dtype):
    with safe_open(ROOT/"nbs/results/reference.safetensors", "pt") as file:
        fact = json.loads(file.metadata()["cases"])[case]
        i = {k: file.get_tensor(v) for k, v in fact["inputs"].items()}
    assert fact["value"] == FACTS[case] and len(fact["commit"]) == 10
    close(OURS[case]({k: t.to(dtype) if t.is_floating_point() else t for k, t in i.items()}), FACTS[case], dtype)

# Everything that was recorded and that a term covers

def load(peer): return json.loads((GOLDEN/f"{peer}.json").read_text()), load_file(GOLDEN/f"{peer}.safetensors")

PEERS = {peer: load(peer) for peer in ("tinybert", "hfdistil", "textbrewer", "minilmv2_bb")} if GOLDEN.is_dir() else {}

def names(peer, *starts):
    "The recorded cases whose names start so."
    return [c["name"] for c in PEERS[peer][0]["cases"] if c["name"].startswith(starts)] if PEERS else ["absent"]

def find(peer, name):
    return next(c for c in PEERS[peer][0]["cases"] if c["name"] == name)

def tensors(peer, value, dtype, leaf=False):
    "Recorded values with their tensor keys looked up, floats in `dtype`."
    if isinstance(value, list): return [tensors(peer, v, dtype, leaf) for v in value]
    if not (isinstance(value, str) and value.startswith("T:")): return value
    t = PEERS[peer][1][value[2:]]
    t = t.to(dtype) if t.is_floating_point() else t
    return t.clone().requires_grad_() if leaf and t.is_floating_point() else t # a leaf of this test's own

def check(peer, case, dtype, loss):
    "Value and the gradient of every recorded argument."
    i = {k: tensors(peer, v, dtype, leaf=k in case["grad"].get("f64", {})) for k, v in case["inputs"].items()}
    got, key = loss(i), DTYPES[dtype][0]
    close(got.detach(), case["out"][key], dtype)
    got.backward()
    for argument, want in case["grad"].get(key, {}).items():
        leaves = i[argument] if isinstance(i[argument], list) else [i[argument]]
        for leaf, g in zip(leaves, tensors(peer, want if isinstance(want, list) else [want], dtype), strict=True):
            scale = g.abs().max()
            torch.testing.assert_close(leaf.grad, g, rtol=0, atol=DTYPES[dtype][1] * 10 * scale)

@recorded
@pytest.mark.parametrize("name", names("tinybert", "soft_cross_entropy"))
@every_dtype
def test_tinybert_prediction(name, dtype):
    case = find("tinybert", name)
    check("tinybert", case, dtype, lambda i: soft_cross_entropy(
        i["logits_S"], i["logits_T"], case["inputs"]["temperature"], reference=True))

@recorded
@pytest.mark.parametrize("name", names("tinybert", "task_distill", "general_distill"))
@every_dtype
def test_tinybert_intermediate(name, dtype):
    def loss(i):
        s, t = [Outputs(scores=i[f"{w}_atts"], hidden_states=i[f"{w}_reps"]) for w in ("student", "teacher")]
        objective = AttentionMSE(reference=True) + HiddenMSE(reference=True)
        return sum(objective(s, t, dict(attention_mask=torch.ones(3, 7))).values())
    check("tinybert", find("tinybert", name), dtype, loss)

def with_weights(model, peer, weights, dtype, prefix=""):
    "The model in `dtype` with recorded weights; those that it has no place for are returned."
    state = {prefix + k: tensors(peer, v, dtype) for k, v in weights.items()}
    missing, extra = model.to(dtype).load_state_dict(state, strict=False)
    assert not [m for m in missing if "position_ids" not in m and "pooler" not in m], missing
    return {k: state[k] for k in extra}

@recorded
@every_dtype
def test_tinybert_pair_of_models(dtype):
    "Whole models with recorded weights through `trace`: embeddings, blocks, scores, projection, padding."
    case = find("tinybert", "model_pair")
    def model(config):
        known = {k: v for k, v in config.items() if k not in ("pre_trained", "training")}
        return BertForSequenceClassification(BertConfig(**known, num_labels=case["num_labels"])).eval()
    student, teacher = model(case["config_S"]), model(case["config_T"])
    rest = with_weights(student, "tinybert", case["weights_S"], dtype)
    with_weights(teacher, "tinybert", case["weights_T"], dtype)
    names = dict(input_ids="input_ids", segment_ids="token_type_ids", input_mask="attention_mask")
    batch = {names[k]: tensors("tinybert", v, dtype) for k, v in case["inputs"].items()}
    objective = (AttentionMSE(reference=True) + HiddenMSE(reference=True)).bind(student, teacher).to(dtype)
    projection = objective.terms[1].projections[0]
    with torch.no_grad():
        projection.weight.copy_(rest["fit_dense.weight"]), projection.bias.copy_(rest["fit_dense.bias"])
    of_student, of_teacher = objective.reads(2, 4)
    with torch.no_grad(): t = trace(teacher, batch, of_teacher)
    parts, key = objective(trace(student, batch, of_student), t, batch), DTYPES[dtype][0]
    for name, theirs in dict(AttentionMSE="att_loss", HiddenMSE="rep_loss").items():
        close(parts[name].detach(), case["out"][key][theirs], dtype)
    loss = sum(parts.values())
    close(loss.detach(), case["out"][key]["loss"], dtype)
    loss.backward()
    assert "f64" in case["grad"]
    for name, want in case["grad"].get(key, {}).items():
        mine = dict(student.named_parameters()).get(name)
        if name.startswith("fit_dense"): mine = getattr(projection, name.split(".")[1])
        g = tensors("tinybert", want[0] if isinstance(want, list) else want, dtype)
        torch.testing.assert_close(mine.grad, g, rtol=0, atol=DTYPES[dtype][1] * 10 * g.abs().max().clamp(min=1e-3))

@recorded
@pytest.mark.parametrize("name", names("hfdistil", "step/mlm"))
@every_dtype
def test_distilbert_step(name, dtype):
    case, key = find("hfdistil", name), DTYPES[dtype][0]
    i = {k: tensors("hfdistil", v, dtype, leaf=k.startswith("s_")) for k, v in case["inputs"].items()}
    s, t = [Outputs(logits=i[f"{w}_logits"], hidden_states=(i[f"{w}_hidden"],)) for w in "st"]
    batch = dict(attention_mask=i["attention_mask"].long(), labels=i["lm_labels"])
    unit, V = "labels" if case["restrict_ce_to_mask"] else "tokens", s.logits.shape[-1]
    terms = dict(ce=SoftTargets(T=case["temperature"], unit=unit), mlm=HardTargets(), cos=CosineHidden(), mse=V * LogitMSE(unit=unit))
    parts = {k: terms[k].weight * terms[k](s, t, batch) for k in case["alphas"]}
    for k, part in parts.items(): close(part.detach(), case["out"][key][f"loss_{k}"], dtype)
    loss = sum(w * parts[k] for k, w in case["alphas"].items())
    close(loss.detach(), case["out"][key]["loss"], dtype)
    loss.backward()
    for argument, want in case["grad"][key].items():
        g = tensors("hfdistil", want, dtype)
        torch.testing.assert_close(i[argument].grad, g, rtol=0, atol=DTYPES[dtype][1] * 10 * g.abs().max())

def textbrewer(function):
    "Ours for a recorded function of TextBrewer; none of its losses has a T**2."
    rows = lambda a: a.transpose(1, 2)
    def divided(i):
        T = i["temperature"]
        if torch.is_tensor(T): T = T.unsqueeze(-1)
        return i["logits_S"] / T, i["logits_T"] / T
    return {"kd_ce_loss": lambda i: soft_cross_entropy(*divided(i), mask=i.get("mask")),
            "kd_mse_loss": lambda i: logit_mse(*divided(i), mask=i.get("mask")),
            "att_mse_loss": lambda i: attention_mse(i["attention_S"], i["attention_T"], i["mask"]),
            "att_ce_loss": lambda i: attention_ce(i, i["mask"]),
            "hid_mse_loss": lambda i: hidden_mse(i["state_S"], i["state_T"], i["mask"]),
            "cos_loss": lambda i: cosine_distance(i["state_S"], i["state_T"], i["mask"]),
            "pkd_loss": lambda i: cls_mse(i["state_S"], i["state_T"])}[function]

COVERED = [n for n in names("textbrewer", "kd_", "hid_mse", "cos_loss", "pkd_loss", "att_mse_loss", "att_ce_loss")
           # its masks by threshold, its sums over heads and its probabilities as scores are conventions of its own
           if not (n.startswith("att_") and (n.endswith("nomask") or "/probs" in n or n == "att_ce_loss/scores/mask"))]

@recorded
@pytest.mark.parametrize("name", COVERED)
@every_dtype
def test_textbrewer(name, dtype): check("textbrewer", find("textbrewer", name), dtype, textbrewer(name.split("/")[0]))

@recorded
@pytest.mark.parametrize("name", names("textbrewer", "GeneralDistiller"))
@every_dtype
def test_textbrewer_whole_objective(name, dtype):
    "The parts of its distiller that are ours too, through its recorded projections."
    case = find("textbrewer", name)
    i = {k: tensors("textbrewer", v, dtype) for k, v in case["inputs"].items()}
    parts, mask = case["parts_f64"], i["inputs_mask"]
    def project(n, act):
        w = {k.split(".")[-1]: tensors("textbrewer", v, dtype) for k, v in case["projections"][str(n)].items()}
        return lambda h: act(F.linear(h, w["weight"], w["bias"]))
    h_s, h_t = i["hidden_S"], i["hidden_T"]
    T = case["config"]["temperature"]
    close(soft_cross_entropy(i["logits_S"], i["logits_T"], T, power=0), parts["unweighted_kd_loss"], dtype)
    close(hidden_mse(h_s[0], h_t[0], mask, project(0, lambda x: x)), parts["unweighted_hidden_hidden_mse_0_0"], dtype)
    close(hidden_mse(h_s[1], h_t[2], mask, project(1, torch.relu)), parts["unweighted_hidden_hidden_mse_1_2"], dtype)
    close(cosine_distance(project(2, torch.tanh)(h_s[2]), h_t[4], mask), parts["unweighted_hidden_cos_2_4"], dtype)

@recorded
@every_dtype
def test_relation_kl(dtype):
    check("minilmv2_bb", find("minilmv2_bb", "relation_kl"), dtype, lambda i: attention_kl(
        i["rel_S"], i["rel_T"], i["attention_mask"], reference=True))

@recorded
@pytest.mark.parametrize("name", names("minilmv2_bb", "MiniLM.forward"))
@every_dtype
def test_minilm_models(name, dtype):
    "Teacher and student of unequal width and heads, with recorded weights, through `trace` and `Relations`."
    case = find("minilmv2_bb", name)
    def model(weights):
        shape = lambda k: PEERS["minilmv2_bb"][1][weights[k][2:]].shape
        depth = 1 + max(int(k.split(".")[2]) for k in weights if k.startswith("encoder.layer"))
        (V, d), positions = shape("embeddings.word_embeddings.weight"), shape("embeddings.position_embeddings.weight")[0]
        wide = shape("encoder.layer.0.intermediate.dense.weight")[0]
        config = BertConfig(vocab_size=V, hidden_size=d, num_hidden_layers=depth, num_attention_heads=4,
                            intermediate_size=wide, max_position_embeddings=positions,
                            type_vocab_size=shape("embeddings.token_type_embeddings.weight")[0])
        bert = BertModel(config, add_pooling_layer=False).eval()
        with_weights(bert, "minilmv2_bb", weights, dtype)
        return bert
    teacher, student = model(case["weights_T"]), model(case["weights_S"])
    batch = {k: tensors("minilmv2_bb", v, dtype) for k, v in case["inputs"].items()}
    kinds = tuple("qkv"[a - 1] + "qkv"[b - 1] for (a, b), _ in case["relations"])
    term = Relations(kinds, heads=case["A_r"], layers={case["M"] - 1: case["L"] - 1}, reference=True)
    term = sum(weight for _, weight in case["relations"]) * term # ours is a mean over the kinds, theirs a sum
    with torch.no_grad(): t = trace(teacher, batch, term.needs)
    loss = term.weight * term(trace(student, batch, term.needs), t, batch)
    close(loss.detach(), case["out"][DTYPES[dtype][0]], dtype, tol=1e-4 if dtype == torch.float32 else None)
    loss.backward()
    if dtype == torch.float64 and isinstance(case["grad_norm_f64"], float):
        norm = torch.cat([p.grad.flatten() for p in student.parameters() if p.grad is not None]).norm()
        assert norm.item() == pytest.approx(case["grad_norm_f64"], rel=1e-6)
