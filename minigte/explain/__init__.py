"""Every number between a text and its vector: the trace, its page, its files."""

from minigte.explain.similarity import SimilarityTrace
from minigte.explain.stages import Stage, Stages
from minigte.explain.trace import Trace

__all__ = ["SimilarityTrace", "Stage", "Stages", "Trace"]
