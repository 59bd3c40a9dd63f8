"""Steps of FrozenLake8x8 and Taxi per CPU second: exactrl, Gymnasium's SyncVectorEnv, and a loop over P.

    python tests/benchmarks/simulation_speed.py [rounds]

All play uniformly random actions, which each draws itself; the time limit is the environment's own, 200 steps. Turn by
turn in one process; medians of the rounds, ratios of medians. Also: what the episodes of `simulate` cost when they are
laid out or counted, the memory of both, and three ways to draw from a finite distribution. Writes simulation_speed.md
next to this file.
"""

from __future__ import annotations

import importlib.metadata
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from envs import MDPVectorEnv
from mdp import FiniteMDP, simulate
from mdp.sampling.dynamics import NARROW, Alias, Sampler, cumulative, width_for

IDS = ("FrozenLake8x8-v1", "Taxi-v4")
LIMIT, EPISODES, SINGLE = 200, 10_000, 20_000
WANTED = {1_024: 200, 16_384: 500}
Play = Callable[[], int]  # plays, and says how many steps


def made(id: str) -> tuple[Any, FiniteMDP]:
    env = gymnasium.make(id)
    return env, FiniteMDP.from_gymnasium(env, gamma=0.99)


def of_copies(envs: Any, actions: int, steps: int) -> Play:
    """`steps` steps of all copies of a vector environment."""
    envs.reset(seed=0)
    rng = np.random.default_rng(0)

    def play() -> int:
        for _ in range(steps):
            envs.step(rng.integers(0, actions, envs.num_envs))
        return steps * int(envs.num_envs)

    return play


def of_episodes(m: FiniteMDP, kind: str) -> Play:
    rng, pi = np.random.default_rng(0), m.uniform_policy()

    def play() -> int:
        if kind == "statistics":
            return int(simulate(m, pi, EPISODES, rng=rng, max_steps=LIMIT, statistics=True).lengths.sum())
        played = simulate(m, pi, EPISODES, rng=rng, max_steps=LIMIT)
        return int(played.lengths.sum() if kind == "episodes" else (played.states >= 0).sum())

    return play


def of_a_loop(env: Any) -> Play:
    """The plain Python loop over the dictionary P that everybody writes first."""
    P, start, rng = env.unwrapped.P, env.unwrapped.initial_state_distrib, np.random.default_rng(0)
    actions, starts = len(P[0]), np.flatnonzero(start).tolist()

    def play() -> int:
        s, age = starts[0], 0
        for a, u in zip(rng.integers(0, actions, SINGLE).tolist(), rng.random(SINGLE).tolist(), strict=True):
            listed = iter(P[s][a])
            while u >= 0:
                p, s, _, over = next(listed)
                u -= p
            age += 1
            if over or age == LIMIT:
                s, age = starts[int(rng.integers(len(starts)))], 0
        return SINGLE

    return play


def rates(plays: dict[str, Play], rounds: int) -> dict[str, float]:
    """Steps per CPU second, the median of the rounds; by turns."""
    found: dict[str, list[float]] = {name: [] for name in plays}
    for play in plays.values():
        play()
    for _ in range(rounds):
        for name, play in plays.items():
            before = time.process_time()
            steps = play()
            found[name].append(steps / (time.process_time() - before))
    return {name: float(np.median(x)) for name, x in found.items()}


