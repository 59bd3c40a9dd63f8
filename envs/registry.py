"""The zoo by name, and its Gymnasium ids: "exactrl/Name-v0"."""

from __future__ import annotations

from typing import Any

import gymnasium

from envs import token
from envs.adapter import MDPEnv
from envs.answers import Entry
from envs.games import bandits
from envs.graphs import corridor, walk
from envs.grids import gridworld
from envs.operations import robot

ZOO: dict[str, Entry] = {
    "ShortCorridor": corridor.ENTRY,
    "Gridworld5x5": gridworld.GRIDWORLD_5X5,
    "Gridworld4x4": gridworld.GRIDWORLD_4X4,
    "RecyclingRobot": robot.ENTRY,
    "RandomWalk": walk.ENTRY,
    "Bandit": bandits.BANDIT,
    "ContextualBandit": bandits.CONTEXTUAL_BANDIT,
    "Tokens": token.ENTRY,
}


def make(name: str, *, render_mode: str | None = None, **parameters: Any) -> MDPEnv:
    """An environment of the zoo, by its name; parameters go to the function that makes its MDP."""
    return MDPEnv(ZOO[name].make(**parameters), render_mode=render_mode)


def register() -> None:
    """Make every name known to Gymnasium, once."""
    for name in ZOO:
        id = f"exactrl/{name}-v0"
        if id not in gymnasium.registry:
            gymnasium.register(id, entry_point="envs.registry:make", kwargs={"name": name})
