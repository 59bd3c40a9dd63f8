"""P and R as arrays: dense or sparse, for all pairs (as pymdptoolbox and QuantEcon's product form have them) or for a
list of pairs (QuantEcon's state-action-pair form).

Whatever comes is brought into one form, a sparse P (L, S) with one row Pr(.|s,a) for each of L pairs, sorted by (s, a).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from mdp.model.build import Start, name
from mdp.model.table import SUM_TOLERANCE, Bools, Floats, Ints, Label, Outcomes

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
    """From P (S, A, S), or a length-A sequence of scipy sparse (S, S), and R (S,), (S, A), (S, A, S) or like P.

    terminal: bool (S,); its rows must be zero or the self-loop with reward 0. None: a state whose every action returns
    to itself surely with reward 0 is terminal (S&B 3.4). admissible: bool (S, A), by default every action everywhere
    but where R (S, A) is -inf; rows of pairs that are not admissible are not read.

    What others take: pymdptoolbox has the action first, so swap the axes of P (A, S, S), P.swapaxes(0, 1), and of
    R (A, S, S); its sparse lists, R (S,) and R (S, A) are read as they are. QuantEcon's product form is
    from_arrays(ddp.Q, ddp.R, gamma=ddp.beta); its state-action-pair form is read by `from_pairs`.

    Raises ValueError as `from_outcomes`, and for shapes that do not fit one another.

    >>> from mdp import FiniteMDP
    >>> m = FiniteMDP.from_arrays([[[0.5, 0.5]], [[0, 1]]], [-1, 0], gamma=1)  # P (2, 1, 2), R (2,)
    >>> m.terminal.tolist(), m.outcomes(0, 0)
    ([False, True], [(0.5, 0, -1.0), (0.5, 1, -1.0)])
    """
    n_states, n_actions = _sizes(P)
    s = _exactly(range(n_states) if states is None else states, n_states, "states")
    a = _exactly(range(n_actions) if actions is None else actions, n_actions, "actions")
    everywhere = np.divmod(np.arange(n_states * n_actions), n_actions)
    rows = _Rows(*everywhere, _stacked(P) if _is_sparse(P) else _flat(P, n_states))
    r = _rewards(R, rows, n_states, n_actions)
    if admissible is None and np.ndim(R) == 2 and not _is_sparse(R):
        allowed = ~np.isneginf(np.asarray(R, dtype=np.float64))
    else:
        allowed = _bools(admissible, (n_states, n_actions), "admissible", default=True)
    table = _without_ends(_kept(rows.outcomes(r), allowed), allowed, terminal, s, a)
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
    P = sparse.csr_array(P) if sparse.issparse(P) else np.asarray(P, dtype=np.float64)
    R = np.asarray(R, dtype=np.float64)
    if P.ndim != 2 or R.shape != P.shape[:1]:
        raise ValueError(f"P has shape {P.shape} and R {R.shape}; they must be (L, S) and (L,), for L pairs")
    n_pairs, n_states = P.shape
    labels = _exactly(range(n_states) if states is None else states, n_states, "states")
    moves = None if actions is None else tuple(actions)
    s = _indices(s_indices, "s_indices", n_pairs, n_states)
    a = _indices(a_indices, "a_indices", n_pairs, None if moves is None else len(moves))
    moves = tuple(range(int(a.max(initial=-1)) + 1)) if moves is None else moves
    order = np.lexsort((a, s))
    twice = np.flatnonzero((np.diff(s[order]) == 0) & (np.diff(a[order]) == 0))
    if len(twice):
        first, second = sorted(order[twice[0] : twice[0] + 2].tolist())
        raise ValueError(f"the pair s={s[first]}, a={a[first]} is listed twice, in the rows {first} and {second}")
    rows = _Rows(s[order], a[order], _canonical(sparse.csr_array(P)[order]))
    allowed = np.full((n_states, len(moves)), False)
    allowed[s, a] = ~np.isneginf(R)
    r = np.repeat(R[order], rows.counts)
    table = _without_ends(_kept(rows.outcomes(r), allowed), allowed, terminal, labels, moves)
    return cls(table, states=labels, actions=moves, gamma=gamma, start=start, observations=observations)


class _Rows(NamedTuple):
    """L pairs, sorted: s (L,), a (L,), and Pr(.|s,a) in the rows of P (L, S), sparse."""

    s: Ints
    a: Ints
    P: sparse.csr_array[Any]

    @property
    def counts(self) -> Ints:
        """How many s' each pair has, (L,)."""
        n: Ints = np.diff(self.P.indptr)
        return n

    def outcomes(self, r: Floats) -> Outcomes:
        """The table, with the reward of each entry of P."""
        s, a = np.repeat(self.s, self.counts), np.repeat(self.a, self.counts)
        return Outcomes(s, a, self.P.indices.astype(np.int64), r, self.P.data.astype(np.float64))


