"""The methods that `compare.py` compares: for each a student, where its weights start, and the stages of its training.

The steps are shared out: a stage gets a share of the number that every student gets. The order is that of worth.
"""
from dataclasses import dataclass
import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from scipy.sparse import hstack
from distill_nb.inside.capture import trace
from distill_nb.kit.models import evaluating
from distill_nb.losses import AttentionKL, AttentionMSE, ClsMSE, CosineHidden, HardTargets, HiddenMSE, LogitMSE, Relations, SoftTargets
from distill_nb.measure.scores import batches_by_length
from distill_nb.recipes.base import ANSWERS
from distill_nb.recipes.layers import default_objective
from distill_nb.recipes.theseus import replace_blocks
from distill_nb.recipes.tinybert import tiny_student
from distill_nb.students.bilstm import lstm_student
from distill_nb.students.copied import init_student
from distill_nb.students.layers import choose_layers
from distill_nb.training.run import fit, freeze_embeddings

@dataclass
class Stage:
    objective:object # function of the task; None: the labels alone
    share:float=1. # of the steps
    who:str="tuned" # teaches: 'tuned', 'pretrained' or ''
    texts:str="task" # or 'new': TinyBERT's

@dataclass
class Way:
    stages:list
    shape:str="half" # of the student: half, third, tiny, bilstm; whole: the teacher's, of which the head alone learns
    start:str="tuned" # its weights: of the 'tuned' or 'pretrained' teacher, or 'random'
    rates:tuple=(1e-4, 3e-4) # learning rates, one of which is chosen on validation rows
    like:str="" # the method whose choice it takes over; '': it chooses itself
    tier:int=1 # 0: floors and teacher, 1: main rows, 2: ablations
    scores:bool=True # does it make sense for regression?

def answers(T=2.): return lambda task: ANSWERS[task.kind](T=T)
def mse(task): return LogitMSE()
def inside(task): return AttentionMSE() + HiddenMSE()
def pkd(task): return .5*answers(5.)(task) + .5*HardTargets() + 100*ClsMSE(reference=True)
def minilm(task): return AttentionKL() + Relations("v")
LABELS = [Stage(None, who="")]
def two(first=inside): return [Stage(first, 2 / 3), Stage(answers(1.), 1 / 3)]

class EmbeddingMSE(HiddenMSE):
    "The embeddings' part of HiddenMSE."
    def pairs(self, n_student, n_teacher): return {0: 0}

