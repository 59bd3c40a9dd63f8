"""Labels of states and actions; the discount and the start, checked at the door."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from mdp.model.table import Bools, Floats, Label, frozen

SUM_TOLERANCE = 1e-9  # how far a distribution's sum may be from 1


class Labels:
    """index <-> label. A range stays one: ten million numbers need no tuple and no dictionary.

    Raises ValueError for a label that stands twice; what: "state" or "action".
    """

    def __init__(self, labels: Iterable[Label], what: str) -> None:
        self.what = what
        self.at: Sequence[Label] = labels if isinstance(labels, range) else tuple(labels)
        if not isinstance(labels, range) and len(set(self.at)) < len(self.at):
            indexed(self.at, what)

    @cached_property
    def _places(self) -> dict[Label, int]:
        return indexed(self.at, self.what)

    @cached_property
    def all(self) -> tuple[Label, ...]:
        """As a tuple."""
        return tuple(self.at)

    def __len__(self) -> int:
        return len(self.at)

    def index(self, label: Label) -> int:
        """Raises ValueError for a label that is none."""
        try:
            if isinstance(self.at, range) and isinstance(label, (int, np.integer)):
                return self.at.index(int(label))
            return self._places[label]
        except (KeyError, TypeError, ValueError):
            known = ", ".join(map(repr, self.at[:8])) + (", ..." if len(self.at) > 8 else "")
            raise ValueError(f"unknown {self.what} {label!r}; the {self.what}s are {known}") from None


def indexed(labels: Sequence[Label], what: str) -> dict[Label, int]:
    """{label: index}. Raises ValueError for a label that stands twice."""
    index = dict(zip(labels, range(len(labels)), strict=True))
    if len(index) < len(labels):
        i, label = next((i, label) for i, label in enumerate(labels) if index[label] != i)
        raise ValueError(f"the {what} label {label!r} stands twice, at {i} and {index[label]}")
    return index


def reals(given: ArrayLike, what: str, *, copy: bool | None = None) -> Floats:
    """As float64; copy as in np.array. Raises ValueError for what is no array of real numbers that float64 holds."""
    try:
        array = np.asarray(given)
        if array.dtype.kind in "cmMVSUT":
            raise ValueError(f"it holds {array.dtype}")
        if array.dtype == object and any(x is None or isinstance(x, (str, bytes)) for x in array.flat):
            raise ValueError("it holds text or None")
        return np.array(array, dtype=np.float64, copy=copy)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{what} is no array of real numbers: {error}") from None


def checked_gamma(gamma: float) -> float:
    """The discount as a float. Raises ValueError outside [0, 1]."""
    if not isinstance(gamma, (int, float, np.integer, np.floating)) or isinstance(gamma, bool):
        raise TypeError(f"gamma must be a number in [0, 1], not {gamma!r}")
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma must lie in [0, 1], not {reprlib.repr(gamma)}")
    return float(gamma)


def checked_start(start: ArrayLike | None, terminal: Bools, states: Sequence[Label]) -> Floats:
    """Pr(S_0 = s), (S,); None is uniform over the non-terminal states.

    Raises ValueError where it is no distribution over the non-terminal states (in a terminal one nothing can be done).
    """
    if terminal.all():
        raise ValueError("every state is terminal: no state has an outcome, so there is nothing to start")
    if start is None:
        return frozen(np.where(terminal, 0.0, 1 / np.count_nonzero(~terminal)))
    given = reals(start, "start", copy=True)
    if given.shape != terminal.shape:
        raise ValueError(f"start has shape {given.shape}, not one probability for each of {len(terminal)} states")
    if not (given.min() >= 0 and given.max() < np.inf):
        s = int(np.argmax(~(np.isfinite(given) & (given >= 0))))
        raise ValueError(f"start gives {states[s]!r} the probability {given[s]}; it must be a finite number >= 0")
    if abs((total := given.sum()) - 1) > SUM_TOLERANCE:
        raise ValueError(f"start sums to {total:.12g}, not 1")
    if given[terminal].any():
        s = int(np.argmax(terminal & (given > 0)))
        raise ValueError(f"start puts probability {given[s]:g} on {states[s]!r}, which is terminal")
    return frozen(given)
