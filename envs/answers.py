"""What is known of an environment, as data that tests read."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mdp import FiniteMDP
from mdp.plot import Cell, CellOf

__all__ = ["Answer", "Cell", "Entry"]


@dataclass(frozen=True)
class Answer:
    """Values of some states, by label: of the uniform policy, or optimal. `source` says where they are from.

    gamma is the discount that they hold for; parameters are those that the environment is made with.
    """

    of: Literal["uniform", "optimal"]
    gamma: float
    v: Mapping[Hashable, float]
    source: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """An environment of the zoo: a function that makes the FiniteMDP, all of whose parameters have defaults.

    cell gives the (row, column) at which a state, by its label, is drawn; None for a state that is drawn nowhere.
    Several states may share a cell. Without it, states that are pairs are cells where moves lead to neighbours, and
    all else is drawn as a graph.

    >>> from envs import ZOO
    >>> from mdp import evaluate
    >>> entry = ZOO["ShortCorridor"]
    >>> m, answer = entry.make(), entry.answers[0]
    >>> answer.of, answer.source, [float(answer.v[s]) for s in m.states]
    ('uniform', 'Example 13.1 at p = 1/2', [-12.0, -10.0, -6.0, 0.0])
    >>> evaluate(m, m.uniform_policy()).v.round(10).tolist()
    [-12.0, -10.0, -6.0, 0.0]
    """

    make: Callable[..., FiniteMDP]
    answers: tuple[Answer, ...]
    cell: CellOf | None = None
