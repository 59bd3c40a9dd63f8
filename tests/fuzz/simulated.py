"""from_simulator, with an environment that is right but for a few places. Others than this one are not drawn."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from gymnasium import spaces

from mdp import FiniteMDP
from tests.fuzz.checks import demand, made
from tests.fuzz.draw import Draw


class World:
    """States 0 .. n - 1, what each shows, and where each action leads; rarely it draws lots, or says what is none."""

    spec = None

    def __init__(self, d: Draw) -> None:
        n, m = 1 + d.below(5), 1 + d.below(3)
        self.action_space: Any = spaces.Discrete(m, start=d.below(3))
        if d.rarely():
            self.action_space = d.of([None, spaces.Box(0, 1), spaces.Discrete(4, start=-9), spaces.MultiDiscrete([2])])
        self.shows: list[Any] = [d.number() if d.rarely() else k for k in range(n)]
        if d.rarely():
            self.shows = [np.array(x) for x in self.shows]
        self.steps = [[self._step(d, n) for _ in range(m)] for _ in range(n)]
        self.starts = [d.below(n) if d.rarely() else 0 for _ in range(3)]
        self.lots = np.random.default_rng(0) if d.rarely() else None
        self.at = 0

    @staticmethod
    def _step(d: Draw, n: int) -> Any:
        if d.rarely():
            return d.of([None, (), (0, 0), (99, 0, False, False, {}), (0, "x", False, False, {}), (0, 0, None, 7, 0)])
        return d.below(n), d.number() if d.rarely() else d.below(9) - 4.0, d.below(4) == 3, d.rarely(), {}

    @property
    def unwrapped(self) -> World:
        return self

    def __deepcopy__(self, memo: Any) -> World:
        return copy.copy(self)  # with the same generator: a copy that is none

    def reset(self, seed: int) -> tuple[Any, dict[str, Any]]:
        self.at = self.starts[seed % len(self.starts)]
        return self.shows[self.at], {}

    def step(self, a: int) -> Any:
        to, *rest = self.steps[self.at][a - int(self.action_space.start)]
        self.at = to if self.lots is None else int(self.lots.integers(len(self.shows)))
        return self.shows[self.at], *rest


def simulator(data: bytes) -> None:
    d = Draw(data)
    env = World(d)
    start: dict[Any, Any] | None = None
    if d.below(4) == 3:
        start = dict(zip(sorted(set(env.starts)), d.distribution(len(set(env.starts))), strict=True))
        start |= {d.of([99, None, "x", 0.5, (1,)]): 0.0} if d.rarely() else {}
    key: Any = d.of([None, None, lambda env: env.at, lambda env: [env.at, env.shows], lambda _: 0, lambda _: {}])
    gamma = d.number() if d.rarely() else 0.9
    most = d.of([100_000, 3, 1, 0, -1])
    m = made(lambda: FiniteMDP.from_simulator(env, gamma=gamma, start=start, key=key, max_states=most))
    demand(m is None or (m.table.columns().p == 1).all(), "it is not deterministic")
