"""A language model is a policy like any other: what is sampled is what is scored, and its checks are exact."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

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
from agents.language.prefixes import longest
from agents.losses import named
from envs import TokenMDP
from mdp import Episodes, enumerate_trajectories
from tests.agents.models import small, small_policy, writing

pytest.importorskip("transformers")
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
