"""The recycling robot. Sutton & Barto (2nd ed.), Example 3.3: actions depend on the state, rewards on s'.

With a high battery it searches or waits; with a low one it may also recharge. Searching keeps a high battery high with
probability alpha and a low one low with beta; else a low one runs empty, the robot is rescued (-3), recharged.

Known answer: where searching in high and recharging in low is optimal (it is with the defaults),
    v*(high) = r_search / (1 - gamma alpha - gamma^2 (1 - alpha)),  v*(low) = gamma v*(high)      (Example 3.9)
"""

from __future__ import annotations

from envs.answers import Answer, Entry
from mdp import FiniteMDP

RESCUE = -3.0


def recycling_robot(
    alpha: float = 0.8, beta: float = 0.6, r_search: float = 2.0, r_wait: float = 1.0, gamma: float = 0.9
) -> FiniteMDP:
    """States "high", "low"; actions "search", "wait", "recharge" ("recharge" in low alone); a continuing task.

    >>> from envs import recycling_robot
    >>> from mdp import solve
    >>> solve(recycling_robot()).v.round(6).tolist()  # 2 / (1 - .9 x .8 - .81 x .2), and .9 of it
    [16.949153, 15.254237]
    """
    outcomes = {
        ("high", "search"): [(alpha, "high", r_search), (1 - alpha, "low", r_search)],
        ("high", "wait"): [(1.0, "high", r_wait)],
        ("low", "search"): [(beta, "low", r_search), (1 - beta, "high", RESCUE)],
        ("low", "wait"): [(1.0, "low", r_wait)],
        ("low", "recharge"): [(1.0, "high", 0.0)],
    }
    return FiniteMDP.from_outcomes(outcomes, gamma=gamma)


HIGH = 2.0 / (1 - 0.9 * 0.8 - 0.9**2 * 0.2)
ENTRY = Entry(recycling_robot, (Answer("optimal", 0.9, {"high": HIGH, "low": 0.9 * HIGH}, "Example 3.9"),))
