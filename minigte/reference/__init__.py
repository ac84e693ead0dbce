"""The textbook: BERT in plain NumPy, and the definition of correct for every other backend.

Read ``bert.py`` from top to bottom, then ``ops.py``; ``packed.py`` and ``observe.py`` only serve them.
Nothing here imports anything but NumPy.
"""

from minigte.reference import bert

FORWARD = {"bert": bert.forward}  # by the ``model_type`` of config.json, as models.ARCHITECTURES
