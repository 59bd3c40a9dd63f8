"""Grids against their sources: rules written down a second time, walked through by dictionaries alone."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from fractions import Fraction
from itertools import product
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.toy_text.frozen_lake import generate_random_map

from envs import ZOO
from envs.answers import Cell, Entry
from envs.grids import cliff, maze, racetrack, toytext, windy
from mdp import FiniteMDP, evaluate, solve
from tests.worlds import assert_close

Rules = Mapping[Hashable, Mapping[Hashable, Sequence[tuple[float, Hashable, float]]]]  # {s: {a: [(p, s', r)]}}
ENTRIES = {
    name: ZOO[name]
    for name in ("WindyGridworld", "WindyGridworldKing", "Cliff", "DynaMaze", "Racetrack", "FrozenLake4x4",
                 "FrozenLake8x8", "FrozenLakeRandom", "Taxi", "CliffWalking")
}  # fmt: skip


# ---- a second implementation of v* and of v of the uniform policy ----


def optimal(rules: Rules, gamma: float) -> dict[Hashable, float]:
    """Value iteration in place, from 0, until no value moves by more than 1e-13."""
    backups = {
        s: [(sum(p * r for p, _, r in a), [(gamma * p, x) for p, x, _ in a if x in rules]) for a in actions.values()]
        for s, actions in rules.items()
    }
    v: dict[Hashable, float] = dict.fromkeys(rules, 0.0)
    moved = 1.0
    while moved > 1e-13:
        moved = 0.0
        for s, choices in backups.items():
            best = max(r + sum([weight * v[x] for weight, x in after]) for r, after in choices)
            v[s], moved = best, max(moved, abs(best - v[s]))
    return v


def uniform(rules: Rules, gamma: float) -> dict[Hashable, float]:
    """(1 - gamma P) v = r, dense."""
    index = {s: k for k, s in enumerate(rules)}
    A, r = np.eye(len(rules)), np.zeros(len(rules))
    for s, actions in rules.items():
        for p, x, reward in (outcome for listed in actions.values() for outcome in listed):
            r[index[s]] += p * reward / len(actions)
            if x in index:
                A[index[s], index[x]] -= gamma * p / len(actions)
    return dict(zip(rules, np.linalg.solve(A, r).tolist(), strict=True))


def assert_agrees(m: FiniteMDP, rules: Rules) -> None:
    """The same states, and the same v* and v of the uniform policy in all of them."""
    assert {s for s, ends in zip(m.states, m.terminal, strict=True) if not ends} == set(rules)
    best, mean = optimal(rules, m.gamma), uniform(rules, m.gamma)
    found, averaged = solve(m).v, evaluate(m, m.uniform_policy()).v
    assert_close([found[m.state_index(s)] for s in rules], list(best.values()))
    assert_close([averaged[m.state_index(s)] for s in rules], list(mean.values()))


def gymnasium_rules(env: Any, labels: Sequence[Hashable]) -> Rules:
    """Gymnasium's table, read by hand."""
    return {
        labels[s]: {a: [(p, "end" if ends else labels[x], r) for p, x, r, ends in listed] for a, listed in by.items()}
        for s, by in env.unwrapped.P.items()
    }


# ---- all of them ----


@pytest.mark.parametrize("name", ENTRIES)
def test_every_state_but_the_end_has_a_place_on_the_board(name: str) -> None:
    entry: Entry = ENTRIES[name]
    m = entry.make()
    for label, ends in zip(m.states, m.terminal, strict=True):
        cell = label if entry.cell is None else entry.cell(label)
        assert (ends and cell is None) or (isinstance(cell, tuple) and list(map(type, cell)) == [int, int])


# ---- windy gridworld ----


