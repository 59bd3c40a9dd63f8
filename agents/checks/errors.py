"""Standard errors of the sampled route, from the exact covariance of the estimator.

The estimate is judged along directions u of theta: u . estimate has mean u . grad J and variance u^T C u / N. The
sample's own error would not do: a state that was never visited has sample error 0.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.exact.moments import all_directions, dimension, in_preferences, preference_moments
from agents.exact.objective import exact_gradient
from agents.losses import ReinforceLoss
from agents.policies import SoftmaxPolicy
from mdp import FiniteMDP, Moments
from mdp.gradient.cumulants import Shape, shape

Floats = NDArray[np.float64]

MOST_COORDINATES = 4_096  # a longer theta is judged along random directions alone
LARGEST_SKEWNESS = LARGEST_KURTOSIS = 0.3
CHUNK = 512  # directions handled at a time


def estimator_moments(policy: SoftmaxPolicy, mdp: FiniteMDP, loss: Any = None) -> Moments:
    """The exact moments of a ReinforceLoss with a fixed baseline; of plain REINFORCE for any other loss."""
    if isinstance(loss, ReinforceLoss) and not callable(loss.baseline):
        return preference_moments(policy, mdp, baseline=loss.baseline, to_go=loss.to_go, discounted=loss.discounted)
    return preference_moments(policy, mdp)


def trace(policy: SoftmaxPolicy, mdp: FiniteMDP, moments: Moments) -> float:
    """E|estimate - mean|^2 of one episode: the sum of the variances of all coordinates of theta."""
    if dimension(policy) > mdp.admissible.size:
        return float(moments.variances(all_directions(policy, mdp)).sum())
    chunks = range(0, dimension(policy), CHUNK)
    return sum(float(moments.variances(in_preferences(policy, mdp, _axes(policy, k))).sum()) for k in chunks)


def _axes(policy: SoftmaxPolicy, first: int) -> Tensor:
    """Unit vectors first .. first + 512 of theta as columns."""
    d = dimension(policy)
    n = min(CHUNK, d - first)
    axes = torch.zeros(d, n, dtype=torch.float64)
    axes[first : first + n] = torch.eye(n, dtype=torch.float64)
    return axes


class Judged(NamedTuple):
    """Directions (d, K), and of the mean estimate along them: standard error (K,) and shape."""

    directions: Floats
    standard_error: Floats
    shape: Shape


def judged_directions(
    policy: SoftmaxPolicy, mdp: FiniteMDP, moments: Moments, gradient: Floats, random: Floats, episodes: int
) -> Judged:
    """The gradient's own direction, the random ones, and all coordinates of theta: those that were seen often enough.

    Often enough: the mean of N episodes has skewness and excess kurtosis of at most .3. Rarer ones are far from any law
    that could judge them one by one; rare coordinates still count in the other directions. The gradient's own comes
    first, if it is there.
    """
    norm = np.linalg.norm(gradient)
    always = np.concatenate([gradient[:, None] / norm, random], axis=1) if norm else random
    parts = [_judged(policy, mdp, moments, torch.as_tensor(always), episodes)]
    if len(gradient) <= MOST_COORDINATES:
        axes = (_axes(policy, k) for k in range(0, len(gradient), CHUNK))
        parts += [_judged(policy, mdp, moments, u, episodes) for u in axes]
    return Judged(
        np.concatenate([part.directions for part in parts], axis=1),
        np.concatenate([part.standard_error for part in parts]),
        Shape(*(np.concatenate(x) for x in zip(*(part.shape for part in parts), strict=True))),
    )


def _judged(policy: SoftmaxPolicy, mdp: FiniteMDP, moments: Moments, directions: Tensor, episodes: int) -> Judged:
    U = in_preferences(policy, mdp, directions)
    error = np.sqrt(np.maximum(moments.variances(U), 0.0) / episodes)
    skewness, kurtosis = shape(moments, U).of_mean(episodes)
    kept = (error > 0) & (np.abs(skewness) <= LARGEST_SKEWNESS) & (kurtosis <= LARGEST_KURTOSIS)
    return Judged(directions.numpy()[:, kept], error[kept], Shape(skewness[kept], kurtosis[kept]))


def z_scores(difference: Floats, standard_error: Floats, scale: float) -> Floats:
    """difference / standard error; where the standard error is rounding, 0 if the difference is too, else inf."""
    rounding = 1e-13 * scale
    certain = standard_error <= rounding
    z = difference / np.where(certain, 1.0, standard_error)
    return np.where(certain, np.where(np.abs(difference) <= 100 * rounding, 0.0, np.inf), z)


def largest_z(directions: int, false_alarm: float) -> float:
    """The |z| that the largest of K normal deviates exceeds with probability `false_alarm` at most (Bonferroni)."""
    return -NormalDist().inv_cdf(false_alarm / (2 * directions))


def episodes_for(policy: SoftmaxPolicy, mdp: FiniteMDP, /, relative_error: float, *, loss: Any = None) -> int:
    """The episodes after which SE / |grad J| is `relative_error`: N = trace(C) / (relative_error |grad J|)^2.

    Raises ValueError where grad J is 0 up to rounding: no number of episodes shows its direction.

    >>> from agents import SoftmaxPolicy, TabularPreferences, episodes_for
    >>> from envs import bandit
    >>> m = bandit(means=(-1, 1))  # trace = |grad J|^2 = 1/2
    >>> episodes_for(SoftmaxPolicy(TabularPreferences(m)).double(), m, 0.03)  # 1 / .03^2, rounded up
    1112
    """
    square = float(exact_gradient(policy, mdp).square().sum())
    variance = trace(policy, mdp, estimator_moments(policy, mdp, loss))
    if square <= 1e-18 * variance:
        raise ValueError("grad J is 0 here up to rounding: no number of episodes shows its direction")
    return max(1, math.ceil(variance / (relative_error**2 * square)))
