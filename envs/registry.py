"""The zoo by name, and its Gymnasium ids: "exactrl/Name-v0"."""

from __future__ import annotations

from typing import Any

import gymnasium

from envs import tasks, token
from envs.adapter import MDPEnv
from envs.answers import Entry
from envs.copies import MDPVectorEnv
from envs.games import bandits, blackjack, easy21, gambler, tictactoe
from envs.graphs import corridor, garnet, jumps, loops, riverswim, walk
from envs.grids import cliff, gridworld, maze, racetrack, toytext, windy
from envs.operations import inventory, queue, rental, replacement, robot

ZOO: dict[str, Entry] = {
    "ShortCorridor": corridor.ENTRY,
    "RandomWalk": walk.ENTRY,
    "RandomWalk19": walk.ENTRY_19,
    "RandomWalk1000": jumps.ENTRY,
    "RiverSwim": riverswim.ENTRY,
    "DoubleLoop": loops.DOUBLE_LOOP,
    "Chain": loops.CHAIN,
    "Garnet": garnet.ENTRY,
    "Gridworld5x5": gridworld.GRIDWORLD_5X5,
    "Gridworld4x4": gridworld.GRIDWORLD_4X4,
    "WindyGridworld": windy.ENTRY,
    "WindyGridworldKing": windy.KING,
    "Cliff": cliff.ENTRY,
    "DynaMaze": maze.ENTRY,
    "Racetrack": racetrack.ENTRY,
    "FrozenLake4x4": toytext.FROZEN_LAKE_4X4,
    "FrozenLake8x8": toytext.FROZEN_LAKE_8X8,
    "FrozenLakeRandom": toytext.FROZEN_LAKE_RANDOM,
    "CliffWalking": toytext.CLIFF_WALKING,
    "Taxi": toytext.TAXI,
    "Bandit": bandits.BANDIT,
    "ContextualBandit": bandits.CONTEXTUAL_BANDIT,
    "Gambler": gambler.ENTRY,
    "Blackjack": blackjack.ENTRY,
    "Easy21": easy21.ENTRY,
    "TicTacToe": tictactoe.ENTRY,
    "RecyclingRobot": robot.ENTRY,
    "MachineReplacement": replacement.ENTRY,
    "Inventory": inventory.ENTRY,
    "AdmissionQueue": queue.ENTRY,
    "CarRental": rental.CAR_RENTAL,
    "CarRentalExercise": rental.CAR_RENTAL_EXERCISE,
    "Tokens": token.ENTRY,
    "TokenBrackets": tasks.BRACKETS,
    "TokenAddition": tasks.ADDITION,
}


def make(name: str, *, render_mode: str | None = None, **parameters: Any) -> MDPEnv:
    """An environment of the zoo, by its name; parameters go to the function that makes its MDP."""
    return MDPEnv(ZOO[name].make(**parameters), cell=ZOO[name].cell, render_mode=render_mode)


def make_vec(
    name: str, num_envs: int, *, max_episode_steps: int | None = None, render_mode: str | None = None, **parameters: Any
) -> MDPVectorEnv:
    """Many copies of it that step together."""
    mdp, cell = ZOO[name].make(**parameters), ZOO[name].cell
    return MDPVectorEnv(mdp, num_envs, max_episode_steps=max_episode_steps, cell=cell, render_mode=render_mode)


def register() -> None:
    """Make every name known to Gymnasium, once."""
    for name in ZOO:
        id = f"exactrl/{name}-v0"
        if id not in gymnasium.registry:
            gymnasium.register(
                id,
                entry_point="envs.registry:make",
                vector_entry_point="envs.registry:make_vec",
                kwargs={"name": name},
            )
