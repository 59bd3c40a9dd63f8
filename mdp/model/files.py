"""A FiniteMDP in a file: `.npz` or `.json`, never pickle.

Both hold the same fields: the outcomes as five columns, gamma, start, observations, and the labels. Labels may be
None, bool, int, float, str and tuples of these. A `.json` file has one line for each field. A file is written next to
its place and renamed, so that a reader never sees half of it.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mdp.files.writing import replacing
from mdp.model.table import Bools, Floats, Ints, Label, Outcomes

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP

FORMAT = "exactrl.FiniteMDP/1"
DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, ArithmeticError, RuntimeError, zipfile.BadZipFile,
           zlib.error)  # fmt: skip
# what numpy, zipfile and json raise for a file that is not what it seems


class WrongField(ValueError):
    """What is wrong with the field `name` of a file."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


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
    arrays = mdp.table.columns()._asdict() | {"start": mdp.start, "observations": mdp.observations}
    with replacing(path) as new, new.open("wb") as file:
        if path.suffix == ".npz":
            np.savez_compressed(file, head=np.array(json.dumps(head)), **arrays)
        else:
            listed = {name: x.tolist() for name, x in arrays.items()} | {"seen_as": str(mdp.observations.dtype)}
            lines = (f"{json.dumps(name)}: {json.dumps(value)}" for name, value in (head | listed).items())
            file.write(("{\n" + ",\n".join(lines) + "\n}\n").encode())


def load(path: str | os.PathLike[str], cls: type[FiniteMDP]) -> FiniteMDP:
    """Read what `save` wrote.

    Raises ValueError for a damaged or foreign file, with the path, the line of a `.json` file, the field, the index in
    it, and what was expected.
    """
    path = Path(path)
    _check_ending(path)
    try:
        fields = _read_npz(path) if path.suffix == ".npz" else json.loads(path.read_bytes())
        if not isinstance(fields, dict) or fields.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT!r}")
        states, actions = (_labels(fields, name) for name in ("states", "actions"))
        table = _table(fields, len(states), len(actions))
        rest = {"gamma": fields["gamma"], "start": _floats(fields, "start", 0), "observations": fields["observations"]}
        if rest["observations"] is None:
            raise WrongField("observations", "observations must be an array")
        if "seen_as" in fields:  # json has one kind of number
            seen, kind = np.asarray(rest["observations"]), np.dtype(str(fields["seen_as"]))
            rest["observations"] = seen.astype(kind) if np.can_cast(seen.dtype, kind, "same_kind") else seen
        return cls(table, states=states, actions=actions, **rest)
    except DAMAGED as error:
        if isinstance(error, FileNotFoundError):
            raise ValueError(f"there is no file {path}") from None
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        if isinstance(error, WrongField) and path.suffix == ".json":
            reason = f"line {_line(path.read_text(), error.name)}: {reason}"
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
        return fields | {name: loaded[name] for name in (*Outcomes._fields, "start", "observations")}


def _line(text: str, name: str) -> int:
    """The number of the line where a field begins."""
    return text.count("\n", 0, text.find(f"{json.dumps(name)}:")) + 1


def _table(fields: Mapping[str, Any], n_states: int, n_actions: int) -> Outcomes:
    table = Outcomes(
        _indices(fields, "state", n_states),
        _indices(fields, "action", n_actions),
        _indices(fields, "next", n_states),
        _floats(fields, "reward", -np.inf),
        _floats(fields, "p", 0),
    )
    for name, x in table._asdict().items():
        if len(x) != len(table.p):
            raise WrongField(name, f"{name!r} has {len(x)} entries, 'p' has {len(table.p)}: one for each outcome")
    return table


def _indices(fields: Mapping[str, Any], name: str, n: int) -> Ints:
    """A column (K,) of 0 .. n - 1."""
    x = _column(fields, name, (int,), right := f"an integer in 0 .. {n - 1}")
    _refuse(name, x, (x < 0) | (x >= n), right)
    column: Ints = x.astype(np.int64)
    return column


def _floats(fields: Mapping[str, Any], name: str, least: float) -> Floats:
    """A column (K,) of finite numbers, none below `least`."""
    right = "a finite number >= 0" if least == 0 else "a finite number"
    x: Floats = _column(fields, name, (int, float), right).astype(np.float64)
    _refuse(name, x, ~(np.isfinite(x) & (x >= least)), right)
    return x


def _column(fields: Mapping[str, Any], name: str, kinds: tuple[type, ...], right: str) -> Any:
    """A field as an array (K,) of numbers of these kinds."""
    given = fields[name].tolist() if isinstance(fields[name], np.ndarray) else fields[name]
    if not isinstance(given, list):
        raise WrongField(name, f"{name!r} is {given!r}; it must be a list, each entry {right}")
    if not set(map(type, given)).issubset(kinds):
        k, x = next((k, x) for k, x in enumerate(given) if type(x) not in kinds)
        raise WrongField(name, f"entry {k} of {name!r} is {x!r}; it must be {right}")
    return np.asarray(fields[name]) if given else np.zeros(0, np.int64)


def _refuse(name: str, x: Any, wrong: Bools, right: str) -> None:
    if wrong.any():
        k = int(np.argmax(wrong))
        raise WrongField(name, f"entry {k} of {name!r} is {x[k]}; it must be {right}")


def _encode(label: Label) -> Any:
    """A label as json: a tuple becomes a list, since no label is a list."""
    if isinstance(label, tuple):
        return [_encode(x) for x in label]
    if isinstance(label, np.generic):
        label = label.item()
    if label is None or isinstance(label, (bool, int, float, str)):
        return label
    raise ValueError(f"the label {label!r} cannot be written: None, bool, int, float, str and tuples of these can")


def _labels(fields: Mapping[str, Any], name: str) -> list[Label]:
    if not isinstance(fields[name], list):
        raise WrongField(name, f"{name!r} is {fields[name]!r}, which is no list of labels")
    for k, x in enumerate(fields[name]):
        if not _is_label(x):
            raise WrongField(name, f"entry {k} of {name!r} is {x!r}, which is no label, nor a list of labels")
    return [_decode(x) for x in fields[name]]


def _is_label(x: Any) -> bool:
    return all(map(_is_label, x)) if isinstance(x, list) else not isinstance(x, dict)


def _decode(label: Any) -> Label:
    return tuple(_decode(x) for x in label) if isinstance(label, list) else label
