"""Frames of an episode as arrays: the picture is drawn once, and on it, for each frame, what moves."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import isqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mdp.model.table import Label
from mdp.plot.boards.board import Board
from mdp.plot.boards.ground import ground
from mdp.plot.graphs.arrows import MOST_STATES, RADIUS, graph_of
from mdp.plot.graphs.backup import backup_of, draw_backup, height, stage
from mdp.plot.graphs.graph import canvas, draw_graph
from mdp.plot.paint import AGENT, INK
from mdp.plot.text import short, width

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP

DPI = 100
CAPTION = 0.36  # inches above the picture
LETTERS = "XO."
Draw = Callable[[int], None]


class Frames:
    """Call it with a state's index and a caption: uint8 (H, W, 3), of one shape, H and W even as films want them."""

    def __init__(self, figure: Any, axes: Any, draw: Draw) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        wide, tall = (2 * round(DPI * x / 2) for x in figure.get_size_inches())
        figure.set_dpi(DPI)
        figure.set_size_inches((wide + 0.1) / DPI, (tall + 0.1) / DPI)  # matplotlib 3.9 cuts 457.9999 off to 457
        self._axes, self._draw, self._canvas = axes, draw, FigureCanvasAgg(figure)
        self._canvas.draw()  # type: ignore[no-untyped-call]
        self._still = self._canvas.copy_from_bbox(figure.bbox)  # type: ignore[no-untyped-call]
        self._kept = set(_artists(axes))
        self._letters = int(figure.get_figwidth() / width("m", 8)) - 1

    def __call__(self, s: int, caption: str = "") -> NDArray[np.uint8]:
        """The frame in which the episode is in state s."""
        figure = self._axes.figure
        self._canvas.restore_region(self._still)  # type: ignore[no-untyped-call]
        self._draw(s)
        moving = [x for x in _artists(self._axes) if x not in self._kept]
        moving.append(figure.text(0.02, 1 - 0.06 / figure.get_figheight(), short(caption, self._letters),
                                  ha="left", va="top", fontsize=8, color=INK))  # fmt: skip
        for artist in sorted(moving, key=lambda x: x.get_zorder()):
            artist.draw(self._canvas.get_renderer())  # type: ignore[no-untyped-call]
            artist.remove()
        return np.array(self._canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]


def _artists(axes: Any) -> list[Any]:
    return [*axes.patches, *axes.collections, *axes.lines, *axes.texts]


def frames(mdp: FiniteMDP, board: Board | None = None) -> Frames:
    """Frames of a board with the agent as a disc, of a square of letters X O ., or of the transition graph.

    Of a graph of more than 30 states a frame shows the state with its actions and what most probably follows.
    """
    if board is not None:
        return _on_board(mdp, board)
    side = side_of_letters(mdp)
    if side:
        return _letters(mdp, side)
    return _on_graph(mdp) if mdp.n_states <= MOST_STATES else _backups(mdp)


def _figure(wide: float, tall: float) -> tuple[Any, Any]:
    """A figure with axes under a strip for the caption."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(wide, tall + CAPTION))
    return figure, figure.add_axes((0, 0, 1, tall / (tall + CAPTION)))


def _on_board(mdp: FiniteMDP, board: Board) -> Frames:
    rows, columns = board.shape
    size = float(np.clip(4.2 / max(rows, columns), 0.13, 0.6))
    figure, axes = _figure(max(columns * size, 3.2) + 0.2, rows * size + 0.2)
    ground(axes, mdp, board)
    axes.set(xticks=[], yticks=[])
    axes.set_position((0, 0.1 / figure.get_figheight(), 1, rows * size / figure.get_figheight()))
    return Frames(figure, axes, partial(_disc, axes, board))


def _disc(axes: Any, board: Board, s: int) -> None:
    row, column = board.cells[s]
    if row >= 0:
        inches = axes.get_window_extent().height / DPI / board.shape[0]
        axes.scatter([column], [row], s=(0.6 * inches * 72) ** 2, color=AGENT, edgecolors=INK, linewidths=0.8, zorder=5)


def _on_graph(mdp: FiniteMDP) -> Frames:
    graph = graph_of(mdp)
    figure, axes = canvas(graph, top=CAPTION)
    draw_graph(axes, mdp, graph, v=None, policy=None, scale=None)
    at = dict(zip(graph.states.tolist(), graph.at, strict=True))

    def ring(s: int) -> None:
        axes.scatter(*at[s][:, None], s=(2.5 * RADIUS * 72) ** 2, facecolors="none", edgecolors=AGENT, linewidths=3)

    return Frames(figure, axes, ring)


def _backups(mdp: FiniteMDP) -> Frames:
    from matplotlib.figure import Figure

    wide, tall, policy = 7.2, height(5), mdp.uniform_policy()
    figure = Figure(figsize=(wide, tall + CAPTION))
    axes = stage(figure, wide, tall)

    def tree(s: int) -> None:
        draw_backup(axes, mdp, backup_of(mdp, s, policy, actions=5, leaves=6), wide, tall)

    return Frames(figure, axes, tree)


def side_of_letters(mdp: FiniteMDP) -> int:
    """n, where the label of every state that is not terminal is an n by n square of letters X O . ; else 0."""
    sides = {_side(label) for label, over in zip(mdp.states, mdp.terminal, strict=True) if not over}
    return sides.pop() if len(sides) == 1 else 0


def _side(label: Label) -> int:
    if not isinstance(label, str) or not set(label) <= set(LETTERS):
        return 0
    n = isqrt(len(label))
    return n if n >= 2 and n * n == len(label) else 0


def _letters(mdp: FiniteMDP, side: int) -> Frames:
    figure, axes = _figure(3.2, 3.2)
    axes.set(xlim=(-0.6, side - 0.4), ylim=(side - 0.4, -0.6))
    axes.set_axis_off()
    for at in range(1, side):
        axes.plot([at - 0.5] * 2, [-0.5, side - 0.5], color=INK, lw=2)
        axes.plot([-0.5, side - 0.5], [at - 0.5] * 2, color=INK, lw=2)

    def letters(s: int) -> None:
        label = str(mdp.states[s])
        for k, letter in enumerate(label if _side(label) == side else ""):
            if letter != ".":
                axes.text(k % side, k // side, letter, ha="center", va="center", fontsize=90 / side,
                          color=AGENT if letter == "X" else INK)  # fmt: skip

    return Frames(figure, axes, letters)
