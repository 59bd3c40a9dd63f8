"""Problems and references that the tests share: random MDPs, brute force over trajectories."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from mdp import FiniteMDP, Trajectory, enumerate_trajectories, softmax_policy
from mdp.model.table import Floats

GYMNASIUM = ("FrozenLake-v1", "Taxi-v4", "CliffWalking-v1")


def assert_close(actual: ArrayLike, expected: ArrayLike, tolerance: float = 1e-9) -> None:
    """|actual - expected| <= tolerance max(1, |expected|), element by element."""
    actual, expected = np.asarray(actual, dtype=float), np.asarray(expected, dtype=float)
    error = np.abs(actual - expected) / np.maximum(1, np.abs(expected))
    assert np.all(error <= tolerance), f"{actual} is not {expected}: off by {error.max():.2e}"


def random_mdp(
    seed: int, *, states: int = 4, actions: int = 3, ends: int = 2, gamma: float = 0.9, acyclic: bool = False
) -> FiniteMDP:
    """A(s) depends on s, rewards are random given s', several terminal states, a random start.

    acyclic: s' > s always, so that trajectories can be listed; else every pair ends at once with positive
    probability, so that every policy is proper.
    """
    rng = np.random.default_rng(seed)
    outcomes = {}
    for s in range(states):
        admissible = rng.permutation(actions)[: 1 if s == 1 else rng.integers(2, actions + 1)]
        for a in sorted(admissible.tolist()):
            after = rng.integers(s + 1 if acyclic else 0, states + ends, size=2).tolist()
            after = [*after, after[0], states + int(rng.integers(ends))]  # one s' twice, with two rewards
            p, r = rng.dirichlet(np.ones(4)).tolist(), rng.normal(size=4).tolist()
            outcomes[s, f"a{a}"] = list(zip(p, after, r, strict=True))
    start = np.append(rng.dirichlet(np.ones(states)), np.zeros(ends))
    return FiniteMDP.from_outcomes(
        outcomes, gamma=gamma, start=start, states=range(states + ends), actions=[f"a{a}" for a in range(actions)]
    )


def random_preferences(mdp: FiniteMDP, seed: int) -> Floats:
    return np.random.default_rng(seed).normal(size=mdp.admissible.shape)


def random_policy(mdp: FiniteMDP, seed: int) -> Floats:
    return np.asarray(softmax_policy(mdp, random_preferences(mdp, seed)))


def tied_right(mdp: FiniteMDP) -> Floats:
    """(SA, 1): the direction of theta_right where all states share their preferences."""
    U = np.zeros(mdp.admissible.shape)
    U[~mdp.terminal, mdp.action_index("right")] = 1
    return U.reshape(-1, 1)


# ---- brute force ----


def discounted_sum(rewards: tuple[float, ...], gamma: float) -> float:
    return sum(gamma**t * r for t, r in enumerate(rewards))


def reinforce_estimate(
    mdp: FiniteMDP, pi: Floats, played: Trajectory, baseline: Floats, *, to_go: bool, discounted: bool
) -> Floats:
    """The REINFORCE estimate of one trajectory, written out term by term, (SA,)."""
    Z = np.zeros(mdp.admissible.shape)
    for t, (s, a) in enumerate(zip(played.states[:-1], played.actions, strict=True)):
        psi = np.zeros_like(Z)
        psi[s] = -pi[s]
        psi[s, a] += 1
        front = mdp.gamma**t if discounted else 1.0
        if to_go:
            Z += front * (discounted_sum(played.rewards[t:], mdp.gamma) - baseline[s]) * psi
        else:
            Z += (discounted_sum(played.rewards, mdp.gamma) - front * baseline[s]) * psi
    return Z.ravel()


def weighted_moments(draws: Iterator[tuple[float, Floats]]) -> tuple[Floats, Floats]:
    """Mean (d,) and covariance (d, d) of a finite distribution, two passes."""
    p, x = (np.array(column) for column in zip(*draws, strict=True))
    mean = p @ x
    return mean, (x - mean).T @ ((x - mean) * p[:, None])


def brute_force_moments(
    mdp: FiniteMDP, preferences: Floats, baseline: Floats, *, to_go: bool, discounted: bool
) -> tuple[Floats, Floats]:
    pi = np.asarray(softmax_policy(mdp, preferences))
    return weighted_moments(
        (p, reinforce_estimate(mdp, pi, played, baseline, to_go=to_go, discounted=discounted))
        for p, played in enumerate_trajectories(mdp, pi)
    )
