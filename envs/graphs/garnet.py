"""Garnets: random MDPs. Archibald, McKinnon & Thomas (1995); Bhatnagar, Sutton, Ghavamzadeh & Lee (2009), section 8.

Garnet(S, A, b): every pair (s, a) has b successors, b different states drawn uniformly. Their probabilities are the
pieces of [0, 1] cut at b - 1 uniform points. The expected reward of every transition (s, a, s') is normal with mean 0
and variance 1. Two things of the 2009 paper are left out: the noise around that expectation, so that the reward is a
function of (s, a, s'), and the drift over time. gamma = .95 is ours: the paper's criterion is the average reward.

One seed is one MDP on one version of numpy; NumPy may change its streams (NEP 19), so no values are quoted here.

Known answer: with sd = 0 every step pays the mean, and v = mean / (1 - gamma) for every policy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from envs.answers import Answer, Entry
from mdp import FiniteMDP
from mdp.model.table import Outcomes


def garnet(
    n_states: int = 20,
    n_actions: int = 3,
    branching: int = 3,
    seed: int = 0,
    mean: float = 0.0,
    sd: float = 1.0,
    gamma: float = 0.95,
) -> FiniteMDP:
    """States 0 .. S - 1, actions 0 .. A - 1, all admissible; a continuing task. Starts uniformly.

    mean, sd: those of the rewards' normal distribution.
    Raises ValueError for fewer than 1 state or action, branching outside 1 .. n_states, sd < 0.

    >>> from envs import garnet
    >>> from mdp import solve
    >>> m = garnet()  # 3 outcomes for each of 20 x 3 pairs, the same for the same seed
    >>> len(m.table.p)
    180
    >>> float(solve(garnet(mean=1, sd=0)).v[0].round(6))  # 1 / (1 - .95)
    20.0
    """
    if n_states < 1 or n_actions < 1:
        raise ValueError(f"a Garnet needs at least 1 state and 1 action, not {n_states} and {n_actions}")
    if not 1 <= branching <= n_states:
        raise ValueError(f"branching must lie in 1 .. {n_states}, the number of states, not {branching}")
    if not sd >= 0:
        raise ValueError(f"sd must be at least 0, not {sd}")
    rng = np.random.default_rng(seed)
    pairs = n_states * n_actions
    after = _successors(pairs, n_states, branching, rng)
    cuts = np.sort(rng.random((pairs, branching - 1)), axis=1)
    p = np.diff(cuts, axis=1, prepend=0.0, append=1.0)
    reward = mean + sd * rng.standard_normal((pairs, branching))
    state, action = np.divmod(np.repeat(np.arange(pairs), branching), n_actions)
    return FiniteMDP(
        Outcomes(state, action, after.ravel(), reward.ravel(), p.ravel()),
        states=range(n_states),
        actions=range(n_actions),
        gamma=gamma,
    )


def _successors(pairs: int, n: int, b: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """b different states of n for each pair, (pairs, b), every set equally likely: Floyd's sampling, all pairs at once.

    Draw k comes from 0 .. n - b + k; where it was drawn before, n - b + k itself, which was not, takes its place.
    """
    drawn = np.empty((pairs, b), np.int64)
    for k in range(b):
        new = rng.integers(n - b + k + 1, size=pairs)
        taken = (drawn[:, :k] == new[:, None]).any(axis=1)
        drawn[:, k] = np.where(taken, n - b + k, new)
    return drawn


ENTRY = Entry(
    garnet,
    (
        Answer("uniform", 0.95, {0: 20.0, 19: 20.0}, "1 / (1 - gamma)", parameters={"mean": 1.0, "sd": 0.0}),
        Answer("optimal", 0.95, {0: 20.0, 19: 20.0}, "1 / (1 - gamma)", parameters={"mean": 1.0, "sd": 0.0}),
    ),
)
