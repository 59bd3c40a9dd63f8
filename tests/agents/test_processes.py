"""Two processes under torchrun, started once: DDP and FSDP2 have the gradient of one process, and one set of files."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist

from agents.cli.language.train import Run, Settings
from agents.learning.checkpoints import tensors
from agents.learning.processes import Alone, ProcessLost, answered, processes
from tests.agents import process_worker
from tests.agents.models import save
from tests.agents.two_processes import torchrun

pytest.importorskip("transformers")
KINDS = ("ddp", "sharded")
TIMEOUT = 300  # seconds; the workers give up before
FILES = ["checkpoints", "manifest.json", "metrics.csv", "model", "tensorboard", "times.csv", "training.png"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the worker left; under pytest-xdist one process of the tests starts it, the others wait."""
    base = tmp_path_factory.getbasetemp()
    path = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "two_processes"
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (path / "output.txt").exists():
            shutil.rmtree(path, ignore_errors=True)
            save(path / "model")
            code, output = torchrun(str(Path(process_worker.__file__)), str(path), seconds=TIMEOUT)
            (path / "output.txt").write_text(f"exit code {code}\n{output}")
    return path


@pytest.fixture
def found(folder: Path) -> list[dict[str, Any]]:
    """What each process wrote; a worker that failed has printed why."""
    output = (folder / "output.txt").read_text()
    assert output.startswith("exit code 0\n"), output
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_one_process(found: list[dict[str, Any]], kind: str) -> None:
    """In float64, on both ranks: on policy and off, in 1 piece and in 2, with shares of one size and of two."""
    cases = {"1 pieces", "2 pieces", "4 and 8 episodes", "stale", "stale in one", "stale in a later piece"}
    for rank in (0, 1):
        assert found[rank]["world"] == 2
        assert found[rank][kind].keys() == cases
        for case, losses in found[rank][kind].items():
            of_all = process_worker.LOSSES if "pieces" in case else process_worker.TWO
            assert losses.keys() == (process_worker.STALE if "stale" in case else of_all).keys()
            for name, of in losses.items():
                assert of["episodes"] == {"4 and 8 episodes": 12, "stale in a later piece": 16}.get(case, 8)
                assert of["norm"] > 0.1
                assert of["gradient"] < 1e-12, (rank, case, name)
                assert of["loss"] < 1e-12, (rank, case, name)


def test_an_error_of_one_is_raised_in_all(found: list[dict[str, Any]]) -> None:
    for rank in (0, 1):
        said = found[rank]["together"]
        assert said["one fails"] == "process 1: bad luck in 1"
        assert said["both fail"] == "process 0: bad luck in 0"
        assert said["none fails"] == str(rank)
        assert said["every"] == [True, False, False]


# ---- the command line ----


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("kind", "updates"), [("ddp", 3), ("sharded", 4)])
def test_a_run_leaves_one_set_of_files(found: list[dict[str, Any]], folder: Path, kind: str, updates: int) -> None:
    """Process 0 speaks and writes; what is noted is that of all episodes."""
    codes, out, _ = zip(*(of["commands"][kind] for of in found), strict=True)
    assert codes == (0, 0)
    assert "2 processes" in out[0]
    assert ("with shards" in out[0]) == (kind == "sharded")
    assert out[1] == ""
    before = ["manifest-1.json"] if kind == "sharded" else []  # it was gone on with
    assert sorted(path.name for path in (folder / kind).iterdir()) == [FILES[0], *before, *FILES[1:]]
    assert [path.name for path in (folder / kind / "checkpoints").iterdir()] == [f"update-{updates:06d}"]
    assert len(list((folder / kind / "tensorboard").iterdir())) == (1 if kind == "ddp" else 2)  # one of each start
    noted = rows(folder / kind)
    assert [int(row["update"]) for row in noted] == list(range(updates + 1))
    assert [int(row["episodes"]) for row in noted] == [8 * k for k in range(updates + 1)]
    for row in noted[1:]:
        assert 1 <= float(row["mean_length"]) <= 5
        assert abs(float(row["kl"])) < (1e-6 if row["update"] == "1" else 100)


def test_both_kinds_make_the_same_first_update(found: list[dict[str, Any]], folder: Path) -> None:
    """The same episodes, the same gradient; what follows differs by rounding, and may be sampled differently."""
    assert found[0]["commands"]["ddp"][0] == 0
    one, other = rows(folder / "ddp")[1], rows(folder / "interrupted")[1]
    assert one["sampled_return"] == other["sampled_return"]
    for name in ("loss", "gradient_norm", "entropy"):
        assert float(one[name]) == pytest.approx(float(other[name]), rel=1e-4), name


def resumed(folder: Path, tmp_path: Path, name: str, out: str) -> Run:
    """A run in this process, in the state of a copy of the checkpoint in `out`."""
    shutil.copytree(folder / out, tmp_path / name)
    settings = Settings(str(folder / "model"), **process_worker.SETTINGS)  # type: ignore[arg-type]
    return Run(settings, tmp_path / name, Alone(), pieces=1)


