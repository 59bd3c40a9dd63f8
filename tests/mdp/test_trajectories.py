"""enumerate_trajectories and unroll."""

from __future__ import annotations

import numpy as np
import pytest

from envs import gridworld_5x5, short_corridor
from mdp import FiniteMDP, enumerate_trajectories, evaluate, solve, sweeps, unroll
from tests.worlds import assert_close, random_mdp, random_policy


@pytest.mark.parametrize("seed", range(5))
def test_probabilities_sum_to_one(seed: int) -> None:
    m = random_mdp(seed, acyclic=True)
    played = list(enumerate_trajectories(m, random_policy(m, seed)))
    assert_close(sum(p for p, _ in played), 1.0, 1e-13)
    assert len({x for _, x in played}) == len(played)
    assert all(x.terminated and m.terminal[x.states[-1]] for _, x in played)


def test_each_probability_is_the_product() -> None:
    m = random_mdp(1, acyclic=True)
    pi = random_policy(m, 1)
    for p, (states, actions, rewards, _) in enumerate_trajectories(m, pi):
        product = m.start[states[0]]
        for s, a, r, after in zip(states[:-1], actions, rewards, states[1:], strict=True):
            product *= pi[s, a] * m.p(m.states[after], r, m.states[s], m.actions[a])
        assert_close(p, product, 1e-15)


@pytest.mark.parametrize("horizon", [0, 1, 4])
def test_horizon(horizon: int) -> None:
    m = short_corridor()
    played = list(enumerate_trajectories(m, m.uniform_policy(), horizon))
    assert_close(sum(p for p, _ in played), 1.0, 1e-15)
    assert all(x.terminated == (x.states[-1] == 3) for _, x in played)
    assert all(len(x.actions) == horizon for _, x in played if not x.terminated)
    assert all(len(x.states) == len(x.actions) + 1 == len(x.rewards) + 1 for _, x in played)


def test_only_what_has_probability() -> None:
    m = short_corridor()
    right = np.tile([0.0, 1.0], (4, 1))
    [(p, (states, actions, rewards, terminated))] = enumerate_trajectories(m, right, 3)
    assert (p, states, actions, rewards, terminated) == (1, (0, 1, 0, 1), (1, 1, 1), (-1, -1, -1), False)


def test_cycles_are_refused_at_once() -> None:
    m = short_corridor()
    with pytest.raises(ValueError, match="can return to state 0, so there are infinitely many trajectories"):
        enumerate_trajectories(m, m.uniform_policy())
    with pytest.raises(ValueError, match="horizon must be at least 0, not -1"):
        enumerate_trajectories(m, m.uniform_policy(), -1)


def test_a_self_loop_is_a_cycle() -> None:
    m = FiniteMDP.from_outcomes({("s", 0): [(0.5, "s", 0), (0.5, "end", 0)]}, gamma=1)
    with pytest.raises(ValueError, match="can return to state 's'"):
        enumerate_trajectories(m, m.uniform_policy())


def test_a_cycle_out_of_reach_does_not_matter() -> None:
    outcomes = {("s", "go"): [(1, "end", 0)], ("s", "stay"): [(1, "s", 0)], ("far", "go"): [(1, "far", 0)]}
    m = FiniteMDP.from_outcomes(outcomes, gamma=0.5, start={"s": 1})
    pi = [[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]
    assert [p for p, _ in enumerate_trajectories(m, pi)] == [1]


# ---- unroll ----


@pytest.mark.parametrize("horizon", [1, 2, 7])
def test_unrolled_values_are_sweeps(horizon: int) -> None:
    m = gridworld_5x5()
    limited = unroll(m, horizon)
    pi = np.tile(m.uniform_policy(), (horizon + 1, 1))
    v = evaluate(limited, pi).v.reshape(horizon + 1, m.n_states)
    best = solve(limited).v.reshape(horizon + 1, m.n_states)
    for k, (swept, optimal) in enumerate(zip(sweeps(m, m.uniform_policy()), sweeps(m), strict=False)):
        assert_close(v[horizon - k], swept, 1e-13)
        assert_close(best[horizon - k], optimal, 1e-13)
        if k == horizon:
            break


def test_unrolled_labels_and_observations() -> None:
    m = short_corridor()
    limited = unroll(m, 2)
    assert limited.states[:5] == ((0, 0), (0, 1), (0, 2), (0, "goal"), (1, 0))
    assert limited.observations.tolist() == [0] * 12
    assert limited.outcomes((0, 0), "right") == [(1.0, (1, 1), -1.0)]
    assert limited.terminal.tolist() == [False, False, False, True] * 2 + [True] * 4
    assert limited.start.tolist() == [1.0] + [0.0] * 11
    assert (limited.gamma, limited.actions) == (m.gamma, m.actions)


@pytest.mark.parametrize("horizon", [0, -3])
def test_unroll_needs_a_step(horizon: int) -> None:
    with pytest.raises(ValueError, match=f"horizon must be at least 1, not {horizon}"):
        unroll(short_corridor(), horizon)
