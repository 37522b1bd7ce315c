"The tasks that a benchmark is given as `--task NAME=SOURCE`."
from distill_nb.data.load import load_task
from distill_nb.recipes.demo import hide_labels

def named_tasks(specs, texts):
    "The task of each NAME=SOURCE under its name, with at most `texts` training texts, all labelled."
    for name, source in (s.split("=", 1) for s in specs):
        task = load_task(source)
        task.name, n = name, min(texts, len(task["train"]))
        yield hide_labels(task, n, n)
