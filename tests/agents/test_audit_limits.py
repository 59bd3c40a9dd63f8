"""audit: what it refuses, and batches that are drawn where they cannot be listed."""

from __future__ import annotations

import importlib
import math
import re
from itertools import combinations_with_replacement, product
from typing import Any
from unittest.mock import Mock

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
    rollout,
)
from agents.audits import sampling
from agents.audits.batches import _multisets, _tuples
from agents.audits.expectation import Expected
from agents.audits.gradients import Differentiated
from agents.audits.progress import watched
from agents.audits.rarity import weights
from agents.audits.sampling import FALSE_ALARM
from agents.exact.objective import flat_gradient
from agents.losses import named, supervised
from agents.losses.advantages import discounted, reward_to_go, whole_return
from agents.losses.aggregation import episode_mean
from mdp import FiniteMDP, enumerate_trajectories, unroll
from tests.agents.brute_force import Loss
from tests.agents.problems import MDPS, tabular

listing = importlib.import_module("agents.audits.audit")  # `agents.audits.audit` is the function


def over_all_places(batch: Batch) -> Tensor:
    """A mean over (N, T), padding included."""
    return -(batch.log_probs * batch.rewards.sum(1, keepdim=True)).mean()


def previous_episode_baseline(batch: Batch) -> Tensor:
    """Depends on the order of the episodes."""
    G = whole_return(batch)[:, 0]
    return -((G - torch.cat([torch.zeros_like(G[:1]), G[:-1]])) * batch.log_probs.sum(1)).mean()


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
        (supervised.reward_weighted(), ValueError, r"needs returns >= 0, and one is .*add a constant to every return"),
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


def own_error(batch: Batch) -> Tensor:
    """An error of its own where vmap asks for a number."""
    try:
        size = float(batch.rewards.abs().sum())
    except RuntimeError:
        raise LookupError("no number") from None
    return -(batch.log_probs * (batch.rewards + size)).sum()


def test_an_error_under_vmap_means_one_by_one() -> None:
    found = audit(own_error, tabular(MDPS["tokens"]), MDPS["tokens"], group_size=2)
    assert not found.vectorised
    assert found.summary.endswith("multisets, one by one")


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda batch: torch.complex(batch.log_probs.sum(), batch.rewards.sum()),
         "the loss returned shape (), not a scalar: take a sum or a mean"),
        (lambda batch: batch.log_probs, "the loss returned shape (2, 3), not a scalar: take a sum or a mean"),
        (lambda _: [1.0], "the loss returned list, not a tensor: it must be a scalar tensor"),
        (lambda batch: (torch.rand(2, 1) * batch.log_probs).sum(),
         "the loss gives two values for one batch: it draws random numbers or keeps a state. An audit needs a function "
         "of the batch alone"),
        (lambda batch: batch.rewards.sum(),
         "the loss does not depend on the policy: no gradient reaches batch.log_probs (detached, or under no_grad?)"),
        (lambda batch: (batch.log_probs.sum() * 0).sqrt() + batch.entropies.sum(),
         "the gradient of the loss is not finite on the batch of actions [0, 0, 0] rewards [0.0, 0.0, 1.0]; "
         "actions [0, 0, 0] rewards [0.0, 0.0, 1.0]"),
        (lambda batch: (batch.entropies.sum() * 0).sqrt() + batch.log_probs.sum(),
         "the gradient of the loss is not finite on the batch of actions [0, 0, 0] rewards [0.0, 0.0, 1.0]; "
         "actions [0, 0, 0] rewards [0.0, 0.0, 1.0]"),
    ],
)  # fmt: skip
def test_what_is_said_of_a_loss_that_cannot_be_audited(loss: Loss, message: str) -> None:
    """Word for word. On 8 completions of three bits that are paid 1 at their end, two at a time."""
    mdp = envs.TokenMDP(2, 3, lambda *_: 1.0).finite()
    with pytest.raises((TypeError, ValueError)) as refused:
        audit(loss, tabular(mdp), mdp, group_size=2)
    assert re.sub(r"actions \[[01], [01], [01]\]", "actions [0, 0, 0]", str(refused.value)) == message


