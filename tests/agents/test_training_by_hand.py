"""Training and updates by hand: what is asked for, noted and told."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from agents import (
    Batch,
    ExactAscent,
    ExactEM,
    ExactValues,
    LearnedValues,
    Reinforce,
    ReinforceLoss,
    SoftmaxPolicy,
    TabularPreferences,
    TrainingStopped,
    exact_gradient,
    exact_objective,
    rollout,
    train,
)
from agents.learning import History, exactly, reinforce
from agents.learning.exactly import natural_step
from agents.learning.reinforce import surprises
from agents.learning.steps import outcome
from agents.learning.training import COLUMNS, TIMES
from mdp import Episodes, FiniteMDP, evaluate
from tests.agents.problems import (
    MDPS,
    hot_and_cut,
    linear,
    network,
    nucleus,
    only,
    seeded,
    shaken,
    tabular,
)
from tests.agents.test_learning import vector_env

# ---- training, step by step ----


def theta(policy: SoftmaxPolicy) -> torch.Tensor:
    """The table itself, without its gradient."""
    return next(policy.parameters()).detach()


class Noted:
    """An agent that learns nothing, and what its updates were."""

    def __init__(self, policy: SoftmaxPolicy) -> None:
        self.policy = policy
        self.updates: list[Episodes] = []

    def update(self, episodes: Episodes) -> dict[str, float]:
        self.updates.append(episodes)
        return {"loss": 10.0 * len(self.updates), "more": 7.0}


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, (100, 1, None)), ({"episodes": 6, "group_size": 3, "max_steps": 9}, (6, 3, 9))],
)  # fmt: skip
@pytest.mark.parametrize("each", [True, False])
def test_what_training_asks_for(options: dict[str, Any], expected: tuple[Any, ...], each: bool) -> None:
    """100 episodes of their own starts, unless told; one generator for all updates, or that of each."""
    mdp = MDPS["bandit"]
    asked: list[Any] = []
    seen: list[dict[str, float]] = []
    agent, one = Noted(tabular(mdp)), seeded()

    def play(*x: Any, group_size: int, generator: torch.Generator, max_steps: int | None) -> Episodes:
        asked.append((x, group_size, max_steps, generator.initial_seed(), generator is one))
        return rollout(*x, group_size=group_size, generator=generator, max_steps=max_steps)

    found = train(
        agent, mdp, updates=3, generator=(lambda k: seeded(40 + k)) if each else one, play=play, progress=seen.append,
        **options,
    )  # fmt: skip
    n, group_size, max_steps = expected
    assert asked == [
        ((agent.policy, mdp, n), group_size, max_steps, 40 + k if each else 0, not each) for k in (1, 2, 3)
    ]  # fmt: skip
    assert all(x is y for x, y in zip(seen, found.rows[1:], strict=True))
    assert not found.interrupted
    J = evaluate(mdp, agent.policy.matrix(mdp).detach().numpy()).objective
    for k, row in enumerate(found.rows):
        assert (row["update"], row["episodes"]) == (k, k * n)
        assert row["J"] == pytest.approx(J, rel=1e-12)
    nothing = {name for name, x in found.rows[0].items() if math.isnan(x)}
    assert nothing == {*COLUMNS, *TIMES} - {"update", "episodes", "J"}
    assert [row["loss"] for row in found.rows[1:]] == [10, 20, 30]
    for row, played in zip(found.rows[1:], agent.updates, strict=True):
        assert row.items() >= outcome(played).items()
        assert row["more"] == 7
        assert 0 <= row["sampling_s"] < 60
    resumed = train(agent, mdp, updates=5, generator=seeded(), history=found, play=play, **options)
    assert resumed is found
    assert [row["update"] for row in found.rows] == [0, 1, 2, 3, 4, 5]


def test_j_is_not_known_of_an_environment() -> None:
    mdp = MDPS["bandit"]
    copies = vector_env("exactrl/ContextualBandit-v0", 4)
    found = train(Noted(tabular(mdp)), copies, updates=1, episodes=4, generator=seeded())
    assert [math.isnan(row["J"]) for row in found.rows] == [True, True]


def test_j_of_a_policy_in_float32_is_that_of_its_rows() -> None:
    """Which sum to 1 within 1e-7 only; normalised they are a distribution."""
    mdp = MDPS["corridor"]
    policy = SoftmaxPolicy(TabularPreferences(mdp))
    with torch.no_grad():
        theta(policy).add_(torch.tensor([[0.3, -1.1]]))
    found = train(Noted(policy), mdp, updates=0, generator=seeded())
    pi = policy.matrix(mdp).detach().double().numpy()
    pi[~mdp.terminal] /= pi[~mdp.terminal].sum(1, keepdims=True)
    assert found.rows[0]["J"] == pytest.approx(evaluate(mdp, pi).objective, rel=1e-13)


def test_what_stopped_training_is_told_with_its_history() -> None:
    mdp, noted = MDPS["bandit"], History()
    agent = Noted(tabular(mdp))

    def fails(row: dict[str, float]) -> None:
        if row["update"] == 2:
            raise ValueError("no more")

    with pytest.raises(TrainingStopped) as stopped:
        train(agent, mdp, updates=4, episodes=2, generator=seeded(), history=noted, progress=fails)
    assert str(stopped.value) == "after 2 updates: no more"
    assert stopped.value.history is noted


def test_a_table_of_some_columns(tmp_path: Path) -> None:
    noted = History([{"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 4.0, "b": 5.0}])
    noted.to_csv(tmp_path / "x.csv", ("b", "a"))
    assert (tmp_path / "x.csv").read_bytes() == b"b,a\r\n2.0,1.0\r\n5.0,4.0\r\n"


# ---- updates, by hand ----


def test_where_the_time_of_an_update_went(monkeypatch: pytest.MonkeyPatch) -> None:
    mdp = MDPS["bandit"]
    agent = Reinforce(tabular(mdp))
    clock = iter([10.0, 11.0, 14.0, 20.0])
    monkeypatch.setattr(reinforce, "perf_counter", lambda: next(clock))
    found = agent.update(rollout(agent.policy, mdp, 4, generator=seeded()))
    assert (found["scoring_s"], found["backward_s"], found["optimizer_s"]) == (1, 3, 6)


def test_what_an_update_tells() -> None:
    """Entropy and KL are means over steps, summed by hand over episodes of different lengths."""
    mdp = MDPS["grid"]
    policy, reference = tabular(mdp), tabular(mdp, 1)
    played = rollout(policy, mdp, 5, generator=seeded())
    assert len(set(played.lengths.tolist())) > 1
    loss = ReinforceLoss()
    (gradient,) = torch.autograd.grad(loss(Batch.of(policy, played)), [*policy.parameters()])
    log_pi, log_reference = (
        np.log(np.where(played.mask, x.matrix(mdp).detach().numpy()[played.states, played.actions], 1.0))
        for x in (policy, reference)
    )
    found = Reinforce(policy, loss=loss, reference=reference).update(played)
    surprise = [-log_pi[n, t] for n in range(5) for t in range(played.lengths[n])]
    apart = [log_pi[n, t] - log_reference[n, t] for n in range(5) for t in range(played.lengths[n])]
    assert found["entropy"] == pytest.approx(statistics.mean(surprise), rel=1e-12)
    assert found["kl"] == pytest.approx(statistics.mean(apart), rel=1e-10)
    assert found["gradient_norm"] == pytest.approx(float(gradient.norm()), rel=1e-12)
    assert found["loss"] == pytest.approx(float(loss(Batch.of(tabular(mdp), played)).detach()), rel=1e-12)
    assert found.keys() == {*COLUMNS, *TIMES} - {"update", "episodes", "J", "sampling_s", "tokens_per_s"}
    assert "kl" not in Reinforce(policy).update(played)


def test_one_step_is_a_mean_of_one() -> None:
    mdp = MDPS["bandit"]
    policy = tabular(mdp)
    played = rollout(policy, mdp, 1, generator=seeded())
    assert played.behaviour_log_probs is not None
    assert surprises(Batch.of(policy, played))["entropy"] == pytest.approx(-played.behaviour_log_probs[0, 0], rel=1e-12)


def test_a_gradient_that_is_not_finite_changes_nothing() -> None:
    mdp = MDPS["bandit"]
    policy = tabular(mdp)
    before = theta(policy).clone()
    agent = Reinforce(policy, loss=lambda batch: (batch.log_probs.sum() * 0).sqrt())
    says = "the gradient is not finite (its norm is nan): the parameters are as they were"
    with pytest.raises(ValueError, match=only(says)):
        agent.update(rollout(policy, mdp, 3, generator=seeded()))
    assert torch.equal(theta(policy), before)


def test_values_move_towards_the_mean_of_what_was_seen() -> None:
    """By a tenth, unless told; a state that did not occur stays; and a batch is judged by what was there before it."""
    mdp = MDPS["walk"].with_gamma(0.5)
    policy = tabular(mdp)
    batch = Batch.of(policy, rollout(policy, mdp, 3, generator=seeded()))
    for step, options in ((0.1, {}), (0.5, {"step": 0.5})):
        b = LearnedValues(mdp.n_states, **options)
        b.v[:] = np.arange(mdp.n_states)
        judged = b(batch)
        assert (judged[batch.mask] == batch.states[batch.mask]).all()
        assert judged.dtype == batch.rewards.dtype
        b.learn(batch)
        returns: dict[int, list[float]] = {}
        for n, length in enumerate(batch.lengths.tolist()):
            for t in range(length):
                rest = batch.rewards[n, t:length].tolist()
                returns.setdefault(int(batch.states[n, t]), []).append(sum(0.5**k * x for k, x in enumerate(rest)))
        assert {1, 2} < set(map(len, returns.values()))
        assert len(returns) < mdp.n_states
        for s in range(mdp.n_states):
            moved = step * (statistics.mean(returns[s]) - s) if s in returns else 0
            assert b.v[s] == pytest.approx(s + moved, rel=1e-12, abs=1e-14)


def test_exact_values_are_those_of_the_policy_now() -> None:
    mdp = MDPS["grid"]
    policy = tabular(mdp)
    batch = Batch.of(tabular(mdp).float(), rollout(policy, mdp, 3, generator=seeded()))
    baseline = ExactValues(policy, mdp)
    for _ in range(2):
        v = evaluate(mdp, policy.matrix(mdp).detach().double().numpy()).v
        found = baseline(batch)
        assert found.dtype == batch.rewards.dtype
        np.testing.assert_allclose(found[batch.mask], v[batch.states[batch.mask]], rtol=1e-5)
        with torch.no_grad():
            theta(policy).mul_(2)


# ---- updates that need no samples ----

NO_EPISODES: Any = None


def test_what_exact_ascent_tells() -> None:
    """-J and |grad J| where it came from; a step of 0.1 by default."""
    mdp = MDPS["random"]
    policy = tabular(mdp)
    J, g = float(exact_objective(policy, mdp).detach()), exact_gradient(policy, mdp)
    before = theta(policy).clone()
    found = ExactAscent(policy, mdp).update(NO_EPISODES)
    assert found == {"loss": pytest.approx(-J, rel=1e-12), "gradient_norm": pytest.approx(float(g.norm()), rel=1e-12)}
    torch.testing.assert_close(theta(policy).reshape(-1), before.reshape(-1) + 0.1 * g)
    natural = natural_step(policy, mdp)
    found = ExactAscent(policy, mdp, natural=True).update(NO_EPISODES)
    assert found["gradient_norm"] == pytest.approx(float(natural.norm()), rel=1e-12)


def test_a_frozen_parameter_has_no_gradient() -> None:
    mdp = MDPS["corridor"]
    policy = network(mdp)
    first, *others = policy.parameters()
    first.requires_grad_(False)
    ExactAscent(policy, mdp).update(NO_EPISODES)
    assert first.grad is None
    assert all(p.grad is not None for p in others)


@pytest.mark.parametrize("kind", [linear, network, nucleus, hot_and_cut, "top k alone", "alike"])
def test_natural_steps_of_other_policies_are_those_of_the_fisher_matrix(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a table that tells all states apart, and cuts nothing off, has them from q less v."""
    mdp = MDPS["corridor" if kind == "alike" else "random"]
    if kind == "alike":
        policy = tabular(mdp)
    elif kind == "top k alone":
        policy = SoftmaxPolicy(TabularPreferences(mdp), top_k=2).double()
    else:
        policy = kind(mdp)
    asked = mock.Mock(return_value="by the matrix")
    monkeypatch.setattr(exactly, "natural_gradient", asked)
    assert str(natural_step(policy, mdp)) == "by the matrix"
    asked.assert_called_once_with(policy, mdp)


