"""What the commands print and write, word for word: each output stands in printed/, with # for its numbers.

What text does not show stands below it: how tables are laid out, how lines are printed, what the bars show.

    python -m tests.agents.test_printed     writes them anew; read the difference before you commit it
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import tempfile
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from functools import partial, partialmethod
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from rich.console import Console
from rich.progress import Progress
from rich.status import Status
from rich.table import Table

from agents.cli import app
from agents.cli import selftest as selftesting
from agents.cli.course import commands
from agents.cli.course.places import assignment
from agents.selftest import self_test
from tests.agents import models

PRINTED = Path(__file__).parent / "printed"
NUMBER = re.compile(r"(?<![\w.])[-+]?(\d[\d,]*\d|\d)(\.\d+)?(e[-+]?\d+)?(?!\w)")
MACHINES = ("versions", "git", "platform", "inputs")  # what machines differ in; so does what transformers saves
COMMANDS = {
    "solve": ("solve", "exactrl/Gridworld4x4-v0"),
    "solve a robot": ("solve", "exactrl/RecyclingRobot-v0"),
    "envs": ("envs",),
    "show": ("show", "exactrl/Gridworld4x4-v0"),
    "show no board": ("show", "exactrl/RecyclingRobot-v0"),
    "audit": ("audit",),
    "audit groups": ("audit", "exactrl/ContextualBandit-v0", "--groups", "2", "--group-size", "2"),
    "variance": ("variance", "exactrl/ContextualBandit-v0"),
    "variance at .9": ("variance", "exactrl/RandomWalk-v0", "--gamma", "0.9"),
    "variance without an end": ("variance", "exactrl/RecyclingRobot-v0"),
    "train": ("train", "exactrl/ContextualBandit-v0", "--updates", "21"),
    "train exactly": ("train", "exactrl/ContextualBandit-v0", "--updates", "20", "--gradient", "exact",
                      "--optimizer", "ascent"),
    "verify": ("verify", "exactrl/RandomWalk-v0", "--episodes", "3000"),
    "self-test": ("verify", "--self-test"),
    "verify a model": ("verify", "--model", "model"),
    "train a model": ("train", "--model", "model", "--updates", "3", "--max-tokens", "4",
                      "--checkpoint-every", "2", "--beta", "0.1"),
    "tutorials": ("tutorials",),
    "grade": ("grade", "one.py"),
    "grade several": ("grade", "one.py", "another.py"),
}  # fmt: skip


def printed(*arguments: str) -> str:
    """What it prints, the keys and columns of the files that it writes, and its exit code, in an empty folder."""
    out = io.StringIO()
    code: object = None
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        if "model" in arguments:
            models.save(Path("model"))
        for name in ("one.py", "another.py"):
            Path(name).write_text(assignment(1).read_text())
        before, few = set(Path().iterdir()), partial(self_test, worlds=1)
        noted: list[str] = []
        with (
            _noting(Table, "__rich_console__", _layout, noted), _noting(Console, "print", _line, noted),
            _noting(Console, "status", lambda _, text: f"status: {text}", noted),
            _noting(Status, "update", lambda _, text: f"status: {text}", noted),
            _noting(Progress, "__init__", _columns, noted), _noting(Progress, "add_task", _begun, noted),
            _noting(Progress, "stop", _ended, noted),
            redirect_stdout(out), redirect_stderr(out), mock.patch.object(sys, "argv", ["exactrl", *arguments]),
            mock.patch.object(selftesting, "self_test", few), mock.patch.object(app.console, "_width", 80),
            mock.patch.object(commands.console, "_width", 80),
        ):  # fmt: skip
            try:
                app.main()
            except SystemExit as ended:
                code = ended.code or 0
        out.write("".join(f"{line}\n" for line in dict.fromkeys(noted)))
        for path in sorted(set(Path().iterdir()) - before):
            out.write("".join(f"{line}\n" for line in (str(path), *_names(path))))
    text = re.sub(r" {2,}", "  ", NUMBER.sub("#", out.getvalue()))  # how wide a number is depends on the machine
    text = re.sub(r"─+", "─", text)
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]  # some versions of rich end a bar with a line
    return "".join(f"{line}\n" for line in [*lines, f"exit code {code}"])


def _noting(of: type, name: str, told: Callable[..., str], noted: list[str]) -> Any:
    """A patch of a method of rich's, for what is not to be read in the text that is left."""

    def method(self: Any, original: Callable[..., Any], *args: Any, **options: Any) -> Any:
        noted.append(NUMBER.sub("#", told(self, *args, **options)))
        return original(self, *args, **options)

    return mock.patch.object(of, name, partialmethod(method, getattr(of, name)))


