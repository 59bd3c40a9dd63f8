"""audit: the exact gradient that an optimiser sees when it minimises a loss, beside the true one.

    expected = -E[grad loss]        exact = grad of the objective that the loss claims to climb

Both are exact: every batch is listed, with its probability. Where there are too many, `samples` draws them instead.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from agents.audits.batches import Batches, Order
from agents.audits.expectation import Expected, OneBatch, all_directions
from agents.audits.gradients import PROBES, Differentiated, Loss
from agents.audits.progress import watched
from agents.audits.result import Audit, described, described_policy
from agents.audits.sampling import Sampler, sampled
from agents.audits.trajectories import Listed, Table, listed
from agents.exact.objective import EPS, check_double, exact_gradient, flat_gradient, rounding
from agents.policies import SoftmaxPolicy
from mdp import FiniteMDP

Objective = Callable[[SoftmaxPolicy, FiniteMDP], Tensor]

MOST = 20_000_000  # batches that are worked through


def audit(
    loss: Loss,
    policy: SoftmaxPolicy,
    mdp: FiniteMDP,
    /,
    *,
    group_size: int = 1,
    groups: int = 1,
    objective: Objective | None = None,
    behaviour: SoftmaxPolicy | None = None,
    reference: SoftmaxPolicy | None = None,
    tolerance: float = 1e-6,
    samples: int | None = None,
    seed: int = 0,
    name: str = "",
) -> Audit:
    """The exact expectation of -grad loss over all batches, and what it is worth: exact, scaled or biased.

    loss        any callable: loss(batch) -> scalar tensor to minimise
    group_size  trajectories of a group, independent, from one start state drawn from mdp.start
    groups      independent groups of a batch
    objective   objective(policy, mdp) -> differentiable scalar whose gradient is the truth; default: exact_objective, J
    behaviour   the policy that samples; default: the policy itself
    reference   its log-probabilities are batch.reference_log_probs
    tolerance   of the verdict, relative to the true gradient; 1e-6 leaves room for losses that round to float32
    samples     draw that many batches (seed `seed`) in place of listing all of them; the verdict then has odds
    name        of the loss, for the report

    Batches are listed as multisets where the loss was seen not to depend on the order of its episodes or groups, else
    as tuples. Raises TypeError for a policy that is not float64; ValueError for a loss that gives no finite scalar,
    does not depend on the policy, or gives two values for one batch, for trajectories that cannot be listed, and for
    more than 20 million batches.
    """
    for p in (policy, *(x for x in (behaviour, reference) if x is not None)):
        check_double(p)
    if group_size < 1 or groups < 1:
        raise ValueError(f"group_size and groups must be at least 1, not {group_size} and {groups}")
    plays = policy if behaviour is None else behaviour
    exact = exact_gradient(policy, mdp) if objective is None else flat_gradient(policy, objective(policy, mdp))
    group = torch.arange(groups).repeat_interleave(group_size)
    of = partial(
        Audit, loss=name or described(loss), policy=described_policy(policy), mdp=repr(mdp), gamma=mdp.gamma,
        group_size=group_size, groups=groups, tolerance=tolerance, exact=exact.detach(),
    )  # fmt: skip
    if samples is not None:
        return sampled(of, exact.detach(), Sampler(loss, policy, mdp, plays, reference, group, samples, seed))
    every = listed(mdp, plays)
    table = Table(policy, every.episodes, reference=reference, group=group)
    rng = np.random.default_rng(seed)
    differentiated = Differentiated(loss, policy, table, _probes(every, group_size, groups, rng))
    batches = _batches(every, differentiated, group_size, groups, rng)
    expected = Expected(policy, table)
    with watched(f"auditing {name or described(loss)}", batches.count, "batches") as advance:
        for rows, weight in batches.chunks(differentiated.at_once):
            at, w = _tensors(rows, weight, table)
            expected.add(at, differentiated(at, w))
            advance(len(rows))
    return of(
        expected=expected.gradient().detach(),
        trajectories=len(every.episodes),
        batches=batches.count,
        ordered=not (batches.free.in_groups and batches.free.of_groups),
        vectorised=differentiated.vectorised,
        rounding=100 * EPS * expected.magnitude() + rounding(policy, mdp),
        trace=partial(_trace, policy, mdp, table, differentiated, batches),
    )


def _probes(every: Listed, group_size: int, groups: int, rng: np.random.Generator) -> Tensor:
    """Random batches, (32, N): every start state and trajectory equally often, so that rare ones are seen too."""
    starts = rng.integers(len(every.starts), size=(PROBES, groups))
    rows = [[rng.choice(every.starts[k][1], group_size) for k in batch] for batch in starts]
    return torch.as_tensor(np.array(rows).reshape(PROBES, -1))


def _batches(
    every: Listed, differentiated: Differentiated, group_size: int, groups: int, rng: np.random.Generator
) -> Batches:
    probes = _probes(every, group_size, groups, rng).to(differentiated.table.log_probs.device)
    batches = Batches(every, group_size, groups, differentiated.order(probes, group_size, rng))
    if max(batches.count, batches.kinds if groups > 1 else 0) > MOST:
        unordered = Batches(every, group_size, groups, Order(True, True)).count
        raise ValueError(
            f"{len(every.episodes):,} trajectories in batches of {groups} x {group_size} make {batches.count:,} batches"
            f" ({unordered:,} if their order did not count), more than {MOST:,}: take a smaller group_size, or "
            f"estimate the expectation from drawn batches (samples=, --samples)"
        )
    return batches


def _tensors(rows: np.ndarray, weight: np.ndarray, table: Table) -> tuple[Tensor, Tensor]:
    like = table.log_probs
    return torch.as_tensor(rows).to(like.device), torch.as_tensor(weight).to(like)


def _trace(
    policy: SoftmaxPolicy, mdp: FiniteMDP, table: Table, differentiated: Differentiated, batches: Batches
) -> float:
    """E|grad loss - E grad loss|^2 of one batch."""
    differentiated.check_variance()
    one = OneBatch(policy, mdp, table, all_directions(policy, mdp))
    mean, square = torch.zeros(one.J.shape[1]).to(one.J), 0.0
    with watched("its variance", batches.count, "batches") as advance:
        for rows, weight in batches.chunks(min(one.at_once, differentiated.at_once)):
            at, w = _tensors(rows, weight, table)
            g = one.gradients(at, differentiated(at))
            mean, square = mean + w @ g, square + float(w @ g.square().sum(1))
            advance(len(rows))
    return max(0.0, square - float(mean @ mean))