@pytest.mark.parametrize("temperature", [0.7, 2.0])
def test_a_natural_step_moves_preferences_by_q_less_v(temperature: float) -> None:
    """h = theta / temperature by q - v, anywhere: theta by that times the temperature."""
    mdp = MDPS["random"]
    policy = shaken(SoftmaxPolicy(TabularPreferences(mdp), temperature=temperature))
    v, q, _ = evaluate(mdp, policy.matrix(mdp).detach().numpy())
    expected = np.where(mdp.admissible & ~mdp.terminal[:, None], q - v[:, None], 0.0)
    step = temperature * torch.as_tensor(expected)
    torch.testing.assert_close(natural_step(policy, mdp).reshape(step.shape), step, rtol=1e-10, atol=1e-12)


def test_a_natural_step_needs_float64() -> None:
    mdp = MDPS["random"]
    with pytest.raises(TypeError, match="double"):
        natural_step(SoftmaxPolicy(TabularPreferences(mdp)), mdp)


def positive(scale: float = 1.0) -> FiniteMDP:
    """Two contexts, three actions, rewards at least 0."""
    r = {(s, a): scale * (1.0 + s + a * a) for s in range(2) for a in range(3)}
    return FiniteMDP.from_outcomes({pair: [(1.0, "end", x)] for pair, x in r.items()}, gamma=1.0)


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_what_a_step_of_em_tells(scale: float) -> None:
    """-sum w log pi at its maximum, where pi = w / (its sum in the state): the same for rewards in any unit."""
    mdp = positive(scale)
    policy = tabular(mdp)
    w = policy.matrix(mdp).detach().numpy()[:2] * mdp.expected_reward[:2]
    w /= w.sum()
    pi = w / w.sum(1, keepdims=True)
    found = ExactEM(policy, mdp).update(NO_EPISODES)
    np.testing.assert_allclose(policy.matrix(mdp).detach().numpy()[:2], pi, rtol=1e-9)
    assert found == {"loss": pytest.approx(-float((w * np.log(pi)).sum()), rel=1e-12), "gradient_norm": mock.ANY}
    assert 0 <= found["gradient_norm"] < 1e-10


