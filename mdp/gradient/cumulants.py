"""The exact skewness and kurtosis of one-episode REINFORCE along any direction: how far its mean is from normal.

Along a direction u, G_t and the components of u^T Y_t (see `moments`) are affine in those of the next step,

    x_0 = G = R + gamma G',        x_i = Y_i = (A_i + C_i G') psi + sum over j of B_ij Y'_j,      psi = u . psi_t

so that E[x^alpha | s], |alpha| <= 4, of all monomials x^alpha solve linear systems, one after another: the monomial
itself returns with a constant factor (gamma for each G, the diagonal of B for the others), all else was solved before.
"""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse, special

from mdp.gradient.moments import Moments
from mdp.model.table import Floats
from mdp.prediction.chain import Chain

DEGREE = 4

Exponents = tuple[int, ...]
Polynomial = dict[Exponents, Floats]  # in the x' of the next step; coefficients (outcomes, K) or (outcomes, 1)


class Shape(NamedTuple):
    """Skewness E[d^3] / sd^3 and excess kurtosis E[d^4] / sd^4 - 3 of d = u^T Z - E[u^T Z], (K,); 0 where sd is 0."""

    skewness: Floats
    kurtosis: Floats

    def of_mean(self, n: int) -> Shape:
        """Those of the mean of n independent copies."""
        return Shape(self.skewness / np.sqrt(n), self.kurtosis / n)


def shape(moments: Moments, U: ArrayLike, /) -> Shape:
    """The exact skewness and kurtosis of one episode's u^T Z, for each column u of U (SA, K)."""
    raw = _raw_moments(moments, np.asarray(U, dtype=np.float64))
    m1, m2, m3, m4 = (moments.chain.mdp.start @ x for x in raw)
    variance = m2 - m1**2
    third = m3 - 3 * m1 * m2 + 2 * m1**3
    fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
    spread = variance > 1e-14 * m2
    variance = np.where(spread, variance, 1.0)
    with np.errstate(over="ignore"):  # divided step by step: sd^4 may be below float64 where no score varies
        skewness, kurtosis = third / variance / np.sqrt(variance), fourth / variance / variance - 3
    return Shape(np.where(spread, skewness, 0.0), np.where(spread, kurtosis, 0.0))


def two_sided_tail(z: ArrayLike, shape: Shape, /) -> Floats:
    """Pr(a standardised variable of this shape is at least as far out as z, on z's side), doubled, at most 1, (K,).

    Skewness by Pearson's type III law (a shifted gamma law), which has excess kurtosis 3/2 skewness^2; what kurtosis is
    left by Student's law with 4 + 6 / kurtosis degrees of freedom. Both are the normal law at 0. For the mean of a few
    thousand episodes the normal law alone gives far tails a tenth of their weight and less.
    """
    skewness, kurtosis = shape
    flat = np.abs(skewness) < 1e-5
    z = np.where(skewness < 0, -np.asarray(z, np.float64), z)
    k = 4 / np.where(flat, 1.0, skewness) ** 2
    x = np.maximum(k + z * np.sqrt(k), 0.0)
    above = np.where(flat, special.ndtr(-z), special.gammaincc(k, x))
    below = np.where(flat, special.ndtr(z), special.gammainc(k, x))
    tail = np.minimum(np.minimum(above, below), 0.5)
    left = np.maximum(kurtosis - 1.5 * skewness**2, 1e-9)
    nu = 4 + 6 / left
    return np.asarray(2 * special.stdtr(nu, special.ndtri(tail) * np.sqrt(nu / (nu - 2))))


def _raw_moments(moments: Moments, U: Floats) -> list[Floats]:
    """E[x^k | s], k = 1 .. 4, of the last component x of u^T Y, each (S, K)."""
    chain, mdp, t = moments.chain, moments.chain.mdp, moments.chain.mdp.table
    x, factors = _next_step(moments, U)
    zero = (0,) * len(x)
    solved: dict[Exponents, Floats] = {zero: np.ones((mdp.n_states, 1))}
    chains: dict[float, Chain] = {}
    to_states = sparse.csr_array((chain.weight, (t.state, np.arange(len(t.p)))), shape=(mdp.n_states, len(t.p)))
    for alpha in _exponents(len(x)):
        terms = _power(x, alpha)
        factor = prod(f**k for f, k in zip(factors, alpha, strict=True))
        terms.pop(alpha, None)
        right = to_states @ sum(c * solved[beta][t.next] for beta, c in terms.items())
        if factor not in chains:
            chains[factor] = Chain(mdp, chain.policy, factor)
        solved[alpha] = np.where(mdp.terminal[:, None], 0.0, chains[factor].solve(right))
    return [solved[(*zero[:-1], k)] for k in range(1, DEGREE + 1)]


def _next_step(moments: Moments, U: Floats) -> tuple[list[Polynomial], list[float]]:
    """(x_0 = G, x_1, ... as polynomials in x', the constant factor of each x_i in itself)."""
    mdp, t, (A, C, B) = moments.chain.mdp, moments.chain.mdp.table, moments.steps
    psi = (moments.score @ U)[t.state * mdp.n_actions + t.action]
    n = len(A)
    unit = [tuple(int(i == j) for j in range(n + 1)) for i in range(n + 1)]
    gamma = np.full((len(t.p), 1), mdp.gamma)
    x: list[Polynomial] = [{(0,) * (n + 1): t.reward[:, None], unit[0]: gamma}]
    for i in range(n):
        terms: Polynomial = {(0,) * (n + 1): A[i][:, None] * psi, unit[0]: C[i][:, None] * psi}
        terms |= {unit[j + 1]: B[i, j][:, None] for j in range(n) if B[i, j].any()}
        x.append(terms)
    return x, [mdp.gamma, *(float(B[i, i, 0]) for i in range(n))]


def _exponents(variables: int) -> list[Exponents]:
    """All exponents of degree 1 to 4, lower degrees first; of one degree, powers of earlier variables first."""
    exponents = [e for e in product(range(DEGREE + 1), repeat=variables) if 1 <= sum(e) <= DEGREE]
    return sorted(exponents, key=lambda e: (sum(e), tuple(-k for k in e)))


def _power(x: list[Polynomial], alpha: Exponents) -> Polynomial:
    """x_0^alpha_0 x_1^alpha_1 ... as one polynomial."""
    total: Polynomial = {(0,) * len(x): np.ones((1, 1))}
    for factor, k in zip(x, alpha, strict=True):
        for _ in range(k):
            total = _times(total, factor)
    return total


def _times(p: Polynomial, q: Polynomial) -> Polynomial:
    out: dict[Exponents, Any] = {}
    for (e, a), (f, b) in product(p.items(), q.items()):
        key = tuple(i + j for i, j in zip(e, f, strict=True))
        out[key] = out.get(key, 0.0) + a * b
    return out
