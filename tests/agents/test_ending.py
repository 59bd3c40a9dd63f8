"""How commands end: mistakes, full disks, signals, what is left of processes that were killed."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, Mock, call

import pytest
import torch
import typer

from agents.cli.ending import end
from agents.cli.faults import check_room, stopping, tidy, until_interrupted, writing_to
from agents.cli.options import writable
from agents.learning.processes import Alone, Processes, ProcessLost
from tests.agents.process_worker import exactrl


@pytest.mark.parametrize("option", ["groups", "group-size", "pieces", "top-k", "max-tokens", "updates"])
def test_counts_that_no_machine_counts(option: str) -> None:
    code, _, error = exactrl("train", "--model", "model", f"--{option}", "9" * 23)
    assert code == 2
    assert f"Invalid value for '--{option}'" in error
    assert error.count("\n") == 1


def test_a_full_disk_is_no_mistake_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(OSError, match="No space left"):
        writable(tmp_path)


def test_how_a_folder_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of bytes, since a full disk takes an empty file; not buffered, so that writing itself fails."""
    opened = MagicMock()
    monkeypatch.setattr("tempfile.TemporaryFile", opened)
    folder = tmp_path / "a" / "b"
    for _ in range(2):  # it is made, and may be there
        assert writable(folder) is folder
    assert folder.is_dir()
    assert opened.call_args_list == [call(dir=folder, buffering=0)] * 2
    assert opened.return_value.__enter__.return_value.write.call_args_list == [call(bytes(4096))] * 2


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    for folder, code in ((tmp_path / "notes.txt", errno.EEXIST), (tmp_path / "notes.txt" / "a", errno.ENOTDIR)):
        with pytest.raises(ValueError, match="cannot write to") as error:
            writable(folder)
        assert str(error.value) == f"cannot write to the folder {folder}: {os.strerror(code)}"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OverflowError("int too large"), 2, "int too large"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), 2,
         "not enough memory: can't allocate memory: you tried"),
        (torch.OutOfMemoryError("CUDA out of memory"), 2, "not enough memory: CUDA out of memory"),
        (MemoryError("of 9 GB"), 2, "not enough memory: of 9 GB"),
        (typer.BadParameter("two\n  lines"), 2, "Invalid value: two lines"),
        (ProcessLost("gone"), 1, "gone"),
        (OSError("full"), 1, "full"),
        (TypeError("no number"), 2, "no number"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)  # fmt: skip
def test_how_a_command_ends(error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise error

    with pytest.raises(SystemExit) as left:
        end(command)
    assert (left.value.code, capsys.readouterr().err) == (code, f"exactrl: {said}\n")


@pytest.mark.parametrize("code", [0, 1, None])
def test_the_code_of_a_command_is_that_of_the_process(code: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        end(lambda: code)
    assert (left.value.code, capsys.readouterr().err) == (code, "")


def test_an_exit_code_that_says_interrupted(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        end(lambda: 130)
    assert (left.value.code, capsys.readouterr().err) == (130, "exactrl: interrupted\n")


def test_a_mistake_of_ours_is_not_hidden() -> None:
    def command() -> None:
        raise RuntimeError("ours")

    with pytest.raises(RuntimeError, match="ours"):
        end(command)


def test_the_first_ctrl_c_asks_and_the_second_stops() -> None:
    """Both signals alike; afterwards those who heard them before hear them again."""
    heard: list[int] = []

    def before(number: int, _: object) -> None:
        heard.append(number)

    own = {number: signal.signal(number, before) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in own:
            with stopping(Alone()) as stopped:
                assert stopped() is False
                signal.raise_signal(number)
                assert stopped() is True
                assert heard == []
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGTERM)
            assert heard == [signal.SIGINT, signal.SIGTERM]
            heard.clear()
            with stopping(Alone()):
                pass
            assert signal.getsignal(signal.SIGINT) is signal.getsignal(signal.SIGTERM) is before
    finally:
        for number, handler in own.items():
            signal.signal(number, handler)


def test_what_came_before_ctrl_c() -> None:
    def items() -> Any:
        yield from "ab"
        raise KeyboardInterrupt

    assert until_interrupted(items()) == (["a", "b"], True)
    assert until_interrupted("ab") == (["a", "b"], False)


@pytest.mark.parametrize(
    ("error", "kept", "said"),
    [
        (OSError("the disk is small"), "", "the disk is small"),
        (OSError("the disk is small"), "x is whole", "the disk is small; x is whole"),
        (OSError(errno.ENOSPC, "No space left"), "", "cannot write to folder: No space left"),
        (OSError(errno.ENOSPC, "No space left", "folder/x"), "y", "cannot write to folder/x: No space left; y"),
    ],
)
def test_what_cannot_be_written(error: OSError, kept: str, said: str) -> None:
    given: tuple[Callable[[], str], ...] = (lambda: kept,) if kept else ()
    with pytest.raises(OSError, match=" ") as found, writing_to(Path("folder"), *given):
        raise error
    assert str(found.value) == said


def test_room_on_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is needed is enough."""
    usage = Mock(return_value=SimpleNamespace(free=1_234_000_000))
    monkeypatch.setattr(shutil, "disk_usage", usage)
    check_room(Path("x"), 1_234_000_000)
    with pytest.raises(OSError, match=r"^the disk of x has 1\.23 GB left; this run needs 5\.68 GB$"):
        check_room(Path("x"), 5_678_000_000)
    with pytest.raises(OSError, match="needs"):
        check_room(Path("x"), 1_234_000_001)
    assert usage.mock_calls == [call(Path("x"))] * 3


def test_ctrl_c_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping(Alone()) as stopped:
            signal.raise_signal(signal.SIGINT)
            assert not stopped()
            signal.raise_signal(signal.SIGTERM)
            assert stopped()
    finally:
        signal.signal(signal.SIGINT, before)


def test_sigterm_is_heard_again_but_after_a_loss() -> None:
    processes = object.__new__(Processes)
    processes.rank, processes.world = 0, 2
    before = signal.getsignal(signal.SIGTERM)
    for error, said, after in (
        (ValueError("x"), ValueError, before), (torch.OutOfMemoryError("NCCL"), RuntimeError, before),
        (RuntimeError("gloo: connection closed"), ProcessLost, signal.SIG_IGN),
    ):  # fmt: skip
        try:
            with pytest.raises(said), processes.joined():
                raise error
            assert signal.getsignal(signal.SIGTERM) is after
        finally:
            signal.signal(signal.SIGTERM, before)


def test_only_what_was_left_is_removed(tmp_path: Path) -> None:
    for name in (".metrics.2024.csv", ".metrics.2024-mine.csv", ".metrics.csv", "metrics.csv", ".x[1].7.csv"):
        (tmp_path / name).touch()
    tidy(tmp_path / "metrics.csv", tmp_path / "x[1].csv")
    assert sorted(x.name for x in tmp_path.iterdir()) == [".metrics.2024-mine.csv", ".metrics.csv", "metrics.csv"]


@pytest.mark.parametrize("command", ["solve", "variance", "show", "train --updates 2"])
def test_a_folder_that_is_called_like_markup(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    code, out, error = exactrl(*command.split(), "exactrl/Bandit-v0", "--out", "[/x]")
    assert (code, error) == (0, "")
    assert out.splitlines()[-1].startswith("wrote [/x]/exactrl-")
