"""Pictures: what is to be drawn, as data, and that files are what they claim to be."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from envs import ZOO, gambler, gridworld_4x4, gridworld_5x5, recycling_robot, short_corridor
from mdp import FiniteMDP, occupancy, solve
from mdp.plot import backup_of, board_of, frames, marks, plot_backup, plot_board, plot_graph, side_of_letters
from mdp.plot.boards.board import ends, speakers, summed
from mdp.plot.boards.grid import taken
from mdp.plot.boards.sectors import sectors
from mdp.plot.graphs.arrows import MOST_STATES, RADIUS, graph_of
from mdp.plot.graphs.layout import layout
from mdp.plot.graphs.places import Places
from mdp.plot.text import fitting, number, numbers, short
from tests.worlds import assert_close, random_mdp


@cache
def zoo(name: str) -> FiniteMDP:
    return ZOO[name].make()


GRAPHS = [name for name, entry in ZOO.items() if entry.cell is None and zoo(name).n_states <= MOST_STATES]


def walk(cells: dict[Any, tuple[int, int]], ends: dict[Any, float]) -> FiniteMDP:
    """Moves up, right, down and left between cells by label; entering an end pays its reward."""
    at = {cell: label for label, cell in cells.items()}
    steps = {"up": (-1, 0), "right": (0, 1), "down": (1, 0), "left": (0, -1)}
    outcomes = {}
    for s, (i, j) in cells.items():
        for a, (down, right) in steps.items():
            after = at.get((i + down, j + right), s)
            if s not in ends:
                outcomes[s, a] = [(1.0, after, ends.get(after, 0.0))]
    return FiniteMDP.from_outcomes(outcomes, gamma=0.9, start={next(iter(cells)): 1.0})


# ---- boards ----


def test_a_board_from_labels() -> None:
    board = board_of(gridworld_4x4())
    assert board is not None
    assert board.shape == (4, 4)
    assert board.cells[6].tolist() == [1, 2]
    assert board.directions.tolist() == [[-1, 0], [0, 1], [1, 0], [0, -1]]
    assert not board.shared
    assert board.walls == []
    assert all(board_of(m) is None for m in (recycling_robot(), short_corridor(), gambler(), random_mdp(0)))


def test_directions_of_nameless_actions() -> None:
    """FrozenLake's left, down, right and up slip to both sides; CliffWalking's cells of the cliff lead anywhere."""
    up, right, down, left = [-1, 0], [0, 1], [1, 0], [0, -1]
    expected = {"FrozenLake-v1": (4, [left, down, right, up]), "CliffWalking-v1": (12, [up, right, down, left])}
    for id, (columns, directions) in expected.items():
        m = FiniteMDP.from_gymnasium(id, gamma=0.9)
        board = board_of(m, {s: divmod(s, columns) for s in range(m.n_states - 1)}.get)
        assert board is not None
        assert_close(board.directions, directions)


@pytest.mark.parametrize(
    ("actions", "directions"),
    [
        (["up-left", "North", "stay"], [(-0.5**0.5, -0.5**0.5), (-1, 0), (0, 0)]),
        ([(1, 1), (0, 0), (-1, 0)], [(0, 0)] * 3),  # pairs may mean anything
        ([0, 1, 2], [(0, 0)] * 3),
    ],
)
def test_directions_by_name(actions: list[Any], directions: list[tuple[float, float]]) -> None:
    """On a board where most moves are jumps."""
    outcomes = {(0, a): [(1.0, "end", 0.0)] for a in actions}
    board = board_of(FiniteMDP.from_outcomes(outcomes, gamma=1), lambda s: (0, 0) if s == 0 else (2, 2))
    assert board is not None
    assert_close(board.directions, directions)


def test_pairs_that_are_added_to_a_velocity() -> None:
    """The racetrack's (1, 0) is one cell up, (0, 1) one to the right; a crash, down to the start, does not count."""
    m = zoo("Racetrack")
    board = board_of(m, ZOO["Racetrack"].cell)
    assert board is not None
    assert board.directions[[m.action_index(a) for a in ((1, 0), (0, 1), (0, 0))]].tolist() == [[-1, 0], [0, 1], [0, 0]]


