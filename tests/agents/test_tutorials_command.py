"""`exactrl tutorials`: the list, and what it refuses. That a page is served is tested in tests/tutorials."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from agents.cli import app
from agents.cli.course import places


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
        (("17",), "there is no tutorial 17; there are 1 to 11"),
        (("--edit",), "which tutorial? exactrl tutorials N --edit"),
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
    with pytest.raises(ValueError, match="no tutorials in"):
        places.folder()
    (tmp_path / "course").mkdir()
    assert places.folder() == tmp_path


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
    ],
)  # fmt: skip
def test_the_first_line_says_what_a_tutorial_is(first: str, title: str, book: str, tmp_path: Path) -> None:
    path = tmp_path / "page.py"
    path.write_text(f'"""{first}"""\n')
    assert places._read(path) == (int(first.split()[1][:-1]), path, title, book)
