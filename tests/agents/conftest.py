"""What tests of several files begin with: a small model, a checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from agents.learning import History
from agents.learning.checkpoints import Checkpoints
from agents.learning.processes import Alone
from tests.agents.models import save
from tests.agents.process_worker import ONE_THREAD
from tests.agents.updates import ROWS, stepped


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture
def _in_a_folder_with_a_model(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name, value in ONE_THREAD.items():
        monkeypatch.setenv(name, value)
    Path("model").symlink_to(model)


@pytest.fixture
def kept(tmp_path: Path) -> Checkpoints:
    """One checkpoint, after one update."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", {}, Alone())
    checkpoints.save(*stepped(), History([dict(row) for row in ROWS]))
    return checkpoints