def _layout(table: Table, *_: Any, **__: Any) -> str:
    columns = [f"{column.header} {column.justify}{' no wrap' * column.no_wrap}" for column in table.columns]
    cells = [str(cell) for column in table.columns for cell in column.cells]
    marks = dict.fromkeys(mark for cell in cells for mark in re.findall(r"\[[a-z ]+\]", cell))
    styles = dict.fromkeys(f" {row.style}" for row in table.rows if row.style)
    title = f"table: title {table.title_justify}, caption {table.caption_justify}"
    title += f", pad edge {table.pad_edge}, collapse padding {table.collapse_padding}"
    return f"{title}; {', '.join(columns)}; {' '.join(marks)}{''.join(styles)}"


def _line(_: Console, *what: Any, **options: Any) -> str:
    """How a line of text is printed: paths and names may look like markup, and are not to be broken."""
    if not (what and isinstance(what[0], str)):
        return ""
    return f"line: {', '.join(f'{name} {value}' for name, value in options.items())}"


def _ours(bar: Progress) -> bool:
    return bar.console in (app.console, commands.console)


def _columns(_: Progress, *columns: Any, **options: Any) -> str:
    shown = ", ".join(getattr(column, "text_format", type(column).__name__) for column in columns)
    where = ", on the console of the commands" * (options.get("console") in (app.console, commands.console))
    return f"bar: {shown}; transient {options.get('transient')}{where}"


def _begun(bar: Progress, description: str, **options: Any) -> str:
    told = (f"{name} {value}" for name, value in options.items())
    return f"begins: {description!r}, {', '.join(told)}" if _ours(bar) else ""


def _ended(bar: Progress) -> str:
    """Whether each task is whole when the bar goes."""
    told = (f"{x.description!r}, whole {x.finished}, {x.fields}" for x in bar.tasks)
    return f"ends: {'; '.join(told)}" if _ours(bar) else ""


def _names(path: Path) -> list[str]:
    """The columns of a table, and all keys and texts of JSON."""
    if path.suffix == ".csv":
        with path.open() as file:
            return [f"  columns: {', '.join(next(csv.reader(file)))}"]
    if path.suffix == ".json":
        text = path.read_text()
        laid_out = "a line for each value" if text.rstrip("\n") == json.dumps(json.loads(text), indent=1) else "dense"
        return [f"  {line}" for line in (laid_out, *_masked(json.loads(text), texts="manifest" not in path.name))]
    return []


def _masked(x: object, at: str = "", texts: bool = True) -> list[str]:
    """A line for each key, and what kind of value it has; texts in full, if they depend on no machine."""
    if isinstance(x, dict):
        stays = [key for key in x if key not in MACHINES and not key.startswith("model/")]
        return [line for key in stays for line in _masked(x[key], f"{at}.{key}", texts)]
    if isinstance(x, list):
        return list(dict.fromkeys(line for y in x for line in _masked(y, f"{at}[]", texts)))
    return [f"{at} {x if (texts and isinstance(x, str)) or isinstance(x, bool | None) else type(x).__name__}"]


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_printed(name: str) -> None:
    if name.startswith("grade"):
        pytest.importorskip("marimo")  # which the assignments are written in
    assert printed(*COMMANDS[name]) == (PRINTED / f"{name}.txt").read_text()


if __name__ == "__main__":
    PRINTED.mkdir(exist_ok=True)
    for name, arguments in COMMANDS.items():
        (PRINTED / f"{name}.txt").write_text(printed(*arguments))