def windy_rules(moves: int, stochastic: bool) -> Rules:
    """Sutton & Barto's words: the resultant next states are shifted upward by the wind of the column."""
    steps = [(0, -1), (0, 1), (-1, 0), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1), (0, 0)][:moves]
    rules: dict[Hashable, dict[Hashable, list[tuple[float, Hashable, float]]]] = {}
    for row, column in product(range(7), range(10)):
        if (row, column) == (3, 7):
            continue
        wind = int("0001112210"[column])
        gusts = (0,) if wind == 0 or not stochastic else (-1, 0, 1)
        rules[row, column] = {
            (down, right): [
                (1 / len(gusts), (sorted((0, row + down - wind - g, 6))[1], sorted((0, column + right, 9))[1]), -1.0)
                for g in gusts
            ]
            for down, right in steps
        }
    return rules


@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize("moves", [4, 8, 9])
def test_windy_gridworld(moves: int, stochastic: bool) -> None:
    assert_agrees(windy.windy_gridworld(moves, stochastic), windy_rules(moves, stochastic))


def test_the_wind_is_that_of_the_column_that_is_left() -> None:
    """Example 6.5: one cell to the right of the goal, left takes you to the cell just above the goal."""
    assert windy.windy_gridworld().outcomes((3, 8), "left") == [(1.0, (2, 7), -1.0)]
    m = windy.windy_gridworld_king(stochastic=True)
    assert m.outcomes((3, 8), "left") == [(1 / 3, (1, 7), -1.0), (1 / 3, (2, 7), -1.0), (1 / 3, (3, 7), -1.0)]
    assert_close(m.p((0, 5), -1.0, (0, 6), "left"), 1.0)  # stopped at the edge, whatever blows
    assert m.outcomes((3, 0), "down-right") == [(1.0, (4, 1), -1.0)]
    assert m.actions == ("up", "right", "down", "left", "up-right", "down-right", "down-left", "up-left")


def test_windy_gridworld_has_4_8_or_9_moves() -> None:
    with pytest.raises(ValueError, match=r"moves must be 4, 8 .*, not 5"):
        windy.windy_gridworld(5)


# ---- cliff ----


def test_cliff_is_gymnasiums_state_by_state() -> None:
    own, theirs = cliff.cliff(), FiniteMDP.from_gymnasium("CliffWalking-v1", gamma=1.0)
    numbers: dict[Hashable, Hashable] = {(i, j): 12 * i + j for i, j in product(range(4), range(12))}
    numbers[3, 11] = "terminal"
    for s in own.states[:-1]:
        for k, a in enumerate(own.actions):
            [(p, after, r)] = own.outcomes(s, a)
            assert theirs.outcomes(numbers[s], k) == [(p, numbers[after], r)]
    assert own.n_states == 3 * 12 + 2
    assert own.start[own.state_index((3, 0))] == 1 == theirs.start[36]


@pytest.mark.parametrize(("rows", "columns"), [(2, 3), (3, 5), (7, 4)])
@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_cliffs_of_other_sizes(rows: int, columns: int, gamma: float) -> None:
    m = cliff.cliff(rows, columns, gamma)
    assert m.n_states == (rows - 1) * columns + 2
    assert_close(solve(m).v[m.state_index((rows - 1, 0))], -sum(gamma**t for t in range(columns + 1)))
    assert m.outcomes((rows - 2, 1), "down") == [(1.0, (rows - 1, 0), -100.0)]


@pytest.mark.parametrize(("rows", "columns"), [(1, 12), (4, 2)])
def test_a_cliff_needs_room(rows: int, columns: int) -> None:
    with pytest.raises(ValueError, match=f"at least 2 rows and 3 columns, not {rows} x {columns}"):
        cliff.cliff(rows, columns)


# ---- maze ----


def distances(free: set[Cell], goal: Cell) -> dict[Any, int]:
    """Steps to the goal, ring by ring."""
    found, ring, d = {goal: 0}, {goal}, 0
    while ring:
        d += 1
        near = {(i + y, j + x) for i, j in ring for y, x in [(0, 1), (1, 0), (0, -1), (-1, 0)]}
        ring = near & free - found.keys()
        found |= dict.fromkeys(ring, d)
    return found


