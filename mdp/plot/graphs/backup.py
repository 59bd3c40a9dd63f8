"""The backup diagram of one state (Sutton & Barto, 2nd ed., section 3.5): the state, its actions, what follows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mdp.model.table import Floats
from mdp.plot.paint import INK
from mdp.plot.style import styled
from mdp.plot.text import number, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mdp.model.finite import FiniteMDP

MOST_ACTIONS, MOST_LEAVES = 8, 16
LOW, MIDDLE = 0.45, 1.5  # inches: the height of the next states, and of the actions
LEAF, BRANCH = 0.86, 1.05  # inches that a next state and an action take


class Branch(NamedTuple):
    """An action with its most probable outcomes (p, r, s'), s' an index; `hidden` more are left out."""

    action: int
    outcomes: list[tuple[float, float, int]]
    hidden: int


class Backup(NamedTuple):
    """A state with its most probable actions; `hidden` more are left out."""

    state: int
    branches: list[Branch]
    hidden: int


def backup_of(
    mdp: FiniteMDP, s: int, policy: Floats, *, actions: int = MOST_ACTIONS, leaves: int = MOST_LEAVES
) -> Backup:
    """The one-step tree under s, cut to so many actions and so many outcomes in all, the most probable ones."""
    t = mdp.table
    all_actions = np.flatnonzero(mdp.admissible[s])
    likely = np.sort(all_actions[np.argsort(-policy[s, all_actions], kind="stable")[:actions]])
    counts = [int(((t.state == s) & (t.action == a)).sum()) for a in likely]
    shares = _shares(counts, leaves)
    branches = []
    for a, count, share in zip(likely.tolist(), counts, shares, strict=True):
        rows = np.flatnonzero((t.state == s) & (t.action == a))
        rows = np.sort(rows[np.argsort(-t.p[rows], kind="stable")[:share]])
        outcomes = zip(t.p[rows].tolist(), t.reward[rows].tolist(), t.next[rows].tolist(), strict=True)
        branches.append(Branch(a, list(outcomes), count - share))
    return Backup(s, branches, len(all_actions) - len(likely))


def _shares(counts: list[int], most: int) -> list[int]:
    """How many outcomes of each action are drawn: at least one, and the rest as evenly as they are there."""
    shares = [1] * len(counts)
    while sum(shares) < most:
        more = [k for k, count in enumerate(counts) if shares[k] < count]
        if not more:
            break
        shares[min(more, key=lambda k: shares[k])] += 1
    return shares


@styled
def plot_backup(mdp: FiniteMDP, s: int, *, v: Floats, q: Floats, policy: Floats, title: str = "") -> Figure:
    """The backup diagram of state s: v(s), pi(a|s) and q(s,a), and p, r and v(s') of what follows."""
    from matplotlib.figure import Figure

    backup = backup_of(mdp, s, policy)
    wide, tall = max(width_of(backup), 4.5), height(len(backup.branches))
    figure = Figure(figsize=(wide, tall + 0.4))
    axes = stage(figure, wide, tall)
    draw_backup(axes, mdp, backup, wide, tall, v=v, q=q, policy=policy)
    figure.text(0.5, 0.99, title, ha="center", va="top", fontsize=10)
    return figure


def width_of(backup: Backup) -> float:
    """Inches that the diagram takes."""
    return sum(_width(branch) for branch in backup.branches) + 0.3


def height(actions: int) -> float:
    """Inches that a diagram takes in which the lines to so many actions pass above one another's texts."""
    return MIDDLE + max(1.05, 0.25 * actions) + 0.45


def _width(branch: Branch) -> float:
    return max(LEAF * (len(branch.outcomes) + (branch.hidden > 0)), BRANCH)


def stage(figure: Any, wide: float, tall: float) -> Any:
    """Axes on the lower part of a figure, on which one unit is one inch."""
    axes = figure.add_axes((0, 0, 1, tall / figure.get_figheight()))
    axes.set(xlim=(0, wide), ylim=(0, tall))
    axes.set_axis_off()
    return axes


def draw_backup(
    axes: Any, mdp: FiniteMDP, backup: Backup, wide: float, tall: float, *,
    v: Floats | None = None, q: Floats | None = None, policy: Floats | None = None,
) -> None:  # fmt: skip
    """The diagram in the middle of axes that are so many inches wide; numbers are written where they are given."""
    top, x = (wide / 2, tall - 0.45), (wide - width_of(backup)) / 2 + 0.15
    lines, dots, nodes = [], [], [(*top, backup.state)]
    for branch in backup.branches:
        share, a = _width(branch), branch.action
        dot = (x + share / 2, MIDDLE)
        leaves = _leaves(branch, dot[0], share)
        lines += [(top, dot), *((dot, (leaf, LOW)) for leaf in leaves)]
        dots.append(dot)
        nodes += [(leaf, LOW, s) for leaf, (_, _, s) in zip(leaves, branch.outcomes, strict=True)]
        told = [short(mdp.actions[a], 16)]
        told += [] if policy is None else [rf"$\pi$ {number(policy[backup.state, a])}"]
        told += [] if q is None else [f"q {number(q[backup.state, a])}"]
        _text(axes, dot[0], MIDDLE + 0.12, "\n".join(told), va="bottom", size=8)
        _outcomes(axes, mdp, branch, dot[0], leaves, v)
        if branch.hidden:
            _text(axes, x + share - share / (2 * len(leaves) + 2), LOW, f"… {branch.hidden}\nmore", va="center", size=7)
        x += share
    gap = [(np.nan, np.nan)]
    axes.plot(*np.vstack([[*line, *gap] for line in lines] or [gap]).T, color=INK, lw=0.9, zorder=1)
    axes.plot(*np.array(dots).reshape(-1, 2).T, "o", color=INK, ms=6, zorder=3)
    for over, marker in ((False, "o"), (True, "s")):
        at = np.array([(x, y) for x, y, s in nodes if mdp.terminal[s] == over]).reshape(-1, 2)
        axes.plot(*at.T, marker, ms=13, color="white", markeredgecolor=INK, zorder=3)
    own = "" if v is None else f"   v {number(v[backup.state])}"
    more = f"   ({backup.hidden} more actions)" if backup.hidden else ""
    _text(axes, top[0], top[1] + 0.15, f"{short(mdp.states[backup.state], 40)}{own}{more}", va="bottom", size=9)


def _leaves(branch: Branch, dot: float, share: float) -> list[float]:
    """Where the outcomes stand under their action; what is hidden takes the last place."""
    n = len(branch.outcomes) + (branch.hidden > 0)
    return [dot + share / n * (k - (n - 1) / 2) for k in range(len(branch.outcomes))]


def _outcomes(axes: Any, mdp: FiniteMDP, branch: Branch, dot: float, leaves: list[float], v: Floats | None) -> None:
    for x, (p, r, s) in zip(leaves, branch.outcomes, strict=True):
        _text(axes, 0.3 * dot + 0.7 * x, 0.3 * MIDDLE + 0.7 * LOW, f"{number(p)}, {number(r)}", va="center", size=7)
        below = short(mdp.states[s], 14) + ("" if v is None else f"\nv {number(v[s])}")
        axes.text(x, LOW - 0.12, below, ha="center", va="top", fontsize=7, linespacing=1.05)


def _text(axes: Any, x: float, y: float, text: str, *, va: str, size: float) -> None:
    box = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}
    axes.text(x, y, text, ha="center", va=va, fontsize=size, bbox=box, zorder=2, linespacing=1.05)
