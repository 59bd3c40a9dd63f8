"""The fields of a FiniteMDP's file, each checked to be what it must be before anything is made of it."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from math import isfinite
from typing import Any

import numpy as np

from mdp.model.table import Bools, Floats, Ints, Label, Outcomes

LARGEST = int(np.finfo(np.float64).max)
HALF = re.compile(r"[\ud800-\udfff]")  # of a surrogate pair: no character, and in no file
NUMBER = re.compile(r"[<>=|]?[biuf]\d+|bool|(u?int|float)\d+")  # kinds of numbers, as numpy writes them


class WrongField(ValueError):
    """What is wrong with the field `name` of a file."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


def table(fields: Mapping[str, Any], n_states: int, n_actions: int) -> Outcomes:
    """The five columns, all of one length."""
    columns = Outcomes(
        _indices(fields, "state", n_states),
        _indices(fields, "action", n_actions),
        _indices(fields, "next", n_states),
        floats(fields, "reward", -np.inf),
        floats(fields, "p", 0),
    )
    for name, x in columns._asdict().items():
        if len(x) != len(columns.p):
            raise WrongField(name, f"{name!r} has {len(x)} entries, 'p' has {len(columns.p)}: one for each outcome")
    return columns


def _indices(fields: Mapping[str, Any], name: str, n: int) -> Ints:
    """A column (K,) of 0 .. n - 1."""
    x = _column(fields, name, (int,), right := f"an integer in 0 .. {n - 1}")
    _refuse(name, x, (x < 0) | (x >= n), right)
    column: Ints = x.astype(np.int64)
    return column


def floats(fields: Mapping[str, Any], name: str, least: float) -> Floats:
    """A column (K,) of finite numbers, none below `least`."""
    right = "a finite number >= 0" if least == 0 else "a finite number"
    given = _column(fields, name, (int, float), right)
    if given.dtype == object:  # integers beyond 64 bits
        _refuse(name, given, np.abs(given) > LARGEST, right)
    with np.errstate(over="ignore"):  # of a longer kind: refused below
        x: Floats = given.astype(np.float64)
    _refuse(name, x, ~(np.isfinite(x) & (x >= least)), right)
    return x


def observations(fields: Mapping[str, Any]) -> Any:
    """The observations, of the kind that json cannot say."""
    given = fields["observations"]
    if not _numeric(given):
        raise WrongField("observations", "observations must be an array of finite numbers")
    kind = fields.get("seen_as")
    if kind is not None and not (isinstance(kind, str) and NUMBER.fullmatch(kind)):
        raise WrongField("seen_as", f"'seen_as' is {reprlib.repr(kind)}, which is no kind of number")
    try:
        plain = np.asarray(given)
        with np.errstate(all="ignore"):  # what does not fit is seen below
            seen = plain if kind is None else plain.astype(kind)
    except (TypeError, ValueError, OverflowError) as error:
        raise WrongField("observations", f"observations must be an array of finite numbers: {error}") from None
    if not np.array_equal(seen, plain):
        raise WrongField("observations", f"observations must be an array of finite numbers of the kind {kind}")
    return seen


def _numeric(x: Any) -> bool:
    """Numbers, and lists of such: numpy would make texts of all where one is a text, each as long as the longest."""
    if isinstance(x, list):
        return all(map(_numeric, x))
    return isinstance(x, (int, float, np.ndarray))


def _column(fields: Mapping[str, Any], name: str, kinds: tuple[type, ...], right: str) -> Any:
    """A field as an array (K,) of numbers of these kinds."""
    given = fields[name]
    if isinstance(given, np.ndarray):
        if given.ndim == 1 and given.dtype.kind in ("iuf" if float in kinds else "iu"):
            return given
        given = (given[:1] if given.ndim else given).tolist()
    if not isinstance(given, list):
        raise WrongField(name, f"{name!r} is {reprlib.repr(given)}; it must be a list, each entry {right}")
    if not set(map(type, given)).issubset(kinds):
        k, x = next((k, x) for k, x in enumerate(given) if type(x) not in kinds)
        raise WrongField(name, f"entry {k} of {name!r} is {reprlib.repr(x)}; it must be {right}")
    return np.asarray(given) if given else np.zeros(0, np.int64)


def _refuse(name: str, x: Any, wrong: Bools, right: str) -> None:
    if wrong.any():
        k = int(np.argmax(wrong))
        raise WrongField(name, f"entry {k} of {name!r} is {reprlib.repr(x[k : k + 1].tolist()[0])}; it must be {right}")


def labels(fields: Mapping[str, Any], name: str) -> list[Label]:
    """The labels of the states or the actions."""
    if not isinstance(fields[name], list):
        raise WrongField(name, f"{name!r} is {reprlib.repr(fields[name])}, which is no list of labels")
    for k, x in enumerate(fields[name]):
        if not is_label(x):
            shown = reprlib.repr(x)
            raise WrongField(name, f"entry {k} of {name!r} is {shown}, which is no label, nor a list of labels")
    return [_decode(x) for x in fields[name]]


def is_label(x: Any) -> bool:
    """None, bool, int, a finite float, text that a file can hold, or a list of such."""
    if isinstance(x, list):
        return all(map(is_label, x))
    if isinstance(x, str):
        return x.isascii() or not HALF.search(x)
    return not isinstance(x, dict) and not (isinstance(x, float) and not isfinite(x))


def _decode(label: Any) -> Label:
    return tuple(_decode(x) for x in label) if isinstance(label, list) else label