@pytest.mark.parametrize(
    ("rows", "start", "steps", "walls"),
    [
        (maze.DYNA, (2, 0), 14, [(0, 7), (1, 2), (1, 7), (2, 2), (2, 7), (3, 2), (4, 5)]),
        (maze.OPEN_RIGHT, (5, 3), 10, [(3, j) for j in range(8)]),
        (maze.OPEN_LEFT, (5, 3), 16, [(3, j) for j in range(1, 9)]),
        (maze.OPEN_BOTH, (5, 3), 10, [(3, j) for j in range(1, 8)]),
    ],
)
def test_mazes_of_the_book(rows: tuple[str, ...], start: Cell, steps: int, walls: list[Cell]) -> None:
    m, free = maze.maze(rows), set(product(range(6), range(9))) - set(walls)
    d = distances(free, (0, 8))
    assert d[start] == steps
    assert set(m.states) == free
    assert m.start[m.state_index(start)] == 1
    assert_close(solve(m).v, [0.95 ** (d[s] - 1) if d[s] else 0.0 for s in m.states])
    stepped = {
        (i, j): {a: (i + a[0], j + a[1]) if (i + a[0], j + a[1]) in free else (i, j)
                 for a in [(0, 1), (1, 0), (0, -1), (-1, 0)]}
        for i, j in free - {(0, 8)}
    }  # fmt: skip
    assert_agrees(m, {s: {a: [(1.0, x, float(x == (0, 8)))] for a, x in to.items()} for s, to in stepped.items()})


def test_a_maze_is_made_of_the_cells_that_can_be_reached() -> None:
    """Row by row; a closed room is no part of it, a cell behind a goal neither; goals may be several."""
    m = maze.maze("""
        S.#.
        G.G.
    """)
    assert m.states == ((0, 0), (0, 1), (1, 0), (1, 1), (1, 2))
    assert [s for s, ends in zip(m.states, m.terminal, strict=True) if ends] == [(1, 0), (1, 2)]
    assert m.outcomes((0, 1), "right") == m.outcomes((0, 1), "up") == [(1.0, (0, 1), 0.0)]
    assert m.outcomes((1, 1), "right") == [(1.0, (1, 2), 1.0)]
    assert_close(solve(m.with_gamma(1.0)).v, [1, 1, 0, 1, 0])


BAD_MAPS = [
    ([".G"], "the map has no start 'S'"),
    (["S."], "the map has no goal 'G'"),
    ([], "the map has no start 'S'"),
    (["S.G", ".."], r"row 1 of the map has 2 cells, row 0 has 3: '\.\.'"),
    (["S.", "xG"], r"the map has 'x' at \(1, 0\); it may have 'S' \(start\), 'G' \(goal\), '#' \(wall\), '.' \(free\)"),
    (["S.G", "S.."], r"a maze has one start S; the map has 2, at \(0, 0\), \(1, 0\)"),
    (["S#G"], r"the goal G at \(0, 2\) cannot be reached from the start"),
    (["SGG"], r"the goal G at \(0, 2\) cannot be reached from the start"),
]


