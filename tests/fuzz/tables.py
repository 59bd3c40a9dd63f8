"""The constructors, with tables that are right but for a few places."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy import sparse

from mdp import FiniteMDP
from tests.fuzz.checks import made
from tests.fuzz.draw import Draw

SEEDS = [bytes(range(k, k + 120)) for k in (0, 7, 64, 120)] + [bytes(64), b"\x01" * 200, bytes(range(256))]


def _label(d: Draw, k: int) -> Any:
    return d.number() if d.rarely() else k


def _gamma(d: Draw) -> Any:
    return d.number() if d.rarely() else (0, 0.5, 0.9, 1)[d.below(4)]


def _maybe(d: Draw, make: Any) -> Any:
    """None mostly; else what is made, or anything."""
    kind = d.below(8)
    return None if kind < 5 else d.number() if kind == 5 else make()


def _by_label(d: Draw, n: int) -> dict[Any, Any]:
    """A start; a label that is no key of any dictionary is left out."""
    found = {}
    for k, x in enumerate(d.distribution(n)):
        with suppress(TypeError):
            found[_label(d, k)] = x
    return found


def _rest(d: Draw, n: int) -> dict[str, Any]:
    """gamma, start, observations."""
    start = _maybe(d, lambda: d.of([d.distribution(n), _by_label(d, n)]))
    kind = d.of(["i1", "<f4", ">i4", "?", "f2", "U3", "O", "M8[s]", "c16"])
    seen = _maybe(d, lambda: np.array([d.below(9) for _ in range(n)]).astype(kind))
    return {"gamma": _gamma(d), "start": start, "observations": seen}


def _triples(d: Draw, n: int) -> Any:
    if d.rarely():
        return d.of([(), [()], [(1, 0)], [(1, 0, 0, 0)], None, "abc", [None], [[1, 0, 0]], {1: 2}, 3])
    k = 1 + d.below(3)
    return [(p, _label(d, d.below(n)), d.number() if d.rarely() else d.below(9) - 4.0) for p in d.distribution(k)]


def outcomes(data: bytes) -> None:
    d = Draw(data)
    n, m = 1 + d.below(5), 1 + d.below(3)
    table: dict[Any, Any] = {}
    for s in range(n):
        for a in range(m):
            if d.below(4):
                key = (_label(d, s), _label(d, a)) if not d.rarely() else d.number()
                with suppress(TypeError):  # no key of any dictionary
                    table[key] = _triples(d, n + 1)
    states = _maybe(d, lambda: [_label(d, k) for k in range(n + 1)])
    made(lambda: FiniteMDP.from_outcomes(table, states=states, **_rest(d, n + 1)))


def _stochastic(d: Draw, n: int, rows: int) -> Any:
    P = np.zeros((rows, n))
    for row in P:
        for j, x in zip((d.below(n) for _ in range(3)), d.distribution(3), strict=True):
            row[j] += x if isinstance(x, (int, float)) and abs(x) < 1e308 else 0.0
    if d.rarely():
        P[d.below(rows), d.below(n)] = d.of([np.nan, np.inf, -1, 2, 1e-12, -1e-12, 5e-324])
    return P


def _as_given(d: Draw, x: Any) -> Any:
    """An array as another kind of array, or as lists."""
    kind = d.below(16)
    if kind < 9:
        return x
    with np.errstate(all="ignore"):
        return (x.tolist(), x.astype(np.float32), x.astype(int), x.astype(object), x.astype(str), x[None], x[..., :-1])[
            kind - 9
        ]


def dense(data: bytes) -> None:
    d = Draw(data)
    n, m = 1 + d.below(4), 1 + d.below(3)
    P = _as_given(d, _stochastic(d, n, n * m).reshape(n, m, n))
    shape = d.of([(n,), (n, m), (n, m, n), (m, n)])
    R: Any = np.array([d.below(9) - 4.0 for _ in range(int(np.prod(shape)))]).reshape(shape)
    if d.rarely():
        R.flat[d.below(R.size)] = d.of([np.nan, np.inf, -np.inf, 1e308, -1e308])
    terminal = _maybe(d, lambda: np.array([d.below(2) > 0 for _ in range(n)]))
    admissible = _maybe(d, lambda: np.array([d.below(4) > 0 for _ in range(n * m)]).reshape(n, m))
    made(lambda: FiniteMDP.from_arrays(
        P, _as_given(d, R), terminal=terminal, admissible=admissible, **_rest(d, n)
    ))  # fmt: skip


def _sparse(d: Draw, P: Any) -> Any:
    """A sparse matrix, unsorted and with entries that stand twice, or with an absurd shape."""
    kind = d.below(16)
    if kind == 15:
        return sparse.csr_array((d.below(3), d.of([10**6, 10**9, 2**40, 0])))
    if kind > 10:
        n = P.shape[0]
        i, j = np.array([[d.below(n), d.below(P.shape[1])] for _ in range(8)]).T
        return sparse.coo_array((np.full(8, 0.25), (i, j)), shape=P.shape)
    form = (sparse.csr_array, sparse.csc_array, sparse.coo_array, sparse.csr_matrix, sparse.lil_array)[kind % 5]
    return form(P)


def sparse_arrays(data: bytes) -> None:
    d = Draw(data)
    n, m = 1 + d.below(4), 1 + d.below(3)
    P = _stochastic(d, n, n * m)
    whole = d.below(2)
    given = _sparse(d, P) if whole else [_sparse(d, P.reshape(n, m, n)[:, a]) for a in range(m)]
    shape = d.of([(n,), (n, m)])
    R: Any = np.array([d.below(9) - 4.0 for _ in range(int(np.prod(shape)))]).reshape(shape)
    if d.rarely():
        R = [_sparse(d, _stochastic(d, n, n)) for _ in range(m)]
    made(lambda: FiniteMDP.from_arrays(given, R, **_rest(d, n)))


def pairs(data: bytes) -> None:
    d = Draw(data)
    n, rows = 1 + d.below(4), 1 + d.below(6)
    P = _stochastic(d, n, rows)
    s: list[Any] = [k % n for k in range(rows)]
    a: list[Any] = [k // n for k in range(rows)]
    for x in (s, a):
        if d.rarely():
            x[d.below(rows)] = d.of([-1, 7, 10**6, 10**9, 2**62, 2**64, 0.5, None, "x"])
    R = [d.number() if d.rarely() else d.below(9) - 4.0 for _ in range(rows)]
    given = _sparse(d, P) if d.below(2) else _as_given(d, P)
    made(lambda: FiniteMDP.from_pairs(given, R, s, a, **_rest(d, n)))


ODD = ((1, 0, 0), (1, 0.5, 0, False), (1, 99, 0, False), (1, 99, 0, True), None, 7, (1, None, 0, True),
       (1, 0, "x", False), (1, 10**30, 0, False))  # fmt: skip


def gymnasium(data: bytes) -> None:
    d = Draw(data)
    n, m = 1 + d.below(4), 1 + d.below(3)
    P: Any = {}
    for s in range(n):
        try:
            P[_label(d, s) if d.below(2) else s] = {}
        except TypeError:  # no key of any dictionary
            continue
        for a in range(m):
            listed: Any = [(p, d.below(n), d.below(9) - 4.0, d.below(3) == 2) for p in d.distribution(1 + d.below(3))]
            if d.rarely():
                listed[0] = d.of([*ODD, (d.number(),) * 4])
            if d.rarely():
                listed = d.of([[], None, 7, "abc", ()])
            of = list(P.values())[-1]
            of[a + 1 if d.rarely() else a] = listed
    if d.rarely():
        P[0] = d.of([None, [], 7, {}])
    starts: Any = None if d.rarely() else d.distribution(n)
    if starts is not None and d.rarely():
        starts = np.array([*starts, None])[:-1]  # of objects, whatever they are
    elif starts is not None:
        with suppress(ValueError):  # lists among the numbers: then it stays a list
            starts = np.array(starts)
    env = SimpleNamespace(spec=None, P=P, initial_state_distrib=starts)
    env.unwrapped = env
    rest = _rest(d, n + 1)
    made(lambda: FiniteMDP.from_gymnasium(env, gamma=rest["gamma"], start=rest["start"]))


def function(data: bytes) -> None:
    d = Draw(data)
    n = 1 + d.below(5)
    listed = {(s, a): None if d.rarely() else _triples(d, n) for s in range(n) for a in range(2)}
    states = _maybe(d, lambda: [_label(d, k) for k in range(n)])
    rest = _rest(d, n)
    if states is None:
        rest["start"] = {0: 1.0}
    actions: Any = [0, 1] if d.below(4) else d.of([lambda s: [0] if s else [1, 0], [0, 0], 7, None, "ab", [[]]])
    most = d.of([1_000_000, 3, 1, 0, -1])
    made(lambda: FiniteMDP.from_function(
        states, actions, lambda s, a: listed.get((s, a)), max_states=most, **rest
    ))  # fmt: skip
