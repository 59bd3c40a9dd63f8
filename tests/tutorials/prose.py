"""The decimal numbers that stand in a notebook's text, and where they come from.

A number in the text is best computed where it stands: f"{v[1]:.4f}". One that is written out must be a literal of the
notebook's code, or of its tests: an input, or a number that is asserted.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

REFERENCE = r"(?:Examples?|Exercises?|Figures?|Tables?|Equations?|Sections?|Chapters?|Algorithms?|version|\()\s*"
DECIMAL = re.compile(r"(?<![\w.])\d*\.\d+(?![\w.]*\d)(?!\w)")
CITED = re.compile(rf"{REFERENCE}\d+\.\d+(?:(?:,| and| to|-)\s*\d+\.\d+)*", re.IGNORECASE)


def written_numbers(path: Path) -> list[tuple[int, str]]:
    """(line, number) for every decimal number in the strings of a notebook, without references to books."""
    tree = ast.parse(path.read_text())
    return [(line, found) for line, text in strings(tree) for found in DECIMAL.findall(CITED.sub(" ", text))]


def strings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, text) of what may be shown: all strings in functions but docstrings and formats."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        silent = {id(x) for x in ast.walk(function) if isinstance(x, ast.FormattedValue) and x.format_spec
                  for x in ast.walk(x.format_spec)}  # fmt: skip
        silent |= {id(x.body[0].value) for x in ast.walk(function)
                   if isinstance(x, ast.FunctionDef) and isinstance(x.body[0], ast.Expr)}  # fmt: skip
        for x in ast.walk(function):
            if isinstance(x, ast.Constant) and isinstance(x.value, str) and id(x) not in silent:
                yield x.lineno, x.value


def literals(*paths: Path) -> set[float]:
    """The size of every number in the code of some files."""
    trees = [ast.parse(path.read_text()) for path in paths if path.exists()]
    numbers = (x.value for tree in trees for x in ast.walk(tree) if isinstance(x, ast.Constant))
    return {abs(float(x)) for x in numbers if isinstance(x, int | float)}


def unfounded(notebook: Path, tests: Path) -> list[str]:
    """The numbers of the text that no code computes, declares or asserts, as "line 12: 3.14"."""
    known = literals(notebook, tests)
    return [f"line {line}: {x}" for line, x in written_numbers(notebook) if float(x) not in known]
