"""Which actions may be drawn: top-k and top-p (nucleus), as masks of the distribution itself; and the draw.

What is cut off here is cut off from sampling AND from log pi, so that what is drawn is what is scored.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

BLOCK = 256  # actions whose weights are summed at a time


def top_k_mask(h: Tensor, k: int) -> Tensor:
    """(N, A) bool: the k largest of each row; of equal ones the first."""
    last = torch.topk(h, min(k, h.shape[-1])).values[..., -1:]
    above, tied = h > last, h == last
    return above | (tied & (tied.cumsum(-1) <= k - above.sum(-1, keepdim=True)))


def top_p_mask(h: Tensor, p: float) -> Tensor:
    """(N, A) bool: the fewest actions whose probabilities reach p, likeliest first. Holtzman et al. (2020)."""
    if p >= 1:
        return torch.ones_like(h, dtype=torch.bool)
    order = torch.argsort(h, dim=-1, descending=True, stable=True)
    ordered = torch.softmax(torch.gather(h, -1, order), dim=-1)
    before = torch.cat([torch.zeros_like(ordered[..., :1]), ordered.cumsum(-1)[..., :-1]], dim=-1)
    return torch.zeros_like(h, dtype=torch.bool).scatter(-1, order, before < p)


def draw(h: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A ~ softmax(h), by inverse CDF: (A (N,), log softmax(h)[A] (N,)). One uniform number a row.

    Two levels, for vocabularies: first the block of 256 actions in which u falls, then the action in it. -inf is never
    drawn, whatever is rounded: an action is chosen where the CDF rises above u. Raises ValueError for nan and inf.
    """
    w = h.softmax(-1)
    n, A = w.shape
    w = pad(w, (0, -A % BLOCK)) if A > BLOCK and A % BLOCK else w
    blocks = w.view(n, -1, BLOCK) if A > BLOCK else w[:, None]
    F = blocks.sum(-1).double().cumsum(-1)
    if not torch.isfinite(F[:, -1]).all():
        raise ValueError(f"row {int((~torch.isfinite(F[:, -1])).nonzero()[0])} of the preferences is not finite")
    u = torch.rand(n, 1, generator=generator, dtype=torch.float64, device=generator.device).to(h.device) * F[:, -1:]
    k = _first_above(F, u)
    inside = blocks[torch.arange(n, device=h.device), k[:, 0]].double().cumsum(-1)
    before = torch.where(k > 0, F.gather(1, (k - 1).clamp(min=0)), 0.0)
    a = k * blocks.shape[-1] + _first_above(inside, u - before)
    log_pi = (w.gather(1, a).double() / F[:, -1:]).log().to(h.dtype)
    return a[:, 0], log_pi[:, 0]


def _first_above(F: Tensor, u: Tensor) -> Tensor:
    """The first index where F (N, K), which rises, is above u (N, 1); u is held below F[:, -1]."""
    below = torch.nextafter(F[:, -1:], torch.zeros_like(u))
    return torch.searchsorted(F, torch.minimum(u, below), right=True)
