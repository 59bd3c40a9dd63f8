"""A language model is a policy like any other: what is sampled is what is scored, and its checks are exact."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

import agents
from agents import (
    Batch,
    LanguageModelPolicy,
    ReinforceLoss,
    SoftmaxPolicy,
    audit,
    exact_gradient,
    exact_objective,
    pgcheck,
    random_model,
    rollout,
)
from agents.exact.objective import flat_gradient
from agents.language import load_model, load_tokenizer, save_model
from agents.language.loading import quiet
from agents.language.policy import Memory
from agents.language.prefixes import distinct, longest, places, texts_of
from agents.language.products import Keep, Kept, LookUp
from agents.losses import named
from envs import TokenMDP
from mdp import Episodes, enumerate_trajectories
from tests.agents.models import SIZE, small, small_policy, writing

pytest.importorskip("transformers")
AGENTS = Path(agents.__file__).parent
KINDS = ("llama", "gpt2")
PATHS = [("llama", True), ("llama", False), ("gpt2", False)]
DECODINGS: tuple[dict[str, Any], ...] = ({}, {"temperature": 0.7}, {"top_k": 2}, {"top_p": 0.8, "temperature": 1.5})


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", KINDS)
def test_pgcheck_runs_as_on_a_table(kind: str) -> None:
    report = pgcheck(small_policy(kind), writing().finite(), episodes=4_000)
    assert report.passed, str(report)


@pytest.mark.parametrize("kind", KINDS)
def test_audit_runs_as_on_a_table(kind: str) -> None:
    policy, m = small_policy(kind), writing().finite()
    for loss in (ReinforceLoss(), named.rloo()):
        found = audit(loss, policy, m, group_size=2)
        assert found.verdict == "exact"
        assert found.relative_error < 1e-10
    assert audit(named.grpo(), policy, m, group_size=2).verdict == "biased"


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_of_reinforce_is_the_gradient_of_J(kind: str) -> None:
    """All 30 completions played once each, teacher-forced, weighted with their probabilities by hand."""
    policy, problem = small_policy(kind), writing()
    m = problem.finite()
    pi = policy.matrix(m).detach().numpy()
    listed = list(enumerate_trajectories(m, pi))
    played = episodes_of(problem, [t.actions for _, t in listed], [t.states[0] for _, t in listed])
    log_probs = policy.log_prob(played)
    p = torch.tensor([p for p, _ in listed], dtype=torch.float64)
    assert torch.allclose(log_probs.detach().sum(1).exp() / 2, p, rtol=1e-12)
    G = torch.tensor([problem.gamma ** (len(t.rewards) - 1) * t.rewards[-1] for _, t in listed], dtype=torch.float64)
    mean = flat_gradient(policy, (p * G * log_probs.sum(1)).sum())
    exact = flat_gradient(policy, exact_objective(policy, m))
    assert float((mean - exact).norm() / exact.norm()) < 1e-10
    assert float((exact_gradient(policy, m) - exact).norm() / exact.norm()) < 1e-10


def episodes_of(problem: TokenMDP, completions: list[tuple[int, ...]], starts: list[int]) -> Episodes:
    """Completions of the prompts whose numbers in `finite` are given."""
    m = problem.finite()
    T = max(map(len, completions))
    states = np.full((len(completions), T), -1)
    for n, (completion, s) in enumerate(zip(completions, starts, strict=True)):
        for t, a in enumerate(completion):
            states[n, t] = s
            s = int(m.transition[[s * m.n_actions + a]].indices[0])
    lengths = np.array([len(x) for x in completions])
    actions = np.array([[*x, *[0] * (T - len(x))] for x in completions])
    return Episodes(
        states=states, actions=actions, rewards=np.zeros(actions.shape),
        lengths=lengths, terminated=lengths > 0, truncated=lengths < 0, gamma=problem.gamma,
        sight=np.maximum(states, 0), sights=m.observations,
    )  # fmt: skip


@pytest.mark.parametrize(("kind", "fast"), PATHS)
@pytest.mark.parametrize("decoding", DECODINGS, ids=str)
def test_what_is_sampled_is_what_is_scored(kind: str, fast: bool, decoding: dict[str, Any]) -> None:
    """With a cache, teacher-forced, and by a forward pass for each text: one number."""
    policy = small_policy(kind, 5, fast=fast, **decoding)
    assert bool(policy.unfit) is not fast
    played = rollout(policy, writing(5, 6).vector_env(60), 60, group_size=3, generator=generator())
    assert played.behaviour_log_probs is not None
    scored = policy.log_prob(played).detach().numpy()
    np.testing.assert_allclose(played.behaviour_log_probs, scored, atol=1e-13)
    np.testing.assert_allclose(SoftmaxPolicy.log_prob(policy, played).detach().numpy(), scored, atol=1e-13)
    entropies = policy.entropies(played).detach().numpy()
    np.testing.assert_allclose(SoftmaxPolicy.entropies(policy, played).detach().numpy(), entropies, atol=1e-13)
    assert len(set(played.lengths)) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_float32_agrees_with_a_full_forward(kind: str) -> None:
    policy = LanguageModelPolicy(small(kind, 50, initializer_range=0.1))
    played = rollout(policy, writing(50, 12).vector_env(64), 64, group_size=8, generator=generator())
    model = policy.model.double()
    for n in range(0, 64, 7):
        prompt = played.sights[played.sight[n, 0]]
        T = int(played.lengths[n])
        ids = torch.as_tensor([*prompt[prompt >= 0], *played.actions[n, :T]])
        log_pi = torch.log_softmax(model(ids[None]).logits[0, -T - 1 : -1], -1)
        full = log_pi.gather(1, ids[-T:, None])[:, 0].detach().numpy()
        assert played.behaviour_log_probs is not None
        np.testing.assert_allclose(played.behaviour_log_probs[n, :T], full, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_completions_come_as_often_as_they_should(kind: str) -> None:
    """Chi-square over all 30 completions; false alarm 1e-7."""
    policy, problem = small_policy(kind, temperature=1.3), writing()
    m = problem.finite()
    expected = {(t.states[0], t.actions): p for p, t in enumerate_trajectories(m, policy.matrix(m).detach().numpy())}
    n = 6_000
    played = rollout(policy, problem.vector_env(n), n, generator=generator(1))
    numbers = {tuple(x): s for s, x in enumerate(m.observations.tolist())}
    first = played.sights[played.sight[:, 0]].tolist()
    rows = zip(first, played.actions.tolist(), played.lengths, strict=True)
    seen = Counter((numbers[tuple(prompt)], tuple(a[:length])) for prompt, a, length in rows)
    assert set(seen) <= set(expected)
    kept = [key for key, p in expected.items() if n * p >= 5]
    off = sum((seen[key] - n * expected[key]) ** 2 / (n * expected[key]) for key in kept)
    assert stats.chi2.sf(off, len(kept)) > 1e-7


def test_dropout_is_off() -> None:
    model = small("gpt2", attn_pdrop=0.5, embd_pdrop=0.5, resid_pdrop=0.5).double()
    policy = LanguageModelPolicy(model).train()
    m = writing().finite()
    assert policy.training
    assert torch.equal(policy.matrix(m), policy.matrix(m))


def test_the_end_token_keeps_its_gradient_though_it_pads() -> None:
    """padding_idx would drop the embedding's gradient in its row; finite differences know what it is."""
    model = small("llama", tie_word_embeddings=False).double()
    assert model.get_input_embeddings().padding_idx == 2
    policy = LanguageModelPolicy(model)
    problem = TokenMDP(3, 2, lambda _, c: float(c.count(1)), prompts=[(0, 2, 1)])
    m = problem.finite()
    exact_objective(policy, m).backward()  # type: ignore[no-untyped-call]
    row = model.get_input_embeddings().weight.grad[2]
    assert float(row.norm()) > 1e-6
    J = []
    with torch.no_grad():
        for step in (1e-7, -2e-7):
            model.get_input_embeddings().weight[2, 0] += step
            J.append(float(exact_objective(policy, m)))
    assert float(row[0]) == pytest.approx((J[0] - J[1]) / 2e-7, rel=1e-6)


