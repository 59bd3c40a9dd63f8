"""The assignments: right answers pass in every way to check them; wrong ones are off by what is said."""

from __future__ import annotations

import ast
import csv
import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agents import assert_close
from agents.cli import app
from agents.cli.course import grading, marking
from agents.cli.course.places import assignment
from tests.tutorials import solutions
from tests.tutorials.notebooks import TUTORIALS, run

SAID = re.compile(r"^    AssertionError: (.*)$", re.MULTILINE)
IN_THE_DOCUMENTATION = SAID.findall((TUTORIALS / "TEACHING.md").read_text())[0]
IMPORTS = "import numpy as np\nimport torch\n"


def handed_in(n: int, folder: Path, **functions: str) -> Path:
    """Assignment n, solved, with some functions written otherwise."""
    text = assignment(n).read_text()
    lines = text.splitlines(keepends=True)
    for node in reversed(ast.parse(text).body):
        if isinstance(node, ast.FunctionDef) and hasattr(solutions, node.name):
            own = functions.get(node.name, inspect.getsource(getattr(solutions, node.name)))
            lines[node.lineno - 1 : node.end_lineno] = [own.rstrip() + "\n"]
    path = folder / f"student_{n}.py"
    path.write_text("".join(lines))
    return path


@pytest.mark.parametrize("n", [1, 2])
def test_a_right_solution_passes_everywhere(n: int, tmp_path: Path) -> None:
    path = handed_in(n, tmp_path)
    found = grading.grade(path)
    assert found.passed, found
    assert (found.points, len(found.said)) == (4, 4)
    assert run(path).returncode == 0  # as a notebook: no cell raises
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)]
    tested = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=300)
    assert tested.returncode == 0, tested.stdout
    assert "4 passed" in tested.stdout


@pytest.mark.parametrize("n", [1, 2])
def test_what_is_handed_out_is_not_written_yet(n: int) -> None:
    found = grading.grade(assignment(n))
    assert list(found.said.values()) == ["not written yet"] * 4
    assert not found.passed
    assert run(assignment(n)).returncode != 0


@pytest.mark.parametrize(
    ("n", "function", "written", "said"),
    [
        (1, "returns", "def returns(rewards, gamma):\n    return rewards", "is off by"),
        (1, "returns", "def returns(rewards, gamma):\n    return sum(rewards)", "has shape (); it should be (1,)"),
        (1, "returns", "def returns(rewards, gamma):\n    pass", "your function returned nothing"),
        (1, "state_values", "def state_values(P, R, gamma, pi):\n    return np.full(len(R), np.nan)", "is off by nan"),
        (1, "action_values", "def action_values(P, R, gamma, v):\n    return R + P @ v", IN_THE_DOCUMENTATION),
        (1, "optimal_values", "def optimal_values(P, R, gamma):\n    return 1 / 0 * R", "ZeroDivisionError"),
        (2, "score", "def score(h, allowed, s, a):\n    return np.zeros(h.shape)", "the score of (s, a) = "),
        (
            2,
            "loss",
            "def loss(batch):\n    return -(batch.rewards.sum(1) * batch.log_probs.sum(1)).mean()",
            "your loss is biased",
        ),
        (
            2,
            "loss_with_a_baseline",
            "def loss_with_a_baseline(batch):\n    return loss(batch)",
            "the variance of your estimate is",
        ),
        (
            2,
            "loss_with_a_baseline",
            "def loss_with_a_baseline(batch):\n    G = batch.rewards.sum(1)\n"
            "    return -((G - G.mean()) * batch.log_probs.sum(1)).mean()",
            "your loss is",
        ),
    ],
)
def test_a_mistake_costs_its_point_and_is_named(n: int, function: str, written: str, said: str, tmp_path: Path) -> None:
    lines = list(marking.marked(assignment(n), handed_in(n, tmp_path, **{function: written})))
    wrong = {line["check"]: line["said"] for line in lines if line.get("said")}
    assert said in wrong[f"test_{function}"]
    if function != "score":  # others build on it
        assert list(wrong) == [f"test_{function}"]


def test_a_function_that_ends_python_costs_what_comes_after_it(tmp_path: Path) -> None:
    ending = "def action_values(P, R, gamma, v):\n    raise SystemExit"
    assert list(grading.grade(handed_in(1, tmp_path, action_values=ending)).said.values()) == [
        "", "", "Python itself was ended in this check", "not reached",
    ]  # fmt: skip


