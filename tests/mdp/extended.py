"""What small problems are worth to 60 digits, by mpmath: the table's float64 numbers are read as exact rationals."""

from __future__ import annotations

from typing import Any, NamedTuple

import mpmath as mp
import numpy as np
from numpy.typing import ArrayLike

from mdp import FiniteMDP

DIGITS = 60


class Extended(NamedTuple):
    """v (S,), q {(s, a): q}, eta (S,), J, Var[G] (S,), and dJ/dh {(s, a): .} if the policy is a softmax of h."""

    v: list[Any]
    q: dict[tuple[int, int], Any]
    eta: list[Any]
    J: Any
    variance: list[Any]
    gradient: dict[tuple[int, int], Any]


def extended(m: FiniteMDP, pi: Any, digits: int = DIGITS) -> Extended:
    """Of a policy pi[s][a], of floats or of mpmath's numbers."""
    with mp.workdps(digits):
        gamma, S, rows = mp.mpf(m.gamma), m.n_states, _rows(m)
        P, r = mp.zeros(S), mp.zeros(S, 1)
        for (s, a), outcomes in rows.items():
            for p, after, reward in outcomes:
                P[s, after] += mp.mpf(pi[s][a]) * p
                r[s] += mp.mpf(pi[s][a]) * p * reward
        system = mp.eye(S) - gamma * P
        v = mp.lu_solve(system, r)
        q = {pair: _backup(outcomes, v, gamma) for pair, outcomes in rows.items()}
        start = mp.matrix([mp.mpf(float(x)) for x in m.start])
        eta = mp.lu_solve(system.T, start)
        for end in np.flatnonzero(m.terminal).tolist():
            eta[end] = mp.mpf(0)
        second = mp.zeros(S, 1)
        for (s, a), outcomes in rows.items():
            second[s] += mp.mpf(pi[s][a]) * sum(
                (p * (reward + gamma * v[after] - v[s]) ** 2 for p, after, reward in outcomes), mp.mpf(0)
            )
        variance = mp.lu_solve(mp.eye(S) - gamma**2 * P, second)
        gradient = {(s, a): eta[s] * mp.mpf(pi[s][a]) * (q[s, a] - v[s]) for s, a in rows}
        J = sum(start[s] * v[s] for s in range(S))
        return Extended(list(v), q, list(eta), J, list(variance), gradient)


def softmax(m: FiniteMDP, preferences: ArrayLike, digits: int = DIGITS) -> list[list[Any]]:
    """pi(a|s) = exp h(s,a) / sum over b in A(s) of exp h(s,b)."""
    h = np.asarray(preferences, dtype=float)
    with mp.workdps(digits):
        weights = [
            [mp.exp(mp.mpf(x)) if allowed else mp.mpf(0) for x, allowed in zip(*row, strict=True)]
            for row in zip(h, m.admissible, strict=True)
        ]
        return [[w / (mp.fsum(row) or 1) for w in row] for row in weights]


def best(m: FiniteMDP, first: ArrayLike) -> list[Any]:
    """v* (S,), by policy iteration from a policy (S,) that ends at gamma = 1."""
    with mp.workdps(DIGITS):
        policy = [int(a) for a in np.asarray(first)]
        while True:
            found = extended(m, [[float(a == b) for b in range(m.n_actions)] for a in policy])
            better = list(policy)
            for (s, a), q in found.q.items():
                if q > found.q[s, better[s]] + mp.mpf(10) ** (10 - DIGITS) * (1 + abs(q)):
                    better[s] = a
            if better == policy:
                return found.v
            policy = better


def backups(m: FiniteMDP, v: list[Any]) -> dict[tuple[int, int], Any]:
    """q(s,a) = sum over s' and r of p (r + gamma v(s'))."""
    with mp.workdps(DIGITS):
        return {pair: _backup(outcomes, v, mp.mpf(m.gamma)) for pair, outcomes in _rows(m).items()}


def largest_error(found: ArrayLike, true: Any) -> Any:
    """max |found - true|, in mpmath's numbers."""
    with mp.workdps(DIGITS):
        return max(abs(mp.mpf(float(x)) - y) for x, y in zip(np.ravel(found), true, strict=True))


def _rows(m: FiniteMDP) -> dict[tuple[int, int], list[tuple[Any, int, Any]]]:
    rows: dict[tuple[int, int], list[tuple[Any, int, Any]]] = {}
    for s, a, after, reward, p in zip(*(column.tolist() for column in m.table), strict=True):
        rows.setdefault((s, a), []).append((mp.mpf(p), after, mp.mpf(reward)))
    return rows


def _backup(outcomes: list[tuple[Any, int, Any]], v: Any, gamma: Any) -> Any:
    return sum((p * (reward + gamma * v[after]) for p, after, reward in outcomes), mp.mpf(0))
