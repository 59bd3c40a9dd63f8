"""pgcheck: independent routes to grad J, held against one another.

Exact routes agree to 1e-8 relative. Where that comes from: a linear solve in float64 loses eps = 2.2e-16 times the
condition of I - gamma P_pi, about twice the longest (discounted) time to the end, so that 1e-8 leaves room for times of
10^6 and more; finite differences add a rounding of eps |J| / (h |grad J|), h = 1e-2, and a truncation of order h^6.

The sampled route is judged in standard errors, along the gradient, 8 random directions and every coordinate that is
visited often enough (see `errors`). The largest |z| decides, by Bonferroni, at a false-alarm probability of 1e-4.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.checks import errors, routes
from agents.checks.moments import dimension
from agents.checks.objective import check_double
from agents.checks.report import Report, Row
from agents.losses import Batch, ReinforceLoss
from agents.policies import SoftmaxPolicy
from mdp import FiniteMDP, evaluate

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

    A check whose standard error reaches |grad J| has no power and does not pass. Raises TypeError for a policy that is
    not float64, ValueError for fewer than 1 episode, an improper policy at gamma = 1, and what the loss raises.
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

    max_steps, path = routes.negligible_after(mdp), []
    for sample in routes.sampled(policy, mdp, loss, episodes, generator=generator, max_steps=max_steps):
        path.append(sample)
        if progress:
            progress(sample.episodes, episodes)
    estimate = path[-1].gradient

    judged = errors.judged_directions(policy, mdp, gradient, random.numpy(), episodes)
    standard_error = errors.standard_errors(policy, mdp, moments, judged, episodes)
    z = errors.z_scores((estimate - gradient) @ judged, standard_error, float(np.abs(gradient).max()))
    with torch.no_grad():
        J = evaluate(mdp, policy.matrix(mdp).cpu().numpy()).objective
    return Report(
        name=name or repr(mdp),
        mdp=repr(mdp),
        gamma=mdp.gamma,
        parameters=len(gradient),
        objective=J,
        gradient=gradient,
        rows=(*rows, sampled_row(loss, estimate, gradient, z)),
        estimate=estimate,
        standard_error=standard_error,
        judged=judged,
        z=z,
        p_value=errors.p_value(z),
        false_alarm=FALSE_ALARM,
        trace=errors.trace(policy, mdp, moments),
        path=tuple((s.episodes, float(np.linalg.norm(s.gradient - gradient))) for s in path),
        episodes=episodes,
        steps=path[-1].steps,
        seed=seed,
        max_steps=max_steps,
    )


def _random_directions(d: int, generator: torch.Generator) -> Tensor:
    """(d, 8): directions of length 1, uniform on the sphere."""
    u = torch.randn(d, RANDOM_DIRECTIONS, dtype=torch.float64, generator=generator)
    return u / u.norm(dim=0)


def exact_rows(
    policy: SoftmaxPolicy, mdp: FiniteMDP, gradient: NDArray[np.float64], directions: Tensor
) -> list[Row]:
    """The theorem, autograd, the complex step (where preferences are linear) and finite differences."""
    along = gradient @ directions.numpy()
    where = f"along {directions.shape[1]} random directions"
    rows = [Row("theorem", float(np.linalg.norm(gradient)), 0.0, TOLERANCE, True, "eta and q by sparse solves")]
    rows.append(_exact_row("autograd", routes.autograd(policy, mdp), gradient, "backward through the solve of J"))
    stepped = routes.complex_steps(policy, mdp, directions)
    if stepped is not None:
        rows.append(_exact_row("complex step", stepped, along, where))
    differences = routes.finite_differences(policy, mdp, directions)
    rows.append(_exact_row("finite differences", differences, along, f"six points, {where}"))
    return rows


def _exact_row(route: str, found: NDArray[np.float64], true: NDArray[np.float64], note: str) -> Row:
    off, scale = float(np.linalg.norm(found - true)), float(np.linalg.norm(true))
    error = off / scale if scale else (0.0 if off == 0 else math.inf)
    return Row(route, float(np.linalg.norm(found)), error, TOLERANCE, error <= TOLERANCE, note)


def sampled_row(
    loss: Callable[[Batch], Tensor], estimate: NDArray[np.float64], gradient: NDArray[np.float64],
    z: NDArray[np.float64],
) -> Row:  # fmt: skip
    """The estimate along grad J, judged by the largest |z|."""
    norm, largest = float(np.linalg.norm(gradient)), float(np.abs(z).max())
    what = "REINFORCE" if isinstance(loss, ReinforceLoss) else getattr(loss, "__name__", "loss")
    limit = errors.largest_z(len(z), FALSE_ALARM)
    value = float(estimate @ gradient / norm) if norm else 0.0
    return Row(f"sampled {what}", value, largest, limit, largest <= limit, f"largest |z| of {len(z)} directions")
