"""Colours of numbers and of actions, and the ink that can be read on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mdp.model.table import Floats

WALL, UNREACHED, LIGHT, INK = "0.25", "0.85", "0.97", "0.1"
AGENT = "#d62728"


class Paint(NamedTuple):
    """A scale from numbers to colours; `mappable` is what a colour bar shows."""

    mappable: Any

    def colors(self, x: Floats) -> Floats:
        """Red, green, blue and alpha of each number, (n, 4)."""
        return np.asarray(self.mappable.to_rgba(np.ma.asarray(x)))  # a plain row of 3 or 4 would be taken for a colour

    def inks(self, x: Floats) -> list[str]:
        """What can be read on each of them."""
        return [ink_on(color) for color in self.colors(x)]


def paint(values: Floats, low: float = -np.inf, high: float = np.inf) -> Paint:
    """The scale from the least to the largest finite value, within limits; what lies beyond has the last colour."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    finite = values[np.isfinite(values)]
    low, high = (max(low, finite.min()), min(high, finite.max())) if len(finite) else (0.0, 1.0)
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):  # one value: the middle of the scale
        low, high = low - 1, high + 1
    return Paint(ScalarMappable(Normalize(low, high), colormaps["viridis"]))


def ink_on(color: Sequence[float] | Floats) -> str:
    """Black on bright colours, white on dark ones."""
    return INK if 0.3 * color[0] + 0.59 * color[1] + 0.11 * color[2] > 0.5 else "white"


def action_colors(n: int) -> list[Any]:
    """A colour for each action: ten that differ much, more as a scale."""
    from matplotlib import colormaps

    if n <= 10:
        return [colormaps["tab10"](a) for a in range(n)]
    return [colormaps["turbo"](a / (n - 1)) for a in range(n)]
