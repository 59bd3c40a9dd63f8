"""from_outcomes, from_arrays and from_gymnasium: three doors to one table."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
from scipy import sparse

from envs import MDPEnv, gridworld_4x4, recycling_robot, short_corridor
from mdp import FiniteMDP, evaluate
from mdp.model.table import Floats
from tests.worlds import GYMNASIUM, assert_close, random_mdp


def assert_same(first: FiniteMDP, second: FiniteMDP) -> None:
    assert first.n_states == second.n_states
    for x, y in zip(first.table, second.table, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-15, atol=1e-15)
    for name in ("start", "terminal", "admissible"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def arrays(m: FiniteMDP) -> tuple[Floats, Floats]:
    """P (S, A, S) and R (S, A, S) of an MDP whose rewards are not random given s'; zero rows where nothing happens."""
    P = np.zeros((m.n_states, m.n_actions, m.n_states))
    R = np.zeros_like(P)
    for s, a, after, r, p in zip(*m.table, strict=True):
        P[s, a, after] += p
        R[s, a, after] = r
    return P, R


def by_action(x: Floats) -> list[Any]:
    return [sparse.csr_array(x[:, a]) for a in range(x.shape[1])]


FORMS: dict[str, Callable[[Floats, Floats], tuple[Any, Any]]] = {
    "dense": lambda P, R: (P, R),
    "sparse P": lambda P, R: (by_action(P), R),
    "sparse R": lambda P, R: (P, by_action(R)),
    "both sparse": lambda P, R: (tuple(by_action(P)), by_action(R)),
    "coo matrices": lambda P, R: ([sparse.coo_matrix(x) for x in by_action(P)], by_action(R)),
    "lists": lambda P, R: (P.tolist(), R.tolist()),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("make", [short_corridor, recycling_robot, gridworld_4x4])
def test_arrays_say_what_outcomes_say(make: Callable[[], FiniteMDP], form: str) -> None:
    m = make()
    P, R = FORMS[form](*arrays(m))
    again = FiniteMDP.from_arrays(
        P, R, gamma=m.gamma, start=m.start, terminal=m.terminal, admissible=m.admissible | m.terminal[:, None]
    )
    assert_same(m, again)


def corridor_arrays(loops: bool = True) -> tuple[Floats, Floats]:
    P, R = arrays(short_corridor())
    if loops:
        P[3, :, 3] = 1
    return P, R


@pytest.mark.parametrize("reward", ["(S,)", "(S, A)", "(S, A, S)"])
@pytest.mark.parametrize("sparsely", [False, True])
def test_all_forms_of_rewards(reward: str, sparsely: bool) -> None:
    P, _ = corridor_arrays()
    rng = np.random.default_rng(0)
    R = rng.normal(size=(4, 2, 4)[: reward.count("S") + reward.count("A")])
    R[3] = 0
    m = FiniteMDP.from_arrays(by_action(P) if sparsely else P, R, gamma=1)
    for s, a, after, r in zip(m.table.state, m.table.action, m.table.next, m.table.reward, strict=True):
        assert r == R[(s, a, after)[: R.ndim]]
    assert_close(m.expected_reward, (P * R.reshape(R.shape + (1,) * (3 - R.ndim))).sum(axis=2) * ~m.terminal[:, None])


@pytest.mark.parametrize("terminal", [None, [False, True]])
def test_sparse_entries_that_stand_twice(terminal: list[bool] | None) -> None:
    """Halves of a way, and halves of an absorbing loop."""
    P = sparse.coo_array(([0.5, 0.5, 0.5, 0.5], ([0, 0, 1, 1], [1, 1, 1, 1])), shape=(2, 2))
    m = FiniteMDP.from_arrays([P], [3.0, 0.0], gamma=1, terminal=terminal)
    assert m.outcomes(0, 0) == [(1.0, 1, 3.0)]
    assert m.terminal.tolist() == [False, True]


def test_absorbing_states_are_terminal() -> None:
    P, R = corridor_arrays()
    m = FiniteMDP.from_arrays(P, R, gamma=1, states=[0, 1, 2, "goal"], actions=["left", "right"], start=[1, 0, 0, 0])
    assert_same(m, short_corridor())
    assert m.states == short_corridor().states


@pytest.mark.parametrize(
    ("change", "terminal"),
    [
        ({"P": ((3, 0, 3), 0.5), "more": ((3, 0, 0), 0.5)}, False),  # it may leave
        ({"P": ((3, 0, 3), 1 - 1e-10), "more": ((3, 0, 0), 1e-10)}, False),  # it may leave, if hardly ever
        ({"R": ((3, 0, 3), 0.1)}, False),  # it is paid for staying
        ({}, True),
    ],
)
def test_what_is_absorbing(change: dict[str, Any], terminal: bool) -> None:
    P, R = corridor_arrays()
    for name, (where, value) in change.items():
        (R if name == "R" else P)[where] = value
    assert FiniteMDP.from_arrays(P, R, gamma=0.9).terminal.tolist() == [False, False, False, terminal]


@pytest.mark.parametrize("loops", [False, True])
def test_given_terminal_states(loops: bool) -> None:
    P, R = corridor_arrays(loops)
    m = FiniteMDP.from_arrays(P, R, gamma=1, terminal=[False, False, False, True])
    assert m.terminal.tolist() == [False, False, False, True]
    none = FiniteMDP.from_arrays(*corridor_arrays(), gamma=0.9, terminal=np.zeros(4, bool))
    assert not none.terminal.any()


def test_rows_of_inadmissible_pairs_are_not_read() -> None:
    P, R = corridor_arrays()
    P[1, 0] = np.nan
    admissible = np.ones((4, 2), bool)
    admissible[1, 0] = False
    m = FiniteMDP.from_arrays(P, R, gamma=1, admissible=admissible)
    assert m.admissible.tolist() == [[True, True], [False, True], [True, True], [False, False]]


NAMES: dict[str, Any] = {"states": ["x", "y", "z", "goal"], "actions": ["l", "r"]}
ENDS = [False, False, False, True]


@pytest.mark.parametrize(
    ("where", "value", "terminal", "message"),
    [
        ((1, 0), 0.0, None, r"p\(\.\|s='y', a='l'\) sums to 0, not 1"),
        ((1, 0), 0.0, ENDS, r"p\(\.\|s='y', a='l'\) sums to 0, not 1"),
        ((1, 0, 2), 0.9, None, r"p\(\.\|s='y', a='l'\) sums to 0\.9, not 1"),
        ((1, 0, 2), -1.0, None, r"p\(\.\|s='y', a='l'\) has the probability -1"),
        ((1, 0, 2), np.nan, None, r"p\(\.\|s='y', a='l'\) has the probability nan"),
        ((3, 1, 0), 1.0, ENDS, r"state 'goal' is given as terminal, but action 'r' leads to state 'x'"),
        ((3, 1, 3), 0.5, ENDS, r"state 'goal' is given as terminal, .* with probability 0\.5"),
        ((3, 1, 3), np.nan, ENDS, r"state 'goal' is given as terminal, .* with probability nan"),
    ],
)
def test_bad_rows(where: tuple[int, ...], value: float, terminal: list[bool] | None, message: str) -> None:
    P, R = corridor_arrays()
    P[where] = value
    with pytest.raises(ValueError, match=message):
        FiniteMDP.from_arrays(P, R, gamma=1, terminal=terminal, **NAMES)


def test_a_terminal_state_that_pays() -> None:
    P, R = corridor_arrays()
    R[3, 0, 3] = 2
    with pytest.raises(ValueError, match=r"state 3 is given as terminal, but action 0 .* reward 2"):
        FiniteMDP.from_arrays(P, R, gamma=0.9, terminal=ENDS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"P": np.ones((4, 2, 3))}, r"P has shape \(4, 2, 3\), not \(S, A, S\)"),
        ({"P": np.eye(4)}, r"P has shape \(4, 4\), not \(S, A, S\)"),
        ({"P": [sparse.eye_array(4), sparse.eye_array(3)]}, "needs one .S, S. for each action"),
        ({"R": np.zeros(3)}, r"R has shape \(3,\); it may be \(4,\), \(4, 2\), \(4, 2, 4\)"),
        ({"R": [sparse.eye_array(4)]}, "R has the sizes"),
        ({"R": np.full(4, np.nan)}, r"p\(\.\|s=0, a=0\) has the reward nan"),
        ({"terminal": [0, 0, 0, 1]}, r"terminal must be bool of shape \(4,\), not int64"),
        ({"terminal": [True]}, r"terminal must be bool of shape \(4,\)"),
        ({"admissible": np.ones((2, 4), bool)}, r"admissible must be bool of shape \(4, 2\)"),
        ({"states": ["x"]}, "1 states labels for 4 states"),
        ({"actions": "lrx"}, "3 actions labels for 2 actions"),
    ],
)
def test_bad_arrays(changes: dict[str, Any], message: str) -> None:
    P, R = corridor_arrays()
    arguments: dict[str, Any] = {"P": P, "R": R, "gamma": 1}
    with pytest.raises(ValueError, match=message):
        FiniteMDP.from_arrays(**(arguments | changes))


