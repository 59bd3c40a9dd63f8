"""A few kills of each kind; the recorded run of 50 is killing.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agents.models import save
from tests.faults.killing import MODEL, TABLE, Kill, Kind, differences, runs

pytest.importorskip("transformers")


@pytest.mark.parametrize("kind", [TABLE, MODEL], ids=lambda kind: kind.name)
def test_a_run_that_is_killed_and_resumed_has_the_bits_of_one_that_is_not(kind: Kind, tmp_path: Path) -> None:
    save(tmp_path / "model")
    updates = 60 if kind is TABLE else 12
    found = list(runs(kind, tmp_path, kills=2, updates=updates, seed=1))
    kills = [x for x in found if isinstance(x, Kill)]
    assert len(kills) == 2
    assert any(0 < kill.update < updates for kill in kills)  # else nothing was resumed
    assert {x for x in found if isinstance(x, str)} == {""}
    file = next((tmp_path / "run-1" / kind.checkpoints).rglob("*.safetensors"))
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))  # the comparison sees one bit
    assert differences(kind, tmp_path / "run-1", tmp_path / "whole") == str(file.relative_to(tmp_path / "run-1"))
