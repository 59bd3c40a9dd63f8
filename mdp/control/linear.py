"""v* as a linear program: the least v with v(s) >= q(s,a) for every admissible pair. Puterman (1994), section 6.9."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from mdp.model.table import Floats

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP


def linear_programming(mdp: FiniteMDP) -> tuple[Floats, int]:
    """(v, iterations) by HiGHS: minimise sum of v subject to (gamma P - 1) v <= -r, v = 0 in terminal states.

    Right to the solver's feasibility tolerance, 1e-7. Raises ValueError where v* is infinite.
    """
    from scipy.optimize import linprog

    rows = np.flatnonzero(mdp.admissible)
    own = sparse.csr_array(
        (np.ones(len(rows)), (np.arange(len(rows)), rows // mdp.n_actions)), shape=(len(rows), mdp.n_states)
    )
    result = linprog(
        c=(~mdp.terminal).astype(float),
        A_ub=mdp.gamma * mdp.transition[rows] - own,
        b_ub=-mdp.expected_reward.ravel()[rows],
        bounds=[(0, 0) if ends else (None, None) for ends in mdp.terminal],
        method="highs",
    )
    if result.x is None:
        raise ValueError(f"the linear program of v* has no solution: {result.message}")
    return np.asarray(result.x), int(result.nit)
