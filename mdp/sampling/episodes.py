"""Episodes: S_0 A_0 R_1 S_1 ... R_T, many at once.

`rewards[:, t]` is R_{t+1}, the reward that follows action `actions[:, t]` in state `states[:, t]`. Rows are padded to
the longest episode; `mask` is False there and comes from the lengths, never from a value.

What the agent saw is kept once for each distinct sight, not once for each step: `sight` (N, T) is a row of
`sights` (M, ...) and of `choices` (M, A), the actions that were admissible. For a FiniteMDP a sight is a state.
"""

from __future__ import annotations

from collections.abc import Sequence
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

    >>> import numpy as np
    >>> from envs import random_walk
    >>> from mdp import simulate
    >>> episodes = simulate(random_walk(), [[0, 1]] * 7, 2, rng=np.random.default_rng(0))  # always right
    >>> episodes.rewards.tolist(), episodes.lengths.tolist()
    ([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]], [3, 3])
    >>> [random_walk().states[s] for s in episodes.states[0]]
    ['C', 'D', 'E']
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
    behaviour_log_probs: Floats | None = field(default_factory=lambda: None)  # no attribute of the class

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

    def rows(self, index: Ints | slice) -> Episodes:
        """Some of the episodes, padded to the longest of them; their group numbers stay."""
        lengths = self.lengths[index]
        T = int(lengths.max(initial=0))
        played = self.behaviour_log_probs
        same = {name: getattr(self, name) for name in ("gamma", "sights", "choices")}
        return Episodes(
            **same,
            **{name: getattr(self, name)[index, :T] for name in ("states", "actions", "rewards", "sight")},
            **{name: getattr(self, name)[index] for name in ("lengths", "terminated", "truncated", "group")},
            behaviour_log_probs=None if played is None else played[index, :T],
        )


def joined(parts: Sequence[Episodes]) -> Episodes:
    """The episodes of all parts, in order, padded to the longest; groups of different parts stay apart.

    behaviour_log_probs are kept where every part has them. Raises ValueError for parts of different problems.
    """
    first = parts[0]
    if any(part.gamma != first.gamma or (part.choices is None) != (first.choices is None) for part in parts):
        raise ValueError("the parts have different discounts, or only some of them tell which actions were admissible")
    T = max(part.rewards.shape[1] for part in parts)

    def padded(name: str, fill: float = 0) -> NDArray[Any]:
        x = [getattr(part, name) for part in parts]
        return np.concatenate([np.pad(y, [(0, 0), (0, T - y.shape[1])], constant_values=fill) for y in x])

    def end_to_end(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    def numbered(name: str, counts: list[int]) -> NDArray[Any]:  # each part's numbers go on after those before it
        before = np.repeat(np.cumsum([0, *counts[:-1]]), [len(part) for part in parts])
        x = end_to_end(name) if name == "group" else padded(name)
        return np.asarray(x + before.reshape(-1, *[1] * (x.ndim - 1)))

    known = all(part.behaviour_log_probs is not None for part in parts)
    return Episodes(
        states=padded("states", -1),
        actions=padded("actions"),
        rewards=padded("rewards"),
        lengths=end_to_end("lengths"),
        terminated=end_to_end("terminated"),
        truncated=end_to_end("truncated"),
        gamma=first.gamma,
        sight=numbered("sight", [len(part.sights) for part in parts]),
        sights=end_to_end("sights"),
        choices=None if first.choices is None else end_to_end("choices"),
        group=numbered("group", [int(part.group.max(initial=-1)) + 1 for part in parts]),
        behaviour_log_probs=padded("behaviour_log_probs") if known else None,
    )
