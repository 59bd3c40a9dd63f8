"""Two problems of exploration: the double loop (Watkins 1989) and the chain (after Meuleau & Bourgine 1999).

Both as in Dearden, Friedman & Russell (1998), "Bayesian Q-learning", and Strens (2000).

The double loop: nine states in two loops of five that share state 0. Nothing is random.

        0 - 1 - 2 - 3 - 4 - 0      entered by "a"; goes on whatever is done, and pays 1 on the way back to 0
        0 - 5 - 6 - 7 - 8 - 0      entered by "b"; "a" in 5, 6, 7 leads back to 0, for nothing; 8 pays 2 on the way to 0

    v*(0) = 2 gamma^4 / (1 - gamma^5): "b" everywhere.    In loops of L states 4 and 5 are L - 1 and L.

The chain: five states in a row. "a" leads one state to the right, and in the last one stays there and pays 10; "b"
leads back to state 1 and pays 2. With probability slip = .2 an action has the other one's effect. With p the
probability of a's effect in a step, whatever the state, and N states,

    v(1) = (2 (1 - p) + 10 p (gamma p)^(N - 1)) / (1 - gamma)

    v*: p = .8 ("a" everywhere), v*(1) = 354.77; the uniform policy: p = .5, v(1) = 130.02.    gamma = .99.
"""

from __future__ import annotations

from envs.answers import Answer, Entry
from mdp import FiniteMDP


def double_loop(length: int = 5, gamma: float = 0.99) -> FiniteMDP:
    """States 0 .. 2 length - 2: 0, then the rest of loop a, then that of loop b; actions "a", "b"; starts in 0.

    A continuing task. Raises ValueError for length < 2.

    >>> from envs import double_loop
    >>> from mdp import solve
    >>> m = double_loop()
    >>> m.actions[solve(m).policy[0].argmax()]  # the loop that pays 2, not 1
    'b'
    """
    if length < 2:
        raise ValueError(f"a loop needs at least 2 states, not {length}")
    last_a, last_b = length - 1, 2 * length - 2
    outcomes = {(0, "a"): [(1.0, 1, 0.0)], (0, "b"): [(1.0, length, 0.0)]}
    for s in range(1, last_b + 1):
        on = (1.0, 0, 1.0) if s == last_a else (1.0, 0, 2.0) if s == last_b else (1.0, s + 1, 0.0)
        outcomes[s, "a"] = [(1.0, 0, 0.0) if last_a < s < last_b else on]
        outcomes[s, "b"] = [on]
    return FiniteMDP.from_outcomes(outcomes, gamma=gamma, start={0: 1.0})


def chain(n: int = 5, slip: float = 0.2, gamma: float = 0.99) -> FiniteMDP:
    """States 1 .. n, actions "a", "b"; starts in 1; a continuing task.

    Raises ValueError for n < 2, and slip outside [0, 1].

    >>> from envs import chain
    >>> from mdp import solve
    >>> m = chain()
    >>> [m.actions[a] for a in solve(m).policy.argmax(axis=1)]  # a all the way, however tempting b
    ['a', 'a', 'a', 'a', 'a']
    """
    if n < 2:
        raise ValueError(f"the chain needs at least 2 states, not {n}")
    if not 0 <= slip <= 1:
        raise ValueError(f"slip must lie in [0, 1], not {slip}")
    outcomes = {}
    for s in range(1, n + 1):
        forward, back = (min(s + 1, n), 10.0 if s == n else 0.0), (1, 2.0)
        outcomes[s, "a"] = [(1 - slip, *forward), (slip, *back)]
        outcomes[s, "b"] = [(1 - slip, *back), (slip, *forward)]
    return FiniteMDP.from_outcomes(outcomes, gamma=gamma, start={1: 1.0})


def _v_0(gamma: float) -> float:
    """The uniform policy in the double loop: v(0) = (v(1) + v(5)) gamma / 2, with v(5) unrolled over 5, 6, 7, 8."""
    h = gamma / 2
    return 10 * h**4 / (1 - h**2 - h**3 - h**4 - 18 * h**5)


def _v_1(p: float, gamma: float, n: int = 5) -> float:
    """The chain where "a" takes effect with probability p."""
    return (2 * (1 - p) + 10 * p * (gamma * p) ** (n - 1)) / (1 - gamma)


LOOP = 2 * 0.99**4 / (1 - 0.99**5)
DOUBLE_LOOP = Entry(
    double_loop,
    (
        Answer("uniform", 0.99, {0: _v_0(0.99), 4: 1 + 0.99 * _v_0(0.99), 8: 2 + 0.99 * _v_0(0.99)}, "closed form"),
        Answer("optimal", 0.99, {0: LOOP, 4: 1 + 0.99 * LOOP, 5: LOOP / 0.99, 8: 2 + 0.99 * LOOP}, "round loop b"),
        Answer("optimal", 0.9, {0: 2 * 0.9**2 / (1 - 0.9**3)}, "round loop b", parameters={"length": 3}),
    ),
)
CHAIN = Entry(
    chain,
    (
        Answer("uniform", 0.99, {1: _v_1(0.5, 0.99)}, "closed form, p = 1/2"),
        Answer("optimal", 0.99, {1: _v_1(0.8, 0.99)}, "closed form, a everywhere"),
        Answer("optimal", 0.99, {1: _v_1(0.9, 0.99, 8)}, "closed form, a everywhere", parameters={"n": 8, "slip": 0.1}),
    ),
)