def test_a_prompt_is_read_once_for_its_group() -> None:
    policy, read = LanguageModelPolicy(small("llama", 5), fast=False), []
    policy.model.get_input_embeddings().register_forward_hook(lambda _, x, __: read.append(tuple(x[0].shape)))
    played = rollout(policy, writing(5, 4).vector_env(16), 16, group_size=16, generator=generator())
    assert read[0] == (1, int((played.sights[0] >= 0).sum()))
    assert set(read[1:]) == {(16, 1)}
    read.clear()
    policy.log_prob(played)
    assert [rows for rows, _ in read] == [1, 16]


def test_texts_that_are_prefixes_are_read_within_others() -> None:
    texts = torch.tensor([[1, 2, -1], [1, -1, -1], [1, 2, 3], [2, -1, -1], [1, 3, -1], [1, 2, 3], [1, 2, -1]])
    first, of = longest(texts)
    assert {tuple(texts[k].tolist()) for k in first} == {(1, 2, 3), (1, 3, -1), (2, -1, -1)}
    for text, k in zip(texts.tolist(), of.tolist(), strict=True):
        whole = texts[first[k]].tolist()
        assert all(x in (-1, y) for x, y in zip(text, whole, strict=True))


def test_memory_notices_a_text_that_does_not_go_on() -> None:
    policy = small_policy("llama", 5)
    texts = torch.tensor([[0, -1, -1, -1], [3, 1, -1, -1]])
    _, _, memory = policy.sample(texts, generator=generator())
    other = torch.tensor([[0, 4, -1, -1], [3, 2, 4, -1]])
    draws = {}
    for name, remembered in (("remembered", memory), ("afresh", None)):
        draws[name] = policy.sample(other, None, remembered, generator=generator(3))[:2]
    assert torch.equal(draws["remembered"][0], draws["afresh"][0])
    assert torch.allclose(draws["remembered"][1], draws["afresh"][1], atol=1e-13)
    exact = policy(other).gather(1, draws["afresh"][0][:, None])[:, 0]
    assert torch.allclose(draws["afresh"][1], exact, atol=1e-13)


