"""MDPs and policies that the tests of agents share: every check runs over all of them."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

import envs
from agents import LinearPreferences, MLPPreferences, SoftmaxPolicy, TabularPreferences
from mdp import Episodes, FiniteMDP
from tests.worlds import random_mdp


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def only(text: str) -> str:
    """A pattern for pytest.raises: this text and no other."""
    return rf"\A{re.escape(text)}\Z"


def assert_behaviour(episodes: Episodes, log_probs: NDArray[np.float64]) -> None:
    """What was sampled is what is scored."""
    assert episodes.behaviour_log_probs is not None
    np.testing.assert_allclose(log_probs, episodes.behaviour_log_probs, atol=1e-12)


def shaken(policy: SoftmaxPolicy, seed: int = 0) -> SoftmaxPolicy:
    """The policy in float64, at a point drawn from N(0, 1/2^2)."""
    generator = seeded(seed)
    with torch.no_grad():
        for p in policy.double().parameters():
            p.normal_(0.0, 0.5, generator=generator)
    return policy


def tabular(mdp: FiniteMDP, seed: int = 0) -> SoftmaxPolicy:
    return shaken(SoftmaxPolicy(TabularPreferences(mdp)), seed)


def linear(mdp: FiniteMDP, seed: int = 0) -> SoftmaxPolicy:
    features = np.random.default_rng(seed).normal(size=(mdp.n_states, mdp.n_actions, 3))
    return shaken(SoftmaxPolicy(LinearPreferences(features)), seed)


def network(mdp: FiniteMDP, seed: int = 0) -> SoftmaxPolicy:
    inputs = mdp.n_states if mdp.observations.ndim == 1 else mdp.observations.shape[1]
    return SoftmaxPolicy(MLPPreferences(inputs, mdp.n_actions, hidden=(5,), generator=seeded(seed))).double()


def hot_and_cut(mdp: FiniteMDP, seed: int = 0) -> SoftmaxPolicy:
    return shaken(SoftmaxPolicy(TabularPreferences(mdp), temperature=0.7, top_k=2), seed)


def nucleus(mdp: FiniteMDP, seed: int = 0) -> SoftmaxPolicy:
    return shaken(SoftmaxPolicy(TabularPreferences(mdp), top_p=0.8), seed)


MDPS: dict[str, FiniteMDP] = {
    "corridor": envs.short_corridor(0.9),
    "grid": envs.gridworld_4x4(0.95),
    "walk": envs.random_walk(),
    "robot": envs.recycling_robot(),
    "bandit": envs.contextual_bandit(),
    "tokens": envs.tokens(0.9),
    "random": random_mdp(3, gamma=0.8),
    "FrozenLake": FiniteMDP.from_gymnasium("FrozenLake-v1", gamma=0.9),
}
POLICIES: dict[str, Callable[[FiniteMDP], SoftmaxPolicy]] = {
    "tabular": tabular,
    "linear": linear,
    "network": network,
    "hot and cut": hot_and_cut,
    "nucleus": nucleus,
}
PAIRS = [(m, p) for m in MDPS for p in POLICIES if not (p == "linear" and m == "tokens")]