@pytest.mark.parametrize(("rows", "message"), BAD_MAPS)
def test_mazes_that_are_refused(rows: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        maze.maze(rows)


# ---- racetrack ----


def line_cells(up: int, right: int) -> list[Cell]:
    """The cells whose inside the segment from (0, 0) to (up, right) meets, in its order, by intervals of time."""

    def inside(speed: int, k: int) -> tuple[Fraction, Fraction] | None:
        """When k - 1/2 < speed t < k + 1/2 holds."""
        if speed == 0:
            return (Fraction(0), Fraction(1)) if k == 0 else None
        return Fraction(2 * k - 1, 2 * speed), Fraction(2 * k + 1, 2 * speed)

    met = []
    for i, j in product(range(up + 1), range(right + 1)):
        a, b = inside(up, i), inside(right, j)
        if a and b and (enters := max(a[0], b[0], Fraction(0))) < min(a[1], b[1], Fraction(1)):
            met.append((enters, (i, j)))
    return [cell for _, cell in sorted(met)][1:]


def race_rules(rows: Sequence[str], noise: float) -> Rules:
    """Exercise 5.12, from the start line on."""
    line: list[Hashable] = [(i, j, 0, 0) for i, row in enumerate(rows) for j, x in enumerate(row) if x == "S"]
    paths = {v: line_cells(*v) for v in product(range(5), repeat=2)}

    def drive(i: int, j: int, up: int, right: int) -> list[tuple[float, Hashable]]:
        seen = [(i - y, j + x) for y, x in paths[up, right]]
        on_map = [0 <= y < len(rows) and 0 <= x < len(rows[0]) for y, x in seen]
        letters = [rows[y][x] if on else "#" for (y, x), on in zip(seen, on_map, strict=True)]
        first = next((x for x in letters if x in "#F"), ".")
        if first == "#":
            return [(1 / len(line), s) for s in line]
        return [(1.0, "finish" if first == "F" else (i - up, j + right, up, right))]

    def choices(s: Any) -> dict[Hashable, list[tuple[float, Hashable, float]]]:
        i, j, up, right = s
        lasting = drive(*s)
        return {
            (y, x): [((1 - noise) * p, after, -1.0) for p, after in drive(i, j, up + y, right + x)]
            + [(noise * p, after, -1.0) for p, after in lasting]
            for y, x in product((-1, 0, 1), repeat=2)
            if 0 <= up + y < 5 and 0 <= right + x < 5 and (up + y + right + x > 0 or rows[i][j] == "S")
        }

    rules: dict[Hashable, dict[Hashable, list[tuple[float, Hashable, float]]]] = {}
    todo = list(line)
    while todo:
        s = todo.pop()
        if s not in rules and s != "finish":
            rules[s] = choices(s)
            todo += [after for listed in rules[s].values() for _, after, _ in listed]
    return rules


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_racetrack(noise: float) -> None:
    assert_agrees(racetrack.racetrack(noise=noise), race_rules(racetrack.SMALL, noise))


def test_the_large_track_without_noise() -> None:
    """Fewest steps of a breadth-first search, or a crash at once where the rest of the line is so much better."""
    rows = racetrack.FIGURE_5_5_LEFT
    assert (len(rows), {len(row) for row in rows}) == (32, {17})
    rules = race_rules(rows, 0.0)
    ways = {s: {x for listed in a.values() for p, x, _ in listed if p == 1} for s, a in rules.items()}
    steps = [steps_to_finish(ways, (31, j, 0, 0)) for j in range(3, 9)]
    assert steps == [10, 10, 10, 10, 11, 12]
    m = racetrack.racetrack(rows, noise=0.0)
    assert m.n_states == len(rules) + 1
    v = solve(m).v
    crash = 1 + (sum(steps[:5]) + 11.4) / 6
    assert_close(crash, 11.4)
    assert_close([v[m.state_index((31, j, 0, 0))] for j in range(3, 9)], [-10, -10, -10, -10, -11, -11.4])


def steps_to_finish(ways: Mapping[Hashable, set[Hashable]], start: Hashable) -> int:
    ring, seen, steps = {start}, {start}, 0
    while "finish" not in ring:
        ring = {x for s in ring for x in ways[s]} - seen
        seen |= ring
        steps += 1
    return steps


def test_states_of_the_racetrack() -> None:
    m = racetrack.racetrack()
    assert m.states[-1] == "finish"
    assert [m.states[k] for k in np.flatnonzero(m.start)] == [(7, j, 0, 0) for j in range(1, 5)]
    assert_close(m.start[m.start > 0], 0.25)
    inner: Any = m.states[:-1]
    for i, j, up, right in inner:
        assert 0 <= min(up, right) <= max(up, right) <= 4
        assert racetrack.SMALL[i][j] == "S" if up == right == 0 else racetrack.SMALL[i][j] in "S."
    assert m.actions == tuple(product((-1, 0, 1), repeat=2))
    slow = m.admissible[m.state_index((6, 1, 1, 0))]
    assert [a for a, may in zip(m.actions, slow, strict=True) if may] == [(-1, 1), (0, 0), (0, 1), (1, 0), (1, 1)]


def test_what_a_line_meets_first_decides() -> None:
    m = racetrack.racetrack(["S.F"])
    assert m.outcomes((0, 1, 0, 1), (0, 1)) == [(1.0, "finish", -1.0)]  # the line leads on to (0, 3), off the map
    m = racetrack.racetrack(["#F", "S#"])
    assert m.outcomes((1, 0, 0, 0), (1, 1)) == [(0.1, (1, 0, 0, 0), -1.0), (0.9, "finish", -1.0)]  # through the corner
    assert m.outcomes((1, 0, 0, 0), (1, 0)) == [(1.0, (1, 0, 0, 0), -1.0)]  # set back
    m = racetrack.racetrack(["..#F", "S...", "S###"])  # (1, 2): to the right, up into #, and only then F
    sent_back = [(0.45, (1, 0, 0, 0), -1.0), (0.1, (1, 2, 0, 1), -1.0), (0.45, (2, 0, 0, 0), -1.0)]
    assert m.outcomes((1, 1, 0, 1), (1, 1)) == sent_back


@pytest.mark.parametrize("velocity", list(product(range(5), repeat=2)))
def test_lines(velocity: Cell) -> None:
    assert list(racetrack._path(*velocity)) == line_cells(*velocity)
    assert racetrack._path(*velocity[::-1]) == tuple((j, i) for i, j in racetrack._path(*velocity))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([".F"], "the map has no start 'S'"),
        (["S."], "the map has no finish 'F'"),
        (["S.F", "."], "row 1 of the map has 1 cells, row 0 has 3"),
        (["SGF"], r"the map has 'G' at \(0, 1\); it may have 'S' \(start\), 'F' \(finish\)"),
        (["S#F"], "no finish F can be reached from the start line"),
        (["F.S"], "no finish F can be reached from the start line: cars go up and right"),
    ],
)
def test_tracks_that_are_refused(rows: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        racetrack.racetrack(rows)


@pytest.mark.parametrize("noise", [-0.1, 1.0, float("nan")])
def test_noise_that_is_refused(noise: float) -> None:
    with pytest.raises(ValueError, match=rf"noise must lie in \[0, 1\), not {noise}"):
        racetrack.racetrack(noise=noise)


# ---- Gymnasium's ----


def cells(n_rows: int, n_columns: int) -> list[Cell]:
    return list(product(range(n_rows), range(n_columns)))


MAKERS: list[tuple[Callable[..., FiniteMDP], str, list[Cell], dict[str, Any], float]] = [
    (toytext.frozen_lake, "FrozenLake-v1", cells(4, 4), {}, 1.0),
    (toytext.frozen_lake, "FrozenLake-v1", cells(4, 4), {"is_slippery": False}, 0.9),
    (toytext.frozen_lake, "FrozenLake-v1", cells(4, 4), {"success_rate": 0.5, "reward_schedule": (2, -1, -0.1)}, 0.9),
    (toytext.frozen_lake, "FrozenLake-v1", cells(2, 3), {"desc": ["SFF", "FHG"]}, 1.0),
    (toytext.frozen_lake, "FrozenLake-v1", cells(2, 3), {"desc": ["SHG", "SFF"]}, 1.0),
    (toytext.frozen_lake_8x8, "FrozenLake8x8-v1", cells(8, 8), {"success_rate": 0.7}, 0.99),
    (toytext.cliff_walking, "CliffWalking-v1", cells(4, 12), {}, 1.0),
    (toytext.cliff_walking, "CliffWalking-v1", cells(4, 12), {"is_slippery": True}, 1.0),
]


@pytest.mark.parametrize(("make", "id", "labels", "parameters", "gamma"), MAKERS)
def test_gymnasiums_tables(
    make: Callable[..., FiniteMDP], id: str, labels: list[Cell], parameters: dict[str, Any], gamma: float
) -> None:
    m, env = make(**parameters, gamma=gamma), gymnasium.make(id, **parameters)
    assert m.states == (*labels, "end")
    assert_close(m.start[:-1], env.unwrapped.initial_state_distrib)  # type: ignore[attr-defined]
    assert_agrees(m, gymnasium_rules(env, labels))


def test_a_random_lake_is_gymnasiums() -> None:
    drawn = generate_random_map(5, 0.7, 3)
    m, same = toytext.frozen_lake_random(5, 0.7, 3, success_rate=0.8), toytext.frozen_lake(drawn, success_rate=0.8)
    assert m.states == same.states
    assert [m.outcomes(s, a) for s in m.states for a in m.actions] == [
        same.outcomes(s, a) for s in same.states for a in same.actions
    ]
    assert toytext.frozen_lake_random(seed=1).table.p.shape != toytext.frozen_lake_random(seed=2).table.p.shape


def test_a_lake_from_one_string() -> None:
    one, two = toytext.frozen_lake("SFF\nFHG"), toytext.frozen_lake(["SFF", "FHG"])
    assert one.states == two.states == (*cells(2, 3), "end")
    assert_close(solve(one).v, solve(two).v, 0)


@pytest.mark.parametrize("seed", range(3))
def test_a_random_lake_agrees_with_its_map(seed: int) -> None:
    env = gymnasium.make("FrozenLake-v1", desc=generate_random_map(6, 0.75, seed))
    assert_agrees(toytext.frozen_lake_random(6, 0.75, seed, gamma=0.95), gymnasium_rules(env, cells(6, 6)))


def test_words_for_moves() -> None:
    lake = toytext.frozen_lake()
    sure = toytext.frozen_lake(is_slippery=False)
    assert sure.outcomes((2, 1), "left") == [(1.0, (2, 0), 0.0)]
    assert sure.outcomes((2, 1), "down") == [(1.0, (3, 1), 0.0)]
    assert sure.outcomes((2, 1), "right") == [(1.0, (2, 2), 0.0)]
    assert sure.outcomes((2, 1), "up") == [(1.0, "end", 0.0)]  # a hole
    assert sure.outcomes((3, 2), "right") == [(1.0, "end", 1.0)]
    assert [x for _, x, _ in lake.outcomes((2, 2), "left")] == [(1, 2), (2, 1), (3, 2)]
    walk = toytext.cliff_walking()
    assert walk.outcomes((2, 4), "down") == [(1.0, (3, 0), -100.0)]
    assert walk.outcomes((2, 11), "down") == [(1.0, "end", -1.0)]
    assert walk.outcomes((2, 4), "left") == [(1.0, (2, 3), -1.0)]
    cab = toytext.taxi()
    assert cab.outcomes((0, 1, "R", "G"), "right") == [(1.0, (0, 1, "R", "G"), -1.0)]  # a wall
    assert cab.outcomes((0, 1, "R", "G"), "left") == [(1.0, (0, 0, "R", "G"), -1.0)]
    assert cab.outcomes((0, 0, "R", "G"), "pickup") == [(1.0, (0, 0, "taxi", "G"), -1.0)]
    assert cab.outcomes((0, 1, "R", "G"), "pickup") == [(1.0, (0, 1, "R", "G"), -10.0)]
    assert cab.outcomes((0, 4, "taxi", "G"), "dropoff") == [(1.0, "end", 20.0)]
    assert cab.outcomes((4, 0, "taxi", "G"), "dropoff") == [(1.0, (4, 0, "Y", "G"), -1.0)]
    assert cab.outcomes((4, 3, "taxi", "B"), "up") == [(1.0, (3, 3, "taxi", "B"), -1.0)]
    rain = {x: p for p, x, _ in toytext.taxi(is_rainy=True, rainy_probability=0.7).outcomes((2, 2, "R", "G"), "down")}
    assert_close([rain[3, 2, "R", "G"], rain[2, 1, "R", "G"], rain[2, 3, "R", "G"]], [0.7, 0.15, 0.15])


HOMES = {"R": (0, 0), "G": (0, 4), "Y": (4, 0), "B": (4, 3)}


def taxi_distances(goal: Cell) -> dict[Cell, int]:
    """Moves around the walls: 1 | 2 in the two upper rows, 0 | 1 and 2 | 3 in the two lower ones."""
    walls = {(0, 1), (1, 1), (3, 0), (4, 0), (3, 2), (4, 2)}  # to the right of these cells
    found, ring = {goal: 0}, [goal]
    for i, j in ring:  # the ring grows while it is walked
        for x, shut in [
            ((i + 1, j), False), ((i - 1, j), False), ((i, j + 1), (i, j) in walls), ((i, j - 1), (i, j - 1) in walls)
        ]:  # fmt: skip
            if not shut and min(x) >= 0 and max(x) < 5 and x not in found:
                found[x] = found[i, j] + 1
                ring.append(x)
    return found


@pytest.mark.parametrize(("gamma", "mean"), [(1.0, 7.93), (0.99, 6.3274643149)])
def test_taxi_in_all_states(gamma: float, mean: float) -> None:
    m, d = toytext.taxi(gamma=gamma), {home: taxi_distances(cell) for home, cell in HOMES.items()}

    def value(i: int, j: int, passenger: str, destination: str) -> float:
        driven = d[destination][i, j]
        if passenger != "taxi":
            driven = d[passenger][i, j] + 1 + d[destination][HOMES[passenger]]
        return -sum(gamma**t for t in range(driven)) + 20 * gamma**driven

    v = solve(m).v
    assert_close(v[:-1], [value(*s) for s in m.states[:-1]])  # type: ignore[misc]
    assert m.states[:-1] == tuple(product(range(5), range(5), [*HOMES, "taxi"], HOMES))
    assert (m.start > 0).sum() == 300
    assert_close(m.start @ v, mean)


@pytest.mark.parametrize("parameters", [{}, {"is_rainy": True}])
def test_taxi_agrees_with_gymnasiums_table(parameters: dict[str, Any]) -> None:
    m = toytext.taxi(**parameters)
    assert_agrees(m, gymnasium_rules(gymnasium.make("Taxi-v4", **parameters), m.states[:-1]))


LAKES: list[tuple[dict[str, Any], str]] = [
    ({"desc": ["FFG"]}, "the map has no start 'S'"),
    ({"desc": ["SFF"]}, "the map has no goal 'G'"),
    ({"desc": ["SFG", "F"]}, "row 1 of the map has 1 cells, row 0 has 3"),
    ({"desc": ["S.G"]}, r"the map has '\.' at \(0, 1\); it may have 'S' \(start\), 'G' \(goal\), 'F' \(ice\)"),
    ({"desc": ["SHG"]}, r"the goal G at \(0, 2\) cannot be reached from the start"),
    ({"success_rate": 1.4}, r"success_rate must lie in \[0, 1\], not 1.4"),
    ({"success_rate": float("nan")}, r"success_rate must lie in \[0, 1\], not nan"),
    ({"reward_schedule": (1, 0)}, r"three rewards \(goal, hole, ice\), not \(1, 0\)"),
]


@pytest.mark.parametrize(("parameters", "message"), LAKES)
def test_lakes_that_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        toytext.frozen_lake(**parameters)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"size": 1}, "size must be at least 2, not 1"),
        ({"p": 0.0}, r"p must lie in \(0, 1\], not 0.0"),
        ({"p": 1.1}, r"p must lie in \(0, 1\], not 1.1"),
        ({"p": 0.3}, "p = 0.3 is too small for size 8: .* at least 0.6"),
        ({"success_rate": -1}, r"success_rate must lie in \[0, 1\], not -1"),
    ],
)
def test_random_lakes_that_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        toytext.frozen_lake_random(**parameters)


def test_rain_that_is_refused() -> None:
    with pytest.raises(ValueError, match=r"rainy_probability must lie in \[0, 1\], not 2"):
        toytext.taxi(is_rainy=True, rainy_probability=2)
