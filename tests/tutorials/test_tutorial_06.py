"""Tutorial 6: it follows its controls, and says nothing that is not so."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from agents import exact_gradient, rollout
from envs import bandit, short_corridor
from mdp import FiniteMDP, evaluate, policy_gradient, simulate, softmax_policy
from tests.tutorials.browser import Reading
from tests.tutorials.notebooks import NOTEBOOKS, notebook, run, shown
from tests.worlds import assert_close

BEST, BEST_J = 2 - np.sqrt(2), -(6 + 4 * np.sqrt(2))


@pytest.fixture(scope="module")
def page() -> ModuleType:
    return notebook(6)


def J(p: float) -> str:
    """J of the coin p."""
    m = short_corridor()
    return f"{evaluate(m, np.tile([1 - p, p], (m.n_states, 1))).objective:.10f}"


def J_after_one_step(p: float, alpha: float) -> str:
    """J after theta <- theta + alpha grad J, by the table alone: the states share one row of theta."""
    m = short_corridor()
    theta = np.array([0.0, np.log(p / (1 - p))])
    theta = theta + alpha * policy_gradient(m, np.tile(theta, (m.n_states, 1))).sum(axis=0)
    return f"{evaluate(m, softmax_policy(m, np.tile(theta, (m.n_states, 1)))).objective:.10f}"


def show(page: ModuleType, **controls: float) -> tuple[str, Any]:
    first = {"p": 0.5, "epsilon": 0.1, "alpha": 0.05, "steps": 0, "temperature": 1.0, "top_k": 4, "top_p": 1.0}
    return shown(page, **first | {"seed": 0} | controls)


READING = Reading(
    at_first=lambda: [J(0.5), "-11.6568542495", "-44.2105263158", "-82.1052631579"],
    slider=0,
    keys=["ArrowRight"],
    moved=lambda: [J(0.55)],
    button="step",
    clicks=1,
    pressed=lambda: [J_after_one_step(0.55, 0.05)],
)


def test_what_is_shown_of_a_fair_coin(page: ModuleType) -> None:
    text, values = show(page)
    for number in ("0.5857864376", "-11.6568542495", "-12.0000000000", "-44.2105263158", "-82.1052631579"):
        assert number in text
    assert_close(values["by_hand"], [-12, -10, -6])
    assert_close(values["by_system"], values["by_hand"])
    assert_close(values["by_package"], values["by_hand"])
    assert_close(values["full_sight"].v[:3], [-3, -2, -1])
    assert_close([values["greedy_right"], values["greedy_left"]], [-44.2105263158, -82.1052631579])


@pytest.mark.parametrize("p", [0.1, 0.3, 0.9])
@pytest.mark.parametrize("alpha", [0.005, 0.05])
def test_another_coin(page: ModuleType, p: float, alpha: float) -> None:
    """The ends of the sliders are among them."""
    text, values = show(page, p=p, alpha=alpha, steps=1)
    assert J(p) in text
    assert J_after_one_step(p, alpha) in text
    assert "-12.0000000000" not in text
    assert_close(values["by_hand"], values["by_package"])


@pytest.mark.parametrize("epsilon", [0.02, 1.0])
def test_another_epsilon(page: ModuleType, epsilon: float) -> None:
    text, values = show(page, epsilon=epsilon)
    assert J(1 - epsilon / 2) in text
    assert J(epsilon / 2) in text
    assert_close(values["greedy_right"], -2 * (1 + epsilon / 2) / ((1 - epsilon / 2) * epsilon / 2))


def test_what_the_book_prints() -> None:
    """Example 13.1: about .59 and -11.6."""
    assert abs(BEST - 0.59) < 0.005
    assert int(10 * BEST_J) / 10 == -11.6


def test_no_coin_on_a_fine_grid_is_better() -> None:
    assert max(float(J(p)) for p in np.linspace(0.01, 0.99, 99)) < BEST_J < float(J(BEST)) + 1e-9


def test_each_action_is_better_somewhere(page: ModuleType) -> None:
    """Section 3, at every setting of the slider: right, left, right."""
    for p in (0.1, 0.5, 0.9):
        _, values = show(page, p=p)
        assert values["q_coin"].argmax(axis=1).tolist() == [1, 0, 1]


def test_right_left_right_leads_out() -> None:
    """Section 3: who counts its steps needs no coin."""
    m, s = short_corridor(), 0
    for a in ("right", "left", "right"):
        ((_, after, _),) = m.outcomes(m.states[s], a)
        s = m.state_index(after)
    assert m.terminal[s]


@pytest.mark.parametrize("alpha", [0.005, 0.01, 0.02, 0.05])
@pytest.mark.parametrize("p", [0.1, 0.9])
def test_every_step_size_climbs_to_the_best_coin(page: ModuleType, p: float, alpha: float) -> None:
    path = page.climb(p, alpha, 400)
    assert_close(path[-1], [BEST, BEST_J], 1e-6)


def test_the_largest_step_from_the_left_leaps_over_the_top(page: ModuleType) -> None:
    assert page.climb(0.1, 0.05, 1)[1, 0] > BEST
    assert page.climb(0.1, 0.01, 1)[1, 0] < BEST


def test_the_page_follows_the_climb(page: ModuleType) -> None:
    text, values = show(page, steps=12)
    assert len(values["path"]) == 13
    assert f"{values['path'][12, 1]:.10f}" in text


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), [(0.25, 1, 0.1), (4.0, 10, 1.0), (1.0, 3, 0.5)])
def test_the_decoding_by_hand(page: ModuleType, temperature: float, top_k: int, top_p: float) -> None:
    """Divide, keep k, of these keep what reaches p, softmax."""
    m = bandit()
    w = np.exp(m.expected_reward[0] / temperature)
    order = np.argsort(-w)[:top_k]
    share = w[order] / w[order].sum()
    kept = order[np.cumsum(share) - share < top_p]
    pi = np.zeros(10)
    pi[kept] = w[kept] / w[kept].sum()
    text, values = show(page, temperature=temperature, top_k=top_k, top_p=top_p)
    found = values["decoded"].matrix(m)[0].detach().numpy()
    assert_close(found, pi)
    assert f"{pi @ m.expected_reward[0]:.10f}" in text


def test_other_draws(page: ModuleType) -> None:
    _, first = show(page)
    text, other = show(page, seed=1)
    decoded = first["decoded"]
    played = rollout(decoded, bandit(), 1000, generator=torch.Generator().manual_seed(1))
    assert other["counts"].tolist() == np.bincount(played.actions[:, 0], minlength=10).tolist()
    assert other["counts"].tolist() != first["counts"].tolist()
    assert f"{other['counts'][9] / 1000:.4f}" in text
    pi = decoded.matrix(bandit())[0].detach().numpy()  # 4 arms at 5.5 standard errors: false alarm about 2e-7
    assert (np.abs(first["counts"] / 1000 - pi) <= 5.5 * np.sqrt(pi * (1 - pi) / 1000) + 1e-12).all()


def test_the_mean_of_the_mismatched_gradient(page: ModuleType) -> None:
    """sum over a of pi(a) r(a) (1[b = a] - plain(b)): drawn by top-k, scored by the whole softmax."""
    r = bandit().expected_reward[0]
    policy = page.decoding(1.0, 4)
    pi, plain = (x.matrix(bandit())[0].detach().numpy() for x in (policy, page.decoding()))
    right, wrong = page.sampled_and_scored(policy)
    assert_close(np.asarray(wrong.expected)[:10], pi * r - plain * (pi @ r), 1e-12)
    assert_close(np.asarray(wrong.exact), exact_gradient(policy, bandit()).numpy(), 1e-12)
    assert (right.verdict, wrong.verdict) == ("exact", "biased")


def test_one_arm_has_no_gradient(page: ModuleType) -> None:
    right, wrong = page.sampled_and_scored(page.decoding(1.0, 1))
    assert right.verdict == "no power"  # 0 beside 0: any loss would do
    assert wrong.verdict == "biased"
    assert np.isnan(wrong.cosine)
    assert float(np.abs(np.asarray(wrong.exact)).max()) == 0


def test_full_sight_by_simulation_takes_three_steps() -> None:
    m = short_corridor()
    pi = np.array([[0, 1], [1, 0], [0, 1], [0, 0]])
    assert simulate(m, pi, 5, rng=np.random.default_rng(0)).lengths.tolist() == [3] * 5


def test_with_a_little_sight_a_coin_is_still_best(page: ModuleType) -> None:
    """Exercise 3: states 0 and 1 look alike, 2 does not; J(p) = -(1 + 2 / (1 - p) + 1 / p)."""
    p, best = page.some_sight()
    assert_close([p, best], [np.sqrt(2) - 1, -(4 + 2 * np.sqrt(2))], 1e-6)
    m = short_corridor()
    seen = FiniteMDP(m.table, states=m.states, actions=m.actions, gamma=1.0, start=m.start, observations=[0, 0, 1, 2])
    for q in (0.2, p, 0.7):
        pi = np.array([[1 - q, q], [1 - q, q], [0, 1], [0, 0]])
        assert_close(evaluate(seen, pi).objective, -(1 + 2 / (1 - q) + 1 / q))
    for q in (0.0, 1.0):
        with pytest.raises(ValueError, match="end"):
            evaluate(seen, np.array([[1 - q, q], [1 - q, q], [0, 1], [0, 0]]))


def test_as_a_script_it_prints_the_best_coin() -> None:
    (path,) = (path for path in NOTEBOOKS if path.stem.startswith("06"))
    result = run(path)
    assert "climbed to p = 0.5857864376, J = -11.6568542495" in result.stdout
