"""Tokens as the rows of one matrix, without padding, and how those of a sequence find each other: attention."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

Rope = tuple[Tensor, Tensor]  # cosines and signed sines (m, 1, head_dim)


class Group(NamedTuple):
    """B sequences that attend each to itself, Q queries to K keys. Queries and keys are rows among the m tokens."""

    ids: Tensor  # of the group's tokens, in the order of their rows
    positions: Tensor
    places: Tensor  # where they stand among the B Q queries
    queries: Tensor  # (B, Q); any row where there is no token, as in keys
    keys: Tensor  # (B, K)
    sees: Tensor  # (B, 1, Q, K) bool


def of_prompts(prompts: Tensor, lengths: Tensor) -> Group:
    """Prompts (P, L), padded on the left. Padding sees itself alone, for a softmax needs something to see."""
    t = torch.arange(prompts.shape[1], device=prompts.device)
    positions = t - (len(t) - lengths)[:, None]
    real = positions >= 0
    places = real.flatten().nonzero()[:, 0]
    rows = (real.flatten().cumsum(0) - 1).clamp(min=0).view(real.shape)
    sees = (real[:, None] & (t <= t[:, None])) | (t == t[:, None])
    return Group(prompts.flatten()[places], positions.flatten()[places], places, rows, rows, sees[:, None])


def of_completions(first: Group, lengths: Tensor, copies: Tensor, tokens: Tensor, fed: Tensor) -> Group:
    """Completions (n, Q) of prompts of lengths (n,), as far as they are fed (n, Q)."""
    (n, Q), L = tokens.shape, first.keys.shape[1]
    t, real = torch.arange(Q, device=fed.device), torch.arange(L, device=fed.device) >= L - lengths[:, None]
    places = (torch.arange(n, device=fed.device) * Q + t[:, None])[fed.t()]  # of a step all rows, then the next step
    rows = (len(first.ids) + fed.t().flatten().cumsum(0) - 1).clamp(min=0).view(Q, n).t()
    sees = torch.cat([real[:, None].expand(n, Q, L), (t <= t[:, None]).expand(n, Q, Q)], -1)
    keys, positions = torch.cat([first.keys[copies], rows], 1), (lengths[:, None] + t).flatten()[places]
    return Group(tokens.flatten()[places], positions, places, rows, keys, sees[:, None])


def attention(groups: list[Group], q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """A(q, k, v) = softmax(q k' / sqrt(head_dim)) v within each sequence of each group."""

    def block(x: Tensor, rows: Tensor) -> Tensor:
        return x.index_select(0, rows.flatten()).view(*rows.shape, *x.shape[1:]).transpose(1, 2)

    y = []
    for g in groups:
        keys, values = block(k, g.keys), block(v, g.keys)
        A = F.scaled_dot_product_attention(block(q, g.queries), keys, values, attn_mask=g.sees, enable_gqa=True)
        y.append(A.transpose(1, 2).flatten(2).flatten(0, 1).index_select(0, g.places))
    return torch.cat(y)


def turned(x: Tensor, rope: Rope) -> Tensor:
    """R x: each pair (x_i, x_{i + head_dim / 2}) turned by the angle of its position."""
    a, b = x.chunk(2, -1)
    return torch.addcmul(x * rope[0], torch.cat([b, a], -1), rope[1])
