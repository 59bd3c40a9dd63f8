"""Optimal values, policies and ties, with a proven bound. Sutton & Barto (2nd ed.), chapter 4; Puterman (1994).

    v*(s) = max over a in A(s) of q*(s,a),        q* = r + gamma P v*

At gamma = 1, v* is the supremum over proper policies. Policy iteration that starts from a proper policy, and changes
an action only where another one is strictly better, stays proper: a recurrent class of an improper improvement would
have positive average reward, and then v* is infinite. That is found and refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mdp.control.bound import error_bound
from mdp.control.horizon import backward_induction
from mdp.control.linear import linear_programming
from mdp.control.modified import Stalled, modified_policy_iteration
from mdp.control.sweeping import Progress, partial_evaluation, printed, silent, value_iteration
from mdp.model.table import Bools, Floats, Ints, largest
from mdp.prediction.evaluation import evaluate
from mdp.prediction.graph import end_components, never_ending, proper_policy

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP

SMALL = 2_000  # states up to which "auto" factorises the linear system of every policy
TIE = 1e-12  # differences of q below this, relative to the largest |q|, are rounding


class Found(NamedTuple):
    """What a method returns: v (S,), an action for each state (S,), iterations, and a bound if it proved one."""

    v: Floats
    policy: Ints
    iterations: int
    bound: float = np.inf


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


def solve(
    mdp: FiniteMDP,
    /,
    *,
    method: str = "auto",
    tolerance: float = 1e-8,
    progress: bool | Callable[[int, float], None] = False,
    horizon: int | None = None,
) -> Solution:
    """v*, q*, an optimal policy and all optimal actions.

    method      "policy_iteration", "value_iteration", "modified_policy_iteration" or "linear_programming"; "auto" is
                policy iteration at gamma = 1 and for small problems, modified policy iteration beyond, which hands
                over to policy iteration where sweeps contract too slowly
    tolerance   wanted max-norm error of v; `bound` says what was reached
    progress    True prints a line; a function is called with (iteration, bound so far)
    horizon     H: the best that can be had within H steps, by backward induction, at any gamma; the policy depends on
                the step, and every array has the steps that were taken in front: v (H + 1, S), policy (H, S, A)

    At gamma = 1 sweeps and linear programming start policy iteration near its end, so that v is attained by a proper
    policy. Raises ValueError for an unknown method, a tolerance that is not positive, a method beside a horizon and, at
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
    show = progress if callable(progress) else printed if progress else silent
    if horizon is not None:
        if method != "auto":
            raise ValueError(f"a horizon is solved by backward induction: leave out method={method!r}")
        within = backward_induction(mdp, horizon, show)
        return Solution(*within, iterations=len(within.q), converged=within.bound <= tolerance)
    if method == "auto":
        method = "policy_iteration" if mdp.gamma == 1 or mdp.n_states <= SMALL else "modified_policy_iteration"
    return _solution(mdp, METHODS[method](mdp, _start(mdp), tolerance, show), tolerance)


def _start(mdp: FiniteMDP) -> Ints:
    """An action for each state to start from: proper at gamma = 1. Raises ValueError where no policy ends."""
    if mdp.gamma < 1:
        return greedy(mdp.backup(np.zeros(mdp.n_states)))
    policy, ends = proper_policy(mdp, mdp.admissible)
    if not ends.all():
        raise ValueError(
            f"at gamma = 1 no policy surely ends from {_named(mdp, np.flatnonzero(~ends))}: take gamma < 1, or "
            f"unroll(mdp, horizon)"
        )
    return np.maximum(policy, 0)


def _solution(mdp: FiniteMDP, found: Found, tolerance: float) -> Solution:
    v, policy, iterations, bound = found
    q = mdp.backup(v)
    pi = one_hot(mdp, policy)
    bound = min(bound, error_bound(mdp, v, q, pi))
    tie = 2 * bound if np.isfinite(bound) else TIE * _scale(q)
    best = mdp.admissible & (q >= (largest(q) - tie)[:, None])
    return Solution(v, q, pi, best, bound, iterations, bound <= tolerance)


def greedy(q: Floats) -> Ints:
    """The first best action of every state, (S,)."""
    return np.asarray(q.argmax(axis=1))


def one_hot(mdp: FiniteMDP, actions: Ints) -> Floats:
    """The deterministic policy (S, A) that takes `actions` (S,); zeros in terminal states."""
    pi = np.zeros(mdp.admissible.shape)
    pi[np.arange(mdp.n_states), actions] = ~mdp.terminal
    return pi


def _scale(q: Floats) -> float:
    return float(np.abs(q[np.isfinite(q)]).max(initial=0.0))


def _named(mdp: FiniteMDP, states: Ints) -> str:
    more = f" and {len(states) - 5} more" if len(states) > 5 else ""
    return "states " + ", ".join(repr(mdp.states[s]) for s in states[:5]) + more


# ---- methods: (mdp, policy, tolerance, show) -> Found ----


