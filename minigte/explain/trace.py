"""The trace of one text: every number between its ids and its vector, with the line that made it.

``Embedder.explain`` gives a ``Trace``, ``Embedder.explain_similarity`` a ``SimilarityTrace``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from minigte.arrays import Float32, Float64
from minigte.calls.arguments import one_of
from minigte.explain.stages import Stage, Stages, table
from minigte.explain.statements import made_by
from minigte.explain.written import written_shares
from minigte.loading.config import ModelConfig
from minigte.models.weights import Weights
from minigte.reference import TEXTBOOKS, ops
from minigte.reference.observe import Names
from minigte.vectors.head import Head
from minigte.vectors.pooling import pooled_shares

TOKENS = 16  # at a time, so that what is computed for each of many writers stays in the processor's cache
SHOWN = 12  # tokens of those that printing lists


Part = Literal["probs", "attended", "answers", "fed"]  # of a layer, whatever the architecture calls it
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True)
class Text:
    """What a trace is of."""

    model: str  # the name of the model
    config: ModelConfig  # the model's configuration
    head: Head  # what the model does with the pooled vector
    text: str  # with its prompt in front
    tokens: tuple[str, ...]  # T of them, special tokens included
    input_ids: tuple[int, ...]  # (T,), the tokens' rows in the vocabulary
    is_cut: bool  # whether the text goes on after the tokens, more than the model reads
    unpooled: int = 0  # tokens in front that are not pooled, where the model leaves its prompt out


class Trace(Stages):
    """Every array of one text's forward pass, by the name of the module that makes it.

    The names are those of the modules of transformers' model. The file of its architecture in
    ``reference/`` lists them, with names for what no module makes. In every architecture the attention
    probabilities are ``probs`` and the scores before softmax ``scores``, (H, T, T) for T tokens and H heads.
    For gte-small, with D = hidden_size, F = intermediate_size and L layers, all are float32:

    - ``embeddings.``: ``word_embeddings``, ``position_embeddings``, ``token_type_embeddings``, their ``sum``,
      ``LayerNorm``; (T, D) each.
    - ``encoder.layer.0.`` and so on, and in ``layers``: ``attention.self.query``, ``.key``, ``.value`` and
      ``.context`` (T, D), ``.scores`` and ``.probs`` (H, T, T); ``attention.output.dense``, ``.sum`` and
      ``.LayerNorm`` (T, D); ``intermediate.dense`` and ``.intermediate_act_fn``, which are before and after
      the activation, (T, F); ``output.dense``, ``.sum`` and ``.LayerNorm`` (T, D).
    - ``pooled`` (D,); where sentence-transformers' Dense follows, ``dense.0.linear`` and
      ``dense.0.activation_function``, and so on; ``normalized`` where the model normalises.
    """

    def __init__(
        self,
        text: Text,
        stages: Mapping[str, Stage],
        layer_vectors: Float32,
        norms: tuple[tuple[Float32, Float32], ...],
    ) -> None:
        super().__init__(stages)
        self._norms = norms  # weight and bias of those that residual sums go through
        self.text = text.text
        self.tokens = text.tokens
        self.input_ids = text.input_ids
        self.is_cut = text.is_cut
        self.unpooled = text.unpooled
        self.model = text.model
        self.config = text.config
        self.head = text.head
        self.layer_vectors = layer_vectors  # (L + 1, D) the text's vector if the model ended there

    @property
    def vector(self) -> Float32:
        """The text's vector, as ``encode`` gives it: (D,), or (truncate_dim,)."""
        return self.layer_vectors[-1]

    @property
    def _names(self) -> Names:
        return TEXTBOOKS[self.config.architecture.name].NAMES

    @property
    def layers(self) -> list[Stages]:
        """The stages of each encoder layer, L of them: ``layers[0].attention.self.query``."""
        numbers = range(self.config.spec.num_hidden_layers)
        return [self[self._names.layer.format(i).removesuffix(".")] for i in numbers]

    @property
    def hidden_states(self) -> Float32:
        """The embeddings' output and then each layer's: (L + 1, T, D).

        Where a norm follows the last layer, the last of them is what comes out of that.
        """
        states = [self[self._names.embeddings], *(layer[self._names.output] for layer in self.layers)]
        if self._names.last:
            states[-1] = self[self._names.last]
        return np.stack(states)

    @property
    def attentions(self) -> Float32:
        """The attention probabilities: (L, H, T, T); row i says what goes into token i."""
        return np.stack([layer[self._names.probs] for layer in self.layers])

    @property
    def contributions(self) -> Float64:
        """What each token gives to ``vector``: (T, D), rows that add up to it.

        Pooling is a weighted sum of the tokens' last hidden states, or, for "max", takes each component
        from one token; a Dense multiplies each by one matrix, and the norm divides all by one number. Raises
        UnsupportedError where a Dense has an activation or a bias: then the vector is no such sum.
        """
        hidden = self.hidden_states[-1].astype(np.float64)  # (T, D)
        shares = pooled_shares(hidden[self.unpooled :], self.config.pooling_modes)
        parts = np.concatenate([np.zeros((self.unpooled, shares.shape[1])), shares])
        for module in self.head:
            parts = module.shares(parts)
        return parts[:, : len(self.vector)]

    def names_of(self, part: Part) -> list[str]:
        """The names of one part of every layer.

        "probs"; "attended" and "fed", what attention and feed-forward add; and "answers", what the neurons of
        the feed-forward answer, from which "fed" is made. Raises InputError for any other.
        """
        one_of("part", part, PARTS)
        layers = [self._names.layer.format(i) for i in range(self.config.spec.num_hidden_layers)]
        if part != "answers":
            return [layer + getattr(self._names, part) for layer in layers]
        order = list(self)
        return [order[order.index(layer + self._names.fed) - 1] for layer in layers]

    @property
    def added(self) -> Float32:
        """What attention and feed-forward of every layer add to each token's row: (2 L, T, D), in turns."""
        names = zip(self.names_of("attended"), self.names_of("fed"), strict=True)
        return np.stack([self[name] for pair in names for name in pair])

    @property
    def written(self) -> Float64:
        """Who wrote each token's hidden states, as shares of 1: (L + 1, 2 L + 2, T).

        For each of ``hidden_states``: the part of the embeddings, of the attention and of the feed-forward
        of each layer, and of the norms' biases. Each part has gone through the norms behind it, with the
        mean and the deviation of the whole row, so that the parts add up to the row. A part's share is its
        product with the row, over the row's with itself.
        """
        states, added = self.hidden_states, self.added
        few = [slice(i, i + TOKENS) for i in range(0, len(self.tokens), TOKENS)]
        return np.concatenate(
            [written_shares(states[:, i], list(added[:, i]), self._norms, self.config.spec) for i in few], -1
        )

    def __repr__(self) -> str:
        text = self.text if len(self.text) <= 60 else self.text[:59] + "…"
        rows = [f"Trace of {text!r} by {self.model}: {len(self.tokens)} tokens, {len(self)} arrays"]
        first = zip(self.input_ids[:SHOWN], self.tokens[:SHOWN], strict=True)
        rows += [f"{i:>6}  {token}" for i, token in first]
        if len(self.tokens) > SHOWN:
            rows.append(f"        and {len(self.tokens) - SHOWN} more")
        return "\n".join([*rows, table(self._stages)])


