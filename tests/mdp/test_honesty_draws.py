"""Returns, draws and sampled episodes, where float64 is nearly at its end."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest

from mdp import (
    FiniteMDP,
    discounted_return,
    returns_to_go,
    simulate,
)  # fmt: skip
from mdp.model.table import EPS, Floats
from mdp.sampling.dynamics import Alias, Sampler
from tests.mdp.extended import extended
from tests.mdp.hard import slow

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
