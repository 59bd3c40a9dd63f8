"""The self-test: all mistakes are rejected, correct losses accepted; and it notices when that is not so."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from agents import (
    Batch,
    LinearPreferences,
    ReinforceLoss,
    SoftmaxPolicy,
    TabularPreferences,
    audit,
    gradient_moments,
    regularised_objective,
    rollout,
)
from agents.audits.catalogue import Case
from agents.exact.objective import flat_gradient
from agents.losses.advantages import discounted, reward_to_go, whitened
from agents.losses.composed import PolicyLoss
from agents.selftest import MISTAKES, Mistake, run, self_test
from agents.selftest.correct import correct
from agents.selftest.worlds import World, random_world, sharper
from mdp import FiniteMDP, Trajectory, count_trajectories, enumerate_trajectories


def test_no_mistake_passes_and_no_correct_loss_fails() -> None:
    """200 worlds, seeds 0 .. 199: 3,000 audits of correct losses, no false alarm."""
    found = self_test()
    assert [x for x in (*found.mistakes, *found.correct) if not x.passed] == []
    assert len(found.mistakes) >= 20
    assert all(x.worlds == 200 for x in found.correct)
    assert found.passed


def test_it_would_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A correct loss among the mistakes, a wrong factor, and a refusal that does not come."""
    planted = (
        Mistake("no mistake", ReinforceLoss()),
        Mistake("another factor", lambda batch: 2 * ReinforceLoss()(batch), "scaled", 3.0),
        Mistake("not refused", ReinforceLoss(), "refused"),
        MISTAKES[0],
    )
    monkeypatch.setattr(run, "MISTAKES", planted)
    wrong = Case("wrong", PolicyLoss(discounted(whitened(reward_to_go))))
    monkeypatch.setattr(run, "correct", lambda *_: [(wrong, 1.0)])
    calls: list[tuple[int, int]] = []
    found = self_test(worlds=3, progress=lambda done, total: calls.append((done, total)))
    assert [x.right for x in found.mistakes] == [0, 0, 0, 10]
    assert [(x.right, x.first_wrong) for x in found.correct] == [(0, 0)]
    assert not found.passed
    assert calls[-1] == (43, 43)


@pytest.mark.parametrize("seed", range(12))
def test_worlds_are_small_and_various(seed: int) -> None:
    world = random_world(seed)
    pi = world.policy.matrix(world.mdp).detach().numpy()
    assert 5 <= count_trajectories(world.mdp, pi) <= 500
    assert (world.mdp.gamma == 1) == (seed % 4 == 0)
    assert (len(set(world.mdp.observations.tolist())) == world.mdp.n_states - 1) == bool(seed % 2)
    assert audit(ReinforceLoss(), world.policy, world.mdp).verdict == "exact"


