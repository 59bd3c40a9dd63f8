"""Where the course lies: beside the packages in a checkout, else where an installed wheel put it."""

from __future__ import annotations

import ast
import sysconfig
from pathlib import Path
from typing import NamedTuple

import agents

CHECKOUT = Path(agents.__file__).parent.parent / "tutorials"
INSTALLED = Path(sysconfig.get_path("data")) / "share" / "exactrl" / "tutorials"


class Notebook(NamedTuple):
    """One tutorial: its number, its file, what it is about, and where that stands in the book."""

    n: int
    path: Path
    title: str
    book: str


def folder() -> Path:
    """The folder of the tutorials. Raises ValueError where there is none."""
    for path in (CHECKOUT, INSTALLED):
        if (path / "course").is_dir():
            return path
    raise ValueError(f"no tutorials in {CHECKOUT} or {INSTALLED}: install exactrl from its repository, or its wheel")


def notebooks() -> list[Notebook]:
    """All tutorials, in order. The first line of each says what it is: "Tutorial 7: title. Where in the book"."""
    return [_read(path) for path in sorted(folder().glob("[0-9][0-9]_*.py"))]


def _read(path: Path) -> Notebook:
    first = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0].replace("\n", " ")
    head, _, title = first.partition(": ")
    title, _, book = title.partition(". ")
    title = title if title.startswith("v_") else title[:1].upper() + title[1:]
    return Notebook(int(head.removeprefix("Tutorial ")), path, title, book.rstrip("."))


def assignment(n: int) -> Path:
    """The file of assignment n, as it is handed out. Raises ValueError where there is none."""
    found = sorted((folder() / "assignments").glob(f"a{n}_*.py"))
    if not found:
        raise ValueError(f"there is no assignment {n} in {folder() / 'assignments'}")
    return found[0]
