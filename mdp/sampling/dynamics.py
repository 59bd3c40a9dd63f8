"""Drawing from many finite distributions at once, and an MDP's table arranged for it.

Inverse CDF: of row i the first outcome is drawn whose cumulative probability exceeds U, U uniform in [0, 1). Rows are
padded to a power of two, so that all of them take the same few halvings, without a branch. The alias method and a
scan over the outcomes are measured beside it in tests/benchmarks/simulation_speed.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdp.model.table import Bools, Floats, Ints, Outcomes


class Sampler:
    """Draws from R distributions: row i lies at edges[i] .. edges[i + 1] of the flat array p.

    A draw is a place in a padded table, row * width + column; `table` lays values of the entries out in that way.
    """

    def __init__(self, p: Floats, edges: Ints) -> None:
        sizes = np.diff(edges)
        self.width = 1 << (int(sizes.max(initial=1)) - 1).bit_length()
        padding = self.width * np.arange(len(sizes)) - edges[:-1]
        self.rows, self.places = len(sizes), np.arange(len(p)) + np.repeat(padding, sizes)
        summed = self.table(p).reshape(self.rows, self.width).cumsum(axis=1)
        total = summed[:, -1:].copy()  # divided by itself it is 1, which no U reaches
        cumulative = np.divide(summed, total, out=summed, where=total > 0).ravel()
        halves = [1 << k for k in reversed(range((self.width - 1).bit_length()))]
        self._halvings = [(half, cumulative[half - 1 :]) for half in halves]

    def table(self, x: NDArray[Any]) -> NDArray[Any]:
        """Values of the entries of p by place, (R * width,); 0 in the padding."""
        out = np.zeros(self.rows * self.width, x.dtype)
        out[self.places] = x
        return out

    def draw(self, row: Ints, rng: np.random.Generator) -> Ints:
        """The place of one draw for each row. An entry of probability 0 is never drawn; a row without entries has
        no draw: what stands for it means nothing."""
        place: Ints = row * self.width
        if self.width == 1:
            return place
        u = rng.random(len(row))
        for half, cumulative in self._halvings:
            beyond = cumulative.take(place) <= u
            place += beyond if half == 1 else half * beyond
        return place


class Dynamics:
    """p(s',r|s,a) and Pr(S_0 = s) to draw from. The row of (s, a) is s * width + a, width a power of two >= A."""

    def __init__(self, table: Outcomes, start: Floats, terminal: Bools, n_actions: int) -> None:
        self.width = 1 << (n_actions - 1).bit_length()
        row = table.state * self.width + table.action
        self.outcomes = Sampler(table.p, np.searchsorted(row, np.arange(len(start) * self.width + 1)))
        self.next, self.reward = self.outcomes.table(table.next), self.outcomes.table(table.reward)
        self.terminal = terminal
        self._start = Sampler(start, np.array([0, len(start)]))

    def pairs(self, place: Ints) -> tuple[Ints, Ints]:
        """(s, a) of drawn outcomes."""
        s, a = np.divmod(place // self.outcomes.width, self.width)
        return s, a

    def starts(self, n: int, rng: np.random.Generator) -> Ints:
        """S_0, n times."""
        return self._start.draw(np.zeros(n, np.int64), rng)
