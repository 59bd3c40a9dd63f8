"""Occupancy, gradients and variances, where float64 is nearly at its end."""

from __future__ import annotations

from typing import Any

import mpmath as mp
import numpy as np
import pytest

from mdp import (
    FiniteMDP,
    natural_policy_gradient,
    occupancy,
    policy_gradient,
    reinforce_moments,
    return_variance,
    softmax_policy,
)  # fmt: skip
from mdp.model.table import EPS
from tests.mdp.extended import extended, softmax
from tests.mdp.hard import DISCOUNTED, SIZES, ring


def relative(found: Any, true: Any) -> float:
    """The largest error of an entry, relative to itself."""
    with mp.workdps(60):
        return max(
            float(abs(mp.mpf(float(x)) - y) / abs(y)) if y else float(x != 0)
            for x, y in zip(np.ravel(found), true, strict=True)
        )


# ---- visits ----


@pytest.mark.parametrize("p", [1e-12, 1e-17, 1e-300])
def test_tiny_start_probabilities(p: float) -> None:
    """Every entry of eta is right relative to itself: nothing is subtracted."""
    m = FiniteMDP.from_outcomes({(0, 0): [(0.5, 0, 1.0), (0.5, 2, 1.0)], (1, 0): [(0.9, 1, 1.0), (0.1, 2, 3.0)]},
                                gamma=0.9, start={0: 1.0, 1: p})  # fmt: skip
    pi = m.uniform_policy()
    assert relative(occupancy(m, pi), extended(m, pi.tolist()).eta) < 4 * EPS


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("gamma", [0.5, 0.99, 1.0])
def test_states_that_are_hardly_ever_seen(name: str, gamma: float) -> None:
    """Where it is above 1e-290 an eta of 1e-17 or 1e-290 is right to 15 digits, too."""
    m = SIZES[name](gamma)
    m = FiniteMDP.from_outcomes({(s, a): m.outcomes(s, a) for s in m.states for a in m.actions if m.outcomes(s, a)},
                                gamma=gamma, start={0: 1.0})  # fmt: skip
    pi = m.uniform_policy()
    eta = occupancy(m, pi)
    assert (eta >= 0).all()
    if name != "5e-324":
        assert relative(eta, extended(m, pi.tolist()).eta) < 1e-14


# ---- gradients at saturation ----


@pytest.mark.parametrize("size", [5.0, 15.0, 350.0])
@pytest.mark.parametrize("name", ["short", "ring"])
def test_gradients_of_saturated_policies(name: str, size: float) -> None:
    """Every entry is right relative to itself, down to 1e-304: of sure actions, too, whose q - v is nearly 0."""
    m = DISCOUNTED[name](0.9)
    h = np.full(m.admissible.shape, -size)
    h[:, 0] = size
    true, found = extended(m, softmax(m, h, 800), 800), policy_gradient(m, h)
    for (s, a), g in true.gradient.items():
        assert abs(found[s, a] - g) <= 1e-11 * abs(g) + mp.mpf(10) ** -600


def test_beyond_float64_a_gradient_is_0_and_the_natural_one_is_not() -> None:
    m, h = ring(0.9), np.tile([1e4, -1e4], (5, 1))
    true = extended(m, softmax(m, h, 9_000), 9_000)
    assert 0 < max(abs(g) for g in true.gradient.values()) < mp.mpf(10) ** -8600
    assert not policy_gradient(m, h).any()
    assert not reinforce_moments(m, h).mean.any()
    assert reinforce_moments(m, h).trace == 0
    natural = natural_policy_gradient(m, h)
    for (s, a), q in true.q.items():
        assert abs(natural[s, a] - (q - true.v[s])) < 1e-13


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_preferences_that_are_no_numbers(bad: float) -> None:
    m, h = ring(0.9), np.zeros((5, 2))
    h[3, 1] = bad
    for f in (softmax_policy, policy_gradient, natural_policy_gradient, reinforce_moments):
        with pytest.raises(ValueError, match=r"h\(s=3, a=1\) is"):
            f(m, h)


