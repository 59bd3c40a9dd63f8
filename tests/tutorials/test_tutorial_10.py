"""Tutorial 10: it follows its controls, and says nothing that is not so."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from agents import Batch, ExactEM, SoftmaxPolicy, TabularPreferences, exact_gradient, rollout
from envs import contextual_bandit
from mdp import em_step, evaluate, policy_gradient, softmax_policy
from mdp.model.table import Floats
from tests.tutorials.browser import Reading
from tests.tutorials.notebooks import NOTEBOOKS, notebook, run, shown
from tests.worlds import assert_close

M = contextual_bandit()
P, R = M.start[:3], M.expected_reward[:3]


@pytest.fixture(scope="module")
def page() -> ModuleType:
    return notebook(10)


def pi_at(x: float) -> Floats:
    return np.asarray(softmax_policy(M, x * M.expected_reward))


def J_at(x: float) -> str:
    return f"{evaluate(M, pi_at(x)).objective:.10f}"


def J_after_em(x: float, steps: int) -> str:
    pi = pi_at(x)
    for _ in range(steps):
        pi = em_step(M, pi)
    return f"{evaluate(M, pi).objective:.10f}"


def show(page: ModuleType, **controls: float) -> tuple[str, Any]:
    settings = {"x": 1.0, "y": 3.0, "z": 0.0, "b": 0.0, "c": 0.75, "alpha": 4, "seed": 0, "steps": 0}
    return shown(page, **(settings | controls))


READING = Reading(
    at_first=lambda: [J_at(1.0)],
    slider=0,
    keys=["ArrowRight"],
    moved=lambda: [J_at(1.5)],
    button="step",
    clicks=1,
    pressed=lambda: [J_after_em(1.5, 1)],
)


def test_the_objective_and_its_gradient(page: ModuleType) -> None:
    text, values = show(page)
    assert_close(values["J"], 0.4954374117)
    assert J_at(1.0) in text
    assert_close(values["gradient"], policy_gradient(M, M.expected_reward).ravel(), 1e-12)
    assert J_at(0.0) == "0.3250000000"
    assert J_at(0.0) in show(page, x=0.0)[0]


def test_the_loss_may_rise_while_J_rises(page: ModuleType) -> None:
    text, values = show(page)
    assert (np.diff(values["Js"]) > 0).all()
    assert_close(values["Js"][0], 0.325)
    assert (np.diff(values["losses"][1.0]) > 0).all()
    assert (np.diff(values["losses"][0.0])[:3] > 0).all()
    assert (np.diff(values["losses"][0.0])[3:] < 0).all()
    assert "in the first 3 and falls" in text
    for b in (0.0, 0.5, 1.0):
        assert_close(values["losses"][b][0], (0.325 - b) * np.log(4), 1e-12)


def test_the_logged_losses_lie_within_their_exact_errors(page: ModuleType) -> None:
    """21 batches of 100 at 6 standard errors, seeds 0 and 1: false alarm about 1e-7, were they normal."""
    for seed, b in ((0, 0.0), (1, 1.0)):
        _, values = show(page, seed=seed, b=b)
        off = np.array(values["log"]) - values["losses"][b][:: page.EVERY]
        assert (np.abs(off) < 6 * values["error"][:: page.EVERY]).all()


def test_the_standard_error_is_that_of_the_table(page: ModuleType) -> None:
    pi = pi_at(1.0)[:3]
    mean, sd = page.moments_of_the_loss(M, torch.tensor(pi), 0.25)
    p, loss = (P[:, None] * pi).ravel(), (-(R - 0.25) * np.log(pi)).ravel()
    assert_close(mean.item(), p @ loss, 1e-12)
    assert_close(sd.item(), np.sqrt(p @ (loss - p @ loss) ** 2), 1e-12)


@pytest.mark.parametrize("b", [-0.5, 0.35, 1.0])
def test_the_baseline_changes_the_loss_and_not_its_expected_gradient(page: ModuleType, b: float) -> None:
    _, values = show(page, b=b)
    assert values["by_backward"].verdict == "exact"
    assert_close(values["by_backward"].expected, values["gradient"], 1e-12)
    slope, gradient = values["slope"].reshape(4, 4)[:3].numpy(), values["gradient"].reshape(4, 4)[:3].numpy()
    pi = pi_at(1.0)[:3]
    weight = (R - b) * np.log(pi)
    more = P[:, None] * pi * (weight - (pi * weight).sum(1, keepdims=True))  # sum of P grad pi (R - b) log pi
    assert_close(slope, gradient + more, 1e-12)


def test_a_loss_as_a_log_shows_it(page: ModuleType) -> None:
    """-(1/N) sum of (R^i - b) log pi, by the episodes' own arrays."""
    policy = page.policy_at(M, 0.5)
    episodes = rollout(policy, M, 50, generator=torch.Generator().manual_seed(3))
    pi = pi_at(0.5)
    by_hand = -np.mean((episodes.rewards[:, 0] - 0.2) * np.log(pi[episodes.states[:, 0], episodes.actions[:, 0]]))
    assert_close(page.surrogate(0.2)(Batch.of(policy, episodes)).item(), by_hand, 1e-12)


def test_three_gradients_and_their_own_objectives(page: ModuleType) -> None:
    _, values = show(page)
    assert [found.verdict for _, _, found in values["gradients"].values()] == ["exact"] * 5
    kinds = [found.verdict for found in values["of_J"].values()]
    assert kinds == ["exact", "biased", "biased", "biased", "biased"]
    pi = pi_at(1.0)[:3]
    chosen = (R >= 0.75) * 1.0
    by_hand = P[:, None] * pi * (chosen - (pi * chosen).sum(1, keepdims=True))
    rest = values["gradients"]["self-training: $R \\geq c$"][2]
    assert_close(rest.expected.reshape(4, 4)[:3], by_hand, 1e-12)


