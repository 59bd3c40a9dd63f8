"""What an agent is, and the plainest optimiser."""

from __future__ import annotations

from typing import Protocol

import torch

from agents.policies import SoftmaxPolicy
from mdp import Episodes

Metrics = dict[str, float]


class Agent(Protocol):
    """What `train` drives: a policy, and an update from episodes."""

    policy: SoftmaxPolicy

    def update(self, episodes: Episodes) -> Metrics: ...


def plain_ascent(policy: torch.nn.Module, step: float = 0.1) -> torch.optim.Optimizer:
    """theta <- theta + step * grad J: plain gradient ascent (torch's SGD on a loss that is -J)."""
    return torch.optim.SGD(policy.parameters(), lr=step)