def test_em_without_any_reward_moves_nothing() -> None:
    mdp = positive(0.0)
    policy = tabular(mdp)
    before = theta(policy).clone()
    assert ExactEM(policy, mdp).update(NO_EPISODES) == {"loss": 0, "gradient_norm": 0}
    assert torch.equal(theta(policy), before)


def test_em_with_shared_parameters_reaches_the_maximum() -> None:
    """In more iterations than L-BFGS makes by itself: after 20 the gradient is 3e-6."""
    r = {(s, a): 1.0 + (3 * s + 5 * a * a) % 7 for s in range(6) for a in range(3)}
    mdp = FiniteMDP.from_outcomes({pair: [(1.0, "end", x)] for pair, x in r.items()}, gamma=1.0)
    assert ExactEM(network(mdp), mdp).update(NO_EPISODES)["gradient_norm"] < 1e-7


@pytest.mark.parametrize("options", [{"top_k": 2}, {"top_p": 0.8}])
def test_em_refuses_what_it_cannot_move_in_words(options: dict[str, Any]) -> None:
    says = "EM moves pi freely, and top_k or top_p cut actions off: the M-step has no gradient there"
    with pytest.raises(ValueError, match=only(says)):
        ExactEM(SoftmaxPolicy(TabularPreferences(positive()), **options).double(), positive())


def test_an_m_step_that_leaves_the_numbers_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = network(positive())
    before = [p.detach().clone() for p in policy.parameters()]

    def leaves(*_: Any) -> None:
        with torch.no_grad():
            for p in policy.parameters():
                p.fill_(math.nan)

    monkeypatch.setattr(torch.optim.LBFGS, "step", leaves)
    total = lambda *_: sum(p.sum() for p in policy.parameters()) * torch.ones(2, 3)  # noqa: E731
    monkeypatch.setattr(exactly, "live_log_probabilities", total)
    with pytest.raises(ValueError, match=only("the M-step left the finite numbers; the policy is as it was before")):
        ExactEM(policy, positive()).update(NO_EPISODES)
    assert all(torch.equal(p, x) for p, x in zip(policy.parameters(), before, strict=True))
