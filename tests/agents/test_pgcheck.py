"""pgcheck: right gradients pass, wrong estimators fail, and false alarms are as rare as it says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

import envs
from agents import (
    Batch,
    ReinforceLoss,
    SoftmaxPolicy,
    TabularPreferences,
    episodes_for,
    gradient_moments,
    pgcheck,
)
from agents.checks import routes
from agents.checks.errors import Judged, largest_z
from agents.checks.pgcheck import FALSE_ALARM, check_sample
from agents.selftest import MISTAKES
from mdp import FiniteMDP
from mdp.gradient.cumulants import Shape, two_sided_tail
from tests.agents.problems import MDPS, PAIRS, POLICIES, seeded, tabular

IMPROBABLE = 1e-9  # p-value below which a test fails: all of this file together stay below 1e-7


@pytest.mark.parametrize(("m", "p"), PAIRS)
def test_right_gradients_pass(m: str, p: str) -> None:
    """Seed 0. The exact routes agree to 1e-8 and, where no derivative is approximated, to 1e-11."""
    mdp, policy = MDPS[m], POLICIES[p](MDPS[m])
    report = pgcheck(policy, mdp, episodes=2_000)
    *exact, sampled = report.rows
    assert [row.route for row in exact if not row.passed] == []
    assert all(row.error <= 1e-11 for row in exact if row.route != "finite differences")
    assert ("complex step" in [row.route for row in exact]) == (p in ("tabular", "linear"))
    assert report.p_value > IMPROBABLE
    assert sampled.passed == (report.p_value >= FALSE_ALARM)


@pytest.mark.parametrize("p", ["tabular", "network", "hot and cut"])
@pytest.mark.parametrize("loss", [ReinforceLoss(to_go=False), ReinforceLoss(baseline=-3.0)])
def test_other_right_estimators_pass(p: str, loss: ReinforceLoss) -> None:
    mdp = MDPS["corridor"]
    report = pgcheck(POLICIES[p](mdp), mdp, episodes=40_000, loss=loss)
    assert report.p_value > IMPROBABLE
    assert report.has_power


# ---- wrong estimators ----


OF_SINGLE_EPISODES = (
    "gamma^t left out",
    "gamma^t times the whole return",
    "G_{t+1} for G_t",
    "G_{t-1} for G_t",
    "an extra 1/T for each episode",
    "the mean of log-probabilities first",
    "the sign of the loss",
    "a baseline that depends on the action",
    "the advantage multiplied by the length",
    "the last token masked",
    "the mask shifted by one",
    "cut-off episodes taken as ended",
)
WRONG = {mistake.name: mistake.loss for mistake in MISTAKES if mistake.name in OF_SINGLE_EPISODES}


@pytest.mark.parametrize("name", OF_SINGLE_EPISODES)
def test_wrong_estimators_are_caught(name: str) -> None:
    """Those planted mistakes that are means over episodes, on the 4 x 4 grid at gamma .95; 40,000 episodes, seed 0.

    Where only the last step is paid (text), some of them are right: the mean of log-probabilities times the sum of
    gamma^t G_t, say. A check speaks of the problem that it was made on.
    """
    mdp = MDPS["grid"]
    report = pgcheck(tabular(mdp), mdp, episodes=40_000, loss=WRONG[name])
    assert report.verdict == "FAIL"
    assert not report.passed
    assert report.p_value < 1e-6
    assert [row.route.split()[0] for row in report.rows if not row.passed] == ["sampled"]


def test_a_loss_without_gamma_t_sees_whole_episodes() -> None:
    """At gamma .5 gamma^t is rounding after 60 steps, but G_t is not: episodes go on. Seed 0, |z| < 6: 2e-9."""
    mdp = envs.short_corridor(0.5)
    policy = SoftmaxPolicy(TabularPreferences(mdp)).double()
    with torch.no_grad():
        next(policy.parameters())[0, 1] = -2.0
    report = pgcheck(policy, mdp, episodes=20_000, loss=ReinforceLoss(discounted=False))
    exact = gradient_moments(policy, mdp, discounted=False)
    assert abs(report.estimate[1] - float(exact.mean[1])) < 6 * float(exact.covariance[1, 1] / 20_000) ** 0.5


def test_leaving_gamma_t_out_is_judged_with_its_own_covariance_too() -> None:
    mdp = MDPS["corridor"]
    policy = SoftmaxPolicy(TabularPreferences(mdp)).double()
    report = pgcheck(policy, mdp, episodes=40_000, loss=ReinforceLoss(discounted=False))
    exact = gradient_moments(policy, mdp, discounted=False)
    assert report.verdict == "FAIL"
    assert report.trace == pytest.approx(float(exact.trace))
    assert report.estimate[1] == pytest.approx(1.0482, abs=6 * float(exact.covariance[1, 1] / 40_000) ** 0.5)


# ---- false alarms ----


@pytest.mark.parametrize("name", ["corridor", "walk", "FrozenLake"])
def test_a_thousand_seeds_confirm_the_false_alarm_probability(name: str) -> None:
    """Seeds 0 .. 999, 300 episodes each. Alarms at level a are at most Binomial(1000, a), for a down to 1e-4.

    Each bound is passed by chance with probability 1e-8 at most; z along the gradient has mean 0 and variance 1 within
    6 standard errors (2e-9). FrozenLake pays in 1.4 % of its episodes: 2,000 of them are far from a normal law.
    """
    mdp, loss, n = MDPS[name], ReinforceLoss(), 2_000 if name == "FrozenLake" else 300
    policy = tabular(mdp)
    reference = pgcheck(policy, mdp, episodes=n)
    shape = Shape(reference.skewness, reference.kurtosis)
    judged = Judged(reference.judged, reference.standard_error, shape)
    checked = [check_sample(policy, mdp, loss, reference.gradient, judged, n, seeded(seed)) for seed in range(1000)]
    p = np.array([sample.p_value for sample in checked])
    for level in (0.1, 0.01, 1e-3, FALSE_ALARM):
        assert (p < level).sum() <= stats.binom.isf(1e-8, 1000, level), level
    z = np.array([sample.z[0] for sample in checked])
    assert abs(z.mean()) < 6 / np.sqrt(1000)
    assert abs(z.var() - 1) < 6 * np.sqrt((2 + reference.kurtosis[0]) / 1000)


def test_pgcheck_judges_its_sample_by_check_sample() -> None:
    """The parts that the thousand seeds go through are the ones that a report is made of."""
    policy, mdp = tabular(MDPS["walk"]), MDPS["walk"]
    report = pgcheck(policy, mdp, episodes=300)
    off = (report.estimate - report.gradient) @ report.judged / report.standard_error
    np.testing.assert_allclose(report.z, off)
    tails = two_sided_tail(report.z, Shape(report.skewness, report.kurtosis))
    assert report.p_value == min(1.0, len(report.z) * tails.min())


@pytest.mark.parametrize("scale", [1.0, 0.3])
@pytest.mark.parametrize("k", [4.0, 50.0, 1e4])
def test_the_tail_of_a_gamma_law_is_exact(k: float, scale: float) -> None:
    """Gamma(k) has skewness 2 / sqrt k and excess kurtosis 6 / k: Pearson's type III, nothing is left for Student."""
    z = np.array([-1.5, -0.5, 0.5, 3.0, 6.0]) * scale
    law = stats.gamma(k)
    x = k + z * np.sqrt(k)
    expected = 2 * np.minimum(law.sf(x), law.cdf(x))
    shape = Shape(np.full(5, 2 / np.sqrt(k)), np.full(5, 6 / k))
    np.testing.assert_allclose(two_sided_tail(z, shape), expected, rtol=1e-6)
    mirrored = Shape(-shape.skewness, shape.kurtosis)
    np.testing.assert_allclose(two_sided_tail(-z, mirrored), expected, rtol=1e-6)


