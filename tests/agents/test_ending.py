"""How commands end: mistakes, full disks, signals, what is left of processes that were killed."""

from __future__ import annotations

import errno
import signal
from pathlib import Path

import pytest
import torch

from agents.cli.ending import end
from agents.cli.faults import stopping, tidy
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


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OverflowError("int too large"), 2, "int too large"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), 2,
         "not enough memory: can't allocate memory: you tried"),
        (torch.OutOfMemoryError("CUDA out of memory"), 2, "not enough memory: CUDA out of memory"),
        (ProcessLost("gone"), 1, "gone"),
        (OSError("full"), 1, "full"),
    ],
)  # fmt: skip
def test_how_a_command_ends(
    error: Exception, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise error

    with pytest.raises(SystemExit) as left:
        end(command)
    assert (left.value.code, capsys.readouterr().err) == (code, f"exactrl: {said}\n")


def test_a_mistake_of_ours_is_not_hidden() -> None:
    def command() -> None:
        raise RuntimeError("ours")

    with pytest.raises(RuntimeError, match="ours"):
        end(command)


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
