"""log pi of chosen tokens, from logits over a whole vocabulary, with one array of their size in the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

Shape = Callable[[Tensor], Tensor]
"""Logits -> preferences whose plain softmax is pi: divided by a temperature tau, -inf for tokens that are cut off."""


class Chosen(Function):
    """log pi (n, t) of tokens a (n, t), after logits z (m, t, V) of which row i has those of rows[i].

    With y = shape(z), p = softmax(y), e_a a unit vector and c = dlog_pi / tau:
        log pi = y_a - log sum exp y,        dz = sum over the rows i that share it of c_i (e_a - p)
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, rows: Tensor, a: Tensor, shape: Shape, tau: float) -> Tensor:
        total, taken = z.new_empty(z.shape[:2]), z.new_empty(a.shape)
        for i in range(len(z)):  # a text at a time, so that what is made on the way stays small
            y, mine = shape(z[i]), (rows == i).nonzero()[:, 0]
            total[i] = y.logsumexp(-1)
            taken[mine] = y[torch.arange(len(y), device=z.device), a[mine]]
        ctx.save_for_backward(z, rows, a, total)
        ctx.shape, ctx.tau = shape, tau
        return taken - total[rows]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dlog_pi: Tensor) -> tuple[Tensor | None, ...]:
        z, rows, a, total = ctx.saved_tensors
        c = dlog_pi / ctx.tau
        C = torch.zeros_like(total).index_add_(0, rows, c)
        dz = torch.empty_like(z)
        for i in range(len(z)):
            torch.sub(ctx.shape(z[i]), total[i, :, None], out=dz[i]).exp_().mul_(-C[i, :, None])
        dz.index_put_((rows[:, None], torch.arange(z.shape[1], device=z.device), a), c, accumulate=True)
        return dz, None, None, None, None


def chosen(z: Tensor, rows: Tensor, a: Tensor, shape: Shape, tau: float) -> Tensor:
    """See `Chosen`."""
    log_pi: Tensor = Chosen.apply(z, rows, a, shape, tau)  # type: ignore[no-untyped-call]
    return log_pi
