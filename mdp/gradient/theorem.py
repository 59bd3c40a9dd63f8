"""The policy gradient theorem for a tabular softmax. Sutton & Barto (2nd ed.), section 13.2; Sutton et al. (2000).

    pi(a|s) = exp h(s,a) / sum over b in A(s) of exp h(s,b)
    dJ/dh(s,a) = eta(s) pi(a|s) (q_pi(s,a) - v_pi(s))

eta(s) = sum over t of gamma^t Pr(S_t = s) holds the gamma^t that many implementations leave out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mdp.model.labels import reals
from mdp.model.table import Floats
from mdp.prediction.chain import Chain
from mdp.prediction.evaluation import average, values, visits

if TYPE_CHECKING:
    from mdp.model.finite import FiniteMDP


def softmax_policy(mdp: FiniteMDP, preferences: ArrayLike, /) -> NDArray[Any]:
    """pi(a|s), (S, A): the softmax of h over A(s); zeros where a is not in A(s), and in terminal states.

    A preference of -inf is an action that is never taken. Raises ValueError for nan, +inf, another shape, and a state
    in which every preference is -inf.

    >>> import numpy as np
    >>> from envs import bandit
    >>> from mdp import softmax_policy
    >>> softmax_policy(bandit(means=(0, 1)), [[0, np.log(3)], [0, 0]]).round(10).tolist()  # "bandit", and the end
    [[0.25, 0.75], [0.0, 0.0]]
    """
    h = np.asarray(preferences)
    if h.dtype.kind != "c":
        h = reals(h, "the preferences")
    if h.shape != mdp.admissible.shape:
        raise ValueError(f"the preferences have shape {h.shape}, not (S, A) = {mdp.admissible.shape}")
    h = np.where(mdp.admissible, h, -np.inf)
    bad = np.isnan(h) | (h.real == np.inf) | ((h.real == -np.inf).all(axis=1) & ~mdp.terminal)[:, None]
    if bad.any():
        s, a = np.argwhere(bad)[0]
        raise ValueError(f"h(s={mdp.states[s]!r}, a={mdp.actions[a]!r}) is {h[s, a]}; a preference must be finite")
    top = np.where(mdp.terminal, 0.0, h.real.max(axis=1))[:, None]
    weight = np.where(np.isfinite(h), np.exp(np.where(np.isfinite(h), h - top, 0.0)), 0.0)
    pi: NDArray[Any] = weight / np.where(mdp.terminal, 1.0, weight.sum(axis=1))[:, None]
    return pi


def policy_gradient(mdp: FiniteMDP, preferences: ArrayLike, /) -> Floats:
    """dJ/dh, (S, A), exact: eta(s) pi(a|s) (q(s,a) - v(s)); 0 in terminal states and where a is not in A(s).

    preferences: (S, A); terminal rows are not read. Two sparse solves, one the other's transpose. Where the softmax
    saturates (preferences some 745 apart) pi(a|s) underflows to 0, and with it the gradient.
    Raises ValueError as `softmax_policy` and `evaluate`.

    >>> from envs import short_corridor
    >>> from mdp import policy_gradient
    >>> m = short_corridor(gamma=0.9)  # three states that look alike share theta: sum over them
    >>> policy_gradient(m, [[0, 0]] * 4).sum(axis=0).round(10).tolist()
    [-0.4862286773, 0.4862286773]
    """
    pi = softmax_policy(mdp, preferences)
    chain = Chain(mdp, pi)
    return np.asarray(visits(chain)[:, None] * pi * advantages(mdp, pi, values(chain).q))


def natural_policy_gradient(mdp: FiniteMDP, preferences: ArrayLike, /) -> Floats:
    """F^-1 grad J for a tabular softmax, (S, A): q(s,a) - v(s); 0 in terminal states and where a is not in A(s).

    F = sum over s of eta(s) sum over a of pi(a|s) psi psi^T is Fisher's information (eta not normalised). It leaves a
    constant in each state free, which moves no policy; here sum over a of pi(a|s) (.) is 0. A step of size x is exact
    on a table: pi(a|s) becomes proportional to pi(a|s) exp(x (q(s,a) - v(s))). Kakade (2001); Agarwal et al. (2021).
    Raises ValueError as `policy_gradient`.

    >>> from envs import bandit
    >>> from mdp import natural_policy_gradient
    >>> natural_policy_gradient(bandit(means=(0, 1)), [[0, 0]] * 2).tolist()  # v = 1/2
    [[-0.5, 0.5], [0.0, 0.0]]
    """
    pi = softmax_policy(mdp, preferences)
    return advantages(mdp, pi, values(Chain(mdp, pi)).q)


def advantages(mdp: FiniteMDP, pi: Floats, q: Floats) -> Floats:
    """q(s,a) - v(s), (S, A); 0 in terminal states and where a is not in A(s).

    As q' - sum over a of pi q' with q' = q - q(s, likeliest action): where pi is nearly sure of an action, q - v would
    be what rounding leaves of v; so it is right relative to itself, and with it the gradient.
    """
    sure = q[np.arange(len(q)), pi.argmax(axis=1)]
    with np.errstate(over="ignore", invalid="ignore"):
        off = np.where(mdp.admissible, q, sure[:, None]) - sure[:, None]
        found = np.where(mdp.admissible, off - average(pi, off)[:, None], 0.0)
    if not np.isfinite(found).all():
        raise ValueError("q(s,a) - v(s) is too large for float64: count rewards in another unit")
    return found


def complex_step(mdp: FiniteMDP, preferences: ArrayLike, direction: ArrayLike, /) -> float:
    """dJ(h + x u)/dx at x = 0 as Im J(h + i x u) / x with x = 1e-20: no subtraction, so no rounding is magnified.

    J is one complex linear solve; neither eta nor q is used. Squire & Trapp (1998), SIAM Review 40(1).

    >>> from envs import short_corridor
    >>> from mdp import complex_step
    >>> round(complex_step(short_corridor(gamma=0.9), [[0, 0]] * 4, [[0, 1]] * 4), 10)  # along h(., right)
    0.4862286773
    """
    x = 1e-20
    h = np.where(mdp.admissible, preferences, 0.0)
    pi = softmax_policy(mdp, h + 1j * x * np.where(mdp.admissible, direction, 0.0))
    v = Chain(mdp, pi).solve((pi * mdp.expected_reward).sum(axis=1))
    return float((mdp.start @ v).imag / x)
