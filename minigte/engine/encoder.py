"""The encoder's forward pass, compiled: one program for every architecture, told apart by the packed model.

Letters: B texts, N tokens in the packed batch, T tokens of one text, D hidden_size, H heads, K head size,
F intermediate_size. In memory D, K and F are padded with zeros to whole panels (``Level.padded``), which
changes no result. The kernel is written for a team: every member runs it, on its share of each step.

``x`` is what the residual sums go to, ``normed`` the norm of the last sum. In a model whose norms stand after
the sums they are one array; in one whose norms stand before attention and feed-forward two, and what is
normed after a layer's last sum is what the next layer reads.
"""

from __future__ import annotations

from minigte.engine.attention import attention
from minigte.engine.finishes import LINEAR, RESIDUAL, ROTATE
from minigte.engine.jit import entry, step
from minigte.engine.level import BLOCK_TILES
from minigte.engine.linear import Rotation
from minigte.engine.rows import convert, from_bfloat16, from_float16
from minigte.engine.simd import PANEL, address, rows_at_once
from minigte.engine.steps import Team, meet, norm, norm_sum, own_rows, product, ready
from minigte.engine.team import barrier, follow, lead, share


@entry
def forward(model, workspace, input_ids, token_type_ids, offsets, out, meeting, wanted):
    """The last hidden state of a packed batch: (N,) ids and types, (B + 1,) offsets -> out (N, D).

    Called with ``wanted`` > 0 by the thread that leads a team of at most that many, and with 0 by helpers.
    """
    rank, size = (0, lead(meeting, wanted)) if wanted > 0 else follow(meeting)
    if size == 0:
        return
    tokens = len(input_ids)
    block = BLOCK_TILES * rows_at_once(model.query_key.panels)
    team = Team(meeting, rank, size, size > 1 and tokens <= block)
    first, last = share(tokens, rank, size, 1)
    embeddings(model, workspace, input_ids, token_type_ids, offsets, first, last)
    barrier(meeting, size)
    for layer in range(len(model.norm_after_feed_forward)):
        encoder_layer(model, layer, workspace, offsets, team)
    barrier(meeting, size)
    for n in range(first, last):
        for d in range(model.hidden_size):
            out[n, d] = workspace.normed[n, d]
    barrier(meeting, size)


@step
def embeddings(model, workspace, input_ids, token_type_ids, offsets, first, last):
    """The sum of what the model looks up for a token, normed, for the rows from ``first`` to ``last``."""
    x, size = workspace.x, model.hidden_size
    for b in range(len(offsets) - 1):
        position = model.first_position
        for n in range(offsets[b], min(last, offsets[b + 1])):
            row = position
            if input_ids[n] == model.padding_id:
                row = model.first_position - 1
            else:
                position += 1
            if n < first:
                continue
            workspace.positions[n] = n - offsets[b]
            word_embedding(model, input_ids[n], x[n])
            x[n, size:] = 0  # where an earlier text's NaN would stay
            if len(model.position_embeddings):
                places = model.position_embeddings[row]
                for d in range(size):
                    x[n, d] += places[d]
            if len(model.token_type_embeddings):
                token_type = model.token_type_embeddings[token_type_ids[n]]
                for d in range(size):
                    x[n, d] += token_type[d]
    if len(model.embeddings_norm):
        norm(model, model.embeddings_norm[0], x, x, first, last)
    if len(model.first_norm):
        norm(model, model.first_norm[0], x, workspace.normed, first, last)
    elif address(x) != address(workspace.normed):
        for n in range(first, last):
            for d in range(x.shape[1]):
                workspace.normed[n, d] = x[n, d]
    if len(model.query_key.outliers) > 0:  # there may be no layers
        ready(model, workspace, model.query_key.outliers[0], first, last)


@step
def word_embedding(model, token, target):
    """A token's row of the table, (D,), which may hold each number in 16 bits."""
    if len(model.word_embeddings):
        row = model.word_embeddings[token]
        for d in range(model.hidden_size):
            target[d] = row[d]
        return
    halves = model.word_halves[token]
    if model.bfloat16_halves:
        for d in range(model.hidden_size):
            target[d] = from_bfloat16(halves[d])
    else:
        for d in range(model.hidden_size):
            target[d] = from_float16(halves[d])


