"""What a training run leaves to look at: a progress bar, metrics as CSV and for TensorBoard."""

from __future__ import annotations

import math
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from agents.learning import History
from agents.learning.training import TIMES

CSV, SECONDS, FIGURE = "metrics.csv", "times.csv", "training.png"
SHOWN = "reward {task.fields[reward]:.3f}  KL {task.fields[kl]:.4f}  entropy {task.fields[entropy]:.3f}  "
COLUMNS = (TextColumn(SHOWN + "{task.fields[speed]:.0f} tokens/s"), BarColumn(), MofNCompleteColumn(),
           TextColumn("updates"), TimeRemainingColumn())  # fmt: skip


class Record:
    """A context; note(row) after each update. shown: False in all processes but one, where nothing is written."""

    def __init__(self, folder: Path, history: History, updates: int, console: Console, *, shown: bool) -> None:
        self.folder, self.history, self.shown = folder, history, shown
        self.bar = Progress(*COLUMNS, console=console, transient=True, disable=not shown)
        nothing: Any = dict.fromkeys(("reward", "kl", "entropy", "speed"), math.nan)
        done = max(len(history.rows) - 1, 0)
        self.task = self.bar.add_task("", total=updates, completed=done, **nothing)
        self.board: Any = _board(folder, done + 1) if shown else None
        self.began = perf_counter()

    def __enter__(self) -> Record:
        self.bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.bar.__exit__(*error)
        if self.shown:
            self.board.close()

    def note(self, row: dict[str, float]) -> None:
        """Show and write a row of the history, which has it already; it gets "tokens_per_s"."""
        k, seconds = int(row["update"]), perf_counter() - self.began
        before = self.history.rows[-2]["episodes"]
        row["tokens_per_s"] = row["mean_length"] * (row["episodes"] - before) / seconds
        self.began = perf_counter()
        if self.shown:
            self.bar.update(
                self.task, completed=k, reward=row["sampled_return"], kl=row["kl"], entropy=row["entropy"],
                speed=row["tokens_per_s"],
            )  # fmt: skip
            self.history.to_csv(self.folder / CSV)
            self.history.to_csv(self.folder / SECONDS, ("update", *TIMES))
            for name, x in row.items():
                if math.isfinite(x) and name != "update":
                    self.board.add_scalar(name, x, k)
            self.board.flush()


def _board(folder: Path, first: int) -> Any:
    """TensorBoard's writer; what it has from update `first` on is void."""
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(folder / "tensorboard", purge_step=first)


def seconds(history: History) -> str:
    """Where the time of the updates after the first went, a median update."""
    rows = History(history.rows[2:] or history.rows[1:])
    parts = {"sampling": "sampling_s", "scoring": "scoring_s", "backward": "backward_s", "optimizer": "optimizer_s"}
    return ", ".join(f"{name} {np.median(rows.column(column)):.2f} s" for name, column in parts.items())
