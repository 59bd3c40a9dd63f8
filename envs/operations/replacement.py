"""Machine replacement. Puterman (1994), section 4.7.5, with the numbers of Miranda & Fackler (2002), section 7.6.2.

        0 -> 1 -> 2 -> 3 -> 4 -> 5        a machine wears; "replace" leads back to 0 before the period begins

A machine in condition s earns profit(s) = 50 - 2.5 s - 2.5 s^2 in a period, and wears by one condition with probability
p_wear (the last one stays the last). "replace" buys a new one for 75, which then works as one in condition 0:

    q(s, keep) = profit(s) + gamma ((1 - p) v(s) + p v(s + 1)),    q(s, replace) = q(0, keep) - 75

The best policy is a threshold k: keep below k, replace from k on. With x = 1 - gamma (1 - p) and rho = gamma p / x,

    v(0) (1 - rho^k) = sum over s < k of rho^s profit(s) / x - 75 rho^k,    v(s) = v(0) - 75 for s >= k

With the default p_wear = .8 k is 3. p_wear = 1 is Miranda & Fackler's machine, one condition a year: k = 4 and
v(1) .. v(4) = 216.56, 190.62, 172.91, 169.90.
"""

from __future__ import annotations

from collections.abc import Sequence

from envs.answers import Answer, Entry
from mdp import FiniteMDP

PROFIT = (50.0, 45.0, 35.0, 20.0, 0.0, -25.0)
PRICE = 75.0


def machine_replacement(
    profit: Sequence[float] = PROFIT, price: float = PRICE, p_wear: float = 0.8, gamma: float = 0.9
) -> FiniteMDP:
    """States 0 .. len(profit) - 1, the machine's condition; actions "keep", "replace"; starts new; a continuing task.

    Raises ValueError for an empty profit, and p_wear outside [0, 1].

    >>> from envs import machine_replacement
    >>> from mdp import solve
    >>> m = machine_replacement()
    >>> [m.actions[a] for a in solve(m).policy.argmax(axis=1)]  # a threshold: from 3 on
    ['keep', 'keep', 'keep', 'replace', 'replace', 'replace']
    """
    if len(profit) == 0:
        raise ValueError("profit must have one number for each condition, at least 1")
    if not 0 <= p_wear <= 1:
        raise ValueError(f"p_wear must lie in [0, 1], not {p_wear}")

    def period(s: int, paid: float) -> list[tuple[float, int, float]]:
        worn = min(s + 1, len(profit) - 1)
        return [(1 - p_wear, s, profit[s] - paid), (p_wear, worn, profit[s] - paid)]

    outcomes = {}
    for s in range(len(profit)):
        outcomes[s, "keep"] = period(s, 0.0)
        outcomes[s, "replace"] = period(0, price)
    return FiniteMDP.from_outcomes(outcomes, gamma=gamma, states=range(len(profit)), start={0: 1.0})


def _v_new(k: int, p: float) -> float:
    """v(0) of the threshold k at gamma = .9, by the formula above."""
    x = 1 - 0.9 * (1 - p)
    rho = 0.9 * p / x
    return (sum(rho**s * PROFIT[s] / x for s in range(k)) - PRICE * rho**k) / (1 - rho**k)


NEW, AGEING = _v_new(3, 0.8), _v_new(4, 1.0)
ENTRY = Entry(
    machine_replacement,
    (
        Answer(
            "uniform",
            0.9,
            {0: 72.96148891529273, 1: 65.73391793130561, 5: 9.510444468447945},
            "the linear system, in fractions",
        ),
        Answer("optimal", 0.9, {0: NEW, 3: NEW - 75, 4: NEW - 75, 5: NEW - 75}, "closed form, k = 3"),
        Answer(
            "optimal",
            0.9,
            {0: AGEING, 1: (AGEING - 50) / 0.9, 4: AGEING - 75, 5: AGEING - 75},
            "closed form, k = 4",
            parameters={"p_wear": 1.0},
        ),
    ),
)
