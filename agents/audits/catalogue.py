"""Every named loss, with the objective that it claims to climb, for one policy on one problem."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.audits.audit import Objective, audit
from agents.audits.gradients import Loss
from agents.audits.result import Audit
from agents.exact.objective import exact_gradient, exact_objective, likelihood, regularised_objective
from agents.learning.rollout import rollout
from agents.losses import PolicyLoss, ReinforceLoss
from agents.losses.advantages import (
    GAE,
    discounted,
    group_mean,
    group_standardised,
    penalised,
    reward_to_go,
    whitened,
    whole_return,
)
from agents.losses.kl import KL
from agents.losses.named import (
    actor_critic,
    bnpo,
    cispo,
    dapo,
    dr_grpo,
    grpo,
    gspo,
    off_policy_reinforce,
    ppo,
    reinforce,
    reinforce_plus_plus,
    rloo,
    stale_reinforce,
)
from agents.losses.supervised import WithDemonstrations, best_of_n, rest, reward_weighted, sft
from agents.policies import SoftmaxPolicy
from mdp import FiniteMDP, evaluate

BETA = 0.1  # of every KL, and the weight of every entropy bonus
DEMONSTRATIONS = 20  # episodes of the other policy that self-training mixes in


class Case(NamedTuple):
    """A loss, what it claims (J where objective is None), and who plays where that is not the policy itself."""

    name: str
    loss: Loss
    claims: str = "J"
    objective: Objective | None = None
    behaviour: SoftmaxPolicy | None = None
    reference: SoftmaxPolicy | None = None


class Found(NamedTuple):
    """A case, audited against the objective that it claims and against J."""

    case: Case
    claimed: Audit
    of_J: Audit


def minus_kl(policy: SoftmaxPolicy, mdp: FiniteMDP, /, *, reference: SoftmaxPolicy) -> Tensor:
    """- E[sum over t of gamma^t KL(pi || reference)(S_t)]: what a KL term alone claims to climb."""
    return regularised_objective(policy, mdp, kl=1.0, reference=reference) - exact_objective(policy, mdp)


def claimed(
    losses: Mapping[str, Loss], claims: Mapping[str, tuple[str, Objective]], reference: SoftmaxPolicy
) -> list[Case]:
    """Another library's losses as cases: J, but where `claims` has a name and an objective."""
    cases = []
    for name, loss in losses.items():
        claim, objective = claims.get(name, ("J", None))
        cases.append(Case(name, loss, claim, objective, reference=reference))
    return cases


def catalogue(
    policy: SoftmaxPolicy, mdp: FiniteMDP, *, other: SoftmaxPolicy, reference: SoftmaxPolicy, length: int
) -> list[Case]:
    """All named losses, right and wrong ones side by side.

    other      plays where a loss is off-policy, and demonstrates for SFT
    reference  of every KL
    length     the constant of Dr. GRPO: the longest episode
    """
    with torch.no_grad():
        v = evaluate(mdp, policy.matrix(mdp).cpu().numpy()).v
    return [
        *_on_policy(v),
        *_grouped(length),
        *_regularised(reference),
        *_off_policy(other),
        *_supervised(policy, mdp, other),
    ]


def _on_policy(v: NDArray[np.float64]) -> list[Case]:
    nothing = np.zeros_like(v)
    return [
        Case("REINFORCE, gamma^t G_t", reinforce()),
        Case("G_t without gamma^t", ReinforceLoss(discounted=False)),
        Case("whole return G_0", ReinforceLoss(to_go=False)),
        Case("gamma^t G_0", PolicyLoss(discounted(whole_return))),
        Case("REINFORCE, b = v_pi", reinforce(v)),
        Case("actor-critic, v = v_pi", actor_critic(v)),
        Case("GAE .5, v = v_pi", PolicyLoss(discounted(GAE(v, 0.5)))),
        Case("GAE 1, v = v_pi", PolicyLoss(discounted(GAE(v, 1.0)))),
        Case("actor-critic, v = 0", actor_critic(nothing)),
        Case("GAE 1, v = 0", PolicyLoss(discounted(GAE(nothing, 1.0)))),
        Case("G_t whitened", PolicyLoss(discounted(whitened(reward_to_go)))),
        Case("PPO, v = v_pi", ppo(v)),
        Case("REINFORCE++", reinforce_plus_plus()),
    ]


