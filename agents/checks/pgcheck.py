"""pgcheck: independent routes to grad J, held against one another.

Exact routes agree to 1e-8 of |grad J|, plus what float64 must lose: each route sums terms eta(s) q(s,a) that may be
larger than the gradient, with a rounding of eps = 2.2e-16 each, and finite differences divide the rounding of J by
their step. The report prints the limit that follows; it is 1e-8 wherever rewards are not far larger than |grad J|.

The sampled route is judged in standard errors, along the gradient, 8 random directions and every coordinate, as far as
they are seen often enough (see `errors`). The least probable one decides, by Bonferroni, at a false-alarm probability
of 1e-4, computed from the exact first four moments of the estimate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.checks import errors, routes
from agents.checks.report import Report, Row
from agents.exact.moments import dimension
from agents.exact.objective import check_double, exact_objective, rounding
from agents.losses import Batch, ReinforceLoss
from agents.policies import SoftmaxPolicy
from mdp import FiniteMDP
from mdp.gradient.cumulants import two_sided_tail

TOLERANCE = 1e-8
FALSE_ALARM = 1e-4
RANDOM_DIRECTIONS = 8


def pgcheck(
    policy: SoftmaxPolicy,
    mdp: FiniteMDP,
    /,
    *,
    episodes: int = 10_000,
    seed: int = 0,
    loss: Callable[[Batch], Tensor] | None = None,
    name: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Check grad J of a policy on an MDP by the theorem, autograd, finite differences and sampled REINFORCE.

    episodes   of the sampled route, streamed
    loss       a mean over a batch's episodes; by default `ReinforceLoss()`. A ReinforceLoss is judged with its own
               exact covariance; any other loss with that of plain REINFORCE
    name       of the problem, for the report
    progress   called with (episodes done, episodes)

    A check that would not tell an estimator of 0 from the right one has no power and does not pass. Raises TypeError
    for a policy that is not float64, ValueError for fewer than 1 episode, an improper policy at gamma = 1, and what
    the loss raises.

    >>> from agents import ReinforceLoss, SoftmaxPolicy, TabularPreferences, pgcheck
    >>> from envs import short_corridor
    >>> m = short_corridor(gamma=0.9)
    >>> policy = SoftmaxPolicy(TabularPreferences(m)).double()
    >>> report = pgcheck(policy, m)  # print(report) shows every route
    >>> report.verdict, round(report.objective, 10), round(report.norm / 2**0.5, 10)
    ('pass', -6.1408152462, 0.4862286773)
    >>> pgcheck(policy, m, loss=ReinforceLoss(discounted=False)).verdict  # without gamma^t it is 1.0482
    'FAIL'
    """
    check_double(policy)
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, not {episodes}")
    loss = ReinforceLoss() if loss is None else loss
    generator = torch.Generator().manual_seed(seed)
    random = _random_directions(dimension(policy), generator)
    gradient = routes.theorem(policy, mdp)
    rows = exact_rows(policy, mdp, gradient, random)
    moments = errors.estimator_moments(policy, mdp, loss)
    judged = errors.judged_directions(policy, mdp, moments, gradient, random.numpy(), episodes)
    sample = check_sample(policy, mdp, loss, gradient, judged, episodes, generator, progress)
    return Report(
        name=name or f"{mdp.n_states} states, gamma {mdp.gamma:g}",
        mdp=repr(mdp),
        gamma=mdp.gamma,
        parameters=len(gradient),
        objective=float(exact_objective(policy, mdp).detach()),
        gradient=gradient,
        rows=(*rows, _sampled_row(loss, gradient, sample)),
        estimate=sample.path[-1].gradient,
        judged=judged.directions,
        standard_error=judged.standard_error,
        z=sample.z,
        skewness=judged.shape.skewness,
        kurtosis=judged.shape.kurtosis,
        p_value=sample.p_value,
        false_alarm=FALSE_ALARM,
        trace=errors.trace(policy, mdp, moments),
        path=tuple((s.episodes, float(np.linalg.norm(s.gradient - gradient))) for s in sample.path),
        episodes=episodes,
        steps=sample.path[-1].steps,
        seed=seed,
    )


