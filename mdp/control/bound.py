"""How far a given v is from v*: a proven bound, rounding included.

gamma < 1: with d = T v - v (0 in terminal states), |v* - v| <= max|d| / (1 - gamma).

gamma = 1: weights xi with xi(s) >= 1 + sum over s' of Pr(s'|s,a) xi(s') turn a residual of delta into the bound
delta max(xi), since v + delta xi is then superharmonic: no proper policy earns more. xi is needed for the actions that
are nearly tied alone, the others lose more than they could gain; it is the longest expected time to the end that those
actions allow, with their end components (loops that cost nothing) drawn together into one state each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mdp.model.table import EPS, Bools, Floats, Outcomes, largest
from mdp.prediction.chain import Chain
from mdp.prediction.evaluation import average
from mdp.prediction.graph import end_components

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP

TIE = 1e-12  # differences of q below this, relative to the largest |q|, are rounding
NEARLY_TIED = 1e-9  # relative to the largest |v|


def error_bound(mdp: FiniteMDP, v: Floats, q: Floats, policy: Floats) -> float:
    """max-norm bound of v* - v; `policy` (S, A) is the one that is said to attain v; inf where nothing is proven."""
    d = largest(q) - v
    lost = rounding(mdp, v)
    if mdp.gamma < 1:
        return float((np.abs(d).max() + lost) / (1 - mdp.gamma))
    above = max(d.max(), 0.0) + lost
    below = np.abs(average(policy, q) - v).max() + lost
    near = NEARLY_TIED * max(np.abs(v).max(), np.abs(mdp.expected_reward).max())
    steps = Chain(mdp, policy).solve(np.where(mdp.terminal, 0.0, 1.0)).max()
    longest = _longest_time(mdp, mdp.admissible & (q >= v[:, None] - near - lost))
    if above * longest > near + lost:
        return np.inf
    return float(max(above * longest, below * steps))


def rounding(mdp: FiniteMDP, v: Floats) -> float:
    """What float64 may lose in one backup of v, and what rows that sum to 1 within 1e-9 alone may add."""
    a, b = lost_in_a_backup(mdp)
    return a + b * float(np.abs(v).max())


def uncertain(mdp: FiniteMDP, v: Floats) -> Floats:
    """What rounding, and rows that do not quite sum to 1, may change in the q of a state, (S,)."""
    defect = np.abs(mdp.table.total - mdp.admissible.ravel())
    defect = np.where(defect > 1e-15, defect, 0.0) * np.abs(v).max()
    size = np.abs(mdp.expected_reward).ravel() + mdp.gamma * (mdp.table.product @ np.abs(v))
    unit = TIE if mdp.gamma == 1 else 2 * (mdp.table.sums[0] + 4) * EPS  # at 1 no loop by rounding is let in
    uncertain: Floats = (unit * size + defect).reshape(mdp.admissible.shape).max(axis=1)
    return uncertain


def scale(q: Floats) -> float:
    """The largest |q| that is finite."""
    return float(np.abs(q[np.isfinite(q)]).max(initial=0.0))


def lost_in_a_backup(mdp: FiniteMDP) -> tuple[float, float]:
    """(a, b): `rounding` of v is a + b max|v|.

    With k outcomes of a pair at most, merged, multiplied and added up, r + gamma P v is off by (k + 1) eps (max|R| +
    max|v|) to first order: R, not r(s,a), whose own sum may have cancelled.
    """
    most, off = mdp.table.sums
    unit = (most + 4) * EPS
    return float(unit * mdp.table.largest_reward), float(unit + (off if off > most * EPS else 0.0))


def _longest_time(mdp: FiniteMDP, allowed: Bools) -> float:
    """The largest expected number of steps to the end by allowed actions, end components drawn together.

    Policy iteration on the drawn-together chain, in which every policy ends.
    """
    component, inside = end_components(mdp, allowed)
    states = np.arange(mdp.n_states)
    node = states.copy()
    in_one = component >= 0
    _, first, inverse = np.unique(component[in_one], return_index=True, return_inverse=True)
    node[in_one] = states[in_one][first][inverse]
    s, a = np.nonzero(allowed & ~inside)
    order = np.argsort(node[s], kind="stable")
    s, a = s[order], a[order]
    rank = np.arange(len(s)) - np.searchsorted(node[s], node[s])
    column = np.full(mdp.admissible.shape, -1)
    column[s, a] = rank
    t = mdp.table
    used = column[t.state, t.action] >= 0
    drawn = Outcomes(node[t.state[used]], column[t.state, t.action][used], node[t.next[used]],
                     np.ones(used.sum()), t.p[used])
    return _most_steps(mdp, drawn, int(rank.max()) + 1)


def _most_steps(mdp: FiniteMDP, drawn: Outcomes, n_actions: int) -> float:
    start = np.zeros(mdp.n_states)
    start[drawn.state[0]] = 1.0
    quotient = type(mdp)(drawn, states=range(mdp.n_states), actions=range(n_actions), gamma=1.0, start=start)
    policy = quotient.admissible.argmax(axis=1)
    while True:
        pi = np.zeros(quotient.admissible.shape)
        pi[np.arange(len(policy)), policy] = ~quotient.terminal
        xi = Chain(quotient, pi).solve(np.where(quotient.terminal, 0.0, 1.0))
        q = quotient.backup(xi)
        own = q[np.arange(len(policy)), policy]
        better = q.max(axis=1) > own * (1 + 1e-9)
        if not better.any():
            return float(xi.max())
        policy = np.where(better, q.argmax(axis=1), policy)
