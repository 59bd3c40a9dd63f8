"""Returns and discounts as tensors, and where they fall below rounding."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from agents.losses.batch import Batch


def returns_to_go(rewards: Tensor, gamma: float) -> Tensor:
    """G_t = R_{t+1} + gamma G_{t+1}, (N, T), differentiable; rewards are 0 after the end of an episode."""
    G, later = torch.zeros_like(rewards[:, 0]) if rewards.shape[1] else rewards.sum(1), []
    for R in reversed(rewards.unbind(1)):
        G = R + gamma * G
        later.append(G)
    return torch.stack(later[::-1], 1) if later else rewards


def discounts(like: Tensor, gamma: float) -> Tensor:
    """gamma^t, (T,)."""
    return gamma ** torch.arange(like.shape[1], dtype=like.dtype, device=like.device)


def negligible_after(gamma: float) -> int | None:
    """T from which on rewards change no sum of gamma^t G_t psi_t beyond rounding; None at gamma = 1, where all count.

    gamma^T (T + 1 / (1 - gamma)) / (1 - gamma) <= eps: the tails beyond T of all G_t, weighted with gamma^t, in units
    of the largest reward.
    """
    if gamma in (0, 1):
        return 1 if gamma == 0 else None
    eps, T = torch.finfo(torch.float64).eps, 1.0
    for _ in range(50):  # T = log(...) / log(gamma), a fixed point
        T = max(1.0, math.log(eps * (1 - gamma) / (T + 1 / (1 - gamma))) / math.log(gamma))
    return math.ceil(T)


def refuse_truncated(batch: Batch, enough: int | None = None) -> None:
    """Raises ValueError for episodes that were cut off (before step `enough`): their returns are not known."""
    cut = batch.truncated
    if enough is not None and cut.any():
        cut = cut & (batch.lengths < enough)
    if cut.any():
        raise ValueError(
            f"{int(cut.sum())} of {len(cut)} episodes are truncated, so their returns are not known: let episodes "
            f"end, or make the time limit part of the MDP (mdp.unroll)"
        )
