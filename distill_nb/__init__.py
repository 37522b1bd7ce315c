"""Distil BERT-like models: eleven chapters from losses to the shell, and their main names here."""
__version__ = "0.1.0"

# Each is imported when it is first asked for, so that `import distill_nb` loads neither torch nor transformers.
_HOMES = {"data.load": ["load_task"],
          "teachers.load": ["load_teacher", "load_tokenizer"],
          "teachers.cache": ["cache_teacher"],
          "teachers.answers": ["read_answers"],
          "inside.tree": ["module_tree"],
          "students.copied": ["init_student"],
          "students.narrow": ["narrow_student"],
          "measure.scores": ["evaluate"],
          "training.distiller": ["Distiller"],
          "training.run": ["fit"],
          "recipes.lookahead": ["check_recipe"],
          "recipes.layers": ["distil_layers"],
          "recipes.tinybert": ["distil_tinybert"],
          "recipes.bilstm": ["distil_bilstm"],
          "recipes.theseus": ["distil_theseus"],
          "recipes.distilbert": ["distil_words"],
          "recipes.minilm": ["distil_minilm"],
          "recipes.mobilebert": ["distil_mobilebert"],
          "recipes.answers": ["distil_answers"],
          "recipes.embedding": ["distil_embedding"],
          "recipes.margins": ["distil_margins"]}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = [*_HOME_OF]

def __getattr__(name):
    if name not in _HOME_OF: raise AttributeError(f"module 'distill_nb' has no attribute {name!r}")
    from importlib import import_module
    return getattr(import_module(f"distill_nb.{_HOME_OF[name]}"), name)

def __dir__(): return sorted({*globals(), *__all__})
