"""`exactrl train ENV`: REINFORCE, with the exact J(theta_k) beside the sampled return."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from agents.cli.faults import stopping, tidy, writing_to
from agents.cli.manifest import Manifest, beside, retire
from agents.cli.problems import Problem, starting_policy
from agents.cli.records import wrote
from agents.learning import (
    Agent,
    ExactAscent,
    ExactEM,
    ExactValues,
    History,
    LearnedValues,
    Reinforce,
    TrainingStopped,
    plain_ascent,
    train,
)
from agents.learning.checkpoints import Checkpoints
from agents.learning.plot import plot_history
from agents.learning.processes import Alone
from agents.losses import ReinforceLoss
from agents.policies import SoftmaxPolicy
from mdp import FiniteMDP, solve


class Optimizer(StrEnum):
    """How theta is moved along the gradient."""

    ascent = "ascent"
    adamw = "adamw"


class Baseline(StrEnum):
    """b(s) in G_t - b(S_t)."""

    none = "none"
    learned = "learned"
    exact = "exact"


class Gradient(StrEnum):
    """Where the gradient comes from."""

    sampled = "sampled"
    exact = "exact"
    natural = "natural"
    em = "em"


STEPS = {Optimizer.ascent: 0.1, Optimizer.adamw: 0.05}


def make_agent(
    mdp: FiniteMDP, optimizer: Optimizer | None, step: float | None, baseline: Baseline, gradient: Gradient
) -> Agent:
    """A tabular softmax that starts uniform, and what trains it. Samples go with AdamW, exact gradients as they are."""
    policy = starting_policy(mdp)
    if gradient is Gradient.em and (optimizer is not None or step is not None):
        raise ValueError("an EM step has no optimizer and no learning rate")
    if optimizer is None:
        optimizer = Optimizer.adamw if gradient is Gradient.sampled else Optimizer.ascent
    step = STEPS[optimizer] if step is None else step
    if not step > 0:
        raise ValueError(f"the learning rate must be positive, not {step}")
    moves: torch.optim.Optimizer = plain_ascent(policy, step)
    if optimizer is Optimizer.adamw:  # a weight decay would pull theta away from the maximum of J
        moves = torch.optim.AdamW(policy.parameters(), lr=step, weight_decay=0.0)
    if gradient is Gradient.em:
        return ExactEM(policy, mdp)
    if gradient is not Gradient.sampled:
        return ExactAscent(policy, mdp, optimizer=moves, natural=gradient is Gradient.natural)
    return Reinforce(policy, loss=ReinforceLoss(baseline=_baseline(baseline, policy, mdp)), optimizer=moves)


def _baseline(kind: Baseline, policy: SoftmaxPolicy, mdp: FiniteMDP) -> LearnedValues | ExactValues | None:
    if kind is Baseline.learned:
        return LearnedValues(mdp.n_states)
    return ExactValues(policy, mdp) if kind is Baseline.exact else None


class Run:
    """A run on an ENV: its agent, the generator of all updates, and checkpoints where they are asked for.

    every: updates from one checkpoint to the next; None: none are kept. asked: what else a checkpoint must agree with.
    """

    def __init__(
        self, problem: Problem, agent: Agent, folder: Path, *, episodes: int, seed: int, every: int | None,
        **asked: str,
    ) -> None:  # fmt: skip
        self.problem, self.mdp, self.agent, self.folder = problem, problem.mdp, agent, folder
        self.episodes, self.every = episodes, every
        self.generator = torch.Generator().manual_seed(seed)
        self.optimizer = getattr(agent, "optimizer", None) or plain_ascent(agent.policy)  # an EM step keeps nothing
        baseline = getattr(getattr(agent, "loss", None), "baseline", None)
        self.learned = {"baseline": torch.from_numpy(baseline.v)} if isinstance(baseline, LearnedValues) else {}
        run = asked | {"env": problem.name, "mdp": digest(problem.mdp), "episodes": episodes, "seed": seed,
                       "optimizer": type(self.optimizer).__name__,
                       "lr": self.optimizer.param_groups[0]["lr"]}  # fmt: skip
        self.checkpoints = Checkpoints(folder / f"{stem(problem)}-checkpoints", run, Alone())

    def __call__(self, *, updates: int, resume: bool, console: Console) -> History:
        """`train` with a progress bar that shows J. ctrl-C ends it after the update, and its checkpoint."""
        columns = (TextColumn("J = {task.fields[J]:.6g}"), BarColumn(), MofNCompleteColumn(), TextColumn("updates"),
                   TimeRemainingColumn())  # fmt: skip
        history = self._start(updates, resume)
        bar = Progress(*columns, console=console, transient=True)
        task = bar.add_task("", total=updates, J=float("nan"))
        with bar, stopping(Alone()) as stopped:

            def progress(row: dict[str, float]) -> None:
                bar.update(task, completed=int(row["update"]), J=row["J"])
                stop = stopped()
                if self.every and (row["update"] % self.every == 0 or row["update"] == updates or stop):
                    self._save(history)
                if stop:
                    raise KeyboardInterrupt

            return train(
                self.agent, self.mdp, updates=updates, episodes=self.episodes, generator=self.generator,
                max_steps=ReinforceLoss().forgets_after(self.mdp.gamma), history=history, progress=progress,
            )  # fmt: skip

    def _start(self, updates: int, resume: bool) -> History:
        if not self.every:
            return History()
        state = self._state()
        history = self.checkpoints.start(
            self.agent.policy, self.optimizer, updates=updates, resume=resume, more=state
        )
        try:
            self.generator.set_state(state["generator"])
        except RuntimeError as error:
            raise ValueError(f"{self.checkpoints.latest()}: this is no generator's state: {error}") from error
        return history

    def _save(self, history: History) -> None:
        self.checkpoints.save(self.agent.policy, self.optimizer, history, self._state())

    def _state(self) -> dict[str, torch.Tensor]:
        """What an update depends on, beside parameters and optimiser; the baseline itself, the generator as it is."""
        return self.learned | {"generator": self.generator.get_state()}


def trained(run: Run, manifest: Manifest, console: Console, *, updates: int, resume: bool) -> bool:
    """Train, say what became of J, and write it; True where ctrl-C came before the end."""
    problem = run.problem
    optimum = float(problem.mdp.start @ solve(problem.mdp).v)

    def write(history: History, *, whole: bool) -> None:
        with writing_to(run.folder):
            written = draw(problem, history, optimum, run.folder)
            if resume:
                retire(beside(written))
            wrote(console, written, manifest, whole=whole)

    try:
        with writing_to(run.folder, lambda: run.checkpoints.kept):
            history = run(updates=updates, resume=resume, console=console)
    except TrainingStopped as stopped:
        write(stopped.history, whole=False)
        raise
    J = history.column("J")
    console.print(
        f"{problem.name}, gamma {problem.mdp.gamma:g}: J went from {J[0]:.6g} to {J[-1]:.6g} in {len(J) - 1} updates; "
        f"{best(problem.mdp, optimum)}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    write(history, whole=not history.interrupted)
    return history.interrupted


def digest(mdp: FiniteMDP) -> str:
    """Of all that a run on it depends on."""
    found = hashlib.sha256(repr((mdp.states, mdp.actions, mdp.gamma)).encode())
    for x in (*mdp.table.columns(), mdp.start, mdp.observations):
        found.update(np.ascontiguousarray(x).tobytes())
    return found.hexdigest()


def best(mdp: FiniteMDP, optimum: float) -> str:
    """J*, and that the agent may not reach it where states look alike."""
    aliased = len(np.unique(mdp.observations[~mdp.terminal], axis=0)) < (~mdp.terminal).sum()
    return f"J* = {optimum:.6g}" + (" for a policy that sees the state; states look alike here" if aliased else "")


def stem(problem: Problem) -> str:
    """How the names of all files of a run begin."""
    return f"exactrl-train-{problem.stem}"


def draw(problem: Problem, history: History, optimum: float, folder: Path) -> list[Path]:
    """The .csv file and the figure."""
    written = [folder / f"{stem(problem)}.csv", folder / f"{stem(problem)}.png"]
    tidy(*written, beside(written))
    history.to_csv(written[0])
    title = f"{problem.name}, gamma {problem.mdp.gamma:g}"
    plot_history(history, written[1], optimum=(optimum, best(problem.mdp, optimum)), title=title)
    return written
