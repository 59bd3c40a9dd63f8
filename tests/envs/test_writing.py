"""Text at any vocabulary size: the vector environment, the one-step reading, and the ready rewards."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agents import Batch, ReinforceLoss, SoftmaxPolicy, TabularPreferences, exact_objective, rollout
from agents.exact.objective import flat_gradient
from envs import TokenMDP, rewards
from envs.token import Tokens
from mdp import discounted_return, evaluate, policy_gradient, softmax_policy
from tests.agents.problems import seeded, shaken


def reward(prompt: Tokens, completion: Tokens) -> float:
    return sum(x == prompt[0] for x in completion) / 2 + (completion[-1] == 2) - 0.2 * len(completion)


def problem(gamma: float = 1.0) -> TokenMDP:
    return TokenMDP(3, 3, reward, prompts=[(0,), (1, 1)], prompt_probabilities=[0.25, 0.75], eos=2, gamma=gamma)


@pytest.mark.parametrize("gamma", [0.8, 1.0])
def test_what_is_sampled_is_the_finite_problem(gamma: float) -> None:
    """20,000 episodes, seed 0: the mean return within 6 standard errors of J (2e-9), every return the right one."""
    text = problem(gamma)
    mdp = text.finite()
    policy = shaken(SoftmaxPolicy(TabularPreferences(mdp)))
    played = rollout(policy, text.vector_env(500), 20_000, generator=seeded())
    G = discounted_return(played.rewards, gamma)
    J = evaluate(mdp, policy.matrix(mdp).detach().numpy()).objective
    assert abs(G.mean() - J) < 6 * G.std() / np.sqrt(len(G))
    assert played.gamma == gamma
    for n in range(200):
        T = int(played.lengths[n])
        first = played.observations[n, 0]
        prompt, completion = tuple(first[first >= 0].tolist()), tuple(played.actions[n, :T].tolist())
        assert text.ends(completion)
        assert played.rewards[n, :T].tolist() == [0.0] * (T - 1) + [reward(prompt, completion)]
    share = np.mean(played.observations[:, 0, 1] == 1)
    assert abs(share - 0.75) < 6 * np.sqrt(0.25 * 0.75 / 20_000)
    assert torch.isfinite(ReinforceLoss()(Batch.of(policy, played)))


def test_groups_share_their_prompt_and_nothing_else() -> None:
    text = problem()
    policy = SoftmaxPolicy(TabularPreferences(text.finite())).double()
    played = rollout(policy, text.vector_env(60), 120, group_size=4, generator=seeded())
    prompts = played.observations[:, 0].reshape(30, 4, -1)
    assert (prompts == prompts[:, :1]).all()
    assert len(np.unique(prompts[:, 0], axis=0)) == 2
    assert len(np.unique(played.actions[:, 0].reshape(30, 4), axis=0)) > 10


def test_a_large_vocabulary_needs_no_table() -> None:
    text = TokenMDP(49_152, 32, lambda _, completion: float(len(completion)), prompts=[(1, 2, 3)], eos=0)
    copies = text.vector_env(64)
    seen, _ = copies.reset(seed=0)
    rng, ended = np.random.default_rng(0), np.zeros(64, bool)
    for t in range(32):
        seen, R, terminated, truncated, info = copies.step(rng.integers(1, 49_152, 64))
        assert (seen[~terminated, 3 + t] > 0).all()
        assert (seen[terminated] == -1).all()
        ended |= terminated
        assert (R[terminated] == t + 1).all()
        assert not truncated.any()
        assert (info["prompt"] == 0).all()
    assert ended.all()
    seen, R, terminated, *_ = copies.step(np.zeros(64, int))  # begins anew: the action is not read
    assert (seen[:, :3] == [1, 2, 3]).all()
    assert (seen[:, 3:] == -1).all()
    assert not R.any()
    assert not terminated.any()


def test_seeds_and_refusals() -> None:
    text = problem()
    a, b = text.vector_env(50), text.vector_env(50)
    assert (a.reset(seed=3)[0] == b.reset(seed=3)[0]).all()
    assert a.observation_space.contains(a.reset(seed=3)[0])
    with pytest.raises(ValueError, match=r"7 is no token: the vocabulary has the ids 0 .. 2"):
        a.step(np.full(50, 7))
    with pytest.raises(ValueError, match="no multiple of groups of 3"):
        a.reset(options={"group_size": 3})
    with pytest.raises(ValueError, match="one seed, not a list"):
        a.reset(seed=[1] * 50)
    with pytest.raises(ValueError, match="number of copies must be at least 1"):
        text.vector_env(0)

    def raises(*_: Tokens) -> float:
        raise KeyError("x")

    broken = TokenMDP(3, 1, raises).vector_env(2)
    broken.reset(seed=0)
    with pytest.raises(ValueError, match=r"the reward of prompt \(\) and completion \(1,\) raised KeyError"):
        broken.step(np.array([1, 1]))


# ---- one decision ----


@pytest.mark.parametrize("gamma", [0.7, 1.0])
def test_token_gradient_is_sequence_gradient(gamma: float) -> None:
    """log pi(completion) as preferences of the one-step reading: its exact gradient, pulled back to the tokens, is the
    token gradient; below gamma = 1 the reward of a sequence carries gamma^(T-1)."""
    text = problem(gamma)
    tokens, sequences = text.finite(), text.sequences()
    policy = shaken(SoftmaxPolicy(TabularPreferences(tokens)))
    log_pi = policy.matrix(tokens).clamp(min=1e-300).log()
    rows = []
    for prompt in text.prompts:
        for whole in text.completions():
            states = [tokens.state_index((prompt, whole[:t])) for t in range(len(whole))]
            rows.append(log_pi[states, list(whole)].sum())
    h = torch.stack(rows).reshape(len(text.prompts), -1)
    full = np.vstack([h.detach().numpy(), np.zeros((1, h.shape[1]))])
    np.testing.assert_allclose(softmax_policy(sequences, full)[:-1].sum(1), 1.0)
    J = evaluate(sequences, softmax_policy(sequences, full)).objective
    assert pytest.approx(float(exact_objective(policy, tokens).detach()), rel=1e-12) == J
    by_sequence = torch.as_tensor(policy_gradient(sequences, full)[:-1])
    pulled = flat_gradient(policy, (by_sequence * h).sum(), retain_graph=True)
    torch.testing.assert_close(pulled, flat_gradient(policy, exact_objective(policy, tokens)), rtol=1e-11, atol=1e-14)


def test_completions_are_all_and_once() -> None:
    text = problem()
    whole = text.completions()
    assert len(set(whole)) == len(whole) == 1 + 2 + 4 * 3
    assert all(text.ends(x) and not any(text.ends(x[:t]) for t in range(1, len(x))) for x in whole)
    with pytest.raises(ValueError, match="more than 10 completions"):
        text.completions(10)


# ---- rewards ----


def test_text_rewards() -> None:
    assert rewards.digit_fraction("1", "a1b2") == 0.5
    assert rewards.digit_fraction("1", "") == 0.0
    assert rewards.addition("12+7=", " 19 ") == 1.0
    assert rewards.addition("12 + 7 is", "20") == 0.0
    assert rewards.addition("1+1=", "2.") == 0.0
    with pytest.raises(ValueError, match="asks for no sum"):
        rewards.addition("hello", "2")
    assert [rewards.brackets("(", x) for x in (")", "[])", "])", "", "(", "))")] == [1, 1, 0, 0, 0, 0]
    abc = rewards.target("abc")
    assert [abc("", x) for x in ("abc", "abcd", "ab", "xbc", "")] == pytest.approx([1, 1, 2 / 3, 0, 0])
    with pytest.raises(ValueError, match="must not be empty"):
        rewards.target("")


@given(st.text("([])", max_size=8))
def test_brackets_are_those_that_vanish_when_pairs_are_taken_out(text: str) -> None:
    left = text
    while "()" in left or "[]" in left:
        left = left.replace("()", "").replace("[]", "")
    assert rewards.brackets(text[:3], text[3:]) == float(not left)


def test_rewards_of_tokens() -> None:
    vocabulary = [*"0123456789", "+", "=", "<end>"]
    decode = rewards.spelled(vocabulary, eos=12)
    sums = [(a, 10, b, 11) for a, b in product(range(3), repeat=2)]
    text = TokenMDP(vocabulary, 3, rewards.less_length(rewards.on_text(rewards.addition, decode), 0.1),
                    prompts=sums, eos="<end>")  # fmt: skip
    mdp = text.finite()
    assert text.checked_reward((1, 10, 2, 11), (3, 12)) == pytest.approx(0.8)
    assert text.checked_reward((1, 10, 2, 11), (4, 12)) == pytest.approx(-0.2)
    ((p, after, r),) = mdp.outcomes(((1, 10, 2, 11), (3,)), 12)
    assert (p, after) == (1.0, "end")
    assert r == pytest.approx(0.8)
