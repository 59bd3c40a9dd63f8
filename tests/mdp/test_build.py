"""from_outcomes, from_arrays, from_pairs and from_gymnasium: four doors to one table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from envs import gridworld_4x4, recycling_robot, short_corridor
from mdp import FiniteMDP, solve
from mdp.model.build import BATCH, ROOM
from mdp.model.checking import _order
from mdp.model.table import Floats
from tests.worlds import assert_close, random_mdp


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


def objects(listed: list[Any]) -> Any:
    """A one-dimensional array of objects, as pymdptoolbox makes them."""
    array = np.empty(len(listed), dtype=object)
    array[:] = listed
    return array


FORMS: dict[str, Callable[[Floats, Floats], tuple[Any, Any]]] = {
    "dense": lambda P, R: (P, R),
    "sparse P": lambda P, R: (by_action(P), R),
    "sparse R": lambda P, R: (P, by_action(R)),
    "both sparse": lambda P, R: (tuple(by_action(P)), by_action(R)),
    "one sparse P": lambda P, R: (sparse.csr_array(P.reshape(-1, len(P))), R),
    "coo matrices": lambda P, R: ([sparse.coo_matrix(x) for x in by_action(P)], by_action(R)),
    "lists": lambda P, R: (P.tolist(), R.tolist()),
    "arrays of sparse arrays": lambda P, R: (objects(by_action(P)), objects(by_action(R))),
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


@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csc_matrix, sparse.coo_array])
def test_what_a_model_hands_out_makes_it_again(kind: Callable[[Any], Any]) -> None:
    m = recycling_robot()
    again = FiniteMDP.from_arrays(kind(m.transition), m.expected_reward, gamma=m.gamma, admissible=m.admissible)
    assert solve(again).v.tolist() == solve(m).v.tolist()


def test_arrays_are_copied_and_kept_small() -> None:
    """Whoever changes what was given changes no model; indices are 32 bits wide, numbered labels are a range."""
    P = sparse.csr_array(([0.5, 0.5, 1.0], [0, 1, 1], [0, 2, 3]), shape=(2, 2))
    R = np.array([[1.0], [2.0]])
    m = FiniteMDP.from_arrays(P, R, gamma=0.5)
    before = solve(m).v.copy()
    P.data[:], P.indices[:], R[:] = 0, 0, 9
    np.testing.assert_array_equal(solve(m.with_gamma(0.5)).v, before)
    assert m.table.after.dtype == m.table.starts.dtype == np.int32
    assert m.table.next.dtype == np.int64
    assert m.table.rewards.shape == (2, 1)
    assert m.states == (0, 1)
    assert (m.state_index(1), m.state_index(np.int64(1))) == (1, 1)
    for wrong in (2, -1, "0", None, [0]):
        with pytest.raises(ValueError, match=r"unknown state .*; the states are 0, 1"):
            m.state_index(wrong)  # type: ignore[arg-type]


def test_as_many_rewards_as_pairs_and_outcomes() -> None:
    """Two outcomes of one pair, none of another: one reward for each outcome, not for each pair."""
    m = FiniteMDP.from_outcomes({("s", "a"): [(0.5, "s", 1.0), (0.5, "t", 3.0)]}, gamma=0.5, states=["s", "t"])
    assert len(m.table.p) == m.n_states * m.n_actions
    assert m.expected_reward.tolist() == [[2.0], [0.0]]
    by_pair = FiniteMDP.from_arrays([[[0.5, 0.5]], [[0, 1]]], [[2.0], [0.0]], gamma=0.5)
    assert by_pair.expected_reward.tolist() == [[2.0], [0.0]]
    assert by_pair.table.reward.tolist() == [2.0, 2.0]


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
        ((3, 1, [3, 2]), [0.25, 0.75], ENDS, r"action 'r' leads to state 'z' with probability 0\.75 and reward 0;"),
        ((3, 1, 3), np.nan, ENDS, r"state 'goal' is given as terminal, .* with probability nan"),
    ],
)
def test_bad_rows(where: tuple[Any, ...], value: Any, terminal: list[bool] | None, message: str) -> None:
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
        ({"P": sparse.csr_array((9, 4))}, r"P has shape \(9, 4\), not \(S A, S\)"),
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


def test_the_action_first() -> None:
    """pymdptoolbox's P (A, S, S): the refusal says what to do, and that is right."""
    P, R = (x.swapaxes(0, 1) for x in corridor_arrays())
    with pytest.raises(ValueError, match=r"P has shape \(2, 4, 4\), .* as in pymdptoolbox, pass P\.swapaxes\(0, 1\)"):
        FiniteMDP.from_arrays(P, R, gamma=1)
    m = FiniteMDP.from_arrays(P.swapaxes(0, 1), R.swapaxes(0, 1), gamma=1, start=[1, 0, 0, 0])
    assert_same(m, short_corridor())


