"""Returns. Sutton & Barto (2nd ed.), equations 3.8 and 3.9: G_t = R_{t+1} + gamma G_{t+1}, and G_T = 0."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mdp.model.labels import checked_gamma, reals
from mdp.model.table import Floats


def returns_to_go(rewards: ArrayLike, gamma: float, mask: ArrayLike | None = None) -> Floats:
    """G_t for every t; `rewards[..., t]` is R_{t+1}. Time is the last axis, and the shape is kept.

    mask: bool, like rewards; False where an episode had ended: the reward there is not read and G is 0.
    Raises ValueError for a mask of another shape, gamma outside [0, 1], and where a return is too large for float64.
    By Horner's rule: G_t is right to about 2 (T - t) eps times the sum of |gamma^k R|.

    >>> from mdp import returns_to_go
    >>> returns_to_go([-1, 2, 6, 3, 2], gamma=0.5).tolist()  # Sutton & Barto, Exercise 3.8
    [2.0, 6.0, 8.0, 4.0, 2.0]
    >>> returns_to_go([1, 1, 7], gamma=1, mask=[True, True, False]).tolist()
    [2.0, 1.0, 0.0]
    """
    gamma = checked_gamma(gamma)
    G = reals(rewards, "rewards", copy=True)
    if G.ndim == 0:
        raise ValueError("rewards need a time axis: rewards[..., t] is R_{t+1}")
    if mask is not None:
        if np.shape(mask) != G.shape:
            raise ValueError(f"mask has shape {np.shape(mask)}, rewards {G.shape}")
        G = np.where(mask, G, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        for t in reversed(range(G.shape[-1] - 1)):
            G[..., t] += gamma * G[..., t + 1]
    return _checked(G)


def discounted_return(rewards: ArrayLike, gamma: float) -> Floats:
    """G_0 = sum over t of gamma^t R_{t+1}; time is the last axis and is summed away. 0 for no rewards.

    Raises ValueError as `returns_to_go`.

    >>> from mdp import discounted_return
    >>> float(discounted_return([-1, 2, 6, 3, 2], gamma=0.5))  # Sutton & Barto, Exercise 3.8
    2.0
    """
    R = reals(rewards, "rewards")
    if R.ndim == 0:
        raise ValueError("rewards need a time axis: rewards[..., t] is R_{t+1}")
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        return _checked(np.asarray(R @ np.float64(checked_gamma(gamma)) ** np.arange(R.shape[-1])))


def _checked(G: Floats) -> Floats:
    if not np.isfinite(G).all():
        raise ValueError("a return is not finite: the rewards are too large for float64, or not finite themselves")
    return G
