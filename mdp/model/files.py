"""A FiniteMDP in a file: `.npz` or `.json`, never pickle.

Both hold the same fields: the outcomes as five columns, gamma, start, observations, and the labels. Labels may be
None, bool, int, float, str and tuples of these. A file is written next to its place and renamed, so that a reader
never sees half of it.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mdp.model.table import Label, Outcomes

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP

FORMAT = "exactrl.FiniteMDP/1"
COLUMNS = {"state": np.int64, "action": np.int64, "next": np.int64, "reward": np.float64, "p": np.float64}
DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
# what numpy, zipfile and json raise for a file that is not what it seems


def save(mdp: FiniteMDP, path: str | os.PathLike[str]) -> None:
    """Write `mdp` to a `.npz` or `.json` file. Raises ValueError for another ending or a label json cannot hold."""
    path = Path(path)
    _check_ending(path)
    head = {
        "format": FORMAT,
        "gamma": mdp.gamma,
        "states": [_encode(s) for s in mdp.states],
        "actions": [_encode(a) for a in mdp.actions],
    }
    arrays = mdp.table._asdict() | {"start": mdp.start, "observations": mdp.observations}
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            if path.suffix == ".npz":
                np.savez_compressed(file, head=np.array(json.dumps(head)), **arrays)
            else:
                listed = {name: x.tolist() for name, x in arrays.items()} | {"seen_as": str(mdp.observations.dtype)}
                file.write(json.dumps(head | listed).encode())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def load(path: str | os.PathLike[str], cls: type[FiniteMDP]) -> FiniteMDP:
    """Read what `save` wrote. Raises ValueError, with the path, for a damaged or foreign file."""
    path = Path(path)
    _check_ending(path)
    try:
        fields = _read_npz(path) if path.suffix == ".npz" else json.loads(path.read_bytes())
        if not isinstance(fields, dict) or fields.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT!r}")
        states, actions = (_labels(fields, name) for name in ("states", "actions"))
        table = _table(fields, len(states), len(actions))
        rest = {name: fields[name] for name in ("gamma", "start", "observations")}
        if rest["start"] is None or rest["observations"] is None:
            raise ValueError("start and observations must be arrays")
        if "seen_as" in fields:  # json has one kind of number
            seen, kind = np.asarray(rest["observations"]), np.dtype(str(fields["seen_as"]))
            rest["observations"] = seen.astype(kind) if np.can_cast(seen.dtype, kind, "same_kind") else seen
        return cls(table, states=states, actions=actions, **rest)
    except DAMAGED as error:
        if isinstance(error, FileNotFoundError):
            raise ValueError(f"there is no file {path}") from None
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} is not a FiniteMDP that `save` wrote: {reason}") from None


def _check_ending(path: Path) -> None:
    if path.suffix not in (".npz", ".json"):
        raise ValueError(f"{path.name!r}: a FiniteMDP is kept in a .npz or .json file")


def _read_npz(path: Path) -> dict[str, Any]:
    loaded = np.load(path, allow_pickle=False)
    if not isinstance(loaded, np.lib.npyio.NpzFile):
        raise ValueError("it is no .npz archive")
    with loaded:
        fields: dict[str, Any] = json.loads(str(loaded["head"]))
        return fields | {name: loaded[name] for name in (*COLUMNS, "start", "observations")}


def _table(fields: dict[str, Any], n_states: int, n_actions: int) -> Outcomes:
    columns = {name: np.asarray(fields[name]) for name in COLUMNS}
    for name, kind in COLUMNS.items():
        x = columns[name]
        if x.ndim != 1 or x.shape != columns["p"].shape or (x.size and not np.can_cast(x.dtype, kind, "same_kind")):
            raise ValueError(f"the column {name!r} has shape {x.shape} and type {x.dtype}")
    for name, n in (("state", n_states), ("action", n_actions), ("next", n_states)):
        x = columns[name]
        if x.size and (x.min() < 0 or x.max() >= n):
            raise ValueError(f"the column {name!r} must lie in 0 .. {n - 1}")
    state, action, after = (columns[name].astype(np.int64) for name in ("state", "action", "next"))
    return Outcomes(state, action, after, columns["reward"].astype(np.float64), columns["p"].astype(np.float64))


def _encode(label: Label) -> Any:
    """A label as json: a tuple becomes a list, since no label is a list."""
    if isinstance(label, tuple):
        return [_encode(x) for x in label]
    if isinstance(label, np.generic):
        label = label.item()
    if label is None or isinstance(label, (bool, int, float, str)):
        return label
    raise ValueError(f"the label {label!r} cannot be written: None, bool, int, float, str and tuples of these can")


def _labels(fields: dict[str, Any], name: str) -> list[Label]:
    if not isinstance(fields[name], list):
        raise ValueError(f"{fields[name]!r} is no list of labels")
    return [_decode(x) for x in fields[name]]


def _decode(label: Any) -> Label:
    if isinstance(label, Iterable) and not isinstance(label, (str, list)):
        raise ValueError(f"{label!r} is no label")
    return tuple(_decode(x) for x in label) if isinstance(label, list) else label
