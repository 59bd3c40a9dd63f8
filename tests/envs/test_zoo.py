"""Every environment of the zoo against its own answers."""

from __future__ import annotations

import numpy as np
import pytest

from envs import ZOO, Answer, bandit, contextual_bandit, random_walk, recycling_robot
from mdp import evaluate, solve
from tests.worlds import assert_close

ANSWERS = [
    pytest.param(name, answer, id=f"{name}-{answer.of}-{answer.gamma}")
    for name, entry in ZOO.items()
    for answer in entry.answers
]


@pytest.mark.parametrize(("name", "answer"), ANSWERS)
def test_answers(name: str, answer: Answer) -> None:
    m = ZOO[name].make(gamma=answer.gamma, **answer.parameters)
    v = solve(m).v if answer.of == "optimal" else evaluate(m, m.uniform_policy()).v
    assert answer.v
    assert answer.source
    assert_close([v[m.state_index(s)] for s in answer.v], list(answer.v.values()))


@pytest.mark.parametrize("name", ZOO)
def test_every_parameter_has_a_default(name: str) -> None:
    assert ZOO[name].make().n_states > 1
    assert ZOO[name].make(gamma=0.5).gamma == 0.5


@pytest.mark.parametrize("n", [1, 5, 27])
def test_walks_of_other_lengths(n: int) -> None:
    m = random_walk(n)
    assert_close(evaluate(m, m.uniform_policy()).v[1:-1], np.arange(1, n + 1) / (n + 1))
    assert m.start[1 + n // 2] == 1


def test_a_walk_needs_a_state() -> None:
    with pytest.raises(ValueError, match="at least 1 state, not 0"):
        random_walk(0)


def test_bandit() -> None:
    m = bandit([0.25, -3.0])
    assert m.outcomes("bandit", 0) == [(0.5, "end", -0.75), (0.5, "end", 1.25)]
    assert_close(evaluate(m, [[1, 0], [0, 0]]).objective, 0.25)


def test_contextual_bandit() -> None:
    """J = sum over o of P(o) sum over a of pi(a|o) r(o, a), with responses that differ from prompt to prompt."""
    m = contextual_bandit({"o1": {"a": 1.0, "b": 3.0}, "o2": {"b": 5.0}}, prompt_probabilities=[0.25, 0.75])
    assert m.admissible.tolist() == [[True, True], [False, True], [False, False]]
    assert_close(evaluate(m, m.uniform_policy()).objective, 0.25 * 2 + 0.75 * 5)
    with pytest.raises(ValueError, match=r"start has shape \(2,\)"):
        contextual_bandit({"o1": {"a": 1.0}, "o2": {"a": 5.0}}, prompt_probabilities=[1.0])


@pytest.mark.parametrize(("alpha", "beta"), [(0.1, 0.9), (0.5, 0.5), (1.0, 0.0)])
def test_recycling_robot(alpha: float, beta: float) -> None:
    m = recycling_robot(alpha, beta)
    assert_close(m.p("low", 2.0, "high", "search"), 1 - alpha, 1e-15)
    assert_close(m.p("high", -3.0, "low", "search"), 1 - beta, 1e-15)
    assert not m.admissible[m.state_index("high"), m.action_index("recharge")]
