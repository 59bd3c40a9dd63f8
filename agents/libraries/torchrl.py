"""torchrl's losses for language models by torchrl's own code (torchrl 0.14): `objectives.llm`.

A batch stands in for the actor and its distribution. Advantages are those of torchrl's `MCAdvantage`,
(r - mean) / max(std, 1e-6) over the group, where the whole return r of a completion is the reward of one turn.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor
from torchrl.objectives.llm import DAPO, CISPOLoss, GRPOLoss, MCAdvantage

from agents.audits.audit import Objective
from agents.audits.catalogue import Case, claimed, minus_kl
from agents.audits.gradients import Loss
from agents.exact.objective import regularised_objective
from agents.losses.advantages import group_sizes, whole_return
from agents.losses.batch import Batch
from agents.policies import SoftmaxPolicy


class Played:
    """An actor whose distribution is what the policy did in a batch, cut to its T steps: mask, log-probs, entropies."""

    def __init__(self, batch: Batch, T: int) -> None:
        self.batch, self.T, self.mask = batch, T, batch.mask[:, :T]

    def get_dist(self, *_: Any, **__: Any) -> Played:
        return self

    def log_prob(self, _: Tensor) -> Tensor:
        return self.batch.log_probs[:, : self.T]

    def entropy(self) -> Tensor:
        return self.batch.entropies[:, : self.T]


class FromTorchRL:
    """One loss of torchrl: its class, the advantages of a batch, (N, 1, 1), and its settings.

    The parts "loss_..." are summed, as torchrl's trainers do. A batch is padded to its own longest completion, and has
    no prompt: the mean over tokens in torchrl's KL term counts both.
    """

    def __init__(self, loss: Any, advantages: Loss, **given: Any) -> None:
        self.loss, self.advantages, self.given = loss, advantages, given

    def __call__(self, batch: Batch) -> Tensor:
        old = batch.log_probs.detach() if batch.behaviour_log_probs is None else batch.behaviour_log_probs
        T = int(batch.lengths.max())
        data = TensorDict({"advantage": self.advantages(batch)}, [len(old)])
        data["tokens", "full"] = batch.actions[:, :T]
        data["log_probs", "full"] = old[:, :T]
        if batch.reference_log_probs is not None:
            data["next", "ref_log_probs", "full"] = batch.reference_log_probs[:, :T]
        parts = self.loss(Played(batch, T), **self.given)(data).items()
        total: Tensor = sum(x.sum() for name, x in parts if name.startswith("loss_") and x is not None)
        return total


def standardised(batch: Batch) -> Tensor:
    """(r - mean) / max(std, 1e-6). MCAdvantage wants groups of one size, and returns them group by group."""
    group, r = batch.group[:, None], whole_return(batch)
    turns = TensorDict({"query": group}, group.shape)
    turns["next", "reward"] = r[:, :, None]
    turns["next", "done"] = torch.ones_like(r[:, :, None], dtype=torch.bool)
    advantages: Tensor = MCAdvantage(int(group_sizes(batch)[0])).inv(turns)["advantage"]
    return advantages[:, :, None]


def nothing(batch: Batch) -> Tensor:
    """0: what is left is the KL term."""
    return torch.zeros_like(batch.rewards[:, :1, None])


def losses() -> dict[str, Loss]:
    """torchrl's losses by name, with torchrl's defaults but for what the name says. dapo has the clip of its paper.

    torchrl's default is an entropy bonus of .01; the KL term has beta = 1 and no advantages.
    """

    def grpo(advantages: Loss = standardised, **given: Any) -> FromTorchRL:
        return FromTorchRL(GRPOLoss, advantages, **given)

    return {
        "torchrl grpo": grpo(entropy_bonus=False),
        "torchrl grpo + entropy": grpo(),
        "torchrl grpo, prompt mean": grpo(entropy_bonus=False, aggregation="prompt_mean"),
        "torchrl dapo": FromTorchRL(DAPO, standardised, entropy_bonus=False, clip_epsilon=(0.2, 0.28)),
        "torchrl cispo": FromTorchRL(CISPOLoss, standardised, entropy_bonus=False),
        "torchrl KL term": grpo(nothing, entropy_bonus=False, kl_to_ref_coeff=1.0),
    }


def cases(length: int, reference: SoftmaxPolicy) -> list[Case]:
    """The losses with what they claim to climb. length is not asked for by any."""
    del length
    claims: dict[str, tuple[str, Objective]] = {
        "torchrl grpo + entropy": ("J + 0.01 H", partial(regularised_objective, entropy=0.01)),
        "torchrl KL term": ("- KL", partial(minus_kl, reference=reference)),
    }
    return claimed(losses(), claims, reference)
