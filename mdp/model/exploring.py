"""A function of (s, a), or copies of an environment that can be stepped, explored into a table breadth-first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from mdp.model import build
from mdp.model.build import Pair, Start
from mdp.model.labels import indexed
from mdp.model.table import Label

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP

Transition = Callable[[Any, Any], Iterable[tuple[float, Any, float]] | None]


def from_function(
    cls: type[FiniteMDP],
    /,
    states: Iterable[Label] | None,
    actions: Iterable[Label] | Callable[[Any], Iterable[Label]],
    transition: Transition,
    *,
    gamma: float,
    start: Start = None,
    observations: ArrayLike | None = None,
    max_states: int = 1_000_000,
) -> FiniteMDP:
    """From transition(s, a) -> [(probability, s', r), ...], by label; None or nothing where a is not in A(s).

    states: all of them. None: they are explored breadth-first from those of `start`, then {label: probability}; every
    state that an outcome names is one, in order of first appearance; at most `max_states`. actions: the same for all,
    or a function s -> A(s), whose labels are taken in order of first appearance. A state with no admissible action is
    terminal. `transition` is called once for each pair.

    Raises ValueError as `from_outcomes`, and where more than `max_states` states are found.

    >>> from mdp import FiniteMDP, solve
    >>> def halve_or_subtract(n, a):  # down to 1 in as few steps as possible
    ...     after = n - 1 if a == "subtract" else n / 2
    ...     return [(1, int(after), -1)] if n > 1 and after == int(after) else None
    >>> m = FiniteMDP.from_function(None, ["halve", "subtract"], halve_or_subtract, gamma=1, start={100: 1.0})
    >>> m.n_states, float(solve(m).v[0])
    (100, -8.0)
    """
    if states is None and not (isinstance(start, Mapping) and start):
        raise ValueError("with states=None, start must be {state: probability}: the states are explored from there")
    labels = list(start if states is None and isinstance(start, Mapping) else states or ())
    index = indexed(tuple(labels), "state")
    if isinstance(actions, Iterable):  # asked first: an Enum can be called, too
        actions = tuple(actions)
    column = indexed(actions if isinstance(actions, tuple) else (), "action")
    pairs = _listed(labels, actions, transition, column)
    table = build.columns(_explored(pairs, labels, index, max_states) if states is None else pairs, index, column)
    return cls(table, states=labels, actions=column, gamma=gamma, start=start, observations=observations)


def _listed(
    labels: list[Label],
    actions: tuple[Label, ...] | Callable[[Any], Iterable[Label]],
    transition: Transition,
    column: dict[Label, int],
) -> Iterator[Pair]:
    """The pairs that have outcomes, state by state; new actions get the next `column`."""
    for s in labels:
        for a in actions if isinstance(actions, tuple) else actions(s):
            listed = transition(s, a)
            if listed is not None and (triples := tuple(listed)):
                column.setdefault(a, len(column))
                yield s, a, triples


def _explored(pairs: Iterable[Pair], labels: list[Label], index: dict[Label, int], max_states: int) -> Iterator[Pair]:
    """The same pairs; states that they reach first join `labels`, which `pairs` goes through, and `index`."""
    for s, a, listed in pairs:
        try:
            new = [after for _, after, _ in listed if after not in index]
        except (TypeError, ValueError):
            build.refuse(s, a, listed, index, {a: 0}, more=True)
            raise
        for after in dict.fromkeys(new) if new else ():
            check_room(len(labels), max_states, s, a)
            index[after] = len(labels)
            labels.append(after)
        yield s, a, listed


def check_room(found: int, max_states: int, s: Label, a: Label) -> None:
    """Raises ValueError where one state more than `found` would be too many."""
    if found >= max_states:
        raise ValueError(
            f"state {s!r}, action {a!r} leads to state number {found + 1:,}, and max_states is {max_states:,}: "
            f"pass a larger max_states= if there are to be more"
        )
