"""What many episodes amount to, without the episodes: memory grows with their number alone, not with their lengths."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mdp.model.table import Bools, Floats, Ints

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP


@dataclass(frozen=True)
class Statistics:
    """Of N episodes of an MDP with K outcomes in its table.

    starts (N,)       index of S_0
    returns (N,)      G_0, of what was played
    lengths (N,)      steps; terminated and truncated (N,) bool
    counts (K,)       how often each outcome of mdp.table was drawn
    visits (S, A)     how often each action was taken in each state
    """

    starts: Ints
    returns: Floats
    lengths: Ints
    terminated: Bools
    counts: Ints
    visits: Ints

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def truncated(self) -> Bools:
        """(N,) the episode was cut off before its end."""
        return ~self.terminated

    @cached_property
    def mean(self) -> float:
        """The mean of G_0."""
        return float(self.returns.mean())

    def moment(self, order: int) -> float:
        """The mean of (G_0 - mean)^order, order >= 2: the sample's own, with N below the line."""
        return float(((self.returns - self.mean) ** order).mean())

    @property
    def standard_error(self) -> float:
        """Of the mean, estimated from the sample; nan for one episode."""
        return float(np.sqrt(self.moment(2) / (len(self) - 1))) if len(self) > 1 else float("nan")


class Tally:
    """Takes the steps of a simulation (a `Recorder`), and gives `Statistics`."""

    def __init__(self, mdp: FiniteMDP, starts: Ints) -> None:
        self._mdp, self._starts, self._lengths = mdp, starts, np.zeros(len(starts), np.int64)
        self._returns, self._discount, self._steps = np.zeros(len(starts)), 1.0, 0
        self._counts = np.zeros(len(mdp.dynamics.next), np.int64)
        self._waiting, self._patience = list[Ints](), max(len(self._counts), len(starts))

    def step(self, playing: Ints, place: Ints) -> None:
        self._returns[playing] += self._discount * self._mdp.dynamics.reward.take(place)
        self._discount, self._steps = self._discount * self._mdp.gamma, self._steps + 1
        self._lengths[playing] = self._steps
        self._waiting.append(place)
        self._patience -= len(place)
        if self._patience < 0:
            self._count()

    def _count(self) -> None:
        """Counts what waits; that takes as long as the table is, so it is done when as much has come together."""
        if self._waiting:
            self._counts += np.bincount(np.concatenate(self._waiting), minlength=len(self._counts))
        self._waiting, self._patience = [], max(len(self._counts), len(self._starts))

    def done(self, cut: Ints) -> Statistics:
        self._count()
        t, counts = self._mdp.table, self._counts[self._mdp.dynamics.places]
        visits = np.zeros(self._mdp.admissible.shape, np.int64)
        np.add.at(visits, (t.state, t.action), counts)
        terminated = np.ones(len(self._starts), bool)
        terminated[cut] = False
        return Statistics(self._starts, self._returns, self._lengths, terminated, counts, visits)
