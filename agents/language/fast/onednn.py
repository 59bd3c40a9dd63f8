"""Products with oneDNN where it multiplies faster than the BLAS: in float32 on a CPU.

A product of few rows takes as long as it takes to read W, and the BLAS brings W into another order at every call.
oneDNN does that once (`arranged`), for as long as W does not change.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

THERE = torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")  # made for torch's compiler


def fits(W: Tensor) -> bool:
    return THERE and W.dtype == torch.float32 and W.device.type == "cpu"


def arranged(W: Tensor, rows: int) -> Tensor:
    """A copy of W (out, in) for `times` with so many rows; W itself where oneDNN has none."""
    return torch.ops.mkldnn._reorder_linear_weight(W.detach(), rows) if fits(W) else W


def times(x: Tensor, W: Tensor) -> Tensor:
    """x W' (m, out) of x (m, in), without a gradient."""
    if not fits(W):
        return F.linear(x, W)
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, W, None, "none", [], "")
    return y
