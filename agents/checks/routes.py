"""Independent routes to grad J, held against one another by `pgcheck`.

    theorem              eta and q from sparse solves: sum over s of eta(s) sum over a of grad pi(a|s) q(s,a)
    autograd             backward through torch's dense solve of J itself; no eta, no q, and no solver of `mdp`
    complex step         Im J(theta + i x u) / x; linear preferences alone (a table is linear)
    finite differences   six points along u; no derivative of anything
    sampled              the mean of -grad loss over episodes that the policy plays

The first and second give a vector (d,), the third and fourth u . grad J for each column u of directions (d, K).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.exact.moments import Bound, in_preferences
from agents.exact.objective import exact_gradient, flat_gradient, split
from agents.learning.rollout import rollout
from agents.losses import Batch, ReinforceLoss
from agents.policies import LinearPreferences, SoftmaxPolicy, TabularPreferences
from agents.policies.preferences import as_tensor
from agents.policies.softmax import live_log_probabilities
from mdp import Episodes, FiniteMDP, complex_step, evaluate

STEP = 1e-2  # of finite differences: truncation h^6 and rounding eps/h are both near 1e-13 there
SIX_POINTS = {1: 45 / 60, 2: -9 / 60, 3: 1 / 60}  # f'(0) = sum of c_k (f(kh) - f(-kh)) / h + O(h^6)
STEPS_AT_ONCE = 2_000_000  # steps (episodes x longest) that are in memory at a time
FEWEST_AT_ONCE = 128  # episodes; batches grow by a third of what was played, so that a log-log plot shows the way


def theorem(policy: SoftmaxPolicy, mdp: FiniteMDP) -> NDArray[np.float64]:
    """grad J (d,) by the policy gradient theorem."""
    return exact_gradient(policy, mdp).cpu().numpy()


def autograd(policy: SoftmaxPolicy, mdp: FiniteMDP) -> NDArray[np.float64]:
    """grad J (d,) by reverse-mode differentiation through the linear solve of J."""
    return flat_gradient(policy, dense_objective(policy, mdp)).cpu().numpy()


def dense_objective(policy: SoftmaxPolicy, mdp: FiniteMDP) -> Tensor:
    """J(theta), a 0-dim tensor, by a dense solve (S, S) that torch differentiates: shares nothing with the theorem.

    For a policy that `theorem` did not refuse.
    """
    pi, t, S = policy.matrix(mdp), mdp.table, mdp.n_states
    s, a, cell, p, r, start = (
        as_tensor(x, pi) for x in (t.state, t.action, t.state * S + t.next, t.p, mdp.expected_reward, mdp.start)
    )
    P = pi.new_zeros(S * S).index_add(0, cell, pi[s, a] * p).reshape(S, S)
    v = torch.linalg.solve(torch.eye(S, dtype=pi.dtype, device=pi.device) - mdp.gamma * P, (pi * r).sum(1))
    J: Tensor = start @ v
    return J


def complex_steps(policy: SoftmaxPolicy, mdp: FiniteMDP, directions: Tensor) -> NDArray[np.float64] | None:
    """u . grad J (K,) for each direction; None where preferences are not linear in theta, or actions are cut off."""
    h = policy.preferences
    if not isinstance(h, (TabularPreferences, LinearPreferences)) or policy.top_k or policy.top_p:
        return None

    def preferences(theta: Tensor) -> NDArray[np.float64]:
        full = np.zeros(mdp.admissible.shape)
        live = torch.as_tensor(mdp.observations[~mdp.terminal], device=theta.device)
        with torch.no_grad():
            full[~mdp.terminal] = (torch.func.functional_call(h, split(h, theta), live) / policy.temperature).cpu()
        return full

    at = vector(policy)
    h_at = preferences(at)
    return np.array([complex_step(mdp, h_at, preferences(u)) for u in directions.T.to(at)])


def finite_differences(
    policy: SoftmaxPolicy, mdp: FiniteMDP, directions: Tensor
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(u . grad J (K,), step h (K,)) for each direction, by the six-point rule.

    h is 1e-2, or as much less as log pi moves faster than 1 along u. The rule needs one support along its six points:
    where top-k or top-p drops another action, the step is halved, and below 1e-3 of it ValueError says that J has a
    kink at theta.
    """
    speed = np.abs(in_preferences(policy, mdp, directions)).max(axis=0)
    steps = STEP / np.maximum(1.0, speed)
    found = [_six_points(policy, mdp, u, h) for u, h in zip(directions.T.to(vector(policy)), steps, strict=True)]
    return np.array([slope for slope, _ in found]), np.array([h for _, h in found])


