"""The examples in docstrings run, and print what they say; what is public has one.

An example stands alone: it begins with its imports, so that it can be pasted into a fresh Python. The docstrings are
read with `ast`, so that nothing is imported but what an example imports.
"""

from __future__ import annotations

import ast
import doctest
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

import agents
import mdp

ROOT = Path(__file__).parent.parent
FILES = sorted(path for room in ("mdp", "envs", "agents") for path in (ROOT / room).rglob("*.py"))
PARSER = doctest.DocTestParser()
NEEDS = {"agents/language/": "transformers"}  # a package that not everybody has, and whose examples need it
RESULTS = {
    "AverageReward", "AverageSolution", "BestBaselines", "Evaluation", "Moments", "Solution", "Statistics",
    "Trajectory", "Audit", "GradientMoments", "History", "Report", "Row", "TrainingStopped",
}  # fmt: skip  # the example of the function that gives one shows how it is read
PUBLIC = {
    f"{package.__name__}.{name}": getattr(package, name)
    for package in (mdp, agents)
    for name in package.__all__
    if callable(getattr(package, name)) and name not in RESULTS
}


def docstrings(node: ast.AST, name: str) -> Iterator[tuple[str, str, int]]:
    """(name, docstring, its line from 0) of a module, class or function, and of all that is in it."""
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (text := ast.get_docstring(node, clean=False)):
        yield name, text, node.body[0].lineno - 1
    for child in ast.iter_child_nodes(node):
        inner = f"{name}.{child.name}" if isinstance(child, (ast.ClassDef, ast.FunctionDef)) else name
        yield from docstrings(child, inner)


def examples(path: Path) -> list[doctest.DocTest]:
    """The docstrings of a file that hold examples, each with names of its own."""
    found = docstrings(ast.parse(path.read_text()), path.stem)
    tests = (PARSER.get_doctest(text, {"__name__": "__main__"}, name, str(path), line) for name, text, line in found)
    return [test for test in tests if test.examples]


def failures(tests: list[doctest.DocTest]) -> str:
    """What doctest says; nothing, if every example prints what it should."""
    said = io.StringIO()
    for test in tests:
        doctest.DocTestRunner(verbose=False).run(test, out=said.write)
    return said.getvalue()


FOUND = {path.relative_to(ROOT).as_posix(): tests for path in FILES if (tests := examples(path))}


@pytest.mark.parametrize("file", FOUND)
def test_the_examples_print_what_they_say(file: str) -> None:
    for folder, package in NEEDS.items():
        if file.startswith(folder):
            pytest.importorskip(package)
    if said := failures(FOUND[file]):
        pytest.fail(said, pytrace=False)


@pytest.mark.parametrize("name", PUBLIC)
def test_what_is_public_has_an_example(name: str) -> None:
    assert PARSER.get_examples(PUBLIC[name].__doc__ or ""), f"{name} has no example in its docstring"


def test_the_results_are_public() -> None:
    assert RESULTS.issubset([*mdp.__all__, *agents.__all__])


def test_a_wrong_example_is_found(tmp_path: Path) -> None:
    """In a method, too, with its line, and without the names of other examples."""
    path = tmp_path / "x.py"
    path.write_text(
        'class C:\n    def f(self):\n        """\n        >>> x = 1\n        >>> x + 1\n        3\n        """\n\n'
        '    def g(self):\n        """\n        >>> x\n        1\n        """\n'
    )
    said = failures(examples(path))
    assert f'File "{path}", line 5, in x.C.f\nFailed example:\n    x + 1\nExpected:\n    3\nGot:\n    2\n' in said
    assert "NameError: name 'x' is not defined" in said