def test_checks_that_a_student_took_out_are_run_all_the_same(tmp_path: Path) -> None:
    """And functions are looked up by name: a helper of one's own is no obstacle."""
    path = tmp_path / "mine.py"
    kept = [inspect.getsource(getattr(solutions, x)) for x in ("returns", "state_values", "action_values")]
    wrong = "def optimal_values(P, R, gamma):\n    return R[:, 0]\n\n\ndef test_optimal_values():\n    pass\n"
    path.write_text('"""Assignment 1: mine."""\n\n' + IMPORTS + "\n\n".join([*kept, wrong]))
    found = grading.grade(path)
    assert found.points == 3
    assert "v* of problem 0 is off by" in found.said["test_optimal_values"]


def test_an_endless_loop_costs_what_comes_after_it(tmp_path: Path) -> None:
    endless = "def state_values(P, R, gamma, pi):\n    while True:\n        pass"
    found = grading.grade(handed_in(1, tmp_path, state_values=endless), seconds=5)
    assert found.said["test_returns"] == ""
    assert "a loop that does not end?" in found.said["test_state_values"]
    assert found.said["test_action_values"] == "not reached"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "which assignment is it?"),
        ('"""Assignment 9: none."""\n', "there is no assignment 9"),
        ('"""Assignment 1: x."""\ndef returns(:\n', "line 2"),
        ('"""Assignment 1: x."""\nimport nothing_of_that_name\n', "nothing_of_that_name"),
        ('"""Assignment 1: x."""\n', "there is no function returns"),
    ],
)
def test_files_that_cannot_be_graded(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text(text)
    found = grading.grade(path)
    assert said in found.error
    assert found.points == 0
    assert not found.passed


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One file: its checks, exit code 0. Two files: a line each, a .csv file, exit code 1 where one fails."""
    right = handed_in(1, tmp_path)
    (tmp_path / "b").mkdir()
    wrong = handed_in(1, tmp_path / "b", returns="def returns(rewards, gamma):\n    return rewards")
    for files, code in (([right], 0), ([right, wrong], 1)):
        monkeypatch.setattr(sys, "argv", ["exactrl", "grade", *map(str, files), "--out", str(tmp_path)])
        with pytest.raises(SystemExit) as ended:
            app.main()
        assert ended.value.code == code
    assert "4 of 4" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "exactrl-grades.csv").open()))
    assert [row["points"] for row in rows] == ["4", "3"]
    assert rows[1]["wrong"].startswith("returns: G_t of 5 rewards")


def test_by_how_much() -> None:
    assert_close("x", [1.0, 2.0], np.array([1.0, 2.0 + 1e-12]))
    with pytest.raises(AssertionError, match=r"^x is off by 0.5 at \(1, 0\): yours 2, exact 2.5$"):
        assert_close("x", [[1.0], [2.0]], [[1.0], [2.5]])
    with pytest.raises(AssertionError, match="should be numbers"):
        assert_close("x", "abc", [1.0])


def test_grades_of_many_as_a_table_and_as_a_file(tmp_path: Path) -> None:
    half = grading.Grade(Path("a.py"), {"test_x": "", "test_y": "off by 1, here"})
    grades = [half, grading.Grade(Path("b.py"), {}, "no assignment")]
    rows = list(csv.reader(grading.write(grades, tmp_path).read_text().splitlines()))
    assert rows == [["file", "points", "of", "wrong"], ["a.py", "1", "2", "y: off by 1, here"],
                    ["b.py", "0", "0", "no assignment"]]  # fmt: skip
    headers = [column.header for column in grading.summary(grades).columns]
    assert headers == ["file", "points", "first thing that is wrong"]


def test_a_check_that_took_the_process_with_it(tmp_path: Path) -> None:
    """What was written before counts; a file that wrote nothing has an error."""
    done, begun = '{"check": "test_backup", "said": ""}', '{"check": "test_values"}'
    found = grading._read(tmp_path, assignment(1), f"{done}\n{begun}\n", "")
    assert (found.error, found.points) == ("", 1)
    assert "Python itself was ended in this check" in found.said.values()
    assert grading._read(tmp_path, assignment(1), "", "").error == "Python itself was ended while the file was read"
    assert grading._read(tmp_path, assignment(1), "", "too late").error == "too late"
