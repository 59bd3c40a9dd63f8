"""Training, with the truth beside it: the sampled return AND the exact J(theta_k) after every update."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv

from agents.learning.rollout import rollout
from agents.learning.steps import Agent, outcome
from mdp import Episodes, FiniteMDP, evaluate
from mdp.files.writing import replacing

COLUMNS = ("update", "episodes", "sampled_return", "standard_error", "mean_length", "J", "loss", "gradient_norm",
           "entropy", "kl")  # fmt: skip
TIMES = ("sampling_s", "scoring_s", "backward_s", "optimizer_s", "tokens_per_s")


@dataclass
class History:
    """One row (a dict) for each update, update 0 being the start. J is nan where the source is no FiniteMDP.

    sampled_return and its standard_error are those of the episodes that the update was made from; entropy is the mean
    of -log pi(A_t|S_t) over their steps, kl that of log pi - log reference: both unbiased. The last columns are where
    the time went, in seconds, and what a caller adds.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    interrupted: bool = False

    def column(self, name: str) -> Any:
        """One column as an array."""
        return np.array([row[name] for row in self.rows])

    def to_csv(self, path: str | Path, columns: Sequence[str] = COLUMNS) -> None:
        """Write these columns of all rows: by default all but the times, so that one seed writes one file."""
        with replacing(path) as new, new.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(self.rows)


class TrainingStopped(ValueError):
    """An update that went wrong; `history` holds all that was noted before."""

    def __init__(self, error: ValueError, history: History) -> None:
        super().__init__(f"after {len(history.rows) - 1} updates: {error}")
        self.history = history


def train(
    agent: Agent,
    source: FiniteMDP | VectorEnv[Any, Any, Any],
    *,
    updates: int,
    episodes: int = 100,
    group_size: int = 1,
    max_steps: int | None = None,
    generator: torch.Generator | Callable[[int], torch.Generator],
    progress: Callable[[dict[str, float]], None] | None = None,
    history: History | None = None,
    play: Callable[..., Episodes] = rollout,
) -> History:
    """`updates` times: roll out `episodes` episodes, update the agent, note what happened.

    generator   for all updates, or a function that gives the one of update k = 1, 2, ...
    history     of an earlier run, to go on after its last update until there are `updates` in all; it grows in place
    play        how episodes are had, with the parameters of `rollout`

    progress is called with every row. An interrupt (ctrl-C) ends training; what was noted is returned, marked.
    Raises TrainingStopped, with the history, where an update goes wrong.

    >>> import torch
    >>> from agents import Reinforce, SoftmaxPolicy, TabularPreferences, train
    >>> from envs import bandit
    >>> m, generator = bandit(means=(-1, 1)), torch.Generator().manual_seed(0)
    >>> agent = Reinforce(SoftmaxPolicy(TabularPreferences(m)).double())
    >>> history = train(agent, m, updates=20, episodes=100, generator=generator)
    >>> J = history.column("J")  # exact; history.column("sampled_return") is what the episodes earned
    >>> len(J), float(J[0]), bool(J[-1] > 0.5)
    (21, 0.0, True)
    """
    history = History() if history is None else history
    if not history.rows:
        history.rows.append(_row(0, 0, None, _exact(agent, source), {}))
    try:
        for k in range(len(history.rows), updates + 1):
            began = perf_counter()
            drawn_by = generator(k) if callable(generator) else generator
            played = play(
                agent.policy, source, episodes, group_size=group_size, generator=drawn_by, max_steps=max_steps
            )
            metrics = {"sampling_s": perf_counter() - began} | agent.update(played)
            history.rows.append(_row(k, k * episodes, played, _exact(agent, source), metrics))
            if progress:
                progress(history.rows[-1])
    except KeyboardInterrupt:
        history.interrupted = True
    except ValueError as error:
        raise TrainingStopped(error, history) from error
    return history


def _row(update: int, seen: int, played: Episodes | None, J: float, metrics: dict[str, float]) -> dict[str, float]:
    row = dict.fromkeys(COLUMNS + TIMES, float("nan")) | {"update": update, "episodes": seen, "J": J}
    return row | ({} if played is None else outcome(played)) | metrics


def _exact(agent: Agent, source: FiniteMDP | VectorEnv[Any, Any, Any]) -> float:
    """J(theta), exact."""
    if not isinstance(source, FiniteMDP):
        return float("nan")
    with torch.no_grad():
        pi = agent.policy.matrix(source).double().cpu().numpy()
    return evaluate(source, pi / np.where(source.terminal, 1.0, pi.sum(1))[:, None]).objective
