"""The parts of a check: the report at its limits, the steps of its routes, what its sample is judged by."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

import envs
from agents import (
    Batch,
    ReinforceLoss,
    Report,
    Row,
    SoftmaxPolicy,
    TabularPreferences,
    episodes_for,
    exact_gradient,
    gradient_moments,
    pgcheck,
    rollout,
)
from agents.checks import errors, routes
from agents.checks.pgcheck import CheckedSample, _exact_row, _sampled_row
from agents.exact.moments import preference_moments
from agents.exact.objective import rounding
from mdp import FiniteMDP, evaluate
from tests.agents.problems import MDPS, network, seeded, tabular


def whole_return_loss(batch: Batch) -> Tensor:
    return -(batch.rewards.sum(1) * batch.log_probs.sum(1)).mean()


# ---- the report ----


def reported(**given: Any) -> Report:
    """A check of two parameters, grad J = (3, 4), 1/2 off along it in every way."""
    found = {
        "name": "n", "mdp": "m", "gamma": 0.9, "parameters": 2, "objective": -1.5, "gradient": np.array([3.0, 4.0]),
        "rows": (Row("theorem", 5.0, 0.0, 1e-8, True, "note"), Row("sampled REINFORCE", 5.5, 1.25, 3.0, True, "of 2")),
        "estimate": np.array([3.3, 4.4]), "judged": np.array([[0.6, 1.0], [0.8, 0.0]]),
        "standard_error": np.array([0.5, 0.25]), "z": np.array([1.0, 1.2]), "skewness": np.zeros(2),
        "kurtosis": np.zeros(2), "p_value": 0.4225, "false_alarm": 1e-4, "trace": 100.0, "path": ((100, 0.75),
        (1600, 0.5)), "episodes": 1600, "steps": 12345, "seed": 7,
    }  # fmt: skip
    return Report(**(found | given))  # type: ignore[arg-type]


def test_what_a_report_prints_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Word for word; without colours, and 120 columns wide at most, whatever the terminal is."""
    report = reported(name="n " * 100)
    assert report.relative_error == 0.05  # sqrt(100 / 1600) / 5
    assert [list(column.cells) for column in report.table().columns] == [
        ["theorem", "sampled REINFORCE"], ["5", "5.5"], ["0", "1.2 SE"], ["1e-08", "3 SE"], ["ok", "ok"],
        ["note", "of 2"],
    ]  # fmt: skip
    assert [column.header for column in report.table().columns] == ["route", "value", "off by", "limit", "", "how"]
    assert report.table().title_justify == report.table().caption_justify == "left"
    assert report.caption == (
        "J = -1.5, |grad J| = 5, 2 parameters\nSE / |grad J| = 0.05 with 1,600 episodes, 12,345 steps\n"
        "p = 0.42; false alarm 0.0001; seed 7"
    )
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    wide = reported(rows=(Row("theorem", 5.0, 0.0, 1e-8, True, "note " * 99), report.rows[1]))
    assert "\x1b" not in str(wide)
    assert max(len(line) for line in str(wide).splitlines()) == 120
    report.to_json(tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text()) == {
        "name": "n " * 100, "mdp": "m", "gamma": 0.9, "parameters": 2, "objective": -1.5, "gradient": [3.0, 4.0],
        "estimate": [3.3, 4.4], "standard_error": [0.5, 0.25], "z": [1.0, 1.2], "skewness": [0.0, 0.0],
        "kurtosis": [0.0, 0.0], "p_value": 0.4225, "false_alarm": 1e-4, "trace": 100.0,
        "path": [[100, 0.75], [1600, 0.5]], "episodes": 1600, "steps": 12345, "seed": 7, "norm": 5.0,
        "relative_error": 0.05, "verdict": "pass", "passed": True,
        "rows": [{"route": "theorem", "value": 5.0, "error": 0.0, "tolerance": 1e-8, "passed": True, "note": "note"},
                 {"route": "sampled REINFORCE", "value": 5.5, "error": 1.25, "tolerance": 3.0, "passed": True,
                  "note": "of 2"}],
    }  # fmt: skip
    with pytest.raises(ValueError, match="not JSON compliant"):
        reported(objective=math.nan).to_json(tmp_path / "nan.json")
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


