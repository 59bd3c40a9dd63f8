"""pi_theta(a|s): a softmax over preferences, after masks, temperature, top-k and top-p.

    pi(a|s) = exp(h(s,a) / temperature) / sum over b of exp(h(s,b) / temperature),   b in A(s), top k and top p

The distribution that is sampled is the one that is scored: all of this lives here, once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from agents.policies.decoding import draw, top_k_mask, top_p_mask
from agents.policies.preferences import as_tensor
from mdp import Episodes, FiniteMDP


class SoftmaxPolicy(nn.Module):
    """A softmax policy over a module of preferences (observations -> (N, A)); `.double()` and `.to(device)` work.

    Raises ValueError for a temperature that is not positive and finite, top_k < 1, or top_p outside (0, 1].

    >>> import math
    >>> from agents import SoftmaxPolicy, TabularPreferences
    >>> from envs import bandit
    >>> m = bandit(means=(0, 1, 2))
    >>> policy = SoftmaxPolicy(TabularPreferences(m), top_k=2).double()
    >>> policy.preferences.theta.data[0] = policy.preferences.theta.new_tensor([0, math.log(2), math.log(6)])
    >>> policy.log_probabilities([0]).exp().detach().numpy().round(10).tolist()  # 2 : 6, the first is cut off
    [[0.0, 0.25, 0.75]]
    """

    def __init__(
        self, preferences: nn.Module, *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
    ) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise ValueError(
                f"temperature must be positive and finite, not {temperature}; for the limit 0 there is greedy()"
            )
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k must be at least 1, not {top_k}")
        if top_p is not None and not 0 < top_p <= 1:
            raise ValueError(f"top_p must lie in (0, 1], not {top_p}")
        self.preferences, self.temperature, self.top_k, self.top_p = preferences, temperature, top_k, top_p

    def log_probabilities(self, observations: Any, admissible: Any = None) -> Tensor:
        """log pi(a|s), (N, A), differentiable; -inf for actions that cannot be drawn.

        observations (N, ...); admissible (N, A) bool, None: every action. Raises ValueError for a row without any, and
        for preferences of another shape.
        """
        return torch.log_softmax(self.shaped(self._preferences(observations), admissible), dim=-1)

    forward = log_probabilities

    def _preferences(self, observations: Any) -> Tensor:
        h: Tensor = self.preferences(as_tensor(observations, next(self.parameters())))
        return h

    def shaped(self, h: Tensor, admissible: Any = None) -> Tensor:
        """Preferences (N, A) whose plain softmax is pi: h / temperature, -inf for actions that cannot be drawn."""
        if self.temperature != 1:
            h = h / self.temperature
        if admissible is not None:
            allowed = as_tensor(admissible, h).bool()
            if h.shape != allowed.shape:
                raise ValueError(f"the preferences have shape {tuple(h.shape)}, admissible {tuple(allowed.shape)}")
            if not allowed.any(-1).all():
                raise ValueError(f"row {int((~allowed.any(-1)).nonzero()[0])} has no admissible action")
            h = h.masked_fill(~allowed, -torch.inf)
        if self.top_k is not None:
            h = h.masked_fill(~top_k_mask(h.detach(), self.top_k), -torch.inf)
        if self.top_p is not None:
            h = h.masked_fill(~top_p_mask(h.detach(), self.top_p), -torch.inf)
        return h

    @torch.no_grad()
    def greedy(self, observations: Any, admissible: Any = None) -> Tensor:
        """A_t = argmax over a in A(s) of pi(a|s), (N,); of equal ones the first."""
        return self.log_probabilities(observations, admissible).argmax(-1)

    @torch.no_grad()
    def sample(
        self, observations: Any, admissible: Any = None, memory: Any = None, *, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Any]:
        """(actions (N,), log pi of each (N,), memory). memory is None: a table has nothing to remember."""
        return *draw(self.shaped(self._preferences(observations), admissible), generator), memory

    def matrix(self, mdp: FiniteMDP, /) -> Tensor:
        """pi(a|s) of every state, (S, A), differentiable; zeros in terminal states."""
        log_pi, live = live_log_probabilities(self, mdp), np.flatnonzero(~mdp.terminal)
        return log_pi.new_zeros(mdp.admissible.shape).index_copy(0, as_tensor(live, log_pi), log_pi.exp())

    def log_prob(self, batch: Episodes) -> Tensor:
        """log pi(A_t|S_t), (N, T), differentiable; 0 after the end. One evaluation of each distinct sight."""
        table, at = self.sights(batch)
        actions, mask = as_tensor(batch.actions, table), as_tensor(batch.mask, table)
        return torch.where(mask, table.reshape(-1)[at * table.shape[1] + actions], 0.0)

    def entropies(self, batch: Episodes) -> Tensor:
        """-sum over a of pi log pi at every step, (N, T), differentiable; 0 after the end."""
        table, at = self.sights(batch)
        entropy = -(table.exp() * table.masked_fill(table == -torch.inf, 0.0)).sum(-1)
        return torch.where(as_tensor(batch.mask, table), entropy[at], 0.0)

    def sights(self, batch: Episodes) -> tuple[Tensor, Tensor]:
        """(log pi (M, A) of the distinct sights that occur, the row of each step (N, T))."""
        visited = np.zeros(len(batch.sights), bool)
        visited[batch.sight[batch.mask]] = True
        row = np.maximum(np.cumsum(visited) - 1, 0)
        choices = None if batch.choices is None else batch.choices[visited]
        table = self.log_probabilities(batch.sights[visited], choices)
        return table, as_tensor(row[batch.sight], table)


def live_log_probabilities(policy: Callable[..., Tensor], mdp: FiniteMDP) -> Tensor:
    """log pi(a|s) of the non-terminal states, (L, A), in their order; actions outside A(s) are masked."""
    live = ~mdp.terminal
    admissible = mdp.admissible[live]
    log_pi = policy(mdp.observations[live], None if admissible.all() else admissible)
    if log_pi.shape != admissible.shape:
        raise ValueError(f"the policy gives {tuple(log_pi.shape)} log-probabilities, not (L, A) = {admissible.shape}")
    return log_pi
