"""What stays the same on a board: cells, walls, where episodes start and end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mdp.plot.boards.board import Board, ends
from mdp.plot.paint import INK, LIGHT, UNREACHED, WALL
from mdp.plot.text import number

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP

MOST_TICKS = 16


def cell_inches(shape: tuple[int, int]) -> float:
    """The size of a cell: boards of all sizes fit a page."""
    return float(np.clip(7 / max(shape), 0.28, 0.95))


def ground(axes: Any, mdp: FiniteMDP, board: Board, title: str = "") -> None:
    """Cells: dark without states, grey where the start does not lead; S at a start, "end" at an end, walls as lines."""
    rows, columns = board.shape
    shade = np.full((rows, columns), float(WALL))
    drawn = board.cells[board.cells[:, 0] >= 0]
    shade[tuple(drawn.T)] = float(UNREACHED)
    shade[tuple(board.cells[board.shown].T)] = float(LIGHT)
    axes.imshow(shade, cmap="gray", vmin=0, vmax=1, zorder=0)
    for at in range(1, max(rows, columns)):
        if at < rows:
            axes.axhline(at - 0.5, color="0.75", lw=0.4, zorder=0.5)
        if at < columns:
            axes.axvline(at - 0.5, color="0.75", lw=0.4, zorder=0.5)
    for (i, j), (k, n) in board.walls:
        across = ([j - 0.5, j + 0.5], [k - 0.5] * 2) if j == n else ([n - 0.5] * 2, [i - 0.5, i + 0.5])
        axes.plot(*across, color=WALL, lw=3, solid_capstyle="butt", zorder=4)
    for (i, j), text in marks(mdp, board).items():
        _mark(axes, i, j, text, cell_inches(board.shape))
    axes.set(title=title, xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    axes.title.set_fontsize(9)
    axes.tick_params(length=0, labelsize=7)
    axes.set_yticks(*_ticks(mdp, board, 0))
    axes.set_xticks(*_ticks(mdp, board, 1))


def _mark(axes: Any, i: int, j: int, text: str, inches: float) -> None:
    style = {"fontsize": min(7, 11 * inches), "color": INK, "zorder": 3, "weight": "bold", "in_layout": False}
    box = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
    if text == "S":
        axes.text(j - 0.46, i - 0.46, text, ha="left", va="top", bbox=box, **style)
        return
    x, y = j + 0.46 * np.array([-1, 1, 1, -1, -1]), i + 0.46 * np.array([-1, -1, 1, 1, -1])
    axes.plot(x, y, color=INK, lw=1.2, zorder=3)
    if inches >= 0.4:
        axes.text(j, i + 0.4, text, ha="center", va="bottom", bbox=box, **style)


def marks(mdp: FiniteMDP, board: Board) -> dict[tuple[int, int], str]:
    """S for cells where episodes start (unless most cells are), "end" where they end.

    Where ends differ in what is paid on the last step or after it, the amount stands beside it.
    """
    shown, over = board.shown, ends(mdp)
    starts = (mdp.start > 0) & shown
    out: dict[tuple[int, int], str] = {}
    if 3 * len(np.unique(board.place[starts])) <= len(np.unique(board.place[shown])):
        out |= {(int(i), int(j)): "S" for i, j in board.cells[starts]}
    last = {int(s): _paid(mdp, int(s)) for s in np.flatnonzero(over & (board.cells[:, 0] >= 0))}
    for s, paid in last.items():
        told = len(set(last.values())) > 1 and len(paid) == 1
        i, j = board.cells[s]
        out[int(i), int(j)] = f"end {number(*paid)}" if told else "end"
    return out


def _paid(mdp: FiniteMDP, s: int) -> tuple[float, ...]:
    """What is paid for reaching an end from elsewhere and, where an action is still taken there, for that."""
    t = mdp.table
    before = np.unique(t.reward[(t.next == s) & (t.state != s)]).tolist() or [0.0]
    after = np.unique(t.reward[t.state == s]).tolist() or [0.0]
    return tuple(sorted({x + y for x in before for y in after}))


def _ticks(mdp: FiniteMDP, board: Board, axis: int) -> tuple[Sequence[int], Sequence[str]]:
    """The part of the labels that is the same in a whole row (axis 0) or column (1), where there is such a part."""
    lines: dict[int, list[Any]] = {}
    for s in np.flatnonzero(board.cells[:, 0] >= 0):
        lines.setdefault(int(board.cells[s, axis]), []).append(mdp.states[s])
    labels = [label for line in lines.values() for label in line]
    if len(lines) == 1 or not all(isinstance(x, tuple) for x in labels) or len({len(x) for x in labels}) != 1:
        return [], []
    for part in range(len(labels[0])):
        values = {at: {label[part] for label in line} for at, line in lines.items()}
        if all(len(x) == 1 for x in values.values()) and len(set.union(*values.values())) > 1:
            at = sorted(lines)[:: -(-len(lines) // MOST_TICKS)]
            return at, [str(*values[x]) for x in at]
    return [], []
