"""A rollout, step by step, and what it refuses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest import mock

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, VectorEnv

import envs
from agents import (
    rollout,
)
from agents.learning.rollout import numpy_generator
from tests.agents.problems import (
    MDPS,
    only,
    seeded,
    tabular,
)

# ---- a rollout, step by step ----


class Scripted(VectorEnv[Any, Any, Any]):
    """Three copies that see (step, copy): the first is cut off in its third step, the second ends in its first, the
    last in its second; what comes after an end has no meaning."""

    metadata: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, told: bool, copies: int = 3) -> None:
        self.num_envs, self.told, self.t = copies, told, 0
        self.resets: list[Any] = []
        self.actions: list[list[int]] = []

    def seen(self) -> np.ndarray[Any, Any]:
        return np.array([[self.t, k] for k in range(self.num_envs)])

    def info(self) -> dict[str, Any]:
        rows = [np.array([True, k != self.t, False]) for k in range(self.num_envs - 1)] + [np.zeros(3, bool)]
        return {"state": 10 * np.arange(self.num_envs) + self.t, "action_mask": np.array(rows)} if self.told else {}

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.resets.append((seed, options))
        self.t = 0
        return self.seen(), self.info()

    def step(self, actions: Any) -> Any:
        self.actions.append(actions.tolist())
        self.t += 1
        t = self.t
        rewards = np.arange(1.0, 1 + self.num_envs) * 10**t
        ends, cuts = np.array([False, t == 1, t == 2]), np.array([t == 3, t > 1, t == 2])
        return self.seen(), rewards, ends[: self.num_envs], cuts[: self.num_envs], self.info()


class Counting:
    """A policy that takes action (step + copy) % 2 + 1, with log-probability -(1 + step), and remembers its steps."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def sample(self, seen: Any, mask: Any, memory: Any, *, generator: Any) -> Any:
        t = 0 if memory is None else memory
        self.asked.append((seen.tolist(), None if mask is None else mask.tolist(), memory, generator))
        actions = torch.tensor([(t + k) % 2 + 1 for k in range(len(seen))])
        return actions, torch.full((len(seen),), -1.0 - t), t + 1


@pytest.mark.parametrize("told", [True, False])
def test_a_rollout_by_hand(told: bool) -> None:
    """What an episode saw, did and earned until its own end; then states are -1 and all else is 0."""
    copies, policy, generator = Scripted(told), Counting(), seeded()
    played = rollout(policy, copies, 3, generator=generator, gamma=0.5)  # type: ignore[arg-type]
    assert copies.actions == [[1, 2, 1], [2, 1, 2], [1, 2, 1]]
    assert played.actions.tolist() == [[1, 2, 1], [2, 0, 0], [1, 2, 0]]
    assert played.rewards.tolist() == [[10, 100, 1000], [20, 0, 0], [30, 300, 0]]
    assert played.behaviour_log_probs is not None
    assert played.behaviour_log_probs.tolist() == [[-1, -2, -3], [-1, 0, 0], [-1, -2, 0]]
    assert played.states.tolist() == ([[0, 1, 2], [10, -1, -1], [20, 21, -1]] if told else [[-1] * 3] * 3)
    assert played.lengths.tolist() == [3, 1, 2]
    assert played.terminated.tolist() == [False, True, True]  # an end counts more than a cut
    assert played.truncated.tolist() == [True, False, False]
    assert (played.group.tolist(), played.gamma) == ([0, 1, 2], 0.5)
    # an episode that is over sees what it saw last, and no more
    assert played.observations.tolist() == [
        [[0, 0], [1, 0], [2, 0]], [[0, 1], [1, 1], [1, 1]], [[0, 2], [1, 2], [2, 2]]
    ]  # fmt: skip
    assert [x[0] for x in policy.asked] == played.observations.transpose(1, 0, 2).tolist()
    assert [x[2] for x in policy.asked] == [None, 1, 2]
    assert all(x[3] is generator for x in policy.asked)
    if told:  # nothing is admissible in a terminal state, where it does not matter
        masks = [[[True, k != t, False] for k in range(2)] + [[True] * 3] for t in range(3)]
        assert [x[1] for x in policy.asked] == masks
        assert played.admissible is not None
        assert played.admissible.transpose(1, 0, 2).tolist() == masks
    else:
        assert played.admissible is None
        assert [x[1] for x in policy.asked] == [None] * 3