def _six_points(policy: SoftmaxPolicy, mdp: FiniteMDP, u: Tensor, h: float) -> tuple[float, float]:
    theta, smallest = vector(policy), 1e-3 * h
    support = _matrix(policy, mdp, theta) > 0
    while True:
        pis = {k: _matrix(policy, mdp, theta + k * h * u) for k in (-3, -2, -1, 1, 2, 3)}
        if all(((pi > 0) == support).all() for pi in pis.values()):
            break
        h /= 2
        if h < smallest:
            raise ValueError("top-k or top-p changes its actions right at theta: J has a kink there, and no gradient")
    J = {k: evaluate(mdp, pi).objective for k, pi in pis.items()}
    return sum(c * (J[k] - J[-k]) for k, c in SIX_POINTS.items()) / h, h


def _matrix(policy: SoftmaxPolicy, mdp: FiniteMDP, theta: Tensor) -> NDArray[np.float64]:
    pi = np.zeros(mdp.admissible.shape)
    with torch.no_grad():
        pi[~mdp.terminal] = live_log_probabilities(Bound(policy, split(policy, theta)), mdp).exp().cpu().numpy()
    return pi


def vector(policy: torch.nn.Module) -> Tensor:
    """theta (d,), in the order of policy.parameters()."""
    return torch.cat([p.detach().reshape(-1) for p in policy.parameters()])


# ---- sampled ----


class Sample(NamedTuple):
    """The mean estimate after `episodes` episodes, (d,), and the steps that were played."""

    episodes: int
    gradient: NDArray[np.float64]
    steps: int


def sampled(
    policy: SoftmaxPolicy,
    mdp: FiniteMDP,
    loss: Callable[[Batch], Tensor],
    episodes: int,
    *,
    generator: torch.Generator,
) -> Iterator[Sample]:
    """-grad loss, averaged over episodes that are streamed: played, scored, forgotten. One `Sample` a batch.

    The loss must be a mean over the episodes of its batch, as `ReinforceLoss` is. Episodes are cut off where a
    ReinforceLoss forgets them, else where `rollout` ends them.
    """
    max_steps = loss.forgets_after(mdp.gamma) if isinstance(loss, ReinforceLoss) else None
    done, steps, total, most = 0, 0, np.zeros(len(vector(policy))), FEWEST_AT_ONCE
    while done < episodes:
        n = min(max(done // 3, FEWEST_AT_ONCE), most, episodes - done)
        played = rollout(policy, mdp, n, generator=generator, max_steps=max_steps)
        total += n * gradient_of(policy, loss, played)
        done, steps = done + n, steps + int(played.lengths.sum())
        most = max(FEWEST_AT_ONCE, STEPS_AT_ONCE // max(played.rewards.shape[1], 1))
        yield Sample(done, total / done, steps)


def gradient_of(
    policy: SoftmaxPolicy, loss: Callable[[Batch], Tensor], episodes: Episodes
) -> NDArray[np.float64]:
    """-grad loss (d,) on some episodes: the estimate of grad J."""
    return -flat_gradient(policy, loss(Batch.of(policy, episodes))).cpu().numpy()
