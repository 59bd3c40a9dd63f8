"""Tutorial 3: sweeps, bounds and the three causes, at several settings of the controls."""

from __future__ import annotations

from itertools import islice
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from envs import gridworld_4x4, gridworld_5x5
from mdp import evaluate, solve, sweeps
from tests.tutorials.browser import Reading
from tests.tutorials.notebooks import NOTEBOOKS, notebook, run, shown
from tests.worlds import assert_close

AT_FIRST: dict[str, float] = {
    "gamma": 1.0, "theta": 0.001, "k": 0, "p": 1e-4, "gamma5": 0.9, "tolerance": 1e-8,
    "epsilon": 0.0, "tie": 1e-9, "seed": 0, "size": 1.0, "gamma2": 0.99,
}  # fmt: skip


@pytest.fixture(scope="module")
def page() -> ModuleType:
    return notebook(3)


def show(page: ModuleType, **controls: float) -> tuple[str, Any]:
    return shown(page, **AT_FIRST | controls)


def swept(k: int, gamma: float) -> float:
    """v_k(1) of the 4 x 4 grid."""
    m = gridworld_4x4(gamma)
    return float(next(islice(sweeps(m, m.uniform_policy()), k, None))[1])


READING = Reading(
    at_first=lambda: ["v_0(1) = 0.0000000000", f"{swept(10, 1.0):.10f}"],
    slider=0,
    keys=["ArrowLeft"],
    moved=lambda: [f"{swept(10, 0.99):.10f}"],
    button="ten sweeps",
    clicks=1,
    pressed=lambda: [f"v_10(1) = {swept(10, 0.99):.10f}"],
)


def test_the_books_sweeps(page: ModuleType) -> None:
    text, values = show(page, k=3)
    for number in ("-1.7500000000", "v_3(1) = <strong>-2.4375000000", "-6.1379699707", "-14.0000000000"):
        assert number in text
    assert values["first_best"] == 3
    discounted, values = show(page, gamma=0.9, k=3)
    assert f"{swept(3, 0.9):.10f}" in discounted
    assert "-2.4375000000" not in discounted.split("Exercises")[0]


@pytest.mark.parametrize(("gamma", "theta"), [(0.5, 0.1), (0.99, 1e-6), (1.0, 1e-6)])
def test_both_bounds_hold_and_the_second_one_at_gamma_1_too(page: ModuleType, gamma: float, theta: float) -> None:
    _, values = show(page, gamma=gamma, theta=theta)
    m = gridworld_4x4(gamma)
    v_pi, v = evaluate(m, m.uniform_policy()).v, list(islice(sweeps(m, m.uniform_policy()), values["stop"] + 1))
    assert_close(values["error"], np.abs(v[-1] - v_pi).max())
    assert np.abs(v[-1] - v[-2]).max() < theta <= np.abs(v[-2] - v[-3]).max()
    assert values["error"] <= values["by_time"] * (1 + 1e-6)
    assert values["by_time"] <= values["by_gamma"]
    if gamma == 1:
        assert values["by_gamma"] == np.inf
        assert_close(values["longest"], 22)


def test_the_second_bound_is_the_norm_of_the_matrix_in_its_formula() -> None:
    for gamma in (0.5, 1.0):
        m = gridworld_4x4(gamma)
        P = m.transition.toarray().reshape(16, 4, 16).mean(axis=1)[~m.terminal][:, ~m.terminal]
        n = np.linalg.inv(np.eye(14) - gamma * P).sum(axis=1)
        norm = np.abs(np.linalg.inv(np.eye(14) - gamma * P) @ (gamma * P)).sum(axis=1).max()
        assert_close(n, -evaluate(m, m.uniform_policy()).v[~m.terminal])
        assert_close(norm, n.max() - 1)


def test_the_lottery(page: ModuleType) -> None:
    text, values = show(page)
    assert values["lottery_stop"] == 1
    assert_close(values["lottery_v"], 1e-4)
    assert "0.9999000000" in text
    for p, theta in ((0.1, 0.01), (0.1, 1e-16), (1e-6, 1e-16)):
        text, values = show(page, p=p, theta=theta)
        k = values["lottery_stop"] or page.MOST
        assert_close(values["lottery_v"], 1 - (1 - p) ** k)
        assert_close((1 / p - 1) * values["lottery_last"], 1 - values["lottery_v"])
    assert values["lottery_stop"] is None
    assert "not within 10,000" in text


