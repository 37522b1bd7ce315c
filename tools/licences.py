"""Write the table of our dependencies' licences into CONTRIBUTING.md, as the installed packages state them: `make licences`."""
import re
from configparser import ConfigParser
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT/"CONTRIBUTING.md"
BEGIN, END = "<!-- licences: tools/licences.py writes this table -->", "<!-- licences end -->"
# where a package's metadata gives a text or a name of no licence's list
KNOWN = {"BSD License": "BSD-3-Clause", "MIT License": "MIT", "Apache Software License": "Apache-2.0", "Apache 2.0": "Apache-2.0", "Apache": "Apache-2.0",
         "Apache License v2.0": "Apache-2.0", "Apache License, Version 2.0": "Apache-2.0", "Apache 2.0 License": "Apache-2.0", "BSD 3-Clause License": "BSD-3-Clause",
         "Python Software Foundation License": "PSF-2.0", "new BSD": "BSD-3-Clause", "Apache Software License 2.0": "Apache-2.0", "MPL-2.0 AND MIT": "MPL-2.0 AND MIT"}

def settings():
    parser = ConfigParser(delimiters=["="])
    parser.read(ROOT/"settings.ini", encoding="utf-8")
    return parser["DEFAULT"]

def dependencies():
    "Package -> what needs it: the library, or an extra; development tools are not passed on."
    found = {}
    for key, value in settings().items():
        if not key.endswith("requirements") or key == "dev_requirements": continue
        who = "the library" if key == "requirements" else f"the extra `{key.removesuffix('_requirements')}`"
        for word in value.split(): found.setdefault(re.split(r"[<>=!~;\[]", word)[0], who)
    return found

def licence(name):
    "The licence that an installed package states; None where it is not installed."
    try: said = metadata(name)
    except PackageNotFoundError: return None
    named = said.get("License-Expression")
    kinds = [c.split(" :: ")[-1] for c in said.get_all("Classifier", []) if c.startswith("License ::")]
    short = (said.get("License") or "").strip().splitlines()[:1]
    found = named or (kinds[-1] if kinds else short[0] if short and len(short[0]) < 40 else "see the package")
    return KNOWN.get(found, found)

def table():
    rows = [f"| {name} | {licence(name) or 'not installed'} | {who} |" for name, who in sorted(dependencies().items())]
    return "\n".join([BEGIN, "", "| package | licence | needed by |", "|---|---|---|", *rows, "", END])

def with_table(text): return re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda m: table(), text, flags=re.S)

if __name__ == "__main__": PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
