"""Which actions may be the best ones: an action is looked at again only where it may have become one.

Between two values v and w the q of an action changes by gamma P (w - v), so what one action is better than another by
changes by at most gamma span(w - v). An action that fell short by more is not the best one yet, and its row is not
multiplied: the skipping is exact. Most actions are looked at two or three times in all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from mdp.model.products import spread
from mdp.model.table import Bools, Floats, Ints, best

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP

MANY = 0.1  # of all rows that are open: from here on it is cheaper to multiply all
FLOAT32 = 1e30  # values up to here, and rewards down to 1 / it, are well within its range
PATCHES = 0.02  # of all states: as many may change their action before the rows of the policy are gathered anew


class Rows:
    """All pairs (s, a) as rows s A + a: P (S A, S), r (S A,), -inf for pairs that are not admissible.

    A terminal state has A rows, which pay 0 and lead nowhere. eps: of the kind of numbers that P has.
    """

    def __init__(self, mdp: FiniteMDP, P: Any) -> None:
        self.S, self.A, self.gamma = mdp.n_states, mdp.n_actions, mdp.gamma
        self.P, self._spread, self.eps = P, spread(P), float(np.finfo(P.dtype).eps)
        self.r: Floats = mdp.reward_or_limit.ravel().astype(P.dtype, copy=False)

    @classmethod
    def of(cls, mdp: FiniteMDP) -> tuple[Rows, Rows]:
        """(coarse, exact): in float32, half as much memory to read, where P is sparse and values fit; in float64."""
        P = mdp.table.product
        exact = cls(mdp, P)
        if isinstance(P, np.ndarray) or not 1 / FLOAT32 < mdp.table.largest_reward < FLOAT32 * (1 - mdp.gamma):
            return exact, exact
        half = sparse.csr_array((P.data.astype(np.float32), P.indices, P.indptr), shape=P.shape)
        return cls(mdp, half), exact

    def backup(self, v: Floats) -> Floats:
        """q of all rows, (S, A)."""
        q: Floats = self._spread @ (self.gamma * v)
        q += self.r
        return q.reshape(self.S, self.A)

    def backup_of(self, rows: Ints, v: Floats) -> Floats:
        """q of some rows."""
        return np.asarray(self.r[rows] + self.gamma * (self.P[rows] @ v))


class Greedy:
    """A deterministic policy: the rows that it takes, and T_pi. States that changed lately are kept apart."""

    def __init__(self, all_rows: Rows, taken: Ints) -> None:
        self.all, self.taken = all_rows, taken
        self._gather()

    def _gather(self) -> None:
        self.P, self.r = spread(self.all.P[self.taken]), self.all.r[self.taken]
        self._apart = np.zeros(self.all.S, bool)
        self._states = np.zeros(0, np.int64)

    def refine(self, all_rows: Rows) -> None:
        """The same policy among the same rows in other numbers."""
        self.all = all_rows
        self._gather()

    def take(self, taken: Ints) -> bool:
        """From now on the rows `taken` (S,). Whether any is another one."""
        states = np.flatnonzero(taken != self.taken)
        return self.change(states, taken[states])

    def change(self, states: Ints, rows: Ints) -> bool:
        """From now on `rows` in `states`. Whether any is another one."""
        other = states[rows != self.taken[states]]
        if not len(other):
            return False
        self.taken[states] = rows
        self._apart[other] = True
        self._states = np.flatnonzero(self._apart)
        if len(self._states) > PATCHES * self.all.S:
            self._gather()
        else:
            self._P, self._r = self.all.P[self.taken[self._states]], self.all.r[self.taken[self._states]]
        return True

    def backup(self, v: Floats) -> Floats:
        """T_pi v."""
        w: Floats = self.P @ v
        w *= self.all.gamma
        w += self.r
        if len(self._states):
            w[self._states] = self._r + self.all.gamma * (self._P @ v)
        return w


class Contest:
    """Which rows may be best: `short` (S, A) is by how much each fell short when it was looked at, plus what was then
    the way of v, `way`; a row is open again where v has gone that far. A row that is taken is not: its q is Tv.

    changed: whether the last improvement changed the policy.
    """

    def __init__(self, rows: Rows, q: Floats, v: Floats) -> None:
        """From q, the backup of v."""
        self.rows, self.changed, self.v = rows, True, v
        self.first = np.arange(0, rows.S * rows.A, rows.A)
        self.way = 0.0
        self.policy = Greedy(rows, self._among_all(q))

    def _among_all(self, q: Floats) -> Ints:
        """The first best row of each state."""
        self.Tv, action = best(q)
        self.short = self.Tv[:, None] - q
        self.short += self.way
        taken = self.first + action
        self.short.ravel()[taken] = np.inf
        return taken

    def refine(self, rows: Rows, lost: float) -> None:
        """From now on the same rows in float64; lost: what a backup may have been off by."""
        self.rows, self.way = rows, self.way + 4 * lost  # of two q each, and what they were written with
        self.policy.refine(rows)
        self.v, self.Tv, self.short = (x.astype(np.float64) for x in (self.v, self.Tv, self.short))

    def improve(self, v: Floats) -> None:
        """T v; the policy is greedy for v from now on."""
        self.way += self.rows.gamma * float(np.ptp(v - self.v))
        self.v = v
        open_ = self.short <= self.way
        if np.count_nonzero(open_) > MANY * open_.size:
            self.changed = self.policy.take(self._among_all(self.rows.backup(v)))
        else:
            self.Tv = self.policy.backup(v)
            self.changed = self._among(np.flatnonzero(open_), v)

    def _among(self, rows: Ints, v: Floats) -> bool:
        """The best of some rows takes the place of the one that is taken where it is better."""
        s, q, short = rows // self.rows.A, self.rows.backup_of(rows, v), self.short.ravel()
        short[rows] = self.Tv[s] - q + self.way
        better = np.flatnonzero(q > self.Tv[s])
        if not len(better):
            return False
        better = better[np.lexsort((-q[better], s[better]))]
        won = better[first_of(s[better])]
        s, rows, q = s[won], rows[won], q[won]
        short[self.policy.taken[s]] = q - self.Tv[s] + self.way
        short[rows] = np.inf
        self.Tv[s] = q
        return self.policy.change(s, rows)


def first_of(sorted_: Ints) -> Bools:
    """Where a sorted array has a value for the first time."""
    new = np.ones(len(sorted_), bool)
    np.not_equal(sorted_[1:], sorted_[:-1], out=new[1:])
    return new
