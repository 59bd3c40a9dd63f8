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
    """theta <- theta + step * grad J: plain gradient ascent (torch's SGD on a loss that is -J)."""
    return torch.optim.SGD(policy.parameters(), lr=step)


def outcome(episodes: Episodes) -> Metrics:
    """The mean of G_0, its standard error (nan for one episode), and the mean length."""
    G = discounted_return(episodes.rewards, episodes.gamma)
    return {
        "sampled_return": float(G.mean()),
        "standard_error": float(G.std(ddof=1) / np.sqrt(len(G))) if len(G) > 1 else float("nan"),
        "mean_length": float(episodes.lengths.mean()),
    }
