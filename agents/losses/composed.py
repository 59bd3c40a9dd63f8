"""A loss from independent parts.

    loss = -aggregate over n, t of [ surrogate(A_t) - KL_t + c H(pi(.|S_t)) ]
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agents.losses.advantages import Advantage
from agents.losses.aggregation import Aggregation, episode_sum
from agents.losses.batch import Batch
from agents.losses.kl import KL
from agents.losses.ratios import Surrogate, score
from agents.losses.returns import refuse_truncated


@dataclass(frozen=True)
class PolicyLoss:
    """advantage x ratio x aggregation x KL x entropy; called with a batch it gives a scalar to minimise.

    advantage    (N, T), held constant              `losses.advantages`
    surrogate    with or without a ratio            `losses.ratios`
    aggregation  and its denominator                `losses.aggregation`
    kl           a penalty inside the loss          `losses.kl`; inside the reward: `advantages.penalised`
    entropy      c, the weight of the entropy bonus

    denominator: where a batch is worked through in pieces, the count of the whole. Raises ValueError for truncated
    episodes, whose returns are not known.

    >>> from agents import PolicyLoss, SoftmaxPolicy, TabularPreferences, audit
    >>> from agents.losses.advantages import leave_one_out
    >>> from agents.losses.aggregation import episode_mean
    >>> from envs import tokens
    >>> policy = SoftmaxPolicy(TabularPreferences(tokens())).double()
    >>> losses = PolicyLoss(leave_one_out), PolicyLoss(leave_one_out, aggregation=episode_mean)
    >>> [audit(loss, policy, tokens(), group_size=2).verdict for loss in losses]  # with 1/T for each episode
    ['exact', 'biased']
    """

    advantage: Advantage
    surrogate: Surrogate = score
    aggregation: Aggregation = episode_sum
    kl: KL | None = None
    entropy: float = 0.0

    def __call__(self, batch: Batch, denominator: float | None = None) -> Tensor:
        refuse_truncated(batch)
        gain = self.surrogate(batch, torch.where(batch.mask, self.advantage(batch), 0.0).detach())
        if self.kl is not None:
            gain = gain - self.kl(batch)
        if self.entropy:
            gain = gain + self.entropy * batch.entropies
        return -self.aggregation(torch.where(batch.mask, gain, 0.0), batch, denominator)
