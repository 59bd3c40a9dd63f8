"""Tutorial 1: the rows that it shows are those of the package, of Gymnasium, and of the Poisson distribution."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
import pytest
from scipy import stats

from envs import car_rental, frozen_lake, recycling_robot
from mdp import evaluate, return_variance, returns_to_go, simulate, solve
from tests.tutorials.browser import Reading
from tests.tutorials.notebooks import notebook, shown
from tests.worlds import assert_close

DEFAULTS = {
    "beta": 0.6, "game": "recycling robot", "gamma": 0.9, "episode": 0, "steps": 0, "s": 0, "a": 0,
    "success_rate": 1 / 3, "sample": 0, "cut": 10, "cars": 10,
}  # fmt: skip


@pytest.fixture(scope="module")
def page() -> ModuleType:
    return notebook(1)


def show(page: ModuleType, **controls: Any) -> tuple[str, Any]:
    return shown(page, **DEFAULTS | controls)


def deviation(beta: float) -> str:
    """The standard deviation of G_0 from "low", by the package."""
    m = recycling_robot(beta=beta)
    return f"{return_variance(m, m.uniform_policy())[1] ** 0.5:.10f}"


def robots_returns(n: int, seed: int = 0) -> list[str]:
    """G_0 .. G_{n-1} of the first n rewards of the page's episode with this seed."""
    m = recycling_robot()
    one = simulate(m, m.uniform_policy(), 1, rng=np.random.default_rng(seed), max_steps=20)
    return [f"{G:.10f}" for G in returns_to_go(one.rewards[0, :n], 0.9)]


READING = Reading(
    at_first=lambda: [deviation(0.6), "0.8235294118"],
    slider=0,
    keys=["ArrowRight"],
    moved=lambda: [deviation(0.65)],
    button="other episode",
    clicks=1,
    pressed=lambda: robots_returns(20, seed=1)[:1],  # G_0, in section 3
)


def test_the_numbers_of_the_untouched_page(page: ModuleType) -> None:
    text, values = show(page)
    assert_close(values["best"].v[0], 14 / 17)
    assert_close(values["by_chance"], 0.0139397962)
    assert_close(values["v_exact"], 550.7493755910892)
    for number in ("0.8235294118", "0.0139397962", "550.7493755911", deviation(0.6)):
        assert number in text
    assert "sums to 0.9, not 1" in text
    assert "Blackjack-v1 has no table P" in text
    assert "--:" not in text  # a table that was not understood as one
    assert sum(values["dictionary"].values()) == pytest.approx(2 / 3)


def test_the_step_button_plays_the_episode(page: ModuleType) -> None:
    before, _ = show(page)
    after, _ = show(page, steps=3)
    assert all(G in after for G in robots_returns(3))
    assert not all(G in before for G in robots_returns(3))


@pytest.mark.parametrize("game", ["recycling robot", "gridworld 4 x 4", "short corridor"])
def test_each_problem_from_the_first_step_to_beyond_the_last(page: ModuleType, game: str) -> None:
    for steps in (0, 1, 99):
        for gamma in (0.0, 1.0):
            text, values = show(page, game=game, steps=steps, gamma=gamma, episode=1)
            R = values["whole"][:steps]
            assert all(f"{G:.10f}" in text for G in returns_to_go(R, gamma))
            assert values["by_index"] == pytest.approx(gamma * values["G_0"])


@pytest.mark.parametrize("beta", [0.0, 0.35, 1.0])
def test_values_do_not_see_whether_the_reward_depends_on_the_next_state(page: ModuleType, beta: float) -> None:
    _, values = show(page, beta=beta)
    first, second = values["values"].values()
    assert_close(first, second, 1e-12)
    m = recycling_robot(beta=beta)
    assert_close(first, evaluate(m, m.uniform_policy()).v, 1e-12)
    spread, narrow = values["variances"].values()
    assert (spread - narrow)[1] >= (0.5 if 0 < beta < 1 else -1e-9)
    if beta in (0, 1):
        assert_close(spread, narrow, 1e-9)


