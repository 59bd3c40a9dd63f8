"""Sparse LU of A = I - gamma P_pi, after the states that are easily left out have been left out all at once.

Of states no two of which are neighbours, E, and the others, K (the two colours of a chessboard, for a grid),

    A = [D  B; C  F] with D diagonal:   (F - C D^-1 B) x_K = b_K - C D^-1 b_E,   x_E = D^-1 (b_E - B x_K)

which is Gaussian elimination of E. Any good order would begin with most of these, but column by column: two sparse
products take a small part of the time. Engineers call it static condensation. (Chains gain nothing: their factors are
as small as they are.)

A is diagonally dominant, so that its pivots may be taken as they come, in an order that keeps the factors small.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import breadth_first_order
from scipy.sparse.linalg import splu

Array = NDArray[Any]

FEWEST, ENTRIES = 20_000, 4  # states, and entries of a row, from which on it is worth while to leave some out first
NEIGHBOURS = 4  # at most, to each side, of a state that is left out: it makes neighbours of all of them
SINGULAR = "I - gamma P is singular in float64: some state is left too rarely"


class SparseLU:
    """x with A x = b, or A^T x = b. Raises ValueError where A (n, n) is singular in float64."""

    def __init__(self, A: sparse.csr_array[Any]) -> None:
        by_columns = sparse.csc_array((A.data, A.indices, A.indptr), shape=A.shape)  # of A^T
        try:
            self._lu = splu(by_columns, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, relax=8, panel_size=1,
                            options={"SymmetricMode": True})  # fmt: skip
        except RuntimeError:
            raise ValueError(SINGULAR) from None

    def solve(self, b: Array, *, transposed: bool) -> Array:
        """b is (n,) or (n, K)."""
        return np.asarray(self._lu.solve(b, "N" if transposed else "T"))


class Condensed:
    """The same, without the states E at first: left_out (n,) bool, no two of which are neighbours."""

    def __init__(self, A: sparse.csr_array[Any], left_out: Array) -> None:
        self._E, self._K = np.flatnonzero(left_out), np.flatnonzero(~left_out)
        above, below = A[self._E], A[self._K]
        self._D, self._B, self._C = above[:, self._E].diagonal(), above[:, self._K], below[:, self._E]
        if not self._D.all():
            raise ValueError(SINGULAR)
        self._lu = SparseLU(sparse.csr_array(below[:, self._K] - self._C @ (sparse.diags_array(1 / self._D) @ self._B)))

    def solve(self, b: Array, *, transposed: bool) -> Array:
        B, C = (self._C.T, self._B.T) if transposed else (self._B, self._C)
        D = self._D if b.ndim == 1 else self._D[:, None]
        x_K = self._lu.solve(b[self._K] - C @ (b[self._E] / D), transposed=transposed)
        x = np.empty(b.shape, x_K.dtype)
        x[self._E], x[self._K] = (b[self._E] - B @ x_K) / D, x_K
        return x


def rows_of(A: sparse.csr_array[Any]) -> Array:
    """The row of each entry."""
    return np.repeat(np.arange(A.shape[0], dtype=A.indices.dtype), np.diff(A.indptr))


def pattern(A: sparse.csr_array[Any]) -> sparse.csr_matrix[Any]:
    """Where A has entries, as scipy.sparse.csgraph takes it: it would make float64 of any other numbers."""
    return sparse.csr_matrix((np.ones(A.nnz), A.indices, A.indptr), shape=A.shape)


def factorised(A: sparse.csr_array[Any]) -> SparseLU | Condensed:
    """By whichever is quicker."""
    n = A.shape[0]
    if n >= FEWEST and A.nnz >= ENTRIES * n and (left_out := _apart(A)).sum() >= n / 4:
        return Condensed(A, left_out)
    return SparseLU(A)


def _apart(A: sparse.csr_array[Any]) -> NDArray[np.bool_]:
    """States (n,) with few neighbours, and no two of them neighbours: of an even or of an odd distance from state 0."""
    n, rows = A.shape[0], rows_of(A)
    i, j = (x[rows != A.indices] for x in (rows, A.indices))
    few = np.maximum(np.bincount(i, minlength=n), np.bincount(j, minlength=n)) <= NEIGHBOURS
    odd = _distances(A) % 2 == 1
    apart: NDArray[np.bool_] = max(few & odd, few & ~odd, key=np.count_nonzero)
    clash = apart[i] & apart[j]
    apart[np.maximum(i, j)[clash]] = False
    return apart


def _distances(A: sparse.csr_array[Any]) -> NDArray[np.int64]:
    """Steps (n,) from state 0 to each state; in either direction where some are not reached, 0 where none lead."""
    graph, states = pattern(A), np.arange(A.shape[0])
    reached, before = breadth_first_order(graph, 0)
    if len(reached) < len(states):
        before = breadth_first_order(graph, 0, directed=False)[1]
    before = np.where(before < 0, states, before)
    steps: NDArray[np.int64] = (before != states).astype(np.int64)
    while (before != before[before]).any():  # twice as far back each time
        steps, before = steps + steps[before], before[before]
    return steps
