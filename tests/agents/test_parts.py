"""The parts of losses, one by one, against loops over episodes in plain Python."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from agents import Batch, PolicyLoss, ReinforceLoss, rollout
from agents.losses import advantages, aggregation, named, supervised
from agents.losses.advantages import GAE, best, discounted, minus, penalised, whitened
from agents.losses.kl import KL
from agents.losses.ratios import ClippedRatio, Level, WeightedScore, clipped, importance, score
from tests.agents.problems import seeded, tabular
from tests.worlds import random_mdp

N, GROUP = 24, 4
MDP = random_mdp(1, states=6, ends=1, gamma=0.8)  # episodes of 3.8 steps on average, 11 at most


@pytest.fixture
def batch() -> Batch:
    """24 episodes in groups of 4, played by another policy, with a reference."""
    return scored()


def scored(seed: int = 0) -> Batch:
    episodes = rollout(tabular(MDP, 1), MDP, N, group_size=GROUP, generator=seeded(seed))
    return Batch.of(tabular(MDP, 0), episodes, reference=tabular(MDP, 2))


def returns(batch: Batch) -> list[list[float]]:
    """G_t of each episode, written out."""
    out = []
    for n in range(N):
        R = batch.rewards[n, : int(batch.lengths[n])].tolist()
        out.append([sum(batch.gamma ** (k - t) * R[k] for k in range(t, len(R))) for t in range(len(R))])
    return out


def assert_steps(batch: Batch, found: Tensor, expected: Callable[[int, int], float]) -> None:
    """found (N, T) or (N, 1) is expected(n, t) at every step that was played."""
    full = found.detach().expand(batch.rewards.shape)
    for n in range(N):
        for t in range(int(batch.lengths[n])):
            assert float(full[n, t]) == pytest.approx(expected(n, t), rel=1e-10, abs=1e-12)


def group_of(n: int) -> range:
    return range(n // GROUP * GROUP, (n // GROUP + 1) * GROUP)


def test_returns_and_discounts(batch: Batch) -> None:
    G = returns(batch)
    assert_steps(batch, advantages.reward_to_go(batch), lambda n, t: G[n][t])
    assert_steps(batch, advantages.whole_return(batch), lambda n, _: G[n][0])
    assert_steps(batch, discounted(advantages.reward_to_go)(batch), lambda n, t: batch.gamma**t * G[n][t])
    assert_steps(batch, minus(advantages.reward_to_go, 2.0)(batch), lambda n, t: G[n][t] - 2.0)
    b = np.arange(MDP.n_states) / 3
    s = batch.states.tolist()
    assert_steps(batch, minus(advantages.reward_to_go, b)(batch), lambda n, t: G[n][t] - b[s[n][t]])


def test_groups(batch: Batch) -> None:
    G = [g[0] for g in returns(batch)]

    def others(n: int) -> float:
        return float(np.mean([G[m] for m in group_of(n) if m != n]))

    def mean(n: int) -> float:
        return float(np.mean([G[m] for m in group_of(n)]))

    def std(n: int) -> float:
        return float(np.std([G[m] for m in group_of(n)], ddof=1))

    assert_steps(batch, advantages.leave_one_out(batch), lambda n, _: G[n] - others(n))
    assert_steps(batch, advantages.group_mean(batch), lambda n, _: G[n] - mean(n))
    assert_steps(batch, advantages.group_standardised(batch), lambda n, _: (G[n] - mean(n)) / (std(n) + 1e-4))


def test_group_numbers_need_no_order(batch: Batch) -> None:
    """Groups are what `group` says, wherever their episodes stand."""
    order = torch.randperm(N, generator=seeded(3))
    fields = ("rewards", "actions", "states", "mask", "lengths", "group", "log_probs", "truncated")
    other = replace(batch, **{name: getattr(batch, name)[order] for name in fields})
    for part in (advantages.leave_one_out, advantages.group_standardised, best(2)):
        torch.testing.assert_close(part(other), part(batch)[order])


def test_a_group_of_one_cannot_be_compared(batch: Batch) -> None:
    alone = replace(batch, group=torch.arange(N))
    needs = "this loss compares the episodes of a group: sample groups of at least 2 (group_size)"
    for loss in (named.rloo(), named.grpo(), named.dr_grpo(3)):
        with pytest.raises(ValueError, match=f"^{re.escape(needs)}$"):
            loss(alone)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_best_of_a_group_share_ties(k: int) -> None:
    """Returns 1, 3, 3, 2 and 5, 5, 5, 5: the k largest, ties in equal parts."""
    batch = scored()
    rewards = torch.zeros(8, batch.rewards.shape[1], dtype=torch.float64)
    rewards[:, 0] = torch.tensor([1.0, 3, 3, 2, 5, 5, 5, 5])
    small = replace(batch, rewards=rewards, group=torch.arange(8) // 4, mask=batch.mask[:8])
    expected = {1: [0, 0.5, 0.5, 0, *[0.25] * 4], 2: [0, 1, 1, 0, *[0.5] * 4], 4: [1] * 8}[k]
    assert best(k)(small)[:, 0].tolist() == expected
    whole = best(k, in_groups=False)(small)[:, 0]
    assert whole.tolist() == [0] * 4 + [k / 4] * 4


def test_thresholds_and_imitation(batch: Batch) -> None:
    G = [g[0] for g in returns(batch)]
    assert_steps(batch, advantages.above(0.3)(batch), lambda n, _: float(G[n] >= 0.3))
    assert_steps(batch, advantages.ones(batch), lambda *_: 1.0)


def test_whitened(batch: Batch) -> None:
    G = returns(batch)
    flat = np.concatenate(G)
    white = whitened(advantages.reward_to_go)(batch)
    assert_steps(batch, white, lambda n, t: (G[n][t] - flat.mean()) / (flat.std(ddof=1) + 1e-8))
    assert float(white[~batch.mask].abs().sum()) == 0


@pytest.mark.parametrize("lam", [0.0, 0.4, 1.0])
def test_gae(batch: Batch, lam: float) -> None:
    v = np.random.default_rng(0).normal(size=MDP.n_states)
    s, R, gamma = batch.states.tolist(), batch.rewards.tolist(), batch.gamma

    def delta(n: int, t: int) -> float:
        after = v[s[n][t + 1]] if t + 1 < int(batch.lengths[n]) else 0.0
        return float(R[n][t] + gamma * after - v[s[n][t]])

    def expected(n: int, t: int) -> float:
        return float(sum((gamma * lam) ** (k - t) * delta(n, k) for k in range(t, int(batch.lengths[n]))))

    assert_steps(batch, GAE(v, lam)(batch), expected)
    by_function = GAE(lambda batch: torch.as_tensor(v)[batch.states], lam)
    torch.testing.assert_close(by_function(batch), GAE(v, lam)(batch))


def test_the_penalty_inside_the_reward(batch: Batch) -> None:
    assert batch.reference_log_probs is not None
    d = (batch.log_probs - batch.reference_log_probs).detach()
    by_hand = replace(batch, rewards=batch.rewards - 0.3 * d)
    found = penalised(advantages.reward_to_go, 0.3)(batch)
    torch.testing.assert_close(found, advantages.reward_to_go(by_hand))
    assert not found.requires_grad


@pytest.mark.parametrize("level", ["token", "sequence", "geometric"])
def test_ratios(batch: Batch, level: Level) -> None:
    assert batch.behaviour_log_probs is not None
    d = (batch.log_probs - batch.behaviour_log_probs).detach().tolist()

    def expected(n: int, t: int) -> float:
        T = int(batch.lengths[n])
        total = sum(d[n][:T])
        return math.exp({"token": d[n][t], "sequence": total, "geometric": total / T}[level])

    w = importance(batch, level)
    assert w.requires_grad
    assert_steps(batch, w, expected)
    A = torch.randn(batch.rewards.shape, dtype=torch.float64, generator=seeded(1))
    full = w.detach().expand_as(A)
    torch.testing.assert_close(WeightedScore(level)(batch, A), full * A * batch.log_probs)
    held = full.clamp(0.9, 1.3)
    torch.testing.assert_close(WeightedScore(level, 0.1, 0.3)(batch, A), held * A * batch.log_probs)
    gain = torch.minimum(full * A, held * A)
    torch.testing.assert_close(ClippedRatio(level, 0.1, 0.3)(batch, A), gain)
    dual = torch.where(A < 0, torch.maximum(gain, 1.1 * A), gain)
    assert (dual != gain).any()
    torch.testing.assert_close(ClippedRatio(level, 0.1, 0.3, 1.1)(batch, A), dual)


def test_a_clipped_step_has_no_gradient(batch: Batch) -> None:
    x = batch.log_probs.detach().requires_grad_()
    A = torch.ones_like(x)
    other = replace(batch, log_probs=x)
    ClippedRatio("token", 0.2, 0.2)(other, A).sum().backward()  # type: ignore[no-untyped-call]
    beyond = importance(batch, "token").detach() > 1.2
    assert x.grad is not None
    assert (beyond & batch.mask).any()
    assert (x.grad[beyond] == 0).all()
    assert (x.grad[~beyond & batch.mask] > 0).all()


@pytest.mark.parametrize("with_ratio", [False, True])
@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_kl(batch: Batch, estimator: Any, with_ratio: bool) -> None:
    assert batch.reference_log_probs is not None
    d = (batch.log_probs - batch.reference_log_probs).detach().tolist()
    w = importance(batch, "token").detach().tolist()

    def expected(n: int, t: int) -> float:
        x = d[n][t]
        k = {"k1": x, "k2": x * x / 2, "k3": math.exp(-x) - 1 + x}[estimator]
        return float(0.7 * k * (w[n][t] if with_ratio else 1.0))

    assert_steps(batch, KL(0.7, estimator, with_ratio)(batch), expected)


def test_aggregation_and_denominators(batch: Batch) -> None:
    x = torch.where(batch.mask, torch.randn(batch.rewards.shape, dtype=torch.float64, generator=seeded(2)), 0.0)
    rows, T = [sum(r) for r in x.tolist()], batch.lengths.tolist()
    expected: dict[Any, float] = {
        aggregation.episode_sum: sum(rows) / N,
        aggregation.episode_mean: sum(r / t for r, t in zip(rows, T, strict=True)) / N,
        aggregation.step_mean: sum(rows) / sum(T),
        aggregation.Constant(7): sum(rows) / N / 7,
    }
    for aggregate, value in expected.items():
        assert float(aggregate(x, batch)) == pytest.approx(value, rel=1e-12)


ALL: dict[str, Any] = {
    "reinforce": ReinforceLoss(baseline=0.5, to_go=False),
    "reinforce, token ratio": PolicyLoss(discounted(advantages.reward_to_go), ClippedRatio("token", 0.2, 0.2)),
    "rloo": named.rloo(0.1),
    "grpo": named.grpo(0.1),
    "dr_grpo": named.dr_grpo(5),
    "dapo": named.dapo(),
    "gspo": named.gspo(),
    "cispo": named.cispo(),
}


@pytest.mark.parametrize("name", ALL)
def test_pieces_add_up_to_the_whole_with_the_whole_denominator(name: str, batch: Batch) -> None:
    """Gradient accumulation over whole groups, each piece divided by the count of the whole batch."""
    loss, steps = ALL[name], getattr(ALL[name], "aggregation", None) is aggregation.step_mean
    count = float(batch.lengths.sum()) if steps else float(N)
    total = 0.0
    for first in (0, 8, 20):
        rows = slice(first, {0: 8, 8: 20, 20: N}[first])
        total += float(loss(piece(batch, rows), count).detach())
    assert total == pytest.approx(float(loss(batch).detach()), rel=1e-12)
    own = sum(float(loss(piece(batch, slice(k, k + 8))).detach()) for k in (0, 8, 16)) / 3
    assert (own == pytest.approx(float(loss(batch).detach()), rel=1e-9)) == (not steps)  # equal pieces: N is no trap


def piece(batch: Batch, rows: slice) -> Batch:
    fields = ("rewards", "actions", "states", "mask", "lengths", "group", "log_probs", "truncated",
              "behaviour_log_probs", "reference_log_probs")  # fmt: skip
    return replace(batch, **{name: getattr(batch, name)[rows] for name in fields})


def test_a_policy_loss_is_its_parts(batch: Batch) -> None:
    """- sum of (A log pi - KL + c H) / N, masked; the advantage is held constant."""
    kl = KL(0.2, "k2")
    loss = PolicyLoss(advantages.reward_to_go, kl=kl, entropy=0.3)
    gain = score(batch, advantages.reward_to_go(batch)) - kl(batch) + 0.3 * batch.entropies
    expected = -torch.where(batch.mask, gain, 0.0).sum() / N
    torch.testing.assert_close(loss(batch), expected)


TRUNCATED = (
    "1 of 24 episodes are truncated, so their returns are not known: let episodes end, or make the time limit part of "
    "the MDP (mdp.unroll)"
)
NO_STATE = 'a baseline of the state needs states, and the environment\'s info has no "state"'


@pytest.mark.parametrize(
    ("loss", "without", "message"),
    [
        (named.rloo(0.1), {"reference_log_probs": None},
         "a KL needs the log-probabilities of a reference policy: pass reference="),
        (named.grpo(), {"behaviour_log_probs": None},
         "an importance ratio needs the log-probabilities of the policy that played"),
        (named.actor_critic(np.zeros(7)), {"states_are_known": False}, NO_STATE),
        (named.rloo(), {"truncated": torch.arange(N) == 3}, TRUNCATED),
    ],
)  # fmt: skip
def test_what_a_part_needs_is_asked_for(batch: Batch, loss: PolicyLoss, without: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        loss(replace(batch, **without))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: named.off_policy_reinforce("tokens"),  # type: ignore[arg-type]
         "the ratio is one of token, sequence, geometric, not 'tokens'"),
        (lambda: ClippedRatio("tokens", 0.1, 0.1),  # type: ignore[arg-type]
         "the ratio is one of token, sequence, geometric, not 'tokens'"),
        (lambda: KL(0.1, "k4"), "the KL is estimated by one of k1, k2, k3, not 'k4'"),  # type: ignore[arg-type]
        (lambda: named.dr_grpo(-3), "the length must be positive, not -3"),
        (lambda: aggregation.Constant(0), "the length must be positive, not 0"),
        (lambda: named.grpo(clip=-0.5), "the clip low must be positive, not -0.5"),
        (lambda: named.dapo(high=0), "the clip high must be positive, not 0"),
        (lambda: WeightedScore("token", low=0), "the clip low must be positive, not 0"),
        (lambda: WeightedScore("token", high=0), "the clip high must be positive, not 0"),
        (lambda: named.ppo(0.0, dual=1), "the dual clip must lie above 1, not 1"),
        (lambda: best(0), "k must be at least 1, not 0"),
        (lambda: GAE(0.0, 1.2), "lambda must lie in [0, 1], not 1.2"),
        (lambda: GAE(0.0, -0.1), "lambda must lie in [0, 1], not -0.1"),
        (lambda: ReinforceLoss(to_go=False, discounted=False),
         "the whole return has no gamma^t in front to leave out: discounted=False needs to_go=True"),
        (lambda: named.reinforce(np.zeros((7, 1)))(scored()),
         "b has shape (7, 1): it is a number, or one for each state, (S,)"),
    ],
)  # fmt: skip
def test_settings_that_are_none(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make()


# ---- small batches, and what is beyond their ends ----


def rewarded(rewards: list[list[float]], lengths: list[int]) -> Batch:
    """Episodes with these rewards, of one group."""
    n, T = len(rewards), len(rewards[0])
    mask = torch.arange(T) < torch.tensor(lengths)[:, None]
    return replace(
        scored(), rewards=torch.tensor(rewards, dtype=torch.float64), mask=mask, lengths=torch.tensor(lengths),
        group=torch.zeros(n, dtype=torch.long), truncated=torch.zeros(n, dtype=torch.bool),
    )  # fmt: skip


def test_an_episode_of_no_step_adds_nothing() -> None:
    x, lengths = torch.tensor([[3.0], [0.0]]), [1, 0]
    for aggregate in (aggregation.episode_mean, aggregation.episode_sum):
        assert float(aggregate(x, rewarded([[0.0], [0.0]], lengths))) == 1.5
    assert float(aggregation.step_mean(x, rewarded([[0.0], [0.0]], lengths))) == 3.0
    assert float(aggregation.step_mean(0 * x, rewarded([[0.0], [0.0]], [0, 0]))) == 0.0
    assert float(aggregation.Constant(0.5)(x, rewarded([[0.0], [0.0]], lengths))) == 3.0


def test_whitening_of_one_step_and_of_two() -> None:
    """The deviation of 1 and 3 is sqrt(2); one step deviates from nothing."""
    white = whitened(advantages.reward_to_go)
    assert white(rewarded([[7.0]], [1])).tolist() == [[0.0]]
    np.testing.assert_allclose(white(rewarded([[1.0], [3.0]], [1, 1]))[:, 0], np.array([-1, 1]) / 2**0.5, rtol=2e-8)


def test_a_return_at_the_threshold_is_above_it() -> None:
    found = advantages.above(0.5)(rewarded([[0.5, 0.0], [0.25, 0.0]], [1, 1]))
    assert found.tolist() == [[1.0], [0.0]]
    assert found.dtype == torch.float64


def test_three_share_two_places() -> None:
    """In the precision of the returns."""
    shares = best(2)(rewarded([[1.0], [1.0], [1.0]], [1, 1, 1]))
    assert shares.tolist() == [[2 / 3]] * 3


def test_a_baseline_takes_the_precision_of_the_rewards(batch: Batch) -> None:
    single = replace(batch, rewards=batch.rewards.float())
    for b in (0.1, np.arange(MDP.n_states) / 3):
        assert minus(advantages.reward_to_go, b)(single).dtype == torch.float32


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(None, None, [0.2, 1.0, 9.0]), (0.5, None, [0.5, 1.0, 9.0]), (None, 2.0, [0.2, 1.0, 3.0]),
     (0.5, 2.0, [0.5, 1.0, 3.0]), (0.1, 0.1, [0.9, 1.0, 1.1])],
)  # fmt: skip
def test_a_clip_is_open_where_no_bound_is_given(low: float | None, high: float | None, expected: list[float]) -> None:
    assert clipped(torch.tensor([0.2, 1.0, 9.0], dtype=torch.float64), low, high).tolist() == expected


def test_a_step_that_the_policy_never_takes_adds_nothing() -> None:
    """w = 0 and log pi = -inf, whose product is no number."""
    batch = rewarded([[1.0, 1.0]], [2])
    log_probs = torch.tensor([[-1.0, -torch.inf]], dtype=torch.float64)
    played = replace(batch, log_probs=log_probs, behaviour_log_probs=torch.full((1, 2), -1.0, dtype=torch.float64))
    assert WeightedScore("token")(played, torch.full((1, 2), 3.0)).tolist() == [[-3.0, 0.0]]


def test_the_geometric_ratio_of_one_step_is_that_of_the_step() -> None:
    batch = rewarded([[1.0, 0.0]], [1])
    d = torch.tensor([[math.log(2), 0.0]], dtype=torch.float64)
    found = importance(replace(batch, log_probs=d, behaviour_log_probs=0 * d), "geometric")
    np.testing.assert_allclose(found, [[2.0]], rtol=1e-15)


def test_what_a_surrogate_sees_of_the_advantage(batch: Batch) -> None:
    """Constant, and 0 after the end."""
    seen: list[Tensor] = []

    def surrogate(batch: Batch, A: Tensor) -> Tensor:
        seen.append(A)
        return batch.log_probs

    PolicyLoss(lambda batch: 5 + batch.log_probs, surrogate)(batch)
    assert not seen[0].requires_grad
    assert torch.equal(seen[0], torch.where(batch.mask, 5 + batch.log_probs.detach(), 0.0))


# ---- the losses by name ----

STANDARDISED, TOKEN = advantages.group_standardised, ClippedRatio("token", 0.2, 0.2)
CHOSEN: dict[str, tuple[object, PolicyLoss]] = {
    "GRPO": (named.grpo(), PolicyLoss(STANDARDISED, TOKEN, aggregation.episode_mean)),
    "GRPO, set": (named.grpo(0.1, 0.3), PolicyLoss(
        STANDARDISED, ClippedRatio("token", 0.3, 0.3), aggregation.episode_mean, KL(0.1, "k3"))),
    "Dr. GRPO": (named.dr_grpo(7), PolicyLoss(advantages.group_mean, TOKEN, aggregation.Constant(7))),
    "Dr. GRPO, set": (named.dr_grpo(7, 0.3), PolicyLoss(
        advantages.group_mean, ClippedRatio("token", 0.3, 0.3), aggregation.Constant(7))),
    "DAPO": (named.dapo(), PolicyLoss(STANDARDISED, ClippedRatio("token", 0.2, 0.28), aggregation.step_mean)),
    "DAPO, set": (named.dapo(0.1, 0.5), PolicyLoss(
        STANDARDISED, ClippedRatio("token", 0.1, 0.5), aggregation.step_mean)),
    "BNPO": (named.bnpo(), PolicyLoss(STANDARDISED, TOKEN, aggregation.step_mean)),
    "BNPO, set": (named.bnpo(0.1, 0.3), PolicyLoss(
        STANDARDISED, ClippedRatio("token", 0.3, 0.3), aggregation.step_mean, KL(0.1, "k3"))),
    "PPO": (named.ppo(0.5), PolicyLoss(GAE(0.5, 0.95), TOKEN, aggregation.step_mean)),
    "PPO, set": (named.ppo(0.5, 0.4, 0.3, dual=2.0, entropy=0.1), PolicyLoss(
        GAE(0.5, 0.4), ClippedRatio("token", 0.3, 0.3, 2.0), aggregation.step_mean, entropy=0.1)),
    "GSPO": (named.gspo(), PolicyLoss(
        STANDARDISED, ClippedRatio("geometric", 3e-4, 4e-4), aggregation.episode_mean)),
    "GSPO, set": (named.gspo(0.1, 0.5), PolicyLoss(
        STANDARDISED, ClippedRatio("geometric", 0.1, 0.5), aggregation.episode_mean)),
    "CISPO": (named.cispo(), PolicyLoss(STANDARDISED, WeightedScore("token", None, 0.28), aggregation.step_mean)),
    "CISPO, set": (named.cispo(0.1), PolicyLoss(
        STANDARDISED, WeightedScore("token", None, 0.1), aggregation.step_mean)),
    "off-policy": (named.off_policy_reinforce(), PolicyLoss(advantages.whole_return, WeightedScore("sequence"))),
    "token ratios": (named.off_policy_reinforce("token"), PolicyLoss(advantages.whole_return, WeightedScore("token"))),
    "stale": (named.stale_reinforce(), PolicyLoss(advantages.whole_return)),
}  # fmt: skip


@pytest.mark.parametrize("name", CHOSEN)
def test_the_settings_of_the_papers(name: str) -> None:
    """What a name stands for, as it is and with all of its settings changed."""
    found, parts = CHOSEN[name]
    assert found == parts


@pytest.mark.parametrize(
    ("found", "parts"),
    [
        (named.reinforce_plus_plus(), PolicyLoss(whitened(advantages.reward_to_go), TOKEN, aggregation.step_mean)),
        (named.reinforce_plus_plus(0.1, 0.3), PolicyLoss(
            whitened(penalised(advantages.reward_to_go, 0.1)), ClippedRatio("token", 0.3, 0.3), aggregation.step_mean)),
        (named.actor_critic(0.5), PolicyLoss(discounted(GAE(0.5, 0.0)))),
        (named.actor_critic(0.5, 0.4), PolicyLoss(discounted(GAE(0.5, 0.4)))),
        (named.rloo(), PolicyLoss(advantages.leave_one_out)),
        (named.rloo(0.1), PolicyLoss(penalised(advantages.leave_one_out, 0.1))),
        (named.reinforce(0.5), ReinforceLoss(baseline=0.5)),
        (supervised.sft(), PolicyLoss(advantages.ones)),
        (supervised.rest(0.3), PolicyLoss(advantages.above(0.3))),
        (supervised.rest_ranked(3), PolicyLoss(best(3, in_groups=False))),
        (supervised.best_of_n(), PolicyLoss(best(1))),
    ],
)  # fmt: skip
def test_losses_by_name_are_their_parts(batch: Batch, found: PolicyLoss, parts: PolicyLoss) -> None:
    assert torch.equal(found(batch), parts(batch))
