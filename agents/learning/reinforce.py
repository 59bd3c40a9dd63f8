"""REINFORCE, the agent: sample, score, step; and baselines that it may learn or be given."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from agents.learning.steps import Metrics, plain_ascent
from agents.losses import Batch, ReinforceLoss, returns_to_go
from agents.policies import SoftmaxPolicy
from mdp import Episodes, FiniteMDP, evaluate


class Reinforce:
    """REINFORCE (S&B section 13.3): `update(episodes)` makes one step down `loss(batch)`.

    loss: any function of a `Batch` that gives a scalar, by default `ReinforceLoss()`; the very same function is
    minimised that a check sees. optimizer: over policy.parameters(), by default plain gradient ascent with step 0.1.
    reference: a frozen policy, for losses with a KL. A loss whose baseline is a `LearnedValues` teaches it after the
    step.
    """

    def __init__(
        self,
        policy: SoftmaxPolicy,
        *,
        loss: Callable[[Batch], Tensor] | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        reference: SoftmaxPolicy | None = None,
    ) -> None:
        self.policy, self.loss, self.reference = policy, ReinforceLoss() if loss is None else loss, reference
        self.optimizer = plain_ascent(policy) if optimizer is None else optimizer

    def update(self, episodes: Episodes) -> Metrics:
        """One step; {"loss", "gradient_norm"}. Raises ValueError where the loss is not a finite scalar."""
        batch = Batch.of(self.policy, episodes, reference=self.reference)
        loss = self.loss(batch)
        if loss.ndim != 0 or not torch.isfinite(loss):
            raise ValueError(f"the loss must be a finite scalar, not {loss}")
        metrics = _step(self.policy, self.optimizer, loss)
        baseline = getattr(self.loss, "baseline", None)
        if isinstance(baseline, LearnedValues):
            baseline.learn(batch)
        return metrics


def _step(policy: SoftmaxPolicy, optimizer: torch.optim.Optimizer, loss: Tensor) -> Metrics:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.stack([p.grad.norm() for p in policy.parameters() if p.grad is not None]).norm()
    optimizer.step()
    return {"loss": float(loss.detach()), "gradient_norm": float(norm)}


class LearnedValues:
    """A baseline b(s) that follows the returns seen so far: b(s) <- b(s) + step (mean G_t in s - b(s)).

    The state-value weights of REINFORCE with baseline (S&B section 13.4), one for each state. A batch is judged by what
    was learned from earlier ones, so that b does not depend on its actions.
    """

    def __init__(self, n_states: int, *, step: float = 0.1) -> None:
        self.v, self.step = np.zeros(n_states), step

    def __call__(self, batch: Batch) -> Tensor:
        v = torch.as_tensor(self.v, dtype=batch.rewards.dtype, device=batch.rewards.device)
        return v[batch.known_states()]

    def learn(self, batch: Batch) -> None:
        """Move every state that occurred towards the mean of its returns."""
        G = returns_to_go(batch.rewards, batch.gamma)[batch.mask].cpu().numpy()
        s = batch.known_states()[batch.mask].cpu().numpy()
        count = np.bincount(s, minlength=len(self.v))
        mean = np.bincount(s, weights=G, minlength=len(self.v)) / np.maximum(count, 1)
        self.v += np.where(count > 0, self.step * (mean - self.v), 0.0)


class ExactValues:
    """The baseline b(s) = v_pi(s) of the policy as it is now, exact."""

    def __init__(self, policy: SoftmaxPolicy, mdp: FiniteMDP) -> None:
        self.policy, self.mdp = policy, mdp

    def __call__(self, batch: Batch) -> Tensor:
        with torch.no_grad():
            v = evaluate(self.mdp, self.policy.matrix(self.mdp).cpu().numpy()).v
        return torch.as_tensor(v, dtype=batch.rewards.dtype, device=batch.rewards.device)[batch.known_states()]
