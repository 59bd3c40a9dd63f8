"""Any causal language model of transformers, by its own forward: logits of texts, and a decode with its cache.

Prompts are read once, however many rows continue them: their keys and values are copied, under autograd too. They are
left-padded, so that all completions begin in one column, and positions are told: 0 is a row's first token.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from agents.language.chosen import Shape, chosen
from agents.language.double import unrounded
from agents.language.prefixes import Prompts, Texts, lengths, longest
from agents.language.products import Keep, Kept, LookUp


@dataclass
class Cache:
    """Keys and values of n rows; real (n, L) bool: the columns that are tokens; the next position (n,) of each; what
    was multiplied so far, if it is kept."""

    past: Any
    real: Tensor
    position: Tensor
    kept: Kept | None = None


class Transformer(nn.Module):
    """Preferences h(o, .) = the logits after the last token of o; and the same with a cache.

    The model is kept in evaluation mode (no dropout), and its padding_idx is unset: where the padding token is also the
    one that ends, that row of the embedding would lose its gradient.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        model.get_input_embeddings().padding_idx = None
        self._keeps_few = "logits_to_keep" in signature(model.forward).parameters

    def train(self, mode: bool = True) -> Transformer:
        super().train(mode)
        self.model.train(False)
        return self

    def forward(self, observations: Tensor) -> Tensor:
        """h (N, A), of token ids (N, L) padded with -1 at the end; a prefix of another observation costs nothing.

        Raises ValueError for an observation without tokens.
        """
        rows, of = longest(observations)
        n = lengths(observations)
        read = observations[rows, : int(n.max())].clamp(min=0)  # what stands right of a token, the token does not see
        first = int(n.min()) - 1
        logits = self._logits(read.shape[1] - first, input_ids=read, use_cache=False)[0]
        return logits[of, n - 1 - first]

    @torch.no_grad()
    def begin(self, prompts: Tensor, lengths: Tensor, copies: Tensor, width: int, keep: bool) -> tuple[Tensor, Cache]:
        """(logits (n, V) after the prompt of each row, the cache).

        prompts (P, L), left-padded, of lengths (P,); copies (n,), the prompt of each row; width: the most tokens of a
        prompt and its completion; keep: keep what `log_prob` can look up.
        """
        kept = Kept(len(prompts), len(copies), width - int(lengths.min())) if keep else None
        with nullcontext() if kept is None else Keep(kept, of_prompts=True):
            logits, cache = self._prompted(Prompts(prompts, lengths, copies))
        cache.kept = kept
        return logits[copies], cache

    @torch.no_grad()
    def extend(self, cache: Cache, tokens: Tensor) -> Tensor:
        """The logits (n, V) after one more token (n,) of every row; the cache grows."""
        kept = cache.kept
        with nullcontext() if kept is None else Keep(kept, of_prompts=False):
            logits = self._continued(cache, tokens[:, None])[:, 0]
        if kept is not None:
            kept.fed += 1
        return logits

    def log_prob(self, texts: Texts, shape: Shape, temperature: float, kept: Kept | None = None) -> Tensor:
        """log pi of every token of the completions, (n, T), differentiable; 0 after their end. A prompt is read once.

        shape: see `Shape`, with its temperature; kept: while these very completions were sampled.
        """
        parts = self._parts(texts, kept)
        found = [chosen(z, rows, texts.completions[:, at], shape, temperature) for z, rows, at in parts]
        return torch.cat(found, 1).where(texts.mask, 0.0)

    def entropies(self, texts: Texts, shape: Shape) -> Tensor:
        """-sum over a of pi log pi before every token, (n, T), differentiable; 0 after the end."""
        found = []
        for logits, rows, _ in self._parts(texts):
            log_pi = torch.log_softmax(shape(logits), -1)
            found.append(-(log_pi.exp() * log_pi.masked_fill(log_pi == -torch.inf, 0.0)).sum(-1)[rows])
        return torch.cat(found, 1).where(texts.mask, 0.0)

    def _parts(self, texts: Texts, kept: Kept | None = None) -> Iterator[tuple[Tensor, Tensor, slice]]:
        """The logits before every token of the completions, (m, t, V), differentiable; which of the m each row has;
        the columns: first those after the m prompts, then all others, from one forward."""
        with nullcontext() if kept is None else LookUp(kept, of_prompts=True):
            logits, cache = self._prompted(texts.prompts)
        yield logits[:, None], texts.prompts.copies, slice(0, 1)
        if texts.completions.shape[1] > 1:
            with nullcontext() if kept is None else LookUp(kept, of_prompts=False):
                rest = self._continued(cache, texts.completions[:, :-1])
            yield rest, torch.arange(len(rest), device=rest.device), slice(1, None)

    def _prompted(self, prompts: Prompts) -> tuple[Tensor, Cache]:
        """(logits (P, V) after each prompt, the cache of every row)."""
        ids, n, copies = prompts
        L = ids.shape[1]
        column = torch.arange(L, device=ids.device) - (L - n)[:, None]
        real = column >= 0
        logits, past = self._logits(
            1, input_ids=ids, attention_mask=_mask(real), position_ids=column.clamp(min=0), use_cache=True
        )
        if not all(hasattr(x, "batch_select_indices") for x in (past, *getattr(past, "layers", ()))):
            raise TypeError(f"{type(self.model).__name__} has no key-value cache whose rows can be copied")
        past.batch_select_indices(copies)
        return logits[:, 0], Cache(past, real[copies], n[copies])

    def _continued(self, cache: Cache, tokens: Tensor) -> Tensor:
        t = torch.arange(tokens.shape[1], device=tokens.device)
        cache.real = torch.cat([cache.real, torch.ones_like(tokens, dtype=torch.bool)], 1)
        logits, cache.past = self._logits(
            tokens.shape[1], input_ids=tokens, attention_mask=_mask(cache.real),
            position_ids=cache.position[:, None] + t, past_key_values=cache.past, use_cache=True,
        )  # fmt: skip
        cache.position = cache.position + len(t)
        return logits

    def _logits(self, last: int, **inputs: Any) -> tuple[Tensor, Any]:
        """(logits (N, last, V) of the last columns, the cache)."""
        if self._keeps_few:
            inputs["logits_to_keep"] = last
        with unrounded(next(self.model.parameters())):
            out = self.model(**inputs)
        return out.logits[:, -last:], getattr(out, "past_key_values", None)


def _mask(real: Tensor) -> Tensor | None:
    return None if bool(real.all()) else real.long()
