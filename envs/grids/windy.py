"""The windy gridworld. Sutton & Barto (2nd ed.), Example 6.5, and Exercises 6.9 (king's moves) and 6.10 (random wind).

     .  .  .  .  .  .  .  .  .  .       S start, G goal, -1 a step, gamma = 1
     .  .  .  .  .  .  .  .  .  .
     .  .  .  .  .  .  .  .  .  .       s' = s + move + the wind of the column that is left, stopped at the edges
     S  .  .  .  .  .  .  G  .  .
     .  .  .  .  .  .  .  .  .  .
     .  .  .  .  .  .  .  .  .  .
     .  .  .  .  .  .  .  .  .  .
     0  0  0  1  1  1  2  2  1  0       cells upwards

In Exercise 6.10 a wind that is not 0 blows one cell less, as given, or one cell more, with probability 1/3 each.

Known answers: the shortest way takes 15 steps; with king's moves 7, and 7 too where staying is a ninth move.
"""

from __future__ import annotations

from itertools import islice

from envs.answers import Answer, Cell, Entry
from envs.grids.gridworld import MOVES
from mdp import FiniteMDP

WIND = (0, 0, 0, 1, 1, 1, 2, 2, 1, 0)
ROWS, COLUMNS = 7, len(WIND)
START, GOAL = (3, 0), (3, 7)
DIAGONAL: dict[str, Cell] = {"up-right": (-1, 1), "down-right": (1, 1), "down-left": (1, -1), "up-left": (-1, -1)}
NINE_MOVES = MOVES | DIAGONAL | {"stay": (0, 0)}


def windy_gridworld(moves: int = 4, stochastic: bool = False, gamma: float = 1.0) -> FiniteMDP:
    """States (row, column), (3, 7) is terminal; starts in (3, 0).

    moves: 4 ("up", "right", "down", "left"), 8 (and "up-right", "down-right", "down-left", "up-left": king's moves) or
    9 (and "stay"). stochastic: the wind of Exercise 6.10. Raises ValueError for another number of moves.

    >>> from envs import windy_gridworld
    >>> from mdp import solve
    >>> m = windy_gridworld()
    >>> float(m.start @ solve(m).v.round(10))  # Sutton & Barto, Example 6.5: 15 steps
    -15.0
    """
    if moves not in (4, 8, 9):
        raise ValueError(f"moves must be 4, 8 (king's moves) or 9 (king's moves and staying), not {moves}")
    cells = [(i, j) for i in range(ROWS) for j in range(COLUMNS)]
    outcomes = {}
    for i, j in cells:
        if (i, j) != GOAL:
            winds = [WIND[j] - 1, WIND[j], WIND[j] + 1] if stochastic and WIND[j] else [WIND[j]]
            for name, (di, dj) in islice(NINE_MOVES.items(), moves):
                outcomes[(i, j), name] = [(1 / len(winds), _stopped(i + di - w, j + dj), -1.0) for w in winds]
    return FiniteMDP.from_outcomes(outcomes, gamma=gamma, states=cells, start={START: 1.0})


def windy_gridworld_king(moves: int = 8, stochastic: bool = False, gamma: float = 1.0) -> FiniteMDP:
    """`windy_gridworld` with king's moves by default (Exercise 6.9).

    >>> from envs import windy_gridworld_king
    >>> from mdp import solve
    >>> m = windy_gridworld_king()
    >>> float(m.start @ solve(m).v.round(10))  # Exercise 6.9: 7 steps
    -7.0
    """
    return windy_gridworld(moves, stochastic, gamma)


def _stopped(i: int, j: int) -> Cell:
    return min(max(i, 0), ROWS - 1), min(max(j, 0), COLUMNS - 1)


def _cell(label: Cell) -> Cell:
    return label  # said, because in the wind few moves lead to neighbours


ENTRY = Entry(
    windy_gridworld,
    (
        Answer("optimal", 1.0, {START: -15, GOAL: 0}, "Example 6.5: 15 steps"),
        Answer("uniform", 1.0, {START: -1641064 / 267}, "the 69 x 69 linear system, in fractions"),
        Answer("optimal", 1.0, {START: -20.6282578875}, "value iteration", parameters={"stochastic": True}),
    ),
    _cell,
)
KING = Entry(
    windy_gridworld_king,
    (
        Answer("optimal", 1.0, {START: -7, GOAL: 0}, "Exercise 6.9: 7 steps, one for each column"),
        Answer("optimal", 1.0, {START: -7, GOAL: 0}, "Exercise 6.9, with staying", parameters={"moves": 9}),
        Answer("uniform", 1.0, {START: -2544.4321767332}, "the 69 x 69 linear system, in fractions"),
        Answer("optimal", 1.0, {START: -10.9646090535}, "value iteration", parameters={"stochastic": True}),
    ),
    _cell,
)
