"""The exact mean and covariance of one-episode REINFORCE, by linear recursions.

Write psi_t = grad log pi(A_t|S_t) and G_t = R_{t+1} + gamma G_{t+1}. Both estimators are the last component of a vector
Y_t that each step makes from the next one,

    Y_t = (A + C G_{t+1}) psi_t + B Y_{t+1}        with A, C (n,) and B (n, n) from (S_t, R_{t+1}) alone:

    reward-to-go   Z = sum over t of gamma^t (G_t - b(S_t)) psi_t      A = R - b       C = gamma       B = gamma
    whole return   W = sum over t of (G_0 - gamma^t b(S_t)) psi_t,     A = (1, R - b)  C = (0, gamma)  B = [[1, 0],
                       beside Psi = sum over t of psi_t                                                    [R, gamma]]

so that E[Y|s], E[G Y|s] and the weights of E[Y Y^T|s] solve sparse linear systems over the states. No E[Y Y^T|s] is
stored: with Lambda(s) (n, n) the adjoint of the recursion, started at the last component in S_0 (for reward-to-go it is
the occupancy under gamma^2),

    E[Y_0 Y_0^T] = sum over s of Lambda_ij(s) E[D_i D_j^T + D_i (B Y')_j^T + (B Y')_i D_j^T | s],   D = (A + C G') psi.

Sobel (1982), "The variance of discounted Markov decision processes", has the recursion for G alone.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from mdp.gradient.theorem import softmax_policy
from mdp.model.labels import reals
from mdp.model.table import Floats
from mdp.prediction.chain import Chain, check_proper, checked_policy, transitions
from mdp.prediction.evaluation import check_finite, values
from mdp.prediction.linear import Solver

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP

CHUNK = 512  # columns solved at a time where only a trace is wanted


def return_variance(mdp: FiniteMDP, policy: ArrayLike, /) -> Floats:
    """Var[G_0 | S_0 = s], (S,), exact; 0 in terminal states.

    By the law of total variance, with delta = R + gamma v(S') - v(s), it solves

        Var(s) = E[delta^2 | s] + gamma^2 E[Var(S') | s]        (Sobel 1982)

    No E[G^2] - E[G]^2 is taken: it is never below 0, and returns of 1e8 with noise of 1e-3 keep their digits. What
    rounding leaves of delta, about eps max|v|, adds its square. Raises ValueError as `evaluate`, and where squares of
    rewards are too large for float64.

    >>> from envs import random_walk
    >>> from mdp import return_variance
    >>> m = random_walk()  # G_0 is 1 with probability v = 1/6 .. 5/6, else 0: v (1 - v)
    >>> (36 * return_variance(m, m.uniform_policy())).round(10).tolist()
    [0.0, 5.0, 8.0, 9.0, 8.0, 5.0, 0.0]
    """
    return _return_variance(Chain(mdp, checked_policy(mdp, policy)))


def _return_variance(chain: Chain) -> Floats:
    mdp, t = chain.mdp, chain.mdp.table
    v = values(chain).v
    with np.errstate(over="ignore", invalid="ignore"):
        delta = t.reward + mdp.gamma * v[t.next] - v[t.state]
        second = np.bincount(t.state, weights=chain.weight * delta**2, minlength=mdp.n_states)
        variance = Chain(mdp, chain.policy, mdp.gamma**2).solve(second)
    check_finite(mdp, variance, "Var[G]")
    return np.asarray(np.maximum(variance, 0.0))


class Steps(NamedTuple):
    """One step of the recursion Y = (A + C G') psi + B Y', for each of the K outcomes: A, C (n, K) and B (n, n, K)."""

    A: Floats
    C: Floats
    B: Floats


def _reward_to_go(mdp: FiniteMDP, b: Floats, discount: float) -> Steps:
    R, one = mdp.table.reward, np.ones(len(mdp.table.p))
    return Steps((R - b)[None], mdp.gamma * one[None], discount * one[None, None])


def _whole_return(mdp: FiniteMDP, b: Floats) -> Steps:
    R, one = mdp.table.reward, np.ones(len(mdp.table.p))
    zero = 0 * one
    return Steps(np.array([one, R - b]), np.array([zero, mdp.gamma * one]),
                 np.array([[one, zero], [R, mdp.gamma * one]]))


class _Sums:
    """Sums over the outcomes, each weighted by pi(a|s) p(s',r|s,a), of a quantity x (K,)."""

    def __init__(self, chain: Chain) -> None:
        self.mdp, self.weight = chain.mdp, chain.weight
        self.pair = chain.mdp.table.state * chain.mdp.n_actions + chain.mdp.table.action

    def by_pair(self, x: Floats) -> Floats:
        """For each (s, a), (SA,)."""
        sums = np.bincount(self.pair, weights=self.weight * x, minlength=self.mdp.admissible.size)
        return np.asarray(sums, dtype=np.float64)

    def by_step(self, x: Floats) -> Any:
        """For each (s, a) and s', sparse (SA, S)."""
        shape = (self.mdp.admissible.size, self.mdp.n_states)
        return sparse.csr_array((self.weight * x, (self.pair, self.mdp.table.next)), shape=shape)

    def by_states(self, x: Floats) -> Any:
        """For each s and s', sparse (S, S)."""
        return transitions(self.mdp, self.weight * x)

    def lifted(self, x: Floats) -> Solver:
        """I - x P_pi over the pairs (component, state), for x (m, m, K)."""
        blocks = sparse.block_array([[self.by_states(xij) for xij in row] for row in x])
        return Solver(sparse.eye_array(blocks.shape[0]) - blocks)


def scores(chain: Chain) -> tuple[Any, Any]:
    """(Psi (SA, SA), sum over a (S, SA)): psi(s,a) = e_sa - sum over b of pi(b|s) e_sb, 0 where a is never taken."""
    (S, A), pi = chain.policy.shape, chain.policy.ravel()
    state, pair = np.repeat(np.arange(S), A), np.arange(S * A)
    own = sparse.csr_array((pi, (state, pair)), shape=(S, S * A))
    taken = sparse.diags_array((pi > 0).astype(float))
    score = sparse.csr_array(taken @ (sparse.eye_array(S * A) - own[state]))
    return score, sparse.csr_array((np.ones(S * A), (state, pair)), shape=(S, S * A))


def _weights(sums: _Sums, B: Floats) -> Floats:
    """Lambda (n, n, K), at the state of each outcome: the adjoint of E[Y Y^T] = ... + B E[Y' Y'^T] B^T."""
    n, S = len(B), sums.mdp.n_states
    BB = np.einsum("ikx,jlx->ijklx", B, B).reshape(n * n, n * n, -1)
    first = np.zeros((n * n, S))
    first[-1] = sums.mdp.start
    Lambda: Floats = sums.lifted(BB).solve(first.ravel(), transposed=True).reshape(n, n, S)
    return Lambda[..., sums.mdp.table.state]


class Moments:
    """Mean and covariance of a one-episode gradient estimator, over preferences h(s,a) with index s*A + a.

    mean (S, A); covariance (SA, SA) and trace are computed when they are read, the trace without a covariance matrix.
    `along(U)` gives the moments of U^T Z for any directions U (SA, K): the chain rule, at the price of K columns.

    A covariance is E[Z Z^T] - E[Z] E[Z]^T, right to some eps |E[Z Z^T]|; variances are never below 0. Where returns are
    large and hardly vary, a baseline near v keeps the digits.
    """

    def __init__(self, chain: Chain, steps: Steps) -> None:
        mdp, t = chain.mdp, chain.mdp.table
        self.chain, self.steps, self._shape = chain, steps, mdp.admissible.shape
        self.score, self._states = scores(chain)
        sums, (A, C, B), n = _Sums(chain), steps, len(steps.A)
        v, variance = values(chain).v[t.next], _return_variance(chain)[t.next]  # mean and variance of G'
        EG, ED = t.reward + mdp.gamma * v, A + C * v  # E[G] and E[D] without its psi

        # E[D|s] and E[G D|s] as weights on the scores; the steps of Y' in E[G Y|s]
        self._mean_weights = [sums.by_pair(x) for x in ED]
        self._cross_weights = [
            sums.by_pair(EG * x + mdp.gamma * c * variance) for x, c in zip(ED, C, strict=True)
        ]
        self._reward_steps = [[sums.by_states(t.reward * B[i, j]) for j in range(n)] for i in range(n)]
        self._mean_solver, self._cross_solver = sums.lifted(B), sums.lifted(mdp.gamma * B)

        # the local terms, weighed by Lambda(s)
        Lambda = _weights(sums, B)
        DD = ED[:, None] * ED + C[:, None] * C * variance
        self._square = sums.by_pair((Lambda * DD).sum(axis=(0, 1)))
        self._mean_steps = [sums.by_step(x) for x in np.einsum("ijx,ix,jlx->lx", Lambda, A, B)]
        self._cross_steps = [sums.by_step(x) for x in np.einsum("ijx,ix,jlx->lx", Lambda, C, B)]

    def _columns(self, U: Any) -> tuple[Any, Floats, Floats]:
        """(Psi U (SA, K), E[U^T Y | s] for the last component (S, K), N (SA, K)), where U^T E[Y Y^T] U is

        (Psi U)^T diag(square) (Psi U) + (Psi U)^T N + N^T (Psi U).
        """
        psi = self.score @ U
        n, K, S = len(self._mean_weights), psi.shape[1], self._shape[0]

        def gather(weights: Floats) -> Floats:  # sum over a of weights(s,a) psi(s,a), (S, K)
            return _dense(self._states @ (sparse.diags_array(weights) @ psi))

        right = np.concatenate([gather(w) for w in self._mean_weights])
        m = self._mean_solver.solve(right).reshape(n, S, K)
        right = np.concatenate([
            gather(w) + sum(P @ m[j] for j, P in enumerate(steps))
            for w, steps in zip(self._cross_weights, self._reward_steps, strict=True)
        ])
        c = self._cross_solver.solve(right).reshape(n, S, K)
        N = sum(M @ m[j] for j, M in enumerate(self._mean_steps))
        N = N + sum(M @ c[j] for j, M in enumerate(self._cross_steps))
        return psi, m[-1], N

    def along(self, U: ArrayLike) -> tuple[Floats, Floats]:
        """(mean (K,), covariance (K, K)) of U^T Z for directions U (SA, K), a dense array or scipy sparse."""
        psi, m, N = self._columns(U if sparse.issparse(U) else np.asarray(U, dtype=np.float64))
        mean: Floats = self.chain.mdp.start @ m
        cross = _dense(psi.T @ N)
        square = _dense(psi.T @ (sparse.diags_array(self._square) @ psi))
        return mean, square + cross + cross.T - np.outer(mean, mean)

    def variances(self, U: ArrayLike) -> Floats:
        """Var[u^T Z], (K,), for each column u of U (SA, K): the diagonal of `along`, without the matrix."""
        psi, m, N = self._columns(U if sparse.issparse(U) else np.asarray(U, dtype=np.float64))
        mean = self.chain.mdp.start @ m
        square = np.asarray((psi * psi).T @ self._square).ravel()
        cross = np.asarray((psi * N).sum(axis=0)).ravel()
        return np.asarray(np.maximum(square + 2 * cross - mean**2, 0.0))

    @cached_property
    def mean(self) -> Floats:
        """E[Z], (S, A)."""
        # E[Z] = start^T (I - B P)^-1 E[D|s]: one adjoint solve instead of one for each coordinate
        n, S = len(self._mean_weights), self._shape[0]
        first = np.zeros((n, S))
        first[-1] = self.chain.mdp.start
        adjoint = self._mean_solver.solve(first.ravel(), transposed=True).reshape(n, S)
        weights = sum(self._states.T @ x * w for x, w in zip(adjoint, self._mean_weights, strict=True))
        return np.asarray(self.score.T @ weights).reshape(self._shape)

    @cached_property
    def covariance(self) -> Floats:
        """Cov[Z], (SA, SA)."""
        return self.along(sparse.eye_array(self.score.shape[0], format="csc"))[1]

    @cached_property
    def trace(self) -> float:
        """The sum of the variances of all coordinates, E|Z - E[Z]|^2."""
        eye = sparse.eye_array(self.score.shape[0], format="csc")
        live = np.flatnonzero(self.chain.policy.ravel() > 0)  # the score is 0 in all others
        chunks = (eye[:, live[k : k + CHUNK]] for k in range(0, len(live), CHUNK))
        return float(sum(self.variances(U).sum() for U in chunks))


def _dense(x: Any) -> Floats:
    return np.asarray(x.todense() if sparse.issparse(x) else x)


def reinforce_moments(
    mdp: FiniteMDP,
    preferences: ArrayLike,
    /,
    *,
    baseline: ArrayLike | None = None,
    to_go: bool = True,
    discounted: bool = True,
) -> Moments:
    """The exact moments of the one-episode REINFORCE estimator of dJ/dh for a tabular softmax.

    to_go=True       Z = sum over t of gamma^t (G_t - b(S_t)) psi_t; discounted=False leaves gamma^t out (biased)
    to_go=False      W = sum over t of (G_0 - gamma^t b(S_t)) psi_t: gamma stands inside G_0 only

    preferences (S, A), terminal rows not read; baseline b: a number or (S,), by default 0. Index of a covariance:
    s*A + a.

    Raises ValueError for preferences or a baseline that are not finite, an improper policy at gamma = 1 (and, without
    gamma^t or with the whole return, at any gamma: their sums of scores do not converge), and for
    to_go=False with discounted=False, which names no estimator.

    >>> from envs import short_corridor
    >>> from mdp import reinforce_moments
    >>> m, h = short_corridor(gamma=0.9), [[0, 0]] * 4
    >>> reinforce_moments(m, h).mean.sum(axis=0).round(10).tolist()  # grad J: right is better
    [-0.4862286773, 0.4862286773]
    >>> reinforce_moments(m, h, discounted=False).mean.sum(axis=0).round(10).tolist()  # without gamma^t
    [-1.0481736368, 1.0481736368]
    >>> reinforce_moments(m, h, baseline=-6).trace < reinforce_moments(m, h).trace
    True
    """
    pi = softmax_policy(mdp, preferences)
    check_estimator(mdp, pi, to_go=to_go, discounted=discounted)
    at = _checked_baseline(mdp, baseline)[mdp.table.state]
    steps = _reward_to_go(mdp, at, mdp.gamma if discounted else 1.0) if to_go else _whole_return(mdp, at)
    return Moments(Chain(mdp, pi), steps)


def check_estimator(mdp: FiniteMDP, pi: Floats, *, to_go: bool, discounted: bool) -> None:
    """Raises ValueError for an estimator that has no name, or whose sum of scores does not converge."""
    if not (to_go or discounted):
        raise ValueError("the whole return has no gamma^t in front to leave out: discounted=False needs to_go=True")
    if not (to_go and discounted):
        check_proper(mdp, pi)


def _checked_baseline(mdp: FiniteMDP, baseline: ArrayLike | None) -> Floats:
    b = reals(0.0 if baseline is None else baseline, "the baseline")
    if b.shape not in ((), (mdp.n_states,)):
        raise ValueError(f"the baseline has shape {b.shape}; it is a number, or one for each of {mdp.n_states} states")
    b = np.broadcast_to(b, mdp.n_states)
    if not np.isfinite(b).all():
        raise ValueError(f"the baseline of state {mdp.states[int(np.argmax(~np.isfinite(b)))]!r} is not finite")
    return b
