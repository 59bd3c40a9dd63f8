"""Where text may stand: labels are put where they cover nothing, or are left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mdp.model.table import Floats
from mdp.plot.text import width


class Places:
    """What is drawn already, in inches: boxes, which no label may touch, and curves, which it had better not."""

    def __init__(self) -> None:
        self._boxes = np.empty((0, 4))  # left, bottom, right, top
        self._curves = np.empty((0, 2))

    def take(self, x: float, y: float, wide: float, tall: float) -> None:
        """A box around (x, y)."""
        self._boxes = np.vstack([self._boxes, self._box(x, y, wide, tall)])

    def pass_by(self, points: Floats) -> None:
        """The points of a curve."""
        self._curves = np.vstack([self._curves, points])

    def write(self, axes: Any, text: str, wanted: Sequence[Any], *, size: float, **style: Any) -> None:
        """Write at the first of the wanted places that covers the least; nowhere if each would cover a box."""
        wide, tall = width(text, size), 1.2 * size / 72
        costs = [self._cost(self._box(x, y, wide, tall)) for x, y in wanted]
        best = int(np.argmin(costs))
        if costs[best] < np.inf:
            x, y = wanted[best]
            axes.text(x, y, text, ha="center", va="center", fontsize=size, zorder=6, **style)
            self.take(x, y, wide, tall)

    @staticmethod
    def _box(x: float, y: float, wide: float, tall: float) -> Floats:
        return np.array([x - wide / 2, y - tall / 2, x + wide / 2, y + tall / 2])

    def _cost(self, box: Floats) -> float:
        left, bottom, right, top = box
        b, c = self._boxes, self._curves
        if ((b[:, 0] < right) & (left < b[:, 2]) & (b[:, 1] < top) & (bottom < b[:, 3])).any():
            return np.inf
        return float(((left < c[:, 0]) & (c[:, 0] < right) & (bottom < c[:, 1]) & (c[:, 1] < top)).sum())
