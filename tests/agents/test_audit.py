"""audit, against brute force: every batch made, scored and differentiated by itself, by ordinary autograd."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import envs
from agents import (
    Batch,
    PolicyLoss,
    ReinforceLoss,
    SoftmaxPolicy,
    TabularPreferences,
    audit,
    exact_gradient,
    gradient_moments,
    likelihood,
    regularised_objective,
    rollout,
)
from agents.audits.result import described, described_policy
from agents.exact.objective import EPS, rounding
from agents.losses import advantages, named, supervised
from agents.losses.kl import KL
from mdp import FiniteMDP, evaluate, unroll
from tests.agents.brute_force import Loss, brute_force
from tests.agents.problems import MDPS, linear, network, seeded, shaken, tabular

listing = importlib.import_module("agents.audits.audit")  # `agents.audits.audit` is the function
SMALL = FiniteMDP.from_outcomes(  # 5 trajectories from state 0, 3 from state 1
    {
        (0, "x"): [(0.4, 1, 0.5), (0.6, "end", -1.0)],
        (0, "y"): [(1.0, "end", 0.3)],
        (1, "x"): [(0.7, "end", 1.0), (0.3, "end", -2.0)],
        (1, "y"): [(1.0, "end", 0.2)],
    },
    gamma=0.8,
    start={0: 0.7, 1: 0.3},
    states=[0, 1, "end"],
)


def previous_episode_baseline(batch: Batch) -> Tensor:
    """b of an episode is the return of the one before it (0 for the first): right, and it depends on the order."""
    G = advantages.whole_return(batch)[:, 0]
    b = torch.cat([torch.zeros_like(G[:1]), G[:-1]])
    return -((G - b) * batch.log_probs.sum(1)).mean()


def branching(batch: Batch) -> Tensor:
    """vmap refuses it: a branch on a value."""
    if batch.rewards.sum() > 0:
        return -(batch.rewards.sum(1) * batch.log_probs.sum(1)).mean()
    return named.rloo()(batch)


def seen(batch: Batch) -> Tensor:
    """Reads observations, actions, states and entropies."""
    weight = 1 + batch.observations * batch.actions + batch.states
    return (weight * batch.log_probs * batch.mask).sum() - (weight * batch.entropies).mean()


def mean_over_padding(batch: Batch) -> Tensor:
    """The mean over all of (N, T), padding included: T is the longest episode of the batch."""
    return -3 * (advantages.whole_return(batch) * batch.log_probs).mean()


def first_of_the_best(batch: Batch) -> Tensor:
    """Imitates the best episode; of equal ones the first: the order matters where there are ties."""
    G = advantages.whole_return(batch)[:, 0]
    return -(torch.nn.functional.one_hot(G.argmax(), len(G)) * batch.log_probs.sum(1)).sum()


def mean_of_the_living(batch: Batch) -> Tensor:
    """A baseline for each time step, from the episodes that still go on: 0/0 where none does."""
    b = (batch.rewards * batch.mask).sum(0) / batch.mask.sum(0)
    return -(torch.where(batch.mask, batch.rewards - b, 0.0) * batch.log_probs).sum()


def in_place(batch: Batch) -> Tensor:
    """Overwrites what it was given."""
    batch.log_probs.mul_(2.0)
    batch.rewards.add_(1.0)
    return -(batch.rewards * batch.log_probs).sum()


def filtered(batch: Batch) -> Tensor:
    """Nothing at all for batches of negative returns."""
    G = advantages.whole_return(batch)[:, 0]
    return -(G * batch.log_probs.sum(1)).sum() if float(G.min()) > 0 else torch.zeros(())


LOSSES: dict[str, tuple[Loss, dict[str, Any]]] = {
    "reinforce": (named.reinforce(), {}),
    "reinforce in batches of three": (named.reinforce(np.arange(3.0)), {"groups": 3}),
    "rloo": (named.rloo(), {"group_size": 2}),
    "rloo with a KL, groups of three": (named.rloo(0.3), {"group_size": 3, "reference": tabular(SMALL, 2)}),
    "grpo, two groups": (named.grpo(0.3), {"group_size": 2, "groups": 2, "reference": tabular(SMALL, 2)}),
    "dapo": (named.dapo(), {"group_size": 2}),
    "dapo, stale": (named.dapo(), {"group_size": 2, "behaviour": tabular(SMALL, 3)}),
    "gspo, stale": (named.gspo(0.1, 0.1), {"group_size": 2, "behaviour": tabular(SMALL, 3)}),
    "cispo, stale": (named.cispo(), {"group_size": 2, "behaviour": tabular(SMALL, 3)}),
    "ppo with entropy": (named.ppo(np.arange(3.0), dual=1.5, entropy=0.2), {"groups": 2}),
    "reinforce++": (named.reinforce_plus_plus(0.2), {"groups": 2, "reference": tabular(SMALL, 2)}),
    "sequence weights": (named.off_policy_reinforce(), {"behaviour": tabular(SMALL, 3)}),
    "best of three": (supervised.best_of_n(), {"group_size": 3}),
    "two best of the batch": (supervised.rest_ranked(2), {"groups": 3}),
    "order of episodes": (previous_episode_baseline, {"group_size": 3}),
    "order of groups": (previous_episode_baseline, {"groups": 3}),
    "a branch": (branching, {"group_size": 2}),
    "everything that is seen": (seen, {"group_size": 2}),
    "a mean over padding": (mean_over_padding, {"group_size": 2}),
    "ties": (first_of_the_best, {"group_size": 3}),
    "nan on padding": (mean_of_the_living, {"group_size": 2}),
    "in place": (in_place, {"group_size": 2}),
    "filtered": (filtered, {"group_size": 2}),
}


@pytest.mark.parametrize("kind", [tabular, network, linear])
@pytest.mark.parametrize("name", LOSSES)
def test_brute_force(name: str, kind: Callable[[FiniteMDP], SoftmaxPolicy]) -> None:
    loss, shape = LOSSES[name]
    policy = kind(SMALL)
    found, true = audit(loss, policy, SMALL, **shape), brute_force(loss, policy, SMALL, **shape)
    size = max(float(true.expected.norm()), math.sqrt(true.trace))
    assert float((found.expected - true.expected).norm()) <= 1e-13 * size
    assert found.covariance_trace == pytest.approx(true.trace, rel=1e-10)
    assert found.vectorised == (loss not in (branching, filtered))
    assert found.ordered == (loss in (previous_episode_baseline, first_of_the_best))
    assert found.batches == true.batches if found.ordered else found.batches <= true.batches


def test_a_width_that_is_rare_counts() -> None:
    """A policy that stops early: nearly all batches are narrower than the table. Wrong, whatever the seed."""
    mdp = envs.tokens(1.0)
    policy = tabular(mdp)
    with torch.no_grad():
        next(policy.parameters())[:, 2] += 3.0
    true = brute_force(mean_over_padding, policy, mdp, group_size=2)
    for seed in range(4):
        found = audit(mean_over_padding, policy, mdp, group_size=2, seed=seed)
        assert found.verdict == "biased"
        torch.testing.assert_close(found.expected, true.expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("constant", [0.0, 1e7])
def test_a_constant_in_the_loss_hides_nothing(constant: float) -> None:
    mdp = MDPS["tokens"]
    for loss in (previous_episode_baseline, mean_over_padding):
        true = audit(loss, tabular(mdp), mdp, group_size=2)
        found = audit(lambda batch, loss=loss: loss(batch) + constant, tabular(mdp), mdp, group_size=2)  # type: ignore[misc]
        torch.testing.assert_close(found.expected, true.expected, rtol=1e-9, atol=1e-12)
        assert found.ordered == true.ordered
    with pytest.raises(ValueError, match="two values for one batch"):
        audit(lambda batch: (torch.rand(2, 1) * batch.log_probs).sum() + constant, tabular(mdp), mdp, group_size=2)


def test_ties_that_are_rare_among_trajectories_but_likely_are_seen() -> None:
    """256 trajectories, two of which are likely and tied."""
    mdp = envs.TokenMDP(2, 8, lambda _, completion: float(sum(completion) in (0, 8)) + sum(completion[:3])).finite()
    tied = envs.TokenMDP(2, 8, lambda _, x: 5.0 if sum(x[1:]) == 7 else float(sum(x)) / 7).finite()
    for m in (mdp, tied):
        policy = tabular(m)
        with torch.no_grad():
            next(policy.parameters())[:, 1] += 2.0
        assert audit(first_of_the_best, policy, m, group_size=2).ordered


def test_an_audit_says_what_it_was_of() -> None:
    m = MDPS["tokens"]
    policy = tabular(m)
    found = audit(ReinforceLoss(), policy, m)
    assert (found.mdp, found.gamma, found.policy) == (repr(m), m.gamma, "SoftmaxPolicy(TabularPreferences)")
    assert (found.loss, audit(ReinforceLoss(), policy, m, name="mine").loss) == ("ReinforceLoss", "mine")
    assert (described(branching), described(3), described_policy(3)) == ("branching", "int", "int(int)")
    assert found.rounding == 100 * EPS * found.magnitude + rounding(policy, m)
    assert audit(ReinforceLoss(), policy, m, samples=64).rounding == rounding(policy, m)


def test_what_is_not_given() -> None:
    """One group of one episode, J, the policy itself, tolerance 1e-6, every batch; drawn, with seed 0."""
    m, loss = SMALL, previous_episode_baseline
    policy = tabular(m)
    shape = {"group_size": 1, "groups": 1, "behaviour": policy, "tolerance": 1e-6, "samples": None, "seed": 0}
    whole = audit(loss, policy, m, **shape)  # type: ignore[arg-type]
    assert audit(loss, policy, m).as_dict() == whole.as_dict()
    zero, one = (audit(loss, policy, m, samples=64, seed=seed).as_dict() for seed in (0, 1))
    assert audit(loss, policy, m, samples=64).as_dict() == zero != one


@pytest.mark.parametrize("groups", [1, 2])
def test_a_bar_for_each_pass(groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes on, how many batches there are, and that all of them were gone through."""
    told: list[Any] = []
    done: list[int] = []

    @contextmanager
    def watched(*what: Any) -> Iterator[Callable[[int], None]]:
        told.append(what)
        done.append(0)

        def advance(n: int) -> None:
            done[-1] += n

        yield advance

    monkeypatch.setattr(listing, "watched", watched)
    found = audit(named.rloo(), tabular(SMALL), SMALL, group_size=2, groups=groups, name="mine")
    _ = found.covariance_trace
    assert told == [("auditing mine", found.batches, "batches"), ("its variance", found.batches, "batches")]
    assert done == [found.batches] * 2


