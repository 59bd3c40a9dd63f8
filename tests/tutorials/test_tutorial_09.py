"""Tutorial 9: the variances that it shows, and what it says of baselines."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from agents import Batch, ReinforceLoss, SoftmaxPolicy, TabularPreferences
from envs import short_corridor, tokens
from mdp import enumerate_trajectories, policy_gradient, reinforce_moments, returns_to_go, unroll
from mdp.model.table import Floats
from tests.tutorials.browser import Reading
from tests.tutorials.notebooks import NOTEBOOKS, notebook, run, shown
from tests.worlds import assert_close, brute_force_moments, tied_right

RIGHT = 1


@pytest.fixture(scope="module")
def page() -> ModuleType:
    return notebook(9)


def variance(x: float, gamma: float = 1.0, **estimator: Any) -> str:
    """Of one episode's estimate of dJ/dtheta_right, by the package, as the table of section 1 has it."""
    m = short_corridor(gamma)
    return f"{reinforce_moments(m, np.tile([0.0, x], (4, 1)), **estimator).variances(tied_right(m))[0]:.6f}"


def sample_variance(seed: int) -> str:
    """Of 1,000 episodes at x = .1 and b = -12, as the table of section 2 has it."""
    page, m = notebook(9), short_corridor(1.0)
    return f"{page.estimates(m, page.preferences(m, 0.1), -12, 1000, seed).var(axis=1, ddof=1)[0]:.6f}"


def show(page: ModuleType, **controls: float) -> tuple[str, Any]:
    first = {"x": 0.0, "gamma": 1.0, "b": -12, "episodes": 100, "seed": 0, "shift": 0, "group": 2, "discount": 0.9}
    return shown(page, **first | controls)


READING = Reading(
    at_first=lambda: [variance(0.0, to_go=False), variance(0.0), variance(0.0, baseline=-12.0)],
    slider=0,
    keys=["ArrowRight"],
    moved=lambda: [variance(0.1, to_go=False), variance(0.1)],
    button="other episodes",
    clicks=1,
    pressed=lambda: [sample_variance(1)],
)


def test_what_is_shown_at_first(page: ModuleType) -> None:
    text, values = show(page)
    for number in ("1959.000000", "733.000000", "277.000000", "295.000000", "276.666667", "273.333333"):
        assert number in text
    assert_close([mean for mean, _ in values["moments"].values()], [2.0] * 6)
    assert_close([values["b_best"], values["vertex"]], [-37 / 3, -37 / 3])
    assert_close([values["at_best"], values["least"]], [830 / 3, 830 / 3])
    assert_close(values["traces"], [62 / 9, 8 / 9])
    assert "-12.3333333333" in text


def test_other_controls_show_other_numbers(page: ModuleType) -> None:
    text, values = show(page, gamma=0.9, b=-6, shift=10, group=3, episodes=300, seed=1)
    for number in (variance(0.0, 0.9), variance(0.0, 0.9, to_go=False), variance(0.0, 0.9, baseline=-6.0)):
        assert number in text
    assert "733.000000" not in text
    assert_close(values["traces"], [6.8888888889 + (13**2 - 3**2) * 2 / 3, 8 / 9])
    assert_close(values["audits"]["mean $G_0$ of all, own included"].scale, 2 / 3)


@pytest.mark.parametrize("x", [-1.5, 1.5])
@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_the_ends_of_the_sliders(page: ModuleType, x: float, gamma: float) -> None:
    for b, shift, group, discount in ((-40, -6, 2, 0.5), (10, 10, 4, 0.95)):
        _, values = show(page, x=x, gamma=gamma, b=b, shift=shift, group=group, discount=discount)
        assert_close(values["b_best"], values["vertex"], 1e-8)
        assert np.isfinite(values["errors"]).all()
        assert min(values["moments"], key=lambda name: values["moments"][name][1]) == "best $b(s)$"