def speed_rows(id: str, rounds: int) -> list[str]:
    env, m = made(id)
    lines = []
    for n in (1_024, 10_000, 16_384):
        sync = gymnasium.make_vec(id, num_envs=n, vectorization_mode="sync")
        plays = {
            "SyncVectorEnv": of_copies(sync, m.n_actions, max(1, 20_480 // n)),
            "vector environment": of_copies(MDPVectorEnv(m, n, max_episode_steps=LIMIT), m.n_actions, 2_000_000 // n),
        }
        if n == EPISODES:
            names = {"simulate": "episodes", "simulate, arrays looked at": "laid out", "simulate, statistics":
                     "statistics"}  # fmt: skip
            plays |= {name: of_episodes(m, kind) for name, kind in names.items()} | {"loop over P": of_a_loop(env)}
        found = rates(plays, rounds)
        for name, rate in found.items():
            ratio = rate / found["SyncVectorEnv"]
            wanted = WANTED.get(n, "") if name == "vector environment" else 500 if name == "simulate" else ""
            lines.append(f"| {id} | {n:,} | {name} | {rate / 1e6:.3g} | {ratio:.3g} | {wanted} |")
    return lines


def peak(call: Callable[[], Any]) -> float:
    """MB that are allocated at most."""
    tracemalloc.start()
    call()
    found = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return found


def memory_rows() -> list[str]:
    _, m = made("Taxi-v4")

    def of(steps: int, statistics: Any) -> float:
        rng = np.random.default_rng(0)
        return peak(lambda: simulate(m, m.uniform_policy(), EPISODES, rng=rng, max_steps=steps, statistics=statistics))

    return [f"| {steps} | {of(steps, False):.1f} | {of(steps, True):.1f} |" for steps in (100, 400)]


# ---- ways to draw ----

Array = np.ndarray[Any, Any]
Draw = Callable[[Array, np.random.Generator], Array]


def padded(p: Array) -> Array:
    return np.pad(p, [(0, 0), (0, width_for(p.shape[1]) - p.shape[1])])


def halvings(p: Array) -> Draw:
    """The inverse of F, a power of two wide."""
    return Sampler(cumulative(padded(p))).draw


def alias(p: Array) -> Draw:
    """The alias method."""
    return Alias(padded(p)).draw


def scan(p: Array) -> Draw:
    """How many cumulative probabilities U exceeds, one after the other."""
    W, columns = p.shape[1], [np.ascontiguousarray(x) for x in cumulative(p).T[:-1]]

    def draw(row: Array, rng: np.random.Generator) -> Array:
        u, place = rng.random(len(row)), np.asarray(row * W)
        for F in columns:
            place += F.take(row) <= u
        return place

    return draw


def drawing_rows(rounds: int) -> list[str]:
    """Nanoseconds of a draw from one of 256 distributions, and milliseconds to make their table."""
    rng, rows = np.random.default_rng(0), np.random.default_rng(0).integers(0, 256, 10_000)

    def cell(way: Callable[[Array], Draw], p: Array) -> str:
        before = time.process_time()
        draw = way(p)
        building = time.process_time() - before
        rate = rates({"": lambda: sum(len(draw(rows, rng)) for _ in range(50))}, rounds)[""]
        return f"{1e9 / rate:.0f}, {1e3 * building:.2g}"

    lines = []
    for outcomes in (3, 12, 100):
        p = rng.dirichlet(np.ones(outcomes), size=256)
        lines.append(f"| {outcomes} | " + " | ".join(cell(way, p) for way in (halvings, alias, scan)) + " |")
    return lines


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    versions = ", ".join(f"{x} {importlib.metadata.version(x)}" for x in ("exactrl", "gymnasium", "numpy"))
    page = f"""# Simulation

`python tests/benchmarks/simulation_speed.py {rounds}`; uniformly random actions, time limit {LIMIT}; by turns in one
process, medians of {rounds} rounds. {versions}.

| environment | copies | | million steps per CPU second | times SyncVectorEnv | wanted |
|---|---|---|---|---|---|
{chr(10).join(line for id in IDS for line in speed_rows(id, rounds))}

SyncVectorEnv holds Gymnasium's own environments; the vector environment is what `gymnasium.make_vec` gives for the ids
of exactrl, with labels and action masks in `info`. `simulate` plays {EPISODES:,} episodes; its (N, T) arrays are laid
out when one of them is first looked at, and most of them is padding where few episodes are long.

Memory of `simulate`, MB, Taxi, 10,000 episodes:

| steps of an episode | episodes | statistics |
|---|---|---|
{chr(10).join(memory_rows())}

Ways to draw from one of 256 distributions, 10,000 at once: nanoseconds a draw, milliseconds to make the tables.

| outcomes | halvings of F | alias | scan of F |
|---|---|---|---|
{chr(10).join(drawing_rows(rounds))}

Used: alias for an agent's table of up to {NARROW} columns, actions times outcomes; halvings where it is wider, since an
agent's table changes with every update, and for the outcomes of given actions, which are few.
"""
    Path(__file__).with_suffix(".md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
