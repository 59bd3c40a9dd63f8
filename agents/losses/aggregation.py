"""From one number a step to one number a batch. Each has an explicit denominator.

    episode_sum     (1/N) sum over n, sum over t of x[n,t]                       the mean over episodes, as J is
    episode_mean    (1/N) sum over n of (1/T_n) sum over t of x[n,t]             GRPO: long episodes count less a step
    step_mean       sum of x / sum of T_n                                        DAPO: N and T_n are drawn together
    constant(L)     sum of x / (N L)                                             Dr. GRPO: a fixed length

A batch that is worked through in pieces must be divided by the count of the whole: pass it as `denominator`. Without
it each piece would be divided by its own count, and the sum over pieces would depend on how the batch was cut. A piece
holds whole groups; an advantage that looks at the whole batch (whitened, the best of the batch) cannot be cut at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from agents.losses.batch import Batch


class Aggregation(Protocol):
    """x (N, T), 0 after the end -> a scalar. denominator: N, or for step_mean the steps, of the whole batch."""

    def __call__(self, x: Tensor, batch: Batch, denominator: float | None = None) -> Tensor: ...


def episode_sum(x: Tensor, batch: Batch, denominator: float | None = None) -> Tensor:
    """Sums over time, averaged over episodes."""
    return x.sum() / (len(batch.lengths) if denominator is None else denominator)


def episode_mean(x: Tensor, batch: Batch, denominator: float | None = None) -> Tensor:
    """Means over time, averaged over episodes."""
    return episode_sum(x.sum(1) / batch.lengths.clamp(min=1), batch, denominator)


def step_mean(x: Tensor, batch: Batch, denominator: float | None = None) -> Tensor:
    """The mean over all steps of the batch."""
    return x.sum() / (batch.lengths.sum().clamp(min=1) if denominator is None else denominator)


@dataclass(frozen=True)
class Constant:
    """Sums over time divided by a fixed length, averaged over episodes."""

    length: float

    def __post_init__(self) -> None:
        if not self.length > 0:
            raise ValueError(f"the length must be positive, not {self.length}")

    def __call__(self, x: Tensor, batch: Batch, denominator: float | None = None) -> Tensor:
        return episode_sum(x, batch, denominator) / self.length
