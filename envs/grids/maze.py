"""Mazes from a text map. Sutton & Barto (2nd ed.), Example 8.1 and Figure 8.2: the Dyna maze.

    . . . . . . . # G       S start, G goal, # wall
    . . # . . . . # .       +1 on reaching the goal, else 0; gamma = .95
    S . # . . . . # .       a step into a wall or off the map stays
    . . # . . . . . .
    . . . . . # . . .
    . . . . . . . . .

Examples 8.2 and 8.3 change the maze while the agent learns: from OPEN_RIGHT to OPEN_LEFT (blocking maze), from
OPEN_LEFT to OPEN_BOTH (shortcut maze).

Known answer, with d the number of steps on the shortest way from s to the goal:

    v*(s) = gamma^(d - 1):   d = 14 from the start of the Dyna maze;   10, 16 and 10 for OPEN_RIGHT, _LEFT and _BOTH
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from envs.answers import Answer, Cell, Entry
from envs.grids.gridworld import MOVES
from mdp import FiniteMDP

DYNA = (
    ".......#G",
    "..#....#.",
    "S.#....#.",
    "..#......",
    ".....#...",
    ".........",
)
OPEN_RIGHT = ("........G", ".........", ".........", "########.", ".........", "...S.....")
OPEN_LEFT = (*OPEN_RIGHT[:3], ".########", *OPEN_RIGHT[4:])
OPEN_BOTH = (*OPEN_RIGHT[:3], ".#######.", *OPEN_RIGHT[4:])
LETTERS = {"S": "start", "G": "goal", "#": "wall", ".": "free"}


def maze(rows: str | Sequence[str] = DYNA, gamma: float = 0.95) -> FiniteMDP:
    """States (row, column): the cells that can be reached, no walls; actions "up", "right", "down", "left".

    rows: the map, its rows as strings or as the lines of one string. It has one S, and one or more G, which are
    terminal. Raises ValueError for another number of starts, no goal, a goal that cannot be reached, rows that differ
    in length, other letters.

    >>> from envs import maze
    >>> from mdp import solve
    >>> m = maze()
    >>> float(m.start @ solve(m).v.round(6)), round(0.95**13, 6)  # 14 steps
    (0.513342, 0.513342)
    """
    cells = read_map(rows, LETTERS)
    starts = [cell for cell, letter in cells.items() if letter == "S"]
    if len(starts) > 1:
        raise ValueError(f"a maze has one start S; the map has {len(starts)}, at {', '.join(map(str, starts))}")
    reached = reached_cells(cells, "#")
    states = [cell for cell in cells if cell in reached]
    outcomes = {}
    for i, j in states:
        if cells[i, j] != "G":
            for name, (di, dj) in MOVES.items():
                after = (i + di, j + dj) if (i + di, j + dj) in reached else (i, j)
                outcomes[(i, j), name] = [(1.0, after, float(cells[after] == "G"))]
    return FiniteMDP.from_outcomes(outcomes, gamma=gamma, states=states, start={starts[0]: 1.0})


def lines(rows: str | Sequence[str]) -> list[str]:
    """The rows of a map that is a sequence of rows, or one string with a row a line."""
    return [row.strip() for row in rows.strip().splitlines()] if isinstance(rows, str) else list(rows)


def read_map(rows: str | Sequence[str], letters: Mapping[str, str]) -> dict[Cell, str]:
    """{(row, column): letter}, row by row. letters: what each letter means; the first two must be there.

    Raises ValueError for rows that differ in length, a letter that is none of them, and one that is missing.
    """
    rows = lines(rows)
    cells = {(i, j): letter for i, row in enumerate(rows) for j, letter in enumerate(row)}
    for i, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise ValueError(f"row {i} of the map has {len(row)} cells, row 0 has {len(rows[0])}: {row!r}")
    for cell, letter in cells.items():
        if letter not in letters:
            known = ", ".join(f"{x!r} ({meaning})" for x, meaning in letters.items())
            raise ValueError(f"the map has {letter!r} at {cell}; it may have {known}")
    for letter in list(letters)[:2]:
        if letter not in cells.values():
            raise ValueError(f"the map has no {letters[letter]} {letter!r}")
    return cells


def reached_cells(cells: Mapping[Cell, str], wall: str) -> set[Cell]:
    """The cells to which moves from an S lead: walls are never entered, goals G never left.

    Raises ValueError for a goal that is not among them.
    """
    todo = [cell for cell, letter in cells.items() if letter == "S"]
    found = set(todo)
    while todo:
        i, j = todo.pop()
        near = {(i + di, j + dj) for di, dj in MOVES.values() if cells[i, j] != "G"}
        new = {cell for cell in near - found if cells.get(cell, wall) != wall}
        found |= new
        todo += new
    for cell, letter in cells.items():
        if letter == "G" and cell not in found:
            raise ValueError(f"the goal G at {cell} cannot be reached from the start")
    return found


def _cell(label: Cell) -> Cell:
    return label  # said, because a map may be a corridor, or mostly walls


ENTRY = Entry(
    maze,
    (
        Answer("optimal", 0.95, {(2, 0): 0.95**13, (1, 8): 1.0, (0, 8): 0.0}, "Figure 8.2: 14 steps"),
        Answer("optimal", 1.0, {(2, 0): 1.0}, "the goal is reached"),
        Answer("uniform", 0.95, {(2, 0): 0.0014181806, (1, 8): 0.6429288300}, "the 46 x 46 linear system"),
        Answer("optimal", 0.95, {(5, 3): 0.95**9}, "Example 8.2: 10 steps", parameters={"rows": OPEN_RIGHT}),
        Answer("optimal", 0.95, {(5, 3): 0.95**15}, "Examples 8.2, 8.3: 16 steps", parameters={"rows": OPEN_LEFT}),
        Answer("optimal", 0.95, {(5, 3): 0.95**9}, "Example 8.3: 10 steps", parameters={"rows": OPEN_BOTH}),
    ),
    _cell,
)
