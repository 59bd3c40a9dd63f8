"""-E[grad loss] over all batches, and the variance of one batch's gradient, exact.

    E[grad loss] = sum over batches of Pr(batch) grad loss(batch)

A loss sees theta through the table X[m, t] = log pi(A_t|S_t) of trajectory m (and the entropies H[m, t]), so that

    grad loss = sum over m, t of dloss/dX[m, t] grad X[m, t]:

the weighted sum of dloss/dX is made first, then one backward pass goes through the policy.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.audits.gradients import Gradients
from agents.audits.trajectories import Table
from agents.exact.objective import flat_gradient
from agents.policies import SoftmaxPolicy
from mdp import FiniteMDP

SIGNS = 2  # random sign vectors that measure how large the terms of a sum are


class Expected:
    """Collects the weighted sum of dloss/dX and dloss/dH over batches."""

    def __init__(self, policy: SoftmaxPolicy, table: Table) -> None:
        self.policy, self.table = policy, table
        self.by_x, self.by_h = torch.zeros_like(table.log_probs), torch.zeros_like(table.entropies)
        self.absolute = torch.zeros_like(table.log_probs)
        self.outside = [torch.zeros_like(p) for p in policy.parameters() if p.requires_grad]

    def add(self, rows: Tensor, found: Gradients) -> None:
        """The gradients of the batches `rows` (B, N), weighted with their probabilities."""
        at = rows.reshape(-1)
        x, h = (g.reshape(len(at), -1) for g in (found.log_probs, found.entropies))
        self.by_x.index_add_(0, at, x)
        self.by_h.index_add_(0, at, h)
        self.absolute.index_add_(0, at, x.abs())
        self.outside = [a + b for a, b in zip(self.outside, found.outside, strict=True)]

    def gradient(self) -> Tensor:
        """-E[grad loss], (d,): one backward pass."""
        return -(self._backward(self.by_x, self.by_h) + outside_vector(self.policy, self.outside))

    def magnitude(self) -> float:
        """The size of the terms that add up to the gradient: |sum of +-|dloss/dX| grad X|, root mean square."""
        generator = torch.Generator().manual_seed(0)
        signs = torch.randint(0, 2, (SIGNS, *self.absolute.shape), generator=generator).to(self.absolute) * 2 - 1
        sizes = [self._backward(sign * self.absolute, torch.zeros_like(self.by_h)).norm() for sign in signs]
        return float(torch.stack(sizes).square().mean().sqrt())

    def _backward(self, by_x: Tensor, by_h: Tensor) -> Tensor:
        X, H = self.table.log_probs, self.table.entropies
        through = (torch.where(X.isfinite(), X, 0.0) * by_x + H * by_h).sum()
        return flat_gradient(self.policy, through, retain_graph=True)


def outside_vector(policy: SoftmaxPolicy, outside: list[Tensor]) -> Tensor:
    """Gradients by the free parameters as one vector (d,), 0 for all others."""
    free = dict(zip((p for p in policy.parameters() if p.requires_grad), outside, strict=True))
    return torch.cat([free.get(p, torch.zeros_like(p)).reshape(-1) for p in policy.parameters()])


class OneBatch:
    """grad loss of single batches along directions of theta: what a variance is made of.

    The gradient by log pi(a|s) of each pair is dloss/dX added up over the steps that took it, and
    -pi log pi(a|s) dloss/dH over the steps in s; J (SA, K) = d log pi / d theta along the directions does the rest.
    """

    def __init__(self, policy: SoftmaxPolicy, mdp: FiniteMDP, table: Table, directions: NDArray[np.float64]) -> None:
        like, self.A = table.log_probs, mdp.n_actions
        with torch.no_grad():
            pi = policy.matrix(mdp)
            self.surprise = -pi * pi.log().masked_fill(pi == 0, 0.0)  # (S, A)
        self.J = torch.as_tensor(directions).to(like)
        self.state = table.whole.states.clamp(min=0)
        self.pair = self.state * self.A + table.whole.actions

    @property
    def at_once(self) -> int:
        """Batches that are worked on at a time."""
        return max(1, 2**23 // len(self.J))

    def gradients(self, rows: Tensor, found: Gradients) -> Tensor:
        """u . grad loss of each batch, (B, K)."""
        B, n = len(rows), len(self.J)
        first = torch.arange(B, device=rows.device)[:, None, None]
        z = found.log_probs.new_zeros(B * n).index_add(
            0, (first * n + self.pair[rows]).reshape(-1), found.log_probs.reshape(-1)
        )
        if found.entropies.any():
            S = n // self.A
            by_state = z.new_zeros(B * S).index_add(
                0, (first * S + self.state[rows]).reshape(-1), found.entropies.reshape(-1)
            )
            z = (z.reshape(B, S, self.A) + by_state.reshape(B, S, 1) * self.surprise).reshape(-1)
        return z.reshape(B, n) @ self.J
