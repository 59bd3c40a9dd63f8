"""What building a FiniteMDP costs beside solving it.

    python tests/benchmarks/building.py [rounds]

A random sparse MDP of 100,000 states, 4 actions and 5 successors (gamma .99), from a list of sparse arrays, from
QuantEcon's pairs, from outcomes and from a function; and two tables of Gymnasium. By turns in one process, each MDP
made anew; the cost of calling the function alone is a row of its own. Writes building.md next to this file.
"""

from __future__ import annotations

import importlib.metadata
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from scipy import sparse

from mdp import FiniteMDP, solve

S, A, B, GAMMA = 100_000, 4, 5, 0.99
TABLES: dict[str, dict[str, Any]] = {"FrozenLake-v1": {"map_name": "8x8"}, "Taxi-v4": {}}
Way = Callable[[], Any]


def cpu_seconds(function: Callable[[], Any]) -> tuple[float, Any]:
    before = time.process_time()
    result = function()
    return time.process_time() - before, result


def ways_of_a_random_one() -> dict[str, Way]:
    rng = np.random.default_rng(0)
    p, after, r = rng.dirichlet(np.ones(B), size=(S, A)), rng.integers(S, size=(S, A, B)), rng.normal(size=(S, A))
    pairs = sparse.csr_array((p.ravel(), after.ravel(), np.arange(0, p.size + 1, B)), shape=(S * A, S))
    arrays = [pairs[a::A] for a in range(A)]
    s, a = np.divmod(np.arange(S * A), A)
    listed_p, listed_after, listed_r = p.tolist(), after.tolist(), r.tolist()

    def transition(s: int, a: int) -> list[tuple[float, int, float]]:
        r = listed_r[s][a]
        return [(p, after, r) for p, after in zip(listed_p[s][a], listed_after[s][a], strict=True)]

    outcomes = {(s, a): transition(s, a) for s in range(S) for a in range(A)}
    return {
        "sparse arrays": lambda: FiniteMDP.from_arrays(arrays, r, gamma=GAMMA),
        "sparse pairs": lambda: FiniteMDP.from_pairs(pairs, r.ravel(), s, a, gamma=GAMMA),
        "outcomes": lambda: FiniteMDP.from_outcomes(outcomes, gamma=GAMMA),
        "a function": lambda: FiniteMDP.from_function(range(S), range(A), transition, gamma=GAMMA),
        "a function, explored": lambda: FiniteMDP.from_function(
            None, range(A), transition, gamma=GAMMA, start={0: 1.0}
        ),
        "(its calls alone)": lambda: [transition(s, a) for s in range(S) for a in range(A)],
    }


def ways_of_a_table(id: str, options: dict[str, Any]) -> dict[str, Way]:
    env = gymnasium.make(id, **options)
    return {"Gymnasium's P": lambda: FiniteMDP.from_gymnasium(env, gamma=GAMMA)}


def rows(problem: str, ways: dict[str, Way], rounds: int) -> list[str]:
    built: dict[str, list[float]] = {name: [] for name in ways}
    solved = []
    for _ in range(rounds):
        for name, way in ways.items():
            seconds, m = cpu_seconds(way)
            built[name].append(seconds)
            if name == next(iter(ways)):
                solved.append(cpu_seconds(partial(solve, m, tolerance=1e-6))[0])
            del m
    medians = {name: statistics.median(seconds) for name, seconds in built.items()}
    solving = statistics.median(solved)
    return [
        f"| {problem} | {name} | {1e3 * building:.3g} | {1e3 * solving:.3g} | {building / solving:.2f} |"
        for name, building in medians.items()
    ]


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    versions = ", ".join(f"{x} {importlib.metadata.version(x)}" for x in ("exactrl", "gymnasium", "numpy", "scipy"))
    lines = [
        "# Building beside solving",
        "",
        f"`python tests/benchmarks/building.py {rounds}`, gamma {GAMMA}; CPU milliseconds, medians of {rounds} rounds "
        f"by turns in one process; solving is `solve(m, tolerance=1e-6)` of a fresh MDP. {versions}.",
        "",
        "| problem | from | building | solving | ratio |",
        "|---|---|---|---|---|",
        *rows(f"random, {S:,} x {A} x {B}", ways_of_a_random_one(), rounds),
    ]
    for id, options in TABLES.items():
        lines += rows(" ".join([id, *options.values()]), ways_of_a_table(id, options), 10 * rounds)
    page = "\n".join(lines) + "\n"
    Path(__file__).with_suffix(".md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