def test_frozen_parameters_have_no_part() -> None:
    policy = network(SMALL)
    for p in list(policy.parameters())[:2]:
        p.requires_grad_(False)
    found = audit(named.rloo(), policy, SMALL, group_size=2)
    true = brute_force(named.rloo(), policy, SMALL, group_size=2)
    assert found.verdict == "exact"
    assert found.covariance_trace == pytest.approx(true.trace, rel=1e-10)
    assert audit(named.rloo(), policy, SMALL, group_size=2, samples=4_000).verdict == "consistent"
    for p in policy.parameters():
        p.requires_grad_(False)
    with pytest.raises(
        ValueError, match=r"^no parameter of the policy requires a gradient: there is nothing to audit$"
    ):
        audit(named.rloo(), policy, SMALL, group_size=2)


def test_a_variance_belongs_to_the_policy_that_was_audited() -> None:
    for samples in (None, 100):
        policy = tabular(SMALL)
        found = audit(named.rloo(), policy, SMALL, group_size=2, samples=samples)
        with torch.no_grad():
            next(policy.parameters()).add_(1.0)
        told = r"^the policy was changed after its audit: read covariance_trace before training goes on$"
        with pytest.raises(ValueError, match=told):
            _ = found.covariance_trace


def test_rewards_far_larger_than_the_gradient_do_not_make_a_loss_wrong() -> None:
    shifted = envs.TokenMDP(2, 2, lambda _, x: 1e10 + sum(x)).finite()
    for loss in (named.reinforce(), named.rloo()):
        assert audit(loss, tabular(shifted), shifted, group_size=2).verdict == "exact"


