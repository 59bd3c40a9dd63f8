"""The table p(s',r|s,a), kept as a compressed sparse row matrix.

Sutton & Barto (2nd ed.), equation 3.2 and 3.3: p(s',r|s,a) >= 0, and for every s and a in A(s)

    sum over s' and r of p(s',r|s,a) = 1.

The outcomes are sorted by (s, a, s', r), and equal (s', r) of one pair are merged, so that two tables that say the same
are the same arrays. R may be random given s': that is two outcomes with one s' and two rewards.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mdp.model.products import spread

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Label = Hashable
_T = TypeVar("_T", bound=np.generic)

EPS = float(np.finfo(np.float64).eps)
SMALLEST = float(np.finfo(np.float64).tiny)  # more than what is lost where products underflow
MOST_INT32 = np.iinfo(np.int32).max
TINY = 1 << 17  # entries of a matrix that is kept in full, be it as sparse as it may


class Outcomes(NamedTuple):
    """K outcomes as columns: `state` (K,), `action` (K,), `next` (K,), `reward` (K,), `p` (K,)."""

    state: Ints
    action: Ints
    next: Ints
    reward: Floats
    p: Floats

    def where(self, kept: Bools) -> Outcomes:
        """The outcomes that a mask (K,) keeps."""
        return Outcomes(self.state[kept], self.action[kept], self.next[kept], self.reward[kept], self.p[kept])


class Table:
    """The K outcomes with positive probability, by (s, a, s', r); those of a pair begin at starts[s A + a].

    shape (S, A), size S A; starts (S A + 1,), after (K,): s', 32 bits wide where that will do; p (K,); rewards (K,),
    or (S, A) where R follows from the pair. The columns are those of `Outcomes`, made when they are asked for.
    """

    def __init__(
        self, shape: tuple[int, int], starts: NDArray[Any], after: NDArray[Any], p: Floats, rewards: Floats
    ) -> None:
        small = max(len(p), shape[0]) <= MOST_INT32
        index = np.dtype(np.int32 if small else np.int64)
        self.shape, self.size, self.p, self.rewards = shape, shape[0] * shape[1], frozen(p), frozen(rewards)
        self.starts = frozen(starts.astype(index, copy=False))
        self.after = frozen(after.astype(index, copy=False))

    @cached_property
    def counts(self) -> Ints:
        """How many outcomes each pair has, (S A,)."""
        counts: Ints = self.starts[1:] - self.starts[:-1]
        return counts

    def spread(self, x: NDArray[_T]) -> NDArray[_T]:
        """What a pair has, (S A,) or (S, A), for each of its outcomes, (K,)."""
        return np.repeat(x.reshape(-1)[self._there], self.counts[self._there])

    @cached_property
    def pair(self) -> Ints:
        """s A + a, (K,)."""
        there = self._there
        pairs = np.arange(there.stop) if isinstance(there, slice) else there
        return frozen(np.repeat(pairs, self.counts[there]))

    @cached_property
    def state(self) -> Ints:
        """s, (K,)."""
        return frozen(self.pair // self.shape[1])

    @cached_property
    def action(self) -> Ints:
        """a, (K,)."""
        return frozen(self.pair % self.shape[1])

    @cached_property
    def next(self) -> Ints:
        """s', (K,), 64 bits wide."""
        return frozen(self.after.astype(np.int64))

    @cached_property
    def reward(self) -> Floats:
        """r, (K,)."""
        return self.rewards if self.rewards.ndim == 1 else frozen(self.spread(self.rewards))

    def columns(self) -> Outcomes:
        """All columns."""
        return Outcomes(self.state, self.action, self.next, self.reward, self.p)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return iter(self.columns())

    def where(self, kept: Bools) -> Outcomes:
        """The outcomes that a mask (K,) keeps."""
        return self.columns().where(kept)

    def totals(self, x: Floats) -> Floats:
        """sum of x (K,) over the outcomes of each pair, (S A,)."""
        return self._placed(self._sums(x))

    def _sums(self, x: Floats) -> Floats:
        """The same, of those pairs alone that have outcomes."""
        if len(x) == np.count_nonzero(self.counts):  # one each
            return x
        return np.asarray(np.add.reduceat(x, self.starts[:-1][self._there])) if len(x) else x

    def _placed(self, x: Floats) -> Floats:
        """What those pairs have, (S A,), 0 for the others."""
        if len(x) == self.size:
            return x
        placed = np.zeros(self.size)
        placed[self._there] = x
        return placed

    @cached_property
    def _there(self) -> Ints | slice:
        """The pairs that have outcomes, be it as a slice."""
        (pairs,) = (self.counts > 0).nonzero()
        return slice(len(pairs)) if not len(pairs) or pairs[-1] == len(pairs) - 1 else pairs

    @cached_property
    def total(self) -> Floats:
        """What the probabilities of each pair sum to, (S A,): 1 to rounding, 0 where it is not admissible."""
        return self.totals(self.p)

    @cached_property
    def expected_reward(self) -> Floats:
        """r(s,a) = sum over s' and r of r p(s',r|s,a), (S, A)."""
        if self.rewards.ndim == 2:
            most, off = self.sums
            return self.rewards if off <= most * EPS else frozen(self.rewards * self.total.reshape(self.shape))
        return frozen(self.totals(self.p * self.rewards).reshape(self.shape))

    @cached_property
    def transition(self) -> sparse.csr_array[Any]:
        """Pr(s'|s,a), (S A, S)."""
        P = sparse.csr_array((self.p, self.after, self.starts), shape=(self.size, self.shape[0]))
        P.has_sorted_indices = True
        if self.rewards.ndim == 2:  # so that no s' stands twice
            P.has_canonical_format = True
        if not P.has_canonical_format:
            P = P.copy()
            P.sum_duplicates()
        for part in (P.data, P.indices, P.indptr):
            frozen(part)
        return P

    @property
    def is_full(self) -> bool:
        """Whether a full array of Pr(s'|s,a) multiplies fastest: where it is tiny, or a third of it is there."""
        return self.size * self.shape[0] <= max(TINY, 3 * len(self.p))

    @cached_property
    def product(self) -> Any:
        """`transition` as it multiplies fastest: a full array, or sparse."""
        size = self.size * self.shape[0]
        if size <= TINY:
            places = self.pair * self.shape[0] + self.after
            return frozen(np.bincount(places, self.p, minlength=size).reshape(self.size, -1))
        P = self.transition
        if P.nnz == size:
            return P.data.reshape(P.shape)
        return frozen(P.toarray()) if self.is_full else P

    @cached_property
    def spread_product(self) -> Any:
        """`product` on all cores, where that is worth it."""
        return spread(self.product)

    @cached_property
    def largest_reward(self) -> float:
        """max |r|."""
        return max(float(self.rewards.max(initial=0.0)), -float(self.rewards.min(initial=0.0)))

    @cached_property
    def reward_size(self) -> Floats:
        """sum over s' and r of |r| p(s',r|s,a), (S, A): how large the terms of r(s,a) are."""
        if self.rewards.ndim == 2:
            return frozen(np.abs(self.rewards))
        return frozen(self.totals(self.p * np.abs(self.rewards)).reshape(self.shape))

    @cached_property
    def excess(self) -> float:
        """By how much the probabilities of a pair exceed 1, at most: their exact sum, rounded once."""
        p = self.p.tolist()
        return max((excess(p[i:j]) for i, j in pairwise(self.starts.tolist())), default=0.0)

    @cached_property
    def sums(self) -> tuple[int, float]:
        """The most outcomes that a pair has, and how far the sum of a pair's probabilities is from 1, at most."""
        off = np.abs(self._sums(self.p) - 1).max(initial=0.0)  # not total: of a million pairs few may be there
        return int(self.counts.max(initial=0)), float(off)


def excess(p: list[float]) -> float:
    """max(0, sum of p - 1): the exact sum, rounded once."""
    return max(0.0, math.fsum([-1.0, *p]))


def frozen(array: NDArray[_T]) -> NDArray[_T]:
    """The array, read-only from now on."""
    array.flags.writeable = False
    return array


def largest(q: Floats) -> Floats:
    """max over a of q(s,a), (S,): for few actions, column by column is several times as fast as along the last axis.

    Not where q has its actions side by side in memory, (A, S): then numpy goes that way itself.
    """
    if q.shape[1] > 32 or q.flags.f_contiguous:
        return np.asarray(q.max(axis=1))
    top = q[:, 0].copy()
    for a in range(1, q.shape[1]):
        np.maximum(top, q[:, a], out=top)
    return top


def greedy(q: Floats) -> Ints:
    """The first best action of every state, (S,)."""
    return best(q)[1] if q.shape[1] <= 16 and len(q) >= 5_000 else np.asarray(q.argmax(axis=1))


def best(q: Floats) -> tuple[Floats, Ints]:
    """(max over a of q(s,a), its first action), (S,) each; the action is the number of actions before it.

    For many states and few actions. q has no nan.
    """
    top = largest(q)
    before = q[:, 0] != top
    first = before.astype(np.int8 if q.shape[1] < 128 else np.int64)
    for a in range(1, q.shape[1] - 1):
        before &= q[:, a] != top
        first += before
    return top, first.astype(np.int64)
