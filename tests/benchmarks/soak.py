"""An hour at full load on one core: does memory grow, does the speed fall?

    OMP_NUM_THREADS=1 python -m tests.benchmarks.soak --minutes 60

`simulate`, `train` and the vector environments play by turns in one process, half a CPU second each, round after round;
numpy's random numbers alone take a turn too, as a yardstick of how fast the machine is just then. After each round
build/soak.csv gets a row: the memory that is the process's own, Python's blocks, and steps per CPU second.

What the rows say, and what is refused, stands in soak_verdict.py.
"""

from __future__ import annotations

import argparse
import csv
import gc
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents import Reinforce, SoftmaxPolicy, TabularPreferences, train
from envs import ZOO, MDPVectorEnv, TokenMDP
from mdp import FiniteMDP, simulate
from tests.benchmarks.soak_verdict import MEASURED, YARDSTICK, Soak, write

TURN = 0.5
ROWS = Path("build/soak.csv")
Play = Callable[[], int]  # plays, and says how many steps


def plays() -> dict[str, Play]:
    """What takes turns. Every training starts anew, so that episodes do not grow shorter from turn to turn."""
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    taxi, lake = ZOO["Taxi"].make(), ZOO["FrozenLake4x4"].make(gamma=0.99)
    text = TokenMDP(1_000, 8, lambda _, completion: completion.count(1), prompts=[(0,), (1, 2)], eos=2)
    small = TokenMDP(3, 3, lambda _, completion: completion.count(1), prompts=[(0,), (1, 2)], eos=2)

    def laid_out() -> int:
        episodes = simulate(taxi, taxi.uniform_policy(), 1_000, rng=rng, max_steps=200)
        return int((episodes.states >= 0).sum())

    def counted() -> int:
        found = simulate(taxi, taxi.uniform_policy(), 10_000, rng=rng, max_steps=200, statistics=True)
        return int(found.lengths.sum())

    def trained(m: FiniteMDP, source: Any) -> int:
        agent = Reinforce(SoftmaxPolicy(TabularPreferences(m)).double())
        history = train(agent, source, updates=10, episodes=128, generator=generator)
        return int(128 * history.column("mean_length")[1:].sum())

    def stepped(copies: Any) -> Play:
        copies.reset(seed=0)
        actions = int(copies.single_action_space.n)

        def play() -> int:
            for _ in range(20):
                copies.step(rng.integers(actions, size=copies.num_envs))
            return 20 * int(copies.num_envs)

        return play

    finite, writing = small.finite(), small.vector_env(128)
    return {
        YARDSTICK: lambda: len(rng.random(100_000)),
        "simulate": laid_out,
        "simulate, statistics": counted,
        "train, table": lambda: trained(lake, lake),
        "train, vector environment": lambda: trained(finite, writing),
        "MDPVectorEnv": stepped(MDPVectorEnv(taxi, 4_096, max_episode_steps=200)),
        "TokenMDP.vector_env": stepped(text.vector_env(1_024)),
    }


def megabytes() -> float:
    """Resident memory that is the process's own: files that are mapped, such as torch's library, come and go."""
    resident, shared = map(int, Path("/proc/self/statm").read_text().split()[1:3])
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE") / 1e6


def rate(play: Play, seconds: float) -> float:
    """Steps per CPU second, over a turn of so many."""
    began, steps, taken = time.process_time(), 0, 0.0
    while taken < seconds:
        steps += play()
        taken = time.process_time() - began
    return steps / taken


def run(path: Path, by_turns: dict[str, Play], *, minutes: float = 0, rounds: int = 40, turn: float = TURN) -> None:
    """At least so many minutes, and rounds, with a row for each; nothing is kept but the file."""
    began, cpu = time.monotonic(), time.process_time()
    with path.open("w", newline="", buffering=1) as file:
        rows = csv.writer(file)
        rows.writerow([*MEASURED, *by_turns])
        while time.monotonic() - began < 60 * minutes or rounds > 0:
            rounds -= 1
            rates = [rate(play, turn) for play in by_turns.values()]
            gc.collect()  # of circles that wait for it, a round holds now more and now fewer
            taken = time.monotonic() - began, time.process_time() - cpu
            rows.writerow([*taken, megabytes(), sys.getallocatedblocks(), *rates])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--minutes", type=float, default=60)
    ROWS.parent.mkdir(exist_ok=True)
    run(ROWS, plays(), minutes=options.parse_args().minutes)
    sys.exit(write(Soak.read(ROWS), Path(__file__)))


if __name__ == "__main__":
    main()
