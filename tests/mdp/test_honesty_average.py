"""The average reward of what nearly falls apart."""

from __future__ import annotations

from typing import Any

import mpmath as mp
import pytest

from mdp import (
    FiniteMDP,
    average_reward,
    solve_average,
)  # fmt: skip
from mdp.model.table import EPS, Floats


def two_parts(e: float) -> FiniteMDP:
    """Two states that go to two others with probability e, and come back with 2 e."""
    return FiniteMDP.from_outcomes(
        {(0, 0): [(0.5, 0, 1.0), (0.5 - e, 1, 1.0), (e, 2, 0.0)], (1, 0): [(0.3, 0, 2.0), (0.7, 1, -1.0)],
         (2, 0): [(0.6, 3, 5.0), (0.4, 2, 0.0)], (3, 0): [(0.9 - 2 * e, 2, 1.0), (0.1, 3, 0.0), (2 * e, 0, 0.0)]},
        gamma=1,
    )  # fmt: skip


def exact_gain(m: FiniteMDP, pi: Floats) -> Any:
    """h(0) = 0 and g in its place: (I - P) h + g = r, where a row of I - P sums to 0."""
    with mp.workdps(700):
        S = m.n_states
        A, r = mp.zeros(S), mp.zeros(S, 1)
        for s, a, after, reward, p in zip(*(column.tolist() for column in m.table), strict=True):
            w = mp.mpf(pi[s, a]) * mp.mpf(p)
            r[s] += w * mp.mpf(reward)
            A[s, after] -= w
            A[s, s] += w
        for s in range(S):
            A[s, 0] = mp.mpf(1)
        return mp.lu_solve(A, r)[0]


@pytest.mark.parametrize("e", [1e-3, 1e-6, 1e-9, 1e-12, 1e-15, 1e-17, 1e-100, 1e-300])
def test_nearly_decomposable_chains(e: float) -> None:
    """A linear solver loses every digit from 1e-15 on; without a subtraction none is lost."""
    m = two_parts(e)
    pi = m.uniform_policy()
    assert abs(average_reward(m, pi).gain - exact_gain(m, pi)) < 20 * EPS * 5
    found = solve_average(m)
    assert abs(found.gain - exact_gain(m, pi)) <= found.bound
    assert found.converged == (found.bound <= 1e-8)


@pytest.mark.filterwarnings("error")
def test_chains_that_are_left_with_a_denormal_probability() -> None:
    m = two_parts(5e-324)
    with pytest.raises(ValueError, match="not finite"):
        average_reward(m, m.uniform_policy())


@pytest.mark.parametrize("e", [1e-4, 1e-17])
def test_large_chains_that_nearly_fall_apart_are_refused(e: float) -> None:
    """Two rings of 300 states: above 400 nodes a sparse solver works, and says where it cannot."""
    n = 300
    rows: dict[tuple[int, int], list[tuple[float, int, float]]] = {}
    for k in range(2):
        for i in range(n):
            rows[k * n + i, 0] = [(0.5, k * n + i, float(k)), (0.5, k * n + (i + 1) % n, float(k))]
        rows[k * n, 0] = [(0.5 - e, k * n, float(k)), (0.5, k * n + 1, float(k)), (e, (1 - k) * n, 0.0)]
    m = FiniteMDP.from_outcomes(rows, gamma=0.9)
    if e > 1e-10:
        assert abs(average_reward(m, m.uniform_policy()).gain - 0.5 * (1 - e / n)) < 1e-9
    else:
        with pytest.raises(ValueError, match=r"singular|may be off"):
            average_reward(m, m.uniform_policy())
