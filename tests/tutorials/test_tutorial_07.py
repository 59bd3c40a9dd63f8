"""Tutorial 7: it follows its controls, and says nothing that is not so."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from envs import short_corridor
from mdp import enumerate_trajectories, evaluate, occupancy, policy_gradient, unroll
from tests.tutorials.browser import Reading
from tests.tutorials.notebooks import NOTEBOOKS, notebook, run, shown
from tests.worlds import assert_close, discounted_sum

RIGHT = 1


@pytest.fixture(scope="module")
def page() -> ModuleType:
    return notebook(7)


def slope(x: float) -> str:
    """dJ/dtheta_right of the corridor at gamma .9, by the table alone."""
    return f"{policy_gradient(short_corridor(0.9), np.tile([0.0, x], (4, 1)))[:, RIGHT].sum():.10f}"


def mean_of_the_points(seed: int) -> str:
    """The mean of the estimates of a seed, as the table of section 4 has it."""
    page, m = notebook(7), short_corridor(0.9)
    policy = page.corridor_policy(0.1)
    estimates = page.sampled_estimates(m, policy, 1000, seed=seed)[page.WITH]
    return f"{estimates.mean():.6f}"


def show(page: ModuleType, **controls: float) -> tuple[str, Any]:
    return shown(page, **{"x": 0.0, "gamma": 0.9, "episodes": 30, "seed": 0} | controls)


READING = Reading(
    at_first=lambda: [slope(0.0)],
    slider=0,
    keys=["ArrowRight"],
    moved=lambda: [slope(0.1)],
    button="other episodes",
    clicks=1,
    pressed=lambda: [mean_of_the_points(1)],
)


def test_what_is_shown_at_one_half_and_gamma_point_nine(page: ModuleType) -> None:
    text, values = show(page)
    assert "0.4862286773" in text
    assert "1.0481736368" in text
    assert_close(values["by_theorem"], 0.4862286773)
    assert_close(values["by_autograd"], 0.4862286773)
    assert_close(values["product_rule"].sum(), 0.4862286773)
    assert_close(values["J"].item(), -6.1408152462)
    assert_close(list(values["mean"].values()), [0.4862286773, 1.0481736368])
    assert values["right"].verdict == "pass"
    assert values["wrong"].verdict == "FAIL"


def test_another_gamma_shows_other_numbers(page: ModuleType) -> None:
    text, values = show(page, gamma=1.0)
    assert_close(values["J"].item(), -12)
    assert_close(values["by_theorem"], 2.0)
    assert_close(list(values["mean"].values()), [2.0, 2.0])
    assert "J = -12.0000000000" in text
    before, _ = show(page)
    for number in ("J = -6.1408152462", "3.377448"):  # the second is eta(0)
        assert number in before
        assert number not in text


def test_another_theta_and_other_episodes(page: ModuleType) -> None:
    _, first = show(page)
    _, more = show(page, episodes=100)
    _, moved = show(page, x=-1.0)
    assert more["by_theorem"] == first["by_theorem"] != moved["by_theorem"]
    for name, error in first["standard_error"].items():
        assert_close(error / more["standard_error"][name], np.sqrt(100 / 30))
        assert len(more["estimates"][name]) == page.REPEATS


@pytest.mark.parametrize("x", [-2.0, 2.0])
@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_the_ends_of_the_sliders(page: ModuleType, x: float, gamma: float) -> None:
    _, values = show(page, x=x, gamma=gamma, episodes=10)
    assert_close(values["by_theorem"], values["by_autograd"])


def test_gamma_to_the_t_before_the_whole_return_is_double_discounting(page: ModuleType) -> None:
    """Row 4 of section 5, term by term over all trajectories of the corridor with a time limit."""
    gamma = 0.9
    m = unroll(short_corridor(gamma), 7)
    pi = m.uniform_policy()
    left, right = m.action_index("left"), m.action_index("right")
    expected = 0.0
    for probability, played in enumerate_trajectories(m, pi):
        G_0 = discounted_sum(played.rewards, gamma)
        psi = [0.5 if a == right else -0.5 for a in played.actions]
        expected += probability * sum(gamma**t * G_0 * psi_t for t, psi_t in enumerate(psi))
    q = evaluate(m, pi).q
    inner = 0.25 * (q[:, right] - q[:, left])
    assert_close(expected, occupancy(m.with_gamma(gamma**2), pi) @ inner, 1e-12)
    assert abs(page.four_discounts(short_corridor(gamma), page.corridor_policy(0.0))[3][2] - 0.3134) < 5e-5


def test_as_a_script_it_prints_the_reports() -> None:
    (path,) = (path for path in NOTEBOOKS if path.stem.startswith("07"))
    result = run(path)
    assert "with gamma^t: pass" in result.stdout
    assert "without gamma^t: FAIL" in result.stdout
