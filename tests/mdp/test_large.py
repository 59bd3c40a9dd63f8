"""What is done only where it pays: columns in place of rows, all cores, skipped rows, methods that hand over."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from mdp import FiniteMDP, SolveInterrupted, evaluate, solve
from mdp.control import contest, methods, modified, turns
from mdp.model import products
from mdp.model.table import greedy, largest


def garnet(S: int, A: int = 3, b: int = 4, gamma: float = 0.99, seed: int = 0) -> FiniteMDP:
    rng = np.random.default_rng(seed)
    rows = np.repeat(np.arange(S * A), b)
    after = rng.integers(S, size=rows.size)
    P = sparse.csr_array((rng.dirichlet(np.ones(b), S * A).ravel(), (rows, after)), shape=(S * A, S))
    return FiniteMDP.from_arrays(P, rng.normal(size=(S, A)), gamma=gamma)


def ring(n: int, gamma: float) -> FiniteMDP:
    """A step to the left or to the right, or a rest; one place pays: what is known spreads a step at a time."""
    outcomes = {
        (s, a): [(0.5, (s + a) % n, float(s == 0)), (0.5, s, float(s == 0))] for s in range(n) for a in (-1, 0, 1)
    }
    return FiniteMDP.from_outcomes(outcomes, gamma=gamma)


@pytest.mark.parametrize("A", [1, 2, 3, 16, 17, 40])
@pytest.mark.parametrize("S", [7, 5_000])
def test_greedy_is_the_first_best_action(S: int, A: int) -> None:
    q = np.random.default_rng(A).integers(-2, 3, size=(S, A)).astype(float)
    q[::7, 0] = -np.inf
    np.testing.assert_array_equal(greedy(q), q.argmax(axis=1))
    np.testing.assert_array_equal(largest(q), q.max(axis=1))


@pytest.mark.parametrize("cores", [1, 2, 5])
def test_products_on_several_cores(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row by row the same sums, to the bit, from memory that is P's; and a solution that is made of them."""
    P = sparse.random_array((1000, 300), density=0.02, format="csr", rng=np.random.default_rng(0))
    v = np.random.default_rng(1).normal(size=300)
    np.testing.assert_array_equal(products.Spread(P, cores) @ v, P @ v)
    np.testing.assert_array_equal(products.Spread(P, cores) @ (v * 1j), P @ (v * 1j))
    parts = products.Spread(P, cores)._parts
    assert all(np.shares_memory(x.data, P.data) and np.shares_memory(x.indices, P.indices) for x in parts)
    m = garnet(3_000)
    alone = solve(m)
    monkeypatch.setattr(products, "WORTH", 0)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(cores), raising=False)
    np.testing.assert_array_equal(solve(m.with_gamma(m.gamma)).v, alone.v)


def test_a_large_table_without_zeros() -> None:
    P, R = np.random.default_rng(0).dirichlet(np.ones(300), size=(300, 2)), np.arange(600.0).reshape(300, 2)
    m = FiniteMDP.from_arrays(P, R, gamma=0.5)
    v = evaluate(m, m.uniform_policy()).v
    np.testing.assert_allclose(v, np.linalg.solve(np.eye(300) - 0.5 * P.mean(axis=1), R.mean(axis=1)), rtol=1e-12)
    np.testing.assert_allclose(m.backup(v), R + 0.5 * P @ v, rtol=1e-12)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_has_threads_of_its_own() -> None:
    script = """
import os, numpy as np
from scipy import sparse
from mdp.model.products import Spread
P, v = Spread(sparse.eye_array(100_000, format="csr"), 2), np.arange(100_000.0)
for _ in range(100):  # until both threads were needed
    assert (P @ v == v).all()
child = os.fork()
if not child:
    os._exit(0 if (P @ v == v).all() else 1)
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


@pytest.mark.parametrize("seed", range(3))
def test_skipped_rows_were_not_the_best(seed: int) -> None:
    m = garnet(6_000, A=5, seed=seed)
    found = solve(m, method="modified_policy_iteration", tolerance=1e-9)
    exact = solve(m, method="policy_iteration")
    assert found.converged
    assert np.abs(found.v - exact.v).max() <= found.bound + exact.bound
    assert np.abs(evaluate(m, found.policy).v - exact.v).max() < 1e-9
    np.testing.assert_array_equal(found.optimal_actions, exact.optimal_actions)


def test_few_rows_are_multiplied() -> None:
    """Beside the sweeps over all rows: fewer than half a sweep's, in all improvements together."""
    m, rows = garnet(6_000, A=5), 0
    before = contest.Rows.backup_of

    def counted(self: contest.Rows, which: Any, v: Any) -> Any:
        nonlocal rows
        rows += len(which)
        return before(self, which, v)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contest.Rows, "backup_of", counted)
        found = solve(m, method="modified_policy_iteration", tolerance=1e-9)
    assert 0 < rows < 0.5 * m.n_states * m.n_actions
    assert found.iterations > 6


