"""Sweeps and exact values by turns: the backup of small tables that leave nothing to chance, and first guesses."""

from __future__ import annotations

import numpy as np
import pytest

from mdp import FiniteMDP, SolveInterrupted, solve
from mdp.control import turns
from mdp.control.contest import Guess, Rows
from mdp.control.progress import Bar
from mdp.control.turns import quick_backup
from tests.worlds import GYMNASIUM, assert_close, random_mdp


@pytest.mark.parametrize("seed", range(10))
def test_the_quick_backup_where_nothing_is_left_to_chance(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """A(s) depends on s, some states end, and probabilities are 1 within what is allowed."""
    monkeypatch.setattr("mdp.model.table.TINY", 0)
    rng = np.random.default_rng(seed)
    pairs = [(s, a) for s in range(40) for a in range(3) if a == 0 or rng.random() < 0.7]
    likely = {pair: [(1 + rng.uniform(-5e-10, 5e-10), int(rng.integers(45)), rng.normal())] for pair in pairs}
    m = FiniteMDP.from_outcomes(likely, gamma=0.9)
    backup, v = quick_backup(m), rng.normal(size=m.n_states)
    assert backup != m.backup
    assert_close(np.nan_to_num(backup(v)), np.nan_to_num(m.backup(v)), 1e-14)
    assert (np.isneginf(backup(v)) == ~(m.admissible | m.terminal[:, None])).all()
    assert not backup(v)[m.terminal].any()


@pytest.mark.parametrize("env", GYMNASIUM[1:])
def test_the_quick_backup_of_gymnasium(monkeypatch: pytest.MonkeyPatch, env: str) -> None:
    """The same terms are added up in the same order."""
    monkeypatch.setattr("mdp.model.table.TINY", 0)
    m = FiniteMDP.from_gymnasium(env, gamma=0.9)
    backup, v = quick_backup(m), np.random.default_rng(0).normal(size=m.n_states)
    assert backup != m.backup
    np.testing.assert_array_equal(backup(v), m.backup(v))


def test_tables_that_have_no_quick_backup(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full array multiplies faster, and so does scipy where there are many outcomes."""
    full, by_chance = FiniteMDP.from_gymnasium("CliffWalking-v1", gamma=0.9), random_mdp(3, states=300)
    taxi = FiniteMDP.from_gymnasium("Taxi-v4", gamma=0.9)
    assert full.table.is_full
    assert not by_chance.table.is_full
    for m in (full, by_chance):
        assert quick_backup(m) == m.backup
    monkeypatch.setattr(turns, "LOOKED_UP", taxi.table.size)
    assert quick_backup(taxi) != taxi.backup
    monkeypatch.setattr(turns, "LOOKED_UP", taxi.table.size - 1)
    assert quick_backup(taxi) == taxi.backup


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.9, 0.99, 0.9999])
def test_small_sparse_problems_are_solved_as_by_policy_iteration(gamma: float) -> None:
    m = random_mdp(3, states=300, gamma=gamma)
    assert not m.table.is_full
    found, other = solve(m), solve(m, method="policy_iteration")
    assert_close(found.v, other.v, 1e-12)
    assert found.converged
    assert (found.optimal_actions == other.optimal_actions).all()


# ---- full matrices: what r says at first ----


def averages(seed: int, kind: str, S: int = 120, A: int = 8) -> FiniteMDP:
    """Every state after every pair. hidden: one action of a few states pays little, and leads to a treasure."""
    rng = np.random.default_rng(seed)
    P, r = rng.dirichlet(np.ones(S), size=(S, A)), rng.standard_normal((S, A))
    if kind == "hidden":
        r[:5] += 100
        P[7::20, 3], r[7::20, 3] = 0.0, -20.0
        P[7::20, 3, :5] = 0.2
    if kind == "ends":
        P[-1], r[-1] = np.eye(S)[-1], 0.0
    if kind == "ties":
        r = np.round(r / 2)
    return FiniteMDP.from_arrays(P, r, gamma=[0.5, 0.95, 0.99][seed % 3])


@pytest.mark.parametrize("kind", ["plain", "hidden", "ends", "ties"])
@pytest.mark.parametrize("seed", range(6))
def test_a_guess_is_held_against_all_rows(kind: str, seed: int) -> None:
    m = averages(seed, kind)
    found, other = solve(m), solve(m, method="policy_iteration")
    assert found.converged
    assert_close(found.v, other.v, 1e-10)
    assert np.abs(found.v - other.v).max() <= found.bound + other.bound
    assert_close(found.q, m.backup(found.v), 1e-13)
    assert (found.optimal_actions == other.optimal_actions).all()


@pytest.mark.parametrize(("kind", "sweeps"), [("plain", 1), ("hidden", 2)])
def test_a_guess_that_holds_takes_one_sweep_over_all_rows(
    monkeypatch: pytest.MonkeyPatch, kind: str, sweeps: int
) -> None:
    m, looked = averages(1, kind, S=400), []
    whole, rows = FiniteMDP.backup, Rows.backup
    monkeypatch.setattr(FiniteMDP, "backup", lambda m, v: looked.append(m) or whole(m, v))  # type: ignore[func-returns-value]
    monkeypatch.setattr(Rows, "backup", lambda m, v: looked.append(m) or rows(m, v))  # type: ignore[func-returns-value]
    assert solve(m).converged
    assert len(looked) >= sweeps
    assert (len(looked) == 1) == (sweeps == 1)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_guess_is_not_told_as_a_bound(most: int) -> None:
    """Whatever is told, v* is no farther away than the bound that comes with it says; a bar waits for a finite one."""
    m, told = averages(1, "hidden"), list[float]()
    exact = solve(m, method="policy_iteration")

    def stop(iteration: int, bound: float) -> None:
        told.append(bound)
        if iteration == len(told) == most:
            raise KeyboardInterrupt

    with pytest.raises(SolveInterrupted) as stopped:
        solve(m, progress=stop)
    solution = stopped.value.solution
    assert np.abs(solution.v - exact.v).max() <= min(solution.bound, told[-1]) + exact.bound
    assert told[0] == np.inf
    bar = Bar(1e-6, 0.0)
    for bound in (np.inf, 1.0, 0.5):
        bar(1, bound)
    assert bar.first == 1.0


@pytest.mark.parametrize(("kind", "A", "pays"), [("plain", 8, True), ("plain", 7, False), ("ties", 8, False)])
def test_when_a_guess_pays(kind: str, A: int, pays: bool) -> None:
    assert Guess.pays(Rows(averages(1, kind, A=A), np.float64)) == pays


def test_a_guess_does_not_pay_for_sparse_tables() -> None:
    m = random_mdp(3, states=300, actions=9)
    assert not Guess.pays(Rows(m, np.float64))
