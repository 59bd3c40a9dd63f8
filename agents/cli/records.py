"""What stands in every file that a command writes."""

from __future__ import annotations

import importlib.metadata
import platform

DISTRIBUTIONS = ("exactrl", "numpy", "scipy", "torch", "gymnasium")


def versions(*more: str) -> dict[str, str]:
    """Of Python, of what the numbers depend on, and of other installed distributions."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in (*DISTRIBUTIONS, *more)
    }
