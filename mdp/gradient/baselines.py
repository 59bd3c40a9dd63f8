"""The baselines that make the variance of REINFORCE least, in closed form.

With B_s = sum over t of delta^t 1(S_t = s) psi_t, a baseline b turns the estimator Z into Z - sum over s of b(s) B_s.
Since E[psi_t | S_t] = 0, B_s and B_s' are uncorrelated, and the trace of the covariance is

    trace(b) = trace(0) - 2 sum over s of c(s) b(s) + sum over s of D(s) b(s)^2,      b*(s) = c(s) / D(s),
    D(s) = E|B_s|^2 = eta_2(s) sum over a of pi |psi(s,a)|^2,        c(s) = E[Z . B_s].

The best constant is sum of c / sum of D. In c stand, beside the textbook's E[|psi_t|^2 G_t], cross-time terms: with
g(s) = E[psi_t G_t | s], m(s) = E[Z | s] and u(s) = sum over k < t of delta^(t+k) gamma^(t-k) E[psi_k 1(S_t = s)],

    c(s) = eta_2(s) sum over a of pi psi . (psi q(s,a) + delta E[m(S') | s, a]) + u(s) . g(s)

and for the whole return also sum over a of pi |psi|^2 times sum over t of gamma^t E[(G_0 - gamma^t G_t) 1(S_t = s)].
Hence neither v_pi nor the ratio E[|psi|^2 G] / E[|psi|^2] is the minimiser. delta is gamma, or 1 where gamma^t is left
out; eta_2 the occupancy under delta^2. What a baseline can save: Greensmith, Bartlett & Baxter (2004), JMLR 5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from mdp.gradient.moments import CHUNK, check_estimator, scores
from mdp.gradient.theorem import softmax_policy
from mdp.model.table import Floats
from mdp.prediction.chain import Chain
from mdp.prediction.evaluation import values

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP


class BestBaselines(NamedTuple):
    """The variance-minimising constant, and one value for each state (S,); 0 where b(s) makes no difference."""

    constant: float
    state: Floats


def best_baselines(
    mdp: FiniteMDP,
    preferences: ArrayLike,
    /,
    *,
    directions: ArrayLike | None = None,
    to_go: bool = True,
    discounted: bool = True,
) -> BestBaselines:
    """The baselines with the least trace of covariance of the one-episode estimator, for a tabular softmax.

    directions (SA, K): of U^T Z instead (by the chain rule: the parameters of a policy with h = U theta).
    to_go, discounted: as in `reinforce_moments`, whose errors are raised too.

    >>> import numpy as np
    >>> from envs import bandit
    >>> from mdp import best_baselines
    >>> m = bandit(means=(0, 1))
    >>> best = best_baselines(m, [[0, np.log(3)]] * 2)  # pi = (1/4, 3/4)
    >>> round(best.constant, 10)  # the mean of R by pi |psi|^2, here 3 : 1; v_pi = 3/4
    0.25
    """
    pi = softmax_policy(mdp, preferences)
    check_estimator(mdp, pi, to_go=to_go, discounted=discounted)
    parts = _Parts(mdp, pi, mdp.gamma if discounted else 1.0, to_go)
    U = sparse.eye_array(pi.size, format="csc") if directions is None else np.asarray(directions, dtype=np.float64)
    c, D = np.zeros(mdp.n_states), np.zeros(mdp.n_states)
    for k in range(0, U.shape[1], CHUNK):
        more = parts.sums(U[:, k : k + CHUNK])
        c, D = c + more[0], D + more[1]
    matters = 1e-14 * D.max(initial=0.0) < D
    state = np.where(matters, c, 0.0) / np.where(matters, D, 1.0)
    return BestBaselines(float(c[matters].sum() / D[matters].sum()) if matters.any() else 0.0, state)


class _Parts:
    """What c and D are made of, for any directions."""

    def __init__(self, mdp: FiniteMDP, pi: Floats, delta: float, to_go: bool) -> None:
        self.mdp, self.delta, chain = mdp, delta, Chain(mdp, pi)
        self.score, self.by_state = scores(chain)
        self.pi, self.q = pi.ravel(), np.where(pi > 0, values(chain).q, 0.0).ravel()
        self.forward = chain if delta == mdp.gamma else Chain(mdp, pi, delta)
        self.backward = Chain(mdp, pi, delta * mdp.gamma)
        self.eta = Chain(mdp, pi, delta**2).solve(mdp.start, transposed=True)
        self.past = np.zeros(mdp.n_states) if to_go else self._rewards_before(chain)

    def _rewards_before(self, chain: Chain) -> Floats:
        """sum over t of gamma^t E[(R_1 + gamma R_2 + ... + gamma^(t-1) R_t) 1(S_t = s)], (S,)."""
        t = self.mdp.table
        paid = np.bincount(t.next, weights=chain.weight * t.reward * self.eta[t.state], minlength=self.mdp.n_states)
        return chain.solve(self.mdp.gamma * paid, transposed=True)

    def sums(self, U: Any) -> tuple[Floats, Floats]:
        """c (S,) and D (S,) for directions U (SA, K)."""
        psi = self.score @ U
        psi = np.asarray(psi.todense()) if sparse.issparse(psi) else psi
        weighted = self.pi[:, None] * psi
        eta_pair = np.repeat(self.eta, self.mdp.n_actions)[:, None]
        g = self.by_state @ (weighted * self.q[:, None])
        m = self.forward.solve(g)
        u = self.backward.solve(
            self.delta * self.mdp.gamma * (self.mdp.transition.T @ (eta_pair * weighted)), transposed=True
        )
        later = psi * self.q[:, None] + self.delta * (self.mdp.transition @ m)
        square = self.by_state @ (weighted * psi).sum(1)
        c = self.eta * (self.by_state @ (weighted * later).sum(1)) + (u * g).sum(1) + square * self.past
        live = ~self.mdp.terminal
        return np.where(live, c, 0.0), np.where(live, self.eta * square, 0.0)
