"""What is read in time and within ten times its size, and what is no number."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress
from json import JSONDecodeError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mdp import FiniteMDP, discounted_return, evaluate, policy_gradient, reinforce_moments, returns_to_go
from mdp.files.strict import parsed
from mdp.model.checking import PAIRS

TWO = FiniteMDP.from_outcomes({(0, 0): [(1.0, "end", 1.0)], (0, 1): [(1.0, "end", 2.0)]}, gamma=1.0)
HUGE = 10**400


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{" + ",".join(f'"{k}": 0' for k in range(200_000)) + ', "199999": 0}', "'199999' stands twice"),
        ("[" + ",".join(["1" * 4300] * 400) + "," + "1" * 4301 + "]", "an integer has more than 4300 digits"),
        ("[" * 992 + '"\\ud83d\\ude00"' + "]" * 992, None),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_refused_at_once(text: str, message: str | None) -> None:
    """In quadratic time the first three would take minutes, or a RecursionError."""
    if message is None:
        with suppress(JSONDecodeError):  # as deep as the stack is
            parsed(text.encode())
        return
    with pytest.raises(JSONDecodeError, match=message):
        parsed(text.encode())


def test_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text("\n" * 800_000 + "x")
    with pytest.raises(ValueError, match="is not a FiniteMDP"):
        FiniteMDP.load(path)


@pytest.mark.parametrize("entry", ["-9", '"\U0001f600"', "[]", '""', "0", "1.5", '"abcdefgh"'])
def test_ten_times_the_size_at_most(entry: str) -> None:
    """Or refused before it is read. (What the caller holds of the text itself is not counted.)"""
    text = f"[{','.join([entry] * 700_000)}]".encode()
    tracemalloc.start()
    try:
        with suppress(JSONDecodeError):
            parsed(text)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 10 * len(text)


@pytest.mark.parametrize("ending", ["json", "npz"])
def test_a_large_model_is_read(tmp_path: Path, ending: str) -> None:
    """What `save` writes is not taken for a trap, negative numbers and all."""
    rng = np.random.default_rng(0)
    n = 50_000
    after, reward = rng.integers(n, size=n), -rng.integers(10, size=n)
    m = FiniteMDP.from_function(
        range(n), [0], lambda s, a: [(1.0, int(after[s]), float(reward[s]))] if a == 0 else [], gamma=0.9
    )
    m.save(tmp_path / f"m.{ending}")
    assert np.array_equal(FiniteMDP.load(tmp_path / f"m.{ending}").table.rewards, m.table.rewards)


def test_a_model_that_is_built_can_be_saved(tmp_path: Path) -> None:
    """Though nearly all of its pairs are not admissible."""
    n, actions = 30_000, 39
    outcomes = {(s, s % actions): [(1.0, (s + 1) % n, 0.0)] for s in range(n)} | {(0, 0): [(1.0, "end", 1.0)]}
    m = FiniteMDP.from_outcomes(outcomes, gamma=0.9)
    assert m.n_states * m.n_actions > PAIRS
    m.save(tmp_path / "m.npz")
    assert FiniteMDP.load(tmp_path / "m.npz").admissible.sum() == n


@pytest.mark.parametrize("wrong", [("0.5", 0, 1.0), (1.0, 0, "1_0"), (1.0, 0, None), (None, 0, 1.0)])
def test_text_is_no_number(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"it must be \(probability, s', reward\)"):
        FiniteMDP.from_outcomes({(0, 0): [wrong]}, gamma=0.9)


@pytest.mark.parametrize("wrong", [("1", 0, 1.0, True), (1.0, 0, "1", True), (1.0, 0, 1.0, "0"), (1.0, 0, 1.0, None),
                                   (1.0, 0, 1.0, float("nan")), (1.0, 0, 1.0, 2)])  # fmt: skip
def test_what_gymnasium_never_gives(wrong: Any) -> None:
    env = SimpleNamespace(P={0: {0: [wrong]}}, spec=None, initial_state_distrib=[1.0])
    env.unwrapped = env
    with pytest.raises(ValueError, match="has the outcome"):
        FiniteMDP.from_gymnasium(env, gamma=0.9)


@pytest.mark.parametrize("wrong", [[["0.5"], ["1"]], [[None], [1.0]], [[HUGE], [1]]])
def test_arrays_of_other_things(wrong: Any) -> None:
    for make in (
        lambda: FiniteMDP.from_arrays([[[1.0, 0.0]], [[0.0, 1.0]]], wrong, gamma=0.9),
        lambda: evaluate(TWO, wrong),
        lambda: policy_gradient(TWO, wrong),
        lambda: returns_to_go(wrong, 0.9),
        lambda: discounted_return(wrong, 0.9),
        lambda: reinforce_moments(TWO, [[0.0, 0.0]] * 2, baseline=wrong),
    ):
        with pytest.raises(ValueError, match="no array of real numbers"):
            make()


def test_advantages_beyond_float64() -> None:
    m = FiniteMDP.from_outcomes({(0, 0): [(1.0, 0, 1e308)], (0, 1): [(1.0, 0, -1e308)]}, gamma=0.0)
    with pytest.raises(ValueError, match="too large for float64"):
        policy_gradient(m, [[0.0, 0.0]])
