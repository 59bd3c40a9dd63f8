"""The exact moments of one-episode REINFORCE for any torch policy: the chain rule over `mdp.reinforce_moments`.

With h = log pi as preferences (the softmax of log pi is pi), and J_h = dh / dtheta (SA, d), the estimator for theta is
J_h^T Z, so its mean is J_h^T E[Z] and its covariance J_h^T Cov[Z] J_h. Along directions u (d, K) only J_h u is needed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from agents.exact.objective import check_double, flat_gradient, split
from agents.policies.preferences import as_tensor
from agents.policies.softmax import SoftmaxPolicy, live_log_probabilities
from mdp import FiniteMDP, Moments, reinforce_moments

CHUNK = 256  # directions differentiated at a time


class GradientMoments(NamedTuple):
    """mean (K,) and covariance (K, K) of the one-episode estimator along K directions; trace of the covariance."""

    mean: Tensor
    covariance: Tensor

    @property
    def trace(self) -> Tensor:
        return self.covariance.trace()


def gradient_moments(
    policy: SoftmaxPolicy,
    mdp: FiniteMDP,
    /,
    *,
    directions: ArrayLike | Tensor | None = None,
    baseline: ArrayLike | None = None,
    to_go: bool = True,
    discounted: bool = True,
) -> GradientMoments:
    """The exact mean and covariance of the one-episode REINFORCE estimator of dJ/dtheta.

    directions (d, K): the moments of u^T (estimator) for each column u; None: every coordinate of theta, in the order
    of policy.parameters(). baseline, to_go, discounted: as in `mdp.reinforce_moments`, whose errors are raised too.

    >>> from agents import SoftmaxPolicy, TabularPreferences, gradient_moments
    >>> from envs import bandit
    >>> m = bandit(means=(-1, 1))  # R = -2, 0, 2: E[R^2] = 2, and |psi|^2 = 1/2
    >>> policy = SoftmaxPolicy(TabularPreferences(m)).double()
    >>> found = gradient_moments(policy, m)
    >>> found.mean[:2].numpy().round(10).tolist(), round(found.trace.item(), 10)  # 2 x 1/2 - |mean|^2
    ([-0.5, 0.5], 0.5)
    """
    moments = preference_moments(policy, mdp, baseline=baseline, to_go=to_go, discounted=discounted)
    d = dimension(policy)
    if directions is None:
        U = jacobian(policy, mdp)
    else:
        u = torch.as_tensor(directions)
        if u.ndim != 2 or len(u) != d:
            raise ValueError(f"directions have shape {tuple(u.shape)}, not (d, K) with d = {d}")
        U = in_preferences(policy, mdp, u)
    mean, covariance = moments.along(U)
    like = next(policy.parameters())
    return GradientMoments(as_tensor(mean, like), as_tensor(covariance, like))


def dimension(policy: torch.nn.Module) -> int:
    """d, the number of parameters."""
    return sum(p.numel() for p in policy.parameters())


def preference_moments(policy: SoftmaxPolicy, mdp: FiniteMDP, /, **estimator: Any) -> Moments:
    """`mdp.reinforce_moments` at h = log pi."""
    return reinforce_moments(mdp, log_preferences(policy, mdp), **estimator)


def log_preferences(policy: SoftmaxPolicy, mdp: FiniteMDP) -> NDArray[np.float64]:
    """h = log pi(a|s), (S, A): preferences with the same policy; -inf where an action is never taken."""
    check_double(policy)
    h = np.full(mdp.admissible.shape, -np.inf)
    with torch.no_grad():
        h[~mdp.terminal] = live_log_probabilities(policy, mdp).cpu().numpy()
    return h


def in_preferences(policy: SoftmaxPolicy, mdp: FiniteMDP, directions: Tensor) -> NDArray[np.float64]:
    """J_h u for each column u of directions (d, K), (SA, K), h = log pi: one forward derivative for each.

    0 in terminal states, for actions that are never taken, and for parameters that are frozen.
    """
    frozen = torch.cat([torch.full((p.numel(),), not p.requires_grad) for p in policy.parameters()])
    directions = directions.masked_fill(frozen[:, None].to(directions.device), 0.0)
    theta = {name: p.detach() for name, p in policy.named_parameters()}
    like = next(iter(theta.values()))

    def log_pi(parameters: dict[str, Tensor]) -> Tensor:
        return live_log_probabilities(Bound(policy, parameters), mdp)

    def along(u: Tensor) -> Tensor:
        out: Tensor = torch.func.jvp(log_pi, (theta,), (split(policy, u),))[1]
        return out

    never = log_pi(theta).detach() == -torch.inf
    columns = [torch.func.vmap(along)(part) for part in torch.split(directions.to(like).T, CHUNK)]
    return _all_states(torch.cat(columns).masked_fill(never, 0.0), mdp)


def jacobian(policy: SoftmaxPolicy, mdp: FiniteMDP) -> NDArray[np.float64]:
    """J_h, (SA, d): a forward derivative for each coordinate of theta, or a backward one for each (s, a), what is less.

    0 in terminal states, for actions that are never taken, and for parameters that are frozen.
    """
    d = dimension(policy)
    if d <= mdp.admissible[~mdp.terminal].sum():
        return in_preferences(policy, mdp, torch.eye(d, dtype=torch.float64))
    log_pi = live_log_probabilities(policy, mdp)
    J = np.zeros((*mdp.admissible.shape, d))
    for s, row in zip(np.flatnonzero(~mdp.terminal), log_pi, strict=True):
        for a in (row > -torch.inf).nonzero()[:, 0].tolist():
            J[s, a] = flat_gradient(policy, row[a], retain_graph=True).cpu().numpy()
    return J.reshape(-1, d)


def all_directions(policy: SoftmaxPolicy, mdp: FiniteMDP) -> NDArray[np.float64]:
    """J_h, or fewer columns that give every gradient its length: (SA, K), K at most d and SA."""
    J = jacobian(policy, mdp)
    return J if J.shape[1] <= J.shape[0] else np.linalg.qr(J.T).R.T


def _all_states(live: Tensor, mdp: FiniteMDP) -> NDArray[np.float64]:
    """Rows of derivatives (K, L, A) of the non-terminal states as (SA, K)."""
    U = np.zeros((len(live), *mdp.admissible.shape))
    U[:, ~mdp.terminal] = live.cpu().numpy()
    return U.reshape(len(live), -1).T


class Bound:
    """A policy called with other parameters."""

    def __init__(self, policy: SoftmaxPolicy, parameters: dict[str, Tensor]) -> None:
        self._policy, self._parameters = policy, parameters

    def __call__(self, *args: Any) -> Tensor:
        out: Tensor = torch.func.functional_call(self._policy, self._parameters, args)
        return out