# ---- Gymnasium ----


@pytest.mark.parametrize("id", GYMNASIUM)
def test_gymnasium_tables(id: str) -> None:
    """Every outcome of env.unwrapped.P stands in the table, and one terminal state comes last."""
    env: Any = gymnasium.make(id).unwrapped
    m = FiniteMDP.from_gymnasium(id, gamma=0.9)
    n = len(env.P)
    assert m.states == (*range(n), "terminal")
    assert m.terminal.tolist() == [False] * n + [True]
    assert_close(m.start[:n], env.initial_state_distrib, 1e-15)
    for s, by in env.P.items():
        for a, listed in by.items():
            expected: dict[tuple[Any, float], float] = {}
            for p, after, r, terminated in listed:
                key = ("terminal" if terminated else after, float(r))
                expected[key] = expected.get(key, 0) + p
            assert {(after, r): p for p, after, r in m.outcomes(s, a)} == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("id", GYMNASIUM)
def test_gymnasium_and_arrays_agree(id: str) -> None:
    m = FiniteMDP.from_gymnasium(id, gamma=0.9)
    again = FiniteMDP.from_arrays(*arrays(m), gamma=0.9, start=m.start, terminal=m.terminal)
    assert_same(m, again)


def test_an_environment_with_its_own_table() -> None:
    env = MDPEnv(short_corridor())
    m = FiniteMDP.from_gymnasium(env, gamma=0.9)
    assert m.gamma == 0.9
    assert_same(m, short_corridor(0.9))
    assert np.array_equal(m.observations, short_corridor().observations)
    assert FiniteMDP.from_gymnasium(env, gamma=1, start=[0, 1, 0, 0]).start.tolist() == [0, 1, 0, 0]


