"""The lowest versions that settings.ini allows, as constraints for pip: `python tools/floors.py > FILE`; `make test-floors` uses it.

`pandas>=2` becomes `pandas==2`. What settings.ini does not name stands as in constraints.txt, and torch too, of which
one build may be all that is at hand. What datasets and transformers cap in their old releases is left to pip.
"""
import re
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CAPPED = {"dill", "fsspec", "huggingface-hub", "multiprocess", "tokenizers"}

def name(line): return re.match(r"[\w.-]+", line)[0].lower()

def floors(settings=ROOT/"settings.ini"):
    "Name -> lowest version, of everything that the library requires."
    parser = ConfigParser(delimiters=["="])
    parser.read(settings, encoding="utf-8")
    required = parser["DEFAULT"]["requirements"].split()
    return {name(r): re.search(r">=([\d.]+)", r)[1] for r in required}

def constraints():
    "Lines for pip: the floors, then the other pins."
    lowest = {n: version for n, version in floors().items() if n != "torch"}
    pins = (ROOT/"constraints.txt").read_text(encoding="utf-8").splitlines()
    others = [p for p in pins if p and p[0] != "#" and name(p) not in lowest.keys() | CAPPED]
    return [f"{n}=={version}" for n, version in lowest.items()] + others

if __name__ == "__main__": print(*constraints(), sep="\n")
