"""grad J of a policy with a hundred million parameters, looked at along a few directions u: u . grad J.

The exact gradient comes by the theorem and by autograd; what is sampled is judged along it and along random directions,
by its exact standard error, from all trajectories:

    u . Z = sum over t of gamma^t G_t u . psi_t,        psi_t = grad log pi(A_t|S_t), by one forward-mode derivative
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.checks import routes
from agents.exact.moments import in_preferences
from agents.exact.objective import exact_gradient, flat_gradient
from agents.policies import SoftmaxPolicy
from agents.policies.preferences import as_tensor
from mdp import FiniteMDP, enumerate_trajectories, evaluate, occupancy

Floats = NDArray[np.float64]


class Exact(NamedTuple):
    """J; grad J (d,), by the theorem; how far autograd through J is from it, relative."""

    objective: float
    gradient: Tensor
    autograd: float


def exact_routes(policy: SoftmaxPolicy, mdp: FiniteMDP) -> Exact:
    """grad J by the theorem, beside autograd."""
    g = exact_gradient(policy, mdp)
    J = routes.dense_objective(policy, mdp)
    return Exact(float(J.detach()), g, float((flat_gradient(policy, J) - g).norm() / g.norm()))


def differences(policy: SoftmaxPolicy, mdp: FiniteMDP, gradient: Tensor) -> float:
    """How far finite differences along grad J are from |grad J|, relative. Raises ValueError at a kink of J."""
    norm = gradient.norm()
    slope, _ = routes.finite_differences(policy, mdp, (gradient / norm)[:, None])
    return abs(float(slope[0] / norm) - 1)


@dataclass(frozen=True)
class Directions:
    """u (d,) each, of length 1: along grad J first, then random ones; U (SA, K), the derivatives of log pi along them;
    truth (K,) = u . grad J."""

    u: tuple[Tensor, ...]
    U: Floats
    truth: Floats

    @classmethod
    def of(cls, policy: SoftmaxPolicy, mdp: FiniteMDP, gradient: Tensor, random: int, seed: int) -> Directions:
        """grad J and `random` directions, drawn with the seed."""
        generator = torch.Generator().manual_seed(seed)
        drawn = [torch.randn(len(gradient), generator=generator, dtype=gradient.dtype) for _ in range(random)]
        u = tuple(x / x.norm() for x in (gradient, *(x.to(gradient.device) for x in drawn)))
        U = np.concatenate([in_preferences(policy, mdp, x[:, None]) for x in u], axis=1)
        return cls(u, U, np.array([float(x @ gradient) for x in u]))

    def of_estimate(self, estimate: Tensor) -> Floats:
        """u . estimate, (K,)."""
        return np.array([float(x @ estimate) for x in self.u])


def reinforce_variance(mdp: FiniteMDP, pi: Floats, U: Floats) -> Floats:
    """Var[u . Z] of one episode, (K,), from all trajectories. Raises ValueError where there are infinitely many."""
    found = [(p, *_along(mdp, x.states, x.actions, x.rewards, U)) for p, x in enumerate_trajectories(mdp, pi)]
    p, z = np.array([x[0] for x in found]), np.array([x[1:] for x in found])
    return np.asarray(p @ (z - p @ z) ** 2)


def _along(
    mdp: FiniteMDP, states: tuple[int, ...], actions: tuple[int, ...], rewards: tuple[float, ...], U: Floats
) -> Floats:
    z, G = np.zeros(U.shape[1]), 0.0
    for t in reversed(range(len(rewards))):
        G = rewards[t] + mdp.gamma * G
        z += mdp.gamma**t * G * U[states[t] * mdp.n_actions + actions[t]]
    return z


def leave_one_out_variance(mdp: FiniteMDP, pi: Floats, U: Floats, group_size: int) -> Floats:
    """Var[u . estimate] of RLOO on one group of a one-step MDP, (K,).

    With r = R and x = u . psi the estimate is the sample covariance of r and x over G actions in one state. With
    m_jk = E[(r - E r)^j x^k | s] therefore
        Var[. | s] = m_22 / G - (G - 2) m_11^2 / (G (G - 1)) + m_20 m_02 / (G (G - 1)),
    and the state is drawn as well. Raises ValueError where an episode may take a second step.
    """
    if not mdp.terminal[mdp.table.next].all():
        raise ValueError("an episode may take more than one step: this variance is that of a single decision")
    G, r = group_size, np.where(mdp.admissible, mdp.expected_reward, 0.0)
    off = r - (pi * r).sum(1, keepdims=True)
    x = U.reshape(*pi.shape, -1)

    def m(j: int, k: int) -> Floats:
        return np.asarray(np.einsum("sa,sa,sak->sk", pi, off**j, x**k))

    within = m(2, 2) / G + (m(2, 0) * m(0, 2) - (G - 2) * m(1, 1) ** 2) / (G * (G - 1))
    between = m(1, 1) - mdp.start @ m(1, 1)
    return np.asarray(mdp.start @ (within + between**2))


def scored_by(scorer: SoftmaxPolicy, player: SoftmaxPolicy, mdp: FiniteMDP) -> Tensor:
    """(d,): the mean of sum over t of gamma^t G_t grad log scorer(A_t|S_t), over the episodes that `player` plays.

    grad J where scorer and player are one distribution; what is followed where the player cuts actions off (top-k) and
    the scorer does not know.
    """
    with torch.no_grad():
        pi = player.matrix(mdp).cpu().numpy()
    q = np.where(mdp.admissible, evaluate(mdp, pi).q, 0.0)
    weight = (occupancy(mdp, pi)[:, None] * pi * q)[~mdp.terminal]
    log_pi = scorer(mdp.observations[~mdp.terminal])
    played = as_tensor(weight, log_pi)
    return flat_gradient(scorer, (played * torch.where(played != 0, log_pi, 0.0)).sum())


def cosine(x: Tensor, y: Tensor) -> float:
    """x . y / (|x| |y|)."""
    return float(x @ y / (x.norm() * y.norm()))
