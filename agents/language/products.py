"""No second forward pass, for any model: what sampling has multiplied, the gradient looks up.

Nearly all of a transformer's time goes into products y = x W' (+ b). While a model samples, the output of each is kept;
when the same texts are scored for the gradient, the model's own forward runs again, under autograd, but each product
takes its value from what was kept, and multiplies in its backward pass alone: dx = dy W, dW = dy' x, db = sum of dy.
Norms, attention, rotations and all else are computed anew. A model that multiplies in another order than before (a
mixture of experts, say) is noticed at the first such product, and multiplies from there on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import Function, once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class Known(Function):
    """y = x W' + b, where y is known; W (out, in), or (in, out) if `across`, as GPT-2 has it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, b: Tensor | None, y: Tensor, across: bool) -> Tensor:
        del b
        ctx.save_for_backward(x, W)
        ctx.across = across
        return y.view_as(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, W = ctx.saved_tensors
        rows, needs = dy.flatten(0, -2), ctx.needs_input_grad
        dx = (dy @ (W.t() if ctx.across else W)) if needs[0] else None
        left, right = (x.flatten(0, -2), rows) if ctx.across else (rows, x.flatten(0, -2))
        return dx, left.t() @ right if needs[1] else None, rows.sum(0) if needs[2] else None, None, None


@dataclass
class Kept:
    """What was multiplied for n texts of P prompts, in order: the weight of each product, its outputs (P, columns, out)
    for the prompts, and (n, steps, out) for what was written, of which `fed` steps are there."""

    P: int
    n: int
    steps: int
    weights: list[Tensor] = field(default_factory=list)
    prompts: list[Tensor] = field(default_factory=list)
    written: list[Tensor] = field(default_factory=list)
    fed: int = 0
    in_order: bool = True

    def rows(self, index: Tensor, prompts: Tensor) -> Kept:
        """A copy for some of the texts and prompts."""
        read, written = [y[prompts] for y in self.prompts], [y[index, : self.fed] for y in self.written]
        return Kept(len(prompts), len(index), self.fed, self.weights, read, written, self.fed, self.in_order)


class Keep(TorchFunctionMode):
    """Within it products are kept: of the prompts, or of one more step."""

    def __init__(self, kept: Kept, *, of_prompts: bool) -> None:
        super().__init__()
        self.kept, self.of_prompts, self.k = kept, of_prompts, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        y = func(*args, **(kwargs or {}))
        if (found := _operands(func, args, kwargs)) is not None:
            self._note(self.kept, found[1], y)
        return y

    def _note(self, kept: Kept, W: Tensor, y: Tensor) -> None:
        k, self.k = self.k, self.k + 1
        if self.of_prompts:
            kept.weights.append(W)
            kept.prompts.append(y.reshape(kept.P, -1, y.shape[-1]).clone())  # a model may write into its own
        elif k >= len(kept.weights) or kept.weights[k] is not W or len(y.flatten(0, -2)) != kept.n:
            kept.in_order = False
        elif kept.in_order:
            if k == len(kept.written):
                kept.written.append(y.new_empty(kept.n, kept.steps, y.shape[-1]))
            kept.written[k][:, kept.fed] = y.reshape(kept.n, -1)


class LookUp(TorchFunctionMode):
    """Within it products are looked up, of the prompts or of what was written; from an unknown one on, multiplied."""

    def __init__(self, kept: Kept, *, of_prompts: bool) -> None:
        super().__init__()
        self.weights, self.known, self.k = kept.weights, kept.prompts if of_prompts else kept.written, 0
        if not kept.in_order:
            self.known = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (found := _operands(func, args, kwargs)) is None:
            return func(*args, **(kwargs or {}))
        (x, W, b, across), k = found, self.k
        self.k = len(self.known)
        if k < len(self.known) and self.weights[k] is W:
            rows, (n, steps, out) = x.numel() // x.shape[-1], self.known[k].shape
            if rows % n == 0 and rows // n <= steps:
                self.k = k + 1
                y = self.known[k][:, : rows // n].reshape(*x.shape[:-1], out)
                return Known.apply(x, W, b, y, across)  # type: ignore[no-untyped-call]
        return func(*args, **(kwargs or {}))


def _operands(func: Any, args: Any, kwargs: Any) -> tuple[Tensor, Tensor, Tensor | None, bool] | None:
    """x, W, b and whether W is (in, out), of a call that is a product with a parameter; else None."""
    if kwargs:
        return None
    if func is F.linear and isinstance(args[1], nn.Parameter):
        return args[0], args[1], args[2] if len(args) > 2 else None, False
    if func is torch.addmm and isinstance(args[2], nn.Parameter):
        return args[1], args[2], args[0], True
    return None
