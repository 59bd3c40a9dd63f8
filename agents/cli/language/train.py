"""`exactrl train --model PATH`: a language model trained by a policy gradient, by the agent code of the tables."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from agents.cli.faults import check_room, stopping, tidy
from agents.cli.language.losses import loss_of
from agents.cli.language.plot import draw_training
from agents.cli.language.record import CSV, FIGURE, SECONDS, Record, seconds
from agents.cli.language.tasks import TASKS, load_task, problem
from agents.cli.manifest import NAME, begun
from agents.language import LanguageModelPolicy, load_model, load_tokenizer, save_model
from agents.learning import History, Reinforce, TrainingStopped, rollout, train
from agents.learning.checkpoints import Checkpoints, generator_of
from agents.learning.processes import Alone

CHECKPOINTS = "checkpoints"  # a folder in --out


@dataclass(frozen=True)
class Settings:
    """What the command line said; what a checkpoint must agree with."""

    model: str
    task: str
    reward: str | None
    loss: str
    beta: float
    groups: int
    group_size: int
    tokens: int
    lr: float
    temperature: float
    top_k: int | None
    top_p: float | None
    seed: int


class Run:
    """One training run: the policy, its agent, the problem, the checkpoints."""

    def __init__(self, settings: Settings, out: Path, processes: Alone, *, pieces: int) -> None:
        self.settings, self.out, self.processes = settings, out, processes
        s = settings
        if s.groups % self.processes.world:
            raise ValueError(f"{s.groups} groups cannot be shared among {self.processes.world} processes")
        task, loss = load_task(s.task, s.reward), loss_of(s.loss, s.tokens, s.beta)
        tokenizer, model = load_tokenizer(s.model), load_model(s.model)
        self.manifest = begun(s.model, None if s.task in TASKS else s.task, s.reward, seed=s.seed)
        self.problem = problem(
            task, tokenizer, vocabulary=model.get_input_embeddings().weight.shape[0],
            context=getattr(model.config, "max_position_embeddings", None), horizon=s.tokens,
        )  # fmt: skip
        described = _described(settings, model, tokenizer, self.problem.prompts, self.manifest.inputs[s.model])
        self.checkpoints = Checkpoints(out / CHECKPOINTS, described, self.processes)
        model.to(torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if torch.cuda.is_available() else "cpu")
        shape: dict[str, Any] = {"temperature": s.temperature, "top_k": s.top_k, "top_p": s.top_p}
        reference = LanguageModelPolicy(copy.deepcopy(model), **shape).requires_grad_(False) if s.beta else None
        if self.processes.sharded:
            self.processes.shard(model)
        self.policy = LanguageModelPolicy(model, tokenizer, **shape)
        self.optimizer = torch.optim.AdamW(self.policy.parameters(), lr=s.lr, weight_decay=0.0, fused=True)
        self.agent = Reinforce(
            self.policy, loss=loss, optimizer=self.optimizer, reference=reference, pieces=pieces,
            processes=self.processes,
        )  # fmt: skip

    @property
    def title(self) -> str:
        """What is trained on what."""
        s, n = self.settings, self.processes.world
        among = f", {n} processes{' with shards' * self.processes.sharded}" if n > 1 else ""
        what = f"{Path(s.model).name} on {Path(s.task).name} by {s.loss}, KL {s.beta:g}"
        return f"{what}: {s.groups} prompts x {s.group_size} completions of at most {s.tokens} tokens{among}"

    @property
    def path(self) -> str:
        """How samples are made and differentiated."""
        reason = self.policy.unfit
        return f"by transformers' own forward pass: {reason}" if reason else "on the fast path for Llama"

    @property
    def size(self) -> int:
        """Bytes on the disk, at most: two checkpoints, of parameters and two moments each, and two models."""
        return 8 * sum(p.numel() * p.element_size() for p in self.policy.parameters())

    def write(self, history: History) -> list[Path]:
        """The figure; what else there is was written before."""
        if len(history.rows) > 1:
            draw_training(history, self.out / FIGURE, self.title)
        model = [] if history.interrupted else [self.out / "model"]
        files = [self.out / CSV, self.out / FIGURE, self.checkpoints.folder, *model]
        return [path for path in files if path.exists()]

    def _prepare(self) -> None:
        """The folder; one process looks after it."""
        if self.processes.rank == 0:
            check_room(self.out, self.size)
            tidy(*(self.out / name for name in (CSV, SECONDS, FIGURE, NAME)))
            self.manifest.begin(self.out)

    def __call__(self, *, updates: int, every: int, resume: bool, console: Console) -> History:
        """Train until there are `updates` in all, with a checkpoint after each `every` of them and at the end.

        A stop (ctrl-C, a reward that fails) leaves a checkpoint of the last whole update.
        """
        history = self.checkpoints.start(self.policy, self.optimizer, updates=updates, resume=resume)
        s, n = self.settings, self.settings.groups // self.processes.world * self.settings.group_size
        self.processes.together(self._prepare)()
        record = Record(self.out, history, updates, console, shown=self.processes.rank == 0)
        with record, stopping(self.processes) as stopped:

            def progress(row: dict[str, float]) -> None:
                row["episodes"] *= self.processes.world  # each plays as many
                record.note(row)
                stop = stopped()
                if row["update"] % every == 0 or row["update"] == updates or stop:
                    self.checkpoints.save(self.policy, self.optimizer, history)
                if stop:
                    raise KeyboardInterrupt

            try:
                train(
                    self.agent, self.problem.vector_env(n), updates=updates, episodes=n, group_size=s.group_size,
                    history=history, progress=progress, play=self.processes.together(rollout),
                    generator=lambda k: generator_of(s.seed, k, self.processes.rank),
                )  # fmt: skip
            except TrainingStopped:  # before the update changed anything
                with suppress(ValueError):  # parameters that are not finite are not saved: the last checkpoint stays
                    self.checkpoints.save(self.policy, self.optimizer, history)
                raise
        if not history.interrupted:
            save_model(self.policy, self.out / "model", writes=self.processes.rank == 0)
        return history


def _described(
    settings: Settings, model: Any, tokenizer: Any, prompts: Sequence[tuple[int, ...]], files: dict[str, str]
) -> dict[str, Any]:
    """What a checkpoint must agree with; the model by its config and its weights (files: sha256).

    Not the reward and the answers: a run that one of them has stopped goes on when it is mended.
    """
    config = model.config.to_diff_dict()
    config = {k: x for k, x in config.items() if k not in ("_name_or_path", "transformers_version")}
    weights = {name: digest for name, digest in files.items() if name.endswith(".safetensors")}
    return asdict(settings) | {
        "model": {"config": config, "weights": _digest(weights)}, "tokenizer": _digest(tokenizer.get_vocab()),
        "prompts": _digest(prompts),
    }  # fmt: skip


def _digest(x: Any) -> str:
    return hashlib.sha256(json.dumps(x, sort_keys=True).encode()).hexdigest()


def summary(history: History) -> str:
    """Reward at the start and at the end, a quarter of the updates each; where the time went."""
    rewards = history.column("sampled_return")[1:]
    if not len(rewards):
        return "no update was made"
    few = max(len(rewards) // 4, 1)
    first, last = rewards[:few].mean(), rewards[-few:].mean()
    return (
        f"mean reward of the first {few} updates {first:.4f}, of the last {few} {last:.4f}\n"
        f"an update: {seconds(history)}"
    )
