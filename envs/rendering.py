"""What `MDPEnv.render` returns: a text or a picture of the current state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mdp import FiniteMDP
from mdp.plot import Board, CellOf, board_of, frames, marks, side_of_letters

RENDER_MODES = ["ansi", "rgb_array"]
AGENT, FREE, START, END, WALL, UNREACHED = "@.SE#-"


def checked_mode(mode: str | None) -> str | None:
    """The render mode. Raises ValueError for one that there is not."""
    if mode not in (None, *RENDER_MODES):
        raise ValueError(f"unknown render_mode {mode!r}; it may be {RENDER_MODES}")
    return mode


def renderer(mdp: FiniteMDP, cell: CellOf | None, mode: str) -> Callable[[int, str], Any]:
    """A function of a state's index and of what is said of it in words, for the render mode "ansi" or "rgb_array".

    "rgb_array": see `mdp.plot.frames`. "ansi": the words and, below them, the board, with @ for the agent, S for
    starts (where there are few), E for ends, # for cells without states, - for those that the start does not lead to;
    or the square of letters.
    """
    board = board_of(mdp, cell)
    if mode == "rgb_array":
        return frames(mdp, board)
    if board is not None:
        ground = _ground(mdp, board)
        return lambda s, said: f"{said}\n{_with_agent(ground, board, s)}"
    side = side_of_letters(mdp)
    return lambda s, said: f"{said}\n{_letters(mdp, side, s) if side else ''}"


def _ground(mdp: FiniteMDP, board: Board) -> list[list[str]]:
    rows, columns = board.shape
    lines = [[WALL] * columns for _ in range(rows)]
    for s in [*np.flatnonzero(board.cells[:, 0] >= 0), *np.flatnonzero(board.shown)]:
        row, column = board.cells[s]
        lines[row][column] = FREE if board.shown[s] else UNREACHED
    for (row, column), mark in marks(mdp, board).items():
        lines[row][column] = START if mark == "S" else END
    return lines


def _with_agent(ground: list[list[str]], board: Board, s: int) -> str:
    lines = [list(line) for line in ground]
    row, column = board.cells[s]
    if row >= 0:
        lines[row][column] = AGENT
    return "".join("".join(line) + "\n" for line in lines)


def _letters(mdp: FiniteMDP, side: int, s: int) -> str:
    label = str(mdp.states[s])
    return "".join(label[k : k + side] + "\n" for k in range(0, len(label), side)) if len(label) == side**2 else ""
