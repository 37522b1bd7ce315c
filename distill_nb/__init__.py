__version__ = "0.1.0"

from distill_nb.on_import import when_imported
when_imported("transformers.models.auto.modeling_auto", "distill_nb.bilstm") # see nbs/39_on_import.ipynb
