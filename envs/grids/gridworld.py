"""Two gridworlds. Sutton & Barto (2nd ed.), Examples 3.5 / 3.8 (5 x 5) and 4.1 (4 x 4).

5 x 5: a continuing task. Steps off the grid stay and pay -1; every action in A = (0, 1) pays +10 and leads to
A' = (4, 1); every action in B = (0, 3) pays +5 and leads to B' = (2, 3); all else pays 0. gamma = .9.
    v of the uniform policy, row 0: 3.3 8.8 4.4 5.3 1.5;    v*, row 0: 22.0 24.4 22.0 19.4 17.5
    v*(A) = 10 / (1 - .9^5) = 24.4194280970: A again after five steps, for ever

4 x 4: every step pays -1 until one of two corners; steps off the grid stay. gamma = 1. The index of state (row, column)
is the book's number, 4 row + column.
    v of the uniform policy: 0 -14 -20 -22 | -14 -18 -20 -20 | ...;  q(11, down) = -1, q(7, down) = -15
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from envs.answers import Answer, Cell, Entry
from mdp import FiniteMDP

MOVES: dict[str, Cell] = {"up": (-1, 0), "right": (0, 1), "down": (1, 0), "left": (0, -1)}


def grid(
    rows: int,
    columns: int,
    outcome: Callable[[Cell, Cell], tuple[Cell, float]],
    *,
    gamma: float,
    terminal: frozenset[Cell] = frozenset(),
) -> FiniteMDP:
    """A deterministic grid; `outcome(cell, wanted)` gives (next cell, reward), `wanted` may lie off the grid."""
    cells = [(i, j) for i in range(rows) for j in range(columns)]
    outcomes = {}
    for i, j in cells:
        if (i, j) not in terminal:
            for name, (di, dj) in MOVES.items():
                after, reward = outcome((i, j), (i + di, j + dj))
                outcomes[(i, j), name] = [(1.0, after, reward)]
    return FiniteMDP.from_outcomes(outcomes, gamma=gamma, states=cells)


def gridworld_5x5(gamma: float = 0.9) -> FiniteMDP:
    """Example 3.5: states (row, column), actions "up", "right", "down", "left"; no terminal state.

    >>> from envs import gridworld_5x5
    >>> from mdp import evaluate
    >>> m = gridworld_5x5()
    >>> evaluate(m, m.uniform_policy()).v[:5].round(6).tolist()  # Figure 3.2: 3.3 8.8 4.4 5.3 1.5
    [3.308996, 8.789292, 4.427619, 5.322368, 1.492179]
    """
    jumps = {(0, 1): ((4, 1), 10.0), (0, 3): ((2, 3), 5.0)}

    def outcome(cell: Cell, wanted: Cell) -> tuple[Cell, float]:
        if cell in jumps:
            return jumps[cell]
        return (wanted, 0.0) if _on_grid(wanted, 5) else (cell, -1.0)

    return grid(5, 5, outcome, gamma=gamma)


def gridworld_4x4(gamma: float = 1.0) -> FiniteMDP:
    """Example 4.1: states (row, column), actions "up", "right", "down", "left"; (0, 0) and (3, 3) are terminal.

    >>> from envs import gridworld_4x4
    >>> from mdp import evaluate
    >>> m = gridworld_4x4()
    >>> evaluate(m, m.uniform_policy()).v[:4].round(10).tolist()  # Figure 4.1
    [0.0, -14.0, -20.0, -22.0]
    """

    def outcome(cell: Cell, wanted: Cell) -> tuple[Cell, float]:
        return (wanted if _on_grid(wanted, 4) else cell), -1.0

    return grid(4, 4, outcome, gamma=gamma, terminal=frozenset({(0, 0), (3, 3)}))


def _on_grid(cell: Cell, n: int) -> bool:
    return 0 <= cell[0] < n and 0 <= cell[1] < n


def _by_row(*rows: tuple[float, ...]) -> dict[Hashable, float]:
    return {(i, j): value for i, row in enumerate(rows) for j, value in enumerate(row)}


def _row_0(*values: float) -> dict[Hashable, float]:
    return _by_row(values)


V_A = 10 / (1 - 0.9**5)  # A again after five steps, for ever
GRIDWORLD_5X5 = Entry(
    gridworld_5x5,
    (
        Answer(
            "uniform",
            0.9,
            _row_0(3.3089963356, 8.7892918626, 4.4276191826, 5.3223675934, 1.4921787587)
            | {(4, 0): -1.8577005503, (4, 4): -1.9751790483},
            "Figure 3.2, in double precision",
        ),
        Answer(
            "optimal",
            0.9,
            _row_0(0.9 * V_A, V_A, 0.9 * V_A, 19.4194280970, 17.4774852873),
            "Figure 3.5; v*(A) = 10 / (1 - .9^5)",
        ),
    ),
)
GRIDWORLD_4X4 = Entry(
    gridworld_4x4,
    (
        Answer(
            "uniform",
            1.0,
            _by_row((0, -14, -20, -22), (-14, -18, -20, -20), (-20, -20, -18, -14), (-22, -20, -14, 0)),
            "Figure 4.1",
        ),
        Answer("optimal", 1.0, _by_row((0, -1, -2, -3), (-1, -2, -3, -2), (-2, -3, -2, -1), (-3, -2, -1, 0)),
               "the steps to the nearer corner"),
    ),
)
