"""What a checkpoint says, held against what is to be resumed, before any of it is believed."""

from __future__ import annotations

import copy
import json
import math
from collections import defaultdict
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from agents.learning.training import COLUMNS, TIMES
from mdp.files.strict import parsed

KINDS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
         "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool}  # fmt: skip
STATE = "state.json"
SHARDS = "DCP_SHARDING_INFO"  # where torch.distributed.checkpoint notes the place of a part in the whole


class Part(NamedTuple):
    """A box of a tensor: where it begins and how long it is, along each axis."""

    kind: torch.dtype
    offsets: tuple[int, ...]
    shape: tuple[int, ...]

    def overlaps(self, other: Part) -> bool:
        axes = zip(self.offsets, self.shape, other.offsets, other.shape, strict=True)
        return all(i < j + m and j < i + n for i, n, j, m in axes)


def read_state(path: Path) -> dict[str, Any]:
    """state.json of a checkpoint. Raises ValueError where it is none."""
    try:
        state = parsed(path.read_bytes())
        if not isinstance(state, dict) or not isinstance(state.get("run"), dict):
            raise ValueError("'run' is missing")
        _check_rows(state.get("rows"), path.parent.name)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not what a checkpoint has: {error}") from None
    return state


def _check_rows(rows: Any, folder: str) -> None:
    if not isinstance(rows, list) or folder != f"update-{len(rows) - 1:06d}":
        raise ValueError(f"'rows' is no list with a row for each update of {folder}, and one for the start")
    for k, row in enumerate(rows):
        if not isinstance(row, dict) or not row.keys() >= set(COLUMNS + TIMES):
            raise ValueError(f"row {k} of 'rows' does not have the columns {', '.join(COLUMNS + TIMES)}")
        for name, x in row.items():
            if x is not None and not _is_number(x):
                raise ValueError(f"{name!r} in row {k} of 'rows' is {x!r}, no finite number")


def check_optimizer(noted: Any, policy: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Raises ValueError where `noted` is not what an optimiser of this kind notes of these parameters."""
    if not isinstance(noted, dict) or not isinstance(noted.get("state"), dict):
        raise ValueError("the checkpoint's 'optimizer' is no {groups, state}")
    if noted.get("groups") != json.loads(json.dumps(groups(optimizer))):
        raise ValueError(f"the checkpoint's 'groups' of the optimizer are not those of {type(optimizer).__name__} now")
    names, remembers = {name for name, _ in policy.named_parameters()}, _remembers(optimizer)
    for name, of in noted["state"].items():
        if name not in names:
            raise ValueError(f"the optimizer remembers {name!r}, which is no parameter")
        if not isinstance(of, dict) or of.keys() != remembers.keys():
            raise ValueError(f"the optimizer's state of {name!r} is not {', '.join(remembers) or 'empty'}")
        wrong = [key for key, x in of.items() if not (x is None if remembers[key] else _is_number(x) and x >= 0)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} in the optimizer's state of {name!r} is {of[wrong[0]]!r}")


def groups(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """The optimiser's settings, without the parameters that they are for."""
    return [{k: x for k, x in group.items() if k != "params"} for group in optimizer.param_groups]


def _remembers(optimizer: torch.optim.Optimizer) -> dict[str, bool]:
    """What an optimiser of this kind notes of a parameter, and whether that is an array: seen in one step of a copy."""
    like = optimizer.param_groups[0]["params"][0]
    p = nn.Parameter(torch.zeros(1, dtype=like.dtype, device=like.device))
    p.grad = torch.zeros_like(p)
    probe = copy.copy(optimizer)
    probe.state, probe.param_groups = defaultdict(dict), [optimizer.param_groups[0] | {"params": [p]}]
    probe.step()
    return {key: isinstance(x, Tensor) and x.ndim > 0 for key, x in probe.state[p].items()}


def _is_number(x: Any) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool) and abs(x) < 2**1023 and math.isfinite(x)


