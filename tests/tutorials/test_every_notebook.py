"""Every notebook of the course: it runs, in each way that a reader may run it; it has what a page of the course has."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tutorials.notebooks import NOTEBOOKS, ROOT, run
from tests.tutorials.prose import strings, unfounded

MOST_WORDS = 2200  # of prose: 20 minutes at the pace of a text with formulas

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem[:2])


def test_there_are_eleven() -> None:
    assert [int(path.stem[:2]) for path in NOTEBOOKS] == list(range(1, 12))


@each
def test_as_a_script(path: Path) -> None:
    result = run(path)
    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stderr


@each
def test_marimo_check_is_clean(path: Path) -> None:
    command = [sys.executable, "-m", "marimo", "check", "--strict", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "warning" not in (result.stdout + result.stderr).lower()


@each
def test_every_number_of_the_text_is_computed_declared_or_asserted(path: Path) -> None:
    assert unfounded(path, own_tests(path)) == []


@each
def test_it_has_what_a_page_of_the_course_has(path: Path) -> None:
    """Formulas, a slider, a button, three exercises with solutions, tests of its own; 20 minutes to read."""
    text = path.read_text()
    tree = ast.parse(text)
    calls = [ast.unparse(x.func) for x in ast.walk(tree) if isinstance(x, ast.Call)]
    assert calls.count("exercise") == 3
    assert "mo.ui.slider" in calls
    assert "mo.ui.button" in calls
    assert "$$" in text or "beside(" in text
    assert re.search(r"^@app\.function\ndef test_", text, re.MULTILINE)
    assert len(words(tree)) <= MOST_WORDS


def words(tree: ast.Module) -> list[str]:
    """The words of the prose: strings with several of them."""
    texts = {text for _, text in strings(tree) if len(text.split()) > 5}
    return [word for text in texts for word in re.findall(r"[A-Za-z]{2,}", text)]


def own_tests(path: Path) -> Path:
    return ROOT / "tests" / "tutorials" / f"test_tutorial_{path.stem[:2]}.py"


@each
def test_it_has_own_tests_what_is_shown(path: Path) -> None:
    assert own_tests(path).exists()


def test_a_number_from_nowhere_is_noticed(tmp_path: Path) -> None:
    """The check of the prose, on a notebook that has one number of each kind."""
    path = tmp_path / "x.py"
    path.write_text(
        'def cell():\n    """Not shown: 9.75."""\n    gamma = 0.9\n'
        '    md(f"Example 13.1, (4.2): .9 is gamma, {gamma:.3f} too; 8.79 is from nowhere")\n'
    )
    assert unfounded(path, tmp_path / "none.py") == ["line 4: 8.79"]


def test_a_cell_that_raises_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text(
        "import marimo\n\napp = marimo.App()\n\n\n@app.cell\ndef _():\n    raise ArithmeticError('on purpose')\n\n\n"
        'if __name__ == "__main__":\n    app.run()\n'
    )
    result = run(path)
    assert result.returncode != 0
    assert "on purpose" in result.stderr
