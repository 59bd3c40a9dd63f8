"""Another library's exact answers: QuantEcon's policy iteration, on random MDPs of every shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdp import FiniteMDP, evaluate, solve
from mdp.model.table import Floats
from tests.worlds import assert_close

METHODS = ("auto", "policy_iteration", "value_iteration", "modified_policy_iteration", "linear_programming")
markov = pytest.importorskip("quantecon").markov


@st.composite
def problems(draw: st.DrawFn) -> FiniteMDP:
    """From one state to forty; A(s) depends on s; outcomes that stand twice; ties, and what is nearly one."""
    S, A = draw(st.integers(1, 40)), draw(st.integers(1, 6))
    branches = draw(st.sampled_from([1, 2, 5, S]))
    gamma = draw(st.sampled_from([0.0, 0.5, 0.9, 0.99, 0.999]))
    rewards = draw(st.sampled_from(["normal", "few", "nearly tied", "large"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    outcomes = {}
    for s in range(S):
        for a in rng.permutation(A)[: rng.integers(1, A + 1)].tolist():
            after = rng.integers(S, size=branches)
            r = rewards_of(rewards, rng, branches)
            listed = list(zip(rng.dirichlet(np.ones(branches)), after.tolist(), r.tolist(), strict=True))
            outcomes[s, a] = [(p / 2, *rest) for p, *rest in listed for _ in range(2)]  # each twice
    return FiniteMDP.from_outcomes(outcomes, gamma=gamma, states=range(S), actions=range(A))


def rewards_of(kind: str, rng: np.random.Generator, n: int) -> Floats:
    if kind == "few":
        return rng.integers(-1, 2, size=n).astype(float)
    if kind == "nearly tied":
        return 1 + 1e-12 * rng.standard_normal(n)
    return rng.standard_normal(n) * (1e6 if kind == "large" else 1)


def theirs(m: FiniteMDP) -> Any:
    """QuantEcon's state-action-pair form."""
    s, a = m.admissible.nonzero()
    rows = s * m.n_actions + a
    return markov.DiscreteDP(m.expected_reward.ravel()[rows], m.transition[rows].toarray(), m.gamma, s, a)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(problems(), st.sampled_from(METHODS), st.randoms(use_true_random=False))
def test_optimal_values_and_a_policy_s(m: FiniteMDP, method: str, random: Any) -> None:
    ddp = theirs(m)
    expected = ddp.solve(method="policy_iteration").v
    scale = max(1.0, float(np.abs(expected).max()))
    found = solve(m, method=method, tolerance=1e-10 * scale)
    assert found.converged
    assert_close(found.v / scale, expected / scale)
    assert np.abs(found.v - expected).max() <= found.bound + 1e-9 * scale
    assert_close(evaluate(m, found.policy).v / scale, expected / scale)

    chosen = [random.choice(np.flatnonzero(some).tolist()) for some in m.admissible]
    pi = np.eye(m.n_actions)[chosen]
    one = markov.DiscreteDP(
        m.expected_reward[np.arange(m.n_states), chosen][:, None],
        m.transition[np.arange(m.n_states) * m.n_actions + chosen].toarray()[:, None],
        m.gamma,
    )
    expected = one.evaluate_policy(np.zeros(m.n_states, int))
    assert_close(evaluate(m, pi).v / scale, expected / scale)


def test_closeness_is_measured() -> None:
    """The comparison above does fail: by 1e-8 of one reward's size."""
    m = FiniteMDP.from_outcomes({(0, 0): [(1.0, 0, 1.0)]}, gamma=0.9)
    with pytest.raises(AssertionError, match="off by"):
        assert_close(solve(m).v, theirs(m).solve(method="policy_iteration").v + 1e-7)
