"""A disk that is full, a folder that is read-only or gone: one line that names the place and what is kept, exit code 1;
the last checkpoint is whole, and no half of a file is left.

RLIMIT_FSIZE stands for a full disk: a write beyond it is an OSError in the midst of a file. A mode does not
hold back root: for a read-only folder open() refuses.
"""

from __future__ import annotations

import builtins
import csv
import errno
import io
import os
import re
import resource
import shutil
import tempfile
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from agents.cli.language import train as training
from agents.cli.language.record import CSV
from agents.language import save_model
from agents.learning import Reinforce
from agents.learning import checkpoints as checkpointing
from tests.agents.models import save
from tests.agents.process_worker import ONE_THREAD, SMALL, exactrl
from tests.faults.killing import TABLE, Kind, differences

pytest.importorskip("transformers")
TEXT = Kind("text", ("--model", "model", *SMALL, "--checkpoint-every", "2"), 6, "checkpoints", CSV)
RESULTS = (("solve", "FrozenLake-v1"), ("show", "FrozenLake-v1"),
           ("verify", "exactrl/RandomWalk-v0", "--episodes", "3000"),
           ("train", "exactrl/RandomWalk-v0", "--updates", "3"))  # fmt: skip


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    for name, value in (ONE_THREAD | {"COLUMNS": "200"}).items():
        monkeypatch.setenv(name, value)


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """Within it a file may grow to `size` bytes; Python ignores the signal, and a write beyond fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def files(folder: str) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


def hidden(folder: str) -> list[Path]:
    """What `replacing` and `save_model` write to, while they do."""
    return list(Path(folder).rglob(".*"))


def said(*arguments: str) -> str:
    """The one line on stderr, with exit code 1."""
    code, _, error = exactrl(*arguments)
    assert (code, error.count("\n")) == (1, 1), error
    assert error.startswith("exactrl: cannot write ")
    return error


@pytest.mark.parametrize("command", RESULTS, ids=lambda command: command[0])
def test_a_disk_that_is_full_when_results_are_written(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was there stays as it was; nothing is left beside it."""
    assert exactrl(*command, "--out", "a")[0] == 0
    before = {name: Path("a", name).read_bytes() for name in files("a")}
    with no_file_beyond(100), monkeypatch.context() as patched:
        patched.setattr("agents.cli.options.BLOCK", 1)
        assert re.search(r"cannot write to a(/\S+)?: File too large", said(*command, "--out", "a"))
    assert {name: Path("a", name).read_bytes() for name in files("a")} == before


def test_a_full_disk_is_found_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.cli.solve.solve", None)
    with no_file_beyond(0):
        code, _, error = exactrl("solve", "FrozenLake-v1", "--out", "a")
    assert (code, error) == (2, "exactrl: cannot write to the folder a: File too large\n")
    assert not list(Path("a").iterdir())


def test_a_disk_with_too_little_room_for_a_model_is_found_before_the_first_update(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 10_000))
    code, _, error = exactrl("train", *TEXT.command, "--out", "a")
    assert code == 1
    assert re.fullmatch(r"exactrl: the disk of a has 0\.00 GB left; this run needs 0\.\d\d GB; .* yet\n", error)
    assert not list(Path("a").iterdir())


def failing_after(calls: int, function: Callable[..., Any], size: int | None = None) -> Callable[..., Any]:
    """The same function; after so many calls the disk is full: at once, or after `size` bytes of a file."""
    number = count(1)

    def called(*args: Any, **options: Any) -> Any:
        full = next(number) > calls
        if full and size is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        with no_file_beyond(size) if full and size is not None else nullcontext():
            return function(*args, **options)

    return called


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Kind], Path]:
    """The folder of a run of six updates that nothing stopped."""

    @cache
    def run(kind: Kind) -> Path:
        folder = tmp_path_factory.mktemp("whole")
        assert exactrl("train", *kind.command, "--updates", "6", "--out", str(folder))[0] == 0
        return folder

    return run


@pytest.mark.parametrize("kind", [TABLE, TEXT], ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    ("name", "calls", "size"), [("_write", 1, 2000), ("_note", 1, None), ("_to_disk", 5, None), ("_put", 1, None)]
)
def test_a_checkpoint_that_cannot_be_written(
    kind: Kind, name: str, calls: int, size: int | None, monkeypatch: pytest.MonkeyPatch, whole: Callable[[Kind], Path]
) -> None:
    """The second: the first is whole, and --resume goes on from it to the bits of a run that nothing stopped."""
    train, expected = ("train", *kind.command, "--updates", "6"), whole(kind)
    with monkeypatch.context() as patched:
        patched.setattr(checkpointing, name, failing_after(calls, getattr(checkpointing, name), size))
        error = said(*train, "--out", "a")
    why = "No space left on device" if size is None else "File too large"
    first, second = (f"a/{kind.checkpoints}/update-00000{k * int(kind.command[-1])}" for k in (1, 2))
    assert error == (
        f"exactrl: cannot write the checkpoint {second}: {why}; {first} is whole: --resume goes on from it\n"
    )
    assert [str(path) for path in Path("a", kind.checkpoints).iterdir()] == [first]
    assert not hidden("a")
    assert exactrl(*train, "--out", "a", "--resume")[0] == 0
    assert differences(kind, Path("a"), expected) == ""


