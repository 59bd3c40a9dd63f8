"""Two processes under torchrun, started once: DDP and FSDP2 have the gradient of one process, and one set of files."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from agents import rollout
from agents.cli.language.train import Run, Settings
from agents.learning import processes as learning_processes
from agents.learning.checkpoints import tensors
from agents.learning.processes import Alone, Processes, ProcessLost, Share, answered, processes
from mdp.sampling.episodes import joined
from tests.agents import process_worker
from tests.agents.models import save
from tests.agents.problems import MDPS, only, seeded, tabular
from tests.agents.two_processes import torchrun

pytest.importorskip("transformers")
X = TypeVar("X")
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


# ---- what they say to each other, as threads of this process ----


class Meeting:
    """What is asked of torch.distributed, among threads."""

    DistError = dist.DistError

    def __init__(self, n: int) -> None:
        self.n, self.mine, self.told = n, threading.local(), [None] * n
        self.all = threading.Barrier(n, timeout=20)
        self.began: list[str] = []
        self.ended = 0

    def is_initialized(self) -> bool:
        return False

    def init_process_group(self, backend: str) -> None:
        self.began.append(backend)

    def destroy_process_group(self) -> None:
        self.ended += 1

    def get_rank(self) -> int:
        return int(self.mine.rank)

    def get_world_size(self) -> int:
        return self.n

    def barrier(self) -> None:
        self.all.wait()

    def all_gather_object(self, answers: list[Any], x: Any) -> None:
        self.told[self.mine.rank] = x
        self.all.wait()
        answers[:] = [told for told, _ in zip(self.told, answers, strict=True)]
        self.all.wait()

    def all_gather(self, rows: list[Tensor], x: Tensor) -> None:
        said: list[Any] = [None] * len(rows)
        self.all_gather_object(said, x)
        for row, told in zip(rows, said, strict=True):
            assert row.shape == told.shape
            row.copy_(told)


@pytest.fixture
def meet(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """What n processes give, in their order."""

    def met(n: int, work: Callable[[Processes], X]) -> list[X]:
        meeting = Meeting(n)
        monkeypatch.setattr(learning_processes, "dist", meeting)

        def one(rank: int) -> X:
            meeting.mine.rank = rank
            try:
                return work(Processes())
            except BaseException:
                meeting.all.abort()
                raise

        with ThreadPoolExecutor(n) as pool:
            found = list(pool.map(one, range(n)))
        assert meeting.began == ["gloo"] * n
        return found

    return met


def test_what_one_says_all_hear(meet: Callable[..., list[Any]]) -> None:
    def work(among: Processes) -> Any:
        rank = among.rank
        return (
            rank, among.world, among.sharded, among.said(f"I am {rank}"), among.every(True), among.every(rank != 1),
            among.equal(5), among.equal(rank // 2), among.equal(rank),
        )  # fmt: skip

    said = [f"I am {rank}" for rank in range(3)]
    assert meet(3, work) == [(rank, 3, False, said, True, False, True, False, False) for rank in range(3)]


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [(ValueError("bad luck"), ValueError, "bad luck"), (UnicodeError("no text"), ValueError, "no text"),
     (OSError("no room"), OSError, "no room"), (FileNotFoundError(2, "no file"), OSError, "[Errno 2] no file")],
)  # fmt: skip
def test_what_fails_in_one_fails_in_all(
    error: Exception, kind: type[Exception], says: str, meet: Callable[..., list[Any]]
) -> None:
    """As a ValueError or an OSError that names the process; what they gave is what each one's own work gives."""

    def work(among: Processes) -> Any:
        def tried(x: int, *, y: int) -> int:
            if among.rank == x:
                raise error
            return among.rank + y

        work = among.together(tried)
        with pytest.raises(kind) as raised:
            work(1, y=10)
        return work(7, y=10), type(raised.value), str(raised.value)

    assert meet(3, work) == [(rank + 10, kind, f"process 1: {says}") for rank in range(3)]


def test_all_episodes_are_shared(meet: Callable[..., list[Any]]) -> None:
    """Shares of 2, 3 and 1 episodes, of different lengths: the rows of each, and tables gathered as if from one."""
    mdp = MDPS["grid"]
    played = rollout(tabular(mdp), mdp, 6, generator=seeded())
    parts = [played.rows(slice(2)), played.rows(slice(2, 5)), played.rows(slice(5, 6))]
    assert len({part.rewards.shape[1] for part in parts}) == 3
    whole = joined(parts)
    T = whole.rewards.shape[1]
    x = torch.arange(6.0 * T).reshape(6, T) * torch.as_tensor(whole.mask)

    def work(among: Processes) -> Any:
        part = parts[among.rank]
        share = among.shared(part)
        own = share.own(x)
        assert share.counts == [2, 3, 1]
        np.testing.assert_array_equal(share.episodes.rewards, whole.rewards)
        np.testing.assert_array_equal(share.episodes.observations[whole.mask], whole.observations[whole.mask])
        assert torch.equal(share.gathered(own[:, : part.rewards.shape[1]].requires_grad_()), x)
        return own.tolist()

    found = meet(3, work)
    assert found[0] + found[1] + found[2] == x.tolist()
    assert [len(own) for own in found] == [2, 3, 1]


