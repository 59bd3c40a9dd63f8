"""Linear systems of chains against numpy, whichever way is taken; and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from mdp import FiniteMDP, evaluate
from mdp.prediction import elimination, linear
from mdp.prediction.elimination import Condensed
from mdp.prediction.linear import Solver
from tests.worlds import assert_close

GAMMA = 0.95


def chain(kind: str, n: int) -> Any:
    """P (n, n): a full matrix, a random graph, a ring, or a grid, whose states may stay."""
    rng = np.random.default_rng(n)
    if kind == "full":
        return rng.dirichlet(np.ones(n), size=n)
    if kind in BOARDS:
        return board(BOARDS[kind], int((n / len(BOARDS[kind])) ** 0.5), rng)
    after = rng.integers(n, size=(n, 3)) if kind == "graph" else (np.arange(n)[:, None] + [0, 1, n - 1]) % n
    rows = np.repeat(np.arange(n), 3)
    return sparse.csr_array((rng.dirichlet(np.ones(3), size=n).ravel(), (rows, after.ravel())), shape=(n, n))


# Of each part the moves. An odd torus has two neighbours of one colour; of two boards one is not reached.
ALL = ((0, 1), (1, 0), (0, -1), (-1, 0))
BOARDS: dict[str, list[tuple[Any, Any]]] = {
    "torus": [("wrap", ALL)], "two boards": [("clip", ALL)] * 2, "one way": [("wrap", ((0, 1), (1, 0), (0, -1)))],
}  # fmt: skip


def board(parts: list[tuple[Any, Any]], side: int, rng: np.random.Generator) -> Any:
    """Parts of side x side cells, with random probabilities of the moves and of staying."""
    i, j = np.divmod(np.arange(side * side), side)
    blocks = []
    for mode, moves in parts:
        after = [np.ravel_multi_index((i + d, j + e), (side, side), mode=mode) for d, e in ((0, 0), *moves)]
        p = rng.dirichlet(np.ones(len(after)), size=len(i))
        entries = p.T.ravel(), (np.tile(np.arange(len(i)), len(after)), np.concatenate(after))
        blocks.append(sparse.coo_array(entries, shape=(len(i), len(i))))
    return sparse.csr_array(sparse.block_diag(blocks))


def way(solver: Solver) -> str:
    if isinstance(solver._factor, Condensed):
        return "condensed"
    return "dense" if solver._dense is not None else "direct" if solver._factor is not None else "Krylov"


@pytest.mark.parametrize("complex_numbers", [False, True])
@pytest.mark.parametrize("columns", [(), (3,)])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("kind", "n", "expected"),
    [
        ("full", 30, "dense"), ("graph", 200, "dense"), ("ring", 1000, "direct"), ("graph", 2000, "Krylov"),
        ("torus", 961, "condensed"), ("two boards", 1058, "condensed"), ("one way", 900, "condensed"),
    ],
)  # fmt: skip
def test_solutions(
    kind: str, n: int, expected: str, transposed: bool, columns: tuple[int, ...], complex_numbers: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(elimination, "FEWEST", 0)
    P = chain(kind, n)
    rng = np.random.default_rng(0)
    b: Any = rng.normal(size=(n, *columns))
    if complex_numbers:
        P, b = P * (1 + 1e-3j), b + 1j * rng.normal(size=b.shape)
    solver = Solver.of_chain(P, GAMMA)
    assert way(solver) == expected
    A = np.eye(n) - GAMMA * (P if isinstance(P, np.ndarray) else P.toarray())
    x = solver.solve(b, transposed=transposed)
    assert np.abs((A.T if transposed else A) @ x - b).max() < 1e-12
    np.testing.assert_allclose(x, np.linalg.solve(A.T if transposed else A, b), atol=1e-11)


def test_krylov_hands_over_where_it_does_not_get_there(monkeypatch: pytest.MonkeyPatch) -> None:
    P, b = chain("graph", 2000), np.random.default_rng(3).normal(size=2000)
    expected = Solver.of_chain(P, GAMMA).solve(b)
    monkeypatch.setattr(linear, "MOST_PRODUCTS", 2)  # one step, from which nothing is refined
    solver = Solver.of_chain(P, GAMMA)
    assert way(solver) == "Krylov"
    assert_close(solver.solve(b), expected, 1e-11)
    assert way(solver) == "direct"


@pytest.mark.parametrize("n", [60, 300, 2_001])
def test_what_is_exactly_zero_stays_so(n: int) -> None:
    """A third of a ring, from which no reward is seen: by rounding it would be, and a loop there would seem to pay."""
    P = chain("ring", n).tolil()
    lost, third = np.arange(n // 3), 1 / 3
    P[lost] = 0
    for s in lost:
        P[s, [s, (s + 1) % (n // 3), (s - 1) % (n // 3)]] = third
    b = np.where(np.arange(n) < n // 3, 0.0, np.random.default_rng(0).random(n))
    for gamma in (0.9, 0.999):
        x = Solver.of_chain(sparse.csr_array(P), gamma).solve(b)
        assert (x[lost] == 0).all()
        assert (x[n // 3 :] > 0).all()


@pytest.mark.parametrize("n", [3, 1000])
def test_singular_chains_are_refused(n: int) -> None:
    stay = sparse.eye_array(n, format="csr")
    with pytest.raises(ValueError, match="singular in float64"):
        Solver.of_chain(stay, 1.0)


@pytest.mark.parametrize("kind", list(BOARDS))
def test_no_two_states_that_are_left_out_are_neighbours(kind: str) -> None:
    A = Solver.of_chain(chain(kind, 1058), GAMMA).matrix
    left_out = elimination._apart(A)
    among = A[np.flatnonzero(left_out)][:, np.flatnonzero(left_out)]
    assert (among != sparse.diags_array(among.diagonal())).nnz == 0
    assert left_out.mean() >= 0.25  # of the board with state 0, half


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(0, 1), (1, 2), (2, 3), (3, 4)], [0, 1, 2, 3, 4]),
        ([(1, 0), (2, 1), (3, 2), (4, 3)], [0, 1, 2, 3, 4]),  # none from state 0: against their direction
        ([(0, 4), (4, 3), (3, 0)], [0, 0, 0, 1, 1]),  # 1 and 2 are apart, so that directions do not count
    ],
)
def test_distances_from_state_0(steps: list[tuple[int, int]], expected: list[int]) -> None:
    i, j = np.array(steps).T
    A = sparse.csr_array((np.ones(len(i)), (i, j)), shape=(5, 5))
    assert elimination._distances(A).tolist() == expected


def test_a_state_that_is_never_left_is_refused_where_it_is_left_out() -> None:
    A = sparse.csr_array(np.array([[0.0, 0.0], [-0.5, 1.0]]))
    with pytest.raises(ValueError, match="singular in float64"):
        Condensed(A, np.array([True, False]))


@pytest.mark.parametrize("n", [40, 1000, 5000])
def test_the_residual_is_what_rounding_leaves(n: int) -> None:
    m = FiniteMDP.from_arrays([chain("graph", n)], np.random.default_rng(1).normal(size=n), gamma=GAMMA)
    found = evaluate(m, m.uniform_policy())
    assert 0 <= found.residual < 1e-13
    v, q, J = found
    assert (v is found.v, q is found.q, J) == (True, True, found.objective)
    assert_close(found.v, np.linalg.solve(np.eye(n) - GAMMA * m.transition.toarray(), m.expected_reward[:, 0]), 1e-11)