def test_what_a_loss_reads_from_the_policy_itself_counts() -> None:
    """A term on fixed demonstrations, beside the batch."""
    policy = tabular(SMALL)
    demonstrations = rollout(tabular(SMALL, 5), SMALL, 7, generator=seeded())
    loss = supervised.WithDemonstrations(supervised.rest(0.0), policy, demonstrations, weight=0.4)
    found, true = audit(loss, policy, SMALL, groups=2), brute_force(loss, policy, SMALL, groups=2)
    torch.testing.assert_close(found.expected, true.expected, rtol=1e-12, atol=1e-14)
    assert found.covariance_trace == pytest.approx(true.trace, rel=1e-10)
    assert found.vectorised

    def varying(batch: Batch) -> Tensor:
        return batch.log_probs.sum() + batch.rewards.sum() * next(policy.parameters()).square().sum()

    found, true = audit(varying, policy, SMALL), brute_force(varying, policy, SMALL)
    torch.testing.assert_close(found.expected, true.expected, rtol=1e-12, atol=1e-14)
    told = (
        r"^the loss differentiates the policy outside its batch, and differently in every batch: there is no variance "
        r"for that. Let it read batch.log_probs$"
    )
    with pytest.raises(ValueError, match=told):
        _ = found.covariance_trace
    with pytest.raises(ValueError, match=told):
        audit(varying, policy, SMALL, samples=64)


