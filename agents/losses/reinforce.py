"""REINFORCE as a loss. Williams (1992); Sutton & Barto (2nd ed.), sections 13.3 and 13.4.

    loss = -(1/N) sum over episodes, sum over t of gamma^t (G_t - b(S_t)) log pi(A_t|S_t)

The value means nothing; its gradient is an unbiased estimate of -grad J, whatever b is, as long as b does not depend
on the action.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from agents.losses.advantages import state_values
from agents.losses.aggregation import episode_sum
from agents.losses.batch import Batch
from agents.losses.ratios import score
from agents.losses.returns import discounts, negligible_after, refuse_truncated, returns_to_go


@dataclass(frozen=True)
class ReinforceLoss:
    """The loss above; called with a batch it gives a scalar to minimise.

    baseline    b: None (0), a number, an array (S,), or a function of the batch that gives (N, T)
    to_go       False: G_0 in place of gamma^t G_t, the whole return: right too, with more variance
    discounted  False leaves gamma^t out, as many implementations do: below gamma = 1 that is no gradient of J

    Raises ValueError for truncated episodes, whose G_t is not known, unless each is so long that with gamma^t in front
    what it leaves out is below rounding (`forgets_after`); and for to_go=False with discounted=False: the whole return
    has no gamma^t in front to leave out.

    >>> from agents import ReinforceLoss, SoftmaxPolicy, TabularPreferences, audit
    >>> from envs import tokens
    >>> m = tokens(gamma=0.9)
    >>> policy = SoftmaxPolicy(TabularPreferences(m)).double()
    >>> losses = ReinforceLoss(baseline=0.5), ReinforceLoss(to_go=False), ReinforceLoss(discounted=False)
    >>> [audit(loss, policy, m).verdict for loss in losses]
    ['exact', 'exact', 'biased']
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

    def __call__(self, batch: Batch, denominator: float | None = None) -> Tensor:
        refuse_truncated(batch, self.forgets_after(batch.gamma))
        t = discounts(batch.rewards, batch.gamma)
        b = self._baseline(batch)
        if self.to_go:
            weight = returns_to_go(batch.rewards, batch.gamma) - b
            weight = t * weight if self.discounted else weight
        else:
            weight = (batch.rewards @ t)[:, None] - t * b
        return -episode_sum(score(batch, torch.where(batch.mask, weight, 0.0).detach()), batch, denominator)

    def _baseline(self, batch: Batch) -> Tensor:
        if callable(self.baseline):
            return self.baseline(batch)
        return state_values(0.0 if self.baseline is None else self.baseline, batch)
