"""Policy improvement by expectation maximisation: reward-weighted regression, exact. Dayan & Hinton (1997).

J is the likelihood of "success", if a return G_0 >= 0 is (up to a constant) its probability. The E-step weighs every
trajectory by p(trajectory) G_0, the M-step maximises the weighted log-likelihood

    sum over s, a of w(s,a) log pi'(a|s),        w(s,a) = E[G_0 sum over t of 1(S_t = s, A_t = a)]

and J(pi') >= J(pi) (Jensen). For the one-step objective w(o,a) = P(o) pi(a|o) R(o,a): prompts count by P(o). At
pi' = pi the gradient of the weighted log-likelihood is grad J itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from mdp.model.table import Floats
from mdp.prediction.chain import Chain, check_proper, checked_policy
from mdp.prediction.evaluation import values, visits

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP


def return_weighted_visits(mdp: FiniteMDP, policy: ArrayLike, /) -> Floats:
    """w(s,a) = E[G_0 times the visits of (s, a)], (S, A), exact.

    G_0 is what was paid before S_t and gamma^t G_t, so with past(s) = sum over t of E[(R_1 + ... + gamma^(t-1) R_t)
    1(S_t = s)], one more transposed solve,        w(s,a) = pi(a|s) (past(s) + eta(s) q(s,a)).

    Raises ValueError for a reward below 0, since w is a weight, and for a policy that is not proper.

    >>> from envs import contextual_bandit
    >>> from mdp import return_weighted_visits
    >>> m = contextual_bandit()  # of the first prompt: P(o) pi(a|o) R(o,a) = .5 x .25 x (1, 0, 0, .25)
    >>> return_weighted_visits(m, m.uniform_policy())[0].round(10).tolist()
    [0.125, 0.0, 0.0, 0.03125]
    """
    pi = checked_policy(mdp, policy)
    check_rewards(mdp)
    check_proper(mdp, pi)
    chain, ends = Chain(mdp, pi), Chain(mdp, pi, 1.0)
    eta, t = visits(chain), mdp.table
    paid = np.bincount(t.next, weights=eta[t.state] * chain.weight * t.reward, minlength=mdp.n_states)
    past = ends.solve(paid, transposed=True)
    q = np.where(pi > 0, values(chain).q, 0.0)
    w: Floats = pi * (past[:, None] + eta[:, None] * q)
    return np.where(mdp.terminal[:, None], 0.0, w)


def em_step(mdp: FiniteMDP, policy: ArrayLike, /) -> Floats:
    """The policy (S, A) after one exact EM step on a table: pi'(a|s) = w(s,a) / sum over b of w(s,b); J does not fall.

    Where no weight falls on a state the policy stays. Raises ValueError as `return_weighted_visits`.

    >>> from envs import contextual_bandit
    >>> from mdp import em_step
    >>> m = contextual_bandit()
    >>> em_step(m, m.uniform_policy())[0].round(10).tolist()  # "2 + 2 =" with rewards 1, 0, 0, .25
    [0.8, 0.0, 0.0, 0.2]
    """
    pi, w = checked_policy(mdp, policy), return_weighted_visits(mdp, policy)
    total = w.sum(axis=1, keepdims=True)
    return np.where(total > 0, w / np.where(total > 0, total, 1.0), pi)


def check_rewards(mdp: FiniteMDP) -> None:
    """Raises ValueError, with the pair and a shift that would do, for a reward below 0."""
    t = mdp.table
    k = int(np.argmin(t.reward)) if len(t.reward) else 0
    if len(t.reward) and t.reward[k] < 0:
        s, a, r = mdp.states[t.state[k]], mdp.actions[t.action[k]], float(t.reward[k])
        raise ValueError(
            f"EM weighs by rewards, which must be >= 0, and (s={s!r}, a={a!r}) pays {r:g}: where every episode has one "
            f"step, add {-r:g} to every reward; it moves J by as much, and not its maximum"
        )
