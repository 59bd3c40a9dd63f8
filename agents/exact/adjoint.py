"""The policy gradient theorem is the adjoint method: the backward pass of a linear solve.

    (I - gamma P_pi) v = r_pi,        J = start . v

The backward pass of x = A^-1 b is one solve with the transpose: A^T y = dJ/dx, then dJ/db = y and dJ/dA = -y x^T. Here
x = v and dJ/dx = start, so that y solves (I - gamma P_pi)^T y = start: y is eta. What pi(a|s) moves is r_pi(s), by
r(s,a), and row s of A, by -gamma Pr(.|s,a). Autograd adds the two up:

    dJ/dpi(s,a) = eta(s) r(s,a) + eta(s) gamma sum over s' of Pr(s'|s,a) v(s') = eta(s) q(s,a)

That is the theorem (S&B 13.5; Sutton et al. 2000). Nothing below knows of q: a test finds it in the gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor
from torch.autograd.function import Function

from agents.policies.preferences import as_tensor
from mdp import FiniteMDP
from mdp.prediction.chain import Chain, checked_policy


def state_values(mdp: FiniteMDP, pi: Tensor, r: Tensor) -> Tensor:
    """v (S,) with v = r + gamma P_pi v, differentiable any number of times by pi (S, A) and by r (S,).

    Sparse: a factorisation and a solve forwards, a solve backwards. Raises ValueError as `mdp.evaluate`.
    """
    chain = Chain(mdp, checked_policy(mdp, pi.detach().cpu().numpy()))
    v: Tensor = Solve.apply(pi, r, chain, False)  # type: ignore[no-untyped-call]
    return v


class Solve(Function):
    """x with (I - gamma P_pi) x = b, or with its transpose; b (S,). pi (S, A) is that of the chain.

    Backwards y solves the other system of the two. Of x and y one multiplies the rows of P_pi from the left:
    dJ/dpi(s,a) = left(s) gamma sum over s' of Pr(s'|s,a) right(s').
    """

    @staticmethod
    def forward(ctx: Any, pi: Tensor, b: Tensor, chain: Chain, transposed: bool) -> Tensor:
        x = as_tensor(chain.solve(b.detach().cpu().numpy(), transposed=transposed), b)
        ctx.save_for_backward(pi, x)
        ctx.chain, ctx.transposed = chain, transposed
        return x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, None, None]:
        pi, x = ctx.saved_tensors
        y: Tensor = Solve.apply(pi, g, ctx.chain, not ctx.transposed)  # type: ignore[no-untyped-call]
        left, right = (x, y) if ctx.transposed else (y, x)
        mdp = ctx.chain.mdp
        return mdp.gamma * left[:, None] * _expected(mdp, right), y, None, None


def _expected(mdp: FiniteMDP, x: Tensor) -> Tensor:
    """sum over s' of Pr(s'|s,a) x(s'), (S, A), differentiable by x (S,)."""
    P = mdp.transition.tocoo()
    pair, after, p = (as_tensor(part, x) for part in (P.row.astype(np.int64), P.col.astype(np.int64), P.data))
    return x.new_zeros(mdp.admissible.size).index_add(0, pair, p * x[after]).reshape(mdp.admissible.shape)
