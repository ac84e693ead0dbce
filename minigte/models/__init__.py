"""The architectures minigte knows, by the ``model_type`` of their ``config.json``.

An architecture is a module with: ``Config`` (its fields, named as in ``config.json``), ``Weights`` and
``LayerWeights`` (its arrays), the tables that say where a checkpoint keeps each array and what shape
it has, and ``unsupported`` (what a ``config.json`` may ask for that is not implemented).
"""

from minigte.models import bert

ARCHITECTURES = {"bert": bert}
