"""Loops at gamma = 1 that are nearly free: v* goes through them, or is infinite, whatever else may be done there."""

from __future__ import annotations

import pytest

from mdp import FiniteMDP, solve

METHODS = ("auto", "value_iteration", "modified_policy_iteration", "linear_programming")


def ladder(n: int, up: float, down: float, hopeless: float) -> FiniteMDP:
    """1 for leaving any rung; up and down between them; and an action that nobody would take."""
    outcomes: dict[tuple[int, str], list[tuple[float, object, float]]] = {}
    for k in range(n + 1):
        outcomes[k, "leave"] = [(1.0, "end", 1.0)]
        outcomes[k, "hopeless"] = [(1.0, "end", -hopeless)]
        if k < n:
            outcomes[k, "up"] = [(1.0, k + 1, up)]
        if k > 0:
            outcomes[k, "down"] = [(1.0, k - 1, down)]
    return FiniteMDP.from_outcomes(outcomes, gamma=1.0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("n", "up", "hopeless"), [(100, 9e-7, 1e6), (1, 0.5, 1e12), (30, 0.25, 0.0)])
def test_all_the_way_up(n: int, up: float, hopeless: float, method: str) -> None:
    """v*(k) = 1 + up (n - k), however bad another action is."""
    m = ladder(n, up, -up, hopeless)
    found = solve(m, method=method)
    assert found.converged
    for k in range(n + 1):
        assert abs(found.v[m.state_index(k)] - (1 + up * (n - k))) <= found.bound + 1e-15


@pytest.mark.parametrize("method", METHODS)
def test_a_loop_that_pays_beside_a_hopeless_action(method: str) -> None:
    with pytest.raises(ValueError, match="positive reward can be earned for ever in states"):
        solve(ladder(100, 9e-7, -1e-7, 1e6), method=method)


@pytest.mark.parametrize("method", METHODS)
def test_steps_that_are_taken_for_rounding_are_not_proven_to_be(method: str) -> None:
    """A thousand steps of 5e-13: v is off by 5e-10, and nothing smaller is said."""
    m = ladder(1000, 5e-13, -5e-13, 0.0)
    found = solve(m, method=method)
    assert abs(found.v[m.state_index(0)] - (1 + 5e-10)) <= found.bound
