"""What the training of a language model says, shows and notes."""

from __future__ import annotations

import io
import math
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from rich.console import Console

from agents.cli.language import commands
from agents.cli.language import record as recording
from agents.cli.language.plot import draw_training
from agents.cli.language.record import Record, seconds
from agents.cli.language.train import Settings, summary
from agents.learning import History, TrainingStopped
from agents.learning.processes import ProcessLost
from agents.learning.training import TIMES
from tests.agents.process_worker import SETTINGS
from tests.agents.updates import Member, history

pytest.importorskip("transformers")
pytestmark = pytest.mark.usefixtures("_in_a_folder_with_a_model")

# ---- what is said ----


class Told:
    """In place of a run: what it was called with, and what it does then."""

    title, path, out, manifest = "[bold] of 3 'words'", "by {1: 2}", Path("a"), "its manifest"

    def __init__(self, history: History | None, rank: int = 0) -> None:
        self.history, self.processes = history, SimpleNamespace(rank=rank)
        self.checkpoints = SimpleNamespace(kept="a/[7] is whole: --resume goes on from it")

    def __call__(self, **options: Any) -> History:
        self.options = options
        if self.history is None:
            raise TrainingStopped(ValueError("no judge"), History())
        return self.history

    def write(self, history: History) -> list[Path]:
        return [Path(f"{len(history.rows)} rows")]


