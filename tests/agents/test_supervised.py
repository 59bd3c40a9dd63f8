"""The supervised side: self-training, best of n, EM by gradient, and natural steps of any policy."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

import envs
from agents import (
    Batch,
    ExactAscent,
    ExactEM,
    Reinforce,
    SoftmaxPolicy,
    audit,
    exact_gradient,
    exact_objective,
    likelihood,
    natural_gradient,
    rollout,
)
from agents.losses import named, supervised
from mdp import (
    FiniteMDP,
    em_step,
    enumerate_trajectories,
    evaluate,
    natural_policy_gradient,
    occupancy,
    return_weighted_visits,
)
from tests.agents.problems import MDPS, POLICIES, linear, network, seeded, shaken, tabular
from tests.mdp.test_em import positive

NO_EPISODES = None


def rewarded(mdp: FiniteMDP, threshold: float) -> FiniteMDP:
    """Tokens with R = 1 where the return is at least the threshold, else 0 (gamma = 1: all is paid at the end)."""
    outcomes = {
        (s, a): [(p, after, float(after == "end" and r >= threshold)) for p, after, r in mdp.outcomes(s, a)]
        for s in mdp.states[:-1]
        for a in mdp.actions
    }
    return FiniteMDP.from_outcomes(
        outcomes, gamma=1.0, start=mdp.start, states=mdp.states, actions=mdp.actions, observations=mdp.observations
    )


@pytest.mark.parametrize("threshold", [0.3, 1.0])
def test_a_step_of_rest_is_the_gradient_of_the_probability_to_pass(threshold: float) -> None:
    mdp = envs.tokens()
    policy = tabular(mdp)
    passes = exact_gradient(policy, rewarded(mdp, threshold))
    found = audit(supervised.rest(threshold), policy, mdp, groups=2)
    torch.testing.assert_close(found.expected, passes, rtol=1e-10, atol=1e-14)
    assert found.verdict == "biased"  # of J itself


def test_best_of_one_imitates_everything() -> None:
    mdp = envs.tokens()
    assert float(audit(supervised.best_of_n(), tabular(mdp), mdp).expected.norm()) < 1e-14


def test_reward_weighted_samples_give_the_policy_gradient() -> None:
    """At the policy that played, R grad log pi is REINFORCE; from another one it climbs the EM bound."""
    mdp = MDPS["tokens"]
    small = rewarded(envs.tokens(), 0.5)
    policy, old = tabular(small), tabular(small, 1)
    assert audit(supervised.reward_weighted(), policy, small).relative_error < 1e-10

    def bound(policy: SoftmaxPolicy, mdp: FiniteMDP) -> torch.Tensor:
        from_old = em_weights(mdp, old)
        return (from_old * policy.log_probabilities(mdp.observations[~mdp.terminal])).sum()

    assert audit(supervised.reward_weighted(), policy, small, behaviour=old, objective=bound).relative_error < 1e-10
    with pytest.raises(ValueError, match=r"returns >= 0.*add a constant to every return"):
        audit(supervised.reward_weighted(), tabular(mdp), mdp)


def test_a_negative_weight_is_told() -> None:
    mdp = envs.short_corridor(1.0)  # -1 for each step
    batch = Batch.of(tabular(mdp), rollout(tabular(mdp), mdp, 8, generator=seeded()))
    steps = int(batch.lengths.max())
    message = (
        f"reward-weighted regression needs returns >= 0, and one is -{steps}: add a constant to every return "
        f"(at least {steps}; the least return of all decides), which moves J by as much and not its maximum"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        supervised.reward_weighted()(batch)


def test_demonstrations_are_added_with_their_weight() -> None:
    mdp = MDPS["tokens"]
    policy = tabular(mdp)
    batch = Batch.of(policy, rollout(policy, mdp, 8, generator=seeded()))
    demonstrations = rollout(tabular(mdp, 1), mdp, 5, generator=seeded(1))
    imitation = -policy.log_prob(demonstrations).sum() / 5
    loss = named.reinforce()
    settings: list[tuple[dict[str, Any], float]] = [({}, 1.0), ({"weight": 0.4}, 0.4)]
    for options, weight in settings:
        both = supervised.WithDemonstrations(loss, policy, demonstrations, **options)
        torch.testing.assert_close(both(batch), loss(batch) + weight * imitation)


def em_weights(mdp: FiniteMDP, policy: SoftmaxPolicy) -> torch.Tensor:
    w = return_weighted_visits(mdp, policy.matrix(mdp).detach().numpy())
    return torch.as_tensor(w[~mdp.terminal])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_em_on_a_table_is_the_closed_form(seed: int) -> None:
    mdp = positive(seed)
    policy = tabular(mdp, seed)
    expected = em_step(mdp, policy.matrix(mdp).detach().numpy())
    metrics = ExactEM(policy, mdp).update(NO_EPISODES)  # type: ignore[arg-type]
    np.testing.assert_allclose(policy.matrix(mdp).detach().numpy(), expected, atol=1e-7)
    assert metrics["gradient_norm"] < 1e-6


@pytest.mark.parametrize("kind", [linear, network])
def test_em_with_shared_parameters_never_lowers_j(kind: object) -> None:
    """The M-step weighs all prompts at once; J rises in every step."""
    mdp = positive(3)
    policy = kind(mdp)  # type: ignore[operator]
    agent = ExactEM(policy, mdp)
    J = [float(exact_objective(policy, mdp).detach())]
    for _ in range(8):
        agent.update(NO_EPISODES)  # type: ignore[arg-type]
        J.append(float(exact_objective(policy, mdp).detach()))
    assert (np.diff(J) > -1e-10).all()
    assert J[-1] > J[0] + 1e-3


def test_em_refuses_negative_rewards() -> None:
    mdp = envs.short_corridor(1.0)
    with pytest.raises(ValueError, match="must be >= 0"):
        ExactEM(tabular(mdp), mdp)


def test_likelihood_counts_every_step_of_the_demonstrator() -> None:
    """E of the sum of log pi by all trajectories; the derivative by theta is the gradient of SFT."""
    mdp = MDPS["tokens"]
    policy, demonstrator = tabular(mdp), tabular(mdp, 1)
    log_pi = policy.matrix(mdp).detach().log().numpy()
    total = sum(
        p * sum(log_pi[s, a] for s, a in zip(played.states[:-1], played.actions, strict=True))
        for p, played in enumerate_trajectories(mdp, demonstrator.matrix(mdp).detach().numpy())
    )
    assert float(likelihood(policy, mdp, demonstrator=demonstrator).detach()) == pytest.approx(total, rel=1e-12)
    cut = SoftmaxPolicy(policy.preferences, top_k=1)
    with pytest.raises(ValueError, match="the policy never does"):
        likelihood(cut, mdp, demonstrator=demonstrator)


# ---- the natural gradient ----


@pytest.mark.parametrize("p", [p for p in POLICIES if p != "linear"])
def test_fisher_times_natural_is_the_gradient(p: str) -> None:
    """F from autograd: sum over s, a of eta(s) pi(a|s) psi psi^T."""
    mdp = MDPS["tokens"]
    policy = POLICIES[p](mdp)
    pi = policy.matrix(mdp)
    eta = occupancy(mdp, pi.detach().numpy())
    d = sum(x.numel() for x in policy.parameters())
    F = torch.zeros(d, d, dtype=torch.float64)
    for s, a in zip(*np.nonzero(pi.detach().numpy()), strict=True):
        grads = torch.autograd.grad(pi[s, a].log(), list(policy.parameters()), retain_graph=True)
        psi = torch.cat([g.reshape(-1) for g in grads])
        F += eta[s] * pi[s, a].detach() * torch.outer(psi, psi)
    torch.testing.assert_close(F @ natural_gradient(policy, mdp), exact_gradient(policy, mdp), rtol=1e-7, atol=1e-10)


def test_on_a_table_it_is_the_advantage() -> None:
    mdp = MDPS["random"]
    policy = tabular(mdp)
    h = next(policy.parameters()).detach().numpy()
    found = natural_gradient(policy, mdp).numpy().reshape(h.shape)
    advantage = natural_policy_gradient(mdp, h)
    pi = policy.matrix(mdp).detach().numpy()
    live = ~mdp.terminal
    centred = found - (pi * found).sum(1, keepdims=True)
    np.testing.assert_allclose(np.where(mdp.admissible, centred, 0.0)[live], advantage[live], atol=1e-10)


def test_natural_ascent_overtakes_plain_ascent() -> None:
    """On the grid, 20 steps of 0.1: the natural step does not shrink where states are rarely visited."""
    mdp = envs.gridworld_4x4(0.95)
    J = {}
    for natural in (False, True):
        policy = shaken(tabular(mdp))
        agent = ExactAscent(policy, mdp, natural=natural)
        for _ in range(20):
            agent.update(NO_EPISODES)  # type: ignore[arg-type]
        J[natural] = evaluate(mdp, policy.matrix(mdp).detach().numpy()).objective
    assert J[True] > J[False]


def test_frozen_parameters_stay() -> None:
    mdp = MDPS["tokens"]
    policy = network(mdp)
    first, *_ = policy.parameters()
    first.requires_grad_(False)
    before = first.detach().clone()
    for natural in (False, True):
        ExactAscent(policy, mdp, natural=natural).update(NO_EPISODES)  # type: ignore[arg-type]
    assert torch.equal(first, before)


def test_em_refuses_what_it_cannot_move() -> None:
    mdp = positive(2)
    with pytest.raises(ValueError, match="top_k or top_p"):
        ExactEM(POLICIES["hot and cut"](mdp), mdp)
    with pytest.raises(TypeError, match="double"):
        ExactEM(tabular(mdp).float(), mdp)


def test_a_loss_with_a_kl_trains() -> None:
    """What is audited with a reference is trained with one."""
    mdp = MDPS["tokens"]
    policy, reference = tabular(mdp), tabular(mdp, 1)
    agent = Reinforce(policy, loss=named.rloo(0.1), reference=reference)
    agent.update(rollout(policy, mdp, 20, group_size=4, generator=seeded()))
    with pytest.raises(ValueError, match="pass reference="):
        Reinforce(policy, loss=named.rloo(0.1)).update(rollout(policy, mdp, 20, group_size=4, generator=seeded()))
