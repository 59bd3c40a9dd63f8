"""REINFORCE as a loss: returns, discounts, baselines and refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import envs
from agents import Batch, ExactValues, LearnedValues, ReinforceLoss, rollout
from agents.losses import discounts, negligible_after, returns_to_go
from agents.losses.returns import refuse_truncated
from mdp import evaluate
from mdp import returns_to_go as numpy_returns_to_go
from tests.agents.problems import MDPS, seeded, tabular


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("T", [0, 1, 7])
def test_returns_are_those_of_numpy(gamma: float, T: int) -> None:
    rewards = np.random.default_rng(T).normal(size=(5, T))
    torch.testing.assert_close(
        returns_to_go(torch.as_tensor(rewards), gamma), torch.as_tensor(numpy_returns_to_go(rewards, gamma))
    )


def test_returns_are_differentiable() -> None:
    rewards = torch.ones(1, 3, dtype=torch.float64, requires_grad=True)
    returns_to_go(rewards, 0.5)[0, 0].backward()  # type: ignore[no-untyped-call]
    assert rewards.grad is not None
    assert rewards.grad.tolist() == [[1.0, 0.5, 0.25]]


def test_discounts() -> None:
    assert discounts(torch.zeros(2, 3), 0.5).tolist() == [1.0, 0.5, 0.25]
    assert discounts(torch.zeros(2, 3), 0.0).tolist() == [1.0, 0.0, 0.0]


def test_discounts_are_numbers_like_the_rewards() -> None:
    for like in (torch.zeros(2, 3, dtype=torch.float64), torch.zeros(2, 3, device="meta")):
        found = discounts(like, 0.5)
        assert (found.dtype, found.device) == (like.dtype, like.device)


@pytest.mark.parametrize("gamma", [1e-20, 1e-3, 0.3, 0.5, 0.9, 0.99, 0.999])
def test_how_long_a_discount_is_seen(gamma: float) -> None:
    """The first T with gamma^T (T + 1 / (1 - gamma)) / (1 - gamma) <= eps, found by trying."""
    eps, found = float(np.finfo(float).eps), negligible_after(gamma)
    assert found == next(T for T in range(1, 10**6) if gamma**T * (T + 1 / (1 - gamma)) / (1 - gamma) <= eps)


def test_without_discount_all_counts_and_with_the_whole_one_the_first_step() -> None:
    assert negligible_after(1) is None
    assert negligible_after(0) == 1


@pytest.mark.parametrize(
    ("loss", "forgets"),
    [(ReinforceLoss(), 422), (ReinforceLoss(to_go=False), None), (ReinforceLoss(discounted=False), None)],
)
def test_only_a_discounted_return_to_go_forgets(loss: ReinforceLoss, forgets: int | None) -> None:
    assert loss.forgets_after(0.9) == forgets


def test_an_episode_may_be_cut_off_where_the_discount_has_ended() -> None:
    """At step 5, say: of one of 5 steps nothing is missed, nor of a shorter one that ended."""
    long_enough = replace(_batch(n=3), lengths=torch.tensor([5, 2, 9]), truncated=torch.tensor([True, False, True]))
    refuse_truncated(long_enough, 5)
    with pytest.raises(ValueError, match=r"^1 of 3 episodes are truncated"):
        refuse_truncated(long_enough, 6)
    with pytest.raises(ValueError, match=r"^2 of 3 episodes are truncated"):
        refuse_truncated(long_enough)


def _batch(name: str = "random", n: int = 30) -> Batch:
    mdp = MDPS[name]
    policy = tabular(mdp)
    return Batch.of(policy, rollout(policy, mdp, n, generator=seeded()))


@pytest.mark.parametrize("to_go", [True, False])
@pytest.mark.parametrize("baseline", [None, 1.5, "state"])
def test_loss_is_the_sum_written_out(to_go: bool, baseline: float | str | None) -> None:
    batch, gamma = _batch(), MDPS["random"].gamma
    by_state = np.random.default_rng(0).normal(size=MDPS["random"].n_states)
    b = by_state if baseline == "state" else np.full(MDPS["random"].n_states, baseline or 0.0)
    total = 0.0
    for n in range(len(batch.lengths)):
        T, R = int(batch.lengths[n]), batch.rewards[n].tolist()
        for t in range(T):
            G = sum(gamma ** (k - (t if to_go else 0)) * R[k] for k in range(t if to_go else 0, T))
            s, log_pi = int(batch.states[n, t]), float(batch.log_probs[n, t].detach())
            total -= (gamma**t * (G - b[s]) if to_go else G - gamma**t * b[s]) * log_pi
    loss = ReinforceLoss(baseline=by_state if baseline == "state" else baseline, to_go=to_go)
    assert float(loss(batch).detach()) == pytest.approx(total / len(batch.lengths), rel=1e-12)


def test_a_learned_baseline_follows_the_returns_of_earlier_batches() -> None:
    batch = _batch("walk")
    baseline = LearnedValues(7, step=1.0)
    assert (baseline(batch) == 0).all()  # nothing was learned yet
    baseline.learn(batch)
    mask = batch.mask.numpy()
    G, s = numpy_returns_to_go(batch.rewards.numpy(), 1.0), batch.states.numpy()
    for state in range(1, 6):
        assert baseline.v[state] == pytest.approx(G[mask & (s == state)].mean())


def test_the_exact_baseline_is_v_pi_of_the_policy_as_it_is() -> None:
    mdp = MDPS["walk"]
    policy, batch = tabular(mdp), _batch("walk")
    baseline = ExactValues(policy, mdp)
    with torch.no_grad():
        next(policy.parameters()).mul_(2.0)
    v = evaluate(mdp, policy.matrix(mdp).detach().numpy()).v
    np.testing.assert_allclose(baseline(batch)[batch.mask].numpy(), v[batch.states[batch.mask].numpy()])


def test_truncated_episodes_are_refused() -> None:
    mdp = envs.gridworld_4x4()
    policy = tabular(mdp)
    episodes = rollout(policy, mdp, 50, generator=seeded(), max_steps=3)
    with pytest.raises(ValueError, match=r"of 50 episodes are truncated.*unroll"):
        ReinforceLoss()(Batch.of(policy, episodes))
    with_gamma_t, without = ReinforceLoss(), ReinforceLoss(discounted=False)
    forever = rollout(tabular(MDPS["robot"]), MDPS["robot"], 5, generator=seeded())
    batch = Batch.of(tabular(MDPS["robot"]), forever)
    assert torch.isfinite(with_gamma_t(batch))  # what is missing is below rounding
    with pytest.raises(ValueError, match="5 of 5 episodes are truncated"):
        without(batch)
    whole = replace(episodes, truncated=np.zeros(50, bool))
    assert torch.isfinite(ReinforceLoss()(Batch.of(policy, whole)))


def test_the_whole_return_has_no_discount_to_drop() -> None:
    with pytest.raises(ValueError, match="discounted=False needs to_go=True"):
        ReinforceLoss(to_go=False, discounted=False)


def test_entropies_and_reference() -> None:
    mdp = MDPS["bandit"]
    policy, reference = tabular(mdp, 0), tabular(mdp, 1)
    batch = Batch.of(policy, rollout(policy, mdp, 10, generator=seeded()), reference=reference)
    pi = policy.matrix(mdp).detach().numpy()
    s = batch.states[:, 0].numpy()
    np.testing.assert_allclose(batch.entropies[:, 0].detach().numpy(), -(pi[s] * np.log(pi[s])).sum(1), rtol=1e-12)
    assert batch.reference_log_probs is not None
    assert not batch.reference_log_probs.requires_grad
    expected = np.log(reference.matrix(mdp).detach().numpy()[s, batch.actions[:, 0]])
    np.testing.assert_allclose(batch.reference_log_probs[:, 0].numpy(), expected, rtol=1e-12)
    assert batch.observations.tolist() == batch.states.tolist()


def test_a_batch_has_the_precision_of_the_policy() -> None:
    mdp = MDPS["tokens"]
    single = tabular(mdp).float()
    batch = Batch.of(single, rollout(tabular(mdp), mdp, 5, generator=seeded()), reference=single)
    assert batch.behaviour_log_probs is not None
    assert batch.reference_log_probs is not None
    numbers = (batch.rewards, batch.log_probs, batch.behaviour_log_probs, batch.reference_log_probs, batch.entropies)
    assert {x.dtype for x in numbers} == {torch.float32}


@pytest.mark.parametrize("name", ["tokens", "robot"])
def test_a_batch_is_what_was_played(name: str) -> None:
    mdp = MDPS[name]
    episodes = rollout(tabular(mdp), mdp, 6, group_size=3, generator=seeded())
    batch = Batch.of(tabular(mdp, 1), episodes)
    assert batch.gamma == mdp.gamma
    assert batch.states_are_known
    assert batch.reference_log_probs is None
    for part in ("rewards", "actions", "states", "mask", "lengths", "group", "truncated", "behaviour_log_probs"):
        np.testing.assert_array_equal(getattr(batch, part), getattr(episodes, part), err_msg=part)
    np.testing.assert_array_equal(batch.observations, episodes.observations)
    unknown = Batch.of(tabular(mdp), replace(episodes, behaviour_log_probs=None))
    assert unknown.behaviour_log_probs is None
