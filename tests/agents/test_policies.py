"""Softmax policies: what is sampled is what is scored, and what may not be drawn is never drawn."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats

import envs
from agents import LinearPreferences, MLPPreferences, SoftmaxPolicy, TabularPreferences, rollout
from agents.policies.decoding import draw, top_k_mask, top_p_mask
from agents.policies.preferences import as_tensor
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


NAN, INF = float("nan"), float("inf")
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
        ({"temperature": 2.0}, [0, 1, 2, 3]),
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
    np.testing.assert_allclose(log_probs[mask], np.log(pi[episodes.states[mask], episodes.actions[mask]]), atol=1e-13)
    assert (log_probs[~mask] == 0).all()
    assert_behaviour(episodes, log_probs)


def test_mlp_reads_integers_as_one_hot_vectors() -> None:
    mlp = MLPPreferences(4, 3, hidden=(5, 6), generator=seeded()).double()
    with torch.no_grad():
        for p in mlp.parameters():
            p.normal_(generator=seeded(1))  # the biases, too, which are 0 at first
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
        ({"temperature": 0.0}, "temperature must be positive and finite, not 0.0; for the limit 0 there is greedy()"),
        ({"temperature": NAN}, "temperature must be positive and finite, not nan; for the limit 0 there is greedy()"),
        ({"temperature": INF}, "temperature must be positive and finite, not inf; for the limit 0 there is greedy()"),
        ({"top_k": 0}, "top_k must be at least 1, not 0"),
        ({"top_p": 0.0}, "top_p must lie in (0, 1], not 0.0"),
        ({"top_p": 1.5}, "top_p must lie in (0, 1], not 1.5"),
    ],
)
def test_bad_options_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        SoftmaxPolicy(Fixed(LOGITS.clone()), **options)  # type: ignore[arg-type]


TWO = LinearPreferences(np.zeros((2, 3, 1)))
TABLE = TabularPreferences(MDPS["grid"])
NONE_FINITE = Fixed(torch.tensor([[0.0, 0.0], [0.0, NAN], [INF, 0.0]]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SoftmaxPolicy(Fixed(LOGITS.expand(2, 4).clone())).log_probabilities([0, 1], [[0, 1, 0, 0], [0] * 4]),
         "row 1 has no admissible action"),
        (lambda: SoftmaxPolicy(Fixed(LOGITS.clone())).log_probabilities([0], [[True, True]]),
         "the preferences have shape (1, 4), admissible (1, 2)"),
        (lambda: LinearPreferences(np.zeros((2, 3))), "features have shape (2, 3), not (O, A, d)"),
        (lambda: TWO(torch.tensor([1, 2])), "observations must lie in 0 .. 1, not 1 .. 2"),
        (lambda: TWO(torch.tensor([-1, 0])), "observations must lie in 0 .. 1, not -1 .. 0"),
        (lambda: TWO(torch.tensor([1.0])), "observations must be integers 0 .. 1, not torch.float32 of shape (1,)"),
        (lambda: TWO(torch.tensor([[1]])), "observations must be integers 0 .. 1, not torch.int64 of shape (1, 1)"),
        (lambda: MLPPreferences(2, 2, generator=seeded())(torch.zeros(1, 3)), "observations of shape (3,), not (2,)"),
        (lambda: TABLE.row(torch.tensor([1.0, 0.5, 2.0])), "observation [0.5] is not one of the 16 in the table"),
        (lambda: TABLE.row(torch.zeros(3, 2)), "observations of 2 numbers; the table has observations of 1"),
        (lambda: SoftmaxPolicy(NONE_FINITE).sample([0, 1], generator=seeded()),
         "row 1 of the preferences is not finite"),
        (lambda: SoftmaxPolicy(NONE_FINITE).sample([2], generator=seeded()), "row 0 of the preferences is not finite"),
        (lambda: SoftmaxPolicy(Fixed(torch.zeros(16, 3))).matrix(MDPS["grid"]),
         "the policy gives (14, 3) log-probabilities, not (L, A) = (14, 4)"),
    ],
)  # fmt: skip
def test_bad_inputs_are_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()


def test_float_and_double_lose_nothing() -> None:
    """Features and observations are not parameters: they are not rounded with them."""
    for tenth in (np.full((1, 1, 1), 0.1), [[[0.1]]]):
        assert float(LinearPreferences(tenth).double().features[0, 0, 0]) == 0.1
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


@pytest.mark.parametrize(
    ("h", "u", "expected"),
    [
        ([-INF, 0.0, 0.0], 0.0, 1),  # what has no probability is drawn by no u, the least one included
        ([0.0, -INF, 0.0], 0.5, 2),
        ([0.0, 0.0, -INF], 1.0, 1),
        ([0.0, 0.0], 0.5, 1),
        ([0.0, 0.0], 0.499, 0),
    ],
)
@pytest.mark.parametrize("before", [0, 300])
def test_the_edges_of_the_cdf(
    h: list[float], u: float, expected: int, before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the first block, and in a later one."""
    monkeypatch.setattr(torch, "rand", lambda n, m, **_: torch.full((n, m), u, dtype=torch.float64))
    preferences = torch.tensor([[-INF] * before + h], dtype=torch.float64)
    assert draw(preferences, seeded())[0].tolist() == [before + expected]


