"""How far a solution is: a line on stderr, or a function that is told. And what a method has found in the end."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import NamedTuple

import numpy as np

from mdp.model.table import Floats, Ints

Progress = Callable[[int, float], None]  # (iteration, bound so far)
Show = Callable[[int, float, Floats], None]  # and v so far
WIDTH = 40  # characters of a whole bar
PATIENCE = 1.0  # seconds without a bar
PAUSE = 0.1  # seconds between two lines


class Found(NamedTuple):
    """What a method returns: v (S,), an action for each state (S,), iterations; a bound and q (S, A) if it has them."""

    v: Floats
    policy: Ints
    iterations: int
    bound: float = np.inf
    q: Floats | None = None


class Bar:
    """A bar on stderr, written over: how much of the way from the first bound to the tolerance is done, in digits."""

    def __init__(self, tolerance: float, patience: float) -> None:
        self.tolerance, self.first, self.next = tolerance, math.nan, monotonic() + patience
        self.shown = False

    def __call__(self, iteration: int, bound: float) -> None:
        if not math.isfinite(self.first):
            self.first = bound
        if monotonic() < self.next:
            return
        whole, done = (math.log(max(self.first / max(x, 1e-300), 1.0)) for x in (self.tolerance, bound))
        filled = round(WIDTH * min(done / whole, 1.0)) if whole > 0 and math.isfinite(whole) else 0
        line = f"[{'#' * filled:{WIDTH}}] iteration {iteration}: within {bound:.2e}"
        print(f"\r{line:{WIDTH + 45}}", end="", file=sys.stderr, flush=True)
        self.shown, self.next = True, monotonic() + PAUSE


@contextmanager
def shown(progress: bool | Progress | None, tolerance: float) -> Iterator[Progress]:
    """What `solve(progress=)` asks for: a function is told; True: a bar; None: one on a terminal, after a second."""
    if callable(progress):
        yield progress
    elif progress is False or (progress is None and not sys.stderr.isatty()):
        yield lambda _iteration, _bound: None
    else:
        bar = Bar(tolerance, 0.0 if progress else PATIENCE)
        try:
            yield bar
        finally:
            if bar.shown:
                print(file=sys.stderr)