def test_rows_that_are_over_do_not_stop_the_others() -> None:
    policy = small_policy("llama", 5)
    _, _, memory = policy.sample(torch.tensor([[0, -1, -1], [3, -1, -1]]), generator=generator())
    later = torch.tensor([[-1, -1, -1], [3, 1, -1]])
    action, log_pi, memory = policy.sample(later, None, memory, generator=generator(1))
    assert torch.allclose(log_pi[1], policy(later[1:])[0, action[1]], atol=1e-13)
    last = torch.tensor([[-1, -1, -1], [3, 1, 4]])
    action, log_pi, _ = policy.sample(last, None, memory, generator=generator(1))
    assert torch.allclose(log_pi[1], policy(last[1:])[0, action[1]], atol=1e-13)


def test_episodes_that_are_no_texts_are_scored_state_by_state() -> None:
    """Sights that do not go on from one another: each is read by itself."""
    policy = small_policy("llama", 5)
    played = rollout(policy, writing(5, 4).vector_env(8), 8, generator=generator())
    shuffled = played.sights.copy()
    shuffled[played.sight[0, 1]] = shuffled[played.sight[0, 0]]
    other = Episodes(**{**vars(played), "sights": shuffled})
    assert torch.equal(policy.log_prob(other), SoftmaxPolicy.log_prob(policy, other))
    assert not torch.allclose(policy.log_prob(other)[0, 1], policy.log_prob(played)[0, 1])


def test_scores_follow_admissible_actions_of_a_finite_mdp() -> None:
    policy = small_policy("llama", 5)
    m = writing(5, 3).finite(tokens=lambda text: {1, 2} if (text >= 0).sum() % 2 else {0, 2, 4})
    played = rollout(policy, m, 200, generator=generator())
    exact = torch.log(policy.matrix(m).detach())
    states, actions = (torch.as_tensor(x) for x in (np.maximum(played.states, 0), played.actions))
    expected = torch.where(torch.as_tensor(played.mask), exact[states, actions], 0.0)
    assert torch.allclose(policy.log_prob(played), expected, atol=1e-12)


@pytest.mark.parametrize(("kind", "fast"), PATHS)
@pytest.mark.parametrize("decoding", DECODINGS, ids=str)
def test_products_of_the_sampling_give_the_gradient(kind: str, fast: bool, decoding: dict[str, Any]) -> None:
    """Of a loss that bends log pi, for all samples, some, and others: the same as by a forward pass for each text."""
    policy = small_policy(kind, 5, fast=fast, **decoding)
    played = rollout(policy, writing(5, 6).vector_env(24), 24, group_size=3, generator=generator())
    whole = "top_k" not in decoding and "top_p" not in decoding
    for episodes in (played, played.rows(np.array([17, 3, 4, 20])), *([other_than(played)] if whole else [])):
        gradients = []
        for log_probs in (policy.log_prob(episodes), SoftmaxPolicy.log_prob(policy, episodes)):
            gradients.append(flat_gradient(policy, (log_probs.sin() * torch.as_tensor(episodes.mask)).sum()))
        assert float((gradients[0] - gradients[1]).norm() / gradients[1].norm()) < 1e-12


OTHERS: dict[str, dict[str, Any]] = {
    "qwen2": {}, "gemma2": {"head_dim": 8}, "gpt_neox": {}, "falcon": {}, "phi3": {}, "cohere": {},
    "opt": {"ffn_dim": 32, "word_embed_proj_dim": 16, "init_std": 0.5}, "bloom": {"n_layer": 2, "n_head": 2},
}  # fmt: skip


@pytest.mark.parametrize("kind", OTHERS)
def test_any_causal_model_will_do(kind: str) -> None:
    """With biases, soft caps, alibi, learned positions, fused or tied weights: the same number by every route."""
    config = {"vocab_size": 5, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "bos_token_id": 0,
              "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64, "eos_token_id": 2,
              "pad_token_id": 2, "initializer_range": 0.5}  # fmt: skip
    policy = LanguageModelPolicy(random_model(kind, **(config | OTHERS[kind])).double())
    played = rollout(policy, writing(5, 6).vector_env(24), 24, group_size=3, generator=generator())
    by_products, by_texts = policy.log_prob(played), SoftmaxPolicy.log_prob(policy, played)
    assert played.behaviour_log_probs is not None
    np.testing.assert_allclose(played.behaviour_log_probs, by_texts.detach().numpy(), atol=1e-13)
    gradients = [flat_gradient(policy, x.sin().sum()) for x in (by_products, by_texts)]
    assert float((gradients[0] - gradients[1]).norm() / gradients[1].norm()) < 1e-12
    assert policy._sampled is not None
    assert policy._sampled.products.in_order


def test_a_model_without_a_cache_is_refused() -> None:
    policy = LanguageModelPolicy(random_model("mamba", vocab_size=5, hidden_size=16, num_hidden_layers=2, state_size=4))
    with pytest.raises(TypeError, match="no key-value cache"):
        policy.sample(torch.tensor([[0]]), generator=generator())


