"""Small random MDPs whose trajectories can be listed, and random policies on them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from agents.policies import LinearPreferences, SoftmaxPolicy, TabularPreferences
from mdp import FiniteMDP

STATES, ACTIONS, END = 3, 3, "end"


class World(NamedTuple):
    """An MDP; the policy that learns; another that may play or demonstrate; a reference for a KL."""

    mdp: FiniteMDP
    policy: SoftmaxPolicy
    other: SoftmaxPolicy
    reference: SoftmaxPolicy


def random_world(seed: int) -> World:
    """A(s) of two or three actions, s' > s or the end, random rewards given s', gamma in [.5, 1], random start.

    In every second world two states look alike; the policy is a table, or in every third world linear in random
    features.
    """
    rng = np.random.default_rng(seed)
    outcomes = {}
    for s in range(STATES):
        for a in sorted(rng.permutation(ACTIONS)[: rng.integers(2, ACTIONS + 1)].tolist()):
            after = [*range(s + 1, STATES), END]
            chosen = rng.permutation(len(after))[: rng.integers(1, 3)]
            p, r = rng.dirichlet(np.ones(len(chosen))).tolist(), rng.normal(size=len(chosen)).tolist()
            outcomes[s, a] = [(p[i], after[k], r[i]) for i, k in enumerate(chosen.tolist())]
    seen = np.arange(STATES + 1)
    if seed % 2:
        seen[STATES - 1] = seen[0]
    mdp = FiniteMDP.from_outcomes(
        outcomes,
        gamma=float(rng.uniform(0.5, 1.0)) if seed % 4 else 1.0,
        start=np.append(rng.dirichlet(np.ones(STATES)), 0.0),
        states=[*range(STATES), END],
        actions=range(ACTIONS),
        observations=seen,
    )
    generator = torch.Generator().manual_seed(seed)
    features = rng.normal(size=(STATES + 1, ACTIONS, 4))
    return World(mdp, *(_policy(mdp, features, seed, generator) for _ in range(3)))


def _policy(mdp: FiniteMDP, features: np.ndarray, seed: int, generator: torch.Generator) -> SoftmaxPolicy:
    preferences = LinearPreferences(features) if seed % 3 == 0 else TabularPreferences(mdp)
    policy = SoftmaxPolicy(preferences).double()
    with torch.no_grad():
        for p in policy.parameters():
            p.normal_(0.0, 0.7, generator=generator)
    return policy


def sharper(policy: SoftmaxPolicy, **decoding: float) -> SoftmaxPolicy:
    """The same preferences with a temperature, top_k or top_p."""
    return SoftmaxPolicy(policy.preferences, **decoding)  # type: ignore[arg-type]
