"""Both render modes of every environment of the zoo."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import RecordVideo, RenderCollection

from envs import ZOO, MDPEnv
from envs.registry import make
from mdp.plot import board_of


@pytest.mark.parametrize("name", ZOO)
def test_every_environment_renders_both_modes(name: str) -> None:
    env = make(name, render_mode="rgb_array")
    assert env.render() is None
    env.reset(seed=0)
    env.action_space.seed(0)
    shown = {}
    for _ in range(4):
        frame = env.render()
        assert (frame.dtype, frame.ndim, frame.shape[2]) == (np.uint8, 3, 3)
        assert [x % 2 for x in frame.shape[:2]] == [0, 0]
        assert env._state is not None
        shown[env._state] = frame
        if env.step(env.action_space.sample())[2]:
            env.reset()
    assert len({frame.shape for frame in shown.values()}) == 1
    assert len({frame.tobytes() for frame in shown.values()}) == len(shown)  # another state, another picture

    words = MDPEnv(env.mdp, cell=env.cell, render_mode="ansi")
    words.reset(seed=0)
    first, *lines = words.render().splitlines()
    assert first == f"in {words.mdp.states[words._state or 0]!r}"
    board = board_of(env.mdp, env.cell)
    if board is not None:
        assert (len(lines), {len(line) for line in lines}) == (board.shape[0], {board.shape[1]})
        row, column = board.cells[words._state or 0]
        assert lines[row][column] == "@"


def test_a_board_in_letters() -> None:
    env = make("Gridworld4x4", render_mode="ansi")
    env.reset(options={"state": (0, 2)})
    env.step(3)
    assert env.render() == "in (0, 1) after 'left' with reward -1\nE@..\n....\n....\n...E\n"


def test_holes_ends_and_starts_in_letters() -> None:
    env = make("FrozenLake4x4", render_mode="ansi")
    env.reset(options={"state": (0, 1)})
    assert env.render() == "in (0, 1)\nS@..\n.E.E\n...E\nE..E\n"
    env = make("DynaMaze", render_mode="ansi")
    env.reset(options={"state": (5, 0)})
    assert env.render().splitlines()[1:4] == [".......#E", "..#....#.", "S.#....#."]


def test_tic_tac_toe_in_letters() -> None:
    env = make("TicTacToe", render_mode="ansi")
    env.reset(options={"state": "X...O...."})
    assert env.render() == "in 'X...O....'\nX..\n.O.\n...\n"


def test_frames_of_an_episode() -> None:
    env = RenderCollection(gymnasium.make("exactrl/Gridworld4x4-v0", render_mode="rgb_array"))
    env.reset(seed=0)
    for _ in range(3):
        env.step(env.action_space.sample())
    assert len({frame.shape for frame in env.render()}) == 1  # type: ignore[union-attr]


def test_a_film(tmp_path: Path) -> None:
    pytest.importorskip("moviepy")
    env = RecordVideo(gymnasium.make("exactrl/ShortCorridor-v0", render_mode="rgb_array"), str(tmp_path))
    env.reset(seed=0)
    while not env.step(env.action_space.sample())[2]:
        pass
    env.close()  # type: ignore[no-untyped-call]
    assert [path.suffix for path in tmp_path.iterdir() if path.stat().st_size > 1000] == [".mp4"]