@pytest.mark.parametrize(("episodes", "rounds"), [(1, [1]), (3, [3]), (4, [3, 1]), (6, [3, 3])])
def test_a_rollout_in_rounds(episodes: int, rounds: list[int]) -> None:
    """The last one's first copies are kept; the others play on only as long as those do."""
    copies, policy = Scripted(True), Counting()
    played = rollout(policy, copies, episodes, generator=seeded(), gamma=1.0)  # type: ignore[arg-type]
    assert played.lengths.tolist() == [x for n in rounds for x in [3, 1, 2][:n]]
    assert (len(copies.resets), len(played)) == (len(rounds), episodes)
    assert len({seed for seed, _ in copies.resets}) == len(rounds)
    assert all(options is None for _, options in copies.resets)
    copies = Scripted(True)
    assert rollout(Counting(), copies, 2, generator=seeded(), gamma=1.0).lengths.tolist() == [3, 1]  # type: ignore[arg-type]


@pytest.mark.parametrize(("steps", "truncated"), [(1, [True, False, True]), (2, [True, False, False])])
def test_a_rollout_that_is_cut_off(steps: int, truncated: list[bool]) -> None:
    played = rollout(Counting(), Scripted(True), 3, generator=seeded(), max_steps=steps, gamma=1.0)  # type: ignore[arg-type]
    assert played.lengths.tolist() == [steps, 1, steps]
    assert played.truncated.tolist() == truncated
    assert played.terminated.tolist() == [not x for x in truncated]


def test_an_environment_is_told_of_groups_and_of_a_seed() -> None:
    """Seeds have 31 bits: all of them, and no more."""

    class Alike(Scripted):
        def seen(self) -> np.ndarray[Any, Any]:
            return np.zeros((self.num_envs, 2), int)

    copies = Alike(False, 2)
    played = rollout(Counting(), copies, 128, group_size=2, generator=seeded(), gamma=1.0)  # type: ignore[arg-type]
    assert played.group.tolist() == np.repeat(np.arange(64), 2).tolist()
    seeds, options = zip(*copies.resets, strict=True)
    assert 2**30 < max(seeds) < 2**31
    assert len(set(seeds)) == 64
    assert options == ({"group_size": 2},) * 64
    says = "the copies of a group of 2 do not start in one state: the environment's reset does not know "
    with pytest.raises(ValueError, match=only(says + 'options={"group_size": 2}')):
        rollout(Counting(), Scripted(False, 2), 2, group_size=2, generator=seeded(), gamma=1.0)  # type: ignore[arg-type]


def test_numpy_gets_62_bits_of_a_generator() -> None:
    with mock.patch("numpy.random.default_rng") as made:
        for k in range(64):
            numpy_generator(seeded(k))
    seeds = [call.args[0] for call in made.call_args_list]
    assert 2**61 < max(seeds) < 2**62
    assert len(set(seeds)) == 64


@pytest.mark.parametrize("where", ["gamma", "mdp"])
def test_a_vector_environment_may_carry_its_discount(where: str) -> None:
    copies = Scripted(False)
    setattr(copies, where, 0.25 if where == "gamma" else SimpleNamespace(gamma=0.25))
    assert rollout(Counting(), copies, 3, generator=seeded()).gamma == 0.25  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^the environment has its own gamma, 0\.25$"):
        rollout(Counting(), copies, 3, generator=seeded(), gamma=0.25)  # type: ignore[arg-type]


def test_one_copy_carries_its_discount_too() -> None:
    mdp = MDPS["grid"]
    copies = gymnasium.vector.SyncVectorEnv([lambda: envs.MDPEnv(mdp)])
    assert rollout(tabular(mdp), copies, 1, generator=seeded()).gamma == mdp.gamma


def test_refusals_to_the_letter() -> None:
    mdp, disabled = MDPS["bandit"], Scripted(False)
    disabled.metadata = {"autoreset_mode": AutoresetMode.DISABLED}
    says: dict[str, tuple[Any, int, dict[str, Any]]] = {
        "rollout needs a vector environment that resets its copies (autoreset)": (disabled, 2, {"gamma": 1.0}),
        "3 copies are no multiple of groups of 2": (Scripted(False), 2, {"group_size": 2, "gamma": 1.0}),
        "give gamma: the environment has none": (Scripted(False), 2, {}),
        "the FiniteMDP has its own discount, 1.0: with_gamma makes another one": (mdp, 2, {"gamma": 1.0}),
        "max_steps must be at least 1, not 0": (mdp, 2, {"max_steps": 0}),
        "0 episodes are no positive multiple of groups of 1": (mdp, 0, {}),
    }
    for text, (source, n, options) in says.items():
        with pytest.raises(ValueError, match=only(text)):
            rollout(tabular(mdp), source, n, generator=seeded(), **options)


@pytest.mark.parametrize("max_steps", [1, 5])
def test_a_table_is_cut_off_where_it_is_told(max_steps: int) -> None:
    robot = MDPS["robot"]
    played = rollout(tabular(robot), robot, 4, group_size=2, generator=seeded(), max_steps=max_steps)
    assert played.lengths.tolist() == [max_steps] * 4
    assert played.truncated.all()
    assert played.group.tolist() == [0, 0, 1, 1]