def test_actions_that_lead_aslant_are_no_moves() -> None:
    """Accepting a job makes the queue longer and shows the next one: no arrow stands for that."""
    board = board_of(zoo("AdmissionQueue"), ZOO["AdmissionQueue"].cell)
    assert board is not None
    assert not board.directions.any()


def test_walls_stand_where_no_move_leads() -> None:
    taxi = FiniteMDP.from_gymnasium("Taxi-v4", gamma=0.9)
    board = board_of(taxi, {s: divmod(s // 20, 5) for s in range(500)}.get)
    assert board is not None
    assert board.shared
    assert board.walls == [((0, 1), (0, 2)), ((1, 1), (1, 2)), ((3, 0), (3, 1)), ((3, 2), (3, 3)), ((4, 0), (4, 1)),
                           ((4, 2), (4, 3))]  # fmt: skip


def test_marks() -> None:
    """Ends that pay differently say what they pay; a start is marked where few cells are starts."""
    at = {"s": (0, 0), "a": (0, 1), "lose": (0, 2), "b": (1, 0), "c": (1, 1), "win": (1, 2)}
    m = walk(at, {"lose": -1.0, "win": 1.0})
    board = board_of(m, at.get)
    assert board is not None
    assert marks(m, board) == {(0, 0): "S", (0, 2): "end -1", (1, 2): "end 1"}
    grid = board_of(gridworld_4x4())
    assert grid is not None
    assert marks(gridworld_4x4(), grid) == {(0, 0): "end", (3, 3): "end"}


def test_ends_of_a_table_of_gymnasium() -> None:
    lake = FiniteMDP.from_gymnasium("FrozenLake-v1", gamma=0.9)
    assert np.flatnonzero(ends(lake)).tolist() == [5, 7, 11, 12, 15, 16]


def test_states_that_share_a_cell() -> None:
    board = board_of(short_corridor(), lambda s: {0: (0, 0), 1: (0, 0), 2: (0, 1)}.get(s))
    assert board is not None
    assert board.shared
    assert speakers(board, np.array([-3.0, -2.0, -1.0, 0.0])).tolist() == [1, 2]
    assert summed(board, np.array([5.0, 6.0, 7.0, 8.0])).tolist() == [[11, 7]]


@pytest.mark.parametrize("name", ["Blackjack", "Racetrack", "Bandit"])
def test_a_decision_that_surely_ends_the_episode_is_no_end(name: str) -> None:
    """Hard 21 at blackjack, where to hit loses; the last cells before the finish; a bandit."""
    m = zoo(name)
    assert np.array_equal(ends(m), m.terminal)



def test_arrows_of_ties_and_of_probabilities() -> None:
    m = gridworld_4x4()
    ties = solve(m).optimal_actions.astype(float)
    s, a, share = taken(ties / np.maximum(ties.sum(axis=1, keepdims=True), 1), np.flatnonzero(~m.terminal))
    assert (share == 1).all()
    assert {k: [m.actions[x] for x in a[s == k]] for k in (1, 5, 6)} == {
        1: ["left"], 5: ["up", "left"], 6: ["up", "right", "down", "left"]
    }  # fmt: skip
    pi = np.array([[0.1, 0.0, 0.8, 0.1]])
    _, a, share = taken(pi, np.array([0]))
    assert a.tolist() == [0, 2, 3]
    assert_close(share, [0.125, 1, 0.125])


@pytest.mark.parametrize(
    "directions",
    [
        [(-1, 0), (0, 1), (1, 0), (0, -1)],
        [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (0, 0)],
        [(0, 1), (0, -1)],
        [(0, 0)] * 3,
    ],
)
def test_a_cell_is_cut_into_its_actions(directions: list[tuple[int, int]]) -> None:
    """The parts fill the cell, and each number stands on the side that its action points to."""
    parts = sectors(np.array(directions, dtype=float))
    areas = []
    for part, (down, right) in zip(parts, directions, strict=True):
        x, y = np.array(part.corners).T
        areas.append(abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2)
        assert max(abs(x).max(), abs(y).max()) <= 0.5 + 1e-12
        assert (np.sign([round(part.y, 9), round(part.x, 9)]) == (down, right)).all() or not (down or right)
    assert_close(sum(areas), 1)


# ---- graphs ----


@pytest.mark.parametrize("name", GRAPHS)
def test_the_graph_has_every_arrow_once(name: str) -> None:
    m = zoo(name)
    graph = graph_of(m)
    assert graph.hidden == 0
    drawn = {(x.dot.state, x.dot.action, x.next): (x.p, x.r) for x in graph.arrows}
    assert len(drawn) == len(graph.arrows)
    P = m.transition.toarray().reshape(*m.admissible.shape, -1)
    assert set(drawn) == {tuple(map(int, x)) for x in np.argwhere(P > 0)}
    assert_close([p for p, _ in drawn.values()], [P[key] for key in drawn])
    r = np.zeros_like(m.expected_reward)
    for (s, a, _), (p, reward) in drawn.items():
        r[s, a] += p * reward
    assert_close(r, m.expected_reward)


@pytest.mark.parametrize("name", GRAPHS)
def test_nothing_in_a_graph_covers_a_state(name: str) -> None:
    graph = graph_of(zoo(name))
    apart = np.hypot(*(graph.at[:, None] - graph.at).transpose(2, 0, 1)) + 9 * np.eye(len(graph.at))
    assert apart.min() > 2 * RADIUS
    at = dict(zip(graph.states.tolist(), graph.at, strict=True))
    for dot in graph.dots:
        assert np.hypot(*(dot.at - at[dot.state])) > RADIUS
    for arrow in graph.arrows:
        assert_close(np.hypot(*(arrow.points[-1] - at[arrow.next])), RADIUS + 0.01)
        assert_close(arrow.points[0], arrow.dot.at)


def test_the_two_directions_of_a_pair_of_states_do_not_overlap() -> None:
    graph = graph_of(recycling_robot())
    there, back = (
        next(x.points for x in graph.arrows if (x.dot.state, x.dot.action, x.next) == key)
        for key in ((0, 0, 1), (1, 2, 0))
    )
    assert np.hypot(*(there[:, None] - back).transpose(2, 0, 1)).min() > 0.1


def test_layouts() -> None:
    """A path is a line, in the order of its states; a tree stands in layers; a circle is round."""
    line = graph_of(zoo("RandomWalk")).at
    assert_close(line[:, 1], np.zeros(7))
    assert (np.diff(line[:, 0]) > 1).all()
    tree = np.zeros((5, 5), bool)
    tree[[0, 0, 1, 1, 2, 2], [1, 2, 3, 4, 4, 3]] = True
    assert layout(tree, np.arange(5), 2)[:, 0].tolist() == [0, 1.25, 1.25, 2.5, 2.5]
    ring = np.roll(np.eye(8, dtype=bool), 1, axis=1)
    at = layout(ring, np.arange(8), 1)
    distance = np.hypot(*at.T)
    assert_close(distance, np.full(8, distance.mean()), 1e-3)
    assert np.array_equal(at, layout(ring, np.arange(8), 1))


def test_a_large_graph_is_cut_near_a_state() -> None:
    m = zoo("TicTacToe")
    graph = graph_of(m)
    assert (len(graph.states), graph.hidden) == (30, m.n_states - 30)
    chosen = m.state_index("X...O....")
    assert chosen in graph_of(m, chosen).states
    assert chosen not in graph.states[:1]
    dense = graph_of(gambler())
    assert 2 <= len(dense.states) < 30
    assert len(dense.arrows) <= 48


def test_labels_keep_clear_of_one_another() -> None:
    class Axes:
        def __init__(self) -> None:
            self.written: list[tuple[float, float]] = []

        def text(self, x: float, y: float, *_: Any, **__: Any) -> None:
            self.written.append((x, y))

    axes, places = Axes(), Places()
    places.pass_by(np.array([(0.0, 2.0)]))
    wanted = [(0.0, 2.0), (0.0, 1.0), (0.0, 0.0)]
    for _ in range(4):
        places.write(axes, "label", wanted, size=8)
    assert axes.written == [(0.0, 1.0), (0.0, 0.0), (0.0, 2.0)]  # the curve last, and then nowhere


def test_backup_diagrams() -> None:
    m = recycling_robot()
    backup = backup_of(m, 0, m.uniform_policy())
    assert [(branch.action, branch.outcomes, branch.hidden) for branch in backup.branches] == [
        (0, [(0.8, 2.0, 0), (pytest.approx(0.2), 2.0, 1)], 0),
        (1, [(1.0, 1.0, 0)], 0),
    ]
    large = backup_of(zoo("CarRental"), 200, zoo("CarRental").uniform_policy(), actions=3, leaves=7)
    counts = [len(branch.outcomes) for branch in large.branches]
    assert (sum(counts), max(counts) - min(counts), large.hidden) == (7, 1, zoo("CarRental").admissible[200].sum() - 3)
    assert all(branch.hidden > 100 for branch in large.branches)


# ---- files and frames ----


def _is_picture(path: Path) -> None:
    if path.suffix == ".svg":
        assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    else:
        content = path.read_bytes()
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        assert min(struct.unpack(">2I", content[16:24])) > 150


@pytest.mark.parametrize(
    ("name", "ending"),
    [("Gridworld4x4", "png"), ("Racetrack", "svg"), ("AdmissionQueue", "png"), ("Garnet", "svg"), ("TicTacToe", "png")],
)
def test_files(name: str, ending: str, tmp_path: Path) -> None:
    m, path = zoo(name), tmp_path / f"m.{ending}"
    board, solution = board_of(m, ZOO[name].cell), solve(m)
    if board is None:
        plot_graph(m, v=solution.v, policy=solution.policy, title=name).savefig(path)
    else:
        plot_board(
            m, board, v=solution.v, q=solution.q, occupancy=occupancy(m, solution.policy),
            policy=solution.policy, title=name,
        ).savefig(path)  # fmt: skip
    _is_picture(path)
    path.unlink()
    plot_backup(m, 0, v=solution.v, q=solution.q, policy=solution.policy, title="$ x").savefig(path)
    _is_picture(path)


def test_the_disc_stands_in_its_cell() -> None:
    """The red of a frame is where the state's cell is: 5 x 5, all frames of one shape."""
    m = gridworld_5x5()
    draw = frames(m, board_of(m))
    centres = []
    for s in range(25):
        frame = draw(s)
        assert frame.dtype == np.uint8
        assert frame.shape == draw(0).shape
        red = np.argwhere((frame[..., 0] > 180) & (frame[..., 1] < 80))
        centres.append(red.mean(axis=0))
    steps = np.diff(np.array(centres).reshape(5, 5, 2), axis=0)
    assert_close(steps, np.broadcast_to(steps[0, 0], steps.shape), 0.02)
    assert steps[0, 0, 0] > 20
    assert np.array_equal(draw(3), draw(3))  # nothing is left of the frame before


def test_letters() -> None:
    assert side_of_letters(zoo("TicTacToe")) == 3
    assert [side_of_letters(m) for m in (recycling_robot(), zoo("RandomWalk"))] == [0, 0]


# ---- texts ----


def test_numbers() -> None:
    assert numbers([21.97748, 24.4194, 16.0]) == ["22.0", "24.4", "16.0"]
    assert numbers([-14.0, 0.0, -0.0]) == ["-14", "0", "0"]
    assert numbers([-0.0001, 0.5]) == ["0.000", "0.500"]
    assert numbers([2.5e7]) == ["2.5e+07"]
    assert [number(x) for x in (1 / 3, -1234.5, 0.0, -0.0)] == ["0.333", "-1234", "0", "0"]


def test_texts_fit() -> None:
    assert fitting(["12345678"], 1.0) == 9
    assert 4.5 <= fitting(["12345678"], 0.4) < 9
    assert fitting(["12345678"], 0.2) == 0
    assert short("a  b\nc", 5) == "a b c"
    assert short("abcdef", 4) == "abc…"
    assert short("$1", 4) == r"\$1"
