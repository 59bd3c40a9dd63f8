"""Bounds of v, held against 60 digits: they hold, they are not far too large, and `converged` does not lie."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

from mdp import FiniteMDP, Solution, evaluate, solve
from mdp.model.table import EPS, Floats
from tests.mdp.extended import backups, best, extended, largest_error
from tests.mdp.hard import DISCOUNTED, SIZES, Make, slow

METHODS = ("auto", "policy_iteration", "value_iteration", "modified_policy_iteration", "linear_programming")
EXPONENTS = (3, 6, 9, 12, 14, 15)
NEAR_ONE = [(name, k) for name in DISCOUNTED for k in EXPONENTS]
OF_SIZES = [(name, gamma) for name in SIZES for gamma in (0.5, 0.99, 1.0)]


def assert_honest(m: FiniteMDP, found: Solution, tolerance: float = 1e-8, *, proven: bool = True) -> None:
    """proven: something is; a bound of inf holds for any v."""
    assert np.isfinite(found.bound) == proven
    star = best(m, m.admissible.argmax(axis=1))
    assert largest_error(found.v, star) <= found.bound
    assert found.converged == (found.bound <= tolerance)
    assert (found.optimal_actions.sum(axis=1) > 0)[~m.terminal].all()
    attained = extended(m, found.policy.tolist()).v
    assert max(abs(x - y) for x, y in zip(attained, star, strict=True)) <= 2 * found.bound


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("name", "k"), NEAR_ONE)
def test_near_gamma_1(name: str, k: int, method: str) -> None:
    """Sweeps that take 1 / (1 - gamma) are left out, where the wish for 1e-8 would make them take a day."""
    if method == "value_iteration" and k > 3 and name != "ring":
        pytest.skip("value iteration for hours")
    m = DISCOUNTED[name](1 - 10.0**-k)
    if method == "linear_programming" and name in ("ring", "halves") and k >= 12:
        with pytest.raises(ValueError, match="has no solution"):  # for HiGHS, at its tolerance
            solve(m, method=method)
        return
    assert_honest(m, solve(m, method=method, progress=False))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("k", [3, 6, 9, 11])
def test_ends_that_hardly_come(k: int, method: str) -> None:
    """1e11 steps to the end are the first of which nothing is proven."""
    m = slow(10.0**-k)
    assert_honest(m, solve(m, method=method, progress=False), proven=k < 11)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("name", "gamma"), OF_SIZES)
def test_sizes_far_apart(name: str, gamma: float, method: str) -> None:
    m = SIZES[name](gamma)
    assert_honest(m, solve(m, method=method, progress=False))


@pytest.mark.parametrize("k", EXPONENTS)
def test_where_episodes_are_short_gamma_does_not_matter(k: int) -> None:
    """1 / (1 - gamma) is not the length of an episode: the bound is that of a few steps."""
    found = solve(DISCOUNTED["short"](1 - 10.0**-k))
    assert found.converged
    assert k < 9 or found.bound < 1e-12
    assert solve(DISCOUNTED["short"](1 - 10.0**-k), method="modified_policy_iteration").converged


@pytest.mark.parametrize(("name", "k"), [(n, k) for n, k in NEAR_ONE if n in ("ring", "halves")])
def test_the_bound_is_some_roundings(name: str, k: int) -> None:
    """|v| / (1 - gamma) roundings, and no more than a hundred times as many."""
    m = DISCOUNTED[name](1 - 10.0**-k)
    found = solve(m)
    assert found.bound <= 100 * EPS * np.abs(found.v).max() * 10.0**k
    assert found.converged == (k == 3)


def test_rare_rewards_do_not_spoil_the_bound() -> None:
    """1e10 with probability 1e-300 is 0, and its rounding too."""
    for gamma in (0.5, 0.99, 1.0):
        assert solve(SIZES["1e-300"](gamma)).bound < 1e-12


def test_longer_than_float64_can_tell() -> None:
    with pytest.raises(ValueError, match="an episode takes 1e\\+12 steps on average"):
        solve(slow(1e-12))


def test_rows_that_sum_to_more_than_1_may_earn_for_ever() -> None:
    """1 + 4e-10 a step at gamma = 1 - 1e-10 has no v: nothing is proven, and nothing is said to be."""
    found = solve(DISCOUNTED["not quite 1"](1 - 1e-10).with_gamma(1 - 1e-15))
    assert found.converged  # an end is near
    forever = FiniteMDP.from_outcomes({(0, 0): [(0.5, 0, 1.0), (0.5 + 4e-10, 1, 1.0)], (1, 0): [(1.0, 0, 1.0)]},
                                      gamma=1 - 1e-10)  # fmt: skip
    assert solve(forever).bound == np.inf
    assert not solve(forever).converged
    assert evaluate(forever, forever.uniform_policy()).bound == np.inf


# ---- of one policy ----


def policies(m: FiniteMDP) -> list[Floats]:
    rng = np.random.default_rng(0)
    noisy = m.uniform_policy() * rng.uniform(0.5, 1.5, m.admissible.shape)
    return [m.uniform_policy(), noisy / np.maximum(noisy.sum(axis=1, keepdims=True), 1e-300), solve(m).policy]


def assert_evaluation_honest(m: FiniteMDP) -> None:
    for pi in policies(m):
        found = evaluate(m, pi)
        assert np.isfinite(found.bound)
        assert largest_error(found.v, extended(m, pi.tolist()).v) <= found.bound
        assert found.residual <= found.bound


@pytest.mark.parametrize(("name", "k"), NEAR_ONE)
def test_evaluation_near_gamma_1(name: str, k: int) -> None:
    assert_evaluation_honest(DISCOUNTED[name](1 - 10.0**-k))


@pytest.mark.parametrize("k", [3, 6, 9, 11])
def test_evaluation_of_ends_that_hardly_come(k: int) -> None:
    assert_evaluation_honest(slow(10.0**-k))


@pytest.mark.parametrize(("name", "gamma"), OF_SIZES)
def test_evaluation_of_sizes_far_apart(name: str, gamma: float) -> None:
    assert_evaluation_honest(SIZES[name](gamma))


@pytest.mark.parametrize("k", EXPONENTS)
def test_the_bound_of_an_evaluation_is_some_roundings(k: int) -> None:
    m = DISCOUNTED["short"](1 - 10.0**-k)
    found = evaluate(m, m.uniform_policy())
    assert found.bound <= 1e-11  # the lengths of episodes, not 1 / (1 - gamma)
    m = DISCOUNTED["halves"](1 - 10.0**-k)
    found = evaluate(m, m.uniform_policy())
    assert found.bound <= 100 * EPS * np.abs(found.v).max() * 10.0**k


@pytest.mark.parametrize("H", [1, 7, 300])
@pytest.mark.parametrize("make", [*DISCOUNTED.values(), *SIZES.values()], ids=[*DISCOUNTED, *SIZES])
def test_within_a_horizon(make: Make, H: int) -> None:
    """v_t of the uniform policy, and of the best, by 60 digits."""
    m = make(0.999999)
    pi = m.uniform_policy()
    found, solution = evaluate(m, pi, horizon=H), solve(m, horizon=H)
    with mp.workdps(60):
        v = [mp.mpf(0)] * m.n_states
        top = list(v)
        for t in reversed(range(H)):
            q, q_top = backups(m, v), backups(m, top)
            v, top = ([mp.mpf(0)] * m.n_states for _ in "12")
            for s in np.flatnonzero(~m.terminal).tolist():
                own = np.flatnonzero(m.admissible[s]).tolist()
                v[s] = sum(mp.mpf(pi[s, a]) * q[s, a] for a in own)
                top[s] = max(q_top[s, a] for a in own)
            assert largest_error(found.v[t], v) <= found.bound
            assert largest_error(solution.v[t], top) <= solution.bound


# ---- overflow ----


def huge(R: float, gamma: float) -> FiniteMDP:
    return FiniteMDP.from_outcomes(
        {(0, 0): [(0.5, 0, R), (0.5, 1, R)], (0, 1): [(0.5, 1, -R), (0.5, 1, R)],
         (1, 0): [(0.999, 0, R), (0.001, 2, -R)], (1, 1): [(0.5, 2, -R), (0.5, 2, -R / 2)]}, gamma=gamma
    )  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("gamma", [0.5, 0.9999, 1.0])
def test_returns_beyond_float64_are_refused(gamma: float, method: str) -> None:
    m = huge(1.7e308, gamma)
    with pytest.raises(ValueError, match="too large for float64"):
        solve(m, method=method)
    with pytest.raises(ValueError, match="too large for float64"):
        evaluate(m, m.uniform_policy())
    with pytest.raises(ValueError, match="too large for float64"):
        solve(m, horizon=20)


def test_the_limit_is_that_of_returns() -> None:
    """1e305 for max|R| / (1 - gamma)."""
    loop = {(0, 0): [(1.0, 0, 8e304)]}
    with pytest.raises(ValueError, match="too large for float64: returns may be up to 2 times as large"):
        solve(FiniteMDP.from_outcomes(loop, gamma=0.5))
    assert solve(FiniteMDP.from_outcomes(loop, gamma=0.1)).v[0] == pytest.approx(8e304 / 0.9, rel=1e-12)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("method", METHODS[:4])
def test_rewards_of_1e300_are_rewards(method: str) -> None:
    m = huge(1e300, 0.9)
    assert_honest(m, solve(m, method=method))
    assert_evaluation_honest(m)
