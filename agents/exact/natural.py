"""The natural policy gradient of any torch policy, exact. Kakade (2001).

    F = sum over s of eta(s) sum over a of pi(a|s) psi psi^T,  psi = grad log pi(a|s)        natural = F^+ grad J

With J_h = d log pi / d theta (SA, d) it is the least-squares solution of sqrt(eta pi) J_h x = sqrt(eta pi) A, the
compatible approximation of the advantage A(s,a) = q(s,a) - v(s) (Sutton et al. 2000).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from agents.exact.moments import jacobian
from agents.exact.objective import check_double
from agents.policies import SoftmaxPolicy
from agents.policies.preferences import as_tensor
from mdp import FiniteMDP
from mdp.gradient.theorem import advantages
from mdp.prediction.chain import Chain, checked_policy
from mdp.prediction.evaluation import values, visits


def natural_gradient(policy: SoftmaxPolicy, mdp: FiniteMDP, /) -> Tensor:
    """F^+ grad J, (d,), parameters in the order of policy.parameters(); the least one where F is singular.

    On a table it is q(s,a) - v(s) in every state that is visited, up to a constant in each state. Dense in d. An action
    whose probability underflows to 0 is one that is never taken, and directions that weigh less than 1e-24 of the
    heaviest (in F) are left alone: 0. `mdp.natural_policy_gradient` has no such limit. Raises as `exact_gradient`.

    >>> from agents import SoftmaxPolicy, TabularPreferences, natural_gradient
    >>> from envs import bandit
    >>> m = bandit(means=(0, 1))
    >>> policy = SoftmaxPolicy(TabularPreferences(m)).double()
    >>> natural_gradient(policy, m)[:2].numpy().round(10).tolist()  # q - v; the other two are of the end
    [-0.5, 0.5]
    """
    check_double(policy)
    with torch.no_grad():
        pi = policy.matrix(mdp).cpu().numpy()
    chain = Chain(mdp, checked_policy(mdp, pi))
    root = np.sqrt(visits(chain)[:, None] * pi).reshape(-1, 1)
    J = jacobian(policy, mdp)
    x = np.linalg.lstsq(root * J, root[:, 0] * advantages(mdp, pi, values(chain).q).ravel(), rcond=1e-12)[0]
    return as_tensor(x, next(policy.parameters()))
