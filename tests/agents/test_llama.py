"""The functional Llama against transformers, row by row and without padding: logits, log pi, and its whole gradient.

In float64. There transformers still rounds norms and positions to float32, which `unrounded` undoes: 1e-10 holds.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor, nn

from agents.language.double import unrounded
from agents.language.fast import onednn
from agents.language.fast import replay as fast
from agents.language.fast.llama import Llama, Memory, Unfit
from agents.language.fast.onednn import arranged, times

transformers = pytest.importorskip("transformers")

TAU, K = 0.7, 4
LENGTHS = torch.tensor([2, 4, 1])
COPIES = torch.tensor([2, 0, 0, 1, 2, 1, 0])
LASTS = torch.tensor([5, 1, 3, 5, 2, 4, 5])  # tokens of each completion
MASK = torch.arange(5) < LASTS[:, None]
Shape = Callable[[Tensor], Tensor]
Gradient = dict[str, Tensor]


def tempered(h: Tensor) -> Tensor:
    return h / TAU


def top_k(h: Tensor) -> Tensor:
    return (h / TAU).masked_fill(h < h.topk(K).values[..., -1:], -torch.inf)


def a_model(tied: bool = True, **changes: Any) -> Any:
    """Heads that are not hidden_size / heads wide; token 2 is the padding, whose gradient counts all the same."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 11, "hidden_size": 12, "intermediate_size": 10, "num_hidden_layers": 2, "head_dim": 6}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "rope_theta": 100.0, "initializer_range": 0.5}
    config = transformers.LlamaConfig(**{**sizes, **heads, "pad_token_id": 2, "tie_word_embeddings": tied, **changes})
    model = transformers.LlamaForCausalLM(config).double()
    model.model.embed_tokens.padding_idx = None
    for name, w in model.named_parameters():
        if name.endswith("norm.weight"):
            nn.init.uniform_(w, 0.5, 1.5)
    return model


def prompts() -> Tensor:
    return torch.randint(0, 11, (3, 4), generator=torch.Generator().manual_seed(1))  # its padding is any token


def sample(model: Llama, shape: Shape, keep: bool = True) -> tuple[Tensor, Tensor, Memory]:
    """Completions (n, T), the logits (n, T, V) they were drawn from, and the memory."""
    generator = torch.Generator().manual_seed(2)
    h, memory = model.begin(prompts(), LENGTHS, COPIES, 4 + 5, keep)
    tokens, logits = [], [h]
    for t in range(5):
        tokens.append(torch.multinomial(shape(logits[t]).softmax(-1), 1, generator=generator)[:, 0])
        if t < 4:
            logits.append(model.extend(memory, tokens[t]))
    return torch.stack(tokens, 1), torch.stack(logits, 1), memory


def reference(model: Any, completions: Tensor, i: int) -> Tensor:
    """transformers' logits (T, V) for row i alone."""
    p = COPIES[i]
    ids = torch.cat([prompts()[p, 4 - LENGTHS[p] :], completions[i]])
    with unrounded(next(model.parameters())):
        logits: Tensor = model(input_ids=ids[None]).logits[0, LENGTHS[p] - 1 : -1]
    return logits


def expected(model: Any, completions: Tensor, shape: Shape, mask: Tensor = MASK) -> Tensor:
    rows = []
    for i in range(len(completions)):
        log_pi = shape(reference(model, completions, i)).log_softmax(-1)
        rows.append(torch.where(mask[i], log_pi.gather(1, completions[i][:, None])[:, 0], 0.0))
    return torch.stack(rows)


def gradient(model: Any, log_pi: Tensor, c: Tensor) -> Gradient:
    """Of sum of c log pi; for the parameters that learn."""
    learning = {name: w for name, w in model.named_parameters() if w.requires_grad}
    grads = torch.autograd.grad(log_pi, list(learning.values()), c, retain_graph=True)
    return dict(zip(learning, grads, strict=True))


