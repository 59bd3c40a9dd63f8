"""Drawing from many finite distributions at once, and an MDP's table arranged for it.

Inverse CDF: the first outcome is drawn whose cumulative probability F exceeds U, U uniform in [0, 1). Rows are padded
to a power of two, so that all of them take the same few halvings, without a branch. Alias method: U picks a column and
says whether it or its alias is drawn; that takes the same few operations whatever the width, but its table grows dear
with it. Both are measured in tests/benchmarks/simulation_speed.py: alias where rows are narrow, halvings elsewhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdp.model.table import Bools, Floats, Ints, Table

NARROW = 32  # columns up to which the alias method is used


class Sampler:
    """Draws from R distributions, given as F (R, W), W a power of two: a draw of row i is a place, i W + column.

    An entry of probability 0 is never drawn; a row of zeros has no draw, and what stands for it means nothing.
    """

    def __init__(self, F: Floats) -> None:
        self.F, self.width = F, F.shape[1]
        halves = [1 << k for k in reversed(range((self.width - 1).bit_length()))]
        self._halvings = [(half, F.ravel()[half - 1 :]) for half in halves]

    def draw(self, row: Ints, rng: np.random.Generator) -> Ints:
        """The place of one draw for each row."""
        place: Ints = row * self.width
        if self.width == 1:
            return place
        u = rng.random(len(row))
        for half, F in self._halvings:
            beyond = F.take(place) <= u
            place += beyond if half == 1 else half * beyond
        return place


class Alias:
    """The same draws from distributions p (R, W) by the alias method. Walker (1977).

    Columns are cut to the height 1 / W: of each row the lowest column that is left is filled up from the highest.
    """

    def __init__(self, p: Floats) -> None:
        (R, W), rows = p.shape, np.arange(len(p))
        self.width, keep, alias, left = W, p * W, np.tile(np.arange(W), (R, 1)), np.ones(p.shape, bool)
        for _ in range(W - 1):
            low = np.where(left, keep, np.inf).argmin(axis=1)
            high = np.where(left, keep, -np.inf).argmax(axis=1)
            keep[rows, high] -= 1 - keep[rows, low]
            alias[rows, low], left[rows, low] = high, False
        keep[left] = 1.0  # but for rounding
        self._cut, self._shift = (keep + np.arange(W)).ravel(), (alias - np.arange(W)).ravel()

    def draw(self, row: Ints, rng: np.random.Generator) -> Ints:
        """The place of one draw for each row."""
        u = rng.random(len(row))
        u *= self.width
        column = u.astype(np.int64)
        place: Ints = row * self.width
        place += column
        place += (self._cut.take(place) <= u) * self._shift.take(place)
        return place


def cumulative(p: Floats) -> Floats:
    """F (R, W) of distributions p (R, W): 1 from the last outcome on, which no U reaches."""
    summed = p.cumsum(axis=1)
    total = summed[:, -1:].copy()
    return np.asarray(np.divide(summed, total, out=summed, where=total > 0))


def width_for(n: int) -> int:
    """The least power of two that is at least n."""
    return 1 << (max(n, 1) - 1).bit_length()


class Dynamics:
    """p(s',r|s,a) and Pr(S_0 = s) to draw from. The row of (s, a) is s * width + a, width a power of two >= A.

    next, reward, goes_on: by place, s', r, and that s' is not terminal; places (K,): where the outcomes of the MDP's
    table are.
    """

    def __init__(self, table: Table, start: Floats, terminal: Bools, n_actions: int) -> None:
        self.width = width_for(n_actions)
        row, rows = table.state * self.width + table.action, len(start) * self.width
        first = np.searchsorted(row, np.arange(rows))
        self._size = rows, width_for(int(np.bincount(row).max()))
        self.places: Ints = row * self._size[1] + np.arange(len(row)) - first[row]
        self._p = self._by_place(table.p).reshape(-1, self.width, self._size[1])
        self.outcomes = Sampler(cumulative(self._p.reshape(self._size)))
        self.next, self.reward = self._by_place(table.next), self._by_place(table.reward)
        self.terminal, self.goes_on = terminal, ~terminal[self.next]
        self._first = np.flatnonzero(start)
        self._start = Sampler(cumulative(_padded(start[None, self._first])))

    def _by_place(self, x: NDArray[Any]) -> NDArray[Any]:
        out = np.zeros(self._size[0] * self._size[1], x.dtype)
        out[self.places] = x
        return out

    def starts(self, n: int, rng: np.random.Generator) -> Ints:
        """S_0, n times."""
        return self._first.take(self._start.draw(np.zeros(n, np.int64), rng))

    def under(self, policy: Floats) -> Alias | Sampler:
        """Draws an action and its outcome by one U: of row s with probability pi(a|s) p(s',r|s,a).

        For halvings, with k the outcomes of (s, a) in order,

            F(a,k|s) = sum over a' < a of pi(a'|s)  +  pi(a|s) F(k|s,a).

        policy (S, A), 0 where an action is not admissible. The places are those of `outcomes`.
        """
        pi = _padded(policy)[:, :, None]
        shape = len(policy), self.width * self.outcomes.width
        if shape[1] <= NARROW:
            return Alias((pi * self._p).reshape(shape))
        F = self.outcomes.F.reshape(self._p.shape)
        upper = cumulative(pi[:, :, 0])[:, :, None]
        lower = np.concatenate([np.zeros_like(upper[:, :1]), upper[:, :-1]], axis=1)
        return Sampler(np.where(F < 1, np.minimum(lower + (upper - lower) * F, upper), upper).reshape(shape))

    def pairs(self, place: Ints) -> tuple[Ints, Ints]:
        """(s, a) of drawn outcomes."""
        s, a = np.divmod(place // self.outcomes.width, self.width)
        return s, a


def _padded(p: Floats) -> Floats:
    """p (R, W) with zeros, up to a power of two."""
    return np.pad(p, [(0, 0), (0, width_for(p.shape[1]) - p.shape[1])])
