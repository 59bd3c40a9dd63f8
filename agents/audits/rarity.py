"""Is a sample large enough to be judged? What is rare enough to be missed does not show in the sample itself.

Two exact controls, for n episodes of the policy b that plays: the mean of REINFORCE itself along each direction, and
that of the sequence weight w = Pr(trajectory | pi) / Pr(trajectory | b), whose moments solve

    E[w^k | s] = sum over a of b (pi / b)^k sum over s' of p(s'|s,a) E[w^k | s'],      E[w | s] = 1.

Where a control has skewness or excess kurtosis beyond .1, no sample error could judge a mean of such episodes.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from agents.exact.moments import preference_moments
from agents.policies import SoftmaxPolicy
from mdp import FiniteMDP
from mdp.gradient.cumulants import Shape, shape
from mdp.prediction.chain import transitions
from mdp.prediction.linear import Solver

LARGEST = 0.1  # skewness and excess kurtosis of a mean that its sample's own error may judge


def rare(
    behaviour: SoftmaxPolicy, policy: SoftmaxPolicy, mdp: FiniteMDP, directions: NDArray[np.float64], episodes: int
) -> NDArray[np.bool_]:
    """For each direction (SA, K) of log pi, (K,): the mean of so many episodes is too far from normal."""
    control = shape(preference_moments(behaviour, mdp), directions).of_mean(episodes)
    if behaviour is policy:
        return _far(control)
    return _far(control) | _far(weights(behaviour, policy, mdp).of_mean(episodes))


def _far(found: Shape) -> NDArray[np.bool_]:
    skewness, kurtosis = (np.nan_to_num(x, nan=np.inf) for x in found)
    return np.asarray((np.abs(skewness) > LARGEST) | (kurtosis > LARGEST))


def weights(behaviour: SoftmaxPolicy, policy: SoftmaxPolicy, mdp: FiniteMDP) -> Shape:
    """Skewness and excess kurtosis of the sequence weight of one episode; inf where they do not exist."""
    with torch.no_grad():
        b, pi = (x.matrix(mdp).cpu().numpy() for x in (behaviour, policy))
    ratio = pi / np.where(b > 0, b, 1.0)
    m2, m3, m4 = (_moment(mdp, b * ratio**k) for k in (2, 3, 4))
    variance = m2 - 1
    if not np.isfinite(m4):
        return Shape(np.array(np.inf), np.array(np.inf))
    if variance <= 1e-12:
        return Shape(np.zeros(()), np.zeros(()))
    third, fourth = m3 - 3 * m2 + 2, m4 - 4 * m3 + 6 * m2 - 3
    return Shape(np.array(third / variance**1.5), np.array(fourth / variance**2 - 3))


def _moment(mdp: FiniteMDP, kernel: NDArray[np.float64]) -> float:
    """start . x with x = kernel x, x = 1 at the end; inf where the sum over trajectories diverges."""
    t = mdp.table
    step = transitions(mdp, kernel[t.state, t.action] * t.p)
    ends = step @ mdp.terminal.astype(float)
    x = Solver(sparse.eye_array(mdp.n_states) - step).solve(ends)  # terminal rows of step are empty
    x = np.where(mdp.terminal, 1.0, x)
    return float(mdp.start @ x) if (x >= -1e-9).all() and np.isfinite(x).all() else np.inf