def _random_directions(d: int, generator: torch.Generator) -> Tensor:
    """(d, 8): directions of length 1, uniform on the sphere."""
    u = torch.randn(d, RANDOM_DIRECTIONS, dtype=torch.float64, generator=generator)
    unit: Tensor = u / u.norm(dim=0)
    return unit


def exact_rows(
    policy: SoftmaxPolicy, mdp: FiniteMDP, gradient: NDArray[np.float64], directions: Tensor
) -> list[Row]:
    """The theorem, autograd, the complex step (where preferences are linear) and finite differences."""
    along, K = gradient @ directions.numpy(), directions.shape[1]
    where, lost = f"along {K} random directions", rounding(policy, mdp)
    rows = [Row("theorem", float(np.linalg.norm(gradient)), 0.0, TOLERANCE, True, "eta and q by sparse solves")]
    autograd = routes.autograd(policy, mdp)
    rows.append(_exact_row("autograd", autograd, gradient, lost, "backward through the solve of J"))
    stepped = routes.complex_steps(policy, mdp, directions)
    if stepped is not None:
        rows.append(_exact_row("complex step", stepped, along, lost * math.sqrt(K), where))
    differences, steps = routes.finite_differences(policy, mdp, directions)
    lost *= math.sqrt(K) * (1 + 1 / float(steps.min()))
    rows.append(_exact_row("finite differences", differences, along, lost, f"six points, {where}"))
    return rows


def _exact_row(
    route: str, found: NDArray[np.float64], true: NDArray[np.float64], lost: float, note: str
) -> Row:
    """Relative to |true|, where it is above rounding; else absolute."""
    off, scale = float(np.linalg.norm(found - true)), float(np.linalg.norm(true))
    scale = scale if scale > lost else 1.0
    error, limit = off / scale, TOLERANCE + lost / scale
    return Row(route, float(np.linalg.norm(found)), error, limit, error <= limit, note)


# ---- the sampled route ----


class CheckedSample(NamedTuple):
    """The estimates as the sample grew, z (K,) of the last one, and the least probability of one of them."""

    path: list[routes.Sample]
    z: NDArray[np.float64]
    least: float

    @property
    def p_value(self) -> float:
        """The probability that the least of K is as small (Bonferroni); 1 where nothing could be judged."""
        return min(1.0, len(self.z) * self.least) if len(self.z) else 1.0


def check_sample(
    policy: SoftmaxPolicy,
    mdp: FiniteMDP,
    loss: Callable[[Batch], Tensor],
    gradient: NDArray[np.float64],
    judged: errors.Judged,
    episodes: int,
    generator: torch.Generator,
    progress: Callable[[int, int], None] | None = None,
) -> CheckedSample:
    """Sample, and judge (estimate - grad J) along the directions of `judged`."""
    path = []
    for sample in routes.sampled(policy, mdp, loss, episodes, generator=generator):
        path.append(sample)
        if progress:
            progress(sample.episodes, episodes)
    off = (path[-1].gradient - gradient) @ judged.directions
    z = errors.z_scores(off, judged.standard_error, float(np.abs(gradient).max()))
    return CheckedSample(path, z, float(two_sided_tail(z, judged.shape).min(initial=1.0)))


def _sampled_row(loss: Callable[[Batch], Tensor], gradient: NDArray[np.float64], sample: CheckedSample) -> Row:
    """The estimate along grad J. Its error is the normal |z| that is as improbable as the least probable one found."""
    norm, directions = float(np.linalg.norm(gradient)), len(sample.z)
    what = "REINFORCE" if isinstance(loss, ReinforceLoss) else getattr(loss, "__name__", "loss")
    value = float(sample.path[-1].gradient @ gradient / norm) if norm else 0.0
    found, limit = errors.largest_z(1, max(sample.least, 1e-300)), errors.largest_z(max(directions, 1), FALSE_ALARM)
    passed, note = sample.p_value >= FALSE_ALARM, f"largest |z| of {directions} directions"
    return Row(f"sampled {what}", value, found, limit, passed, note)