def narrow() -> Console:
    """Of a terminal with colours."""
    return Console(file=io.StringIO(), width=12, force_terminal=True, color_system="standard")


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("interrupted", [False, True])
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_a_line_is_a_line_without_colours(interrupted: bool, rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    noted, wrote = history(8), mock.Mock()
    noted.interrupted = interrupted
    run, console = Told(noted, rank), narrow()
    monkeypatch.setattr(commands, "wrote", wrote)
    stopped = commands._trained(run, console, updates=9, every=4, resume=True)  # type: ignore[arg-type]
    assert stopped == interrupted
    assert run.options == {"updates": 9, "every": 4, "resume": True, "console": console}
    if rank > 0:
        assert text_of(console) == ""
        wrote.assert_not_called()
        return
    assert text_of(console) == f"[bold] of 3 'words', by {{1: 2}}\n{summary(noted)}\n"
    files = [Path("9 rows")]
    wrote.assert_called_once_with(console, files, "its manifest", Path("a/manifest.json"), whole=not interrupted)


def test_a_stop_says_what_is_kept() -> None:
    console = narrow()
    with pytest.raises(TrainingStopped):
        commands._trained(Told(None), console, updates=9, every=4, resume=True)  # type: ignore[arg-type]
    assert text_of(console) == "[bold] of 3 'words', by {1: 2}\na/[7] is whole: --resume goes on from it\n"


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ProcessLost("process 1 of 2 lost another one (gloo)"), "process 1 of 2 lost another one (gloo)"),
        (OSError(28, "No space left on device"), "cannot write to a: No space left on device"),
    ],
)
def test_a_run_that_cannot_go_on_says_what_is_kept(
    error: Exception, says: str, checkpoint: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And parts from the other processes."""
    if checkpoint:
        Path("a/checkpoints/update-000003").mkdir(parents=True)
    member = Member(1)
    begun, made, fails = mock.Mock(return_value=member), mock.Mock(), mock.Mock(side_effect=error)
    monkeypatch.setattr(commands, "processes", begun)
    monkeypatch.setattr("agents.cli.language.train.Run", made)
    monkeypatch.setattr(commands, "use_all_cores", lambda: None)
    monkeypatch.setattr(commands, "_trained", fails)
    settings, console = Settings("model", **SETTINGS), narrow()  # type: ignore[arg-type]
    with pytest.raises(type(error)) as raised:
        commands.train_model(settings, Path("a"), console, updates=9, every=4, pieces=3, resume=True, sharded=True)
    kept = "a/checkpoints/update-000003 is whole: --resume goes on from it"
    assert str(raised.value) == f"{says}; {kept if checkpoint else 'there is no checkpoint yet'}"
    begun.assert_called_once_with(sharded=True)
    made.assert_called_once_with(settings, Path("a"), member, pieces=3)
    fails.assert_called_once_with(made.return_value, console, updates=9, every=4, resume=True)
    assert member.closed == 1


# ---- what is shown ----


@pytest.mark.parametrize(
    ("updates", "changes"), [(1, {}), (5, {}), (5, {"kl": math.nan}), (2, {"standard_error": math.nan})]
)
def test_draw(updates: int, changes: dict[str, float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_training(history(updates, **changes), Path("a.png"), "a [title] with $signs")
    assert Path("a.png").read_bytes()[:4] == b"\x89PNG"


def test_summary() -> None:
    """The first and the last quarter; the median times of the updates after the first."""
    noted = history(8)
    for k, row in enumerate(noted.rows):
        row |= {"sampled_return": float(k), "sampling_s": 100.0 if k == 1 else k / 10}
    assert "first 2 updates 1.5000, of the last 2 7.5000" in summary(noted)
    assert seconds(noted) == "sampling 0.50 s, scoring 0.25 s, backward 0.25 s, optimizer 0.25 s"


@pytest.mark.parametrize(
    ("updates", "says"),
    [
        (1, "mean reward of the first 1 updates 1.0000, of the last 1 1.0000"),
        (3, "mean reward of the first 1 updates 1.0000, of the last 1 3.0000"),
        (7, "mean reward of the first 1 updates 1.0000, of the last 1 7.0000"),
        (8, "mean reward of the first 2 updates 1.5000, of the last 2 7.5000"),
        (12, "mean reward of the first 3 updates 2.0000, of the last 3 11.0000"),
    ],
)
def test_summary_to_the_letter(updates: int, says: str) -> None:
    """The first update, which takes longer, is left out of the times, unless there is no other."""
    noted = history(updates, sampling_s=0.5, scoring_s=1.25, backward_s=2.0, optimizer_s=0.125)
    for k, row in enumerate(noted.rows):
        row["sampled_return"] = float(k)
    noted.rows[0] |= dict.fromkeys(TIMES, math.nan)
    noted.rows[1]["sampling_s"] = 100.0
    took = 100 if updates == 1 else 0.5
    assert summary(noted) == (
        f"{says}\nan update: sampling {took:.2f} s, scoring 1.25 s, backward 2.00 s, optimizer 0.12 s"
    )
    assert summary(History(noted.rows[:1])) == "no update was made"


class Board:
    """In place of TensorBoard's writer."""

    def __init__(self, folder: Path, purge_step: int) -> None:
        self.folder, self.first, self.flushed, self.closed = folder, purge_step, 0, 0
        self.told: list[Any] = []

    def add_scalar(self, name: str, x: float, k: int) -> None:
        self.told.append((name, x, k))

    def flush(self) -> None:
        self.flushed += 1

    def close(self) -> None:
        self.closed += 1


def test_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar, the board and the tables have every update once; its speed is all tokens since the update before."""
    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter", Board)
    clock = iter([10.0, 14.0, 14.5, 16.5, 17.0])
    monkeypatch.setattr(recording, "perf_counter", lambda: next(clock))
    noted, console = history(2, kl=math.nan), Console(file=io.StringIO(), force_terminal=True)
    record = Record(Path(), noted, 7, console, shown=True)
    (task,) = record.bar.tasks
    assert (record.bar.console, record.bar.live.transient, record.bar.disable) == (console, True, False)
    assert (task.description, task.total, task.completed) == ("", 7, 2)
    assert task.fields.keys() == {"reward", "kl", "entropy", "speed"}
    assert all(math.isnan(x) for x in task.fields.values())
    board = record.board
    assert (board.folder, board.first) == (Path("tensorboard"), 3)
    with record:
        for k, speed in ((3, 3.0 * 8 / 4.0), (4, 3.0 * 8 / 2.0)):
            row = history(k, sampled_return=k / 10, kl=k / 100, entropy=float(k), J=math.nan).rows[-1]
            noted.rows.append(row)
            record.note(row)
            assert row["tokens_per_s"] == speed
            assert task.fields == {"reward": k / 10, "kl": k / 100, "entropy": float(k), "speed": speed}
            assert task.completed == k
            assert board.told == [(name, x, k) for name, x in row.items() if name not in ("update", "J")]
            assert board.flushed == k - 2
            board.told.clear()
        assert board.closed == 0
    assert board.closed == 1
    noted.to_csv("expected.csv")
    noted.to_csv("times expected.csv", ("update", *TIMES))
    assert Path("metrics.csv").read_bytes() == Path("expected.csv").read_bytes()
    assert Path("times.csv").read_bytes() == Path("times expected.csv").read_bytes()


@pytest.mark.parametrize(("updates", "first"), [(None, 1), (0, 1), (1, 2)])
def test_a_record_begins_where_the_history_ends(
    updates: int | None, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter", Board)
    noted = History() if updates is None else history(updates)
    record = Record(Path("a"), noted, 7, Console(file=io.StringIO()), shown=True)
    assert (record.board.folder, record.board.first) == (Path("a/tensorboard"), first)
    assert record.bar.tasks[0].completed == first - 1


def test_a_record_that_is_not_shown_writes_nothing() -> None:
    noted = history(1)
    with Record(Path(), noted, 7, Console(file=io.StringIO()), shown=False) as record:
        noted.rows.append(history(2).rows[-1])
        record.note(noted.rows[-1])
    assert (record.board, record.bar.disable, record.bar.tasks[0].completed) == (None, True, 1)
    assert noted.rows[-1]["tokens_per_s"] > 0
    assert [x.name for x in Path().iterdir()] == ["model"]
