"""All trajectories of the policy that plays, as one table that batches are rows of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.losses import Batch
from agents.policies import SoftmaxPolicy
from agents.policies.preferences import as_tensor
from mdp import Episodes, FiniteMDP, Trajectory, count_trajectories, enumerate_trajectories

MOST = 1_000_000  # trajectories that are listed
INSTEAD = (
    "Instead: a time limit as part of the MDP (mdp.unroll, --horizon), or an estimate from drawn batches (samples=, "
    "--samples)"
)


class Listed(NamedTuple):
    """All M trajectories; probability (M,) given the start state; starts: (probability of S_0, its rows)."""

    episodes: Episodes
    probability: NDArray[np.float64]
    starts: list[tuple[float, NDArray[np.int64]]]


def listed(mdp: FiniteMDP, behaviour: SoftmaxPolicy) -> Listed:
    """Every trajectory that `behaviour` plays with positive probability.

    Raises ValueError where there are infinitely many, or more than a million.
    """
    with torch.no_grad():
        pi = behaviour.matrix(mdp).cpu().numpy()
    try:
        count = count_trajectories(mdp, pi)
    except ValueError as error:
        raise ValueError(
            f"{str(error).split(', so ')[0]}: its trajectories cannot be listed. {INSTEAD}"
        ) from None
    if count > MOST:
        raise ValueError(f"{count:,} trajectories are too many to list (limit {MOST:,}). {INSTEAD}")
    p, played = (list(column) for column in zip(*enumerate_trajectories(mdp, pi), strict=True))
    first = np.array([x.states[0] for x in played])
    starts = [(float(mdp.start[s]), np.flatnonzero(first == s)) for s in np.unique(first)]
    return Listed(_episodes(mdp, behaviour, played), np.array(p) / mdp.start[first], starts)


def _episodes(mdp: FiniteMDP, behaviour: SoftmaxPolicy, played: list[Trajectory]) -> Episodes:
    lengths = np.array([len(x.actions) for x in played])

    def padded(rows: list[Any], fill: int, dtype: type) -> NDArray[Any]:
        out: NDArray[Any] = np.full((len(rows), int(lengths.max())), fill, dtype)
        for n, row in enumerate(rows):
            out[n, : len(row)] = row
        return out

    states = padded([x.states[:-1] for x in played], -1, np.int64)
    episodes = Episodes(
        states=states,
        actions=padded([x.actions for x in played], 0, np.int64),
        rewards=padded([x.rewards for x in played], 0, np.float64),
        lengths=lengths,
        terminated=np.ones(len(played), bool),
        truncated=np.zeros(len(played), bool),
        gamma=mdp.gamma,
        sight=np.maximum(states, 0),
        sights=mdp.observations,
        choices=None if mdp.admissible[~mdp.terminal].all() else mdp.admissible,
    )
    with torch.no_grad():
        return replace(episodes, behaviour_log_probs=behaviour.log_prob(episodes).cpu().numpy())


class Table:
    """Episodes as tensors, row by row what a batch consists of. log_probs and entropies are kept apart from the policy.

    `batch(rows, ...)` is a batch of some rows, as torch.func.vmap can see it: all that does not depend on which rows
    they are (groups, gamma, what is known) is plain.
    """

    def __init__(
        self, policy: SoftmaxPolicy, episodes: Episodes, *, reference: SoftmaxPolicy | None, group: Tensor
    ) -> None:
        whole = Batch.of(policy, episodes, reference=reference)
        self.whole, self.group = whole, group.to(whole.log_probs.device)
        self.log_probs, self.entropies = whole.log_probs, whole.entropies
        self.some_truncated = bool(whole.truncated.any())
        self.sight, self.sights = (as_tensor(x, whole.log_probs) for x in (episodes.sight, episodes.sights))

    def batch(self, rows: Tensor, log_probs: Tensor, entropies: Tensor) -> Batch:
        """rows (N,); log_probs and entropies (N, T), the ones that the loss is differentiated by, cut off at T."""
        w, T = self.whole, log_probs.shape[-1]
        assert w.behaviour_log_probs is not None
        return Batch(
            rewards=w.rewards[rows, :T],
            actions=w.actions[rows, :T],
            states=w.states[rows, :T],
            mask=w.mask[rows, :T],
            lengths=w.lengths[rows],
            group=self.group,
            gamma=w.gamma,
            log_probs=log_probs,
            behaviour_log_probs=w.behaviour_log_probs[rows, :T],
            reference_log_probs=None if w.reference_log_probs is None else w.reference_log_probs[rows, :T],
            truncated=w.truncated[rows] if self.some_truncated else w.truncated[: len(self.group)],
            states_are_known=w.states_are_known,
            _observations=lambda: self.sights[self.sight[rows, :T]],
            _entropies=lambda: entropies,
        )
