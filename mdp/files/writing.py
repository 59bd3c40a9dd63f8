"""Every file that is written here is written next to its place and renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import randbelow

LONGEST = 200  # letters of a name, to which others are added


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Within it, a path of the same ending beside `path` to write to; it takes the place of `path` at the end.

    A reader sees what was there before, or all of what is new. Where writing fails (a full disk, an interrupt), what
    was there before stays, and nothing is left beside it. A file keeps its mode, and a link its place; what is no file
    (a pipe, /dev/stdout) is written to as it is.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from mdp.files.writing import replacing
    >>> with TemporaryDirectory() as folder:
    ...     with replacing(Path(folder, "x.txt")) as new:
    ...         _ = new.write_text("all of it")
    ...     [(path.name, path.read_text()) for path in Path(folder).iterdir()]
    [('x.txt', 'all of it')]
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        yield path
        return
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    new = path.with_name(f".{path.stem[:LONGEST]}.{os.getpid()}{randbelow(10**9):09}{path.suffix}")
    try:
        yield new
        if path.exists():
            shutil.copymode(path, new)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
