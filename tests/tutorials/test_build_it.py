"The checks of build_it let right answers pass and refuse each wrong answer that a learner is likely to write."
import json
from pathlib import Path
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

PAGE = json.loads((Path(__file__).resolve().parents[2]/"nbs/tutorials/build_it.ipynb").read_text(encoding="utf-8"))
CELLS = {c["id"]: "".join(c["source"]) for c in PAGE["cells"]}
ANSWERS = dict(train="bi000013", soft="bi000017", hidden="bi000022", total="bi000027", student="bi000032", distil="bi000037")
CHECKS = dict(train="bi000014", soft="bi000019", hidden="bi000024", total="bi000029", student="bi000033", distil="bi000038")

def small():
    "A teacher of six tiny blocks, not trained."
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(vocab_size=30, hidden_size=8, num_hidden_layers=6, num_attention_heads=2, intermediate_size=8))

def rows(n=40):
    "Token 5 says class 1, token 6 class 0."
    torch.manual_seed(1)
    labels = torch.randint(2, (n,))
    return dict(input_ids=torch.stack([torch.full((n,), 2), 6 - labels], 1), attention_mask=torch.ones(n, 2, dtype=torch.long), labels=labels)

def run(until, old="", new=""):
    "The page's answers and checks up to a step on a tiny teacher; in that step's answer `old` is `new`."
    names = {}
    for cell in "bi000003", "bi000008", "bi000012":
        code = CELLS[cell]
        if cell == "bi000008":
            names.update(load_teacher=small, test_rows=rows(), train_rows=rows())
            code = code.replace("teacher.bert.embeddings.requires_grad_(False)", "pass #")
        exec(code, names)
    for step in ANSWERS:
        answer, check = CELLS[ANSWERS[step]], CELLS[CHECKS[step]]
        exec(answer.replace(old, new) if step == until and old else answer, names)
        if step == "train": check = check.replace("from_labels, steps=60", "from_labels, 80, 1e-2")
        if step == "distil": check = check.replace("from_teacher)\n", "from_teacher, 80, 1e-2)\n").replace("max(guess, untrained) + .1", "guess")
        exec(check, names)
        if step == until: return names

WRONG = dict(
    gradients_pile_up=("train", "; adam.zero_grad()", ""),
    never_steps=("train", "adam.step();", "pass;"),
    no_square=("soft", "T**2 *", "T *"),
    no_temperature=("soft", "(z_t / T)", "z_t"),
    the_other_way_round=("soft", "log_p.exp() * (log_p - log_q)", "log_q.exp() * (log_q - log_p)"),
    cross_entropy=("soft", "(log_p - log_q)", "-log_q"),
    mean_over_classes=("soft", ".sum(-1).mean()", ".mean()"),
    sum_over_rows=("soft", ".sum(-1).mean()", ".sum()"),
    padding_counts=("hidden", "(distance * mask).sum() / mask.sum()", "distance.mean()"),
    divided_by_all=("hidden", "/ mask.sum()", "/ mask.numel()"),
    similarity=("hidden", "1 - F", "F"),
    squares=("hidden", "1 - F.cosine_similarity(h_s, h_t, dim=-1)", "(h_s - h_t).square().mean(-1)"),
    weights_exchanged=("total", "5 * soft + 2 * hard", "2 * soft + 5 * hard"),
    one_degree=("total", "T=2.", "T=1."),
    first_states=("total", "t.hidden_states[-1]", "t.hidden_states[0]"),
    shared=("student", "copy.deepcopy(teacher)", "teacher"),
    first_three=("student", "[::2]", "[:3]"),
    config_forgotten=("student", "student.config.num_hidden_layers =", "n ="),
    dropout=("distil", "teacher.eval()", "pass"),
    with_gradient=("distil", "with torch.no_grad(): t =", "t ="),
)

def test_the_answers_pass(): assert run("distil")["distilled"] > .9

@pytest.mark.slow
@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_answer_is_refused(fault):
    step, old, new = WRONG[fault]
    assert old in CELLS[ANSWERS[step]]
    with pytest.raises(AssertionError): run(step, old, new)
