"""`exactrl envs` and `exactrl show`: what they print and write, and one clear line for every mistake."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock, call
from xml.etree import ElementTree

import gymnasium
import numpy as np
import pytest
import torch

import envs
from agents.cli import show as showing
from agents.cli.problems import Problem, _cell, aliased_linear_policy, load, starting_policy
from mdp import FiniteMDP, evaluate, solve
from mdp.plot import board_of, plot_board
from tests.agents.test_cli import run
from tests.worlds import assert_close


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_table_of_the_zoo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Some of them, and one without answers, in 80 columns."""
    names = ("ShortCorridor", "Gridworld4x4", "RecyclingRobot", "Tokens")
    some = {name: envs.ZOO[name] for name in names}
    some["Endless"] = envs.Entry(lambda: envs.recycling_robot(gamma=0.5), ())
    monkeypatch.setattr(envs, "ZOO", some)
    assert run(monkeypatch, "envs") == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    cells = {line.split()[0]: line.split()[1:] for line in lines if line.strip()}
    assert cells["ShortCorridor"][:6] == ["4", "2", "6", "1", "-12", "-3"]
    assert cells["Gridworld4x4"][:6] == ["16", "4", "56", "1", "-18.286", "-2"]
    assert " ".join(cells["Endless"][-2:]) == "none known"


@pytest.mark.parametrize("name", envs.ZOO)
def test_the_cell_of_every_environment_arrives(name: str) -> None:
    """A problem loaded by its id is drawn as the zoo says."""
    problem = load(f"exactrl/{name}-v0")
    assert problem.cell is envs.ZOO[name].cell


@pytest.mark.parametrize(
    ("env", "shape", "start"),
    [("FrozenLake8x8-v1", (8, 8), (0, 0)), ("CliffWalking-v1", (4, 12), (3, 0)), ("Taxi-v4", (5, 5), None)],
)
def test_boards_of_gymnasium(env: str, shape: tuple[int, int], start: tuple[int, int] | None) -> None:
    problem = load(env)
    board = board_of(problem.mdp, problem.cell)
    assert board is not None
    assert board.shape == shape
    assert (board.cells[-1] == -1).all()  # "terminal"
    if start is not None:
        assert board.cells[np.argmax(problem.mdp.start)].tolist() == list(start)


def test_cells_of_taxi() -> None:
    problem, env = load("Taxi-v4"), gymnasium.make("Taxi-v4").unwrapped
    assert problem.cell is not None
    for s in range(500):
        row, column, *_ = env.decode(s)  # type: ignore[attr-defined]
        assert problem.cell(s) == (row, column)


def test_views() -> None:
    """The values of the policy that is named; for the optimal one, all optimal actions are drawn."""
    problem = load("exactrl/Gridworld4x4-v0")
    uniform, optimal = (showing.view(problem, name) for name in showing.Policy)
    assert_close(uniform.v, evaluate(problem.mdp, problem.mdp.uniform_policy()).v)
    assert_close(uniform.occupancy.sum(), -uniform.v.sum() / 14)  # steps, each of which pays -1
    assert_close(optimal.v, solve(problem.mdp).v)
    assert_close(optimal.occupancy.sum(), 2)
    assert_close(optimal.policy[6], [0.25] * 4)


@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        (("exactrl/Gridworld4x4-v0", "--policy", "uniform", "--state", "(1, 2)"), ["", "-backup"]),
        (("exactrl/RecyclingRobot-v0", "--state", "low"), ["", "-backup"]),
        (("CliffWalking-v1", "--gamma", "1"), [""]),
        (("exactrl/TicTacToe-v0", "--state", "X...O....", "--format", "svg", "--out", "a/b"), ["", "-backup"]),
    ],
)
def test_show(
    arguments: tuple[str, ...], files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "show", *arguments) == 0
    ending, folder = ("svg", Path("a/b")) if "svg" in arguments else ("png", Path())
    stem = f"exactrl-show-{arguments[0].removeprefix('exactrl/')}"
    paths = [folder / f"{stem}{part}.{ending}" for part in files]
    assert sorted(folder.glob(f"exactrl-*.{ending}")) == sorted(paths)
    printed = capsys.readouterr().out
    for path in paths:
        assert str(path) in printed
        if ending == "png":
            assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        else:
            assert ElementTree.parse(path).getroot().tag.endswith("}svg")