def test_shards_are_read_by_two_processes_and_by_one(found: list[dict[str, Any]], folder: Path, tmp_path: Path) -> None:
    """Parameters and Adam's moments after 2 updates: the same bits, whoever reads them."""
    assert [of["commands"]["updates loaded"] for of in found] == [2, 2]
    by_two = torch.load(folder / "loaded.pt")
    run = resumed(folder, tmp_path, "alone", "interrupted")
    history = run.checkpoints.load(run.policy, run.optimizer)
    assert len(history.rows) == 3
    by_one = tensors(run.policy, run.optimizer)
    assert by_one.keys() == by_two.keys()
    assert len(by_one) == 3 * len(list(run.policy.parameters()))
    for name, x in by_one.items():
        assert torch.equal(x, by_two[name]), name
    start = Run(run.settings, tmp_path / "start", Alone(), pieces=1).policy.state_dict()
    assert not all(torch.equal(x, start[name]) for name, x in run.policy.state_dict().items())


@pytest.mark.parametrize("out", ["interrupted", "ddp"])
def test_one_process_goes_on_where_two_stopped(
    found: list[dict[str, Any]], folder: Path, out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found[0]["commands"]["sharded"][0] == 0
    shutil.copytree(folder / out, tmp_path / "out")
    monkeypatch.chdir(folder)
    before, few = rows(tmp_path / "out"), process_worker.SMALL
    train = ("train", "--model", "model", *few, "--updates", "4", "--out", str(tmp_path / "out"), "--resume")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", process_worker.ONE_THREAD["LOCAL_WORLD_SIZE"])
    with mock.patch("agents.cli.language.train.draw_training"):
        code, _, error = process_worker.exactrl(*train)
    assert (code, error) == (0, "")
    after = rows(tmp_path / "out")
    assert after[: len(before)] == before
    assert [int(row["episodes"]) for row in after] == [0, 8, 16, 24, 32]


def test_two_processes_go_on_where_they_stopped(found: list[dict[str, Any]], folder: Path) -> None:
    for of in found:
        assert of["commands"]["sharded, resumed"][0] == 0
    assert rows(folder / "sharded")[:3] == rows(folder / "interrupted")


def test_a_reward_that_fails_in_one_process(found: list[dict[str, Any]], folder: Path) -> None:
    """Process 1's sixth completion is in its second update: both stop there, and one checkpoint is left."""
    for rank in (0, 1):
        code, _, error = found[rank]["commands"]["fails"]
        assert code == 2
        assert re.search(r"exactrl: after 1 updates: process 1: .*no judge today .*prompt '.*', completion '", error)
    assert [path.name for path in (folder / "fails" / "checkpoints").iterdir()] == ["update-000001"]


def test_ctrl_c_in_one_process_stops_both(found: list[dict[str, Any]], folder: Path) -> None:
    """After the update that was under way, with its checkpoint; no model is written."""
    for rank in (0, 1):
        code, _, error = found[rank]["commands"]["stops"]
        assert (code, error) == (130, "exactrl: interrupted\n")
    assert [path.name for path in (folder / "stops" / "checkpoints").iterdir()] == ["update-000002"]
    assert not (folder / "stops" / "model").exists()


def test_groups_that_cannot_be_shared_are_refused(found: list[dict[str, Any]], folder: Path) -> None:
    for rank in (0, 1):
        code, _, error = found[rank]["commands"]["3 groups"]
        assert (code, error) == (2, "exactrl: 3 groups cannot be shared among 2 processes\n")
    assert not list((folder / "three").iterdir())


def test_without_torchrun() -> None:
    assert type(processes()) is Alone
    with pytest.raises(ValueError, match="start with torchrun"):
        processes(sharded=True)


@pytest.mark.parametrize(
    ("error", "reads"),
    [
        (RuntimeError("[../gloo/pair.cc:534] Connection closed by peer [::1]:1. Ask.\nstack"),
         "Connection closed by peer [::1]:1"),
        (RuntimeError("gloo: timed out. More"), "gloo: timed out"),
        (RuntimeError("NCCL error\nat a line"), "NCCL error"),
        (RuntimeError("write: Broken pipe [1] "), "write: Broken pipe [1] "),
        (dist.DistError("who knows. Ask"), "who knows"),
    ],
)  # fmt: skip
def test_a_process_that_does_not_answer_is_told_in_words(error: RuntimeError, reads: str) -> None:
    """Without torch's own source and advice."""
    with pytest.raises(ProcessLost) as lost, answered("this process"):
        raise error
    assert str(lost.value) == f"this process lost another one ({reads})"


@pytest.mark.parametrize("error", [RuntimeError("shape"), torch.OutOfMemoryError("NCCL")])
def test_other_errors_are_left_alone(error: RuntimeError) -> None:
    with pytest.raises(type(error), match=f"^{error}$") as raised, answered("this process"):
        raise error
    assert raised.value is error
