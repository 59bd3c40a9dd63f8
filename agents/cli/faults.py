"""What may end a run before its end: ctrl-C, the end of another process, a disk that is full. What is whole is kept."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TypeVar

from agents.learning.processes import Alone

X = TypeVar("X")
SIGNALS = (signal.SIGINT, signal.SIGTERM)  # the second is sent by torchrun, and by what runs jobs on many machines


def until_interrupted(items: Iterable[X]) -> tuple[list[X], bool]:
    """All that come; and whether ctrl-C came before the end."""
    found: list[X] = []
    try:
        for item in items:
            found.append(item)
    except KeyboardInterrupt:
        return found, True
    return found, False


@contextmanager
def stopping(processes: Alone) -> Iterator[Callable[[], bool]]:
    """Within it the first ctrl-C only asks to stop: what it yields tells, to all processes alike. The second stops.

    ctrl-C that is ignored, as in a shell's background, stays so.
    """
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        del number, frame
        asked = True
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    if before[signal.SIGINT] is signal.SIG_IGN:
        del before[signal.SIGINT]
    try:
        for number in before:
            signal.signal(number, ask)
        yield lambda: not processes.every(not asked)
    finally:
        restore()


@contextmanager
def writing_to(folder: Path, kept: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Within it an OSError names the place that cannot be written to, and says what is kept."""
    try:
        yield
    except OSError as error:
        what = str(error) if error.errno is None else f"cannot write to {error.filename or folder}: {error.strerror}"
        raise OSError("; ".join(filter(None, (what, kept())))) from error


def tidy(*paths: Path) -> None:
    """Remove what a process that was killed while it wrote these files has left beside them: .NAME.PID.ENDING."""
    for path in paths:
        name = re.compile(rf"\.{re.escape(path.stem)}\.\d+{re.escape(path.suffix)}")
        for left in filter(lambda x: name.fullmatch(x.name), path.parent.iterdir()):
            left.unlink()


def check_room(folder: Path, needed: int) -> None:
    """Raises OSError for a disk that has less than `needed` bytes left."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(f"the disk of {folder} has {free / 1e9:.2f} GB left; this run needs {needed / 1e9:.2f} GB")
