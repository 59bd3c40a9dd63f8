"""The supervised side: imitate demonstrations, the best of one's own samples, or all of them weighted by reward.

    policy gradient   (1/N) sum of R^i grad log pi(a^i|o^i)          a^i from pi
    SFT               (1/N) sum of     grad log pi(a^i|o^i)          a^i from a demonstrator
    self-training     both: demonstrations, and those of one's own samples that the reward selects

All have the form of a policy loss with another weight in the place of the advantage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from agents.losses.advantages import above, best, ones, whole_return
from agents.losses.batch import Batch
from agents.losses.composed import PolicyLoss
from agents.policies import SoftmaxPolicy
from mdp import Episodes


def sft() -> PolicyLoss:
    """Maximum likelihood: -(1/N) sum of log pi(a^i|o^i), for a batch of demonstrations.

    Its truth is the log-likelihood, `exact.likelihood` of the demonstrator; on the policy's own samples its mean is 0.
    """
    return PolicyLoss(ones)


def rest(threshold: float) -> PolicyLoss:
    """Self-training on the own samples with G_0 >= threshold. ReST, Gulcehre et al. (2023), 2308.08998, section 3.

    (The paper's filter is strict, >.) One step from its own policy is the policy gradient of Pr(G_0 >= threshold).
    """
    return PolicyLoss(above(threshold))


def rest_ranked(k: int) -> PolicyLoss:
    """Self-training on the k samples of the batch with the largest G_0."""
    return PolicyLoss(best(k, in_groups=False))


def best_of_n() -> PolicyLoss:
    """Imitate the best sample of each group. Stiennon et al. (2020); Dong et al. (2023), RAFT, 2304.06767."""
    return PolicyLoss(best(1))


def reward_weighted() -> PolicyLoss:
    """Reward-weighted regression: -(1/N) sum of R^i log pi(a^i|o^i), the M-step of EM. Dayan & Hinton (1997); Peters
    & Schaal (2007). `mdp.em_step` makes the whole step exactly.

    For samples of the old policy, without ratios: the weights R >= 0 are the E-step. Raises ValueError for a negative
    return, since R must be a weight.
    """

    def returns(batch: Batch) -> Tensor:
        G = whole_return(batch)
        if (G < 0).any():
            least = float(G.min())
            raise ValueError(
                f"reward-weighted regression needs returns >= 0, and one is {least:g}: add a constant to every return "
                f"(at least {-least:g}; the least return of all decides), which moves J by as much and not its maximum"
            )
        return G

    return PolicyLoss(returns)


@dataclass(frozen=True)
class WithDemonstrations:
    """loss(batch) + weight * SFT(demonstrations): the policy is scored on the same demonstrations every time."""

    loss: Callable[[Batch], Tensor]
    policy: SoftmaxPolicy
    demonstrations: Episodes
    weight: float = 1.0

    def __call__(self, batch: Batch) -> Tensor:
        return self.loss(batch) + self.weight * sft()(Batch.of(self.policy, self.demonstrations))
