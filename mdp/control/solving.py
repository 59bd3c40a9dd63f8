"""Optimal values, policies and ties, with a proven bound. Sutton & Barto (2nd ed.), chapter 4; Puterman (1994).

    v*(s) = max over a in A(s) of q*(s,a),        q* = r + gamma P v*

At gamma = 1, v* is the supremum over proper policies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mdp.control.bound import TIE, proven, scale
from mdp.control.horizon import backward_induction
from mdp.control.howard import one_hot
from mdp.control.methods import METHODS
from mdp.control.progress import Found, Progress, shown
from mdp.control.turns import MORE_SWEEPS, swept
from mdp.model.table import Bools, Floats, greedy, largest
from mdp.prediction.error import check_rewards
from mdp.prediction.evaluation import check_finite

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP


class Solution(NamedTuple):
    """v* and what attains it.

    v (S,), q (S, A); policy (S, A): deterministic, zeros in terminal states; optimal_actions (S, A) bool: all ties
    within the bound; bound: max-norm error of v, proven; iterations: improvement steps; converged: bound <= tolerance.

    Within H steps every array has the steps that were taken in front: v (H + 1, S), v[H] = 0; q, policy and
    optimal_actions (H, S, A); bound: of every v[t], from rounding alone; iterations: H.
    """

    v: Floats
    q: Floats
    policy: Floats
    optimal_actions: Bools
    bound: float
    iterations: int
    converged: bool


class SolveInterrupted(KeyboardInterrupt):
    """ctrl-C while `solve` was at work. `solution` is what there was: its v, and a bound that is proven for it.

    >>> from envs import gridworld_4x4
    >>> from mdp import SolveInterrupted, solve
    >>> def ctrl_c(iteration, bound):
    ...     raise KeyboardInterrupt
    >>> try:
    ...     solve(gridworld_4x4(gamma=0.9), method="value_iteration", progress=ctrl_c)
    ... except SolveInterrupted as stopped:
    ...     stopped.solution.iterations, stopped.solution.converged, round(stopped.solution.bound, 10)
    (1, False, 9.0)
    """

    def __init__(self, solution: Solution) -> None:
        super().__init__(f"stopped after {solution.iterations} iterations: v* within {solution.bound:.2g}")
        self.solution = solution


def solve(
    mdp: FiniteMDP,
    /,
    *,
    method: str = "auto",
    tolerance: float = 1e-8,
    progress: bool | Progress | None = None,
    horizon: int | None = None,
) -> Solution:
    """v*, q*, an optimal policy and all optimal actions.

    method      "policy_iteration", "value_iteration", "modified_policy_iteration" or "linear_programming"; "auto" is
                policy iteration at gamma = 1; below, sweeps and exact values by turns for small tables, modified
                policy iteration for others, which turns to exact values where sweeps contract too slowly
    tolerance   wanted max-norm error of v; `bound` says what was reached
    progress    None: a bar on a terminal, after a second; True, False: a bar, or none; a function is called with
                (iteration, bound so far)
    horizon     H: the best that can be had within H steps, by backward induction, at any gamma; the policy depends on
                the step, and every array has the steps that were taken in front: v (H + 1, S), policy (H, S, A)

    At gamma = 1 sweeps and linear programming start policy iteration near its end, so that v is attained by a proper
    policy. Where float64 cannot reach the tolerance, `converged` is False and the bound says what holds: it is proven
    for the table's numbers as they are, rounding included. At gamma = 1 a loop that earns 0 up to rounding earns 0.
    ctrl-C after the first iteration, without a horizon, raises SolveInterrupted: a KeyboardInterrupt with the solution
    so far.

    Raises ValueError for an unknown method, a tolerance that is not positive, a method beside a horizon, rewards so
    large that returns may overflow (above 1e305 (1 - gamma), or 1e290), where HiGHS finds no solution and, at
    gamma = 1 without a horizon, for states without a proper policy and states that can earn positive reward for ever.

    >>> from envs import gambler
    >>> from mdp import solve
    >>> m = gambler()  # Sutton & Barto, Example 4.3
    >>> found = solve(m)
    >>> found.v[[25, 50, 75]].round(10).tolist()
    [0.16, 0.4, 0.64]
    >>> [m.actions[a] for a in found.optimal_actions[51].nonzero()[0]]  # all ties
    [1, 49]
    >>> solve(m, horizon=1).v[0, [49, 50]].tolist()  # one bet: stake all, from 50 on
    [0.0, 0.4]
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; it may be {', '.join(map(repr, METHODS))}")
    if not tolerance > 0:
        raise ValueError(f"tolerance must be positive, not {tolerance}")
    if horizon is not None and method != "auto":
        raise ValueError(f"a horizon is solved by backward induction: leave out method={method!r}")
    with shown(progress, tolerance) as tell:
        if horizon is not None:
            within = backward_induction(mdp, horizon, tell)
            return Solution(*within, iterations=len(within.q), converged=within.bound <= tolerance)
        check_rewards(mdp, 1 - mdp.gamma)
        found = _found(mdp, method, tolerance, tell)
    return _solution(mdp, found, tolerance, more=True)


def _found(mdp: FiniteMDP, method: str, tolerance: float, tell: Progress) -> Found:
    """What the method finds. Raises SolveInterrupted for a KeyboardInterrupt, with what there was."""
    last: tuple[int, Floats] | None = None

    def show(iteration: int, bound: float, v: Floats) -> None:
        nonlocal last
        last = iteration, v
        tell(iteration, bound)

    try:
        return METHODS[method](mdp, tolerance, show)
    except KeyboardInterrupt:
        if last is None:
            raise
        iteration, v = last[0], last[1].astype(np.float64)
        found = Found(v, greedy(mdp.backup(v)), iteration)
        raise SolveInterrupted(_solution(mdp, found, tolerance, more=False)) from None


def _solution(mdp: FiniteMDP, found: Found, tolerance: float, *, more: bool) -> Solution:
    """With the bound that can be proven; more: a few sweeps may make it smaller."""
    v, policy, iterations, known, q = found
    check_finite(mdp, v)
    q = mdp.backup(v) if q is None else q
    bound = proven(mdp, v, q, policy, tolerance, known)
    while more and bound > tolerance and mdp.gamma < 1:  # where episodes end soon a few sweeps do what spans could not
        w, q_w, _ = swept(mdp.backup, v, q, MORE_SWEEPS)
        closer = proven(mdp, w, q_w, greedy(q_w), tolerance)
        if not closer < bound / 2:
            break
        v, q, policy, bound = w, q_w, greedy(q_w), closer
    tie = 2 * bound if np.isfinite(bound) else TIE * scale(q)
    best = mdp.admissible & (q >= (largest(q) - tie)[:, None])
    return Solution(v, q, one_hot(mdp, policy), best, float(bound), iterations, bool(bound <= tolerance))
