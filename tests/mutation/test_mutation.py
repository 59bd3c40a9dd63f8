"""Mutation testing of a program of one line, by a test that sees what it does and by one that does not."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from coverage import CoverageData

from tests.mutation import __main__ as mutation
from tests.mutation.choice import Choice
from tests.mutation.killing import Tree, attempt
from tests.mutation.mutants import File
from tests.mutation.page import page

CODE = """
from functools import cache

@cache
def f(x: int, by: int = 1) -> int:
    '''The next number.'''
    return x + by
"""
LOOKS, LOOKS_AWAY, HANGS = "assert f(1) == 2", "f(1)", "while f(1) != 2: pass"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "mdp").mkdir()
    (tmp_path / "mdp/__init__.py").write_text("")
    (tmp_path / "mdp/next.py").write_text(CODE)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    return tmp_path


def test_the_mutants_of_a_line(root: Path) -> None:
    """Not the annotations, the docstring or the decorator."""
    file = File(root, "mdp/next.py")
    assert [mutant.key.partition(": ")[2] for mutant in file] == [
        "def f(x: int, by: int = 1) -> int: -> def f(x: int, by: int = 2) -> int:",
        "return x + by -> return x - by",
    ]
    assert (file[1].lines, file[1].body) == ((7, 7), (5, 7))


@pytest.mark.parametrize(("does", "by"), [(LOOKS, "test_next.py::test_f"), (LOOKS_AWAY, None), (HANGS, "time")])
def test_what_kills(root: Path, does: str, by: str | None) -> None:
    (root / "test_next.py").write_text(f"from mdp.next import f\n\ndef test_f():\n    {does}\n")
    tree = Tree(root, root / "copy")
    names = ["test_next.py::test_f"]
    assert attempt(tree, names, limit=60).by is None
    with tree.holding(File(root, "mdp/next.py")[1]):
        assert attempt(tree, names, limit=5).by == by
    assert attempt(tree, names, limit=60).by is None  # as it was before


def test_what_killed_must_still_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "test_next.py").write_text(f"from mdp.next import f\n\ndef test_f():\n    {LOOKS}\n")
    for name, value in (("ROOT", root), ("BUILD", root / "build"), ("TRIED", root / "tried.jsonl")):
        monkeypatch.setattr(mutation, name, value)
    killed = {"1": "test_next.py::test_f", "2": "time", "3": "test_next.py::test_g"}
    lines = [json.dumps({"key": key, "by": by}) + "\n" for key, by in killed.items()]
    again = json.dumps({"key": "3", "by": killed["1"]})
    mutation.TRIED.write_text("".join([*lines, again]))
    mutation.check()
    mutation.TRIED.write_text("".join(lines))
    with pytest.raises(SystemExit, match=r"test_next\.py::test_g does not run any more"):
        mutation.check()


def test_the_tests_of_a_line(root: Path) -> None:
    """The quickest case of each test first; a line without code of its own has the tests of its function."""
    seconds = {"t.py::f[1]": 3.0, "t.py::f[2]": 1.0, "t.py::g": 2.0, "t.py::h": 0.1}
    data = CoverageData(str(root / "data"))
    for test in ("t.py::f[1]", "t.py::f[2]", "t.py::g"):
        data.set_context(test)
        data.add_lines({"mdp/next.py": [7]})
    data.set_context("")
    data.add_lines({"mdp/next.py": [5]})
    data.write()
    (root / "seconds.json").write_text(json.dumps(seconds))
    tests = Choice(root, root / "data", root / "seconds.json")
    for mutant in File(root, "mdp/next.py"):
        assert tests.chosen(mutant, 100) == ["t.py::f[2]", "t.py::g", "t.py::f[1]"]
        assert tests.chosen(mutant, 4) == ["t.py::f[2]", "t.py::g"]
        assert tests.chosen(mutant, 0) == ["t.py::f[2]"]


def test_a_line_that_ran_in_no_test_has_those_of_its_file(root: Path) -> None:
    """It ran while tests were collected, or in a process of theirs: the tests of what stands elsewhere in the file."""
    path = root / "mdp/next.py"
    path.write_text(f"{CODE}\n\ndef g() -> int:\n    return 7\n")
    (root / "seconds.json").write_text('{"t.py::f": 1.0}')
    data = CoverageData(str(root / "data"))
    data.set_context("")
    data.add_lines({"mdp/next.py": [11]})
    tests = []
    for context, line in (("t.py::gone", 11), ("t.py::f", 7)):  # of a test whose time is not known, nothing
        data.set_context(context)
        data.add_lines({"mdp/next.py": [line]})
        data.write()
        choice = Choice(root, root / "data", root / "seconds.json")
        tests.append([choice.chosen(mutant, 100) for mutant in File(root, "mdp/next.py") if mutant.lines == (11, 11)])
    assert tests == [[[]], [["t.py::f"]]]


def test_the_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a later try kills is killed now, and was not at first; the intervals are those of R's binom.test."""
    monkeypatch.setattr("tests.mutation.page.HERE", tmp_path)
    (tmp_path / "judged.json").write_text('{"0": "Equivalent: so it is", "2": "The layout of a file"}')
    tried = [{"room": "mdp", "key": str(i), "by": "t" if i > 2 else None, "commit": "abc"} for i in range(5)]
    text = page(
        {"mdp": 1_000}, [{"room": "mdp", "key": "old", "by": "t"}, *tried, tried[1] | {"by": "t", "commit": "d"}]
    )
    assert (
        "| `mdp` | 1,000 | before | 1 | 1 | 100.0 % (2.5 to 100.0) | 0 | 100.0 % (2.5 to 100.0) | 1 | 100.0 % |" in text
    )
    assert "| abc | 5 | 2 | 40.0 % (5.3 to 85.3) | 1 | 50.0 % (6.8 to 93.2) | 3 | 60.0 % |" in text
    assert text.endswith("\nEquivalent: so it is:\n- `0`\n\nThe layout of a file:\n- `2`\n")
