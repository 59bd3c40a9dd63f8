"""Numbers of the book and of Gymnasium's tables, to 1e-9."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from scipy.optimize import brentq

from envs import gambler, gridworld_4x4, gridworld_5x5, random_walk, short_corridor
from mdp import FiniteMDP, evaluate, policy_gradient, reinforce_moments, solve, sweeps, unroll
from mdp.model.table import Floats
from tests.worlds import assert_close, tied_right

ROW_0 = [3.3089963356, 8.7892918626, 4.4276191826, 5.3223675934, 1.4921787587]
OPTIMAL_ROW_0 = [21.9774852873, 24.4194280970, 21.9774852873, 19.4194280970, 17.4774852873]


def coin(p: float) -> Floats:
    """The corridor's policy that goes right with probability p in every state."""
    return np.tile([1 - p, p], (4, 1))


def tied_preferences(p: float) -> Floats:
    return np.tile([0.0, np.log(p / (1 - p))], (4, 1))


def test_gridworld_5x5() -> None:
    m = gridworld_5x5()
    v = evaluate(m, m.uniform_policy()).v.reshape(5, 5)
    assert_close(v[0], ROW_0)
    assert_close(v[4, [0, 4]], [-1.8577005503, -1.9751790483])
    assert_close(solve(m).v[:5], OPTIMAL_ROW_0)
    assert_close(solve(m).v[1], 10 / (1 - 0.9**5))


def test_gridworld_4x4() -> None:
    m = gridworld_4x4()
    v, q, _ = evaluate(m, m.uniform_policy())
    assert_close(v, [0, -14, -20, -22, -14, -18, -20, -20, -20, -20, -18, -14, -22, -20, -14, 0])
    assert_close([q[11, m.action_index("down")], q[7, m.action_index("down")]], [-1, -15])


@pytest.mark.parametrize(("k", "value"), [(1, -1), (2, -1.75), (3, -2.4375), (10, -6.1379699707)])
def test_gridworld_4x4_sweeps(k: int, value: float) -> None:
    m = gridworld_4x4()
    assert_close(next(islice(sweeps(m, m.uniform_policy()), k, None))[1], value)


def test_optimality_sweeps_reach_the_steps_to_the_corner() -> None:
    assert_close(next(islice(sweeps(gridworld_4x4()), 3, None)), solve(gridworld_4x4()).v)


def test_random_walk() -> None:
    m = random_walk()
    assert_close(evaluate(m, m.uniform_policy()).v[1:6], np.arange(1, 6) / 6)


@pytest.mark.parametrize(
    ("p", "gamma", "objective"),
    [
        (0.5, 1.0, -12),
        (0.95, 1.0, -44.2105263158),
        (0.05, 1.0, -82.1052631579),
        (2 - 2**0.5, 1.0, -(6 + 4 * 2**0.5)),
        (0.5, 0.9, -6.1408152462),
        (0.5966337909, 0.9, -6.0453244436),
        (0.6015275191, 0.9, -6.0455823135),
    ],
)
def test_corridor_objective(p: float, gamma: float, objective: float) -> None:
    assert_close(evaluate(short_corridor(gamma), coin(p)).objective, objective)


def slope(p: float, gamma: float, *, discounted: bool = True) -> float:
    """dJ/dtheta_right at Pr(right) = p, as the theorem or as the mean of REINFORCE has it."""
    m = short_corridor(gamma)
    if discounted:
        gradient = policy_gradient(m, tied_preferences(p))
    else:
        gradient = reinforce_moments(m, tied_preferences(p), discounted=False).mean
    return float(gradient.ravel() @ tied_right(m)[:, 0])


@pytest.mark.parametrize(
    ("gamma", "discounted", "value"),
    [(1.0, True, 2.0), (1.0, False, 2.0), (0.9, True, 0.4862286773), (0.9, False, 1.0481736368)],
)
def test_corridor_gradient(gamma: float, discounted: bool, value: float) -> None:
    assert_close(slope(0.5, gamma, discounted=discounted), value)


@pytest.mark.parametrize(
    ("gamma", "discounted", "best"),
    [(1.0, True, 2 - 2**0.5), (0.9, True, 0.5966337909), (0.9, False, 0.6015275191)],
)
def test_corridor_where_the_gradient_vanishes(gamma: float, discounted: bool, best: float) -> None:
    assert_close(brentq(lambda p: slope(p, gamma, discounted=discounted), 0.5, 0.7, xtol=1e-14), best)


def test_gambler() -> None:
    m = gambler()
    solution = solve(m)
    assert_close(solution.v[[25, 50, 75]], [0.16, 0.4, 0.64])
    assert [m.actions[a] for a in np.flatnonzero(solution.optimal_actions[51])] == [1, 49]


@pytest.mark.parametrize(("gamma", "value"), [(1.0, 14 / 17), (0.99, 0.5420259320)])
def test_frozen_lake(gamma: float, value: float) -> None:
    assert_close(solve(FiniteMDP.from_gymnasium("FrozenLake-v1", gamma=gamma)).v[0], value)


def test_frozen_lake_uniform() -> None:
    m = FiniteMDP.from_gymnasium("FrozenLake-v1", gamma=1)
    assert_close(evaluate(m, m.uniform_policy()).objective, 0.0139397962)


def test_frozen_lake_within_its_time_limit() -> None:
    m = unroll(FiniteMDP.from_gymnasium("FrozenLake-v1", gamma=1), 100)
    assert_close(m.start @ solve(m).v, 0.7441902878)


@pytest.mark.parametrize(("gamma", "value"), [(1.0, 7.93), (0.99, 6.3274643149)])
def test_taxi(gamma: float, value: float) -> None:
    m = FiniteMDP.from_gymnasium("Taxi-v4", gamma=gamma)
    assert np.count_nonzero(m.start) == 300
    assert_close(m.start @ solve(m).v, value)


@pytest.mark.parametrize(("gamma", "value"), [(1.0, -13), (0.99, -12.2478977001)])
def test_cliff_walking(gamma: float, value: float) -> None:
    m = FiniteMDP.from_gymnasium("CliffWalking-v1", gamma=gamma)
    assert m.start[36] == 1
    assert_close(solve(m).v[36], value)
