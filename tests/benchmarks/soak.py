"""An hour at full load on one core: does memory grow, does the speed fall?

    OMP_NUM_THREADS=1 python -m tests.benchmarks.soak --minutes 60

`simulate`, `train` and the vector environments play by turns in one process, half a CPU second each, round after round;
numpy's random numbers alone take a turn too, as a yardstick of how fast the machine is just then. After each round
build/soak.csv gets a row: the memory that is the process's own, Python's blocks, and steps per CPU second.

The first quarter is warm-up. Judged is the median of the last quarter beside that of the second:

    memory    grows by less than 1 MB: of a leak that this would hide, 1 GB takes weeks
    blocks    sys.getallocatedblocks(): fewer than 1,000 more. They count every Python object, so that a leak of one
              object a call is seen, which pages of memory would hide
    speed     steps per CPU second, over the yardstick's, are at least 0.9 of what they were
"""

from __future__ import annotations

import argparse
import csv
import gc
import importlib.metadata
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from agents import Reinforce, SoftmaxPolicy, TabularPreferences, train
from envs import ZOO, MDPVectorEnv, TokenMDP
from mdp import FiniteMDP, simulate
from mdp.plot.style import CHART, styled

MEGABYTE, BLOCKS, SLOWER, TURN = 1.0, 1_000, 0.9, 0.5
YARDSTICK = "numpy alone"
MEASURED = ("seconds", "cpu_seconds", "megabytes", "blocks")
ROWS = Path("build/soak.csv")
Play = Callable[[], int]  # plays, and says how many steps
Array = np.ndarray[Any, Any]


def plays() -> dict[str, Play]:
    """What takes turns. Every training starts anew, so that episodes do not grow shorter from turn to turn."""
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    taxi, lake = ZOO["Taxi"].make(), ZOO["FrozenLake4x4"].make(gamma=0.99)
    text = TokenMDP(1_000, 8, lambda prompt, completion: completion.count(1), prompts=[(0,), (1, 2)], eos=2)
    small = TokenMDP(3, 3, lambda prompt, completion: completion.count(1), prompts=[(0,), (1, 2)], eos=2)

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


def run(minutes: float, path: Path, by_turns: dict[str, Play], turn: float = TURN) -> None:
    """Rounds until the time is over, a row for each; nothing is kept but the file."""
    began, cpu = time.monotonic(), time.process_time()
    with path.open("w", newline="", buffering=1) as file:
        rows = csv.writer(file)
        rows.writerow([*MEASURED, *by_turns])
        while time.monotonic() - began < 60 * minutes:
            rates = [rate(play, turn) for play in by_turns.values()]
            gc.collect()  # of circles that wait for it, a round holds now more and now fewer
            taken = time.monotonic() - began, time.process_time() - cpu
            rows.writerow([*taken, megabytes(), sys.getallocatedblocks(), *rates])


@dataclass(frozen=True)
class Soak:
    """The rows of a run, by column, and what they say."""

    columns: dict[str, Array]

    @classmethod
    def read(cls, path: Path) -> Soak:
        with path.open(newline="") as file:
            names, *rows = csv.reader(file)
        return cls(dict(zip(names, np.array(rows, dtype=float).T, strict=True)))

    def medians(self, name: str) -> tuple[float, float]:
        """Of the second quarter, and of the last."""
        _, second, _, last = np.array_split(self.columns[name], 4)
        return float(np.median(second)), float(np.median(last))

    def growth(self, name: str) -> float:
        second, last = self.medians(name)
        return last - second

    def ratios(self) -> dict[str, float]:
        """The speed of the last quarter over that of the second, in units of the yardstick."""
        speed = Soak({name: x / self.columns[YARDSTICK] for name, x in self.columns.items() if name not in MEASURED})
        return {name: last / second for name in speed.columns for second, last in [speed.medians(name)]}

    def faults(self) -> list[str]:
        """What a run must not do, and this one did."""
        slow = [f"{name} slowed down to {x:.3f}" for name, x in self.ratios().items() if x < SLOWER]
        memory, blocks = self.growth("megabytes"), self.growth("blocks")
        return [
            *([f"memory grew by {memory:.2f} MB"] if memory >= MEGABYTE else []),
            *([f"{blocks:+,.0f} blocks"] if blocks >= BLOCKS else []),
            *slow,
        ]


