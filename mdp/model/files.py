"""A FiniteMDP in a file: `.npz` or `.json`, never pickle.

Both hold the same fields: the outcomes as five columns, gamma, start, observations, and the labels. Labels may be
None, bool, int, float, str and tuples of these. A `.json` file has one line for each field. A file is written next to
its place and renamed, so that a reader never sees half of it.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
import zlib
from json import JSONDecodeError
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mdp.files.archive import read_arrays, readable
from mdp.files.strict import parsed
from mdp.files.writing import replacing
from mdp.model import fields
from mdp.model.checking import PAIRS
from mdp.model.table import Label, Outcomes

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP

FORMAT = "exactrl.FiniteMDP/1"
SLACK = 4096  # bytes of the headers of arrays
DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, ArithmeticError, RuntimeError, zipfile.BadZipFile,
           zlib.error)  # fmt: skip
# what numpy, zipfile and json raise for a file that is not what it seems


def save(mdp: FiniteMDP, path: str | os.PathLike[str]) -> None:
    """Write `mdp` to a `.npz` or `.json` file.

    Raises ValueError for another ending, a label that json cannot hold and, in `.json`, observations of numpy's
    longdouble, and more pairs (s, a) than the file has bytes, beyond a million.
    """
    path = Path(path)
    _check_ending(path)
    head = {
        "format": FORMAT,
        "gamma": mdp.gamma,
        "states": [_encode(s) for s in mdp.states],
        "actions": [_encode(a) for a in mdp.actions],
    }
    arrays = mdp.table.columns()._asdict() | {"start": mdp.start, "observations": mdp.observations}
    with replacing(path) as new:
        if path.suffix == ".npz":
            named: dict[str, Any] = {"head": np.array(json.dumps(head))} | arrays
            np.savez_compressed(new, **named)
            size = new.stat().st_size
            if not readable(sum(x.nbytes for x in named.values()), size - SLACK) or _too_many(mdp.table.shape, size):
                np.savez(new, **named)  # `load` would take what packs so well for a trap
        else:
            if mdp.observations.dtype == np.longdouble:
                raise ValueError(f"json cannot hold observations of the kind {mdp.observations.dtype}: take .npz")
            listed = {name: x.tolist() for name, x in arrays.items()} | {"seen_as": str(mdp.observations.dtype)}
            lines = (f"{json.dumps(name)}: {json.dumps(value)}" for name, value in (head | listed).items())
            new.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        _check_pairs(mdp.n_states, mdp.n_actions, new.stat().st_size)


def load(path: str | os.PathLike[str], cls: type[FiniteMDP]) -> FiniteMDP:
    """Read what `save` wrote.

    Raises ValueError for a damaged or foreign file, with the path, the line of a `.json` file, the field, the index in
    it, and what was expected.
    """
    path = Path(path)
    _check_ending(path)
    try:
        given = _read_npz(path) if path.suffix == ".npz" else parsed(path.read_bytes(), constant=float)
        if not isinstance(given, dict) or given.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT!r}")
        states, actions = (fields.labels(given, name) for name in ("states", "actions"))
        _check_pairs(len(states), len(actions), path.stat().st_size)
        table, start = fields.table(given, len(states), len(actions)), fields.floats(given, "start", 0)
        seen = fields.observations(given)
        return cls(table, states=states, actions=actions, gamma=given["gamma"], start=start, observations=seen)
    except DAMAGED as error:
        if isinstance(error, FileNotFoundError):
            raise ValueError(f"there is no file {path}") from None
        raise ValueError(f"{path} is not a FiniteMDP that `save` wrote: {_reason(error, path)}") from None


def _reason(error: Exception, path: Path) -> str:
    """What is wrong, with the line or the field of a `.json` file where it is known."""
    if isinstance(error, JSONDecodeError):
        names = re.findall(r'^[ \t]*"(\w+)":', error.doc[: error.pos], re.MULTILINE)
        return f"{error}" + (f", in {names[-1]!r}" if names else "")
    if isinstance(error, fields.WrongField) and path.suffix == ".json":
        text = path.read_text("utf-8", "replace")
        return f"line {_line(text, error.name)}: {error}"
    if isinstance(error, RecursionError):
        return "a label is nested too deeply"
    return f"it lacks {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__


def _check_pairs(n_states: int, n_actions: int, size: int) -> None:
    """Raises ValueError for more pairs than any file may name, and than this one has bytes."""
    if _too_many((n_states, n_actions), size):
        raise ValueError(f"{n_states:,} states and {n_actions:,} actions are {n_states * n_actions:,} pairs, more than "
                         f"a file of {size:,} bytes may name")  # fmt: skip


def _too_many(shape: tuple[int, int], size: int) -> bool:
    return shape[0] * shape[1] > max(PAIRS, size)


def _check_ending(path: Path) -> None:
    if path.suffix not in (".npz", ".json"):
        raise ValueError(f"{path.name!r}: a FiniteMDP is kept in a .npz or .json file")


def _read_npz(path: Path) -> dict[str, Any]:
    arrays: dict[str, Any] = read_arrays(path, (*Outcomes._fields, "start", "observations"), text="head")
    head = parsed(str(arrays.pop("head")).encode(), constant=float)
    return head | arrays if isinstance(head, dict) else {}


def _line(text: str, name: str) -> int:
    """The number of the line where a field begins."""
    return text.count("\n", 0, text.find(f"{json.dumps(name)}:")) + 1


def _encode(label: Label) -> Any:
    """A label as json: a tuple becomes a list, since no label is a list."""
    if isinstance(label, tuple):
        return [_encode(x) for x in label]
    if isinstance(label, np.generic):
        label = label.item()
    if label is None or (isinstance(label, (bool, int, float, str)) and fields.is_label(label)):
        return label
    raise ValueError(f"the label {label!r} cannot be written: None, bool, int, float, str and tuples of these can")
