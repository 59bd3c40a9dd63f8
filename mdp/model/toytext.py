"""Gymnasium's environments that carry their own table, P (its "toy text"), read into a table of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from mdp.model.build import Start, name
from mdp.model.checking import sorted_pairs
from mdp.model.labels import reals
from mdp.model.packing import numbers
from mdp.model.table import Floats, Ints, Table

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
    listed = [*chain.from_iterable([of.values() for of in P.values()])]
    outcomes = [*chain.from_iterable(listed)]
    p, after, reward, terminated = map(numbers, zip(*outcomes, strict=True))
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
