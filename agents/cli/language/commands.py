"""What `exactrl verify --model` and `exactrl train --model` do, and say."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from rich.console import Console

from agents.cli.faults import until_interrupted, writing_to
from agents.cli.language import train as training
from agents.cli.language import verify as verifying
from agents.cli.manifest import NAME, begun
from agents.cli.records import wrote
from agents.learning import TrainingStopped
from agents.learning.checkpoints import Checkpoints
from agents.learning.processes import ProcessLost, processes
from mdp.model.products import cores


def use_all_cores() -> None:
    """For large tensors; under torchrun the processes of a machine share its cores."""
    torch.set_num_threads(max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def verify_model(model: Path, seed: int, out: Path, console: Console) -> tuple[bool, bool]:
    """Both parts. Whether ctrl-C came before the end; and whether all holds that was done."""
    use_all_cores()
    manifest = begun(model, seed=seed)
    parts, interrupted = until_interrupted(verifying.run(model, seed, console))
    for part in parts:
        console.print(verifying.table(part))
    if parts:
        console.print(verifying.CAPTION, highlight=False)
        with writing_to(out):
            title = f"grad J of {model.name}, float64"
            wrote(console, verifying.write(parts, title, out, seed, interrupted=interrupted), manifest,
                  whole=not interrupted)
    return interrupted, all(part.passed for part in parts)


def train_model(
    settings: training.Settings, out: Path, console: Console, *, updates: int, every: int, pieces: int, resume: bool,
    sharded: bool,
) -> bool:  # fmt: skip
    """Train; True where ctrl-C came before the end. Of several processes one speaks."""
    use_all_cores()
    together = processes(sharded=sharded)
    checkpoints = Checkpoints(out / training.CHECKPOINTS, {}, together)
    try:
        with together.joined():
            run = training.Run(settings, out, together, pieces=pieces)
            with writing_to(out, lambda: checkpoints.kept):
                return _trained(run, console, updates=updates, every=every, resume=resume)
    except ProcessLost as lost:
        raise ProcessLost(f"{lost}; {checkpoints.kept}") from lost
    finally:
        together.close()


def _trained(run: training.Run, console: Console, *, updates: int, every: int, resume: bool) -> bool:
    console.quiet = run.processes.rank > 0
    console.print(f"{run.title}, {run.path}", highlight=False, markup=False, soft_wrap=True)
    try:
        history = run(updates=updates, every=every, resume=resume, console=console)
    except TrainingStopped:
        console.print(run.checkpoints.kept, highlight=False, markup=False, soft_wrap=True)
        raise
    console.print(training.summary(history), highlight=False, markup=False, soft_wrap=True)
    if run.processes.rank == 0:
        wrote(console, run.write(history), run.manifest, run.out / NAME, whole=not history.interrupted)
    return history.interrupted