TINY, LSTM = dict(shape="tiny", rates=(2e-4, 6e-4)), dict(shape="bilstm", rates=(2e-3, 5e-3))
LABELS_ALONE = "labels, pretrained layers" # the control of equal time
FLOORS = "most frequent", "TF-IDF, logistic regression", "linear probe"
SCORES, OTHER = "STS-B", ("GoEmotions", "CoNLL", "Restaurant8k") # tasks of scores; of several labels, tags, and spans
WAYS = {
    "labels, pretrained layers": Way(LABELS, start="pretrained"),
    "labels, teacher's layers": Way(LABELS),
    "logits, KL": Way([Stage(answers())], scores=False),
    "logits, MSE": Way([Stage(mse)]),
    "triple form": Way([Stage(default_objective)]),
    "TinyBERT, two stages": Way(two(), **TINY),
    "TinyBERT-4, labels": Way(LABELS, **TINY),
    "Theseus, post-trained": Way([], rates=(1e-4, 3e-4)),
    "BiLSTM, labels": Way(LABELS, **LSTM),
    "BiLSTM, logits MSE": Way([Stage(mse)], **LSTM),
    "PKD": Way([Stage(pkd)]),
    "MiniLM, then labels": Way([Stage(minilm, 2 / 3, "pretrained"), Stage(None, 1 / 3, "")], start="pretrained"),
    "labels, from scratch": Way(LABELS, start="random"),
    "TinyBERT-4, answers": Way([Stage(answers(1.))], **TINY),
    "third of the depth, logits": Way([Stage(answers())], "third"),
    "third of the depth, labels": Way(LABELS, "third", "pretrained"),
    "TinyBERT, two stages, new texts": Way([Stage(inside, 2 / 3, texts="new"), Stage(answers(1.), 1 / 3, texts="new")], **TINY),
    "Theseus, replaced": Way([], like="Theseus, post-trained"),
    # ablations
    "logits, KL, random start": Way([Stage(answers())], start="random", tier=2, scores=False),
    "logits, KL, pretrained layers": Way([Stage(answers())], start="pretrained", tier=2, scores=False),
    "logits, KL, T=1": Way([Stage(answers(1.))], like="logits, KL", tier=2, scores=False),
    "logits, KL, T=4": Way([Stage(answers(4.))], like="logits, KL", tier=2, scores=False),
    "logits, KL, T=8": Way([Stage(answers(8.))], like="logits, KL", tier=2, scores=False),
    "triple, without answers": Way([Stage(lambda task: 2*HardTargets() + 1*CosineHidden())], like="triple form", tier=2, scores=False),
    "triple, without labels": Way([Stage(lambda task: 5*answers()(task) + 1*CosineHidden())], like="triple form", tier=2, scores=False),
    "triple, without cosine": Way([Stage(lambda task: 5*answers()(task) + 2*HardTargets())], like="triple form", tier=2, scores=False),
    "triple, random start": Way([Stage(default_objective)], start="random", tier=2, scores=False),
    "triple, equal weights": Way([Stage(lambda task: answers()(task) + HardTargets() + CosineHidden())], like="triple form", tier=2, scores=False),
    "TinyBERT, without attention": Way(two(lambda task: HiddenMSE()), like="TinyBERT, two stages", tier=2, **TINY),
    "TinyBERT, without hidden": Way(two(lambda task: AttentionMSE() + EmbeddingMSE()), like="TinyBERT, two stages", tier=2, **TINY),
    "TinyBERT, without embeddings": Way(two(lambda task: AttentionMSE() + HiddenMSE(embeddings=False)), like="TinyBERT, two stages", tier=2, **TINY),
    "TinyBERT, first stage, then labels": Way([Stage(inside, 2 / 3), Stage(None, 1 / 3, "")], like="TinyBERT, two stages", tier=2, **TINY),
}
FEW = { # where few labels are seen, the question is what the texts without one bring
    "labels, pretrained layers": WAYS["labels, pretrained layers"], "labels, teacher's layers": WAYS["labels, teacher's layers"],
    "logits, KL": WAYS["logits, KL"], "BiLSTM, labels": WAYS["BiLSTM, labels"],
    "logits, KL, labelled texts alone": Way([Stage(answers(), texts="labelled")], scores=False),
    "BiLSTM, logits MSE": WAYS["BiLSTM, logits MSE"],
    "BiLSTM, logits MSE, labelled texts alone": Way([Stage(mse, texts="labelled")], **LSTM)}
KINDS = { # of several labels, tags or spans; their floor is a head on the frozen teacher
    name: WAYS[name] for name in ("labels, pretrained layers", "labels, teacher's layers", "logits, KL", "triple form", "TinyBERT, two stages", "TinyBERT-4, labels",
    "third of the depth, logits", "third of the depth, labels")} | {"frozen teacher": Way(LABELS, "whole", "pretrained", (1e-3, 1e-2))}

def ways_of(task:str) -> dict:
    "The methods for a task, in the order of their worth."
    name, _, few = task.partition("@")
    ways = FEW if few else KINDS if name in OTHER else WAYS
    return {method: w for method, w in ways.items() if w.scores or name != SCORES}

def floors_of(task:str) -> tuple: return () if task in OTHER else FLOORS

# Students

def student(way, at, who):
    "A student of a shape whose weights are those of `who`, the tuned or the pretrained teacher, or random."
    teacher = at.teacher("pretrained" if who == "random" else who)
    if way.shape == "bilstm": return lstm_student(teacher, at.tokenizer, pairs=at.task.is_pair, embedding_size=24)
    if way.shape == "tiny": return tiny_student(teacher, start="random" if who == "random" else "svd", **at.tiny)
    if way.shape == "whole": return frozen_body(teacher)
    small = init_student(teacher, choose_layers(teacher, at.depth[way.shape], "first"))
    return type(small)(small.config).to(teacher.device) if who == "random" else small

def frozen_body(model):
    "The model, of which the head alone learns."
    model.base_model.requires_grad_(False)
    return model

