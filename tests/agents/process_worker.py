"""What tests run in other processes: runs to be killed, and `torchrun --nproc-per-node 2 process_worker.py FOLDER`.

FOLDER/model is a language model. Each process writes what it found to FOLDER/RANK.json; the command line's own files
are beside it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import itertools
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from torch import Tensor

from agents import Batch, LanguageModelPolicy, random_model, rollout
from agents.cli import app
from agents.cli.language.train import Run, Settings
from agents.learning import checkpoints
from agents.learning.checkpoints import tensors
from agents.learning.pieces import Pieces
from agents.learning.processes import Alone, Processes, processes
from agents.losses import PolicyLoss, named
from agents.losses.advantages import leave_one_out
from envs import TokenMDP
from mdp import Episodes
from mdp.sampling.episodes import joined

Loss = Callable[[Batch], Tensor]
HANGS_AFTER = 200  # seconds; then each process says where it is, and ends
LOSSES: dict[str, Loss] = {
    "rloo": named.rloo(0.1), "dapo": named.dapo(), "gspo": named.gspo(),
    "reinforce_plus_plus": named.reinforce_plus_plus(0.1), "entropy": PolicyLoss(leave_one_out, entropy=0.1),
}  # fmt: skip
TWO = {name: LOSSES[name] for name in ("rloo", "entropy")}
STALE: dict[str, Loss] = {"gspo": named.gspo(0.1, 0.1), "sequence": named.off_policy_reinforce()}
SETTINGS = {"task": "digits", "reward": None, "loss": "rloo", "beta": 0.05, "groups": 2, "group_size": 4, "tokens": 5,
            "lr": 0.01, "temperature": 1.0, "top_k": None, "top_p": None, "seed": 0}  # fmt: skip
SMALL = ("--max-tokens", "5", "--groups", "2", "--group-size", "4", "--lr", "0.01")
ONE_THREAD = {"LOCAL_WORLD_SIZE": str(os.cpu_count())}  # of the cores, for each process of a machine
REWARDS = """
import os, signal
calls = {"fails": 0, "stops": 0}

def now(which):
    calls[which] += 1
    return calls[which] == 6 and os.environ["RANK"] == "1"

def fails(prompt, completion, answer):
    if now("fails"):
        raise RuntimeError("no judge today")
    return len(completion) / 5

def stops(prompt, completion, answer):
    if now("stops"):
        os.kill(os.getpid(), signal.SIGINT)
    return len(completion) / 5
