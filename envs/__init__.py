"""Environments with cited answers, token MDPs, and the Gymnasium skin.

`import envs` registers "exactrl/Name-v0"; gymnasium.make("envs:exactrl/Name-v0") does so by itself.
"""

from envs.adapter import MDPEnv
from envs.answers import Answer, Entry
from envs.games.bandits import bandit, contextual_bandit
from envs.graphs.corridor import short_corridor
from envs.graphs.walk import random_walk
from envs.grids.gridworld import gridworld_4x4, gridworld_5x5
from envs.operations.robot import recycling_robot
from envs.registry import ZOO, register
from envs.token import TokenMDP, tokens

__all__ = [
    "ZOO",
    "Answer",
    "Entry",
    "MDPEnv",
    "TokenMDP",
    "bandit",
    "contextual_bandit",
    "gridworld_4x4",
    "gridworld_5x5",
    "random_walk",
    "recycling_robot",
    "short_corridor",
    "tokens",
]

register()
