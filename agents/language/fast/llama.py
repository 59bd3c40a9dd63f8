"""A Llama for policy gradients: what sampling has multiplied, the gradient does not multiply again.

A Llama is a stack of layers over tokens x (m, d), with RMSNorm N, rotation by position R and causal attention A,

    x <- x + A(R N(x) Wq', R N(x) Wk', N(x) Wv') Wo'        x <- x + (silu(N(x) Wg') * N(x) Wu') Wd'

and logits N(x) W' over the vocabulary. Nearly all of its time goes into the products with the W, and for the policy's
own samples each of them is known: the decode has made it. So `begin` and `extend` keep the output of every product,
and `log_prob` replays them. The forward pass of a layer is then x + kept o + kept d. Its backward pass runs the layer
again with products that look their value up (`Product`), and differentiates that: norms, rotations, attention and
silu are computed there, one layer at a time, so that little more is held than what was kept.

Tokens are the rows of one matrix without padding: the prompts, each once however many completions it has, then the
completions, step by step, as far as they last; the last token of one is never fed. The keys and values of a prompt
are copied to its completions by an index, so their gradient is the sum over the copies.

Zhang and Sennrich (2019): RMSNorm. Su et al. (2021): rotation. Shazeer (2020): the gate. Ainslie et al. (2023): fewer
heads of keys than of queries. A model that does not fit is refused (`Unfit`). No dropout, no second derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from agents.language.fast.fitting import Unfit, misfits
from agents.language.fast.onednn import Resting, arranged, times
from agents.language.fast.replay import DOWN, GATE, UP, LogProb, Look, Norm, O, Replay, Rows, apply
from agents.language.fast.tokens import Group, Rope, attention, of_completions, of_prompts, turned

__all__ = ["Llama", "Memory", "Unfit"]

Weights = list[list[Tensor]]  # [layer][product]: W; last of all the head
Kept = list[list[Tensor]]  # [layer][product]: x W', one row a token
Product = Callable[..., Tensor]  # [layer,] product, x, W -> x W'
Attend = Callable[..., Tensor]  # [layer,] q (m, heads, head_dim), k, v (m, key_heads, head_dim) -> A(q, k, v) (m, d)


@dataclass
class Memory:
    """How far the sampling is, and what it kept. Kept rows: the tokens of all prompts, then n for every step fed."""

    lengths: Tensor  # (P,) of the prompts
    first: int  # their sum: kept rows of the prompts
    columns: int  # of the prompts in the cache
    fed: int  # steps since
    positions: Tensor  # (n,) of the next token
    kept: Kept  # empty: nothing is kept
    logits: Tensor | None  # (steps, n, V)
    cache: list[tuple[Tensor, Tensor]]  # of each layer keys and values (n key_heads, columns, head_dim)
    bias: Tensor  # (n key_heads, 1, columns): -inf where a prompt is padding
    weights: Weights  # as `extend` multiplies them; empty where it has not, or need not again

    def rows(self, index: Tensor, prompts: Tensor | None = None) -> Memory:
        """A copy for `log_prob` of some rows and of some prompts (None: all of them); it cannot be extended."""
        P = torch.arange(len(self.lengths), device=index.device) if prompts is None else prompts
        owner = torch.arange(len(self.lengths), device=index.device).repeat_interleave(self.lengths)
        ahead = torch.cat([(owner == p).nonzero()[:, 0] for p in P])
        t = torch.arange(self.fed, device=index.device)[:, None]
        at = torch.cat([ahead, (self.first + t * len(self.positions) + index).flatten()])
        kept = [[y.index_select(0, at) for y in layer] for layer in self.kept]
        logits = None if self.logits is None else self.logits[: self.fed + 1, index]
        lengths, positions = self.lengths[P], self.positions[index]
        bias = self.bias[..., :0]
        return Memory(lengths, len(ahead), self.columns, self.fed, positions, kept, logits, [], bias, [])

    def __getstate__(self) -> dict[str, Any]:
        """For a copy: torch cannot copy what oneDNN has arranged."""
        return {**vars(self), "weights": []}


class Llama:
    """A transformers LlamaForCausalLM; its parameters are read at every call. Raises Unfit."""

    def __init__(self, model: Any) -> None:
        for reason in misfits(model):
            raise Unfit(reason)
        self.model, c = model, model.config
        self.depth, self.heads, self.eps = c.num_hidden_layers, c.num_key_value_heads, c.rms_norm_eps  # heads of keys
        self.head_dim = c.head_dim
        self._resting = Resting()

    @torch.no_grad()
    def begin(self, prompts: Tensor, lengths: Tensor, copies: Tensor, width: int, keep: bool) -> tuple[Tensor, Memory]:
        """Reads prompts (P, L), padded on the left, of lengths (P,): logits (n, V) after them, and how far that is.

        copies (n,) is the prompt of each row, width the most tokens of a prompt and its completion together, keep says
        that `log_prob` will want the memory. The logits of `begin` and `extend` are then the kept ones: read only.
        """
        group, L = of_prompts(prompts, lengths), prompts.shape[1]
        memory, at = self._memory(lengths, copies, L, width, keep), group.keys[copies]

        def product(l: int, j: int, x: Tensor, W: Tensor) -> Tensor:
            y = times(x, W)
            if keep:
                memory.kept[l][j][: len(y)] = y
            return y

        def attend(l: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            for cache, y in zip(memory.cache[l], (k, v), strict=True):
                cache[:, :L] = y[at].transpose(1, 2).flatten(0, 1)
            return attention([group], q, k, v)

        x = self._layers(self._table[group.ids], group.positions, product, attend)
        h = times(self._normed(x[group.keys[:, -1]]), self._head)[copies]
        if memory.logits is not None:
            memory.logits[0] = h
        return h, memory

    @torch.no_grad()
    def extend(self, memory: Memory, tokens: Tensor) -> Tensor:
        """Feeds each row its token (n,): logits (n, V). Changes the memory."""
        n, c = len(tokens), memory.columns + memory.fed
        if c >= memory.bias.shape[-1]:
            raise ValueError("no more tokens: the width that begin was given is used up")
        start, bias = memory.first + memory.fed * n, memory.bias[..., : c + 1]
        memory.weights = memory.weights or [[arranged(W, n) for W in layer] for layer in self._products()]

        def product(l: int, j: int, x: Tensor, _: Tensor) -> Tensor:
            y = times(x, memory.weights[l][j])
            if memory.kept:
                memory.kept[l][j][start : start + n] = y
            return y

        def attend(l: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            (keys, values), D = memory.cache[l], q.shape[-1]
            keys[:, c], values[:, c] = k.reshape(-1, D), v.reshape(-1, D)
            q, keys, values = q.reshape(len(keys), -1, D), keys[:, : c + 1], values[:, : c + 1]
            A = torch.baddbmm(bias, q, keys.transpose(1, 2), alpha=D**-0.5).softmax(-1)
            return (A @ values).view(n, -1)

        x = self._normed(self._layers(self._table[tokens], memory.positions, product, attend))
        memory.fed, memory.positions = memory.fed + 1, memory.positions + 1
        h = times(x, memory.weights[-1][0])
        return h if memory.logits is None else memory.logits[memory.fed].copy_(h)

    def log_prob(
        self, prompts: Tensor, lengths: Tensor, copies: Tensor, completions: Tensor, mask: Tensor,
        shape: Callable[[Tensor], Tensor], temperature: float, memory: Memory | None = None,
    ) -> Tensor:  # fmt: skip
        """log pi (n, T) of completions (n, T) where mask (n, T), else 0; a row of mask is True as far as it lasts.

        pi = softmax(shape(h)), where shape(h) is h / temperature, and -inf for actions cut off. memory: kept while
        these very completions were sampled with the parameters as they are; what it kept stays, so it may serve again.
        """
        T = int(mask.any(0).sum())
        fed, lasts = mask[:, 1:T], mask[:, :T].t().flatten()
        first = of_prompts(prompts, lengths)
        then = of_completions(first, lengths[copies], copies, completions[:, : fed.shape[1]], fed)
        logits, kept, at = (None, None, slice(0)) if memory is None else _kept(memory, lengths, fed)
        owed: list[Tensor] | None = [] if self._table is self._head else None
        weights = self._products()
        if memory is not None:
            memory.weights = []  # their room is needed: sampling is over
        elif not any(w.requires_grad for w in self.model.parameters()):
            weights = self._resting.arranged(weights, len(first.ids) + len(then.ids))
        x = self._hidden([first, then], weights, kept, at, owed)
        rows = torch.cat([first.keys[copies, -1:], then.queries], 1)[:, :T].t().flatten()
        actions, known = completions[:, :T].t().flatten(), None if lasts.all() else lasts.nonzero()[:, 0]
        h = self._normed(x.index_select(0, rows[lasts]))
        log_pi = apply(LogProb, h, weights[-1][0], actions[lasts], logits, known, shape, temperature, owed)
        return torch.zeros_like(mask.t(), dtype=h.dtype).masked_scatter(mask.t(), log_pi).t()

    def _hidden(
        self, groups: list[Group], weights: Weights, kept: Kept | None, at: Rows, owed: list[Tensor] | None
    ) -> Tensor:
        """x (m, d) after the last layer, with its gradient. kept: the products, in rows `at`; None: multiplies."""
        ids, positions = torch.cat([g.ids for g in groups]), torch.cat([g.positions for g in groups])
        attend = partial(attention, groups)
        if kept is None:
            kept, at = [[] for _ in range(self.depth)], slice(None)
            learns = torch.is_grad_enabled() and any(w.requires_grad for w in self.model.parameters())

            def product(l: int, j: int, x: Tensor, _: Tensor) -> Tensor:
                y = times(x, weights[l][j])
                if learns:
                    kept[l].append(y)
                return y

            with torch.no_grad():
                x = self._layers(self._table[ids], positions, product, lambda _, *qkv: attend(*qkv))
            if not learns:
                return x
        x, rope = apply(Look, self._table, ids, owed), self._rope(positions)
        for l in range(self.depth):
            layer = partial(self._layer, rope=rope, attend=attend)
            x = apply(Replay, layer, kept[l], at, x, *self._weights(l))
        return x

    def _layers(self, x: Tensor, positions: Tensor, product: Product, attend: Attend) -> Tensor:
        rope = self._rope(positions)
        for l in range(self.depth):
            x = self._layer(x, *self._weights(l), product=partial(product, l), rope=rope, attend=partial(attend, l))
        return x

    def _layer(self, x: Tensor, *weights: Tensor, product: Product, rope: Rope, attend: Attend) -> Tensor:
        """The two lines at the top of this file."""
        before, Wq, Wk, Wv, Wo, after, Wg, Wu, Wd = weights
        y = apply(Norm, x, before, self.eps)
        q, k, v = (product(j, y, W).view(len(x), -1, self.head_dim) for j, W in enumerate((Wq, Wk, Wv)))
        x = x + product(O, attend(turned(q, rope), turned(k, rope), v), Wo)
        y = apply(Norm, x, after, self.eps)
        return x + product(DOWN, F.silu(product(GATE, y, Wg)) * product(UP, y, Wu), Wd)

    def _weights(self, l: int) -> list[Tensor]:
        layer = self.model.model.layers[l]
        a, f = layer.self_attn, layer.mlp
        first = [layer.input_layernorm, a.q_proj, a.k_proj, a.v_proj, a.o_proj]
        return [m.weight for m in [*first, layer.post_attention_layernorm, f.gate_proj, f.up_proj, f.down_proj]]

    def _products(self) -> Weights:
        return [[W for W in self._weights(l) if W.dim() == 2] for l in range(self.depth)] + [[self._head]]

    @property
    def _table(self) -> Tensor:
        table: Tensor = self.model.model.embed_tokens.weight
        return table

    @property
    def _head(self) -> Tensor:
        head: Tensor = self.model.lm_head.weight
        return head

    def _normed(self, x: Tensor) -> Tensor:
        return apply(Norm, x, self.model.model.norm.weight, self.eps)

    def _rope(self, positions: Tensor) -> Rope:
        """Of the angles position * frequency, in the precision that the frequencies have."""
        frequency = self.model.model.rotary_emb.inv_freq
        angles = positions[:, None, None].to(frequency.dtype) * frequency
        cos, sin = angles.cos().to(self._table.dtype), angles.sin().to(self._table.dtype)
        return torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)

    def _memory(self, lengths: Tensor, copies: Tensor, L: int, width: int, keep: bool) -> Memory:
        """Room for all steps that can come. (On a CPU, what is never written takes no memory.)"""
        n, steps, new = len(copies), width - int(lengths.min()), self._table.new_empty
        size = (n * self.heads, L + steps, self.head_dim)
        cache = [(new(size), new(size)) for _ in range(self.depth)]
        padding = (L - lengths[copies]).repeat_interleave(self.heads)[:, None, None]
        hidden = torch.arange(L + steps, device=lengths.device) < padding
        bias = torch.zeros_like(hidden, dtype=self._table.dtype).masked_fill(hidden, -torch.inf)
        first, products = int(lengths.sum()), self._products()
        kept = [[new(first + n * steps, len(W)) for W in layer] for layer in products[:-1]] if keep else []
        logits = new(steps + 1, n, len(self._head)) if keep else None
        return Memory(lengths, first, L, 0, lengths[copies], kept, logits, cache, bias, [])


def _kept(memory: Memory, lengths: Tensor, fed: Tensor) -> tuple[Tensor, Kept, Rows]:
    """Logits (steps n, V), products, and the rows of these that are tokens of prompts or fed (n, T - 1)."""
    same, m = len(fed) == len(memory.positions) and torch.equal(memory.lengths, lengths), memory.first
    if memory.logits is None or not same or fed.shape[1] > memory.fed:
        raise ValueError("the memory was not kept (keep=True) while these rows of these prompts were sampled")
    live = m + fed.t().flatten().nonzero()[:, 0]
    at = slice(m + fed.numel()) if fed.all() else torch.cat([torch.arange(m, device=fed.device), live])
    return memory.logits.flatten(0, 1), memory.kept, at
