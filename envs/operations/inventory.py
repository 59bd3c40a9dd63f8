"""Inventory control. Puterman (1994), section 3.2; the numbers are those of his section 3.2.2.

A stock of s <= M units at the beginning of a month; u more are ordered, s + u <= M, and arrive at once; the demand D is
met as far as there is stock, the rest of it is lost. With M = 3, an order costs 4 + 2 u, a unit in stock 1 a month,
a unit sold brings 8, and D = 0, 1, 2 with probability 1/4, 1/2, 1/4:

    s' = max(s + u - D, 0),    R = 8 (s + u - s') - (4 + 2 u)[u > 0] - (s + u)

His expected rewards r(s,u), which are q at gamma = 0:

    s \\ u    0    1    2    3
      0      0   -1   -2   -5
      1      5    0   -3
      2      6   -1
      3      5

Over three months at gamma = 1, v*(0) .. v*(3) = 67/16, 129/16, 194/16, 227/16, with the first order 3 in state 0 and
none elsewhere (his section 4.6.1). For ever, with gamma = .9 (ours), the same order is optimal.
"""

from __future__ import annotations

from collections.abc import Sequence

from envs.answers import Answer, Entry
from mdp import FiniteMDP


def inventory(
    capacity: int = 3,
    order_cost: float = 4.0,
    unit_cost: float = 2.0,
    holding_cost: float = 1.0,
    price: float = 8.0,
    demand: Sequence[float] = (0.25, 0.5, 0.25),
    gamma: float = 0.9,
) -> FiniteMDP:
    """States 0 .. capacity, units in stock; actions 0 .. capacity - s, units ordered; a continuing task.

    demand: Pr(D = 0), Pr(D = 1), ... Raises ValueError for capacity < 1, and a demand that is no distribution.

    >>> from envs import inventory
    >>> from mdp import solve
    >>> m = inventory()
    >>> [m.actions[a] for a in solve(m).policy.argmax(axis=1)]  # order 3 when there is nothing left
    [3, 0, 0, 0]
    """
    if capacity < 1:
        raise ValueError(f"capacity must be at least 1 unit, not {capacity}")
    if min(demand, default=-1.0) < 0 or abs(sum(demand) - 1) > 1e-9:
        raise ValueError(f"demand must be probabilities that sum to 1, not {tuple(demand)}")
    outcomes = {}
    for s in range(capacity + 1):
        for u in range(capacity - s + 1):
            stock = s + u
            paid = (order_cost + unit_cost * u if u else 0.0) + holding_cost * stock
            sold = [min(d, stock) for d in range(len(demand))]
            outcomes[s, u] = [(p, stock - x, price * x - paid) for p, x in zip(demand, sold, strict=True)]
    return FiniteMDP.from_outcomes(outcomes, gamma=gamma)


ENTRY = Entry(
    inventory,
    (
        Answer("uniform", 0.0, {0: -2.0, 1: 2 / 3, 2: 2.5, 3: 5.0}, "the means of the rows of his table"),
        Answer(
            "uniform",
            0.9,
            {0: 5.02309341230028, 1: 8.52386319271029, 2: 11.631566153234182, 3: 15.680095467503481},
            "the linear system, in fractions",
        ),
        Answer("optimal", 0.0, {0: 0.0, 1: 5.0, 2: 6.0, 3: 5.0}, "the best of each row of his table"),
        Answer(
            "optimal",
            0.9,
            {0: 74405 / 4244, 1: 92185 / 4244, 2: 107985 / 4244, 3: 116845 / 4244},
            "the linear system of ordering 3 in state 0 alone, in fractions",
        ),
    ),
)