def functional(n: int = 7) -> Tensor:
    return torch.randn(n, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def assert_same(got: Gradient, want: Gradient, tolerance: float = 1e-10) -> None:
    assert got.keys() == want.keys()
    for name, g in want.items():
        assert g.abs().max() > 1e-3, f"{name} has no gradient to compare"
        assert torch.allclose(got[name], g, rtol=tolerance, atol=tolerance), name


@pytest.mark.parametrize("keep", [True, False])
def test_sampled_logits_are_those_of_transformers(keep: bool) -> None:
    model = a_model()
    completions, logits, _ = sample(Llama(model), tempered, keep)
    for i in range(7):
        torch.testing.assert_close(logits[i], reference(model, completions, i), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("chunk", [fast.CHUNK, 11 * 4])
@pytest.mark.parametrize("replay", [True, False])
@pytest.mark.parametrize("shape", [tempered, top_k])
@pytest.mark.parametrize("tied", [True, False])
def test_log_prob_and_its_whole_gradient(
    tied: bool, shape: Shape, replay: bool, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast, "CHUNK", chunk)
    model = a_model(tied)
    completions, _, memory = sample(Llama(model), shape)
    want = expected(model, completions, shape)
    for mask in (MASK, torch.ones_like(MASK)):
        want = expected(model, completions, shape, mask)
        for _ in range(2):  # a memory serves again
            got = Llama(model).log_prob(
                prompts(), LENGTHS, COPIES, completions, mask, shape, TAU, memory if replay else None
            )
            torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
            assert_same(gradient(model, got, functional()), gradient(model, want, functional()))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("replay", [True, False])
def test_in_float32_where_onednn_multiplies(tied: bool, replay: bool) -> None:
    """Against transformers in float64, of the same weights."""
    model = a_model(tied).float()
    completions, logits, memory = sample(Llama(model), tempered)
    got = Llama(model).log_prob(
        prompts(), LENGTHS, COPIES, completions, MASK, tempered, TAU, memory if replay else None
    )  # fmt: skip
    found = gradient(model, got, functional().float())
    want = expected(model.double(), completions, tempered)
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-5)
    for i in range(7):
        torch.testing.assert_close(logits[i].double(), reference(model, completions, i), rtol=1e-5, atol=1e-5)
    assert_same({name: g.double() for name, g in found.items()}, gradient(model, want, functional()), 1e-4)


@pytest.mark.skipif(not onednn.THERE, reason="torch was built without oneDNN")
def test_a_model_at_rest_is_arranged_once_and_again_where_a_bit_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change through .data raises no version."""
    model = a_model(tied=False).float().requires_grad_(False)
    completions = torch.randint(0, 11, (7, 5), generator=torch.Generator().manual_seed(4))
    args = (prompts(), LENGTHS, COPIES, completions, MASK, tempered, TAU)
    policy, spy = Llama(model), Mock(wraps=arranged)
    monkeypatch.setattr(onednn, "arranged", spy)
    first = policy.log_prob(*args)
    assert torch.equal(policy.log_prob(*args), first)
    assert spy.call_count == 2 * 7 + 1  # the products of two layers, and the head
    for w in (model.model.layers[1].mlp.up_proj.weight, model.lm_head.weight):
        w.data[3, 2] += 0.5
        torch.testing.assert_close(policy.log_prob(*args), Llama(copy.deepcopy(model).double()).log_prob(*args).float())
    with torch.no_grad():
        W = model.model.layers[0].mlp.gate_proj.weight
        W.copy_(W.flip(0).clone())  # the same bits, elsewhere
    torch.testing.assert_close(policy.log_prob(*args), Llama(copy.deepcopy(model).double()).log_prob(*args).float())
    assert spy.call_count == 4 * 15
    assert not torch.allclose(policy.log_prob(*args), first)
    torch.testing.assert_close(copy.deepcopy(policy).log_prob(*args), policy.log_prob(*args))


def test_a_copy_goes_on_and_is_scored_as_the_original() -> None:
    """Of a model and its memory in the midst of sampling."""
    policy = Llama(a_model().float())
    completions, _, memory = sample(policy, tempered)
    policy_too, memory_too = copy.deepcopy((policy, memory))
    args = (prompts(), LENGTHS, COPIES, completions, MASK, tempered, TAU)
    assert torch.equal(policy.log_prob(*args, memory), policy_too.log_prob(*args, memory_too))
    _, memory = policy.begin(prompts(), LENGTHS, COPIES, 4 + 5, keep=True)
    policy.extend(memory, completions[:, 0])
    memory_too = copy.deepcopy(memory)
    assert torch.equal(policy.extend(memory, completions[:, 1]), policy_too.extend(memory_too, completions[:, 1]))


@pytest.mark.parametrize("rows", [1, 3, 32, 300])
@pytest.mark.parametrize(("out", "width"), [(1, 1), (5, 3), (24, 16), (64, 129)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products(rows: int, out: int, width: int, dtype: torch.dtype) -> None:
    """x W' of W as it is, of W' transposed back, and of W arranged for as many rows or fewer: to rounding."""
    generator = torch.Generator().manual_seed(rows + out)
    x, W = (torch.randn(n, width, generator=generator, dtype=torch.float64) for n in (rows, out))
    want, tolerance = x @ W.t(), 1e-13 if dtype == torch.float64 else 1e-4
    x, W = x.to(dtype), W.to(dtype)
    assert arranged(W, rows).is_mkldnn == (onednn.THERE and dtype == torch.float32)
    for B in (W, W.t().contiguous().t(), arranged(W, rows), arranged(W, 2)):
        torch.testing.assert_close(times(x, B).double(), want, rtol=tolerance, atol=tolerance)


def test_a_tied_weight_owes_nothing_to_a_gradient_before() -> None:
    """Of the last norm alone, which does not reach the table; then of the table."""
    model = a_model()
    completions, _, memory = sample(Llama(model), tempered)
    log_pi = Llama(model).log_prob(prompts(), LENGTHS, COPIES, completions, MASK, tempered, TAU, memory)
    table = model.model.embed_tokens.weight
    (want,) = torch.autograd.grad(log_pi, table, functional(), retain_graph=True)
    torch.autograd.grad(log_pi, model.model.norm.weight, 2 * functional(), retain_graph=True)
    (again,) = torch.autograd.grad(log_pi, table, functional(), retain_graph=True)
    assert torch.equal(again, want)


def test_without_gradient_it_is_the_same_and_keeps_no_graph() -> None:
    model = a_model()
    completions, _, memory = sample(Llama(model), top_k)
    want = expected(model, completions, top_k)
    for m in (memory, None):
        with torch.no_grad():
            got = Llama(model).log_prob(prompts(), LENGTHS, COPIES, completions, MASK, top_k, TAU, m)
        assert not got.requires_grad
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


def test_a_replay_multiplies_nothing_forward() -> None:
    model = a_model(tied=False)
    completions, _, memory = sample(Llama(model), tempered)
    args = (prompts(), LENGTHS, COPIES, completions, MASK, tempered, TAU)
    before = Llama(model).log_prob(*args, memory)
    with torch.no_grad():
        for name, w in model.named_parameters():
            if name.endswith(("_proj.weight", "lm_head.weight")):
                w.zero_()
    assert torch.equal(Llama(model).log_prob(*args, memory), before)
    assert not torch.allclose(Llama(model).log_prob(*args), before)


@pytest.mark.parametrize(("index", "which"), [([5, 1, 3], [1, 0]), ([6, 0], [2, 0]), ([3], [1]), ([1, 0], None)])
def test_some_rows_of_a_memory(index: list[int], which: list[int] | None) -> None:
    model, rows = a_model(), torch.tensor(index)
    completions, _, memory = sample(Llama(model), top_k)
    P = torch.arange(3) if which is None else torch.tensor(which)
    copies = torch.tensor([P.tolist().index(p) for p in COPIES[rows].tolist()])
    part = memory.rows(rows, None if which is None else P)
    got = Llama(model).log_prob(prompts()[P], LENGTHS[P], copies, completions[rows], MASK[rows], top_k, TAU, part)
    want = expected(model, completions, top_k)[rows]
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    c = functional(len(index))
    assert_same(gradient(model, got, c), gradient(model, want, c))


LEARNING = ["embed_tokens", "lm_head", "model.norm", "0.input_layernorm", "0.self_attn.k_proj", "1.mlp.up_proj"]


@pytest.mark.parametrize("learning", LEARNING)
@pytest.mark.parametrize("replay", [True, False])
def test_frozen_parameters(learning: str, replay: bool) -> None:
    model = a_model(tied=False)
    for name, w in model.named_parameters():
        w.requires_grad_(learning in name)
    completions, _, memory = sample(Llama(model), tempered)
    want = expected(model, completions, tempered)
    memory_or_not = memory if replay else None
    got = Llama(model).log_prob(prompts(), LENGTHS, COPIES, completions, MASK, tempered, TAU, memory_or_not)
    assert_same(gradient(model, got, functional()), gradient(model, want, functional()))
    torch.autograd.backward(got, functional())
    assert [name for name, w in model.named_parameters() if w.grad is not None and learning not in name] == []


def test_all_frozen() -> None:
    model = a_model().requires_grad_(False)
    completions, _, memory = sample(Llama(model), tempered)
    for m in (memory, None):
        assert not Llama(model).log_prob(prompts(), LENGTHS, COPIES, completions, MASK, tempered, TAU, m).requires_grad


def test_parameters_are_read_at_every_call() -> None:
    model = a_model()
    policy = Llama(model)
    completions, _, _ = sample(policy, tempered)
    other = {name: torch.randn_like(w) for name, w in a_model().state_dict().items()}
    other["lm_head.weight"] = other["model.embed_tokens.weight"]
    for assign in (False, True):  # in place, and new ones
        model.load_state_dict({name: w + assign for name, w in other.items()}, assign=assign)
        model.tie_weights()
        got = policy.log_prob(prompts(), LENGTHS, COPIES, completions, MASK, tempered, TAU)
        torch.testing.assert_close(got, expected(model, completions, tempered), rtol=1e-10, atol=1e-10)


def test_an_action_that_is_cut_off_has_no_probability() -> None:
    """And where nothing weighs it, it spoils no gradient."""
    model = a_model()
    completions, logits, _ = sample(Llama(model), top_k)
    completions[3, 2] = logits[3, 2].argmin()
    got = Llama(model).log_prob(prompts(), LENGTHS, COPIES, completions, MASK, top_k, TAU)
    want = expected(model, completions, top_k)
    assert got[3, 2] == -torch.inf
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    c = functional()
    assert_same(gradient(model, got, c), gradient(model, want, c))  # as autograd has it: the others still move
    c[3, 2] = 0
    assert_same(gradient(model, got, c), gradient(model, want, c))


@pytest.mark.parametrize("steps", [0, 5])
def test_nothing_to_score(steps: int) -> None:
    model = a_model()
    none = torch.zeros(7, steps, dtype=torch.long)
    got = Llama(model).log_prob(prompts(), LENGTHS, COPIES, none, none.bool(), tempered, TAU)
    assert torch.equal(got, torch.zeros(7, steps))
    assert all((g == 0).all() for g in gradient(model, got, functional()[:, :steps]).values())


def test_what_a_memory_cannot_do_is_refused() -> None:
    policy = Llama(a_model())
    completions, _, memory = sample(policy, tempered)
    args = (prompts(), LENGTHS, COPIES, completions, MASK, tempered, TAU)
    not_kept = re.escape("the memory was not kept (keep=True) while these rows of these prompts were sampled")
    with pytest.raises(ValueError, match=f"^{not_kept}$"):
        policy.log_prob(*args, sample(policy, tempered, keep=False)[2])
    with pytest.raises(ValueError, match=f"^{not_kept}$"):
        policy.log_prob(*args, memory.rows(torch.arange(6)))
    with pytest.raises(ValueError, match=f"^{not_kept}$"):
        policy.log_prob(prompts(), LENGTHS.flip(0), *args[2:], memory)
    _, short = policy.begin(prompts(), LENGTHS, COPIES, 4 + 5, keep=True)
    with pytest.raises(ValueError, match=f"^{not_kept}$"):
        policy.log_prob(*args, short)
    for _ in range(4):  # the shortest prompt has one token, so 8 can follow: the last of them is not fed
        policy.extend(memory, completions[:, 0])
    with pytest.raises(ValueError, match=r"^no more tokens: the width that begin was given is used up$"):
        policy.extend(memory, completions[:, 0])


def test_float32_of_a_middle_size() -> None:
    sizes: dict[str, Any] = {"vocab_size": 1000, "hidden_size": 128, "intermediate_size": 256, "head_dim": 32}
    sizes |= {"num_hidden_layers": 4, "initializer_range": 0.1}
    exact, model = a_model(**sizes), a_model(**sizes).float()
    policy = Llama(model)
    completions, _, memory = sample(policy, tempered)
    want = expected(exact, completions, tempered)
    right = gradient(exact, want, functional())
    for m in (memory, None):
        got = policy.log_prob(prompts(), LENGTHS, COPIES, completions, MASK, tempered, TAU, m)
        torch.testing.assert_close(got.double(), want, rtol=0, atol=1e-4)
        error = [(g.double() - right[name]).norm() for name, g in gradient(model, got, functional().float()).items()]
        assert torch.stack(error).norm() < 1e-4 * torch.stack([g.norm() for g in right.values()]).norm()


class _Adapter(nn.Linear):
    """In place of a Linear, as adapters and quantised layers are."""


def _put(path: str, module: nn.Module) -> Callable[[Any], None]:
    return lambda model: model.set_submodule(path, module)


def _hook(model: Any) -> None:
    model.model.layers[0].mlp.register_forward_hook(lambda *_: None)


def _patch(model: Any) -> None:
    model.model.layers[0].forward = model.model.layers[0].forward


def _sliding(model: Any) -> None:
    model.config.sliding_window = 4


def _rope(name: str, value: Any) -> Callable[[Any], None]:
    return lambda model: setattr(model.model.rotary_emb, name, value)


class _Table(nn.Embedding):
    """In place of an Embedding."""


class _Llama(transformers.LlamaForCausalLM):  # type: ignore[misc,name-defined]
    """A Llama that may compute something else."""


class _Sharded(Tensor):
    """In place of a parameter, as DTensors are."""


def _shard(model: Any) -> None:
    w = model.model.layers[1].mlp.up_proj
    w.weight = nn.Parameter(w.weight.detach().as_subclass(_Sharded))


CONFIGS: list[tuple[dict[str, Any], str]] = [
    ({"hidden_act": "gelu"}, "hidden_act is 'gelu', not 'silu'"),
    ({"attention_bias": True}, "model.layers.0.self_attn.q_proj is a Linear or has a bias, not a Linear without one"),
    ({"mlp_bias": True}, "model.layers.0.mlp.gate_proj is a Linear or has a bias, not a Linear without one"),
    ({"attention_dropout": 0.1}, "its attention has dropout"),
    ({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 100.0}},
     "its rotary positions are 'linear', scaled or partial, not the default"),
]  # fmt: skip
HOOK = "has a hook on its forward pass, which would not run"
KINDS = "its parameters are not all float32, or all float64, on one device"
CHANGES: list[tuple[Callable[[Any], Any], str]] = [
    (_put("model.layers.1.mlp.up_proj", _Adapter(12, 10, bias=False)),
     "model.layers.1.mlp.up_proj is a _Adapter or has a bias, not a Linear without one"),
    (_put("lm_head", nn.Linear(12, 11)), "lm_head is a Linear or has a bias, not a Linear without one"),
    (_put("model.norm", nn.RMSNorm(12)), "model.norm is a RMSNorm, not a LlamaRMSNorm"),
    (_put("model.embed_tokens", nn.Embedding(11, 12, max_norm=1.0)),
     "model.embed_tokens is a Embedding or limits norms, not a plain Embedding"),
    (_put("model.embed_tokens", _Table(11, 12)),
     "model.embed_tokens is a _Table or limits norms, not a plain Embedding"),
    (_hook, f"model.layers.0.mlp {HOOK}"),
    (_patch, f"model.layers.0 {HOOK}"),
    (lambda model: model.lm_head.register_forward_pre_hook(lambda *_: None), f"lm_head {HOOK}"),
    (lambda model: model.register_forward_hook(lambda *_: None), f"the model {HOOK}"),
    (_sliding, "its attention has a sliding window"),
    (_shard, "model.layers.1.mlp.up_proj.weight is a _Sharded, not a plain Parameter"),
    (lambda model: model.bfloat16(), KINDS),
    (lambda model: model.model.norm.float(), KINDS),
    (lambda model: model.to("meta"), KINDS),
    (_rope("attention_scaling", 2.0), "its rotary positions are 'default', scaled or partial, not the default"),
    (_rope("inv_freq", torch.ones(2)), "its rotary positions are 'default', scaled or partial, not the default"),
    (lambda model: setattr(model.config, "model_type", "other"),
     "it is a LlamaForCausalLM with model_type 'other', not a LlamaForCausalLM"),
    (lambda model: setattr(model, "__class__", _Llama),
     "it is a _Llama with model_type 'llama', not a LlamaForCausalLM"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "reason"), CONFIGS)
def test_a_config_that_does_not_fit(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unfit, match=f"^{re.escape(reason)}$"):
        Llama(a_model(**changes))


@pytest.mark.parametrize(("change", "reason"), CHANGES)
def test_a_model_that_does_not_fit(change: Callable[[Any], Any], reason: str) -> None:
    model = a_model()
    change(model)
    with pytest.raises(Unfit, match=f"^{re.escape(reason)}$"):
        Llama(model)


def test_another_architecture_does_not_fit() -> None:
    config = transformers.GPT2Config(vocab_size=11, n_embd=8, n_layer=1, n_head=2)
    with pytest.raises(Unfit, match="GPT2LMHeadModel with model_type 'gpt2'"):
        Llama(transformers.GPT2LMHeadModel(config))


# ---- how much is held, and what a temperature is ----


@pytest.mark.parametrize("keep", [True, False])
def test_the_room_of_a_memory(keep: bool) -> None:
    """4 columns of prompts, of which the shortest has one token, and 9 in all: 8 steps of 7 rows."""
    _, memory = Llama(a_model(tied=False)).begin(prompts(), LENGTHS, COPIES, 9, keep)
    assert (memory.first, memory.columns, memory.fed) == (7, 4, 0)
    assert memory.positions.tolist() == LENGTHS[COPIES].tolist()
    assert [tuple(x.shape) for layer in memory.cache for x in layer] == [(7 * 2, 4 + 8, 6)] * 4
    widths = [24, 12, 12, 12, 10, 10, 12]  # q, k, v, o, gate, up, down
    expected = [[(7 + 7 * 8, width) for width in widths]] * 2 if keep else []
    assert [[tuple(x.shape) for x in layer] for layer in memory.kept] == expected
    assert (None if memory.logits is None else tuple(memory.logits.shape)) == ((8 + 1, 7, 11) if keep else None)


@pytest.mark.parametrize(("chunk", "size"), [(8, 2), (2, 1), (3, 1), (100, 5)])
def test_logits_are_worked_through_in_pieces(chunk: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many rows at a time as have `chunk` logits, of a vocabulary of 3; one at least."""
    monkeypatch.setattr(fast, "CHUNK", chunk)
    found = fast._pieces(torch.zeros(5, 2), torch.zeros(3, 2))
    assert found == [slice(i, min(i + size, 5)) for i in range(0, 5, size)]


@pytest.mark.parametrize("tau", [1.0, 2.0])
def test_the_gradient_at_a_temperature(tau: float) -> None:
    def shape(h: Tensor) -> Tensor:
        return h / tau

    model = a_model()
    completions, _, memory = sample(Llama(model), shape)
    want = gradient(model, expected(model, completions, shape), functional())
    for m in (memory, None):
        got = Llama(model).log_prob(prompts(), LENGTHS, COPIES, completions, MASK, shape, tau, m)
        assert_same(gradient(model, got, functional()), want)


# ---- float64 within a model ----


def test_what_stays_double() -> None:
    x, y = torch.ones(2, dtype=torch.float64), torch.ones(2)
    with unrounded(x):
        kept = x.float(), x.to(torch.float32), x.softmax(-1, dtype=torch.float32), torch.sum(x, dtype=torch.float32)
        assert {z.dtype for z in kept} == {torch.float64}
        assert (x.to(torch.int64).dtype, x.to(dtype=torch.bool).dtype) == (torch.int64, torch.bool)
        assert (y.float().dtype, y.to(torch.float32).dtype, y.double().float().dtype) == (torch.float32, torch.float32,
                                                                                         torch.float64)  # fmt: skip
    with unrounded(y):
        assert x.float().dtype == torch.float32
    assert x.float().dtype == torch.float32
