"""The best that can be had within H steps: backward induction. Puterman (1994), section 4.5.

    v_H = 0,        v_t(s) = max over a in A(s) of q_t(s,a),        q_t = r + gamma P v_{t+1}

The best action depends on the steps that are left. The table is not unrolled: one backup for each step.

Rounding, proven: two values that differ by at most e have backups that differ by at most gamma (1 + b) e, and float64
loses at most a + b max|v_{t+1}| in one (`lost_in_a_backup`; rows sum to 1 + b at most). So q_t and v_t are off by

    e_t = a + b max|v_{t+1}| + gamma (1 + b) e_{t+1},        e_H = 0
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mdp.control.progress import Progress
from mdp.model.table import Bools, Floats
from mdp.model.unrolling import checked_horizon
from mdp.prediction.error import lost_in_a_backup
from mdp.prediction.evaluation import check_finite

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP


class Within(NamedTuple):
    """v (H + 1, S), q (H, S, A), policy (H, S, A), optimal_actions (H, S, A), and the largest of the e_t."""

    v: Floats
    q: Floats
    policy: Floats
    optimal_actions: Bools
    bound: float


def backward_induction(mdp: FiniteMDP, horizon: int, show: Progress) -> Within:
    """The best values and actions of every step, with H steps in all. Ties are those within 2 e_t.

    The arrays take 17 S A + 8 S bytes a step. Raises ValueError for a horizon below 1, and rewards whose sums are too
    large for float64.
    """
    H, (S, A) = checked_horizon(horizon), mdp.admissible.shape
    v, q, policy, best = np.zeros((H + 1, S)), np.empty((H, S, A)), np.zeros((H, S, A)), np.empty((H, S, A), bool)
    (a, b), e, bound, states = lost_in_a_backup(mdp), 0.0, 0.0, np.arange(S)
    for t in reversed(range(H)):
        with np.errstate(over="ignore", invalid="ignore"):
            q[t] = mdp.backup(v[t + 1])
        v[t] = q[t].max(axis=1)
        check_finite(mdp, v[t])
        e = a + b * float(np.abs(v[t + 1]).max()) + mdp.gamma * (1 + b) * e
        bound = max(bound, e)
        policy[t, states, q[t].argmax(axis=1)] = ~mdp.terminal
        best[t] = mdp.admissible & (q[t] >= v[t][:, None] - 2 * e)
        show(H - t, bound)
    return Within(v, q, policy, best, bound)
