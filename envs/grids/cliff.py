"""Cliff walking. Sutton & Barto (2nd ed.), Example 6.6.

    .  .  .  .  .  .  .  .  .  .  .  .       S start, G goal, gamma = 1
    .  .  .  .  .  .  .  .  .  .  .  .       -1 a step; steps off the grid stay
    .  .  .  .  .  .  .  .  .  .  .  .
    S  ~  ~  ~  ~  ~  ~  ~  ~  ~  ~  G       a step into the cliff ~ pays -100 and leads back to S; the episode goes on

Known answer: along the edge, one up, columns - 1 to the right, one down: n = columns + 1 steps,

    v*(S) = -(1 + gamma + ... + gamma^(n - 1)):   -13 for 4 x 12,   -(1 - .99^13) / (1 - .99) at gamma = .99
"""

from __future__ import annotations

from envs.answers import Answer, Cell, Entry
from envs.grids.gridworld import MOVES
from mdp import FiniteMDP

FALL = -100.0


def cliff(rows: int = 4, columns: int = 12, gamma: float = 1.0) -> FiniteMDP:
    """States (row, column), cells of the cliff are none; actions "up", "right", "down", "left".

    Starts in the left corner of the last row; the right one is terminal. Raises ValueError for fewer than 2 rows or 3
    columns.

    >>> from envs import cliff
    >>> from mdp import solve
    >>> m = cliff()
    >>> float(m.start @ solve(m).v.round(10))  # 13 steps along the edge
    -13.0
    """
    if rows < 2 or columns < 3:
        raise ValueError(f"the cliff needs at least 2 rows and 3 columns, not {rows} x {columns}")
    start, goal = (rows - 1, 0), (rows - 1, columns - 1)
    cells = [(i, j) for i in range(rows - 1) for j in range(columns)] + [start, goal]

    def outcome(i: int, j: int) -> tuple[float, Cell, float]:
        i, j = min(max(i, 0), rows - 1), min(max(j, 0), columns - 1)
        return (1.0, start, FALL) if i == rows - 1 and 0 < j < columns - 1 else (1.0, (i, j), -1.0)

    outcomes = {
        ((i, j), name): [outcome(i + di, j + dj)]
        for i, j in cells
        for name, (di, dj) in MOVES.items()
        if (i, j) != goal
    }
    return FiniteMDP.from_outcomes(outcomes, gamma=gamma, states=cells, start={start: 1.0})


ENTRY = Entry(
    cliff,
    (
        Answer("optimal", 1.0, {(3, 0): -13, (2, 11): -1, (3, 11): 0}, "Example 6.6: the edge"),
        Answer("optimal", 0.99, {(3, 0): -(1 - 0.99**13) / (1 - 0.99)}, "13 steps along the edge"),
        Answer("optimal", 1.0, {(2, 0): -6}, "6 steps along the edge", parameters={"rows": 3, "columns": 5}),
        Answer("uniform", 1.0, {(3, 0): -72214311616775012 / 1104614417995}, "the linear system, in fractions"),
    ),
)