def test_power_is_two_standard_errors_beyond_the_limit() -> None:
    assert reported(standard_error=np.array([1.0, 1.0])).verdict == "pass"  # 5 >= (3 + 2) 1
    weak = reported(standard_error=np.array([1.01, 1.0]))
    assert (weak.verdict, weak.passed) == ("no power", False)
    assert weak.caption.splitlines()[1].endswith("12,345 steps: NO POWER; take 1,600 episodes for .05")
    other = reported(judged=np.array([[1.0, 0.6], [0.0, 0.8]]))  # its own direction was seen too rarely
    assert (other.error_along, other.verdict) == (math.inf, "no power")
    unjudged = reported(judged=np.zeros((2, 0)), z=np.zeros(0), standard_error=np.zeros(0))
    assert (unjudged.error_along, unjudged.verdict) == (math.inf, "no power")
    failed = reported(rows=(Row("theorem", 5.0, 0.0, 1e-8, False, "note"), reported().rows[1]))
    assert (failed.verdict, failed.passed) == ("FAIL", False)
    assert list(failed.table().columns[4].cells) == ["FAIL", "ok"]


@pytest.mark.parametrize("gradient", [[0.0, 0.0], [3e-10, 4e-10]])
def test_a_gradient_that_is_rounding_needs_no_number_of_episodes(gradient: list[float]) -> None:
    """trace 1: below 1e-9 of it."""
    none = reported(gradient=np.array(gradient), trace=1.0)
    assert none.caption.splitlines()[1].endswith("12,345 steps: NO POWER, grad J is 0 up to rounding")
    assert none.as_dict()["relative_error"] == (None if gradient == [0.0, 0.0] else none.relative_error)
    assert (none.relative_error == math.inf) == (gradient == [0.0, 0.0])


def test_a_report_is_of_the_check_that_was_made() -> None:
    """10,000 episodes and seed 0 by default; every number from its own source."""
    m = envs.short_corridor(0.9)
    policy = tabular(m)
    report = pgcheck(policy, m)
    g = exact_gradient(policy, m).numpy()
    assert (report.name, report.mdp, report.gamma, report.seed) == ("4 states, gamma 0.9", repr(m), 0.9, 0)
    assert (report.parameters, report.episodes, report.false_alarm) == (2, 10_000, 1e-4)
    assert report.objective == pytest.approx(evaluate(m, policy.matrix(m).detach().numpy()).objective, rel=1e-12)
    assert report.gradient.tolist() == g.tolist()
    assert report.trace == pytest.approx(float(gradient_moments(policy, m).trace), rel=1e-10)
    assert [n for n, _ in report.path][:4] == [128, 256, 384, 512]
    assert report.path[-1][0] == 10_000
    assert report.path[-1][1] == pytest.approx(np.linalg.norm(report.estimate - g))
    assert report.path[0][1] != report.path[-1][1]
    generator = seeded(0)
    torch.randn(2, 8, dtype=torch.float64, generator=generator)  # the directions come first
    *_, last = routes.sampled(policy, m, ReinforceLoss(), 10_000, generator=generator)
    assert (report.steps, report.estimate.tolist()) == (last.steps, last.gradient.tolist())
    assert report.judged[:, 0] == pytest.approx(g / np.linalg.norm(g))
    assert report.standard_error[0] == pytest.approx(
        math.sqrt(float(gradient_moments(policy, m, directions=report.judged[:, :1]).covariance) / 10_000), rel=1e-9
    )
    assert pgcheck(policy, m, episodes=1).episodes == 1
    assert pgcheck(policy, m, episodes=1, name="mine").name == "mine"


