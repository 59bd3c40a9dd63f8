"""The table p(s',r|s,a): one row for each outcome, checked at the door.

Sutton & Barto (2nd ed.), equation 3.2 and 3.3: p(s',r|s,a) >= 0, and for every s and a in A(s)

    sum over s' and r of p(s',r|s,a) = 1.

The rows are sorted by (s, a, s', r), and equal (s', r) of one pair are merged, so that two tables that say the same
are the same arrays. R may be random given s': that is two rows with one s' and two rewards.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Label = Hashable
_T = TypeVar("_T", bound=np.generic)

SUM_TOLERANCE = 1e-9  # how far a distribution's sum may be from 1


class Outcomes(NamedTuple):
    """The K outcomes with positive probability: `state` (K,), `action` (K,), `next` (K,), `reward` (K,), `p` (K,)."""

    state: Ints
    action: Ints
    next: Ints
    reward: Floats
    p: Floats

    def where(self, kept: Bools) -> Outcomes:
        """The outcomes that a mask (K,) keeps."""
        return Outcomes(self.state[kept], self.action[kept], self.next[kept], self.reward[kept], self.p[kept])


def largest(q: Floats) -> Floats:
    """max over a of q(s,a), (S,): for few actions, column by column is several times as fast as along the last axis."""
    if q.shape[1] > 32:
        return np.asarray(q.max(axis=1))
    top = q[:, 0].copy()
    for a in range(1, q.shape[1]):
        np.maximum(top, q[:, a], out=top)
    return top


def frozen(array: NDArray[_T]) -> NDArray[_T]:
    """The array, read-only from now on."""
    array.flags.writeable = False
    return array


def checked_outcomes(o: Outcomes, n_actions: int, name: Callable[[int, int], str]) -> Outcomes:
    """Sort, merge and check a table. `name(s, a)` writes a pair in error messages.

    Raises ValueError for a probability that is negative or not finite, a reward that is not finite, and a pair (s, a)
    whose probabilities do not sum to 1 within 1e-9.
    """
    _refuse_first(~(np.isfinite(o.p) & (o.p >= 0)), o, name, "probability", o.p, "a finite number >= 0")
    _refuse_first(~np.isfinite(o.reward), o, name, "reward", o.reward, "a finite number")
    pair = o.state * n_actions + o.action
    order = np.lexsort((o.reward, o.next, pair))
    pair, after, reward, p = pair[order], o.next[order], o.reward[order], o.p[order]
    _check_sums(pair, p, n_actions, name)

    new = np.ones(len(pair), bool)
    new[1:] = (pair[1:] != pair[:-1]) | (after[1:] != after[:-1]) | (reward[1:] != reward[:-1])
    first = np.flatnonzero(new)
    merged = np.add.reduceat(p, first) if len(first) else p
    kept = merged > 0
    first, merged = first[kept], merged[kept]
    arrays = pair[first] // n_actions, pair[first] % n_actions, after[first], reward[first] + 0.0, merged
    return Outcomes(*map(frozen, arrays))


def _check_sums(pair: Ints, p: Floats, n_actions: int, name: Callable[[int, int], str]) -> None:
    first = np.flatnonzero(np.diff(pair, prepend=-1))
    if not len(first):
        return
    total = np.add.reduceat(p, first)
    wrong = np.flatnonzero(np.abs(total - 1) > SUM_TOLERANCE)
    if len(wrong):
        s, a = divmod(int(pair[first[wrong[0]]]), n_actions)
        raise ValueError(f"{name(s, a)} sums to {total[wrong[0]]:.12g}, not 1")


def _refuse_first(
    bad: Bools, o: Outcomes, name: Callable[[int, int], str], what: str, values: Floats, right: str
) -> None:
    if bad.any():
        k = int(np.argmax(bad))
        raise ValueError(f"{name(int(o.state[k]), int(o.action[k]))} has the {what} {values[k]}; it must be {right}")


def checked_gamma(gamma: float) -> float:
    """The discount as a float. Raises ValueError outside [0, 1]."""
    if not isinstance(gamma, (int, float, np.integer, np.floating)) or isinstance(gamma, bool):
        raise TypeError(f"gamma must be a number in [0, 1], not {gamma!r}")
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma must lie in [0, 1], not {gamma}")
    return float(gamma)


def checked_start(start: ArrayLike | None, terminal: Bools, states: tuple[Label, ...]) -> Floats:
    """Pr(S_0 = s), (S,); None is uniform over the non-terminal states.

    Raises ValueError where it is no distribution over the non-terminal states (in a terminal one nothing can be done).
    """
    if terminal.all():
        raise ValueError("every state is terminal: no state has an outcome, so there is nothing to start")
    if start is None:
        return frozen(np.where(terminal, 0.0, 1 / np.count_nonzero(~terminal)))
    given = np.array(start, dtype=np.float64)
    if given.shape != terminal.shape:
        raise ValueError(f"start has shape {given.shape}, not one probability for each of {len(terminal)} states")
    bad = ~(np.isfinite(given) & (given >= 0))
    if bad.any():
        s = int(np.argmax(bad))
        raise ValueError(f"start gives {states[s]!r} the probability {given[s]}; it must be a finite number >= 0")
    if abs(given.sum() - 1) > SUM_TOLERANCE:
        raise ValueError(f"start sums to {given.sum():.12g}, not 1")
    if (given[terminal] > 0).any():
        s = int(np.argmax(terminal & (given > 0)))
        raise ValueError(f"start puts probability {given[s]:g} on {states[s]!r}, which is terminal")
    return frozen(given)


def checked_labels(labels: tuple[Label, ...], what: str) -> dict[Label, int]:
    """{label: index}. Raises ValueError for a label that stands twice."""
    index = dict(zip(labels, range(len(labels)), strict=True))
    if len(index) < len(labels):
        i, label = next((i, label) for i, label in enumerate(labels) if index[label] != i)
        raise ValueError(f"the {what} label {label!r} stands twice, at {i} and {index[label]}")
    return index
