"""The steps that a team shares: products, norms, and the barriers between them."""

from __future__ import annotations

from typing import NamedTuple

from minigte.arrays import Int64
from minigte.engine.jit import kernel
from minigte.engine.linear import linear
from minigte.engine.rows import convert, layer_norm
from minigte.engine.simd import address
from minigte.engine.team import barrier, share


class Team(NamedTuple):
    """One member's view of its team."""

    meeting: Int64
    rank: int
    size: int
    by_outputs: bool  # products are split by outputs (few rows: read each weight once), or else by rows


@kernel
def norm(model, weight_and_bias, workspace, first, last):
    """LayerNorm of the rows from ``first`` to ``last``, ready for the next product."""
    weight, bias = address(weight_and_bias), address(weight_and_bias) + weight_and_bias.strides[0]
    for n in range(first, last):
        layer_norm(
            address(workspace.x) + n * workspace.x.strides[0],
            model.hidden_size,
            weight,
            bias,
            model.layer_norm_eps,
        )
    convert(workspace.x[first:last], workspace.x_input[first:last], workspace.scales[first:last])
    if model.value_apart:
        convert(workspace.x[first:last], workspace.x_value[first:last], workspace.scales[first:last])


@kernel
def product(team, workspace, a, scales, matrix, layer, finish, out, column):
    """``linear`` on the given rows: all outputs if every member has its own rows, else this member's."""
    panels = matrix.panels.shape[1]
    first, last = share(panels, team.rank, team.size, 1) if team.by_outputs else (0, panels)
    linear(a, scales, matrix, layer, first, last, finish, out, column, workspace.tile[team.rank])


@kernel
def own_rows(team, first, last):
    """The rows that this member converts and normalises among those its products work on."""
    if team.by_outputs:
        begin, end = share(last - first, team.rank, team.size, 1)
        return first + begin, first + end
    return first, last


@kernel
def meet(team):
    """The barrier between a product and work on whole rows; needed only where a row is made by several."""
    if team.by_outputs:
        barrier(team.meeting, team.size)
