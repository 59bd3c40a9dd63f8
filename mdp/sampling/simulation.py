"""Many episodes at once: all copies take a step together, by inverse-CDF sampling of tables.

    A_t ~ pi(.|S_t),        (S_{t+1}, R_{t+1}) ~ p(.,.|S_t, A_t)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from mdp.model.table import Bools, Floats, Ints
from mdp.prediction.chain import checked_policy
from mdp.prediction.graph import may_never_end
from mdp.sampling.episodes import Episodes

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP


class Sampler:
    """Draws from many distributions: row i lies at edges[i] .. edges[i + 1] of the flat array p."""

    def __init__(self, p: Floats, edges: Ints) -> None:
        before = np.concatenate([[0.0], np.cumsum(p)])
        sizes = np.diff(edges)
        row = np.repeat(np.arange(len(sizes)), sizes)
        within = before[1:] - before[edges[:-1]][row]
        total = within[edges[1:] - 1]  # the last entry; a row without entries is never drawn from
        self._cumulative = within / total[row]
        self._cumulative[edges[1:][sizes > 0] - 1] = 1.0
        self._edges, self._halvings = edges, int(np.ceil(np.log2(max(sizes.max(initial=1), 1))))

    def draw(self, row: Ints, rng: np.random.Generator) -> Ints:
        """The flat index of one draw for each row: the first entry whose cumulative probability exceeds U, U ~ [0, 1).

        Bisection, so that every number of outcomes is exact; an entry of probability 0 is never drawn.
        """
        low, high = self._edges[row], self._edges[row + 1] - 1
        if self._halvings == 0:
            return low
        u = rng.random(len(row))
        for _ in range(self._halvings):
            middle = (low + high) // 2
            beyond = self._cumulative[middle] <= u
            low, high = np.where(beyond, np.minimum(middle + 1, high), low), np.where(beyond, high, middle)
        return low


class Simulator:
    """`simulate`, with its tables made once for many calls."""

    def __init__(self, mdp: FiniteMDP, policy: ArrayLike) -> None:
        self.mdp = mdp
        self.policy = checked_policy(mdp, policy)
        S, A = mdp.admissible.shape
        edges = np.searchsorted(mdp.table.state * A + mdp.table.action, np.arange(S * A + 1))
        live = np.where(mdp.terminal[:, None], 1 / A, self.policy)
        self._actions = Sampler(live.ravel(), np.arange(0, S * A + 1, A))
        self._outcomes = Sampler(mdp.table.p, edges)
        self._starts = Sampler(mdp.start, np.array([0, S]))

    def starts(self, episodes: int, rng: np.random.Generator) -> Ints:
        """S_0 of each episode, (N,), from mdp.start."""
        return self._starts.draw(np.zeros(episodes, np.int64), rng)

    def run(
        self, starts: Ints, rng: np.random.Generator, max_steps: int | None = None, group: Ints | None = None
    ) -> Episodes:
        """One episode from each of `starts` (N,)."""
        mdp, t, A = self.mdp, self.mdp.table, self.mdp.n_actions
        if max_steps is None:
            self._check_ends(starts)
        history: list[tuple[Ints, Ints, Ints, Floats]] = []
        playing, s = np.arange(len(starts)), starts
        while len(playing) and (max_steps is None or len(history) < max_steps):
            pair = self._actions.draw(s, rng)  # S*A rows of A: the flat index is s*A + a
            k = self._outcomes.draw(pair, rng)
            history.append((playing, s, pair - s * A, t.reward[k]))
            s = t.next[k]
            goes_on = ~mdp.terminal[s]
            playing, s = playing[goes_on], s[goes_on]
        return self._padded(history, len(starts), playing, group)

    def _padded(
        self, history: list[tuple[Ints, Ints, Ints, Floats]], n: int, cut: Ints, group: Ints | None
    ) -> Episodes:
        mdp, T = self.mdp, len(history)
        states, actions, rewards = np.full((T, n), -1), np.zeros((T, n), np.int64), np.zeros((T, n))
        lengths = np.zeros(n, np.int64)
        for step, (playing, s, a, r) in enumerate(history):
            states[step, playing], actions[step, playing], rewards[step, playing] = s, a, r
            lengths[playing] = step + 1
        truncated = np.zeros(n, bool)
        truncated[cut] = True
        whole = bool(mdp.admissible[~mdp.terminal].all())
        with np.errstate(divide="ignore"):
            log_pi = np.log(self.policy)
        return Episodes(
            states=states.T,
            actions=actions.T,
            rewards=rewards.T,
            lengths=lengths,
            terminated=~truncated,
            truncated=truncated,
            gamma=mdp.gamma,
            sight=np.maximum(states.T, 0),
            sights=mdp.observations,
            choices=None if whole else mdp.admissible,
            group=np.arange(n) if group is None else group,
            behaviour_log_probs=np.where(states.T >= 0, log_pi[states.T, actions.T], 0.0),
        )

    def _check_ends(self, starts: Ints) -> None:
        stuck: Bools = np.isin(starts, may_never_end(self.mdp, self.policy))
        if stuck.any():
            s = self.mdp.states[int(starts[stuck][0])]
            raise ValueError(f"the policy may never end from state {s!r}: pass max_steps, and it is truncated")


def simulate(
    mdp: FiniteMDP, policy: ArrayLike, /, episodes: int, *, rng: np.random.Generator, max_steps: int | None = None
) -> Episodes:
    """`episodes` independent episodes under a policy (S, A), each from mdp.start to a terminal state.

    max_steps: episodes that have not ended by then are cut off and marked truncated.
    Raises ValueError for an array that is no policy, fewer than 1 episode, and, without max_steps, for a policy that
    may never end.
    """
    if episodes < 1 or (max_steps is not None and max_steps < 1):
        raise ValueError(f"episodes and max_steps must be at least 1, not {episodes} and {max_steps}")
    simulator = Simulator(mdp, policy)
    return simulator.run(simulator.starts(episodes, rng), rng, max_steps)
