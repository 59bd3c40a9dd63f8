"""`exactrl tutorials` and `exactrl grade`, but for what needs marimo, or runs a page: that is in tests/tutorials."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock, call

import pytest
import torch

from agents.cli import app
from agents.cli.course import commands, grading, marking, places


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["exactrl", "tutorials", *arguments])
    with pytest.raises(SystemExit) as ended:
        app.main()
    code = ended.value.code
    return code if isinstance(code, int) else 0


def test_they_are_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch) == 0
    printed = capsys.readouterr().out
    assert [notebook.n for notebook in places.notebooks()] == list(range(1, 12))
    for notebook in places.notebooks():
        assert notebook.title.split()[0] in printed
        assert notebook.book


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("17",), "exactrl: there is no tutorial 17; there are 1 to 11\n"),
        (("0",), "exactrl: there is no tutorial 0; there are 1 to 11\n"),
        (("--edit",), "exactrl: which tutorial? exactrl tutorials N --edit\n"),
        (("seven",), "valid integer"),
    ],
)
def test_what_is_refused(
    arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *arguments) == 2
    assert said in capsys.readouterr().err


def test_an_installed_course_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "CHECKOUT", tmp_path / "none")
    monkeypatch.setattr(places, "INSTALLED", tmp_path)
    with pytest.raises(ValueError, match="no tutorials in") as error:
        places.folder()
    assert str(error.value) == (
        f"no tutorials in {tmp_path / 'none'} or {tmp_path}: install exactrl from its repository, or its wheel"
    )
    (tmp_path / "course").mkdir()
    assert places.folder() == tmp_path
    (tmp_path / "none" / "course").mkdir(parents=True)
    assert places.folder() == tmp_path / "none"


def test_assignments_are_found_by_their_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "folder", lambda: tmp_path)
    (tmp_path / "assignments").mkdir()
    for name in ("a2_b.py", "a2_a.py", "a12_c.py", "a3_x.txt"):
        (tmp_path / "assignments" / name).touch()
    assert places.assignment(2) == tmp_path / "assignments" / "a2_a.py"
    for n in (1, 3):
        with pytest.raises(ValueError, match="there is no assignment") as error:
            places.assignment(n)
        assert str(error.value) == f"there is no assignment {n} in {tmp_path / 'assignments'}"


def test_without_marimo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "marimo" else there(name))
    assert run(monkeypatch, "7") == 2
    assert capsys.readouterr().err == "exactrl: the tutorials need marimo: pip install 'exactrl[tutorials]'\n"


@pytest.mark.parametrize(
    ("first", "title", "book"),
    [
        ("Tutorial 3: sweeps that\nstop. Here. And there.\n\nMore.", "Sweeps that stop", "Here. And there"),
        ("Tutorial 12: v_pi is a solve. Chapter 4.", "v_pi is a solve", "Chapter 4"),
        ("Tutorial 4: Two parts: a thing. Sections 3.1: and 3.2.", "Two parts: a thing", "Sections 3.1: and 3.2"),
    ],
)  # fmt: skip
def test_the_first_line_says_what_a_tutorial_is(first: str, title: str, book: str, tmp_path: Path) -> None:
    path = tmp_path / "page.py"
    path.write_text(f'"""{first}"""\n')
    assert places._read(path) == (int(first.split()[1][:-1]), path, title, book)


def test_a_file_that_says_nothing_is_no_tutorial(tmp_path: Path) -> None:
    (tmp_path / "page.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match="invalid literal"):
        places._read(tmp_path / "page.py")


def test_the_list() -> None:
    found = [places.Notebook(3, Path("x"), "a title", "chapter 4"), places.Notebook(11, Path("y"), "b", "c")]
    table = commands.listed(found)
    assert [[column.header, *column.cells] for column in table.columns] == [
        ["", "3", "11"], ["tutorial", "a title", "b"], ["where it is in the book", "chapter 4", "c"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "passed_on"),
    [
        (("7",), ["run"]),
        (("7", "--edit"), ["edit"]),
        (("7", "--port", "8000"), ["run", "--port", "8000"]),
        (("7", "--edit", "--headless"), ["edit", "--headless"]),
    ],
)
def test_marimo_opens_it(arguments: tuple[str, ...], passed_on: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, with options of its own, while a thread that nobody waits for draws a first picture."""
    (page,) = (str(notebook.path) for notebook in places.notebooks() if notebook.n == 7)
    found: list[Any] = []
    thread, asked = Mock(), Mock()
    monkeypatch.setattr(commands, "Thread", thread)
    monkeypatch.setattr(importlib.util, "find_spec", asked)
    monkeypatch.setattr("runpy.run_module", lambda *args, **options: found.append((args, options, list(sys.argv))))
    assert run(monkeypatch, *arguments) == 0
    assert asked.mock_calls == [call("marimo")]
    options = {"target": commands.warmed_up, "args": [Path(page)], "daemon": True}
    assert thread.mock_calls == [call(**options), call().start()]
    ((module, options, argv),) = found
    assert (module, options) == (("marimo",), {"run_name": "__main__", "alter_sys": True})
    assert argv == ["marimo", passed_on[0], page, *passed_on[1:]]


