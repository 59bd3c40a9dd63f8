"""The variance-minimising baselines, against polarisation of the trace, the book's corridor, and perturbations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import envs
from mdp import FiniteMDP, best_baselines, evaluate, reinforce_moments, softmax_policy
from tests.worlds import assert_close, random_mdp, random_preferences, tied_right

ESTIMATORS: list[dict[str, Any]] = [{}, {"to_go": False}, {"discounted": False}]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("gamma", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_quadratic_is_the_one_of_the_trace(seed: int, gamma: float, estimator: dict[str, Any]) -> None:
    """trace(b) at b = +-e_s gives c and D by differences, without the recursions of `best_baselines`."""
    mdp = random_mdp(seed, gamma=gamma)
    h = random_preferences(mdp, seed)

    def trace(b: Any) -> float:
        return reinforce_moments(mdp, h, baseline=b, **estimator).trace

    e = np.eye(mdp.n_states)
    plus, minus = (np.array([trace(sign * b) for b in e]) for sign in (1, -1))
    c, D = (minus - plus) / 4, (plus + minus) / 2 - trace(0.0)
    best, live = best_baselines(mdp, h, **estimator), D > 1e-9
    assert_close(best.state[live], c[live] / D[live])
    assert (best.state[~live] == 0).all()
    assert_close(best.constant, c.sum() / D.sum())


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_other_baseline_scatters_more(estimator: dict[str, Any]) -> None:
    mdp = random_mdp(5, gamma=0.9)
    h, rng = random_preferences(mdp, 5), np.random.default_rng(0)
    best = best_baselines(mdp, h, **estimator)
    least = reinforce_moments(mdp, h, baseline=best.state, **estimator).trace
    constant = reinforce_moments(mdp, h, baseline=best.constant, **estimator).trace
    assert least < constant
    v = evaluate(mdp, softmax_policy(mdp, h)).v
    assert least < reinforce_moments(mdp, h, baseline=v, **estimator).trace
    for _ in range(20):
        away = 0.1 * rng.normal(size=mdp.n_states)
        assert reinforce_moments(mdp, h, baseline=best.state + away, **estimator).trace > least
        shifted = best.constant + float(away[0])
        assert reinforce_moments(mdp, h, baseline=shifted, **estimator).trace > constant


def test_the_corridor() -> None:
    """p = 1/2, gamma 1, tied preferences: -37/3 and (-40/3, -11, -12), with variances 830/3 and 820/3."""
    mdp, h = envs.short_corridor(1.0), np.zeros((4, 2))
    U = tied_right(mdp)
    best = best_baselines(mdp, h, directions=U)
    assert_close(best.constant, -37 / 3)
    assert_close(best.state, [-40 / 3, -11, -12, 0])
    for b, variance in ((best.constant, 830 / 3), (best.state, 820 / 3)):
        assert_close(reinforce_moments(mdp, h, baseline=b).along(U)[1], variance)


def test_no_baseline_matters_where_nothing_is_chosen() -> None:
    only = FiniteMDP.from_outcomes({("s", "a"): [(1.0, "end", 1.0)]}, gamma=0.9)
    best = best_baselines(only, np.zeros((2, 1)))
    assert (best.constant, best.state.tolist()) == (0.0, [0.0, 0.0])


def test_many_columns_are_taken_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    mdp = random_mdp(1)
    h = random_preferences(mdp, 1)
    whole = best_baselines(mdp, h)
    monkeypatch.setattr("mdp.gradient.baselines.CHUNK", 2)
    pieces = best_baselines(mdp, h)
    assert_close(pieces.state, whole.state)
    assert_close(best_baselines(mdp, h, directions=np.eye(h.size)).state, whole.state)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="discounted=False needs to_go=True"):
        best_baselines(random_mdp(0), random_preferences(random_mdp(0), 0), to_go=False, discounted=False)
    with pytest.raises(ValueError, match="never ends"):
        best_baselines(envs.recycling_robot(), np.zeros((2, 3)), to_go=False)