def train(name, way, at, rate, steps):
    "The student of a method after its training."
    torch.manual_seed(at.seed)
    how = dict(learning_rate=rate, **at.settings)
    if name.startswith("Theseus"): return theseus(name, at, rate, steps)
    small = student(way, at, way.start)
    if way.shape in ("half", "third") and way.start != "random": freeze_embeddings(small)
    left = steps
    for i, stage in enumerate(way.stages):
        n = left if i == len(way.stages) - 1 else round(steps * stage.share)
        left -= n
        teacher = at.teacher(stage.who) if stage.who else None
        objective = stage.objective(at.task) if stage.objective else None
        fit(small, dict(train=at.rows(stage.texts)), at.tokenizer, objective, teacher, name, max_steps=n, **how)
    return small

def theseus(name, at, rate, steps):
    "The successor after two thirds of the steps, and after post-training for the rest (for all of them if it stays as replaced)."
    teacher = at.teacher("tuned")
    share = steps if name == "Theseus, replaced" else round(steps * 2 / 3)
    keep, rows, how = choose_layers(teacher, at.depth["half"], "first"), dict(train=at.rows("task")), at.settings
    small, _ = replace_blocks(teacher, keep, rows, at.tokenizer, learning_rate=3e-4, max_steps=share, **how)
    if share < steps: fit(freeze_embeddings(small), rows, at.tokenizer, name=name, learning_rate=rate, max_steps=steps - share, **how)
    return small

# Floors: their answers as logits

def logs(p): return np.log(np.clip(p, 1e-9, 1))

def best_linear(x, y, regression):
    "Logits of the test rows from the linear model whose strength is the best on the validation rows."
    known = ~np.isnan(y["train"]) if regression else y["train"] >= 0
    some, found = x["train"][np.flatnonzero(known)], []
    for c in (.1, 1., 10.):
        model = (Ridge(1 / c) if regression else LogisticRegression(C=c, max_iter=1000)).fit(some, y["train"][known])
        found.append((model.score(x["validation"], y["validation"]), c, model))
    model = max(found, key=lambda f: f[0])[2]
    if regression: return model.predict(x["test"])[:, None], model
    z = np.full((x["test"].shape[0], int(max(v.max() for v in y.values())) + 1), np.log(1e-9))
    z[:, model.classes_.astype(int)] = logs(model.predict_proba(x["test"]))
    return z, model

def floor(name, at):
    "Test logits of a floor, and the number of its parameters."
    y, scores = {s: np.asarray(at.task[s]["label"]) for s in ("train", "validation", "test")}, at.task.kind == "regression"
    n = len(y["test"])
    if name == "most frequent":
        if scores: return np.full((n, 1), np.nanmean(y["train"])), 1
        shares = np.bincount(y["train"][y["train"] >= 0], minlength=len(at.task.labels))
        return np.tile(logs(shares / shares.sum()), (n, 1)), len(shares)
    make = words if name.startswith("TF-IDF") else probe
    z, model = best_linear(make(at), y, scores)
    if not scores and z.shape[1] < len(at.task.labels): z = np.pad(z, ((0, 0), (0, len(at.task.labels) - z.shape[1])), constant_values=np.log(1e-9))
    return z, int(model.coef_.size + np.size(model.intercept_))

def words(at):
    "TF-IDF of words and neighbours, of each side of a pair apart."
    make = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\S+", min_df=2).fit([t for c in at.task.sides for t in at.task["train"][c]])
    return {s: hstack([make.transform(at.task[s][c]) for c in at.task.sides]).tocsr() for s in ("train", "validation", "test")}

def probe(at):
    "Mean of the pretrained teacher's last hidden states."
    model, tok = at.teacher("pretrained").to(at.device), at.tokenizer
    def features(rows):
        found = [None] * len(rows)
        with evaluating(model):
            for pick, batch in batches_by_length(rows[:], tok):
                mask = batch["attention_mask"].to(at.device)[..., None]
                h = trace(model, batch.to(at.device), ["hidden_states"]).hidden_states[-1].float()
                for i, x in zip(pick, ((h * mask).sum(1) / mask.sum(1)).cpu().numpy()): found[i] = x
        return np.stack(found)
    return {s: features(at.tokens[s]) for s in ("train", "validation", "test")}
