"""A benchmark's parts under a budget of seconds, and its JSON, which is written after every part: a run that is cut leaves what it finished."""
import json, os, time
from pathlib import Path

BEGIN = time.perf_counter()

def options(parser):
    "What every benchmark can be told."
    parser.add_argument("--seconds", type=float, default=float("inf"), help="no part begins after so many (default: all parts)")
    parser.add_argument("--results", type=Path, default=Path("nbs/results"), help="folder of the JSON files")

def settings(o, *but):
    "The options that decide what is measured, as the JSON keeps them."
    return {k: v for k, v in vars(o).items() if k not in ("seconds", "results", "out", *but)}

def over(o): return time.perf_counter() - BEGIN > o.seconds

def under(o, parts, at_least=0):
    "The parts as they are made; when the budget is spent, no more of them than `at_least`."
    for i, part in enumerate(parts):
        yield part
        if over(o) and i + 1 >= at_least: break  # before the next one is made

def write(file, **data):
    "The JSON as a whole: neither a reader nor a kill meets half of it."
    file, new = Path(file), Path(f"{file}.new")
    new.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(new, file)
