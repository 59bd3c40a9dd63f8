"""The zoo is learned with the settings of tests/benchmarks/learning_the_zoo.py: those that take little time."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

import envs
from agents.cli import app
from mdp import evaluate
from tests.benchmarks.learning_the_zoo import EXCEPTIONS, WITHIN, learn, paid, setting_of

QUICK = ("ShortCorridor", "RandomWalk", "RandomWalk19", "Garnet", "Gridworld5x5", "Gridworld4x4", "WindyGridworld",
         "DynaMaze", "Racetrack", "FrozenLake4x4", "FrozenLake8x8", "FrozenLakeRandom", "Taxi", "Bandit",
         "ContextualBandit", "Gambler", "Blackjack", "Easy21", "RecyclingRobot", "Tokens")  # fmt: skip


@pytest.mark.parametrize("name", QUICK)
def test_it_comes_within_one_percent_of_the_best(name: str) -> None:
    found = learn(name, setting_of(name))
    assert -1e-9 <= found.gaps[-1] <= WITHIN
    assert int(found.hit) <= found.setting.updates


def test_the_exceptions_are_of_the_zoo() -> None:
    assert set(EXCEPTIONS) <= set(envs.ZOO)


def test_the_options_of_a_line_are_those_of_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = learn("FrozenLake4x4", setting_of("FrozenLake4x4"))
    options = found.setting.options.split()
    monkeypatch.setattr(sys, "argv", ["exactrl", "train", "exactrl/FrozenLake4x4-v0", *options, "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code in (0, None)
    with (tmp_path / "exactrl-train-FrozenLake4x4-v0.csv").open() as file:
        J = [float(row["J"]) for row in csv.DictReader(file)]
    np.testing.assert_array_equal(J, found.history.column("J"))


@pytest.mark.parametrize("name", ["FrozenLake4x4", "FrozenLakeRandom"])
def test_an_episode_is_paid_as_often_as_it_reaches_the_goal(name: str) -> None:
    """At gamma 1 and with 1 for the goal that probability is J."""
    mdp = envs.ZOO[name].make()
    assert paid(mdp) == pytest.approx(evaluate(mdp, mdp.uniform_policy()).objective, rel=1e-12)
