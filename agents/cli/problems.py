"""ENV on the command line: a Gymnasium id whose environment has P, an exactrl/... id, or a file that `save` wrote."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium.envs.toy_text.taxi import TaxiEnv

import envs
from agents.policies import LinearPreferences, SoftmaxPolicy, TabularPreferences
from mdp import FiniteMDP
from mdp.model import toytext
from mdp.plot import CellOf

GYMNASIUM_GAMMA = 0.9  # for environments that have no discount of their own


class Problem(NamedTuple):
    """A named MDP; cell gives the (row, column) at which a state, by its label, is drawn, where that is known."""

    name: str
    mdp: FiniteMDP
    cell: CellOf | None = None

    @property
    def stem(self) -> str:
        """The name as a part of a file's name."""
        return self.name.replace("/", "-")


def load(env: str, gamma: float | None = None) -> Problem:
    """The problem that ENV names. gamma=None: its own discount, .9 for an environment that has none.

    Raises ValueError for an unknown id, an environment without P, a file that is none.
    """
    if Path(env).suffix in (".json", ".npz") or Path(env).is_file():
        mdp = FiniteMDP.load(env)
        return Problem(Path(env).stem, mdp if gamma is None else mdp.with_gamma(gamma))
    if env not in gymnasium.registry and env.startswith("exactrl/"):
        raise ValueError(f"unknown ENV {env!r}; there are {', '.join(f'exactrl/{name}-v0' for name in envs.ZOO)}")
    made = toytext.made(env, {})
    own = getattr(made.unwrapped, "mdp", None)
    if gamma is None:
        gamma = own.gamma if isinstance(own, FiniteMDP) else GYMNASIUM_GAMMA
    name = env.split(":")[-1].removeprefix("exactrl/")
    return Problem(name, FiniteMDP.from_gymnasium(made, gamma=gamma), _cell(made.unwrapped))


def _cell(env: Any) -> CellOf | None:
    """Of the zoo, of Taxi, and of FrozenLake (desc) and CliffWalking (shape), whose first states are cells by row."""
    if isinstance(env, envs.MDPEnv):
        return env.cell
    if isinstance(env, TaxiEnv):
        return lambda s: divmod(s // 20, 5) if isinstance(s, int) else None  # 5 passengers, 4 destinations
    shape = getattr(getattr(env, "desc", None), "shape", None) or getattr(env, "shape", None)
    if not isinstance(shape, tuple) or len(shape) != 2 or math.prod(shape) != getattr(env.observation_space, "n", None):
        return None
    return lambda s: divmod(s, int(shape[1])) if isinstance(s, int) else None


def starting_policy(mdp: FiniteMDP, generator: torch.Generator | None = None) -> SoftmaxPolicy:
    """A tabular softmax in float64, uniform, or with preferences drawn from N(0, 1/2^2)."""
    policy = SoftmaxPolicy(TabularPreferences(mdp)).double()
    if generator is not None:
        with torch.no_grad():
            for p in policy.parameters():
                p.normal_(0.0, 0.5, generator=generator)
    return policy


def aliased_linear_policy(mdp: FiniteMDP) -> SoftmaxPolicy:
    """S&B Example 13.1: h(s,a) = theta . x(a), x(a) a unit vector for each action, the same in all states; uniform."""
    return SoftmaxPolicy(LinearPreferences(np.eye(mdp.n_actions)[None])).double()
