"""The short corridor with switched actions. Sutton & Barto (2nd ed.), Example 13.1.

        [0] - [1] - [2] - [goal]        every step pays -1; in state 1 left goes right and right goes left

The agent sees the same in all states (one observation), so the best policy is a coin: with p = Pr(right),

    J(p) = -2 (2 - p) / (p (1 - p)),  best at p = 2 - sqrt 2 = 0.5858 with J = -(6 + 4 sqrt 2) = -11.657   (gamma = 1)

Known answers at gamma = 1: J = -12 at p = 1/2; -44.21 and -82.11 for epsilon-greedy right and left (epsilon = .1);
dJ/dtheta_right = 2 at p = 1/2 for a softmax over two preferences shared by all states. At gamma = .9 and p = 1/2:
J = -6.1408152462, dJ/dtheta_right = 0.4862286773, and 1.0481736368 where gamma^t is left out.
A policy that sees the state needs 3 steps.
"""

from __future__ import annotations

import numpy as np

from envs.answers import Answer, Entry
from mdp import FiniteMDP

GOAL = "goal"


def short_corridor(gamma: float = 1.0) -> FiniteMDP:
    """States 0, 1, 2, "goal"; actions "left", "right"; starts in 0; one observation for all.

    >>> from envs import short_corridor
    >>> from mdp import evaluate
    >>> m = short_corridor()
    >>> evaluate(m, m.uniform_policy()).v.round(10).tolist()  # Sutton & Barto, Example 13.1 at p = 1/2
    [-12.0, -10.0, -6.0, 0.0]
    """
    step = {
        (0, "left"): 0, (0, "right"): 1,
        (1, "left"): 2, (1, "right"): 0,
        (2, "left"): 1, (2, "right"): GOAL,
    }  # fmt: skip
    outcomes = {pair: [(1.0, after, -1.0)] for pair, after in step.items()}
    return FiniteMDP.from_outcomes(outcomes, gamma=gamma, start={0: 1.0}, observations=np.zeros(4, int))


ENTRY = Entry(
    short_corridor,
    (
        Answer("uniform", 1.0, {0: -12, 1: -10, 2: -6, GOAL: 0}, "Example 13.1 at p = 1/2"),
        Answer("uniform", 0.9, {0: -6.14081524616199}, "the 3 x 3 linear system, by hand"),
        Answer("optimal", 1.0, {0: -3, 1: -2, 2: -1}, "the shortest way, seen by a policy that sees the state"),
    ),
)
