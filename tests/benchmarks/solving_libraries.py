"""How the solver benchmark asks each library: what it takes, a fresh model object of it, and v within 1e-6.

`inputs` is not timed; `model` and `solve` are. Where a problem is Gymnasium's, `model` starts from its dictionary P.
`methods`: what is tried; the fastest one that is right is measured.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from scipy import sparse

from tests.benchmarks.solving_problems import Floats, Problem, by_pairs, dense, entries

TOLERANCE = 1e-6
Answer = tuple[Any, int | None]  # v, and how many iterations if that is said


class Exactrl:
    """`evaluate` or `solve`, by its own choice of method."""

    module, package = "mdp", "exactrl"

    def __init__(self, library: Any) -> None:
        self.mdp = library

    def methods(self, problem: Problem) -> tuple[str, ...]:
        return ("evaluate" if problem.average else "solve",)

    def inputs(self, problem: Problem) -> Any:
        return problem.P

    def model(self, problem: Problem, P: Any, _: str) -> Any:
        if problem.env is not None:
            return self.mdp.FiniteMDP.from_gymnasium(problem.env, gamma=problem.gamma)
        return self.mdp.FiniteMDP.from_arrays(P, problem.r, gamma=problem.gamma)

    def solve(self, m: Any, method: str) -> Answer:
        if method == "evaluate":
            return self.mdp.evaluate(m, m.uniform_policy()).v, None
        found = self.mdp.solve(m, tolerance=TOLERANCE)
        return found.v, found.iterations


class QuantEcon:
    """Its product form for dense tables, its sparse pairs for sparse ones, both for Gymnasium's.

    It takes no stochastic policy: that is given as a problem with one action. epsilon is twice the error it promises.
    """

    module, package = "quantecon.markov", "quantecon"

    def __init__(self, library: Any) -> None:
        self.DiscreteDP = library.DiscreteDP

    def methods(self, problem: Problem) -> tuple[str, ...]:
        named = ("modified_policy_iteration", "policy_iteration", "value_iteration")
        if problem.average:
            return ("evaluate_policy", *named)
        return (*named, *(f"{name}, sparse" for name in named)) if problem.env is not None else named

    def inputs(self, problem: Problem) -> Any:
        P, r = of_one_action(problem)
        return (r, P) if P.ndim == 3 else pairs(P, r)

    def model(self, problem: Problem, given: Any, method: str) -> Any:
        if problem.env is None:
            r, P, *indices = given
        else:
            listed = entries(problem.env.unwrapped.P)
            if method.endswith("sparse"):
                r, P, *indices = pairs(*by_pairs(*listed))
            else:
                (P, r), indices = dense(*listed), []
        return self.DiscreteDP(r, P, problem.gamma, *indices)

    def solve(self, model: Any, method: str) -> Answer:
        name = method.split(",")[0]
        if name == "evaluate_policy":
            return model.evaluate_policy(np.zeros(model.num_states, int)), None
        enough = {} if name == "policy_iteration" else {"max_iter": 1_000_000}
        found = model.solve(name, epsilon=2 * TOLERANCE, **enough)
        return found.v, found.num_iter


class MDPSolver:
    """Lists in, lists out."""

    module, package = "mdpsolver", "mdpsolver"

    def __init__(self, library: Any) -> None:
        self.library = library

    def methods(self, _: Problem) -> tuple[str, ...]:
        return "mpi", "mpi, gs", "vi", "pi"

    def inputs(self, problem: Problem) -> Any:
        P, r = of_one_action(problem)
        if P.ndim == 3:
            return {"rewards": r.tolist(), "tranMatWithZeros": P.tolist()}
        return self.lists(sparse.csr_array(P), r)

    def lists(self, P: Any, r: Floats) -> dict[str, Any]:
        (S, A), ends = r.shape, P.indptr.tolist()
        flat = {"tranMatProbs": P.data.tolist(), "tranMatColumns": P.indices.tolist()}
        rows = {name: [x[i:j] for i, j in pairwise(ends)] for name, x in flat.items()}
        return {"rewards": r.tolist()} | {name: [x[s * A : s * A + A] for s in range(S)] for name, x in rows.items()}

    def model(self, problem: Problem, given: Any, _: str) -> Any:
        if problem.env is not None:
            given = self.lists(*by_pairs(*entries(problem.env.unwrapped.P)))
        model = self.library.model()
        model.mdp(discount=problem.gamma, **given)
        return model

    def solve(self, model: Any, method: str) -> Answer:
        algorithm, update = [*method.split(", "), "standard"][:2]
        model.solve(algorithm=algorithm, update=update, tolerance=TOLERANCE, parallel=False)
        return model.getValueVector(), None


class MDPToolbox:
    """Its three vectorised methods; P is (A, S, S), or A sparse (S, S)."""

    module, package = "mdptoolbox.mdp", "pymdptoolbox"

    def __init__(self, library: Any) -> None:
        self.mdp = library

    def methods(self, _: Problem) -> tuple[str, ...]:
        return ("PolicyIteration", "PolicyIterationModified", "ValueIteration")

    def inputs(self, problem: Problem) -> Any:
        P, r = of_one_action(problem)
        A = r.shape[1]
        return (P.swapaxes(0, 1).copy() if P.ndim == 3 else [sparse.csr_matrix(P[a::A]) for a in range(A)]), r

    def model(self, problem: Problem, given: Any, method: str) -> Any:
        if problem.env is not None:
            P, r = dense(*entries(problem.env.unwrapped.P))
            given = P.swapaxes(0, 1).copy(), r
        bound = {} if method == "PolicyIteration" else {"epsilon": TOLERANCE}
        enough = {"max_iter": 1_000_000} if method == "PolicyIterationModified" else {}
        return getattr(self.mdp, method)(*given, problem.gamma, **bound, **enough)

    def solve(self, model: Any, _: str) -> Answer:
        model.run()
        return model.V, model.iter


LIBRARIES: dict[str, Any] = {
    "exactrl": Exactrl,
    "quantecon": QuantEcon,
    "mdpsolver": MDPSolver,
    "mdptoolbox": MDPToolbox,
}


def of_one_action(problem: Problem) -> tuple[Any, Floats]:
    """P and r as they are; where the uniform policy is asked about, those of the one action that is its average."""
    if not problem.average:
        return problem.P, problem.r
    A = problem.r.shape[1]
    return sum(problem.P[a::A] for a in range(A)) / A, problem.r.mean(axis=1, keepdims=True)


def pairs(P: Any, r: Floats) -> tuple[Any, ...]:
    """QuantEcon's (R, Q, s_indices, a_indices)."""
    s, a = np.divmod(np.arange(r.size), r.shape[1])
    return r.ravel(), sparse.csr_matrix(P), s, a
