"""What only looks at a model leaves it as it was: the mode of every submodule, its weights, and the global generator.

Every public function that can be called with a model and things at hand is called; those that train, make or change a model by
their nature are named. A function that is added later is walked by itself.
"""
import importlib, inspect, pkgutil
import numpy as np
import pytest, random, torch
from datasets import Dataset
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, BertConfig

import distill_nb
from builders import WORDS, make_tokenizer

MAKE = {"init_student", "minilm_student", "mobilebert_student", "vector_student", "narrow_student", "to_distilbert", "lstm_student", "theseus", "successor", "word_student", "tiny_student", "from_teacher",
        "cut_model", "cut_vocabulary", "prune", "without", "by_slice", "by_heads", "by_svd", "triple_loss", "embedding_vectors", "plan_widget", "learn_characters"}
CHANGE = {"fit", "fit_head", "fit_words", "start_at_frequency", "freeze_embeddings", "choosing", "place", "load_all", "show_bar"}
WRITE = {"write_graph", "save_student", "save_stage", "to_onnx", "demo", "augment", "run_stages", "general_stage", "fit_and_report", "replace_blocks", "set_up"}
MODE_IS_YOURS = {"trace", "trace_packed", "masked_logits", "head_only_at", "last_block_only_at", "same_numbers", "check_first_answer", "own_logits"}  # the caller's mode, and so its dropout
MUST = {"predict", "evaluate", "latency", "block_influence", "choose_layers", "attention_pair", "head_losses", "cache_teacher", "teacher_key", "describe",
        "module_tree", "compare", "transfer_report", "word_scores", "perplexity", "size_mb", "check_parts", "depth"}

def functions():
    "Public functions with a model among their parameters, by name."
    for module in pkgutil.walk_packages(distill_nb.__path__, "distill_nb."):
        if "._" in module.name: continue
        here = importlib.import_module(module.name)
        for name, f in [*vars(here).items()]:  # lazy modules grow while they are looked at
            if not inspect.isfunction(inspect.unwrap(f)) or name[0] == "_" or f.__module__ != here.__name__: continue
            if {"model", "models", "teacher", "student"} & {*inspect.signature(f).parameters} and not name.startswith("distil_"): yield name, f

def in_training(words=False, seed=0, layers=2):
    "A model with dropout in train mode, but for one submodule: that is whose mode is easily lost."
    torch.manual_seed(seed)
    config = BertConfig(vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=32,
                        hidden_dropout_prob=.3, initializer_range=.3, max_position_embeddings=128, id2label={0: "bad", 1: "good"}, label2id=dict(bad=0, good=1))
    model = (AutoModelForMaskedLM if words else AutoModelForSequenceClassification).from_config(config).train()
    model.bert.embeddings.dropout.eval()
    return model

def things(tmp_path, words):
    tok = make_tokenizer()
    texts = ["good bad fine film", "dull book", "very good film"] * 4
    rows = Dataset.from_dict({**tok(texts), "labels": [0, 1, 0] * 4})
    from distill_nb.data.tasks import make_task
    import pandas as pd
    frame = pd.DataFrame(dict(text=texts, label=["bad", "good", "bad"] * 4))
    batch = tok(texts[:3], padding=True, return_tensors="pt")
    batch["labels"] = torch.where(batch["input_ids"] == 5, 5, -100) if words else torch.tensor([0, 1, 0])
    model, teacher, student = in_training(words), in_training(words, 1, 4), in_training(words, 2)
    return dict(model=model, teacher=teacher, student=student, models=[model, student], tokenizer=tok, text=texts[0], texts=texts, rows=rows,
                task=make_task("toy", dict(train=frame, validation=frame, test=frame)), batch=batch, batches=[batch], mask=batch["labels"] != -100 if words else batch["attention_mask"],
                wanted={"scores": None}, layers=2, ids=[1, 2], words=["good", "fine"], config=in_training().config, folder=tmp_path, repeats=2, warmup=0, threads=1,
                choice="measured")

def state(models):
    return ([m.training for model in models for m in model.modules()], [p.clone() for model in models for p in model.parameters()],
            [vars(m).get("forward") for model in models for m in model.modules()], [model.config._attn_implementation for model in models],
            torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())

def same(a, b):
    if torch.is_tensor(a): return torch.equal(a, b)
    return all(map(same, a, b)) if isinstance(a, list) and len(a) == len(b) else a == b

KINDS = "modes weights forwards attention torch random numpy".split()

@pytest.mark.slow
@pytest.mark.parametrize("words", [False, True], ids=["classes", "words"])
def test_looking_changes_nothing(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    looked, wrong = set(), {}
    for name, f in functions():
        if name in MAKE | CHANGE | WRITE: continue
        pool = things(tmp_path, words)
        given = inspect.signature(f).parameters.values()
        if any(p.default is p.empty and p.name not in pool and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in given): continue
        models = [pool[k] for k in ("model", "teacher", "student")]
        before = state(models)
        arguments = {p.name: pool[p.name] for p in given if p.name in pool and (p.default is p.empty or p.name in ("batches", "folder", "choice", "repeats", "warmup", "threads"))}
        if name != "choose_layers": arguments.pop("choice", None)
        try: f(**arguments)
        except Exception: pass  # what cannot look must leave no trace either
        else: looked.add(name)
        after = state(models)
        changed = [k for k, a, b in zip(KINDS, before, after) if not same(a, b)]
        if name in MODE_IS_YOURS: changed = [k for k in changed if k in ("modes", "weights", "forwards", "attention")]
        if changed: wrong[name] = changed
    assert not wrong
    missed = MUST - looked - ({"word_scores", "perplexity"} if not words else {"predict", "evaluate", "attention_pair", "cache_teacher"})
    assert not missed, missed

def test_two_looks_see_the_same(tmp_path):
    "With dropout on, whoever looks in train mode sees another model each time."
    from distill_nb.inside.attention_maps import attention_pair, head_losses
    from distill_nb.teachers.cache import cache_teacher
    from distill_nb.teachers.columns import LOGITS
    from distill_nb.measure.scores import predict
    from distill_nb.students.layers import block_influence
    at = things(tmp_path, False)
    for look in (lambda: head_losses(at["student"], at["teacher"], at["batch"]), lambda: attention_pair(at["student"], at["teacher"], at["tokenizer"], at["text"]).student[1],
                 lambda: torch.tensor(block_influence(at["model"], at["batches"]).change), lambda: predict(at["model"], at["rows"], at["tokenizer"]),
                 lambda: torch.tensor(cache_teacher(at["teacher"], at["rows"], at["tokenizer"], folder=tmp_path)[LOGITS][:])):
        for m in (at["model"], at["student"], at["teacher"]): m.train()
        one, two = look(), look()
        for m in (at["model"], at["student"], at["teacher"]): m.eval()
        assert torch.equal(one, two) and torch.allclose(one, look())
