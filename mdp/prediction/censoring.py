"""Gain, bias and stationary law of a small chain without a subtraction: Grassmann, Taksar & Heyman (1985).

Nodes are taken out one by one: whoever would go to node n goes at once where n would send it, and takes the time t(n)
and the reward r(n) that n would have cost. What is left of a node is the sum of its ways, never 1 minus something, so
that every mu(i) is right to some eps relative to itself, however rarely the chain changes between its parts; and the
gain, r / t of the last node, to some eps max|r|. The bias comes on the way back.
"""

from __future__ import annotations

import numpy as np

from mdp.model.table import Floats, Ints


class Censored:
    """The nodes of a chain but one, taken out in order. moves (N, N): P, whose diagonal is not read; node 0 is reached
    from everywhere."""

    def __init__(self, moves: Floats) -> None:
        self.P, self.leaves = moves.copy(), np.ones(len(moves))
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for n in range(len(moves) - 1, 0, -1):
                self.leaves[n] = self.P[n, :n].sum()
                self.P[:n, n] /= self.leaves[n]
                self.P[:n, :n] += np.outer(self.P[:n, n], self.P[n, :n])

    def stationary(self) -> Floats:
        """mu (N,)."""
        mu = np.zeros(len(self.P))
        mu[0] = 1.0
        for n in range(1, len(mu)):
            mu[n] = mu[:n] @ self.P[:n, n]
        return np.asarray(mu / mu.sum())

    def average_reward(self, reward: Floats) -> tuple[float, Floats]:
        """(gain, h (N,)) with h(0) = 0, for rewards (N,)."""
        r, t, h = reward.copy(), np.ones(len(reward)), np.zeros(len(reward))
        for n in range(len(r) - 1, 0, -1):
            r[:n] += self.P[:n, n] * r[n]
            t[:n] += self.P[:n, n] * t[n]
        gain = float(r[0] / t[0])
        for n in range(1, len(h)):
            h[n] = (r[n] - gain * t[n] + self.P[n, :n] @ h[:n]) / self.leaves[n]
        return gain, h


def rooted(moves: Floats, k: int) -> tuple[Censored, Ints]:
    """(the chain with node k first, the order of its nodes)."""
    order = np.concatenate([[k], np.delete(np.arange(len(moves)), k)])
    return Censored(moves[np.ix_(order, order)]), order