def test_the_forest_of_pymdptoolbox() -> None:
    """mdptoolbox.example.forest(), written out, and the value in its documentation: gamma .9, wait while it grows."""
    P = np.array([[[0.1, 0.9, 0], [0.1, 0, 0.9], [0.1, 0, 0.9]], [[1, 0, 0]] * 3])
    R = np.array([[0, 0], [0, 1], [4, 2]])
    for given in (P.swapaxes(0, 1), [sparse.csr_matrix(x) for x in P]):
        solution = solve(FiniteMDP.from_arrays(given, R, gamma=0.9), tolerance=1e-12)
        assert_close(solution.v, [26.244, 29.484, 33.484])
        assert solution.policy.argmax(axis=1).tolist() == [0, 0, 0]


# ---- pairs, and QuantEcon ----


def pairs(m: FiniteMDP) -> tuple[Floats, Floats, Any, Any]:
    """P (L, S), r (L,), and the indices of the admissible pairs."""
    s, a = np.nonzero(m.admissible)
    return m.transition.toarray()[s * m.n_actions + a], m.expected_reward[s, a], s, a


def in_expectation(m: FiniteMDP) -> FiniteMDP:
    """The same MDP, r(s, a) in the place of random rewards, through the door that is tested above."""
    P = m.transition.toarray().reshape(m.n_states, m.n_actions, -1)
    return FiniteMDP.from_arrays(
        P, m.expected_reward, gamma=m.gamma, start=m.start, terminal=m.terminal, admissible=m.admissible
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array, sparse.coo_matrix])
def test_pairs_say_what_arrays_say(form: Callable[[Floats], Any], seed: int) -> None:
    """In any order, dense or sparse."""
    m = random_mdp(seed)
    P, r, s, a = pairs(m)
    mixed = np.random.default_rng(seed).permutation(len(r))
    again = FiniteMDP.from_pairs(form(P[mixed]), r[mixed], s[mixed], a[mixed], gamma=m.gamma, start=m.start)
    assert_same(again, in_expectation(m))


def test_rewards_of_minus_infinity_are_not_admissible() -> None:
    m = random_mdp(1)
    P = m.transition.toarray().reshape(m.n_states, m.n_actions, -1)
    P[~m.admissible] = 1.0  # rows that are not read
    R = np.where(m.admissible, m.expected_reward, -np.inf)
    P[m.terminal], R[m.terminal] = np.eye(m.n_states)[m.terminal][:, None], 0
    assert_same(FiniteMDP.from_arrays(P, R, gamma=m.gamma, start=m.start), in_expectation(m))
    s, a = np.divmod(np.arange(R.size), m.n_actions)
    again = FiniteMDP.from_pairs(P.reshape(-1, m.n_states), R.ravel(), s, a, gamma=m.gamma, start=m.start)
    assert_same(again, in_expectation(m))
    with pytest.raises(ValueError, match="has the reward -inf; it must be a finite number"):
        FiniteMDP.from_arrays(P, R, gamma=m.gamma, admissible=np.ones(R.shape, bool))


