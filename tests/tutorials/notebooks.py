"""The notebooks of the course: where they are, how they are loaded, what they show."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import marimo

from agents.cli.course.marking import load

ROOT = Path(__file__).parent.parent.parent
TUTORIALS = ROOT / "tutorials"
NOTEBOOKS = sorted(TUTORIALS.glob("[0-9][0-9]_*.py"))


def notebook(n: int) -> ModuleType:
    """The module of tutorial n."""
    (path,) = TUTORIALS.glob(f"{n:02}_*.py")
    return load(path)


def shown(module: ModuleType, **controls: Any) -> tuple[str, Any]:
    """All that the reader sees, as HTML, and the values of all cells, at some settings of the controls."""
    outputs, values = module.app.run(defs=controls)
    return "\n".join(out.text for out in outputs if isinstance(out, marimo.Html)), values


def run(script: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """`python script`, as a reader would run it."""
    command = [sys.executable, *args, str(script)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=600, check=False)
