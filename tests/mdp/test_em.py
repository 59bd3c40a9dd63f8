"""Expectation maximisation on J, and the natural gradient: against sums over all trajectories, and monotone."""

from __future__ import annotations

import numpy as np
import pytest

import envs
from mdp import (
    FiniteMDP,
    em_step,
    enumerate_trajectories,
    evaluate,
    natural_policy_gradient,
    occupancy,
    policy_gradient,
    return_weighted_visits,
    softmax_policy,
)
from tests.worlds import assert_close, discounted_sum, random_mdp, random_policy, random_preferences


def positive(seed: int, *, gamma: float = 0.9, acyclic: bool = False) -> FiniteMDP:
    """random_mdp with the absolute values of its rewards."""
    m = random_mdp(seed, gamma=gamma, acyclic=acyclic)
    outcomes = {
        (s, a): [(p, after, abs(r)) for p, after, r in m.outcomes(s, a)]
        for i, s in enumerate(m.states)
        for j, a in enumerate(m.actions)
        if m.admissible[i, j]
    }
    return FiniteMDP.from_outcomes(outcomes, gamma=gamma, start=m.start, states=m.states, actions=m.actions)


@pytest.mark.parametrize("gamma", [0.7, 1.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_weights_are_sums_over_trajectories(seed: int, gamma: float) -> None:
    mdp = positive(seed, gamma=gamma, acyclic=True)
    pi = random_policy(mdp, seed)
    w = np.zeros_like(pi)
    for p, played in enumerate_trajectories(mdp, pi):
        for s, a in zip(played.states[:-1], played.actions, strict=True):
            w[s, a] += p * discounted_sum(played.rewards, gamma)
    assert_close(return_weighted_visits(mdp, pi), w, 1e-12)


@pytest.mark.parametrize("gamma", [0.7, 1.0])
@pytest.mark.parametrize("seed", range(8))
def test_j_never_falls(seed: int, gamma: float) -> None:
    mdp = positive(seed, gamma=gamma)
    pi = random_policy(mdp, seed)
    J = [evaluate(mdp, pi).objective]
    for _ in range(30):
        pi = em_step(mdp, pi)
        J.append(evaluate(mdp, pi).objective)
    assert (np.diff(J) >= -1e-13 * J[0]).all()
    assert J[-1] > J[0] + 1e-3


def test_the_one_step_objective() -> None:
    """w(o,a) = P(o) pi(a|o) R(o,a): pi'(a|o) is proportional to pi R, and prompts count by P(o)."""
    R, P = np.array([[1.0, 2.0], [0.0, 5.0]]), np.array([0.25, 0.75])
    mdp = FiniteMDP.from_outcomes(
        {(o, a): [(1.0, "end", R[o, a])] for o in range(2) for a in range(2)}, gamma=1.0, start={0: 0.25, 1: 0.75}
    )
    pi = np.array([[0.5, 0.5], [0.9, 0.1], [0.0, 0.0]])
    assert_close(return_weighted_visits(mdp, pi)[:2], P[:, None] * pi[:2] * R, 1e-15)
    assert_close(em_step(mdp, pi)[:2], [[1 / 3, 2 / 3], [0.0, 1.0]], 1e-15)


def test_a_state_without_weight_keeps_its_policy() -> None:
    mdp = FiniteMDP.from_outcomes(
        {("a", "go"): [(1.0, "end", 1.0)], ("b", "x"): [(1.0, "end", 0.0)], ("b", "y"): [(1.0, "end", 0.0)]}, gamma=1.0
    )
    pi = np.where(mdp.admissible, 0.5, 0.0)
    pi[0] = mdp.admissible[0]
    assert_close(em_step(mdp, pi)[1], pi[1])


def test_negative_rewards_are_refused_with_a_shift() -> None:
    with pytest.raises(ValueError, match=r"must be >= 0.*pays -1: .*add 1 to every reward"):
        em_step(envs.short_corridor(1.0), envs.short_corridor(1.0).uniform_policy())


def test_an_improper_policy_is_refused() -> None:
    mdp = FiniteMDP.from_outcomes({("a", "stay"): [(1.0, "a", 1.0)]}, gamma=0.9)
    with pytest.raises(ValueError, match="never ends"):
        em_step(mdp, [[1.0]])


# ---- the natural gradient ----


@pytest.mark.parametrize("gamma", [0.6, 1.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_fisher_times_natural_is_the_gradient(seed: int, gamma: float) -> None:
    """F written out: sum over s, a of eta(s) pi(a|s) psi psi^T."""
    mdp = random_mdp(seed, gamma=gamma)
    h = random_preferences(mdp, seed)
    pi, eta = np.asarray(softmax_policy(mdp, h)), occupancy(mdp, np.asarray(softmax_policy(mdp, h)))
    S, A = h.shape
    F = np.zeros((S * A, S * A))
    for s in np.flatnonzero(~mdp.terminal):
        for a in range(A):
            psi = np.zeros((S, A))
            psi[s] = -pi[s]
            psi[s, a] += 1
            F += eta[s] * pi[s, a] * np.outer(psi.ravel(), psi.ravel())
    natural = natural_policy_gradient(mdp, h)
    assert_close(F @ natural.ravel(), policy_gradient(mdp, h).ravel(), 1e-12)
    assert_close((pi * natural).sum(1), 0.0, 1e-12)


def test_large_natural_steps_are_policy_iteration() -> None:
    """pi exp(x A) for large x is greedy with respect to q: J rises, and ends at J*."""
    mdp = envs.gridworld_4x4(0.95)
    h = np.zeros(mdp.admissible.shape)
    for _ in range(10):
        h = h + 50 * natural_policy_gradient(mdp, h)
        h -= h.max(axis=1, keepdims=True)
    J = evaluate(mdp, softmax_policy(mdp, h)).objective
    steps = [1, 2, 3, 1, 2, 3, 2, 2, 3, 2, 1, 3, 2, 1]  # to the nearer corner
    assert_close(J, np.mean([-(1 - 0.95**k) / 0.05 for k in steps]), 1e-6)
