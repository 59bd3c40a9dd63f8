"""One update of a small table, what is noted of updates, and one of two processes."""

from __future__ import annotations

import torch

from agents import SoftmaxPolicy, TabularPreferences
from agents.learning import History
from agents.learning.processes import Alone
from agents.learning.training import COLUMNS, TIMES
from envs import bandit

ROWS = [dict.fromkeys(COLUMNS + TIMES, 0.5)] * 2


def fresh(lr: float = 0.1) -> tuple[SoftmaxPolicy, torch.optim.Optimizer]:
    policy = SoftmaxPolicy(TabularPreferences(bandit(means=(0, 1, 2)))).double()
    return policy, torch.optim.AdamW(policy.parameters(), lr=lr)


def stepped() -> tuple[SoftmaxPolicy, torch.optim.Optimizer]:
    policy, optimizer = fresh()
    theta = next(policy.parameters())
    (theta**2 + theta).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return policy, optimizer


def history(updates: int, **changes: float) -> History:
    numbers = {"sampled_return": 0.5, "standard_error": 0.1, "kl": 0.01, "entropy": 2.0, "mean_length": 3.0}
    noted = dict.fromkeys(COLUMNS + TIMES, 0.25) | numbers | changes
    return History([noted | {"update": k, "episodes": 8 * k} for k in range(updates + 1)])


class Member(Alone):
    """One of two processes that needs nothing of the other."""

    world = 2

    def __init__(self, rank: int) -> None:
        self.rank, self.closed = rank, 0

    def close(self) -> None:
        self.closed += 1
