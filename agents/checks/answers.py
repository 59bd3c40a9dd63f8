"""What an assignment asserts: that an answer is the exact one; if it is not, by how much it is off, and where."""

from __future__ import annotations

from typing import Any

import numpy as np


def assert_close(name: str, yours: Any, exact: Any, tolerance: float = 1e-9) -> None:
    """Assert that |yours - exact| <= tolerance (1 + |exact|) everywhere; `name` says what it is.

    Raises AssertionError with the largest distance, its place, and both numbers; or with the shape that it should have.

    >>> from agents import assert_close
    >>> assert_close("v", [1.0, 2.0], [1.0, 2.5])
    Traceback (most recent call last):
    AssertionError: v is off by 0.5 at 1: yours 2, exact 2.5
    """
    assert yours is not None, f"{name}: your function returned nothing"
    truth = np.asarray(exact, dtype=float)
    try:
        found = np.asarray(yours, dtype=float)
    except (TypeError, ValueError):
        raise AssertionError(f"{name} should be numbers of shape {truth.shape}, not {type(yours).__name__}") from None
    assert found.shape == truth.shape, f"{name} has shape {found.shape}; it should be {truth.shape}"
    off = np.abs(found - truth) / (1 + np.abs(truth))
    off = np.where(np.isnan(off), np.inf, off)
    if not off.size or off.max() <= tolerance:
        return
    at = np.unravel_index(int(off.argmax()), off.shape)
    where = f" at {at[0] if len(at) == 1 else tuple(map(int, at))}" if at else ""
    x, y = float(found[at]), float(truth[at])
    raise AssertionError(f"{name} is off by {abs(x - y):.6g}{where}: yours {x:.6g}, exact {y:.6g}")
