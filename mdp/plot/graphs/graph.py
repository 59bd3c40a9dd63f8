"""The transition graph (Sutton & Barto, 2nd ed., Example 3.3): states as circles, actions as dots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mdp.model.table import Floats
from mdp.plot.graphs.arrows import MOST_ARROWS, RADIUS, Dot, Graph, graph_of
from mdp.plot.graphs.places import Places
from mdp.plot.paint import INK, Paint, ink_on, paint
from mdp.plot.style import styled
from mdp.plot.text import fitting, number, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mdp.model.finite import FiniteMDP

MARGIN = 0.5  # inches around the states and dots


@styled
def plot_graph(
    mdp: FiniteMDP, *, v: Floats, policy: Floats, centre: int | None = None, title: str = ""
) -> Figure:
    """The transition graph: states in the colour of v (S,), the arrows of each action with p, r.

    An action with pi(a|s) > 0 is black, the others are grey. Terminal states are squares. Of more than 30 states
    some are drawn, near `centre` or else the start (see `graph_of`); the title says how many are not.
    """
    graph = graph_of(mdp, centre)
    figure, axes = canvas(graph, top=0.6, right=0.9)
    scale = paint(v[graph.states])
    draw_graph(axes, mdp, graph, v=v, policy=policy, scale=scale)
    wide, tall = figure.get_size_inches()
    beside = figure.add_axes((1 - 0.8 / wide, 0.12, 0.14 / wide, 0.88 - 0.7 / tall))
    figure.colorbar(scale.mappable, cax=beside).set_label("v", rotation=0, labelpad=10)
    figure.text(0.5, 1 - 0.1 / tall, title + hidden_note(mdp, graph), ha="center", va="top", fontsize=10)
    return figure


def hidden_note(mdp: FiniteMDP, graph: Graph) -> str:
    """What a title says of a graph that is not drawn whole."""
    return f"\n{len(graph.states)} of {mdp.n_states} states; {graph.hidden} are not shown" if graph.hidden else ""


def canvas(graph: Graph, *, top: float, right: float = 0.0) -> tuple[Figure, Any]:
    """A figure and its axes, on which one unit is one inch, with so many inches free above and on the right."""
    from matplotlib.figure import Figure

    points = np.vstack([graph.at, *(dot.at for dot in graph.dots), *(arrow.points for arrow in graph.arrows)])
    low, high = points.min(axis=0) - MARGIN, points.max(axis=0) + MARGIN
    wide, tall = np.maximum(high - low, [4.0, 1.6])
    figure = Figure(figsize=(wide + right, tall + top))
    axes = figure.add_axes((0, 0, wide / (wide + right), tall / (tall + top)))
    middle = (low + high) / 2
    axes.set(xlim=middle[0] + wide / 2 * np.array([-1, 1]), ylim=middle[1] + tall / 2 * np.array([-1, 1]))
    axes.set_axis_off()
    return figure, axes


def draw_graph(
    axes: Any, mdp: FiniteMDP, graph: Graph, *, v: Floats | None, policy: Floats | None, scale: Paint | None
) -> None:
    """All lines, then dots, then states, then labels where there is room."""
    from matplotlib.collections import LineCollection, PolyCollection

    places = Places()
    at = dict(zip(graph.states.tolist(), graph.at, strict=True))
    for x, y in graph.at:
        places.take(x, y, 2 * RADIUS, 2 * RADIUS)
    spokes = [np.linspace(at[dot.state], dot.at, 10) for dot in graph.dots]
    curves = [arrow.points for arrow in graph.arrows]
    own = [_ink(policy, dot) for dot in graph.dots]
    inks = [_ink(policy, arrow.dot) for arrow in graph.arrows]
    thin = 0.9 if len(curves) <= MOST_ARROWS else 0.5
    axes.add_collection(LineCollection([*spokes, *curves], colors=[*own, *inks], linewidths=thin, zorder=1))
    axes.add_collection(PolyCollection([_head(x) for x in curves], facecolors=inks, linewidths=0, zorder=2))
    axes.scatter(*np.array([dot.at for dot in graph.dots]).reshape(-1, 2).T, s=25, c=own, zorder=3)
    for points in (*spokes, *curves):
        places.pass_by(points)
    for dot in graph.dots:
        places.take(dot.at[0], dot.at[1], 0.1, 0.1)
    for s, xy in at.items():
        _state(axes, mdp, s, xy, places, v=v, scale=scale)
    _labels(axes, mdp, graph, at, places)


def _head(points: Floats) -> Floats:
    """The triangle at the end of a curve."""
    tip = points[-1]
    far = np.hypot(*(points - tip).T)
    back = points[np.flatnonzero(far > min(0.06, 0.9 * far.max()))[-1]] - tip
    back = back / np.hypot(*back)
    side = np.array([-back[1], back[0]])
    return np.array([tip, tip + 0.11 * back + 0.04 * side, tip + 0.11 * back - 0.04 * side])


def _ink(policy: Floats | None, dot: Dot) -> str:
    return INK if policy is None or policy[dot.state, dot.action] > 1e-9 else "0.65"


def _state(
    axes: Any, mdp: FiniteMDP, s: int, xy: Floats, places: Places, *, v: Floats | None, scale: Paint | None
) -> None:
    """A circle, or a square for a terminal state, with its label in it or below it, and v."""
    x, y = xy
    color: Any = "0.93"
    if scale is not None and v is not None:
        color = scale.colors(v[[s]])[0]
    axes.scatter([x], [y], s=(2 * RADIUS * 72) ** 2, marker="s" if mdp.terminal[s] else "o", color=[color],
                 edgecolors=INK, linewidths=1.8 if mdp.start[s] > 0 else 0.9, zorder=4)  # fmt: skip
    lines = [] if v is None or mdp.terminal[s] else [number(v[s])]
    label = short(mdp.states[s], 26)
    inside = fitting([label], 1.8 * RADIUS, largest=9)
    if inside >= 6:
        lines = [label, *lines]
        size = min(inside, 8.5)
    else:
        size = 8.0
        places.write(axes, label, [(x, y - RADIUS - 0.1), (x, y + RADIUS + 0.1)], size=7.5, color=INK, weight="bold")
    ink = INK if isinstance(color, str) else ink_on(color)
    axes.text(x, y, "\n".join(lines), ha="center", va="center", fontsize=size, color=ink, zorder=5, linespacing=0.95)


def _labels(axes: Any, mdp: FiniteMDP, graph: Graph, at: dict[int, Floats], places: Places) -> None:
    """The action beside each dot, then "p, r" beside each arrow."""
    if len(graph.arrows) > MOST_ARROWS:
        return
    for dot in graph.dots:
        out = (dot.at - at[dot.state]) / np.hypot(*(dot.at - at[dot.state]))
        beside = [dot.at + reach * turned(out, x) for reach in (0.17, 0.3) for x in (0, 0.8, -0.8, 1.6, -1.6)]
        places.write(axes, short(mdp.actions[dot.action], 14), beside, size=7.5, color="#1f4e9c", style="italic")
    for arrow in graph.arrows:
        places.write(axes, f"{number(arrow.p)}, {number(arrow.r)}", _beside(arrow.points), size=6.5, color=INK)


def turned(direction: Floats, angle: float) -> Floats:
    """A direction, turned to the left."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([c * direction[0] - s * direction[1], s * direction[0] + c * direction[1]])


def _beside(points: Floats) -> list[Floats]:
    """Places on both sides of a curve, first near its middle."""
    found = []
    for share in (0.5, 0.4, 0.6, 0.3, 0.7):
        k = int(share * (len(points) - 1))
        step = points[min(k + 1, len(points) - 1)] - points[max(k - 1, 0)]
        normal = np.array([step[1], -step[0]]) / np.hypot(*step)
        found += [points[k] + side * normal * (0.09 + 0.14 * abs(normal[0])) for side in (1, -1)]
    return found
