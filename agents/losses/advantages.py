"""What a step is worth: pure functions of a batch, (N, T) or (N, 1), held constant by every loss.

    reward_to_go         G_t                     whole_return    G_0
    discounted(f)        gamma^t f_t             minus(f, b)     f_t - b(S_t)
    leave_one_out        G_0 - mean of the others in the group
    group_mean           G_0 - mean of the group, its own sample in it: (n-1)/n of leave_one_out
    group_standardised   (G_0 - mean) / (std + eps) of the group
    whitened(f)          (f - mean) / std over all steps of the batch
    GAE(v, lambda)       sum over k of (gamma lambda)^k delta_{t+k},   delta_t = R_{t+1} + gamma v(S_{t+1}) - v(S_t)
    penalised(f, beta)   f of rewards R_{t+1} - beta (log pi - log reference)(A_t|S_t): the KL inside the reward

Which of them give grad J with the score is what `audit` tells: discounted(reward_to_go) and whole_return do, below
gamma = 1 reward_to_go alone and discounted(whole_return) do not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from agents.losses.batch import Batch
from agents.losses.kl import log_ratio
from agents.losses.returns import discounts, returns_to_go
from agents.policies.preferences import as_tensor

Advantage = Callable[[Batch], Tensor]


def reward_to_go(batch: Batch) -> Tensor:
    """G_t, (N, T)."""
    return returns_to_go(batch.rewards, batch.gamma)


def whole_return(batch: Batch) -> Tensor:
    """G_0 at every step, (N, 1)."""
    return (batch.rewards @ discounts(batch.rewards, batch.gamma))[:, None]


def discounted(advantage: Advantage) -> Advantage:
    """gamma^t times an advantage."""
    return lambda batch: discounts(batch.rewards, batch.gamma) * advantage(batch)


def minus(advantage: Advantage, baseline: float | ArrayLike) -> Advantage:
    """An advantage less b: a number, or (S,) for b(S_t)."""

    def less(batch: Batch) -> Tensor:
        return advantage(batch) - state_values(baseline, batch)

    return less


def state_values(b: float | ArrayLike, batch: Batch) -> Tensor:
    """b(S_t), (N, T); after the end some value. b: a number or (S,)."""
    values = as_tensor(b, batch.rewards).to(batch.rewards.dtype)
    if values.ndim > 1:
        raise ValueError(f"b has shape {tuple(values.shape)}: it is a number, or one for each state, (S,)")
    return values.expand(batch.rewards.shape) if values.ndim == 0 else values[batch.known_states()]


# ---- groups ----


def group_sums(x: Tensor, group: Tensor) -> Tensor:
    """For each episode the sum of x (N,) over its group, (N,)."""
    return x.new_zeros(int(group.max()) + 1).index_add(0, group, x)[group]


def group_sizes(batch: Batch) -> Tensor:
    """Episodes in the group of each episode, (N,). Raises ValueError for a group of one: it cannot be compared."""
    sizes = group_sums(torch.ones_like(batch.group, dtype=batch.rewards.dtype), batch.group)
    if (sizes < 2).any():
        raise ValueError("this loss compares the episodes of a group: sample groups of at least 2 (group_size)")
    return sizes


def leave_one_out(batch: Batch) -> Tensor:
    """G_0 - (1/(n-1)) sum of the others' G_0, (N, 1). Kool et al. (2019); Ahmadian et al. (2024)."""
    n = group_sizes(batch)
    return (n / (n - 1))[:, None] * group_mean(batch)


def group_mean(batch: Batch) -> Tensor:
    """G_0 - mean of the group, (N, 1): the own sample is in it."""
    G = whole_return(batch)[:, 0]
    return (G - group_sums(G, batch.group) / group_sizes(batch))[:, None]


def group_standardised(batch: Batch, eps: float = 1e-4) -> Tensor:
    """(G_0 - mean) / (std + eps) of the group, (N, 1); std with n - 1 below. Shao et al. (2024)."""
    off = group_mean(batch)[:, 0]
    std = (group_sums(off**2, batch.group) / (group_sizes(batch) - 1)).sqrt()
    return (off / (std + eps))[:, None]


def best(k: int, *, in_groups: bool = True) -> Advantage:
    """1 for the k episodes of each group (or of the batch) with the largest G_0, else 0, (N, 1); ties share."""

    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")

    def chosen(batch: Batch) -> Tensor:
        G, group = whole_return(batch)[:, 0], batch.group
        together = group[:, None] == group if in_groups else torch.ones_like(group[:, None] == group)
        better = (together & (G[:, None] < G)).sum(1)
        equal = (together & (G[:, None] == G)).sum(1)
        return ((k - better).to(G.dtype) / equal).clamp(0, 1)[:, None]

    return chosen


def above(threshold: float) -> Advantage:
    """1 for episodes with G_0 >= threshold, else 0, (N, 1)."""
    return lambda batch: (whole_return(batch) >= threshold).to(batch.rewards.dtype)


def ones(batch: Batch) -> Tensor:
    """1 at every step: imitation."""
    return torch.ones_like(batch.rewards)


# ---- the batch, and critics ----


def whitened(advantage: Advantage, eps: float = 1e-8) -> Advantage:
    """(f - mean) / (std + eps), mean and std over the played steps of the batch."""

    def white(batch: Batch) -> Tensor:
        f = torch.where(batch.mask, advantage(batch), 0.0)
        n = batch.mask.sum()
        off = torch.where(batch.mask, f - f.sum() / n, 0.0)
        return off / (((off**2).sum() / (n - 1).clamp(min=1)).sqrt() + eps)

    return white


@dataclass(frozen=True)
class GAE:
    """Generalised advantage estimation, (N, T). Schulman et al. (2016), equation 16.

    critic: v, (S,), 0 in terminal states, or a function of the batch that gives v(S_t), (N, T); lam: lambda in [0, 1];
    0 is the one-step TD error of actor-critic (S&B 13.5), 1 is G_t - v(S_t). With v = v_pi its mean given S_t and A_t
    is q(S_t, A_t) - v(S_t) for every lambda.
    """

    critic: ArrayLike | Callable[[Batch], Tensor]
    lam: float

    def __post_init__(self) -> None:
        if not 0 <= self.lam <= 1:
            raise ValueError(f"lambda must lie in [0, 1], not {self.lam}")

    def __call__(self, batch: Batch) -> Tensor:
        v = self.critic(batch) if callable(self.critic) else state_values(self.critic, batch)
        v = torch.where(batch.mask, v, 0.0)
        after = torch.cat([v[:, 1:], torch.zeros_like(v[:, :1])], 1)
        delta = batch.rewards + batch.gamma * after - v
        return returns_to_go(delta, batch.gamma * self.lam)


def penalised(advantage: Advantage, beta: float) -> Advantage:
    """An advantage of rewards R_{t+1} - beta (log pi - log reference)(A_t|S_t), the penalty held constant."""
    return lambda batch: advantage(replace(batch, rewards=batch.rewards - beta * log_ratio(batch).detach()))
