"""What float64 may lose, proven: of one backup, and of the v of a policy.

With k outcomes of a pair at most, merged, multiplied and added up, r + gamma P v is off by (k + 4) eps times the sum of
the sizes of its terms, at most; rows that do not sum to 1 are taken for what they are, and what it would change to make
them sum to 1 is added. With d = r_pi + gamma P_pi v - v and u what it may have lost,

    |v - v_pi| <= max(|d| + u) / (1 - gamma max row sum),    |v - v_pi| <= max(|d| + u) max(x) / min(x - gamma P_pi x)

for any x > 0 for which that is positive: with x the expected (discounted) lengths of episodes it is about max(x).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mdp.model.table import EPS, SMALLEST, Floats, excess

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP
    from mdp.prediction.chain import Chain

LARGEST, SLOWEST = 1e305, 1e-15  # |v|, with room for sums of it; 1 / the longest episodes
NEAR_ONE = 1e-5  # 1 - gamma, below which the lengths of episodes are looked at


def check_rewards(mdp: FiniteMDP, rate: float) -> None:
    """Raises ValueError where returns, which are max|R| / rate at most, may be too large for float64."""
    if mdp.table.largest_reward / max(rate, SLOWEST) > LARGEST:
        raise ValueError(
            f"a reward of {mdp.table.largest_reward:.3g} is too large for float64: returns may be up to "
            f"{1 / max(rate, SLOWEST):.3g} times as large; count rewards in another unit"
        )


def contraction(mdp: FiniteMDP, policy: Floats | None = None) -> float:
    """1 - gamma max row sum, at most: of P, or of P_pi for a policy (S, A). Below 0 where nothing contracts.

    Row sums are added up exactly where gamma is so near 1 that their rounding matters.
    """
    (most, off), gap = mdp.table.sums, 1 - mdp.gamma
    if policy is not None:
        off += policy_off(mdp, policy)
    rough = most * EPS + 2 * off
    if rough <= 1e-3 * gap or not gap:
        return gap - rough
    above = mdp.table.excess
    if policy is not None:
        above += 2 * max(map(excess, policy.tolist()))
    return gap - above - 4 * EPS * gap


def policy_off(mdp: FiniteMDP, policy: Floats) -> float:
    """How far the sum of a row of a policy (S, A) is from 1, at most, and what rounding may add in an average by it."""
    return float(np.abs(policy @ np.ones(mdp.n_actions) - ~mdp.terminal).max()) + mdp.n_actions * EPS


def lost_in_a_backup(mdp: FiniteMDP) -> tuple[float, float]:
    """(a, b): r + gamma P v is off by a + b max|v| at most, in any row.

    By max|R|, not r(s,a), whose own sum may have cancelled.
    """
    most, off = mdp.table.sums
    unit = (most + 4) * EPS
    return float((unit + off) * mdp.table.largest_reward + SMALLEST), float(unit + off)


def lost(mdp: FiniteMDP, v: Floats) -> Floats:
    """What r + gamma P v may have lost, row by row, (S, A); 0 where a is not in A(s)."""
    shape, total = mdp.admissible.shape, mdp.table.total.reshape(mdp.admissible.shape)
    size = np.abs(v)
    terms = mdp.table.reward_size + mdp.gamma * np.asarray(mdp.table.product @ size).reshape(shape)
    unit = (mdp.table.sums[0] + 4) * EPS
    u: Floats = unit * (terms + size[:, None]) + np.abs(total - 1) * terms + SMALLEST
    return np.where(mdp.admissible, u, 0.0)


def evaluation_bound(chain: Chain, v: Floats, d: Floats) -> float:
    """max-norm bound of v - v_pi for v with the residual d (S,); inf where nothing is proven."""
    mdp, pi, size = chain.mdp, chain.policy, np.abs(v)
    most, off = mdp.table.sums
    unit = (most + 6) * EPS + off + policy_off(mdp, pi)
    terms = np.einsum("sa,sa->s", pi, mdp.table.reward_size) + mdp.gamma * (chain.transition @ size) + size
    if not np.isfinite(terms).all():
        return np.inf
    worst, rate = float((np.abs(d) + unit * terms).max()) + SMALLEST, contraction(mdp, pi)
    found = worst / rate if rate > 0 else np.inf
    if mdp.gamma > 1 - NEAR_ONE:
        x = chain.lengths
        left = float((x - mdp.gamma * (chain.transition @ x) - 2 * unit * x).min())
        found = min(found, worst * float(x.max()) / left) if left > 0 else found
    return found
