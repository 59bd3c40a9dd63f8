"""Large gradients along a few directions: laws of estimates, held against moments and audits of small problems."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agents import LanguageModelPolicy, ReinforceLoss, SoftmaxPolicy, TabularPreferences, audit, exact_gradient
from agents.checks.errors import estimator_moments
from agents.checks.projected import (
    Directions,
    cosine,
    differences,
    exact_routes,
    leave_one_out_variance,
    reinforce_variance,
    scored_by,
)
from agents.losses import named
from envs import TokenMDP
from mdp import FiniteMDP
from tests.agents.models import reward, small, small_policy, writing
from tests.agents.problems import tabular

pytest.importorskip("transformers")


def matrix(policy: SoftmaxPolicy, m: FiniteMDP) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return policy.matrix(m).detach().numpy()


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_routes_agree(kind: str) -> None:
    policy, m = small_policy(kind), writing().finite()
    found = exact_routes(policy, m)
    assert found.autograd < 1e-12
    assert differences(policy, m, found.gradient) < 1e-9
    assert torch.equal(found.gradient, exact_gradient(policy, m))


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_the_variance_of_reinforce_is_that_of_the_moments(gamma: float) -> None:
    """The variance from all trajectories; `mdp` has it by linear recursions."""
    m = writing(gamma=gamma).finite()
    policy = tabular(m)
    along = Directions.of(policy, m, exact_gradient(policy, m), 3, seed=1)
    moments = estimator_moments(policy, m)
    found = reinforce_variance(m, matrix(policy, m), along.U)
    np.testing.assert_allclose(found, moments.variances(along.U), rtol=1e-10)
    assert along.truth[0] == pytest.approx(float(exact_gradient(policy, m).norm()))


@pytest.mark.parametrize("group_size", [2, 3])
def test_the_variance_of_leave_one_out_is_that_of_an_audit(group_size: int) -> None:
    m = TokenMDP(3, 1, reward, prompts=[(0,), (1,)], prompt_probabilities=[0.3, 0.7]).finite()
    policy = tabular(m)
    d = sum(p.numel() for p in policy.parameters())
    axes = Directions.of(policy, m, exact_gradient(policy, m), 0, seed=0)
    U = np.eye(m.n_states * m.n_actions)
    pi = matrix(policy, m)
    for s in range(m.n_states):  # J_h of a table: e_sa - pi(.|s)
        U[s * m.n_actions : (s + 1) * m.n_actions, s * m.n_actions : (s + 1) * m.n_actions] -= pi[s]
    assert d == U.shape[1]
    assert len(axes.u) == 1
    found = leave_one_out_variance(m, pi, U, group_size).sum()
    assert found == pytest.approx(audit(named.rloo(), policy, m, group_size=group_size).covariance_trace, rel=1e-10)


def test_the_variance_of_leave_one_out_is_that_of_one_decision() -> None:
    m = writing().finite()
    with pytest.raises(
        ValueError, match=r"^an episode may take more than one step: this variance is that of a single decision$"
    ):
        leave_one_out_variance(m, m.uniform_policy(), np.zeros((m.n_states * m.n_actions, 1)), 2)


def test_scored_by_the_player_is_the_gradient_and_by_another_is_what_an_audit_says() -> None:
    model = small("llama", 5).double()
    whole, narrow = LanguageModelPolicy(model), LanguageModelPolicy(model, top_k=2)
    problem = writing(5, 3)

    def drawn(text: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> list[int]:
        return [int(x) for x in (narrow(text[None])[0] > -torch.inf).nonzero()]

    m = problem.finite(tokens=drawn)
    exact = exact_gradient(narrow, m)
    right, wrong = scored_by(narrow, narrow, m), scored_by(whole, narrow, m)
    assert float((right - exact).norm() / exact.norm()) < 1e-12
    assert cosine(wrong, exact) < 0.99
    full = problem.finite()
    found = audit(ReinforceLoss(), whole, full, behaviour=narrow, objective=None)
    assert float((torch.as_tensor(found.expected) - wrong).norm() / wrong.norm()) < 1e-10


def test_a_table_that_is_flat_has_no_direction() -> None:
    m = writing().finite()
    policy = SoftmaxPolicy(TabularPreferences(m)).double()
    assert Directions.of(policy, m, exact_gradient(policy, m), 1, seed=0).U.shape == (m.n_states * m.n_actions, 2)