def test_tails_of_normal_and_student_laws() -> None:
    z = np.array([0.0, 1.0, 5.0, 30.0, np.inf])
    zero = np.zeros(5)
    np.testing.assert_allclose(two_sided_tail(z, Shape(zero, zero)), 2 * stats.norm.sf(z), rtol=1e-4)
    nu = 10  # excess kurtosis 6 / (nu - 4), variance nu / (nu - 2)
    np.testing.assert_allclose(
        two_sided_tail(z, Shape(zero, zero + 6 / (nu - 4))), 2 * stats.t(nu).sf(z * np.sqrt(nu / (nu - 2))), rtol=1e-6
    )


def test_largest_z_is_the_bonferroni_limit() -> None:
    assert largest_z(1, 0.05) == pytest.approx(stats.norm.isf(0.025))
    assert largest_z(20, 1e-4) == pytest.approx(stats.norm.isf(1e-4 / 40))


# ---- power ----


@pytest.mark.parametrize("m", ["corridor", "tokens", "random"])
def test_episodes_for_reach_the_error_that_was_asked_for(m: str) -> None:
    policy = tabular(MDPS[m])
    n = episodes_for(policy, MDPS[m], 0.2)
    assert pgcheck(policy, MDPS[m], episodes=n).relative_error == pytest.approx(0.2, rel=1e-3)


