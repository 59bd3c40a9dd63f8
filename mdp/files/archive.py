"""Arrays out of a .npz archive, once it is known that they are there.

What an archive and its arrays claim to hold is held against the size of the file BEFORE anything is unpacked: a zip can
claim a thousand times its size, and an array's header any shape.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

ROOM = 1 << 24  # bytes that any file may take
TIMES = 2  # that many times its size, else: a table takes five times what its columns take on the way
MOST_MEMBERS = 64 << 10  # bytes of the directory at the end of an archive
KNOWN = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # the others unpack without a limit
ENCRYPTED = 1
END = 22  # bytes of the record at the end of an archive


def readable(unpacked: int, size: int) -> bool:
    """Whether a file of so many bytes may hold so many."""
    return unpacked <= max(ROOM, TIMES * size)


def read_arrays(path: Path, names: Sequence[str], text: str) -> dict[str, NDArray[Any]]:
    """The arrays of these names: numbers, and of the name `text` one string.

    Raises ValueError for what is no archive or too large for its file, KeyError for a name that is not there.
    """
    size = path.stat().st_size
    _check_directory(path, size)
    with zipfile.ZipFile(path) as archive:
        members = {name: _member(archive, name) for name in (text, *names)}
        unpacked = sum(member.file_size for member in members.values())
        if not readable(unpacked, size):
            raise ValueError(f"it claims to hold {unpacked:,} bytes in a file of {size:,}")
        return {name: _array(archive, member, name, "U" if name == text else "biuf")
                for name, member in members.items()}  # fmt: skip


def _check_directory(path: Path, size: int) -> None:
    """Raises ValueError unless a zip's last record ends the file, and its directory is short."""
    with path.open("rb") as file:
        file.seek(max(size - END, 0))
        end = file.read(END)
        file.seek(max(size - END - 20, 0))
        wide = file.read(4) == b"PK\x06\x07"  # the record of archives beyond 4 GB
    if len(end) < END or end[:4] != b"PK\x05\x06":
        raise ValueError("it is no .npz archive, or was cut off")
    if int.from_bytes(end[12:16], "little") > MOST_MEMBERS or (wide and size < 1 << 31):
        raise ValueError("it holds more than the arrays of a FiniteMDP")


def _member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    try:
        member = archive.getinfo(f"{name}.npy")
    except KeyError:
        raise KeyError(name) from None
    if member.compress_type not in KNOWN or member.flag_bits & ENCRYPTED:
        raise ValueError(f"{name!r} is packed in another way than numpy packs")
    return member


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, kinds: str) -> NDArray[Any]:
    """One array. Raises ValueError where its header claims another size than it has, or another kind."""
    with archive.open(member) as file:
        shape, dtype = _header(file, name)
        claimed = file.tell() + int(np.prod(shape, dtype=object)) * dtype.itemsize
    if dtype.kind not in kinds or dtype.hasobject:
        raise ValueError(f"{name!r} holds {dtype}, not {'text' if kinds == 'U' else 'numbers'}")
    if claimed != member.file_size or min(shape, default=0) < 0:
        raise ValueError(f"{name!r} claims to have the shape {shape}, and has {member.file_size:,} bytes")
    with archive.open(member) as file:
        array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
        file.read(1)  # to the end, where what was read is held to its sum
    return array


def _header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and kind, of version 1.0 of numpy's format: its header has at most 65,535 bytes."""
    try:
        if npy.read_magic(file) != (1, 0):
            raise ValueError("it is not of version 1.0 of numpy's format")
        shape, _, dtype = npy.read_array_header_1_0(file)
        return shape, dtype
    except Exception as error:  # of many kinds: numpy has Python's own parser read it
        raise ValueError(f"{name!r} is no array that numpy wrote: {error}") from None
