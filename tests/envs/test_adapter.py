"""The Gymnasium skin."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from scipy import stats

from envs import ZOO, MDPEnv, gridworld_4x4, recycling_robot, short_corridor
from envs.registry import register
from mdp import FiniteMDP
from tests.worlds import assert_close, random_mdp

IDS = [f"exactrl/{name}-v0" for name in ZOO]


def made(id: str, **parameters: Any) -> MDPEnv:
    env = gymnasium.make(id, disable_env_checker=True, **parameters).unwrapped
    assert isinstance(env, MDPEnv)
    return env


@pytest.mark.parametrize("id", IDS)
def test_gymnasium_checks_it(id: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(made(id, render_mode="ansi"))


def test_made_from_the_package_that_registers_it() -> None:
    """In a process of its own, where nothing has imported envs."""
    program = "import gymnasium; print(gymnasium.make('envs:exactrl/ShortCorridor-v0', gamma=0.5).unwrapped.mdp.gamma)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "0.5"


def test_registering_again_changes_nothing() -> None:
    before = dict(gymnasium.registry)
    register()
    assert before == dict(gymnasium.registry)


@pytest.mark.parametrize("id", IDS)
def test_it_carries_its_table(id: str) -> None:
    m = FiniteMDP.from_gymnasium(f"envs:{id}", gamma=0.25)
    assert m.gamma == 0.25
    assert m.states == made(id).mdp.states


@pytest.mark.parametrize("id", IDS)
def test_seeds(id: str) -> None:
    """The same seed plays the same game, and the generator of another environment is its own."""

    def play(seed: int) -> list[Any]:
        env = made(id)
        observation, info = env.reset(seed=seed)
        env.action_space.seed(seed)
        seen: list[Any] = [(np.asarray(observation).tolist(), info["state"])]
        for _ in range(30):
            observation, reward, terminated, _, info = env.step(env.action_space.sample())
            seen.append((np.asarray(observation).tolist(), reward, terminated, info["state"]))
            if terminated:
                env.reset()
        return seen

    assert play(3) == play(3)


def test_other_seeds_differ() -> None:
    env = made("exactrl/Gridworld5x5-v0")
    assert len({env.reset(seed=seed)[1]["state"] for seed in range(20)}) > 5


def test_steps_have_the_frequencies_of_the_table() -> None:
    """Chi-square over the outcomes of every pair of a random MDP: seed 0, false alarm 1e-8 for the whole test."""
    m = random_mdp(0, states=2, actions=2)
    env, n, chi2, outcomes = MDPEnv(m), 2_000, 0.0, 0
    env.reset(seed=0)
    for s, a in np.argwhere(m.admissible):
        counts: dict[tuple[Any, float], int] = {}
        for _ in range(n):
            env.reset(options={"state": m.states[s]})
            _, reward, _, _, info = env.step(a)
            counts[info["state"], reward] = counts.get((info["state"], reward), 0) + 1
        listed = m.outcomes(m.states[s], m.actions[a])
        assert set(counts) <= {(after, r) for _, after, r in listed}
        chi2 += sum((counts.get((after, r), 0) - n * p) ** 2 / (n * p) for p, after, r in listed)
        outcomes += len(listed)
    assert chi2 < stats.chi2.isf(1e-8, outcomes)


def test_starts_have_the_frequencies_of_the_table() -> None:
    """Chi-square, seed 1, false alarm 1e-8."""
    m = random_mdp(1)
    env, n = MDPEnv(m), 3_000
    env.reset(seed=1)
    counts = np.bincount([m.state_index(env.reset()[1]["state"]) for _ in range(n)], minlength=m.n_states)
    used = m.start > 0
    assert np.all(counts[~used] == 0)
    assert np.sum((counts - n * m.start)[used] ** 2 / (n * m.start[used])) < stats.chi2.isf(1e-8, used.sum())


# ---- episodes ----


def test_one_episode() -> None:
    env = MDPEnv(short_corridor(), render_mode="ansi")
    assert env.render() is None
    observation, info = env.reset(seed=0)
    assert (observation, info["state"], info["label"], info["action_mask"].tolist()) == (0, 0, "0", [1, 1])
    assert env.render() == "in 0\n"
    for action, after in [(1, 1), (0, 2), (1, "goal")]:
        observation, reward, terminated, truncated, info = env.step(action)
        assert (observation, reward, info["label"], truncated) == (0, -1.0, str(after), False)
        assert terminated == (after == "goal")
    assert env.render() == "in 'goal' after 'right' with reward -1\n"
    assert info["action_mask"].tolist() == [0, 0]


def test_steps_before_and_after_an_episode() -> None:
    env = MDPEnv(gridworld_4x4())
    with pytest.raises(ValueError, match="the episode is over: call reset"):
        env.step(0)
    env.reset(options={"state": (0, 1)})
    assert env.step(3)[2]
    with pytest.raises(ValueError, match="the episode is over: call reset"):
        env.step(0)


@pytest.mark.parametrize("action", [2, -1, 3])
def test_actions_that_are_not_admissible(action: int) -> None:
    env = MDPEnv(recycling_robot())
    env.reset(options={"state": "high"})
    with pytest.raises(ValueError, match=rf"action {action} is not admissible in state 'high'.*'search', 'wait'"):
        env.step(action)
    assert env.step(np.int64(0))[1] == 2.0  # the state is as it was


@pytest.mark.parametrize("action", [0.7, "search", None])
def test_actions_that_are_no_integers(action: Any) -> None:
    env = MDPEnv(recycling_robot())
    env.reset(seed=0)
    with pytest.raises(TypeError):
        env.step(action)


def test_unknown_states_and_render_modes() -> None:
    with pytest.raises(ValueError, match="unknown state 'nowhere'"):
        MDPEnv(short_corridor()).reset(options={"state": "nowhere"})
    with pytest.raises(ValueError, match="unknown render_mode 'human'"):
        MDPEnv(short_corridor(), render_mode="human")


def test_the_action_space_draws_admissible_actions() -> None:
    env = MDPEnv(recycling_robot())
    env.action_space.seed(0)
    for state, allowed in [("high", {0, 1}), ("low", {0, 1, 2})]:
        env.reset(options={"state": state})
        assert {int(env.action_space.sample()) for _ in range(100)} == allowed
    assert {int(env.action_space.sample(mask=np.array([0, 1, 0], np.int8))) for _ in range(5)} == {1}


@pytest.mark.parametrize(
    ("observations", "space"),
    [
        ([0, 2, 1, 0], gymnasium.spaces.Discrete(3)),
        ([-1, 2, 1, 0], gymnasium.spaces.Box(-1, 2, (), np.int64)),
        ([[0.0, 1.5]] * 4, gymnasium.spaces.Box(0.0, 1.5, (2,), np.float64)),
    ],
)
def test_observation_spaces(observations: Any, space: gymnasium.spaces.Space[Any]) -> None:
    outcomes = {(s, 0): [(1.0, s + 1, 0.0)] for s in range(3)}
    env = MDPEnv(FiniteMDP.from_outcomes(outcomes, gamma=1, observations=observations))
    assert env.observation_space == space
    for s in range(4):
        observation, _ = env.reset(options={"state": s})
        assert observation in env.observation_space
        assert_close(observation, observations[s])
