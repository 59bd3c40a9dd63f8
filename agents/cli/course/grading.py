"""`exactrl grade FILE ...`: a point for each check of an assignment, and by how much the others are off."""

from __future__ import annotations

import ast
import csv
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from rich import box
from rich.markup import escape
from rich.table import Table

from agents.cli.course.places import assignment
from mdp.files.writing import replacing

SECONDS, LOADING = 60, 300  # for one check; for what a file imports
NAMED = re.compile(r"Assignment (\d+)")


class Grade(NamedTuple):
    """One file: what each check said (nothing where it passed), or why none could be run."""

    path: Path
    said: dict[str, str]
    error: str = ""

    @property
    def points(self) -> int:
        return sum(not said for said in self.said.values())

    @property
    def passed(self) -> bool:
        return bool(self.said) and not self.error and self.points == len(self.said)


def number(path: Path) -> int:
    """Which assignment a file is, by the first line of its docstring. Raises ValueError where it does not say."""
    try:
        named = NAMED.match(ast.get_docstring(ast.parse(path.read_text())) or "")
    except SyntaxError as error:
        raise ValueError(f"{path}, line {error.lineno}: {error.msg}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {path}: {error}") from None
    if named is None:
        raise ValueError(f'{path} does not begin with """Assignment N: ...""": which assignment is it?')
    return int(named[1])


def grade(path: Path, seconds: float = SECONDS) -> Grade:
    """Run the checks in a process of their own, each for so many seconds at most.

    A file that cannot be graded has an `error`, and no points.
    """
    try:
        handed_out = assignment(number(path))
    except ValueError as error:
        return Grade(path, {}, str(error))
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        results.touch()
        arguments = map(str, (handed_out, path.resolve(), results))
        command = [sys.executable, "-m", "agents.cli.course.marking", *arguments]
        in_time = _run(command, results, seconds)
        late = "" if in_time else f"not done after {seconds:g} s: a loop that does not end?"
        return _read(path, handed_out, results.read_text(), late)


def _run(command: list[str], results: Path, seconds: float) -> bool:
    """Whether the process came to its end; it is ended where no line was written for `seconds`."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet) as process:
        while True:
            try:
                process.wait(0.1)
                return True
            except subprocess.TimeoutExpired:
                written = results.stat()
                if time.time() - written.st_mtime > (seconds if written.st_size else LOADING):
                    process.kill()
                    return False


def _read(path: Path, handed_out: Path, results: str, late: str) -> Grade:
    """The grade by the lines that were written; a check that began and did not end took the process with it."""
    said = dict.fromkeys(_checks(handed_out), "not reached")
    error = "" if results else late or "Python itself was ended while the file was read"
    for line in map(json.loads, results.splitlines()):
        error = line.get("error", error)
        if "check" in line:
            said[line["check"]] = line.get("said", late or "Python itself was ended in this check")
    return Grade(path, said, error)


def _checks(handed_out: Path) -> list[str]:
    tree = ast.parse(handed_out.read_text())
    return [x.name for x in tree.body if isinstance(x, ast.FunctionDef) and x.name.startswith("test_")]


def report(found: Grade) -> Table:
    """Every check of one file."""
    out = Table(title=escape(str(found.path)), title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("task", "points", ""):
        out.add_column(column, justify="right" if column == "points" else "left")
    for name, said in found.said.items():
        out.add_row(name.removeprefix("test_"), "0" if said else "1", escape(said) or "right")
    out.add_row("", f"{found.points} of {len(found.said)}", escape(found.error), style="bold")
    return out


def summary(grades: list[Grade]) -> Table:
    """A line for each file."""
    out = Table(box=box.SIMPLE_HEAD)
    for column in ("file", "points", "first thing that is wrong"):
        out.add_column(column, justify="right" if column == "points" else "left")
    for found in grades:
        first = found.error or next((f"{k.removeprefix('test_')}: {x}" for k, x in found.said.items() if x), "")
        out.add_row(escape(str(found.path)), f"{found.points} of {len(found.said)}", escape(first))
    return out


def write(grades: list[Grade], folder: Path) -> Path:
    """exactrl-grades.csv: file, points, of how many, and what is wrong."""
    path = folder / "exactrl-grades.csv"
    with replacing(path) as new, new.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "points", "of", "wrong"])
        for found in grades:
            wrong = [found.error, *(f"{k.removeprefix('test_')}: {said}" for k, said in found.said.items() if said)]
            rows.writerow([found.path, found.points, len(found.said), "; ".join(x for x in wrong if x)])
    return path
