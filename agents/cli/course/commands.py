"""`exactrl tutorials` and `exactrl grade`, as the command line has them."""

from __future__ import annotations

import importlib.util
import io
import runpy
import sys
from pathlib import Path
from threading import Thread
from typing import Annotated

import torch
import typer
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from agents.cli.course import grading
from agents.cli.course.places import Notebook, notebooks
from agents.cli.manifest import begun
from agents.cli.options import Out
from agents.cli.records import wrote
from mdp.plot import panels

console = Console()


def tutorials(
    context: typer.Context,
    n: Annotated[int | None, typer.Argument(help="The number of a tutorial; without one they are listed.")] = None,
    edit: Annotated[bool, typer.Option("--edit", help="Open it to be changed, with its code.")] = False,
) -> None:
    """The course: eleven pages to step through. One is opened in the browser, until ctrl-C.

    Other options are marimo's own: --port 8000, --headless.
    """
    found = {notebook.n: notebook for notebook in notebooks()}
    if n is None and edit:
        raise ValueError("which tutorial? exactrl tutorials N --edit")
    if n is None:
        console.print(listed(list(found.values())))
        console.print("exactrl tutorials N opens one; --edit to change it.", highlight=False)
        return
    if n not in found:
        raise ValueError(f"there is no tutorial {n}; there are {min(found)} to {max(found)}")
    if importlib.util.find_spec("marimo") is None:
        raise ValueError("the tutorials need marimo: pip install 'exactrl[tutorials]'")
    Thread(target=warmed_up, args=[found[n].path], daemon=True).start()
    sys.argv = ["marimo", "edit" if edit else "run", str(found[n].path), *context.args]
    runpy.run_module("marimo", run_name="__main__", alter_sys=True)  # in this process, which has imported torch already


def warmed_up(page: Path) -> None:
    """Draw a first picture, and make a first optimiser where the page will: they import for seconds, while the browser
    reads its scripts.
    """
    panels()[0].savefig(io.BytesIO(), format="png")
    if "Reinforce" in page.read_text():
        torch.optim.SGD([torch.zeros(1)], lr=1.0)


def listed(found: list[Notebook]) -> Table:
    """A line for each tutorial."""
    out = Table(box=box.SIMPLE_HEAD)
    for column in ("", "tutorial", "where it is in the book"):
        out.add_column(column)
    for notebook in found:
        out.add_row(str(notebook.n), notebook.title, notebook.book)
    return out


def grade(
    files: Annotated[list[Path], typer.Argument(help="Assignments that were handed in.", exists=True, dir_okay=False)],
    out: Out = Path(),
) -> None:
    """A point for each check of an assignment. Exit code 1 if one fails; of several files a .csv file is written."""
    several, manifest = len(files) > 1, begun(*files)
    grades = [grading.grade(path) for path in track(files, "grading", console=console, transient=True)]
    console.print(grading.summary(grades) if several else grading.report(grades[0]))
    if several:
        wrote(console, [grading.write(grades, out)], manifest)
    raise typer.Exit(0 if all(found.passed for found in grades) else 1)
