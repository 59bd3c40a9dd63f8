"""Every step of a simulation, kept as it was drawn, and laid out as `Episodes` when somebody looks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from mdp.model.table import Floats, Ints
from mdp.sampling.episodes import Episodes

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP

Arrays = dict[str, Any]


class Simulated(Episodes):
    """Episodes whose (N, T) arrays are made when one of them is first looked at.

    Most episodes are shorter than the longest, and to pad them may take several times as long as to play them.
    """

    def __init__(self, lay_out: Callable[[], Arrays] = dict, **known: Any) -> None:  # dataclasses.replace knows all
        vars(self).update(known, _lay_out=lay_out)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        vars(self).update(vars(self).pop("_lay_out", dict)())
        if name not in vars(self):
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
        return vars(self)[name]


class History:
    """Takes the steps of a simulation (a `Recorder`), and gives `Episodes`."""

    def __init__(self, mdp: FiniteMDP, policy: Floats, group: Ints) -> None:
        self._mdp, self._policy, self._group = mdp, policy, group
        self._places, self._lengths = list[Ints](), np.zeros(len(group), np.int64)

    def step(self, playing: Ints, place: Ints) -> None:
        self._places.append(place)
        self._lengths[playing] = len(self._places)

    def done(self, cut: Ints) -> Episodes:
        mdp, truncated = self._mdp, np.zeros(len(self._group), bool)
        truncated[cut] = True
        return Simulated(
            self._laid_out,
            lengths=self._lengths,
            terminated=~truncated,
            truncated=truncated,
            gamma=mdp.gamma,
            sights=mdp.observations,
            choices=None if mdp.admissible[~mdp.terminal].all() else mdp.admissible,
            group=self._group,
        )

    def _laid_out(self) -> Arrays:
        dynamics, shape = self._mdp.dynamics, (len(self._places), len(self._group))
        states, actions = np.full(shape, -1), np.zeros(shape, np.int64)
        rewards, log_probs = np.zeros(shape), np.zeros(shape)
        with np.errstate(divide="ignore"):
            log_pi = np.log(self._policy)
        playing = np.arange(shape[1])
        for t, place in enumerate(self._places):
            s, a = dynamics.pairs(place)
            states[t, playing], actions[t, playing] = s, a
            rewards[t, playing], log_probs[t, playing] = dynamics.reward[place], log_pi[s, a]
            playing = playing[dynamics.goes_on[place]]
        laid_out = {"states": states.T, "actions": actions.T, "rewards": rewards.T, "behaviour_log_probs": log_probs.T}
        return laid_out | {"sight": np.maximum(states.T, 0)}