@pytest.mark.parametrize("off", [1e-12, 1e-9])
def test_a_factor_must_be_right_to_ten_digits(off: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a mistake and of a correct loss, relative to the factor; and 1 itself."""

    def times(factor: float) -> Callable[[Batch], torch.Tensor]:
        return lambda batch: factor * (1 + off) * ReinforceLoss()(batch)

    scaled = tuple(Mistake(f"{x:g}", times(x), "scaled", x) for x in (0.001, 2.0, 1000.0))
    monkeypatch.setattr(run, "MISTAKES", scaled)
    monkeypatch.setattr(run, "correct", lambda *_: [(Case(f"{x:g}", times(x)), x) for x in (0.001, 1.0, 2.0, 1000.0)])
    found = self_test(worlds=1)
    assert [x.right for x in found.mistakes] == [10 * (off < 1e-10)] * 3
    assert [x.right for x in found.correct] == [int(off < 1e-10)] * 4
    assert [x.expected for x in found.mistakes] == ["scaled by 0.001", "scaled by 2", "scaled by 1e+03"]
    assert [x.expected for x in found.correct] == ["scaled by 0.001", "exact", "scaled by 2", "scaled by 1e+03"]
    assert {x.first_wrong for x in found.mistakes} == {None if off < 1e-10 else 1}


def test_mistakes_are_planted_where_gamma_is_below_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """In ten worlds, whose audits see the world that its mistake asks for; correct losses in all others."""
    worlds: list[int] = []
    asked: list[dict[str, Any]] = []

    def seen(seed: int) -> World:
        worlds.append(seed)
        return random_world(seed)

    def audited(*_: Any, **options: Any) -> Any:
        asked.append(options)
        raise ValueError("no verdict")

    mistake = Mistake("m", ReinforceLoss(), "refused", plays=lambda w: w.other, claims=lambda _: regularised_objective)
    monkeypatch.setattr(run, "MISTAKES", (mistake,))
    monkeypatch.setattr(run, "random_world", seen)
    monkeypatch.setattr(run, "audit", audited)
    monkeypatch.setattr(run, "correct", lambda *_: [])
    ticks: list[tuple[int, int]] = []
    found = self_test(worlds=2, progress=lambda *done: ticks.append(done))
    assert worlds == [0, 1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 0, 1]
    assert found == ([("m", "refused", 10, 10, None)], [])
    assert ticks == [(k, 10) for k in range(1, 11)]
    for seed, options in zip(worlds[1:], asked, strict=False):
        world = random_world(seed)
        assert (options["group_size"], options["objective"]) == (2, regularised_objective)
        for name, policy in (("behaviour", world.other), ("reference", world.reference)):
            assert torch.equal(*(x.preferences.theta for x in (options[name], policy)))  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [1, 6])
def test_correct_losses_are_as_different_as_their_names(seed: int) -> None:
    """REINFORCE with its estimators' own variances, by linear recursions; no two alike."""
    world, rng = random_world(seed), np.random.default_rng(seed)
    cases = {case.name: case for case, _ in correct(world, rng)}
    b = np.random.default_rng(seed).normal(size=world.mdp.n_states)
    for name, estimator in {
        "REINFORCE": {}, "REINFORCE, whole return": {"to_go": False}, "REINFORCE, random b(s)": {"baseline": b},
        "REINFORCE, b = 3": {"baseline": 3.0},
    }.items():  # fmt: skip
        trace = float(gradient_moments(world.policy, world.mdp, **estimator).trace)  # type: ignore[arg-type]
        assert audit(cases[name].loss, world.policy, world.mdp).covariance_trace == pytest.approx(trace, rel=1e-9)
    own = [case for case in cases.values() if case.behaviour is None and case.reference is None]
    traces = [audit(case.loss, world.policy, world.mdp, group_size=2).covariance_trace for case in own]
    alike = ("RLOO", "RLOO, clipped token ratio")  # while the policy plays itself
    kept = [x for case, x in zip(own, traces, strict=True) if case.name != alike[1]]
    assert len({f"{x:.9g}" for x in kept}) == len(kept) == len(own) - 1
    for case in (cases["off-policy, sequence ratio"], cases["SFT"]):
        assert case.behaviour is world.other


# ---- what the mistakes are ----


class Played:
    """One trajectory of a world, step by step: r, s, a, log pi, its ratio pi / b and d = log pi - log reference."""

    def __init__(self, world: World, player: SoftmaxPolicy, x: Trajectory) -> None:
        pi, b, reference = (p.matrix(world.mdp).detach().numpy() for p in (world.policy, player, world.reference))
        self.r, self.s, self.a, self.g = x.rewards, x.states[:-1], x.actions, world.mdp.gamma
        self.T = len(self.r)
        at = list(self.s), list(self.a)
        self.log_pi = np.log(pi[at], out=np.full(self.T, -np.inf), where=pi[at] > 0)
        self.ratio, self.d = pi[at] / b[at], self.log_pi - np.log(reference[at])

    def G(self, t: int, beta: float = 0.0) -> float:
        """gamma-discounted rewards from t on, less beta d."""
        return float(sum(self.g ** (k - t) * (self.r[k] - beta * self.d[k]) for k in range(t, self.T)))


def whitened_weight(x: Played, y: Played, t: int) -> float:
    every = [z.G(k) for z in (x, y) for k in range(z.T)]
    return x.g**t * (x.G(t) - sum(every) / len(every)) / (float(np.std(every, ddof=1)) + 1e-8)


def beyond_the_end(x: Played, t: int) -> float:
    """gamma^t times the sum of gamma^(k-t) delta_k, v(s) = 1 + s, and v(S_{T-1}) once more for the end."""
    v = [1.0 + s for s in x.s]
    delta = [x.r[k] + x.g * v[min(k + 1, x.T - 1)] - v[k] for k in range(x.T)]
    return x.g**t * sum(x.g ** (k - t) * delta[k] for k in range(t, x.T))


def clipped_weight(x: Played) -> float:
    w, G = float(np.prod(x.ratio)), x.G(0)
    return 0.0 if (G > 0 and w > 1.2) or (G < 0 and w < 0.8) else w * G


# The weight of grad log pi(A_t|S_t) in the gradient, of a trajectory x that shares its batch with y.
WEIGHTS: dict[str, Callable[[Played, Played, int], float]] = {
    "gamma^t left out": lambda x, _, t: x.G(t),
    "gamma^t squared": lambda x, _, t: x.g ** (2 * t) * x.G(t),
    "gamma^t times the whole return": lambda x, _, t: x.g**t * x.G(0),
    "returns without gamma": lambda x, _, t: x.g**t * sum(x.r[t:]),
    "G_{t+1} for G_t": lambda x, _, t: x.g**t * x.G(t + 1),
    "G_{t-1} for G_t": lambda x, _, t: x.g**t * x.G(max(t - 1, 0)),
    "an extra 1/T for each episode": lambda x, _, t: x.g**t * x.G(t) / x.T,
    "the mean over all tokens of the batch": lambda x, y, t: 2 * x.g**t * x.G(t) / (x.T + y.T),
    "token counts of each piece": lambda x, y, t: x.g**t * x.G(t) / x.T * (x.T + y.T) / 2,
    "the mean of log-probabilities first": lambda x, _, __: sum(x.g**k * x.G(k) for k in range(x.T)) / x.T,
    "the sign of the loss": lambda x, _, t: -(x.g**t) * x.G(t),
    "advantages whitened": whitened_weight,
    "divided by the group's std": lambda x, y, _: (x.G(0) - y.G(0)) / 2 / (abs(x.G(0) - y.G(0)) / math.sqrt(2) + 1e-4),
    "own sample inside the baseline": lambda x, y, _: x.G(0) - (x.G(0) + y.G(0)) / 2,
    "a constant length below": lambda x, y, _: (x.G(0) - y.G(0)) / 3,
    "pieces summed, not averaged": lambda x, _, t: 2 * x.g**t * x.G(t),
    "a baseline that depends on the action": lambda x, _, t: x.g**t * (x.G(t) + 2 * x.a[t]),
    "the advantage multiplied by the length": lambda x, _, t: x.g**t * x.G(t) * x.T,
    "the last token masked": lambda x, _, t: x.g**t * x.G(t) * (t < x.T - 1),
    "the mask shifted by one": lambda x, _, t: x.g**t * x.G(t) * (t > 0),
    "cut-off episodes taken as ended": lambda x, _, t: x.r[0] * (t == 0),
    "unscorable rewards left in the mean": lambda x, y, _: (x.G(0) - y.G(0)) * (x.G(0) >= 0),
    "a bootstrap beyond the end": lambda x, _, t: beyond_the_end(x, t),
    "a wrong critic, lambda = 0": lambda x, _, t: x.g**t * x.r[t],
    "temperature not scored": lambda x, _, t: x.g**t * x.G(t),
    "top-k not scored": lambda x, _, t: x.g**t * x.G(t),
    "top-p not scored": lambda x, _, t: x.g**t * x.G(t),
    "stale samples without weights": lambda x, _, __: x.G(0),
    "stale samples with token weights": lambda x, _, t: x.G(0) * x.ratio[t],
    "stale samples, clipped ratios": lambda x, _, __: clipped_weight(x),
    "KL in the loss, k1": lambda x, _, __: x.G(0) - 0.1,
    "KL in the loss, k3": lambda x, _, t: x.G(0) - 0.1 * (1 - math.exp(-x.d[t])),
    "KL in the reward, differentiated": lambda x, _, t: x.g**t * (x.G(t, 0.1) - 0.1 * float(x.log_pi[: t + 1].sum())),
}
PLAYS: dict[str, Callable[[World], SoftmaxPolicy]] = {
    "temperature not scored": lambda world: SoftmaxPolicy(world.policy.preferences, temperature=0.7),
    "top-k not scored": lambda world: SoftmaxPolicy(world.policy.preferences, top_k=1),
    "top-p not scored": lambda world: SoftmaxPolicy(world.policy.preferences, top_p=0.6),
    "stale samples without weights": lambda world: world.other,
    "stale samples with token weights": lambda world: world.other,
    "stale samples, clipped ratios": lambda world: world.other,
}


@pytest.mark.parametrize("seed", [1, 6])
@pytest.mark.parametrize("name", WEIGHTS)
def test_each_mistake_is_the_one_that_its_name_says(name: str, seed: int) -> None:
    """Its expected gradient, by hand, over all pairs of trajectories."""
    mistake = next(x for x in MISTAKES if x.name == name)
    world = random_world(seed)
    mdp, plays = world.mdp, PLAYS[name](world) if name in PLAYS else world.policy
    every: list[tuple[float, Played]] = [
        (p, Played(world, plays, x)) for p, x in enumerate_trajectories(mdp, plays.matrix(mdp).detach().numpy())
    ]
    weight = np.zeros(mdp.admissible.shape)
    for p, x in every:
        others = [(q / mdp.start[x.s[0]], y) for q, y in every if y.s[0] == x.s[0]]
        for t in range(x.T):
            weight[x.s[t], x.a[t]] += p * sum(q * WEIGHTS[name](x, y, t) for q, y in others)
    live = ~mdp.terminal
    log_pi = world.policy.log_probabilities(mdp.observations[live], mdp.admissible[live])
    W = torch.as_tensor(weight[live])
    true = flat_gradient(world.policy, (W * torch.where(W != 0, log_pi, 0.0)).sum())
    behaviour = None if mistake.plays is None else mistake.plays(world)
    found = audit(mistake.loss, world.policy, mdp, group_size=2, behaviour=behaviour, reference=world.reference)
    assert (behaviour is None) == (name not in PLAYS)
    torch.testing.assert_close(found.expected, true, rtol=1e-9, atol=1e-12)


def test_what_the_regularised_mistakes_claim() -> None:
    world = random_world(1)
    for name, terms in {
        "KL in the loss, k1": {"kl": 0.1, "reference": world.reference}, "entropy bonus in the loss": {"entropy": 0.1},
        "KL in the loss, k3": {"kl": 0.1, "reference": world.reference},
        "KL in the reward, differentiated": {"kl": 0.1, "reference": world.reference},
    }.items():  # fmt: skip
        claims = next(x for x in MISTAKES if x.name == name).claims
        assert claims is not None
        claimed = claims(world)(world.policy, world.mdp)
        assert claimed == regularised_objective(world.policy, world.mdp, **terms)  # type: ignore[arg-type]


def test_dropout_drops_a_fifth_and_draws_anew() -> None:
    """Of 4,000 steps 800 +- 25; 6 standard errors: 2e-9."""
    drop: Any = type(next(x for x in MISTAKES if "dropout" in x.name).loss)
    mdp = FiniteMDP.from_outcomes({("s", a): [(1.0, "e", 2.0)] for a in range(2)}, gamma=1.0)
    policy = SoftmaxPolicy(TabularPreferences(mdp)).double()  # log pi = -log 2
    batch = Batch.of(policy, rollout(policy, mdp, 4_000, generator=torch.Generator().manual_seed(0)))
    one = drop()
    first, second = (float(one(batch).detach()) / math.log(4) for _ in range(2))
    assert first != second
    assert float(drop()(batch).detach()) / math.log(4) == first
    assert abs(first - 0.8) < 6 * math.sqrt(0.16 / 4_000)


# ---- the worlds ----


def test_worlds_are_what_they_say() -> None:
    """60 of them: two or three actions, one or two outcomes, onwards or to the end; states 0 and 2 alike by turns."""
    worlds = [random_world(seed) for seed in range(60)]
    actions, outcomes, gammas, theta = set(), set(), [], {True: list[float](), False: list[float]()}
    for seed, (mdp, *policies) in enumerate(worlds):
        assert mdp.states == (0, 1, 2, "end")
        assert mdp.terminal.tolist() == [False, False, False, True]
        assert mdp.observations.tolist() == ([0, 1, 0, 3] if seed % 2 else [0, 1, 2, 3])
        assert (mdp.start[:3] > 0).all()
        t = mdp.table
        assert (t.next > t.state).all()
        actions |= set(mdp.admissible[:3].sum(1).tolist())
        outcomes |= set(np.unique(t.state * 3 + t.action, return_counts=True)[1].tolist())
        gammas.append(mdp.gamma)
        for policy in policies:
            assert isinstance(policy.preferences, LinearPreferences) == (seed % 3 == 0)
            assert seed % 3 or next(policy.parameters()).shape == (4,)
            theta[seed % 3 == 0] += next(policy.parameters()).flatten().tolist()
        first, second, third = (next(policy.parameters()) for policy in policies)
        assert not torch.equal(first, second)
        assert not torch.equal(second, third)
    assert (actions, outcomes) == ({2, 3}, {1, 2})
    below = [gamma for gamma in gammas if gamma != 1]
    assert len(below) == 45
    assert 0.5 <= min(below) < 0.6 < 0.9 < max(below) < 1
    for drawn in theta.values():  # N(0, .7^2), within 6 standard errors: 4e-9
        n = len(drawn)
        assert abs(np.mean(drawn)) < 6 * 0.7 / math.sqrt(n)
        assert abs(np.var(drawn) / 0.49 - 1) < 6 * math.sqrt(2 / n)
    again = random_world(3)
    assert all(
        torch.equal(next(a.parameters()), next(b.parameters())) for a, b in zip(again[1:], worlds[3][1:], strict=True)
    )


def test_a_sharper_policy_has_the_same_preferences() -> None:
    policy = random_world(1).policy
    cold = sharper(policy, temperature=0.5, top_k=2)
    assert (cold.preferences, cold.temperature, cold.top_k, cold.top_p) == (policy.preferences, 0.5, 2, None)