# ---- a language model's other files ----


def test_metrics_that_cannot_be_written() -> None:
    """The disk is full in the third update: metrics.csv is that of the second, and so is the checkpoint."""
    grows = "import resource\n_, most = resource.getrlimit(resource.RLIMIT_FSIZE)\n" \
            "calls = 0\ndef f(prompt, completion, answer):\n    global calls\n    calls += 1\n    if calls == 17:\n" \
            "        resource.setrlimit(resource.RLIMIT_FSIZE, (300, most))\n    return calls % 3\n"
    Path("filling.py").write_text(grows)
    Path("task.jsonl").write_text('{"prompt": "12"}\n{"prompt": "345"}\n')
    with no_file_beyond(10**9):
        error = said(
            "train", *TEXT.command, "--updates", "6", "--task", "task.jsonl", "--reward", "filling:f", "--out", "a"
        )
    assert re.search(r"cannot write to a(/\S+)?: File too large; a/checkpoints/update-000002 is whole: --resume", error)
    with Path("a/metrics.csv").open() as file:
        assert [row["update"] for row in csv.DictReader(file)] == ["0", "1", "2"]
    assert [path.name for path in Path("a/checkpoints").iterdir()] == ["update-000002"]
    assert not hidden("a")


def test_a_model_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model that was there stays; --resume writes the new one."""
    train = ("train", *TEXT.command, "--out", "a")
    assert exactrl(*train, "--updates", "2")[0] == 0
    before = Path("a/model/model.safetensors").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(training, "save_model", failing_after(0, save_model, 1000))
        error = said(*train, "--updates", "4", "--resume")
    assert "cannot write the model to a/model: " in error
    assert error.endswith("; a/checkpoints/update-000004 is whole: --resume goes on from it\n")
    assert Path("a/model/model.safetensors").read_bytes() == before
    assert not hidden("a")
    assert exactrl(*train, "--updates", "4", "--resume")[0] == 0
    assert Path("a/model/model.safetensors").read_bytes() != before


# ---- folders ----


@contextmanager
def read_only(folder: str, number: int) -> Iterator[None]:
    """Within it no file in the folder is opened to be written."""
    real = open

    def refusing(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        if set(mode) & set("wax+") and Path(folder).resolve() in Path(str(file)).resolve().parents:
            raise OSError(number, os.strerror(number), str(file))
        return real(file, mode, *args, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(builtins, "open", refusing)
        patched.setattr(io, "open", refusing)
        yield


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
@pytest.mark.parametrize("command", RESULTS, ids=lambda command: command[0])
def test_a_folder_that_becomes_read_only(command: tuple[str, ...], number: int) -> None:
    """What was there stays as it was; nothing is left beside it."""
    assert exactrl(*command, "--out", "a")[0] == 0
    before = {name: Path("a", name).read_bytes() for name in files("a")}
    with read_only("a", number):
        assert re.search(rf"cannot write to a(/\S+)?: {os.strerror(number)}", said(*command, "--out", "a"))
    assert {name: Path("a", name).read_bytes() for name in files("a")} == before


def test_a_folder_that_is_read_only_is_found_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("agents.cli.solve.solve", None)
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    code, _, error = exactrl("solve", "FrozenLake-v1", "--out", "a")
    assert (code, error) == (2, "exactrl: cannot write to the folder a: Read-only file system\n")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.cli.solve.solve", None)
    Path("a").mkdir(mode=0o555)
    for out in ("a", "a/b"):
        code, _, error = exactrl("solve", "FrozenLake-v1", "--out", out)
        assert (code, error) == (2, f"exactrl: cannot write to the folder {out}: Permission denied\n")


def test_a_folder_that_is_a_file() -> None:
    Path("a").write_text("")
    for command in (("solve", "FrozenLake-v1"), ("train", *TABLE.command), ("train", *TEXT.command)):
        code, _, error = exactrl(*command, "--out", "a/b")
        assert (code, error) == (2, "exactrl: cannot write to the folder a/b: Not a directory\n")


@pytest.mark.parametrize("kind", [TABLE, TEXT], ids=lambda kind: kind.name)
def test_a_folder_that_is_gone(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """Removed in the third update, with all that was in it; a file is in its place."""
    update, done = Reinforce.update, 0

    def removing(*args: Any) -> Any:
        nonlocal done
        done += 1
        if done == 3:
            shutil.rmtree("a")
            Path("a").write_text("")
        return update(*args)

    monkeypatch.setattr(Reinforce, "update", removing)
    error = said("train", *kind.command, "--updates", "6", "--out", "a")
    assert re.search(r"cannot write .*\ba/\S+: (Not a directory|File exists); there is no checkpoint yet", error)


def test_what_a_process_that_was_killed_has_left_is_removed() -> None:
    for kind in (TABLE, TEXT):
        stem = Path(kind.metrics).stem
        Path(kind.name).mkdir()
        for name in (f".{stem}.123.csv", f".{'manifest' if kind is TEXT else stem + '.manifest'}.123.json"):
            Path(kind.name, name).touch()
        Path(kind.name, ".mine.csv").touch()
        assert exactrl("train", *kind.command, "--updates", "1", "--out", kind.name)[0] == 0
        assert hidden(kind.name) == [Path(kind.name, ".mine.csv")]