def _exactly(labels: Iterable[Label], n: int, what: str) -> tuple[Label, ...]:
    labels = tuple(labels)
    if len(labels) != n:
        raise ValueError(f"{len(labels)} {what} labels for {n} {what}")
    return labels


# ---- shapes ----


def _is_sparse(P: Any) -> bool:
    return isinstance(P, (Sequence, np.ndarray)) and len(P) > 0 and all(sparse.issparse(x) for x in P)


def _sizes(P: Any) -> tuple[int, int]:
    """(S, A) of P (S, A, S), or of a length-A sequence of sparse (S, S). Raises ValueError for other shapes."""
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


def _flat(P: ArrayLike, n_states: int) -> sparse.csr_array[Any]:
    return sparse.csr_array(np.asarray(P, dtype=np.float64).reshape(-1, n_states))


def _stacked(P: Sequence[Any]) -> sparse.csr_array[Any]:
    """(S, S) for each action as (S*A, S), row s*A + a."""
    n_states, n_actions = _sizes(P)
    below = sparse.vstack([sparse.csr_array(x) for x in P], format="csr")
    return _canonical(below[np.arange(n_actions * n_states).reshape(n_actions, n_states).T.ravel()])


def _canonical(P: sparse.csr_array[Any]) -> sparse.csr_array[Any]:
    """The columns of each row in order, and entries that stand twice added up."""
    P.sum_duplicates()
    return P


def _rewards(R: Any, rows: _Rows, n_states: int, n_actions: int) -> Floats:
    """The reward of each entry of P."""
    if _is_sparse(R):
        if _sizes(R) != (n_states, n_actions):
            raise ValueError(f"R has the sizes {_sizes(R)}, P has {(n_states, n_actions)} states and actions")
        picked = _stacked(R)[np.repeat(np.arange(n_states * n_actions), rows.counts), rows.P.indices]
        return np.asarray(picked, dtype=np.float64).ravel()
    R = np.asarray(R, dtype=np.float64)
    shapes = (n_states,), (n_states, n_actions), (n_states, n_actions, n_states)
    if R.shape not in shapes:
        raise ValueError(f"R has shape {R.shape}; it may be {', '.join(map(str, shapes))}")
    if R.ndim == 3:
        r: Floats = R.reshape(-1, n_states)[np.repeat(np.arange(n_states * n_actions), rows.counts), rows.P.indices]
        return r
    return np.repeat(R[rows.s] if R.ndim == 1 else R.ravel(), rows.counts)


def _bools(given: ArrayLike | None, shape: tuple[int, ...], what: str, *, default: bool) -> Bools:
    array = np.full(shape, default) if given is None else np.asarray(given)
    if array.shape != shape or array.dtype != bool:
        raise ValueError(f"{what} must be bool of shape {shape}, not {array.dtype} of shape {array.shape}")
    return array


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


# ---- pairs and states that have no rows ----


def _kept(t: Outcomes, allowed: Bools) -> Outcomes:
    """The outcomes of admissible pairs."""
    return t if allowed.all() else t.where(allowed[t.state, t.action])


def _without_ends(
    t: Outcomes, allowed: Bools, terminal: ArrayLike | None, states: tuple[Label, ...], actions: tuple[Label, ...]
) -> Outcomes:
    """The table without the rows of terminal states. Raises ValueError for another pair that has no outcome."""
    if terminal is None:
        ends = _absorbing(t, allowed)
    else:
        ends = _bools(terminal, (len(states),), "terminal", default=False)
        _check_terminal(t, ends, states, actions)
    given = allowed & ~ends[:, None]
    given[t.state, t.action] = False
    if given.any():
        i, j = np.argwhere(given)[0]
        raise ValueError(f"{name(states[i], actions[j])} sums to 0, not 1")
    return t.where(~ends[t.state]) if ends.any() else t


def _absorbing(t: Outcomes, allowed: Bools) -> Bools:
    """States whose every admissible action returns to them surely with reward 0 (S&B 3.4)."""
    stays = np.zeros(allowed.shape)
    loop = (t.next == t.state) & (t.reward == 0)
    np.add.at(stays, (t.state[loop], t.action[loop]), t.p[loop])
    ends = np.asarray((~allowed | (np.abs(stays - 1) <= SUM_TOLERANCE)).all(axis=1))
    leaves = t.state[~loop & (t.p != 0)]
    ends[leaves] = False
    return ends


def _check_terminal(t: Outcomes, ends: Bools, states: tuple[Label, ...], actions: tuple[Label, ...]) -> None:
    stays = (t.next == t.state) & (t.reward == 0) & (np.abs(t.p - 1) <= SUM_TOLERANCE)
    bad = ends[t.state] & ~stays & (t.p != 0)
    if bad.any():
        k = int(np.argmax(bad))
        raise ValueError(
            f"state {states[t.state[k]]!r} is given as terminal, but action {actions[t.action[k]]!r} leads to state "
            f"{states[t.next[k]]!r} with probability {t.p[k]:g} and reward {t.reward[k]:g}; its rows must be zero, or "
            f"stay there surely with reward 0"
        )
