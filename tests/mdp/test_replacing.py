"""`replacing`: what is written beside, and takes the place of what was there."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from envs import short_corridor
from mdp import FiniteMDP
from mdp.files.writing import replacing


def test_a_link_keeps_its_place_and_a_file_its_mode(tmp_path: Path) -> None:
    path, link = tmp_path / "x.txt", tmp_path / "link.txt"
    path.write_text("old")
    path.chmod(0o600)
    link.symlink_to(path)
    with replacing(link) as new:
        new.write_text("new")
    assert (path.read_text(), link.is_symlink(), path.stat().st_mode & 0o777) == ("new", True, 0o600)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    with replacing(pipe) as new:
        new.write_text("all of it")
    reader.join()
    assert read == ["all of it"]
    assert pipe.is_fifo()


def test_a_long_name(tmp_path: Path) -> None:
    path = tmp_path / f"{'x' * 245}.json"
    with replacing(path) as new:
        new.write_text("all of it")
    assert [x.name for x in tmp_path.iterdir()] == [path.name]


def test_threads_that_write_one_file(tmp_path: Path) -> None:
    """A reader sees one of what they wrote, whole, at any time."""
    m, path, failed = short_corridor(), tmp_path / "m.json", list[BaseException]()
    m.save(path)

    def work(k: int) -> None:
        try:
            for _ in range(40):
                m.save(path) if k else FiniteMDP.load(path)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert [x.name for x in tmp_path.iterdir()] == ["m.json"]