def test_a_check_without_power_does_not_pass() -> None:
    report = pgcheck(tabular(MDPS["FrozenLake"]), MDPS["FrozenLake"], episodes=100)
    assert report.verdict == "no power"
    assert not report.passed
    assert "NO POWER; take" in str(report)


@pytest.mark.parametrize("episodes", [400, 800, 1_500])
def test_an_estimator_of_nothing_never_passes(episodes: int) -> None:
    """Where it is not caught, the check says that it has no power. Seeds 0 .. 19."""

    def nothing(batch: Batch) -> Tensor:
        return 0 * batch.log_probs.sum()

    policy = SoftmaxPolicy(TabularPreferences(MDPS["corridor"])).double()
    verdicts = {pgcheck(policy, MDPS["corridor"], episodes=episodes, loss=nothing, seed=s).verdict for s in range(20)}
    assert "pass" not in verdicts


def test_tails_that_no_law_can_judge_give_no_verdict() -> None:
    """One arm in a million pays +-1e7: of 2,000 episodes hardly one sees it, and four moments say nothing."""
    outcomes = {(0, "a"): [(1.0, 1, 1.0)], (0, "b"): [(0.5, 1, 1e7), (0.5, 1, -1e7)]}
    mdp = FiniteMDP.from_outcomes(outcomes, gamma=1.0)
    policy = SoftmaxPolicy(TabularPreferences(mdp)).double()
    with torch.no_grad():
        next(policy.parameters())[0, 1] = -13.8
    report = pgcheck(policy, mdp, episodes=2_000, seed=190)
    assert report.verdict == "no power"
    assert (np.abs(report.skewness) <= 0.3).all()
    assert (report.kurtosis <= 0.3).all()


@pytest.mark.parametrize("offset", [1.3, 1e7])
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_rounding_of_large_rewards_is_no_failure(offset: float, spread: float) -> None:
    """The exact routes differ by eps |J|, which may be more than 1e-8 |grad J|: the limit says so."""
    mdp = FiniteMDP.from_outcomes({(0, a): [(1.0, 1, offset + spread * a)] for a in range(3)}, gamma=1.0)
    report = pgcheck(SoftmaxPolicy(TabularPreferences(mdp)).double(), mdp, episodes=100)
    assert report.verdict == "no power"


