"""The textbook: every architecture in plain NumPy, and the definition of correct for every other backend.

Read ``bert.py`` from top to bottom, then ``ops.py``; ``packed.py`` and ``observe.py`` only serve them. The
other architectures have a file each, which says what they do otherwise. Nothing here imports anything but
NumPy.
"""

from typing import Protocol

from minigte.reference import bert, bloom, distilbert, modernbert, mpnet, roberta, t5
from minigte.reference.observe import Forward, Names


class Textbook(Protocol):
    """One architecture's file: its forward pass, and which of its intermediates are what all have."""

    forward: Forward
    NAMES: Names


TEXTBOOKS: dict[str, Textbook] = {  # by the architecture's name
    "bert": bert,
    "bloom": bloom,
    "distilbert": distilbert,
    "modernbert": modernbert,
    "mpnet": mpnet,
    "roberta": roberta,
    "t5": t5,
}
