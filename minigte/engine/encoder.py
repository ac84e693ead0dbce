"""The encoder's forward pass, compiled: the same steps, in the same order, as ``minigte.reference.bert``.

Letters: B texts, N tokens in the packed batch, T tokens of one text, D hidden_size, H heads, K head size,
F intermediate_size. In memory D, K and F are padded with zeros to whole panels (``Level.padded``), which
changes no result. The kernel is written for a team: every member runs it, on its share of each step.
"""

from __future__ import annotations

from minigte.engine.attention import attention
from minigte.engine.finishes import LINEAR, RESIDUAL
from minigte.engine.jit import entry, kernel
from minigte.engine.rows import convert
from minigte.engine.simd import TILE_ROWS
from minigte.engine.steps import Team, meet, norm, own_rows, product
from minigte.engine.target import LEVEL
from minigte.engine.team import barrier, follow, lead, share

BLOCK_ROWS = LEVEL.block_rows


@entry
def forward(model, workspace, input_ids, offsets, out, meeting, wanted):
    """The last hidden state of a packed batch: (N,) ids, (B + 1,) offsets -> out (N, D).

    Called with ``wanted`` > 0 by the thread that leads a team of at most that many, and with 0 by helpers.
    """
    rank, size = (0, lead(meeting, wanted)) if wanted > 0 else follow(meeting)
    if size == 0:
        return
    tokens = len(input_ids)
    team = Team(meeting, rank, size, size > 1 and tokens <= BLOCK_ROWS)
    first, last = share(tokens, rank, size, 1)
    embeddings(model, workspace, input_ids, offsets, first, last)
    barrier(meeting, size)
    for layer in range(len(model.output_norm)):
        encoder_layer(model, layer, workspace, offsets, team)
    barrier(meeting, size)
    for n in range(first, last):
        for d in range(model.hidden_size):
            out[n, d] = workspace.x[n, d]
    barrier(meeting, size)


@kernel
def embeddings(model, workspace, input_ids, offsets, first, last):
    """Word + position + token type, then LayerNorm, for the rows from ``first`` to ``last``."""
    x, size = workspace.x, model.hidden_size
    for b in range(len(offsets) - 1):
        for n in range(max(first, offsets[b]), min(last, offsets[b + 1])):
            word, position = model.word_embeddings[input_ids[n]], model.position_embeddings[n - offsets[b]]
            for d in range(size):
                x[n, d] = word[d] + position[d] + model.token_type_embedding[d]
            x[n, size:] = 0  # where an earlier text's NaN would stay
    norm(model, model.embeddings_norm, workspace, first, last)


@kernel
def encoder_layer(model, layer, workspace, offsets, team):
    """Self-attention, then feed-forward, each added to its input and normalised: x (N, D) -> x (N, D)."""
    tokens = offsets[-1]
    first, last = (0, tokens) if team.by_outputs else share(tokens, team.rank, team.size, TILE_ROWS)
    x_input, x_value, scales = (
        workspace.x_input[first:last],
        workspace.x_value[first:last],
        workspace.scales[first:last],
    )
    qkv, values = workspace.qkv[first:last], 2 * model.heads * model.head_width
    product(team, workspace, x_input, scales, model.query_key, layer, LINEAR, qkv, 0)
    product(team, workspace, x_value, scales, model.value, layer, LINEAR, qkv, values)
    barrier(team.meeting, team.size)
    self_attention(model, workspace, offsets, team)
    barrier(team.meeting, team.size)

    own_first, own_last = own_rows(team, first, last)
    own = slice(own_first, own_last)
    convert(workspace.context[own], workspace.context_input[own], workspace.scales[own])
    meet(team)
    product(
        team,
        workspace,
        workspace.context_input[first:last],
        workspace.scales[first:last],
        model.attention_output,
        layer,
        RESIDUAL,
        workspace.x[first:last],
        0,
    )
    meet(team)
    norm(model, model.attention_norm[layer], workspace, own_first, own_last)
    meet(team)
    for start in range(first, last, BLOCK_ROWS):
        feed_forward(model, layer, workspace, start, min(last, start + BLOCK_ROWS), team)


@kernel
def self_attention(model, workspace, offsets, team):
    """Each token gathers the values of its own text's tokens: qkv (N, 3 H K) -> context (N, H K)."""
    rank, heads = team.rank, model.heads
    first, last = share((len(offsets) - 1) * heads, rank, team.size, 1)
    for pair in range(first, last):
        text = slice(offsets[pair // heads], offsets[pair // heads + 1])
        attention(
            workspace.qkv[text],
            model.head_width,
            heads,
            pair % heads,
            model.attention_scale,
            workspace.keys[rank],
            workspace.values[rank],
            workspace.scores[rank],
            workspace.probs[rank],
            workspace.sums[rank],
            workspace.tile[rank],
            workspace.context[text],
        )


@kernel
def feed_forward(model, layer, workspace, start, stop, team):
    """x = LayerNorm(x + act(x W₁ᵀ + b₁) W₂ᵀ + b₂) for at most BLOCK_ROWS rows: (M, D) -> (M, F) -> (M, D)."""
    place = 0 if team.by_outputs else team.rank
    own_first, own_last = own_rows(team, start, stop)
    own = slice(own_first - start, own_last - start)
    intermediate = workspace.intermediate[place][: stop - start]
    intermediate_input = workspace.intermediate_input[place][: stop - start]
    scales = workspace.intermediate_scales[place][: stop - start]
    product(
        team,
        workspace,
        workspace.x_input[start:stop],
        workspace.scales[start:stop],
        model.intermediate,
        layer,
        model.activation,
        intermediate,
        0,
    )
    meet(team)
    convert(intermediate[own], intermediate_input[own], scales[own])
    meet(team)
    product(
        team, workspace, intermediate_input, scales, model.output, layer, RESIDUAL, workspace.x[start:stop], 0
    )
    meet(team)
    norm(model, model.output_norm[layer], workspace, own_first, own_last)
    meet(team)
