"Pruning: importance against removing each unit by hand, sliced models against zeroed ones, families, heads, folders, bad input."
import subprocess, sys
import pytest, torch, transformers as T
from builders import WORDS, bert, rows, train
from families import V, answers, build, build_odd
from distill_nb.deploy.pruning import Importance, fewer_heads, first_order, importance, prune, readers
from distill_nb.kit.errors import InputError
from distill_nb.losses import AttentionMSE, CosineHidden, HiddenMSE, SoftTargets
from distill_nb.measure.report import size_mb
from distill_nb.students.bilstm import BiLstmConfig, BiLstmForSequenceClassification
from distill_nb.training.saving import save_student

PRUNED = ["bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "modernbert", "albert", "mpnet", "deberta-v2", "ernie", "nomic_bert"]

def batches(n=3, bs=4, labels=True):
    g = torch.Generator().manual_seed(3)
    for i in range(n):
        ids = torch.randint(5, V, (bs, 9), generator=g)
        mask = (torch.arange(9) < torch.randint(4, 10, (bs, 1), generator=g)).long()
        yield dict(input_ids=torch.where(mask.bool(), ids, 1), attention_mask=mask, **({"labels": torch.randint(3, (bs,), generator=g)} if labels else {}))

@torch.no_grad()
def losses(model, batch): # of each text
    z = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return torch.nn.functional.cross_entropy(z, batch["labels"], reduction="none")

def scaled(layer, places, share):
    "A hook that multiplies some inputs of a layer."
    def hook(module, args):
        x = args[0].clone()
        x[..., places] *= share
        return (x,)
    return layer.register_forward_pre_hook(hook)

def by_hand(model, layer, places):
    "Mean absolute change of the loss of a text without these inputs of a layer, by removing them."
    total, texts = 0, 0
    for batch in batches():
        before, hook = losses(model, batch), scaled(layer, places, 0.)
        total, texts = total + (losses(model, batch) - before).abs().sum().item(), texts + len(before)
        hook.remove()
    return total / texts

def ranks(x): return torch.as_tensor(x).double().argsort().argsort().double()
def spearman(a, b): return torch.corrcoef(torch.stack([ranks(a), ranks(b)]))[0, 1].item()

@pytest.mark.parametrize("family", ["bert", "modernbert", "distilbert"])
def test_importance_is_the_change_of_the_loss_without_a_unit(family):
    "Every unit and head of a small model, removed one after another."
    model = build(family, num_hidden_layers=2, n_layers=2, initializer_range=.1)
    found = importance(model, batches())
    assert found.texts == 12
    size = 24 // 3
    for block, (units, heads) in enumerate(readers(model)):
        truth = [by_hand(model, units, [u]) for u in range(48)]
        assert spearman(found.units[block], truth) > .98
        torch.testing.assert_close(found.units[block].double(), torch.tensor(truth).double(), rtol=.3, atol=2e-3 * max(truth) + 1e-6)
        truth = [by_hand(model, heads, [*range(h * size, h * size + size)]) for h in range(3)]
        assert ranks(found.heads[block]).tolist() == ranks(truth).tolist()

@pytest.mark.parametrize("family", ["bert", "albert"])
def test_first_order_is_the_derivative(family):
    "Of a text's loss to the size of a unit; ALBERT's units run once in every block."
    model = build(family, num_hidden_layers=2).double()
    batch = next(batches())
    layers = [m for pair in readers(model) for m in pair]
    got = first_order(model, batch, layers)
    for layer, g in zip(layers, got):
        for place in 0, 7:
            sides = []
            for share in 1 + 1e-5, 1 - 1e-5:
                hook = scaled(layer, place, share)
                sides.append(losses(model, batch))
                hook.remove()
            torch.testing.assert_close((sides[0] - sides[1]) / 2e-5, g[:, place], rtol=1e-5, atol=1e-8)

@pytest.mark.parametrize("family", PRUNED)
def test_pruned_is_the_model_with_those_units_at_zero(family):
    if family == "nomic_bert" and not hasattr(T, "NomicBertConfig"): pytest.skip("an older transformers")
    model = build(family)
    found = importance(model, batches(labels=False))
    assert torch.equal(answers(prune(model, found, 1.)), answers(model))
    small, kept = prune(model, found, units=.25), found.kept("units", 12)
    assert small.num_parameters() < model.num_parameters() and type(small) is type(model)
    hooks = [scaled(units, [u for u in range(48) if u not in row.tolist()], 0.) for (units, _), row in zip(readers(model), kept)]
    torch.testing.assert_close(answers(small), answers(model), atol=1e-5, rtol=1e-5)
    for h in hooks: h.remove()

@pytest.mark.skipif(not hasattr(T, "NomicBertConfig"), reason="an older transformers")
def test_heads_go_where_the_configuration_says_their_width():
    model = build("nomic_bert", num_attention_heads=4, head_dim=6)
    found = importance(model, batches(labels=False))
    small, kept = prune(model, found, units=.5, heads=.5), found.kept("heads", 2)
    assert (small.config.num_attention_heads, small.config.head_dim, small.config.hidden_size) == (2, 6, 24)
    gone = lambda row: [6 * h + i for h in range(4) if h not in row.tolist() for i in range(6)]
    dropped = lambda row: [u for u in range(48) if u not in row.tolist()]
    for (units, heads), u, h in zip(readers(model), found.kept("units", 24), kept): scaled(units, dropped(u), 0.), scaled(heads, gone(h), 0.)
    torch.testing.assert_close(answers(small), answers(model), atol=1e-5, rtol=1e-5)

@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert", "distilbert"])
def test_heads_are_refused_by_name_elsewhere(family):
    model = build(family)
    found = importance(model, batches(n=1, labels=False))
    with pytest.raises(InputError, match=f"3 -> 2 heads for {type(model.config).__name__}: expected a family whose configuration has head_dim"):
        prune(model, found, units=.5, heads=.6)

@pytest.mark.parametrize("head", [T.AutoModel, T.AutoModelForTokenClassification, T.AutoModelForQuestionAnswering, T.AutoModelForMaskedLM])
def test_any_head_without_labels(head):
    model = build("bert", head)
    a, b, c = [importance(model, batches(labels=False), seed=s) for s in (0, 0, 1)]
    assert torch.equal(a.units, b.units) and not torch.equal(a.units, c.units) and (a.units > 0).all()
    assert torch.isfinite(answers(prune(model, a))).all()

def test_padding_does_not_count():
    model, batch = build("bert"), next(batches(labels=False))
    alone = {k: v[:1, :int(batch["attention_mask"][0].sum())] for k, v in batch.items()}
    pad = lambda x, v: torch.cat([x, torch.full((1, 5), v)], 1)
    longer = dict(input_ids=pad(alone["input_ids"], 1), attention_mask=pad(alone["attention_mask"], 0))
    labels = dict(labels=torch.tensor([1]))
    a, b = [importance(model, [x | labels]) for x in (alone, longer)]
    torch.testing.assert_close(a.units, b.units, atol=1e-6, rtol=1e-4)

def test_the_model_is_left_as_it_was():
    model = build("bert").train()
    model.classifier.eval()
    model.requires_grad_(False)
    before, random = {n: p.clone() for n, p in model.state_dict().items()}, torch.get_rng_state()
    found = importance(model, batches())
    assert model.training and not model.classifier.training and not any(p.requires_grad or p.grad is not None for p in model.parameters())
    assert torch.equal(random, torch.get_rng_state()) and not any(m._forward_pre_hooks for m in model.modules())
    assert (found.units > 0).all() and all(torch.equal(before[n], p) for n, p in model.state_dict().items())

def test_a_text_s_weight_does_not_depend_on_its_batch():
    model, all_in_one = build("bert"), [{k: torch.cat(x) for k, x in zip(b[0], zip(*[d.values() for d in b]))} for b in [[*batches()]]]
    torch.testing.assert_close(importance(model, batches()).units, importance(model, all_in_one).units, rtol=1e-4, atol=1e-7)

def test_what_is_kept():
    found = Importance(torch.tensor([[.1, .5, .3, .3]]), torch.tensor([[1., 3.]]), 5)
    assert found.kept("units", 2).tolist() == [[1, 2]] and found.kept("units", 4).tolist() == [[0, 1, 2, 3]]  # the first of equals, ascending
    assert found.table().loc[0].tolist() == pytest.approx([.8/1.2, .25, .75], abs=1e-3)

def test_distilled_afterwards_by_any_objective(tok, tmp_path):
    "The teacher is the student from before; terms on hidden states and attention fit, for depth and width are the same."
    teacher = bert(2, initializer_range=.5)
    data = rows(tok)
    batch = tok.pad({k: data[k][:8] for k in tok.model_input_names if k in data.column_names}, return_tensors="pt")
    student = prune(teacher, importance(teacher, [batch]), units=.25)
    def gap():
        with torch.no_grad(): return (student.eval()(**batch).logits - teacher(**batch).logits).abs().mean().item()
    before = gap()
    d = train(tok, tmp_path, student, teacher, 5*SoftTargets(T=2) + CosineHidden() + HiddenMSE() + .1*AttentionMSE(), max_steps=80,
              learning_rate=2e-3, optim="adamw_torch")
    assert d.state.global_step == 80 and gap() < before / 2 and student.config.intermediate_size == 8

@pytest.mark.slow
def test_a_saved_folder_loads_anywhere_and_is_exported(tok, tmp_path):
    model = bert(2, id2label={0: "bad", 1: "good"}, label2id=dict(bad=0, good=1))
    batch = tok(["good film", "very dull"], padding=True, return_tensors="pt")
    small = prune(model, importance(model, [batch]), units=.5)
    save_student(small, tok, tmp_path/"s")
    code = "import sys, transformers as T\nprint(T.pipeline('text-classification', model=sys.argv[1])('good film')[0]['score'], 'distill_nb' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path/"s"], capture_output=True, text=True)
    score, ours = done.stdout.split()
    with torch.no_grad(): want = small(**tok(["good film"], return_tensors="pt")).logits.softmax(-1).max().item()
    assert ours == "False" and float(score) == pytest.approx(want, abs=1e-4)
    assert size_mb(small) < size_mb(model)
    pytest.importorskip("onnxruntime"), pytest.importorskip("onnxscript")
    from distill_nb.data.tokens import text_rows
    from distill_nb.deploy.export import export_folder
    gate = export_folder(small, tok, tmp_path/"o", text_rows(["good film", "very dull book"] * 3, tok), timed=False)
    assert gate.agreement == 1 and gate.difference < 1e-5

# Bad input

def test_refusals():
    model = build("bert")
    found = importance(model, batches(n=1))
    with pytest.raises(InputError, match="units=1.5: expected a share above 0"): prune(model, found, units=1.5)
    with pytest.raises(InputError, match="no texts: expected a batch"): importance(model, [])
    with pytest.raises(InputError, match=r"importance of \(4, 48\) units: expected 24 in each block"): prune(build("bert", intermediate_size=24, hidden_size=12), found)
    with pytest.raises(InputError, match="MobileBertForSequenceClassification: expected one feed-forward part"): importance(build("mobilebert"), batches())
    with pytest.raises(InputError, match="XLMForSequenceClassification: expected a configuration with intermediate_size"): importance(build("xlm"), batches())
    lstm = BiLstmForSequenceClassification(BiLstmConfig(vocab_size=len(WORDS), embedding_size=6, hidden_size=5, head_size=7))
    with pytest.raises(InputError, match="BiLstm"): importance(lstm, batches())
    with pytest.raises(InputError, match="12 -> 6 heads for BertConfig"): fewer_heads(T.BertConfig(), 6)

@pytest.mark.parametrize("make, wanted", [(lambda: build("squeezebert"), "without linear layers in its blocks"), (lambda: build_odd("ibert"), "without linear layers"),
                                          (lambda: build_odd("fnet"), "FNetConfig: expected hidden_size and num_attention_heads")])
def test_families_without_the_parts_are_refused_in_one_sentence(make, wanted):
    with pytest.raises(InputError, match=wanted): importance(make(), batches())