"""


def exactrl(*arguments: str) -> tuple[int, str, str]:
    """The command line in this process: exit code, stdout, stderr."""
    out, error = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["exactrl", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
    ):
        try:
            app.main()
        except SystemExit as ended:
            return int(ended.code or 0), out.getvalue(), error.getvalue()
    raise AssertionError("main returned")


# ---- one gradient ----


def model(seed: int) -> Any:
    return random_model(
        "llama", seed=seed, vocab_size=11, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=32, initializer_range=0.5,
        tie_word_embeddings=True,
    ).double()  # fmt: skip


def policy(seed: int = 1) -> LanguageModelPolicy:
    return LanguageModelPolicy(model(seed), temperature=3.0)


def written(by: LanguageModelPolicy, n: int = 8) -> Episodes:
    """n episodes in groups of 4."""

    def reward(prompt: tuple[int, ...], completion: tuple[int, ...]) -> float:
        return completion.count(prompt[-1]) / 2 + (completion[-1] == 2) - 0.2 * len(completion)

    source = TokenMDP(11, 6, reward, prompts=[(0,), (1, 0, 1)], eos=2).vector_env(n)
    return rollout(by, source, n, group_size=4, generator=torch.Generator().manual_seed(0))


def gradient(of: LanguageModelPolicy) -> Tensor:
    grads = [p.grad for p in of.parameters() if p.grad is not None]
    return torch.cat([(g.full_tensor() if hasattr(g, "full_tensor") else g).reshape(-1) for g in grads])


def errors(among: Processes, losses: dict[str, Loss], played: Episodes, cut: int, pieces: int) -> dict[str, Any]:
    """For each loss: how far gradient and loss of the processes are from those of one process, relative."""
    reference, found = policy(2), {}
    for name, loss in losses.items():
        alone = policy()
        value = loss(Batch.of(alone, played, reference=reference))
        value.backward()  # type: ignore[no-untyped-call]
        shared = model(1)
        if among.sharded:
            among.shard(shared)
        learner = LanguageModelPolicy(shared, temperature=3.0)
        mine = played.rows(slice(cut) if among.rank == 0 else slice(cut, len(played)))
        at_work = Pieces(learner, loss, reference=reference, pieces=pieces, processes=among)
        whole, _, said, _ = at_work.backward(mine)
        g, truth = gradient(learner), gradient(alone)
        found[name] = {
            "gradient": float((g - truth).norm() / truth.norm()), "norm": float(truth.norm()),
            "loss": abs(float(said - value.detach())), "episodes": len(whole),
        }  # fmt: skip
    return found


def gradients(sharded: bool) -> dict[str, Any]:
    """On policy, off policy, and where only one process, or one piece of it, has episodes of another policy; shares of
    different sizes.
    """
    among, own, other = Processes(sharded=sharded), written(policy()), written(policy(3))
    mixed = joined([own.rows(slice(4)), other.rows(slice(4, 8))])
    return {
        **{f"{pieces} pieces": errors(among, LOSSES, own, 4, pieces) for pieces in (1, 2)},
        "4 and 8 episodes": errors(among, TWO, written(policy(), 12), 4, 2),
        "stale": errors(among, STALE, other, 4, 2),
        "stale in one": errors(among, STALE, mixed, 4, 2),
        "stale in a later piece": errors(among, STALE, joined([own, mixed]), 8, 2),
    }


# ---- said together ----


def together(among: Processes) -> dict[str, Any]:
    """Work that fails in process 1 only, in both, in none."""

    def work(fails: bool) -> int:
        if fails:
            raise ValueError(f"bad luck in {among.rank}")
        return among.rank

    def said(fails: bool) -> str:
        try:
            return str(among.together(work)(fails))
        except ValueError as error:
            return str(error)

    return {
        "one fails": said(among.rank == 1), "both fail": said(True), "none fails": said(False),
        "every": [among.every(True), among.every(among.rank == 0), among.every(False)],
    }  # fmt: skip


# ---- the command line ----


def commands(among: Processes) -> dict[str, Any]:
    """Exit code and stderr of each."""
    train = ("train", "--model", "model", *SMALL)
    mine = ("--task", "task.jsonl", "--checkpoint-every", "50", "--updates", "6")
    if among.rank == 0:
        Path("rewards_of_two.py").write_text(REWARDS)
        Path("task.jsonl").write_text('{"prompt": "12"}\n{"prompt": "345"}\n')
    among.barrier()
    found = {
        "ddp": exactrl(*train, "--updates", "3", "--out", "ddp"),
        "sharded": exactrl(*train, "--updates", "2", "--out", "sharded", "--sharded", "--pieces", "2"),
        "fails": exactrl(*train, *mine, "--out", "fails", "--reward", "rewards_of_two:fails"),
        "stops": exactrl(*train, *mine, "--out", "stops", "--reward", "rewards_of_two:stops"),
        "3 groups": exactrl(*train, "--groups", "3", "--out", "three"),
    }
    if among.rank == 0:
        shutil.copytree("sharded", "interrupted")
    among.barrier()
    run = Run(Settings("model", **SETTINGS), Path("sharded"), processes(sharded=True), pieces=1)  # type: ignore[arg-type]
    history = run.checkpoints.load(run.policy, run.optimizer)
    whole = {
        name: x.full_tensor() if hasattr(x, "full_tensor") else x
        for name, x in tensors(run.policy, run.optimizer).items()
    }
    if among.rank == 0:
        torch.save(whole, "loaded.pt")
    again = exactrl(*train, "--updates", "4", "--out", "sharded", "--sharded", "--resume")
    return found | {"updates loaded": len(history.rows) - 1, "sharded, resumed": again}


# ---- processes that are killed ----


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying(point: str, at: int) -> Any:
    """A context in which this process is killed at a point of its checkpoint number `at`."""
    write, remove, count = checkpoints._write, shutil.rmtree, itertools.count(1)

    def half_written(values: dict[str, Tensor], folder: Path, among: Alone) -> None:
        write(values, folder, among)
        if next(count) == at:
            file = next(folder.glob("*.safetensors"))
            os.truncate(file, file.stat().st_size // 2)
            kill()

    def before_renaming(path: Path, target: Path) -> None:
        if path.name == f"update-{at:06d}.part":
            kill()
        os.rename(path, target)

    def while_removing(path: Path, **options: Any) -> None:
        if path.name.startswith("update-") and path.suffix != ".part" and next(count) == at - 1:
            if point == "amid the removal of the old one":
                (path / "state.json").unlink()
            kill()
        remove(path, **options)

    patched: dict[str, tuple[str, Callable[..., None]]] = {
        "half written": ("_write", half_written), "before it is renamed": ("Path.rename", before_renaming),
        "after it is renamed": ("shutil.rmtree", while_removing),
        "amid the removal of the old one": ("shutil.rmtree", while_removing),
    }  # fmt: skip
    if point not in patched:
        return contextlib.nullcontext()
    name, function = patched[point]
    return mock.patch(f"agents.learning.checkpoints.{name}", function)


def exactrl_in_a_process(folder: Path, arguments: tuple[str, ...], point: str = "", at: int = 0) -> None:
    """The command line in a folder, in a process of its own; what it prints goes to log.txt."""
    os.chdir(folder)
    os.environ |= ONE_THREAD
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background processes ignore it
    with dying(point, at):
        code, out, error = exactrl(*arguments)
    Path("log.txt").write_text(out + error)
    os._exit(code)


def main(folder: Path) -> None:
    faulthandler.dump_traceback_later(HANGS_AFTER, exit=True)
    torch.set_num_threads(1)
    os.chdir(folder)
    among = processes()
    assert isinstance(among, Processes)
    found = {
        "world": among.world, "ddp": gradients(False), "sharded": gradients(True), "together": together(among),
        "commands": commands(among),
    }  # fmt: skip
    Path(f"{among.rank}.json").write_text(json.dumps(found))
    among.barrier()
    dist.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)  # all is written; a thread of gloo's that outlives its group, rarely, aborts a process that just ends


if __name__ == "__main__":
    main(Path(sys.argv[1]))