@pytest.mark.parametrize("gamma5", [0.0, 0.9, 0.99])
def test_the_four_methods(page: ModuleType, gamma5: float) -> None:
    truth = 10 / (1 - gamma5**5)
    text, values = show(page, gamma5=gamma5)
    assert f"{truth:.10f}" in text
    for found in values["solutions"].values():
        assert found.converged
        assert abs(found.v[1] - truth) <= found.bound <= 1e-8
    _, values = show(page, gamma5=gamma5, tolerance=1e-14)
    assert not any(found.converged for found in values["solutions"].values())


def test_ten_times_as_many_sweeps(page: ModuleType) -> None:
    """What section 5 says of gamma .99 beside .9."""
    near, far = (show(page, gamma5=gamma)[1]["solutions"] for gamma in (0.9, 0.99))
    assert 8 < far["value_iteration"].iterations / near["value_iteration"].iterations < 13
    assert far["policy_iteration"].iterations == near["policy_iteration"].iterations


def test_a_policy_that_never_ends(page: ModuleType) -> None:
    text, values = show(page)
    assert values["never_v"] is None
    assert "never ends" in text
    assert "-1000.000000" in text
    text, values = show(page, gamma=0.9)
    assert_close(values["never_v"], -10)
    assert "> the policy" not in text.split("First cause")[1].split("Remedies")[0]
    _, values = show(page, epsilon=1.0)
    assert_close(values["never_v"], -22)


def test_ties_at_random_take_as_many_rounds_as_there_are_policies(page: ModuleType) -> None:
    """Seeds 0 to 9, at most 5.5 standard errors above the mean of 256; what takes more than 1,000 counts as 1,000."""
    m = gridworld_4x4()
    assert page.best_policies(m) == 256
    assert_close(solve(m).v, evaluate(m, np.eye(4)[page.rounds(m, tie=1e-9)[1]]).v)
    found = [page.rounds(m, rng=np.random.default_rng(seed))[0] or 1000 for seed in range(10)]
    assert 30 < np.mean(found) < 256 + 5.5 * 255.5 / np.sqrt(10)
    assert page.rounds(m, tie=1e-9, rng=np.random.default_rng(0))[0] <= 3


@pytest.mark.parametrize("tie", [1e-12, 1e-9, 1e-3])
def test_a_tie_tolerance_ends_it(page: ModuleType, tie: float) -> None:
    for gamma in (0.5, 0.8, 0.9, 0.95, 0.99):
        m = gridworld_5x5(gamma)
        n, actions = page.rounds(m, tie=tie, most=20)
        assert n is not None
        assert (solve(m).v - evaluate(m, np.eye(4)[actions]).v).max() < tie / (1 - gamma) + 1e-9


def test_too_large_a_tie_tolerance_costs_something(page: ModuleType) -> None:
    _, values = show(page, tie=10.0)
    assert max(lost for *_, lost in values["flip_rows"]) > 0.1


@pytest.mark.parametrize("size", [1.0, 1e6])
@pytest.mark.parametrize("gamma2", [0.9, 0.99, 1.0])
def test_a_threshold_below_rounding(page: ModuleType, size: float, gamma2: float) -> None:
    text, values = show(page, size=size, gamma2=gamma2)
    last = values["ping_changes"][-1]
    assert len(values["ping_changes"]) == 5000
    if gamma2 == 1:
        assert last == size
        assert "not within 5,000" in text
    else:
        assert 0 < last < 1e-12 * size
        assert values["ping_returns"]
        assert_close(values["ping_v"], size / (1 + gamma2))


@pytest.mark.parametrize(
    "controls",
    [
        {"gamma": 0.0, "theta": 0.1, "p": 1e-6, "epsilon": 1.0, "tie": 0.0, "gamma5": 0.0, "tolerance": 0.1},
        {"gamma": 0.0, "theta": 1e-16, "p": 0.1, "epsilon": 0.0, "tie": 10.0, "k": 30, "gamma2": 0.9},
        {"gamma": 1.0, "theta": 1e-16, "p": 0.1, "epsilon": 0.001, "k": 200, "gamma5": 0.99, "tolerance": 1e-14},
    ],
)
def test_the_ends_of_the_sliders(page: ModuleType, controls: dict[str, float]) -> None:
    text, _ = show(page, **controls)
    assert "Solution 3" in text


def test_as_a_script_it_prints_numbers() -> None:
    (path,) = (path for path in NOTEBOOKS if path.stem.startswith("03"))
    result = run(path)
    assert "stops at sweep 131" in result.stdout
    assert "linear_programming: v*(A) = 24.4194280970" in result.stdout
