"""From raw outcomes to the table: sorted, merged, and checked to be probability distributions."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any

import numpy as np
from scipy import sparse

from mdp.model.labels import SUM_TOLERANCE
from mdp.model.table import Floats, Ints, Outcomes, Table

MOST_INT64 = np.iinfo(np.int64).max
PAIRS, EMPTY = 1 << 20, 40  # pairs (s, a) that any table may have; and for each outcome, which has 40 bytes in a file
Name = Callable[[int, int], str]  # (s, a) as error messages write it


def check_room(n_states: int, n_actions: int, said: int) -> None:
    """Raises ValueError for far more pairs than there is anything said about: memory is taken for each of them."""
    if n_states * n_actions > max(PAIRS, EMPTY * said):
        raise ValueError(f"{n_states:,} states and {n_actions:,} actions are {n_states * n_actions:,} pairs, of which "
                         f"nearly all are not admissible: number the actions from 0 in every state")  # fmt: skip


def sorted_table(o: Outcomes, shape: tuple[int, int], name: Name) -> Table:
    """`sorted_pairs` of columns."""
    return sorted_pairs(o.state * shape[1] + o.action, o.next, o.reward, o.p, shape, name)


def sorted_pairs(
    given: Ints, after: Ints, reward: Floats, p: Floats, shape: tuple[int, int], name: Name
) -> Table:
    """Check, sort and merge outcomes in any order, for shape (S, A); given (K,): s A + a of each.

    Raises ValueError for a probability that is negative or not finite, a reward that is not finite, and a pair (s, a)
    whose probabilities do not sum to 1 within 1e-9.
    """
    (S, A), pair = shape, given
    check_room(S, A, len(p))

    def at(k: int) -> str:
        return name(*divmod(int(given[k]), A))

    _check_numbers(p, "probability", 0, at)
    _check_numbers(reward, "reward", -np.inf, at)
    if not _in_order(pair, after):
        order = _order(pair, after, reward, shape)
        pair, after, reward, p = pair[order], after[order], reward[order], p[order]
        new = np.ones(len(pair), bool)
        new[1:] = (pair[1:] != pair[:-1]) | (after[1:] != after[:-1]) | (reward[1:] != reward[:-1])
        first = np.flatnonzero(new)
        pair, after, reward, p = pair[first], after[first], reward[first], np.add.reduceat(p, first)
    if some_zero := not p.all():
        kept = p > 0
        pair, after, reward, p = pair[kept], after[kept], reward[kept], p[kept]
    starts = np.zeros(S * A + 1, np.int64)
    np.cumsum(np.bincount(pair, minlength=S * A), out=starts[1:])
    table = Table(shape, starts, np.array(after), np.array(p), reward + 0.0)
    return _summed(table, name, given if some_zero else None)


def _in_order(pair: Ints, after: Ints) -> bool:
    """By pair, then s', which stands once for each pair."""
    further = pair[1:] > pair[:-1]
    return bool(further.all() or (further | (pair[1:] == pair[:-1]) & (after[1:] > after[:-1])).all())


def _order(pair: Ints, after: Ints, reward: Floats, shape: tuple[int, int]) -> Ints:
    """By pair, s', reward: pair and s' as one number, which sorts faster than two; rewards where two are equal."""
    if shape[0] ** 2 * shape[1] > MOST_INT64:
        return np.lexsort((reward, after, pair))
    key = pair * shape[0] + after
    order = np.argsort(key, kind="stable")
    key = key[order]
    equal = np.zeros(len(key) + 1, bool)
    equal[1:-1] = key[1:] == key[:-1]
    (tied,) = (equal[1:] | equal[:-1]).nonzero()
    order[tied] = order[tied[np.lexsort((reward[order[tied]], key[tied]))]]
    return order


def table_of(P: sparse.csr_array[Any], rewards: Floats, shape: tuple[int, int], name: Name) -> Table:
    """From Pr(s'|s,a), (S A, S), in canonical form and without zeros, and rewards (S, A), or one for each entry.

    The arrays are not copied. Raises ValueError as `sorted_table`.
    """

    def entry(k: int) -> str:
        return name(*divmod(int(np.searchsorted(P.indptr, k, side="right")) - 1, shape[1]))

    def pair(k: int) -> str:
        return name(*divmod(k, shape[1]))

    _check_numbers(P.data, "probability", 0, entry)
    _check_numbers(rewards.ravel(), "reward", -np.inf, entry if rewards.ndim == 1 else pair)
    return _summed(Table(shape, P.indptr, P.indices, P.data, rewards), name)


def _check_numbers(x: Floats, what: str, least: float, at: Callable[[int], str]) -> None:
    """Raises ValueError for the first that is not finite or below `least`."""
    if not x.size:
        return
    low, high = float(x.min()), float(x.max())
    if not (low >= least and isfinite(low) and isfinite(high)):
        k = int(np.argmax(~(np.isfinite(x) & (x >= least))))
        right = "a finite number >= 0" if least == 0 else "a finite number"
        raise ValueError(f"{at(k)} has the {what} {x[k]}; it must be {right}")


def _summed(t: Table, name: Name, given: Ints | None = None) -> Table:
    """The table. Raises ValueError for a pair that does not sum to 1; `given`: pairs that are there, with zeros."""
    if given is None and t.sums[1] <= SUM_TOLERANCE:
        return t
    present = t.counts > 0
    if given is not None:
        present[given] = True
    wrong = np.flatnonzero(present & (np.abs(t.total - 1) > SUM_TOLERANCE))
    if len(wrong):
        k = int(wrong[0])
        raise ValueError(f"{name(*divmod(k, t.shape[1]))} sums to {t.total[k]:.12g}, not 1")
    return t