def test_the_rows_of_a_report() -> None:
    """What each route gave, what it may lose to rounding, and how it was found."""
    m = MDPS["random"]
    policy = tabular(m)
    report = pgcheck(policy, m, episodes=500, seed=2)
    u = torch.randn(report.parameters, 8, dtype=torch.float64, generator=seeded(2))
    along = report.gradient @ (u / u.norm(dim=0)).numpy()
    lost, norm, length = rounding(policy, m), report.norm, float(np.linalg.norm(along))
    step = routes.finite_differences(policy, m, u / u.norm(dim=0))[1].min()
    limits = [1e-8, 1e-8 + lost / norm]
    limits += [1e-8 + lost * math.sqrt(8) * x / length for x in (1, 1 + 1 / step)]
    *exact, sampled = report.rows
    assert [row.tolerance for row in exact] == pytest.approx(limits, rel=1e-9)
    assert [row.value for row in exact] == pytest.approx([norm, norm, length, length], rel=1e-9)
    assert [(row.route, row.note) for row in report.rows] == [
        ("theorem", "eta and q by sparse solves"),
        ("autograd", "backward through the solve of J"),
        ("complex step", "along 8 random directions"),
        ("finite differences", "six points, along 8 random directions"),
        ("sampled REINFORCE", f"largest |z| of {len(report.z)} directions"),
    ]
    assert (exact[0].error, exact[0].passed) == (0.0, True)
    assert sampled.value == pytest.approx(report.estimate @ report.gradient / norm)
    assert sampled.tolerance == pytest.approx(stats.norm.isf(1e-4 / 2 / len(report.z)))
    assert 2 * stats.norm.sf(sampled.error) * len(report.z) == pytest.approx(report.p_value)
    assert report.p_value < 1


@pytest.mark.parametrize(
    ("found", "lost", "row"),
    [
        ([3.0, 4.5], 1e-3, (math.hypot(3, 4.5), 0.1, 1e-8 + 2e-4, False)),  # relative to |true| = 5
        ([3.0, 4.5], 5.0, (math.hypot(3, 4.5), 0.5, 5 + 1e-8, True)),  # absolute where |true| is rounding
        ([3.0, 4.0], 0.0, (5.0, 0.0, 1e-8, True)),
    ],
)
def test_how_far_a_route_is_from_the_theorem(found: list[float], lost: float, row: tuple[float, ...]) -> None:
    made = _exact_row("r", np.array(found), np.array([3.0, 4.0]), lost, "how")
    assert made[1:5] == pytest.approx(row, rel=1e-12)
    assert (made.route, made.note) == ("r", "how")


def test_the_sampled_row_names_the_loss_and_says_how_improbable_it_is() -> None:
    sample = CheckedSample([routes.Sample(9, np.array([1.0, 1.0]), 9)], np.array([1.0, 2.0]), 0.01)
    row = _sampled_row(whole_return_loss, np.array([3.0, 4.0]), sample)
    assert row.route == "sampled whole_return_loss"
    assert row[1:4] == pytest.approx((1.4, stats.norm.isf(0.005), stats.norm.isf(1e-4 / 4)), rel=1e-9)
    assert row.passed
    assert sample.p_value == 0.02
    assert sample._replace(least=0.7).p_value == 1.0
    unlikely = _sampled_row(Mock(spec=[]), np.zeros(2), sample._replace(least=0.0))
    assert (unlikely.route, unlikely.value, unlikely.passed) == ("sampled loss", 0.0, False)
    assert unlikely.error == pytest.approx(stats.norm.isf(1e-300 / 2))
    nothing = CheckedSample(sample.path, np.zeros(0), 1.0)
    row = _sampled_row(ReinforceLoss(), np.zeros(2), nothing)
    assert (nothing.p_value, row.route, row.passed) == (1.0, "sampled REINFORCE", True)
    assert row.tolerance == pytest.approx(stats.norm.isf(1e-4 / 2))
    assert row.note == "largest |z| of 0 directions"


# ---- the routes ----