@pytest.mark.parametrize("estimator", [{}, {"to_go": False}, {"discounted": False}, {"baseline": -1.5}])
def test_the_variance_is_that_of_the_recursion(estimator: dict[str, Any]) -> None:
    """audit lists trajectories, gradient_moments solves linear systems."""
    mdp = MDPS["tokens"]
    policy = tabular(mdp)
    exact = gradient_moments(policy, mdp, **estimator)
    for n in (1, 2):
        found = audit(ReinforceLoss(**estimator), policy, mdp, groups=n)
        torch.testing.assert_close(found.expected, exact.mean, rtol=1e-10, atol=1e-14)
        assert found.covariance_trace == pytest.approx(float(exact.trace) / n, rel=1e-10)


# ---- the figures ----


@pytest.mark.parametrize("m", ["bandit", "tokens", "unrolled corridor"])
@pytest.mark.parametrize("group_size", [2, 3, 4])
def test_factors_of_group_losses(m: str, group_size: int) -> None:
    mdp = unroll(envs.short_corridor(0.9), 5) if m == "unrolled corridor" else MDPS[m]
    policy = tabular(mdp)
    G = group_size
    for loss, scale in (
        (named.rloo(), 1.0),
        (PolicyLoss(advantages.group_mean), (G - 1) / G),
        (named.dr_grpo(3), (G - 1) / G / 3),
    ):
        found = audit(loss, policy, mdp, group_size=G)
        assert found.verdict == ("exact" if scale == 1 else "scaled")
        assert found.scale == pytest.approx(scale, rel=1e-10)
        assert found.cosine == pytest.approx(1.0, abs=1e-10)
        assert found.relative_error == pytest.approx(1 - scale, abs=1e-10)


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
def test_gae_with_v_pi_is_exact_for_every_lambda(lam: float) -> None:
    mdp = MDPS["tokens"]
    policy = tabular(mdp)
    v = evaluate(mdp, policy.matrix(mdp).detach().numpy()).v
    assert audit(named.actor_critic(v, lam), policy, mdp).relative_error < 1e-10
    wrong = audit(named.actor_critic(v + 1.0, lam), policy, mdp)
    assert wrong.verdict == ("exact" if lam == 1 else "biased")  # the end is worth 0, not 1


def test_regularised_losses_and_what_they_claim() -> None:
    """A penalty in the reward has the gradient of J - beta KL; inside the loss k1 adds nothing, the others another."""
    mdp = MDPS["tokens"]
    policy, reference = tabular(mdp), tabular(mdp, 1)
    less_kl = partial(regularised_objective, kl=0.2, reference=reference)
    inside = {k: PolicyLoss(advantages.whole_return, kl=KL(0.2, k)) for k in ("k1", "k2", "k3")}
    claimed = audit(named.rloo(0.2), policy, mdp, group_size=2, objective=less_kl, reference=reference)
    assert claimed.relative_error < 1e-10
    assert claimed.against(exact_gradient(policy, mdp)).verdict == "biased"
    assert audit(inside["k1"], policy, mdp, reference=reference).relative_error < 1e-10  # of J: no KL at all
    for loss in inside.values():
        assert audit(loss, policy, mdp, reference=reference, objective=less_kl).verdict == "biased"
    with_ratio = [
        audit(PolicyLoss(advantages.whole_return, kl=KL(0.2, k, True)), policy, mdp, reference=reference).expected
        for k in ("k1", "k3")
    ]
    k2 = audit(inside["k2"], policy, mdp, reference=reference).expected
    for found in with_ratio:
        torch.testing.assert_close(found, k2, rtol=1e-10, atol=1e-14)  # all three: grad KL at fixed states
    bonus = PolicyLoss(advantages.whole_return, entropy=0.2)
    assert audit(bonus, policy, mdp, objective=partial(regularised_objective, entropy=0.2)).verdict == "biased"


def test_in_one_step_the_bonus_inside_the_loss_is_exact() -> None:
    """Where an episode has one step there are no later visits to miss."""
    mdp = MDPS["bandit"]
    policy, reference = tabular(mdp), tabular(mdp, 1)
    objective = partial(regularised_objective, entropy=0.2, kl=0.3, reference=reference)
    loss = PolicyLoss(advantages.whole_return, kl=KL(0.3, "k2"), entropy=0.2)
    assert audit(loss, policy, mdp, objective=objective, reference=reference).relative_error < 1e-10


