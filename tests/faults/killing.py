"""Training that is killed by SIGKILL at random moments, and resumed until it is done, has the bits of one that is not.

`python -m tests.faults.killing --kills 50` writes killing.md beside this file: every kill, and what became of it.

A process of its own is started with --resume wherever there is a checkpoint. One kill in five comes at a moment that is
uniform over the start-up; the others after the first checkpoint that the process writes, at a moment that is uniform
over 2 / 10 of the time that all updates take; once the last checkpoint is there, uniform over four times
what start-up and ending take. A run that ends before its kill is compared with one that nothing has interrupted, and
another run begins.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import safe_open

from agents.learning.checkpoints import Checkpoints
from agents.learning.processes import Alone
from tests.agents.models import save

ROOT = Path(__file__).parents[2]
PAGE = Path(__file__).with_suffix(".md")
KILLS_OF_A_RUN = 10
STARTING = 0.2  # the share of kills in start-up
PATIENCE = 1800.0  # seconds, of a machine that has other work, too


class Kind(NamedTuple):
    """What is trained; its updates; where the checkpoints and the metrics are."""

    name: str
    command: tuple[str, ...]
    updates: int
    checkpoints: str
    metrics: str


TABLE = Kind(
    "a table", ("exactrl/Gridworld4x4-v0", "--episodes", "50", "--checkpoint-every", "3"), 300,
    "exactrl-train-Gridworld4x4-v0-checkpoints", "exactrl-train-Gridworld4x4-v0.csv",
)  # fmt: skip
MODEL = Kind(
    "a language model", ("--model", "../model", "--max-tokens", "5", "--groups", "2", "--group-size", "4", "--lr",
                         "0.01", "--checkpoint-every", "1"), 80, "checkpoints", "metrics.csv",
)  # fmt: skip


class Kill(NamedTuple):
    """Seconds since the process began; what it was at; the last whole checkpoint."""

    run: int
    moment: float
    stage: str
    update: int


class Uninterrupted(NamedTuple):
    """The folder of a run that nothing stopped; seconds to its first checkpoint, to its last, to its end."""

    folder: Path
    start: float
    last: float
    end: float


# ---- processes ----


def started(kind: Kind, folder: Path, updates: int) -> subprocess.Popen[bytes]:
    """`exactrl train`, with --resume where there is a checkpoint."""
    resume = ("--resume",) if last(kind, folder) else ()
    exactrl = (sys.executable, "-m", "exactrl", "train", *kind.command)
    command = [*exactrl, "--updates", str(updates), "--out", ".", *resume]
    settings = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "LOCAL_WORLD_SIZE": str(os.cpu_count())}
    with (folder / "../log.txt").open("ab") as log:
        return subprocess.Popen(command, cwd=folder, env=os.environ | settings, stdout=log, stderr=log)


def last(kind: Kind, folder: Path) -> int:
    """The update of the last whole checkpoint, 0 where there is none."""
    found = Checkpoints(folder / kind.checkpoints, {}, Alone()).latest()
    return 0 if found is None else int(found.name.removeprefix("update-"))


def wait(process: subprocess.Popen[bytes], until: float, kind: Kind, folder: Path, update: int | None = None) -> bool:
    """Until a moment, or a checkpoint of that update. True where the process has not ended before."""
    while process.poll() is None:
        if time.monotonic() >= until or (update is not None and last(kind, folder) >= update):
            return True
        time.sleep(0.002)
    return False


def uninterrupted(kind: Kind, folder: Path, updates: int) -> Uninterrupted:
    """A run that nothing stops, and when it was where."""
    folder.mkdir()
    began = time.monotonic()
    process, times = started(kind, folder, updates), []
    for update in (1, updates):
        assert wait(process, began + PATIENCE, kind, folder, update), "it ended without a checkpoint"
        times.append(time.monotonic() - began)
    assert process.wait(PATIENCE) == 0
    return Uninterrupted(folder, times[0], times[1], time.monotonic() - began)


# ---- kills ----


def killed(kind: Kind, folder: Path, whole: Uninterrupted, updates: int, rng: np.random.Generator) -> Kill | None:
    """Start, and kill at a random moment; None where the process had ended well before."""
    before, began = last(kind, folder), time.monotonic()
    process = started(kind, folder, updates)
    if before == updates:
        moment = began + rng.uniform(0, 4 * (whole.start + whole.end - whole.last))
    elif rng.random() < STARTING:
        moment = began + rng.uniform(0, whole.start)
    else:
        wait(process, began + PATIENCE, kind, folder, before + 1)
        moment = time.monotonic() + rng.uniform(0, 2 * (whole.last - whole.start) / KILLS_OF_A_RUN)
    if wait(process, moment, kind, folder):
        process.kill()
    if process.wait(PATIENCE) == 0:
        return None
    assert process.returncode == -9, f"it ended by itself, with exit code {process.returncode}"
    return Kill(0, time.monotonic() - began, stage(kind, folder, before, updates), last(kind, folder))


def stage(kind: Kind, folder: Path, before: int, updates: int) -> str:
    """What a process was at when it was killed, by what it left."""
    left = [path.name for path in (folder / kind.checkpoints).glob("update-*")]
    if any(name.endswith(".part") for name in left):
        return "a checkpoint half written"
    if len(left) > 1:
        return "the older checkpoint not removed"
    if last(kind, folder) == updates:
        return "after the last update"
    return "start-up" if last(kind, folder) == before else "updates"


def runs(kind: Kind, folder: Path, *, kills: int, updates: int, seed: int) -> Iterator[Kill | str]:
    """Every kill; and for each run that came to its end what differs from the run that nothing stopped ("" nothing)."""
    whole, rng = uninterrupted(kind, folder / "whole", updates), np.random.default_rng(seed)
    done, run = 0, 1
    while True:
        out = folder / f"run-{run}"
        out.mkdir(exist_ok=True)
        if done < kills:
            kill = killed(kind, out, whole, updates, rng)
        else:
            kill = None
            assert started(kind, out, updates).wait(PATIENCE) == 0
        if kill is not None:
            done += 1
            yield kill._replace(run=run)
            continue
        yield differences(kind, out, whole.folder)
        if done == kills:
            return
        run += 1


# ---- bits ----


def differences(kind: Kind, folder: Path, whole: Path) -> str:
    """The names of the files that differ, times apart."""
    one, other = (contents(kind, x) for x in (folder, whole))
    return ", ".join(sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name)))


def contents(kind: Kind, folder: Path) -> dict[str, Any]:
    """All files by name: tensors as bytes, numbers without times; of the others only that they are there.

    The header of a safetensors file is left out: its entries come in any order.
    """
    found: dict[str, Any] = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.suffix == ".safetensors":
            with safe_open(path, "numpy") as file:
                found[name] = {key: file.get_tensor(key).tobytes() for key in file.keys()}  # noqa: SIM118
        elif path.name == "state.json":
            state = json.loads(path.read_text())
            found[name] = state | {"rows": [timeless(row) for row in state["rows"]]}
        elif name == kind.metrics:
            with path.open() as file:
                found[name] = [timeless(row) for row in csv.DictReader(file)]
        elif not re.search(r"tfevents|manifest-\d+\.json", name):  # of each start
            found[name] = path.is_dir()
    return found


def timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {k: x for k, x in row.items() if not k.endswith("_s")}


# ---- the page ----


def page(kind: Kind, found: list[Kill | str], updates: int) -> str:
    """A line for each kill, and the verdict of each run."""
    kills = [x for x in found if isinstance(x, Kill)]
    verdicts = [x for x in found if isinstance(x, str)]
    stages = {name: sum(x.stage == name for x in kills) for name in sorted({x.stage for x in kills})}
    lines = [
        f"## {kind.name.capitalize()}", "",
        f"`exactrl train {' '.join(kind.command)} --updates {updates} --out .`", "",
        f"{len(kills)} kills in {len(verdicts)} runs: {', '.join(f'{n} {name}' for name, n in stages.items())}. "
        f"Runs with the bits of the one that nothing stopped: {verdicts.count('')} of {len(verdicts)}"
        + "".join(f"; differs: {x}" for x in verdicts if x) + ".", "",
        "| kill | run | after s | stage | last whole checkpoint |", "|--:|--:|--:|---|--:|",
        *(f"| {k} | {x.run} | {x.moment:.2f} | {x.stage} | {x.update} |" for k, x in enumerate(kills, 1)), "",
    ]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    head = f"""# Killed at random moments, and resumed

Written by `python -m tests.faults.killing --kills {asked.kills} --seed {asked.seed}`, torch {torch.__version__}, Python
{platform.python_version()}. A process is killed by SIGKILL, another one is started with `--resume`, until the run is
done. Compared with a run that nothing stopped, bit by bit: parameters, the optimiser's state, the generator's state
and what the baseline has learned (the last checkpoint), the model that is written; every number of the metrics that is
no time; and that no other file is left. tests/faults/killing.py says how moments are drawn.
"""
    parts = [head]
    for kind in (TABLE, MODEL):
        with tempfile.TemporaryDirectory() as scratch:
            save(Path(scratch, "model"))
            found: list[Kill | str] = []
            for x in runs(kind, Path(scratch), kills=asked.kills, updates=kind.updates, seed=asked.seed):
                print(kind.name, len(found), x, flush=True)
                found.append(x)
        parts.append(page(kind, found, kind.updates))
        PAGE.write_text("\n".join(parts).rstrip() + "\n")
    if any(isinstance(x, str) and x for x in found):
        sys.exit(1)


if __name__ == "__main__":
    main()
