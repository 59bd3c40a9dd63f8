"""Products of a large sparse matrix with a vector on all cores: scipy multiplies without the interpreter's lock."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from scipy import sparse

WORTH = 4_000_000  # entries from which on memory is slow enough for two to read it
PIECES = 4  # of each core's rows, so that what a core holds before it is written is small


class Spread:
    """P (n, m), sparse by rows, as a few matrices of about as many entries each, which share its memory."""

    def __init__(self, P: sparse.csr_array[Any], cores: int) -> None:
        self.shape, self.dtype, self.cores = P.shape, P.dtype, cores
        parts = cores * PIECES
        cuts = np.searchsorted(P.indptr, np.linspace(0, P.nnz, parts + 1)[1:-1])
        self._ranges = list(zip([0, *cuts], [*cuts, P.shape[0]], strict=True))
        self._parts = [_rows(P, first, last) for first, last in self._ranges]

    def __matmul__(self, v: Any) -> Any:
        out = np.empty(self.shape[0], np.result_type(self.dtype, v.dtype))

        def multiply(part: Any, rows: tuple[int, int]) -> None:
            out[slice(*rows)] = part @ v

        list(_pool(self.cores).map(multiply, self._parts, self._ranges))
        return out


def _rows(P: sparse.csr_array[Any], first: int, last: int) -> sparse.csr_array[Any]:
    """The rows first .. last - 1, not copied: the constructor of csr_array would copy what is less than half of P."""
    begin, end = P.indptr[first], P.indptr[last]
    part = sparse.csr_array((last - first, P.shape[1]), dtype=P.dtype)
    part.data, part.indices, part.indptr = P.data[begin:end], P.indices[begin:end], P.indptr[first : last + 1] - begin
    return part


def spread(P: Any) -> Any:
    """P, on all cores where that is worth it; anything but a sparse matrix by rows as it is."""
    return Spread(P, n) if sparse.issparse(P) and P.nnz >= WORTH and (n := cores()) > 1 else P


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of its parent's threads
