"""What stands in every file that a command writes."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path

from rich.console import Console

from agents.cli.manifest import Manifest, beside

DISTRIBUTIONS = ("exactrl", "numpy", "scipy", "torch", "gymnasium")


def versions(*more: str) -> dict[str, str]:
    """Of Python, of what the numbers depend on, and of other installed distributions."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in (*DISTRIBUTIONS, *more)
    }


def wrote(
    console: Console, paths: list[Path], manifest: Manifest, place: Path | None = None, *, whole: bool = True
) -> None:
    """Write the manifest of what was written, at `place` or beside it, and say so."""
    paths = [*paths, manifest.write(paths, place or beside(paths), whole=whole)]
    console.print("wrote " + " and ".join(map(str, paths)), highlight=False, markup=False, soft_wrap=True)
