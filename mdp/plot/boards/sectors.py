"""How a cell is cut into one part for each action."""

from __future__ import annotations

from itertools import pairwise
from math import cos, pi, sin
from typing import NamedTuple

import numpy as np

from mdp.model.table import Floats

CORNERS = (pi / 4, 3 * pi / 4, 5 * pi / 4, 7 * pi / 4)


class Polygon(NamedTuple):
    """Corners (x, y) about the centre of a cell of size 1; numbers stand at (x, y), in a width of `room`."""

    corners: list[tuple[float, float]]
    x: float
    y: float
    room: float


def sectors(directions: Floats) -> list[Polygon]:
    """A polygon for each action (A,): a sector on the side that it points to, stripes for those that point nowhere.

    directions (A, 2): (down, right), 0 for none. Where some point and others do not, the stripes lie in the middle.
    """
    still = np.flatnonzero(~directions.any(axis=1))
    half = 0.5 if len(still) == len(directions) else 0.18
    parts = dict(zip(still.tolist(), _stripes(len(still), half), strict=True))
    moving = np.flatnonzero(directions.any(axis=1))
    angles = np.arctan2(directions[moving, 0], directions[moving, 1]) % (2 * pi)
    parts |= {int(moving[k]): x for k, x in _sectors(angles, inner=half if len(still) else 0.0).items()}
    return [parts[a] for a in range(len(directions))]


def _stripes(n: int, half: float) -> list[Polygon]:
    at = np.linspace(-half, half, n + 1)
    return [
        Polygon([(x, -half), (y, -half), (y, half), (x, half)], (x + y) / 2, 0.0, 0.9 * (y - x))
        for x, y in pairwise(at.tolist())
    ]


def _sectors(angles: Floats, inner: float) -> dict[int, Polygon]:
    order = np.argsort(angles, kind="stable")
    found = {}
    for k in range(len(order)):
        middle = angles[order[k]]
        before = (middle - angles[order[k - 1]]) % (2 * pi) or 2 * pi
        after = (angles[order[(k + 1) % len(order)]] - middle) % (2 * pi) or 2 * pi
        found[int(order[k])] = _sector(middle - before / 2, middle + after / 2, middle, inner)
    return found


def _sector(low: float, high: float, middle: float, inner: float) -> Polygon:
    """The part of the square between two angles, outside of the inner square."""
    between = sorted(c + turn for c in CORNERS for turn in (-2 * pi, 0, 2 * pi) if low < c + turn < high)
    rim = [low, *between, high]
    corners = [_on_square(x, 0.5) for x in rim]
    corners += [_on_square(x, inner) for x in reversed(rim)] if inner else [(0.0, 0.0)]
    x, y = _on_square(middle, 0.5 * (0.5 + inner))
    if inner:
        return Polygon(corners, x, y, 0.85 * (0.5 - inner))
    # a line of text has most room a little outside of the middle
    return Polygon(corners, 1.16 * x, 1.36 * y, 0.42 if high - low > 1.2 else 0.28)


def _on_square(angle: float, half: float) -> tuple[float, float]:
    """The point of the square's edge in that direction, y downwards."""
    x, y = cos(angle), sin(angle)
    far = half / max(abs(x), abs(y))
    return x * far, y * far