@pytest.mark.parametrize(("text", "optimisers"), [("agent = Reinforce(policy)", 1), ("import numpy", 0)])
def test_what_is_drawn_while_a_page_loads(
    text: str, optimisers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture, and an optimiser where the page makes one."""
    drawn: list[str] = []
    made: list[float] = []
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, format: drawn.append(format))
    monkeypatch.setattr(torch.optim, "SGD", lambda _, lr: made.append(lr))
    (tmp_path / "page.py").write_text(text)
    commands.warmed_up(tmp_path / "page.py")
    assert (drawn, len(made)) == (["png"], optimisers)


# ---- grade ----

ANSWERS = {
    "right": ("return 1", ""),
    "wrong": ("return 3", "wrong is 3"),
    "asserting": ("assert 1 == 2", "an assertion of your own failed"),
    "unwritten": ("raise NotImplementedError", "not written yet"),
    "raising": ("return {}['x']", "KeyError: 'x' (mine.py, line 16)"),
    "printing": ("import sys; print(1, flush=True); print(1, file=sys.stderr); return 1", ""),
    "reading": ("return int(input())", "EOFError: EOF when reading a line (mine.py, line 22)"),
    "endless": ("while True: pass", "not done after 2.5 s: a loop that does not end?"),
    "after_it": ("return 1", "not reached"),
}
HANDED_OUT = f"""
TASKS = {tuple(ANSWERS)}

class Named:
    def test_inside(self): pass

def helper(): pass
{"".join(f"def {x}(): raise NotImplementedError{chr(10)}" for x in ANSWERS)}
{"".join(f"def test_{x}(): assert {x}() == 1, f'{x} is {{{x}()}}'{chr(10)}" for x in ANSWERS)}
"""


@pytest.fixture
def _assigned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Assignment 1 is HANDED_OUT, a file without cells."""
    monkeypatch.chdir(tmp_path)
    Path("out.py").write_text(HANDED_OUT)
    monkeypatch.setattr(grading, "assignment", {1: Path("out.py")}.__getitem__)


def handed_in(**answers: str) -> Path:
    path = Path("mine.py")
    answers = {name: answer for name, (answer, _) in ANSWERS.items()} | answers
    functions = "".join(f"\ndef {name}():\n    {answer}\n" for name, answer in answers.items())
    path.write_text(f'"""Assignment 1: x."""\n{functions}')
    return path


@pytest.fixture
def _typed() -> Iterator[None]:
    """Somebody types 1."""
    (read, write), before = os.pipe(), os.dup(0)
    os.write(write, b"1\n")
    os.dup2(read, 0)
    yield
    os.dup2(before, 0)
    for number in (read, write, before):
        os.close(number)


@pytest.mark.usefixtures("_assigned", "_typed")
def test_what_each_check_says(capfd: pytest.CaptureFixture[str]) -> None:
    """A student's file reads from nowhere, and prints to nowhere."""
    found = grading.grade(handed_in(), seconds=2.5)
    assert found == (Path("mine.py"), {f"test_{name}": said for name, (_, said) in ANSWERS.items()}, "")
    assert (found.points, found.passed) == (2, False)
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("_assigned")
def test_lines_before_and_after_each_check() -> None:
    """They are there as soon as a check begins."""
    right = dict.fromkeys(ANSWERS, "return 1")
    path = handed_in(**(right | {"right": "open('seen', 'w').write(open('results').read()); return 3"}))
    marking.main("out.py", str(path), "results")
    lines = [json.loads(line) for line in Path("results").read_text().splitlines()]
    said = dict.fromkeys(ANSWERS, "") | {"right": "right is 3"}
    assert lines[::2] == [{"check": f"test_{name}"} for name in ANSWERS]
    assert lines[1::2] == [{"check": f"test_{name}", "said": said[name]} for name in ANSWERS]
    assert Path("seen").read_text() == '{"check": "test_right"}\n'


@pytest.mark.usefixtures("_assigned")
@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("def right(): pass\n", "there is no function wrong in mine.py"),
        ("right = 3\n", "there is no function right in mine.py"),
        ("\nx = {}['y']\n", "KeyError: 'y' (mine.py, line 2)"),
        ("raise ValueError('none')", "none"),
    ],
)
def test_an_assignment_that_cannot_be_loaded(text: str, error: str) -> None:
    Path("mine.py").write_text(text)
    marking.main("out.py", "mine.py", "results")
    assert Path("results").read_text() == json.dumps({"error": error}) + "\n"