def policy_iteration(mdp: FiniteMDP, policy: Ints, show: Progress) -> Found:
    """Howard (1960): evaluate exactly, improve strictly, until nothing is better (S&B section 4.3).

    Better by what rounding may explain is not better; and a policy that comes back, by rounding, ends it too.
    """
    states, seen = np.arange(mdp.n_states), set()
    while True:
        v, q, _ = evaluate(mdp, one_hot(mdp, policy))
        top = largest(q)
        seen.add(policy.tobytes())
        show(len(seen), float((top - v).max()))
        better = top > q[states, policy] + _uncertain(mdp, v)
        improved = np.where(better, greedy(q), policy)
        if improved.tobytes() in seen:
            return Found(v, policy, len(seen))
        policy = improved
        if mdp.gamma == 1:
            _refuse_profitable_loop(mdp, policy)


def _uncertain(mdp: FiniteMDP, v: Floats) -> Floats:
    """What rounding, and rows that do not quite sum to 1, may change in the q of a state, (S,)."""
    ones, rows = np.ones(mdp.n_states), mdp.transition
    defect = np.abs(rows @ ones - mdp.admissible.ravel())
    defect = np.where(defect > 1e-15, defect, 0.0) * np.abs(v).max()
    size = np.abs(mdp.expected_reward).ravel() + mdp.gamma * (rows @ np.abs(v))
    uncertain: Floats = (TIE * size + defect).reshape(mdp.admissible.shape).max(axis=1)
    return uncertain


def _refuse_profitable_loop(mdp: FiniteMDP, policy: Ints) -> None:
    stuck = never_ending(mdp, pi := one_hot(mdp, policy))
    if len(stuck):
        loop = np.flatnonzero(end_components(mdp, pi > 0)[0] >= 0)
        raise ValueError(
            f"at gamma = 1 positive reward can be earned for ever in {_named(mdp, loop)}: v* is infinite there; take "
            f"gamma < 1, or unroll(mdp, horizon)"
        )


def _by_policy_iteration(mdp: FiniteMDP, start: Ints, tolerance: float, show: Progress) -> Found:
    del tolerance  # it ends at rounding
    return policy_iteration(mdp, start, show)


def _near_optimal(mdp: FiniteMDP, v: Floats, start: Ints, slack: float) -> Ints:
    """A policy that is greedy within `slack` of v and, at gamma = 1, proper: by ties, else `start`."""
    q = mdp.backup(v)
    if mdp.gamma < 1:
        return greedy(q)
    near = mdp.admissible & (q >= q.max(axis=1, keepdims=True) - slack)
    policy, ends = proper_policy(mdp, near)
    return np.maximum(policy, 0) if ends.all() else start


def _by_value_iteration(mdp: FiniteMDP, start: Ints, tolerance: float, show: Progress) -> Found:
    return _finished(mdp, value_iteration(mdp, _below(mdp, start), tolerance, show), start, tolerance, show)


def _by_modified(mdp: FiniteMDP, start: Ints, tolerance: float, show: Progress) -> Found:
    """Sweeps; where they contract too slowly, exact evaluations of their last policy and better ones."""
    if mdp.gamma == 1:
        return _finished(mdp, partial_evaluation(mdp, _below(mdp, start), tolerance, show), start, tolerance, show)
    try:
        return Found(*modified_policy_iteration(mdp, tolerance, show))
    except Stalled as stalled:
        return policy_iteration(mdp, stalled.policy, show)


def _below(mdp: FiniteMDP, start: Ints) -> Floats:
    """Where sweeps start: 0 and, at gamma = 1, a proper policy's v, from which they rise to v* whatever the loops."""
    return evaluate(mdp, one_hot(mdp, start)).v if mdp.gamma == 1 else np.zeros(mdp.n_states)


def _finished(
    mdp: FiniteMDP, swept: tuple[Floats, float, int], start: Ints, tolerance: float, show: Progress
) -> Found:
    v, bound, sweeps = swept
    policy = _near_optimal(mdp, v, start, tolerance)
    if mdp.gamma < 1:
        return Found(v, policy, sweeps, bound)
    found = policy_iteration(mdp, policy, show)
    return found._replace(iterations=sweeps + found.iterations)


def _by_linear_programming(mdp: FiniteMDP, start: Ints, tolerance: float, show: Progress) -> Found:
    try:
        v, iterations = linear_programming(mdp)
    except ValueError:
        if mdp.gamma < 1:
            raise
        return policy_iteration(mdp, start, show)  # names the states where v* is infinite; else HiGHS was at its limit
    policy = _near_optimal(mdp, v, start, max(tolerance, 1e-6 * _scale(mdp.backup(v))))
    found = policy_iteration(mdp, policy, show)
    return found._replace(iterations=iterations + found.iterations)


METHODS: dict[str, Callable[[FiniteMDP, Ints, float, Progress], Found]] = {
    "auto": _by_policy_iteration,
    "value_iteration": _by_value_iteration,
    "policy_iteration": _by_policy_iteration,
    "modified_policy_iteration": _by_modified,
    "linear_programming": _by_linear_programming,
}
