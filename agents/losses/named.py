"""The losses in use, by name: each a choice of parts. What was left out of a paper is said.

Trainers of language models work at gamma = 1 and leave gamma^t out; so do these, where the paper does. `audit` tells
what that costs below gamma = 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from numpy.typing import ArrayLike
from torch import Tensor

from agents.losses.advantages import (
    GAE,
    discounted,
    group_mean,
    group_standardised,
    leave_one_out,
    penalised,
    reward_to_go,
    whitened,
    whole_return,
)
from agents.losses.aggregation import Constant, episode_mean, episode_sum, step_mean
from agents.losses.batch import Batch
from agents.losses.composed import PolicyLoss
from agents.losses.kl import KL
from agents.losses.ratios import ClippedRatio, WeightedScore, score
from agents.losses.reinforce import ReinforceLoss

Critic = ArrayLike | Callable[[Batch], Tensor]


def _kl(beta: float) -> KL | None:
    return KL(beta, "k3") if beta else None


def reinforce(baseline: float | ArrayLike | Callable[[Batch], Tensor] | None = None) -> ReinforceLoss:
    """REINFORCE, with a baseline of the state or without. Williams (1992); S&B 13.3 and 13.4.

    >>> from agents import SoftmaxPolicy, TabularPreferences, audit
    >>> from agents.losses import named
    >>> from envs import tokens
    >>> m = tokens(gamma=0.9)
    >>> policy = SoftmaxPolicy(TabularPreferences(m)).double()
    >>> audit(named.reinforce(baseline=0.5), policy, m).verdict
    'exact'
    """
    return ReinforceLoss(baseline=baseline)


def actor_critic(critic: Critic, lam: float = 0.0) -> PolicyLoss:
    """The TD error of a critic, or its lambda-mean, in place of G_t - b(S_t). S&B 13.5; Schulman et al. (2016).

    >>> from agents import ExactValues, SoftmaxPolicy, TabularPreferences, audit
    >>> from agents.losses import named
    >>> from envs import tokens
    >>> m = tokens(gamma=0.9)
    >>> policy = SoftmaxPolicy(TabularPreferences(m)).double()
    >>> [audit(named.actor_critic(critic), policy, m).verdict for critic in (ExactValues(policy, m), 0.5)]
    ['exact', 'biased']
    """
    return PolicyLoss(discounted(GAE(critic, lam)))


def rloo(beta: float = 0.0) -> PolicyLoss:
    """REINFORCE leave-one-out, KL (k1) inside the reward. Kool et al. (2019); Ahmadian et al. (2024), 2402.14740.

    >>> from agents import SoftmaxPolicy, TabularPreferences, audit
    >>> from agents.losses import named
    >>> from envs import tokens
    >>> m = tokens(gamma=0.9)
    >>> policy = SoftmaxPolicy(TabularPreferences(m)).double()
    >>> audit(named.rloo(), policy, m, group_size=2).verdict
    'exact'
    """
    return PolicyLoss(penalised(leave_one_out, beta) if beta else leave_one_out)


def grpo(beta: float = 0.0, clip: float = 0.2) -> PolicyLoss:
    """GRPO: (G_0 - mean) / std of the group, 1/T for each episode, k3 in the loss. Shao et al. (2024), 2402.03300.

    >>> from agents import SoftmaxPolicy, TabularPreferences, audit
    >>> from agents.losses import named
    >>> from envs import tokens
    >>> m = tokens(gamma=0.9)
    >>> policy = SoftmaxPolicy(TabularPreferences(m)).double()
    >>> found = audit(named.grpo(), policy, m, group_size=2)
    >>> found.verdict, round(found.cosine, 4), round(found.scale, 4)
    ('biased', 0.9091, 0.5738)
    """
    return PolicyLoss(group_standardised, ClippedRatio("token", clip, clip), episode_mean, _kl(beta))


def dr_grpo(length: float, clip: float = 0.2) -> PolicyLoss:
    """GRPO done right: no std, a constant `length` (the longest episode) for 1/T. Liu et al. (2025), 2503.20783.

    >>> from agents import SoftmaxPolicy, TabularPreferences, audit
    >>> from agents.losses import named
    >>> from envs import tokens
    >>> m = tokens(gamma=0.9)
    >>> policy = SoftmaxPolicy(TabularPreferences(m)).double()
    >>> found = audit(named.dr_grpo(length=3), policy, m, group_size=2)
    >>> found.verdict, round(found.scale, 10)  # 1/2 for the mean of 2 that holds oneself, 1/3 for the length
    ('scaled', 0.1666666667)
    """
    return PolicyLoss(group_mean, ClippedRatio("token", clip, clip), Constant(length))


def dapo(low: float = 0.2, high: float = 0.28) -> PolicyLoss:
    """DAPO: a higher upper clip, the mean over all tokens. Yu et al. (2025), 2503.14476.

    Its resampling of groups with equal rewards and its penalty for overlong answers are matters of sampling and reward.
    The paper divides by the tokens of one group; here, as in trainers, it is those of the batch.
    """
    return PolicyLoss(group_standardised, ClippedRatio("token", low, high), step_mean)


def bnpo(beta: float = 0.0, clip: float = 0.2) -> PolicyLoss:
    """GRPO with the mean over the tokens of the local batch: TRL's loss_type "bnpo".

    Unlike DAPO's its denominator is meant to be that of each device and each piece. The paper of that name, Xiao et al.
    (2025), 2506.02864, normalises rewards by a Beta law, which is another advantage and not part of this.
    """
    return PolicyLoss(group_standardised, ClippedRatio("token", clip, clip), step_mean, _kl(beta))


def ppo(
    critic: Critic, lam: float = 0.95, clip: float = 0.2, *, dual: float | None = None, entropy: float = 0.0
) -> PolicyLoss:
    """PPO-clip: GAE, clipped token ratios, the mean over all steps. Schulman et al. (2017), 1707.06347.

    dual: Ye et al. (2020), 1912.09729. Without the critic's own loss, and without gamma^t, as in every implementation.

    >>> from agents import ExactValues, SoftmaxPolicy, TabularPreferences, audit
    >>> from agents.losses import named
    >>> from envs import contextual_bandit, tokens
    >>> for m in (contextual_bandit(), tokens()):  # one step; up to three, and their mean over the batch
    ...     policy = SoftmaxPolicy(TabularPreferences(m)).double()
    ...     audit(named.ppo(ExactValues(policy, m)), policy, m, group_size=2).verdict
    'exact'
    'biased'
    """
    return PolicyLoss(GAE(critic, lam), ClippedRatio("token", clip, clip, dual), step_mean, entropy=entropy)


def gspo(low: float = 3e-4, high: float = 4e-4) -> PolicyLoss:
    """GSPO: one ratio for the episode, its geometric mean over tokens. Zheng et al. (2025), 2507.18071."""
    return PolicyLoss(group_standardised, ClippedRatio("geometric", low, high), episode_mean)


def cispo(high: float = 0.28) -> PolicyLoss:
    """CISPO: the weight is clipped, not the gain, so that every token keeps its gradient. MiniMax (2025), 2506.13585.

    The lower side is open, as in the paper's runs; the denominator is that of DAPO.
    """
    return PolicyLoss(group_standardised, WeightedScore("token", None, high), step_mean)


def reinforce_plus_plus(beta: float = 0.0, clip: float = 0.2) -> PolicyLoss:
    """REINFORCE++: G_t, the KL (k1) inside the reward, whitened over the batch; clipped. Hu (2025), 2501.03262."""
    to_go = penalised(reward_to_go, beta) if beta else reward_to_go
    return PolicyLoss(whitened(to_go), ClippedRatio("token", clip, clip), step_mean)


def off_policy_reinforce(level: Literal["token", "sequence"] = "sequence") -> PolicyLoss:
    """REINFORCE from another policy's episodes, weighted by the sequence ratio, or (biased) by token ratios.

    Precup, Sutton & Singh (2000). With the whole return; gamma^t G_t and the sequence ratio are right, too.

    >>> from agents import SoftmaxPolicy, TabularPreferences, audit
    >>> from agents.losses import named
    >>> from envs import tokens
    >>> m = tokens(gamma=0.9)
    >>> policy, behaviour = (SoftmaxPolicy(TabularPreferences(m)).double() for _ in range(2))
    >>> behaviour.preferences.theta.data[:, 2] = 1  # it stops sooner
    >>> losses = named.off_policy_reinforce(), named.off_policy_reinforce("token"), named.stale_reinforce()
    >>> [audit(loss, policy, m, behaviour=behaviour).verdict for loss in losses]
    ['exact', 'biased', 'biased']
    """
    return PolicyLoss(whole_return, WeightedScore(level), episode_sum)


def stale_reinforce() -> PolicyLoss:
    """REINFORCE on another policy's episodes as if they were its own: no weights. Biased; here to be compared."""
    return PolicyLoss(whole_return, score, episode_sum)
