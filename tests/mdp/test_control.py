"""solve: four methods, one answer; and what gamma = 1 asks for."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from envs import ZOO
from mdp import FiniteMDP, Solution, evaluate, solve, unroll
from mdp.prediction.graph import never_ending
from tests.worlds import GYMNASIUM, assert_close, random_mdp

METHODS = ("auto", "policy_iteration", "value_iteration", "modified_policy_iteration", "linear_programming")
CONTINUING = {
    "Gridworld5x5", "RecyclingRobot", "RiverSwim", "DoubleLoop", "Chain", "Garnet", "CarRental", "CarRentalExercise",
    "MachineReplacement", "Inventory", "AdmissionQueue",
}  # fmt: skip
BIG = {"RandomWalk1000", "CarRental", "CarRentalExercise"}  # 190,000 to 1,900,000 outcomes: a linear program for hours


@cache
def world(name: str) -> FiniteMDP:
    return ZOO[name].make() if name in ZOO else FiniteMDP.from_gymnasium(name, gamma=1)


@cache
def problem(name: str, gamma: float) -> FiniteMDP:
    return world(name).with_gamma(gamma)


@cache
def truth(name: str, gamma: float) -> Solution:
    return solve(problem(name, gamma), method="policy_iteration")


CASES = [
    (name, gamma)
    for name in (*ZOO, *GYMNASIUM)
    for gamma in ((0.9,) if name in BIG else (0.0, 0.9, 0.99, 1.0))
    if gamma < 1 or name not in CONTINUING
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("name", "gamma"), CASES)
def test_all_methods_agree(name: str, gamma: float, method: str) -> None:
    if name in BIG and method == "linear_programming":
        pytest.skip("too large for a linear program")
    m, reference = problem(name, gamma), truth(name, gamma)
    found = solve(m, method=method)
    assert found.converged
    assert found.bound <= 1e-8
    assert np.abs(found.v - reference.v).max() <= found.bound + reference.bound
    assert_close(evaluate(m, found.policy).v, reference.v, 1e-9)
    np.testing.assert_array_equal(found.optimal_actions, reference.optimal_actions)


@pytest.mark.parametrize(("name", "gamma"), CASES)
def test_a_solution_solves_the_optimality_equation(name: str, gamma: float) -> None:
    m, found = problem(name, gamma), truth(name, gamma)
    assert_close(found.q.max(axis=1), found.v)
    assert np.all(found.v[m.terminal] == 0)
    assert np.all(found.policy.sum(axis=1) == ~m.terminal)
    assert np.all((found.policy == 0) | (found.policy == 1))
    assert np.all(found.optimal_actions[found.policy > 0])
    assert not found.optimal_actions[~m.admissible].any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("gamma", [0.5, 0.95, 1.0])
def test_no_policy_is_better_on_random_problems(seed: int, gamma: float, method: str) -> None:
    m = random_mdp(seed, gamma=gamma)
    found = solve(m, method=method)
    best = np.full(m.n_states, -np.inf)
    for choice in np.ndindex(*[max(int(k), 1) for k in m.admissible.sum(axis=1)]):
        pi = np.zeros(m.admissible.shape)
        for s in np.flatnonzero(~m.terminal):
            pi[s, np.flatnonzero(m.admissible[s])[choice[s]]] = 1
        best = np.maximum(best, evaluate(m, pi).v)
    assert np.abs(found.v - best).max() <= found.bound + 1e-12


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
def test_without_rewards_all_is_zero(gamma: float, method: str) -> None:
    corridor = problem("ShortCorridor", gamma)
    m = FiniteMDP.from_pairs(
        corridor.transition[:6], np.zeros(6), [0, 0, 1, 1, 2, 2], [0, 1] * 3, gamma=gamma, states=corridor.states
    )
    found = solve(m, method=method)
    assert found.converged
    assert (found.v == 0).all()
    assert found.optimal_actions.tolist() == m.admissible.tolist()


@pytest.mark.parametrize("gamma", [0.9, 0.999999, 1 - 1e-9])
@pytest.mark.parametrize("seed", range(10))
def test_policy_iteration_ends_close_to_gamma_one(seed: int, gamma: float) -> None:
    found = solve(random_mdp(seed, states=20, gamma=gamma), method="policy_iteration")
    assert found.iterations < 30


@pytest.mark.parametrize("tolerance", [1e-2, 1e-5, 1e-10])
def test_tolerance_is_kept(tolerance: float) -> None:
    m = problem("Gridworld5x5", 0.9)
    found = solve(m, method="value_iteration", tolerance=tolerance)
    assert np.abs(found.v - truth("Gridworld5x5", 0.9).v).max() <= found.bound <= tolerance


@pytest.mark.parametrize("method", ["value_iteration", "modified_policy_iteration"])
@pytest.mark.parametrize("tolerance", [1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("seed", range(5))
def test_bounds_are_bounds(seed: int, tolerance: float, method: str) -> None:
    m = random_mdp(seed, states=8, gamma=0.95)
    found, exact = solve(m, method=method, tolerance=tolerance), solve(m)
    assert np.abs(found.v - exact.v).max() <= found.bound <= tolerance
    assert np.all(found.optimal_actions[exact.policy > 0])


def test_a_bound_that_float64_cannot_reach_is_not_called_converged() -> None:
    found = solve(problem("Gridworld5x5", 0.9), method="value_iteration", tolerance=1e-20)
    assert not found.converged
    assert 1e-20 < found.bound < 1e-11


def test_progress_is_called_with_iteration_and_bound() -> None:
    seen: list[tuple[int, float]] = []
    solve(problem("Gridworld5x5", 0.9), method="value_iteration", progress=lambda k, error: seen.append((k, error)))
    assert [k for k, _ in seen] == list(range(1, len(seen) + 1))
    assert seen[-1][1] < seen[0][1]


def test_printed_progress_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    solve(problem("ShortCorridor", 1.0), progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "iteration 1" in err
    assert err.endswith("\n")


def test_a_bar_comes_on_a_terminal_after_a_second(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    m = problem("Gridworld5x5", 0.9)
    solve(m)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    solve(m)
    assert capsys.readouterr().err == ""  # no terminal, or no second
    monkeypatch.setattr("mdp.control.progress.PATIENCE", 0.0)
    monkeypatch.setattr("mdp.control.progress.PAUSE", 0.0)
    solve(m, progress=False)
    assert capsys.readouterr().err == ""
    solve(m, method="value_iteration", tolerance=1e-6)
    lines = capsys.readouterr().err.split("\r")
    filled = [line.count("#") for line in lines[1:]]
    assert filled == sorted(filled)
    assert filled[0] == 0
    assert filled[-1] > 35
    bounds = [float(line.split("within ")[1]) for line in lines[1:]]
    assert bounds[0] > 1
    assert bounds[-1] < 2e-6


def test_unknown_method_and_tolerance() -> None:
    m = problem("ShortCorridor", 1.0)
    with pytest.raises(ValueError, match=r"unknown method 'magic'.*policy_iteration"):
        solve(m, method="magic")
    with pytest.raises(ValueError, match="tolerance must be positive, not 0"):
        solve(m, tolerance=0)


# ---- gamma = 1 ----


@pytest.mark.parametrize("method", METHODS)
def test_frozen_lake_8x8_policy_is_proper(method: str) -> None:
    """The first of the tied actions never ends there."""
    m = FiniteMDP.from_gymnasium("FrozenLake-v1", gamma=1, map_name="8x8")
    found = solve(m, method=method)
    first = np.eye(m.n_actions)[found.optimal_actions.argmax(axis=1)] * ~m.terminal[:, None]
    assert len(never_ending(m, first)) > 0
    assert len(never_ending(m, found.policy)) == 0
    assert_close(evaluate(m, found.policy).v, found.v)
    assert_close(found.v[0], 1.0)


def loop(there: float, back: float, end: float = 1.0) -> FiniteMDP:
    """x and y reach one another with rewards `there` and `back`; x may end with reward `end`."""
    return FiniteMDP.from_outcomes(
        {("x", "go"): [(1, "y", there)], ("x", "end"): [(1, "done", end)], ("y", "go"): [(1, "x", back)]}, gamma=1
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("there", "back", "v"), [(0, 0, (1, 1)), (1, -1, (1, 0)), (-1, 1, (1, 2)), (-1, 0.5, (1, 1.5)), (-3, 3, (1, 4))]
)
def test_loops_that_pay_nothing_on_average(method: str, there: float, back: float, v: tuple[float, float]) -> None:
    m = loop(there, back)
    found = solve(m, method=method)
    assert_close(found.v[:2], v)
    assert found.converged
    assert len(never_ending(m, found.policy)) == 0
    assert found.optimal_actions[0].tolist() == [there + back == 0, True]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("end", [1.0, -5.0])
def test_v_is_the_supremum_over_policies_that_end(method: str, end: float) -> None:
    """To stay for ever would pay 0, more than -5: it is no proper policy."""
    assert_close(solve(loop(0, 0, end), method=method).v[:2], [end, end])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("there", "back"), [(1, -0.5), (1, 1), (2, -1)])
def test_reward_for_ever_is_refused(method: str, there: float, back: float) -> None:
    with pytest.raises(ValueError, match=r"positive reward can be earned for ever in states 'x', 'y'"):
        solve(loop(there, back), method=method)


@pytest.mark.parametrize("method", METHODS)
def test_no_way_to_end_is_refused(method: str) -> None:
    m = FiniteMDP.from_outcomes(
        {("a", 0): [(1, "end", 0)], ("b", 0): [(0.5, "trap", 0), (0.5, "end", 0)], ("trap", 0): [(1, "trap", -1)]},
        gamma=1,
    )
    with pytest.raises(ValueError, match=r"no policy surely ends from states 'b', 'trap'"):
        solve(m, method=method)


def test_the_refused_problems_have_answers_with_a_time_limit() -> None:
    assert_close(solve(unroll(loop(1, 1), 10)).v[0], 10.0)


def test_improper_optimal_ties_among_many_states() -> None:
    """A ring of free moves with one costly exit: the exit is taken where it is cheapest."""
    n = 12
    outcomes = {(s, step): [(1, (s + step) % n, 0.0)] for s in range(n) for step in (-1, 1)}
    ring = FiniteMDP.from_outcomes(outcomes | {(s, 0): [(1, "out", -1.0 - s)] for s in range(n)}, gamma=1)
    for method in METHODS:
        found = solve(ring, method=method)
        assert_close(found.v[:n], -np.ones(n))
        assert len(never_ending(ring, found.policy)) == 0


def test_small_values_beside_large_ones_are_improved() -> None:
    outcomes = {("big", "a"): [(1.0, "e", 1e12)], ("s", "a"): [(1.0, "e", 0.1)], ("s", "b"): [(1.0, "e", 0.9)]}
    m = FiniteMDP.from_outcomes(outcomes, gamma=1.0)
    assert solve(m).v.tolist() == [1e12, 0.9, 0.0]


def test_a_loop_whose_rows_sum_to_1_within_the_tolerance_earns_nothing() -> None:
    third = 0.33333333334
    outcomes = {
        ("s", "loop"): [(third, after, 0.0) for after in ("s", "t", "u")],
        ("s", "exit"): [(1.0, "e", 1000.0)],
        ("t", "loop"): [(1.0, "s", 0.0)],
        ("u", "loop"): [(1.0, "s", 0.0)],
    }
    np.testing.assert_allclose(solve(FiniteMDP.from_outcomes(outcomes, gamma=1.0)).v, [1000, 1000, 1000, 0])


@pytest.mark.parametrize(("leave", "message"), [(1e-17, "singular in float64"), (1e-14, "1e.14 steps on average")])
def test_episodes_longer_than_float64_can_tell_are_refused(leave: float, message: str) -> None:
    outcomes = {("s", 0): [(1 - leave, "s", -1.0), (leave, "e", -1.0)]}
    m = FiniteMDP.from_outcomes(outcomes, gamma=1.0)
    with pytest.raises(ValueError, match=message):
        evaluate(m, m.uniform_policy())


def test_rewards_that_overflow_name_the_state() -> None:
    m = FiniteMDP.from_outcomes({("s", 0): [(1.0, "t", 1e308)], ("t", 0): [(1.0, "e", 1e308)]}, gamma=1.0)
    with pytest.raises(ValueError, match="v of state 's' is inf: the rewards are too large"):
        evaluate(m, m.uniform_policy())
