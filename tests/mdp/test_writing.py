"""A file is there whole, or as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdp.files.writing import replacing
from mdp.plot import panels, save_figure


def test_what_was_there_stays_until_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")
    with replacing(path) as new:
        new.write_text("half of")
        assert (path.read_text(), new.suffix, new.parent) == ("old", ".txt", tmp_path)
        new.write_text("all of it")
    assert [(x.name, x.read_text()) for x in tmp_path.iterdir()] == [("x.txt", "all of it")]


@pytest.mark.parametrize("error", [OSError("No space left on device"), KeyboardInterrupt()])
def test_what_was_there_stays_where_writing_fails(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as new:
            new.write_text("half of")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert [(x.name, x.read_text()) for x in tmp_path.iterdir()] == [("x.txt", "old")]


KINDS = [("x.png", b"\x89PNG"), ("x.svg", b"<?xml"), ("x.pdf", b"%PDF"), ("x", b"\x89PNG")]


@pytest.mark.parametrize(("name", "begins"), KINDS)
def test_pictures_by_their_ending(tmp_path: Path, name: str, begins: bytes) -> None:
    save_figure(panels()[0], tmp_path / name)
    (path,) = tmp_path.iterdir()
    assert (path.name, path.read_bytes()[: len(begins)]) == (name, begins)
