"""Sweeps and exact values by turns: the backup of small sparse tables, which numpy makes by itself."""

from __future__ import annotations

import numpy as np
import pytest

from mdp import FiniteMDP, solve
from mdp.control import turns
from mdp.control.turns import quick_backup
from tests.worlds import GYMNASIUM, assert_close, random_mdp


@pytest.mark.parametrize("seed", range(10))
def test_the_quick_backup_of_random_tables(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """A(s) depends on s, one s' has two rewards, and some states end."""
    monkeypatch.setattr("mdp.model.table.TINY", 0)
    m = random_mdp(seed, states=40)
    backup, v = quick_backup(m), np.random.default_rng(seed).normal(size=m.n_states)
    assert backup != m.backup
    assert_close(np.nan_to_num(backup(v)), np.nan_to_num(m.backup(v)), 1e-14)
    assert (np.isneginf(backup(v)) == ~(m.admissible | m.terminal[:, None])).all()
    assert not backup(v)[m.terminal].any()


@pytest.mark.parametrize("env", GYMNASIUM)
def test_the_quick_backup_of_gymnasium(monkeypatch: pytest.MonkeyPatch, env: str) -> None:
    """The same terms are added up in the same order."""
    monkeypatch.setattr("mdp.model.table.TINY", 0)
    m = FiniteMDP.from_gymnasium(env, gamma=0.9)
    backup, v = quick_backup(m), np.random.default_rng(0).normal(size=m.n_states)
    assert backup != m.backup
    np.testing.assert_array_equal(backup(v), m.backup(v))


def test_tables_that_have_no_quick_backup(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full array multiplies faster; and one pair with many outcomes would make all as wide."""
    full, wide = random_mdp(0), FiniteMDP.from_gymnasium("Taxi-v4", gamma=0.9)
    assert quick_backup(full) == full.backup
    monkeypatch.setattr(turns, "PADDED", wide.table.size)
    assert quick_backup(wide) != wide.backup
    monkeypatch.setattr(turns, "PADDED", wide.table.size - 1)
    assert quick_backup(wide) == wide.backup


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.9, 0.99, 0.9999])
def test_small_sparse_problems_are_solved_as_by_policy_iteration(gamma: float) -> None:
    m = random_mdp(3, states=300, gamma=gamma)
    assert not m.table.is_full
    found, other = solve(m), solve(m, method="policy_iteration")
    assert_close(found.v, other.v, 1e-12)
    assert found.converged
    assert (found.optimal_actions == other.optimal_actions).all()
