"""REINFORCE as a loss. Williams (1992); Sutton & Barto (2nd ed.), sections 13.3 and 13.4.

    loss = -(1/N) sum over episodes, sum over t of gamma^t (G_t - b(S_t)) log pi(A_t|S_t)

The value means nothing; its gradient is an unbiased estimate of -grad J, whatever b is, as long as b does not depend
on the action.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from agents.losses.batch import Batch
from agents.policies.preferences import as_tensor


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


def known_states(batch: Batch) -> Tensor:
    """batch.states, (N, T). Raises ValueError where a source did not tell them (-1)."""
    if (batch.states[batch.mask] < 0).any():
        raise ValueError("a baseline of the state needs states, and the environment's info has no \"state\"")
    return batch.states


@dataclass(frozen=True)
class ReinforceLoss:
    """The loss above; called with a batch it gives a scalar to minimise.

    baseline    b: None (0), a number, an array (S,), or a function of the batch that gives (N, T)
    to_go       False: G_0 in place of gamma^t G_t, the whole return: right too, with more variance
    discounted  False leaves gamma^t out, as many implementations do: below gamma = 1 that is no gradient of J

    Raises ValueError for truncated episodes, whose G_t is not known, unless each is so long that with gamma^t in front
    what it leaves out is below rounding (`forgets_after`); and for to_go=False with discounted=False: the whole return
    has no gamma^t in front to leave out.
    """

    baseline: float | ArrayLike | Callable[[Batch], Tensor] | None = None
    to_go: bool = True
    discounted: bool = True

    def __post_init__(self) -> None:
        if not (self.to_go or self.discounted):
            raise ValueError("the whole return has no gamma^t in front to leave out: discounted=False needs to_go=True")

    def forgets_after(self, gamma: float) -> int | None:
        """The step from which on an episode may be cut off, since gamma^t G_t is below rounding; None: never."""
        return negligible_after(gamma) if self.to_go and self.discounted else None

    def __call__(self, batch: Batch) -> Tensor:
        self._refuse_truncated(batch)
        t = discounts(batch.rewards, batch.gamma)
        b = self._baseline(batch)
        if self.to_go:
            weight = returns_to_go(batch.rewards, batch.gamma) - b
            weight = t * weight if self.discounted else weight
        else:
            weight = (batch.rewards @ t)[:, None] - t * b
        return -(torch.where(batch.mask, weight, 0.0).detach() * batch.log_probs).sum() / len(batch.lengths)

    def _refuse_truncated(self, batch: Batch) -> None:
        enough = self.forgets_after(batch.gamma)
        cut = batch.truncated if enough is None else batch.truncated & (batch.lengths < enough)
        if cut.any():
            raise ValueError(
                f"{int(cut.sum())} of {len(cut)} episodes are truncated, so their returns are not known: let episodes "
                f"end, or make the time limit part of the MDP (mdp.unroll)"
            )

    def _baseline(self, batch: Batch) -> Tensor:
        if self.baseline is None:
            return batch.rewards.new_zeros(())
        if callable(self.baseline):
            return self.baseline(batch)
        b = as_tensor(self.baseline, batch.rewards).to(batch.rewards.dtype)
        return b if b.ndim == 0 else b[known_states(batch)]
