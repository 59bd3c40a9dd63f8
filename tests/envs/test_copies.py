"""The vector environment: many copies of a FiniteMDP that step together. What is drawn is tested in test_truth.py."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics

from agents import SoftmaxPolicy, TabularPreferences, rollout
from envs import ZOO, MDPVectorEnv, gridworld_4x4, recycling_robot, short_corridor, tictactoe, tokens
from mdp import FiniteMDP, evaluate
from tests.worlds import assert_close, random_mdp

LEFT, RIGHT = 0, 1


def line() -> FiniteMDP:
    """0 -> 1 -> 2 -> the end, surely, paying 1, 2, 3."""
    return FiniteMDP.from_outcomes({(s, "go"): [(1, s + 1, s + 1)] for s in range(3)}, gamma=1, start={0: 1})


def steps(env: VectorEnv[Any, Any, Any], n: int) -> list[tuple[list[Any], ...]]:
    """n steps with action 0: states, rewards, terminated, truncated."""
    seen = []
    for _ in range(n):
        _, reward, terminated, truncated, info = env.step(np.zeros(env.num_envs, np.int64))
        seen.append(tuple(x.tolist() for x in (info["state"], reward, terminated, truncated)))
    return seen


def test_the_next_step_resets() -> None:
    """As in Gymnasium's own vector environments: the last observation is seen, then the first, with reward 0."""
    env = MDPVectorEnv(line(), 2)
    assert env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    observation, info = env.reset(seed=0)
    assert observation.tolist() == info["state"].tolist() == [0, 0]
    no, yes = [False, False], [True, True]
    assert steps(env, 5) == [
        ([1, 1], [1, 1], no, no),
        ([2, 2], [2, 2], no, no),
        ([3, 3], [3, 3], yes, no),
        ([0, 0], [0, 0], no, no),
        ([1, 1], [1, 1], no, no),
    ]


def test_a_time_limit_truncates() -> None:
    env = MDPVectorEnv(line(), 1, max_episode_steps=2)
    env.reset(seed=0)
    assert steps(env, 4) == [
        ([1], [1], [False], [False]),
        ([2], [2], [False], [True]),
        ([0], [0], [False], [False]),
        ([1], [1], [False], [False]),
    ]
    env = MDPVectorEnv(line(), 1, max_episode_steps=3)  # the end and the limit at once, as gymnasium's TimeLimit
    env.reset(seed=0)
    assert steps(env, 3)[-1] == ([3], [3], [True], [True])


@pytest.mark.parametrize("name", ["ShortCorridor", "Gridworld4x4", "RecyclingRobot", "Tokens", "FrozenLake4x4"])
def test_it_is_many_single_environments(name: str) -> None:
    """The same spaces and the same info as gymnasium's SyncVectorEnv of single ones; transitions that a single one can
    make."""
    ours = gymnasium.make_vec(f"exactrl/{name}-v0", num_envs=4)
    theirs = gymnasium.make_vec(f"exactrl/{name}-v0", num_envs=4, vectorization_mode="sync")
    assert isinstance(ours, MDPVectorEnv)
    assert ours.single_observation_space == theirs.single_observation_space
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    (seen, info), (other, expected) = ours.reset(seed=0), theirs.reset(seed=0)
    assert seen.shape == other.shape
    assert seen.dtype == other.dtype
    assert seen in ours.observation_space
    assert set(info) == set(expected)
    for key, value in info.items():
        assert value.shape == expected[key].shape
    mask = info["action_mask"]
    s = info["state"]
    assert np.array_equal(mask.astype(bool), ours.mdp.admissible[s])
    assert info["label"].tolist() == [str(ours.mdp.states[k]) for k in s]
    assert np.array_equal(seen, ours.mdp.observations[s])


@pytest.mark.parametrize("name", ZOO)
def test_random_actions_of_the_mask_are_played(name: str) -> None:
    env = MDPVectorEnv(ZOO[name].make(), 8, max_episode_steps=10)
    _, info = env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(25):
        mask = info["action_mask"]
        seen, reward, *_, info = env.step(np.argmax(np.where(mask, rng.random(mask.shape), -1), axis=1))
        assert seen in env.observation_space
        assert np.isfinite(reward).all()


def test_seeds() -> None:
    def play(seed: int) -> list[Any]:
        env = MDPVectorEnv(random_mdp(0), 5)
        _, info = env.reset(seed=seed)
        seen = [info["state"].tolist()]
        for _ in range(20):
            _, reward, *_, info = env.step(np.argmax(info["action_mask"], axis=1))
            seen.append((info["state"].tolist(), reward.tolist()))
        return seen

    assert play(3) == play(3)
    assert play(3) != play(4)
    with pytest.raises(ValueError, match="one seed, not a list"):
        MDPVectorEnv(line(), 2).reset(seed=[1, 2])


# ---- what a step refuses ----


def test_before_reset() -> None:
    with pytest.raises(ValueError, match="call reset"):
        MDPVectorEnv(line(), 2).step(np.zeros(2, int))


