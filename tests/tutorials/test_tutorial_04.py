"""Tutorial 4: optimal values, all ties, and what is said of them at several settings of the controls."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from envs import frozen_lake, frozen_lake_8x8, gambler, gridworld_5x5
from mdp import evaluate, solve, sweeps
from tests.tutorials.browser import Reading
from tests.tutorials.notebooks import NOTEBOOKS, notebook, run, shown
from tests.worlds import assert_close

AT_FIRST: dict[str, float] = {"p": 0.4, "gamma": 0.9, "k": 1, "capital": 51, "digits": 5, "lake_gamma": 1.0}


@pytest.fixture(scope="module")
def page() -> ModuleType:
    return notebook(4)


def show(page: ModuleType, **controls: float) -> tuple[str, Any]:
    return shown(page, **AT_FIRST | controls)


def best_value(capital: int, p: float) -> str:
    return f"{solve(gambler(p)).v[capital]:.10f}"


def still_to_come(k: int, p: float) -> str:
    """max (v_* - v_k) of the gambler."""
    m = gambler(p)
    return f"{(solve(m).v - next(islice(sweeps(m), k, None))).max():.10f}"


READING = Reading(
    at_first=lambda: [best_value(75, 0.4), still_to_come(1, 0.4), f"{solve(gridworld_5x5(0.9)).v[1]:.10f}"],
    slider=1,
    keys=["ArrowLeft"],
    moved=lambda: [best_value(25, 0.25), still_to_come(1, 0.25)],
    button="one sweep",
    clicks=1,
    pressed=lambda: [still_to_come(2, 0.25)],
)


def test_what_is_shown_at_first(page: ModuleType) -> None:
    text, values = show(page)
    for number in ("24.4194280970", "21.9774852873", "262,144", "0.1600000000", "16/25", "7.95e+25", "[1, 49]"):
        assert number in text
    assert values["policies"] == values["true_policies"] == 79_496_847_203_390_844_133_441_536
    assert values["differ"] == 0
    assert values["pairs"] == 2500
    assert "72 of the 99" in text.replace("\n", " ")


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.99])
def test_another_gamma(page: ModuleType, gamma: float) -> None:
    text, _ = show(page, gamma=gamma)
    best = solve(gridworld_5x5(gamma)).optimal_actions
    assert f"{10 / (1 - gamma**5):.10f}" in text
    assert f"{int(np.prod(best.sum(axis=1).astype(object))):,}" in text


@pytest.mark.parametrize("p", [0.1, 0.4, 0.5])
def test_bold_play_in_fractions_is_optimal_to_the_last_digit(page: ModuleType, p: float) -> None:
    exact = Fraction(str(p))
    f = page.exact_values(exact)
    for s in range(1, 100):
        q = [exact * f[s + a] + (1 - exact) * f[s - a] for a in range(1, min(s, 100 - s) + 1)]
        assert max(q) == f[s]
    assert (f[25], f[50], f[75]) == (exact**2, exact, 1 - (1 - exact) ** 2)


def test_timid_play_in_fractions_is_the_only_optimum(page: ModuleType) -> None:
    for p in (Fraction(11, 20), Fraction(3, 5)):
        f = page.exact_values(p)
        ties = page.exact_ties(p, f)
        assert ties.sum() == ties[:, 0].sum() == 99
        for s, a in ((75, 2), (10, 7)):
            loss = f[s] - (p * f[s + a] + (1 - p) * f[s - a])
            assert loss > 0
            assert_close(page.loss_of(float(p), s, a) / float(loss), 1)


def test_at_six_tenths_float64_sees_ties_that_are_none(page: ModuleType) -> None:
    text, values = show(page, p=0.6)
    assert values["true_policies"] == 1
    assert values["differ"] > 0
    assert values["bound"] > page.loss_of(0.6, 75, 2) > 0
    assert "what float64 calls a tie is one" not in text


@pytest.mark.parametrize("p", [0.25, 0.4, 0.45])
def test_the_rules_that_take_ties_lose_nothing(page: ModuleType, p: float) -> None:
    _, values = show(page, p=p, digits=16)
    for rule in list(values["chosen"])[:4]:
        assert values["not_optimal"][rule] == 0
        assert values["losses"][rule] < 1e-12
    assert (values["chosen"]["largest tied stake"] == values["chosen"]["bold play"]).all()


def test_rounding_to_few_digits_loses(page: ModuleType) -> None:
    _, coarse = show(page, digits=2)
    _, fine = show(page, digits=5)
    rule = "`argmax` of $q_*$ rounded to {} digits"
    book = fine["chosen"]["smallest tied stake (the book's picture)"]
    assert coarse["losses"][rule.format(2)] > 0.01
    assert (fine["chosen"][rule.format(5)] == book).all()
    assert book[50 - 1] == 50
    assert book[51 - 1] == 1


def test_more_sweeps_come_nearer(page: ModuleType) -> None:
    texts = [show(page, k=k)[0] for k in (1, 4)]
    assert still_to_come(1, 0.4) in texts[0]
    assert still_to_come(4, 0.4) in texts[1]
    assert still_to_come(4, 0.4) not in texts[0]


def test_the_lake(page: ModuleType) -> None:
    text, values = show(page)
    assert values["lake_values"] == ["refused", "1.0000000000"]
    assert "never ends from state (0, 0)" in text
    assert "168.0 steps" in text
    lake = frozen_lake_8x8()
    pi = solve(lake).policy
    assert_close(page.within(lake, pi, 100), next(islice(sweeps(lake, pi), 100, None))[0])
    for gamma in (0.9, 0.99):
        text, values = show(page, lake_gamma=gamma)
        assert values["refusal"] == ""
        best = f"{solve(frozen_lake_8x8(gamma=gamma)).v[0]:.10f}"
        assert values["lake_values"] == [best, best]
    assert "0.4146403618" in text


def test_the_small_lake_in_fractions(page: ModuleType) -> None:
    m = frozen_lake()
    found = page.small_lake()
    assert found[0, 0] == Fraction(14, 17)
    assert {x.denominator for x in found.values()} <= {1, 17}
    assert_close([float(found[s]) for s in m.states], solve(m).v)
    assert_close(solve(frozen_lake(gamma=0.99)).v[0], 0.5420259320)
    assert abs(14 / 17 - 0.8235294118) < 1e-10


def test_equal_values_and_other_lengths(page: ModuleType) -> None:
    m = gambler(0.4)
    v, q, best, _ = page.optimal(m)
    chosen = list(page.rules(m, v, best, q, 1, 5).values())[:3]
    lengths = [page.flips(m, stakes) for stakes in chosen]
    assert lengths[0] > lengths[1] + 0.1
    assert_close(lengths[1], lengths[2])
    for stakes in chosen:
        assert_close(evaluate(m, page.policy_of(m, stakes)).v, solve(m).v)


@pytest.mark.parametrize(
    "controls",
    [
        {"p": 0.1, "gamma": 0.0, "capital": 1, "digits": 1, "k": 1, "lake_gamma": 0.9},
        {"p": 0.75, "gamma": 0.99, "capital": 99, "digits": 16, "k": 60, "lake_gamma": 0.999},
        {"p": 0.5, "capital": 50},
    ],
)
def test_the_ends_of_the_sliders(page: ModuleType, controls: dict[str, float]) -> None:
    text, _ = show(page, **controls)
    assert "Solution 3" in text


def test_as_a_script_it_prints_numbers() -> None:
    (path,) = (path for path in NOTEBOOKS if path.stem.startswith("04"))
    result = run(path)
    assert "0.1600000000 0.4000000000 0.6400000000" in result.stdout
    assert "195 by fractions, 195 by float64; 0 differ" in result.stdout
