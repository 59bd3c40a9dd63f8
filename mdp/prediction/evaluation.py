"""Exact values and occupancies of one policy. Sutton & Barto (2nd ed.), sections 3.5 and 4.1.

    v_pi = r_pi + gamma P_pi v_pi            a linear system (equation 4.4)
    eta  = start + gamma P_pi^T eta          its transpose (section 9.2, with gamma inside)
    J    = start . v_pi = eta . r_pi
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from mdp.model.table import Floats, largest
from mdp.model.unrolling import checked_horizon
from mdp.prediction.chain import Chain, checked_policy
from mdp.prediction.error import evaluation_bound, lost_in_a_backup, policy_off

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP


class _Values(NamedTuple):
    v: Floats
    q: Floats
    objective: float


class Evaluation(_Values):
    """v (S,), q (S, A) and J = sum over s of start(s) v(s). q is -inf where a is not in A(s), 0 in terminal states.

    residual: max over s of |r_pi + gamma P_pi v - v|, as float64 has it.
    bound: max-norm error of v, proven, rounding included; inf where nothing is proven. About eps max|v| / (1 - gamma),
    or eps max|v| times the length of an episode: the nearer to 1 gamma is, the fewer digits are left.

    Within H steps v is (H + 1, S) and q (H, S, A), by the steps that were taken, and J is that of v[0].
    """

    residual: float
    bound: float

    def __new__(cls, v: Floats, q: Floats, objective: float, residual: float, bound: float) -> Self:
        self = super().__new__(cls, v, q, objective)
        self.residual, self.bound = residual, bound
        return self

    def __getnewargs__(self) -> tuple[Floats, Floats, float, float, float]:
        """What copies and pickles are made from."""
        return (*self, self.residual, self.bound)


def evaluate(mdp: FiniteMDP, policy: ArrayLike, /, *, horizon: int | None = None) -> Evaluation:
    """v_pi, q_pi and J of a policy (S, A), exact: one linear solve of v = r_pi + gamma P_pi v, and its residual.

    A full matrix, a sparse one that lies near its diagonal once it is ordered, or BiCGSTAB, refined until its residual
    is what rounding leaves: whichever suits (mdp.prediction.linear).

    horizon     H: what comes within H steps, v_t = r_pi + gamma P_pi v_{t+1} with v_H = 0; the policy may be (H, S, A)

    Raises ValueError for an array that is no policy, a horizon below 1 and, at gamma = 1 without a horizon, for a
    policy that is not proper.

    >>> from envs import short_corridor
    >>> from mdp import evaluate
    >>> m = short_corridor()  # Sutton & Barto, Example 13.1
    >>> found = evaluate(m, m.uniform_policy())
    >>> found.v.round(10).tolist(), round(found.objective, 10)
    ([-12.0, -10.0, -6.0, 0.0], -12.0)
    >>> evaluate(m, m.uniform_policy(), horizon=2).v.tolist()  # -1 a step; from state 2 one step may do
    [[-2.0, -2.0, -1.5, 0.0], [-1.0, -1.0, -1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """
    if horizon is not None:
        return _within(mdp, policy, checked_horizon(horizon))
    return values(Chain(mdp, checked_policy(mdp, policy)))


def _within(mdp: FiniteMDP, policy: ArrayLike, H: int) -> Evaluation:
    """v_t(s) = sum over a of pi_t(a|s) q_t(s,a), q_t = r + gamma P v_{t+1}, v_H = 0."""
    S, A = mdp.admissible.shape
    given = np.asarray(policy, dtype=np.float64)
    if given.ndim == 3 and len(given) != H:
        raise ValueError(f"the policy has shape {given.shape}, not (S, A) or (H, S, A) = {(H, S, A)}")
    pis = [checked_policy(mdp, pi) for pi in (given if given.ndim == 3 else [given])]
    v, q, e, bound = np.zeros((H + 1, S)), np.empty((H, S, A)), 0.0, 0.0
    (a, b), off = lost_in_a_backup(mdp), max(policy_off(mdp, pi) for pi in pis)
    R = mdp.table.largest_reward
    for t in reversed(range(H)):
        with np.errstate(over="ignore", invalid="ignore"):
            q[t] = mdp.backup(v[t + 1])
            v[t] = average(pis[t % len(pis)], q[t])
        check_finite(mdp, v[t])
        size = float(np.abs(v[t + 1]).max())
        e = (1 + off) * (a + b * size + mdp.gamma * (1 + b) * e) + off * (1 + b) * (R + mdp.gamma * size)
        bound = max(bound, e)
    return Evaluation(v, q, float(mdp.start @ v[0]), residual=0.0, bound=bound)  # residual: by construction


def values(chain: Chain) -> Evaluation:
    """`evaluate` with a chain that is there already."""
    mdp = chain.mdp
    with np.errstate(over="ignore", invalid="ignore"):
        v = chain.solve(average(chain.policy, mdp.expected_reward))
        check_finite(mdp, np.where(np.isfinite(np.abs(v) + mdp.table.largest_reward), v, np.inf))  # and so is q
        q = mdp.backup(v)
        d = average(chain.policy, q) - v
        bound = evaluation_bound(chain, v, d)
    return Evaluation(v, q, float(mdp.start @ v), float(np.abs(d).max()), bound)


def check_finite(mdp: FiniteMDP, v: Floats, what: str = "v") -> None:
    """Raises ValueError, with the state, where a value is not finite."""
    if not np.isfinite(v).all():
        s = mdp.states[int(np.argmax(~np.isfinite(v)))]
        raise ValueError(f"{what} of state {s!r} is {v[~np.isfinite(v)][0]}: the rewards are too large for float64")


def occupancy(mdp: FiniteMDP, policy: ArrayLike, /) -> Floats:
    """eta(s) = sum over t of gamma^t Pr(S_t = s), (S,): expected discounted visits; 0 in terminal states.

    Not normalised: for a continuing MDP it sums to 1 / (1 - gamma), at gamma = 1 to the expected length of an episode.
    Raises ValueError as `evaluate`.

    >>> from envs import short_corridor
    >>> from mdp import occupancy
    >>> m = short_corridor()
    >>> occupancy(m, m.uniform_policy()).round(10).tolist()  # 12 steps in all
    [6.0, 4.0, 2.0, 0.0]
    """
    return visits(Chain(mdp, checked_policy(mdp, policy)))


def visits(chain: Chain) -> Floats:
    """`occupancy` with a chain that is there already."""
    return np.where(chain.mdp.terminal, 0.0, np.maximum(chain.solve(chain.mdp.start, transposed=True), 0.0))


def sweeps(mdp: FiniteMDP, policy: ArrayLike | None = None, /) -> Iterator[Floats]:
    """v_0 = 0, v_1, v_2, ... without end: expected backups under a policy (S&B 4.5), or optimality backups (4.10).

    Every v_k is a new array (S,).

    >>> from itertools import islice
    >>> from envs import gridworld_4x4
    >>> from mdp import sweeps
    >>> m = gridworld_4x4()  # Sutton & Barto, Figure 4.1
    >>> [float(v[1]) for v in islice(sweeps(m, m.uniform_policy()), 4)]
    [0.0, -1.0, -1.75, -2.4375]
    """
    pi = None if policy is None else checked_policy(mdp, policy)
    v = np.zeros(mdp.n_states)
    while True:
        yield v.copy()
        q = mdp.backup(v)
        v = largest(q) if pi is None else average(pi, q)


def average(pi: Floats, q: Floats) -> Floats:
    """sum over a of pi(a|s) q(s,a), (S,): actions that are never taken do not count, be their q -inf."""
    return np.asarray(np.einsum("sa,sa->s", pi, np.where(pi > 0, q, 0.0)))
