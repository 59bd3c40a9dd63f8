"""KL(pi || reference) at each step, estimated from the action that was taken. Schulman (2020), kl-approx.

    d = log pi(A|S) - log reference(A|S)        k1 = d        k2 = d^2 / 2        k3 = exp(-d) - 1 + d

All three have (nearly) the mean KL. Their gradients do not have its gradient: E[grad k1] = 0, E[grad k2] is the
gradient of KL(pi || reference) at fixed states, E[grad k3] that of KL(reference || pi). Times the ratio pi / b, whose
gradient counts too, k1 and k3 give grad KL(pi || reference) at fixed states. That more of an episode is spent where the
KL is large is seen by none: only a penalty inside the reward (`advantages.penalised`) sees it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from agents.losses.batch import Batch
from agents.losses.ratios import importance

Estimator = Literal["k1", "k2", "k3"]


def log_ratio(batch: Batch) -> Tensor:
    """d, (N, T), differentiable. Raises ValueError for a batch without a reference."""
    if batch.reference_log_probs is None:
        raise ValueError("a KL needs the log-probabilities of a reference policy: pass reference=")
    return batch.log_probs - batch.reference_log_probs


@dataclass(frozen=True)
class KL:
    """beta times k1, k2 or k3 at each step, (N, T); with_ratio: times pi / b of the step."""

    beta: float
    estimator: Estimator = "k3"
    with_ratio: bool = False

    def __post_init__(self) -> None:
        if self.estimator not in get_args(Estimator):
            raise ValueError(f"the KL is estimated by one of {', '.join(get_args(Estimator))}, not {self.estimator!r}")

    def __call__(self, batch: Batch) -> Tensor:
        d = log_ratio(batch)
        k = {"k1": d, "k2": d**2 / 2, "k3": torch.expm1(-d) + d}[self.estimator]
        return self.beta * (importance(batch, "token") * k if self.with_ratio else k)
