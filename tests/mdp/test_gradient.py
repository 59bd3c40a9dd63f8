"""The policy gradient theorem against complex steps, finite differences and enumeration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs import ZOO, recycling_robot, short_corridor
from mdp import complex_step, evaluate, policy_gradient, softmax_policy
from tests.worlds import assert_close, random_mdp, random_preferences

SEEDS = st.integers(0, 2**32 - 1)
GAMMAS = st.sampled_from([0.0, 0.5, 0.9, 1.0])


@given(SEEDS, GAMMAS)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_complex_step(seed: int, gamma: float) -> None:
    m = random_mdp(seed, gamma=gamma)
    h, u = random_preferences(m, seed), random_preferences(m, seed + 1)
    assert_close(policy_gradient(m, h).ravel() @ u.ravel(), complex_step(m, h, u), 1e-12)


@pytest.mark.parametrize("name", ZOO)
def test_complex_step_over_the_zoo(name: str) -> None:
    m = ZOO[name].make(gamma=0.95)
    h, u = random_preferences(m, 0), random_preferences(m, 1)
    assert_close(policy_gradient(m, h).ravel() @ u.ravel(), complex_step(m, h, u), 1e-11)


@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_finite_differences(seed: int, gamma: float) -> None:
    m = random_mdp(seed, gamma=gamma)
    h = random_preferences(m, seed)
    gradient, x = policy_gradient(m, h), 1e-5
    for s, a in np.ndindex(*h.shape):
        up, down = h.copy(), h.copy()
        up[s, a] += x
        down[s, a] -= x
        J = [evaluate(m, softmax_policy(m, preferences)).objective for preferences in (up, down)]
        assert_close(gradient[s, a], (J[0] - J[1]) / (2 * x), 1e-8)


@pytest.mark.parametrize("seed", range(4))
def test_zero_where_nothing_can_be_chosen(seed: int) -> None:
    m = random_mdp(seed)
    gradient = policy_gradient(m, random_preferences(m, seed))
    assert np.all(gradient[~m.admissible] == 0)
    assert_close(gradient.sum(axis=1), np.zeros(m.n_states), 1e-13)  # a softmax does not feel a shift


@pytest.mark.parametrize("shift", [-1e4, 0.0, 1e4])
def test_softmax_does_not_overflow(shift: float) -> None:
    m = short_corridor()
    h = np.tile([0.0, 1.0], (4, 1)) + shift
    assert_close(softmax_policy(m, h)[:3, 1], np.full(3, 1 / (1 + np.exp(-1))), 1e-15)
    assert softmax_policy(m, h)[3].tolist() == [0, 0]


def test_a_preference_of_minus_infinity_is_never_taken() -> None:
    m = short_corridor()
    h = np.array([[-np.inf, 0], [0, 0], [0, 0], [np.nan, np.nan]])
    assert softmax_policy(m, h)[0].tolist() == [0, 1]
    assert policy_gradient(m, h)[0].tolist() == [0, 0]
    direction = np.array([[1.0, 2], [3, 4], [5, 6], [0, 0]])
    assert_close(complex_step(m, h, direction), policy_gradient(m, h).ravel() @ direction.ravel(), 1e-12)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0, np.nan], r"h\(s=1, a='right'\) is nan"),
        ([np.inf, 0], r"h\(s=1, a='left'\) is inf"),
        ([-np.inf, -np.inf], r"h\(s=1, a='left'\) is -inf"),
    ],
)
def test_bad_preferences(row: list[float], message: str) -> None:
    h = np.zeros((4, 2))
    h[1] = row
    with pytest.raises(ValueError, match=message):
        policy_gradient(short_corridor(), h)


def test_bad_shape() -> None:
    with pytest.raises(ValueError, match=r"preferences have shape \(2,\), not \(S, A\) = \(2, 3\)"):
        policy_gradient(recycling_robot(), [0.0, 1.0])
