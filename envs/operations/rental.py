"""Jack's car rental. Sutton & Barto (2nd ed.), Example 4.2, and the changes of Exercise 4.7.

Two places with at most 20 cars each. The state is the number of cars at the end of the day (n1, n2). Overnight up to
five cars are moved from one place to the other, for 2 each. On the next day X_i ~ Poisson(3), Poisson(4) customers want
a car, and every car rented earns 10; Y_i ~ Poisson(3), Poisson(2) cars come back, and can be rented the day after:

    m_1 = min(n_1 - a, 20),  m_2 = min(n_2 + a, 20),    n_i' = min(m_i - min(X_i, m_i) + Y_i, 20)
    r(s,a) = 10 E[min(X_1, m_1)] + 10 E[min(X_2, m_2)] - 2 |a|

More than 20 cars are never kept: the others leave the problem, also those moved to a full place. No sum is cut short:
min(X, m) and min(Y, 20 - ..) have finitely many values. The reward of a step is its expectation r(s,a): values are
exact, and the variance of the return is that of this reading, not of the money.

Exercise 4.7: the first car moved from place 1 to place 2 is free, and each place with more than 10 cars overnight,
after moving, costs 4.

Known answer: the optimal policy of Figure 4.2 moves between 5 cars to place 2, as in (20, 0), and 4 to place 1. v* runs
from 421.41 in (0, 0) to 636.99 in (20, 20); the axis of the book's picture is labelled 420 and 612.
"""

from __future__ import annotations

from math import exp

import numpy as np

from envs.answers import Answer, Cell, Entry
from mdp import FiniteMDP
from mdp.model.table import Floats, Ints

REQUESTS, RETURNS = (3.0, 4.0), (3.0, 2.0)
CREDIT, MOVE, PARKING, FREE_PARKING = 10.0, 2.0, 4.0, 10


def car_rental(exercise: bool = False, capacity: int = 20, most_moved: int = 5, gamma: float = 0.9) -> FiniteMDP:
    """States (n1, n2), actions -5 .. 5: cars moved from place 1 to place 2, if they stand there; a continuing task.

    exercise: with the changes of Exercise 4.7. Raises ValueError for capacity < 1 and most_moved < 0.

    >>> from envs import car_rental
    >>> from mdp import solve
    >>> float(solve(car_rental()).v[0].round(6))  # no car at either place
    421.414063
    """
    if capacity < 1:
        raise ValueError(f"capacity must be at least 1 car, not {capacity}")
    if most_moved < 0:
        raise ValueError(f"most_moved must be at least 0 cars, not {most_moved}")
    (income1, P1), (income2, P2) = (_day(capacity, x, y) for x, y in zip(REQUESTS, RETURNS, strict=True))
    n1, n2 = (n.ravel() for n in np.indices((capacity + 1, capacity + 1)))
    moves, S = range(-most_moved, most_moved + 1), len(n1)
    P, R = np.zeros((S, len(moves), S)), np.zeros((S, len(moves)))
    admissible = np.zeros(R.shape, bool)
    for j, a in enumerate(moves):
        s = np.flatnonzero((a <= n1) & (-a <= n2))
        m1, m2 = np.minimum(n1[s] - a, capacity), np.minimum(n2[s] + a, capacity)
        admissible[s, j] = True
        P[s, j] = (P1[m1][:, :, None] * P2[m2][:, None, :]).reshape(len(s), S)
        R[s, j] = income1[m1] + income2[m2] - (_night_of_4_7(a, m1, m2) if exercise else MOVE * abs(a))
    states = list(zip(n1.tolist(), n2.tolist(), strict=True))
    return FiniteMDP.from_arrays(P, R, gamma=gamma, admissible=admissible, states=states, actions=moves)


def car_rental_exercise(capacity: int = 20, most_moved: int = 5, gamma: float = 0.9) -> FiniteMDP:
    """Exercise 4.7: `car_rental` with one free move and a second parking lot to pay."""
    return car_rental(True, capacity, most_moved, gamma)


def _night_of_4_7(a: int, m1: Ints, m2: Ints) -> Floats:
    """The cost of a moved cars that leave (m1, m2), with the changes of Exercise 4.7."""
    full = np.add(m1 > FREE_PARKING, m2 > FREE_PARKING, dtype=np.float64)
    return MOVE * (a - 1 if a > 0 else -a) + PARKING * full


def _day(capacity: int, requests: float, returns: float) -> tuple[Floats, Floats]:
    """One place that opens with m cars: its expected income (m,), and Pr(n' | m), (m, n')."""
    income, P = np.zeros(capacity + 1), np.zeros((capacity + 1, capacity + 1))
    for m in range(capacity + 1):
        for rented, p in enumerate(_at_most(m, requests)):
            income[m] += CREDIT * p * rented
            P[m, m - rented :] += p * _at_most(capacity - m + rented, returns)
    return income, P


def _at_most(most: int, mean: float) -> Floats:
    """Pr(min(X, most) = 0 .. most) for X ~ Poisson(mean)."""
    p = [exp(-mean)]
    for k in range(1, most + 1):
        p.append(p[-1] * mean / k)
    p[most] = max(0.0, 1 - sum(p[:most]))  # the tail; max is for rounding alone
    return np.array(p)


def _cell(s: Cell) -> Cell:
    return s


BY_DP = "value iteration written from the rules, Poisson sums up to 60 (tests)"
CAR_RENTAL = Entry(
    car_rental,
    (
        Answer(
            "uniform",
            0.9,
            {(0, 0): 376.06827681029836, (10, 10): 510.846416642114, (20, 20): 559.3540350197671},
            BY_DP,
        ),
        Answer(
            "optimal",
            0.9,
            {(0, 0): 421.4140633960112, (10, 10): 574.9483239847458, (20, 0): 554.9477060356412,
             (0, 20): 567.7685087958153, (20, 20): 636.9896068038671},
            BY_DP,
        ),
    ),
    cell=_cell,
)
CAR_RENTAL_EXERCISE = Entry(
    car_rental_exercise,
    (
        Answer(
            "uniform",
            0.9,
            {(0, 0): 380.4847447140085, (10, 10): 501.55138307548384, (20, 20): 527.473335017171},
            BY_DP,
        ),
        Answer(
            "optimal",
            0.9,
            {(0, 0): 429.9463049637829, (10, 10): 580.9639731047022, (20, 0): 559.9800334177469,
             (0, 20): 563.8642141781957, (20, 20): 603.5367009156723},
            BY_DP,
        ),
    ),
    cell=_cell,
)
