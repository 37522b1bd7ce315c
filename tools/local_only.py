"""Quarto calls this after it has rendered: drop what makes a page ask a third party, and say what is left.

Quarto adds scripts for widgets (require.js, jQuery) and for old browsers to every page; no page of ours uses them. Mathematics is MathML,
which browsers draw by themselves. Fonts that a style would fetch give way to those of the reader's machine.
"""
import os, re
from pathlib import Path

HOST = r"(?:https?:)?//(?!distill-nb\.github\.io)"
TAG = re.compile(rf'<script\b[^>]*\bsrc="{HOST}[^"]*"[^>]*>\s*</script>\n?|<link\b(?=[^>]*\brel="(?:stylesheet|preconnect|preload)")[^>]*\bhref="{HOST}[^"]*"[^>]*>\n?')
DEFINE = re.compile(r"<script type=\"application/javascript\">define\('jquery'.*?</script>\n?", re.S)
IMPORT = re.compile(rf'@import (?:url\()?["\']?{HOST}[^;]*;\n?')
LEFT = re.compile(rf'<(?:script|img|iframe)\b[^>]*\bsrc="({HOST}[^"]*)"')

def local(page):
    "A page's html without requests to third parties for scripts and styles."
    return DEFINE.sub("", TAG.sub("", page))

def left(page):
    "Addresses of third parties that a page would still ask."
    return LEFT.findall(page)

def main(folder):
    for file in sorted(Path(folder).rglob("*.css")):
        old = file.read_text(encoding="utf-8")
        if (new := IMPORT.sub("", old)) != old: file.write_text(new, encoding="utf-8")
    for file in sorted(Path(folder).rglob("*.html")):
        old = file.read_text(encoding="utf-8")
        new = local(old)
        if new != old: file.write_text(new, encoding="utf-8")
        if asked := left(new): raise SystemExit(f"{file} asks a third party: {asked}")

if __name__ == "__main__": main(os.environ.get("QUARTO_PROJECT_OUTPUT_DIR", "_docs"))
