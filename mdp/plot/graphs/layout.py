"""Where the states of a transition graph stand: on a line, in layers, or where distances fit. Data only."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from mdp.model.table import Bools, Floats, Ints

ROUNDS = 300  # of stress majorisation
LONGEST_LINE, WIDEST_LAYER = 9, 8  # nodes


def inches(at: Floats, actions: int) -> Floats:
    """Positions in inches: neighbours have room for the dots and labels between them, and no two states touch."""
    few = len(at) <= 12
    apart = np.hypot(*(at[:, None] - at).transpose(2, 0, 1))[np.triu_indices(len(at), 1)].min(initial=1.0)
    wanted = (2.3 if len(at) <= 8 else 1.9) + 0.25 * min(max(actions - 2, 0), 4 if few else 0)
    return np.asarray(at * max(wanted, (1.1 if few else 0.8) / max(float(apart), 0.05)))


def layout(edges: Bools, order: Ints, actions: int) -> Floats:
    """A position (x, y) for each of n nodes, (n, 2): neighbours are about 1 apart, no two nodes are close.

    edges (n, n) bool: an arrow from row to column; order (n,): the nodes as they are met from the start; actions: the
    most that a node has, each of which takes some room. A path stands on a line, a graph without circles in layers
    with the start on the left, all else by stress majorisation.
    """
    joined = (edges | edges.T) & ~np.eye(len(edges), dtype=bool)
    line = _line(joined, order)
    if line is not None:
        return line
    depth = _depth(edges & ~np.eye(len(edges), dtype=bool))
    if depth is None or depth.max() > 0.6 * len(edges) or np.bincount(depth).max() > WIDEST_LAYER:
        return _stress(joined, order)
    return _layers(joined, depth, order, 0.45 + 0.1 * min(actions, 6))


def _line(joined: Bools, order: Ints) -> Floats | None:
    """Positions on a line, where the graph is a path; a long one turns at the end of a row, as an ox ploughs."""
    degree = joined.sum(axis=1)
    if degree.max(initial=0) > 2 or joined.sum() != 2 * (len(joined) - 1):
        return None
    tips = [s for s in order if degree[s] <= 1]
    found = csgraph.breadth_first_order(sparse.csr_array(joined), min(tips), return_predecessors=False)
    if len(found) < len(joined):
        return None
    rows = -(-len(found) // LONGEST_LINE)
    row, column = np.divmod(np.arange(len(found)), -(-len(found) // rows))
    at = np.zeros((len(found), 2))
    at[found, 0] = np.where(row % 2 == 0, column, column.max() - column)
    at[found, 1] = -0.9 * row
    return at


def _depth(edges: Bools) -> Ints | None:
    """The longest way to each node; None where there are circles."""
    depth = np.zeros(len(edges), dtype=np.int64)
    for _ in range(len(edges)):
        deeper = np.max(np.where(edges, depth[:, None] + 1, 0), axis=0, initial=0)
        if (deeper == depth).all():
            return depth
        depth = deeper
    return None


def _layers(joined: Bools, depth: Ints, order: Ints, apart: float) -> Floats:
    """A column for each depth, its nodes so far apart, in the order of their neighbours' mean height."""
    at = np.column_stack([1.25 * depth, np.zeros(len(depth))])
    rank = np.argsort(order)
    for _ in range(4):
        for d in range(depth.max() + 1):
            here = np.flatnonzero(depth == d)
            near = joined[here][:, depth < d] if d else joined[here]
            heights = at[depth < d, 1] if d else at[:, 1]
            mean = (near * heights).sum(axis=1) / np.maximum(near.sum(axis=1), 1)
            here = here[np.lexsort((rank[here], np.round(mean, 9)))]
            at[here, 1] = apart * (np.arange(len(here)) - (len(here) - 1) / 2)
    return at


def _stress(joined: Bools, order: Ints) -> Floats:
    """Stress majorisation (Gansner, Koren & North 2004), from a circle: sum of (|x_i - x_j| - d_ij)^2 / d_ij^2."""
    n = len(joined)
    distance = csgraph.shortest_path(sparse.csr_array(joined), unweighted=True)
    distance[~np.isfinite(distance)] = distance[np.isfinite(distance)].max() + 1
    np.fill_diagonal(distance, 1)
    weight = distance**-2.0
    np.fill_diagonal(weight, 0)
    inverse = np.linalg.pinv(np.diag(weight.sum(axis=1)) - weight)
    angle = np.empty(n)
    angle[order] = 2 * np.pi * np.arange(n) / n
    at = np.column_stack([-np.cos(angle), np.sin(angle)]) * n / 6
    for _ in range(ROUNDS):
        apart = at[:, None] - at
        length = np.maximum(np.hypot(*apart.transpose(2, 0, 1)), 1e-9)
        pull = weight * distance / length
        at = inverse @ (np.diag(pull.sum(axis=1)) - pull) @ at
    return _upright(at, order)


def _upright(at: Floats, order: Ints) -> Floats:
    """Turned so that it is widest from left to right, and the start on the left."""
    at = at - at.mean(axis=0)
    axes: Any = np.linalg.svd(at, full_matrices=False)[2]
    at = at @ axes.T
    first, second = at[order[0]], at[order[min(1, len(order) - 1)]]
    return np.asarray(at * [-1 if first[0] > 1e-9 else 1, -1 if second[1] < -1e-9 else 1])
