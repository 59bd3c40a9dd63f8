"""Updates that need no samples, on a FiniteMDP: gradient ascent, natural gradient ascent, and EM on J itself."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from agents.exact.natural import natural_gradient
from agents.exact.objective import check_double, exact_gradient, split
from agents.learning.steps import Metrics, plain_ascent
from agents.policies import SoftmaxPolicy, TabularPreferences
from agents.policies.preferences import as_tensor
from agents.policies.softmax import live_log_probabilities
from mdp import Episodes, FiniteMDP, evaluate, natural_policy_gradient, return_weighted_visits
from mdp.control.em import check_rewards

ITERATIONS = 200  # of one M-step, at most


class ExactAscent:
    """Gradient ascent on J itself: theta <- theta + alpha grad J(theta), grad J exact. Episodes are not read.

    natural: F^+ grad J in place of grad J (`natural_step`). Plain steps alpha on a table that tells all states apart
    multiply pi by exp(alpha (q - v)).

    >>> import torch
    >>> from agents import ExactAscent, SoftmaxPolicy, TabularPreferences, train
    >>> from envs import short_corridor
    >>> m = short_corridor()
    >>> agent = ExactAscent(SoftmaxPolicy(TabularPreferences(m)).double(), m)
    >>> history = train(agent, m, updates=10, episodes=1, generator=torch.Generator().manual_seed(0))
    >>> history.column("J")[[0, -1]].round(6).tolist()  # from p = 1/2 to the best, -(6 + 4 sqrt 2)
    [-12.0, -11.656854]
    """

    def __init__(
        self,
        policy: SoftmaxPolicy,
        mdp: FiniteMDP,
        *,
        optimizer: torch.optim.Optimizer | None = None,
        natural: bool = False,
    ) -> None:
        self.policy, self.mdp = policy, mdp
        self.optimizer = plain_ascent(policy) if optimizer is None else optimizer
        self.direction = natural_step if natural else exact_gradient

    def update(self, episodes: Episodes) -> Metrics:
        """One step; {"loss", "gradient_norm"}, the loss being -J."""
        del episodes
        g = self.direction(self.policy, self.mdp)
        for name, part in split(self.policy, -g).items():
            p = self.policy.get_parameter(name)
            p.grad = part if p.requires_grad else None
        with torch.no_grad():
            J = evaluate(self.mdp, self.policy.matrix(self.mdp).cpu().numpy()).objective
        self.optimizer.step()
        return {"loss": -J, "gradient_norm": float(g.norm())}


def natural_step(policy: SoftmaxPolicy, mdp: FiniteMDP) -> Tensor:
    """`natural_gradient`; on a table that tells all states apart q(s,a) - v(s) itself, by one sparse solve.

    That holds in every state, where F^+ grad J is 0 in those that the policy never visits: it is the natural gradient
    for any start that reaches them, and does not depend on the start (Agarwal et al. 2021).
    """
    table, live = policy.preferences, np.flatnonzero(~mdp.terminal)
    if not isinstance(table, TabularPreferences) or policy.top_k is not None or policy.top_p is not None:
        return natural_gradient(policy, mdp)
    row = table.row(as_tensor(mdp.observations[live], table.theta))
    if len(set(row.tolist())) < len(live):
        return natural_gradient(policy, mdp)
    check_double(policy)
    h = np.zeros(mdp.admissible.shape)
    h[live] = (table.theta.detach()[row] / policy.temperature).cpu().numpy()
    A = as_tensor(natural_policy_gradient(mdp, h)[live], table.theta)
    return policy.temperature * A.new_zeros(table.theta.shape).index_copy(0, row, A).reshape(-1)


class ExactEM:
    """Reward-weighted regression, exact: theta <- argmax of sum over s, a of w(s,a) log pi_theta(a|s) (`mdp.em_step`).

    The M-step runs over all prompts (states) at once, so that parameters may be shared: L-BFGS with line search, from
    where theta is. Any increase of the weighted log-likelihood makes J no smaller. Episodes are not read. Raises
    ValueError for a reward below 0 and a policy with top_k or top_p, TypeError for one that is not float64.

    >>> import torch
    >>> from agents import ExactEM, SoftmaxPolicy, TabularPreferences, rollout
    >>> from mdp import FiniteMDP
    >>> m = FiniteMDP.from_outcomes({("o", "a"): [(1, "end", 1)], ("o", "b"): [(1, "end", 3)]}, gamma=1)
    >>> policy = SoftmaxPolicy(TabularPreferences(m)).double()
    >>> metrics = ExactEM(policy, m).update(rollout(policy, m, 1, generator=torch.Generator().manual_seed(0)))
    >>> policy.matrix(m)[0].detach().numpy().round(6).tolist()  # in proportion to pi R
    [0.25, 0.75]
    """

    def __init__(self, policy: SoftmaxPolicy, mdp: FiniteMDP) -> None:
        check_double(policy)
        check_rewards(mdp)
        if policy.top_k is not None or policy.top_p is not None:
            raise ValueError("EM moves pi freely, and top_k or top_p cut actions off: the M-step has no gradient there")
        self.policy, self.mdp = policy, mdp

    def update(self, episodes: Episodes) -> Metrics:
        """One EM step; {"loss", "gradient_norm"} of the M-step at its end: near 0 where it reached the maximum."""
        del episodes
        with torch.no_grad():
            w = return_weighted_visits(self.mdp, self.policy.matrix(self.mdp).cpu().numpy())
        weight = as_tensor(w[~self.mdp.terminal] / max(w.sum(), 1e-300), next(self.policy.parameters()))

        def loss() -> Tensor:
            log_pi = live_log_probabilities(self.policy, self.mdp)
            return -(weight * torch.where(weight > 0, log_pi, 0.0)).sum()

        solver = torch.optim.LBFGS(
            self.policy.parameters(), max_iter=ITERATIONS, tolerance_grad=1e-12, tolerance_change=0.0,
            history_size=20, line_search_fn="strong_wolfe",
        )  # fmt: skip

        def closure() -> Tensor:
            solver.zero_grad()
            value = loss()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        before = [p.detach().clone() for p in self.policy.parameters()]
        solver.step(closure)  # type: ignore[no-untyped-call]
        value = closure()
        if not torch.isfinite(value):
            with torch.no_grad():
                for p, old in zip(self.policy.parameters(), before, strict=True):
                    p.copy_(old)
            raise ValueError("the M-step left the finite numbers; the policy is as it was before")
        norm = torch.stack([p.grad.norm() for p in self.policy.parameters() if p.grad is not None]).norm()
        return {"loss": float(value.detach()), "gradient_norm": float(norm)}
