"""Exact values and occupancies of one policy. Sutton & Barto (2nd ed.), sections 3.5 and 4.1.

    v_pi = r_pi + gamma P_pi v_pi            a linear system (equation 4.4)
    eta  = start + gamma P_pi^T eta          its transpose (section 9.2, with gamma inside)
    J    = start . v_pi = eta . r_pi
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mdp.model.table import Floats
from mdp.prediction.chain import Chain, checked_policy

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP


class Evaluation(NamedTuple):
    """v (S,), q (S, A) and J = sum over s of start(s) v(s). q is -inf where a is not in A(s), 0 in terminal states."""

    v: Floats
    q: Floats
    objective: float


def evaluate(mdp: FiniteMDP, policy: ArrayLike, /) -> Evaluation:
    """v_pi, q_pi and J of a policy (S, A), exact: one sparse direct solve of v = r_pi + gamma P_pi v.

    Raises ValueError for an array that is no policy and, at gamma = 1, for a policy that is not proper.

    >>> from envs import short_corridor
    >>> from mdp import evaluate
    >>> m = short_corridor()  # Sutton & Barto, Example 13.1
    >>> found = evaluate(m, m.uniform_policy())
    >>> found.v.round(10).tolist(), round(found.objective, 10)
    ([-12.0, -10.0, -6.0, 0.0], -12.0)
    """
    return values(Chain(mdp, checked_policy(mdp, policy)))


def values(chain: Chain) -> Evaluation:
    """`evaluate` with a chain that is there already."""
    with np.errstate(over="ignore", invalid="ignore"):
        v = chain.solve(average(chain.policy, chain.mdp.expected_reward))
    if not np.isfinite(v).all():
        s = chain.mdp.states[int(np.argmax(~np.isfinite(v)))]
        raise ValueError(f"v of state {s!r} is {v[~np.isfinite(v)][0]}: the rewards are too large for float64")
    return Evaluation(v, chain.mdp.backup(v), float(chain.mdp.start @ v))


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
    return np.where(chain.mdp.terminal, 0.0, chain.solve(chain.mdp.start, transposed=True))


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
        v = q.max(axis=1) if pi is None else average(pi, q)


def average(pi: Floats, q: Floats) -> Floats:
    """sum over a of pi(a|s) q(s,a), (S,): actions that are never taken do not count, be their q -inf."""
    return np.asarray((pi * np.where(pi > 0, q, 0.0)).sum(axis=1))
