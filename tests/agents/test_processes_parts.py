"""What processes say to each other, as threads of one, and how they begin."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from agents import rollout
from agents.learning import processes as learning_processes
from agents.learning.processes import Alone, Processes, ProcessLost, Share, processes
from mdp.sampling.episodes import joined
from tests.agents.problems import MDPS, only, seeded, tabular

X = TypeVar("X")

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
