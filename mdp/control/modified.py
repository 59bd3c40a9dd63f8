"""Modified policy iteration that looks at an action again only where it may have become the best one.

    v <- T_pi v, until it changes little;        pi <- greedy(v);        T_pi v = r_pi + gamma P_pi v

Puterman & Shin (1978). Between two values v and w the q of an action changes by gamma P (w - v), so what one action is
better than another by changes by at most gamma span(w - v). An action that fell short by more is not the best one yet,
and its row is not multiplied: the skipping is exact. Most actions are looked at two or three times in all.

With d = T v - v, v* - T v lies between gamma min(d) / (1 - gamma) and gamma max(d) / (1 - gamma) (MacQueen 1966;
Porteus 1971): the middle is the better v, half the span its error. `solve` proves it again by a sweep over all rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mdp.control.bound import rounding
from mdp.control.progress import Progress
from mdp.model.table import EPS, Bools, Floats, Ints, greedy, largest
from mdp.prediction.products import spread

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP

ENOUGH = 0.1  # an evaluation ends where the span of its changes is this share of the last improvement's
MANY = 0.1  # of all rows that are open, besides one for each state: from here on it is cheaper to multiply all
AHEAD = 1  # sweeps over all rows before the first policy is taken
MOST = 200  # improvements
ROUNDINGS = 2  # of a backup: a span of their size is no progress any more
PATCHES = 0.02  # of all states: as many may change their action before the rows of the policy are gathered anew
STALLED = 400  # sweeps that are still to come, by the contraction that was seen, from which on sweeping is given up


class Stalled(Exception):
    """The values contract so slowly that sweeps would take too long; `policy` is the last greedy one, (S,)."""

    def __init__(self, policy: Ints) -> None:
        self.policy = policy


class Rows:
    """All pairs (s, a) as rows s A + a: P (S A, S), r (S A,), -inf for pairs that are not admissible.

    A terminal state has A rows, which pay 0 and lead nowhere.
    """

    def __init__(self, mdp: FiniteMDP) -> None:
        self.S, self.A, self.gamma = mdp.n_states, mdp.n_actions, mdp.gamma
        self.P, self.product = mdp.table.product, spread(mdp.table.product)
        self.r: Floats = mdp.reward_or_limit.ravel()

    def backup(self, v: Floats) -> Floats:
        """q, (S, A)."""
        q: Floats = self.product @ v
        q *= self.gamma
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
    the way of v, `way`; a row is open again where v has gone that far.

    changed: whether the last improvement changed the policy.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows, self.changed = rows, True
        self.v = np.zeros(rows.S)
        r = rows.r.reshape(rows.S, rows.A)
        self.way = 64 * EPS * float(np.abs(rows.r[np.isfinite(rows.r)]).max()) / (1 - rows.gamma)  # as q is rounded
        self.first = np.arange(0, rows.S * rows.A, rows.A)
        q = r  # at v = 0 no product is needed
        for _ in range(AHEAD):
            self.v = largest(q)
            q = rows.backup(self.v)
        self.policy = Greedy(rows, self._among_all(q))

    def _among_all(self, q: Floats) -> Ints:
        """The first best row of each state."""
        self.Tv = largest(q)
        self.short = self.Tv[:, None] - q
        taken = self.first + greedy(q)
        self.short += self.way
        return taken

    def improve(self, v: Floats) -> Floats:
        """d = T v - v, (S,); the policy is greedy for v from now on."""
        self.way += self.rows.gamma * float(np.ptp(v - self.v))
        self.v = v
        open_ = self.short <= self.way
        if np.count_nonzero(open_) - self.rows.S > MANY * open_.size:
            self.changed = self.policy.take(self._among_all(self.rows.backup(v)))
        else:
            self.Tv = self.policy.backup(v)
            self.changed = self._among(open_, v)
        return self.Tv - v

    def _among(self, open_: Bools, v: Floats) -> bool:
        """The best of the open rows, in states that have more than one."""
        count = open_[:, 0].astype(np.int16)
        for column in open_.T[1:]:
            count += column
        states = np.flatnonzero(count > 1)
        if not len(states):
            return False
        s, a = open_[states].nonzero()
        rows = self.first[states[s]] + a
        q = self.rows.backup_of(rows, v)
        top = np.maximum.reduceat(q, np.flatnonzero(first_of(s)))
        self.Tv[states] = top
        q = top[s] - q
        won = np.flatnonzero(q == 0)
        changed = self.policy.change(states, rows[won[first_of(s[won])]])
        q += self.way
        self.short.ravel()[rows] = q
        return changed


def first_of(sorted_: Ints) -> Bools:
    """Where a sorted array has a value for the first time."""
    new = np.ones(len(sorted_), bool)
    np.not_equal(sorted_[1:], sorted_[:-1], out=new[1:])
    return new


def modified_policy_iteration(mdp: FiniteMDP, tolerance: float, show: Progress) -> tuple[Floats, Ints, int, float]:
    """(v, policy (S,), improvements, bound) at gamma < 1, the bound below `tolerance`, or at rounding above it.

    Raises Stalled where sweeps contract too slowly.
    """
    rows = Rows(mdp)
    gamma = mdp.gamma
    contest = Contest(rows)
    d, improvements = contest.Tv - contest.v, 1 + AHEAD
    to_error = gamma / (1 - gamma) / 2
    while True:
        low, high = float(d.min()), float(d.max())
        error = (high - low) * to_error
        enough = max(0.9 * tolerance, ROUNDINGS * rounding(mdp, contest.Tv) / (1 - gamma))
        show(improvements, error)
        if error <= enough or improvements > MOST:
            v = np.where(mdp.terminal, 0.0, contest.Tv + gamma / (1 - gamma) * (low + high) / 2)
            return v, contest.policy.taken % rows.A, improvements, error + rounding(mdp, v) / (1 - gamma)
        target = enough / to_error if gamma else np.inf
        v = evaluated(contest, high - low, max(ENOUGH * (high - low), target) if contest.changed else target)
        d = contest.improve(v)
        improvements += 1


def evaluated(contest: Contest, span: float, target: float) -> Floats:
    """T_pi ... T_pi T v: as often as it takes until the changes have a small span."""
    v, sweeps, first = contest.Tv, 0, span
    change = np.empty_like(v)
    while True:
        w = contest.policy.backup(v)
        np.subtract(w, v, out=change)
        now, v, sweeps = float(change.max() - change.min()), w, sweeps + 1
        if now <= target:
            return v
        if sweeps % 50 == 0:
            rate = (now / first) ** (1 / 50)
            if rate >= 1 or np.log(target / now) / np.log(rate) > STALLED:
                raise Stalled(contest.policy.taken % contest.rows.A)
            first = now
