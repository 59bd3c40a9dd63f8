"""Tutorial 8: seven versions of REINFORCE, and what is said of each."""

from __future__ import annotations

import itertools
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from envs import short_corridor
from mdp import evaluate, policy_gradient, reinforce_moments
from tests.tutorials.browser import Reading
from tests.tutorials.notebooks import NOTEBOOKS, notebook, run, shown
from tests.worlds import assert_close, tied_right

RIGHT = 1


@pytest.fixture(scope="module")
def page() -> ModuleType:
    return notebook(8)


def corridor_gradient(x: float, gamma: float = 0.9) -> float:
    """dJ/dtheta_right of the corridor, by the table alone."""
    return float(policy_gradient(short_corridor(gamma), np.tile([0.0, x], (4, 1)))[:, RIGHT].sum())


def corridor_variance(x: float, gamma: float = 0.9, **estimator: Any) -> float:
    """Of one episode's estimate for theta_right, by the table alone."""
    m = short_corridor(gamma)
    return float(reinforce_moments(m, np.tile([0.0, x], (4, 1)), **estimator).variances(tied_right(m))[0])


def first_estimate(seed: int) -> str:
    """Of the book's version on the corridor at x = .1, as the table of section 6 has it."""
    page, m = notebook(8), short_corridor(0.9)
    losses = {page.NAMES[0]: page.ReinforceLoss()}
    right = page.torch.tensor([0.0, 1.0]).double()
    return f"{page.sampled(losses, page.policy_at(m, 0.1), m, right, 300, seed)[page.NAMES[0]][0]:.6f}"


def show(page: ModuleType, **controls: float) -> tuple[str, Any]:
    return shown(page, **{"x": 0.0, "gamma": 0.9, "N": 4, "episodes": 30, "seed": 0} | controls)


READING = Reading(
    at_first=lambda: [f"{corridor_gradient(0.0):.10f}", f"{corridor_variance(0.0):.6f}"],
    slider=0,
    keys=["ArrowRight"],
    # beside the slider, the probability of the shortest walk; then what follows in section 3
    moved=lambda: [f"{1 / (1 + np.exp(0.1)):.6f}", f"{corridor_gradient(0.1):.10f}", f"{corridor_variance(0.1):.6f}"],
    button="other episodes",
    clicks=1,
    pressed=lambda: [first_estimate(1)],
)


def test_what_is_shown_at_first(page: ModuleType) -> None:
    text, values = show(page)
    for number in ("0.4862286773", "1.0481736368", "0.3133893457", "-6.0453244436", "-6.0455823135"):
        assert number in text
    assert [a.verdict for a in values["audits"].values()] == ["exact"] * 2 + ["biased"] * 5
    assert max(values["differences"].values()) < 1e-12
    assert f"{corridor_variance(0.0, to_go=False):.6f}" in text
    assert_close(values["variance_0"] / values["variance_t"], 4.3635387, 1e-7)
    assert_close(values["mean_0"], values["mean_t"])


def test_at_gamma_1_four_are_right(page: ModuleType) -> None:
    text, values = show(page, gamma=1.0)
    assert [a.verdict for a in values["audits"].values()] == ["exact"] * 4 + ["biased"] * 3
    assert_close(list(values["slopes"].values()), [2.0] * 3)
    assert_close([p for p, _ in values["rests"].values()], [2 - np.sqrt(2)] * 3)
    assert "-11.6568542495" in text
    assert "0.4862286773" not in text


def test_other_controls_show_other_numbers(page: ModuleType) -> None:
    _, first = show(page)
    _, batch = show(page, N=16)
    _, more = show(page, episodes=100, seed=1)
    seventh = page.NAMES[6]
    assert first["audits"][seventh].cosine < batch["audits"][seventh].cosine < 1
    assert_close(batch["mean_length"], 1.75)
    assert abs(batch["audits"][seventh].scale - 1 / 1.75) < abs(first["audits"][seventh].scale - 1 / 1.75)
    name = page.NAMES[0]
    assert first["exact_of"] == more["exact_of"]
    assert not np.array_equal(first["estimates"]["walk"][name], more["estimates"]["walk"][name])


@pytest.mark.parametrize("x", [-2.0, 2.0])
@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_the_ends_of_the_sliders(page: ModuleType, x: float, gamma: float) -> None:
    for N in (1, 16):
        _, values = show(page, x=x, gamma=gamma, N=N, episodes=10)
        assert max(values["differences"].values()) < 1e-12
        assert values["climbs_per_step"].verdict == values["climbs_mean"].verdict == "exact"


def test_ascent_on_reward_per_step_learns_to_stop(page: ModuleType) -> None:
    """J of the walk: 3 for stopping at once, 2 + .9 (2 + .9 3) for the best policy."""
    _, values = show(page)
    J = values["J_of"]
    assert np.allclose(J[0], J[1], rtol=0, atol=1e-12)
    assert_close(J[:, 0], [4.03] * 6)
    assert abs(J[4, -1] - 3) < 0.02
    best = 2 + 0.9 * (2 + 0.9 * 3)
    assert all(abs(J[i, -1] - best) < 0.03 for i in (0, 1, 2, 3, 5))
    m = page.stop_or_go(0.9)
    assert_close(evaluate(m, np.tile([1.0, 0.0], (4, 1))).objective, 3)


def test_ascent_follows_the_gradient(page: ModuleType) -> None:
    """Ten steps of version 1 beside ten of `policy_gradient`."""
    m = page.stop_or_go(0.7)
    h, J = np.tile([0.0, -0.5], (4, 1)), []
    for _ in range(11):
        J.append(evaluate(m, page.softmax_policy(m, h)).objective)
        h = h + policy_gradient(m, h)
    assert_close(page.ascent(m, -0.5, steps=10)[0], J, 1e-12)


def test_version_7_over_all_pairs_of_walks(page: ModuleType) -> None:
    m = page.stop_or_go(0.8)
    probability, Z, T = page.by_hand(m, m.uniform_policy())
    pairs = itertools.product(range(len(T)), repeat=2)
    mean = sum(probability[i] * probability[j] * (Z[i, 0] + Z[j, 0]) / (T[i] + T[j]) for i, j in pairs)
    assert_close(page.mean_of_version_7(probability, Z, T, 2), mean, 1e-12)


def test_the_rewards_before_a_score_at_one_half(page: ModuleType) -> None:
    """The table of section 3 at x = 0, gamma = 1, by hand."""
    m = page.stop_or_go(1.0)
    expected = [[-1 / 4, 0, 0], [5 / 8, -1 / 8, 0], [1 / 4, 1 / 4, -1 / 8]]
    assert_close(page.reward_times_score(m, m.uniform_policy()), expected, 1e-12)


def test_exercise_1_in_numbers(page: ModuleType) -> None:
    go = page.np.array([2.0, 1.5])
    assert_close([page.weights(go, 1.0)[1, 0], page.weights(go, 1.0)[5, 0]], [3.5, 2.5])
    book, sixth = page.solution_1()
    assert_close([float(book.expected[1]), float(sixth.expected[1])], [0.125, -0.125])


def test_as_a_script_it_prints_the_audits() -> None:
    (path,) = (path for path in NOTEBOOKS if path.stem.startswith("08"))
    result = run(path)
    assert "version 1: exact" in result.stdout
    assert "version 5: biased" in result.stdout
