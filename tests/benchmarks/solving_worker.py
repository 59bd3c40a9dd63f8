"""One process of the solver benchmark: one library, one problem. Prints lines of JSON.

    python -m tests.benchmarks.solving_worker LIBRARY WORKLOAD [--method M] [--threads 2] [--limit 120] [--values PATH]

LIBRARY: exactrl, quantecon, mdpsolver, mdptoolbox. WORKLOAD: as in solving_problems.py, or a number of states. A model
object is built and solved, and then others, each fresh, for about a second, three at least where that takes no longer
than 20; all are timed, the imports are not.
`before` and `peak`: bytes held at most until the first solve, and until its end. A process whose first model takes more
than `limit` seconds ends by SIGALRM; its address space is limited to 16 GB.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import resource
import signal
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

from tests.benchmarks.solving_libraries import LIBRARIES
from tests.benchmarks.solving_problems import WORKLOADS, Floats, Problem, problem

MEMORY = 16 * 2**30
WARM, MOST = 1.0, 25  # CPU seconds for further models; how many at most
LONG, LEAST = 20.0, 3  # CPU seconds within which there are so many in any case
PIECE = 1 << 16  # numbers that stay in a fast cache


def timed(call: Callable[[], Any]) -> tuple[Any, tuple[float, float]]:
    """What a call returns, and its CPU and wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    found = call()
    return found, (time.process_time() - cpu, time.perf_counter() - wall)


def most_memory() -> int:
    """Bytes held at most until now."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def one(library: Any, given: Problem, inputs: Any, method: str) -> tuple[Any, dict[str, Any]]:
    """What a fresh model's solution is, and what it took."""
    model, build = timed(lambda: library.model(given, inputs, method))
    before = most_memory()
    found, solve = timed(lambda: library.solve(model, method))
    return found, {"build": build, "solve": solve, "before": before, "peak": most_memory()}


def measured(library: Any, given: Problem, method: str, limit: float) -> tuple[Floats, dict[str, Any]]:
    """v, and what all models took: `build` and `solve` are lists of (CPU, wall) seconds; memory: of the first."""
    inputs = library.inputs(given)
    signal.setitimer(signal.ITIMER_REAL, limit)
    (v, iterations), first = one(library, given, inputs, method)
    signal.setitimer(signal.ITIMER_REAL, 0)
    further: list[dict[str, Any]] = []
    for enough, most in ((LONG, LEAST), (WARM, MOST)):
        while len(further) < most and sum(x["build"][0] + x["solve"][0] for x in further) < enough:
            further.append(one(library, given, inputs, method)[1])
    times = {name: [x[name] for x in (first, *further)] for name in ("build", "solve")}
    return np.array(v), first | times | {"iterations": iterations}


def one_sweep(library: Any, given: Problem, method: str) -> dict[str, float]:
    """CPU seconds of one optimality sweep over all rows, and of looking up v(s') alone for all outcomes, without which
    there is no sweep: the least of five.
    """
    m = library.model(given, library.inputs(given), method)
    sweeps, v, found = library.mdp.sweeps(m), np.ones(m.n_states), np.empty(PIECE)

    def look_up() -> None:
        for k in range(0, len(m.table.after), PIECE):
            after = m.table.after[k : k + PIECE]
            np.take(v, after, out=found[: len(after)], mode="clip")

    calls = {"sweep": lambda: next(sweeps), "lookup": look_up}
    return {name: min([timed(call)[1][0] for _ in range(7)][2:]) for name, call in calls.items()}


def versions(package: str) -> dict[str, str]:
    also = ("numba",) if package == "quantecon" else ()
    return {name: importlib.metadata.version(name) for name in (package, *also, "numpy", "scipy", "gymnasium")}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("library", choices=LIBRARIES)
    parser.add_argument("workload")
    parser.add_argument("--method")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=float, default=120)
    parser.add_argument("--values")
    asked = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-asked.threads :])
    make = LIBRARIES[asked.library]
    given, library = problem(asked.workload), make(importlib.import_module(make.module))
    methods = library.methods(given)
    method = asked.method or methods[0]
    outcomes = int(given.P.nnz if sparse.issparse(given.P) else np.count_nonzero(given.P))
    about = {"method": method, "methods": methods, "outcomes": outcomes, "versions": versions(make.package)}
    print(json.dumps(about), flush=True)
    try:
        v, found = measured(library, given, method, asked.limit)
    except MemoryError:
        found = {"failed": f"out of memory ({MEMORY >> 30} GB)"}
    else:
        found["error"] = given.error(v)
        if asked.library == "exactrl" and asked.workload not in WORKLOADS:
            found |= one_sweep(library, given, method)
        if asked.values:
            np.save(asked.values, v)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
