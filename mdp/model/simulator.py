"""A deterministic environment that can be copied, explored into a table breadth-first.

From each state, a copy of the environment is stepped with each action; what it leads to, told by its observation, is
one of the states. That this is a function is tried, not believed: every transition is taken twice, under different
seeds, and random walks through the environment itself are held against the table that came out.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping
from itertools import count, islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mdp.model import toytext
from mdp.model.exploring import check_room
from mdp.model.table import Label, Outcomes

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP

Key = Callable[[Any], Label]
WALKED = 1_000  # steps of the random walks, at least
RESETS = 10_000  # seeds 0, 1, ..., tried to find the states of a given start


def from_simulator(
    cls: type[FiniteMDP],
    /,
    env_or_id: Any,
    *,
    gamma: float,
    start: Mapping[Any, float] | None = None,
    key: Key | None = None,
    max_states: int = 100_000,
    **make_kwargs: Any,
) -> FiniteMDP:
    """From a deterministic Gymnasium environment, or its id, by stepping copies of it (copy.deepcopy).

    `env.unwrapped` is explored breadth-first with every action of its Discrete action space: a time limit of a wrapper
    is not part of it, and `truncated` is not read. A state is told, and labelled, by key(unwrapped), by default by the
    observation, arrays as tuples. A step that terminates goes to ONE terminal state, the last, with the label
    "terminal". `observations` are the environment's, where they are numbers of one shape; the terminal state's is that
    of the first step that terminated. start: {label: probability}, found with reset(seed=0), reset(seed=1), ...; None:
    the one state that reset leads to, whatever the seed.

    Raises ValueError, with the state and the action, for an environment that is seen not to be deterministic (each
    transition is tried twice, under different seeds, and random walks are compared with the table), that cannot be
    copied, or has more than `max_states` states.

    >>> from mdp import FiniteMDP, solve
    >>> m = FiniteMDP.from_simulator("CliffWalking-v1", gamma=1)
    >>> m.n_states, float(solve(m).v[m.state_index(36)])  # 37 cells can be stood on: not the cliff, not the goal
    (38, -13.0)
    """
    env = toytext.made(env_or_id, make_kwargs)
    exploration = _Exploration(env.unwrapped, toytext.called(env), key)
    start = exploration.begin(start)
    exploration.run(max_states)
    exploration.walk()
    return cls(
        exploration.table(),
        states=exploration.states(),
        actions=exploration.actions,
        gamma=gamma,
        start=start,
        observations=exploration.observations(),
    )


class _Arrival(NamedTuple):
    """What reset (with reward 0) or a step leads to."""

    label: Label
    reward: float
    terminated: bool
    truncated: bool
    seen: Any

    def __str__(self) -> str:
        return f"{'the end, ' if self.terminated else ''}{self.label!r} with reward {self.reward:g}"

    def says(self, other: _Arrival) -> bool:
        """Whether both are the same outcome."""
        return self[:3] == other[:3]


class _Exploration:
    """The states found so far, in order; `fronts`: copies of the environment in those that were not left yet."""

    def __init__(self, env: Any, name: str, key: Key | None) -> None:
        self.env, self.name, self.key = env, name, key
        self.actions = _actions(env, name)
        self.labels: list[Label] = []
        self.index: dict[Label, int] = {}
        self.seen: list[Any] = []
        self.fronts: dict[int, Any] = {}
        self.steps: list[_Arrival] = []  # of state s and action a: number s*A + a
        self.seeds = count()

    def begin(self, start: Mapping[Any, float] | None) -> Mapping[Any, float]:
        """Find the states of the start, and return it. Raises ValueError where they are not found."""
        if start is None:
            one, two = self._reset(0)[1], self._reset(1)[1]
            if one.label != two.label:
                raise ValueError(
                    f"{self.name} starts in {one.label!r} after reset(seed=0) and in {two.label!r} after "
                    f"reset(seed=1): pass start={{state: probability}}"
                )
            start = {one.label: 1.0}
        missing = set(start)
        for seed in range(RESETS):
            env, at = self._reset(seed)
            if at.label in missing:
                self._arrive(env, at)
                missing.remove(at.label)
            if not missing:
                return start
        first = next(s for s in start if s in missing)
        raise ValueError(f"start names the state {first!r}; no reset(seed=0), ..., {RESETS - 1:,} leads there")

    def run(self, max_states: int) -> None:
        """Take every action in every state, twice."""
        for i, s in enumerate(self.labels):  # grows while it is read
            front = self.fronts.pop(i)
            for a in self.actions:
                (env, one), (_, two) = self._tried(front, s, a), self._tried(front, s, a)
                if not one.says(two):
                    raise self._refusal(s, a, one, two)
                if not one.terminated and one.label not in self.index:
                    check_room(len(self.labels), max_states, s, a)
                    self._arrive(env, one)
                self.steps.append(one)

    def walk(self) -> None:
        """Compare random walks, of about twice as many steps as the table has rows, with the table."""
        rng, left = np.random.default_rng(0), max(WALKED, 2 * len(self.steps))
        while left > 0:
            env, at = self._reset(next(self.seeds))
            while left > 0 and at.label in self.index and not (at.terminated or at.truncated):
                s, j = at.label, int(rng.integers(len(self.actions)))
                at = self._stepped(env, s, self.actions[j])
                found = self.steps[self.index[s] * len(self.actions) + j]
                if not at.says(found):
                    raise self._refusal(s, self.actions[j], found, at)
                left -= 1
            left -= 1  # a start that is none of the given ones is a step, too

    def states(self) -> list[Label]:
        return [*self.labels, "terminal"] if any(at.terminated for at in self.steps) else self.labels

    def table(self) -> Outcomes:
        n = len(self.labels)
        s, a = np.divmod(np.arange(len(self.steps)), len(self.actions))
        after = np.array([n if at.terminated else self.index[at.label] for at in self.steps])
        return Outcomes(s, a, after, np.array([at.reward for at in self.steps]), np.ones(len(s)))

    def observations(self) -> NDArray[Any] | None:
        """One row for each state, where they are numbers of one shape."""
        ends = (at.seen for at in self.steps if at.terminated)
        try:
            seen = np.array([*self.seen, *islice(ends, 1)])
        except ValueError:
            return None
        return seen if seen.dtype.kind in "biuf" and np.isfinite(seen).all() else None

    def _arrive(self, env: Any, at: _Arrival) -> None:
        self.fronts[len(self.labels)] = env
        self.index[at.label] = len(self.labels)
        self.labels.append(at.label)
        self.seen.append(at.seen)

    def _reset(self, seed: int) -> tuple[Any, _Arrival]:
        env = self._copied(self.env)
        seen, _ = env.reset(seed=seed)
        return env, _Arrival(self._label(env, seen), 0.0, False, False, seen)

    def _tried(self, front: Any, s: Label, a: Label) -> tuple[Any, _Arrival]:
        """A copy that was stepped, and where it is."""
        env = self._copied(front)
        _reseed(env, next(self.seeds))
        return env, self._stepped(env, s, a)

    def _stepped(self, env: Any, s: Label, a: Label) -> _Arrival:
        try:
            seen, r, terminated, truncated, _ = env.step(a)
            return _Arrival(self._label(env, seen), float(r), bool(terminated), bool(truncated), seen)
        except Exception as error:
            raise ValueError(f"state {s!r}, action {a!r}: a step of {self.name} fails: {error!r}") from error

    def _refusal(self, s: Label, a: Label, one: _Arrival, two: _Arrival) -> ValueError:
        return ValueError(
            f"state {s!r}, action {a!r} leads to {one}, and, tried again, to {two}: {self.name} is not deterministic, "
            f"its copies are not independent, or its observations do not tell its states apart (pass key=)"
        )

    def _copied(self, env: Any) -> Any:
        try:
            return copy.deepcopy(env)
        except Exception as error:
            raise ValueError(f"{self.name} cannot be copied by copy.deepcopy: {error!r}") from error

    def _label(self, env: Any, seen: Any) -> Label:
        label: Label = _plain(seen if self.key is None else self.key(env))
        try:
            hash(label)
        except TypeError:
            raise ValueError(f"{label!r} is no label of a state: it is not hashable") from None
        return label


def _plain(x: Any) -> Any:
    """Arrays, lists and dictionaries as tuples, numpy's numbers as Python's."""
    if isinstance(x, (np.ndarray, np.generic)):
        x = x.tolist()
    if isinstance(x, Mapping):
        return tuple((name, _plain(x[name])) for name in sorted(x))
    return tuple(map(_plain, x)) if isinstance(x, (list, tuple)) else x


def _actions(env: Any, name: str) -> range:
    import gymnasium

    space = env.action_space
    if not isinstance(space, gymnasium.spaces.Discrete):
        raise ValueError(f"{name} has the action space {space}; it must be Discrete")
    return range(int(space.start), int(space.start + space.n))


def _reseed(env: Any, seed: int) -> None:
    """Give each random generator that the environment holds a seed."""
    for name, value in list(vars(env).items()):
        if isinstance(value, np.random.Generator):
            setattr(env, name, np.random.default_rng(seed))
        elif isinstance(value, (np.random.RandomState, random.Random)):
            setattr(env, name, type(value)(seed))