def test_what_is_no_python_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no Python file") as error:
        marking.load(tmp_path / "x.txt")
    assert str(error.value) == f"{tmp_path / 'x.txt'} is no Python file"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", '{} does not begin with """Assignment N: ...""": which assignment is it?'),
        ('"""An Assignment 1: x."""\n', '{} does not begin with """Assignment N: ...""": which assignment is it?'),
        ('"""Assignment 1: x."""\n\ndef f(:\n', "{}, line 3: invalid syntax"),
        (b"\xff", "cannot read {}: "),
        (None, "cannot read {}: "),
    ],
)
def test_which_assignment_it_is(text: str | bytes | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"\w") as error:
        grading.number(path)
    assert str(error.value).startswith(said.format(path))
    assert (str(error.value) == said.format(path)) == (not said.endswith(": "))
    assert grading.grade(path) == (path, {}, str(error.value))
    path.write_text('"""Assignment 12: x."""\n')
    assert grading.number(path) == 12


@pytest.mark.usefixtures("_assigned")
@pytest.mark.parametrize(
    ("in_time", "said"),
    [(True, "Python itself was ended in this check"), (False, "not done after 60 s: a loop that does not end?")],
)
def test_a_check_that_did_not_come_to_its_end(in_time: bool, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks are run in a process of their own, a minute for each."""
    asked: list[Any] = []

    def gone(command: list[str], results: Path, seconds: float) -> bool:
        asked.append((*command, results, seconds))
        results.write_text('{"check": "test_right"}\n')
        return in_time

    monkeypatch.setattr(grading, "_run", gone)
    path = handed_in()
    found = grading.grade(path)
    assert found.said == {f"test_{name}": said if name == "right" else "not reached" for name in ANSWERS}
    assert (found.path, found.error, found.points, found.passed) == (path, "", 0, False)
    (((*command, told), results, seconds),) = [(x[:-2], *x[-2:]) for x in asked]
    assert command == [sys.executable, "-m", "agents.cli.course.marking", "out.py", str(path.resolve())]
    assert (told, results.name, results.exists(), seconds) == (str(results), "results", False, 60)


