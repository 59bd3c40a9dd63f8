"""Texts as arrays of token ids: padding, prompts that are shared, and prefixes of one another.

A text is a row of ids followed by -1 (never a token), as `envs.TokenMDP` shows it. A causal model that reads a text
reads all its prefixes on the way: of many texts only those must be read that are no prefix of another.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from agents.policies.preferences import as_tensor
from mdp import Episodes


class Prompts(NamedTuple):
    """P distinct prompts: ids (P, L), left-padded with 0; lengths (P,); copies (n,), the prompt of each row."""

    ids: Tensor
    lengths: Tensor
    copies: Tensor


class Texts(NamedTuple):
    """n prompts with a completion each: completions (n, T), 0 after their end, where mask (n, T) is False; read (n, L):
    prompt and completion without its last token, which no model reads, padded with -1."""

    prompts: Prompts
    completions: Tensor
    mask: Tensor
    read: Tensor


def lengths(texts: Tensor) -> Tensor:
    """Tokens of each text, (N,), of ids (N, L). Raises ValueError for a text without a token."""
    n = (texts >= 0).sum(1)
    if len(n) and int(n.min()) == 0:
        raise ValueError("an observation without tokens: a language model continues at least one; lengthen the prompt")
    return n


def distinct(texts: Tensor) -> Prompts:
    """The distinct texts of (n, L), left-padded to the longest."""
    ids, copies = torch.unique(texts, dim=0, return_inverse=True)
    n = lengths(ids)
    L = int(n.max())
    at = torch.arange(L, device=ids.device) - (L - n)[:, None]  # the column that moves to each place
    return Prompts(ids.gather(1, at.clamp(min=0)).where(at >= 0, 0), n, copies)


def longest(texts: Tensor) -> tuple[Tensor, Tensor]:
    """(rows (M,) that are no proper prefix of another and differ, the place in them of the one that begins with each
    text (N,)).

    In lexicographic order, -1 first, what a text is a prefix of follows it at once.
    """
    ordered, place = torch.unique(texts, dim=0, return_inverse=True)
    follows = ((ordered[:-1] == ordered[1:]) | (ordered[:-1] < 0)).all(1)
    ends = torch.cat([~follows, follows.new_ones(1)])
    number = torch.cat([ends.new_zeros(1), ends[:-1]]).cumsum(0)
    first = torch.empty_like(number).index_copy_(0, place, torch.arange(len(texts), device=texts.device))
    return first[ends], number[place]


def texts_of(episodes: Episodes, like: Tensor) -> Texts | None:
    """Episodes as texts, on the device of `like`; None where an observation is not the one before and its action."""
    seen, n = as_tensor(episodes.observations, like), as_tensor(episodes.lengths, like)
    if seen.ndim != 3 or seen.is_floating_point() or seen.shape[1] == 0 or int(n.min()) == 0:
        return None
    actions, mask = as_tensor(episodes.actions, like), as_tensor(episodes.mask, like)
    given = lengths(seen[:, 0])[:, None, None]
    L, t = torch.arange(seen.shape[2], device=like.device), torch.arange(seen.shape[1], device=like.device)
    written = actions.gather(1, (L - given[:, 0]).clamp(0, seen.shape[1] - 1))  # (n, L): actions where they would stand
    whole = torch.where(given[:, 0] > L, seen[:, 0], written)
    expected = whole[:, None].where(given + t[:, None] > L, -1)
    if not ((seen == expected) | ~mask[..., None]).all():
        return None
    read = whole.where(given[:, 0] + n[:, None] - 1 > L, -1)
    return Texts(distinct(seen[:, 0]), actions.where(mask, 0), mask, read)


def places(rows: Tensor, among: Tensor) -> Tensor | None:
    """The place of each row (n, L) among others (m, L), (n,); None where one is not there."""
    number = {row.tobytes(): k for k, row in enumerate(among.cpu().numpy())}
    found = [number.get(row.tobytes()) for row in rows.cpu().numpy()]
    return None if None in found else torch.tensor(found, device=rows.device)
