"""Exact solving beside QuantEcon.py, mdpsolver and pymdptoolbox: `make bench`. Writes solving.md and solving.png.

    python -m tests.benchmarks.solving [--rounds 5] [--limit 120] [--largest 10000000]

Every run is a process of its own (solving_worker.py) on one core with one thread. First every method of every library
is tried once, and its values are checked: right is what is proven within 1e-6 of the truth by max |T v - v| /
(1 - gamma), or within 1e-6 of exactrl's v where that is proven. Then the fastest right method of each library is
measured, libraries taking turns; figures are medians of the rounds, ratios the medians of the ratios within a round.
--limit: seconds for a first model and its solution; ten times as many for exactrl, without whose v there is nothing to
compare, and for the picture. --largest: states of the picture's largest Garnet.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np  # no matplotlib before the last run: ru_maxrss of a child begins with what its parent holds

from tests.benchmarks.solving_page import page, spent

HERE = Path(__file__).parent
WORKLOADS = ("W1", "W2", "W3", "W4", "W5 Taxi", "W5 FrozenLake8x8")
PEERS = ("quantecon", "mdpsolver", "mdptoolbox")
RIGHT = 1e-6


def run(library: str, workload: str, limit: float, *options: str, threads: int = 1) -> dict[str, Any]:
    """What a worker said, `failed` with the reason if it came to nothing."""
    command = [sys.executable, "-m", "tests.benchmarks.solving_worker", library, workload, "--limit", str(limit)]
    threaded = {f"{name}_NUM_THREADS": str(threads) for name in ("OPENBLAS", "MKL", "OMP", "NUMBA")}
    done = subprocess.run(
        [*command, "--threads", str(threads), *options],
        capture_output=True, text=True, env=os.environ | threaded, cwd=HERE.parent.parent,
    )  # fmt: skip
    said: dict[str, Any] = {"limit": limit}
    for line in done.stdout.splitlines():
        said |= json.loads(line) if line.startswith("{") else {}
    if done.returncode == -signal.SIGALRM:
        said["failed"] = f"over {limit:.3g} s"
    elif done.returncode:
        said["failed"] = (done.stderr.strip() or f"signal {-done.returncode}").splitlines()[-1]
    print(f"{workload}, {library}, {said.get('method')}: {said.get('failed') or said['solve'][0]}", flush=True)
    return said


def trials(workload: str, library: str, limit: float, truth: Path, folder: Path) -> list[dict[str, Any]]:
    """What every method said, with `verdict`: None if it is right. A method far slower than another is stopped."""
    values, found, whole = folder / "v.npy", list[dict[str, Any]](), workload.startswith("W5")
    methods: list[str | None] = [None]  # the default first, which tells the others
    while methods:
        method = methods.pop(0)
        best = min((spent(x, whole)[0] for x in found if not x["verdict"]), default=limit)
        named = () if method is None else ("--method", method)
        said = run(library, workload, min(limit, 5 + 3 * best), "--values", str(values), *named)
        said["verdict"] = said.get("failed") or wrong(said, np.load(values), truth)
        if method is None:
            methods = [x for x in said.get("methods", []) if x != said["method"]]
        if library == "exactrl" and not said["verdict"]:
            values.rename(truth)
        found.append(said)
    return found


def wrong(said: dict[str, Any], v: Any, truth: Path) -> str | None:
    """What is wrong with v, if anything; `apart` from v of `truth`, if that was proven, goes into `said`."""
    said["apart"] = float(np.abs(v - np.load(truth)).max()) if truth.exists() else None
    off = min(said["error"], said["error"] if said["apart"] is None else said["apart"])
    return None if off <= RIGHT else f"wrong by {off:.1g}"


def compared(workload: str, rounds: int, limit: float) -> dict[str, Any]:
    """{"trials": {library: ...}, "runs": {row: one for each round}}, the libraries taking turns."""
    whole = workload.startswith("W5")
    with tempfile.TemporaryDirectory() as name:
        truth = Path(name) / "truth.npy"
        limits = {"exactrl": 10 * limit} | dict.fromkeys(PEERS, limit)
        tried = {x: trials(workload, x, limits[x], truth, Path(name)) for x in limits}
    best = {x: min((y for y in of if not y["verdict"]), key=lambda y: spent(y, whole)[1], default=None)
            for x, of in tried.items()}  # fmt: skip
    turns: list[tuple[str, tuple[str, ...], int]] = [(x, ("--method", of["method"]), 1) for x, of in best.items() if of]
    if best["exactrl"]:
        turns.append(("exactrl", (), 2))
    runs: dict[str, list[dict[str, Any]]] = {}
    for _ in range(rounds):
        for library, options, threads in turns:
            said = run(library, workload, 10 * limit, *options, threads=threads)
            runs.setdefault(library if threads == 1 else f"{library}, both cores", []).append(said)
    return {"trials": tried, "runs": runs}


def scaling(largest: int, limit: float) -> dict[str, list[dict[str, Any]]]:
    """Sparse Garnets of 10^2, 10^3, ... states by exactrl and QuantEcon; with successors near by, by exactrl alone."""
    sizes = [10**k for k in range(2, 8) if 10**k <= largest]
    return {
        "anywhere": [{"states": S} | {x: run(x, str(S), limit) for x in ("exactrl", "quantecon")} for S in sizes],
        "near by": [{"states": S, "exactrl": run("exactrl", f"{S} near", limit)} for S in sizes],
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=float, default=120)
    parser.add_argument("--largest", type=int, default=10_000_000)
    asked = parser.parse_args()
    found = {x: compared(x, asked.rounds, asked.limit) for x in WORKLOADS}
    text = page(asked, found, scaling(asked.largest, 10 * asked.limit), HERE / "solving.png")
    (HERE / "solving.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
