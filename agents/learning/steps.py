"""What an agent is, what it saw, and the plainest optimiser."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from agents.policies import SoftmaxPolicy
from mdp import Episodes, discounted_return

Metrics = dict[str, float]


class Agent(Protocol):
    """What `train` drives: a policy, and an update from episodes."""

    policy: SoftmaxPolicy

    def update(self, episodes: Episodes) -> Metrics: ...


def plain_ascent(policy: torch.nn.Module, step: float = 0.1) -> torch.optim.Optimizer:
    """theta <- theta + step * grad J: plain gradient ascent (torch's SGD on a loss that is -J).

    >>> from agents import SoftmaxPolicy, TabularPreferences, exact_objective, plain_ascent
    >>> from envs import short_corridor
    >>> policy = SoftmaxPolicy(TabularPreferences(short_corridor())).double()
    >>> optimizer = plain_ascent(policy, step=0.1)
    >>> (-exact_objective(policy, short_corridor())).backward()
    >>> optimizer.step()
    >>> policy.preferences.theta.detach().numpy().round(10).tolist()  # .1 x (-2, 2)
    [[-0.2, 0.2]]
    """
    return torch.optim.SGD(policy.parameters(), lr=step)


def outcome(episodes: Episodes) -> Metrics:
    """The mean of G_0, its standard error (nan for one episode), and the mean length."""
    G = discounted_return(episodes.rewards, episodes.gamma)
    return {
        "sampled_return": float(G.mean()),
        "standard_error": float(G.std(ddof=1) / np.sqrt(len(G))) if len(G) > 1 else float("nan"),
        "mean_length": float(episodes.lengths.mean()),
    }
