"""Arguments and options that several commands share."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path
from typing import Annotated

import typer

FULL = (errno.ENOSPC, errno.EDQUOT)  # no mistake in the arguments
MOST = 2**31 - 1  # of anything that is counted
BLOCK = 4096  # bytes that are written to try a folder: a full disk takes an empty file


def writable(folder: Path) -> Path:
    """The folder, made. It is tried first, so that nothing is computed in vain."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(bytes(BLOCK))
            return folder
    except OSError as error:
        if error.errno in FULL:
            raise
        raise ValueError(f"cannot write to the folder {folder}: {error.strerror}") from None


ENV = "A Gymnasium id whose environment has P, an exactrl/... id, or a .json or .npz file."
Gamma = Annotated[
    float | None,
    typer.Option(help="Discount, by default the environment's own; Gymnasium's have none and get .9."),
]
Seed = Annotated[int, typer.Option(help="Seed of everything that is drawn.", min=0, max=2**62)]
Out = Annotated[Path, typer.Option(help="Folder for the files that are written.", callback=writable)]
