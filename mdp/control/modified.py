"""Modified policy iteration that looks at an action again only where it may have become the best one.

    v <- T_pi v, until it changes little;        pi <- greedy(v);        T_pi v = r_pi + gamma P_pi v

Puterman & Shin (1978). Between two values v and w the q of an action changes by gamma P (w - v), so what one action is
better than another by changes by at most gamma span(w - v). An action that fell short by more is not the best one yet,
and its row is not multiplied: the skipping is exact. Most actions are looked at two or three times in all.

With d = T v - v, v* - T v lies between gamma min(d) / (1 - gamma) and gamma max(d) / (1 - gamma) (MacQueen 1966;
Porteus 1971): the middle is the better v, half the span its error. `solve` proves it again by a sweep over all rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mdp.control.bound import EPS, rounding
from mdp.control.sweeping import Progress
from mdp.model.table import Bools, Floats, Ints, largest

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP

ENOUGH = 0.1  # an evaluation ends where the span of its changes is this share of the last improvement's
MANY = 0.35  # of all rows: from here on it is cheaper to multiply all of them
MOST = 200  # improvements; rounding may hold the span above what is wanted
PATCHES = 0.02  # of all states: as many may change their action before the rows of the policy are gathered anew
STALLED = 400  # sweeps that are still to come, by the contraction that was seen, from which on sweeping is given up


class Stalled(Exception):
    """The values contract so slowly that sweeps would take too long; `policy` is the last greedy one, (S,)."""

    def __init__(self, policy: Ints) -> None:
        self.policy = policy


class Rows:
    """All pairs (s, a) as rows s A + a: P (S A, S), r (S A,), -inf for pairs that are not admissible.

    A terminal state has one row, which pays 0 and leads nowhere.
    """

    def __init__(self, mdp: FiniteMDP) -> None:
        self.S, self.A, self.gamma = mdp.n_states, mdp.n_actions, mdp.gamma
        self.P: Any = mdp.transition
        open_ = mdp.admissible.copy()
        open_[mdp.terminal, 0] = True
        self.r: Floats = np.where(open_, mdp.expected_reward, -np.inf).ravel()

    def backup(self, v: Floats, rows: Ints | None = None) -> Floats:
        """q of some rows, or of all."""
        P, r = (self.P, self.r) if rows is None else (self.P[rows], self.r[rows])
        q: Floats = P @ v
        q *= self.gamma
        q += r
        return q

    def best(self, q: Floats) -> Floats:
        """max over a of q(s,a), (S,)."""
        return largest(q.reshape(self.S, self.A))


class Greedy:
    """A deterministic policy: the rows that it takes, and T_pi. States that changed lately are kept apart."""

    def __init__(self, all_rows: Rows, taken: Ints) -> None:
        self.all, self.taken = all_rows, taken
        self._gather()

    def _gather(self) -> None:
        self.P, self.r = self.all.P[self.taken], self.all.r[self.taken]
        self.apart = np.zeros(self.all.S, bool)
        self._states = np.flatnonzero(self.apart)

    def take(self, taken: Ints) -> None:
        """From now on the rows `taken` (S,)."""
        states = np.flatnonzero(taken != self.taken)
        self.change(states, taken[states])

    def change(self, states: Ints, rows: Ints) -> None:
        """From now on `rows` in `states`."""
        other = states[rows != self.taken[states]]
        if not len(other):
            return
        self.taken[states] = rows
        self.apart[other] = True
        self._states = np.flatnonzero(self.apart)
        if len(self._states) > PATCHES * self.all.S:
            self._gather()
        else:
            self._P, self._r = self.all.P[self.taken[self._states]], self.all.r[self.taken[self._states]]

    def backup(self, v: Floats) -> Floats:
        """T_pi v."""
        w: Floats = self.P @ v
        w *= self.all.gamma
        w += self.r
        if len(self._states):
            w[self._states] = self._r + self.all.gamma * (self._P @ v)
        return w


class Contest:
    """Which rows may be best: `short` (S A,) is by how much each fell short when it was looked at, plus what was then
    the way of v, `way`; a row is open again where v has gone that far.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.v = np.zeros(rows.S)
        self.way = 64 * EPS * float(np.abs(rows.r[np.isfinite(rows.r)]).max()) / (1 - rows.gamma)  # as q is rounded
        self.Tv = rows.best(rows.r)  # at v = 0 no product is needed
        self.policy = Greedy(rows, self._among_all(rows.r))

    def _among_all(self, q: Floats) -> Ints:
        """The first best row of each state."""
        self.short = np.repeat(self.Tv, self.rows.A)
        self.short -= q
        taken = np.flatnonzero(self.short == 0)
        self.short += self.way
        return taken[first_of(taken // self.rows.A)]

    def improve(self, v: Floats) -> Floats:
        """d = T v - v, (S,); the policy is greedy for v from now on."""
        self.way += self.rows.gamma * float(np.ptp(v - self.v))
        self.v = v
        open_ = self.short <= self.way
        if np.count_nonzero(open_) > MANY * len(open_):
            q = self.rows.backup(v)
            self.Tv = self.rows.best(q)
            self.policy.take(self._among_all(q))
        else:
            self.Tv = self.policy.backup(v)
            self._among(open_, v)
        return self.Tv - v

    def _among(self, open_: Bools, v: Floats) -> None:
        """The best of the open rows, in states that have more than one."""
        A = self.rows.A
        count = open_[0::A].astype(np.int16)
        for a in range(1, A):
            count += open_[a::A]
        several = count > 1
        if not several.any():
            return
        rows = np.flatnonzero(open_ & np.repeat(several, A))
        states = np.flatnonzero(several)
        i = np.repeat(np.arange(len(states)), count[states])
        q = self.rows.backup(v, rows)
        top = np.maximum.reduceat(q, np.flatnonzero(first_of(i)))
        self.Tv[states] = top
        q = top[i] - q
        won = np.flatnonzero(q == 0)
        self.policy.change(states, rows[won[first_of(i[won])]])
        q += self.way
        self.short[rows] = q


def first_of(sorted_: Ints) -> Bools:
    """Where a sorted array has a value for the first time."""
    new = np.ones(len(sorted_), bool)
    np.not_equal(sorted_[1:], sorted_[:-1], out=new[1:])
    return new


def modified_policy_iteration(mdp: FiniteMDP, tolerance: float, show: Progress) -> tuple[Floats, Ints, int, float]:
    """(v, policy (S,), improvements, bound) at gamma < 1, the bound below `tolerance` where float64 reaches it.

    Raises Stalled where sweeps contract too slowly.
    """
    rows = Rows(mdp)
    gamma = mdp.gamma
    contest = Contest(rows)
    d, improvements = contest.Tv.copy(), 1
    to_error = gamma / (1 - gamma) / 2
    while True:
        low, high = float(d.min()), float(d.max())
        error = (high - low) * to_error
        show(improvements, error)
        if error <= 0.9 * tolerance or improvements > MOST:
            v = np.where(mdp.terminal, 0.0, contest.Tv + gamma / (1 - gamma) * (low + high) / 2)
            return v, contest.policy.taken % rows.A, improvements, error + rounding(mdp, v) / (1 - gamma)
        v = evaluated(contest, high - low, 0.9 * tolerance / to_error if gamma else np.inf)
        d = contest.improve(v)
        improvements += 1


def evaluated(contest: Contest, span: float, target: float) -> Floats:
    """T_pi ... T_pi T v: as often as it takes until the changes have a small span."""
    v, wanted, sweeps, first = contest.Tv, max(ENOUGH * span, target), 0, span
    while True:
        w = contest.policy.backup(v)
        now, v, sweeps = float(np.ptp(w - v)), w, sweeps + 1
        if now <= wanted:
            return v
        if sweeps % 50 == 0:
            rate = (now / first) ** (1 / 50)
            if rate >= 1 or np.log(target / now) / np.log(rate) > STALLED:
                raise Stalled(contest.policy.taken % contest.rows.A)
            first = now