def test_imitation_goes_where_the_demonstrator_is(page: ModuleType) -> None:
    for y, sign in ((-1.0, -1), (0.5, -1), (1.5, 1), (6.0, 1)):
        of_J = show(page, y=y)[1]["of_J"]
        assert np.sign(of_J["SFT"].cosine) == sign
        sft = of_J["SFT"].expected.reshape(4, 4)[:3].numpy()
        assert_close(sft, P[:, None] * (pi_at(y) - pi_at(1.0))[:3], 1e-12)
    same = show(page, y=1.0)[1]["of_J"]["SFT"]
    assert float(same.expected.norm()) < 1e-15


def test_em_beside_gradient_steps(page: ModuleType) -> None:
    text, values = show(page, steps=3, alpha=16)
    assert J_after_em(1.0, 3) in text
    assert_close(values["em"][3], float(J_after_em(1.0, 3)))
    assert (np.diff(values["em"]) > 0).all()
    assert values["off_gradient"] < 1e-15
    theta = M.expected_reward.copy()
    for k in range(3):
        assert_close(values["ascent"][k], evaluate(M, np.asarray(softmax_policy(M, theta))).objective, 1e-12)
        theta = theta + 16 * policy_gradient(M, theta)
    assert len(show(page, steps=20)[1]["em"]) == 21


def test_em_of_a_torch_policy_is_the_same_step(page: ModuleType) -> None:
    """`ExactEM` looks for the maximum by L-BFGS; where R = 0 it is at infinity."""
    m = page.with_rewards(M, R + 0.25)
    policy = SoftmaxPolicy(TabularPreferences(m)).double()
    expected = em_step(m, policy.matrix(m).detach().numpy())
    ExactEM(policy, m).update(None)  # type: ignore[arg-type]
    assert_close(policy.matrix(m).detach().numpy(), expected, 1e-7)


def test_ratios_off_policy_and_at_the_first_update(page: ModuleType) -> None:
    text, values = show(page)
    assert [found.verdict for found in values["stale"].values()] == ["biased", "exact", "exact", "biased"]
    assert [found.verdict for found in values["fresh"].values()] == ["exact"] * 4
    assert_close(values["mean_rho"], 1.0, 1e-12)
    assert_close(values["by_ratio"], values["J"], 1e-12)
    assert f"{values['rho'].max():.3f}" in text
    assert [found.verdict for found in show(page, z=1.0)[1]["stale"].values()] == ["exact"] * 4
    back = show(page, z=3.0)[1]["stale"]["PPO, clip .2"]
    assert back.verdict == "exact"  # on the way back nothing is clipped


def test_the_picture_of_the_clip_is_what_the_loss_climbs(page: ModuleType) -> None:
    """The slope of the curve along h = x R, by central differences, and by the audit of the loss."""
    mu, h = pi_at(0.0), 1e-6
    for x in (0.3, 1.0, 2.0):
        up, down = (page.clipped_surrogate(M, mu, pi_at(x + d), 0.2) for d in (h, -h))
        audited = page.ratio_audits(M, page.policy_at(M, x), page.policy_at(M, 0.0))["PPO, clip .2"].expected
        assert_close((up - down) / (2 * h), float(audited @ torch.tensor(M.expected_reward).flatten()), 1e-8)
        assert_close(page.clipped_surrogate(M, mu, pi_at(x), np.inf), evaluate(M, pi_at(x)).objective, 1e-12)


def test_three_readings(page: ModuleType) -> None:
    _, values = show(page)
    assert [found.verdict for found in values["designs"].values()] == ["exact"] * 4
    uniform, on_policy, good, best = values["variances"].values()
    assert best < good < on_policy < uniform
    pi = values["pi"]
    assert_close(page.successes(M, pi), values["J"], 1e-12)
    assert_close(page.least_variance(M, pi), best, 1e-12)
    rng = np.random.default_rng(0)
    for _ in range(20):  # no other proposal measures the gradient better
        mu = page.proposals(M, pi)[list(values["variances"])[-1]].copy()
        mu[:3] = 0.8 * mu[:3] + 0.2 * rng.dirichlet(np.ones(4), size=3)
        psi = ((np.eye(4) - pi[:3, None]) ** 2).sum(2)
        second = (P[:, None] * (pi[:3] * R) ** 2 * psi / np.where(mu[:3] > 0, mu[:3], 1)).sum()
        assert second - float(exact_gradient(page.policy_at(M, 1.0), M).square().sum()) >= best - 1e-12


@pytest.mark.parametrize("x", [-2.0, 6.0])
@pytest.mark.parametrize("far", [-2.0, 6.0])
def test_the_ends_of_the_sliders(page: ModuleType, x: float, far: float) -> None:
    end = {"b": -0.5, "c": 0.25, "alpha": 1} if far < 0 else {"b": 1.0, "c": 1.0, "alpha": 64}
    text, values = show(page, x=x, y=far, z=far, **end)
    assert_close(values["by_ratio"], values["J"], 1e-10)
    assert values["stale"]["the ratio itself: rho R"].verdict == "exact"
    assert ">nan<" not in text


def test_as_a_script_it_prints_audits() -> None:
    (path,) = (path for path in NOTEBOOKS if path.stem.startswith("10"))
    result = run(path)
    assert "no weights: R log pi: biased" in result.stdout
    assert "the ratio itself: rho R: exact" in result.stdout
