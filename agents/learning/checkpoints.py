"""Checkpoints: all that an update depends on, written so that a reader never sees half of one.

A checkpoint is a folder update-000010 with safetensors files (parameters and the optimiser's state, in shards where
they are sharded) and state.json (the history, the optimiser's settings, what is trained on what). Random numbers of an
update depend on the seed and its number alone (`generator_of`), so that the number of updates is the state of all
generators and the position in the data; a run with one generator for all updates keeps its state as one more tensor. It
may be resumed on another number of processes.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from agents.learning.believing import STATE, check_optimizer, check_tensors, groups, read_state
from agents.learning.processes import Alone
from agents.learning.training import History

WHOLE = re.compile(r"update-\d{6,}")
NOTHING: Mapping[str, Tensor] = {}


def generator_of(seed: int, update: int, rank: int = 0) -> torch.Generator:
    """The random numbers of one update of one process."""
    state = np.random.SeedSequence([seed, update, rank]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]) >> 1)


class Checkpoints:
    """Those of one run, in a folder. run: what is trained on what, for JSON; a checkpoint of another run is refused."""

    def __init__(self, folder: Path, run: dict[str, Any], processes: Alone) -> None:
        self.folder, self.processes = folder, processes
        self.run: dict[str, Any] = json.loads(json.dumps(run))

    def save(
        self, policy: nn.Module, optimizer: torch.optim.Optimizer, history: History,
        more: Mapping[str, Tensor] = NOTHING,
    ) -> Path:  # fmt: skip
        """Write the state after the last update of `history`, once; older checkpoints go when it is there.

        more: other tensors that an update depends on. Raises ValueError for a state that is not finite, OSError where
        it cannot be written: the last checkpoint stays.
        """
        path = self.folder / f"update-{len(history.rows) - 1:06d}"
        if self.processes.every(path.is_dir()):
            return path
        state = tensors(policy, optimizer) | dict(more)
        if not self.processes.every(all(bool(torch.isfinite(_local(x)).all()) for x in state.values())):
            raise ValueError(f"parameters are not finite after {len(history.rows) - 1} updates: this is not saved")
        new = path.with_suffix(".part")
        about = {"run": self.run, "optimizer": _settings(policy, optimizer), "rows": list(map(_json, history.rows))}
        try:
            self._first(_emptied, new)
            self.processes.together(_write)(state, new, self.processes)
            self._first(_note, about, new / STATE)
            self._first(_put, new, path)
        except OSError as error:
            raise OSError(f"cannot write the checkpoint {path}: {error.strerror or error}") from error
        finally:
            if self.processes.rank == 0:
                shutil.rmtree(new, ignore_errors=True)
        self._first(self._tidy, path)
        return path

    def _first(self, work: Callable[..., Any], *args: Any) -> None:
        """Done by one process; all wait for it."""
        self.processes.together(work if self.processes.rank == 0 else lambda *_: None)(*args)

    def _tidy(self, path: Path) -> None:
        """Remove the older ones, and what a process that was killed has left of others."""
        for other in self.folder.iterdir():
            if other != path and WHOLE.fullmatch(other.name.removesuffix(".part")):
                shutil.rmtree(other)

    def latest(self) -> Path | None:
        """The last checkpoint that was written whole."""
        whole = (path for path in self.folder.glob("update-*") if WHOLE.fullmatch(path.name))
        return max(whole, key=lambda path: (len(path.name), path.name), default=None)

    @property
    def kept(self) -> str:
        """What there is to go on from, in words."""
        last = self.latest()
        return "there is no checkpoint yet" if last is None else f"{last} is whole: --resume goes on from it"

    def start(
        self, policy: nn.Module, optimizer: torch.optim.Optimizer, *, updates: int, resume: bool,
        more: Mapping[str, Tensor] = NOTHING,
    ) -> History:  # fmt: skip
        """The history to go on from, to `updates` in all: with resume that of `load`, else an empty one.

        Raises ValueError for a folder that has a checkpoint, without resume; and one of more updates, with it.
        """
        if resume:
            history = self.load(policy, optimizer, more)
            if len(history.rows) > updates + 1:
                raise ValueError(f"the checkpoint has {len(history.rows) - 1} updates, more than {updates}")
            return history
        if self.latest() is not None:
            raise ValueError(f"{self.folder} has a checkpoint: --resume goes on, another --out begins anew")
        return History()

    def load(
        self, policy: nn.Module, optimizer: torch.optim.Optimizer, more: Mapping[str, Tensor] = NOTHING
    ) -> History:
        """Put parameters, optimiser and `more` in the state of the latest checkpoint; its history.

        Raises ValueError where there is none, or it is one of another run, and says in what they differ.
        """
        path = self.latest()
        if path is None:
            raise ValueError(f"there is no checkpoint in {self.folder} to resume")
        state = read_state(path / STATE)
        then, now = _flat(state["run"]), _flat(self.run)
        for name in sorted(then.keys() | now.keys()):
            was, is_now = (_short(run.get(name)) for run in (then, now))
            if then.get(name) != now.get(name):
                raise ValueError(f"{path} is of another run: its {name} was {was}, now it is {is_now}")
        check_optimizer(state.get("optimizer"), policy, optimizer)
        _prepare(policy, optimizer, state["optimizer"])
        _read(tensors(policy, optimizer) | dict(more), path, self.processes)
        self._first(self._tidy, path)
        return History([{k: math.nan if x is None else x for k, x in row.items()} for row in state["rows"]])


def tensors(policy: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Parameters and what the optimiser remembers of each, by name; the tensors themselves."""
    found = {}
    for name, p in policy.named_parameters():
        found[f"parameters.{name}"] = p.detach()
        for key, x in optimizer.state.get(p, {}).items():
            if isinstance(x, Tensor) and x.ndim:
                found[f"optimizer.{name}.{key}"] = x.detach()
    return found


