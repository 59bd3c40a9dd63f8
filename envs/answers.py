"""What is known of an environment, as data that tests read."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Literal

from mdp import FiniteMDP


@dataclass(frozen=True)
class Answer:
    """Values of some states, by label: of the uniform policy, or optimal. `source` says where they are from.

    gamma is the discount that they hold for; parameters are those that the environment is made with.
    """

    of: Literal["uniform", "optimal"]
    gamma: float
    v: Mapping[Hashable, float]
    source: str


@dataclass(frozen=True)
class Entry:
    """An environment of the zoo: a function that makes the FiniteMDP, all of whose parameters have defaults."""

    make: Callable[..., FiniteMDP]
    answers: tuple[Answer, ...]
