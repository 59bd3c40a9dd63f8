"""v, q, eta and J against sums of powers, enumeration and one another."""

from __future__ import annotations

import copy
import pickle
from itertools import islice

import numpy as np
import pytest

from envs import recycling_robot, short_corridor
from mdp import FiniteMDP, enumerate_trajectories, evaluate, occupancy, solve, sweeps
from mdp.model.table import Floats
from tests.worlds import assert_close, discounted_sum, random_mdp, random_policy


def dense_chain(m: FiniteMDP, pi: Floats) -> tuple[Floats, Floats]:
    """(P_pi (S, S), r_pi (S,)), from the outcomes one by one."""
    P, r = np.zeros((m.n_states, m.n_states)), np.zeros(m.n_states)
    for s, a, after, reward, p in zip(*m.table, strict=True):
        P[s, after] += pi[s, a] * p
        r[s] += pi[s, a] * p * reward
    return P, r


@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_sums_of_powers(seed: int, gamma: float) -> None:
    m = random_mdp(seed, gamma=gamma)
    pi = random_policy(m, seed)
    P, r = dense_chain(m, pi)
    v, eta, front = np.zeros(m.n_states), np.zeros(m.n_states), np.eye(m.n_states)
    for _ in range(5000):
        v, eta, front = v + front @ r, eta + m.start @ front, gamma * front @ P
    evaluation = evaluate(m, pi)
    assert_close(evaluation.v, v, 1e-12)
    assert_close(evaluation.objective, m.start @ v, 1e-12)
    assert_close(occupancy(m, pi), np.where(m.terminal, 0, eta), 1e-12)
    assert_close(occupancy(m, pi) @ r, evaluation.objective, 1e-12)


@pytest.mark.parametrize("gamma", [0.5, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_values_are_expected_returns(seed: int, gamma: float) -> None:
    m = random_mdp(seed, acyclic=True, gamma=gamma)
    pi = random_policy(m, seed)
    played = list(enumerate_trajectories(m, pi))
    v = np.zeros(m.n_states)
    for p, trajectory in played:
        s = trajectory.states[0]
        v[s] += p / m.start[s] * discounted_sum(trajectory.rewards, gamma)
    assert_close(evaluate(m, pi).v, v, 1e-12)


def test_q_where_nothing_can_be_done() -> None:
    m = recycling_robot()
    assert evaluate(m, m.uniform_policy()).q[0, m.action_index("recharge")] == -np.inf
    corridor = short_corridor()
    v, q, _ = evaluate(corridor, corridor.uniform_policy())
    assert v[3] == 0
    assert q[3].tolist() == [0, 0]
    assert occupancy(corridor, corridor.uniform_policy())[3] == 0


def test_occupancy_sums() -> None:
    robot, corridor = recycling_robot(), short_corridor()
    assert_close(occupancy(robot, robot.uniform_policy()).sum(), 1 / (1 - 0.9))
    assert_close(occupancy(corridor, corridor.uniform_policy()).sum(), 12)  # steps, each of which pays -1


def test_terminal_rows_are_not_read() -> None:
    m = short_corridor()
    pi = m.uniform_policy().copy()
    pi[3] = [7.0, -2.0]
    assert evaluate(m, pi).objective == evaluate(m, m.uniform_policy()).objective


@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
def test_sweeps_are_returns_of_k_steps(gamma: float) -> None:
    m = random_mdp(3, gamma=gamma)
    pi = random_policy(m, 3)
    P, r = dense_chain(m, pi)
    expected = np.zeros(m.n_states)
    for v in islice(sweeps(m, pi), 6):
        assert_close(v, expected, 1e-13)
        expected = r + gamma * P @ expected
    assert_close(next(islice(sweeps(m), 2000, None)), solve(m).v)


def test_every_sweep_is_a_new_array() -> None:
    iterator = sweeps(short_corridor())
    first = next(iterator)
    assert first.tolist() == [0, 0, 0, 0]
    first += 7  # is the caller's
    assert next(iterator).tolist() == [-1, -1, -1, 0]


# ---- bad input ----

RIGHT = [0.0, 1.0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0.5, 0.5]] * 3, r"the policy has shape \(3, 2\), not \(S, A\) = \(4, 2\)"),
        ([RIGHT, [0.5, 0.4], RIGHT, RIGHT], r"pi\(\.\|s=1\) sums to 0\.9, not 1"),
        ([RIGHT, RIGHT, [-0.1, 1.1], RIGHT], r"pi\(a='left'\|s=2\) is -0\.1"),
        ([RIGHT, [0.0, np.nan], RIGHT, RIGHT], r"pi\(a='right'\|s=1\) is nan"),
        ([[np.inf, 0.0], RIGHT, RIGHT, RIGHT], r"pi\(a='left'\|s=0\) is inf"),
    ],
)
def test_what_is_no_policy(rows: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(short_corridor(), rows)


def test_mass_on_an_inadmissible_action() -> None:
    with pytest.raises(ValueError, match=r"pi\(a='recharge'\|s='high'\) is 0\.5: the action is not admissible"):
        evaluate(recycling_robot(), [[0.5, 0.0, 0.5], [1.0, 0.0, 0.0]])


@pytest.mark.parametrize("function", [evaluate, occupancy])
def test_an_improper_policy_is_refused_at_gamma_one_alone(function: object) -> None:
    assert callable(function)
    left = np.tile([1.0, 0.0], (4, 1))
    with pytest.raises(ValueError, match=r"never ends from state 0 \(3 such states\)"):
        function(short_corridor(), left)
    function(short_corridor(0.99), left)


def test_an_evaluation_is_copied_and_pickled_whole() -> None:
    m = short_corridor()
    found = evaluate(m, m.uniform_policy())
    for again in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        np.testing.assert_array_equal(again.v, found.v)
        np.testing.assert_array_equal(again.q, found.q)
        assert (again.objective, again.residual) == (found.objective, found.residual)
