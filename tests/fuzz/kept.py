"""Model files: .json and .npz that are right but for a few places, and bytes that are none."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from typing import Any

import numpy as np

from mdp import FiniteMDP
from tests.fuzz.checks import FOLDER, made
from tests.fuzz.draw import Draw
from tests.worlds import random_mdp

TWO = FiniteMDP.from_outcomes({("s", "a"): [(0.5, "s", 1), (0.5, "e", -1.5)]}, gamma=0.9)
RAW, CHANGED = b"\0", b"\1"  # how the first byte says that what follows is to be read


def written(m: FiniteMDP, ending: str) -> bytes:
    path = FOLDER / f"seed{ending}"
    m.save(path)
    return path.read_bytes()


JSON = written(TWO, ".json").decode()
FIELDS: dict[str, Any] = json.loads(JSON)
TEXTS = ("NaN", "-Infinity", "1e999", "9" * 5000, "1" + "0" * 400, "[" * 2000, "[" * 500 + "]" * 500, '"\\ud800"',
         '{"a": 1, "a": 2}', "null", "true", "[]", "{}", "-1", "0.5", '"x"', "[[]]", "[1, [2]]", "1e-400", "-0.0",
         "[NaN]", "[1e999]", "18446744073709551616", '"\\u0000"', "[true, false]",
         '["' + "x" * 3000 + '", "a"]')  # fmt: skip


def _loaded(content: bytes, ending: str) -> None:
    path = FOLDER / f"given{ending}"
    path.write_bytes(content)
    made(lambda: FiniteMDP.load(path))


def json_file(data: bytes) -> None:
    """The bytes as they are, or a file in which fields are changed, dropped or doubled."""
    d = Draw(data)
    if d.below(2) == 0:
        return _loaded(d.rest(), ".json")
    lines = {name: json.dumps(x) for name, x in FIELDS.items()}
    twice = []
    for _ in range(1 + d.below(3)):
        name, change = d.of(list(FIELDS)), d.below(6)
        entries = FIELDS[name] if isinstance(FIELDS[name], list) else [FIELDS[name]]
        if change == 0:
            lines[name] = d.of(TEXTS)
        elif change == 1:
            twice.append(f'"{name}": {d.of(TEXTS)}')
        elif change == 2:
            texts = [json.dumps(x) for x in entries]
            texts[d.below(len(texts))] = d.of(TEXTS)
            lines[name] = f"[{', '.join(texts)}]"
        elif change == 3:
            lines[name] = json.dumps(entries[: d.below(3)] * d.below(4))
        elif change == 4:
            lines[name] = d.take(d.below(40)).decode("latin-1")
        else:
            lines.pop(name, None)
    content = ",\n".join([f'"{name}": {x}' for name, x in lines.items()] + twice)
    return _loaded(("{" + content + "}").encode(), ".json")


# ---- archives ----

HEAD = {name: x for name, x in FIELDS.items() if name in ("format", "gamma", "states", "actions")}
ARRAYS = {name: np.array(FIELDS[name]) for name in FIELDS.keys() - HEAD.keys() - {"seen_as"}}
ARRAYS["head"] = np.array(json.dumps(HEAD))
SHAPES = ("(1000000000000,)", "(-1,)", "(2, 1)", "()", "(0,)", "(2,) + (1,)", "(True,)", "(10,) * 9", "(-2, -1)", "x",
          "(" * 300, "(9999999999999999999999,)", "(1, 2, 10000000000000)")  # fmt: skip
KINDS = ("|O", "<f8", "<i8", ">i8", "<i1", "|b1", "<U3", "|S9", "|V8", "<M8[s]", "<c16", "(1000000,)i4", "<f2", "<f16",
         "<u8", "i4,i4", "|V0", "<U0", "x", "<U999999999")  # fmt: skip


def npy(x: Any, shape: str | None = None, kind: str | None = None, header: bytes | None = None) -> bytes:
    """An array as numpy writes it, with another header."""
    if header is None:
        order = {"descr": x.dtype.str if kind is None else kind, "fortran_order": False, "shape": x.shape}
        text = repr(order) if shape is None else repr(order).replace(repr(x.shape), shape)
        header = text.encode("latin-1", "replace") + b"\n"
    raw: bytes = x.tobytes()
    return b"\x93NUMPY\1\0" + struct.pack("<H", min(len(header), 65535)) + header + raw


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as packed:
        for name, content in members.items():
            packed.writestr(f"{name}.npy", content)
    return out.getvalue()


def npz_file(data: bytes) -> None:
    """The bytes as they are, or an archive in which arrays, their headers and the zip's claims are changed."""
    d = Draw(data)
    if d.below(2) == 0:
        return _loaded(d.rest(), ".npz")
    members = {name: npy(x) for name, x in ARRAYS.items()}
    for _ in range(1 + d.below(3)):
        name, change = d.of(sorted(ARRAYS)), d.below(8)
        x = ARRAYS[name]
        if change == 0:
            members[name] = npy(x, shape=d.of(SHAPES))
        elif change == 1:
            members[name] = npy(x, kind=d.of(KINDS))
        elif change == 2 and x.dtype.kind in "if":
            with np.errstate(all="ignore"):
                members[name] = npy(x.astype(d.of(["i1", "u8", ">i4", "f4", "f2", "?", "U5", "c8", "g", "f8", "i8"])))
        elif change == 3 and x.dtype.kind in "if":
            raw = d.take(x.nbytes)
            members[name] = npy(np.frombuffer(raw, x.dtype))
        elif change == 4:
            members[name] = npy(x, header=d.take(d.below(80)))
        elif change == 5:
            members.pop(name, None)
        elif change == 6:
            head = json.dumps(HEAD).replace(d.of(['"s"', "0.9", '["a"]', "1"]), d.of(TEXTS))
            members["head"] = npy(np.array(head))
        else:
            members[name] = bytes(d.of([10, 10**5, 3 * 10**6]))
    method = d.of([zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
    packed = bytearray(archive(members, method))
    if d.below(3) == 0:  # what the zip claims: sizes, flags, methods, places
        for _ in range(1 + d.below(3)):
            packed[len(packed) - 1 - d.below(min(len(packed), 900))] = d.below(256)
    return _loaded(bytes(packed), ".npz")


def seeds(ending: str) -> list[bytes]:
    whole = [RAW + written(m, ending) for m in (TWO, random_mdp(0, states=2))]
    return whole + [CHANGED + bytes([k, 7 * k % 256, k // 2, 3, k, 1, 2, k]) for k in range(0, 250, 5)]
