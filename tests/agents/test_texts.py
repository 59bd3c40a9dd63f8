"""Texts that go on from what was seen, what a model is asked for, and products that are known."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

import agents
from agents import (
    LanguageModelPolicy,
    SoftmaxPolicy,
    rollout,
)
from agents.exact.objective import flat_gradient
from agents.language.policy import Memory
from agents.language.prefixes import distinct, places, texts_of
from agents.language.products import Keep, Kept, LookUp
from envs import TokenMDP
from tests.agents.models import small, small_policy, writing
from tests.agents.test_language import KINDS, PATHS, episodes_of, generator

AGENTS = Path(agents.__file__).parent

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
