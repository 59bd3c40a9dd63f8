"""from_function and from_simulator: what they find is what the tables say."""

from __future__ import annotations

import random
from collections.abc import Callable
from enum import Enum
from itertools import count
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from envs import ZOO, MDPEnv, gridworld_4x4, short_corridor
from mdp import FiniteMDP, evaluate, solve
from tests.mdp.test_build import assert_same
from tests.worlds import assert_close, random_mdp

# ---- from_function ----


def moved(m: FiniteMDP) -> Callable[[Any, Any], Any]:
    """The transition function of an MDP."""
    return lambda s, a: m.outcomes(s, a)


def up(s: int, _: object) -> list[tuple[float, int, float]]:
    return [(1, s + 1, 0)]


@pytest.mark.parametrize("name", ZOO)
def test_the_zoo_from_functions(name: str) -> None:
    m = ZOO[name].make()
    again = FiniteMDP.from_function(m.states, m.actions, moved(m), gamma=m.gamma, start=m.start)
    assert (again.states, again.actions) == (m.states, m.actions)
    assert_same(again, m)


@pytest.mark.parametrize("by_state", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_exploring_finds_what_can_be_reached(seed: int, by_state: bool) -> None:
    """Breadth-first from one state; v there is the same, whatever is left out."""
    m = random_mdp(seed)
    actions = (lambda s: [a for a in m.actions if m.outcomes(s, a)]) if by_state else m.actions
    found = FiniteMDP.from_function(None, actions, moved(m), gamma=m.gamma, start={0: 1.0})
    reached: list[Any] = [0]
    for s in reached:
        new = [after for a in m.actions for _, after, _ in m.outcomes(s, a) if after not in reached]
        reached += dict.fromkeys(new)
    assert set(found.states) == set(reached)
    assert found.states[0] == 0
    assert found.actions == m.actions or by_state
    assert_close(solve(found).v, solve(m).v[[m.state_index(s) for s in found.states]], 1e-7)


def test_states_come_in_the_order_of_their_distance() -> None:
    """0, then its neighbours, then theirs, on a ring of 9 that is entered in two places."""
    step = {"left": -1, "right": 1}
    m = FiniteMDP.from_function(None, step, lambda s, a: [(1, (s + step[a]) % 9, 1)], gamma=0.5, start={0: 0.5, 4: 0.5})
    assert m.states == (0, 4, 8, 1, 3, 5, 7, 2, 6)
    assert m.start.tolist() == [0.5, 0.5] + [0] * 7
    assert_close(evaluate(m, m.uniform_policy()).v, np.full(9, 2.0))


def test_actions_of_a_state() -> None:
    """In the order in which they first appear; an Enum is a list of actions, though it can be called."""
    m = FiniteMDP.from_function(range(3), lambda s: "ba"[: 2 - s], up, gamma=1)
    assert (m.actions, m.admissible.sum(axis=1).tolist()) == (("b", "a"), [2, 1, 0])
    move = Enum("move", "UP DOWN")
    m = FiniteMDP.from_function([0], move, lambda s, a: [(1.0, s, a.value)] if a is move.UP else None, gamma=0.5)
    assert (m.actions, m.admissible.tolist()) == (tuple(move), [[True, False]])


def test_a_function_may_give_anything_that_can_be_gone_through() -> None:
    m = FiniteMDP.from_function([0, 1], "a", lambda s, _: ((0.5, x, 1) for x in (0, 1)) if s == 0 else (), gamma=1)
    assert m.outcomes(0, "a") == [(0.5, 0, 1.0), (0.5, 1, 1.0)]
    assert m.terminal.tolist() == [False, True]


@pytest.mark.parametrize("explored", [False, True])
@pytest.mark.parametrize(
    ("outcomes", "message"),
    [
        ([(0.5, "s", 0)], r"p\(.\|s='s', a='a'\) sums to 0\.5, not 1"),
        ([(1, "s")], r"p\(.\|s='s', a='a'\) has the outcome \(1, 's'\); it must be \(probability, s', reward\)"),
        ([(1, "s", None)], r"p\(.\|s='s', a='a'\) has the outcome \(1, 's', None\)"),
        ([(1, "s", 10**400)], r"p\(.\|s='s', a='a'\) has the outcome"),
        ([(1, ["s"], 0)], r"p\(.\|s='s', a='a'\) names the state \['s'\], which is no label: it is not hashable"),
        ([(1, "s", float("nan"))], r"p\(.\|s='s', a='a'\) has the reward nan"),
    ],
)
def test_bad_outcomes_of_a_function(outcomes: Any, message: str, explored: bool) -> None:
    states = None if explored else ["s"]
    with pytest.raises(ValueError, match=message):
        FiniteMDP.from_function(states, "a", lambda *_: outcomes, gamma=0.9, start={"s": 1.0})


def test_unknown_states_and_too_many() -> None:
    with pytest.raises(ValueError, match=r"p\(.\|s=2, a='up'\) names the unknown state 3"):
        FiniteMDP.from_function(range(3), ["up"], up, gamma=1)
    with pytest.raises(ValueError, match="state 99, action 'up' leads to state number 101, and max_states is 100"):
        FiniteMDP.from_function(None, ["up"], up, gamma=1, start={0: 1.0}, max_states=100)
    with pytest.raises(ValueError, match="the state label 1 stands twice"):
        FiniteMDP.from_function([1, 1], ["up"], up, gamma=1)
    with pytest.raises(ValueError, match="the action label 'up' stands twice"):
        FiniteMDP.from_function([1], ["up", "up"], up, gamma=1)


@pytest.mark.parametrize("start", [None, [1.0], {}])
def test_exploring_needs_a_start(start: Any) -> None:
    with pytest.raises(ValueError, match=r"with states=None, start must be {state: probability}"):
        FiniteMDP.from_function(None, ["up"], up, gamma=0.5, start=start)


# ---- from_simulator ----


@pytest.mark.parametrize(
    ("id", "options"),
    [("FrozenLake-v1", {"is_slippery": False}), ("CliffWalking-v1", {}), ("CliffWalking-v1", {"is_slippery": False})],
)
def test_simulators_say_what_their_tables_say(id: str, options: dict[str, Any]) -> None:
    found = FiniteMDP.from_simulator(id, gamma=0.9, **options)
    m = FiniteMDP.from_gymnasium(id, gamma=0.9, **options)
    assert found.states[-1] == "terminal"
    assert found.terminal.tolist() == [False] * (found.n_states - 1) + [True]
    for s in found.states[:-1]:
        for a in m.actions:
            assert found.outcomes(s, a) == m.outcomes(s, a)
        assert found.observations[found.state_index(s)] == s
    assert {s: p for s, p in zip(found.states, found.start, strict=True) if p} == {
        s: p for s, p in zip(m.states, m.start, strict=True) if p
    }


def test_a_random_start() -> None:
    """The start is given, and looked for; what it leaves out is explored only where it is reached."""
    env = MDPEnv(gridworld_4x4())
    with pytest.raises(ValueError, match=r"MDPEnv starts in \d+ after reset\(seed=0\) and in .*: pass start="):
        FiniteMDP.from_simulator(env, gamma=1)
    found = FiniteMDP.from_simulator(env, gamma=1, start={1: 0.25, 14: 0.75})
    assert found.n_states == 15  # two corners are one end
    uniform = evaluate(found, found.uniform_policy())
    assert_close(uniform.objective, 0.25 * -14 + 0.75 * -14)
    assert_close(uniform.v[[found.state_index(s) for s in (3, 5)]], [-22, -18])
    with pytest.raises(ValueError, match=r"start names the state 99; no reset\(seed=0\), ..., 9,999 leads there"):
        FiniteMDP.from_simulator(env, gamma=1, start={99: 1.0})


def test_aliased_states_need_a_key() -> None:
    """The corridor shows one observation everywhere: refused, and told apart by key; observations stay what is seen."""
    env = MDPEnv(short_corridor())
    with pytest.raises(ValueError, match=r"state 0, action \d leads to .* do not tell its states apart \(pass key=\)"):
        FiniteMDP.from_simulator(env, gamma=1)
    found = FiniteMDP.from_simulator(env, gamma=1, key=lambda env: env._state)
    assert found.states == (0, 1, 2, "terminal")
    assert_same(found, short_corridor())
    assert np.array_equal(found.observations, short_corridor().observations)


class Toy(gymnasium.Env[Any, Any]):
    """A counter to 3; `odd(self, n)` is what goes wrong in it, or what it shows."""

    action_space = spaces.Discrete(2, start=5)

    n = 0

    def __init__(self, odd: Callable[[Toy], Any] = lambda toy: toy.n) -> None:
        self.odd = odd
        self.own = random.Random(7)
        self.old = np.random.RandomState(7)
        self.new = np.random.default_rng(7)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed, options=options)
        self.n = 0
        return self.odd(self), {}

    def step(self, action: Any) -> Any:
        self.n = min(self.n + action - 5, 3)
        return self.odd(self), float(action), self.n == 3, True, {}