@pytest.mark.parametrize("objective", [lambda policy, mdp: policy.matrix(mdp).sum() + math.nan,
                                       lambda policy, mdp: (policy.matrix(mdp)[0, 0] * 0).sqrt()])  # fmt: skip
def test_an_objective_or_a_gradient_that_is_not_finite(objective: Any) -> None:
    m, policy = MDPS["tokens"], tabular(MDPS["tokens"])
    value = objective(policy, m).item()
    with pytest.raises(ValueError, match=f"^the objective is {value}, or its gradient is not finite$"):
        audit(ReinforceLoss(), policy, m, objective=objective)


@pytest.mark.parametrize(
    ("loss", "shape", "count", "unordered"),
    [
        (named.rloo(), (1, 2), 240, 240),  # from two prompts, 15 x 16 / 2 multisets each
        (named.reinforce(), (2, 1), 465, 465),  # 30 x 31 / 2
        (previous_episode_baseline, (1, 2), 450, 240),
        (previous_episode_baseline, (2, 1), 900, 465),
    ],
)
def test_the_most_batches_that_are_listed(
    loss: Loss, shape: tuple[int, int], count: int, unordered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    m, policy = MDPS["tokens"], tabular(MDPS["tokens"])
    groups, group_size = shape
    monkeypatch.setattr(listing, "MOST", count)
    assert audit(loss, policy, m, group_size=group_size, groups=groups).batches == count
    monkeypatch.setattr(listing, "MOST", count - 1)
    with pytest.raises(ValueError, match="batches") as refused:
        audit(loss, policy, m, group_size=group_size, groups=groups)
    assert str(refused.value) == (
        f"30 trajectories in batches of {groups} x {group_size} make {count} batches ({unordered} if their order did "
        f"not count), more than {count - 1}: take a smaller group_size, or estimate the expectation from drawn batches "
        "(samples=, --samples)"
    )


def test_problems_that_cannot_be_listed() -> None:
    corridor = MDPS["corridor"]
    instead = (
        r"Instead: a time limit as part of the MDP \(mdp.unroll, --horizon\), or an estimate from drawn batches "
        r"\(samples=, --samples\)$"
    )
    with pytest.raises(
        ValueError, match=rf"^[^,]* can return to state 0: its trajectories cannot be listed. {instead}"
    ):
        audit(ReinforceLoss(), tabular(corridor), corridor)
    tokens = MDPS["tokens"]
    with pytest.raises(ValueError, match=r"30 trajectories in batches of 1 x 13 make 40,116,600 batches"):
        audit(ReinforceLoss(), tabular(tokens), tokens, group_size=13)
    deep = unroll(corridor, 30)
    with pytest.raises(ValueError, match=rf"^[\d,]+ trajectories are too many to list \(limit 1,000,000\). {instead}"):
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
    assert drawn(named.rloo(), "tokens", 64, group_size=2).batches == 64  # the fewest
    told = r"^drawn batches were judged along one gradient: audit again with the other objective$"
    with pytest.raises(ValueError, match=told):
        drawn(named.rloo(), "tokens", 100, group_size=2).against(torch.zeros(45))


def test_what_is_too_rare_to_be_judged_is_no_bias() -> None:
    """An outcome of probability 1/1000 with a reward of 2000: 100 and 1,000 batches never know. Seeds 0 .. 19."""
    mdp = FiniteMDP.from_outcomes(
        {("s", "a"): [(0.999, "e", 0.0), (0.001, "e", 2000.0)], ("s", "b"): [(1.0, "e", 1.0)]}, gamma=1.0
    )
    for samples in (100, 1_000):
        found = [audit(ReinforceLoss(), tabular(mdp), mdp, samples=samples, seed=seed).verdict for seed in range(20)]
        assert set(found) == {"no power"}


def test_heavy_importance_weights_are_no_bias() -> None:
    """Right sequence weights whose fourth moment no sample of this size shows. Seeds 0 .. 19."""
    mdp = MDPS["tokens"]
    policy, other = tabular(mdp, 1), tabular(mdp, 2)
    with torch.no_grad():
        for p in (*policy.parameters(), *other.parameters()):
            p.mul_(3.0)
    found = [
        audit(named.off_policy_reinforce(), policy, mdp, behaviour=other, samples=400, seed=seed).verdict
        for seed in range(20)
    ]
    assert "biased" not in found
    assert "scaled" not in found


def test_the_moments_of_a_sequence_weight() -> None:
    """By all trajectories."""
    mdp = MDPS["tokens"]
    b, policy = tabular(mdp, 1), tabular(mdp, 2)
    played, pi = (x.matrix(mdp).detach().numpy() for x in (b, policy))
    p, w = [], []
    for probability, x in enumerate_trajectories(mdp, played):
        steps = list(zip(x.states[:-1], x.actions, strict=True))
        p.append(probability)
        w.append(math.prod(pi[s, a] / played[s, a] for s, a in steps))
    off = np.array(w) - 1
    variance, third, fourth = (float(np.array(p) @ off**k) for k in (2, 3, 4))
    found = weights(b, policy, mdp)
    assert float(found.skewness) == pytest.approx(third / variance**1.5, rel=1e-9)
    assert float(found.kurtosis) == pytest.approx(fourth / variance**2 - 3, rel=1e-9)


def test_a_rare_truncated_episode_is_refused_by_name() -> None:
    """One that comes up only after vmap has taken the loss."""
    mdp = FiniteMDP.from_outcomes(
        {("s", "a"): [(0.998, "e", 1.0), (0.002, "trap", 0.0)], ("s", "b"): [(1.0, "e", 0.0)],
         ("trap", "a"): [(1.0, "trap", 0.0)], ("trap", "b"): [(1.0, "trap", 0.0)]}, gamma=0.5, start={"s": 1.0},
    )  # fmt: skip
    with pytest.raises(ValueError, match="episodes are truncated"):
        audit(named.rloo(), tabular(mdp), mdp, group_size=2, samples=4_000)
    assert audit(named.reinforce(), tabular(mdp), mdp, group_size=2, samples=4_000).verdict == "consistent"


def test_objectives_and_shapes_that_are_none() -> None:
    mdp = MDPS["tokens"]
    policy = tabular(mdp)
    wrong: list[Any] = [lambda *_: 1.0, lambda *_: torch.ones(()), lambda policy, mdp: policy.matrix(mdp).sum(1)]
    for objective in wrong:
        with pytest.raises(TypeError, match="differentiable 0-dim tensor"):
            audit(ReinforceLoss(), policy, mdp, objective=objective)
    with pytest.raises(ValueError, match="the objective is nan"):
        audit(ReinforceLoss(), policy, mdp, objective=lambda policy, mdp: policy.matrix(mdp).sum() * math.nan)
    for tolerance in (-1.0, 0.0, 1.0, 1.5, math.nan):
        with pytest.raises(ValueError, match="tolerance must lie between 0 and 1"):
            audit(ReinforceLoss(), policy, mdp, tolerance=tolerance)
    noisy = SoftmaxPolicy(torch.nn.Sequential(policy.preferences, torch.nn.Dropout(0.5)))
    told = r"^the policy gives two answers for one state \(dropout\?\): call policy.eval\(\) first$"
    with pytest.raises(ValueError, match=told):
        audit(ReinforceLoss(), noisy, mdp)
    assert audit(ReinforceLoss(), noisy.eval(), mdp).verdict == "exact"
    with torch.no_grad():
        next(policy.parameters())[0] = math.inf
    with pytest.raises(ValueError, match=r"^the policy gives nan: its preferences are not finite$"):
        audit(ReinforceLoss(), policy, mdp, objective=lambda policy, _: next(policy.parameters()).sum())


@pytest.mark.parametrize(("loss", "minds"), [(named.rloo(), False), (named.bnpo(), False), (over_all_places, True)])
def test_only_a_loss_that_minds_padding_has_batches_of_their_own_width(
    loss: Loss, minds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are padded to the width of the table, which is quicker."""
    seen = []

    class Watched(Differentiated):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            seen.append(self.own_width)

    monkeypatch.setattr("agents.audits.sampling.Differentiated", Watched)
    audit(loss, tabular(MDPS["tokens"]), MDPS["tokens"], group_size=2, samples=200)
    assert set(seen) == {minds}


def test_a_bar_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for shown in (True, False):
        monkeypatch.delenv("FORCE_COLOR", raising=False)
        if shown:
            monkeypatch.setenv("FORCE_COLOR", "1")  # by which rich takes what is no terminal for one
        with watched("counting batches", 3, "batches") as advance:
            advance(1)
        assert ("counting batches" in capsys.readouterr().err) == shown


@pytest.mark.parametrize("loss", [named.rloo(), named.grpo()])
def test_the_size_of_the_terms_is_the_root_of_their_squares(loss: Loss, monkeypatch: pytest.MonkeyPatch) -> None:
    """sqrt(sum over m, t of |dloss/dX[m, t] grad X[m, t]|^2), term by term; by two vectors of random signs, nearly."""
    found = []
    by_signs = Expected.magnitude

    def term_by_term(self: Expected) -> float:
        X, sizes = self.table.log_probs, self.absolute
        terms = [sizes[m, t] * flat_gradient(self.policy, X[m, t], retain_graph=True) for m, t in sizes.nonzero()]
        found.append(float(torch.stack(terms).norm()))
        return by_signs(self)

    monkeypatch.setattr(Expected, "magnitude", term_by_term)
    seen = audit(loss, tabular(MDPS["tokens"]), MDPS["tokens"], group_size=2)
    assert seen.magnitude == pytest.approx(found[0], rel=0.2)


@pytest.mark.parametrize(("samples", "name"), [(64, "tokens"), (257, "tokens"), (1000, "tokens"), (2000, "bandit")])
def test_as_many_batches_are_drawn_as_were_asked_for(samples: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces of a quarter of them at most, once it is known how many fit; the same ones every time."""
    monkeypatch.setattr(sampling, "PROBES", 3)
    monkeypatch.setattr(sampling, "STEPS_AT_ONCE", 600)
    m, policy = MDPS[name], tabular(MDPS[name])
    group = torch.tensor([0, 0])
    sampler = sampling.Sampler(ReinforceLoss(), policy, m, policy, None, group, samples, seed=3)
    drawn = [(draw.rows, draw.table.log_probs) for draw in sampler.draws("drawing")]
    sizes = [len(rows) for rows, _ in drawn]
    assert sum(sizes) == samples
    assert sizes[0] == 3
    longest = drawn[0][1].shape[1]
    assert sizes[1] == min(600 // (2 * longest), samples // 4)
    assert len(set(sizes[1:-1])) <= 1
    assert all(rows.flatten().tolist() == list(range(2 * n)) for (rows, _), n in zip(drawn, sizes, strict=True))
    spy = Mock(wraps=rollout)
    monkeypatch.setattr(sampling, "rollout", spy)
    again = [draw.table.log_probs for draw in sampler.draws("drawing")]
    assert all(torch.equal(x, y) for (_, x), y in zip(drawn, again, strict=True))
    assert {call.kwargs["group_size"] for call in spy.call_args_list} == {2}


@pytest.mark.parametrize("size", [1, 4, 100])
def test_draws_are_listed_in_pieces(size: int) -> None:
    """3 draws from 3 things, as tuples and as multisets, each once."""
    for made, wanted in ((_tuples, product(range(3), repeat=3)), (_multisets, combinations_with_replacement("012", 3))):
        pieces = list(made(3, 3, size))
        assert {len(piece) for piece in pieces[:-1]} <= {size}
        assert [tuple(map(int, row)) for row in wanted] == [tuple(row) for row in np.concatenate(pieces).tolist()]