@pytest.mark.parametrize("temperature", [1.0, 0.05])
def test_finite_differences_step_with_the_temperature(temperature: float) -> None:
    mdp = MDPS["FrozenLake"]
    policy = SoftmaxPolicy(TabularPreferences(mdp), temperature=temperature).double()
    rows = {row.route: row for row in pgcheck(policy, mdp, episodes=100).rows}
    assert rows["finite differences"].error <= 1e-9


def test_a_gradient_of_zero_does_not_pass_by_accident() -> None:
    """Every action pays the same, so that grad J = 0; and a softmax that saturates, whose gradient underflows."""
    same = FiniteMDP.from_outcomes({(0, a): [(1.0, 1, 1.0)] for a in range(3)}, gamma=1.0)
    report = pgcheck(SoftmaxPolicy(TabularPreferences(same)).double(), same, episodes=100)
    assert report.norm == 0
    assert not report.passed
    saturated = SoftmaxPolicy(TabularPreferences(MDPS["bandit"])).double()
    with torch.no_grad():
        next(saturated.parameters())[:, 0] = 1e4
    assert not pgcheck(saturated, MDPS["bandit"], episodes=100).passed
    with pytest.raises(ValueError, match="grad J is 0 here up to rounding"):
        episodes_for(saturated, MDPS["bandit"], 0.05)


# ---- refusals, and the report ----


def test_bad_input_is_refused() -> None:
    mdp = MDPS["grid"]
    with pytest.raises(TypeError, match=r"float32: call policy.double\(\)"):
        pgcheck(SoftmaxPolicy(TabularPreferences(mdp)), mdp)
    with pytest.raises(ValueError, match="episodes must be at least 1, not 0"):
        pgcheck(tabular(mdp), mdp, episodes=0)
    forever = FiniteMDP.from_outcomes({(s, 0): [(1.0, 1 - s, 1.0)] for s in (0, 1)}, gamma=1.0)
    with pytest.raises(ValueError, match="never ends from state 0"):
        pgcheck(tabular(forever), forever)


def test_a_kink_is_refused() -> None:
    """All preferences equal: the smallest step changes which two are on top."""
    mdp = MDPS["bandit"]
    policy = SoftmaxPolicy(TabularPreferences(mdp), top_k=2).double()
    with pytest.raises(ValueError, match="J has a kink there"):
        pgcheck(policy, mdp, episodes=10)


def test_finite_differences_leave_theta_alone() -> None:
    policy = tabular(MDPS["random"])
    before = routes.vector(policy).clone()
    routes.finite_differences(policy, MDPS["random"], torch.randn(len(before), 2, generator=seeded()).double())
    assert torch.equal(before, routes.vector(policy))


def test_the_report_prints_writes_and_draws(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    mdp = envs.short_corridor(0.9)
    policy = SoftmaxPolicy(TabularPreferences(mdp)).double()
    report = pgcheck(policy, mdp, name="corridor", progress=lambda k, n: seen.append((k, n)))
    assert seen[-1] == (10_000, 10_000)
    text = str(report)
    assert "corridor: pass" in text
    assert [column.justify for column in report.table().columns] == ["left", *["right"] * 4, "left"]
    for row in report.rows:
        assert row.route in text
    assert f"SE / |grad J| = {report.relative_error:.3g} with 10,000 episodes" in text
    report.to_json(tmp_path / "r.json")
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["passed"] is True
    assert content["gradient"] == pytest.approx([-0.4862286773, 0.4862286773])
    assert content["rows"][-1]["route"] == "sampled REINFORCE"
    report.plot(tmp_path / "r.png")
    assert (tmp_path / "r.png").read_bytes()[:4] == b"\x89PNG"


def test_same_seed_same_report() -> None:
    one, two = (pgcheck(tabular(MDPS["random"]), MDPS["random"], episodes=500, seed=3) for _ in range(2))
    assert one.estimate.tolist() == two.estimate.tolist()
    assert one.p_value == two.p_value
