"""Building and solving Gymnasium's tables beside QuantEcon.py, turn by turn in one process. Needs the extra `bench`.

    pip install -c constraints.txt -e '.[bench]'
    python tests/benchmarks/solve_beside_quantecon.py [rounds]

Both start from the environment's own dictionary P and end with v* at gamma = .99, within 1e-8; QuantEcon by the best of
its methods, in its product form. Writes solve_beside_quantecon.md next to this file. QuantEcon's compilation happens
before the first round.
"""

from __future__ import annotations

import importlib.metadata
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import quantecon

from mdp import FiniteMDP, solve

GAMMA = 0.99
METHODS = ("policy_iteration", "modified_policy_iteration", "value_iteration")
PROBLEMS: dict[str, dict[str, Any]] = {"Taxi-v4": {}, "FrozenLake-v1": {"map_name": "8x8"}}


def ours(env: Any) -> Any:
    return solve(FiniteMDP.from_gymnasium(env, gamma=GAMMA), tolerance=1e-8).v[:-1]


def theirs(env: Any, method: str = "policy_iteration") -> Any:
    """Terminated outcomes lead to a state that stays with reward 0."""
    P = env.unwrapped.P
    n, actions = len(P), len(P[0])
    R, Q = np.zeros((n + 1, actions)), np.zeros((n + 1, actions, n + 1))
    Q[n, :, n] = 1
    for s, by_action in P.items():
        for a, listed in by_action.items():
            for p, after, r, terminated in listed:
                R[s, a] += p * r
                Q[s, a, n if terminated else after] += p
    return quantecon.markov.DiscreteDP(R, Q, GAMMA).solve(method=method, epsilon=1e-8).v[:-1]


def cpu_seconds(function: Callable[[Any], Any], env: Any) -> float:
    before = time.process_time()
    function(env)
    return time.process_time() - before


def row(id: str, options: dict[str, Any], rounds: int) -> str:
    env = gymnasium.make(id, **options)
    best = min(METHODS, key=lambda method: min(cpu_seconds(lambda env: theirs(env, method), env) for _ in range(4)))
    apart = float(np.abs(ours(env) - theirs(env)).max())
    pairs = [(cpu_seconds(ours, env), cpu_seconds(lambda env: theirs(env, best), env)) for _ in range(rounds)]
    ratio = statistics.median(x / y for x, y in pairs)
    a, b = (statistics.median(x) * 1e3 for x in zip(*pairs, strict=True))
    return f"| {' '.join([id, *options.values()])} | {best} | {a:.1f} | {b:.1f} | {ratio:.2f} | {apart:.1e} |"


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 21
    names = ("exactrl", "quantecon", "gymnasium", "numpy", "scipy")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    lines = [
        "# Building and solving beside QuantEcon.py",
        "",
        f"`python tests/benchmarks/solve_beside_quantecon.py {rounds}`, gamma {GAMMA}; medians of {rounds} rounds, CPU "
        f"milliseconds; the ratio is the median of the ratios of neighbouring runs. {versions}.",
        "",
        "| problem | QuantEcon's best method | exactrl | QuantEcon | ratio | largest difference of v* |",
        "|---|---|---|---|---|---|",
        *(row(id, options, rounds) for id, options in PROBLEMS.items()),
    ]
    page = "\n".join(lines) + "\n"
    Path(__file__).with_suffix(".md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
