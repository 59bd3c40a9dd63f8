"""audit, against brute force: every batch made, scored and differentiated by itself, by ordinary autograd."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

import envs
from agents import (
    Audit,
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
from agents.audits.sampling import FALSE_ALARM
from agents.exact.objective import flat_gradient
from agents.losses import advantages, named, supervised
from agents.losses.advantages import discounted, reward_to_go
from agents.losses.aggregation import episode_mean
from agents.losses.kl import KL
from mdp import Episodes, FiniteMDP, enumerate_trajectories, evaluate, unroll
from tests.agents.problems import MDPS, linear, network, seeded, shaken, tabular

Loss = Callable[[Batch], Tensor]

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


# ---- brute force ----


class Brute(NamedTuple):
    expected: Tensor
    trace: float
    batches: int


def brute_force(
    loss: Loss, policy: SoftmaxPolicy, mdp: FiniteMDP, *, group_size: int = 1, groups: int = 1,
    behaviour: SoftmaxPolicy | None = None, reference: SoftmaxPolicy | None = None,
) -> Brute:  # fmt: skip
    """-E[grad loss] and the trace of one batch's covariance: every tuple of trajectories, one by one."""
    plays = policy if behaviour is None else behaviour
    every = list(enumerate_trajectories(mdp, plays.matrix(mdp).detach().numpy()))
    of_start: dict[int, list[Any]] = {}
    for p, played in every:
        of_start.setdefault(played.states[0], []).append((p / mdp.start[played.states[0]], played))
    kinds = [
        (mdp.start[s] * math.prod(p for p, _ in chosen), [played for _, played in chosen])
        for s, rows in of_start.items()
        for chosen in product(rows, repeat=group_size)
    ]
    weights: list[float] = []
    g: list[Tensor] = []
    for batch in product(kinds, repeat=groups):
        weights.append(math.prod(weight for weight, _ in batch))
        episodes = as_episodes(mdp, [x for _, group in batch for x in group], group_size, plays)
        value = loss(Batch.of(policy, episodes, reference=reference))
        g.append(flat_gradient(policy, value) if value.requires_grad else torch.zeros_like(g[0]))
    weight, gradients = torch.tensor(weights, dtype=torch.float64), torch.stack(g)
    mean = weight @ gradients
    return Brute(-mean, float(weight @ (gradients - mean).square().sum(1)), len(weights))


def as_episodes(mdp: FiniteMDP, played: list[Any], group_size: int, behaviour: SoftmaxPolicy) -> Episodes:
    lengths = np.array([len(x.actions) for x in played])
    states, actions = np.full((len(played), lengths.max()), -1), np.zeros((len(played), lengths.max()), int)
    rewards, log_b = np.zeros(states.shape), np.zeros(states.shape)
    pi = behaviour.matrix(mdp).detach().numpy()
    for n, x in enumerate(played):
        T = len(x.actions)
        states[n, :T], actions[n, :T], rewards[n, :T] = x.states[:-1], x.actions, x.rewards
        log_b[n, :T] = np.log(pi[list(x.states[:-1]), list(x.actions)])
    return Episodes(
        states=states, actions=actions, rewards=rewards, lengths=lengths, terminated=np.ones(len(played), bool),
        truncated=np.zeros(len(played), bool), gamma=mdp.gamma, sight=np.maximum(states, 0), sights=mdp.observations,
        choices=mdp.admissible, group=np.arange(len(played)) // group_size, behaviour_log_probs=log_b,
    )  # fmt: skip


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
    assert found.vectorised == (loss is not branching)
    assert found.ordered == (loss is previous_episode_baseline)
    assert found.batches == true.batches if found.ordered else found.batches <= true.batches


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
    with pytest.raises(ValueError, match="outside its batch, and differently in every batch"):
        _ = found.covariance_trace


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


# ---- refusals ----


