"""J(theta) and its gradient, exact, for any torch policy.

    J = start . v,        (I - gamma P_pi) v = r_pi            `exact_objective`: autograd, through the sparse solve
    grad J = sum over s of eta(s) sum over a of grad pi(a|s) q_pi(s,a)     `exact_gradient`: the theorem (S&B 13.5)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from agents.exact.adjoint import state_values
from agents.policies.preferences import as_tensor
from agents.policies.softmax import SoftmaxPolicy, live_log_probabilities
from mdp import FiniteMDP
from mdp.gradient.theorem import advantages
from mdp.prediction.chain import Chain, checked_policy
from mdp.prediction.evaluation import values, visits

EPS = float(np.finfo(np.float64).eps)


def check_double(policy: nn.Module) -> None:
    """Raises TypeError where a parameter is not float64."""
    for name, p in policy.named_parameters():
        if p.dtype != torch.float64:
            raise TypeError(f"exact means float64, but the parameter {name} is {p.dtype}: call policy.double() first")


def exact_objective(policy: SoftmaxPolicy, mdp: FiniteMDP, /) -> Tensor:
    """J(theta), a 0-dim tensor, differentiable any number of times: a sparse solve of (I - gamma P_pi) v = r_pi.

    Backwards it is one solve with the transpose, from which autograd makes dJ/dpi(s,a) = eta(s) q(s,a): the policy
    gradient theorem is the adjoint method (see adjoint.py).
    Raises TypeError for a policy that is not float64, ValueError at gamma = 1 where the policy is not proper.

    >>> from agents import SoftmaxPolicy, TabularPreferences, exact_objective
    >>> from envs import short_corridor
    >>> policy = SoftmaxPolicy(TabularPreferences(short_corridor())).double()
    >>> J = exact_objective(policy, short_corridor())
    >>> J.backward()  # autograd goes through the solve
    >>> round(J.item(), 10), policy.preferences.theta.grad.numpy().round(10).tolist()
    (-12.0, [[-2.0, 2.0]])
    """
    return regularised_objective(policy, mdp)


def regularised_objective(
    policy: SoftmaxPolicy,
    mdp: FiniteMDP,
    /,
    *,
    kl: float = 0.0,
    reference: SoftmaxPolicy | None = None,
    entropy: float = 0.0,
) -> Tensor:
    """J(theta) with r_pi(s) - kl KL(pi(.|s) || reference(.|s)) + entropy H(pi(.|s)) in place of r_pi(s).

    Both are discounted like rewards. A 0-dim tensor, differentiable. Raises as `exact_objective`, and ValueError for kl
    without a reference.

    >>> from agents import SoftmaxPolicy, TabularPreferences, regularised_objective
    >>> from envs import bandit
    >>> m = bandit(means=(0, 1))
    >>> policy = SoftmaxPolicy(TabularPreferences(m)).double()
    >>> round(regularised_objective(policy, m, entropy=1).item(), 10)  # 1/2 + log 2
    1.1931471806
    """
    check_double(policy)
    log_pi = live_log_probabilities(policy, mdp)
    if torch.isnan(log_pi).any():
        raise ValueError("the policy gives nan: its preferences are not finite")
    pi, finite = log_pi.exp(), log_pi.masked_fill(log_pi == -torch.inf, 0.0)
    live = np.flatnonzero(~mdp.terminal)
    r = (pi * as_tensor(mdp.expected_reward[live], log_pi)).sum(1)
    if entropy:
        r = r - entropy * (pi * finite).sum(1)
    if kl:
        r = r - kl * (pi * (finite - _log_reference(reference, mdp, log_pi))).sum(1)
    S, A = mdp.admissible.shape
    row = as_tensor(live, log_pi)
    v = state_values(mdp, pi.new_zeros(S, A).index_copy(0, row, pi), r.new_zeros(S).index_copy(0, row, r))
    J: Tensor = as_tensor(mdp.start, r) @ v
    return J


def likelihood(policy: SoftmaxPolicy, mdp: FiniteMDP, /, *, demonstrator: SoftmaxPolicy) -> Tensor:
    """E[sum over t of log pi(A_t|S_t)] of the demonstrator's episodes: what maximum likelihood (SFT) maximises.

    A 0-dim tensor, differentiable by the policy. Raises TypeError for a policy that is not float64, ValueError for a
    demonstrator that is not proper, and where it does what the policy never would.

    >>> from agents import SoftmaxPolicy, TabularPreferences, likelihood
    >>> from envs import short_corridor
    >>> m = short_corridor()
    >>> policy = SoftmaxPolicy(TabularPreferences(m)).double()
    >>> round(likelihood(policy, m, demonstrator=policy).item(), 10)  # 12 steps, log 1/2 each
    -8.3177661667
    """
    check_double(policy)
    check_double(demonstrator)
    with torch.no_grad():
        played = demonstrator.matrix(mdp).cpu().numpy()
    eta = visits(Chain(mdp, checked_policy(mdp, played), 1.0))
    log_pi = live_log_probabilities(policy, mdp)
    weight = as_tensor((eta[:, None] * played)[~mdp.terminal], log_pi)
    total: Tensor = (weight * torch.where(weight > 0, log_pi, 0.0)).sum()
    if not torch.isfinite(total):
        raise ValueError("the demonstrator takes an action that the policy never does: its likelihood is 0")
    return total


def _log_reference(reference: SoftmaxPolicy | None, mdp: FiniteMDP, log_pi: Tensor) -> Tensor:
    """log reference(a|s), (L, A), a constant; 0 where the policy itself never goes."""
    if reference is None:
        raise ValueError("kl needs a reference policy")
    check_double(reference)
    with torch.no_grad():
        log_reference = live_log_probabilities(reference, mdp).masked_fill(log_pi == -torch.inf, 0.0)
    if torch.isinf(log_reference).any():
        s, a = (int(x[0]) for x in torch.isinf(log_reference).nonzero(as_tuple=True))
        state = mdp.states[int(np.flatnonzero(~mdp.terminal)[s])]
        raise ValueError(f"KL is infinite: the reference never takes {mdp.actions[a]!r} in {state!r}, the policy does")
    return log_reference


def exact_gradient(policy: SoftmaxPolicy, mdp: FiniteMDP, /) -> Tensor:
    """grad J, (d,), parameters in the order of policy.parameters(), by the policy gradient theorem.

    eta and q come from sparse solves; the policy is differentiated once: the gradient of
    sum over s, a of eta(s) (q(s,a) - v(s)) pi(a|s), eta, q and v held constant. Since sum over a of grad pi(a|s) is 0,
    v may be subtracted. Raises as `exact_objective`.

    >>> from agents import SoftmaxPolicy, TabularPreferences, exact_gradient
    >>> from envs import short_corridor
    >>> m = short_corridor(gamma=0.9)
    >>> policy = SoftmaxPolicy(TabularPreferences(m)).double()
    >>> exact_gradient(policy, m).numpy().round(10).tolist()  # left, right
    [-0.4862286773, 0.4862286773]
    """
    check_double(policy)
    pi = policy.matrix(mdp)
    chain = Chain(mdp, checked_policy(mdp, pi.detach().cpu().numpy()))
    weight = visits(chain)[:, None] * advantages(mdp, chain.policy, values(chain).q)
    return flat_gradient(policy, (as_tensor(weight, pi) * pi).sum())


def rounding(policy: SoftmaxPolicy, mdp: FiniteMDP) -> float:
    """100 eps times the sum of eta(s) max |q(s,a)|: what a gradient may lose in sums that are larger than it is."""
    with torch.no_grad():
        pi = policy.matrix(mdp).cpu().numpy()
    chain = Chain(mdp, checked_policy(mdp, pi))
    _, q, J = values(chain)
    largest = np.abs(np.where(np.isfinite(q), q, 0.0)).max(axis=1)
    return 100 * EPS * (float(visits(chain) @ largest) + abs(J))


def flat_gradient(policy: nn.Module, scalar: Tensor, *, retain_graph: bool = False) -> Tensor:
    """The gradient of a scalar, (d,), parameters in the order of policy.parameters(); 0 where it does not depend."""
    free = [p for p in policy.parameters() if p.requires_grad]
    if not free:
        return torch.cat([torch.zeros_like(p).reshape(-1) for p in policy.parameters()])
    grads = torch.autograd.grad(scalar, free, retain_graph=retain_graph, allow_unused=True)
    found = dict(zip(free, grads, strict=True))
    parts = ((p, found.get(p)) for p in policy.parameters())
    return torch.cat([(torch.zeros_like(p) if g is None else g).reshape(-1) for p, g in parts])


def split(policy: nn.Module, theta: Tensor) -> dict[str, Tensor]:
    """A vector (d,) as {name: tensor of the parameter's shape}, in the order of policy.parameters()."""
    named: list[tuple[str, Any]] = list(policy.named_parameters())
    parts = torch.split(theta, [p.numel() for _, p in named])
    return {name: part.reshape(p.shape) for (name, p), part in zip(named, parts, strict=True)}