# ---- safetensors ----


def check_tensors(wanted: Mapping[str, Tensor], folder: Path) -> None:
    """Raises ValueError unless the files of a folder hold these tensors, whole, in shape and kind, and no others."""
    found: dict[str, list[Part]] = defaultdict(list)
    for path in sorted(folder.glob("*.safetensors")):
        try:
            for name, part in _parts(path).items():
                found[name].append(part)
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"{path} is damaged: {error}") from None
    for name, x in wanted.items():
        shape, parts = tuple(x.shape), found.get(name, [])
        if any(part.kind != x.dtype for part in parts):
            raise ValueError(f"{folder}: {name!r} is of the kind {parts[0].kind}, not {x.dtype}")
        if not _cover(parts, shape):
            raise ValueError(f"{folder}: {name!r} of shape {shape} is not there, or not all of it")
    if others := sorted(found.keys() - wanted.keys()):
        raise ValueError(f"{folder}: {others[0]!r} is there, and {STATE} does not say what for")


def _cover(parts: list[Part], shape: tuple[int, ...]) -> bool:
    """Boxes that fill the shape, each place once."""
    inside = all(
        len(part.shape) == len(shape) and all(i + n <= m for i, n, m in zip(*part[1:], shape, strict=True))
        for part in parts
    )
    filled = sum(math.prod(part.shape) for part in parts) == math.prod(shape)
    return bool(parts) and inside and filled and not any(x.overlaps(y) for x, y in combinations(parts, 2))


def _parts(path: Path) -> dict[str, Part]:
    """What the header of a safetensors file says, by name. Raises ValueError where the file says something else."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > size - 8:
            raise ValueError(f"its header claims {length:,} bytes of {size:,}")
        header = parsed(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    notes = header.pop("__metadata__", {})
    places = parsed(str(notes[SHARDS]).encode()) if isinstance(notes, dict) and SHARDS in notes else None
    end = 0
    for name, said in sorted(header.items(), key=lambda item: _begins(*item)):
        begin, before, end = said["data_offsets"][0], end, said["data_offsets"][1]
        if begin != before or end - begin != math.prod(_shape(name, said)) * _kind(name, said).itemsize:
            raise ValueError(f"{name!r} does not begin where the one before it ends, or has not the size of its shape")
    if end != size - 8 - length:
        raise ValueError(f"its tensors have {end:,} bytes, the file has {size - 8 - length:,}")
    return {name: Part(_kind(name, said), _place(name, places, said["shape"]), _shape(name, said))
            for name, said in header.items()}  # fmt: skip


def _begins(name: str, said: Any) -> tuple[int, int]:
    if not isinstance(said, dict) or not _sizes(said.get("data_offsets")) or len(said["data_offsets"]) != 2:
        raise ValueError(f"{name!r} has no data_offsets")
    begin, end = said["data_offsets"]
    return begin, end


def _kind(name: str, said: dict[str, Any]) -> torch.dtype:
    if str(said.get("dtype")) not in KINDS:
        raise ValueError(f"{name!r} is of an unknown kind")
    return KINDS[said["dtype"]]


def _shape(name: str, said: dict[str, Any]) -> tuple[int, ...]:
    if not _sizes(said.get("shape")):
        raise ValueError(f"{name!r} has no shape")
    return tuple(said["shape"])


def _place(name: str, places: Any, shape: list[int]) -> tuple[int, ...]:
    """Where a part begins in the whole; without a word about it, it is the whole."""
    if places is None:
        return (0,) * len(shape)
    place = places.get(name) if isinstance(places, dict) else None
    offsets: Any = place.get("saved_offsets") if isinstance(place, dict) else None
    if not _sizes(offsets) or len(offsets) != len(shape):
        raise ValueError(f"{name!r} has no place in the whole")
    return tuple(offsets)


def _sizes(x: Any) -> bool:
    return isinstance(x, list) and all(type(n) is int and 0 <= n < 2**40 for n in x)
