"""Small problems that are hard for float64: near gamma = 1, rarely left, of very different sizes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mdp import FiniteMDP
from tests.worlds import random_mdp

Make = Callable[[float], FiniteMDP]


def ring(gamma: float) -> FiniteMDP:
    """Rows of random numbers, which sum to 1 up to rounding; no end."""
    rng = np.random.default_rng(0)
    return FiniteMDP.from_arrays(rng.dirichlet(np.ones(5), size=(5, 2)), rng.normal(size=(5, 2)), gamma=gamma)


def halves(gamma: float) -> FiniteMDP:
    """Rows of halves, which sum to 1 exactly; no end."""
    rng, P = np.random.default_rng(0), np.zeros((6, 2, 6))
    for row in P.reshape(-1, 6):
        row[rng.choice(6, 2, replace=False)] = 0.5
    return FiniteMDP.from_arrays(P, rng.integers(-5, 6, size=(6, 2)).astype(float), gamma=gamma)


def short(gamma: float) -> FiniteMDP:
    """Episodes of a few steps, whatever gamma."""
    return random_mdp(1, gamma=gamma)


def not_quite_one(gamma: float) -> FiniteMDP:
    """Rows that sum to 1 + 4e-10, and to 1 - 4e-10."""
    def row(a: float) -> list[tuple[float, int, float]]:
        return [(0.5, 0, 1.0), (0.25 + a, 1, -1.0), (0.25, 2, a)]

    return FiniteMDP.from_outcomes(
        {(0, 0): row(4e-10), (0, 1): row(-4e-10), (1, 0): row(-4e-10), (1, 1): row(4e-10)}, gamma=gamma
    )


def slow(p: float) -> FiniteMDP:
    """gamma = 1, and an end that comes after 1 / p steps."""
    return FiniteMDP.from_outcomes(
        {("a", "stay"): [(1 - p, "b", -1.0), (p, "end", 0.0)], ("a", "go"): [(1 - p, "a", -2.0), (p, "b", -1.0)],
         ("b", "stay"): [(1 - p, "a", -1.0), (p, "end", 1.0)],
         ("b", "go"): [(1 - 2 * p, "b", -1.0), (2 * p, "end", 1.0)]},
        gamma=1,
    )  # fmt: skip


def cancelling(gamma: float) -> FiniteMDP:
    """Rewards of 1e12 that cancel beside 1e-12, in one pair."""
    R, r = 1e12, 1e-12
    return FiniteMDP.from_outcomes(
        {(0, 0): [(0.5, 1, R), (0.5, 1, -R)], (0, 1): [(1.0, 1, r)],
         (1, 0): [(0.25, 0, R), (0.5, 0, -R / 2), (0.25, 2, r)], (1, 1): [(0.5, 0, 0.0), (0.5, 2, 2 * r)]},
        gamma=gamma,
    )  # fmt: skip


def apart(gamma: float) -> FiniteMDP:
    """Rewards of 1e12 in one state, of 1e-12 in another."""
    R, r = 1e12, 1e-12
    return FiniteMDP.from_outcomes(
        {(0, 0): [(0.5, 1, R), (0.5, 2, 0.0)], (0, 1): [(0.5, 1, R + 1e-4), (0.5, 2, 0.0)],
         (1, 0): [(0.5, 3, r), (0.5, 1, 0.0)], (1, 1): [(0.5, 3, 2 * r), (0.5, 1, 0.0)]},
        gamma=gamma,
    )  # fmt: skip


def rare(p: float) -> Make:
    """Outcomes that hardly ever come (p), into a state that is hardly ever seen, some of them worth 1e10."""
    return lambda gamma: FiniteMDP.from_outcomes(
        {(0, 0): [(1.0, 1, 1.0), (p, 2, -1.0)], (0, 1): [(0.5, 0, 0.25), (0.5, 1, 0.5)],
         (1, 0): [(0.5, 0, 1.0), (0.5, 3, 0.0), (p, 2, 1e10)], (1, 1): [(1.0, 3, 1.0)],
         (2, 0): [(p, 0, 1e5), (1.0, 3, -7.0)], (2, 1): [(1.0, 3, -1.0)]},
        gamma=gamma,
    )  # fmt: skip


DISCOUNTED: dict[str, Make] = {"ring": ring, "halves": halves, "short": short, "not quite 1": not_quite_one}
SIZES: dict[str, Make] = {
    "cancelling": cancelling, "apart": apart, "1e-17": rare(1e-17), "1e-300": rare(1e-300), "5e-324": rare(5e-324),
}  # fmt: skip
