"""Standard errors of the sampled route, from the exact covariance of the estimator.

The estimate is judged along directions u of theta: u . estimate has mean u . grad J and variance u^T C u / N. A sample's
own error would not do: a state that was never visited has sample error 0.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.checks.moments import dimension, in_preferences, preference_moments
from agents.checks.objective import exact_gradient
from agents.losses import ReinforceLoss
from agents.policies import SoftmaxPolicy
from mdp import FiniteMDP, Moments, occupancy

Floats = NDArray[np.float64]

MOST_COORDINATES = 4_096  # a longer theta is judged along random directions alone
FEWEST_VISITS = 1_000.0
CHUNK = 512  # directions handled at a time


def estimator_moments(policy: SoftmaxPolicy, mdp: FiniteMDP, loss: Any = None) -> Moments:
    """The exact moments of a ReinforceLoss with a fixed baseline; of plain REINFORCE for any other loss."""
    if isinstance(loss, ReinforceLoss) and not callable(loss.baseline):
        return preference_moments(policy, mdp, baseline=loss.baseline, to_go=loss.to_go, discounted=loss.discounted)
    return preference_moments(policy, mdp)


def trace(policy: SoftmaxPolicy, mdp: FiniteMDP, moments: Moments) -> float:
    """E|estimate - mean|^2 of one episode: the sum of the variances of all coordinates of theta."""
    chunks = range(0, dimension(policy), CHUNK)
    return sum(float(moments.variances(in_preferences(policy, mdp, _axes(policy, k))).sum()) for k in chunks)


def _axes(policy: SoftmaxPolicy, first: int) -> Tensor:
    """Unit vectors first .. first + 512 of theta as columns."""
    d = dimension(policy)
    n = min(CHUNK, d - first)
    axes = torch.zeros(d, n, dtype=torch.float64)
    axes[first : first + n] = torch.eye(n, dtype=torch.float64)
    return axes


def judged_directions(
    policy: SoftmaxPolicy, mdp: FiniteMDP, gradient: Floats, random: Floats, episodes: int
) -> Floats:
    """(d, K): the gradient's own direction, random ones, and the coordinates that are visited often enough.

    A direction u whose score x = u . psi is spread over few visits has a mean that is not normal yet. Its visits are
    counted as N (sum of w x^2)^2 / (sum of w x^4), w(s,a) = pi(a|s) times the visits to s expected under gamma^2; a
    coordinate needs 1,000.
    """
    norm = np.linalg.norm(gradient)
    columns = [gradient[:, None] / norm, random] if norm else [random]
    if len(gradient) <= MOST_COORDINATES:
        with torch.no_grad():
            pi = policy.matrix(mdp).cpu().numpy()
        w = (occupancy(mdp.with_gamma(mdp.gamma**2), pi)[:, None] * pi).ravel()
        for k in range(0, len(gradient), CHUNK):
            axes = _axes(policy, k)
            x = in_preferences(policy, mdp, axes)
            second, fourth = w @ x**2, w @ x**4
            visits = episodes * np.divide(second**2, fourth, out=np.zeros_like(second), where=fourth > 0)
            columns.append(axes.numpy()[:, visits >= FEWEST_VISITS])
    return np.concatenate(columns, axis=1)


def standard_errors(
    policy: SoftmaxPolicy, mdp: FiniteMDP, moments: Moments, directions: Floats, episodes: int
) -> Floats:
    """sqrt(u^T C u / N), (K,), for each column u of directions (d, K)."""
    chunks = torch.as_tensor(directions).split(CHUNK, dim=1)
    variances = np.concatenate([moments.variances(in_preferences(policy, mdp, u)) for u in chunks])
    return np.sqrt(np.maximum(variances, 0.0) / episodes)


def z_scores(difference: Floats, standard_error: Floats, scale: float) -> Floats:
    """difference / standard error; where the standard error is rounding, 0 if the difference is too, else inf."""
    rounding = 1e-13 * scale
    certain = standard_error <= rounding
    z = difference / np.where(certain, 1.0, standard_error)
    return np.where(certain, np.where(np.abs(difference) <= 100 * rounding, 0.0, np.inf), z)


def largest_z(directions: int, false_alarm: float) -> float:
    """The |z| that the largest of K normal deviates exceeds with probability `false_alarm` at most (Bonferroni)."""
    return -NormalDist().inv_cdf(false_alarm / (2 * directions))


def p_value(z: Floats) -> float:
    """The probability that the largest of K normal deviates is at least as large, at most (Bonferroni)."""
    return min(1.0, len(z) * math.erfc(float(np.abs(z).max()) / math.sqrt(2)))


def episodes_for(policy: SoftmaxPolicy, mdp: FiniteMDP, /, relative_error: float, *, loss: Any = None) -> int:
    """The episodes after which SE / |grad J| is `relative_error`: N = trace(C) / (relative_error |grad J|)^2.

    Raises ValueError where grad J is 0 up to rounding: no number of episodes shows its direction.
    """
    square = float(exact_gradient(policy, mdp).square().sum())
    variance = trace(policy, mdp, estimator_moments(policy, mdp, loss))
    if square <= 1e-18 * variance:
        raise ValueError("grad J is 0 here up to rounding: no number of episodes shows its direction")
    return max(1, math.ceil(variance / (relative_error**2 * square)))
