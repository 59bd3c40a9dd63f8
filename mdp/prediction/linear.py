"""Linear systems with A = I - gamma P_pi, and with its transpose, by whichever way suits their size and structure.

    dense      small systems: LAPACK's LU
    direct     what lies near the diagonal once it is ordered (grids, chains): sparse LU
    Krylov     all else: sparse LU fills in on random graphs, where BiCGSTAB takes a few dozen products

An iterated solution is refined (x += solve(b - A x)) until its residual is what rounding leaves; where it stays larger,
sparse LU does it after all: an iterative method's own word is not taken.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import get_lapack_funcs
from scipy.sparse.csgraph import reverse_cuthill_mckee
from scipy.sparse.linalg import bicgstab

from mdp.model.table import EPS
from mdp.prediction.elimination import SINGULAR, Condensed, SparseLU, factorised, pattern, rows_of

Array = NDArray[Any]

DENSE = 400  # rows up to which a matrix is factorised as a full one
PER_BAND, PER_ROW, AFFORDED = 1.2e-8, 1e-6, 4.0  # seconds of sparse LU: PER_BAND bandwidth^3 + PER_ROW n
MOST_PRODUCTS = 2_000  # of BiCGSTAB, in one round
ROUNDS = 30  # of refinement


class Solver:
    """x with A x = b, or A^T x = b, for a square matrix A (n, n), sparse or full, real or complex.

    Raises ValueError where A is singular in float64.
    """

    def __init__(self, matrix: Any) -> None:
        self._dense: Any = None
        self._factor: SparseLU | Condensed | None = None
        if isinstance(matrix, np.ndarray) or matrix.shape[0] <= DENSE:
            self._dense = _dense(matrix if isinstance(matrix, np.ndarray) else matrix.toarray())
            return
        self.matrix = sparse.csr_array(matrix)
        if _is_cheap(self.matrix):
            self._factor = factorised(self.matrix)

    @classmethod
    def of_chain(cls, P: Any, gamma: float) -> Solver:
        """With I - gamma P, for P (n, n), sparse or full."""
        if not isinstance(P, np.ndarray):
            return cls(sparse.eye_array(P.shape[0], format="csr") - gamma * P)
        A = P * -gamma
        A.ravel()[:: len(A) + 1] += 1
        return cls(A)

    def solve(self, b: Array, *, transposed: bool = False) -> Array:
        """b is (n,) or (n, K)."""
        b = np.ascontiguousarray(b)
        if self._dense is not None:
            lu, pivots = self._dense
            (getrs,) = get_lapack_funcs(("getrs",), (lu, b))
            return np.asarray(getrs(lu, pivots, b, trans=int(not transposed))[0])
        if self._factor is not None:
            return self._factor.solve(b, transposed=transposed)
        A = sparse.csr_array(self.matrix.T) if transposed else self.matrix
        if b.ndim == 1:
            return self._iterated(A, b, transposed)
        return np.stack([self._iterated(A, column, transposed) for column in b.T], axis=1)

    def _iterated(self, A: Any, b: Array, transposed: bool) -> Array:
        """BiCGSTAB and refinement; sparse LU after all where it does not get there."""
        x = refined(A, b)
        if x is None:
            self._factor = factorised(self.matrix)
            return self._factor.solve(b, transposed=transposed)
        return x


def refined(A: Any, b: Array) -> Array | None:
    """x with |b - A x| at the level of rounding, by BiCGSTAB on what is left of b; None where it does not get there."""
    x = np.zeros_like(b, dtype=np.result_type(A.dtype, b.dtype))
    size, left = abs(A), b.astype(x.dtype)
    for _ in range(ROUNDS):
        limit = 4 * EPS * (np.abs(b) + size @ np.abs(x)).max()
        worst = np.abs(left).max()
        if worst <= limit:
            return x
        step, _ = bicgstab(A, left, rtol=1e-8, atol=0.0, maxiter=MOST_PRODUCTS // 2)
        if not np.isfinite(step).all():
            return None
        now = b - A @ (x + step)
        if np.abs(now).max() > 0.5 * worst:
            return None
        x, left = x + step, now
    return None


def _dense(A: Array) -> tuple[Array, Array]:
    """LU of A^T, whose columns are diagonally dominant: no rows change places, nothing is subtracted from what has its
    sign, and values that are exactly 0 stay so.
    """
    (getrf,) = get_lapack_funcs(("getrf",), (A,))
    lu, pivots, zero_pivot = getrf(A.T)
    if zero_pivot:
        raise ValueError(SINGULAR)
    return lu, pivots


def _is_cheap(A: sparse.csr_array[Any]) -> bool:
    """Whether sparse LU takes a few seconds at most, by the bandwidth as it is, or as it can be made."""
    n, row = A.shape[0], rows_of(A)

    def seconds(i: Array, j: Array) -> float:
        return float(PER_BAND * int(np.abs(i - j).max(initial=0)) ** 3 + PER_ROW * n)

    if seconds(row, A.indices) <= AFFORDED:
        return True
    place = np.empty(n, np.int64)
    place[reverse_cuthill_mckee(pattern(A))] = np.arange(n)
    return seconds(place[row], place[A.indices]) <= AFFORDED
