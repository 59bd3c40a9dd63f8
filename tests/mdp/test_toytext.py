"""from_gymnasium: tables that environments carry, and what is wrong with them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest

from envs import MDPEnv, short_corridor
from mdp import FiniteMDP, evaluate
from tests.mdp.test_build import arrays, assert_same
from tests.worlds import GYMNASIUM, assert_close


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
    bare = carrying({0: {0: [(1.0, 0, 1.0, True)]}})
    with pytest.raises(ValueError, match="no initial_state_distrib: pass start="):
        FiniteMDP.from_gymnasium(bare, gamma=1)
    assert FiniteMDP.from_gymnasium(bare, gamma=1, start=[1.0]).outcomes(0, 0) == [(1.0, "terminal", 1.0)]


GOOD_TABLE: Any = {0: {0: [(1.0, 1, 0.0, False)], 1: [(0.5, 0, 1.0, True), (0.5, 1, 1, 0)]}, 1: {1: [(1, 1, 2, True)]}}


def carrying(table: Any) -> Any:
    """An environment with this P."""
    env = SimpleNamespace(P=table)
    env.unwrapped = env
    return env


def test_a_table_with_fewer_actions_in_some_states() -> None:
    m = FiniteMDP.from_gymnasium(carrying(GOOD_TABLE), gamma=1, start={1: 1.0})
    assert m.admissible.tolist() == [[True, True], [False, True], [False, False]]
    assert m.outcomes(0, 1) == [(0.5, 1, 1.0), (0.5, "terminal", 1.0)]
    assert m.start.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("s", "a", "outcomes", "message"),
    [
        (0, 0, [(1.0, 1, 0.0)], r"P\[0\]\[0\] has the outcome \(1\.0, 1, 0\.0\); it must be \(p, s', r, terminated\)"),
        (1, 1, [(1.0, 1, "much", False)], r"P\[1\]\[1\] has the outcome \(1\.0, 1, 'much', False\); it must be"),
        (1, 0, [None], r"P\[1\]\[0\] has the outcome None"),
        (1, 0, [(1.0, 2, 0.0, False)], r"P\[1\]\[0\] names the state 2; there are 0 \.\. 1"),
        (1, 0, [(1.0, -1, 0.0, False)], r"P\[1\]\[0\] names the state -1; there are 0 \.\. 1"),
        (1, 0, [(1.0, 0.5, 0.0, False)], r"P\[1\]\[0\] names the state 0\.5; there are"),
        (5, 0, [(1.0, 0, 0.0, False)], r"P\[5\]\[0\] names the state 5; there are 0 \.\. 2"),
        (1, 7, [(1.0, 0, 0.0, False)], r"P\[1\]\[7\] names the action 7; there are 0 \.\. 1"),
    ],
)
def test_a_bad_table_of_gymnasium(s: Any, a: Any, outcomes: Any, message: str) -> None:
    table = {state: dict(of) for state, of in GOOD_TABLE.items()}
    table.setdefault(s, {})[a] = outcomes
    with pytest.raises(ValueError, match=message):
        FiniteMDP.from_gymnasium(carrying(table), gamma=1, start={1: 1.0})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({0: [(1.0, 0, 0.0, True)]}, r"P\[0\] is \[\(1\.0, 0, 0\.0, True\)\]; it must be \{action: \[\(p, s', r, "),
        ({0: {0: 7}}, r"P\[0\]\[0\] is 7; it must be \[\(p, s', r, terminated\), \.\.\.\]"),
        ({}, r"the table P of SimpleNamespace is not \{s: \{a: \[\(p, s', r, terminated\), \.\.\.\]\}\}"),
        ({0: {0: [(1.0, 0.5, 0.0, False)]}}, r"P\[0\]\[0\] names the state 0\.5; there are 0 \.\. 0"),
    ],
)
def test_what_is_no_table_of_gymnasium(table: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FiniteMDP.from_gymnasium(carrying(table), gamma=1, start=[1.0])


def test_a_table_of_gymnasium_in_any_order_and_kind_of_number() -> None:
    """Whole numbers may be floats, states and actions may stand in any order."""
    mixed = {1: {1: [(1.0, 1.0, 2, np.True_)]},
             0: {1: [(0.5, 0, 1.0, True), (0.5, 1.0, 1, 0)], 0: [(1, 1.0, 0, False)]}}  # fmt: skip
    m = FiniteMDP.from_gymnasium(carrying(GOOD_TABLE), gamma=1, start={1: 1.0})
    again = FiniteMDP.from_gymnasium(carrying(mixed), gamma=1, start={1: 1.0})
    for x, y in zip(m.table, again.table, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("env", GYMNASIUM)
def test_a_table_of_gymnasium_is_the_same_however_it_is_read(env: str) -> None:
    """As it is; with a last state that is unlike the others; in other kinds of number; states and actions backwards."""
    P = gymnasium.make(env).unwrapped.P  # type: ignore[attr-defined]
    last = max(P)
    halved = {s: {a: [(p / 2, *x) for p, *x in of for _ in range(2)] if s == last else of for a, of in by.items()}
              for s, by in P.items()}  # fmt: skip
    kinds = {s: {a: [(np.float64(p), np.int64(after), float(r), np.bool_(over)) for p, after, r, over in of]
                 for a, of in by.items()} for s, by in P.items()}  # fmt: skip
    backwards = {s: dict(reversed(P[s].items())) for s in reversed(P)}
    tables = [
        FiniteMDP.from_gymnasium(carrying(table), gamma=1, start={0: 1.0}).table
        for table in (P, halved, kinds, backwards)
    ]
    written = {
        (s, a): [(p, "terminal" if over else after, float(r)) for p, after, r, over in of]
        for s, by in P.items()
        for a, of in by.items()
    }
    labels = (*range(len(P)), "terminal")
    tables.append(FiniteMDP.from_outcomes(written, states=labels, actions=range(len(P[0])), gamma=1).table)
    for other in tables[1:]:
        for x, y in zip(tables[0], other, strict=True):
            np.testing.assert_array_equal(x, y)
