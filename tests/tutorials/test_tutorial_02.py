"""Tutorial 2: its values are the book's and the package's, its returns are sampled, its factor is gamma."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from envs import gridworld_5x5, random_walk, short_corridor
from mdp import Simulator, enumerate_trajectories, evaluate, return_variance, unroll
from tests.tutorials.browser import Reading
from tests.tutorials.notebooks import notebook, shown
from tests.worlds import assert_close, discounted_sum

DEFAULTS = {"gamma": 0.9, "up": 0.25, "s": 1, "N": 50, "seed": 0, "walk_gamma": 0.9, "p": 0.5}


@pytest.fixture(scope="module")
def page() -> ModuleType:
    return notebook(2)


def show(page: ModuleType, **controls: float) -> tuple[str, Any]:
    return shown(page, **DEFAULTS | controls)


def value_of_A(gamma: float) -> str:
    m = gridworld_5x5(gamma)
    return f"{evaluate(m, m.uniform_policy()).v[1]:.10f}"


def mean_of_the_returns(seed: int) -> str:
    """The mean of 1,000 returns from A at gamma .95, cut off where less than 1e-6 is left."""
    m = gridworld_5x5(0.95)
    steps = int(np.ceil(np.log(1e-6 * 0.05 / 10) / np.log(0.95)))
    played = Simulator(m, m.uniform_policy()).tally(np.full(1000, 1), np.random.default_rng(seed), steps)
    return f"{played.mean:.6f}"


READING = Reading(
    at_first=lambda: [value_of_A(0.9), "8.7892918626"],
    slider=0,
    keys=["ArrowRight"],
    moved=lambda: [value_of_A(0.95)],
    button="other episodes",
    clicks=1,
    pressed=lambda: [mean_of_the_returns(1)],
)


def test_figure_3_2(page: ModuleType) -> None:
    text, values = show(page)
    row_0 = [3.3089963356, 8.7892918626, 4.4276191826, 5.3223675934, 1.4921787587]
    assert all(f"{v:.10f}" in text for v in row_0)
    assert_close(values["v"][:5], row_0)
    assert_close(values["v_numpy"], values["v"], 1e-12)
    assert_close(values["v"][[20, 24]], [-1.8577005503, -1.9751790483])
    assert [round(v, 1) for v in values["v"][:5]] == [3.3, 8.8, 4.4, 5.3, 1.5]
    assert "--:" not in text  # a table that was not understood as one


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("up", [0.0, 0.25, 1.0])
def test_the_ends_of_the_sliders(page: ModuleType, gamma: float, up: float) -> None:
    text, values = show(page, gamma=gamma, up=up, s=24 if up else 0, N=5, seed=1)
    m = gridworld_5x5(gamma)
    pi = np.tile([up, (1 - up) / 3, (1 - up) / 3, (1 - up) / 3], (25, 1))
    assert_close(values["v_numpy"], evaluate(m, pi).v)
    assert_close(values["J"], evaluate(m, pi).objective)
    assert_close(page.three_routes(m, pi), values["J"])
    assert_close(values["variance_numpy"], return_variance(m, pi)[24 if up else 0])
    assert_close(values["variance"], values["variance_numpy"])
    assert f"{values['J']:.10f}" in text


def test_a_without_a_variance(page: ModuleType) -> None:
    """At gamma 0 the return from A is always 10."""
    _, values = show(page, gamma=0.0, s=1)
    assert (values["returns"] == 10).all()
    assert_close(values["variance"], 0)


def test_more_returns_and_other_episodes(page: ModuleType) -> None:
    _, first = show(page)
    _, more = show(page, N=100)
    _, other = show(page, seed=1)
    assert_close(first["standard_error"] / more["standard_error"], np.sqrt(2))
    assert more["returns"].shape == (page.REPEATS, 100)
    assert first["standard_error"] == other["standard_error"]
    assert first["returns"].mean() != other["returns"].mean()
    for values in (first, more, other):  # 3 statements at 6 exact standard errors, 1,000 returns and more
        error = np.sqrt(values["variance"] / values["returns"].size)
        assert abs(values["returns"].mean() - values["v"][1]) < 6 * error + page.CUT


def test_mean_and_variance_by_all_trajectories(page: ModuleType) -> None:
    """What the page calls exact, term by term over the trajectories of a corridor with a time limit."""
    m = unroll(short_corridor(0.8), 6)
    pi = m.uniform_policy()
    start = int(np.flatnonzero(m.start)[0])
    returns = [(p, discounted_sum(played.rewards, 0.8)) for p, played in enumerate_trajectories(m, pi)]
    mean = sum(p * G for p, G in returns)
    assert_close(page.v_of(m, pi)[start], mean, 1e-12)
    assert_close(page.variance_of(m, pi)[start], sum(p * (G - mean) ** 2 for p, G in returns), 1e-12)


@pytest.mark.parametrize("walk_gamma", [0.0, 0.5, 0.9, 1.0])
def test_a_terminal_value_is_a_factor_gamma_apart(page: ModuleType, walk_gamma: float) -> None:
    text, values = show(page, walk_gamma=walk_gamma)
    m = random_walk(gamma=walk_gamma)
    v = evaluate(m, m.uniform_policy()).v[1:6]
    assert_close(values["by_reward"], v, 1e-12)
    assert_close(values["by_value"], walk_gamma * v, 1e-12)
    assert_close(values["by_later"], walk_gamma * v, 1e-12)
    assert all(f"{x:.10f}" in text for x in v)
    if walk_gamma == 1:
        assert_close(v, np.arange(1, 6) / 6)


@pytest.mark.parametrize(("p", "said"), [(0.05, "-82.1052631579"), (0.95, "-44.2105263158"), (0.5, "-12.0000000000")])
def test_a_proper_coin(page: ModuleType, p: float, said: str) -> None:
    text, _ = show(page, p=p)
    assert said in text
    assert f"an episode takes {-float(said):.6f} steps" in text


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_a_coin_that_never_ends(page: ModuleType, p: float) -> None:
    text, _ = show(page, p=p)
    assert "the agent never arrives" in text
    assert text.count("the policy never ends from state") == 2
