"""Environments with cited answers, token MDPs, and the Gymnasium skin.

`import envs` registers "exactrl/Name-v0"; gymnasium.make("envs:exactrl/Name-v0") does so by itself.
"""

from envs.adapter import MDPEnv
from envs.answers import Answer, Entry
from envs.copies import MDPVectorEnv
from envs.games.bandits import bandit, contextual_bandit
from envs.games.blackjack import blackjack
from envs.games.easy21 import easy21
from envs.games.gambler import gambler
from envs.games.tictactoe import tictactoe
from envs.graphs.corridor import short_corridor
from envs.graphs.garnet import garnet
from envs.graphs.jumps import jumping_walk
from envs.graphs.loops import chain, double_loop
from envs.graphs.riverswim import riverswim
from envs.graphs.walk import random_walk, random_walk_19
from envs.grids.cliff import cliff
from envs.grids.gridworld import gridworld_4x4, gridworld_5x5
from envs.grids.maze import maze
from envs.grids.racetrack import racetrack
from envs.grids.toytext import cliff_walking, frozen_lake, frozen_lake_8x8, frozen_lake_random, taxi
from envs.grids.windy import windy_gridworld, windy_gridworld_king
from envs.operations.inventory import inventory
from envs.operations.queue import admission_queue
from envs.operations.rental import car_rental, car_rental_exercise
from envs.operations.replacement import machine_replacement
from envs.operations.robot import recycling_robot
from envs.registry import ZOO, register
from envs.tasks import token_addition, token_brackets
from envs.token import TokenMDP, tokens

__all__ = [
    "ZOO",
    "Answer",
    "Entry",
    "MDPEnv",
    "MDPVectorEnv",
    "TokenMDP",
    "admission_queue",
    "bandit",
    "blackjack",
    "car_rental",
    "car_rental_exercise",
    "chain",
    "cliff",
    "cliff_walking",
    "contextual_bandit",
    "double_loop",
    "easy21",
    "frozen_lake",
    "frozen_lake_8x8",
    "frozen_lake_random",
    "gambler",
    "garnet",
    "gridworld_4x4",
    "gridworld_5x5",
    "inventory",
    "jumping_walk",
    "machine_replacement",
    "maze",
    "racetrack",
    "random_walk",
    "random_walk_19",
    "recycling_robot",
    "riverswim",
    "short_corridor",
    "taxi",
    "tictactoe",
    "token_addition",
    "token_brackets",
    "tokens",
    "windy_gridworld",
    "windy_gridworld_king",
]

register()
