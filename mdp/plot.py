"""The picture of a solved grid: v as a heat map, all optimal actions as arrows. matplotlib is imported when called."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from mdp.model.table import Bools, Floats, Ints

if TYPE_CHECKING:
    from mdp.control.solving import Solution
    from mdp.model.finite import FiniteMDP

MOST_NUMBERS = 150  # cells in which values are written


def grid_cells(mdp: FiniteMDP, shape: tuple[int, int] | None = None) -> Ints | None:
    """(row, column) of every state, (S, 2), -1 for states that are no cell; None where the MDP is no grid.

    Labels that are pairs of integers are cells. shape: the first rows * columns states are, row by row.
    """
    cells = np.full((mdp.n_states, 2), -1)
    if shape is not None:
        n = shape[0] * shape[1]
        cells[:n] = np.transpose(np.unravel_index(np.arange(n), shape))
        return cells
    for s, label in enumerate(mdp.states):
        if isinstance(label, tuple) and len(label) == 2 and all(type(x) is int and x >= 0 for x in label):
            cells[s] = label if max(label) < mdp.n_states else -1
        elif not mdp.terminal[s]:
            return None
    rows, columns = cells.max(axis=0) + 1
    return cells if 0 < rows * columns <= 2 * mdp.n_states and _mostly_neighbours(mdp, cells) else None


def _mostly_neighbours(mdp: FiniteMDP, cells: Ints) -> bool:
    """More than half of the moves between different cells go up, down, left and right, each of them somewhere."""
    t = mdp.table
    step = (cells[t.next] - cells[t.state])[(cells[t.next, 0] >= 0) & (t.next != t.state)]
    near = step[np.abs(step).sum(axis=1) == 1]
    return 2 * len(near) > len(step) and len(np.unique(near, axis=0)) == 4


def plot_grid(mdp: FiniteMDP, solution: Solution, cells: Ints, path: str | os.PathLike[str], title: str = "") -> None:
    """Write a PNG, SVG or PDF, by the ending: v* in colour, an arrow for every optimal action, ties included.

    An arrow points where its action leads on average, wherever it is not stopped by a border. Cells that cannot be
    reached from the start are grey.
    """
    from matplotlib.figure import Figure

    rows, columns = cells.max(axis=0) + 1
    shown = (cells[:, 0] >= 0) & (_reachable(mdp) | mdp.terminal)
    v = np.full((rows, columns), np.nan)
    v[tuple(cells[shown].T)] = solution.v[shown]
    figure = Figure(figsize=(1.5 + 0.85 * columns, 0.9 + 0.85 * rows), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor("0.85")
    image = axes.imshow(v, cmap="viridis")
    figure.colorbar(image, ax=axes, label="v*", shrink=0.85)
    _arrows(axes, mdp, solution, cells, shown)
    if rows * columns <= MOST_NUMBERS:
        _numbers(axes, solution.v, cells, shown, image)
    axes.set(xticks=range(columns), yticks=range(rows), title=title)
    figure.savefig(path, dpi=130)


def _reachable(mdp: FiniteMDP) -> Bools:
    """States that some policy visits, (S,)."""
    t, S = mdp.table, mdp.n_states
    starts = np.flatnonzero(mdp.start)
    rows, columns = np.append(t.state, np.full(len(starts), S)), np.append(t.next, starts)
    graph = sparse.csr_array((np.ones(len(rows), bool), (rows, columns)), shape=(S + 1, S + 1))
    reached = np.zeros(S + 1, bool)
    reached[csgraph.breadth_first_order(graph, S, return_predecessors=False)] = True
    return reached[:S]


def _directions(mdp: FiniteMDP, cells: Ints, shown: Bools) -> Floats:
    """The mean step (down, right) of every action from shown cells to neighbouring ones, (A, 2), of length 1 or 0."""
    t = mdp.table
    step = cells[t.next] - cells[t.state]
    near = shown[t.state] & (cells[t.next, 0] >= 0) & (np.abs(step).sum(axis=1) == 1)
    total = np.zeros((mdp.n_actions, 2))
    np.add.at(total, t.action[near], t.p[near, None] * step[near])
    length = np.hypot(*total.T)[:, None]
    return np.asarray(np.divide(total, length, out=np.zeros_like(total), where=length > 1e-9))


def _arrows(axes: Any, mdp: FiniteMDP, solution: Solution, cells: Ints, shown: Bools) -> None:
    s, a = np.nonzero(solution.optimal_actions & shown[:, None])
    down, right = _directions(mdp, cells, shown)[a].T
    axes.quiver(cells[s, 1], cells[s, 0], 0.36 * right, 0.36 * down, angles="xy", scale_units="xy", scale=1,
                color="white", edgecolor="black", linewidth=0.4, width=0.06, units="xy", zorder=2)  # fmt: skip


def _numbers(axes: Any, v: Floats, cells: Ints, shown: Bools, image: Any) -> None:
    for s in np.flatnonzero(shown):
        bright = image.norm(v[s]) > 0.6
        axes.text(cells[s, 1] - 0.46, cells[s, 0] - 0.44, f"{v[s]:.3g}", ha="left", va="top", fontsize=7,
                  color="black" if bright else "white", zorder=3)  # fmt: skip

