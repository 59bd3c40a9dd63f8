"""The Markov chain that a policy makes of an MDP, and linear solves with it.

    P_pi(s'|s) = sum over a of pi(a|s) Pr(s'|s,a)        (I - gamma P_pi) x = b        (I - gamma P_pi)^T x = b

Values, occupancies, gradients and variances are all solves of this kind.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from mdp.model.labels import SUM_TOLERANCE, reals
from mdp.model.table import Bools, Floats
from mdp.prediction.graph import never_ending
from mdp.prediction.linear import Solver

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP


LONGEST = 1e12  # steps of an episode, at gamma = 1: its relative rounding error is about eps times as large


def checked_policy(mdp: FiniteMDP, policy: ArrayLike) -> Floats:
    """pi(a|s) as (S, A), with zeros in terminal states, whose rows are not read.

    Raises ValueError, with the state, for another shape, a probability that is negative or not finite, mass on an
    action outside A(s), and a row that does not sum to 1 within 1e-9.
    """
    pi = reals(policy, "the policy")
    if pi.shape != mdp.admissible.shape:
        raise ValueError(f"the policy has shape {pi.shape}, not (S, A) = {mdp.admissible.shape}")
    pi = np.where(mdp.terminal[:, None], 0.0, pi)
    _refuse(mdp, ~(np.isfinite(pi) & (pi >= 0)), pi, "it must be a finite number >= 0")
    _refuse(mdp, ~mdp.admissible & (pi > 0), pi, "the action is not admissible there")
    total = pi @ np.ones(mdp.n_actions)  # several times as fast as a sum along the last axis
    wrong = ~mdp.terminal & (np.abs(total - 1) > SUM_TOLERANCE)
    if wrong.any():
        s = int(np.argmax(wrong))
        raise ValueError(f"pi(.|s={mdp.states[s]!r}) sums to {total[s]:.12g}, not 1")
    return pi


def _refuse(mdp: FiniteMDP, bad: Bools, pi: Floats, why: str) -> None:
    if bad.any():
        s, a = np.argwhere(bad)[0]
        raise ValueError(f"pi(a={mdp.actions[a]!r}|s={mdp.states[s]!r}) is {pi[s, a]}: {why}")


def check_proper(mdp: FiniteMDP, policy: Floats) -> None:
    """Raises ValueError, with a state that never ends, where the policy is not proper."""
    stuck = never_ending(mdp, policy)
    if len(stuck):
        raise ValueError(
            f"the policy never ends from state {mdp.states[stuck[0]]!r} ({len(stuck)} such states): with gamma = 1 the "
            f"return has no value there; take gamma < 1, a policy that ends, or unroll(mdp, horizon)"
        )


def transitions(mdp: FiniteMDP, weight: NDArray[Any]) -> sparse.csr_array[Any]:
    """(S, S): the sum, for each pair (s, s'), of a weight (K,) given to each outcome."""
    t, (S, A) = mdp.table, mdp.table.shape
    P = sparse.csr_array((weight, t.after.copy(), t.starts[::A].copy()), shape=(S, S))
    P.sum_duplicates()
    return P


def mixed(mdp: FiniteMDP, policy: NDArray[Any]) -> sparse.csr_array[Any]:
    """P_pi (S, S): the rows of P, weighted with pi (S, A)."""
    (S, A), taken = policy.shape, np.flatnonzero(policy)
    starts = np.concatenate([[0], np.cumsum(np.count_nonzero(policy, axis=1))])
    return sparse.csr_array((policy.ravel()[taken], taken, starts), shape=(S, S * A)) @ mdp.transition


class Chain:
    """P_pi and solves with I - gamma P_pi, for a policy (S, A) that was checked.

    gamma: by default the MDP's. Raises ValueError at gamma = 1 where the policy is not proper, or its episodes are
    longer than 1e12 steps on average.
    """

    def __init__(self, mdp: FiniteMDP, policy: NDArray[Any], gamma: float | None = None) -> None:
        gamma = mdp.gamma if gamma is None else gamma
        if gamma == 1:
            check_proper(mdp, policy.real)
        self.mdp, self.policy = mdp, policy
        self.transition = mixed(mdp, policy)
        self._solver = Solver.of_chain(self.transition, gamma)
        if gamma == 1:
            self._check_lengths()

    @cached_property
    def weight(self) -> NDArray[Any]:
        """pi(a|s) p(s',r|s,a), (K,)."""
        t = self.mdp.table
        return t.spread(self.policy) * t.p

    @cached_property
    def lengths(self) -> Floats:
        """The steps of an episode from each state, (S,), expected and discounted; 1 in terminal states."""
        return np.asarray(np.abs(self.solve(np.ones(self.mdp.n_states, self.policy.dtype))))

    def _check_lengths(self) -> None:
        """Raises ValueError where an episode is so long that no digit of a solve could be trusted."""
        steps = self.lengths
        if not (steps < LONGEST).all():
            s = int(np.argmax(np.where(np.isnan(steps), np.inf, steps)))
            raise ValueError(
                f"from state {self.mdp.states[s]!r} an episode takes {steps[s]:.3g} steps on average, more than "
                f"float64 can tell from for ever: take gamma < 1, or unroll(mdp, horizon)"
            )

    def solve(self, b: NDArray[Any], *, transposed: bool = False) -> NDArray[Any]:
        """x with (I - gamma P_pi) x = b, or with its transpose; b is (S,) or (S, K)."""
        return self._solver.solve(b, transposed=transposed)
