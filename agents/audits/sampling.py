"""The expectation of a loss's gradient from batches that are drawn: for problems whose trajectories cannot be listed.

The mean gradient is judged along the true one (is its scale 1?) and along 8 random directions orthogonal to it (does it
point there at all?), each in its own standard errors, by a law with the sample's skewness and kurtosis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from agents.audits.expectation import Expected, OneBatch, all_directions, outside_vector
from agents.audits.gradients import PROBES, Differentiated, Loss
from agents.audits.progress import watched
from agents.audits.result import Audit, Sampled
from agents.audits.trajectories import Table
from agents.exact.moments import in_preferences
from agents.learning.rollout import rollout
from agents.policies import SoftmaxPolicy
from mdp import FiniteMDP
from mdp.gradient.cumulants import Shape, two_sided_tail

FALSE_ALARM = 1e-4  # of each verdict
DIRECTIONS = 8
STEPS_AT_ONCE = 2**19


class Draw(NamedTuple):
    """Batches that were drawn: their rows (B, N) in a table, the loss over it."""

    rows: Tensor
    table: Table
    differentiated: Differentiated


class Sampler(NamedTuple):
    """Draws batches of a loss, the same ones every time."""

    loss: Loss
    policy: SoftmaxPolicy
    mdp: FiniteMDP
    behaviour: SoftmaxPolicy
    reference: SoftmaxPolicy | None
    group: Tensor
    samples: int
    seed: int

    def draws(self, what: str) -> Iterator[Draw]:
        """All batches, as many at a time as fit."""
        generator = torch.Generator().manual_seed(self.seed)
        group_size, N = int((self.group == 0).sum()), len(self.group)
        differentiated: Differentiated | None = None
        done, B = 0, PROBES
        with watched(what, self.samples, "batches") as advance:
            while done < self.samples:
                B = min(B, self.samples - done)
                episodes = rollout(self.behaviour, self.mdp, B * N, group_size=group_size, generator=generator)
                table = Table(self.policy, episodes, reference=self.reference, group=self.group)
                rows = torch.arange(B * N, device=table.log_probs.device).reshape(B, N)
                if differentiated is None:
                    differentiated = Differentiated(self.loss, self.policy, table, rows)
                yield Draw(rows, table, differentiated.over(table))
                done += B
                advance(B)
                B = max(PROBES, STEPS_AT_ONCE // (N * max(episodes.rewards.shape[1], 1)))


def sampled(of: Callable[..., Audit], exact: Tensor, sampler: Sampler) -> Audit:
    """The audit `of` beside the true gradient `exact` (d,), with the mean over drawn batches as the expectation."""
    policy, mdp = sampler.policy, sampler.mdp
    if sampler.samples < 2 * PROBES:
        raise ValueError(f"samples must be at least {2 * PROBES}, not {sampler.samples}")
    directions = _directions(exact, sampler.seed)
    J = in_preferences(policy, mdp, directions)
    total, along, vectorised = torch.zeros_like(exact), [], False
    for rows, table, differentiated in sampler.draws("auditing"):
        differentiated.check_variance()
        vectorised = differentiated.vectorised
        found = differentiated(rows)
        expected = Expected(policy, table)
        expected.add(rows, found)
        total += expected.gradient().detach()
        beside = outside_vector(policy, found.outside).detach() / len(rows)
        along.append(-(OneBatch(policy, mdp, table, J).gradients(rows, found) + beside @ directions.to(beside)))
    judged = _judged(torch.cat(along).cpu().numpy(), float(exact.norm()))
    mean = total / sampler.samples
    return of(
        expected=mean, batches=sampler.samples, vectorised=vectorised, sample=judged, trace=partial(_trace, sampler)
    )


def _directions(exact: Tensor, seed: int) -> Tensor:
    """(d, K): the true gradient's (if it has one), and random ones orthogonal to it, of length 1."""
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(len(exact), min(DIRECTIONS, max(1, len(exact) - 1)), dtype=torch.float64, generator=generator)
    g = exact.double().cpu()[:, None]
    if not g.norm():
        return _unit(random)
    g = _unit(g)
    random = random - g @ (g.T @ random)
    if len(exact) == 1:
        return g
    return torch.cat([g, _unit(random)], 1)


def _unit(columns: Tensor) -> Tensor:
    out: Tensor = columns / columns.norm(dim=0)
    return out


def _judged(along: NDArray[np.float64], norm: float) -> Sampled:
    """along (samples, K): the gradients of single batches along the directions."""
    n = len(along)
    mean, error = along.mean(0), along.std(0, ddof=1) / np.sqrt(n)
    certain = error <= 1e-14 * np.abs(along).max(initial=1e-300)
    measured = (stats.skew(along), stats.kurtosis(along))
    shape = Shape(*(np.where(certain, 0.0, np.nan_to_num(x)) for x in measured)).of_mean(n)
    wanted = np.zeros(len(mean))
    wanted[0] = norm
    z = np.where(certain, 0.0, (mean - wanted) / np.where(certain, 1.0, error))
    p = two_sided_tail(z, shape)
    if not norm:
        return Sampled(float("nan"), float(min(1.0, len(p) * p.min())), 1.0, FALSE_ALARM)
    p_direction = float(min(1.0, (len(p) - 1) * p[1:].min(initial=1.0))) if len(p) > 1 else 1.0
    return Sampled(float(error[0] / norm), p_direction, float(p[0]), FALSE_ALARM)


def _trace(sampler: Sampler) -> float:
    """The sample variance of one batch's gradient, all coordinates together; the same batches are drawn again."""
    J = all_directions(sampler.policy, sampler.mdp)
    parts = [
        OneBatch(sampler.policy, sampler.mdp, table, J).gradients(rows, differentiated(rows))
        for rows, table, differentiated in sampler.draws("its variance")
    ]
    return float(torch.cat(parts).var(0).sum())
