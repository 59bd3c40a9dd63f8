"""Environments with cited answers, token MDPs, and the Gymnasium skin.

`import envs` registers "exactrl/Name-v0"; gymnasium.make("envs:exactrl/Name-v0") does so by itself.
"""

from envs.adapter import MDPEnv
from envs.answers import Answer, Entry
from envs.bandits import bandit, contextual_bandit
from envs.corridor import short_corridor
from envs.gridworld import gridworld_4x4, gridworld_5x5
from envs.registry import ZOO, register
from envs.robot import recycling_robot
from envs.token import TokenMDP, tokens
from envs.walk import random_walk

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
