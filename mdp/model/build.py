"""What labels say, read into the columns of one table.

Each reader returns the raw columns (state, action, next, reward, p); `FiniteMDP` checks them. Only what is needed to
say WHERE something is wrong is checked here: labels and shapes. Arrays are read in `arrays.py`,
Gymnasium's tables in `toytext.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, filterfalse, islice
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mdp.model import packing
from mdp.model.labels import Labels
from mdp.model.packing import numbers
from mdp.model.table import Ints, Label, Outcomes

Start = ArrayLike | Mapping[Any, float] | None  # Pr(S_0 = s): (S,), {label: probability}, or uniform
Triples = Sequence[tuple[float, Any, float]]  # the outcomes (p, s', r) of one pair
Pair = tuple[Label, Label, Triples]  # s, a, and their outcomes

BATCH = 1_000  # pairs that become columns together: their outcomes fit into a cache
ROOM = 8  # places in an array of those labels that are whole numbers, for each label there is


def from_outcomes(
    outcomes: Mapping[tuple[Any, Any], Triples],
    states: Iterable[Label] | None,
    actions: Iterable[Label] | None,
) -> tuple[Outcomes, Iterable[Label], Iterable[Label]]:
    """The table of {(s, a): [(p, s', r), ...]}, and the labels."""
    if {*map(type, outcomes)} != {tuple} or {*map(len, outcomes)} != {2}:
        for pair in outcomes:
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise ValueError(f"outcomes has the key {pair!r}; a key is a pair (state, action)")
    more = states is None
    states = tuple(dict.fromkeys(map(itemgetter(0), outcomes)) if states is None else states)
    actions = tuple(dict.fromkeys(map(itemgetter(1), outcomes)) if actions is None else actions)
    index, column = (dict(zip(labels, range(len(labels)), strict=True)) for labels in (states, actions))
    table = columns(((s, a, listed) for (s, a), listed in outcomes.items()), index, column, more=more)
    return table, index if more else states, actions


def columns(
    pairs: Iterable[Pair], index: dict[Label, int], column: Mapping[Label, int], *, more: bool = False
) -> Outcomes:
    """The table of pairs by label; more: an s' that is not in `index` is a new state.

    Raises ValueError that names the pair and what is wrong with it.
    """
    pairs, places, parts = iter(pairs), Places(index), []
    while some := list(islice(pairs, BATCH)):
        try:
            parts.append(_columns(some, places, column, more))
        except (TypeError, ValueError, KeyError, OverflowError):
            for pair in some:
                refuse(*pair, index, column, more=more)
            raise
    s, a, after, r, p = zip(*parts, strict=True) if parts else ([np.zeros(0, np.int64)],) * 5
    return Outcomes(*map(np.concatenate, (s, a, after, r, p)))


def _columns(some: Sequence[Pair], places: Places, column: Mapping[Label, int], more: bool) -> Outcomes:
    """`columns` of a few pairs, without a word about what is wrong."""
    s, a, listed = zip(*some, strict=True)
    p, after, r = packing.columns([*chain.from_iterable(listed)])
    n = list(map(len, listed))
    if 0 in n:
        raise ValueError
    return Outcomes(
        np.repeat(_looked_up(s, places.index), n),
        np.repeat(_looked_up(a, column), n),
        places.of(after, more),
        numbers(r).astype(np.float64),
        numbers(p).astype(np.float64),
    )


class Places:
    """The place of each label in `index`. Of labels that are whole numbers, 0, 1, ..., an array keeps it, which is
    several times as fast: those are asked for once.
    """

    def __init__(self, index: dict[Label, int]) -> None:
        self.index, self.known = index, np.full(BATCH, -1)

    def of(self, labels: Sequence[Label], more: bool) -> Ints:
        """Their places; more: a new label gets the next one. Raises KeyError for an unknown label."""
        whole = _whole(labels)
        if whole is None or not 0 <= whole.min() <= whole.max() < ROOM * (len(self.index) + BATCH):
            self._add(labels, more)
            return _looked_up(labels, self.index)
        if (most := int(whole.max())) >= len(self.known):
            self.known = np.append(self.known, np.full(most + 1, -1))
        places = self.known[whole]
        if len(new := whole[places < 0].tolist()):
            self._add(new, more)
            self.known[new] = _looked_up(new, self.index)
            places = self.known[whole]
        return np.asarray(places)

    def _add(self, labels: Sequence[Label], more: bool) -> None:
        for label in filterfalse(self.index.__contains__, dict.fromkeys(labels)) if more else ():
            self.index[label] = len(self.index)


def _whole(labels: Sequence[Label]) -> Ints | None:
    """Labels that are whole numbers, as an array; None for any other."""
    try:
        return np.fromiter(labels, np.int64, len(labels)) if {*map(type, labels)} == {int} else None
    except OverflowError:
        return None


def _looked_up(labels: Sequence[Label], index: Mapping[Label, int]) -> Ints:
    return np.fromiter(map(index.__getitem__, labels), np.int64, len(labels))


def refuse(
    s: Label, a: Label, listed: Triples, index: Mapping[Label, int], column: Mapping[Label, int], *, more: bool
) -> None:
    """Raises ValueError for the first thing that is wrong with a pair; `more` as in `columns`."""
    if len(listed) == 0:
        raise ValueError(f"{name(s, a)} has no outcome; leave the pair out where the action is not admissible")
    _check_known(index, s, "state", s, a)
    _check_known(column, a, "action", s, a)
    for outcome in listed:
        _, after, _ = _triple(outcome, s, a)
        _check_known(index, after, "state", s, a, more=more)


def _triple(outcome: Any, s: Label, a: Label) -> tuple[float, Label, float]:
    """(p, s', r). Raises ValueError that names the pair for anything else."""
    try:
        p, after, r = outcome
        return float(p + 0), after, float(r + 0)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name(s, a)} has the outcome {outcome!r}; it must be (probability, s', reward)") from None


def _check_known(
    index: Mapping[Label, int], label: Label, what: str, s: Label, a: Label, *, more: bool = False
) -> None:
    try:
        if label not in index and not more:
            raise ValueError(f"{name(s, a)} names the unknown {what} {label!r}")
    except TypeError:
        raise ValueError(f"{name(s, a)} names the {what} {label!r}, which is no label: it is not hashable") from None


def name(s: Label, a: Label) -> str:
    """A pair in error messages."""
    return f"p(.|s={s!r}, a={a!r})"


def start_array(start: Start, states: Labels) -> ArrayLike | None:
    """{label: probability} as an array (S,); anything else unchanged."""
    if not isinstance(start, Mapping):
        return start
    given = np.zeros(len(states))
    for s, probability in start.items():
        try:
            k = states.index(s)
        except ValueError:
            raise ValueError(f"start names the unknown state {s!r}") from None
        try:
            given[k] = probability
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"start gives {s!r} the probability {probability!r}, which is no number") from None
    return given


def exactly(labels: Iterable[Label], n: int, what: str) -> Sequence[Label]:
    """The labels as a sequence. Raises ValueError where they are not n."""
    listed = labels if isinstance(labels, range) else tuple(labels)
    if len(listed) != n:
        raise ValueError(f"{len(listed)} {what} labels for {n} {what}")
    return listed
