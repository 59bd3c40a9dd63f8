"""The average reward of one policy. Sutton & Barto (2nd ed.), section 10.3; Puterman (1994), chapter 8.

    mu = P_pi^T mu,  sum of mu = 1             where the chain spends its time
    gain = sum over s of mu(s) r_pi(s)         the reward of a step, in the long run (equation 10.7: r(pi))
    bias = r_pi - gain + P_pi bias             what starting in s is worth beside that: differential values
                                               (S&B 10.3), Puterman's h, with mu . bias = 0

A chain with one recurrent class, besides states that it leaves for good, has one gain for all states: it is unichain.
With (I - P_pi) x + g = r_pi and x(k) = 0 in a recurrent state k, the column of k is free for g: one square system, and
its transpose gives mu. Discounting tells the same: (1 - gamma) v_gamma -> gain and v_gamma - gain / (1 - gamma) -> bias
as gamma -> 1.

The end counts as a state that stays, with reward 0. Of a row, what leaves its state is read, and the rest stays: rows
sum to 1 as if in exact arithmetic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.sparse import csgraph

from mdp.model.table import EPS, Floats, Ints
from mdp.prediction.censoring import Censored, rooted
from mdp.prediction.chain import checked_policy
from mdp.prediction.evaluation import average
from mdp.prediction.linear import DENSE, Solver

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP


class AverageReward(NamedTuple):
    """gain: the reward of a step in the long run; bias (S,): differential values, mu . bias = 0."""

    gain: float
    bias: Floats


def average_reward(mdp: FiniteMDP, policy: ArrayLike, /) -> AverageReward:
    """The gain and the bias of a policy (S, A), exact, by sparse direct solves; gamma is not read.

    All terminal states together are one state that stays, with reward 0: a policy that surely ends has gain 0, and its
    bias is v_pi at gamma = 1. Where no outcome leads to them they are left aside, with bias 0.

    Raises ValueError for an array that is no policy and, with the classes named, for a chain with more than one
    recurrent class: its gain depends on where it starts.

    >>> from envs import recycling_robot
    >>> from mdp import average_reward
    >>> m = recycling_robot()
    >>> search_and_recharge = [[1, 0, 0], [0, 0, 1]]  # high to low every 5th step: mu = (5/6, 1/6), r = (2, 0)
    >>> gain, bias = average_reward(m, search_and_recharge)
    >>> round(gain, 10), bias.round(10).tolist()  # 5/3; in low one step earns 0 instead of it
    (1.6666666667, [0.2777777778, -1.3888888889])
    """
    walk = Walk(mdp, checked_policy(mdp, policy))
    classes = walk.recurrent_classes()
    if len(classes) > 1:
        raise ValueError(
            f"the policy has {len(classes)} recurrent classes, {_listed([walk.named(c) for c in classes])}: its "
            f"average reward depends on where it starts; take a policy that has one, or gamma < 1"
        )
    return walk.average_reward(classes[0])


class Walk:
    """The chain of a checked policy, for ever: N nodes, the states that are not terminal and, if it can be reached, the
    end.

    node (S,): the node of a state, in the order of states; end: that of the end; n: N; laplacian (N, N): I - P_pi;
    r (N,): r_pi.
    """

    def __init__(self, mdp: FiniteMDP, policy: Floats) -> None:
        self.mdp, t, live = mdp, mdp.table, ~mdp.terminal
        self.end = int(live.sum())
        self.node = np.where(live, np.cumsum(live) - 1, self.end)
        self.n = self.end + bool(mdp.terminal[t.next].any())
        self.r = np.zeros(self.n)
        self.r[: self.end] = average(policy, mdp.expected_reward)[live]
        weight, s, after = policy[t.state, t.action] * t.p, self.node[t.state], self.node[t.next]
        moves = (weight > 0) & (s != after)
        self._moves = sparse.csr_array((weight[moves], (s[moves], after[moves])), shape=(self.n, self.n))
        self.laplacian = sparse.diags_array(self._moves.sum(axis=1)) - self._moves

    def recurrent_classes(self) -> list[Ints]:
        """The sets of nodes that are never left, and whose nodes all reach one another."""
        label = csgraph.connected_components(self._moves, connection="strong")[1]
        s, after = self._moves.nonzero()
        left = label[s][label[s] != label[after]]
        stays = np.flatnonzero(~np.isin(label, left))
        stays = stays[np.argsort(label[stays], kind="stable")]
        return np.split(stays, np.flatnonzero(np.diff(label[stays])) + 1)

    def stationary(self, closed: Ints) -> Floats:
        """mu of a recurrent class, (the number of its nodes,)."""
        if len(closed) <= DENSE:
            return Censored(self._moves[closed][:, closed].toarray()).stationary()
        return _rooted(self.laplacian[closed][:, closed], 0)[1]

    def average_reward(self, closed: Ints) -> AverageReward:
        """The gain and the bias of a chain with this recurrent class alone.

        Solved for differences to its most visited node: to one that is hardly ever seen they would be large. Raises
        ValueError where float64 could not tell the gain.
        """
        visits = self.stationary(closed)
        k, x = int(closed[np.argmax(visits)]), np.zeros(self.n)
        if self.n <= DENSE:
            censored, order = rooted(self._moves.toarray(), k)
            with np.errstate(over="ignore", invalid="ignore"):
                gain, x[order] = censored.average_reward(self.r[order])
        else:
            x = _rooted(self.laplacian, k)[0].solve(self.r)
            gain, x[k] = float(x[k]), 0.0
            self._check_gain(gain, x)
        if not (np.isfinite(gain) and np.isfinite(x).all()):
            raise ValueError("the average reward is not finite: rewards, or the times between them, are too large")
        return AverageReward(gain, np.append(x - visits @ x[closed], 0.0)[self.node])

    def _check_gain(self, gain: float, x: Floats) -> None:
        """Raises ValueError where r - (I - P) x, whose extremes hold the gain, may be off it by 1e-3 of max|r|."""
        off = np.abs(self.r - self.laplacian @ x - gain).max() + EPS * (abs(self.laplacian) @ np.abs(x)).max()
        if not off <= 1e-3 * np.abs(self.r).max():
            raise ValueError(
                f"the average reward {gain:.6g} may be off by {off:.2g}: parts of the chain are left too rarely for "
                f"float64; join them, or take their gains apart"
            )

    def named(self, nodes: Ints) -> str:
        """The states of some nodes: "{'a', 'b'}"."""
        return f"{{{_listed([repr(self.mdp.states[s]) for s in np.flatnonzero(np.isin(self.node, nodes))])}}}"


def _rooted(laplacian: sparse.csr_array, k: int) -> tuple[Solver, Floats]:
    """(solver, mu): I - P with ones in column k, which stand for the gain; its transpose gives mu."""
    n = laplacian.shape[0]
    others = np.ones(n)
    others[k] = 0.0
    ones = sparse.csr_array((np.ones(n), (np.arange(n), np.full(n, k))), shape=(n, n))
    solver = Solver(laplacian @ sparse.diags_array(others) + ones)
    return solver, solver.solve(1 - others, transposed=True)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
