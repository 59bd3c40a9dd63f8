"""P and R as arrays: dense or sparse, for all pairs (as pymdptoolbox and QuantEcon's product form have them) or for a
list of pairs (QuantEcon's state-action-pair form).

Whatever comes is brought into one form, a sparse P (S A, S) with Pr(.|s,a) in row s A + a; rows that are not there, of
pairs that are not admissible and of terminal states, are empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from mdp.model.build import Start, exactly
from mdp.model.checking import check_room
from mdp.model.ends import bools, placed, table_without_ends
from mdp.model.labels import reals
from mdp.model.table import Floats, Ints, Label

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP


def from_arrays(
    cls: type[FiniteMDP],
    /,
    P: Any,
    R: Any,
    *,
    gamma: float,
    start: Start = None,
    terminal: ArrayLike | None = None,
    admissible: ArrayLike | None = None,
    states: Iterable[Label] | None = None,
    actions: Iterable[Label] | None = None,
    observations: ArrayLike | None = None,
) -> FiniteMDP:
    """From P (S, A, S), a scipy sparse (S A, S) or a length-A sequence of them (S, S), and R (S,), (S, A) or (S, A, S).

    terminal: bool (S,); its rows must be zero or the self-loop with reward 0. None: a state whose every action returns
    to itself surely with reward 0 is terminal (S&B 3.4). admissible: bool (S, A), by default every action everywhere
    but where R (S, A) is -inf; rows of pairs that are not admissible are not read.

    What others take: pymdptoolbox has the action first, so swap the axes of P (A, S, S), P.swapaxes(0, 1), and of
    R (A, S, S); its sparse lists, R (S,) and R (S, A) are read as they are. QuantEcon's product form is
    from_arrays(ddp.Q, ddp.R, gamma=ddp.beta); its state-action-pair form is read by `from_pairs`. R may be a sequence
    of sparse matrices (S, S), too.

    Raises ValueError as `from_outcomes`, and for shapes that do not fit one another.

    >>> from mdp import FiniteMDP
    >>> m = FiniteMDP.from_arrays([[[0.5, 0.5]], [[0, 1]]], [-1, 0], gamma=1)  # P (2, 1, 2), R (2,)
    >>> m.terminal.tolist(), m.outcomes(0, 0)
    ([False, True], [(0.5, 0, -1.0), (0.5, 1, -1.0)])
    """
    shape = n_states, n_actions = _sizes(P)
    s = exactly(range(n_states) if states is None else states, n_states, "states")
    a = exactly(range(n_actions) if actions is None else actions, n_actions, "actions")
    rows = _one_matrix(P)
    r = _rewards(R, rows, shape)
    if admissible is None and np.ndim(R) == 2 and not _is_sparse(R):
        allowed = ~np.isneginf(reals(R, "R"))
    else:
        allowed = bools(admissible, shape, "admissible", default=True)
    table = table_without_ends(rows, r, allowed, terminal, s, a)
    return cls(table, states=s, actions=a, gamma=gamma, start=start, observations=observations)


def from_pairs(
    cls: type[FiniteMDP],
    /,
    P: Any,
    R: ArrayLike,
    s_indices: ArrayLike,
    a_indices: ArrayLike,
    *,
    gamma: float,
    start: Start = None,
    terminal: ArrayLike | None = None,
    states: Iterable[Label] | None = None,
    actions: Iterable[Label] | None = None,
    observations: ArrayLike | None = None,
) -> FiniteMDP:
    """From P (L, S), dense or sparse, and R (L,): one row for each of L pairs, s_indices (L,) and a_indices (L,).

    This is QuantEcon's state-action-pair form: from_pairs(ddp.Q, ddp.R, ddp.s_indices, ddp.a_indices, gamma=ddp.beta).
    The pairs may stand in any order. A pair that is not listed, or has the reward -inf, is not admissible; a state with
    no admissible pair is terminal. A is the largest action index + 1, or the number of `actions`. `terminal` is read as
    in `from_arrays`.

    Raises ValueError as `from_arrays`, for an index out of range and for a pair that is listed twice.

    >>> from mdp import FiniteMDP, solve
    >>> P = [[0.5, 0.5], [0, 1], [0, 1]]  # s = 0: wait or leave; s = 1: stay
    >>> m = FiniteMDP.from_pairs(P, [5, 10, -1], [0, 0, 1], [0, 1, 0], gamma=0.95)  # QuantEcon's first example
    >>> m.admissible.tolist(), solve(m).v.round(10).tolist()
    ([[True, True], [True, False]], [-8.5714285714, -20.0])
    """
    P = _sparse(P) if sparse.issparse(P) else reals(P, "P")
    R = reals(R, "R")
    if P.ndim != 2 or R.shape != P.shape[:1]:
        raise ValueError(f"P has shape {P.shape} and R {R.shape}; they must be (L, S) and (L,), for L pairs")
    n_pairs, n_states = P.shape
    labels = exactly(range(n_states) if states is None else states, n_states, "states")
    moves: Sequence[Label] | None = None if actions is None else tuple(actions)
    s = _indices(s_indices, "s_indices", n_pairs, n_states)
    a = _indices(a_indices, "a_indices", n_pairs, None if moves is None else len(moves))
    n_actions = int(a.max(initial=-1)) + 1 if moves is None else len(moves)
    check_room(n_states, n_actions, n_pairs + P.size)
    moves = range(n_actions) if moves is None else moves
    pair = s * len(moves) + a
    order = np.argsort(pair, kind="stable")
    twice = np.flatnonzero(np.diff(pair[order]) == 0)
    if len(twice):
        first, second = sorted(order[twice[0] : twice[0] + 2].tolist())
        raise ValueError(f"the pair s={s[first]}, a={a[first]} is listed twice, in the rows {first} and {second}")
    rewards, allowed = np.zeros(n_states * len(moves)), np.zeros(n_states * len(moves), bool)
    rewards[pair], allowed[pair] = R, ~np.isneginf(R)
    by_rows = sparse.csr_array(P)
    by_rows = by_rows[order] if (order[1:] < order[:-1]).any() else by_rows.copy()  # most come in order
    rows = placed(_canonical(by_rows), pair[order], len(rewards))
    shape = n_states, len(moves)
    table = table_without_ends(rows, rewards.reshape(shape), allowed.reshape(shape), terminal, labels, moves)
    return cls(table, states=labels, actions=moves, gamma=gamma, start=start, observations=observations)


# ---- shapes ----


def _sparse(x: Any, *, copy: bool = False) -> sparse.csr_array[Any]:
    """By rows, as float64. Raises ValueError for complex numbers."""
    if x.dtype.kind == "c":
        raise ValueError(f"a sparse matrix holds {x.dtype}; probabilities and rewards are real numbers")
    return sparse.csr_array(x, dtype=np.float64, copy=copy)


def _is_sparse(P: Any) -> bool:
    return isinstance(P, (Sequence, np.ndarray)) and len(P) > 0 and all(sparse.issparse(x) for x in P)


def _sizes(P: Any) -> tuple[int, int]:
    """(S, A) of P (S, A, S), a sparse (S A, S), or a length-A sequence of sparse (S, S).

    Raises ValueError for other shapes.
    """
    if sparse.issparse(P):
        if P.shape[1] == 0 or P.shape[0] % P.shape[1]:
            raise ValueError(f"P has shape {P.shape}, not (S A, S)")
        return int(P.shape[1]), P.shape[0] // P.shape[1]
    if _is_sparse(P):
        shapes = {x.shape for x in P}
        if len(shapes) != 1 or (shape := shapes.pop())[0] != shape[1]:
            raise ValueError("P as a sequence of sparse matrices needs one (S, S) for each action, all of one size")
        return int(shape[0]), len(P)
    shape = np.shape(P)
    if len(shape) != 3 or shape[0] != shape[2]:
        hint = "; with the action first, as in pymdptoolbox, pass P.swapaxes(0, 1)" if shape[1:2] == shape[2:] else ""
        raise ValueError(f"P has shape {shape}, not (S, A, S){hint}")
    return shape[0], shape[1]


def _one_matrix(P: Any) -> sparse.csr_array[Any]:
    """(S A, S), row s A + a, canonical and without zeros; a copy."""
    if sparse.issparse(P):
        return _canonical(_sparse(P, copy=True))
    if _is_sparse(P):
        return _canonical(_interleaved([_sparse(x) for x in P]))
    dense = reals(P, "P", copy=True)
    dense = dense.reshape(-1, len(dense))
    if np.count_nonzero(dense) < dense.size:
        return _canonical(sparse.csr_array(dense))
    after = np.tile(np.arange(dense.shape[1], dtype=np.int32), len(dense))
    return sparse.csr_array((dense.ravel(), after, np.arange(len(dense) + 1) * dense.shape[1]), shape=dense.shape)


def _interleaved(matrices: Sequence[sparse.csr_array[Any]]) -> sparse.csr_array[Any]:
    """(S, S) for each of A actions as (S A, S), row s A + a."""
    A, S = len(matrices), matrices[0].shape[1]
    return sparse.csr_array(sparse.vstack(matrices, format="csr")[np.arange(S * A).reshape(A, S).T.ravel()])


def _canonical(P: sparse.csr_array[Any]) -> sparse.csr_array[Any]:
    """In place: the columns of each row in order, entries that stand twice added up, no zeros."""
    P.sum_duplicates()
    if not P.data.all():
        P.eliminate_zeros()
    return P


def _rewards(R: Any, P: sparse.csr_array[Any], shape: tuple[int, int]) -> Floats:
    """The rewards, (S, A), or of each entry of P, (nnz,)."""
    S, A = shape
    if _is_sparse(R):
        if _sizes(R) != shape:
            raise ValueError(f"R has the sizes {_sizes(R)}, P has {shape} states and actions")
        return _picked(_interleaved([_sparse(x) for x in R]), P)
    R = reals(R, "R")
    if R.shape not in (known := ((S,), (S, A), (S, A, S))):
        raise ValueError(f"R has shape {R.shape}; it may be {', '.join(map(str, known))}")
    if R.ndim == 3:
        return _picked(R.reshape(-1, S), P)
    return np.repeat(R[:, None], A, axis=1) if R.ndim == 1 else R.copy()


def _picked(R: Any, P: sparse.csr_array[Any]) -> Floats:
    """R where P has entries."""
    rows = np.repeat(np.arange(P.shape[0]), np.diff(P.indptr))
    return np.asarray(R[rows, P.indices], dtype=np.float64).ravel()


def _indices(given: ArrayLike, what: str, n_pairs: int, size: int | None) -> Ints:
    """(L,), each in 0 .. size - 1 (None: no upper limit)."""
    x = np.asarray(given)
    if x.shape != (n_pairs,) or x.dtype.kind not in "iu":
        raise ValueError(f"{what} must be integers of shape ({n_pairs},), not {x.dtype} of shape {x.shape}")
    wrong = np.flatnonzero((x < 0) | (x >= (np.inf if size is None else size)))
    if len(wrong):
        right = "be at least 0" if size is None else f"lie in 0 .. {size - 1}"
        raise ValueError(f"{what}[{wrong[0]}] is {x[wrong[0]]}; it must {right}")
    return x.astype(np.int64)
