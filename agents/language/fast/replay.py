"""The autograd functions of a Llama whose products are known: see llama.py, where they are put to use."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from agents.language.fast.onednn import times

CHUNK = 12 * 2**20  # logits in work at a time
O, GATE, UP, DOWN = range(3, 7)  # the products of a layer, after q, k, v
Rows = Tensor | slice


def apply(function: type[Function], *args: Any) -> Tensor:
    y: Tensor = function.apply(*args)  # type: ignore[no-untyped-call]
    return y


class Norm(Function):
    """y = w x r with r = 1 / sqrt(mean(x^2) + eps)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, eps: float) -> Tensor:
        r = (x.square().mean(-1, keepdim=True) + eps).rsqrt()
        ctx.save_for_backward(x, w, r)
        return x * r * w

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, None]:
        """With u = x r: dw = sum of dy u, dx = r (w dy - u mean(w dy u))."""
        x, w, r = ctx.saved_tensors
        u = x * r
        dyu = dy * u
        return (dy * w).addcmul_(u, (dyu @ w)[:, None], value=-1 / len(w)).mul_(r), dyu.sum(0), None


class Product(Function):
    """y = x W', where y is known."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, W)
        return y.view_as(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, W = ctx.saved_tensors
        dx, dW = ctx.needs_input_grad[:2]
        return times(dy, W.t()) if dx else None, dy.t() @ x if dW else None, None


class Replay(Function):
    """A layer whose products are known, in rows `at` of kept: x + o + d; all else waits for the backward pass."""

    @staticmethod
    def forward(ctx: Any, layer: Any, kept: list[Tensor], at: Rows, x: Tensor, *W: Tensor) -> Tensor:
        ctx.layer, ctx.kept, ctx.at = layer, kept, at
        ctx.save_for_backward(x, *W)
        return x + kept[O][at] + kept[DOWN][at]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        def product(j: int, x: Tensor, W: Tensor) -> Tensor:
            return apply(Product, x, W, ctx.kept[j][ctx.at])

        needs = ctx.needs_input_grad[3:]
        with torch.enable_grad():
            inputs = [z.detach().requires_grad_(need) for z, need in zip(ctx.saved_tensors, needs, strict=True)]
            y = ctx.layer(*inputs, product=product)
        grads = iter(torch.autograd.grad(y, [z for z in inputs if z.requires_grad], dy))
        return None, None, None, *(next(grads) if need else None for need in needs)


class Look(Function):
    """Rows `ids` (m,) of a table W. owed: what `LogProb` left there of W's gradient, which the rest is added to."""

    @staticmethod
    def forward(ctx: Any, W: Tensor, ids: Tensor, owed: list[Tensor] | None) -> Tensor:
        ctx.save_for_backward(W, ids)
        ctx.owed = owed
        return W[ids]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:
        W, ids = ctx.saved_tensors
        dW = ctx.owed.pop() if ctx.owed else torch.zeros_like(W)
        return dW.index_add_(0, ids, dy), None, None


class LogProb(Function):
    """log pi = y_a - log sum exp y with y = shape(z), z = h W': (R,) of actions a (R,) after h (R, d).

    z, or z[rows], may be known. With p = softmax(y), e_a a unit vector (0 if a is cut off) and c = dlog_pi / tau:
    dh = c (e_a - p) W and dW = (e_a - p)' (c h). p is made in pieces, which are all that is added up; e_a picks rows.
    owed: where dW is left for `Look`, if W is its table too: autograd would make room for a sum of the two.
    """

    @staticmethod
    def forward(
        ctx: Any, h: Tensor, W: Tensor, a: Tensor, z: Any, rows: Any, shape: Any, tau: float, owed: Any
    ) -> Tensor:
        log_pi, cuts = h.new_empty(len(h)), []
        made = h.new_empty(len(h), len(W)) if z is None and any(ctx.needs_input_grad) else None
        for i in _pieces(h, W):
            piece = times(h[i], W) if z is None else _take(z, rows, i)
            if made is not None:
                made[i] = piece
            y = shape(piece)
            log_pi[i] = y.log_softmax(-1).gather(1, a[i, None])[:, 0]
            cuts.append(y.isneginf() if y.amin() == -torch.inf else None)
        ctx.save_for_backward(h, W, a, made if z is None else z, log_pi.isfinite()[:, None])
        ctx.rows, ctx.cuts, ctx.tau, ctx.owed = None if z is None else rows, cuts, tau, owed
        return log_pi

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dlog_pi: Tensor) -> tuple[Tensor | None, ...]:
        h, W, a, z, inside = ctx.saved_tensors
        c = (dlog_pi / ctx.tau)[:, None]
        dh = torch.where(inside, W[a], 0.0) if ctx.needs_input_grad[0] else None
        dW = torch.zeros_like(W).index_add_(0, a, c * h * inside) if ctx.needs_input_grad[1] else None
        for i, cut in zip(_pieces(h, W), ctx.cuts, strict=True):
            y = _take(z, ctx.rows, i) if ctx.tau == 1 else _take(z, ctx.rows, i) / ctx.tau
            p = (y if cut is None else y.masked_fill(cut, -torch.inf)).softmax(-1)
            if dh is not None:
                dh[i] -= times(p, W.t())
            if dW is not None:
                dW.addmm_(p.t(), c[i] * h[i], alpha=-1)
        if ctx.owed is not None and dW is not None:
            ctx.owed[:], dW = [dW], None
        return None if dh is None else c * dh, dW, None, None, None, None, None, None


def _pieces(h: Tensor, W: Tensor) -> list[slice]:
    """Rows of h with CHUNK logits at most."""
    size = max(1, CHUNK // len(W))
    return [slice(i, min(i + size, len(h))) for i in range(0, len(h), size)]


def _take(z: Tensor, rows: Tensor | None, i: slice) -> Tensor:
    return z[i] if rows is None else z[rows[i]]
