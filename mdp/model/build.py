"""What labels say, and Gymnasium's P, read into the columns of one table.

Each reader returns the raw columns (state, action, next, reward, p); `FiniteMDP` checks them. Only what is needed to
say WHERE something is wrong is checked here: labels and shapes. Arrays are read in `arrays.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, filterfalse, islice
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mdp.model.checking import sorted_pairs
from mdp.model.labels import Labels, reals
from mdp.model.table import Floats, Ints, Label, Outcomes, Table

Start = ArrayLike | Mapping[Any, float] | None  # Pr(S_0 = s): (S,), {label: probability}, or uniform
Triples = Sequence[tuple[float, Any, float]]  # the outcomes (p, s', r) of one pair
Pair = tuple[Label, Label, Triples]  # s, a, and their outcomes

BATCH = 1_000  # pairs that become columns together: their outcomes fit into a cache


def from_outcomes(
    outcomes: Mapping[tuple[Any, Any], Triples],
    states: Iterable[Label] | None,
    actions: Iterable[Label] | None,
) -> tuple[Outcomes, Iterable[Label], Iterable[Label]]:
    """The table of {(s, a): [(p, s', r), ...]}, and the labels."""
    for pair in outcomes:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise ValueError(f"outcomes has the key {pair!r}; a key is a pair (state, action)")
    more = states is None
    states = tuple(dict.fromkeys(s for s, _ in outcomes) if states is None else states)
    actions = tuple(dict.fromkeys(a for _, a in outcomes) if actions is None else actions)
    index = {s: i for i, s in enumerate(states)}
    column = {a: i for i, a in enumerate(actions)}
    table = columns(((s, a, listed) for (s, a), listed in outcomes.items()), index, column, more=more)
    return table, index if more else states, actions


def columns(
    pairs: Iterable[Pair], index: dict[Label, int], column: Mapping[Label, int], *, more: bool = False
) -> Outcomes:
    """The table of pairs by label; more: an s' that is not in `index` is a new state.

    Raises ValueError that names the pair and what is wrong with it.
    """
    pairs = iter(pairs)
    parts = []
    while some := list(islice(pairs, BATCH)):
        try:
            parts.append(_columns(some, index, column, more))
        except (TypeError, ValueError, KeyError, OverflowError):
            for pair in some:
                refuse(*pair, index, column, more=more)
            raise
    s, a, after, r, p = zip(*parts, strict=True) if parts else ([np.zeros(0, np.int64)],) * 5
    return Outcomes(*map(np.concatenate, (s, a, after, r, p)))


def _columns(some: Sequence[Pair], index: dict[Label, int], column: Mapping[Label, int], more: bool) -> Outcomes:
    """`columns` of a few pairs, without a word about what is wrong."""
    s, a, listed = zip(*some, strict=True)
    p, after, r = zip(*chain.from_iterable(listed), strict=True)
    n = list(map(len, listed))
    if 0 in n:
        raise ValueError
    if more:
        for label in filterfalse(index.__contains__, dict.fromkeys(after)):
            index[label] = len(index)
    return Outcomes(
        np.repeat(_looked_up(s, index), n),
        np.repeat(_looked_up(a, column), n),
        _looked_up(after, index),
        _numbers(r).astype(np.float64),
        _numbers(p).astype(np.float64),
    )


def _looked_up(labels: Sequence[Label], index: Mapping[Label, int]) -> Ints:
    return np.fromiter(map(index.__getitem__, labels), np.int64, len(labels))


def _numbers(given: Sequence[Any]) -> NDArray[Any]:
    """As int64 where all are whole numbers, else as float64: `struct` reads faster than numpy, and no text.

    Raises TypeError for what is no number.
    """
    for kind in "qd":
        try:
            return np.frombuffer(struct.pack(f"{len(given)}{kind}", *given), kind)
        except struct.error:
            continue
    raise TypeError


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


# ---- Gymnasium ----

RENAMED = {"Taxi-v3": "Taxi-v4", "CliffWalking-v0": "CliffWalking-v1", "FrozenLake-v0": "FrozenLake-v1"}


def made(env_or_id: Any, make_kwargs: Mapping[str, Any]) -> Any:
    """The environment; an id is made. Raises ValueError for an id that Gymnasium does not know."""
    if not isinstance(env_or_id, str):
        return env_or_id
    import gymnasium

    if env_or_id in RENAMED and env_or_id not in gymnasium.registry:
        raise ValueError(f"{env_or_id} is gone from Gymnasium; {RENAMED[env_or_id]} took its place")
    try:
        return gymnasium.make(env_or_id, **make_kwargs)
    except (gymnasium.error.Error, ImportError, ValueError) as error:
        raise ValueError(f"Gymnasium cannot make {env_or_id!r}: {error}") from None


def called(env: Any) -> str:
    """The environment's name in error messages."""
    return str(env.spec.id) if getattr(env, "spec", None) else type(env.unwrapped).__name__


def from_gymnasium(env: Any, start: Start) -> tuple[Table, int, int, Start]:
    """(table, n, A, start) of env.unwrapped.P; the terminal state has the index n."""
    P = getattr(env.unwrapped, "P", None)
    if not isinstance(P, Mapping):
        raise ValueError(f"{called(env)} has no table P of its outcomes, so its exact values cannot be computed")
    try:
        columns, n, n_actions = _of_gymnasium(P)
    except (TypeError, ValueError, AttributeError, OverflowError):
        _refuse_gymnasium(P)
        raise ValueError(f"the table P of {called(env)} is not {{s: {{a: [(p, s', r, terminated), ...]}}}}") from None
    table = sorted_pairs(*columns, (n + 1, n_actions), name)
    if start is None:
        start = getattr(env.unwrapped, "initial_state_distrib", None)
    if start is None:
        raise ValueError("the environment has no initial_state_distrib: pass start=, one probability for each state")
    if isinstance(start, Mapping):
        return table, n, n_actions, start
    start = reals(start, "start")
    return table, n, n_actions, np.append(start, 0.0) if start.shape == (n,) else start


def _of_gymnasium(P: Mapping[int, Mapping[int, Any]]) -> tuple[tuple[Ints, Ints, Floats, Floats], int, int]:
    """((s A + a, s', r, p), n, A) of {s: {a: [(p, s', r, terminated), ...]}}, without a word about what is wrong."""
    n, n_actions = len(P), max(map(len, P.values()))
    listed = [of_pair for of in P.values() for of_pair in of.values()]
    outcomes = [*chain.from_iterable(listed)]
    p, after, reward, terminated = map(_numbers, zip(*outcomes, strict=True))
    ends = terminated.astype(bool)
    goes_to = np.where(ends, 0, after)
    if (ends != terminated).any() or not (goes_to.min() >= 0 and goes_to.max() < n):
        raise ValueError
    if goes_to.dtype.kind == "f" and (goes_to != np.floor(goes_to)).any():
        raise ValueError
    after = np.where(ends, n, goes_to)
    pair = _pairs(P, n, n_actions)
    if len(outcomes) > len(listed) or not all(listed):  # else one each
        pair = pair.repeat([*map(len, listed)])
    return (pair, after.astype(np.int64), reward.astype(np.float64), p.astype(np.float64)), n, n_actions


def _pairs(P: Mapping[int, Mapping[int, Any]], n: int, n_actions: int) -> Ints:
    """s A + a of {s: {a: ...}}, in the order in which they stand."""
    actions = [*chain.from_iterable(P.values())]
    if [*P] == [*range(n)] and len(actions) == n * n_actions and actions == [*range(n_actions)] * n:
        return np.arange(n * n_actions)  # as all tables of Gymnasium have it
    if P.keys() != set(range(n)) or not set(actions) <= set(range(n_actions)):
        raise ValueError
    s = np.fromiter(P, np.int64, n).repeat([*map(len, P.values())])
    return np.asarray(s * n_actions + np.fromiter(actions, np.int64, len(actions)))


def _refuse_gymnasium(P: Mapping[Any, Any]) -> None:
    """Raises ValueError for the first thing that is wrong with a table P."""
    for s, of in P.items():
        if not isinstance(of, Mapping):
            raise ValueError(f"P[{s!r}] is {of!r}; it must be {{action: [(p, s', r, terminated), ...]}}")
    n, n_actions = len(P), max(map(len, P.values()), default=0)
    for s, of in P.items():
        for a, outcomes in of.items():
            if not isinstance(outcomes, Sequence):
                raise ValueError(f"P[{s!r}][{a!r}] is {outcomes!r}; it must be [(p, s', r, terminated), ...]")
            for outcome in outcomes:
                try:
                    p, after, r, terminated = outcome
                    float(p + 0), float(r + 0), (False, True).index(terminated)
                except (TypeError, ValueError, OverflowError):
                    raise ValueError(
                        f"P[{s!r}][{a!r}] has the outcome {outcome!r}; it must be (p, s', r, terminated)"
                    ) from None
                going = [] if terminated else [("state", after, n)]
                for what, x, size in [("state", s, n), ("action", a, n_actions), *going]:
                    if x not in range(size):
                        raise ValueError(f"P[{s!r}][{a!r}] names the {what} {x!r}; there are 0 .. {size - 1}")
