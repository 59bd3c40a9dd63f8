"""What `exactrl verify --model` and `exactrl train --model` do, and say."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from rich.console import Console

from agents.cli.language import train as training
from agents.cli.language import verify as verifying
from agents.cli.manifest import NAME, begun
from agents.cli.records import wrote
from agents.learning import TrainingStopped
from mdp.model.products import cores


def use_all_cores() -> None:
    """For large tensors; under torchrun the processes of a machine share its cores."""
    torch.set_num_threads(max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def verify_model(model: Path, seed: int, out: Path, console: Console) -> bool:
    """Both parts; True where all holds."""
    use_all_cores()
    manifest = begun(model, seed=seed)
    parts, title = verifying.run(model, seed, console), f"grad J of {model.name}, float64"
    for part in parts:
        console.print(verifying.table(part))
    console.print(verifying.CAPTION, highlight=False)
    wrote(console, verifying.write(parts, title, out, seed), manifest)
    return all(part.passed for part in parts)


def train_model(
    settings: training.Settings, out: Path, console: Console, *, updates: int, every: int, pieces: int, resume: bool,
    sharded: bool,
) -> bool:  # fmt: skip
    """Train; True where ctrl-C came before the end. Of several processes one speaks."""
    use_all_cores()
    run = training.Run(settings, out, pieces=pieces, sharded=sharded)
    console.quiet = run.processes.rank > 0
    console.print(f"{run.title}, {run.path}", highlight=False, soft_wrap=True)
    try:
        history = run(updates=updates, every=every, resume=resume, console=console)
    except TrainingStopped:
        console.print(f"a checkpoint is in {run.checkpoints.folder}; --resume goes on from it", highlight=False)
        raise
    console.print(training.summary(history), highlight=False, soft_wrap=True)
    if run.processes.rank == 0:
        wrote(console, run.write(history), run.manifest, out / NAME)
    return history.interrupted
