"""Every number between a text and its vector: the trace, its page, its files."""

from minigte.explain.similarity import SimilarityTrace
from minigte.explain.stages import Stage, Stages
from minigte.explain.trace import Part, Trace

__all__ = ["Part", "SimilarityTrace", "Stage", "Stages", "Trace"]
