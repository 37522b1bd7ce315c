"""Run a page as Colab does: `python tests/as_colab.py NAME` with an empty working folder, no nbdev and no network.

The repository's address leads to the local nbs/ instead; every other address is refused.
"""
import io, os, socket, sys, urllib.request
from pathlib import Path

NBS = Path(__file__).resolve().parent.parent/"nbs"

class Missing:
    "Packages of development, which nobody finds."
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("nbdev", "ghapi", "pytest"): raise ModuleNotFoundError(f"No module named {name!r}", name=name)

class Answer(io.BytesIO):
    "A file as an answer from the network."
    headers = {}
    def info(self): return self.headers

def from_here(url, *args, **kwargs):
    "The repository's files; no other address."
    from distill_nb.kit.files import SITE
    address = url if isinstance(url, str) else url.full_url
    if address.startswith("file:"): return real(url, *args, **kwargs)
    if not address.startswith(SITE): raise OSError(f"no network: {address}")
    return Answer((NBS/address.removeprefix(SITE)).read_bytes())

def refuse(self, address, *args):
    if self.family != socket.AF_UNIX: raise OSError(f"no network: {address}")
    return connect(self, address, *args)

if __name__ == "__main__":
    from execnb.nbio import read_nb
    from execnb.shell import CaptureShell
    real, connect = urllib.request.urlopen, socket.socket.connect
    sys.meta_path.insert(0, Missing())
    urllib.request.urlopen, socket.socket.connect = from_here, refuse
    assert os.listdir() == [], "expected an empty working folder"
    CaptureShell(path=".").run_all(read_nb(NBS/sys.argv[1]), exc_stop=True)
