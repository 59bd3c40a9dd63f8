"""Occupancy, gradients, variances, average rewards, returns and draws, where float64 is nearly at its end."""

from __future__ import annotations

import math
from typing import Any

import mpmath as mp
import numpy as np
import pytest

from mdp import (
    FiniteMDP,
    average_reward,
    discounted_return,
    natural_policy_gradient,
    occupancy,
    policy_gradient,
    reinforce_moments,
    return_variance,
    returns_to_go,
    simulate,
    softmax_policy,
    solve_average,
)  # fmt: skip
from mdp.model.table import EPS, Floats
from mdp.sampling.dynamics import Alias, Sampler
from tests.mdp.extended import extended, softmax
from tests.mdp.hard import DISCOUNTED, SIZES, ring, slow


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


# ---- the average reward of what nearly falls apart ----


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


# ---- returns ----


def uneven(n: int) -> Floats:
    rng = np.random.default_rng(0)
    return np.asarray(rng.normal(size=n) * 10.0 ** rng.integers(-8, 9, size=n))


def test_returns_of_a_million_steps() -> None:
    """Sizes from 1e-8 to 1e8: the sum is right to 2 T eps sum |R|, most of it to far less."""
    R = uneven(1_000_000)
    exact, size = math.fsum(R.tolist()), math.fsum(np.abs(R).tolist())
    for found in (returns_to_go(R, 1.0)[0], discounted_return(R, 1.0)):
        assert abs(float(found) - exact) <= 1e-12 * size


@pytest.mark.parametrize("gamma", [1 - 1e-6, 0.999, 0.5])
def test_discounted_returns_of_long_sequences(gamma: float) -> None:
    """Horner's rule is right to 2 T eps sum |gamma^t R|; powers of gamma underflow to 0, as they should."""
    R = uneven(20_000)
    with mp.workdps(60):
        exact, size = mp.mpf(0), mp.mpf(0)
        for x in R[::-1].tolist():
            exact, size = x + mp.mpf(gamma) * exact, abs(x) + mp.mpf(gamma) * size
        for found in (returns_to_go(R, gamma)[0], discounted_return(R, gamma)):
            assert abs(mp.mpf(float(found)) - exact) <= 2 * len(R) * EPS * size


@pytest.mark.filterwarnings("error")
def test_returns_that_overflow_are_refused() -> None:
    for f in (returns_to_go, discounted_return):
        with pytest.raises(ValueError, match="too large for float64"):
            f([1e308] * 10, 1.0)
        with pytest.raises(ValueError, match="not finite"):
            f([1.0, np.inf], 1.0)
    assert returns_to_go([1e300] * 3, 1.0).tolist() == [3e300, 2e300, 1e300]


# ---- draws ----


class Fixed(np.random.Generator):
    """Draws one number for ever."""

    def __init__(self, u: float) -> None:
        super().__init__(np.random.PCG64(0))
        self.u = u

    def random(self, n: int) -> Floats:  # type: ignore[override]
        return np.full(n, self.u)


ROWS = {
    "sure first": [1.0, 1e-300], "sure last": [1e-300, 1.0], "below 1": [1 / 3 - 3e-10] * 3,
    "above 1": [0.5, 0.5 + 9e-10],
    "tenths": [0.1] * 10, "denormal": [1 - 1e-10, 5e-324], "many": [1e-300] * 40 + [1.0] + [1e-300] * 3,
    "many below 1": [1 / 50 - 1e-11] * 50,
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("u", [0.0, 0.5, np.nextafter(1, 0)])
def test_every_draw_is_an_outcome(name: str, u: float) -> None:
    """At both ends of U, and where cumulative sums are not quite 1: an outcome with p > 0, never padding."""
    p = ROWS[name]
    m = FiniteMDP.from_outcomes({(0, 0): [(x, 1 + i, float(i)) for i, x in enumerate(p)]}, gamma=1)
    for drawn in (m.dynamics.under(np.array(m.uniform_policy())), m.dynamics.outcomes):
        assert isinstance(drawn, Alias | Sampler)
        place = drawn.draw(np.zeros(2, np.int64), Fixed(u))
        assert np.isin(place, m.dynamics.places).all()
    last = int(m.dynamics.outcomes.draw(np.zeros(1, np.int64), Fixed(np.nextafter(1, 0)))[0])
    assert m.dynamics.reward[last] == max(i for i, x in enumerate(p) if x > 1e-16)


@pytest.mark.parametrize("name", ["sure first", "sure last", "denormal", "many"])
def test_what_has_probability_1e_300_is_not_seen(name: str) -> None:
    p = ROWS[name]
    m = FiniteMDP.from_outcomes({(0, 0): [(x, 1 + i, float(i)) for i, x in enumerate(p)]}, gamma=1)
    rewards = simulate(m, m.uniform_policy(), 10_000, rng=np.random.default_rng(0)).rewards
    assert set(rewards.ravel().tolist()) == {float(np.argmax(p))}


def test_episodes_of_policies_that_hardly_end() -> None:
    """6 exact standard errors: false alarm 2e-9, seed 0."""
    m, n = slow(1e-3), 2_000
    found = simulate(m, m.uniform_policy(), n, rng=np.random.default_rng(0), statistics=True)
    true = extended(m, m.uniform_policy().tolist())
    second = sum(p * (x + v**2) for p, x, v in zip(m.start.tolist(), true.variance, true.v, strict=True))
    assert abs(found.mean - true.J) < 6 * mp.sqrt((second - true.J**2) / n)