@pytest.mark.parametrize(
    ("shown", "labels", "seen"),
    [
        (lambda toy: np.int64(toy.n), (0, 1, 2), [0, 1, 2, 3]),
        (lambda toy: np.array([[toy.n, 1.5]]), (((0, 1.5),), ((1, 1.5),), ((2, 1.5),)), [[[n, 1.5]] for n in range(4)]),
        (lambda toy: (toy.n, True), ((0, True), (1, True), (2, True)), [[n, 1] for n in range(4)]),
        (lambda toy: {"b": toy.n, "a": "x"}, tuple((("a", "x"), ("b", n)) for n in range(3)), [0, 1, 2, 3]),
        (lambda toy: "abcd"[toy.n], ("a", "b", "c"), [0, 1, 2, 3]),
        (lambda toy: (toy.n, [1, 2]), tuple((n, (1, 2)) for n in range(3)), [0, 1, 2, 3]),
    ],
)
def test_labels_of_observations(shown: Callable[[Toy], Any], labels: Any, seen: Any) -> None:
    """Truncation is not read, actions may begin anywhere, and the environment itself is left as it was."""
    toy = Toy(shown)
    toy.n = 2
    m = FiniteMDP.from_simulator(toy, gamma=0.5)
    assert m.states == (*labels, "terminal")
    assert m.actions == (5, 6)
    assert m.observations.tolist() == seen
    assert m.outcomes(labels[2], 6) == [(1.0, "terminal", 6.0)]
    assert_close(solve(m).v, [11.5, 11, 10, 0], 1e-7)  # in 2, staying for 5 / (1 - gamma) beats leaving for 6
    assert toy.n == 2


