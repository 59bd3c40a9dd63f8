"""The methods of `solve`: (mdp, tolerance, show) -> Found.

At gamma = 1 sweeps and linear programming start policy iteration near its end, so that v is attained by a proper
policy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from mdp.control.bound import scale
from mdp.control.howard import first_policy, one_hot, policy_iteration
from mdp.control.linear import linear_programming
from mdp.control.modified import Stalled, modified_policy_iteration
from mdp.control.progress import Found, Show
from mdp.control.sweeping import partial_evaluation, value_iteration
from mdp.control.turns import MORE_SWEEPS, beginning, sweep_and_solve
from mdp.model.table import Floats, Ints, greedy
from mdp.prediction.evaluation import evaluate
from mdp.prediction.graph import proper_policy

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP

SMALL = 2_000  # states up to which "auto" takes v to rounding, whatever the tolerance
FEW = 5_000  # outcomes up to which a sweep is cheap beside all else, and a linear system not much dearer


def by_itself(mdp: FiniteMDP, tolerance: float, show: Show) -> Found:
    """What "auto" is: by structure and size."""
    if mdp.gamma == 1:
        return by_policy_iteration(mdp, tolerance, show)
    if mdp.n_states > SMALL:
        return by_modified_policy_iteration(mdp, tolerance, show)
    if len(mdp.table.p) <= FEW:
        return sweep_and_solve(mdp, *beginning(mdp), show)
    return by_modified_policy_iteration(mdp, 0.0, show)


def by_policy_iteration(mdp: FiniteMDP, tolerance: float, show: Show) -> Found:
    del tolerance  # it ends at rounding
    return policy_iteration(mdp, first_policy(mdp), show)


def by_value_iteration(mdp: FiniteMDP, tolerance: float, show: Show) -> Found:
    if mdp.gamma == 1:
        return _from_below(mdp, value_iteration, tolerance, show)
    v, bound, sweeps = value_iteration(mdp, np.zeros(mdp.n_states), tolerance, show)
    return Found(v, greedy(mdp.backup(v)), sweeps, bound)


def by_modified_policy_iteration(mdp: FiniteMDP, tolerance: float, show: Show) -> Found:
    """Where sweeps contract too slowly, exact evaluations come in between."""
    if mdp.gamma == 1:
        return _from_below(mdp, partial_evaluation, tolerance, show)
    try:
        return modified_policy_iteration(mdp, tolerance, show)
    except Stalled as stalled:
        return sweep_and_solve(mdp, stalled.v, MORE_SWEEPS, show)


def by_linear_programming(mdp: FiniteMDP, tolerance: float, show: Show) -> Found:
    start = first_policy(mdp)
    try:
        v, iterations = linear_programming(mdp)
    except ValueError:
        if mdp.gamma < 1:
            raise
        return policy_iteration(mdp, start, show)  # names the states where v* is infinite; else HiGHS was at its limit
    return _finished(mdp, v, start, iterations, tolerance, show)


def _from_below(
    mdp: FiniteMDP,
    sweep: Callable[[FiniteMDP, Floats, float, Show], tuple[Floats, float, int]],
    tolerance: float,
    show: Show,
) -> Found:
    """Sweeps at gamma = 1 from a proper policy's v, from which they rise to v* whatever the loops."""
    start = first_policy(mdp)
    v, _, sweeps = sweep(mdp, evaluate(mdp, one_hot(mdp, start)).v, tolerance, show)
    return _finished(mdp, v, start, sweeps, tolerance, show)


def _finished(
    mdp: FiniteMDP, v: Floats, start: Ints, iterations: int, tolerance: float, show: Show
) -> Found:
    """Policy iteration from a policy that is greedy for v, nearly, and proper at gamma = 1: else from `start`."""
    q = mdp.backup(v)
    policy = greedy(q)
    if mdp.gamma == 1:
        near = max(tolerance, 1e-6 * scale(q))
        policy, ends = proper_policy(mdp, mdp.admissible & (q >= v[:, None] - near))
        policy = np.maximum(policy, 0) if ends.all() else start
    found = policy_iteration(mdp, policy, show)
    return found._replace(iterations=iterations + found.iterations)


METHODS: dict[str, Callable[[FiniteMDP, float, Show], Found]] = {
    "auto": by_itself,
    "value_iteration": by_value_iteration,
    "policy_iteration": by_policy_iteration,
    "modified_policy_iteration": by_modified_policy_iteration,
    "linear_programming": by_linear_programming,
}
