"""The architectures minigte knows, by the ``model_type`` of their ``config.json``.

An architecture is a module with four public things: ``Config`` (its fields, read from
``config.json``), ``Weights`` (its arrays, named), ``PARAMETERS`` (where each array is found in a
checkpoint, and its shape) and ``UNUSED`` (checkpoint names that are known and not needed).
"""

from minigte.models import bert

ARCHITECTURES = {"bert": bert}