@pytest.mark.parametrize(("begun", "seconds", "loading", "in_time"), [
    (False, 0, 60, True), (True, 60, 0, True), (False, 60, 0, False), (True, 0, 60, False),
])  # fmt: skip
def test_how_long_is_waited_for(
    begun: bool, seconds: int, loading: int, in_time: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For what a file imports longer than for a check. The one has begun when a line is there."""
    results = tmp_path / "results"
    results.write_text("x" * begun)
    monkeypatch.setattr(grading, "LOADING", loading)
    wait = "import time; time.sleep(%s)" % (0.5 if in_time else 60)
    assert grading._run([sys.executable, "-S", "-c", wait], results, seconds) is in_time


GRADES = [
    grading.Grade(Path("a[/b].py"), {"test_x": "", "test_test_y": "off by [1]", "test_z": "late"}),
    grading.Grade(Path("b.py"), {"test_x": ""}),
    grading.Grade(Path("c.py"), {}, "none [of] them"),
]


def test_the_table_of_one_file() -> None:
    """A point for each check that says nothing; what others say, or why there are none."""
    tables = [grading.report(found) for found in GRADES]
    assert [table.title for table in tables] == [r"a\[/b].py", "b.py", "c.py"]
    rows = [[list(column.cells) for column in table.columns] for table in tables]
    assert rows[0] == [["x", "test_y", "z", ""], ["1", "0", "0", "1 of 3"], ["right", "off by [1]", "late", ""]]
    assert rows[1] == [["x", ""], ["1", "1 of 1"], ["right", ""]]
    assert rows[2] == [[""], ["0 of 0"], [r"none \[of] them"]]
    assert [row.style for row in tables[0].rows] == [None, None, None, "bold"]


def test_the_table_of_many_files() -> None:
    """A line for each, with the first thing that is wrong."""
    columns = grading.summary(GRADES).columns
    assert [[column.header, *column.cells] for column in columns] == [
        ["file", r"a\[/b].py", "b.py", "c.py"], ["points", "1 of 3", "1 of 1", "0 of 0"],
        ["first thing that is wrong", "test_y: off by [1]", "", r"none \[of] them"],
    ]  # fmt: skip


def test_the_file_of_many(tmp_path: Path) -> None:
    """With all that is wrong."""
    path = grading.write(GRADES, tmp_path)
    assert path == tmp_path / "exactrl-grades.csv"
    assert list(csv.reader(path.read_text().splitlines())) == [
        ["file", "points", "of", "wrong"], ["a[/b].py", "1", "3", "test_y: off by [1]; z: late"],
        ["b.py", "1", "1", ""], ["c.py", "0", "0", "none [of] them"],
    ]  # fmt: skip


@pytest.mark.parametrize(("passed", "code"), [((True,), 0), ((False,), 1), ((True, True), 0), ((True, False), 1)])
def test_the_code_of_grade(
    passed: tuple[bool, ...], code: int, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Of several files, a table is written too, to --out, with a manifest that names them."""
    monkeypatch.chdir(tmp_path)
    paths = [Path(f"{k}.py") for k in range(len(passed))]
    for path in paths:
        path.touch()
    grades = iter(passed)
    monkeypatch.setattr(grading, "grade", lambda path: grading.Grade(path, {"test_x": "" if next(grades) else "wrong"}))
    monkeypatch.setattr(sys, "argv", ["exactrl", "grade", *map(str, paths), "--out", "a"])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert (ended.value.code or 0) == code
    several = len(passed) > 1
    assert Path("a/exactrl-grades.csv").exists() == several
    assert ("wrote a/exactrl-grades.csv and a/exactrl-grades.manifest.json" in capsys.readouterr().out) == several
    if several:
        manifest = json.loads(Path("a/exactrl-grades.manifest.json").read_text())
        assert (list(manifest["inputs"]), manifest["whole"]) == ([str(path) for path in paths], True)