def trace(text: Text, weights: Weights, pool: Callable[..., Float32]) -> Trace:
    """Run the reference on one text and keep everything; ``pool`` turns (T, D) into (1, D)."""
    textbook, spec = TEXTBOOKS[text.config.architecture.name], text.config.spec
    names = textbook.NAMES
    stages: dict[str, Stage] = {}
    observe = keep_in(stages)
    ids = np.array(text.input_ids, np.int32)  # (T,)
    with np.errstate(all="ignore"):  # whatever the caller has told NumPy to raise; ``pool`` looks for NaN
        hidden = textbook.forward(text.config.encoder, weights, ids, np.array([0, len(ids)]), observe)
    pool(hidden, observe=lambda name, array: observe(name, array[0]))  # of the one text
    outputs = [names.layer.format(i) + names.output for i in range(spec.num_hidden_layers)]
    vectors = []
    for name in (names.embeddings, *outputs):
        state = stages[name].array
        if names.last:  # the model would end with its last norm wherever it ended
            weight, bias = weights.final_norm_weight, weights.final_norm_bias
            state = (
                ops.rms_norm(state, weight, spec.norm_eps)
                if spec.rms_norm
                else ops.layer_norm(state, weight, bias, spec.norm_eps)
            )
        vectors.append(pool(state))
    norms: list[tuple[Float32, Float32]] = []
    if not spec.norm_first:
        for layer in weights.layers:
            norms.append((layer.attention_norm_weight, layer.attention_norm_bias))
            norms.append((layer.feed_forward_norm_weight, layer.feed_forward_norm_bias))
    elif names.last:
        norms.append((weights.final_norm_weight, weights.final_norm_bias))
    return Trace(text, stages, np.concatenate(vectors), tuple(norms))


def keep_in(stages: dict[str, Stage]) -> Callable[[str, Float32], None]:
    """An observer that keeps a copy of each array, and the statement that made it, under its name.

    The scores of a long text come in parts, each some of its rows: they are put together again.
    """

    def observe(name: str, array: Float32) -> None:
        copy = (array[0] if array.ndim == 4 else array).copy()  # (1, H, T, T) of the one text
        if name in stages:
            copy = np.concatenate([stages[name].array, copy], axis=-2)
        copy.flags.writeable = False
        stages[name] = Stage(copy, *made_by(name))

    return observe