@pytest.mark.parametrize("size", [1e-250, 1e-35, 1.0, 1e25, 2e29, 1e35, 1e280])
def test_float32_is_a_beginning_where_values_fit(size: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The values are those of the same rewards in another unit, be the first sweeps in float32 or not."""
    monkeypatch.setattr(contest, "LARGE", 0)
    m = garnet(3_000, gamma=0.9)
    scaled = FiniteMDP(m.table.where(m.table.p > 0)._replace(reward=m.table.reward * size), states=range(3_000),
                       actions=range(3), gamma=0.9)  # fmt: skip
    assert contest.coarse(scaled) == (np.float32 if 1e-30 < size < 1e28 else np.float64)
    exact = solve(m, method="policy_iteration", tolerance=1e-12)
    found = solve(scaled, method="modified_policy_iteration", tolerance=1e-10 * size)
    assert found.v.dtype == found.q.dtype == np.float64
    assert np.abs(found.v / size - exact.v).max() <= found.bound / size + exact.bound <= 2e-10


@pytest.mark.parametrize("after", [1, 3, 5])
def test_an_interrupted_solution_is_in_float64(after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contest, "LARGE", 0)
    m = garnet(3_000)

    def ctrl_c(iteration: int, _: float) -> None:
        if iteration == after:
            raise KeyboardInterrupt

    with pytest.raises(SolveInterrupted) as stopped:
        solve(m, progress=ctrl_c)
    found, exact = stopped.value.solution, solve(m)
    assert found.v.dtype == found.q.dtype == np.float64
    assert np.abs(found.v - exact.v).max() <= found.bound + exact.bound
    assert found.bound < 100 * 0.4**after  # how soon it comes nearer, roughly


@pytest.mark.parametrize("method", ["auto", "modified_policy_iteration"])
def test_what_mixes_slowly_is_handed_over(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    m, handed = ring(3_000, 0.99999), 0

    def counted(*given: Any) -> Any:
        nonlocal handed
        handed += 1
        return turns.sweep_and_solve(*given)

    monkeypatch.setattr(methods, "sweep_and_solve", counted)
    found = solve(m, method=method, tolerance=1e-4)
    assert (handed, found.converged) == (1, True)
    # everybody goes the shortest way to 0 and rests there: v(0) = 1 / (1 - gamma), and v(s) = x v(s - 1)
    x = 0.5 * m.gamma / (1 - 0.5 * m.gamma)
    steps = np.minimum(np.arange(3_000), 3_000 - np.arange(3_000))
    np.testing.assert_allclose(found.v, x**steps / (1 - m.gamma), rtol=1e-9)


@pytest.mark.parametrize("large", [0, 1_000_000])
def test_the_bound_holds_when_improvements_run_out(large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to the last v, not to the one before."""
    monkeypatch.setattr(contest, "LARGE", large)
    m = garnet(3_000, gamma=0.9)
    exact = solve(m, method="policy_iteration")
    for most in range(1, 4):
        monkeypatch.setattr(modified, "MOST", most)
        v, _, improvements, bound, _ = modified.modified_policy_iteration(m, 1e-10, lambda *_: None)
        assert improvements == most
        assert np.abs(v - exact.v).max() <= bound + exact.bound
        assert bound > 1e-10


def test_a_tolerance_that_float64_cannot_reach_ends_with_what_it_can() -> None:
    found = solve(garnet(3_000), tolerance=1e-18)
    assert not found.converged
    assert 1e-18 < found.bound < 1e-9
    assert found.iterations < 40