@pytest.mark.parametrize("wrong", [2, 3, 4, -1, -4, 1_000_000])
def test_inadmissible_actions(wrong: int) -> None:
    """The copy, its state and what may be done there; nothing has moved then."""
    env = MDPVectorEnv(recycling_robot(), 3)
    env.reset(seed=0, options={"state": "high"})
    with pytest.raises(ValueError, match=rf"action {wrong} .* copy 1, in state 'high'.*'search', 'wait'\]"):
        env.step(np.array([0, wrong, 1]))
    assert env.step(np.array([1, 1, 1]))[4]["label"].tolist() == ["high"] * 3


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int32, np.uint64])
def test_all_kinds_of_integers_are_actions(kind: Any) -> None:
    env = MDPVectorEnv(short_corridor(), 2)
    env.reset(seed=0)
    assert env.step(np.array([RIGHT, LEFT], kind))[4]["state"].tolist() == [1, 0]
    with pytest.raises(ValueError, match="action 100 is not admissible for copy 1"):
        env.step(np.array([RIGHT, 100], kind))


@pytest.mark.parametrize("wrong", [np.array([0.0, 1.0]), np.array([0]), np.array([[0, 1]]), ["a", "b"]])
def test_actions_that_are_none(wrong: Any) -> None:
    env = MDPVectorEnv(short_corridor(), 2)
    env.reset(seed=0)
    with pytest.raises(TypeError, match="actions must be 2 integers"):
        env.step(wrong)


@pytest.mark.parametrize("whatever", [0, 7, -5, 10**12])
def test_the_action_of_a_copy_that_is_over_is_not_read(whatever: int) -> None:
    env = MDPVectorEnv(tictactoe(), 2, max_episode_steps=1)
    env.reset(seed=0)
    env.step(np.array([4, 4]))
    assert env.step(np.array([whatever, 4]))[1].tolist() == [0, 0]
    with pytest.raises(ValueError, match="action 9 is not admissible for copy 1"):
        env.step(np.array([0, 9]))


@pytest.mark.parametrize(("copies", "limit"), [(0, None), (-1, None), (1, 0)])
def test_sizes_below_one(copies: int, limit: int | None) -> None:
    with pytest.raises(ValueError, match=f"must be at least 1, not {copies}, {limit}"):
        MDPVectorEnv(line(), copies, max_episode_steps=limit)


def test_starts() -> None:
    env = MDPVectorEnv(gridworld_4x4(), 6)
    _, info = env.reset(seed=0, options={"state": (2, 1)})
    assert info["label"].tolist() == ["(2, 1)"] * 6
    _, info = env.reset(options={"group_size": 3})
    assert len(set(info["state"][:3])) == len(set(info["state"][3:])) == 1
    with pytest.raises(ValueError, match="6 copies are no multiple of groups of 4"):
        env.reset(options={"group_size": 4})
    with pytest.raises(ValueError, match="unknown state 'nowhere'"):
        env.reset(options={"state": "nowhere"})


def test_pictures() -> None:
    env = gymnasium.make_vec("exactrl/Gridworld4x4-v0", num_envs=2, render_mode="rgb_array")
    assert env.render() is None
    env.reset(seed=0, options={"state": (1, 1)})
    first = env.render()
    assert isinstance(first, tuple)
    assert np.array_equal(first[0], first[1])
    env.step(np.array([0, 1]))
    up, right = (np.asarray(frame) for frame in env.render() or ())
    assert not np.array_equal(up, right)
    assert not np.array_equal(up, first[0])
    assert up.shape == np.shape(first[0])
    text = MDPVectorEnv(gridworld_4x4(), 1, render_mode="ansi")
    text.reset(options={"state": (0, 1)})
    assert "@" in (text.render() or ())[0]
    with pytest.raises(ValueError, match="unknown render_mode 'human'"):
        MDPVectorEnv(line(), 1, render_mode="human")


# ---- with others' code ----


@pytest.mark.parametrize("group_size", [1, 4])
@pytest.mark.parametrize("mdp", [short_corridor(), tokens(), recycling_robot()], ids=["corridor", "tokens", "robot"])
def test_rollout(mdp: FiniteMDP, group_size: int) -> None:
    """The mean return of an agent's rollout is J: seed 0, within 5.8 standard errors (odds 1e-8 for each)."""
    policy = SoftmaxPolicy(TabularPreferences(mdp)).double()
    most = 60 if not mdp.terminal.any() else None
    played = rollout(
        policy, MDPVectorEnv(mdp, 2_000), 2_000, group_size=group_size, generator=torch.Generator().manual_seed(0),
        max_steps=most,
    )  # fmt: skip
    G = played.rewards @ mdp.gamma ** np.arange(played.rewards.shape[1])
    G = G.reshape(-1, group_size).mean(axis=1)
    left_out = 0.0 if most is None else mdp.gamma**most * 3 / (1 - mdp.gamma)
    J = evaluate(mdp, mdp.uniform_policy()).objective
    assert abs(G.mean() - J) < 5.8 * G.std(ddof=1) / np.sqrt(len(G)) + left_out


def test_gymnasiums_wrappers() -> None:
    env = RecordEpisodeStatistics(MDPVectorEnv(line(), 3))
    env.reset(seed=0)
    for _ in range(3):
        *_, info = env.step(np.zeros(3, np.int64))
    assert_close(info["episode"]["r"], [6, 6, 6])
    assert info["episode"]["l"].tolist() == [3, 3, 3]
    listed = DictInfoToList(MDPVectorEnv(line(), 2))
    assert [x["label"] for x in listed.reset(seed=0)[1]] == ["0", "0"]
