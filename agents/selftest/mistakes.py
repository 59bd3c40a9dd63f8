"""Mistakes that people report, each as a small loss: an exact check must reject every one.

A mistake of scale alone must be called scaled, with the right factor. What two of them need in order to be mistakes
(another policy that played, a KL in the claim) stands beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from agents.audits.catalogue import BETA
from agents.audits.gradients import Loss
from agents.exact.objective import regularised_objective
from agents.losses import Batch, PolicyLoss, ReinforceLoss
from agents.losses.advantages import (
    GAE,
    Advantage,
    discounted,
    group_mean,
    group_standardised,
    leave_one_out,
    reward_to_go,
    whitened,
    whole_return,
)
from agents.losses.aggregation import Constant, episode_mean, step_mean
from agents.losses.kl import KL, log_ratio
from agents.losses.named import off_policy_reinforce, stale_reinforce
from agents.losses.ratios import ClippedRatio
from agents.losses.returns import discounts, returns_to_go
from agents.policies import SoftmaxPolicy
from agents.selftest.worlds import World, sharper
from mdp import FiniteMDP


class Mistake(NamedTuple):
    """A wrong loss. verdict: what the audit must say ("refused": a ValueError); scale: the factor, where it is one.

    plays: the policy that samples, made from a world, where the mistake is not to take it into account. claims: the
    regularised objective that a KL or an entropy bonus is said to climb.
    """

    name: str
    loss: Loss
    verdict: str = "biased"
    scale: float = 0.0
    plays: Callable[[World], SoftmaxPolicy] | None = None
    claims: Callable[[World], Callable[[SoftmaxPolicy, FiniteMDP], Tensor]] | None = None


weights = discounted(reward_to_go)  # gamma^t G_t: what is right


def gamma_squared(batch: Batch) -> Tensor:
    """gamma^2t G_t."""
    return discounts(batch.rewards, batch.gamma**2) * reward_to_go(batch)


def returns_without_gamma(batch: Batch) -> Tensor:
    """gamma^t times the plain sum of later rewards."""
    return discounts(batch.rewards, batch.gamma) * returns_to_go(batch.rewards, 1.0)


def next_return(batch: Batch) -> Tensor:
    """gamma^t G_{t+1}: the reward that follows the action is missed."""
    G = reward_to_go(batch)
    return discounts(G, batch.gamma) * torch.cat([G[:, 1:], torch.zeros_like(G[:, :1])], 1)


def previous_return(batch: Batch) -> Tensor:
    """gamma^t G_{t-1} from the second step on: the reward before the action counts too."""
    G = reward_to_go(batch)
    return discounts(G, batch.gamma) * torch.cat([G[:, :1], G[:, :-1]], 1)


def baseline_of_action(batch: Batch) -> Tensor:
    """G_t - b(S_t, A_t)."""
    return weights(batch) + 2.0 * discounts(batch.rewards, batch.gamma) * batch.actions


def lengths_too_often(batch: Batch) -> Tensor:
    """A broadcast that multiplies the advantage by the length."""
    return weights(batch) * batch.lengths[:, None]


def last_step_masked(batch: Batch) -> Tensor:
    """The end-of-sequence token is taken for padding."""
    step = torch.arange(batch.rewards.shape[1], device=batch.mask.device)
    return torch.where(step < batch.lengths[:, None] - 1, weights(batch), 0.0)


def first_step_masked(batch: Batch) -> Tensor:
    """A mask that is shifted by one."""
    return torch.where(torch.arange(batch.rewards.shape[1], device=batch.mask.device) > 0, weights(batch), 0.0)


def cut_off_as_ended(batch: Batch) -> Tensor:
    """Episodes are cut after their first step, and their returns taken as whole."""
    T = batch.rewards.shape[1]
    early = torch.arange(T, device=batch.mask.device) < 1
    cut = replace(batch, rewards=torch.where(early, batch.rewards, 0.0))
    return torch.where(early, weights(cut), 0.0)


def low_rewards_dropped(batch: Batch) -> Tensor:
    """Episodes that cannot be scored (here: the negative ones) get advantage 0, but stay in the others' mean."""
    return torch.where(whole_return(batch) < 0, 0.0, leave_one_out(batch))


def bootstrapped_at_the_end(batch: Batch) -> Tensor:
    """A critic that is asked for the value of the last state, after the end: v(S_T) as if it were v(S_{T-1})."""
    v = torch.where(batch.mask, 1.0 + batch.known_states().to(batch.rewards.dtype), 0.0)
    last = torch.arange(v.shape[1], device=v.device) == batch.lengths[:, None] - 1
    after = torch.where(last, v, torch.cat([v[:, 1:], torch.zeros_like(v[:, :1])], 1))
    delta = batch.rewards + batch.gamma * after - v
    return discounts(v, batch.gamma) * returns_to_go(delta, batch.gamma)


def mean_of_log_probs(batch: Batch) -> Tensor:
    """The mean of log-probabilities before the product with the sum of weights."""
    return -(batch.log_probs.sum(1) / batch.lengths * torch.where(batch.mask, weights(batch), 0.0).sum(1)).mean()


def wrong_sign(batch: Batch) -> Tensor:
    """The gain where the loss should be."""
    return -ReinforceLoss()(batch)


def summed_pieces(batch: Batch) -> Tensor:
    """Gradient accumulation: two pieces, each a mean of its own, are added and not averaged."""
    return 2 * ReinforceLoss()(batch)