def test_labels_and_ends_of_pairs() -> None:
    P = [[0.5, 0.5, 0], [0, 0, 1], [0, 1, 0]]
    named: dict[str, Any] = {"states": "xyz", "actions": ["l", "r", "never"], "observations": [4, 4, 5]}
    m = FiniteMDP.from_pairs(P, [1, 2, 0], [0, 0, 1], [0, 1, 1], gamma=0.5, start={"x": 1.0}, **named)
    assert m.outcomes("x", "l") == [(0.5, "x", 1.0), (0.5, "y", 1.0)]
    assert m.terminal.tolist() == [False, True, True]  # a loop with reward 0, and a state without pairs
    assert (m.n_actions, m.observations.tolist(), m.start.tolist()) == (3, [4, 4, 5], [1, 0, 0])
    with pytest.raises(ValueError, match="state 'x' is given as terminal, but action 'l' leads to"):
        FiniteMDP.from_pairs(P, [1, 2, 0], [0, 0, 1], [0, 1, 1], gamma=0.5, terminal=[True, False, False], **named)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"P": np.ones((3, 2, 2))}, r"P has shape \(3, 2, 2\) and R \(3,\); they must be \(L, S\) and \(L,\)"),
        ({"R": [0, 1]}, r"P has shape \(3, 2\) and R \(2,\)"),
        ({"s_indices": [0, 0, 2]}, r"s_indices\[2\] is 2; it must lie in 0 \.\. 1"),
        ({"s_indices": [0, 1]}, r"s_indices must be integers of shape \(3,\), not int64 of shape \(2,\)"),
        ({"a_indices": [0, 1.0, 0]}, "a_indices must be integers .* not float64"),
        ({"a_indices": [0, -1, 0]}, r"a_indices\[1\] is -1; it must be at least 0"),
        ({"actions": ["only"]}, r"a_indices\[1\] is 1; it must lie in 0 \.\. 0"),
        ({"a_indices": [0, 0, 0]}, "the pair s=0, a=0 is listed twice, in the rows 0 and 1"),
        ({"P": [[0.5, 0.5], [0, 0.9], [0, 1]]}, r"p\(\.\|s=0, a=1\) sums to 0\.9, not 1"),
        ({"P": [[0.5, 0.5], [0, 0], [0, 1]]}, r"p\(\.\|s=0, a=1\) sums to 0, not 1"),
        ({"R": [0, np.nan, 0]}, r"p\(\.\|s=0, a=1\) has the reward nan"),
        ({"R": [0, np.inf, 0]}, r"p\(\.\|s=0, a=1\) has the reward inf"),
        ({"states": "xyz"}, "3 states labels for 2 states"),
    ],
)
def test_bad_pairs(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"P": [[0.5, 0.5], [0, 1], [0, 1]], "R": [5, 10, -1], "gamma": 0.95}
    arguments |= {"s_indices": [0, 0, 1], "a_indices": [0, 1, 0]}
    with pytest.raises(ValueError, match=message):
        FiniteMDP.from_pairs(**(arguments | changes))