def test_episodes_are_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of what was played, but 128 at least, and as few as fit; a loss that forgets cuts episodes off."""
    m = MDPS["robot"]
    policy, spy = tabular(m), Mock(wraps=rollout)
    monkeypatch.setattr(routes, "rollout", spy)

    def played(loss: Any) -> list[int]:
        spy.reset_mock()
        samples = list(routes.sampled(policy, m, loss, 1_000, generator=seeded()))
        assert [x.episodes for x in samples] == np.cumsum([call.args[2] for call in spy.call_args_list]).tolist()
        return [call.args[2] for call in spy.call_args_list]

    assert played(ReinforceLoss()) == [128, 128, 128, 128, 170, 227, 91]
    assert {call.kwargs["max_steps"] for call in spy.call_args_list} == {ReinforceLoss().forgets_after(m.gamma)}
    longest = ReinforceLoss().forgets_after(m.gamma)  # the robot never ends
    assert longest is not None
    monkeypatch.setattr(routes, "STEPS_AT_ONCE", 150 * longest + 1)
    assert played(ReinforceLoss()) == [128, 128, 128, 128, 150, 150, 150, 38]
    monkeypatch.setattr(routes, "STEPS_AT_ONCE", 1)
    assert played(ReinforceLoss()) == [128] * 7 + [104]


def test_the_estimate_is_the_mean_over_all_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    m, kept = MDPS["corridor"], []
    policy = tabular(m)

    def playing(*args: Any, **options: Any) -> Any:
        kept.append(rollout(*args, **options))
        return kept[-1]

    monkeypatch.setattr(routes, "rollout", playing)
    *_, last = routes.sampled(policy, m, whole_return_loss, 300, generator=seeded())
    assert [len(x) for x in kept] == [128, 128, 44]
    G = [x.rows(slice(k, k + 1)) for x in kept for k in range(len(x))]
    one_by_one = np.mean([routes.gradient_of(policy, whole_return_loss, x) for x in G], axis=0)
    assert last.gradient == pytest.approx(one_by_one, rel=1e-10)
    assert last.steps == sum(int(x.lengths.sum()) for x in kept)
    assert last.episodes == 300


@pytest.mark.parametrize(("gap", "step"), [(0.1, 1e-2), (0.015, 2.5e-3), (1e-4, 1e-2 / 2**9)])
def test_the_step_is_halved_until_one_support_is_left(gap: float, step: float) -> None:
    """Top 2 of three arms whose last two are `gap` apart, along the line on which they meet after gap / sqrt 2."""
    m = envs.bandit(means=(0, 1, 5))
    policy = SoftmaxPolicy(TabularPreferences(m), top_k=2).double()
    with torch.no_grad():
        next(policy.parameters())[0] = torch.tensor([1.0, 0.0, -gap])
    u = torch.zeros(6, 1).double()
    u[1], u[2] = -math.sqrt(0.5), math.sqrt(0.5)
    slope, h = routes.finite_differences(policy, m, u)
    assert h.tolist() == [step]
    assert slope[0] == pytest.approx(float(exact_gradient(policy, m) @ u[:, 0]), rel=1e-7)


def test_a_kink_is_told() -> None:
    m = envs.bandit(means=(0, 1, 5))
    policy = SoftmaxPolicy(TabularPreferences(m), top_k=2).double()
    with torch.no_grad():
        next(policy.parameters())[0] = torch.tensor([1.0, 0.0, -4e-5])  # the step would be 1e-2 / 2^10
    u = torch.tensor([0.0, -1.0, 1.0, 0, 0, 0]).double()[:, None] / math.sqrt(2)
    told = r"^top-k or top-p changes its actions right at theta: J has a kink there, and no gradient$"
    with pytest.raises(ValueError, match=told):
        routes.finite_differences(policy, m, u)


@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_the_step_of_finite_differences(temperature: float) -> None:
    """1e-2, or so much less as log pi(a) = h / temperature - log sum moves faster than 1: 3/4 for one of 4 arms."""
    m = envs.bandit(means=(0, 1, 5, 2))
    policy = SoftmaxPolicy(TabularPreferences(m), temperature=temperature).double()
    u = torch.zeros(8, 1).double()
    u[0] = 1.0
    assert routes.finite_differences(policy, m, u)[1].tolist() == [1e-2 / max(1.0, 0.75 / temperature)]


# ---- standard errors ----


def test_z_where_the_standard_error_is_rounding() -> None:
    """A difference of 1e-11 of the scale is rounding, too; a larger one is certain."""
    z = errors.z_scores(np.array([3.0, 0.9e-10, 1.1e-10, -1.1e-10, 0.0]), np.array([2.0, 1e-12, 1e-12, 0.0, 0.0]), 10.0)
    assert z.tolist() == [1.5, 0.0, math.inf, math.inf, 0.0]
    assert errors.z_scores(np.array([1.0]), np.array([1.1e-12]), 10.0) == pytest.approx(1 / 1.1e-12)


@pytest.mark.parametrize("of", [tabular, network])
def test_directions_in_pieces_are_those_of_the_whole(of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variance, with more parameters than (s, a) or fewer, and what is judged, 5 coordinates at a time."""
    m = MDPS["random"]
    policy = of(m)
    moments, g = preference_moments(policy, m), exact_gradient(policy, m).numpy()
    random = np.random.default_rng(0).normal(size=(len(g), 2))
    assert errors.trace(policy, m, moments) == pytest.approx(float(gradient_moments(policy, m).trace), rel=1e-10)
    whole = errors.judged_directions(policy, m, moments, g, random, 10**6)
    monkeypatch.setattr(errors, "CHUNK", 5)
    assert errors.trace(policy, m, moments) == pytest.approx(float(gradient_moments(policy, m).trace), rel=1e-10)
    parts = errors.judged_directions(policy, m, moments, g, random, 10**6)
    for a, b in zip((*whole[:2], *whole.shape), (*parts[:2], *parts.shape), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-15)
    U, C = whole.directions, gradient_moments(policy, m).covariance.numpy()
    np.testing.assert_allclose(U[:, :3], np.concatenate([g[:, None] / np.linalg.norm(g), random], 1))
    np.testing.assert_allclose(whole.standard_error, np.sqrt(np.diag(U.T @ C @ U) / 10**6), rtol=1e-8)
    moving = np.diag(C) > 1e-20
    np.testing.assert_array_equal(U[:, 3:], np.eye(len(g))[:, moving])
    monkeypatch.setattr(errors, "MOST_COORDINATES", len(g) - 1)
    assert errors.judged_directions(policy, m, moments, g, random, 10**6).directions.shape == (len(g), 3)
    monkeypatch.setattr(errors, "MOST_COORDINATES", len(g))
    assert errors.judged_directions(policy, m, moments, g, random, 10**6).directions.shape == U.shape
    assert errors.judged_directions(policy, m, moments, 0 * g, random, 10**6).directions.shape[1] == U.shape[1] - 1