def test_states_are_named_as_they_are_labelled() -> None:
    m = FiniteMDP.from_outcomes({(s, 0): [(1.0, "end", 0.0)] for s in ((0, 1), "7", 8, "a b")}, gamma=1)
    assert [showing.state_of(m, text) for text in ("(0, 1)", "(0,1)", "7", "8", "a b", "'a b'")] == [0, 0, 1, 2, 3, 3]
    with pytest.raises(ValueError, match="unknown state 'nope'"):
        showing.state_of(m, "nope")
    with pytest.raises(ValueError, match=r"unknown state \[1\]"):
        showing.state_of(m, "[1]")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("exactrl/Nope-v0",), "unknown ENV 'exactrl/Nope-v0'"),
        (("exactrl/RecyclingRobot-v0", "--state", "empty"), "unknown state 'empty'; the states are 'high', 'low'"),
        (("exactrl/RecyclingRobot-v0", "--gamma", "1"), "no policy surely ends from"),
        (("exactrl/RecyclingRobot-v0", "--gamma", "1", "--policy", "uniform"), "RecyclingRobot-v0, uniform policy:"),
        (("exactrl/RecyclingRobot-v0", "--gamma", "1", "--policy", "uniform"), "(here: --gamma 0.99; perhaps --policy"),
        (("FrozenLake-v1", "--policy", "best"), "'best' is not one of 'uniform', 'optimal'"),
        (("FrozenLake-v1", "--format", "bmp"), "'bmp' is not one of 'png', 'svg'"),
        (("FrozenLake-v1", "--out", "/proc/nowhere"), "cannot write to the folder /proc/nowhere"),
    ],
)
def test_mistakes_get_one_line_and_exit_code_2(
    arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "show", *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("exactrl: ")
    assert error.count("\n") == 1
    assert message in error
    assert not list(Path().glob("exactrl-*"))


@pytest.mark.parametrize(
    ("env", "state", "cell"),
    [("FrozenLake-v1", 6, (1, 2)), ("CliffWalking-v1", 14, (1, 2)), ("Taxi-v4", 147, (1, 2)),
     ("FrozenLake-v1", "terminal", None), ("Taxi-v4", "terminal", None)],
)  # fmt: skip
def test_where_a_state_is_drawn(env: str, state: object, cell: tuple[int, int] | None) -> None:
    found = load(env).cell
    assert found is not None
    assert found(state) == cell


@pytest.mark.parametrize("shape", [None, (2, 3, 4), (2, 3), "22"])
def test_a_shape_that_is_no_board_of_the_states(shape: object) -> None:
    assert _cell(SimpleNamespace(shape=shape, observation_space=gymnasium.spaces.Discrete(24))) is None


@pytest.mark.parametrize("name", showing.Policy)
def test_all_that_was_found_is_drawn(name: showing.Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, object] = {}
    monkeypatch.setattr(showing, "plot_board", lambda *args, **given: drawn.update(given) or plot_board(*args, **given))
    problem = load("exactrl/Gridworld4x4-v0")
    seen = showing.view(problem, name)
    showing.write(problem, seen, None, showing.Format.png, tmp_path)
    for key in ("v", "q", "occupancy", "policy"):
        assert drawn[key] is getattr(seen, key)
    best = ": all best actions, the occupancy of one" if name is showing.Policy.optimal else ""
    assert drawn["title"] == f"Gridworld4x4-v0, gamma 1, {name} policy{best}"


def test_a_board_by_its_map_or_by_its_shape() -> None:
    """24 cells by row; an environment that has neither is none, nor is one whose states have no number."""
    states = gymnasium.spaces.Discrete(24)
    for env in (SimpleNamespace(desc=np.zeros((3, 8)), observation_space=states),
                SimpleNamespace(desc=np.zeros((3, 8)), shape=(4, 6), observation_space=states),
                SimpleNamespace(shape=(3, 8), observation_space=states)):  # fmt: skip
        cell = _cell(env)
        assert cell is not None
        assert [cell(s) for s in (0, 7, 8, 23, "terminal")] == [(0, 0), (0, 7), (1, 0), (2, 7), None]
    assert _cell(SimpleNamespace(observation_space=states)) is None
    assert _cell(SimpleNamespace(shape=(3, 8), observation_space=gymnasium.spaces.Box(0, 1))) is None


def test_the_graph_of_what_is_no_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the policy that is named, with the state in the middle; and its backup diagram in a file of its own."""
    drawn = Mock()
    for name in ("plot_graph", "plot_backup", "save_figure"):
        monkeypatch.setattr(showing, name, getattr(drawn, name))
    problem = Problem("a/robot", load("exactrl/RecyclingRobot-v0").mdp)
    seen = showing.view(problem, showing.Policy.optimal)
    graph, backup = tmp_path / "exactrl-show-a-robot.svg", tmp_path / "exactrl-show-a-robot-backup.svg"
    assert showing.write(problem, seen, 1, showing.Format.svg, tmp_path) == [graph, backup]
    title = f"a/robot, gamma {problem.mdp.gamma:g}, optimal policy"
    assert drawn.mock_calls == [
        call.plot_graph(problem.mdp, v=seen.v, policy=seen.policy, centre=1, title=title),
        call.save_figure(drawn.plot_graph.return_value, graph),
        call.plot_backup(problem.mdp, 1, v=seen.v, q=seen.q, policy=seen.policy, title=title),
        call.save_figure(drawn.plot_backup.return_value, backup),
    ]


@pytest.mark.parametrize("name", showing.Policy)
def test_a_view_has_q_too(name: showing.Policy) -> None:
    """q = r + gamma P v."""
    problem = load("exactrl/Gridworld4x4-v0", 0.5)
    found = showing.view(problem, name)
    assert found.name is name
    assert_close(found.q, problem.mdp.backup(found.v))


@pytest.mark.parametrize(
    ("env", "gamma", "name", "found"),
    [
        ("exactrl/Gridworld4x4-v0", None, "Gridworld4x4-v0", 1.0),
        ("exactrl/Gridworld4x4-v0", 0.25, "Gridworld4x4-v0", 0.25),
        ("envs:exactrl/Gridworld4x4-v0", None, "Gridworld4x4-v0", 1.0),
        ("FrozenLake-v1", None, "FrozenLake-v1", 0.9),
        ("FrozenLake-v1", 0.25, "FrozenLake-v1", 0.25),
        ("lake.npz", None, "lake", 0.75),
        ("lake.json", 0.25, "lake", 0.25),
        ("lake.v2.json", 0.0, "lake.v2", 0.0),
    ],
)
def test_the_name_and_the_discount_of_a_problem(env: str, gamma: float | None, name: str, found: float) -> None:
    if "lake." in env:
        envs.frozen_lake(gamma=0.75).save(env)
    problem = load(env, gamma)
    assert (problem.name, problem.mdp.gamma) == (name, found)
    assert "lake." not in env or problem.cell is None  # a file has no board


def test_a_name_as_a_part_of_a_files_name() -> None:
    assert Problem("a/b/c", envs.bandit()).stem == "a-b-c"


def test_tables_that_policies_start_from() -> None:
    """Uniform, or N(0, 1/2^2); the linear policy of the corridor does not tell its states apart."""
    mdp = envs.gridworld_4x4()
    uniform = starting_policy(mdp)
    assert np.array_equal(uniform.matrix(mdp).detach(), mdp.uniform_policy())
    drawn = starting_policy(mdp, torch.Generator().manual_seed(5))
    (theta,) = drawn.parameters()
    assert theta.dtype == torch.float64
    expected = torch.randn(theta.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) / 2
    assert torch.allclose(theta, expected, rtol=1e-12, atol=0)
    corridor = envs.short_corridor()
    policy = aliased_linear_policy(corridor)
    (theta,) = policy.parameters()
    with torch.no_grad():
        theta.copy_(torch.tensor([0.0, np.log(3.0)]).reshape(theta.shape))
    assert_close(policy.matrix(corridor).detach()[~torch.tensor(corridor.terminal)], [[0.25, 0.75]] * 3)