@step
def encoder_layer(model, layer, workspace, offsets, team):
    """Self-attention, then feed-forward, each added to x, and the sum normed: (N, D) -> (N, D)."""
    tokens, at_once = offsets[-1], rows_at_once(model.query_key.panels)
    first, last = (0, tokens) if team.by_outputs else share(tokens, team.rank, team.size, at_once)
    x_input, x_value, scales = (
        workspace.x_input[first:last],
        workspace.x_value[first:last],
        workspace.scales[first:last],
    )
    qkv, values = workspace.qkv[first:last], 2 * model.heads * model.head_width
    angles = model.angles[model.angles_of[layer]]
    rotation = Rotation(angles, workspace.positions[first:last], model.head_width // PANEL)
    turned = ROTATE if len(angles) else LINEAR
    product(team, workspace, x_input, scales, model.query_key, layer, turned, rotation, qkv, 0)
    product(team, workspace, x_value, scales, model.value, layer, LINEAR, rotation, qkv, values)
    barrier(team.meeting, team.size)
    self_attention(model, layer, workspace, offsets, team)
    barrier(team.meeting, team.size)

    own_first, own_last = own_rows(team, first, last)
    own = slice(own_first, own_last)
    outliers = model.attention_output.outliers[layer]
    convert(workspace.context[own], workspace.context_input[own], workspace.scales[own], outliers)
    meet(team)
    product(
        team,
        workspace,
        workspace.context_input[first:last],
        workspace.scales[first:last],
        model.attention_output,
        layer,
        RESIDUAL,
        rotation,
        workspace.x[first:last],
        0,
    )
    meet(team)
    outliers = model.intermediate.outliers[layer]
    norm_sum(model, model.norm_after_attention[layer], workspace, outliers, own_first, own_last)
    meet(team)
    block = BLOCK_TILES * at_once
    for start in range(first, last, block):
        feed_forward(model, layer, workspace, start, min(last, start + block), rotation, team)


@step
def self_attention(model, layer, workspace, offsets, team):
    """Each token gathers the values of its own text's tokens: qkv (N, 3 H K) -> context (N, H K)."""
    rank, heads = team.rank, model.heads
    first, last = share((len(offsets) - 1) * heads, rank, team.size, 1)
    for pair in range(first, last):
        text, head = slice(offsets[pair // heads], offsets[pair // heads + 1]), pair % heads
        bias = 0
        if len(model.distance_bias):
            bias = (
                address(model.distance_bias) + head * model.distance_bias.strides[0] + 4 * (model.reach - 1)
            )
        attention(
            workspace.qkv[text],
            model.head_width,
            heads,
            head,
            model.attention_scale,
            bias,
            model.windows[layer, 0],
            model.windows[layer, 1],
            workspace.keys[rank],
            workspace.values[rank],
            workspace.scores[rank],
            workspace.probs[rank],
            workspace.sums[rank],
            workspace.products[rank],
            workspace.context[text],
        )


@step
def feed_forward(model, layer, workspace, start, stop, rotation, team):
    """x = x + act(y W₁ᵀ + b₁) W₂ᵀ + b₂ with y the normed x, for at most BLOCK_TILES tiles; then its norm.

    (M, D) -> (M, F) -> (M, D)
    """
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
        rotation,
        intermediate,
        0,
    )
    meet(team)
    convert(intermediate[own], intermediate_input[own], scales[own], model.output.outliers[layer])
    meet(team)
    product(
        team,
        workspace,
        intermediate_input,
        scales,
        model.output,
        layer,
        RESIDUAL,
        rotation,
        workspace.x[start:stop],
        0,
    )
    meet(team)
    following = min(layer + 1, len(model.query_key.outliers) - 1)
    outliers = model.query_key.outliers[following]
    norm_sum(model, model.norm_after_feed_forward[layer], workspace, outliers, own_first, own_last)
    meet(team)
