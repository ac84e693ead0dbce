"""The steps that a team shares: products, norms, and the barriers between them."""

from __future__ import annotations

from typing import NamedTuple

from minigte.arrays import Int64
from minigte.engine.jit import step
from minigte.engine.linear import linear
from minigte.engine.rows import convert, normalize
from minigte.engine.simd import address
from minigte.engine.team import barrier, share


class Team(NamedTuple):
    """One member's view of its team."""

    meeting: Int64
    rank: int
    size: int
    by_outputs: bool  # products are split by outputs (few rows: read each weight once), or else by rows


@step
def norm(model, weight_and_bias, source, target, first, last):
    """The model's kind of norm of the rows ``first`` to ``last``; ``source`` and ``target`` may be one."""
    weight, bias = address(weight_and_bias), address(weight_and_bias) + weight_and_bias.strides[0]
    for n in range(first, last):
        normalize(
            address(source) + n * source.strides[0],
            address(target) + n * target.strides[0],
            model.hidden_size,
            weight,
            bias,
            model.norm_eps,
            not model.rms_norm,
        )


@step
def ready(model, workspace, outliers, first, last):
    """The normed rows from ``first`` to ``last`` in the form in which the next product reads them."""
    normed = workspace.normed[first:last]
    convert(normed, workspace.x_input[first:last], workspace.scales[first:last], outliers)
    if model.value_apart:
        convert(normed, workspace.x_value[first:last], workspace.scales[first:last], outliers)


@step
def norm_sum(model, weight_and_bias, workspace, outliers, first, last):
    """What follows a residual sum: the norm of x, ready for the next product, which has these outliers."""
    norm(model, weight_and_bias, workspace.x, workspace.normed, first, last)
    ready(model, workspace, outliers, first, last)


@step
def product(team, workspace, a, scales, matrix, layer, finish, rotation, out, column):
    """``linear`` on the given rows: all outputs if every member has its own rows, else this member's."""
    panels = matrix.panels.shape[1]
    first, last = share(panels, team.rank, team.size, 1) if team.by_outputs else (0, panels)
    products, panel = workspace.products[team.rank], workspace.panel[team.rank]
    linear(a, scales, matrix, layer, first, last, finish, rotation, out, column, products, panel)


@step
def own_rows(team, first, last):
    """The rows that this member converts and normalises among those its products work on."""
    if team.by_outputs:
        begin, end = share(last - first, team.rank, team.size, 1)
        return first + begin, first + end
    return first, last


@step
def meet(team):
    """The barrier between a product and work on whole rows; needed only where a row is made by several."""
    if team.by_outputs:
        barrier(team.meeting, team.size)
