"""Pairs and states that have no rows: those that are not admissible, and those where it ends.

P is sparse, (S A, S), with Pr(.|s,a) in row s A + a; r is (S, A), or one reward for each entry of P.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from mdp.model.build import name
from mdp.model.checking import table_of
from mdp.model.labels import SUM_TOLERANCE
from mdp.model.table import Bools, Floats, Ints, Label, Table


def table_without_ends(
    P: sparse.csr_array[Any],
    r: Floats,
    allowed: Bools,
    terminal: ArrayLike | None,
    states: Sequence[Label],
    actions: Sequence[Label],
) -> Table:
    """The table of the admissible pairs, without the rows of terminal states.

    Raises ValueError for another pair that has no outcome, and as `table_of`.
    """

    def called(s: int, a: int) -> str:
        return name(states[s], actions[a])

    P, r = _kept(P, r, allowed)
    stays = _stays(P, r, allowed.shape)
    if terminal is None:
        ends = np.asarray((~allowed | stays).all(axis=1))  # S&B 3.4
    else:
        ends = bools(terminal, (len(states),), "terminal", default=False)
        _check_terminal(P, r, ends[:, None] & ~stays, states, actions)
    given = allowed & ~ends[:, None]
    P, r = _kept(P, r, given)
    empty = given.ravel() & (np.diff(P.indptr) == 0)
    if empty.any():
        raise ValueError(f"{called(*divmod(int(np.argmax(empty)), len(actions)))} sums to 0, not 1")
    return table_of(P, r, (len(states), len(actions)), called)


def _kept(P: sparse.csr_array[Any], r: Floats, allowed: Bools) -> tuple[sparse.csr_array[Any], Floats]:
    """The rows of admissible pairs; those of the others become empty, and pay 0."""
    if allowed.all():
        return P, r
    left_out, counts = ~allowed, np.diff(P.indptr)
    if r.ndim == 2 and (left_out & (r != 0)).any():
        r = np.where(allowed, r, 0.0)
    if (left_out.ravel() & (counts > 0)).any():
        r = r[np.repeat(allowed.ravel(), counts)] if r.ndim == 1 else r
        rows = np.flatnonzero(allowed)
        P = placed(P[rows], rows, P.shape[0])
    return P, r


def _stays(P: sparse.csr_array[Any], r: Floats, shape: tuple[int, int]) -> Bools:
    """(S, A): the pair surely returns to its state, with reward 0."""
    stays = np.zeros(P.shape[0], bool)
    one = np.flatnonzero(np.diff(P.indptr) == 1)
    k = P.indptr[one]
    paid = r[k] if r.ndim == 1 else r.ravel()[one]
    stays[one] = (P.indices[k] == one // shape[1]) & (np.abs(P.data[k] - 1) <= SUM_TOLERANCE) & (paid == 0)
    return stays.reshape(shape)


def _check_terminal(
    P: sparse.csr_array[Any], r: Floats, leaving: Bools, states: Sequence[Label], actions: Sequence[Label]
) -> None:
    """Raises ValueError for an outcome of a pair (s, a), s terminal, that does not stay."""
    pairs = np.flatnonzero(leaving.ravel() & (np.diff(P.indptr) > 0))
    if len(pairs):
        i = int(pairs[0])
        s, a = divmod(i, len(actions))
        entries = range(P.indptr[i], P.indptr[i + 1])
        paid = {k: float(r[k] if r.ndim == 1 else r[s, a]) for k in entries}
        k = next((k for k in entries if P.indices[k] != s or paid[k]), entries[0])
        raise ValueError(
            f"state {states[s]!r} is given as terminal, but action {actions[a]!r} leads to state "
            f"{states[P.indices[k]]!r} with probability {P.data[k]:g} and reward {paid[k]:g}; its rows must be zero, "
            f"or stay there surely with reward 0"
        )


def placed(P: sparse.csr_array[Any], rows: Ints, n: int) -> sparse.csr_array[Any]:
    """P as these rows, in rising order, of n; the others are empty."""
    starts = np.zeros(n + 1, P.indptr.dtype)  # n may be a million where there are few rows
    starts[1 + rows] = np.diff(P.indptr)
    return sparse.csr_array((P.data, P.indices, np.cumsum(starts, out=starts)), shape=(n, P.shape[1]))


def bools(given: ArrayLike | None, shape: tuple[int, ...], what: str, *, default: bool) -> Bools:
    """(S,) or (S, A). Raises ValueError for another shape or type."""
    array = np.full(shape, default) if given is None else np.asarray(given)
    if array.shape != shape or array.dtype != bool:
        raise ValueError(f"{what} must be bool of shape {shape}, not {array.dtype} of shape {array.shape}")
    return array
