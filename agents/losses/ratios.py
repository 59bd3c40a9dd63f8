"""What is summed over the steps: the score, or an importance ratio, times the advantage.

    d_t = log pi(A_t|S_t) - log b(A_t|S_t)        b is the behaviour, the policy that played
    w_t = exp(d_t)                                token
    w   = exp(sum over t of d_t)                  sequence: Pr(A_0 A_1 ... | pi) / Pr(A_0 A_1 ... | b)
    w   = exp((1/T) sum over t of d_t)            geometric: its T-th root (GSPO)

The gradient of w A is w A grad log w: both forms below estimate a gradient; only the sequence ratio is an unbiased
weight for an episode of another policy (Precup, Sutton & Singh 2000).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from agents.losses.batch import Batch

Level = Literal["token", "sequence", "geometric"]
Surrogate = Callable[[Batch, Tensor], Tensor]
"""(batch, advantage (N, T), constant) -> (N, T), to be made large."""


def score(batch: Batch, A: Tensor) -> Tensor:
    """A_t log pi(A_t|S_t): no ratio; its gradient is A_t psi_t."""
    return A * batch.log_probs


def importance(batch: Batch, level: Level) -> Tensor:
    """w, (N, T), or (N, 1) where it belongs to the episode; differentiable.

    Raises ValueError for a batch whose behaviour is not known.
    """
    if batch.behaviour_log_probs is None:
        raise ValueError("an importance ratio needs the log-probabilities of the policy that played")
    d = batch.log_probs - batch.behaviour_log_probs
    if level == "token":
        return d.exp()
    total = d.sum(1, keepdim=True)
    return (total if level == "sequence" else total / batch.lengths.clamp(min=1)[:, None]).exp()


def check_level(level: str) -> None:
    """Raises ValueError for another level than the three."""
    if level not in get_args(Level):
        raise ValueError(f"the ratio is one of {', '.join(get_args(Level))}, not {level!r}")


def check_clip(**bounds: float | None) -> None:
    """Raises ValueError for a bound that is not positive."""
    for name, bound in bounds.items():
        if bound is not None and not bound > 0:
            raise ValueError(f"the clip {name} must be positive, not {bound}")


def clipped(w: Tensor, low: float | None, high: float | None) -> Tensor:
    """w held to [1 - low, 1 + high]; None: open on that side."""
    if low is None and high is None:
        return w
    return w.clamp(min=None if low is None else 1 - low, max=None if high is None else 1 + high)


@dataclass(frozen=True)
class WeightedScore:
    """w A_t log pi(A_t|S_t), w held constant and clipped to [1 - low, 1 + high]: every step keeps its gradient.

    A step that the policy would never take (w = 0) adds nothing.
    """

    level: Level
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        check_level(self.level)
        check_clip(low=self.low, high=self.high)

    def __call__(self, batch: Batch, A: Tensor) -> Tensor:
        w = clipped(importance(batch, self.level), self.low, self.high).detach()
        return torch.where(w > 0, w * score(batch, A), 0.0)


@dataclass(frozen=True)
class ClippedRatio:
    """min(w A_t, clip(w, 1 - low, 1 + high) A_t): beyond the clip a step has no gradient (Schulman et al. 2017).

    dual   c > 1: where A_t < 0 at least c A_t, so that a huge w cannot dominate (Ye et al. 2020, dual-clip PPO)
    """

    level: Level
    low: float
    high: float
    dual: float | None = None

    def __post_init__(self) -> None:
        check_level(self.level)
        check_clip(low=self.low, high=self.high)
        if self.dual is not None and not self.dual > 1:
            raise ValueError(f"the dual clip must lie above 1, not {self.dual}")

    def __call__(self, batch: Batch, A: Tensor) -> Tensor:
        w = importance(batch, self.level)
        gain = torch.minimum(w * A, clipped(w, self.low, self.high) * A)
        return gain if self.dual is None else torch.where(A < 0, torch.maximum(gain, self.dual * A), gain)