@pytest.mark.parametrize("s", range(16))
def test_every_row_of_frozen_lake(page: ModuleType, s: int) -> None:
    """Merged rows against sums over Gymnasium's list; steps of Gymnasium against both, at 6 exact standard errors.

    146 statements, seed 0: false alarm about 3e-7, were the shares normal.
    """
    P = gymnasium.make("FrozenLake-v1").unwrapped.P  # type: ignore[attr-defined]
    for a in range(4):
        lake = gymnasium.make("FrozenLake-v1").unwrapped
        played = page.shares(lake, s, a, 0)
        assert_close(sum(played.values()), 1)
        for after, share in played.items():
            p = sum(x[0] for x in P[s][a] if ("terminal" if x[3] else x[1]) == after)
            assert abs(share - p) <= 6 * (p * (1 - p) / page.PLAYED) ** 0.5 + 1e-12


def test_how_many_rows_lose_probability(page: ModuleType) -> None:
    """By the map: a pair loses where two of its three moves bump into walls; holes and the goal have no moves."""
    text, _ = show(page)
    lost = 0
    cells = {(i, j) for i in range(4) for j in range(4)}
    for i, j in cells - {(1, 1), (1, 3), (2, 3), (3, 0), (3, 3)}:
        bumps = [(i + di, j + dj) not in cells for di, dj in ((0, -1), (1, 0), (0, 1), (-1, 0))]
        lost += sum(bumps[a - 1] + bumps[a] + bumps[(a + 1) % 4] > 1 for a in range(4))
    assert "Of all 64 pairs" in text
    assert f"<strong>{lost}</strong> lose" in text


@pytest.mark.parametrize(
    ("success_rate", "s", "a"), [(0, 0, 0), (0, 15, 3), (0.8, 14, 2), (0.8, 6, 1), (1, 5, 2), (1, 15, 3)]
)
def test_other_ice_and_other_states(page: ModuleType, success_rate: float, s: int, a: int) -> None:
    text, values = show(page, success_rate=success_rate, s=s, a=a, sample=3)
    m = frozen_lake(success_rate=success_rate)
    assert_close(values["best"].v[0], solve(m).v[0])
    assert_close(values["by_chance"], 0.0139397962)
    assert_close(sum(values["exact"].values()), 1)
    assert f"{solve(m).v[0]:.10f}" in text


@pytest.mark.parametrize("cut", [3, 10, 20])
@pytest.mark.parametrize("cars", [0, 10, 20])
def test_jacks_rental_against_scipys_poisson(page: ModuleType, cut: int, cars: int) -> None:
    text, values = show(page, cut=cut, cars=cars)
    row = np.prod([stats.poisson.cdf(cut, mean) for mean in (3, 4, 3, 2)])
    r = 10 * sum(stats.poisson.sf(np.arange(cars), mean).sum() for mean in (3, 4))  # E min(X, m) = sum of Pr(X > k)
    jack = car_rental(most_moved=0)
    s = jack.state_index((cars, cars))
    assert_close(jack.expected_reward[s, 0], r)
    assert_close(values["v_exact"], evaluate(jack, jack.uniform_policy()).v[s])
    for number in (row, r, values["v_exact"]):
        assert f"{number:.10f}" in text
    assert values["v_cut"] < values["v_exact"]
    assert ("sums to" in values["said"]) == (1 - row > 1e-9)


def test_a_cut_row_is_a_second_discount(page: ModuleType) -> None:
    """All rows have one sum c, so the cut table is a renormalised one with gamma c."""
    P, r = page.cut_table(8)
    c = P.sum(axis=1)[0]
    assert_close(P.sum(axis=1), c, 1e-12)
    v = np.linalg.solve(np.eye(441) - 0.9 * P, r)
    assert_close(v, np.linalg.solve(np.eye(441) - 0.9 * c * (P / c), r), 1e-10)


def test_exercise_3_is_repaired_in_part(page: ModuleType) -> None:
    exact, cut, repaired = page.solution_3(10)
    assert cut < repaired < exact
    assert_close(exact, 550.7493755910892)
