"""A TokenMDP at any vocabulary size: many copies that write at once, as a Gymnasium vector environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

if TYPE_CHECKING:
    from envs.token import TokenMDP

Infos = dict[str, Any]
PAD = -1  # in observations, after the last token; never a token


class Writing(VectorEnv[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]):
    """n copies of a TokenMDP. Observations (n, L) are token ids, padded with -1; actions (n,) are token ids.

    Rewards come with the last token; what is then seen is the one end of `TokenMDP.finite`, all -1. A copy whose
    completion has ended begins anew with the next step, whose action is not read (autoreset in the next step).
    reset(options={"group_size": g}) gives each g neighbours one prompt. info has "prompt", the number of each copy's
    prompt. Raises ValueError for an action that is no token.
    """

    def __init__(self, problem: TokenMDP, n: int) -> None:
        if n < 1:
            raise ValueError(f"the number of copies must be at least 1, not {n}")
        self.problem, self.num_envs, self.gamma = problem, n, problem.gamma
        V, L = len(problem.vocabulary), len(problem.observation((), ()))
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self.single_observation_space = gymnasium.spaces.Box(-1, V - 1, (L,), np.int64)
        self.single_action_space = gymnasium.spaces.Discrete(V)
        self.observation_space = gymnasium.spaces.Box(-1, V - 1, (n, L), np.int64)
        self.action_space = gymnasium.spaces.MultiDiscrete(np.full(n, V))
        self._prompts = np.stack([problem.observation(prompt, ()) for prompt in problem.prompts])
        self._prompt_lengths = np.array([len(prompt) for prompt in problem.prompts])
        self._probabilities = np.array(list(problem.start().values()))
        self._ids = np.zeros((n, L), np.int64)
        self._prompt = np.zeros(n, np.int64)
        self._written = np.zeros(n, np.int64)
        self._over = np.zeros(n, bool)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.int64], Infos]:
        if isinstance(seed, list):
            raise ValueError("the copies share one random generator: one seed, not a list")
        super().reset(seed=seed)
        group_size = (options or {}).get("group_size", 1)
        if self.num_envs % group_size:
            raise ValueError(f"{self.num_envs} copies are no multiple of groups of {group_size}")
        self._begin(np.arange(self.num_envs), group_size)
        return self._ids.copy(), {"prompt": self._prompt.copy()}

    def _begin(self, at: NDArray[np.int64], group_size: int = 1) -> None:
        drawn = self.np_random.choice(len(self._probabilities), len(at) // group_size, p=self._probabilities)
        self._prompt[at] = drawn.repeat(group_size)
        self._ids[at] = self._prompts[self._prompt[at]]
        self._written[at], self._over[at] = 0, False

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], Infos]:
        actions = np.asarray(actions)
        writes = np.flatnonzero(~self._over)
        V = len(self.problem.vocabulary)
        wrong = writes[(actions[writes] < 0) | (actions[writes] >= V)]
        if len(wrong):
            raise ValueError(f"{actions[wrong[0]]} is no token: the vocabulary has the ids 0 .. {V - 1}")
        self._begin(np.flatnonzero(self._over))
        self._ids[writes, self._prompt_lengths[self._prompt[writes]] + self._written[writes]] = actions[writes]
        self._written[writes] += 1
        ends = (self._written[writes] == self.problem.horizon) | (actions[writes] == self._eos)
        self._over[writes[ends]] = True
        rewards = np.zeros(self.num_envs)
        for k in writes[ends]:
            rewards[k] = self.problem.checked_reward(self.problem.prompts[self._prompt[k]], self._completion(k))
        none = np.zeros(self.num_envs, bool)
        seen = np.where(self._over[:, None], PAD, self._ids)
        return seen, rewards, self._over.copy(), none, {"prompt": self._prompt.copy()}

    @property
    def _eos(self) -> int:
        return -1 if self.problem.eos is None else int(self.problem.eos)

    def _completion(self, k: int) -> tuple[int, ...]:
        first = self._prompt_lengths[self._prompt[k]]
        return tuple(self._ids[k, first : first + self._written[k]].tolist())