@pytest.mark.parametrize("sparsely", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_quantecon(seed: int, sparsely: bool) -> None:
    """Its product form, and its state-action-pair form, give what it computes itself."""
    markov = pytest.importorskip("quantecon").markov
    rng = np.random.default_rng(seed)
    Q = rng.dirichlet(np.ones(6), size=(6, 3)) * 1.0
    R = np.where(rng.random((6, 3)) < 0.3, -np.inf, rng.normal(size=(6, 3)))
    R[:, 0] = rng.normal(size=6)  # QuantEcon wants an action everywhere
    product = markov.DiscreteDP(R, Q, 0.9)
    listed = product.to_sa_pair_form(sparse=sparsely)
    expected = product.solve(method="policy_iteration")
    for m in (
        FiniteMDP.from_arrays(product.Q, product.R, gamma=product.beta),
        FiniteMDP.from_pairs(listed.Q, listed.R, listed.s_indices, listed.a_indices, gamma=listed.beta),
    ):
        solution = solve(m, tolerance=1e-12)
        assert_close(solution.v, expected.v)
        assert solution.policy.argmax(axis=1).tolist() == expected.sigma.tolist()


@pytest.mark.parametrize("most", [20, BATCH, ROOM * BATCH - 1, ROOM * BATCH + 100, 2**31 - 1, 2**63, 10**400])
@pytest.mark.parametrize("least", [0, -1, -(2**40)])
@pytest.mark.parametrize("named", [False, True])
def test_labels_that_are_whole_numbers(most: int, least: int, named: bool) -> None:
    """Of whatever size, with text between them, in order of first appearance or as given: the same MDP as by text."""
    rng = np.random.default_rng(most % 1000)
    numbers = [least, *(rng.integers(20, size=30)).tolist(), most]
    def listed(label: Any) -> Any:
        order = np.random.default_rng(1)
        return {(label(s), a): [(0.5, label(numbers[i]), float(i)), (0.5, label(numbers[j]), 1.0)]
                for s in dict.fromkeys(numbers[: len(numbers) // 2]) for a in range(2)
                for i, j in [order.integers(len(numbers), size=2).tolist()]}  # fmt: skip
    by_text = listed(str)
    states = list(dict.fromkeys([*(s for s, _ in by_text), *map(str, numbers)])) if named else None
    as_numbers = None if states is None else [*map(int, states)]
    text = FiniteMDP.from_outcomes(by_text, gamma=0.9, states=states)
    m = FiniteMDP.from_outcomes(listed(int), gamma=0.9, states=as_numbers)
    assert tuple(map(str, m.states)) == text.states
    for x, y in zip(m.table, text.table, strict=True):
        np.testing.assert_array_equal(x, y)


def test_labels_that_are_floats_or_bools() -> None:
    """0.5, inf and True are labels like others; True is 1, as it is in a dictionary."""
    m = FiniteMDP.from_outcomes({(0.5, 0): [(0.5, float("inf"), 1.0), (0.5, 0.5, 2.0)]}, gamma=0.9)
    assert m.states == (0.5, float("inf"))
    assert m.outcomes(0.5, 0) == [(0.5, 0.5, 2.0), (0.5, float("inf"), 1.0)]
    nan = float("nan")  # which is itself alone
    m = FiniteMDP.from_outcomes({(nan, 0): [(0.5, nan, 1.0), (0.5, 0.0, 2.0)]}, gamma=0.9)
    assert m.outcomes(nan, 0) == [(0.5, nan, 1.0), (0.5, 0.0, 2.0)]
    m = FiniteMDP.from_function([0.0, nan], [0], lambda *_: [(1.0, nan, 1.0)], gamma=0.9)
    assert m.outcomes(0.0, 0) == [(1.0, nan, 1.0)]
    m = FiniteMDP.from_outcomes({(1, 0): [(0.5, True, 1.0), (0.5, False, 2.0)]}, gamma=0.9)
    assert m.states == (1, False)
    assert m.outcomes(1, 0) == [(0.5, 1, 1.0), (0.5, False, 2.0)]


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


@pytest.mark.parametrize("shape", [(6, 2), (2**31, 4)])  # pair and s' as one number, and too large for one
def test_outcomes_in_any_order_are_sorted_by_pair_successor_and_reward(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(5)
    pair, after, reward = rng.integers(4, size=(3, 300))
    order = _order(pair, after, reward.astype(float), shape)
    found = list(zip(pair[order], after[order], reward[order], strict=True))
    assert found == sorted(zip(pair, after, reward, strict=True))
    assert len(set(order.tolist())) == 300


def test_a_zero_is_a_probability() -> None:
    """It is left out, and not what is named where another entry is wrong."""
    starts, after = np.array([0, 2, 4]), np.array([0, 1, 0, 1])
    P = sparse.csr_array((np.array([0.0, 1.0, 1.5, -0.5]), after, starts), shape=(2, 2))
    with pytest.raises(ValueError, match=r"^p\(\.\|s=1, a=0\) has the probability -0\.5; it must be a finite number"):
        FiniteMDP.from_arrays(P, np.zeros((2, 1)), gamma=0.9)


def test_rewards_of_pairs_are_weighted_with_what_is_there() -> None:
    """r(s,a) = sum of r p, where p sums to 1 within the tolerance alone."""
    P = sparse.csr_array((np.array([1 + 8e-10, 1.0]), np.array([1, 0]), np.array([0, 1, 2])), shape=(2, 2))
    r = FiniteMDP.from_arrays(P, np.array([[3.0], [2.0]]), gamma=0.9).expected_reward
    assert r.tolist() == [[3 * (1 + 8e-10)], [2.0]]