def _grouped(length: int) -> list[Case]:
    return [
        Case("RLOO", rloo()),
        Case("group mean, own included", PolicyLoss(group_mean)),
        Case("group mean / std", PolicyLoss(group_standardised)),
        Case("GRPO", grpo()),
        Case("Dr. GRPO", dr_grpo(length)),
        Case("DAPO", dapo()),
        Case("BNPO", bnpo()),
        Case("GSPO", gspo()),
        Case("CISPO", cispo()),
    ]


def _regularised(reference: SoftmaxPolicy) -> list[Case]:
    less_kl: Objective = partial(regularised_objective, kl=BETA, reference=reference)
    more_entropy: Objective = partial(regularised_objective, entropy=BETA)
    claim = f"J - {BETA:g} KL"

    def inside(kl: KL) -> Case:
        name = f"{kl.estimator}{' with ratio' if kl.with_ratio else ''} in loss"
        return Case(name, PolicyLoss(whole_return, kl=kl), claim, less_kl, reference=reference)

    return [
        Case("RLOO, k1 in reward", rloo(BETA), claim, less_kl, reference=reference),
        Case("REINFORCE, k1 in reward", PolicyLoss(discounted(penalised(reward_to_go, BETA))), claim, less_kl,
             reference=reference),
        *(inside(KL(BETA, estimator)) for estimator in ("k1", "k2", "k3")),
        inside(KL(BETA, "k1", with_ratio=True)),
        inside(KL(BETA, "k3", with_ratio=True)),
        Case("entropy in loss", PolicyLoss(whole_return, entropy=BETA), f"J + {BETA:g} H", more_entropy),
    ]  # fmt: skip


def _off_policy(other: SoftmaxPolicy) -> list[Case]:
    return [
        Case("stale, no weights", stale_reinforce(), behaviour=other),
        Case("stale, token weights", off_policy_reinforce("token"), behaviour=other),
        Case("stale, sequence weights", off_policy_reinforce("sequence"), behaviour=other),
    ]


def _supervised(policy: SoftmaxPolicy, mdp: FiniteMDP, other: SoftmaxPolicy) -> list[Case]:
    """Beside the policy gradient, REINFORCE above, stand SFT, and self-training on both kinds of samples."""
    with torch.no_grad():
        J = float(exact_objective(other, mdp))
    claim: Objective = partial(likelihood, demonstrator=other)
    demonstrations = rollout(other, mdp, DEMONSTRATIONS, generator=torch.Generator().manual_seed(0))
    return [
        Case("SFT on demonstrations", sft(), "log-likelihood", claim, behaviour=other),
        Case("ReST, G_0 >= threshold", rest(J)),
        Case("ReST + demonstrations", WithDemonstrations(rest(J), policy, demonstrations)),
        Case("best of n", best_of_n()),
        Case("reward-weighted", reward_weighted()),
    ]


def audited(
    case: Case, policy: SoftmaxPolicy, mdp: FiniteMDP, *, group_size: int, groups: int, samples: int | None, seed: int
) -> Found:
    """A case against its claim and against J. Listed batches are gone through once; drawn ones for each objective."""
    run = partial(
        audit, case.loss, policy, mdp, name=case.name, group_size=group_size, groups=groups, behaviour=case.behaviour,
        reference=case.reference, samples=samples, seed=seed,
    )  # fmt: skip
    claimed = run(objective=case.objective)
    if case.objective is None:
        return Found(case, claimed, claimed)
    return Found(case, claimed, run() if samples is not None else claimed.against(exact_gradient(policy, mdp)))