def test_same_time_terms_over_all_trajectories(page: ModuleType) -> None:
    """With a time limit: the sum of squares, term by term, beside what the page adds up."""
    gamma, x = 0.9, 0.4
    m = unroll(short_corridor(gamma), 6)
    h = page.preferences(m, x)
    pi = page.softmax_policy(m, h)
    b = np.linspace(-3.0, 1.0, m.n_states)
    expected = 0.0
    for probability, played in enumerate_trajectories(m, pi):
        G = returns_to_go(np.array(played.rewards), gamma)
        for t, (s, a) in enumerate(zip(played.states[:-1], played.actions, strict=True)):
            psi = (a == RIGHT) - pi[s, RIGHT]
            expected += probability * (gamma**t * (G[t] - b[s]) * psi) ** 2
    assert_close(page.same_time_terms(m, h, b), expected, 1e-12)


def test_variances_over_all_trajectories(page: ModuleType) -> None:
    m = unroll(short_corridor(0.8), 5)
    h = page.preferences(m, -0.3)
    U = page.right_in_all_states(m)
    for b in (0.0, -2.0):
        mean, covariance = brute_force_moments(m, h, np.full(m.n_states, b), to_go=True, discounted=True)
        found = page.moments_of(m, h, baseline=b)
        assert_close(found, [float((U.T @ mean)[0]), float((U.T @ covariance @ U)[0, 0])], 1e-11)


def test_estimates_are_those_of_the_loss(page: ModuleType) -> None:
    """The mean of the page's estimates is the gradient of ReinforceLoss on the same episodes."""
    m = short_corridor(0.9)
    h = page.preferences(m, 0.2)
    preferences = TabularPreferences(m)
    policy = SoftmaxPolicy(preferences).double()
    with torch.no_grad():
        preferences.theta[0, RIGHT] = 0.2
    played = page.simulate(m, page.softmax_policy(m, h), 50, rng=np.random.default_rng(3))
    batch = Batch.of(policy, played)
    gradient = torch.autograd.grad(-ReinforceLoss(baseline=-4.0)(batch), preferences.theta)[0]
    assert_close(page.estimates(m, h, -4.0, 50, seed=3).mean(), float(gradient[0, RIGHT]), 1e-12)


def test_the_mean_of_the_episode_over_all_trajectories(page: ModuleType) -> None:
    """Section 5, row 3: its expected gradient by a sum over the 30 texts."""
    m = tokens(0.9)
    pi = m.uniform_policy()
    expected: Floats = np.zeros(m.admissible.shape)
    for probability, played in enumerate_trajectories(m, pi):
        G = returns_to_go(np.array(played.rewards), m.gamma)
        for t, (s, a) in enumerate(zip(played.states[:-1], played.actions, strict=True)):
            psi = np.zeros_like(expected)
            psi[s] = -pi[s]
            psi[s, a] += 1
            expected += probability * m.gamma**t * (G[t] - G.mean()) * psi
    _, values = show(page)
    found = values["audits"]["mean $G_t$ of the episode"]
    exact = policy_gradient(m, np.zeros(m.admissible.shape))
    assert_close(found.scale, (expected * exact).sum() / (exact**2).sum(), 1e-10)
    assert_close(found.cosine, (expected * exact).sum() / np.linalg.norm(expected) / np.linalg.norm(exact), 1e-10)
    assert abs(found.scale - 0.0197) < 5e-5
    assert values["at_1"].expected.abs().max() < 1e-16


def test_all_rewards_positive(page: ModuleType) -> None:
    _, values = show(page)
    (change, how_often), (_, with_J) = values["without"], values["with_J"]
    assert_close(change.sum(), 0)
    assert change[0] < 0 < change[2]
    assert_close(how_often, [1, 1, 1])
    assert_close(with_J, [0, 0.5, 0.5])
    _, negative = show(page, shift=-6)
    assert_close(negative["without"][1], [0, 0, 0])
    assert negative["without"][0][0] < 0 < negative["without"][0][2]


def test_as_a_script_it_prints_the_audits() -> None:
    (path,) = (path for path in NOTEBOOKS if path.stem.startswith("09"))
    result = run(path)
    assert "own included: scaled" in result.stdout
    assert "mean $G_t$ of the episode: biased" in result.stdout
