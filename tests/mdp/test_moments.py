"""The exact moments of REINFORCE: known variances, and brute force trajectory by trajectory."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs import short_corridor
from mdp import (
    FiniteMDP,
    enumerate_trajectories,
    evaluate,
    policy_gradient,
    reinforce_moments,
    return_variance,
    returns_to_go,
    simulate,
    softmax_policy,
    unroll,
)
from mdp.model.table import Floats
from tests.worlds import (
    assert_close,
    brute_force_moments,
    discounted_sum,
    random_mdp,
    random_policy,
    random_preferences,
    tied_right,
)

SEEDS = st.integers(0, 2**32 - 1)
GAMMAS = st.sampled_from([0.3, 0.9, 1.0])
V_PI = [-12.0, -10.0, -6.0, 0.0]


class Estimator(TypedDict):
    to_go: bool
    discounted: bool


TO_GO: Estimator = {"to_go": True, "discounted": True}
UNDISCOUNTED: Estimator = {"to_go": True, "discounted": False}
WHOLE: Estimator = {"to_go": False, "discounted": True}
ESTIMATORS = pytest.mark.parametrize("estimator", [TO_GO, UNDISCOUNTED, WHOLE], ids=["to go", "no gamma^t", "whole"])


@pytest.mark.parametrize(
    ("to_go", "baseline", "variance"),
    [
        (False, None, 1959),
        (True, None, 733),
        (True, -12, 277),
        (True, V_PI, 295),
        (True, -37 / 3, 830 / 3),
        (True, [-40 / 3, -11, -12, 0], 820 / 3),
    ],
)
def test_corridor_variance(to_go: bool, baseline: float | list[float] | None, variance: float) -> None:
    """v_pi is not the best baseline, and not even the best constant is."""
    m = short_corridor()
    moments = reinforce_moments(m, np.zeros((4, 2)), baseline=baseline, to_go=to_go)
    mean, covariance = moments.along(tied_right(m))
    assert_close(mean, [2.0])
    assert_close(covariance, [[variance]])
    assert_close(moments.variances(tied_right(m)), [variance])


def corridor_variance(baseline: Floats) -> float:
    m = short_corridor()
    return float(reinforce_moments(m, np.zeros((4, 2)), baseline=baseline).variances(tied_right(m))[0])


@pytest.mark.parametrize("change", [*np.eye(4)[:3], *-np.eye(4)[:3]])
def test_the_best_state_baseline_of_the_corridor(change: Floats) -> None:
    assert corridor_variance(np.array([-40 / 3, -11, -12, 0]) + change) > 820 / 3 + 0.1


def check(m: FiniteMDP, h: Floats, baseline: Floats, estimator: Estimator) -> None:
    mean, covariance = brute_force_moments(m, h, baseline, **estimator)
    moments = reinforce_moments(m, h, baseline=baseline, **estimator)
    size = max(1.0, float(np.abs(covariance).max()))
    assert_close(moments.mean.ravel(), mean, 1e-10)
    assert_close(moments.covariance / size, covariance / size, 1e-10)
    assert_close(moments.trace, np.trace(covariance), 1e-10)


@ESTIMATORS
@given(seed=SEEDS, gamma=GAMMAS, based=st.booleans())
@settings(max_examples=15, deadline=None, derandomize=True)
def test_brute_force(estimator: Estimator, seed: int, gamma: float, based: bool) -> None:
    m = random_mdp(seed, acyclic=True, gamma=gamma)
    baseline = np.random.default_rng(seed).normal(size=m.n_states) * based
    check(m, random_preferences(m, seed), baseline, estimator)


@ESTIMATORS
@pytest.mark.parametrize("gamma", [0.9, 1.0])
def test_brute_force_on_an_unrolled_problem(estimator: Estimator, gamma: float) -> None:
    m = unroll(short_corridor(gamma), 5)
    check(m, random_preferences(m, 1), np.random.default_rng(2).normal(size=m.n_states), estimator)


@ESTIMATORS
def test_an_action_that_is_never_taken_has_no_score(estimator: Estimator) -> None:
    m = random_mdp(5, acyclic=True)
    h = random_preferences(m, 5)
    s = int(np.argmax(m.admissible.sum(axis=1)))
    h[s, np.flatnonzero(m.admissible[s])[0]] = -np.inf
    check(m, h, np.ones(m.n_states), estimator)


@given(seed=SEEDS, gamma=GAMMAS, to_go=st.booleans())
@settings(max_examples=30, deadline=None, derandomize=True)
def test_the_mean_is_the_gradient_whatever_the_baseline(seed: int, gamma: float, to_go: bool) -> None:
    m = random_mdp(seed, gamma=gamma)
    h, baseline = random_preferences(m, seed), np.random.default_rng(seed).normal(size=m.n_states)
    assert_close(reinforce_moments(m, h, baseline=baseline, to_go=to_go).mean, policy_gradient(m, h), 1e-10)


def test_without_gamma_t_the_mean_is_another_vector() -> None:
    m = random_mdp(0)
    h = random_preferences(m, 0)
    assert np.abs(reinforce_moments(m, h, discounted=False).mean - policy_gradient(m, h)).max() > 1e-3


@ESTIMATORS
@pytest.mark.parametrize("seed", range(3))
def test_covariance_trace_and_directions_agree(estimator: Estimator, seed: int) -> None:
    m = random_mdp(seed, states=6)
    moments = reinforce_moments(m, random_preferences(m, seed), baseline=0.5, **estimator)
    U = np.random.default_rng(seed).normal(size=(m.admissible.size, 3))
    mean, covariance = moments.along(U)
    assert_close(moments.trace, np.trace(moments.covariance), 1e-12)
    assert_close(mean, U.T @ moments.mean.ravel(), 1e-12)
    assert_close(covariance, U.T @ moments.covariance @ U, 1e-11)
    assert_close(moments.variances(U), np.diag(covariance), 1e-11)
    assert np.linalg.eigvalsh(moments.covariance).min() > -1e-10


def test_the_trace_of_many_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    m = random_mdp(1, states=8)
    whole = reinforce_moments(m, random_preferences(m, 1)).trace
    monkeypatch.setattr("mdp.gradient.moments.CHUNK", 3)
    assert_close(reinforce_moments(m, random_preferences(m, 1)).trace, whole, 1e-13)


@given(seed=SEEDS, gamma=st.sampled_from([0.0, 0.7, 1.0]))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_return_variance(seed: int, gamma: float) -> None:
    m = random_mdp(seed, acyclic=True, gamma=gamma)
    pi = random_policy(m, seed)
    v, second = evaluate(m, pi).v, np.zeros(m.n_states)
    for p, played in enumerate_trajectories(m, pi):
        s = played.states[0]
        second[s] += p / m.start[s] * (discounted_sum(played.rewards, gamma) - v[s]) ** 2
    assert_close(return_variance(m, pi), second, 1e-10)


def test_return_variance_of_a_coin() -> None:
    """One step, +1 or -1: variance 1. Until the first head, -1 a step: (1 - p) / p^2."""
    coin = FiniteMDP.from_outcomes({("s", 0): [(0.5, "end", 1), (0.5, "end", -1)]}, gamma=1)
    assert return_variance(coin, coin.uniform_policy()).tolist() == [1, 0]
    until = FiniteMDP.from_outcomes({("s", 0): [(0.2, "end", -1), (0.8, "s", -1)]}, gamma=1)
    assert_close(return_variance(until, until.uniform_policy()), [20, 0], 1e-12)


# ---- bad input ----


def test_no_estimator_has_this_name() -> None:
    with pytest.raises(ValueError, match="discounted=False needs to_go=True"):
        reinforce_moments(short_corridor(), np.zeros((4, 2)), to_go=False, discounted=False)


@pytest.mark.parametrize("estimator", [UNDISCOUNTED, WHOLE], ids=["no gamma^t", "whole"])
def test_sums_of_scores_need_an_end(estimator: Estimator) -> None:
    m = FiniteMDP.from_outcomes({("s", a): [(1, "s", 1.0)] for a in "xy"}, gamma=0.9)
    reinforce_moments(m, np.zeros((1, 2)))
    with pytest.raises(ValueError, match="never ends from state 's'"):
        reinforce_moments(m, np.zeros((1, 2)), **estimator)


@pytest.mark.parametrize(
    ("baseline", "message"),
    [([0, np.nan, 0, 0], "baseline of state 1 is not finite"), ([1, 2], r"baseline has shape \(2,\)")],
)
def test_bad_baseline(baseline: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reinforce_moments(short_corridor(), np.zeros((4, 2)), baseline=baseline)


def test_improper_policy() -> None:
    h = np.tile([0.0, -np.inf], (4, 1))
    with pytest.raises(ValueError, match="never ends from state 0"):
        reinforce_moments(short_corridor(), h)
    assert_close(softmax_policy(short_corridor(), h)[:3, 0], np.ones(3))


def test_a_million_simulated_episodes_have_this_covariance() -> None:
    """Seed 0. Every entry of mean and covariance within 6.5 of its own standard errors; 172 of them: 1e-8.

    The standard error of an entry of the covariance comes from the sample's fourth moments.
    """
    mdp = random_mdp(7, states=3, actions=2, ends=1, gamma=0.9)
    h, n = random_preferences(mdp, 7), 1_000_000
    pi = np.asarray(softmax_policy(mdp, h))
    played = simulate(mdp, pi, n, rng=np.random.default_rng(0))
    weight = mdp.gamma ** np.arange(played.rewards.shape[1]) * returns_to_go(played.rewards, mdp.gamma)
    Z = np.zeros((n, *h.shape))
    for t in range(played.rewards.shape[1]):
        on = np.flatnonzero(played.mask[:, t])
        s, a, w = played.states[on, t], played.actions[on, t], weight[on, t]
        Z[on, s] -= w[:, None] * pi[s]
        Z[on, s, a] += w
    exact = reinforce_moments(mdp, h)
    Z = Z.reshape(n, -1) - exact.mean.ravel()
    error = np.sqrt(np.diag(exact.covariance) / n)
    assert (np.abs(Z.mean(0)) <= 6.5 * error + 1e-15).all()
    second = Z.T @ Z / n
    fourth = (Z**2).T @ Z**2 / n
    assert (np.abs(second - exact.covariance) <= 6.5 * np.sqrt((fourth - second**2) / n) + 1e-15).all()
    assert (error > 0).sum() >= 4