def test_what_was_seen_too_rarely_is_not_judged() -> None:
    """n episodes of an arm with probability p and reward 1: skewness and kurtosis of the mean within .3."""
    m = FiniteMDP.from_outcomes({(0, "a"): [(1.0, 1, 1.0)], (0, "b"): [(1.0, 1, 0.0)]}, gamma=1.0)
    policy = SoftmaxPolicy(TabularPreferences(m)).double()
    with torch.no_grad():
        next(policy.parameters())[0, 0] = -5.0
    moments, g = preference_moments(policy, m), exact_gradient(policy, m).numpy()
    p = 1 / (1 + math.exp(5.0))
    skewness = (1 - 2 * p) / math.sqrt(p * (1 - p))  # of Bernoulli(p)
    n = (skewness / 0.3) ** 2
    for episodes, seen in ((math.floor(n), 0), (math.ceil(n), 3)):
        found = errors.judged_directions(policy, m, moments, g, np.zeros((4, 0)), episodes)
        assert found.directions.shape == (4, seen)
    assert np.abs(found.shape.skewness) == pytest.approx(0.3, rel=0.01)


@pytest.mark.parametrize("estimator", [{}, {"to_go": False}, {"discounted": False}, {"baseline": -3.0}])
def test_the_episodes_of_another_estimator(estimator: dict[str, Any]) -> None:
    """N = trace / (.2 |grad J|)^2 with its own variance; a baseline that is a function has that of plain REINFORCE."""
    m = MDPS["random"]
    policy = tabular(m)
    trace, norm = float(gradient_moments(policy, m, **estimator).trace), float(exact_gradient(policy, m).norm())
    assert episodes_for(policy, m, 0.02, loss=ReinforceLoss(**estimator)) == math.ceil(trace / (0.02 * norm) ** 2)
    plain = episodes_for(policy, m, 0.02)
    assert episodes_for(policy, m, 0.02, loss=whole_return_loss) == plain
    assert episodes_for(policy, m, 0.02, loss=ReinforceLoss(baseline=lambda batch: 0 * batch.rewards)) == plain
    assert episodes_for(policy, m, 1e6) == 1
    flat = FiniteMDP.from_outcomes({(0, a): [(1.0, 1, 1.0)] for a in range(2)}, gamma=1.0)
    told = r"^grad J is 0 here up to rounding: no number of episodes shows its direction$"
    with pytest.raises(ValueError, match=told):
        episodes_for(SoftmaxPolicy(TabularPreferences(flat)).double(), flat, 0.1)
