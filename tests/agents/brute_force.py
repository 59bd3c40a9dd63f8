"""The expectation of a loss's gradient by brute force: every batch made, scored and differentiated by itself."""


from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from agents import (
    Batch,
    SoftmaxPolicy,
)
from agents.exact.objective import flat_gradient
from mdp import Episodes, FiniteMDP, enumerate_trajectories

Loss = Callable[[Batch], Tensor]


class Brute(NamedTuple):
    expected: Tensor
    trace: float
    batches: int


def brute_force(
    loss: Loss, policy: SoftmaxPolicy, mdp: FiniteMDP, *, group_size: int = 1, groups: int = 1,
    behaviour: SoftmaxPolicy | None = None, reference: SoftmaxPolicy | None = None,
) -> Brute:  # fmt: skip
    """-E[grad loss] and the trace of one batch's covariance: every tuple of trajectories, one by one."""
    plays = policy if behaviour is None else behaviour
    every = list(enumerate_trajectories(mdp, plays.matrix(mdp).detach().numpy()))
    of_start: dict[int, list[Any]] = {}
    for p, played in every:
        of_start.setdefault(played.states[0], []).append((p / mdp.start[played.states[0]], played))
    kinds = [
        (mdp.start[s] * math.prod(p for p, _ in chosen), [played for _, played in chosen])
        for s, rows in of_start.items()
        for chosen in product(rows, repeat=group_size)
    ]
    weights: list[float] = []
    g: list[Tensor] = []
    d = sum(p.numel() for p in policy.parameters())
    for batch in product(kinds, repeat=groups):
        weights.append(math.prod(weight for weight, _ in batch))
        episodes = as_episodes(mdp, [x for _, group in batch for x in group], group_size, plays)
        value = loss(Batch.of(policy, episodes, reference=reference))
        g.append(flat_gradient(policy, value) if value.requires_grad else torch.zeros(d, dtype=torch.float64))
    weight, gradients = torch.tensor(weights, dtype=torch.float64), torch.stack(g)
    mean = weight @ gradients
    return Brute(-mean, float(weight @ (gradients - mean).square().sum(1)), len(weights))


def as_episodes(mdp: FiniteMDP, played: list[Any], group_size: int, behaviour: SoftmaxPolicy) -> Episodes:
    lengths = np.array([len(x.actions) for x in played])
    states, actions = np.full((len(played), lengths.max()), -1), np.zeros((len(played), lengths.max()), int)
    rewards, log_b = np.zeros(states.shape), np.zeros(states.shape)
    pi = behaviour.matrix(mdp).detach().numpy()
    for n, x in enumerate(played):
        T = len(x.actions)
        states[n, :T], actions[n, :T], rewards[n, :T] = x.states[:-1], x.actions, x.rewards
        log_b[n, :T] = np.log(pi[list(x.states[:-1]), list(x.actions)])
    return Episodes(
        states=states, actions=actions, rewards=rewards, lengths=lengths, terminated=np.ones(len(played), bool),
        truncated=np.zeros(len(played), bool), gamma=mdp.gamma, sight=np.maximum(states, 0), sights=mdp.observations,
        choices=mdp.admissible, group=np.arange(len(played)) // group_size, behaviour_log_probs=log_b,
    )  # fmt: skip
