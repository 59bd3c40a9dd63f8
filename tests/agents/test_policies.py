"""Softmax policies: what is sampled is what is scored, and what may not be drawn is never drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

import envs
from agents import LinearPreferences, MLPPreferences, SoftmaxPolicy, TabularPreferences, rollout
from agents.policies.decoding import draw
from mdp import FiniteMDP, softmax_policy
from tests.agents.problems import MDPS, PAIRS, POLICIES, assert_behaviour, seeded, tabular
from tests.worlds import assert_close


@pytest.mark.parametrize(("m", "p"), PAIRS)
def test_matrix_is_a_policy(m: str, p: str) -> None:
    mdp, policy = MDPS[m], POLICIES[p](MDPS[m])
    pi = policy.matrix(mdp).detach().numpy()
    np.testing.assert_allclose(pi.sum(1), ~mdp.terminal, atol=1e-14)
    assert (pi[~mdp.admissible] == 0).all()


def test_tabular_softmax_is_the_softmax_of_numpy() -> None:
    mdp = MDPS["robot"]
    policy = tabular(mdp)
    theta = next(policy.parameters()).detach().numpy()
    np.testing.assert_allclose(policy.matrix(mdp).detach().numpy(), softmax_policy(mdp, theta), atol=1e-15)


def test_a_table_has_a_row_for_each_distinct_observation_in_order() -> None:
    outcomes = {(s, a): [(1.0, "end", 0.0)] for s in range(4) for a in range(2)}
    m = FiniteMDP.from_outcomes(outcomes, gamma=1.0, observations=[[7, 1], [3, 0], [7, 1], [5, 5], [0, 0]])
    table = TabularPreferences(m)
    assert table.theta.shape == (4, 2)
    assert table.row(torch.tensor([[0, 0], [5, 5], [3, 0], [7, 1]])).tolist() == [3, 2, 1, 0]
    with pytest.raises(ValueError, match=r"observation \[9, 9\] is not one of the 4"):
        table.row(torch.tensor([[9, 9]]))


def test_default_rows_are_the_states() -> None:
    m = envs.gridworld_4x4()
    assert TabularPreferences(m).theta.shape == (16, 4)
    assert TabularPreferences(m).row(torch.arange(16)).tolist() == list(range(16))


def test_float32_by_default_and_double_on_request() -> None:
    policy = SoftmaxPolicy(TabularPreferences(MDPS["grid"]))
    assert policy.matrix(MDPS["grid"]).dtype == torch.float32
    assert policy.double().matrix(MDPS["grid"]).dtype == torch.float64


LOGITS = torch.tensor([[3.0, 1.0, 2.0, 0.0]], dtype=torch.float64)


class Fixed(torch.nn.Module):
    def __init__(self, h: torch.Tensor) -> None:
        super().__init__()
        self.h = torch.nn.Parameter(h)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.h[observations]


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [0, 1, 2, 3]),
        ({"top_k": 1}, [0]),
        ({"top_k": 2}, [0, 2]),
        ({"top_k": 9}, [0, 1, 2, 3]),
        ({"top_p": 0.5}, [0]),  # the likeliest has .64
        ({"top_p": 0.7}, [0, 2]),
        ({"top_p": 0.9}, [0, 1, 2]),
        ({"top_p": 1.0}, [0, 1, 2, 3]),
        ({"top_k": 3, "top_p": 0.7}, [0, 2]),
        ({"temperature": 0.1, "top_p": 0.99}, [0]),
    ],
)
def test_decoding_keeps_what_it_should_and_renormalises(options: dict[str, float], kept: list[int]) -> None:
    policy = SoftmaxPolicy(Fixed(LOGITS.clone()), **options)  # type: ignore[arg-type]
    log_pi = policy.log_probabilities(torch.tensor([0]))[0]
    assert torch.isfinite(log_pi).nonzero()[:, 0].tolist() == kept
    h = LOGITS[0, kept] / options.get("temperature", 1.0)
    torch.testing.assert_close(log_pi[kept], h - h.logsumexp(0), rtol=1e-14, atol=1e-14)


def test_ties_are_broken_by_the_first() -> None:
    policy = SoftmaxPolicy(Fixed(torch.zeros(1, 4, dtype=torch.float64)), top_k=2)
    assert policy.matrix(_one_state(4)).detach()[0].tolist() == [0.5, 0.5, 0, 0]
    assert policy.greedy(torch.tensor([0])).tolist() == [0]


def _one_state(actions: int) -> FiniteMDP:
    return FiniteMDP.from_outcomes({(0, a): [(1.0, 1, 0.0)] for a in range(actions)}, gamma=1.0)


def test_the_nucleus_is_the_fewest_that_reach_p() -> None:
    policy = SoftmaxPolicy(Fixed(torch.zeros(1, 4, dtype=torch.float64)), top_p=0.5)
    assert policy.matrix(_one_state(4)).detach()[0].tolist() == [0.5, 0.5, 0, 0]


def test_mask_comes_before_top_k() -> None:
    policy = SoftmaxPolicy(Fixed(LOGITS.clone()), top_k=2)
    log_pi = policy.log_probabilities(torch.tensor([0]), torch.tensor([[False, True, True, True]]))
    assert torch.isfinite(log_pi[0]).tolist() == [False, True, True, False]
    assert policy.greedy(torch.tensor([0]), torch.tensor([[False, True, True, True]])).tolist() == [2]


def test_samples_follow_the_distribution_that_scores_them() -> None:
    """Chi-square at seed 0, false-alarm probability 1e-9."""
    policy, n = SoftmaxPolicy(Fixed(LOGITS.clone()), temperature=2.0, top_k=3), 100_000
    actions, log_probs, memory = policy.sample(torch.zeros(n, dtype=torch.long), generator=seeded())
    log_pi = policy.log_probabilities(torch.tensor([0])).detach()[0]
    torch.testing.assert_close(log_probs, log_pi[actions])
    count = np.bincount(actions.numpy(), minlength=4)
    assert count[3] == 0
    assert memory is None
    assert stats.chisquare(count[:3], n * log_pi.exp().numpy()[:3]).pvalue > 1e-9


@pytest.mark.parametrize(("m", "p"), PAIRS)
def test_log_prob_of_episodes_is_read_off_the_matrix(m: str, p: str) -> None:
    mdp, policy = MDPS[m], POLICIES[p](MDPS[m])
    episodes = rollout(policy, mdp, 20, generator=seeded())
    log_probs = policy.log_prob(episodes).detach().numpy()
    pi = policy.matrix(mdp).detach().numpy()
    mask = episodes.mask
    np.testing.assert_allclose(
        log_probs[mask], np.log(pi[episodes.states[mask], episodes.actions[mask]]), atol=1e-13
    )
    assert (log_probs[~mask] == 0).all()
    assert_behaviour(episodes, log_probs)


def test_mlp_reads_integers_as_one_hot_vectors() -> None:
    mlp = MLPPreferences(4, 3, hidden=(5, 6), generator=seeded()).double()
    torch.testing.assert_close(mlp(torch.arange(4)), mlp(torch.eye(4, dtype=torch.float64)))


def test_linear_preferences_are_the_dot_product() -> None:
    x = np.random.default_rng(0).normal(size=(3, 2, 4))
    h = LinearPreferences(x).double()
    with torch.no_grad():
        h.theta.copy_(torch.arange(4.0))
    np.testing.assert_allclose(h(torch.tensor([2, 0])).detach().numpy(), x[[2, 0]] @ np.arange(4), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature must be positive and finite, not 0"),
        ({"temperature": float("nan")}, "temperature must be positive and finite, not nan"),
        ({"top_k": 0}, "top_k must be at least 1, not 0"),
        ({"top_p": 0.0}, r"top_p must lie in \(0, 1\], not 0"),
        ({"top_p": 1.5}, "not 1.5"),
    ],
)
def test_bad_options_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SoftmaxPolicy(Fixed(LOGITS.clone()), **options)  # type: ignore[arg-type]


def test_bad_inputs_are_refused() -> None:
    policy = SoftmaxPolicy(Fixed(LOGITS.clone()))
    with pytest.raises(ValueError, match="row 0 has no admissible action"):
        policy.log_probabilities(torch.tensor([0]), torch.zeros(1, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"features have shape \(2, 3\)"):
        LinearPreferences(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"must lie in 0 .. 1, not 2 .. 2"):
        LinearPreferences(np.zeros((2, 3, 1)))(torch.tensor([2]))
    with pytest.raises(ValueError, match=r"of shape \(3,\), not \(2,\)"):
        MLPPreferences(2, 2, generator=seeded())(torch.zeros(1, 3))
    with pytest.raises(ValueError, match=r"observation \[0.69\d*\] is not one of the 16"):
        TabularPreferences(MDPS["grid"]).row(torch.tensor([0.7]))
    with pytest.raises(ValueError, match="observations of 2 numbers; the table has observations of 1"):
        TabularPreferences(MDPS["grid"]).row(torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"integers 0 \.\. 1, not torch\.float32 of shape \(1,\)"):
        LinearPreferences(np.zeros((2, 3, 1)))(torch.tensor([1.0]))
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="row 1 of the preferences is not finite"):
            SoftmaxPolicy(Fixed(torch.tensor([[0.0, 0.0], [0.0, value]]))).sample(torch.arange(2), generator=seeded())


def test_float_and_double_lose_nothing() -> None:
    """Features and observations are not parameters: they are not rounded with them."""
    h = LinearPreferences(np.full((1, 1, 1), 0.1)).double()
    assert float(h.features[0, 0, 0]) == 0.1
    outcomes = {(s, 0): [(1.0, "end", 0.0)] for s in range(2)}
    m = FiniteMDP.from_outcomes(outcomes, gamma=1.0, observations=[0.1, 0.1 + 1e-12, 0.5])
    assert TabularPreferences(m).float().row(torch.as_tensor(m.observations.copy())).tolist() == [0, 1, 2]


def test_top_p_of_1_cuts_nothing_off() -> None:
    policy = SoftmaxPolicy(Fixed(torch.tensor([[0.0, -17.5, -18.0]])), top_p=1.0)
    assert torch.isfinite(policy.log_probabilities(torch.tensor([0]))).all()


@pytest.mark.parametrize("A", [1, 5, 256, 257, 700, 1024])
def test_a_draw_is_the_inverse_of_the_cdf(A: int) -> None:
    """In blocks of 256 actions, the last one maybe not full: the first action at which the CDF is above u."""
    h = 3 * torch.randn(200, A, generator=seeded(A), dtype=torch.float64)
    h[:100, A // 2] = -torch.inf if A > 1 else 0.0
    a, log_pi = draw(h, seeded(1))
    u = torch.rand(200, 1, generator=seeded(1), dtype=torch.float64)
    expected = (h.softmax(-1).cumsum(-1) <= u).sum(-1)
    assert torch.equal(a, expected)
    assert_close(log_pi.numpy(), h.log_softmax(-1).gather(1, a[:, None])[:, 0].numpy(), 1e-12)
