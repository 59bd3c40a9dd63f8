"""A solved board: panels with v, q, the occupancy and the policy, cell by cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mdp.model.table import Floats, Ints
from mdp.plot.boards.board import Board, ends, speakers, summed
from mdp.plot.boards.ground import cell_inches, ground
from mdp.plot.boards.sectors import Polygon, sectors
from mdp.plot.paint import INK, Paint, action_colors, ink_on, paint
from mdp.plot.style import styled
from mdp.plot.text import SMALLEST, fitting, numbers, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mdp.model.finite import FiniteMDP

MOST_IN_LEGEND = 12
LARGEST = "of the state with the largest v"
SHARED = {"v": "the largest of the cell's states", "q": LARGEST, "occupancy": "summed", "policy": LARGEST}


@styled
def plot_board(
    mdp: FiniteMDP,
    board: Board,
    *,
    v: Floats,
    policy: Floats | None = None,
    q: Floats | None = None,
    occupancy: Floats | None = None,
    title: str = "",
) -> Figure:
    """A panel for v, and for q, the occupancy and the policy if given.

    v (S,): a heat map. q (S, A): each cell is cut into a part for every action, on the side it points to.
    occupancy (S,): a heat map. policy (S, A): an arrow for every action with pi(a|s) > 0, as long as pi(a|s) is large
    beside the largest; where actions do not point anywhere, stripes as wide as pi(a|s), in the colour of the action.

    Where several states share a cell, it shows the sum of their occupancy, and v, q and pi of the one whose v is
    largest. Cells without states are dark, those that are not reached from the start grey.
    """
    from matplotlib.figure import Figure

    names = [name for name, x in (("v", v), ("q", q), ("occupancy", occupancy), ("policy", policy)) if x is not None]
    rows, columns = board.shape
    across = 1 if columns >= 2 * rows else 2
    down = -(-len(names) // across)
    size = cell_inches(board.shape)
    figure = Figure(
        figsize=(across * (max(columns * size, 2.4) + 1.4), down * (rows * size + 0.8) + 0.5), layout="constrained"
    )
    panels = list(figure.subplots(down, across, squeeze=False).flat)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    said = speakers(board, v)
    for name, axes in zip(names, panels, strict=False):
        ground(axes, mdp, board, title=name + (f": {SHARED[name]}" if board.shared else ""))
        if name == "v":
            _heat(axes, board, v[said], said)
        elif name == "q" and q is not None:
            _actions(axes, mdp, board, q, v, said)
        elif name == "occupancy" and occupancy is not None:
            _heat(axes, board, summed(board, occupancy)[tuple(board.cells[said].T)], said)
        elif policy is not None:
            _policy(axes, mdp, board, policy, said)
    figure.suptitle(title, fontsize=11)
    return figure


def _heat(axes: Any, board: Board, values: Floats, said: Ints) -> None:
    scale = paint(values)
    boxes = [[(j - 0.5, i - 0.5), (j + 0.5, i - 0.5), (j + 0.5, i + 0.5), (j - 0.5, i + 0.5)]
             for i, j in board.cells[said]]  # fmt: skip
    _fill(axes, boxes, values, scale)
    texts = numbers(values)
    size = fitting(texts, 0.86 * cell_inches(board.shape))
    if size:
        for (i, j), ink, text in zip(board.cells[said], scale.inks(values), texts, strict=True):
            _write(axes, j, i, text, size, ink)


def _write(axes: Any, x: float, y: float, text: str, size: float, ink: str, **style: Any) -> None:
    """Text in the middle of (x, y), which the layout of the panels need not measure."""
    axes.text(x, y, text, ha="center", va="center", fontsize=size, color=ink, in_layout=False, **style)


def _fill(axes: Any, polygons: list[Any], values: Floats, scale: Paint) -> None:
    from matplotlib.collections import PolyCollection

    limits = scale.mappable.norm
    below, above = bool((values < limits.vmin).any()), bool((values > limits.vmax).any())
    extend = "both" if below and above else "min" if below else "max" if above else "neither"
    faces = scale.colors(values)
    axes.add_collection(PolyCollection(polygons, facecolors=faces, edgecolors="0.9", linewidths=0.5, zorder=1))
    axes.figure.colorbar(scale.mappable, ax=axes, shrink=0.9, pad=0.02, extend=extend)


def _actions(axes: Any, mdp: FiniteMDP, board: Board, q: Floats, v: Floats, said: Ints) -> None:
    """A part of each cell for every action in A(s), with q(s,a) in it where there is room.

    The colours tell values apart that lie within the range of v, or as far again beside it; a fall from the cliff may
    cost so much that all else would look the same.
    """
    parts = sectors(board.directions)
    live = said[~ends(mdp)[said]]
    pairs = [(s, a) for s in live for a in np.flatnonzero(mdp.admissible[s])]
    if not pairs:
        return
    values = np.array([q[pair] for pair in pairs])
    low, high = v[said].min(), v[said].max()
    scale = paint(values, 2 * low - high, 2 * high - low) if high > low else paint(values)
    _fill(axes, [_moved(parts[a], board, s) for s, a in pairs], values, scale)
    texts = numbers(values)
    sizes = [fitting(texts, part.room * cell_inches(board.shape), largest=7.5) for part in parts]
    for (s, a), ink, text in zip(pairs, scale.inks(values), texts, strict=True):
        if sizes[a]:
            i, j = board.cells[s]
            _write(axes, j + parts[a].x, i + parts[a].y, text, sizes[a], ink)


def _moved(part: Polygon, board: Board, s: int) -> list[tuple[float, float]]:
    i, j = board.cells[s]
    return [(j + x, i + y) for x, y in part.corners]


def _policy(axes: Any, mdp: FiniteMDP, board: Board, policy: Floats, said: Ints) -> None:
    live = said[~ends(mdp)[said]]
    if board.directions.any():
        _arrows(axes, mdp, board, policy, live)
    else:
        _stripes(axes, mdp, board, policy, live)


def _arrows(axes: Any, mdp: FiniteMDP, board: Board, policy: Floats, live: Ints) -> None:
    """Arrows, the longest for the largest pi(a|s) of the cell; the action that points nowhere is a dot.

    Where several actions point nowhere, they are written out.
    """
    s, a, share = taken(policy, live)
    i, j = board.cells[s].T
    down, right = 0.42 * share * board.directions[a].T
    moves = board.directions[a].any(axis=1)
    axes.quiver(j[moves], i[moves], right[moves], down[moves], angles="xy", scale_units="xy", scale=1, color=INK,
                width=0.045, units="xy", headwidth=4.5, headlength=4.5, headaxislength=4.2, zorder=2)  # fmt: skip
    if (~board.directions.any(axis=1)).sum() == 1:
        axes.scatter(j[~moves], i[~moves], s=(0.2 * cell_inches(board.shape) * 72) ** 2, color=INK, zorder=3)
    else:
        _words(axes, mdp, board, s[~moves], a[~moves])


def taken(policy: Floats, states: Ints) -> tuple[Ints, Ints, Floats]:
    """State, action and pi(a|s) beside the largest of its state, for all pairs that the policy takes, (K,)."""
    share = policy[states] / np.maximum(policy[states].max(axis=1, keepdims=True), 1e-300)
    k, a = np.nonzero(share > 1e-9)
    return states[k], a, share[k, a]


def _words(axes: Any, mdp: FiniteMDP, board: Board, states: Ints, actions: Ints) -> None:
    words: dict[int, list[str]] = {}
    for s, a in zip(states.tolist(), actions.tolist(), strict=True):
        words.setdefault(s, []).append(short(mdp.actions[a], 8))
    size = fitting((", ".join(x) for x in words.values()), 0.9 * cell_inches(board.shape), largest=8)
    box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "0.6", "linewidth": 0.5}
    for s, listed in words.items():
        i, j = board.cells[s]
        _write(axes, j, i, ", ".join(listed), size or SMALLEST, INK, zorder=3, bbox=box)


def _stripes(axes: Any, mdp: FiniteMDP, board: Board, policy: Floats, live: Ints) -> None:
    """Each cell in stripes as wide as pi(a|s); one action alone is written into its cell."""
    from matplotlib.collections import PolyCollection

    colors, boxes, filled = action_colors(mdp.n_actions), [], []
    size = fitting((short(a, 8) for a in mdp.actions), 0.86 * cell_inches(board.shape), largest=8)
    for s in live:
        (i, j), x = board.cells[s], -0.5
        for a in np.flatnonzero(policy[s] > 1e-9):
            y = x + policy[s, a]
            boxes.append([(j + x, i - 0.5), (j + y, i - 0.5), (j + y, i + 0.5), (j + x, i + 0.5)])
            filled.append(int(a))
            x = y
        if policy[s].max() == 1 and size:
            _write(axes, j, i, short(mdp.actions[filled[-1]], 8), size, ink_on(colors[filled[-1]]))
    faces = [colors[a] for a in filled]
    axes.add_collection(PolyCollection(boxes, facecolors=faces, edgecolors="0.95", linewidths=0.4))
    used = sorted(set(filled))
    chosen = used if len(used) <= MOST_IN_LEGEND else [used[k] for k in np.linspace(0, len(used) - 1, 8).astype(int)]
    handles = [axes.scatter([], [], marker="s", color=[colors[a]], label=short(mdp.actions[a], 16)) for a in chosen]
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.05), fontsize=8, frameon=False,
                ncols=min(len(chosen), 6))  # fmt: skip
