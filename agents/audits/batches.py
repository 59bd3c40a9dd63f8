"""All batches: groups of trajectories from one start state each, with their probabilities.

A batch is `groups` independent groups; a group is a start state and `group_size` independent trajectories from it. Of a
loss that does not see their order, each multiset stands for all its orders: n! / (k_1! k_2! ...) of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, combinations_with_replacement, islice
from math import comb, factorial

import numpy as np
from numpy.typing import NDArray

from agents.audits.trajectories import Listed

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Weighted = tuple[Ints, Floats]  # rows (B, N) and probabilities (B,)


@dataclass(frozen=True)
class Order:
    """What the loss was seen not to depend on: the order in a group, the order of the groups."""

    in_groups: bool
    of_groups: bool


@dataclass(frozen=True)
class Batches:
    """Iterates over (rows (B, N) of trajectories, probability (B,)), at most `size` batches at a time."""

    listed: Listed
    group_size: int
    groups: int
    free: Order

    @cached_property
    def kinds(self) -> int:
        """Different groups."""
        return sum(_count(len(rows), self.group_size, self.free.in_groups) for _, rows in self.listed.starts)

    @cached_property
    def count(self) -> int:
        """Different batches."""
        return _count(self.kinds, self.groups, self.free.of_groups)

    def chunks(self, size: int) -> Iterator[Weighted]:
        """All batches with positive probability."""
        if self.groups == 1:
            yield from _regrouped(self._groups(size), size)
            return
        kinds, p = (np.concatenate(x) for x in zip(*self._groups(size), strict=True))
        for chosen, weight in _selections(p, self.groups, self.free.of_groups, size):
            yield kinds[chosen].reshape(len(chosen), -1), weight

    def _groups(self, size: int) -> Iterator[Weighted]:
        for start, rows in self.listed.starts:
            p = self.listed.probability[rows]
            for chosen, weight in _selections(p, self.group_size, self.free.in_groups, size):
                yield rows[chosen], start * weight


def _count(n: int, k: int, unordered: bool) -> int:
    return comb(n + k - 1, k) if unordered else n**k


def _selections(p: Floats, k: int, unordered: bool, size: int) -> Iterator[Weighted]:
    """k draws from n things with probabilities p (n,), as multisets or as tuples: (B, k) and their probabilities."""
    for chosen in _multisets(len(p), k, size) if unordered else _tuples(len(p), k, size):
        weight = p[chosen].prod(axis=1)
        if unordered and k > 1:
            weight *= factorial(k) / _repeats(chosen)
        yield chosen, weight


def _multisets(n: int, k: int, size: int) -> Iterator[Ints]:
    every = chain.from_iterable(combinations_with_replacement(range(n), k))
    while len(flat := np.fromiter(islice(every, size * k), np.int64)):
        yield flat.reshape(-1, k)


def _tuples(n: int, k: int, size: int) -> Iterator[Ints]:
    for first in range(0, n**k, size):
        numbers = np.arange(first, min(first + size, n**k))
        yield np.stack(np.unravel_index(numbers, (n,) * k), axis=1).astype(np.int64)


def _repeats(chosen: Ints) -> Floats:
    """k_1! k_2! ... of sorted rows (B, k): the product of each entry's place in its run of equal ones."""
    run = np.ones(len(chosen))
    product = run.copy()
    for before, entry in zip(chosen.T[:-1], chosen.T[1:], strict=True):
        run = np.where(entry == before, run + 1, 1.0)
        product *= run
    return product


def _regrouped(parts: Iterator[Weighted], size: int) -> Iterator[Weighted]:
    """The same rows in pieces of about `size`: many start states with few trajectories make many small parts."""
    kept: list[Weighted] = []
    for part in parts:
        kept.append(part)
        if sum(len(weight) for _, weight in kept) >= size:
            yield _joined(kept)
            kept = []
    if kept:
        yield _joined(kept)


def _joined(parts: list[Weighted]) -> Weighted:
    rows, weights = zip(*parts, strict=True)
    return np.concatenate(rows), np.concatenate(weights)