def other_than(played: Episodes) -> Episodes:
    """The same actions, with another one in the middle of the longest text."""
    n = int(played.lengths.argmax())
    actions, sights = played.actions.copy(), played.sights.copy()
    actions[n, 1] = (actions[n, 1] + 1) % 5 or 1
    for t in range(2, int(played.lengths[n])):
        text = sights[played.sight[n, t]]
        text[int((sights[played.sight[n, 0]] >= 0).sum()) + 1] = actions[n, 1]
    return Episodes(**{**vars(played), "actions": actions, "sights": sights})


@pytest.mark.parametrize(("kind", "fast"), PATHS)
def test_products_of_the_sampling_are_used_until_a_parameter_changes(kind: str, fast: bool) -> None:
    policy = small_policy(kind, 5, fast=fast)
    played = rollout(policy, writing(5, 6).vector_env(24), 24, generator=generator())
    assert policy._sampled is not None
    products = policy._sampled.products
    for kept in [products.logits] if fast else products.written:
        kept.zero_()
    scored = SoftmaxPolicy.log_prob(policy, played)
    assert not torch.allclose(policy.log_prob(played), scored)
    with torch.no_grad():
        next(policy.parameters()).add_(0.0)
    assert torch.allclose(policy.log_prob(played), scored, atol=1e-13)
    policy.eval()
    rollout(policy, writing(5, 6).vector_env(24), 24, generator=generator())
    assert policy._sampled is None


def test_float64_is_not_rounded_inside() -> None:
    """h(theta + eps) moves by eps, far below float32's rounding."""
    policy = small_policy("llama")
    m = writing().finite()
    before = policy.matrix(m).detach()
    with torch.no_grad():
        policy.model.model.layers[0].input_layernorm.weight += 1e-12
    moved = (policy.matrix(m).detach() - before).abs().max()
    assert 1e-15 < float(moved) < 1e-10