def test_preferences_that_are_all_minus_infinity() -> None:
    h = np.zeros((5, 2))
    h[3] = -np.inf
    with pytest.raises(ValueError, match=r"h\(s=3, a=0\) is -inf"):
        softmax_policy(ring(0.9), h)


def test_mixed_preferences() -> None:
    """Two at 1e4, one at -1e4, the fourth 30 below: a softmax of what matters."""
    m = FiniteMDP.from_arrays(np.full((1, 4, 1), 1.0), np.arange(4.0)[None], gamma=0.5)
    h = [[1e4, 1e4, -1e4, 1e4 - 30]]
    true = softmax(m, h, 9_000)[0]
    found = softmax_policy(m, h)[0]
    assert found[2] == 0
    assert relative(np.delete(found, 2), [true[0], true[1], true[3]]) < 8 * EPS


# ---- variances ----


def nearly_sure(c: float, noise: float, gamma: float) -> FiniteMDP:
    """Rewards of c that vary by `noise` alone, and no choice."""
    return FiniteMDP.from_outcomes(
        {(0, 0): [(0.5, 1, c + noise), (0.5, 1, c - noise)], (1, 0): [(0.25, 2, -c), (0.75, 2, -c + noise)],
         (2, 0): [(0.5, 3, c), (0.5, 3, c + 2 * noise)]}, gamma=gamma,
    )  # fmt: skip


@pytest.mark.parametrize(("c", "noise"), [(1e8, 1e-3), (1e8, 1.0), (1e12, 1.0), (1e12, 0.0), (1e8, 0.0)])
@pytest.mark.parametrize("gamma", [0.9, 1.0])
def test_small_noise_on_large_returns(c: float, noise: float, gamma: float) -> None:
    """E[G^2] - E[G]^2 would have lost all digits; here delta loses eps max|v| at most, and its square is added."""
    m = nearly_sure(c, noise, gamma)
    pi = m.uniform_policy()
    found, true = return_variance(m, pi), extended(m, pi.tolist()).variance
    assert (found >= 0).all()
    for x, y in zip(found, true, strict=True):
        lost = 4 * EPS * 3 * c
        assert abs(x - y) <= 20 * EPS * abs(y) + 6 * lost * mp.sqrt(abs(y)) + 3 * lost**2


@pytest.mark.parametrize("name", [*DISCOUNTED, *SIZES])
def test_variances_are_never_negative(name: str) -> None:
    m = {**DISCOUNTED, **SIZES}[name](0.99)
    pi = m.uniform_policy()
    found, true = return_variance(m, pi), extended(m, pi.tolist()).variance
    assert (found >= 0).all()
    assert all(abs(x - y) <= 1e-10 * max(true) for x, y in zip(found, true, strict=True))
    moments = reinforce_moments(m, np.zeros(m.admissible.shape))
    assert moments.trace >= 0
    assert (moments.variances(np.eye(m.admissible.size)) >= 0).all()


@pytest.mark.parametrize("noise", [1e-3, 1e-6, 0.0])
def test_an_estimator_that_hardly_varies(noise: float) -> None:
    """psi = +-1/2 with rewards of +-1e8: Z is 5e7 in any case. Right to eps E[Z^2], and never below 0."""
    c = 1e8
    m = FiniteMDP.from_outcomes({(0, 0): [(0.5, 1, c), (0.5, 1, c + noise)], (0, 1): [(1.0, 1, -c)]}, gamma=1)
    found = reinforce_moments(m, np.zeros((2, 2)))
    true = (noise / 2) ** 2 / 4 * 1.5  # Z = 1/2 R or 1/2 c: 1/4 at c + noise, else c
    for variance in (*found.variances(np.eye(4))[:2], found.trace / 2):
        assert variance >= 0
        assert abs(variance - true) <= 16 * EPS * (c / 2) ** 2


@pytest.mark.filterwarnings("error")
def test_variances_beyond_float64_are_refused() -> None:
    m = nearly_sure(1e160, 1e159, 0.9)
    with pytest.raises(ValueError, match="too large for float64"):
        return_variance(m, m.uniform_policy())
    with pytest.raises(ValueError, match="too large for float64"):
        reinforce_moments(m, np.zeros((4, 1)))