def test_an_environment_or_its_id() -> None:
    arguments: dict[str, Any] = {"map_name": "8x8", "is_slippery": False}
    by_id = FiniteMDP.from_gymnasium("FrozenLake-v1", gamma=1, **arguments)
    assert by_id.n_states == 65
    assert_same(by_id, FiniteMDP.from_gymnasium(gymnasium.make("FrozenLake-v1", **arguments), gamma=1))


@pytest.mark.parametrize("padded", [False, True])
def test_a_start_of_ones_own(padded: bool) -> None:
    start = np.eye(16 + padded)[14]
    m = FiniteMDP.from_gymnasium("FrozenLake-v1", gamma=1, start=start)
    assert m.start.tolist() == np.eye(17)[14].tolist()
    evaluation = evaluate(m, m.uniform_policy())
    assert evaluation.objective == evaluation.v[14]


@pytest.mark.filterwarnings("ignore:.*out of date")
@pytest.mark.parametrize(("old", "new"), [("Taxi-v3", "Taxi-v4"), ("CliffWalking-v0", "CliffWalking-v1")])
def test_ids_that_are_gone_name_what_took_their_place(old: str, new: str) -> None:
    with pytest.raises(ValueError, match=f"{old} is gone from Gymnasium; {new} took its place"):
        FiniteMDP.from_gymnasium(old, gamma=1)


@pytest.mark.parametrize("id", ["NoSuchThing-v0", "no_such_module:Thing-v0", "not an id"])
def test_unknown_ids(id: str) -> None:
    with pytest.raises(ValueError, match=f"Gymnasium cannot make '{id}'"):
        FiniteMDP.from_gymnasium(id, gamma=1)


def test_an_environment_without_a_table() -> None:
    with pytest.raises(ValueError, match="CartPole-v1 has no table P"):
        FiniteMDP.from_gymnasium("CartPole-v1", gamma=1)


def test_an_environment_without_a_start() -> None:
    bare = SimpleNamespace(P={0: {0: [(1.0, 0, 1.0, True)]}})
    bare.unwrapped = bare
    with pytest.raises(ValueError, match="no initial_state_distrib: pass start="):
        FiniteMDP.from_gymnasium(bare, gamma=1)
    assert FiniteMDP.from_gymnasium(bare, gamma=1, start=[1.0]).outcomes(0, 0) == [(1.0, "terminal", 1.0)]


def test_random_rewards_survive_sums() -> None:
    """A pair with one s' and two rewards is not two states: its expected reward is the mean."""
    m = random_mdp(0)
    s, a = np.argwhere(m.admissible)[0]
    listed = m.outcomes(m.states[s], m.actions[a])
    assert len(listed) > len({after for _, after, _ in listed})
    assert_close(m.expected_reward[s, a], sum(p * r for p, _, r in listed), 1e-14)


@pytest.mark.parametrize("outcome", [(1.0, "e"), (1.0, "e", "much"), 0.5, ("x", "e", 1.0)])
def test_an_outcome_that_is_no_triple_names_its_pair(outcome: object) -> None:
    with pytest.raises(ValueError, match=r"p\(.\|s='s', a=0\) has the outcome .*; it must be"):
        FiniteMDP.from_outcomes({("s", 0): [outcome]}, gamma=1.0)  # type: ignore[list-item]
