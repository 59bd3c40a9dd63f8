"""Modified policy iteration: v <- T_pi v, until it changes little; pi <- greedy(v). Puterman & Shin (1978).

With d = T v - v, v* - T v lies between gamma min(d) / (1 - gamma) and gamma max(d) / (1 - gamma) (MacQueen 1966;
Porteus 1971): the middle is the better v, half the span its error. `solve` proves it again by a sweep over all rows.

A policy is evaluated by its changes, v <- v + d, d <- gamma P_pi d: they are small, and for them float32 has digits
enough. Large tables begin in float32 altogether, which reads half as much memory, until it has no digits left for d.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from mdp.control.bound import error_bound, rounding
from mdp.control.contest import Contest, Guess, Rows, coarse
from mdp.control.progress import Found, Show
from mdp.model.table import EPS, Floats, greedy, largest

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP

ENOUGH = 0.2  # an evaluation ends where the span of its changes is this share of the last improvement's
LOOKS = 24  # at rows of each state, in sweeps over all of them, before the first policy is taken
MOST = 200  # improvements
ROUNDINGS = 2  # of a backup: a span of their size is no progress any more
STALLED = 400  # sweeps that are still to come, by the contraction that was seen, from which on sweeping is given up


class Stalled(Exception):
    """The values contract so slowly that sweeps would take too long; `v` are the last ones, (S,)."""

    def __init__(self, v: Floats) -> None:
        self.v = v


def modified_policy_iteration(mdp: FiniteMDP, tolerance: float, show: Show) -> Found:
    """At gamma < 1: the bound is below `tolerance`, or at rounding above it. Raises Stalled where sweeps contract too
    slowly.
    """
    search = Search(mdp, tolerance, show)
    return search.guessed() or search.swept()


class Search:
    """For v, within `tolerance` or what float64 can tell; `rows`: those that are swept now, perhaps in float32."""

    def __init__(self, mdp: FiniteMDP, tolerance: float, show: Show) -> None:
        self.mdp, self.tolerance, self.show = mdp, tolerance, show
        self.to_error = mdp.gamma / (1 - mdp.gamma) / 2
        self.rows, self.improvements = Rows(mdp, coarse(mdp)), 0
        self.first: tuple[Floats, Floats] | None = None  # q and v to begin with, if they are known

    def guessed(self) -> Found | None:
        """By a guess, where that pays; one sweep over all rows has to prove it."""
        if not Guess.pays(self.rows):
            return None
        contest = Guess(self.rows)
        v, _ = self.values(contest, *self.converged(contest, MOST))
        q = self.mdp.backup(v)
        error = error_bound(self.mdp, v, q)
        if error <= max(self.tolerance, ROUNDINGS * self.lost(v) / (1 - self.mdp.gamma)):
            return Found(v, greedy(q), self.improvements, error, q)
        self.first = q, v
        return None

    def swept(self) -> Found:
        """By improvements among all rows, in float64 in the end."""
        contest = Contest(self.rows, *(self.first or ahead(self.rows)))
        spans = self.converged(contest, max(MOST - self.improvements, 1))
        if self.rows.kind != np.float64 and self.improvements < MOST:
            most = np.array([2 * self.mdp.table.largest_reward / (1 - self.mdp.gamma)])  # |v| on the way, at most
            off, self.rows = (4 + self.improvements) * self.lost(most), Rows(self.mdp, np.float64)
            contest.refine(self.rows, off)
            contest.improve(contest.Tv)
            spans = self.converged(contest, MOST - self.improvements)
        v, bound = self.values(contest, *spans)
        return Found(v, contest.policy.taken % self.rows.A, self.improvements, bound)

    def converged(self, contest: Contest, most: int) -> tuple[float, float]:
        """Evaluate and improve until d has a span that is good enough, or `most` times: d's least and largest value."""
        for k in count(1):
            d = contest.Tv - contest.v
            low, high, target = float(d.min()), float(d.max()), self.enough(contest)
            self.tell(contest, low, high)
            if high - low <= target or k == most:
                break
            share = ENOUGH if contest.changed else 0.0
            middle = 0.0 if self.rows.ends else (low + high) / 2  # v + c is as good as v: T (v + c) = T v + gamma c
            contest.improve(evaluated(contest, d - middle, max(share * (high - low), target)))
        return low, high

    def lost(self, v: Floats) -> float:
        """What a backup of v may be off by."""
        return rounding(self.mdp, v) * self.rows.eps / EPS

    def enough(self, contest: Contest) -> float:
        """The span of d from which on v is good enough, or a guess is none."""
        if isinstance(contest, Guess) and contest.lost:
            return np.inf
        wanted = max(0.9 * self.tolerance, ROUNDINGS * self.lost(contest.Tv) / (1 - self.mdp.gamma))
        return wanted / self.to_error if self.to_error else np.inf

    def values(self, contest: Contest, low: float, high: float) -> tuple[Floats, float]:
        """The middle of what v* may be, and its error; T v where that is too wide, and v* may be there as well."""
        error, middle = self.to_error * (high - low), self.to_error * (low + high)
        shift = 0.0 if self.rows.ends and error > self.tolerance else middle
        v = np.where(self.mdp.terminal, 0.0, contest.Tv.astype(np.float64) + shift)
        return v, error + abs(middle - shift) + self.lost(v) / (1 - self.mdp.gamma)

    def tell(self, contest: Contest, low: float, high: float) -> None:
        """Another improvement is done; of a guess nothing is proven."""
        self.improvements += 1
        v = contest.Tv if self.rows.ends else contest.Tv + self.to_error * (low + high)
        self.show(self.improvements, np.inf if isinstance(contest, Guess) else self.to_error * (high - low), v)


def ahead(rows: Rows) -> tuple[Floats, Floats]:
    """(q, v) after some sweeps, which are worth more than a policy that will not last; at v = 0 no product is needed.

    One sweep for a full matrix: the rows of one policy fit a cache, all of them may not.
    """
    q = rows.r.reshape(rows.S, rows.A)
    for _ in range(1 if isinstance(rows.P, np.ndarray) else max(1, LOOKS // rows.A)):
        v = largest(q)
        q = rows.backup(v)
    return q, v


def evaluated(contest: Contest, d: Floats, target: float) -> Floats:
    """T_pi ... T_pi T v, for d = T v - v: as often as it takes until the changes, gamma P_pi d, have a small span."""
    v, d, sweeps, first = contest.Tv.copy(), d.astype(contest.policy.kind), 0, float(np.ptp(d))
    while True:
        d = contest.policy.carry(d)
        v += d
        now, sweeps = float(d.max() - d.min()), sweeps + 1
        if now <= target:
            return v
        if sweeps % 50 == 0:
            rate = (now / first) ** (1 / 50)
            if rate >= 1 or np.log(target / now) / np.log(rate) > STALLED:
                raise Stalled(v.astype(np.float64))
            first = now
