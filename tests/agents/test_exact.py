"""J, grad J and the moments of REINFORCE for torch policies, against mdp and against enumeration."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import envs
from agents import (
    Batch,
    MLPPreferences,
    ReinforceLoss,
    SoftmaxPolicy,
    TabularPreferences,
    exact_gradient,
    exact_objective,
    gradient_moments,
    likelihood,
    regularised_objective,
)
from agents.checks.routes import dense_objective
from agents.exact.adjoint import state_values
from agents.exact.objective import flat_gradient
from mdp import (
    Episodes,
    FiniteMDP,
    Trajectory,
    enumerate_trajectories,
    evaluate,
    occupancy,
    policy_gradient,
    reinforce_moments,
)
from tests.agents.problems import MDPS, PAIRS, POLICIES, network, seeded, tabular
from tests.worlds import random_mdp, tied_right, weighted_moments


@pytest.mark.parametrize(("m", "p"), PAIRS)
def test_objective_is_that_of_mdp(m: str, p: str) -> None:
    mdp, policy = MDPS[m], POLICIES[p](MDPS[m])
    expected = evaluate(mdp, policy.matrix(mdp).detach().numpy()).objective
    assert float(exact_objective(policy, mdp).detach()) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("m", "p"), PAIRS)
def test_theorem_equals_autograd(m: str, p: str) -> None:
    mdp, policy = MDPS[m], POLICIES[p](MDPS[m])
    theorem = exact_gradient(policy, mdp)
    for J in (exact_objective(policy, mdp), dense_objective(policy, mdp)):
        autograd = flat_gradient(policy, J)
        assert float((theorem - autograd).norm()) <= 1e-12 * float(autograd.norm())


# ---- the adjoint method ----


@pytest.mark.parametrize(("m", "p"), PAIRS)
def test_the_backward_pass_of_the_solve_is_the_theorem(m: str, p: str) -> None:
    """What autograd puts into dJ/dpi(s,a) is eta(s) q(s,a) of mdp; the v that it went through is v of mdp."""
    mdp = MDPS[m]
    pi = POLICIES[p](mdp).matrix(mdp).detach().requires_grad_()
    v = state_values(mdp, pi, (pi * torch.as_tensor(mdp.expected_reward.copy())).sum(1))
    (found,) = torch.autograd.grad(torch.as_tensor(mdp.start.copy()) @ v, pi)
    exact, eta = evaluate(mdp, pi.detach().numpy()), occupancy(mdp, pi.detach().numpy())
    np.testing.assert_allclose(v.detach().numpy(), exact.v, atol=1e-13 * max(1, np.abs(exact.v).max()))
    theorem = np.where(mdp.admissible, eta[:, None] * np.where(mdp.admissible, exact.q, 0), 0)
    np.testing.assert_allclose(found.numpy(), theorem, atol=1e-12 * max(1, np.abs(theorem).max()))


@pytest.mark.parametrize("m", ["random", "robot", "corridor"])
def test_gradcheck_of_the_solve(m: str) -> None:
    """Of first and second derivatives, by pi and by r."""
    mdp = MDPS[m]
    rng, live = np.random.default_rng(0), torch.as_tensor(~mdp.terminal)[:, None]
    h, r = (torch.as_tensor(rng.normal(size=x)).requires_grad_() for x in (mdp.admissible.shape, mdp.n_states))
    cut = ~torch.as_tensor(mdp.admissible.copy()) & live

    def v(h: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
        return state_values(mdp, torch.softmax(h.masked_fill(cut, -torch.inf), 1) * live, r)

    assert torch.autograd.gradcheck(v, (h, r))
    assert torch.autograd.gradgradcheck(v, (h, r))


def test_the_objective_needs_no_dense_matrix() -> None:
    """20,000 states: a dense (S, S) would take 3.2 GB."""
    mdp = envs.random_walk(20_000, gamma=0.99)
    policy = tabular(mdp)
    autograd, theorem = flat_gradient(policy, exact_objective(policy, mdp)), exact_gradient(policy, mdp)
    assert float((theorem - autograd).norm()) <= 1e-12 * float(theorem.norm()) + 1e-30


@pytest.mark.parametrize("m", MDPS)
def test_tabular_gradient_is_policy_gradient(m: str) -> None:
    mdp = MDPS[m]
    policy = tabular(mdp)
    preferences = policy.preferences(torch.as_tensor(mdp.observations.copy())).detach().numpy()
    table = policy_gradient(mdp, preferences)
    rows = policy.preferences.row(torch.as_tensor(mdp.observations.copy())).numpy()  # type: ignore[operator]
    summed = np.zeros(next(policy.parameters()).shape)
    np.add.at(summed, rows, table)  # states that look alike share a row
    np.testing.assert_allclose(exact_gradient(policy, mdp).numpy(), summed.ravel(), atol=1e-12 * np.abs(summed).max())


@pytest.mark.parametrize("estimator", [{}, {"discounted": False}, {"to_go": False}, {"baseline": -3.0}])
@pytest.mark.parametrize("p", POLICIES)
def test_gradient_moments_are_those_of_all_trajectories(p: str, estimator: dict[str, float]) -> None:
    """The mean and covariance of -grad loss, batch by batch, over every trajectory that there is."""
    mdp = random_mdp(1, gamma=0.9, acyclic=True)
    policy = POLICIES[p](mdp)
    loss = ReinforceLoss(**estimator)  # type: ignore[arg-type]
    mean, covariance = weighted_moments((q, _estimate(policy, loss, mdp, played)) for q, played in _all(policy, mdp))
    exact = gradient_moments(policy, mdp, **estimator)  # type: ignore[arg-type]
    np.testing.assert_allclose(exact.mean.numpy(), mean, atol=1e-12)
    np.testing.assert_allclose(exact.covariance.numpy(), covariance, atol=1e-11 * np.abs(covariance).max())
    assert float(exact.trace) == pytest.approx(np.trace(covariance), rel=1e-10)


def _all(policy: SoftmaxPolicy, mdp: FiniteMDP) -> Iterator[tuple[float, Trajectory]]:
    return enumerate_trajectories(mdp, policy.matrix(mdp).detach().numpy())


def _estimate(policy: SoftmaxPolicy, loss: ReinforceLoss, mdp: FiniteMDP, played: Trajectory) -> NDArray[np.float64]:
    states = np.array([played.states[:-1]])
    one = np.ones(1, bool)
    episodes = Episodes(
        states=states, actions=np.array([played.actions]), rewards=np.array([played.rewards]),
        lengths=np.array([len(played.actions)]), terminated=one, truncated=~one, gamma=mdp.gamma,
        sight=states, sights=mdp.observations, choices=mdp.admissible,
    )  # fmt: skip
    return -flat_gradient(policy, loss(Batch.of(policy, episodes))).numpy()


def test_moments_along_directions_are_those_of_the_whole() -> None:
    mdp, policy = MDPS["random"], network(MDPS["random"])
    d = sum(p.numel() for p in policy.parameters())
    U = np.random.default_rng(0).normal(size=(d, 3))
    whole, along = gradient_moments(policy, mdp), gradient_moments(policy, mdp, directions=U)
    np.testing.assert_allclose(along.mean.numpy(), U.T @ whole.mean.numpy(), rtol=1e-10)
    np.testing.assert_allclose(along.covariance.numpy(), U.T @ whole.covariance.numpy() @ U, rtol=1e-9)


def test_corridor_facts() -> None:
    """S&B Example 13.1 at p = 1/2: dJ/dtheta_right and the variance of its estimators, by hand."""
    policy = SoftmaxPolicy(TabularPreferences(envs.short_corridor())).double()
    for gamma, slope in ((1.0, 2.0), (0.9, 0.4862286772966882)):
        assert exact_gradient(policy, envs.short_corridor(gamma)).tolist() == pytest.approx([-slope, slope], rel=1e-12)
    without = gradient_moments(policy, envs.short_corridor(0.9), discounted=False)
    assert float(without.mean[1]) == pytest.approx(1.0481736368, abs=1e-9)
    assert float(gradient_moments(policy, envs.short_corridor()).covariance[1, 1]) == pytest.approx(733, rel=1e-12)
    assert float(gradient_moments(policy, envs.short_corridor(), to_go=False).covariance[1, 1]) == pytest.approx(1959)


def test_moments_of_a_table_are_those_of_mdp() -> None:
    mdp = envs.short_corridor(0.9)
    policy = tabular(mdp)
    h = np.log(policy.matrix(mdp).detach().numpy(), out=np.zeros((4, 2)), where=~mdp.terminal[:, None])
    _, covariance = reinforce_moments(mdp, h).along(tied_right(mdp))
    assert float(gradient_moments(policy, mdp).covariance[1, 1]) == pytest.approx(covariance[0, 0], rel=1e-12)


@pytest.mark.parametrize("m", ["random", "corridor", "robot"])
def test_regularised_objective_is_j_with_other_rewards(m: str) -> None:
    """r(s,a) - kl (log pi - log reference) - entropy log pi as rewards, held constant, give the same value."""
    mdp = MDPS[m]
    policy, reference = tabular(mdp, 1), tabular(mdp, 2)
    kl, entropy = 0.3, 0.2
    pi, ref = (x.matrix(mdp).detach().numpy() for x in (policy, reference))
    with np.errstate(divide="ignore", invalid="ignore"):
        extra = np.where(pi > 0, -kl * (np.log(pi) - np.log(ref)) - entropy * np.log(pi), 0.0)
    t = mdp.table
    shifted = FiniteMDP(
        t.columns()._replace(reward=t.reward + extra[t.state, t.action]),
        states=mdp.states, actions=mdp.actions, gamma=mdp.gamma, start=mdp.start,
    )  # fmt: skip
    value = regularised_objective(policy, mdp, kl=kl, reference=reference, entropy=entropy)
    assert float(value.detach()) == pytest.approx(evaluate(shifted, pi).objective, rel=1e-12)


def test_regularised_gradient_against_central_differences() -> None:
    mdp = MDPS["random"]
    policy, reference = tabular(mdp, 1), tabular(mdp, 2)

    def value() -> torch.Tensor:
        return regularised_objective(policy, mdp, kl=0.3, reference=reference, entropy=0.2)

    gradient = flat_gradient(policy, value())
    theta = next(policy.parameters())
    for k, h in ((0, 1e-5), (4, 1e-5)):
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                theta.view(-1)[k] += sign * h
                sides.append(float(value()))
                theta.view(-1)[k] -= sign * h
        assert float(gradient[k]) == pytest.approx((sides[0] - sides[1]) / (2 * h), rel=1e-6, abs=1e-9)


def test_float32_is_refused() -> None:
    policy = SoftmaxPolicy(TabularPreferences(MDPS["grid"]))
    for function in (exact_objective, exact_gradient, gradient_moments):
        with pytest.raises(TypeError, match=r"theta is torch.float32: call policy.double\(\) first"):
            function(policy, MDPS["grid"])


def test_improper_policies_are_refused_at_gamma_1() -> None:
    forever = FiniteMDP.from_outcomes({(s, 0): [(1.0, 1 - s, 1.0)] for s in (0, 1)}, gamma=1.0)
    with pytest.raises(ValueError, match="never ends from state 0"):
        exact_objective(tabular(forever), forever)


def test_kl_without_a_reference_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^kl needs a reference policy$"):
        regularised_objective(tabular(MDPS["grid"]), MDPS["grid"], kl=0.1)


def test_what_the_policy_never_does_has_no_likelihood() -> None:
    mdp = MDPS["bandit"]
    whole = tabular(mdp)
    cut = SoftmaxPolicy(whole.preferences, top_k=1)
    told = r"^the demonstrator takes an action that the policy never does: its likelihood is 0$"
    with pytest.raises(ValueError, match=told):
        likelihood(cut, mdp, demonstrator=whole)
    assert likelihood(cut, mdp, demonstrator=cut).item() == 0.0  # log 1; what is never done has no part


def test_kl_where_actions_are_inadmissible_or_cut_off() -> None:
    mdp = MDPS["robot"]
    policy = POLICIES["hot and cut"](mdp)
    value = regularised_objective(policy, mdp, kl=0.1, reference=tabular(mdp, 5))
    assert torch.isfinite(flat_gradient(policy, value)).all()
    with pytest.raises(ValueError, match=r"KL is infinite: the reference never takes '\w+' in 'low'"):
        regularised_objective(tabular(mdp, 5), mdp, kl=0.1, reference=policy)
    with pytest.raises(TypeError, match="float32"):
        regularised_objective(policy, mdp, kl=0.1, reference=SoftmaxPolicy(TabularPreferences(mdp)))


def test_a_frozen_parameter_has_gradient_0() -> None:
    mdp = MDPS["random"]
    policy = network(mdp)
    whole = exact_gradient(policy, mdp)
    first = next(policy.parameters())
    first.requires_grad_(False)
    frozen = exact_gradient(policy, mdp)
    assert (frozen[: first.numel()] == 0).all()
    assert torch.equal(frozen[first.numel() :], whole[first.numel() :])


def test_shapes_that_do_not_fit_are_refused() -> None:
    mdp = MDPS["random"]
    with pytest.raises(ValueError, match=r"directions have shape \(3,\), not \(d, K\) with d = 18"):
        gradient_moments(tabular(mdp), mdp, directions=np.ones(3))
    for problem in (mdp, MDPS["grid"]):
        other = SoftmaxPolicy(MLPPreferences(problem.n_states, 1, generator=seeded())).double()
        with pytest.raises(ValueError, match=r"have shape \(4, 1\)|gives \(14, 1\) log-prob"):
            exact_objective(other, problem)


def test_preferences_that_are_nan_are_refused() -> None:
    policy = tabular(MDPS["random"])
    with torch.no_grad():
        next(policy.parameters())[0] = torch.nan
    for objective in (exact_objective, regularised_objective):
        with pytest.raises(ValueError, match=r"^the policy gives nan: its preferences are not finite$"):
            objective(policy, MDPS["random"])