class Endless(Toy):
    def step(self, action: Any) -> Any:
        self.n = (self.n + action - 4) % 4
        return self.n, 1.0, False, False, {}


def test_no_end() -> None:
    m = FiniteMDP.from_simulator(Endless(), gamma=0.5)
    assert m.states == (0, 1, 2, 3)
    assert not m.terminal.any()
    assert_close(solve(m).v, np.full(4, 2.0), 1e-7)


DRAWN = count()


@pytest.mark.parametrize(
    "draw",
    [
        lambda toy: toy.own.random(),
        lambda toy: toy.old.rand(),
        lambda toy: toy.new.random(),
        lambda _: next(DRAWN),
    ],
)
def test_chance_is_seen(draw: Callable[[Toy], float]) -> None:
    """Also where the generator is the environment's own, or none of its attributes."""

    class Lucky(Toy):
        def step(self, action: Any) -> Any:
            seen, reward, *rest = super().step(action)
            return seen, reward + (draw(self) if self.n else 0), *rest

    with pytest.raises(ValueError, match=r"state 0, action 6 leads to 1 .*, tried again, to 1 .* Lucky is not"):
        FiniteMDP.from_simulator(Lucky(), gamma=0.5)


def test_slippery_ice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"state \d+, action \d leads to .* FrozenLake-v1 is not deterministic"):
        FiniteMDP.from_simulator("FrozenLake-v1", gamma=1)


def fails(toy: Toy) -> int:
    if toy.n == 2:
        raise RuntimeError("it is jammed")
    return toy.n


class Fixed(Toy):
    """Says that it is its own copy."""

    def __deepcopy__(self, memo: Any) -> Fixed:
        return self


class Uncopied(Toy):
    def __deepcopy__(self, memo: Any) -> Fixed:
        raise TypeError("it is made of glass")


class Pulled(Toy):
    action_space: Any = spaces.Box(0, 1)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (Toy(fails), r"state 1, action 6: a step of Toy fails: RuntimeError\('it is jammed'\)"),
        (Fixed(), r"state 0, action 6 leads to 1 .* its copies are not independent"),
        (Uncopied(), "Uncopied cannot be copied by copy.deepcopy: TypeError"),
        (Pulled(), r"Pulled has the action space Box.*; it must be Discrete"),
        (Toy(lambda _: {1}), r"\{1\} is no label of a state: it is not hashable"),
    ],
)
def test_environments_that_cannot_be_explored(env: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FiniteMDP.from_simulator(env, gamma=0.5)


def test_more_states_than_allowed() -> None:
    with pytest.raises(ValueError, match="state 1, action 6 leads to state number 3, and max_states is 2"):
        FiniteMDP.from_simulator(Toy(), gamma=0.5, max_states=2)
