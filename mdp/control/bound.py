"""How far a given v is from v*: a proven bound, rounding included.

gamma < 1: with d = T v - v (0 in terminal states), |v* - v| <= max|d| / (1 - gamma). The table is read as it is: where
rows sum to more than 1, be it by rounding, gamma times the largest sum stands for gamma.

That is far too much where episodes end long before gamma^t does, and there is no such bound at gamma = 1. Then c(s,a)
is what q(s,a) exceeds v(s) by, and what rounding may add, and

    x(s) = max over a of c(s,a) + gamma sum over s' of Pr(s'|s,a) x(s')

makes v + x superharmonic: no policy earns more (at gamma = 1: no proper one). x is solved for the actions alone that
are nearly tied; it is checked that all others lose more than they could gain by it. From below, the same sum along the
policy. x is solved for 2 c, and it is checked that it would do for c: its own rounding is covered.

At gamma = 1 x may be one number in an end component of these actions (loops) if no action inside exceeds v: each
component is drawn together into one state. Where its actions pay exactly 0, v* is one number, and v is first raised to
its largest value there. Where an action inside still exceeds v by more than its rounding, nothing is proven; by less,
a loop that earns 0 up to rounding is taken to earn 0, and what each state's best action inside exceeds v by is added
once to what it takes to leave.
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
SMALL = 2_000  # states up to which x is looked for at gamma < 1


def proven(
    mdp: FiniteMDP, v: Floats, q: Floats, policy: Ints, tolerance: float, known: float = np.inf
) -> float:
    """A bound of |v* - v|; q is that of v; `known`: one that holds for rows that sum to 1. The sharper one where it is
    needed.
    """
    rate = contraction(mdp)
    bound = known * (1 - mdp.gamma) / rate if rate > 0 else np.inf
    if bound > tolerance:
        bound = min(bound, error_bound(mdp, v, q))
    return bound if bound <= tolerance else min(bound, sharper_bound(mdp, v, q, policy))


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
        return min(at_once, max(below, _from_above(mdp, v, v[:, None] - q - u))) if below < SHORT * at_once else at_once
    except ValueError:  # episodes that are too long for float64, or loops that earn more than rounding
        return at_once


def _from_above(mdp: FiniteMDP, v: Floats, short: Floats) -> float:
    """v* - v, at most: allowed are the nearly tied actions, and those for which their x would not do.

    short (S, A): what q lacks of v at least; from v raised to w it is another.
    """
    near = NEARLY_TIED * float(max(np.abs(v).max(), np.abs(mdp.expected_reward).max()))
    allowed, unit = mdp.admissible & (short <= near), 2 * (mdp.table.sums[0] + 4) * EPS
    while True:
        loops = _loops(mdp, allowed)
        w = _raised(mdp, v, loops)
        u = lost(mdp, w)
        short = w[:, None] - mdp.backup(w) - u
        x = _largest_sum(mdp, allowed, loops, np.maximum(-short, u), u)
        gained = mdp.gamma * (mdp.table.product @ x).reshape(short.shape) - x[:, None] + unit * x.max()
        broken = mdp.admissible & ~allowed & ~(gained <= short)
        if not broken.any():
            return float((x + (w - v)).max())
        allowed |= broken


def _loops(mdp: FiniteMDP, allowed: Bools) -> tuple[Ints, Bools]:
    """The end components of allowed actions, which count at gamma = 1 alone."""
    if mdp.gamma == 1:
        return end_components(mdp, allowed)
    return np.full(mdp.n_states, -1), np.zeros_like(allowed)


def _raised(mdp: FiniteMDP, v: Floats, loops: tuple[Ints, Bools]) -> Floats:
    """v, raised to its largest value in every end component whose actions pay exactly 0."""
    component, inside = loops
    top = np.full(mdp.n_states, -np.inf)
    pays: Bools = np.zeros(mdp.n_states, bool)
    s = np.flatnonzero(component >= 0)
    np.maximum.at(top, component[s], v[s])
    np.logical_or.at(pays, component[s], np.any(inside & (mdp.table.reward_size > 0), axis=1)[s])
    return np.where((component >= 0) & ~pays[component], top[component], v)


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
    return np.asarray((unit * size + defect).reshape(mdp.admissible.shape))


def scale(q: Floats) -> float:
    """The largest |q| that is finite."""
    return float(np.abs(q[np.isfinite(q)]).max(initial=0.0))


def _largest_sum(mdp: FiniteMDP, allowed: Bools, loops: tuple[Ints, Bools], c: Floats, u: Floats) -> Floats:
    """x (S,), for the c (S, A) of allowed actions, of which rounding is u.

    Policy iteration; at gamma = 1 on the chain with end components drawn together, in which every policy ends. Raises
    ValueError where float64 cannot solve for it, and where an action inside a component exceeds v by more than u.
    """
    component, inside = loops
    if (c[inside] > 2 * u[inside]).any():
        raise ValueError("a loop may earn more than rounding")
    within = np.where(inside, c, 0.0).max(axis=1)
    c = np.maximum(c, LEAST * c[allowed].max())
    states = np.arange(mdp.n_states)
    node = states.copy()
    in_one = component >= 0
    _, first, inverse = np.unique(component[in_one], return_index=True, return_inverse=True)
    node[in_one] = states[in_one][first][inverse]
    c += np.bincount(node, within, mdp.n_states)[node][:, None]
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
