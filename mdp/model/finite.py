"""A finite Markov decision process: p(s',r|s,a), gamma, and Pr(S_0 = s).

Sutton & Barto (2nd ed.), chapter 3. The one object that everything here reads: exact values, exact gradients,
simulation, environments and agents meet in it. Inside it is a sparse table of outcomes (see `table.py`); whatever it
hands out is read-only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from mdp.model import arrays, build, exploring, files, simulator, toytext
from mdp.model.build import Start
from mdp.model.checking import sorted_table
from mdp.model.labels import Labels, checked_gamma, checked_start
from mdp.model.table import Bools, Floats, Label, Outcomes, Table, frozen
from mdp.sampling.dynamics import Dynamics


class FiniteMDP:
    """p(s',r|s,a) over S states and A actions; build one with `from_outcomes`, `from_arrays`, `from_gymnasium`, ...

    Attributes (arrays are read-only)
    ---------------------------------
    states, actions     tuples of labels: index -> label
    gamma               the discount, in [0, 1]
    start (S,)          Pr(S_0 = s)
    terminal (S,)       bool; no action can be taken there
    admissible (S, A)   bool; a in A(s). All False in a terminal state
    observations (S, ...)  what the agent sees in a state; by default its index. Two states with one row are aliased
    table               the outcomes, sorted by (s, a, s', r): a `Table`

    >>> from mdp import FiniteMDP, evaluate
    >>> m = FiniteMDP.from_outcomes({("rain", "wait"): [(0.5, "rain", -1), (0.5, "sun", -1)]}, gamma=1)
    >>> m
    FiniteMDP(2 states, 1 of them terminal, 1 actions, 2 outcomes, gamma 1)
    >>> m.p("sun", -1, "rain", "wait")
    0.5
    >>> evaluate(m, m.uniform_policy()).v.round(10).tolist()  # two days of rain, on average
    [-2.0, 0.0]
    """

    def __init__(
        self,
        outcomes: Outcomes | Table,
        *,
        states: Iterable[Label],
        actions: Iterable[Label],
        gamma: float,
        start: Start = None,
        observations: ArrayLike | None = None,
    ) -> None:
        self._states, self._actions = Labels(states, "state"), Labels(actions, "action")
        self._gamma = checked_gamma(gamma)
        shape = len(self._states), len(self._actions)
        self.table = outcomes if isinstance(outcomes, Table) else sorted_table(outcomes, shape, self._name)
        self.admissible: Bools = frozen((self.table.counts > 0).reshape(shape))
        of_states = self.table.starts[np.arange(shape[0] + 1) * shape[1]]
        self.terminal: Bools = frozen(of_states[1:] == of_states[:-1])
        initial = build.start_array(start, self._states)
        self.start: Floats = checked_start(initial, self.terminal, self._states.at)
        self.observations: NDArray[Any] = _checked_observations(observations, self.n_states)

    # ---- constructors ----

    @classmethod
    def from_outcomes(
        cls,
        outcomes: Mapping[tuple[Any, Any], Sequence[tuple[float, Any, float]]],
        *,
        gamma: float,
        start: Start = None,
        states: Iterable[Label] | None = None,
        actions: Iterable[Label] | None = None,
        observations: ArrayLike | None = None,
    ) -> FiniteMDP:
        """From {(s, a): [(probability, s', r), ...]} with any hashable labels.

        A state with no outcomes is terminal. Labels not given are taken in order of first appearance: first the states
        that have actions, then those that are only reached. `start` is an array (S,) or {label: probability};
        None is uniform over the non-terminal states. Equal (s', r) of one pair are merged.

        Raises ValueError for a probability or reward that is not finite, a negative probability, a pair that does not
        sum to 1 within 1e-9, a label that is not in `states` or `actions`, gamma outside [0, 1], a start that is no
        distribution.
        """
        table, state_labels, action_labels = build.from_outcomes(outcomes, states, actions)
        return cls(
            table, states=state_labels, actions=action_labels, gamma=gamma, start=start, observations=observations
        )

    from_arrays = classmethod(arrays.from_arrays)
    from_pairs = classmethod(arrays.from_pairs)
    from_function = classmethod(exploring.from_function)
    from_simulator = classmethod(simulator.from_simulator)

    @classmethod
    def from_gymnasium(
        cls, env_or_id: Any, *, gamma: float, start: Start = None, **make_kwargs: Any
    ) -> FiniteMDP:
        """From a Gymnasium environment, or its id, that carries its own table.

        `env.unwrapped.mdp` is taken as it is, with gamma replaced; else `env.unwrapped.P` is read, {s: {a: [(p, s', r,
        terminated), ...]}}. An outcome marked terminated goes to ONE terminal state, appended last with the label
        "terminal", so that v[:n] is the environment's numbering. start defaults to the environment's own initial
        distribution. A time limit of a wrapper is not part of P: see `unroll`.

        Raises ValueError for an unknown id, an environment without P, and everything that `from_outcomes` refuses.

        >>> from mdp import FiniteMDP, solve
        >>> m = FiniteMDP.from_gymnasium("FrozenLake-v1", gamma=1)
        >>> float(solve(m).v[0].round(10)), 14 / 17
        (0.8235294118, 0.8235294117647058)
        """
        env = toytext.made(env_or_id, make_kwargs)
        own = getattr(env.unwrapped, "mdp", None)
        if isinstance(own, FiniteMDP):
            return own.with_gamma(gamma) if start is None else own._replaced(gamma=gamma, start=start)
        table, n_states, n_actions, initial = toytext.from_gymnasium(env, start)
        return cls(table, states=(*range(n_states), "terminal"), actions=range(n_actions), gamma=gamma, start=initial)

    def _replaced(self, **changes: Any) -> FiniteMDP:
        kept = {name: getattr(self, name) for name in ("gamma", "start", "observations")}
        labels = {"states": self._states.at, "actions": self._actions.at}
        return FiniteMDP(self.table, **(kept | labels | changes))

    def with_gamma(self, gamma: float) -> FiniteMDP:
        """The same MDP with another discount."""
        return self._replaced(gamma=gamma)

    # ---- sizes and labels ----

    @property
    def gamma(self) -> float:
        """The discount, in [0, 1]. Another one: `with_gamma`."""
        return self._gamma

    @property
    def states(self) -> tuple[Label, ...]:
        """The labels of the states: index -> label."""
        return self._states.all

    @property
    def actions(self) -> tuple[Label, ...]:
        """The labels of the actions: index -> label."""
        return self._actions.all

    @property
    def n_states(self) -> int:
        """S, terminal states included."""
        return self.table.shape[0]

    @property
    def n_actions(self) -> int:
        """A."""
        return self.table.shape[1]

    def state_index(self, s: Label) -> int:
        """The index of a state label. Raises ValueError for a label that is none."""
        return self._states.index(s)

    def action_index(self, a: Label) -> int:
        """The index of an action label. Raises ValueError for a label that is none."""
        return self._actions.index(a)

    def _name(self, s: int, a: int) -> str:
        return build.name(self._states.at[s], self._actions.at[a])

    def __repr__(self) -> str:
        return (
            f"FiniteMDP({self.n_states} states, {self.terminal.sum()} of them terminal, {self.n_actions} actions, "
            f"{len(self.table.p)} outcomes, gamma {self.gamma:g})"
        )

    # ---- the table ----

    def p(self, s_next: Label, r: float, s: Label, a: Label) -> float:
        """p(s',r|s,a), by label; r is compared exactly. S&B equation 3.2."""
        self.state_index(s_next)
        return sum((p for p, after, reward in self.outcomes(s, a) if after == s_next and reward == r), start=0.0)

    def outcomes(self, s: Label, a: Label) -> list[tuple[float, Label, float]]:
        """[(probability, s', r), ...] of one pair, by label; empty where a is not in A(s)."""
        t, row = self.table, self.state_index(s) * self.n_actions + self.action_index(a)
        k = slice(t.starts[row], t.starts[row + 1])
        triples = zip(t.p[k].tolist(), t.after[k].tolist(), t.reward[k].tolist(), strict=True)
        return [(p, self._states.at[after], r) for p, after, r in triples]

    @property
    def transition(self) -> sparse.csr_array[Any]:
        """P (S*A, S), sparse: Pr(s'|s,a) in row s*A + a; rows of pairs that are not admissible are empty."""
        return self.table.transition

    @property
    def expected_reward(self) -> Floats:
        """r(s,a) = sum over s' and r of r p(s',r|s,a), (S, A); 0 where a is not in A(s). S&B equation 3.5."""
        return self.table.expected_reward

    @cached_property
    def reward_or_limit(self) -> Floats:
        """r(s,a), and -inf where a is not in A(s); 0 in terminal states."""
        closed = ~self.admissible & ~self.terminal[:, None]
        return np.where(closed, -np.inf, self.expected_reward) if closed.any() else self.expected_reward

    @cached_property
    def dynamics(self) -> Dynamics:
        """The table and the start, arranged to be drawn from: made when it is first needed."""
        return Dynamics(self.table, self.start, self.terminal, self.n_actions)

    def backup(self, v: ArrayLike) -> Floats:
        """q(s,a) = r(s,a) + gamma sum over s' of Pr(s'|s,a) v(s'), (S, A).

        -inf where a is not in A(s), 0 in terminal states.
        """
        q: Floats = (self.table.spread_product @ (self._gamma * np.asarray(v))).reshape(self.table.shape)
        q += self.reward_or_limit
        return q

    def uniform_policy(self) -> Floats:
        """pi(a|s) = 1 / |A(s)|, (S, A); zeros in terminal states."""
        return frozen(np.asarray(self.admissible / np.maximum(self.admissible.sum(axis=1, keepdims=True), 1)))

    # ---- files ----

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to `.npz` or `.json`, by the ending. Raises ValueError for another ending or an unwritable label."""
        files.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FiniteMDP:
        """Read what `save` wrote. Raises ValueError, with the path, for a damaged or foreign file."""
        return files.load(path, cls)


def _checked_observations(observations: ArrayLike | None, n_states: int) -> NDArray[Any]:
    if observations is None:
        return frozen(np.arange(n_states))
    seen = np.array(observations)
    if seen.ndim == 0 or len(seen) != n_states:
        raise ValueError(f"observations have shape {seen.shape}, not one row for each of {n_states} states")
    if seen.dtype.kind not in "biuf" or not np.isfinite(seen).all():
        raise ValueError("observations must be finite numbers")
    return frozen(seen)
