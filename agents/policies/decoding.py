"""Which actions may be drawn: top-k and top-p (nucleus), as masks of the distribution itself.

What is cut off here is cut off from sampling AND from log pi, so that what is drawn is what is scored.
"""

from __future__ import annotations

import torch
from torch import Tensor


def top_k_mask(h: Tensor, k: int) -> Tensor:
    """(N, A) bool: the k largest of each row; of equal ones the first."""
    order = torch.argsort(h, dim=-1, descending=True, stable=True)
    kept = torch.zeros_like(h, dtype=torch.bool)
    return kept.scatter(-1, order[..., :k], True)


def top_p_mask(h: Tensor, p: float) -> Tensor:
    """(N, A) bool: the fewest actions whose probabilities reach p, likeliest first. Holtzman et al. (2020)."""
    if p >= 1:
        return torch.ones_like(h, dtype=torch.bool)
    order = torch.argsort(h, dim=-1, descending=True, stable=True)
    ordered = torch.softmax(torch.gather(h, -1, order), dim=-1)
    before = torch.cat([torch.zeros_like(ordered[..., :1]), ordered.cumsum(-1)[..., :-1]], dim=-1)
    return torch.zeros_like(h, dtype=torch.bool).scatter(-1, order, before < p)
