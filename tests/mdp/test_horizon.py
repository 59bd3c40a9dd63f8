"""solve and evaluate with a horizon, against the unrolled table, fractions, and Gymnasium's time limit."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice
from typing import Any

import numpy as np
import pytest

from envs import ZOO, riverswim, short_corridor
from mdp import FiniteMDP, evaluate, solve, sweeps, unroll
from tests.worlds import assert_close, random_mdp, random_policy

SMALL = ("ShortCorridor", "RiverSwim", "DoubleLoop", "Gridworld5x5", "FrozenLake4x4", "RecyclingRobot", "Gambler")
PROBLEMS = {name: ZOO[name].make() for name in SMALL} | {f"random {seed}": random_mdp(seed) for seed in range(5)}


@pytest.mark.parametrize("horizon", [1, 2, 7])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("name", PROBLEMS)
def test_it_is_the_unrolled_problem(name: str, gamma: float, horizon: int) -> None:
    m = PROBLEMS[name].with_gamma(gamma)
    found, unrolled = solve(m, horizon=horizon), solve(unroll(m, horizon))
    shape = (horizon, m.n_states, m.n_actions)
    assert_close(found.v, unrolled.v.reshape(horizon + 1, -1), 1e-12)
    allowed = m.admissible & np.ones((horizon, 1, 1), bool)
    assert_close(found.q[allowed], unrolled.q.reshape(horizon + 1, *shape[1:])[:-1][allowed], 1e-12)
    nothing = np.broadcast_to(np.where(m.terminal, 0.0, -np.inf)[:, None], shape)
    np.testing.assert_array_equal(found.q[~allowed], nothing[~allowed])
    np.testing.assert_array_equal(found.optimal_actions, unrolled.optimal_actions.reshape(horizon + 1, *shape[1:])[:-1])
    assert found.converged
    assert found.iterations == horizon


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_policy_attains_v(name: str) -> None:
    m = PROBLEMS[name].with_gamma(1.0)
    found = solve(m, horizon=9)
    v, q, J = evaluate(m, found.policy, horizon=9)
    assert_close(v, found.v, 1e-13)
    assert_close(J, m.start @ found.v[0], 1e-13)
    np.testing.assert_array_equal(np.isfinite(q), np.isfinite(found.q))
    np.testing.assert_array_equal(found.policy.sum(axis=2), np.tile(~m.terminal, (9, 1)))
    assert found.optimal_actions[found.policy > 0].all()


@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_one_policy_is_that_of_the_unrolled_problem(seed: int, gamma: float) -> None:
    m, H = random_mdp(seed, gamma=gamma), 6
    pis = np.array([random_policy(m, seed + t) for t in range(H)])
    found = evaluate(m, pis, horizon=H)
    unrolled = evaluate(unroll(m, H), np.concatenate([*pis, np.zeros_like(pis[0])]))
    assert_close(found.v.ravel(), unrolled.v, 1e-13)
    assert_close(found.objective, unrolled.objective, 1e-13)
    same = evaluate(m, pis[0], horizon=H).v
    for k, v in enumerate(islice(sweeps(m, pis[0]), H + 1)):
        assert_close(same[H - k], v, 1e-14)


def exactly(m: FiniteMDP, horizon: int) -> list[Fraction]:
    """v_0 of the table as it stands, in fractions."""
    gamma, v = Fraction(m.gamma), [Fraction(0)] * m.n_states
    t = [x.tolist() for x in m.table]
    for _ in range(horizon):
        q: dict[tuple[int, int], Fraction] = {}
        for s, a, after, r, p in zip(*t, strict=True):
            q[s, a] = q.get((s, a), Fraction(0)) + Fraction(p) * (Fraction(r) + gamma * v[after])
        v = [max((x for (s, _), x in q.items() if s == i), default=Fraction(0)) for i in range(m.n_states)]
    return v


def large_rewards_that_cancel() -> FiniteMDP:
    third = 1 / 3
    outcomes: dict[tuple[Any, Any], Any] = {
        ("s", "a"): [(third, "s", 1e12), (third, "t", -1e12), (1 - 2 * third, "s", 0.1)],
        ("t", "a"): [(0.5, "s", -1e12), (0.5, "e", 1e12)],
    }
    return FiniteMDP.from_outcomes(outcomes, gamma=1.0)


@pytest.mark.parametrize("m", [*(random_mdp(s, gamma=0.97) for s in range(3)), riverswim(gamma=1.0),
                               large_rewards_that_cancel()])
def test_the_bound_is_one(m: FiniteMDP) -> None:
    found = solve(m, horizon=20)
    off = max(abs(Fraction(float(x)) - y) for x, y in zip(found.v[0], exactly(m, 20), strict=True))
    assert off <= found.bound <= 1e-12 * max(1, np.abs(m.table.reward).max())
    assert found.converged == (found.bound <= 1e-8)


def test_frozen_lake_within_its_time_limit() -> None:
    m = FiniteMDP.from_gymnasium("FrozenLake-v1", gamma=1)
    found = solve(m, horizon=100)
    assert_close(m.start @ found.v[0], 0.7441902878)
    assert (found.policy[0] != found.policy[-20]).any()  # it depends on the time


def test_it_nears_the_value_without_a_limit_and_needs_no_end() -> None:
    m = ZOO["Gridworld5x5"].make()
    assert_close(solve(m, horizon=400).v[0], solve(m).v, 1e-12)
    forever = FiniteMDP.from_outcomes({("s", "a"): [(1, "s", 1)]}, gamma=1)
    assert solve(forever, horizon=3).v.ravel().tolist() == [3, 2, 1, 0]


def test_progress_is_called_with_the_steps_that_are_done() -> None:
    seen: list[tuple[int, float]] = []
    bound = solve(short_corridor(), horizon=4, progress=lambda k, e: seen.append((k, e))).bound
    assert [k for k, _ in seen] == [1, 2, 3, 4]
    assert seen[-1][1] == bound


def test_what_is_refused() -> None:
    m = short_corridor()
    with pytest.raises(ValueError, match=r"backward induction: leave out method='policy_iteration'"):
        solve(m, horizon=3, method="policy_iteration")
    for function in (lambda h: solve(m, horizon=h), lambda h: evaluate(m, m.uniform_policy(), horizon=h)):
        with pytest.raises(ValueError, match="the horizon must be at least 1, not 0"):
            function(0)
        with pytest.raises(TypeError, match=r"a whole number of steps, not 2\.5"):
            function(2.5)
    with pytest.raises(ValueError, match=r"shape \(2, 4, 2\), not \(S, A\) or \(H, S, A\) = \(3, 4, 2\)"):
        evaluate(m, np.array([m.uniform_policy()] * 2), horizon=3)
    with pytest.raises(ValueError, match="sums to 0, not 1"):
        evaluate(m, np.zeros((3, 4, 2)), horizon=3)
    huge = FiniteMDP.from_outcomes({("s", 0): [(1.0, "s", 1e308)]}, gamma=1.0)
    with pytest.raises(ValueError, match="v of state 's' is inf: the rewards are too large"):
        solve(huge, horizon=2)


@pytest.mark.parametrize("seed", range(5))
def test_the_average_of_many_rewards(seed: int) -> None:
    """Its rounding is within the bound, by fractions."""
    rng = np.random.default_rng(seed)
    R = rng.uniform(0.5, 1, 2000)
    m = FiniteMDP.from_outcomes({(0, a): [(1.0, "end", float(R[a]))] for a in range(2000)}, gamma=1.0)
    for _ in range(3):
        w = rng.uniform(0, 1, 2000)
        w /= w.sum()
        found = evaluate(m, [w, 0 * w], horizon=1)
        truth = sum(Fraction(x) * Fraction(y) for x, y in zip(w.tolist(), R.tolist(), strict=True))
        assert abs(Fraction(float(found.v[0, 0])) - truth) <= Fraction(float(found.bound))


def test_rows_that_do_not_quite_sum_to_one() -> None:
    """What it would change to make them do so is in the bound, with a horizon and without."""
    m = FiniteMDP.from_outcomes({(0, 0): [(1 - 9e-10, "end", 1.0)]}, gamma=1.0)
    for found in (solve(m, horizon=1), evaluate(m, m.uniform_policy(), horizon=1), solve(m)):
        assert 9e-10 <= found.bound < 1e-8
