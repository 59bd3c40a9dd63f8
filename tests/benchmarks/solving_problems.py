"""The problems of the solver benchmark as plain arrays, the same for every library: W1 to W5 and Garnets of any size.

Garnet(S, A, b): Archibald, McKinnon & Thomas (1995). b successors drawn uniformly (those drawn twice are added up), the
pieces of [0, 1] cut at b - 1 uniform points as probabilities, r(s,a) normal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Floats = NDArray[np.float64]


class Problem(NamedTuple):
    """P (S, A, S), or sparse (S*A, S) with row s*A + a; r (S, A); gamma.

    average: v of the uniform policy is wanted, else v*. env: a Gymnasium environment, from whose dictionary P a library
    starts; P and r, with a state appended that ends, are then for the check alone.
    """

    P: Any
    r: Floats
    gamma: float
    average: bool = False
    env: Any = None

    def error(self, v: Floats) -> float:
        """How far v can be from the truth: max |T v - v| / (1 - gamma), T the backup (S&B 4.5, or 4.10)."""
        q = self.r + self.gamma * (self.P @ v).reshape(self.r.shape)
        Tv = q.mean(axis=1) if self.average else q.max(axis=1)
        return float(np.abs(Tv - v).max() / (1 - self.gamma))


def dense_garnet(S: int, A: int, gamma: float) -> Problem:
    """Every state is a successor of every pair."""
    rng = np.random.default_rng(0)
    return Problem(_pieces(S * A, S, rng).reshape(S, A, S), rng.standard_normal((S, A)), gamma)


def sparse_garnet(S: int, A: int, b: int, gamma: float, near: int | None = None) -> Problem:
    """near: s' lies within so many states of s, round a ring; None: anywhere."""
    rng = np.random.default_rng(0)
    after = rng.integers(2 * near + 1 if near else S, size=S * A * b, dtype=np.int32)
    starts = np.arange(0, S * A * b + 1, b)
    if near:
        after += np.repeat(np.arange(S, dtype=np.int32) + (S - near), A * b)
        after %= S
    P = sparse.csr_array((_pieces(S * A, b, rng).ravel(), after, starts.astype(np.int32)), shape=(S * A, S))
    P.sum_duplicates()
    return Problem(P, rng.standard_normal((S, A)), gamma)


def _pieces(n: int, b: int, rng: np.random.Generator) -> Floats:
    """n distributions over b, (n, b)."""
    cuts = np.sort(rng.random((n, b - 1)), axis=1)
    return np.diff(cuts, axis=1, prepend=0.0, append=1.0)


def grid(n: int, slip: float, gamma: float) -> Problem:
    """n x n cells, -1 a step until the last corner; a step goes aside with slip / 2 each way, and stays at a wall."""
    S = n * n
    row, column = np.divmod(np.arange(S), n)

    def towards(down: int, right: int) -> NDArray[np.int64]:
        after: NDArray[np.int64] = np.clip(row + down, 0, n - 1) * n + np.clip(column + right, 0, n - 1)
        return after

    ways = [towards(-1, 0), towards(0, 1), towards(1, 0), towards(0, -1)]  # clockwise: a - 1 and a + 1 are the sides
    p = np.repeat([1 - slip, slip / 2, slip / 2], S)
    parts = [np.concatenate([ways[a], ways[a - 1], ways[(a + 1) % 4]]) for a in range(4)]
    rows = np.concatenate([np.tile(np.arange(S) * 4 + a, 3) for a in range(4)])
    P = sparse.csr_array((np.tile(p, 4), (rows, np.concatenate(parts))), shape=(4 * S, S))
    stays = sparse.csr_array((np.ones(4), (range(4), [S - 1] * 4)), shape=(4, S))
    r = np.full((S, 4), -1.0)
    r[-1] = 0
    return Problem(sparse.vstack([P[:-4], stays], format="csr"), r, gamma, average=True)


def toy_text(id: str, gamma: float) -> Problem:
    env = gymnasium.make(id)
    S, A, s, a, after, p, r = entries(env.unwrapped.P)  # type: ignore[attr-defined]
    P, R = dense(S, A, s, a, after, p, r)
    return Problem(P, R, gamma, env=env)


# ---- Gymnasium's dictionary, as arrays ----


def entries(P: Any) -> tuple[Any, ...]:
    """(S, A, s, a, s', p, r) of {s: {a: [(p, s', r, terminated)]}}; what is terminated goes to one state, the last."""
    n = len(P)
    flat = [
        (s, a, n if over else after, p, r)
        for s, of in P.items()
        for a, listed in of.items()
        for p, after, r, over in listed
    ]
    A = len(P[0])
    flat += [(n, a, n, 1.0, 0.0) for a in range(A)]
    return n + 1, A, *(np.array(column) for column in zip(*flat, strict=True))


def dense(S: int, A: int, s: Any, a: Any, after: Any, p: Any, r: Any) -> tuple[Floats, Floats]:
    """P (S, A, S) and r (S, A)."""
    P, R = np.zeros((S, A, S)), np.zeros((S, A))
    np.add.at(P, (s, a, after), p)
    np.add.at(R, (s, a), p * r)
    return P, R


def by_pairs(S: int, A: int, s: Any, a: Any, after: Any, p: Any, r: Any) -> tuple[Any, Floats]:
    """P (S*A, S), sparse, and r (S, A)."""
    R = np.asarray(np.bincount(s * A + a, p * r, minlength=S * A), np.float64)
    return sparse.csr_array((p, (s * A + a, after)), shape=(S * A, S)), R.reshape(S, A)


NEAR = 1_000  # states

WORKLOADS: dict[str, Callable[[], Problem]] = {
    "W1": lambda: dense_garnet(500, 10, 0.95),
    "W2": lambda: sparse_garnet(100_000, 4, 5, 0.99),
    "W3": lambda: sparse_garnet(1_000_000, 4, 5, 0.95),
    "W4": lambda: grid(300, 0.1, 0.999),
    "W5 Taxi": lambda: toy_text("Taxi-v4", 0.99),
    "W5 FrozenLake8x8": lambda: toy_text("FrozenLake8x8-v1", 0.99),
}


def problem(name: str) -> Problem:
    """A workload, or a sparse Garnet with 4 actions, 5 successors and gamma .95: "1000" has 1,000 states and successors
    anywhere, "1000 near" has them within 1,000 states round a ring.
    """
    if name in WORKLOADS:
        return WORKLOADS[name]()
    size, *near = name.split()
    return sparse_garnet(int(size), 4, 5, 0.95, near=min(NEAR, int(size) // 2 - 1) if near else None)
