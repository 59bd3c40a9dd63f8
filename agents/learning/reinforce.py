"""REINFORCE, the agent: sample, score, step; and baselines that it may learn or be given."""

from __future__ import annotations

import math
from collections.abc import Callable
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from agents.learning.pieces import Pieces, checked
from agents.learning.processes import Alone
from agents.learning.steps import Metrics, outcome, plain_ascent
from agents.losses import Batch, ReinforceLoss, returns_to_go
from agents.losses.kl import log_ratio
from agents.policies import SoftmaxPolicy
from mdp import Episodes, FiniteMDP, evaluate


class Reinforce:
    """REINFORCE (S&B section 13.3): `update(episodes)` makes one step down `loss(batch)`.

    loss         any function of a `Batch` that gives a scalar, by default `ReinforceLoss()`; the very same function is
                 minimised that a check sees. A loss whose baseline is a `LearnedValues` teaches it after the step
    optimizer    over policy.parameters(), by default plain gradient ascent with step 0.1
    reference    a frozen policy, for losses with a KL
    pieces       the episodes go through the policy in so many parts; the gradient is the same (`learning.pieces`)
    processes    of `learning.processes`: each brings its own episodes, the gradient is that of them all

    >>> import torch
    >>> from agents import Reinforce, SoftmaxPolicy, TabularPreferences, exact_objective, rollout
    >>> from envs import bandit
    >>> m, generator = bandit(means=(-1, 1)), torch.Generator().manual_seed(0)
    >>> policy = SoftmaxPolicy(TabularPreferences(m)).double()
    >>> metrics = Reinforce(policy).update(rollout(policy, m, 1000, generator=generator))
    >>> metrics["mean_length"], exact_objective(policy, m).item() > 0  # J was 0
    (1.0, True)
    """

    def __init__(
        self,
        policy: SoftmaxPolicy,
        *,
        loss: Callable[[Batch], Tensor] | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        reference: SoftmaxPolicy | None = None,
        pieces: int = 1,
        processes: Alone | None = None,
    ) -> None:
        self.policy, self.loss, self.reference = policy, ReinforceLoss() if loss is None else loss, reference
        self.optimizer = plain_ascent(policy) if optimizer is None else optimizer
        self.processes = Alone() if processes is None else processes
        self._pieces = Pieces(policy, self.loss, reference=reference, pieces=pieces, processes=self.processes)

    def update(self, episodes: Episodes) -> Metrics:
        """One step; the loss, the gradient's norm, entropy, KL, and where the time went: see `History`.

        Raises ValueError where the loss is not a finite scalar, or its gradient not finite; nothing has changed then.
        """
        began = perf_counter()
        self.optimizer.zero_grad()
        if self._pieces.pieces == 1 and self.processes.world == 1:
            batch = Batch.of(self.policy, episodes, reference=self.reference)
            loss, scoring = checked(self.loss(batch)), perf_counter() - began
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            episodes, batch, loss, scoring = self._pieces.backward(episodes)
        differentiated = perf_counter()
        norm = gradient_norm(self.policy)
        if not math.isfinite(norm):
            raise ValueError(f"the gradient is not finite (its norm is {norm}): the parameters are as they were")
        self.optimizer.step()
        baseline = getattr(self.loss, "baseline", None)
        if isinstance(baseline, LearnedValues):
            baseline.learn(batch)
        times = {"scoring_s": scoring, "backward_s": differentiated - began - scoring}
        times["optimizer_s"] = perf_counter() - differentiated
        return {"loss": float(loss.detach()), "gradient_norm": norm} | outcome(episodes) | surprises(batch) | times


def gradient_norm(policy: torch.nn.Module) -> float:
    """The Euclidean norm of the whole gradient, of shards too."""
    norm = torch.nn.utils.get_total_norm([p.grad for p in policy.parameters() if p.grad is not None])
    return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)  # a DTensor: of shards


@torch.no_grad()
def surprises(batch: Batch) -> Metrics:
    """The means over all steps of -log pi and of log pi - log reference: entropy and KL, unbiased on policy."""
    steps = batch.mask.sum().clamp(min=1)
    found = {"entropy": float(-batch.log_probs.sum() / steps)}
    if batch.reference_log_probs is not None:
        found["kl"] = float(torch.where(batch.mask, log_ratio(batch), 0.0).sum() / steps)
    return found


class LearnedValues:
    """A baseline b(s) that follows the returns seen so far: b(s) <- b(s) + step (mean G_t in s - b(s)).

    The state-value weights of REINFORCE with baseline (S&B section 13.4), one for each state. A batch is judged by what
    was learned from earlier ones, so that b does not depend on its actions.

    >>> import numpy as np
    >>> from agents import Batch, LearnedValues, SoftmaxPolicy, TabularPreferences
    >>> from envs import random_walk
    >>> from mdp import simulate
    >>> b, m = LearnedValues(7, step=0.5), random_walk()
    >>> episodes = simulate(m, [[0, 1]] * 7, 10, rng=np.random.default_rng(0))  # C, D, E, and then 1
    >>> b.learn(Batch.of(SoftmaxPolicy(TabularPreferences(m)), episodes))
    >>> b.v.tolist()
    [0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.0]
    """

    def __init__(self, n_states: int, *, step: float = 0.1) -> None:
        self.v, self.step = np.zeros(n_states), step

    def __call__(self, batch: Batch) -> Tensor:
        v = torch.as_tensor(self.v, dtype=batch.rewards.dtype, device=batch.rewards.device)
        return v[batch.known_states()]

    def learn(self, batch: Batch) -> None:
        """Move every state that occurred towards the mean of its returns."""
        G = returns_to_go(batch.rewards, batch.gamma)[batch.mask].cpu().numpy()
        s = batch.known_states()[batch.mask].cpu().numpy()
        count = np.bincount(s, minlength=len(self.v))
        mean = np.bincount(s, weights=G, minlength=len(self.v)) / np.maximum(count, 1)
        self.v += np.where(count > 0, self.step * (mean - self.v), 0.0)


class ExactValues:
    """The baseline b(s) = v_pi(s) of the policy as it is now, exact.

    >>> from agents import ExactValues, ReinforceLoss, SoftmaxPolicy, TabularPreferences, audit
    >>> from envs import tokens
    >>> m = tokens(gamma=0.9)
    >>> policy = SoftmaxPolicy(TabularPreferences(m)).double()
    >>> plain, with_values = (audit(ReinforceLoss(b), policy, m) for b in (None, ExactValues(policy, m)))
    >>> with_values.verdict, with_values.covariance_trace < plain.covariance_trace
    ('exact', True)
    """

    def __init__(self, policy: SoftmaxPolicy, mdp: FiniteMDP) -> None:
        self.policy, self.mdp = policy, mdp

    def __call__(self, batch: Batch) -> Tensor:
        with torch.no_grad():
            v = evaluate(self.mdp, self.policy.matrix(self.mdp).cpu().numpy()).v
        return torch.as_tensor(v, dtype=batch.rewards.dtype, device=batch.rewards.device)[batch.known_states()]