def test_sft_is_the_gradient_of_the_likelihood() -> None:
    mdp = MDPS["tokens"]
    policy, demonstrator = tabular(mdp), tabular(mdp, 1)
    objective = partial(likelihood, demonstrator=demonstrator)
    found = audit(supervised.sft(), policy, mdp, behaviour=demonstrator, objective=objective)
    assert found.relative_error < 1e-10
    own = audit(supervised.sft(), policy, mdp)
    assert float(own.expected.norm()) < 1e-14  # imitating oneself teaches nothing
    assert own.verdict == "biased"


def test_token_mdp_with_its_own_numbers_of_batches() -> None:
    """256 trajectories in twos: 32,896 multisets; 15 in eights: 319,770."""
    binary = envs.TokenMDP(2, 8, lambda _, completion: float(sum(completion))).finite()
    found = audit(named.rloo(), tabular(binary), binary, group_size=2)
    assert (found.trajectories, found.batches, found.verdict) == (256, 32_896, "exact")
    assert found.vectorised
    fifteen = envs.TokenMDP("ab.", 3, lambda _, completion: completion.count(0) / 2, eos=".").finite()
    found = audit(named.rloo(), tabular(fifteen), fifteen, group_size=8)
    assert (found.trajectories, found.batches, found.verdict) == (15, 319_770, "exact")


def test_where_the_gradient_vanishes() -> None:
    """Equal rewards: grad J is 0. A correct loss is exact, a wrong one biased; cosine and scale are not numbers."""
    mdp = envs.TokenMDP(2, 2, lambda *_: 1.0).finite()
    policy = tabular(mdp)
    right, wrong = audit(ReinforceLoss(), policy, mdp), audit(seen, policy, mdp)
    assert (right.verdict, wrong.verdict) == ("exact", "biased")
    assert math.isnan(right.cosine)
    assert math.isnan(right.scale)
    assert (right.relative_error, wrong.relative_error) == (0.0, math.inf)


def test_rewards_of_0_tell_no_loss_from_another() -> None:
    mdp = envs.TokenMDP(2, 2, lambda *_: 0.0).finite()
    found = audit(lambda batch: -ReinforceLoss()(batch), tabular(mdp), mdp)
    assert (found.verdict, found.has_power) == ("no power", False)


def test_the_sign_and_the_size() -> None:
    mdp = MDPS["tokens"]
    policy = tabular(mdp)
    for factor, verdict in ((-1.0, "biased"), (3.0, "scaled"), (1 + 1e-7, "exact"), (1 + 1e-5, "scaled")):
        found = audit(lambda batch, factor=factor: factor * ReinforceLoss()(batch), policy, mdp)  # type: ignore[misc]
        assert found.scale == pytest.approx(factor, rel=1e-10)
        assert found.verdict == verdict


def test_a_loss_in_float32_is_judged_at_the_tolerance() -> None:
    mdp = MDPS["tokens"]

    def single(batch: Batch) -> Tensor:
        weight = advantages.whole_return(batch).float()
        return -(weight * batch.log_probs.float()).sum() / len(batch.lengths)

    found = audit(single, tabular(mdp), mdp, group_size=2)
    assert found.verdict == "exact"
    assert 1e-12 < found.relative_error < 1e-6


def test_a_policy_that_cuts_actions_off() -> None:
    """top-k inside the policy is right; sampled with top-k and scored without it is not."""
    mdp = MDPS["tokens"]
    whole = tabular(mdp)
    cut = SoftmaxPolicy(whole.preferences, temperature=0.8, top_k=2)
    assert audit(ReinforceLoss(), cut, mdp).relative_error < 1e-10
    assert audit(ReinforceLoss(), whole, mdp, behaviour=cut).verdict == "biased"
    other_way = audit(named.off_policy_reinforce(), cut, mdp, behaviour=whole)  # what pi never does weighs 0
    assert other_way.relative_error < 1e-10
    assert math.isfinite(other_way.covariance_trace)


def test_sharing_parameters_across_aliased_states() -> None:
    mdp = unroll(envs.short_corridor(0.9), 4)
    policy = shaken(SoftmaxPolicy(TabularPreferences(mdp)))
    found = audit(named.rloo(), policy, mdp, group_size=2)
    assert len(found.exact) == 2
    assert found.relative_error < 1e-10


def test_reading_and_writing(tmp_path: Path) -> None:
    mdp = MDPS["tokens"]
    found = audit(named.dr_grpo(3), tabular(mdp), mdp, group_size=2, name="Dr. GRPO")
    text = str(found)
    for part in ("GRPO: scaled", "0.1666666667", "1 group(s) of 2", "45 parameters", "240 batches listed"):
        assert part in text
    found.to_json(tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["verdict"] == "scaled"
    assert content["covariance_trace"] == pytest.approx(found.covariance_trace)
    assert content["expected"] == found.expected.tolist()