@styled
def picture(found: Soak, path: Path) -> None:
    """Memory, and the speed of each beside its own median, over the time."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    memory, speed = figure.subplots(2, 1, sharex=True)
    minutes = found.columns["seconds"] / 60
    memory.plot(minutes, found.columns["megabytes"], color="#0072B2", linewidth=1)
    memory.set(ylabel="memory of the process, MB", ylim=(0, 1.2 * found.columns["megabytes"].max()))
    few = max(1, len(minutes) // 60)
    for name in found.ratios():
        y = found.columns[name] / np.median(found.columns[name])
        parts = np.array_split(np.arange(len(y)), len(y) // few)
        style = {"color": "0.6", "linestyle": "--"} if name == YARDSTICK else {}
        speed.plot([minutes[x].mean() for x in parts], [np.median(y[x]) for x in parts], label=name, linewidth=1.2, **style)
    speed.set(xlabel="minutes", ylabel="steps per CPU second,\nover their median", ylim=(0, 1.5))
    speed.legend(ncol=4, loc="lower center", fontsize=8)
    for axes in (memory, speed):
        for name, value in CHART.items():
            if name.startswith("axes.spines."):
                axes.spines[name.rsplit(".", 1)[1]].set_visible(value)
        axes.grid(alpha=0.3)
    figure.savefig(path)


def page(found: Soak) -> str:
    seconds, cpu = found.columns["seconds"][-1], found.columns["cpu_seconds"][-1]
    versions = ", ".join(f"{x} {importlib.metadata.version(x)}" for x in ("exactrl", "gymnasium", "numpy", "torch"))
    ratios, (before, after) = found.ratios(), found.medians("megabytes")
    blocks = found.medians("blocks")
    steps = {name: float(np.median(found.columns[name])) for name in ratios}
    rows = "\n".join(
        f"| {name} | {steps[name] / 1e6:.3g} | {steps[name] * cpu / len(ratios):.2g} | {x:.3f} |" for name, x in ratios.items()
    )
    return f"""# An hour at full load

`OMP_NUM_THREADS=1 python -m tests.benchmarks.soak --minutes {seconds / 60:.0f}`: {len(found.columns["seconds"]):,} rounds
in {seconds / 60:.1f} minutes, {cpu / 60:.1f} of them on a CPU. {versions}. How it is done and what is judged stands in
[soak.py](soak.py): medians of the last quarter beside those of the second.

**Verdict: {"; ".join(found.faults()) or "no growth, no slower"}.**

| | second quarter | last quarter | growth | limit |
|---|---|---|---|---|
| memory of the process, MB | {before:.2f} | {after:.2f} | {after - before:+.2f} | {MEGABYTE:g} |
| Python's blocks | {blocks[0]:,.0f} | {blocks[1]:,.0f} | {blocks[1] - blocks[0]:+,.0f} | {BLOCKS:,} |

| by turns | million steps per CPU second | steps in all | speed, last over second quarter (at least {SLOWER}) |
|---|---|---|---|
{rows}

![Memory over the hour, and the speeds](soak.png)

Speeds are in units of the yardstick's, numpy's random numbers: other work on the machine slows both.
A `History` has one row for each update and grows with them, as it should; here each training is a new one of 10 updates.
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--minutes", type=float, default=60)
    ROWS.parent.mkdir(exist_ok=True)
    run(options.parse_args().minutes, ROWS, plays())
    found = Soak.read(ROWS)
    text = page(found)
    Path(__file__).with_suffix(".md").write_text(text)
    picture(found, Path(__file__).with_suffix(".png"))
    print(text)
    sys.exit(bool(found.faults()))


if __name__ == "__main__":
    main()
