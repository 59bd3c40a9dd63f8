"""Random walks. Sutton & Barto (2nd ed.), Example 6.2 (5 states) and Example 7.1 (19 states).

        [left end] - A - B - C - D - E - [right end]        +1 on reaching the right end, else 0; starts in the middle

The book's walk is the uniform policy over "left" and "right": v(A) .. v(E) = 1/6 .. 5/6, the probability of ending
on the right. v* = 1.

19 states, A to S: the left end pays -1, so that v = -.9, -.8, .., .9, the probability of ending on the right less that
of ending on the left. v* = 1.
"""

from __future__ import annotations

from collections.abc import Hashable
from string import ascii_uppercase

from envs.answers import Answer, Entry
from mdp import FiniteMDP

LEFT, RIGHT = "left end", "right end"


def random_walk(n: int = 5, gamma: float = 1.0, left_reward: float = 0.0) -> FiniteMDP:
    """n states in a row between two terminal ones: "A", "B", ... up to 26, else 1 .. n. Raises ValueError for n < 1.

    left_reward is what reaching the left end pays; the right end pays 1.

    >>> from envs import random_walk
    >>> from mdp import evaluate
    >>> m = random_walk()
    >>> (6 * evaluate(m, m.uniform_policy()).v).round(10).tolist()  # Sutton & Barto, Example 6.2: 1/6 .. 5/6
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 0.0]
    """
    if n < 1:
        raise ValueError(f"the walk needs at least 1 state, not {n}")
    names: list[Hashable] = list(ascii_uppercase[:n] if n <= 26 else range(1, n + 1))
    line = [LEFT, *names, RIGHT]
    outcomes = {}
    for i, s in enumerate(names, start=1):
        outcomes[s, "left"] = [(1.0, line[i - 1], left_reward if line[i - 1] == LEFT else 0.0)]
        outcomes[s, "right"] = [(1.0, line[i + 1], float(line[i + 1] == RIGHT))]
    return FiniteMDP.from_outcomes(outcomes, gamma=gamma, states=line, start={names[n // 2]: 1.0})


def random_walk_19(gamma: float = 1.0) -> FiniteMDP:
    """Example 7.1: states "A" .. "S" between two terminal ones, -1 at the left end, +1 at the right; starts in "J".

    >>> from envs import random_walk_19
    >>> from mdp import evaluate
    >>> m = random_walk_19()
    >>> evaluate(m, m.uniform_policy()).v[[1, 5, 15, 19]].round(10).tolist()  # A, E, O, S
    [-0.9, -0.5, 0.5, 0.9]
    """
    return random_walk(19, gamma, left_reward=-1.0)


ENTRY = Entry(
    random_walk,
    (
        Answer("uniform", 1.0, {s: (i + 1) / 6 for i, s in enumerate("ABCDE")}, "Example 6.2"),
        Answer("optimal", 1.0, dict.fromkeys("ABCDE", 1.0), "to the right"),
    ),
)
ENTRY_19 = Entry(
    random_walk_19,
    (
        Answer("uniform", 1.0, {s: (i - 9) / 10 for i, s in enumerate(ascii_uppercase[:19])}, "Example 7.1"),
        Answer("optimal", 1.0, {"A": 1.0, "J": 1.0, "S": 1.0}, "to the right"),
        Answer("optimal", 0.9, {"A": 0.9**18, "J": 0.9**9, "S": 1.0}, "to the right"),
    ),
)
