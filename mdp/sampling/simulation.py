"""Many episodes at once: all copies take a step together, by one draw from a table.

    A_t ~ pi(.|S_t),        (S_{t+1}, R_{t+1}) ~ p(.,.|S_t, A_t)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike

from mdp.model.table import Bools, Ints
from mdp.prediction.chain import checked_policy
from mdp.prediction.graph import may_never_end
from mdp.sampling.episodes import Episodes
from mdp.sampling.history import History
from mdp.sampling.statistics import Statistics, Tally

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP

_T = TypeVar("_T", covariant=True)


class Recorder(Protocol[_T]):
    """Takes the steps of the copies that still play, and makes something of them."""

    def step(self, playing: Ints, place: Ints) -> None:
        """One step of the copies `playing`: the place of what was drawn, in `Dynamics`."""

    def done(self, cut: Ints) -> _T:
        """All steps are taken; the copies `cut` had not ended."""


class Simulator:
    """`simulate`, with the table of its policy made once for many calls.

    >>> import numpy as np
    >>> from envs import random_walk
    >>> from mdp import Simulator
    >>> rng, simulator = np.random.default_rng(0), Simulator(random_walk(), [[0, 1]] * 7)
    >>> simulator.run(simulator.starts(3, rng), rng).lengths.tolist()
    [3, 3, 3]
    >>> simulator.tally(simulator.starts(1000, rng), rng).mean
    1.0
    """

    def __init__(self, mdp: FiniteMDP, policy: ArrayLike) -> None:
        self.mdp, self.policy = mdp, checked_policy(mdp, policy)
        self._draws = mdp.dynamics.under(self.policy)

    def starts(self, episodes: int, rng: np.random.Generator) -> Ints:
        """S_0 of each episode, (N,), from mdp.start."""
        return self.mdp.dynamics.starts(episodes, rng)

    def run(
        self, starts: Ints, rng: np.random.Generator, max_steps: int | None = None, group: Ints | None = None
    ) -> Episodes:
        """One episode from each of `starts` (N,)."""
        group = np.arange(len(starts)) if group is None else group
        return self._run(History(self.mdp, self.policy, group), starts, rng, max_steps)

    def tally(self, starts: Ints, rng: np.random.Generator, max_steps: int | None = None) -> Statistics:
        """The same episodes, counted and not stored."""
        return self._run(Tally(self.mdp, starts), starts, rng, max_steps)

    def _run(self, recorder: Recorder[_T], starts: Ints, rng: np.random.Generator, max_steps: int | None) -> _T:
        if max_steps is None:
            self._check_ends(starts)
        dynamics, steps = self.mdp.dynamics, 0
        playing, s = np.arange(len(starts)), starts
        while len(playing) and (max_steps is None or steps < max_steps):
            place, steps = self._draws.draw(s, rng), steps + 1
            recorder.step(playing, place)
            goes_on = np.flatnonzero(dynamics.goes_on.take(place))
            if len(goes_on) < len(playing):
                playing, place = playing.take(goes_on), place.take(goes_on)
            s = dynamics.next.take(place)
        return recorder.done(playing)

    def _check_ends(self, starts: Ints) -> None:
        stuck: Bools = np.isin(starts, may_never_end(self.mdp, self.policy))
        if stuck.any():
            s = self.mdp.states[int(starts[stuck][0])]
            raise ValueError(f"the policy may never end from state {s!r}: pass max_steps, and it is truncated")


@overload
def simulate(
    mdp: FiniteMDP, policy: ArrayLike, /, episodes: int, *, rng: np.random.Generator, max_steps: int | None = None,
    statistics: Literal[False] = False,
) -> Episodes: ...  # fmt: skip
@overload
def simulate(
    mdp: FiniteMDP, policy: ArrayLike, /, episodes: int, *, rng: np.random.Generator, max_steps: int | None = None,
    statistics: Literal[True],
) -> Statistics: ...  # fmt: skip
def simulate(
    mdp: FiniteMDP, policy: ArrayLike, /, episodes: int, *, rng: np.random.Generator, max_steps: int | None = None,
    statistics: bool = False,
) -> Episodes | Statistics:  # fmt: skip
    """`episodes` independent episodes under a policy (S, A), each from mdp.start to a terminal state.

    max_steps: episodes that have not ended by then are cut off and marked truncated.
    statistics: returns, lengths and counts of what happened, in place of the episodes: memory does not grow with their
    lengths.
    Raises ValueError for an array that is no policy, fewer than 1 episode, and, without max_steps, for a policy that
    may never end.

    >>> import numpy as np
    >>> from envs import random_walk
    >>> from mdp import simulate
    >>> m, rng = random_walk(), np.random.default_rng(0)
    >>> found = simulate(m, m.uniform_policy(), 10_000, rng=rng, statistics=True)
    >>> abs(found.mean - 0.5) < 5 * found.standard_error  # v(C) = 1/2
    True
    """
    if episodes < 1 or (max_steps is not None and max_steps < 1):
        raise ValueError(f"episodes and max_steps must be at least 1, not {episodes} and {max_steps}")
    simulator = Simulator(mdp, policy)
    starts = simulator.starts(episodes, rng)
    return (simulator.tally if statistics else simulator.run)(starts, rng, max_steps)
