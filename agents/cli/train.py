"""`exactrl train ENV`: REINFORCE, with the exact J(theta_k) beside the sampled return."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from agents.cli.problems import Problem, starting_policy
from agents.learning import (
    Agent,
    ExactAscent,
    ExactEM,
    ExactValues,
    History,
    LearnedValues,
    Reinforce,
    plain_ascent,
    train,
)
from agents.learning.plot import plot_history
from agents.losses import ReinforceLoss
from agents.policies import SoftmaxPolicy
from mdp import FiniteMDP


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


def run(agent: Agent, mdp: FiniteMDP, *, updates: int, episodes: int, seed: int, console: Console) -> History:
    """`train` with a progress bar that shows J."""
    columns = (TextColumn("J = {task.fields[J]:.6g}"), BarColumn(), MofNCompleteColumn(), TextColumn("updates"),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=updates, J=float("nan"))
        return train(
            agent, mdp, updates=updates, episodes=episodes, generator=torch.Generator().manual_seed(seed),
            max_steps=ReinforceLoss().forgets_after(mdp.gamma),
            progress=lambda row: bar.update(task, completed=int(row["update"]), J=row["J"]),
        )  # fmt: skip


def best(mdp: FiniteMDP, optimum: float) -> str:
    """J*, and that the agent may not reach it where states look alike."""
    aliased = len(np.unique(mdp.observations[~mdp.terminal], axis=0)) < (~mdp.terminal).sum()
    return f"J* = {optimum:.6g}" + (" for a policy that sees the state; states look alike here" if aliased else "")


def write(problem: Problem, history: History, optimum: float, folder: Path) -> list[Path]:
    """The .csv file and the figure."""
    stem = folder / f"exactrl-train-{problem.name.replace('/', '-')}"
    written = [stem.with_name(stem.name + ".csv"), stem.with_name(stem.name + ".png")]
    history.to_csv(written[0])
    title = f"{problem.name}, gamma {problem.mdp.gamma:g}"
    plot_history(history, written[1], optimum=(optimum, best(problem.mdp, optimum)), title=title)
    return written