def test_masks_of_more_than_one_axis() -> None:
    """Rows of rows, as the steps of texts are: each row for itself, whatever its place; of equal ones the first."""
    rows = torch.randint(0, 4, (3, 7, 5), generator=seeded()).double()
    for mask in (*(partial(top_k_mask, k=k) for k in (1, 2, 4)), *(partial(top_p_mask, p=p) for p in (0.3, 0.8, 1.0))):
        expected = torch.stack([mask(x[None])[0] for x in rows.reshape(-1, 5)]).view(3, 7, 5)
        assert mask(rows).dtype == torch.bool
        assert torch.equal(mask(rows), expected)


@pytest.mark.parametrize("A", [4, 1000])
def test_of_many_equal_actions_the_first_are_kept(A: int) -> None:
    first = torch.arange(A)[None] < A // 2
    assert torch.equal(top_k_mask(torch.zeros(1, A), A // 2), first)
    assert torch.equal(top_p_mask(torch.zeros(1, A, dtype=torch.float64), 0.5 - 1e-9), first)


def test_first_weights_of_a_network() -> None:
    """N(0, 1 / fan-in) from the generator alone, layer by layer; biases 0."""
    state = torch.get_rng_state()
    mlp, generator = MLPPreferences(4, 3, hidden=(5, 6), generator=seeded(7)), seeded(7)
    assert torch.equal(torch.get_rng_state(), state)
    for layer, (fan_in, out) in zip(mlp.layers, ((4, 5), (5, 6), (6, 3)), strict=True):
        weight = torch.empty(out, fan_in).normal_(generator=generator) / fan_in**0.5
        torch.testing.assert_close(layer.weight, weight)
        assert not layer.bias.any()  # type: ignore[operator]


def test_a_network_is_tanh_layers() -> None:
    """One hidden layer, and none."""
    x = torch.randn(6, 4, generator=seeded(), dtype=torch.float64)
    two, one = MLPPreferences(4, 3, generator=seeded()).double(), MLPPreferences(4, 3, hidden=(), generator=seeded())
    V, W = (layer.weight for layer in two.layers)
    torch.testing.assert_close(two(x), torch.tanh(x @ V.T) @ W.T)  # type: ignore[operator]
    assert V.shape == (32, 4)
    torch.testing.assert_close(one(x), x.float() @ one.layers[0].weight.T)  # type: ignore[operator]


def test_preferences_are_of_the_precision_of_their_parameters() -> None:
    observations = torch.tensor([0, 1])
    linear = LinearPreferences(np.ones((2, 3, 1)))
    assert linear(observations).dtype == torch.float32
    for kind in (torch.float32, torch.float64):
        assert linear.to(kind)(observations).dtype == kind


def test_arrays_go_where_the_parameters_are() -> None:
    like = torch.zeros(0, device="meta")
    frozen = np.arange(3)
    frozen.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of an array that it could write to and must not
        for x in (np.arange(3), frozen, [0, 1, 2], torch.arange(3)):
            assert as_tensor(x, like).device == like.device
            assert as_tensor(x, torch.zeros(0)).tolist() == [0, 1, 2]


@pytest.mark.parametrize("p", ["tabular", "hot and cut", "nucleus"])
def test_entropies_are_those_of_the_matrix(p: str) -> None:
    """0 log 0 is 0, and so is what comes after the end."""
    mdp = MDPS["tokens"]
    policy = POLICIES[p](mdp)
    episodes = rollout(policy, mdp, 20, generator=seeded())
    pi = policy.matrix(mdp).detach().numpy()
    of_state = -np.sum(pi * np.log(np.where(pi > 0, pi, 1.0)), 1)
    assert not episodes.mask.all()
    expected = np.where(episodes.mask, of_state[episodes.states], 0.0)
    np.testing.assert_allclose(policy.entropies(episodes).detach().numpy(), expected, atol=1e-13)


def test_what_is_greedy_of_several() -> None:
    policy = SoftmaxPolicy(Fixed(torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 5.0]])))
    assert policy.greedy([0, 1, 0]).tolist() == [0, 1, 0]
    assert policy.greedy([0, 1], [[False, True, True], [True, False, False]]).tolist() == [2, 0]
    assert policy.log_probabilities([0, 1]).shape == (2, 3)
    assert policy([1]).equal(policy.log_probabilities([1]))
