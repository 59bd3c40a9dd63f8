"""The exact skewness and kurtosis of REINFORCE against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from envs import short_corridor
from mdp import FiniteMDP, enumerate_trajectories, reinforce_moments, softmax_policy
from mdp.gradient.cumulants import shape
from tests.worlds import assert_close, random_mdp, random_preferences, reinforce_estimate


@pytest.mark.parametrize(("to_go", "discounted"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("gamma", [0.5, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_brute_force(seed: int, gamma: float, to_go: bool, discounted: bool) -> None:
    m = random_mdp(seed, acyclic=True, gamma=gamma)
    h, rng = random_preferences(m, seed), np.random.default_rng(seed)
    b, U = rng.normal(size=m.n_states), rng.normal(size=(m.admissible.size, 2))
    pi = np.asarray(softmax_policy(m, h))
    p, Z = [], []
    for probability, played in enumerate_trajectories(m, pi):
        p.append(probability)
        Z.append(reinforce_estimate(m, pi, played, b, to_go=to_go, discounted=discounted) @ U)
    centred = np.array(Z) - np.array(p) @ np.array(Z)
    variance, third, fourth = (np.array(p) @ centred**k for k in (2, 3, 4))
    found = shape(reinforce_moments(m, h, baseline=b, to_go=to_go, discounted=discounted), U)
    assert_close(found.skewness, third / variance**1.5)
    assert_close(found.kurtosis, fourth / variance**2 - 3)
    assert_close(found.of_mean(100).skewness, found.skewness / 10)
    assert_close(found.of_mean(100).kurtosis, found.kurtosis / 100)


def test_no_spread() -> None:
    m = FiniteMDP.from_outcomes({("s", 0): [(1, "end", 1.0)]}, gamma=1)
    found = shape(reinforce_moments(m, np.zeros((2, 1))), np.ones((2, 1)))
    assert (found.skewness.tolist(), found.kurtosis.tolist()) == ([0], [0])


def test_a_coin() -> None:
    """One step, reward 1 or -1, a fair choice of two actions: the estimate is 1/2 or -1/2, and its kurtosis -2."""
    m = FiniteMDP.from_outcomes({("s", a): [(0.5, "end", 1.0), (0.5, "end", -1.0)] for a in (0, 1)}, gamma=1)
    found = shape(reinforce_moments(m, np.zeros((2, 2))), np.eye(4)[:, :2])
    assert_close(found.skewness, [0, 0])
    assert_close(found.kurtosis, [-2, -2])


def test_long_episodes_are_skewed() -> None:
    found = shape(reinforce_moments(short_corridor(), np.zeros((4, 2))), np.eye(8)[:, 1:2])
    assert abs(found.skewness[0]) > 1
    assert found.kurtosis[0] > 3