def pieces_with_own_counts(batch: Batch) -> Tensor:
    """Each episode is a piece (a device) that divides by its own tokens, times the tokens of the batch."""
    own = torch.where(batch.mask, weights(batch), 0.0).detach() * batch.log_probs / batch.lengths[:, None]
    return -own.sum() * batch.lengths.sum() / len(batch.lengths) ** 2


def penalty_not_detached(batch: Batch) -> Tensor:
    """The KL inside the reward is differentiated."""
    d = log_ratio(batch)
    G = returns_to_go(batch.rewards - BETA * d, batch.gamma)
    return -(discounts(G, batch.gamma) * torch.where(batch.mask, G, 0.0) * batch.log_probs).sum() / len(batch.lengths)


class Dropout:
    """Some steps are dropped at random, others every time, as by a model in training mode."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)

    def __call__(self, batch: Batch) -> Tensor:
        kept = torch.rand(batch.log_probs.shape, generator=self.generator).to(batch.log_probs.device) > 0.2
        return -(kept * weights(batch) * batch.log_probs).sum() / len(batch.lengths)


def detached(batch: Batch) -> Tensor:
    """The log-probabilities are detached: no gradient at all."""
    return ReinforceLoss()(replace(batch, log_probs=batch.log_probs.detach()))


def _others(world: World) -> SoftmaxPolicy:
    return world.other


def _less_kl(world: World) -> Callable[[SoftmaxPolicy, FiniteMDP], Tensor]:
    return partial(regularised_objective, kl=BETA, reference=world.reference)


def _more_entropy(world: World) -> Callable[[SoftmaxPolicy, FiniteMDP], Tensor]:
    del world
    return partial(regularised_objective, entropy=BETA)


def _clipped_ratios() -> PolicyLoss:
    return PolicyLoss(whole_return, ClippedRatio("sequence", 0.2, 0.2), episode_mean)


def _to_go(aggregation: Callable[..., Tensor]) -> PolicyLoss:
    to_go: Advantage = discounted(reward_to_go)
    return PolicyLoss(to_go, aggregation=aggregation)


MISTAKES = (
    Mistake("gamma^t left out", ReinforceLoss(discounted=False)),
    Mistake("gamma^t squared", PolicyLoss(gamma_squared)),
    Mistake("gamma^t times the whole return", PolicyLoss(discounted(whole_return))),
    Mistake("returns without gamma", PolicyLoss(returns_without_gamma)),
    Mistake("G_{t+1} for G_t", PolicyLoss(next_return)),
    Mistake("G_{t-1} for G_t", PolicyLoss(previous_return)),
    Mistake("an extra 1/T for each episode", _to_go(episode_mean)),
    Mistake("the mean over all tokens of the batch", _to_go(step_mean)),
    Mistake("token counts of each piece", pieces_with_own_counts),
    Mistake("the mean of log-probabilities first", mean_of_log_probs),
    Mistake("the sign of the loss", wrong_sign),
    Mistake("advantages whitened", PolicyLoss(discounted(whitened(reward_to_go)))),
    Mistake("divided by the group's std", PolicyLoss(group_standardised)),
    Mistake("own sample inside the baseline", PolicyLoss(group_mean), "scaled", 1 / 2),
    Mistake("a constant length below", PolicyLoss(leave_one_out, aggregation=Constant(3)), "scaled", 1 / 3),
    Mistake("pieces summed, not averaged", summed_pieces, "scaled", 2.0),
    Mistake("a baseline that depends on the action", PolicyLoss(baseline_of_action)),
    Mistake("the advantage multiplied by the length", PolicyLoss(lengths_too_often)),
    Mistake("the last token masked", PolicyLoss(last_step_masked)),
    Mistake("the mask shifted by one", PolicyLoss(first_step_masked)),
    Mistake("cut-off episodes taken as ended", PolicyLoss(cut_off_as_ended)),
    Mistake("unscorable rewards left in the mean", PolicyLoss(low_rewards_dropped)),
    Mistake("a bootstrap beyond the end", PolicyLoss(bootstrapped_at_the_end)),
    Mistake("a wrong critic, lambda = 0", PolicyLoss(discounted(GAE(0.0, 0.0)))),
    Mistake("temperature not scored", ReinforceLoss(), plays=lambda world: sharper(world.policy, temperature=0.7)),
    Mistake("top-k not scored", ReinforceLoss(), plays=lambda world: sharper(world.policy, top_k=1)),
    Mistake("top-p not scored", ReinforceLoss(), plays=lambda world: sharper(world.policy, top_p=0.6)),
    Mistake("stale samples without weights", stale_reinforce(), plays=_others),
    Mistake("stale samples with token weights", off_policy_reinforce("token"), plays=_others),
    Mistake("stale samples, clipped ratios", _clipped_ratios(), plays=_others),
    Mistake("KL in the loss, k1", PolicyLoss(whole_return, kl=KL(BETA, "k1")), claims=_less_kl),
    Mistake("KL in the loss, k3", PolicyLoss(whole_return, kl=KL(BETA, "k3")), claims=_less_kl),
    Mistake("KL in the reward, differentiated", penalty_not_detached, claims=_less_kl),
    Mistake("entropy bonus in the loss", PolicyLoss(whole_return, entropy=BETA), claims=_more_entropy),
    Mistake("random numbers in the loss (dropout)", Dropout(), "refused"),
    Mistake("log-probabilities detached", detached, "refused"),
)
