"""Outcomes, arrays and Gymnasium's P, read into one table.

Each reader returns the raw rows (state, action, next, reward, p); `FiniteMDP` checks them. Only what is needed to say
WHERE something is wrong is checked here: labels and shapes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from mdp.model.table import SUM_TOLERANCE, Bools, Floats, Ints, Label, Outcomes

Start = ArrayLike | Mapping[Any, float] | None  # Pr(S_0 = s): (S,), {label: probability}, or uniform


def rows(flat: list[tuple[int, int, int, float, float]]) -> Outcomes:
    """The table of a list of (s, a, s', r, p), by index."""
    s, a, after, r, p = zip(*flat, strict=True) if flat else ((),) * 5
    return Outcomes(
        np.array(s, np.int64), np.array(a, np.int64), np.array(after, np.int64), np.array(r, float), np.array(p, float)
    )


def from_outcomes(
    outcomes: Mapping[tuple[Any, Any], Sequence[tuple[float, Any, float]]],
    states: Iterable[Label] | None,
    actions: Iterable[Label] | None,
) -> tuple[Outcomes, tuple[Label, ...], tuple[Label, ...]]:
    """The table of {(s, a): [(p, s', r), ...]}, and the labels."""
    for pair, listed in outcomes.items():
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise ValueError(f"outcomes has the key {pair!r}; a key is a pair (state, action)")
        if len(listed) == 0:
            raise ValueError(f"{_pair(*pair)} has no outcome; leave the pair out where the action is not admissible")
    if states is None:
        reached = (_triple(x, *pair)[1] for pair, listed in outcomes.items() for x in listed)
        states = dict.fromkeys([*(s for s, _ in outcomes), *reached])
    if actions is None:
        actions = dict.fromkeys(a for _, a in outcomes)
    states, actions = tuple(states), tuple(actions)
    index = {s: i for i, s in enumerate(states)}
    column = {a: i for i, a in enumerate(actions)}
    flat = []
    for (s, a), listed in outcomes.items():
        i, j = known(index, s, "state", s, a), known(column, a, "action", s, a)
        for outcome in listed:
            p, after, r = _triple(outcome, s, a)
            flat.append((i, j, known(index, after, "state", s, a), r, p))
    return rows(flat), states, actions


def _triple(outcome: Any, s: Label, a: Label) -> tuple[float, Label, float]:
    """(p, s', r). Raises ValueError that names the pair for anything else."""
    try:
        p, after, r = outcome
        return float(p), after, float(r)
    except (TypeError, ValueError):
        raise ValueError(f"{_pair(s, a)} has the outcome {outcome!r}; it must be (probability, s', reward)") from None


def known(index: dict[Label, int], label: Label, what: str, s: Label, a: Label) -> int:
    """The index of a label. Raises ValueError that names the label and the pair where it stands."""
    if label not in index:
        raise ValueError(f"{_pair(s, a)} names the unknown {what} {label!r}")
    return index[label]


def _pair(s: Label, a: Label) -> str:
    return f"p(.|s={s!r}, a={a!r})"


def start_array(start: Start, states: tuple[Label, ...]) -> ArrayLike | None:
    """{label: probability} as an array (S,); anything else unchanged."""
    if not isinstance(start, Mapping):
        return start
    known_states = set(states)
    unknown = [s for s in start if s not in known_states]
    if unknown:
        raise ValueError(f"start names the unknown state {unknown[0]!r}")
    return np.array([start.get(s, 0.0) for s in states])


def exactly(labels: Iterable[Label], n: int, what: str) -> tuple[Label, ...]:
    """The labels as a tuple. Raises ValueError where they are not n."""
    labels = tuple(labels)
    if len(labels) != n:
        raise ValueError(f"{len(labels)} {what} labels for {n} {what}")
    return labels


# ---- arrays ----


def sizes(P: Any) -> tuple[int, int]:
    """(S, A) of P (S, A, S), or of a length-A sequence of sparse (S, S). Raises ValueError for other shapes."""
    if _is_sparse(P):
        shapes = {x.shape for x in P}
        if len(shapes) != 1 or (shape := shapes.pop())[0] != shape[1]:
            raise ValueError("P as a sequence of sparse matrices needs one (S, S) for each action, all of one size")
        return int(shape[0]), len(P)
    shape = np.shape(P)
    if len(shape) != 3 or shape[0] != shape[2]:
        raise ValueError(f"P has shape {shape}, not (S, A, S)")
    return shape[0], shape[1]


def from_arrays(
    P: Any,
    R: Any,
    terminal: ArrayLike | None,
    admissible: ArrayLike | None,
    states: tuple[Label, ...],
    actions: tuple[Label, ...],
) -> Outcomes:
    """The table of transition and reward arrays, without the rows of terminal states and inadmissible pairs."""
    n_states, n_actions = sizes(P)
    allowed = _bools(admissible, (n_states, n_actions), "admissible", default=True)
    s, a, after, p = _sparse_entries(P) if _is_sparse(P) else _dense_entries(P)
    r = _rewards(R, s, a, after, n_states, n_actions)
    table = Outcomes(s, a, after, r, p).where(allowed[s, a])
    if terminal is None:
        ends = _absorbing(table, allowed)
    else:
        ends = _bools(terminal, (n_states,), "terminal", default=False)
        _check_terminal(table, ends, states, actions)
    given = allowed & ~ends[:, None]
    given[table.state, table.action] = False
    if given.any():
        i, j = np.argwhere(given)[0]
        raise ValueError(f"{_pair(states[i], actions[j])} sums to 0, not 1")
    return table.where(~ends[table.state])


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


def _is_sparse(P: Any) -> bool:
    return isinstance(P, Sequence) and len(P) > 0 and all(sparse.issparse(x) for x in P)


def _dense_entries(P: ArrayLike) -> tuple[Ints, Ints, Ints, Floats]:
    P = np.asarray(P, dtype=np.float64)
    s, a, after = np.nonzero(P)
    return s, a, after, P[s, a, after]


def _sparse_entries(P: Sequence[Any]) -> tuple[Ints, Ints, Ints, Floats]:
    parts = [sparse.coo_array(sparse.csr_array(x)) for x in P]  # csr adds up entries that stand twice
    a = np.repeat(np.arange(len(P)), [len(x.data) for x in parts])
    s, after, p = (np.concatenate([x.coords[0] if k == 0 else x.coords[1] if k == 1 else x.data for x in parts])
                   for k in range(3))
    return s.astype(np.int64), a, after.astype(np.int64), p.astype(np.float64)


def _rewards(R: Any, s: Ints, a: Ints, after: Ints, n_states: int, n_actions: int) -> Floats:
    if _is_sparse(R):
        if sizes(R) != (n_states, n_actions):
            raise ValueError(f"R has the sizes {sizes(R)}, P has {(n_states, n_actions)} states and actions")
        r = np.zeros(len(s))
        for j, x in enumerate(R):
            r[a == j] = np.asarray(sparse.csr_array(x)[s[a == j], after[a == j]]).ravel()
        return r
    R = np.asarray(R, dtype=np.float64)
    shapes = {(n_states,): (s,), (n_states, n_actions): (s, a), (n_states, n_actions, n_states): (s, a, after)}
    if R.shape not in shapes:
        raise ValueError(f"R has shape {R.shape}; it may be {', '.join(map(str, shapes))}")
    picked: Floats = R[shapes[R.shape]]
    return picked


def _bools(given: ArrayLike | None, shape: tuple[int, ...], what: str, *, default: bool) -> Bools:
    array = np.full(shape, default) if given is None else np.asarray(given)
    if array.shape != shape or array.dtype != bool:
        raise ValueError(f"{what} must be bool of shape {shape}, not {array.dtype} of shape {array.shape}")
    return array


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


def from_gymnasium(env: Any, start: Start) -> tuple[Outcomes, int, int, Start]:
    """(table, n, A, start) of env.unwrapped.P; the terminal state has the index n."""
    P = getattr(env.unwrapped, "P", None)
    if not isinstance(P, Mapping):
        name = env.spec.id if getattr(env, "spec", None) else type(env.unwrapped).__name__
        raise ValueError(f"{name} has no table P of its outcomes, so its exact values cannot be computed")
    n, n_actions = len(P), max(map(len, P.values()), default=0)
    flat = [
        (s, a, n if terminated else after, r, p)
        for s, by_action in P.items()
        for a, listed in by_action.items()
        for p, after, r, terminated in listed
    ]
    for s, a, after, _, _ in flat:
        for what, index, size in (("state", s, n), ("action", a, n_actions), ("state", after, n + 1)):
            if index not in range(size):
                raise ValueError(f"P[{s}][{a}] names the {what} {index!r}; there are 0 .. {size - 1}")
    if start is None:
        start = getattr(env.unwrapped, "initial_state_distrib", None)
    if start is None:
        raise ValueError("the environment has no initial_state_distrib: pass start=, one probability for each state")
    if isinstance(start, Mapping):
        return rows(flat), n, n_actions, start
    start = np.asarray(start, dtype=np.float64)
    return rows(flat), n, n_actions, np.append(start, 0.0) if start.shape == (n,) else start
