"""Distil BERT-like models: eleven chapters from losses to the shell, and their main names here."""
__version__ = "0.1.0"

# Each is imported when it is first asked for, so that `import distill_nb` loads neither torch nor transformers.
_CHAPTERS = {
    "data": "load_task", "teachers": "load_teacher load_tokenizer cache_teacher read_answers", "inside": "module_tree",
    "students": "init_student narrow_student", "measure": "evaluate", "training": "Distiller fit",
    "recipes": "check_recipe distil_layers distil_tinybert distil_bilstm distil_theseus distil_words distil_minilm distil_mobilebert"
               " distil_answers distil_embedding distil_margins"}
_CHAPTER_OF = {name: chapter for chapter, names in _CHAPTERS.items() for name in names.split()}
__all__ = [*_CHAPTER_OF]

def __getattr__(name):
    if name not in _CHAPTER_OF: raise AttributeError(f"module 'distill_nb' has no attribute {name!r}")
    from importlib import import_module
    return getattr(import_module(f"distill_nb.{_CHAPTER_OF[name]}"), name)

def __dir__(): return sorted({*globals(), *__all__})
