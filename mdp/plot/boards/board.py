"""A board: the cell of every state, where the actions point, where walls stand. Data only, nothing is drawn here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from mdp.model.table import Bools, Floats, Ints, Label

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP

Cell = tuple[int, int]
CellOf = Callable[[Any], Cell | None]
COMPASS = {"up": (-1, 0), "right": (0, 1), "down": (1, 0), "left": (0, -1),
           "north": (-1, 0), "east": (0, 1), "south": (1, 0), "west": (0, -1)}  # fmt: skip


class Board(NamedTuple):
    """cells (S, 2): (row, column), -1 for a state that is drawn nowhere; directions (A, 2): (down, right), 0 for none.

    shown (S,) bool: the state has a cell, and some policy reaches it from the start. walls: pairs of neighbouring
    cells that no move joins, though an action points from one to the other.
    """

    cells: Ints
    directions: Floats
    shown: Bools
    walls: list[tuple[Cell, Cell]]

    @property
    def shape(self) -> Cell:
        rows, columns = self.cells.max(axis=0) + 1
        return int(rows), int(columns)

    @property
    def shared(self) -> bool:
        """More than one state that is shown stands in one cell."""
        return bool((np.bincount(self.place[self.shown]) > 1).any())

    @property
    def place(self) -> Ints:
        """row * columns + column, (S,); -1 for a state that is drawn nowhere."""
        return np.where(self.cells[:, 0] >= 0, self.cells[:, 0] * self.shape[1] + self.cells[:, 1], -1)


def board_of(mdp: FiniteMDP, cell: CellOf | None = None) -> Board | None:
    """The board of an MDP; None where it has none.

    cell gives a label's (row, column), or None. Without it, labels that are pairs of integers are cells where most
    moves lead to neighbours.
    """
    cells = _pairs(mdp) if cell is None else np.array([cell(s) or (-1, -1) for s in mdp.states])
    if cells is None or (cells < 0).all():
        return None
    near = _near(mdp, cells)
    if cell is None and len(np.unique(near, axis=0)) < 4:
        return None
    shown = (cells[:, 0] >= 0) & (reached(mdp) | mdp.terminal)
    directions = _directions(mdp, cells, shown if len(near) else np.zeros_like(shown))
    return Board(cells, directions, shown, _walls(mdp, cells, directions, shown) if len(near) else [])


def _pairs(mdp: FiniteMDP) -> Ints | None:
    """Labels that are pairs of natural numbers, (S, 2); None where a state that is not terminal has another label."""
    cells = np.full((mdp.n_states, 2), -1)
    for s, label in enumerate(mdp.states):
        if isinstance(label, tuple) and len(label) == 2 and all(type(x) is int and x >= 0 for x in label):
            cells[s] = label if max(label) < mdp.n_states else -1
        elif not mdp.terminal[s]:
            return None
    most = 2 * mdp.n_states  # more, and the board would be mostly empty
    return cells if 0 < int(np.prod(cells.max(axis=0) + 1)) <= most else None


def _near(mdp: FiniteMDP, cells: Ints) -> Ints:
    """The moves to neighbouring cells; none where they are less than half of what leads to other cells."""
    t = mdp.table
    inside = (cells[t.next, 0] >= 0) & (cells[t.state, 0] >= 0)
    step = (cells[t.next] - cells[t.state])[inside]
    near, moved = np.abs(step).sum(axis=1) == 1, step.any(axis=1)
    p = t.p[inside]
    return np.asarray(step[near] if p[near].sum() > 0.5 * p[moved].sum() else step[:0])


def reached(mdp: FiniteMDP) -> Bools:
    """States that some policy visits, (S,)."""
    found = np.zeros(mdp.n_states, bool)
    found[visiting_order(mdp, np.flatnonzero(mdp.start))] = True
    return found


def visiting_order(mdp: FiniteMDP, sources: Ints) -> Ints:
    """The states that can be reached from the sources, those first that take fewer steps."""
    t, S = mdp.table, mdp.n_states
    rows, columns = np.append(t.state, np.full(len(sources), S)), np.append(t.next, sources)
    graph = sparse.csr_array((np.ones(len(rows), bool), (rows, columns)), shape=(S + 1, S + 1))
    return np.asarray(csgraph.breadth_first_order(graph, S, return_predecessors=False)[1:], dtype=np.int64)


def _directions(mdp: FiniteMDP, cells: Ints, seen: Bools) -> Floats:
    """By name ("up", "north-east"), as a pair, (0, -1), else the side to which an action leads on average, (A, 2)."""
    if all(_is_pair(a) for a in mdp.actions):
        pairs = np.array(mdp.actions, dtype=np.float64)
        return _units(pairs @ _sides_of_pairs(mdp, cells, pairs))
    named = [_named(a) for a in mdp.actions]
    if any(x is not None for x in named):
        return _units(np.array([x or (0, 0) for x in named], dtype=np.float64))
    mean = _units(_mean_steps(mdp, cells, seen))
    side = np.abs(mean) > 0.9
    return np.where(side, np.sign(mean), 0.0)  # what leads aslant is no move


def _is_pair(action: Label) -> bool:
    return isinstance(action, tuple) and len(action) == 2 and all(x in (-1, 0, 1) for x in action)


def _sides_of_pairs(mdp: FiniteMDP, cells: Ints, pairs: Floats) -> Floats:
    """(2, 2): the way on the board, (down, right), that each part of a pair points to; 0 where moves do not tell.

    A pair may mean (up, right), or a change of velocity: a part goes with the rows or columns that it changes most
    within a state, by moves of at most two cells; longer ones may be jumps.
    """
    t = mdp.table
    step = cells[t.next] - cells[t.state]
    inside = (cells[t.state, 0] >= 0) & (cells[t.next, 0] >= 0) & (np.abs(step).max(axis=1) <= 2)
    s, p, step = t.state[inside], t.p[inside], step[inside]
    label = pairs[t.action[inside]]
    weight = np.bincount(s, p, mdp.n_states)[s]
    mean = np.column_stack([np.bincount(s, p * label[:, k], mdp.n_states)[s] / weight for k in (0, 1)])
    together = (p[:, None] * (label - mean)).T @ step
    sides = np.zeros((2, 2))
    for k in (0, 1):
        axis = int(np.abs(together[k]).argmax())
        if abs(together[k, axis]) > 1e-9:
            sides[k] = np.sign(together[k, axis]) * np.eye(2)[axis]
    return sides


def _units(steps: Floats) -> Floats:
    """Of length 1, or 0."""
    length = np.hypot(*steps.T)[:, None]
    return np.asarray(np.divide(steps, length, out=np.zeros_like(steps), where=length > 1e-9))


def _named(action: Label) -> Cell | None:
    words = action.lower().replace("-", " ").replace("_", " ").split() if isinstance(action, str) else []
    if not words or any(word not in COMPASS for word in words):
        return None
    return sum(COMPASS[word][0] for word in words), sum(COMPASS[word][1] for word in words)


def _mean_steps(mdp: FiniteMDP, cells: Ints, seen: Bools) -> Floats:
    """The sum over all moves from states that are seen to neighbouring cells, (A, 2)."""
    t = mdp.table
    step = cells[t.next] - cells[t.state]
    near = seen[t.state] & (cells[t.next, 0] >= 0) & (np.abs(step).sum(axis=1) == 1)
    total = np.zeros((mdp.n_actions, 2))
    np.add.at(total, t.action[near], t.p[near, None] * step[near])
    return total


def _walls(mdp: FiniteMDP, cells: Ints, directions: Floats, shown: Bools) -> list[tuple[Cell, Cell]]:
    t = mdp.table
    before, after = cells[t.state], cells[t.next]
    wanted = before + np.rint(directions[t.action]).astype(np.int64)
    sides = np.abs(wanted - before).sum(axis=1) == 1
    stays = _pairs_of(before, wanted, sides & (before == after).all(axis=1))
    steps = _pairs_of(before, after, np.abs(after - before).sum(axis=1) == 1)
    there, left = _set_of(cells[shown]), _set_of(cells[shown & ~mdp.terminal])
    blocked = {(x, y) for x, y in stays - steps if x in there and y in there}
    return sorted({(min(x, y), max(x, y)) for x, y in blocked if (y, x) in blocked or y not in left})


def _set_of(cells: Ints) -> set[Cell]:
    return {(int(row), int(column)) for row, column in cells}


def _pairs_of(before: Ints, after: Ints, kept: Bools) -> set[tuple[Cell, Cell]]:
    rows = np.unique(np.hstack([before[kept], after[kept]]), axis=0).tolist()
    return {((i, j), (k, n)) for i, j, k, n in rows}


def ends(mdp: FiniteMDP) -> Bools:
    """Terminal states, and those in whose place a table of Gymnasium has another end, (S,).

    The latter are never reached, and their every action surely ends the episode.
    """
    live = reached(mdp)
    live[mdp.table.state[~mdp.terminal[mdp.table.next]]] = True
    return np.asarray(~live | mdp.terminal)


def speakers(board: Board, v: Floats) -> Ints:
    """For every cell that is shown, in order, the state whose v is largest there, (N,)."""
    states = np.flatnonzero(board.shown)
    states = states[np.lexsort((-v[states], board.place[states]))]
    return states[np.unique(board.place[states], return_index=True)[1]]


def summed(board: Board, x: Floats) -> Floats:
    """The sum of x (S,) over the states of a cell, (rows, columns)."""
    drawn, (rows, columns) = board.cells[:, 0] >= 0, board.shape
    return np.asarray(np.bincount(board.place[drawn], x[drawn], rows * columns).reshape(rows, columns), np.float64)
