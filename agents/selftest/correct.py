"""Correct losses, and ones that differ by a known factor only: an exact check must accept every one of them."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from agents.audits.catalogue import BETA, Case
from agents.exact.objective import likelihood, regularised_objective
from agents.losses import PolicyLoss, ReinforceLoss
from agents.losses.advantages import GAE, discounted, group_mean, leave_one_out, minus, penalised, reward_to_go
from agents.losses.named import actor_critic, dr_grpo, off_policy_reinforce, reinforce, rloo
from agents.losses.ratios import ClippedRatio
from agents.losses.supervised import sft
from agents.selftest.worlds import World
from mdp import evaluate

GROUP = 2  # episodes of a group in every audit of the self-test


def correct(world: World, rng: np.random.Generator) -> list[tuple[Case, float]]:
    """(case, the scale that it must have)."""
    policy, mdp = world.policy, world.mdp
    with torch.no_grad():
        v = evaluate(mdp, policy.matrix(mdp).cpu().numpy()).v
    b, critic = rng.normal(size=mdp.n_states), rng.normal(size=mdp.n_states)
    less_kl = partial(regularised_objective, kl=BETA, reference=world.reference)
    demonstrated = partial(likelihood, demonstrator=world.other)
    to_go = discounted(penalised(reward_to_go, BETA))
    return [
        (Case("REINFORCE", reinforce()), 1.0),
        (Case("REINFORCE, whole return", ReinforceLoss(to_go=False)), 1.0),
        (Case("REINFORCE, random b(s)", reinforce(b)), 1.0),
        (Case("REINFORCE, b = 3", PolicyLoss(discounted(minus(reward_to_go, 3.0)))), 1.0),
        (Case("actor-critic, v_pi", actor_critic(v)), 1.0),
        (Case("GAE .7, v_pi", PolicyLoss(discounted(GAE(v, 0.7)))), 1.0),
        (Case("GAE 1, random critic", PolicyLoss(discounted(GAE(critic, 1.0)))), 1.0),
        (Case("RLOO", rloo()), 1.0),
        (Case("RLOO, clipped token ratio", PolicyLoss(leave_one_out, ClippedRatio("token", 0.2, 0.2))), 1.0),
        (Case("RLOO, k1 in the reward", rloo(BETA), objective=less_kl, reference=world.reference), 1.0),
        (Case("REINFORCE, k1 in the reward", PolicyLoss(to_go), objective=less_kl, reference=world.reference), 1.0),
        (Case("off-policy, sequence ratio", off_policy_reinforce(), behaviour=world.other), 1.0),
        (Case("SFT", sft(), objective=demonstrated, behaviour=world.other), 1.0),
        (Case("group mean", PolicyLoss(group_mean)), (GROUP - 1) / GROUP),
        (Case("Dr. GRPO", dr_grpo(3)), (GROUP - 1) / GROUP / 3),
    ]
