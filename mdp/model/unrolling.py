"""A time limit made part of the MDP."""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING

import numpy as np

from mdp.model.table import Outcomes

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP


def unroll(mdp: FiniteMDP, horizon: int, /) -> FiniteMDP:
    """The MDP that ends after `horizon` steps: states (t, s), t = 0 .. horizon, with index t S + s.

    All states with t = horizon are terminal, and (t, s) where s is. Observations stay those of s, so that an agent
    sees no clock. S (horizon + 1) states. Raises ValueError for a horizon below 1.

    >>> from envs import frozen_lake
    >>> from mdp import solve, unroll
    >>> m = unroll(frozen_lake(), 100)  # as Gymnasium plays it: at most 100 steps
    >>> m.n_states, float(solve(m).v[0].round(10))  # 14/17 = .82 without the limit
    (1717, 0.7441902878)
    """
    horizon = checked_horizon(horizon)
    t, S = mdp.table, mdp.n_states
    shift = S * np.repeat(np.arange(horizon), len(t.p))
    again = np.tile(np.arange(len(t.p)), horizon)
    return type(mdp)(
        Outcomes(t.state[again] + shift, t.action[again], t.next[again] + shift + S, t.reward[again], t.p[again]),
        states=[(k, label) for k in range(horizon + 1) for label in mdp.states],
        actions=mdp.actions,
        gamma=mdp.gamma,
        start=np.concatenate([mdp.start, np.zeros(S * horizon)]),
        observations=np.concatenate([mdp.observations] * (horizon + 1)),
    )


def checked_horizon(horizon: int) -> int:
    """The number of steps. Raises TypeError where it is no whole number, ValueError below 1."""
    try:
        steps = index(horizon)
    except TypeError:
        raise TypeError(f"the horizon must be a whole number of steps, not {horizon!r}") from None
    if steps < 1:
        raise ValueError(f"the horizon must be at least 1, not {steps}")
    return steps
