"""The racetrack. Sutton & Barto (2nd ed.), Exercise 5.12.

    ###......F       S start line, F finish line, . track, # off the track, as is all beyond the map
    ##.......F
    #........F       The car has a velocity (cells up, cells right), each 0 to 4, not both 0 except on S. An action adds
    #....#####       -1, 0 or 1 to each, and is admissible where that gives such a velocity; with probability .1 nothing
    #....#####       is added. Then the car moves by its velocity. Every step pays -1, the last one too. gamma = 1.
    #....#####
    #....#####
    #SSSS#####

The car moves straight from the centre of its cell to the centre of another. The cells whose inside that line meets are
checked in its order, in exact arithmetic; through a corner it goes from cell to cell and touches neither beside it:

    velocity (1, 2): (0, 1), (1, 1), (1, 2)         velocity (2, 2): (1, 1), (2, 2)

The first that is not on the track decides. F: the episode ends, wherever the line would lead further. #: the car is
set on a random cell of the start line with velocity (0, 0), and the episode goes on.

Known answers, of which the book has none: without noise the fewest steps, where no crash is worth it (from the last
start cell of Figure 5.5, left, it is: 12 steps, or a crash and 10.4 from a random one). With noise dynamic programming.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any

from envs.answers import Answer, Cell, Entry
from envs.grids.maze import read_map
from mdp import FiniteMDP

State = tuple[int, int, int, int]  # row, column, cells up, cells right
Outcomes = list[tuple[float, State | str, float]]

SMALL = ("###......F", "##.......F", "#........F", *["#....#####"] * 4, "#SSSS#####")
FIGURE_5_5_LEFT = (
    "###.............F",
    *["##..............F"] * 2,
    "#...............F",
    *["................F"] * 2,
    "..........#######",
    *[".........########"] * 7,
    *["#........########"] * 8,
    *["##.......########"] * 7,
    *["###......########"] * 2,
    "###SSSSSS########",
)
LETTERS = {"S": "start", "F": "finish", "#": "off the track", ".": "track"}
FINISH = "finish"
FASTEST = 4
INCREMENTS: tuple[Cell, ...] = tuple(product((-1, 0, 1), (-1, 0, 1)))


def racetrack(rows: str | Sequence[str] = SMALL, noise: float = 0.1, gamma: float = 1.0) -> FiniteMDP:
    """States (row, column, cells up, cells right), as far as the start line leads to them, and "finish", terminal.

    Actions (-1 .. 1, -1 .. 1) are added to (cells up, cells right); starts on a random S with velocity (0, 0).
    rows: the map, its rows as strings or as the lines of one string. noise: the probability that nothing is added.
    Raises ValueError for noise outside [0, 1), and for a map without S, without F, without a way to F, with rows that
    differ in length, with other letters.

    >>> from envs import racetrack
    >>> from mdp import solve
    >>> m = racetrack(noise=0)
    >>> solve(m).v[m.start > 0].round(10).tolist()  # the fewest steps from each place of the start line
    [-5.0, -5.0, -5.0, -6.0]
    """
    if not 0 <= noise < 1:
        raise ValueError(f"noise must lie in [0, 1), not {noise}; with 1 no car would leave the start line")
    cells = read_map(rows, LETTERS)
    line = [(i, j, 0, 0) for (i, j), letter in cells.items() if letter == "S"]
    outcomes, found, todo = {}, set[Any](line), list[Any](line)
    while todo:
        s = todo.pop()
        sure = _without_noise(cells, line, s)
        for a in sure:
            outcomes[s, a] = _scaled(1 - noise, sure[a]) + _scaled(noise, sure[0, 0])
        new = {after for listed in sure.values() for _, after, _ in listed} - found
        found |= new
        todo += new - {FINISH}
    if FINISH not in found:
        raise ValueError("no finish F can be reached from the start line: cars go up and right")
    states = [*sorted(found - {FINISH}), FINISH]
    return FiniteMDP.from_outcomes(
        outcomes, gamma=gamma, states=states, actions=INCREMENTS, start={s: 1 / len(line) for s in line}
    )


def _without_noise(cells: Mapping[Cell, str], line: list[State], s: State) -> dict[Cell, Outcomes]:
    """{increment: outcomes} of the admissible increments; (0, 0) is always among them."""
    i, j, up, right = s
    outcomes: dict[Cell, Outcomes] = {}
    for a in INCREMENTS:
        velocity = up + a[0], right + a[1]
        if min(velocity) >= 0 and max(velocity) <= FASTEST and (any(velocity) or cells[i, j] == "S"):
            after = _driven(cells, i, j, velocity)
            outcomes[a] = [(1 / len(line), x, -1.0) for x in line] if after is None else [(1.0, after, -1.0)]
    return outcomes


def _driven(cells: Mapping[Cell, str], i: int, j: int, velocity: Cell) -> State | str | None:
    """The state after one move, None where it leads off the track first."""
    for up, right in _path(*velocity):
        letter = cells.get((i - up, j + right), "#")
        if letter in "F#":
            return FINISH if letter == "F" else None
    return (i - velocity[0], j + velocity[1], *velocity)


@cache
def _path(up: int, right: int) -> tuple[Cell, ...]:
    """The cells that the line from (0, 0) to (up, right) meets, without the first.

    From cell (i, j) it goes through the upper edge at the time (2 i + 1) / (2 up), the right edge at (2 j + 1) /
    (2 right), a corner where they are equal.
    """
    i = j = 0
    path = []
    while (i, j) != (up, right):
        to_upper, to_right = (2 * i + 1) * right, (2 * j + 1) * up
        i, j = i + (to_upper <= to_right), j + (to_right <= to_upper)
        path.append((i, j))
    return tuple(path)


def _scaled(weight: float, outcomes: Outcomes) -> Outcomes:
    return [(weight * p, after, r) for p, after, r in outcomes]


def _cell(label: State | str) -> Cell | None:
    return None if isinstance(label, str) else label[:2]


ENTRY = Entry(
    racetrack,
    (
        Answer("optimal", 1.0, {(7, 1, 0, 0): -5.7453770826, (7, 2, 0, 0): -5.7746651496, (7, 3, 0, 0): -5.8713444638,
                                (7, 4, 0, 0): -6.3806389116, FINISH: 0}, "value iteration from the rules"),
        Answer("uniform", 1.0, {(7, 1, 0, 0): -190.6985746781, (7, 4, 0, 0): -193.5683770428},
               "the 210 x 210 linear system from the rules"),
        Answer("optimal", 1.0, {(7, 1, 0, 0): -5, (7, 2, 0, 0): -5, (7, 3, 0, 0): -5, (7, 4, 0, 0): -6},
               "the fewest steps, by breadth-first search", parameters={"noise": 0.0}),
        Answer("optimal", 1.0, {(31, 3, 0, 0): -10, (31, 6, 0, 0): -10, (31, 7, 0, 0): -11, (31, 8, 0, 0): -11.4},
               "the fewest steps; 11.4 = 1 + (4 x 10 + 11 + 11.4) / 6, a crash at once",
               parameters={"rows": FIGURE_5_5_LEFT, "noise": 0.0}),
    ),
    _cell,
)
