"""The gambler's problem. Sutton & Barto (2nd ed.), Example 4.3.

A gambler with capital s bets on the flips of a coin that comes up heads with probability p_heads: heads wins as much as
was staked, tails loses it. The end is at 0 or at the goal; reaching the goal pays +1, so v(s) is the probability of
reaching it. Stake 0, which the book allows and which changes nothing, is left out: every policy ends.

Known answers, with p = p_heads and q = 1 - p:
    p <= 1/2    bold play, the stake min(s, goal - s), is optimal (Dubins & Savage, 1965, "How to Gamble If You Must"):
                v(s) = f(s / goal), f(x) = p f(2 x) up to x = 1/2, f(x) = p + q f(2 x - 1) from there;
                f(2^-k) = p^k, f(1 - 2^-k) = 1 - q^k
    p = 1/2     no stake is better than another, v(s) = s / goal
    p > 1/2     timid play, the stake 1, is optimal: gambler's ruin, v(s) = (1 - (q/p)^s) / (1 - (q/p)^goal)
"""

from __future__ import annotations

from collections.abc import Hashable

from envs.answers import Answer, Entry
from mdp import FiniteMDP


def gambler(p_heads: float = 0.4, gamma: float = 1.0, goal: int = 100) -> FiniteMDP:
    """States: the capital 0 .. goal, of which 0 and goal are terminal; actions: the stake 1 .. min(s, goal - s).

    Raises ValueError for a p_heads outside [0, 1], and for a goal below 2, which leaves nothing to stake.

    >>> from envs import gambler
    >>> from mdp import solve
    >>> solve(gambler()).v[[25, 50, 75]].round(10).tolist()  # Sutton & Barto, Example 4.3
    [0.16, 0.4, 0.64]
    """
    if not 0 <= p_heads <= 1:
        raise ValueError(f"p_heads must lie in [0, 1], not {p_heads}")
    if goal < 2:
        raise ValueError(f"the goal must be at least 2, not {goal}")
    outcomes = {
        (s, stake): [(p_heads, s + stake, float(s + stake == goal)), (1 - p_heads, s - stake, 0.0)]
        for s in range(1, goal)
        for stake in range(1, min(s, goal - s) + 1)
    }
    return FiniteMDP.from_outcomes(outcomes, gamma=gamma, states=range(goal + 1))


def _bold(p: float) -> dict[Hashable, float]:
    """Of 100: quarters from the formulas above, fifths from their circle 1/5, 2/5, 4/5, 3/5, 1/5."""
    q = 1 - p
    fifth = p**3 * (1 + q) / (1 - (p * q) ** 2)
    return {20: fifth, 25: p**2, 40: fifth / p, 50: p, 60: p + q * fifth, 75: 1 - q**2, 80: fifth / p**2}


FAIR: dict[Hashable, float] = {s: s / 100 for s in (1, 37, 50, 99)}
RATIO = 0.45 / 0.55
TIMID: dict[Hashable, float] = {s: (1 - RATIO**s) / (1 - RATIO**100) for s in (1, 10, 50, 99)}
ENTRY = Entry(
    gambler,
    (
        Answer("optimal", 1.0, _bold(0.4), "Example 4.3; bold play"),
        Answer("optimal", 1.0, _bold(0.25), "Exercise 4.9; bold play", {"p_heads": 0.25}),
        Answer("optimal", 1.0, TIMID, "Exercise 4.9; timid play, gambler's ruin", {"p_heads": 0.55}),
        Answer("optimal", 1.0, FAIR, "a fair game: s / 100", {"p_heads": 0.5}),
        Answer("uniform", 1.0, FAIR, "a fair game: s / 100", {"p_heads": 0.5}),
        Answer("optimal", 1.0, {1: 0.4**3, 2: 0.4**2, 4: 0.4, 7: 1 - 0.6**3}, "bold play for a goal of 8", {"goal": 8}),
    ),
    cell=lambda s: (s // 10, s % 10),
)
