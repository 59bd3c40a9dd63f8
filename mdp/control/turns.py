"""Small problems, and slowly mixing ones, at gamma < 1: optimality sweeps and exact values by turns.

    v <- T v, some times;        pi <- greedy(v);        v <- (I - gamma P_pi)^-1 r_pi;        again

Howard's policy iteration (1960) whose improvement looks several steps ahead: T^k v_pi >= T v_pi >= v_pi, so that no
policy comes back but by rounding. It ends where a sweep changes nothing, or gains no more than rounding may explain.
Where shortest ways are all there is, the sweeps alone end it, before any linear system.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mdp.control.bound import rounding, uncertain
from mdp.control.progress import Found, Show
from mdp.model.table import Floats, Ints, greedy, largest
from mdp.prediction.linear import Solver

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP

TINY = 150  # states up to which a linear system costs about as much as a few sweeps
LOOKED_UP = 20_000  # pairs, up to which numpy's way to v(s') is shorter than the one to scipy's product
SWEEPS, MORE_SWEEPS = 5, 30  # between two linear systems: of tiny problems, of others


def sweep_and_solve(mdp: FiniteMDP, v: Floats, sweeps: int, show: Show) -> Found:
    """v to rounding, from some v, and its q; nothing is proven.

    iterations: sweeps and linear systems; sweeps: how many, at least, before a linear system, more after many systems.
    """
    iterations, seen, backup = 0, set[bytes](), quick_backup(mdp)
    q = backup(v)
    while True:
        most = max(sweeps, len(seen))
        v, q, done = swept(backup, v, q, most)
        policy, iterations = greedy(q), iterations + done
        if done < most:
            return Found(v, policy, iterations, q=q)
        came_back = policy.tobytes() in seen
        seen.add(policy.tobytes())
        v, iterations = exact_value(mdp, policy), iterations + 1
        q = backup(v)
        gain = largest(q) - v
        most_gain = float(gain.max())
        show(iterations, most_gain / (1 - mdp.gamma), v)
        best = came_back or (greedy(q) == policy).all()
        if best or (most_gain <= 4 * rounding(mdp, v) and (gain <= uncertain(mdp, v).max(axis=1)).all()):
            return Found(v, policy, iterations, q=q)


def quick_backup(mdp: FiniteMDP) -> Callable[[Floats], Floats]:
    """`mdp.backup`; for small tables that leave nothing to chance one that looks up v(s'), action by action."""
    t, gamma = mdp.table, mdp.gamma
    if t.is_full or t.sums[0] > 1 or t.size > LOOKED_UP:
        return mdp.backup

    def by_action(x: NDArray[Any]) -> NDArray[Any]:
        of_pairs = np.zeros(t.size, x.dtype)
        of_pairs[t.pair] = x
        return of_pairs.reshape(t.shape).T.copy()

    after, p, r = by_action(t.next), by_action(t.p), mdp.reward_or_limit.T.copy()

    def backup(v: Floats) -> Floats:
        q: Floats = (gamma * v).take(after)
        q *= p
        q += r
        return q.T

    return backup


def swept(backup: Callable[[Floats], Floats], v: Floats, q: Floats, most: int) -> tuple[Floats, Floats, int]:
    """(T^k v, its q, k) for a v and its q (S, A): k is `most`, or less where nothing changes any more."""
    for k in range(most):
        w = largest(q)
        if w.tobytes() == v.tobytes():  # a fifth of the time of (w == v).all()
            return v, q, k
        v, q = w, backup(w)
    return v, q, most


def exact_value(mdp: FiniteMDP, actions: Ints) -> Floats:
    """v of the policy that takes `actions` (S,), at gamma < 1."""
    rows = actions + np.arange(0, mdp.table.size, mdp.n_actions)
    return Solver.of_chain(mdp.table.product[rows], mdp.gamma).solve(mdp.expected_reward.ravel()[rows])


def beginning(mdp: FiniteMDP) -> tuple[Floats, int]:
    """(v, sweeps) to begin with: what can be earned at once; v of the uniform policy where that tells few states what
    to do, and a linear system costs next to nothing.
    """
    r, (S, A) = mdp.reward_or_limit, mdp.admissible.shape
    at_once = largest(r)
    if S > TINY:
        return at_once, MORE_SWEEPS
    if not mdp.table.is_full or 2 * np.count_nonzero(at_once > r.min(axis=1)) > S:
        return at_once, SWEEPS
    pi = mdp.uniform_policy()
    P_pi = (pi[:, None] @ mdp.table.product.reshape(S, A, S))[:, 0]
    return Solver.of_chain(P_pi, mdp.gamma).solve((pi * mdp.expected_reward).sum(axis=1)), 0