def test_one_alone_has_all_episodes() -> None:
    """And a table narrower than they are is padded at its end."""
    mdp = MDPS["bandit"]
    played = rollout(tabular(mdp), mdp, 3, generator=seeded())
    share = Alone().shared(played)
    assert share == Share(played, slice(None), [3])
    long = MDPS["grid"]
    table = torch.ones(2, 1, requires_grad=True)
    gathered = Alone().shared(rollout(tabular(long), long, 2, generator=seeded())).gathered(table)
    assert gathered.shape[1] > 1
    assert torch.equal(gathered[:, :1], torch.ones(2, 1))
    assert not gathered[:, 1:].any()
    assert not gathered.requires_grad


# ---- how they begin, and what of a model is shared ----


@pytest.mark.parametrize(("world", "sharded"), [("2", False), ("2", True), ("3", True)])
def test_torchrun_says_how_many(world: str, sharded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    meeting = Meeting(int(world))
    meeting.mine.rank = 1
    monkeypatch.setattr(learning_processes, "dist", meeting)
    monkeypatch.setenv("WORLD_SIZE", world)
    found = processes(sharded=sharded)
    assert (type(found), found.rank, found.world, found.sharded) == (Processes, 1, int(world), sharded)
    assert processes().sharded is False
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert type(processes()) is Alone
    says = "sharding needs several processes: start with torchrun --nproc-per-node N"
    with pytest.raises(ValueError, match=only(says)):
        processes(sharded=True)


@pytest.mark.parametrize(("gpus", "backend"), [(True, "cpu:gloo,cuda:nccl"), (False, "gloo")])
def test_who_began_a_group_ends_it(gpus: bool, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL on GPUs, gloo elsewhere; a group that was there before stays."""
    meeting = Meeting(1)
    meeting.mine.rank = 0
    monkeypatch.setattr(learning_processes, "dist", meeting)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus)
    own = Processes()
    monkeypatch.setattr(meeting, "is_initialized", lambda: True)
    Processes().close()
    assert (meeting.began, meeting.ended) == ([backend], 0)
    own.close()
    assert meeting.ended == 1


def test_others_that_do_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    meeting = Meeting(2)
    monkeypatch.setattr(learning_processes, "dist", meeting)

    def nobody(backend: str) -> None:
        raise RuntimeError(f"{backend}: timed out")

    monkeypatch.setattr(meeting, "init_process_group", nobody)
    with pytest.raises(ProcessLost, match=r"^this process lost another one \(gloo: timed out\)$"):
        Processes()


def sharded_or_not(sharded: bool) -> Processes:
    """Without a group."""
    among = object.__new__(Processes)
    among.rank, among.world, among.sharded = 0, 2, sharded
    return among


def test_each_layer_is_sharded_and_then_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights are gathered once for sampling and scoring: they are not freed after a forward pass."""
    layers = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)])
    model = nn.Sequential(nn.Linear(1, 1), layers)
    done: list[Any] = []
    monkeypatch.setattr("torch.distributed.fsdp.fully_shard", lambda x, **options: done.append((x, options)))
    sharded_or_not(True).shard(model)
    assert done == [(x, {"reshard_after_forward": False}) for x in (*layers, model)]


class Wrapped(nn.Module):
    """In place of torch's DDP: whether gradients are kept from meeting."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.apart = module, False

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        self.apart = True
        yield
        self.apart = False


@pytest.mark.parametrize("last", [True, False])
def test_gradients_meet_after_the_last_piece(last: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning_processes, "DistributedDataParallel", Wrapped)
    scores = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1))
    among = sharded_or_not(False)
    wrapped = among.wrapped(scores)
    assert isinstance(wrapped, Wrapped)
    assert wrapped.module is scores
    with among.piece(wrapped, last=last):
        assert wrapped.apart != last
    among = sharded_or_not(True)
    assert among.wrapped(scores) is scores
    told: list[Any] = []

    def meets(k: int, meet: bool, *, recurse: bool = True) -> None:
        told.append((k, meet, recurse))

    for k in (0, 2):
        object.__setattr__(scores[k], "set_requires_gradient_sync", partial(meets, k))
    with among.piece(scores, last=last):
        assert told == [(0, last, False), (2, last, False)]
