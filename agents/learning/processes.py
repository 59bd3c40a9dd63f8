"""Several processes, one batch: each plays and scores its own share of the episodes. torch's own DDP and FSDP2.

Every process sees the whole batch as numbers (rewards, tokens, log-probabilities are small), computes the same loss and
sends the gradient of its own rows backward through the model; the sum over processes is the gradient of the whole.
torch averages over processes, so what goes backward is multiplied by their number.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mdp import Episodes
from mdp.sampling.episodes import joined

X = TypeVar("X")
GONE = re.compile("gloo|NCCL|[Cc]onnection|[Bb]roken pipe")  # in what torch says where another process does not answer


class ProcessLost(RuntimeError):
    """Another process of this run does not answer any more: what they do together cannot go on."""


@contextmanager
def answered(who: str) -> Iterator[None]:
    """Within it a process that does not answer is a ProcessLost, in words."""
    try:
        yield
    except RuntimeError as error:
        gone = isinstance(error, dist.DistError) or GONE.search(str(error))
        if not gone or isinstance(error, torch.OutOfMemoryError):
            raise
        said = re.sub(r"^\[\S+\] ", "", re.split(r"\n|\. ", str(error))[0])  # without torch's own source and advice
        raise ProcessLost(f"{who} lost another one ({said})") from error


class Share(NamedTuple):
    """The episodes of all processes, and which rows of them are this one's."""

    episodes: Episodes
    rows: slice
    counts: list[int]

    def own(self, x: Tensor) -> Tensor:
        return x[self.rows]

    def gathered(self, x: Tensor) -> Tensor:
        """This process's rows (n, T) -> those of all, (N, T), 0 after their width."""
        T = self.episodes.rewards.shape[1]
        padded = nn.functional.pad(x.detach(), (0, T - x.shape[1]))
        if len(self.counts) == 1:
            return padded
        rows = [padded.new_zeros(max(self.counts), T) for _ in self.counts]
        dist.all_gather(rows, nn.functional.pad(padded, (0, 0, 0, max(self.counts) - len(x))))
        return torch.cat([part[:n] for part, n in zip(rows, self.counts, strict=True)])


class Alone:
    """One process."""

    rank, world, sharded = 0, 1, False

    def barrier(self) -> None:
        """Wait for all."""

    def close(self) -> None:
        """Part from the others; the last that is done with them."""

    def joined(self) -> Any:
        """A context, in which the loss of another process is a ProcessLost.

        Where one is lost, torchrun sends SIGTERM to the others, and SIGKILL half a minute later. Within, and after a
        loss, SIGTERM ends nothing, so that there is time to finish a file and to say what happened.
        """
        return nullcontext()

    def shard(self, model: nn.Module) -> None:
        """Shard a model in place, layer by layer; before its optimiser is made."""

    def wrapped(self, scores: nn.Module) -> nn.Module:
        """The module whose forward pass takes part in what the processes do together."""
        return scores

    def piece(self, scores: nn.Module, *, last: bool) -> Any:
        """A context for one piece: gradients meet after the last one."""
        del scores, last
        return nullcontext()

    def shared(self, episodes: Episodes) -> Share:
        """All episodes, of which these are this process's."""
        return Share(episodes, slice(None), [len(episodes)])

    def said(self, x: X) -> list[X]:
        """What each process says, in their order."""
        return [x]

    def every(self, said: bool) -> bool:
        """True where every process says so."""
        return all(self.said(said))

    def equal(self, n: int) -> bool:
        """True where all processes say the same number."""
        return len(set(self.said(n))) == 1

    def together(self, work: Callable[..., X]) -> Callable[..., X]:
        """The same function; where it raises ValueError or OSError in one process, it does in all."""
        return work


class Processes(Alone):
    """The processes that torchrun has started, met by NCCL on GPUs and by gloo elsewhere.

    sharded: FSDP2 in place of DDP: gradients and the optimiser's state are in shards throughout, the weights between
    updates; they are gathered once for sampling and scoring, since a decode would gather them for every token.
    """

    def __init__(self, *, sharded: bool = False) -> None:
        self.owns = not dist.is_initialized()
        if self.owns:
            with answered("this process"):
                dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        self.rank, self.world, self.sharded = dist.get_rank(), dist.get_world_size(), sharded

    def barrier(self) -> None:
        dist.barrier()

    def close(self) -> None:
        if self.owns:
            dist.destroy_process_group()

    @contextmanager
    def joined(self) -> Iterator[None]:
        before, lost = signal.signal(signal.SIGTERM, signal.SIG_IGN), False
        try:
            with answered(f"process {self.rank} of {self.world}"):
                yield
        except ProcessLost:
            lost = True
            raise
        finally:
            if not lost:
                signal.signal(signal.SIGTERM, before)

    def shard(self, model: nn.Module) -> None:
        from torch.distributed.fsdp import fully_shard

        for module in model.modules():
            if isinstance(module, nn.ModuleList):
                for layer in module:
                    fully_shard(layer, reshard_after_forward=False)
        fully_shard(model, reshard_after_forward=False)

    def wrapped(self, scores: nn.Module) -> nn.Module:
        return scores if self.sharded else DistributedDataParallel(scores)

    @contextmanager
    def piece(self, scores: nn.Module, *, last: bool) -> Iterator[None]:
        if isinstance(scores, DistributedDataParallel):
            with nullcontext() if last else scores.no_sync():
                yield
            return
        for module in scores.modules():
            meet: Any = getattr(module, "set_requires_gradient_sync", None)  # of an FSDPModule
            if meet is not None:
                meet(last, recurse=False)
        yield

    def shared(self, episodes: Episodes) -> Share:
        parts = self.said(episodes)
        counts = [len(part) for part in parts]
        first = sum(counts[: self.rank])
        return Share(joined(parts), slice(first, first + counts[self.rank]), counts)

    def said(self, x: X) -> list[X]:
        answers: list[Any] = [None] * self.world
        dist.all_gather_object(answers, x)
        return answers

    def together(self, work: Callable[..., X]) -> Callable[..., X]:
        def tried(*args: Any, **kwargs: Any) -> X:
            done: list[X] = []
            problem: tuple[type[Exception], str] | None = None
            try:
                done.append(work(*args, **kwargs))
            except (ValueError, OSError) as error:
                problem = OSError if isinstance(error, OSError) else ValueError, str(error)
            for rank, found in enumerate(self.said(problem)):
                if found is not None:
                    kind, message = found
                    raise kind(f"process {rank}: {message}")
            return done[0]

        return tried


def processes(*, sharded: bool = False) -> Alone | Processes:
    """Those that torchrun has started, else this one alone. Raises ValueError for sharded without torchrun."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return Processes(sharded=sharded)
    if sharded:
        raise ValueError("sharding needs several processes: start with torchrun --nproc-per-node N")
    return Alone()
