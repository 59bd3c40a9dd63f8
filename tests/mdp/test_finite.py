"""FiniteMDP: labels, the table, what it hands out, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from envs import recycling_robot, short_corridor
from mdp import FiniteMDP
from tests.worlds import assert_close, random_mdp

Outcomes = dict[tuple[Any, Any], list[tuple[float, Any, float]]]
GOOD: Outcomes = {
    ("A", "left"): [(0.25, "B", 1.0), (0.5, "end", 0.0), (0.25, "B", 2.0)],
    ("B", "left"): [(1.0, "end", -1.0)],
    ("B", "right"): [(0.5, "A", 3.0), (0.5, "A", 3.0)],
}


def test_labels_in_order_of_appearance() -> None:
    m = FiniteMDP.from_outcomes(GOOD, gamma=0.5)
    assert m.states == ("A", "B", "end")
    assert m.actions == ("left", "right")
    assert m.terminal.tolist() == [False, False, True]
    assert m.admissible.tolist() == [[True, False], [True, True], [False, False]]
    assert m.start.tolist() == [0.5, 0.5, 0]
    assert m.observations.tolist() == [0, 1, 2]
    assert repr(m) == "FiniteMDP(3 states, 1 of them terminal, 2 actions, 5 outcomes, gamma 0.5)"


def test_given_labels_keep_their_order() -> None:
    m = FiniteMDP.from_outcomes(GOOD, gamma=0.5, states=["end", "B", "A", "unused"], actions=["right", "left"])
    assert m.states == ("end", "B", "A", "unused")
    assert m.terminal.tolist() == [True, False, False, True]
    assert m.outcomes("B", "left") == [(1.0, "end", -1.0)]


@pytest.mark.parametrize("label", [None, 0, (1, ("x", 2.5)), frozenset({1})])
def test_any_hashable_label(label: Any) -> None:
    m = FiniteMDP.from_outcomes({(label, label): [(1.0, "end", 0.0)]}, gamma=1, start={label: 1})
    assert m.state_index(label) == 0
    assert m.p("end", 0.0, label, label) == 1


def test_the_table() -> None:
    m = FiniteMDP.from_outcomes(GOOD, gamma=0.5)
    assert m.outcomes("A", "left") == [(0.25, "B", 1.0), (0.25, "B", 2.0), (0.5, "end", 0.0)]
    assert m.outcomes("A", "right") == []
    assert m.outcomes("B", "right") == [(1.0, "A", 3.0)]  # equal (s', r) are one outcome
    assert m.p("B", 2.0, "A", "left") == 0.25
    assert m.p("B", 2.0 + 1e-15, "A", "left") == 0
    assert isinstance(m.p("B", 7.0, "A", "left"), float)
    assert m.expected_reward.tolist() == [[0.75, 0], [-1, 3], [0, 0]]
    assert m.transition.toarray().tolist() == [[0, 0.5, 0.5], [0] * 3, [0, 0, 1], [1, 0, 0], [0] * 3, [0] * 3]


@pytest.mark.parametrize("seed", range(4))
def test_p_sums_to_one(seed: int) -> None:
    m = random_mdp(seed)
    for s, a in np.argwhere(m.admissible):
        listed = m.outcomes(m.states[s], m.actions[a])
        assert_close(sum(m.p(after, r, m.states[s], m.actions[a]) for _, after, r in listed), 1.0, 1e-14)


def test_backup() -> None:
    m = FiniteMDP.from_outcomes(GOOD, gamma=0.5)
    assert m.backup([10.0, 20.0, 0.0]).tolist() == [[5.75, -np.inf], [-1, 8], [0, 0]]


def test_uniform_policy() -> None:
    assert recycling_robot().uniform_policy().tolist() == [[0.5, 0.5, 0], [1 / 3] * 3]
    assert short_corridor().uniform_policy()[3].tolist() == [0, 0]


def test_with_gamma() -> None:
    m = FiniteMDP.from_outcomes(GOOD, gamma=0.5, start={"A": 0.2, "B": 0.8}, observations=[[1.0], [1.0], [2.0]])
    other = m.with_gamma(1)
    assert (other.gamma, m.gamma) == (1.0, 0.5)
    assert (other.states, other.actions) == (m.states, m.actions)
    assert np.array_equal(other.start, m.start)
    assert np.array_equal(other.observations, m.observations)
    assert other.backup(np.ones(3))[:2, 0].tolist() == [1.75, 0]


@pytest.mark.parametrize("name", ["start", "terminal", "admissible", "observations", "expected_reward"])
def test_arrays_are_read_only(name: str) -> None:
    array = getattr(FiniteMDP.from_outcomes(GOOD, gamma=0.5), name)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 0


def test_the_table_is_read_only() -> None:
    m = FiniteMDP.from_outcomes(GOOD, gamma=0.5)
    for column in (*m.table, m.transition.data, m.transition.indices, m.transition.indptr):
        assert not column.flags.writeable
    with pytest.raises(AttributeError):
        m.gamma = 1  # type: ignore[misc]


def test_given_arrays_stay_the_callers() -> None:
    start, seen = np.array([0.5, 0.5, 0]), np.zeros((3, 2))
    FiniteMDP.from_outcomes(GOOD, gamma=0.5, start=start, observations=seen)
    start[0] = seen[0] = 9


def test_the_order_of_outcomes_does_not_matter() -> None:
    backwards = {pair: listed[::-1] for pair, listed in reversed(GOOD.items())}
    first = FiniteMDP.from_outcomes(GOOD, gamma=0.5)
    second = FiniteMDP.from_outcomes(backwards, gamma=0.5, states=first.states, actions=first.actions)
    for x, y in zip(first.table, second.table, strict=True):
        assert np.array_equal(x, y)


# ---- bad input ----


def broken(**changes: Any) -> None:
    arguments: dict[str, Any] = {"outcomes": GOOD, "gamma": 0.5}
    FiniteMDP.from_outcomes(**(arguments | changes))


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ([(-0.5, "A", 0.0), (1.5, "end", 0.0)], r"p\(\.\|s='B', a='left'\) has the probability -0\.5"),
        ([(np.nan, "A", 0.0)], r"p\(\.\|s='B', a='left'\) has the probability nan"),
        ([(np.inf, "A", 0.0)], r"p\(\.\|s='B', a='left'\) has the probability inf"),
        ([(0.9, "A", 0.0)], r"p\(\.\|s='B', a='left'\) sums to 0\.9, not 1"),
        ([(1 - 2e-9, "A", 0.0)], r"p\(\.\|s='B', a='left'\) sums to 0\.999999998, not 1"),
        ([(0.0, "A", 0.0)], r"p\(\.\|s='B', a='left'\) sums to 0, not 1"),
        ([(1.0, "A", np.nan)], r"p\(\.\|s='B', a='left'\) has the reward nan"),
        ([(1.0, "A", -np.inf)], r"p\(\.\|s='B', a='left'\) has the reward -inf"),
        ([], r"p\(\.\|s='B', a='left'\) has no outcome"),
    ],
)
def test_bad_outcomes(listed: list[tuple[float, str, float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        broken(outcomes=GOOD | {("B", "left"): listed})


def test_a_sum_within_the_tolerance() -> None:
    broken(outcomes=GOOD | {("B", "left"): [(1 - 5e-10, "A", 0.0)]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"states": ["A", "B"]}, r"p\(\.\|s='A', a='left'\) names the unknown state 'end'"),
        ({"states": ["B", "end"]}, r"p\(\.\|s='A', a='left'\) names the unknown state 'A'"),
        ({"actions": ["left"]}, r"p\(\.\|s='B', a='right'\) names the unknown action 'right'"),
        ({"states": ["A", "B", "end", "A"]}, "the state label 'A' stands twice, at 0 and 3"),
        ({"actions": ["left", "right", "left"]}, "the action label 'left' stands twice, at 0 and 2"),
        ({"outcomes": {"AB": [(1, "A", 0)]}}, "outcomes has the key 'AB'; a key is a pair"),
        ({"outcomes": {}}, "every state is terminal"),
        ({"gamma": 1.7}, r"gamma must lie in \[0, 1\], not 1\.7"),
        ({"gamma": -0.1}, r"gamma must lie in \[0, 1\], not -0\.1"),
        ({"gamma": np.nan}, r"gamma must lie in \[0, 1\], not nan"),
        ({"start": [0.5, 0.4, 0]}, r"start sums to 0\.9, not 1"),
        ({"start": [1.5, -0.5, 0]}, r"start gives 'B' the probability -0\.5"),
        ({"start": [np.nan, 1, 0]}, r"start gives 'A' the probability nan"),
        ({"start": [0.5, 0.5]}, r"start has shape \(2,\)"),
        ({"start": [0.5, 0, 0.5]}, r"start puts probability 0\.5 on 'end', which is terminal"),
        ({"start": {"C": 1.0}}, "start names the unknown state 'C'"),
        ({"observations": [0, 1]}, r"observations have shape \(2,\), not one row for each of 3 states"),
        ({"observations": 3}, r"observations have shape \(\)"),
        ({"observations": ["a", "b", "c"]}, "observations must be finite numbers"),
        ({"observations": [0, 1, np.nan]}, "observations must be finite numbers"),
    ],
)
def test_bad_arguments(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        broken(**changes)


@pytest.mark.parametrize("gamma", ["0.9", None, True])
def test_gamma_that_is_no_number(gamma: Any) -> None:
    with pytest.raises(TypeError, match=f"gamma must be a number in .*{gamma!r}"):
        broken(gamma=gamma)


def test_unknown_labels_are_named() -> None:
    m = FiniteMDP.from_outcomes(GOOD, gamma=0.5)
    with pytest.raises(ValueError, match="unknown state 'C'; the states are 'A', 'B', 'end'"):
        m.outcomes("C", "left")
    with pytest.raises(ValueError, match="unknown action 'up'; the actions are 'left', 'right'"):
        m.p("A", 0.0, "A", "up")
    with pytest.raises(ValueError, match="unknown state 'C'"):
        m.p("C", 0.0, "A", "left")
    with pytest.raises(ValueError, match=r"unknown state \['A'\]"):
        m.state_index(["A"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"the states are 0, 1, 2, 3, 4, 5, 6, 7, \.\.\.$"):
        FiniteMDP.from_arrays(np.eye(9)[:, None], np.ones(9), gamma=0.5).state_index(9)
