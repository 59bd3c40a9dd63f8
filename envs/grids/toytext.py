"""Gymnasium's toy_text environments: their own tables of outcomes, with labels in place of numbers.

Source: Gymnasium (Towers et al. 2024), gymnasium.envs.toy_text. States keep Gymnasium's order, v[:n] is its numbering;
all episodes end in one more state, "end". A time limit is no part of the tables: see `mdp.unroll`.

FrozenLake:   S F F F      S start, F ice, H hole, G goal (+1); holes and the goal end the episode. On slippery ice a
              F H F H      move succeeds with success_rate; else it goes to the left or the right of where it should,
              F F F H      with equal probability.
              H F F G      v*(0, 0) = 14/17 for 4 x 4 at gamma = 1, and 1 for 8 x 8: along the upper edge nothing but
                           "up", along the right one nothing but "right", and no slip leads into a hole

Taxi:         |R: | : :G|      | is a wall. -1 a step, +20 for the right drop-off, -10 for a pick-up or drop-off that
              | : | : : |      is not possible. Dietterich 2000 (MAXQ). With d the steps around the walls,
              | : : : : |
              | | : | : |      v* = 20 - d(taxi, passenger) - 1 - d(passenger, destination)          (gamma = 1)
              |Y| : |B: |

CliffWalking: Sutton & Barto's Example 6.6, see cliff.py. Here the cells of the cliff are states, which nothing reaches.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from itertools import product
from typing import Any

from gymnasium.envs.toy_text.cliffwalking import CliffWalkingEnv
from gymnasium.envs.toy_text.frozen_lake import MAPS, FrozenLakeEnv, generate_random_map
from gymnasium.envs.toy_text.taxi import TaxiEnv

from envs.answers import Answer, Cell, Entry
from envs.grids.maze import lines, reached_cells, read_map
from mdp import FiniteMDP

END = "end"
LETTERS = {"S": "start", "G": "goal", "F": "ice", "H": "hole"}
PLACES = ("R", "G", "Y", "B")
Rewards = tuple[float, float, float]


def frozen_lake(
    desc: str | Sequence[str] = tuple(MAPS["4x4"]),
    is_slippery: bool = True,
    success_rate: float = 1 / 3,
    reward_schedule: Rewards = (1, 0, 0),
    gamma: float = 1.0,
) -> FiniteMDP:
    """States (row, column) and "end"; actions "left", "down", "right", "up".

    desc: the map, its rows as strings or as the lines of one string. reward_schedule: for the goal, a hole, ice. Raises
    ValueError for success_rate outside [0, 1], and for a map without S or G, with a goal that cannot be reached, with
    rows that differ in length, with other letters.

    >>> from envs import frozen_lake
    >>> from mdp import solve
    >>> float(solve(frozen_lake()).v[0].round(10)), 14 / 17
    (0.8235294118, 0.8235294117647058)
    """
    _check_probability("success_rate", success_rate)
    if len(reward_schedule) != 3:
        raise ValueError(f"reward_schedule must be three rewards (goal, hole, ice), not {reward_schedule}")
    cells = read_map(desc, LETTERS)
    reached_cells(cells, "H")
    env = FrozenLakeEnv(
        desc=lines(desc),
        is_slippery=is_slippery,
        success_rate=success_rate,
        reward_schedule=reward_schedule,  # type: ignore[arg-type]  # annotated as int, but floats are taken as they are
    )
    return _labelled(env, cells, ("left", "down", "right", "up"), gamma)


def frozen_lake_8x8(
    is_slippery: bool = True,
    success_rate: float = 1 / 3,
    reward_schedule: Rewards = (1, 0, 0),
    gamma: float = 1.0,
) -> FiniteMDP:
    """`frozen_lake` on Gymnasium's 8 x 8 map.

    >>> from envs import frozen_lake_8x8
    >>> from mdp import solve
    >>> float(solve(frozen_lake_8x8()).v[0].round(6))  # safe along the upper and the right edge
    1.0
    """
    return frozen_lake(MAPS["8x8"], is_slippery, success_rate, reward_schedule, gamma)


def frozen_lake_random(
    size: int = 8,
    p: float = 0.8,
    seed: int = 0,
    is_slippery: bool = True,
    success_rate: float = 1 / 3,
    reward_schedule: Rewards = (1, 0, 0),
    gamma: float = 1.0,
) -> FiniteMDP:
    """`frozen_lake` on a random map (size, size) with a way from (0, 0) to the goal in the other corner.

    p: the probability that a cell is ice. Maps are drawn until one has a way. Raises ValueError for size < 2, p outside
    (0, 1], and where p is so small that hardly any map has one.
    """
    if size < 2:
        raise ValueError(f"size must be at least 2, not {size}")
    if not 0 < p <= 1:
        raise ValueError(f"p must lie in (0, 1], not {p}")
    # one shortest way is ice with probability p^(2 size - 3); above .593 (site percolation) large lakes have ways too
    if p < 0.6 and p ** (2 * size - 3) < 1e-5:
        raise ValueError(f"p = {p} is too small for size {size}: hardly any map has a way; take p of at least 0.6")
    return frozen_lake(generate_random_map(size, p, seed), is_slippery, success_rate, reward_schedule, gamma)


def taxi(is_rainy: bool = False, rainy_probability: float = 0.8, gamma: float = 1.0) -> FiniteMDP:
    """States (row, column, passenger, destination) and "end"; "down", "up", "right", "left", "pickup", "dropoff".

    passenger: "R", "G", "Y", "B" or "taxi". In the rain a move that no wall stops goes to the left or the right of
    where it should with probability 1 - rainy_probability. Gymnasium's fickle passenger is not in its table. Raises
    ValueError for rainy_probability outside [0, 1].

    >>> from envs import taxi
    >>> from mdp import solve
    >>> m = taxi()
    >>> float((m.start @ solve(m).v).round(10))  # the mean over its 300 starts
    7.93
    """
    _check_probability("rainy_probability", rainy_probability)
    env = TaxiEnv(is_rainy=is_rainy, rainy_probability=rainy_probability)
    states = product(range(5), range(5), (*PLACES, "taxi"), PLACES)
    return _labelled(env, states, ("down", "up", "right", "left", "pickup", "dropoff"), gamma)


def cliff_walking(is_slippery: bool = False, gamma: float = 1.0) -> FiniteMDP:
    """States (row, column) and "end"; actions "up", "right", "down", "left".

    is_slippery: a move goes where it should, to its left or to its right, with probability 1/3 each.

    >>> from envs import cliff_walking
    >>> from mdp import solve
    >>> m = cliff_walking(gamma=0.99)
    >>> float((m.start @ solve(m).v).round(6))  # -(1 - .99^13) / (1 - .99)
    -12.247898
    """
    env = CliffWalkingEnv(is_slippery=is_slippery)
    return _labelled(env, product(range(4), range(12)), ("up", "right", "down", "left"), gamma)


def _labelled(env: Any, states: Iterable[Hashable], actions: Sequence[str], gamma: float) -> FiniteMDP:
    numbered = FiniteMDP.from_gymnasium(env, gamma=gamma)
    return FiniteMDP(numbered.table, states=(*states, END), actions=actions, gamma=gamma, start=numbered.start)


def _check_probability(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie in [0, 1], not {value}")


def _cell(label: Any) -> Cell | None:
    return None if label == END else label[:2]


FROZEN_LAKE_4X4 = Entry(
    frozen_lake,
    (
        Answer("optimal", 1.0, {(0, 0): 14 / 17, (2, 2): 13 / 17, (3, 2): 16 / 17, END: 0}, "value iteration"),
        Answer("optimal", 0.99, {(0, 0): 0.5420259320}, "value iteration"),
        Answer("uniform", 1.0, {(0, 0): 483 / 34649, (3, 2): 15221 / 34649}, "the linear system, in fractions"),
        Answer("optimal", 0.9, {(0, 0): 0.9**5}, "6 steps", parameters={"is_slippery": False}),
    ),
    _cell,
)
FROZEN_LAKE_8X8 = Entry(
    frozen_lake_8x8,
    (
        Answer("optimal", 1.0, {(0, 0): 1, (0, 7): 1, (6, 7): 1}, "along the upper and the right edge"),
        Answer("optimal", 0.99, {(0, 0): 0.4146403618}, "value iteration"),
        Answer("uniform", 1.0, {(0, 0): 0.00190371334908, (7, 6): 0.3872795506061}, "the linear system, in fractions"),
    ),
    _cell,
)
FROZEN_LAKE_RANDOM = Entry(
    frozen_lake_random,
    (
        Answer("optimal", 1.0, {(0, 0): 1}, "every map has a way", parameters={"is_slippery": False}),
        Answer("optimal", 1.0, {(0, 0): 0.1633112135}, "value iteration", parameters={"seed": 0}),
        Answer("uniform", 1.0, {(7, 6): 0.5360308238}, "the linear system", parameters={"seed": 0}),
    ),
    _cell,
)
TAXI = Entry(
    taxi,
    (
        Answer("optimal", 1.0, {(0, 0, "R", "Y"): 20 - 0 - 1 - 4, (3, 1, "Y", "R"): 20 - 4 - 1 - 4,
                                (4, 3, "G", "B"): 20 - 5 - 1 - 5, (0, 0, "taxi", "G"): 20 - 8}, "20 - d - 1 - d"),
        Answer("optimal", 0.99, {(0, 0, "taxi", "R"): 20, (0, 0, "R", "Y"): 20 * 0.99**5 - (1 - 0.99**5) / (1 - 0.99)},
               "-1 in 5 steps, then 20"),
        Answer("optimal", 1.0, {(3, 1, "Y", "R"): 8.0663789170}, "value iteration", parameters={"is_rainy": True}),
        Answer("uniform", 1.0, {(3, 1, "Y", "R"): -8275.0, (4, 3, "G", "B"): -7115.864457829}, "the linear system"),
    ),
    _cell,
)
CLIFF_WALKING = Entry(
    cliff_walking,
    (
        Answer("optimal", 1.0, {(3, 0): -13, (2, 11): -1}, "Example 6.6: the edge"),
        Answer("optimal", 0.99, {(3, 0): -(1 - 0.99**13) / (1 - 0.99)}, "13 steps along the edge"),
        Answer("optimal", 1.0, {(3, 0): -64.7091759100}, "value iteration", parameters={"is_slippery": True}),
        Answer("uniform", 1.0, {(3, 0): -72214311616775012 / 1104614417995}, "the linear system, in fractions"),
    ),
    _cell,
)
