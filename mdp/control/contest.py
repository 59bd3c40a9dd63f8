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
from mdp.model.table import Bools, Floats, Ints, best, largest

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP

MANY = 0.2  # of all rows that are open: from here on it is cheaper to multiply all
LARGE = 100_000  # entries of P, from which on it is too large for the fastest memory
FLOAT32 = 1e30  # values up to here, and rewards down to 1 / it, are well within its range
CHOICE = 8  # actions, from which on the rows of one policy are a small part of all
PATCHES = 0.02  # of all states: as many may change their action before the rows of the policy are gathered anew


class Rows:
    """All pairs (s, a) as rows s A + a: P (S A, S), r (S A,), -inf for pairs that are not admissible.

    A terminal state has A rows, which pay 0 and lead nowhere. kind: of the numbers of P and r; eps: of that kind;
    ends: whether a state is terminal.
    """

    def __init__(self, mdp: FiniteMDP, kind: type[np.floating[Any]]) -> None:
        self.S, self.A, self.gamma = mdp.n_states, mdp.n_actions, mdp.gamma
        self.kind, self.eps = kind, float(np.finfo(kind).eps)
        self.P = of_kind(mdp.table.product, kind)
        self.r: Floats = mdp.reward_or_limit.ravel().astype(kind, copy=False)
        self._spread, self.ends = spread(self.P), bool(mdp.terminal.any())

    def backup(self, v: Floats) -> Floats:
        """q of all rows, (S, A)."""
        q: Floats = self._spread @ (self.gamma * v)
        q += self.r
        return q.reshape(self.S, self.A)

    def backup_of(self, rows: Ints, v: Floats) -> Floats:
        """q of some rows."""
        return np.asarray(self.r[rows] + self.gamma * (self.P[rows] @ v))


def of_kind(P: Any, kind: type[np.floating[Any]]) -> Any:
    """P, a full matrix or a sparse one by rows, in numbers of some kind."""
    if P.dtype == kind or isinstance(P, np.ndarray):
        return P.astype(kind, copy=False)
    return sparse.csr_array((P.data.astype(kind), P.indices, P.indptr), shape=P.shape)


def coarse(mdp: FiniteMDP) -> type[np.floating[Any]]:
    """float32, half as much memory to read, where P is sparse and large and all values fit; else float64."""
    P, fits = mdp.table.product, 1 / FLOAT32 < mdp.table.largest_reward < FLOAT32 * (1 - mdp.gamma)
    return np.float32 if fits and sparse.issparse(P) and P.nnz >= LARGE else np.float64


class Greedy:
    """A deterministic policy: the rows that it takes, and T_pi. States that changed lately are kept apart."""

    def __init__(self, all_rows: Rows, taken: Ints) -> None:
        self.taken, self.kind = taken, all_rows.kind
        self.read(all_rows)

    def read(self, all_rows: Rows) -> None:
        """The same policy among `all_rows`."""
        self.all = all_rows
        self._gather()

    def _gather(self) -> None:
        P = self.all.P[self.taken]
        self.P, self._coarse, self.r = spread(P), spread(of_kind(P, self.kind)), self.all.r[self.taken]
        self._apart = np.zeros(self.all.S, bool)
        self._read_apart()

    def _read_apart(self) -> None:
        self._states = np.flatnonzero(self._apart)
        rows = self.taken[self._states]
        self._P, self._r = self.all.P[rows], self.all.r[rows]

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
        if np.count_nonzero(self._apart) > PATCHES * self.all.S:
            self._gather()
        else:
            self._read_apart()
        return True

    def backup(self, v: Floats) -> Floats:
        """T_pi v."""
        w: Floats = self.P @ v
        w *= self.all.gamma
        w += self.r
        if len(self._states):
            w[self._states] = self._r + self.all.gamma * (self._P @ v)
        return w

    def carry(self, d: Floats) -> Floats:
        """gamma P_pi d, which T_pi v changes by where v changes by d: coarse numbers will do."""
        w: Floats = self._coarse @ d
        if len(self._states):
            w[self._states] = self._P @ d
        w *= self.all.gamma
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

    def refine(self, rows: Rows, off: float) -> None:
        """From now on the same rows in float64; off: how wrong `short - way` may be: two q, and how it was kept."""
        self.rows, self.way = rows, self.way + off
        self.policy.read(rows)
        self.v, self.Tv, self.short = (x.astype(rows.kind) for x in (self.v, self.Tv, self.short))

    def improve(self, v: Floats) -> None:
        """T v; the policy is greedy for v from now on."""
        self.way += self.rows.gamma * float(np.ptp(v - self.v))
        self.v = v
        open_ = self.short <= self.way
        if np.count_nonzero(open_) > MANY * open_.size:
            self.changed = self.policy.take(self._among_all(self.rows.backup(v)))
        else:
            self.look_at(open_, v, self.policy.backup(v))

    def look_at(self, open_: Bools, v: Floats, Tv: Floats) -> None:
        """Whether any of these rows is better than the one that is taken, whose q is Tv."""
        self.Tv = Tv
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


class Guess(Contest):
    """From r alone, as if v were 0. Rows are taken to go no further apart than twice as far as those of the policy do:
    in a full matrix, where each is an average of much the same, that is far less than what they could. What it finds is
    likely, not proven. lost: whether many rows are open, so that it is better to look at all.
    """

    @staticmethod
    def pays(rows: Rows) -> bool:
        """Whether a full matrix has many rows for each that is taken, and r tells the most of them apart."""
        r = rows.r.reshape(rows.S, rows.A)
        if rows.A < CHOICE or not isinstance(rows.P, np.ndarray):
            return False
        return int(np.count_nonzero(r == largest(r)[:, None])) - rows.S <= MANY * r.size

    def __init__(self, rows: Rows) -> None:
        super().__init__(rows, rows.r.reshape(rows.S, rows.A), np.zeros(rows.S))
        self.lost = False

    def improve(self, v: Floats) -> None:
        Tv = self.policy.backup(v)
        self.way += 2 * float(np.ptp(Tv - self.Tv))
        self.v, open_ = v, self.short <= self.way
        self.lost = bool(np.count_nonzero(open_) > MANY * open_.size)
        self.look_at(open_ & (not self.lost), v, Tv)


def first_of(sorted_: Ints) -> Bools:
    """Where a sorted array has a value for the first time."""
    new = np.ones(len(sorted_), bool)
    np.not_equal(sorted_[1:], sorted_[:-1], out=new[1:])
    return new
