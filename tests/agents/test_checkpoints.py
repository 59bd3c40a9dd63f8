"""Checkpoints: what is kept, found, written again and gone on from."""

from __future__ import annotations

import math
import os
import re
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint import state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.api import _wrap_exception as wrap_exception

from agents.learning import History
from agents.learning import checkpoints as checkpointing
from agents.learning.checkpoints import Checkpoints, _flat, _local, _quiet, _short, generator_of
from agents.learning.processes import Alone
from tests.agents.problems import only
from tests.agents.updates import ROWS, fresh, stepped

# ---- checkpoints ----


def test_the_random_numbers_of_an_update_stay_what_they_are() -> None:
    """A run that is gone on with by a later version draws what it would have drawn."""
    assert generator_of(0, 1).initial_seed() == 2918264622725855778
    assert generator_of(5, 20, 3).initial_seed() == 576891782378133830
    assert generator_of(3, 4).initial_seed() == generator_of(3, 4, 0).initial_seed()
    assert max(generator_of(0, k).initial_seed() for k in range(64)) > 2**62


def history(updates: int) -> History:
    return History([dict(ROWS[0]) for _ in range(updates + 1)])


def test_a_checkpoint_that_is_there_is_not_written_again(kept: Checkpoints) -> None:
    path = kept.folder / "update-000001"
    (path / "mark").touch()
    assert kept.save(*fresh(), history(1)) == path
    assert (path / "mark").exists()


def test_the_last_one_has_the_most_updates(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, {}, Alone())
    assert checkpoints.latest() is None
    assert checkpoints.kept == "there is no checkpoint yet"
    for name in ("update-000009", "update-999999", "update-1000000", "update-1000001.part", "update-12", "x-000001"):
        (tmp_path / name).mkdir()
    assert checkpoints.latest() == tmp_path / "update-1000000"
    assert checkpoints.kept == f"{tmp_path}/update-1000000 is whole: --resume goes on from it"


def test_to_start_and_to_go_on(kept: Checkpoints, tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "none", {}, Alone()).start(*fresh(), updates=0, resume=False) == History()
    there = f"{kept.folder} has a checkpoint: --resume goes on, another --out begins anew"
    with pytest.raises(ValueError, match=only(there)):
        kept.start(*fresh(), updates=9, resume=False)
    assert len(kept.start(*fresh(), updates=1, resume=True).rows) == 2
    with pytest.raises(ValueError, match=only("the checkpoint has 1 updates, more than 0")):
        kept.start(*fresh(), updates=0, resume=True)
    missing = f"there is no checkpoint in {tmp_path}/none to resume"
    with pytest.raises(ValueError, match=only(missing)):
        Checkpoints(tmp_path / "none", {}, Alone()).start(*fresh(), updates=1, resume=True)


def test_other_tensors_are_kept_beside_the_parameters(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, {}, Alone())
    checkpoints.save(*stepped(), history(1), {"state": torch.arange(4)})
    found = torch.zeros(4, dtype=torch.int64)
    checkpoints.start(*fresh(), updates=1, resume=True, more={"state": found})
    assert found.tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="'state' is there"):
        checkpoints.load(*fresh())
    nan = {"more": torch.tensor([math.nan])}
    with pytest.raises(ValueError, match=only("parameters are not finite after 2 updates: this is not saved")):
        checkpoints.save(*stepped(), history(2), nan)
    assert [x.name for x in tmp_path.iterdir()] == ["update-000001"]


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(
    kept: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor half of itself; an error without a code says what it says."""
    (kept.folder / "update-000002.part").mkdir()
    (kept.folder / "update-000002.part/old").touch()
    seen: list[list[str]] = []

    def fails(new: Path, _: Path) -> None:
        seen.append(sorted(x.name for x in new.iterdir()))
        raise OSError("the disk went away")

    monkeypatch.setattr(checkpointing, "_put", fails)
    says = f"cannot write the checkpoint {kept.folder}/update-000002: the disk went away"
    with pytest.raises(OSError, match=only(says)):
        kept.save(*stepped(), history(2))
    assert "state.json" in seen[0]
    assert "old" not in seen[0]
    assert [x.name for x in kept.folder.iterdir()] == ["update-000001"]
    assert len(kept.load(*fresh()).rows) == 2


def test_what_is_no_json_is_not_noted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        Checkpoints(tmp_path, {"x": math.nan}, Alone()).save(*stepped(), history(1))
    assert [*tmp_path.iterdir()] == []


def test_all_is_on_the_disk_before_the_name_and_the_name_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    path = Checkpoints(tmp_path, {}, Alone()).save(*stepped(), history(1))
    assert set(synced[:-2]) == {x.stat().st_ino for x in path.iterdir()}
    assert synced[-2:] == [path.stat().st_ino, tmp_path.stat().st_ino]


def test_numbers_that_are_not_finite_in_a_checkpoint(kept: Checkpoints) -> None:
    path = kept.folder / "update-000001"
    (file,) = path.glob("*.safetensors")
    values = load_file(file)
    values["parameters.preferences.theta"][..., 0] = math.inf
    save_file(values, file)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))} holds numbers that are not finite$"):
        kept.load(*fresh())


def test_names_of_what_differs() -> None:
    assert _flat({"a": {"b": 1, "c": {"d": [2]}}, "e": None, "f": {}}) == {"a.b": 1, "a.c.d": [2], "e": None}
    assert (_short("x" * 58), _short("x" * 59)) == (f'"{"x" * 58}"', f'"{"x" * 56}...')
    assert _short({"a": None}) == '{"a": null}'


def test_the_part_of_a_process() -> None:
    x = torch.ones(2)
    assert _local(x) is x
    assert _local(SimpleNamespace(to_local=lambda: x)) is x  # type: ignore[arg-type]


def test_one_process_alone_is_no_reason_to_warn() -> None:
    with warnings.catch_warnings(record=True) as heard, _quiet():
        warnings.simplefilter("always", append=True)
        warnings.warn("torch.distributed is disabled, unavailable or uninitialized", stacklevel=1)
        warnings.warn("something else", stacklevel=1)
    assert [str(x.message) for x in heard] == ["something else"]


def test_what_torch_fails_on_without_a_code(kept: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise CheckpointException("said at length", {0: wrap_exception(TypeError("no such tensor"))})

    monkeypatch.setattr(state_dict_saver, "save", fails)
    with pytest.raises(OSError, match=r"^cannot write the checkpoint .*update-000002: no such tensor$"):
        kept.save(*stepped(), history(2))
