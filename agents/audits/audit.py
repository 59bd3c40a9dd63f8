"""audit: the exact gradient that an optimiser sees when it minimises a loss, beside the true one.

    expected = -E[grad loss]        exact = grad of the objective that the loss claims to climb

Both are exact: every batch is listed, with its probability. Where there are too many, `samples` draws them instead.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import index

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.audits.batches import Batches, Order
from agents.audits.expectation import Expected, OneBatch
from agents.audits.gradients import LOOPED, PROBES, Differentiated, Loss
from agents.audits.progress import watched
from agents.audits.result import Audit, described, described_policy
from agents.audits.sampling import Sampler, sampled
from agents.audits.trajectories import Listed, Table, listed
from agents.exact.moments import all_directions
from agents.exact.objective import EPS, check_double, exact_gradient, flat_gradient, rounding
from agents.policies import SoftmaxPolicy
from mdp import FiniteMDP, discounted_return

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
    """The exact expectation of -grad loss over all batches, and what it is worth: exact, scaled, biased, "no power".

    loss        any callable: loss(batch) -> scalar tensor to minimise
    group_size  trajectories of a group, independent, from one start state drawn from mdp.start
    groups      independent groups of a batch
    objective   objective(policy, mdp) -> differentiable scalar whose gradient is the truth; default: exact_objective, J
    behaviour   the policy that samples; default: the policy itself
    reference   its log-probabilities are batch.reference_log_probs
    tolerance   of the verdict, relative to the true gradient; 1e-6 leaves room for losses that round to float32
    samples     draw that many batches in place of listing all of them; the verdict then has odds
    seed        of what is drawn, and of the random batches on which a loss is looked at
    name        of the loss, for the report

    A batch is padded to its own longest episode. Batches are listed as multisets where the loss was seen not to depend
    on the order of its episodes or groups (on random batches, on ties, and on the likeliest ones), else as tuples.

    Raises TypeError for a policy that is not float64; ValueError for a loss that gives no finite scalar,
    does not depend on the policy, or gives two values for one batch, for trajectories that cannot be listed, and for
    more than 20 million batches.

    >>> from agents import SoftmaxPolicy, TabularPreferences, audit
    >>> from agents.losses import named
    >>> from envs import tokens
    >>> m = tokens(gamma=0.9)
    >>> policy = SoftmaxPolicy(TabularPreferences(m)).double()
    >>> audit(named.rloo(), policy, m, group_size=2).verdict
    'exact'
    >>> found = audit(named.grpo(), policy, m, group_size=2)
    >>> found.verdict, round(found.cosine, 4), round(found.scale, 4)
    ('biased', 0.9091, 0.5738)
    """
    group_size, groups = _checked_shape(group_size, groups)
    if not 0 < tolerance < 1:
        raise ValueError(f"the tolerance must lie between 0 and 1, not {tolerance}")
    plays = policy if behaviour is None else behaviour
    for p in (policy, plays, policy if reference is None else reference):
        check_double(p)
    _check_deterministic(plays, mdp)
    exact, lost = _truth(policy, mdp, objective), rounding(policy, mdp)
    group = torch.arange(groups).repeat_interleave(group_size)
    of = partial(
        Audit, loss=name or described(loss), policy=described_policy(policy), mdp=repr(mdp), gamma=mdp.gamma,
        group_size=group_size, groups=groups, tolerance=tolerance, exact=exact,
    )  # fmt: skip
    if samples is not None:
        sampler = Sampler(loss, policy, mdp, plays, reference, group, index(samples), seed)
        return sampled(partial(of, rounding=lost), exact, lost, sampler)
    every = listed(mdp, plays)
    table = Table(policy, every.episodes, reference=reference, group=group)
    return _over_all(of, loss, policy, mdp, every, table, lost, np.random.default_rng(seed))


def _over_all(
    of: partial[Audit], loss: Loss, policy: SoftmaxPolicy, mdp: FiniteMDP, every: Listed, table: Table,
    lost: float, rng: np.random.Generator,
) -> Audit:  # fmt: skip
    """The audit `of`, with every batch gone through. lost: what the true gradient may have lost to rounding."""
    group_size = int((table.group == 0).sum())
    groups = len(table.group) // group_size
    probes = _probes(every, group_size, groups, rng).to(table.log_probs.device)
    differentiated = Differentiated(loss, policy, table, probes)
    free = differentiated.order(probes, group_size, Order(True, True), rng)
    expected: Expected | None = None
    while expected is None:
        batches = _batches(every, group_size, groups, free)
        expected, free = _collected(policy, differentiated, batches, f"auditing {of.keywords['loss']}", rng)
    differentiated.check_reached()
    magnitude = expected.magnitude()
    return of(
        expected=expected.gradient().detach(),
        trajectories=len(every.episodes),
        batches=batches.count,
        ordered=not (free.in_groups and free.of_groups),
        vectorised=differentiated.vectorised,
        rounding=100 * EPS * magnitude + lost,
        magnitude=magnitude,
        trace=partial(_trace, policy, mdp, differentiated, batches),
    )


def _checked_shape(group_size: int, groups: int) -> tuple[int, int]:
    if index(group_size) < 1 or index(groups) < 1:
        raise ValueError(f"group_size and groups must be at least 1, not {group_size} and {groups}")
    return index(group_size), index(groups)


def _truth(policy: SoftmaxPolicy, mdp: FiniteMDP, objective: Objective | None) -> Tensor:
    """The gradient of the objective, (d,). Raises TypeError or ValueError for one that is no finite scalar."""
    if objective is None:
        return exact_gradient(policy, mdp).detach()
    value = objective(policy, mdp)
    if not isinstance(value, Tensor) or value.ndim or not value.requires_grad:
        raise TypeError(f"the objective must give a differentiable 0-dim tensor, not {value!r}")
    gradient = flat_gradient(policy, value).detach()
    if not (value.isfinite() and gradient.isfinite().all()):
        raise ValueError(f"the objective is {float(value.detach())}, or its gradient is not finite")
    return gradient


def _check_deterministic(policy: SoftmaxPolicy, mdp: FiniteMDP) -> None:
    with torch.no_grad():
        pi = policy.matrix(mdp)
        if pi.isnan().any():
            raise ValueError("the policy gives nan: its preferences are not finite")
        if not torch.equal(pi, policy.matrix(mdp)):
            raise ValueError("the policy gives two answers for one state (dropout?): call policy.eval() first")


def _probes(every: Listed, group_size: int, groups: int, rng: np.random.Generator) -> Tensor:
    """Random batches (64, N) on which a loss is looked at.

    A third has every start state and trajectory equally often, a third as often as they are played, and in a third the
    episodes of a group have equal returns where there are any, so that ties are seen.
    """
    G = discounted_return(every.episodes.rewards, every.episodes.gamma)
    start = np.array([p for p, _ in every.starts])

    def group(kind: int) -> NDArray[np.int64]:
        _, rows = every.starts[rng.choice(len(start), p=start if kind == 1 else None)]
        if kind == 1:
            return rng.choice(rows, group_size, p=every.probability[rows] / every.probability[rows].sum())
        if kind == 2:
            rows = rows[np.abs(G[rows] - G[rng.choice(rows)]) <= 1e-12]
        return rng.choice(rows, group_size)

    return torch.as_tensor(np.array([[group(k % 3) for _ in range(groups)] for k in range(PROBES)]).reshape(PROBES, -1))


def _collected(
    policy: SoftmaxPolicy, differentiated: Differentiated, batches: Batches, what: str, rng: np.random.Generator
) -> tuple[Expected | None, Order]:
    """The expectation over all batches; None, and what is left of the order's freedom, where some batch minds it."""
    expected = Expected(policy, differentiated.table)
    with watched(what, batches.count, "batches") as advance:
        for rows, weight in batches.chunks(differentiated.at_once):
            at, w = _tensors(rows, weight, differentiated.table)
            likely = at[w.topk(min(LOOPED, len(w))).indices]
            free = differentiated.order(likely, batches.group_size, batches.free, rng)
            if free != batches.free:
                return None, free
            expected.add(at, differentiated(at, w))
            advance(len(rows))
    return expected, batches.free


def _batches(every: Listed, group_size: int, groups: int, free: Order) -> Batches:
    """Raises ValueError where there are too many."""
    batches = Batches(every, group_size, groups, free)
    if batches.count > MOST:  # no fewer than its different groups
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
    policy: SoftmaxPolicy, mdp: FiniteMDP, differentiated: Differentiated, batches: Batches
) -> float:
    """E|grad loss - E grad loss|^2 of one batch."""
    differentiated.check_variance()
    one = OneBatch(policy, mdp, differentiated.table, all_directions(policy, mdp))
    mean, square = torch.zeros(one.J.shape[1]).to(one.J), 0.0
    with watched("its variance", batches.count, "batches") as advance:
        for rows, weight in batches.chunks(min(one.at_once, differentiated.at_once)):
            at, w = _tensors(rows, weight, differentiated.table)
            g = one.gradients(at, differentiated(at))
            mean, square = mean + w @ g, square + float(w @ g.square().sum(1))
            advance(len(rows))
    return max(0.0, square - float(mean @ mean))
