"""Episodes: S_0 A_0 R_1 S_1 ... R_T, many at once.

`rewards[:, t]` is R_{t+1}, the reward that follows action `actions[:, t]` in state `states[:, t]`. Rows are padded to
the longest episode; `mask` is False there and comes from the lengths, never from a value.

What the agent saw is kept once for each distinct sight, not once for each step: `sight` (N, T) is a row of
`sights` (M, ...) and of `choices` (M, A), the actions that were admissible. For a FiniteMDP a sight is a state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdp.model.table import Bools, Floats, Ints


@dataclass(frozen=True)
class Episodes:
    """N episodes of at most T steps.

    states (N, T)       index of S_t, -1 where the source does not tell it and after the end
    actions (N, T)      index of A_t, 0 after the end
    rewards (N, T)      R_{t+1}, 0 after the end
    lengths (N,)        steps of each episode; mask (N, T) is t < length
    terminated (N,)     the episode reached a terminal state; truncated (N,): it was cut off before
    group (N,)          episodes of one group share their start state
    gamma               the discount of the problem that was played
    sight (N, T), sights (M, ...), choices (M, A) or None (all actions)   what the agent saw, see above
    behaviour_log_probs (N, T) or None   log pi(A_t|S_t) of the policy that played, 0 after the end
    """

    states: Ints
    actions: Ints
    rewards: Floats
    lengths: Ints
    terminated: Bools
    truncated: Bools
    gamma: float
    sight: Ints
    sights: NDArray[Any]
    choices: Bools | None = None
    group: Ints = field(default_factory=lambda: np.arange(0))
    behaviour_log_probs: Floats | None = None

    def __post_init__(self) -> None:
        if len(self.group) != len(self.lengths):
            object.__setattr__(self, "group", np.arange(len(self.lengths)))

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def mask(self) -> Bools:
        """(N, T) bool: the step was played."""
        return np.arange(self.rewards.shape[1]) < self.lengths[:, None]

    @property
    def observations(self) -> NDArray[Any]:
        """(N, T, ...): what the agent saw before A_t; after the end a row without meaning."""
        return self.sights[self.sight]

    @property
    def admissible(self) -> Bools | None:
        """(N, T, A) bool, or None where every action is always admissible."""
        return None if self.choices is None else self.choices[self.sight]