NO_TOKENS = "an observation without tokens: a language model continues at least one; lengthen the prompt"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda policy: policy.sample(torch.tensor([[-1, -1]]), generator=generator()), NO_TOKENS),
        (lambda policy: policy.sample(torch.tensor([[-1, -1], [0, -1]]), generator=generator()), NO_TOKENS),
        (lambda policy: policy(torch.tensor([[0, -1], [-1, -1]])), NO_TOKENS),
        (lambda _: LanguageModelPolicy(torch.nn.Linear(2, 2)),
         "Linear is no causal language model of transformers: it has no head"),
        (lambda policy: LanguageModelPolicy(policy.model.model),
         "LlamaModel is no causal language model of transformers: it has no head"),
        (lambda _: LanguageModelPolicy(small("llama"), [None] * 9),
         "the tokenizer has 9 tokens, the model 3: they do not match"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told(call: Callable[[LanguageModelPolicy], object], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"^{re.escape(message)}$"):
        call(small_policy("llama"))


def test_mistakes_are_named() -> None:
    with pytest.raises(TypeError, match=r"call policy\.double\(\)"):
        exact_gradient(LanguageModelPolicy(small("llama")), writing().finite())


def test_why_a_model_is_not_fast() -> None:
    assert LanguageModelPolicy(small("llama"), [None] * 3).unfit == ""  # a tokenizer with as many tokens as the model
    assert LanguageModelPolicy(small("llama"), fast=False).unfit == "it was not asked for"
    other = "it is a GPT2LMHeadModel with model_type 'gpt2', not a LlamaForCausalLM"
    assert LanguageModelPolicy(small("gpt2")).unfit == other


def test_a_batch_of_text_needs_no_states() -> None:
    policy = small_policy("llama", 5)
    played = rollout(policy, writing(5, 4).vector_env(8), 8, group_size=4, generator=generator())
    batch = Batch.of(policy, played, reference=small_policy("llama", 5, seed=1))
    assert not batch.states_are_known
    assert torch.isfinite(named.rloo(0.1)(batch))


# ---- texts and what goes on from them ----


@pytest.mark.parametrize(
    ("texts", "continued"),
    [
        ([[0, 4, -1], [3, 1, 2], [-1, -1, -1]], True),
        ([[-1, -1, -1], [3, 1, 2], [-1, -1, -1]], True),  # over
        ([[-1, -1, -1], [-1, -1, -1], [-1, -1, -1]], True),
        ([[0, -1, -1], [3, 1, 2], [-1, -1, -1]], False),  # nothing new
        ([[0, 4, 4], [3, 1, 2], [-1, -1, -1]], False),  # two new ones
        ([[5, 4, -1], [3, 1, 2], [-1, -1, -1]], False),  # another text
        ([[0, 4, -1], [3, 2, 2], [-1, -1, -1]], False),
        ([[0, 4, -1], [3, -1, -1], [-1, -1, -1]], False),  # a shorter one
        ([[0, 4, -1], [4, -1, -1], [-1, -1, -1]], False),
        ([[0, 4, -1], [3, 1, 2], [1, -1, -1]], False),  # a row that was over begins
    ],
)
def test_what_goes_on_from_what_was_seen(texts: list[list[int]], continued: bool) -> None:
    seen = torch.tensor([[0, -1, -1], [3, 1, -1], [-1, -1, -1]])
    assert Memory(seen, None).continued(torch.tensor(texts)) is continued


def test_distinct_texts_stand_to_the_right() -> None:
    ids, n, copies = distinct(torch.tensor([[1, 0, 2], [0, -1, -1], [1, 0, 2], [4, 3, -1]]))
    assert ids.tolist() == [[0, 0, 0], [1, 0, 2], [0, 4, 3]]
    assert n.tolist() == [1, 3, 2]
    assert copies.tolist() == [1, 0, 1, 2]


def test_episodes_as_texts() -> None:
    """What is written, what is read of it, and which prompts there are."""
    problem = TokenMDP(5, 3, lambda *_: 0.0, prompts=[(0,), (1, 4)], eos=2, gamma=1.0)
    m = problem.finite()
    prompts = {tuple(x for x in row if x >= 0): s for s, row in enumerate(m.observations.tolist())}
    played = episodes_of(problem, [(3, 1, 4), (2,), (0, 2)], [prompts[1, 4], prompts[0,], prompts[0,]])
    texts = texts_of(played, torch.zeros(0))
    assert texts is not None
    assert texts.completions.tolist() == [[3, 1, 4], [2, 0, 0], [0, 2, 0]]
    assert texts.mask.tolist() == [[True] * 3, [True, False, False], [True, True, False]]
    assert texts.read.tolist() == [[1, 4, 3, 1, -1], [0, -1, -1, -1, -1], [0, 0, -1, -1, -1]]
    assert [x.tolist() for x in texts.prompts] == [[[0, 0], [1, 4]], [1, 2], [1, 0, 0]]
    one = episodes_of(problem, [(3,), (2,)], [prompts[1, 4], prompts[0,]])
    texts = texts_of(one, torch.zeros(0))
    assert texts is not None
    assert texts.read.tolist() == [[1, 4, -1, -1, -1], [0, -1, -1, -1, -1]]


def test_episodes_that_are_no_texts() -> None:
    """Another prompt within, numbers that are no tokens, states without an order, no step at all."""
    played = episodes_of(writing(), [(0, 1, 2), (2,)], [0, 1])
    like = torch.zeros(0)
    assert texts_of(played, like) is not None
    shuffled = played.sights.copy()
    shuffled[played.sight[0, 1:]] = shuffled[played.sight[0, :0:-1]]
    others = (
        replace(played, sights=shuffled),
        replace(played, sights=played.sights.astype(float)),
        replace(played, sights=played.sights[:, 0]),
        replace(played, lengths=np.array([3, 0])),
        replace(played, states=played.states[:, :0], actions=played.actions[:, :0], rewards=played.rewards[:, :0],
                sight=played.sight[:, :0]),
    )  # fmt: skip
    assert [texts_of(x, like) for x in others] == [None] * 5


def test_where_texts_are_among_others() -> None:
    among = torch.tensor([[1, 2], [3, -1], [2, 1]])
    found = places(torch.tensor([[2, 1], [1, 2], [2, 1]]), among)
    assert found is not None
    assert found.tolist() == [2, 0, 2]
    assert places(torch.tensor([[1, 2], [3, 0]]), among) is None


@pytest.mark.parametrize(("kind", "fast"), PATHS)
@pytest.mark.parametrize("horizon", [1, 2])
def test_short_completions(kind: str, fast: bool, horizon: int) -> None:
    """Of one token, which no model reads, and of two."""
    policy = small_policy(kind, 5, fast=fast)
    played = rollout(policy, writing(5, horizon).vector_env(8), 8, group_size=2, generator=generator())
    assert played.actions.shape[1] == horizon
    for renew in (False, True):
        log_probs, by_texts = policy.log_prob(played), SoftmaxPolicy.log_prob(policy, played)
        torch.testing.assert_close(log_probs, by_texts, rtol=0, atol=1e-13)
        gradients = [flat_gradient(policy, x.sin().sum()) for x in (log_probs, by_texts)]
        assert float((gradients[0] - gradients[1]).norm() / gradients[1].norm()) < 1e-12
        entropies = SoftmaxPolicy.entropies(policy, played)
        torch.testing.assert_close(policy.entropies(played), entropies, rtol=0, atol=1e-13)
        if not renew:
            policy._sampled = None


@pytest.mark.parametrize(("kind", "fast"), PATHS)
def test_only_admissible_tokens_are_drawn(kind: str, fast: bool) -> None:
    policy = small_policy(kind, 5, fast=fast, temperature=3.0)
    texts = torch.tensor([[0, -1], [3, 1]]).repeat(100, 1)
    admissible = torch.tensor([[True, False, True, False, False], [False, True, True, True, False]]).repeat(100, 1)
    actions, log_pi, memory = policy.sample(texts, admissible, generator=generator())
    assert [{*actions[::2].tolist()}, {*actions[1::2].tolist()}] == [{0, 2}, {1, 2, 3}]
    exact = policy(texts, admissible).gather(1, actions[:, None])[:, 0]
    torch.testing.assert_close(log_pi, exact, rtol=0, atol=1e-13)
    assert torch.equal(memory.seen, texts)


def test_few_episodes_of_a_finite_mdp_keep_to_what_is_admissible() -> None:
    """So few that they visit no state twice."""
    policy = small_policy("llama", 5)
    m = writing(5, 3).finite(tokens=lambda text: {1, 2} if (text >= 0).sum() % 2 else {0, 2, 4})
    played = rollout(policy, m, 1, generator=generator())
    assert len(played.sights) >= played.mask.sum()
    exact = torch.log(policy.matrix(m).detach())[played.states[0], played.actions[0]]
    torch.testing.assert_close(policy.log_prob(played)[0], exact, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("kind", "fast"), PATHS)
def test_a_row_that_is_over_reads_what_another_reads(kind: str, fast: bool) -> None:
    """Where the memory is of no use, since the other row does not go on."""
    policy = small_policy(kind, 5, fast=fast)
    _, _, memory = policy.sample(torch.tensor([[0, -1, -1], [3, -1, -1]]), generator=generator())
    texts = torch.tensor([[-1, -1, -1], [4, 1, -1]])
    action, log_pi, _ = policy.sample(texts, None, memory, generator=generator(1))
    torch.testing.assert_close(log_pi[1], policy(texts[1:])[0, action[1]], rtol=0, atol=1e-13)


# ---- what a model is asked for ----


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_asked_for_what_is_needed(kind: str) -> None:
    """A cache where it is read on; logits of the last columns alone; a mask where there is padding."""
    policy, asked = LanguageModelPolicy(small(kind, 5), fast=False), []

    def note(_: Any, args: Any, options: dict[str, Any]) -> None:
        assert not args
        mask = options.get("attention_mask")
        asked.append((options["use_cache"], options["logits_to_keep"], None if mask is None else mask.sum().item()))

    policy.model.register_forward_pre_hook(note, with_kwargs=True)
    _, _, memory = policy.sample(torch.tensor([[0, -1, -1, -1], [3, 1, 4, -1]]), generator=generator())
    policy.sample(torch.tensor([[0, 1, -1, -1], [3, 1, 4, 1]]), None, memory, generator=generator())
    assert asked == [(True, 1, 4), (True, 1, 6)]
    asked.clear()
    policy.sample(torch.tensor([[0, 1, 2], [3, 1, 4]]), generator=generator())
    policy(torch.tensor([[0, 1, -1, -1], [3, 1, 4, 4]]))  # from the last token of the shorter text on
    assert asked == [(True, 1, None), (False, 3, None)]


def test_the_transformer_trains_and_its_model_does_not() -> None:
    transformer = small_policy("gpt2").transformer
    for training in (True, False):
        assert transformer.train(training).training is training
        assert transformer.model.training is False
    assert transformer.train().training


class Layered:
    """A cache of layers, whose rows can be copied if they say so."""

    def __init__(self, *layers: object) -> None:
        self.copied: list[Any] = []
        self.layers = layers

    def batch_select_indices(self, rows: torch.Tensor) -> None:
        self.copied.append(rows.tolist())


def test_a_cache_whose_layers_cannot_be_copied_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    transformer = small_policy("gpt2").transformer
    prompts = torch.tensor([[1], [2]]), torch.tensor([1, 1]), torch.tensor([1, 0, 1]), 3, False
    for past, refused in ((Layered(object()), True), (Layered(Layered()), False), (Layered(), False), (None, True)):
        monkeypatch.setattr(transformer, "_logits", lambda *_, past=past, **__: (torch.zeros(2, 1, 3), past))
        if refused:
            message = "^GPT2LMHeadModel has no key-value cache whose rows can be copied$"
            with pytest.raises(TypeError, match=message):
                transformer.begin(*prompts)
        else:
            assert transformer.begin(*prompts)[0].shape == (3, 3)
            assert isinstance(past, Layered)
            assert past.copied == [[1, 0, 1]]


class Unplaced(TorchFunctionMode):
    """Tensors that the library makes without saying on which device."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        frame = sys._getframe(1)
        made = func in (torch.arange, torch.zeros, torch.ones, torch.empty, torch.full, torch.tensor, torch.rand)
        if made and (kwargs or {}).get("device") is None and Path(frame.f_code.co_filename).is_relative_to(AGENTS):
            self.made.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("kind", "fast"), PATHS)
def test_all_is_made_where_the_parameters_are(kind: str, fast: bool) -> None:
    """Whatever the default device is, in sampling and in scoring."""
    policy = small_policy(kind, 5, fast=fast, top_k=3)
    with Unplaced() as unplaced:
        played = rollout(policy, writing(5, 4).vector_env(8), 8, group_size=2, generator=generator())
        for episodes in (played, played.rows(np.array([5, 1])), played.rows(np.array([1, 1, 0]))):
            policy.log_prob(episodes)
            policy.entropies(episodes)
            SoftmaxPolicy.log_prob(policy, episodes)
        policy._sampled = None
        policy.log_prob(played)
    assert unplaced.made == []


# ---- products that are known ----


def test_products_are_kept_in_order_and_looked_up() -> None:
    """Two for the prompts and for each of two steps; then each has the value that was kept, whatever the weights."""
    V, W = (nn.Parameter(torch.randn(n, m, generator=generator(n), dtype=torch.float64)) for n, m in ((3, 4), (2, 3)))
    first, steps = torch.randn(2, 5, 4, dtype=torch.float64), torch.randn(3, 2, 4, dtype=torch.float64)

    def twice(x: torch.Tensor) -> torch.Tensor:
        return F.linear(F.linear(x, V), W)

    kept = Kept(2, 3, 4)
    with torch.no_grad():
        with Keep(kept, of_prompts=True):
            of_prompts = twice(first)
        for t in range(2):
            with Keep(kept, of_prompts=False):
                twice(steps[:, t : t + 1])
            kept.fed += 1
        of_steps = twice(steps)
    assert kept.in_order is True
    assert [w is x for w, x in zip(kept.weights, (V, W), strict=True)] == [True, True]
    assert [tuple(y.shape) for y in kept.prompts] == [(2, 5, 3), (2, 5, 2)]
    assert [tuple(y.shape) for y in kept.written] == [(3, 4, 3), (3, 4, 2)]
    some = kept.rows(torch.tensor([2, 0]), torch.tensor([1]))
    assert (some.P, some.n, some.steps, some.fed, some.in_order) == (1, 2, 2, 2, True)
    assert some.weights is kept.weights
    with torch.no_grad():
        for w in (V, W):
            w.zero_()
    with LookUp(kept, of_prompts=True):
        torch.testing.assert_close(twice(first), of_prompts)
        assert not twice(first).any()  # a third product is none that is known
    for known, x, expected in ((kept, steps, of_steps), (some, steps[[2, 0]], of_steps[[2, 0]])):
        with LookUp(known, of_prompts=False):
            torch.testing.assert_close(twice(x), expected)
    with LookUp(some, of_prompts=True):
        torch.testing.assert_close(twice(first[1:]), of_prompts[1:])
    with LookUp(kept, of_prompts=False):
        assert not twice(torch.cat([steps, steps, steps], 1)).any()  # more steps than there is room for


@pytest.mark.parametrize("broken", ["another weight", "one more", "another row"])
def test_products_in_another_order_are_multiplied(broken: str) -> None:
    V, W = (nn.Parameter(torch.eye(2, dtype=torch.float64)) for _ in range(2))
    kept, x = Kept(1, 3, 4), torch.ones(3, 1, 2, dtype=torch.float64)
    with torch.no_grad():
        with Keep(kept, of_prompts=True):
            F.linear(x[:1], V)
        with Keep(kept, of_prompts=False):
            if broken == "one more":
                F.linear(x, V)
            F.linear(x[:2] if broken == "another row" else x, V if broken == "another row" else W)
    assert kept.in_order is False
    kept.prompts[0].zero_()
    assert kept.rows(torch.tensor([0]), torch.tensor([0])).in_order is False
    with LookUp(kept, of_prompts=True):
        assert torch.equal(F.linear(x[:1], V), x[:1])


@pytest.mark.parametrize(
    ("kind", "learning"),
    [("gpt2", x) for x in ("wte", "0.attn.c_attn.bias", "1.mlp.c_fc.weight", "0.ln_1.weight")]
    + [("llama", x) for x in ("embed_tokens", "1.mlp.up_proj", "0.input_layernorm")],
)
def test_what_is_frozen_stays_so(kind: str, learning: str) -> None:
    """One parameter learns: its gradient by the products of the sampling, and by a forward pass for each text."""
    policy = small_policy(kind, 5, fast=False)
    names = [name for name, _ in policy.named_parameters() if learning in name]
    for name, p in policy.named_parameters():
        p.requires_grad_(name in names)
    played = rollout(policy, writing(5, 4).vector_env(8), 8, group_size=2, generator=generator())
    free = [p for p in policy.parameters() if p.requires_grad]
    scores = policy.log_prob(played), SoftmaxPolicy.log_prob(policy, played)
    found, expected = (torch.autograd.grad(x.sin().sum(), free) for x in scores)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    policy.log_prob(played).sum().backward()  # type: ignore[no-untyped-call]
    assert [name for name, p in policy.named_parameters() if p.grad is not None] == names


def test_the_room_for_products() -> None:
    """Of prompts of 1 and 2 tokens, and as many steps as the shorter one can have."""
    policy, texts = small_policy("gpt2", 5), torch.tensor([[0, -1, -1, -1], [3, 1, -1, -1], [0, -1, -1, -1]])
    policy.sample(texts, generator=generator())
    assert policy._sampled is not None
    kept = policy._sampled.products
    assert (kept.P, kept.n, kept.steps, kept.fed) == (2, 3, 3, 0)


# ---- models as files ----

BESIDE = "is missing, beside model.safetensors and a tokenizer"


class Loads:
    """In place of transformers' classes: notes what is asked for."""

    def __init__(self, *missing: str) -> None:
        self.missing, self.asked = missing, {}  # type: ignore[var-annotated]

    def from_pretrained(self, *args: Any, **options: Any) -> Any:
        self.asked = {"args": args, **options}
        return (nn.Linear(1, 1), {"missing_keys": {*self.missing}}) if "dtype" in options else "a tokenizer"


@pytest.mark.parametrize("gguf", [None, "x.gguf"])
def test_what_is_asked_of_transformers(gguf: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No code, no pickle, and nothing from elsewhere."""
    import transformers

    loads = Loads()
    monkeypatch.setattr(transformers, "AutoModelForCausalLM", loads)
    monkeypatch.setattr(transformers, "AutoTokenizer", loads)
    (tmp_path / (gguf or "config.json")).touch()
    data_only = {"local_files_only": True, "trust_remote_code": False}
    assert load_model(str(tmp_path), gguf_file=gguf).training is False
    assert loads.asked == {"args": (tmp_path,), "dtype": torch.float32, "use_safetensors": True, "gguf_file": gguf,
                           "output_loading_info": True, **data_only}  # fmt: skip
    load_model(tmp_path, dtype=torch.float64, gguf_file=gguf)
    assert loads.asked["dtype"] == torch.float64
    assert load_tokenizer(tmp_path, gguf_file=gguf) == "a tokenizer"
    assert loads.asked == {"args": (tmp_path,), "gguf_file": gguf, **data_only}


@pytest.mark.parametrize(
    ("missing", "told"), [("b", "b"), ("cab", "a, b, c"), ("dcab", "a, b, c, ..."), ("edcab", "a, b, c, ...")]
)
def test_which_weights_are_missing(missing: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    monkeypatch.setattr(transformers, "AutoModelForCausalLM", Loads(*missing))
    (tmp_path / "config.json").touch()
    with pytest.raises(ValueError, match=f"^{re.escape(f'{tmp_path} holds no weights for {told}')}$"):
        load_model(tmp_path)


@pytest.mark.parametrize("load", [load_model, load_tokenizer])
def test_a_folder_without_a_model(load: Callable[..., Any], tmp_path: Path) -> None:
    for options, file in (({}, "config.json"), ({"gguf_file": "x.gguf"}, "x.gguf")):
        message = f"{tmp_path} is no model: {file} {BESIDE}"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            load(tmp_path, **options)
    (tmp_path / "config.json").write_text("{")
    what = "causal language model" if load is load_model else "tokenizer"
    with pytest.raises(ValueError, match=f"^{re.escape(f'{tmp_path} holds no {what}: ')}.") as error:
        load(tmp_path)
    assert str(error.value).endswith(str(error.value.__cause__))


def test_random_weights_are_drawn_aside() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, same, other = (next(small("llama", seed=seed).parameters()) for seed in (0, 0, 1))
    by_default = random_model("llama", **SIZE["llama"], vocab_size=3)
    again = random_model("llama", **SIZE["llama"], vocab_size=3, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(next(by_default.parameters()), next(again.parameters()))
    assert by_default.training is False


@pytest.mark.parametrize("shown", [True, False])
def test_progress_bars_are_as_they_were(shown: bool) -> None:
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled()
    try:
        (logging.enable_progress_bar if shown else logging.disable_progress_bar)()  # type: ignore[no-untyped-call]
        with quiet():
            assert not logging.is_progress_bar_enabled()
        assert logging.is_progress_bar_enabled() is shown
    finally:
        (logging.enable_progress_bar if before else logging.disable_progress_bar)()  # type: ignore[no-untyped-call]


class Saved:
    """In place of a model and of a tokenizer; a weight of two processes."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.states = error, []  # type: ignore[var-annotated]

    def state_dict(self) -> dict[str, Any]:
        return {"whole": 1, "shared": SimpleNamespace(full_tensor=lambda: 2)}

    def save_pretrained(self, folder: Path, *, state_dict: Any = None) -> None:
        self.states.append(state_dict)
        if self.error is not None:
            raise self.error
        (folder / f"{len(state_dict or ())}").touch()


def saved(model: Saved, folder: Path, tokenizer: Saved | None = None, **options: bool) -> Saved:
    save_model(SimpleNamespace(model=model, tokenizer=tokenizer), folder, **options)  # type: ignore[arg-type]
    return model


def test_a_model_is_written_whole(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "model"
    assert saved(Saved(), folder, writes=False).states == []
    assert not folder.parent.exists()
    assert saved(Saved(), folder, Saved()).states == [{"whole": 1, "shared": 2}]
    assert sorted(x.name for x in folder.iterdir()) == ["0", "2"]
    (folder / "2").rename(folder / "3")
    for rest in (".model.new", ".model.old"):  # of a process that was killed
        (folder.parent / rest).mkdir()
        (folder.parent / rest / "rest").touch()
    saved(Saved(), folder)
    assert [x.name for x in folder.iterdir()] == ["2"]
    assert [x.name for x in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("error", "told"), [(ValueError("of some kind"), "of some kind"), (OSError(28, "No space left"), "No space left")]
)
def test_what_was_there_stays_where_a_model_cannot_be_written(error: Exception, told: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    saved(Saved(), folder)
    with pytest.raises(OSError, match=f"^{re.escape(f'cannot write the model to {folder}: {told}')}$"):
        saved(Saved(error), folder)
    assert [x.name for x in folder.iterdir()] == ["2"]
    assert [x.name for x in tmp_path.iterdir()] == ["model"]


def test_what_was_there_comes_back_where_the_new_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, rename = tmp_path / "model", Path.rename
    saved(Saved(), folder)

    def fails(self: Path, to: Path) -> Path:
        if self.name == ".model.new":
            raise OSError(5, "Input/output error")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match=r"cannot write the model to .*: Input/output error$"):
        saved(Saved(), folder)
    assert [x.name for x in folder.iterdir()] == ["2"]
    assert [x.name for x in tmp_path.iterdir()] == ["model"]
