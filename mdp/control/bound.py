"""How far a given v is from v*: a proven bound, rounding included.

gamma < 1: with d = T v - v (0 in terminal states), |v* - v| <= max|d| / (1 - gamma). The table is read as it is: where
rows sum to more than 1, be it by rounding, gamma times the largest sum stands for gamma.

That is far too much where episodes end long before gamma^t does, and there is no such bound at gamma = 1. Then c(s,a)
is what q(s,a) exceeds v(s) by, and what rounding may add, and

    x(s) = max over a of c(s,a) + gamma sum over s' of Pr(s'|s,a) x(s')

makes v + x superharmonic: no policy earns more (at gamma = 1: no proper one). x is solved for the actions alone that
are nearly tied; it is checked that all others lose more than they could gain by it. At gamma = 1 end components of
allowed actions are drawn together into one state each: loops in which q exceeds v by no more than rounding. Where it
does by more, nothing is proven. From below, the same sum along the policy. x is solved for 2 c, and it is checked that
it would do for c: its own rounding is covered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mdp.model.table import EPS, Bools, Floats, Ints, Outcomes, largest
from mdp.prediction.chain import Chain
from mdp.prediction.error import contraction, lost, lost_in_a_backup
from mdp.prediction.graph import end_components

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP

TIE = 1e-12  # differences of q below this, relative to the largest |q|, are rounding
NEARLY_TIED = 1e-9  # relative to the largest |v|
LEAST = 1e-3  # of the largest c: no c is taken for less, so that x can be checked in float64
SHORT = 0.5  # of the bound for all rows: where x is no smaller from below, it need not be looked for from above
FREE = 2  # times what rounding may add: so much may be gained in a loop that earns 0
SMALL = 2_000  # states up to which x is looked for at gamma < 1


def proven(mdp: FiniteMDP, v: Floats, policy: Ints, known: float, tolerance: float) -> tuple[Floats, float]:
    """(q, a bound of |v* - v|); `known`: one that holds for rows that sum to 1. The sharper one where it is needed."""
    q, rate = mdp.backup(v), contraction(mdp)
    bound = min(known * (1 - mdp.gamma) / rate, error_bound(mdp, v, q)) if rate > 0 else np.inf
    return q, bound if bound <= tolerance else min(bound, sharper_bound(mdp, v, q, policy))


def error_bound(mdp: FiniteMDP, v: Floats, q: Floats) -> float:
    """max-norm bound of v* - v by one number for all rows; inf where nothing contracts."""
    rate = contraction(mdp)
    return float((np.abs(largest(q) - v).max() + rounding(mdp, v)) / rate) if rate > 0 else np.inf


def sharper_bound(mdp: FiniteMDP, v: Floats, q: Floats, policy: Ints) -> float:
    """The same, row by row and by x; `policy` (S,) is the one that is said to attain v; inf where nothing is proven."""
    u, rate = lost(mdp, v), contraction(mdp)
    at_once = float((np.abs(largest(q) - v) + u.max(axis=1)).max() / rate) if rate > 0 else np.inf
    if mdp.gamma < 1 and mdp.n_states > SMALL:
        return at_once
    try:
        below = _from_below(mdp, v, q, u, policy)
        return min(at_once, max(below, _from_above(mdp, v, q, u))) if below < SHORT * at_once else at_once
    except ValueError:  # episodes that are too long for float64
        return at_once


def _from_above(mdp: FiniteMDP, v: Floats, q: Floats, u: Floats) -> float:
    """v* - v, at most: allowed are the nearly tied actions, and those for which their x would not do."""
    short = v[:, None] - q - u
    near = NEARLY_TIED * float(max(np.abs(v).max(), np.abs(mdp.expected_reward).max()))
    allowed, unit = mdp.admissible & (short <= near), 2 * (mdp.table.sums[0] + 4) * EPS
    while True:
        x = _largest_sum(mdp, allowed, np.maximum(-short, u), u)
        gained = mdp.gamma * (mdp.table.product @ x).reshape(short.shape) - x[:, None] + unit * x.max()
        broken = mdp.admissible & ~allowed & ~(gained <= short)
        if not broken.any():
            return float(x.max())
        allowed |= broken


def _from_below(mdp: FiniteMDP, v: Floats, q: Floats, u: Floats, policy: Ints) -> float:
    """v - v*, at most: v* is no less than the v of a policy."""
    taken, states = np.zeros(mdp.admissible.shape), np.arange(mdp.n_states)
    taken[states, policy] = ~mdp.terminal
    c = np.where(mdp.terminal, 0.0, np.abs(q[states, policy] - v) + u[states, policy])
    c = np.maximum(c, LEAST * c.max() * ~mdp.terminal)
    chain = Chain(mdp, taken)
    x = 2 * chain.solve(c)
    return _checked(x, c + mdp.gamma * (chain.transition @ x), mdp)


def _checked(x: Floats, least: Floats, mdp: FiniteMDP) -> float:
    """max(x). Raises ValueError where x is not above `least` = c + gamma P x, rounding included: it proves nothing."""
    unit = 2 * (mdp.table.sums[0] + 4) * EPS
    if not ((x >= 0).all() and (least + unit * x <= x).all()):
        raise ValueError("float64 cannot tell how long episodes may last")
    return float(x.max())


def rounding(mdp: FiniteMDP, v: Floats) -> float:
    """What float64 may lose in one backup of v, and what rows that sum to 1 within 1e-9 alone may add."""
    a, b = lost_in_a_backup(mdp)
    return a + b * float(np.abs(v).max())


def uncertain(mdp: FiniteMDP, v: Floats) -> Floats:
    """What rounding, and rows that do not quite sum to 1, may change in q, (S, A)."""
    defect = np.abs(mdp.table.total - mdp.admissible.ravel())
    defect = np.where(defect > 1e-15, defect, 0.0) * np.abs(v).max()
    size = np.abs(mdp.expected_reward).ravel() + mdp.gamma * (mdp.table.product @ np.abs(v))
    unit = TIE if mdp.gamma == 1 else 2 * (mdp.table.sums[0] + 4) * EPS  # at 1 no loop by rounding is let in
    uncertain: Floats = (unit * size + defect).reshape(mdp.admissible.shape)
    return uncertain


def scale(q: Floats) -> float:
    """The largest |q| that is finite."""
    return float(np.abs(q[np.isfinite(q)]).max(initial=0.0))


def _largest_sum(mdp: FiniteMDP, allowed: Bools, c: Floats, u: Floats) -> Floats:
    """x (S,), for the c (S, A) of allowed actions. Raises ValueError where float64 cannot solve for it.

    Policy iteration; at gamma = 1 on the chain with end components drawn together, in which every policy ends.
    """
    component, inside = np.full(mdp.n_states, -1), np.zeros_like(allowed)
    if mdp.gamma == 1:
        component, inside = end_components(mdp, allowed)
    if (c[inside] > FREE * u[inside]).any():
        raise ValueError("a loop is not free, and v does not say what it is worth")
    c = np.maximum(c, LEAST * c[allowed].max())
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
                     c[t.state, t.action][used], t.p[used])
    return np.where(mdp.terminal, 0.0, _checked_sum(mdp, drawn, int(rank.max()) + 1)[node])


def _checked_sum(mdp: FiniteMDP, drawn: Outcomes, n_actions: int) -> Floats:
    """x (S,) with x >= c + gamma P x, by all actions, rounding included. Raises ValueError where that fails."""
    start = np.zeros(mdp.n_states)
    start[drawn.state[0]] = 1.0
    quotient = type(mdp)(drawn, states=range(mdp.n_states), actions=range(n_actions), gamma=mdp.gamma, start=start)
    policy, states, before = quotient.admissible.argmax(axis=1), np.arange(mdp.n_states), 0.0
    while True:
        pi = np.zeros(quotient.admissible.shape)
        pi[states, policy] = ~quotient.terminal
        x = 2 * Chain(quotient, pi).solve((pi * quotient.expected_reward).sum(axis=1))
        q = quotient.backup(x)
        better = q.max(axis=1) > q[states, policy]
        if not better.any() or x.sum() <= before * (1 + TIE):
            break
        policy, before = np.where(better, q.argmax(axis=1), policy), x.sum()
    _checked(x, q.max(axis=1), quotient)
    return np.asarray(x)
