"""The transition graph as data: its states, its action dots, and arrows that keep clear of one another."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mdp.model.table import Floats, Ints
from mdp.plot.boards.board import visiting_order
from mdp.plot.graphs.layout import inches, layout

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP

MOST_STATES, MOST_ARROWS = 30, 48
RADIUS = 0.27  # inches, of a state
BENDS = (0.18, 0.35, -0.25, 0.55, -0.45, 0.8)  # of an arrow, beside its length; the first that hits no state


Moves = dict[tuple[int, int], list[tuple[int, float, float]]]  # (s, a) -> (s', p, r)


class Dot(NamedTuple):
    """An action of a state, at (x, y) in inches."""

    state: int
    action: int
    at: Floats


class Arrow(NamedTuple):
    """From a dot to a next state: p(s'|s,a), r(s,a,s') (S&B equations 3.4 and 3.6), and its points (n, 2) in inches."""

    dot: Dot
    next: int
    p: float
    r: float
    points: Floats


class Graph(NamedTuple):
    """states (n,) that are drawn, at (n, 2) in inches; `hidden` more are left out, with the arrows to them."""

    states: Ints
    at: Floats
    dots: list[Dot]
    arrows: list[Arrow]
    hidden: int


def graph_of(mdp: FiniteMDP, centre: int | None = None) -> Graph:
    """The graph of all states where there are at most 30, else of those near `centre`, by default the start.

    They are those that take the fewest steps, up to 30 states and to 48 arrows; actions all of whose outcomes are
    hidden are left out, too.
    """
    order = visiting_order(mdp, np.flatnonzero(mdp.start) if centre is None else np.array([centre]))
    if mdp.n_states <= MOST_STATES:
        order = np.append(order, np.setdiff1d(np.arange(mdp.n_states), order))
    else:
        order = order[: _fitting(mdp, order[:MOST_STATES])]
    states = np.sort(order)
    where = np.full(mdp.n_states, -1)
    where[states] = np.arange(len(states))
    moves = _moves(mdp, where)
    edges = np.zeros((len(states), len(states)), bool)
    for (s, _), listed in moves.items():
        edges[where[s], where[[n for n, _, _ in listed]]] = True
    actions = max(Counter(s for s, _ in moves).values(), default=1)
    at = inches(layout(edges, where[order], actions), actions)
    dots = {key: dot for k, s in enumerate(states.tolist()) for key, dot in _dots(s, moves, where, at[k], at).items()}
    arrows = [
        Arrow(dots[s, a], n, p, r, _points(dots[s, a].at, at[where[s]], at[where[n]], at))
        for (s, a), listed in moves.items()
        for n, p, r in listed
    ]
    return Graph(states, at, list(dots.values()), arrows, mdp.n_states - len(states))


def _fitting(mdp: FiniteMDP, order: Ints) -> int:
    """How many of the states in that order have at most 48 arrows among them; at least two."""
    rank = np.full(mdp.n_states, mdp.n_states)
    rank[order] = np.arange(len(order))
    t = mdp.table
    last = np.maximum(rank[t.state], rank[t.next])  # an arrow is there when both its states are
    arrows = np.unique(np.stack([last, t.state, t.action, t.next])[:, last < len(order)], axis=1)[0]
    return max(2, int((np.bincount(arrows, minlength=len(order)).cumsum() <= MOST_ARROWS).sum()))


def _moves(mdp: FiniteMDP, where: Ints) -> Moves:
    """Among the states that are drawn (where >= 0), outcomes with one s' made one: their p is summed."""
    t = mdp.table.where((where[mdp.table.state] >= 0) & (where[mdp.table.next] >= 0))
    p: dict[tuple[int, int, int], float] = {}
    paid: dict[tuple[int, int, int], float] = {}
    for s, a, n, reward, x in zip(*(y.tolist() for y in (t.state, t.action, t.next, t.reward, t.p)), strict=True):
        p[s, a, n] = p.get((s, a, n), 0.0) + x
        paid[s, a, n] = paid.get((s, a, n), 0.0) + x * reward
    moves: Moves = {}
    for s, a, n in p:
        moves.setdefault((s, a), []).append((n, p[s, a, n], paid[s, a, n] / p[s, a, n]))
    return moves


def _dots(s: int, moves: Moves, where: Ints, here: Floats, at: Floats) -> dict[tuple[int, int], Dot]:
    """The action dots of a state: each towards where it leads, a little to the right of it, and apart."""
    away = here - at.mean(axis=0)
    free = np.arctan2(away[1], away[0]) if np.hypot(*away) > 1e-6 else np.pi / 2
    own = {a: listed for (state, a), listed in moves.items() if state == s}
    wanted = []
    for listed in own.values():
        steps = np.array([p * _unit(at[where[n]] - here) for n, p, _ in listed]).sum(axis=0)
        wanted.append(np.arctan2(steps[1], steps[0]) - 0.42 if np.hypot(*steps) > 1e-6 else free)
    far = RADIUS + 0.42 + 0.03 * len(own)
    angles = _apart(np.array(wanted))
    return {(s, a): Dot(s, a, here + far * np.array([np.cos(x), np.sin(x)])) for a, x in zip(own, angles, strict=True)}


def _unit(step: Floats) -> Floats:
    """The step with length 1; 0 for a step to the state itself."""
    return np.asarray(step / max(float(np.hypot(*step)), 1e-9))


def _apart(angles: Floats) -> Floats:
    """Angles that differ by at least .6, or by what is there for each, as near to the given ones as is easy."""
    n = len(angles)
    if n < 2:
        return angles
    least = min(0.6, 1.8 * np.pi / n)
    angles = (angles + 1e-3 * np.arange(n)) % (2 * np.pi)
    for _ in range(200):
        order = np.argsort(angles)
        gap = np.diff(np.append(angles[order], angles[order[0]] + 2 * np.pi))
        lack = np.maximum(least - gap, 0)  # of the gap after each angle
        angles[order] += 0.5 * (np.roll(lack, 1) - lack)
        angles %= 2 * np.pi
    return angles


def _points(dot: Floats, source: Floats, target: Floats, at: Floats) -> Floats:
    """A curve from a dot to the edge of a state that hits no other state; back to its own state it is a loop."""
    if (source == target).all():
        return _curve(dot, target, 0.9)
    curves = (_curve(dot, target, bend) for bend in BENDS)
    others = at[~((at == source).all(axis=1) | (at == target).all(axis=1))]
    best = None
    for curve in curves:
        room = np.hypot(*(curve[:, None] - np.vstack([others, source])).transpose(2, 0, 1)).min()
        if room > 1.15 * RADIUS:
            return curve
        if best is None or room > best[0]:
            best = room, curve
    assert best is not None
    return best[1]


def _curve(start: Floats, centre: Floats, bend: float) -> Floats:
    """A quadratic Bezier curve, bent to its right, that ends at the edge of the circle around `centre`."""
    step = centre - start
    control = (start + centre) / 2 + bend * np.array([step[1], -step[0]])
    t = np.linspace(0, 1, 41)[:, None]
    points = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * centre
    inside = np.hypot(*(points - centre).T) < RADIUS + 0.02
    kept = points[: max(int(np.argmax(inside)), 2)]
    last = kept[-1] - centre
    return np.vstack([kept, centre + last / np.hypot(*last) * (RADIUS + 0.01)])
