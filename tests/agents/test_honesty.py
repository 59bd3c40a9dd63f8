"""Policies whose softmax saturates: what underflows is said, and nothing passes by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import mpmath as mp
import numpy as np
import pytest
import torch

import envs
from agents import (
    Batch,
    SoftmaxPolicy,
    TabularPreferences,
    audit,
    episodes_for,
    exact_gradient,
    exact_objective,
    gradient_moments,
    natural_gradient,
    pgcheck,
    rollout,
)  # fmt: skip
from agents.losses import named
from mdp import FiniteMDP
from tests.agents.problems import seeded
from tests.mdp.extended import extended, softmax

MDPS = {"bandit": envs.bandit(means=(0, 1)), "tokens": envs.tokens(0.9), "robot": envs.recycling_robot()}
LISTED = ("bandit", "tokens")


def three_times(batch: Batch) -> torch.Tensor:
    """A wrong loss: no gamma^t, and a factor of 3."""
    return -3 * (batch.rewards.sum(1) * batch.log_probs.sum(1)).mean()


def upside_down(batch: Batch) -> torch.Tensor:
    return -named.reinforce()(batch)


def a_half_more(batch: Batch) -> torch.Tensor:
    return 1.5 * named.reinforce()(batch)


Loss = Callable[[Batch], torch.Tensor]
LOSSES: dict[str, Loss] = {"right": named.reinforce(), "three times": three_times, "a half more": a_half_more}


def preferences(mdp: FiniteMDP, size: float) -> np.ndarray:
    """`size` for the first action of each state, -size for all others."""
    h = np.full(mdp.admissible.shape, -size)
    h[np.arange(mdp.n_states), mdp.admissible.argmax(axis=1)] = size
    return h


def at(mdp: FiniteMDP, h: np.ndarray) -> SoftmaxPolicy:
    table = TabularPreferences(mdp)
    policy = SoftmaxPolicy(table).double()
    row = table.row(torch.as_tensor(mdp.observations.copy())).numpy()
    with torch.no_grad():
        for s, r in enumerate(row):
            table.theta[int(r)] = torch.as_tensor(h[s])
    return policy


# ---- pgcheck ----


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("size", [1e4, 380.0, 350.0, 30.0, 15.0])
@pytest.mark.parametrize("name", MDPS)
def test_pgcheck_of_a_saturated_policy_has_no_power(name: str, size: float, tmp_path: Path) -> None:
    m = MDPS[name]
    report = pgcheck(at(m, preferences(m, size)), m, episodes=300)
    assert report.verdict == "no power"
    assert not report.passed
    assert "NO POWER" in report.caption
    report.to_json(tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["passed"] is False


@pytest.mark.parametrize("name", MDPS)
def test_pgcheck_of_a_saturated_policy_does_not_pass_a_wrong_loss(name: str) -> None:
    m = MDPS[name]
    for size in (1e4, 15.0):
        assert not pgcheck(at(m, preferences(m, size)), m, episodes=300, loss=three_times).passed


def test_mixed_preferences_are_checked() -> None:
    """Two actions at 1e4, one at -1e4: what is left is a policy of two actions, and a check of it."""
    m = envs.bandit(means=(0, 1, 5))
    policy = at(m, np.array([[1e4, 1e4, -1e4]] * 2))
    assert pgcheck(policy, m, episodes=4_000).passed
    assert audit(named.reinforce(), policy, m).verdict == "exact"
    assert audit(three_times, policy, m).verdict in ("scaled", "biased")


def test_episodes_for_a_gradient_that_underflows() -> None:
    m = MDPS["bandit"]
    for size in (1e4, 350.0):
        with pytest.raises(ValueError, match="grad J is 0 here up to rounding"):
            episodes_for(at(m, preferences(m, size)), m, 0.05)


# ---- audits ----


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("samples", [None, 100])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("size", [1e4, 380.0, 350.0, 20.0])
@pytest.mark.parametrize("name", LISTED)
def test_an_audit_of_a_saturated_policy_has_no_power(name: str, size: float, loss: str, samples: int | None) -> None:
    """The gradient of every loss is 0 there: no verdict but this one, neither for right ones nor for wrong ones."""
    m = MDPS[name]
    found = audit(LOSSES[loss], at(m, preferences(m, size)), m, samples=samples)
    assert found.verdict == "no power"
    assert not found.has_power
    assert "no power" in str(found)


@pytest.mark.parametrize("name", LISTED)
def test_an_audit_where_a_gradient_is_nearly_rounding(name: str) -> None:
    """|grad J| = 1e-13: what goes down is seen to be wrong, what is half as large again could be rounding."""
    m = MDPS[name]
    policy = at(m, -preferences(m, 15.0) if name == "bandit" else preferences(m, 15.0))
    losses: tuple[Loss, ...] = (named.reinforce(), a_half_more, upside_down)
    assert [audit(loss, policy, m).verdict for loss in losses] == ["no power", "no power", "biased"]
    assert audit(named.reinforce(), policy, m, samples=200).verdict == "no power"  # no false alarm, either


@pytest.mark.parametrize("size", [0.0, 5.0, 10.0])
@pytest.mark.parametrize("name", LISTED)
def test_an_audit_of_a_small_gradient_has_power(name: str, size: float) -> None:
    m = MDPS[name]
    policy = at(m, preferences(m, size))
    assert [audit(loss, policy, m).verdict for loss in (named.reinforce(), a_half_more)] == ["exact", "scaled"]


def test_a_gradient_that_is_0_by_symmetry_is_no_underflow() -> None:
    """Equal rewards, and terms that cancel: they would not, for a wrong baseline."""
    m = envs.bandit(means=(1, 1))
    found = audit(named.reinforce(), at(m, np.zeros((2, 2))), m)
    assert found.vanishes
    assert found.has_power
    assert found.verdict == "exact"


# ---- gradients, moments, entropies ----


@pytest.mark.parametrize("size", [5.0, 15.0, 350.0])
@pytest.mark.parametrize("name", MDPS)
def test_exact_gradients_of_saturated_policies(name: str, size: float) -> None:
    """Each entry to some eps of itself, while it is a float64."""
    m = MDPS[name]
    h = preferences(m, size)
    policy = at(m, h)
    true = extended(m, softmax(m, h, 800), 800).gradient
    found = exact_gradient(policy, m).numpy().reshape(-1, m.n_actions)
    rows = TabularPreferences(m).row(torch.as_tensor(m.observations.copy())).tolist()
    for r in set(rows):
        for a in range(m.n_actions):
            g = sum((x for (s, b), x in true.items() if rows[s] == r and b == a), mp.mpf(0))
            assert abs(float(found[r, a]) - g) <= 1e-9 * abs(g) + mp.mpf(10) ** -320


@pytest.mark.parametrize("name", MDPS)
def test_what_underflows_is_0_everywhere(name: str) -> None:
    m = MDPS[name]
    h = preferences(m, 1e4)
    policy = at(m, h)
    true = extended(m, softmax(m, h, 9_000), 9_000)
    assert 0 < max(abs(g) for g in true.gradient.values()) < mp.mpf(10) ** -8600
    assert not exact_gradient(policy, m).any()
    assert abs(exact_objective(policy, m).item() - true.J) <= 1e-12 * abs(true.J) + mp.mpf(10) ** -300
    moments = gradient_moments(policy, m)
    assert not moments.mean.any()
    assert moments.trace.item() == 0
    assert not natural_gradient(policy, m).any()  # an action with pi = 0 is never taken: see its docstring


@pytest.mark.parametrize("size", [350.0, 15.0, 5.0])
def test_the_natural_gradient_while_pi_is_a_float(size: float) -> None:
    """q - v but for a constant in each state, which does not shrink with pi."""
    m = MDPS["bandit"]
    found = natural_gradient(at(m, preferences(m, size)), m)[:2].numpy()
    np.testing.assert_allclose(found - found.mean(), [-0.5, 0.5], rtol=1e-9)


@pytest.mark.parametrize("size", [1e4, 350.0, 30.0, 5.0])
@pytest.mark.parametrize("name", MDPS)
def test_log_probabilities_and_entropies_at_saturation(name: str, size: float) -> None:
    """log pi keeps its digits where pi is 0; entropies are finite, and so are their gradients."""
    m = MDPS[name]
    h = preferences(m, size)
    policy = at(m, h)
    live = np.flatnonzero(~m.terminal)
    log_pi = policy.log_probabilities(m.observations[live], m.admissible[live]).detach().numpy()
    others = m.admissible[live].sum(axis=1) - 1
    with mp.workdps(60):
        for s, n, row in zip(live, others.tolist(), log_pi, strict=True):
            for a in np.flatnonzero(m.admissible[s]):
                true = h[s, a] - size - mp.log1p(n * mp.exp(-2 * mp.mpf(size)))
                assert abs(row[a] - true) <= 1e-14 * abs(true) + 1e-15
    episodes = rollout(policy, m, 4, generator=seeded(), max_steps=20)
    entropies = policy.entropies(episodes)
    entropies.sum().backward()  # type: ignore[no-untyped-call]
    assert entropies.isfinite().all()
    assert (entropies >= 0).all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in policy.parameters())


# ---- what is no preference ----

REFUSING: dict[str, Callable[[SoftmaxPolicy, FiniteMDP], object]] = {
    "exact_gradient": exact_gradient, "exact_objective": exact_objective, "gradient_moments": gradient_moments,
    "natural_gradient": natural_gradient, "pgcheck": lambda p, m: pgcheck(p, m, episodes=100),
    "audit": lambda p, m: audit(named.reinforce(), p, m),
    "drawn audit": lambda p, m: audit(named.reinforce(), p, m, samples=64),
    "rollout": lambda p, m: rollout(p, m, 4, generator=seeded()),
    "sample": lambda p, m: p.sample(m.observations[:1], generator=seeded()),
}  # fmt: skip


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", REFUSING)
def test_preferences_that_are_no_numbers_are_refused(name: str, bad: float) -> None:
    m = MDPS["bandit"]
    with pytest.raises(ValueError, match=r"nan|not finite"):
        REFUSING[name](at(m, np.array([[bad, 0.0], [0.0, 0.0]])), m)


@pytest.mark.parametrize("name", REFUSING)
def test_rows_of_minus_infinity_are_refused(name: str) -> None:
    m = MDPS["bandit"]
    with pytest.raises(ValueError, match=r"nan|not finite"):
        REFUSING[name](at(m, np.full((2, 2), -np.inf)), m)


def test_minus_infinity_is_an_action_that_is_never_taken() -> None:
    m = envs.bandit(means=(0, 1, 5))
    policy = at(m, np.array([[0.0, 0.0, -np.inf]] * 2))
    assert audit(named.reinforce(), policy, m).verdict == "exact"
    assert pgcheck(policy, m, episodes=4_000).passed