def _local(x: Tensor) -> Tensor:
    """This process's part of a tensor."""
    part: Tensor = x.to_local() if hasattr(x, "to_local") else x
    return part


def _settings(policy: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimiser's numbers: of its groups, and of each parameter (Adam's step)."""
    state = {
        name: {key: float(x) if not isinstance(x, Tensor) or x.ndim == 0 else None for key, x in of.items()}
        for name, p in policy.named_parameters()
        if (of := optimizer.state.get(p))
    }
    return {"groups": groups(optimizer), "state": state}


def _prepare(policy: nn.Module, optimizer: torch.optim.Optimizer, settings: dict[str, Any]) -> None:
    """Give the optimiser the numbers of each parameter that `_settings` noted, and empty tensors for the rest."""
    for name, p in policy.named_parameters():
        for key, x in settings["state"].get(name, {}).items():
            optimizer.state[p][key] = torch.zeros_like(p) if x is None else torch.tensor(x, device=p.device)


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _note(about: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(about, allow_nan=False))


def _put(new: Path, path: Path) -> None:
    """Rename, when all is on the disk."""
    for x in (*new.iterdir(), new):
        _to_disk(x)
    new.rename(path)
    _to_disk(path.parent)


def _write(values: dict[str, Tensor], folder: Path, processes: Alone) -> None:
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    if processes.sharded or processes.rank == 0:
        writer = HuggingFaceStorageWriter(path=str(folder), save_distributed=processes.sharded)
        try:
            with _quiet():
                save(values, storage_writer=writer, no_dist=not processes.sharded)
        except CheckpointException as failed:  # no Exception, and a traceback in words
            error, _ = next(iter(failed.failures.values()))
            raise OSError(getattr(error, "strerror", None) or str(error)) from failed


def _read(values: dict[str, Tensor], folder: Path, processes: Alone) -> None:
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    check_tensors(values, folder)
    try:
        with _quiet():
            load(values, storage_reader=HuggingFaceStorageReader(path=str(folder)), no_dist=not processes.sharded)
    except CheckpointException as failed:  # no Exception, and a traceback in words
        error, _ = next(iter(failed.failures.values()))
        raise ValueError(f"{folder} is damaged: {error}") from None
    if not processes.every(all(bool(torch.isfinite(_local(x)).all()) for x in values.values())):
        raise ValueError(f"{folder} holds numbers that are not finite")


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _json(row: dict[str, float]) -> dict[str, float | None]:
    return {k: x if math.isfinite(x) else None for k, x in row.items()}


def _flat(x: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}, so that what differs can be named."""
    found: dict[str, Any] = {}
    for k, y in x.items():
        found |= _flat(y, f"{prefix}{k}.") if isinstance(y, dict) else {f"{prefix}{k}": y}
    return found


def _short(x: Any) -> str:
    text = json.dumps(x)
    return text if len(text) <= 60 else f"{text[:57]}..."
