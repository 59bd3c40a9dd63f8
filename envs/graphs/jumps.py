"""The 1000-state random walk. Sutton & Barto (2nd ed.), Example 9.1.

        [left end] - 1 - 2 - ... - 1000 - [right end]        -1 on the left, +1 on the right, else 0; starts in 500

A step leads from s to one of the 100 states on its left, or one of the 100 on its right, all with equal probability.
Near an end there are fewer than 100: what is missing is the probability of that end, so that a step from state 950
ends on the right with probability 1/4, and one from state 1 on the left with probability 1/2.

The book's walk is the uniform policy over "left" and "right". Its v is odd: v(s) = -v(n + 1 - s), nearly a straight
line, but v(1) = -.922 and not -.998. With a reach of 1 it is the plain walk, v(s) = 2 s / (n + 1) - 1. v* = 1.
"""

from __future__ import annotations

import numpy as np

from envs.answers import Answer, Entry
from envs.graphs.walk import LEFT, RIGHT
from mdp import FiniteMDP
from mdp.model.table import Outcomes


def jumping_walk(n: int = 1000, reach: int = 100, gamma: float = 1.0) -> FiniteMDP:
    """States 1 .. n between the terminal "left end" and "right end"; actions "left", "right"; starts in the middle.

    An action jumps 1 .. reach states that way, uniformly; whatever would pass the end stops there.
    Raises ValueError for n < 1 and reach < 1.

    >>> from envs import jumping_walk
    >>> from mdp import evaluate
    >>> m = jumping_walk()
    >>> round(evaluate(m, m.uniform_policy()).objective, 10)  # starts in 500; the middle is 500.5
    -0.0009434957
    """
    if n < 1 or reach < 1:
        raise ValueError(f"the walk needs n >= 1 and reach >= 1, not n = {n} and reach = {reach}")
    jumps = np.concatenate([-np.arange(1, reach + 1), np.arange(1, reach + 1)])
    s = np.repeat(np.arange(1, n + 1), 2 * reach)
    after = np.clip(s + np.tile(jumps, n), 0, n + 1)
    action = np.tile(np.repeat([0, 1], reach), n)
    reward = (after == n + 1) * 1.0 - (after == 0)
    return FiniteMDP(
        Outcomes(s, action, after, reward, np.full(len(s), 1 / reach)),
        states=[LEFT, *range(1, n + 1), RIGHT],
        actions=["left", "right"],
        gamma=gamma,
        start={(n + 1) // 2: 1.0},
    )


ENTRY = Entry(
    jumping_walk,
    (
        Answer(
            "uniform",
            1.0,
            {
                1: -0.9219604605455647,
                250: -0.4727017407824819,
                500: -0.0009434956833587,
                501: 0.0009434956833587,
                1000: 0.9219604605455647,
            },
            "the 1000 x 1000 linear system of the rules, refined in extended precision",
        ),
        Answer(
            "uniform", 1.0, {s: s / 10 - 1 for s in range(1, 20)}, "the plain walk", parameters={"n": 19, "reach": 1}
        ),
        Answer("optimal", 1.0, {1: 1.0, 500: 1.0, 1000: 1.0}, "to the right"),
    ),
)
