"""Value iteration, stopped by span bounds; and sweeps at gamma = 1, which policy iteration finishes.

    v_{k+1} = T v_k,        T v (s) = max over a of q(s,a)          S&B equation 4.10; Puterman & Shin (1978)

With d = T v - v, and d = 0 in terminal states, v* - T v lies between gamma min(d) / (1 - gamma) and
gamma max(d) / (1 - gamma) (MacQueen 1966; Porteus 1971): the middle is the better v, half the span its error.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mdp.control.bound import rounding
from mdp.control.progress import Show
from mdp.model.table import Floats, largest
from mdp.prediction.error import lost
from mdp.prediction.evaluation import average

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP

EVALUATION_SWEEPS = 20  # of modified policy iteration, between two improvements
MOST_SWEEPS = 1_000  # at gamma = 1, where no contraction tells how many it takes, and policy iteration ends the work


def value_iteration(mdp: FiniteMDP, v: Floats, tolerance: float, show: Show) -> tuple[Floats, float, int]:
    """(v, bound of its error, sweeps), the bound below `tolerance` where float64 reaches it.

    At gamma = 1 nothing is proven: sweeps end when a change is below tolerance, and the bound is inf.
    """
    return _sweep(mdp, v, tolerance, show, 0)


def partial_evaluation(mdp: FiniteMDP, v: Floats, tolerance: float, show: Show) -> tuple[Floats, float, int]:
    """As `value_iteration`, with 20 expected backups under the greedy policy between two optimality backups.

    Used at gamma = 1; below, `mdp.control.modified` does less work.
    """
    return _sweep(mdp, v, tolerance, show, EVALUATION_SWEEPS)


def _sweep(
    mdp: FiniteMDP, v: Floats, tolerance: float, show: Show, evaluations: int
) -> tuple[Floats, float, int]:
    gamma, sweeps = mdp.gamma, 0
    while True:
        q = mdp.backup(v)
        Tv = largest(q)
        d = Tv - v
        sweeps += 1
        if gamma < 1:
            low, high = (gamma / (1 - gamma) * x for x in (d.min(), d.max()))
            error = (high - low) / 2
            if error <= 0.9 * tolerance or sweeps > _enough(mdp, tolerance) or _is_rounding(mdp, Tv, error):
                v = np.where(mdp.terminal, 0.0, Tv + (low + high) / 2)
                return v, error + rounding(mdp, v) / (1 - gamma), sweeps
        else:
            error = np.abs(d).max()
            if error <= tolerance or sweeps > MOST_SWEEPS:
                return Tv, np.inf, sweeps
        show(sweeps, error, Tv)
        v = Tv
        if evaluations:
            pi = (q == Tv[:, None]) & mdp.admissible
            pi = pi / np.maximum(pi.sum(axis=1, keepdims=True), 1)
            for _ in range(evaluations):
                v = average(pi, mdp.backup(v))


def _is_rounding(mdp: FiniteMDP, v: Floats, error: float) -> bool:
    """An error of v that float64 cannot make smaller: row by row only where the bound for all rows says so too."""
    left = error * (1 - mdp.gamma)
    return left <= rounding(mdp, v) and left <= float(lost(mdp, v).max())


def _enough(mdp: FiniteMDP, tolerance: float) -> float:
    """Sweeps after which exact arithmetic would be done: gamma^k 2 max|r| / (1 - gamma)^2 <= tolerance / 2."""
    gamma, r = mdp.gamma, float(np.abs(mdp.expected_reward).max())
    if gamma == 0 or r == 0:
        return 2
    return max(2.0, math.log(tolerance * (1 - gamma) ** 2 / (4 * r)) / math.log(gamma)) + 10
