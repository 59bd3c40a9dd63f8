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


class Resting:
    """The weights of a model that does not learn, `arranged` once, for as long as they do not change."""

    def __init__(self) -> None:
        self._were: list[tuple[int, int, int]] = []
        self._arranged: list[list[Tensor]] = []

    def arranged(self, weights: list[list[Tensor]], rows: int) -> list[list[Tensor]]:
        """All of them, or all as they are. (A change through `.data` raises no version: all bits are added up, too.)"""
        flat = [W for layer in weights for W in layer]
        if not all(map(fits, flat)):
            return weights
        are = [(W.data_ptr(), W._version, int(W.view(torch.int32).sum(dtype=torch.int32))) for W in flat]
        if are != self._were:
            self._were, self._arranged = are, [[arranged(W, rows) for W in layer] for layer in weights]
        return self._arranged

    def __reduce__(self) -> tuple[type[Resting], tuple[()]]:
        """A copy makes its own: torch cannot copy what oneDNN has arranged."""
        return Resting, ()
