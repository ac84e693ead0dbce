"""The architectures minigte knows, by the ``model_type`` of their ``config.json``.

An architecture is a module with: ``Config`` (its fields, named as in ``config.json``), ``ACCEPTED`` (the
values of other keys that are implemented), ``HIDDEN_ACTS``, ``TOKENIZER_CLASS``, ``Weights`` and
``LayerWeights`` (its arrays), and the tables that say where a checkpoint keeps each array and what shape it
has.
"""

from minigte.models import bert

ARCHITECTURES = {"bert": bert}
