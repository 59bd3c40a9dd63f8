"""Many copies of a FiniteMDP that take their steps together: the Gymnasium vector environment of the zoo."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from envs.rendering import RENDER_MODES, checked_mode, renderer
from envs.spaces import observations_of
from mdp import FiniteMDP
from mdp.model.table import frozen
from mdp.plot import CellOf

Infos = dict[str, Any]
Step = tuple[NDArray[Any], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], Infos]


class MDPVectorEnv(VectorEnv[NDArray[Any], NDArray[Any], NDArray[Any]]):
    """num_envs copies of `mdp`, which it carries as `.mdp`; a step of all is a few numpy calls.

    Spaces are those of `MDPEnv`, batched. `info` holds "state" (n,), "label" (n,), the states in words, and
    "action_mask" (n, A) int8, A(s); and beside each "_state" and so on, as Gymnasium has it: which copies have one.

    A copy whose episode is over begins anew with the next step, whose action is not read and whose reward is 0
    (autoreset in the next step). max_episode_steps: episodes are then truncated. All copies share one random
    generator. reset(options={"state": label}) starts all of them in one state, {"group_size": g} gives each g
    neighbours one start state.

    Raises ValueError for an action outside A(s), with the copy and its state, TypeError for one that is no integer.

    >>> import numpy as np
    >>> from envs import MDPVectorEnv, short_corridor
    >>> copies = MDPVectorEnv(short_corridor(), 3)
    >>> observations, info = copies.reset(seed=0)
    >>> observations, rewards, terminated, truncated, info = copies.step(np.array([0, 1, 1]))  # left, right, right
    >>> info["state"].tolist(), rewards.tolist()
    ([0, 1, 1], [-1.0, -1.0, -1.0])
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": RENDER_MODES, "render_fps": 4
    }  # fmt: skip

    def __init__(
        self, mdp: FiniteMDP, num_envs: int, *, max_episode_steps: int | None = None, cell: CellOf | None = None,
        render_mode: str | None = None,
    ) -> None:  # fmt: skip
        if num_envs < 1 or (max_episode_steps is not None and max_episode_steps < 1):
            raise ValueError(f"num_envs and max_episode_steps must be at least 1, not {num_envs}, {max_episode_steps}")
        self.mdp, self.num_envs, self.limit = mdp, num_envs, max_episode_steps
        self.cell, self.render_mode = cell, checked_mode(render_mode)
        self.single_observation_space, self._seen = observations_of(mdp)
        self.single_action_space = gymnasium.spaces.Discrete(mdp.n_actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._dynamics = mdp.dynamics
        self._labels = np.array([str(s) for s in mdp.states])
        self._masks = mdp.admissible.astype(np.int8)
        self._allowed = np.zeros((mdp.n_states, mdp.dynamics.width), bool)
        self._allowed[:, : mdp.n_actions] = mdp.admissible | mdp.terminal[:, None]  # at the end nothing is read
        self._all = frozen(np.ones(num_envs, bool))
        self._state, self._age = np.zeros(num_envs, np.int64), np.zeros(num_envs, np.int64)
        self._over: NDArray[np.bool_] | None = None  # of whose episodes the next step resets

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], Infos]:
        if isinstance(seed, list):
            raise ValueError("the copies share one random generator: one seed, not a list")
        super().reset(seed=seed)
        options = options or {}
        group_size = options.get("group_size", 1)
        if group_size < 1 or self.num_envs % group_size:
            raise ValueError(f"{self.num_envs} copies are no multiple of groups of {group_size}")
        if "state" in options:
            self._state = np.full(self.num_envs, self.mdp.state_index(options["state"]))
        else:
            self._state = self._dynamics.starts(self.num_envs // group_size, self.np_random).repeat(group_size)
        self._age, self._over = np.zeros(self.num_envs, np.int64), self._dynamics.terminal.take(self._state)
        return self._seen.take(self._state, axis=0), self._infos()

    def step(self, actions: Any) -> Step:
        if self._over is None:
            raise ValueError("call reset before the first step")
        over = self._over
        row = self._rows(np.asarray(actions), over)
        place = self._dynamics.outcomes.draw(row, self.np_random)
        state, reward = self._dynamics.next.take(place), self._dynamics.reward.take(place)
        self._age += 1
        anew = np.flatnonzero(over)
        if len(anew):
            state[anew] = self._dynamics.starts(len(anew), self.np_random)
            reward[anew], self._age[anew] = 0.0, 0
        terminated = self._dynamics.terminal.take(state)
        truncated = np.zeros_like(terminated) if self.limit is None else self._age >= self.limit
        self._state, self._over = state, terminated if self.limit is None else terminated | truncated
        return self._seen.take(state, axis=0), reward, terminated, truncated, self._infos()

    def render(self) -> tuple[Any, ...] | None:
        """What `MDPEnv.render` gives, for each copy; None before reset, and without a render_mode."""
        if self.render_mode is None or self._over is None:
            return None
        return tuple(self._picture(int(s), f"in {self.mdp.states[s]!r}") for s in self._state)

    @cached_property
    def _picture(self) -> Callable[[int, str], Any]:
        return renderer(self.mdp, self.cell, str(self.render_mode))

    def _rows(self, actions: NDArray[Any], over: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The rows of (s, a) in the table of the dynamics; those of copies that are over mean nothing."""
        if actions.dtype.kind not in "iu" or actions.shape != (self.num_envs,):
            raise TypeError(f"actions must be {self.num_envs} integers, not {actions.dtype} of shape {actions.shape}")
        actions, width = actions.astype(np.int64, copy=False), self._dynamics.width
        outside = actions & -width  # not 0 for negative ones, and for width and more
        if outside.any():
            if (outside[~over] != 0).any():
                self._refuse(actions, (outside != 0) & ~over)
            actions = np.where(over, 0, actions)
        row: NDArray[np.int64] = self._state * width + actions
        allowed = self._allowed.take(row)
        if not allowed.all() and not (allowed | over).all():
            self._refuse(actions, ~(allowed | over))
        return row

    def _refuse(self, actions: NDArray[Any], wrong: NDArray[np.bool_]) -> None:
        k = int(np.argmax(wrong))
        s = self._state[k]
        named = [self.mdp.actions[a] for a in np.flatnonzero(self.mdp.admissible[s])]
        where = f"copy {k}, in state {self.mdp.states[s]!r}"
        raise ValueError(f"action {actions[k]} is not admissible for {where}; its actions are {named}")

    def _infos(self) -> Infos:
        s, every = self._state, self._all
        return {
            "state": s.copy(), "_state": every,
            "label": self._labels.take(s), "_label": every,
            "action_mask": self._masks.take(s, axis=0), "_action_mask": every,
        }  # fmt: skip
