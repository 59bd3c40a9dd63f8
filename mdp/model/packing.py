"""Many plain numbers in tuples, lists and dictionaries as arrays, without a loop over them.

`marshal` writes what it is given as bytes: a float as "g" and a float64, an int as "i" and an int32, a bool as "T" or
"F", a tuple as "(", how many fields it has, and these, a list as "[" likewise, a dictionary as "{", each key and value,
and "0". Where all of a list have one form that is one record after another, which numpy reads as it stands. Every byte
that is no number is looked at, so that nothing is taken for what it is not.
"""

from __future__ import annotations

import marshal
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

VERSION = 2  # of the format: without references to what was written before
NUMBERS = {float: (b"g", "<f8"), int: (b"i", "<i4")}
PLAIN = {float, int, bool}
DEPTH = 4  # of what is read: a dictionary of dictionaries, lists, tuples
WIDE = 64  # entries of what is inside: their bytes are laid out one by one
EITHER = 0xFF ^ ord("T") ^ ord("F")  # the bits that a bool's two marks share

Column = NDArray[Any] | Sequence[Any]


class Form(NamedTuple):
    """How something is written: `written`, of which those that `same` marks by 0xFF are as they are; and where in them
    numpy finds values of which type.
    """

    written: bytes
    same: bytes
    offset: int
    type: np.dtype[Any]


def records(things: Any) -> NDArray[Any]:
    """The entries of a list or dictionary, (n,), with fields "0", or "0" and "1": a key and its value. Within them a
    tuple has fields "0", "1", ..., a list or dictionary is an array of entries, a bool is its mark: see `plain`.

    Raises KeyError or ValueError where they are not plain numbers in one form.
    """
    kind, n, *entry = shape_of(things)
    if [shape_of(x, DEPTH - 1) for x in (next(reversed(things.items())) if kind is dict else things[-1:])] != entry:
        raise ValueError("the last has another form than the first")
    form, (head, tail) = _entry(*entry), (1, 1) if kind is dict else (5, 0)
    size, written = len(form.written), marshal.dumps(things, VERSION)
    if len(written) == head + n * size + tail:
        raw = np.frombuffer(written, np.uint8, n * size, head).reshape(n, size)
        if not ((raw & np.frombuffer(form.same, np.uint8)) != np.frombuffer(form.written, np.uint8)).any():
            return raw.view(form.type)[:, 0]
    raise ValueError("one has another form than the first")


def shape_of(x: Any, depth: int = DEPTH) -> Any:
    """The types in something, and how many: of a list or dictionary those of its first entry stand for all.

    Raises KeyError for a type that is not read, and for what is empty, wider or deeper.
    """
    kind = type(x)
    if kind in PLAIN:
        return kind
    if kind not in (tuple, list, dict) or not x or not depth or (depth < DEPTH and len(x) > WIDE):
        raise KeyError(kind)
    within = next(iter(x.items())) if kind is dict else x if kind is tuple else x[:1]
    return (kind, len(x), *[shape_of(y, depth - 1) for y in within])


def _form(shape: Any) -> Form:
    if shape is bool:
        return Form(bytes([ord("T") & EITHER]), bytes([EITHER]), 0, np.dtype("u1"))
    if isinstance(shape, type):
        mark, number = NUMBERS[shape]
        empty = bytes(np.dtype(number).itemsize)
        return Form(mark + empty, b"\xff" + empty, 1, np.dtype(number))
    kind, n, *entry = shape
    if kind is tuple:
        return _joined(b"(" + _size(n), *entry)
    each, (head, tail) = _entry(*entry), (b"[" + _size(n), b"") if kind is list else (b"{", b"0")
    same = b"\xff" * len(head) + each.same * n + b"\xff" * len(tail)
    return Form(head + each.written * n + tail, same, len(head), np.dtype((each.type, (n,))))


def _size(n: int) -> bytes:
    return n.to_bytes(4, "little")


@lru_cache(maxsize=16)
def _entry(*shapes: Any) -> Form:
    return _joined(b"", *shapes)


def _joined(head: bytes, *shapes: Any) -> Form:
    """Some behind each other, after a head, as fields "0", "1", ..."""
    parts, written, same, offsets = [*map(_form, shapes)], head, b"\xff" * len(head), []
    for part in parts:
        offsets.append(len(written) + part.offset)
        written, same = written + part.written, same + part.same
    formats, names = [part.type for part in parts], [str(k) for k in range(len(parts))]
    return Form(
        written,
        same,
        0,
        np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": len(written)}),
    )


def columns(tuples: list[Any]) -> list[Column]:
    """The columns of tuples: arrays (float64, int32, bool) where all have plain fields of the same types.

    Else they are what zip makes of them. Raises ValueError where one tuple has more fields than another, TypeError
    where one is no sequence.
    """
    try:
        if not isinstance(tuples[0], tuple):
            raise ValueError("lists and dictionaries have no columns")
        rows = records(tuples)["0"]
        return [plain(rows[name]) for name in rows.dtype.names or ()]
    except (LookupError, ValueError):
        return list(zip(*tuples, strict=True))


def plain(column: NDArray[Any]) -> NDArray[Any]:
    """Numbers as they are; bools for their marks. Raises ValueError for what has entries of its own."""
    if column.dtype.kind == "V":
        raise ValueError("no column of numbers")
    return column == ord("T") if column.dtype == np.uint8 else column


def numbers(given: Column) -> NDArray[Any]:
    """As int64 where all are whole numbers, else as float64; an array as it is. `struct` reads faster than numpy, and
    no text.

    Raises TypeError for what is no number.
    """
    if isinstance(given, np.ndarray):
        return given
    for kind in "qd":
        try:
            return np.frombuffer(struct.pack(f"{len(given)}{kind}", *given), kind)
        except struct.error:
            continue
    raise TypeError
