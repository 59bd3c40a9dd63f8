"""The expectation of a loss's gradient from batches that are drawn: for problems whose trajectories cannot be listed.

The mean gradient is judged along the true one (is its scale 1?), and along directions orthogonal to it (does it point
there at all?): where the first quarter of the batches leaves it, judged by all others, and 8 random ones. Each in its
own standard errors, by a law with the sample's skewness and kurtosis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.audits.expectation import Expected, OneBatch, outside_vector
from agents.audits.gradients import PROBES, Differentiated, Loss
from agents.audits.progress import watched
from agents.audits.rarity import LARGEST, rare
from agents.audits.result import Audit, Sampled
from agents.audits.trajectories import Table
from agents.checks.errors import z_scores
from agents.exact.moments import all_directions, in_preferences
from agents.learning.rollout import rollout
from agents.policies import SoftmaxPolicy
from mdp import FiniteMDP
from mdp.gradient.cumulants import Shape, two_sided_tail

FALSE_ALARM = 1e-4  # of each verdict
DIRECTIONS = 8
FEWEST = 64  # batches
PILOT = 1 / 4  # of the batches: they show where the mean leaves the true gradient, the others judge whether it does
STEPS_AT_ONCE = 2**19
ROUNDING = 1e-13


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
        done, B = 0, min(PROBES, int(PILOT * self.samples))
        with watched(what, self.samples, "batches") as advance:
            while done < self.samples:
                B = min(B, self.samples - done)
                episodes = rollout(self.behaviour, self.mdp, B * N, group_size=group_size, generator=generator)
                table = Table(self.policy, episodes, reference=self.reference, group=self.group)
                rows = torch.arange(B * N, device=table.log_probs.device).reshape(B, N)
                if differentiated is None:
                    differentiated = Differentiated(self.loss, self.policy, table, rows, own_width=False)
                yield Draw(rows, table, differentiated.over(table))
                done += B
                advance(B)
                fits = STEPS_AT_ONCE // (N * max(episodes.rewards.shape[1], 1))
                B = max(PROBES, min(fits, int(PILOT * self.samples)))


def sampled(of: Callable[..., Audit], exact: Tensor, rounding: float, sampler: Sampler) -> Audit:
    """The audit `of` beside the true gradient `exact` (d,), with the mean over drawn batches as the expectation."""
    policy, mdp, samples = sampler.policy, sampler.mdp, sampler.samples
    if samples < FEWEST:
        raise ValueError(f"samples must be at least {FEWEST}, not {samples}")
    norm = float(exact.norm()) if float(exact.norm()) > rounding else 0.0
    total, along, done, vectorised = torch.zeros_like(exact), [], 0, False
    directions, J = exact[:, None], np.zeros((0, 0))
    for rows, table, differentiated in sampler.draws("auditing"):
        differentiated.check_variance()
        vectorised = differentiated.vectorised
        found = differentiated(rows)
        expected = Expected(policy, table)
        expected.add(rows, found)
        total += expected.gradient().detach()
        if J.size:
            beside = outside_vector(policy, found.outside).detach() / len(rows)
            along.append(-(OneBatch(policy, mdp, table, J).gradients(rows, found) + beside @ directions.to(beside)))
        done += len(rows)
        if not J.size and done >= PILOT * samples:
            directions = _directions(exact if norm else torch.zeros_like(exact), total / done, sampler.seed)
            J = in_preferences(policy, mdp, directions)
    differentiated.check_reached()
    n = sum(map(len, along)) * len(sampler.group)
    moved = torch.cat(along).cpu().numpy()
    judged = _judged(moved, norm, rare(sampler.behaviour, policy, mdp, J, n))
    return of(
        expected=total / samples, batches=samples, vectorised=vectorised, sample=judged,
        magnitude=float(np.abs(moved).max()), trace=partial(_trace, sampler, differentiated),
    )  # fmt: skip


def _directions(exact: Tensor, pilot: Tensor, seed: int) -> Tensor:
    """(d, K) of length 1: the true gradient's (if it has one); orthogonal to it the rest of the pilot's mean, and
    random ones."""
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(len(exact), DIRECTIONS, dtype=torch.float64, generator=generator)
    beside = torch.cat([pilot.double().cpu()[:, None], random], 1)
    g = exact.double().cpu()[:, None]
    if not g.norm():
        return _unit(beside)
    g, beside = _unit(g), _unit(beside)
    rest = beside - g @ (g.T @ beside)
    rest = torch.where(rest.norm(dim=0) > 1e-8, rest, 0.0)  # else it is rounding, and points anywhere
    return torch.cat([g, _unit(rest)], 1)


def _unit(columns: Tensor) -> Tensor:
    out: Tensor = columns / columns.norm(dim=0).clamp(min=1e-300)
    return out


def _judged(along: NDArray[np.float64], norm: float, rare: NDArray[np.bool_]) -> Sampled:
    """along (samples, K): the gradients of single batches along the directions, the true gradient's first if norm > 0.

    A direction that was never moved along, or so rarely (rare (K,), or by the sample) that no law could judge its mean,
    is left out.
    """
    n, size = len(along), float(np.abs(along).max(initial=norm))
    mean, error = along.mean(0), along.std(0, ddof=1) / np.sqrt(n)
    varies = error > ROUNDING * size
    off, variance = along - mean, np.where(varies, along.var(0), 1.0)
    skewness, kurtosis = (off**3).mean(0) / variance**1.5, (off**4).mean(0) / variance**2 - 3
    shape = Shape(*(np.where(varies, x, 0.0) for x in (skewness, kurtosis))).of_mean(n)
    seen = np.abs(along).max(0) > ROUNDING * size
    seen &= ~rare & (np.abs(shape.skewness) <= LARGEST) & (shape.kurtosis <= LARGEST)
    wanted = np.zeros(len(mean))
    wanted[0] = norm
    p = np.where(seen, two_sided_tail(z_scores(mean - wanted, error, size), shape), 1.0)
    first = 1 if norm else 0  # of the directions orthogonal to the true gradient
    p_direction = float(min(1.0, max(1, seen[first:].sum()) * p[first:].min(initial=1.0)))
    if not norm:
        return Sampled(float("nan"), p_direction, 1.0, FALSE_ALARM)
    return Sampled(float(error[0] / norm) if seen[0] else float("inf"), p_direction, float(p[0]), FALSE_ALARM)


def _trace(sampler: Sampler, audited: Differentiated) -> float:
    """The sample variance of one batch's gradient, all coordinates together; the same batches are drawn again."""
    audited.check_variance()
    J, n = all_directions(sampler.policy, sampler.mdp), sampler.samples
    total, square = torch.zeros(J.shape[1]).to(next(sampler.policy.parameters())), 0.0
    for rows, table, differentiated in sampler.draws("its variance"):
        g = OneBatch(sampler.policy, sampler.mdp, table, J).gradients(rows, differentiated(rows))
        total, square = total + g.sum(0), square + float(g.square().sum())
    return max(0.0, square - float(total @ total) / n) / (n - 1)
