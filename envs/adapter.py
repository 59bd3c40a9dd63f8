"""A FiniteMDP as a Gymnasium environment: pure rules in the table, a thin stateful skin around it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from operator import index
from typing import Any

import gymnasium
import numpy as np

from envs.rendering import RENDER_MODES, checked_mode, renderer
from envs.spaces import AdmissibleActions, observations_of
from mdp import FiniteMDP
from mdp.plot import CellOf


class MDPEnv(gymnasium.Env[Any, Any]):
    """Plays `mdp`, which it carries as `.mdp`; `FiniteMDP.from_gymnasium` takes it from there.

    Observations are rows of mdp.observations: Discrete where they are non-negative integers, else a Box. Actions are
    indices; action_space.sample() draws from A(s). `info` holds "state", the index, "label", the state in words, and
    "action_mask" (A,) int8, A(s). `reset(options={"state": label})` starts in a given state. No time limit: wrap, or
    unroll the MDP.

    step raises ValueError for an action outside A(s) and after the end of an episode, TypeError for one that is no
    integer.

    >>> from envs import MDPEnv, short_corridor
    >>> env = MDPEnv(short_corridor())
    >>> observation, info = env.reset(seed=0)
    >>> info["label"], info["action_mask"].tolist()
    ('0', [1, 1])
    >>> observation, reward, terminated, truncated, info = env.step(1)  # right
    >>> info["label"], reward, terminated
    ('1', -1.0, False)
    """

    metadata = {"render_modes": RENDER_MODES, "render_fps": 4}  # noqa: RUF012
    action_space: AdmissibleActions

    def __init__(self, mdp: FiniteMDP, *, cell: CellOf | None = None, render_mode: str | None = None) -> None:
        self.mdp, self.cell, self.render_mode = mdp, cell, checked_mode(render_mode)
        self.action_space = AdmissibleActions(mdp)
        self.observation_space, self._observations = observations_of(mdp)
        self._first = np.searchsorted(
            mdp.table.state * mdp.n_actions + mdp.table.action, np.arange(mdp.admissible.size + 1)
        )
        self._state: int | None = None
        self._last = ""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if options and "state" in options:
            self._state = self.mdp.state_index(options["state"])
        else:
            self._state = int(self.np_random.choice(self.mdp.n_states, p=self.mdp.start / self.mdp.start.sum()))
        self._last = ""
        return self._seen(self._state)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        mdp, s, a = self.mdp, self._state, index(action)
        if s is None or mdp.terminal[s]:
            raise ValueError("the episode is over: call reset")
        if not (0 <= a < mdp.n_actions and mdp.admissible[s, a]):
            allowed = [mdp.actions[x] for x in np.flatnonzero(mdp.admissible[s])]
            raise ValueError(f"action {a} is not admissible in state {mdp.states[s]!r}; its actions are {allowed}")
        row = slice(self._first[s * mdp.n_actions + a], self._first[s * mdp.n_actions + a + 1])
        p = mdp.table.p[row]
        k = row.start + int(np.searchsorted(np.cumsum(p) / p.sum(), self.np_random.random(), side="right"))
        self._state, reward = int(mdp.table.next[k]), float(mdp.table.reward[k])
        self._last = f" after {mdp.actions[a]!r} with reward {reward:g}"
        observation, info = self._seen(self._state)
        return observation, reward, bool(mdp.terminal[self._state]), False, info

    def _seen(self, s: int) -> tuple[Any, dict[str, Any]]:
        mask = self.mdp.admissible[s].astype(np.int8)
        if mask.any():
            self.action_space.now = mask
        return self._observation(s), {"state": s, "label": str(self.mdp.states[s]), "action_mask": mask}

    def _observation(self, s: int) -> Any:
        seen = self._observations[s]
        return np.int64(seen) if isinstance(self.observation_space, gymnasium.spaces.Discrete) else np.array(seen)

    def render(self) -> Any:
        """"ansi": words and, for a board, a drawing in letters; "rgb_array": uint8 (H, W, 3); None before reset."""
        if self.render_mode is None or self._state is None:
            return None
        return self._picture(self._state, f"in {self.mdp.states[self._state]!r}{self._last}")

    @cached_property
    def _picture(self) -> Callable[[int, str], Any]:
        return renderer(self.mdp, self.cell, str(self.render_mode))