@pytest.mark.parametrize(
    ("loss", "kind", "message"),
    [
        (lambda batch: batch.log_probs.sum(1), ValueError, r"returned shape \(2,\), not a scalar"),
        (lambda _: 1.0, TypeError, "returned float, not a tensor"),
        (lambda batch: batch.log_probs.sum() * math.nan, ValueError, r"the loss is nan on the batch of actions \["),
        (lambda batch: batch.log_probs.sum() / 0.0, ValueError, "the loss is -inf on the batch"),
        (lambda batch: (batch.log_probs.sum() * 0).sqrt(), ValueError, "the gradient of the loss is not finite"),
        (lambda batch: batch.log_probs.detach().sum(), ValueError, "does not depend on the policy"),
        (lambda batch: batch.rewards.sum(), ValueError, "does not depend on the policy"),
        (lambda batch: (torch.rand(2, 1) * batch.log_probs).sum(), ValueError, "two values for one batch"),
        (supervised.reward_weighted(), ValueError, r"needs returns >= 0, and one is .*add a constant of at least"),
    ],
)
def test_losses_that_cannot_be_audited(loss: Loss, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        audit(loss, tabular(MDPS["tokens"]), MDPS["tokens"], group_size=2)


def test_a_loss_that_is_nan_on_a_rare_batch_is_found() -> None:
    """Not among the probes, perhaps, but among all batches."""
    mdp = envs.TokenMDP(2, 8, lambda _, completion: float(sum(completion))).finite()

    def rare(batch: Batch) -> Tensor:
        return (batch.log_probs.sum(1) / (batch.rewards.sum(1) - 8)).sum()

    with pytest.raises(ValueError, match=r"inf on the batch of actions \[1, 1, 1, 1, 1, 1, 1, 1\]"):
        audit(rare, tabular(mdp), mdp)


def test_problems_that_cannot_be_listed() -> None:
    corridor = MDPS["corridor"]
    with pytest.raises(ValueError, match=r"can return to state 0: its trajectories cannot be listed.*unroll.*samples"):
        audit(ReinforceLoss(), tabular(corridor), corridor)
    tokens = MDPS["tokens"]
    with pytest.raises(ValueError, match=r"30 trajectories in batches of 1 x 13 make 40,116,600 batches"):
        audit(ReinforceLoss(), tabular(tokens), tokens, group_size=13)
    deep = unroll(corridor, 30)
    with pytest.raises(ValueError, match=r"[\d,]+ trajectories are too many to list"):
        audit(ReinforceLoss(), tabular(deep), deep)
    for group_size, groups in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="must be at least 1"):
            audit(ReinforceLoss(), tabular(tokens), tokens, group_size=group_size, groups=groups)
    with pytest.raises(ValueError, match="samples must be at least 64"):
        audit(ReinforceLoss(), tabular(tokens), tokens, samples=10)


def test_float32_policies_are_refused() -> None:
    mdp = MDPS["tokens"]
    with pytest.raises(TypeError, match="double"):
        audit(ReinforceLoss(), SoftmaxPolicy(TabularPreferences(mdp)), mdp)
    with pytest.raises(TypeError, match="double"):
        audit(ReinforceLoss(), tabular(mdp), mdp, reference=SoftmaxPolicy(TabularPreferences(mdp)))


# ---- drawn batches ----


def drawn(loss: Loss, m: str, samples: int, seed: int = 0, **shape: Any) -> Audit:
    return audit(loss, tabular(MDPS[m]), MDPS[m], samples=samples, seed=seed, **shape)


def test_drawn_batches_agree_with_listed_ones() -> None:
    """Seed 0: each coordinate within 6 standard errors of the exact expectation, 45 coordinates: 1e-7."""
    for loss in (named.rloo(), named.grpo()):
        exact = audit(loss, tabular(MDPS["tokens"]), MDPS["tokens"], group_size=2)
        found = drawn(loss, "tokens", 20_000, group_size=2)
        assert float((found.expected - exact.expected).norm()) < 6 * math.sqrt(exact.covariance_trace / 20_000)
        assert found.covariance_trace == pytest.approx(exact.covariance_trace, rel=0.1)


def test_drawn_batches_tell_right_from_wrong_on_problems_that_return() -> None:
    """The corridor, seed 0: each verdict has odds of 1e-4."""
    assert drawn(named.reinforce(), "corridor", 40_000).verdict == "consistent"
    assert drawn(ReinforceLoss(discounted=False), "corridor", 40_000).verdict == "scaled"  # two tied parameters: a line
    a_mean_over_time = PolicyLoss(discounted(reward_to_go), aggregation=episode_mean)
    assert drawn(a_mean_over_time, "grid", 40_000).verdict == "biased"
    assert drawn(lambda batch: -ReinforceLoss()(batch), "grid", 10_000).verdict == "biased"
    assert drawn(named.reinforce(), "FrozenLake", 100).verdict == "no power"


def test_false_alarms_of_drawn_batches_are_as_rare_as_it_says() -> None:
    """200 seeds: alarms at level a are at most Binomial(200, a); each bound is passed by chance with 1e-8 at most."""
    found = [drawn(named.rloo(), "tokens", 400, seed, group_size=2).sample for seed in range(200)]
    p = np.array([(x.p_direction, x.p_scale) for x in found if x is not None])
    assert len(p) == 200
    for column in p.T:
        for level in (0.1, 0.01, 1e-3, FALSE_ALARM):
            assert (column < level).sum() <= stats.binom.isf(1e-8, 200, level), level


def test_truncated_episodes_are_refused_by_losses_that_need_them_whole() -> None:
    with pytest.raises(ValueError, match="episodes are truncated"):
        drawn(ReinforceLoss(discounted=False), "robot", 100)
    assert drawn(ReinforceLoss(), "robot", 500).verdict in ("consistent", "no power")  # cut where rounding begins


def test_a_drawn_audit_is_judged_against_one_objective() -> None:
    with pytest.raises(ValueError, match="audit again with the other objective"):
        drawn(named.rloo(), "tokens", 100, group_size=2).against(torch.zeros(45))
