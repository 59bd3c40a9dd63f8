"""The Gymnasium spaces of a FiniteMDP."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from mdp import FiniteMDP


class AdmissibleActions(gymnasium.spaces.Discrete):
    """Discrete(A) whose `sample()` draws from A(s), s the current state of the environment that it belongs to."""

    def __init__(self, mdp: FiniteMDP) -> None:
        super().__init__(mdp.n_actions)
        first = mdp.admissible[mdp.start > 0].all(axis=0)
        self._first = first if first.any() else mdp.admissible.any(axis=0)
        self.now: NDArray[np.int8] = np.asarray(self._first, dtype=np.int8)

    def seed(self, seed: Any = None) -> Any:
        """Until the next step, actions are drawn that are admissible at every start too, where there are such: they
        may be drawn before a reset and played after it, as Gymnasium's own checker does."""
        both = self._first & (self.now > 0)
        self.now = np.asarray(both, dtype=np.int8) if both.any() else self.now
        return super().seed(seed)

    def sample(self, mask: Any = None, probability: Any = None) -> np.int64:
        """One admissible action; a mask or probabilities of one's own take the place of A(s)."""
        return super().sample(self.now if mask is None and probability is None else mask, probability)


def observations_of(mdp: FiniteMDP) -> tuple[gymnasium.spaces.Space[Any], NDArray[Any]]:
    """The space of mdp.observations, and what is seen in each state: Discrete for integers >= 0, else a Box."""
    seen = mdp.observations
    seen = seen.astype(np.int8) if seen.dtype == bool else seen  # a space has no bool
    if seen.ndim == 1 and seen.dtype.kind in "iu" and seen.min() >= 0:
        return gymnasium.spaces.Discrete(int(seen.max()) + 1), seen
    return gymnasium.spaces.Box(seen.min(), seen.max(), seen.shape[1:], seen.dtype.type), seen
