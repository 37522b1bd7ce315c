"""TinyBERT's parts over seeds: `python benchmarks/tinybert.py --task SST-2=FOLDER --task MRPC=FOLDER --task bshift=bshift`.

One teacher per seed and task, fine-tuned on the labels that it gets. Narrow students of equal size and start take the same number
of steps: on labels alone, on the teacher's answers alone, in TinyBERT's two stages, the same with new texts, and with one part of the
first stage left out each. Writes nbs/results/tinybert-TASK.json after every row, which nbs/results/tinybert.ipynb reads.
"""
import json
import sys
import time
import datasets, torch
import common
from distill_nb.words.augmenter import Augmenter, augment, new_texts
from distill_nb.data.docstrings import docstrings
from distill_nb.data.load import load_task
from distill_nb.data.tokens import tokenize
from distill_nb.losses import AttentionMSE, HardTargets, HiddenMSE, SoftTargets
from distill_nb.words.head import ready_masked_lm
from distill_nb.training.run import fit, freeze_embeddings
from distill_nb.recipes.base import score
from distill_nb.teachers.load import load_teacher, load_tokenizer
from distill_nb.recipes.tinybert import tiny_student
from distill_nb.training.settings import fast_bf16

class EmbeddingMSE(HiddenMSE):
    "The embeddings' part of HiddenMSE."
    def pairs(self, n_student, n_teacher): return {0: 0}

INSIDE = {"two stages": lambda: AttentionMSE() + HiddenMSE(),
          "without attention": lambda: HiddenMSE(),
          "without hidden states": lambda: AttentionMSE() + EmbeddingMSE(),
          "without embeddings": lambda: AttentionMSE() + HiddenMSE(embeddings=False)}

def plans(o, ablate):
    "Name -> list of (objective, steps, rows, teacher): which texts and whose inside."
    answers = lambda n: (SoftTargets(T=1), n, "task", "tuned")
    yield "labels alone", [(HardTargets(), o.inside + o.answers, "task", "tuned")]
    yield "answers alone", [answers(o.inside + o.answers)]
    both = [(INSIDE["two stages"](), o.inside, "task", "tuned"), answers(o.answers)]
    yield "two stages, new texts", [(*both[0][:2], "new", "tuned"), (*both[1][:2], "new", "tuned")]
    for name, make in INSIDE.items():
        if ablate or name == "two stages": yield name, [(make(), o.inside, "task", "tuned"), answers(o.answers)]
    if ablate: # the general stage takes half of the first one's steps, so that the sum stays
        general = (INSIDE["two stages"](), o.inside // 2, "docstrings", "pretrained")
        yield "general distillation first", [general, (INSIDE["two stages"](), o.inside // 2, "task", "tuned"), both[1]]

def one_seed(task, rows, tok, seed, o, ablate):
    "Rows of results for one seed."
    torch.manual_seed(seed)  # the teacher's new head
    common = dict(seed=seed, per_device_train_batch_size=32, eval_strategy="no")
    teachers = dict(pretrained=load_teacher(task=task), tuned=load_teacher(task=task))
    teachers["tuned"].load_state_dict(teachers["pretrained"].state_dict())
    fit(freeze_embeddings(teachers["tuned"]), rows["task"], tok, name="teacher", learning_rate=1e-4, max_steps=o.teacher, **common)
    teacher = teachers["tuned"]
    yield dict(model="teacher", seed=seed, parameters=teacher.num_parameters(), **score(teacher, rows["task"], tok))
    for name, stages in plans(o, ablate):
        if o.only and name not in o.only: continue
        torch.manual_seed(seed)
        student, start = tiny_student(teacher, 3, o.width, o.inner), time.time()
        for objective, steps, texts, who in stages:
            how = dict(lr_scheduler_type="constant", warmup_steps=0) if who == "pretrained" else {}
            fit(student, rows[texts], tok, objective, teachers[who], f"seed {seed}: {name}", learning_rate=o.learning_rate,
                max_steps=steps, **common, **how)
        yield dict(model=name, seed=seed, parameters=student.num_parameters(), seconds=time.time() - start,
                   stages=[[repr(x), n, t, w] for x, n, t, w in stages], **score(student, rows["task"], tok))

def all_rows(task, tok, o):
    "Tokenised rows: the task's, those with new texts, docstrings without labels."
    lm, lm_tok = ready_masked_lm(None, load_task("bshift"), o.lm_steps)
    more = augment(task, Augmenter(lm, lm_tok, n=new_texts(task.name), bf16=fast_bf16()))
    texts = docstrings().sentence.tolist()[:20_000]
    plain = dict(text=texts, label=[-100] * len(texts)) | (dict(pair=texts[::-1]) if task.is_pair else {})
    general = datasets.DatasetDict({**task.splits, "train": datasets.Dataset.from_dict(plain).cast(
        task["train"].select_columns(list(plain)).features)})
    tasks = dict(task=task, new=more, docstrings=type(task)("docstrings", general, task.labels, task.metric))
    return {k: tokenize(t, tok, o.max_length) for k, t in tasks.items()}, len(more["train"])

def kept(file, o, settings):
    "Rows that the file holds and that are not made anew; none unless `--only` asks for some ways."
    if not (o.only and file.is_file()): return []
    old = json.loads(file.read_text())
    if old["settings"] != settings: sys.exit(f"{file} was made with other settings: {old['settings']}")
    return [row for row in old["results"] if row["model"] not in ("teacher", *o.only)]

if __name__ == "__main__":
    p = common.parser(__doc__)
    p.add_argument("--task", action="append", required=True, metavar="NAME=SOURCE", help="may be given several times")
    p.add_argument("--ablate", nargs="*", default=["SST-2", "bshift"], help="tasks whose first stage is taken apart")
    p.add_argument("--only", nargs="+", metavar="WAY", help="ways to train that are measured (default: all); the file keeps its others")
    p.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    p.add_argument("--texts", type=int, default=4000, help="most labelled texts")
    p.add_argument("--max-length", type=int, default=96)
    p.add_argument("--teacher", type=int, default=300, help="steps")
    p.add_argument("--inside", type=int, default=240, help="steps of the first stage")
    p.add_argument("--answers", type=int, default=120, help="steps of the second stage")
    p.add_argument("--learning-rate", type=float, default=5e-4)
    p.add_argument("--width", type=int, default=192, help="of the student")
    p.add_argument("--inner", type=int, default=768)
    p.add_argument("--lm-steps", type=int, default=400, help="steps to fit the masked-LM head")
    common.options(p)
    o = p.parse_args()
    tok = load_tokenizer()
    for task in common.under(o, common.named_tasks(o.task, o.texts)):
        name = task.name
        rows, with_new = all_rows(task, tok, o)
        file = o.results/f"tinybert-{name}.json"
        settings = common.settings(o, "task", "ablate", "only") | dict(
            name=name, student=dict(n_layers=3, hidden_size=o.width, intermediate_size=o.inner))
        common.study(o, file.name, (row for seed in o.seeds for row in one_seed(task, rows, tok, seed, o, name in o.ablate)), kept(file, o, settings),
                     settings=settings, train=len(task["train"]), with_new=with_new, test=len(task["test"]), metric=task.metric)
