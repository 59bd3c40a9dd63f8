"""TRL's losses by TRL's own code (TRL 1.16): `GRPOTrainer._compute_loss` and `RLOOTrainer._compute_loss`.

The trainers are made without a model: they get a batch in its place, and read its log-probabilities. Advantages follow
TRL's formulas, which stand inside its generation loop; r is the whole return of a completion, beside its group:

    RLOO    r - mean of the others          r less beta times k1 of the completion, where beta is not 0
    GRPO    (r - mean) / (std + 1e-4)       r - mean with scale_rewards="none"
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer
from trl.trainer.utils import nanstd

from agents.audits.audit import Objective
from agents.audits.catalogue import Case, claimed, minus_kl
from agents.audits.gradients import Loss
from agents.exact.objective import regularised_objective
from agents.losses.advantages import group_sizes, whole_return
from agents.losses.batch import Batch
from agents.losses.kl import log_ratio
from agents.policies import SoftmaxPolicy


class FromTRL:
    """One loss of TRL: a trainer class, its config, and the advantages of a batch, (N,)."""

    def __init__(self, trainer: Any, config: Any, advantages: Loss) -> None:
        self.advantages = advantages
        self.trainer = trainer.__new__(trainer)
        vars(self.trainer).update(  # what the trainer's __init__ sets, on one device, without gradient accumulation
            vars(config),
            args=config,
            model=SimpleNamespace(training=True),
            accelerator=SimpleNamespace(num_processes=1, gather=lambda x: x, reduce=lambda x, **_: x),
            epsilon_low=config.epsilon,
            epsilon_high=config.epsilon if config.epsilon_high is None else config.epsilon_high,
            current_gradient_accumulation_steps=1,
            aux_loss_enabled=False,
            _entropy_bonus_enabled=False,
            _metrics=defaultdict(lambda: defaultdict(lambda: deque(maxlen=0))),
            _get_per_token_logps_and_entropies=lambda batch, *_, **__: (batch.log_probs, batch.entropies, None),
        )

    def __call__(self, batch: Batch) -> Tensor:
        old, mask = played(batch), batch.mask.long()
        inputs = {
            "prompt_ids": mask[:, :0],
            "prompt_mask": mask[:, :0],
            "completion_ids": batch.actions,
            "completion_mask": mask,
            "num_items_in_batch": mask.sum(),
            "advantages": self.advantages(batch),
            "old_per_token_logps": old,
            "old_logps": (old * mask).sum(1),
            "ref_per_token_logps": batch.reference_log_probs,
        }
        loss: Tensor = self.trainer._compute_loss(batch, inputs)
        return loss


def played(batch: Batch) -> Tensor:
    """log-probabilities of the policy that wrote the completions, (N, T)."""
    return batch.log_probs.detach() if batch.behaviour_log_probs is None else batch.behaviour_log_probs


def grouped(x: Tensor, batch: Batch) -> Tensor:
    """x (N,) as (groups, n). TRL wants groups of one size whose completions stand together."""
    return x.view(-1, int(group_sizes(batch)[0]))


def centred(batch: Batch) -> Tensor:
    """r - mean."""
    r = grouped(whole_return(batch)[:, 0], batch)
    return (r - torch.nanmean(r, dim=1, keepdim=True)).view(-1)


def standardised(batch: Batch) -> Tensor:
    """(r - mean) / (std + 1e-4)."""
    std: Tensor = nanstd(grouped(whole_return(batch)[:, 0], batch), dim=1, keepdim=True)
    return (grouped(centred(batch), batch) / (std + 1e-4)).view(-1)


def leave_one_out(batch: Batch, beta: float) -> Tensor:
    """r - beta k1 less the mean of the others."""
    penalty = beta * log_ratio(replace(batch, log_probs=played(batch))).sum(1) if beta else 0.0
    r = grouped(whole_return(batch)[:, 0] - penalty, batch)
    return (r - (r.sum(1, keepdim=True) - r) / (r.shape[1] - 1)).view(-1)


def nothing(batch: Batch) -> Tensor:
    """0: what is left is the KL term."""
    return torch.zeros_like(batch.rewards[:, 0])


def losses(length: int) -> dict[str, Loss]:
    """TRL's losses by name, with TRL's defaults but for what the name says. length: of the longest completion.

    cispo has the clip that TRL's documentation recommends (the default, 0.2, would be the largest weight), gspo has
    those of its paper. The KL terms have beta = 1, no advantages, and dr_grpo's denominator, a constant.
    """

    def grpo(loss_type: str = "dapo", advantages: Loss = standardised, **given: Any) -> FromTRL:
        config = GRPOConfig(bf16=False, max_completion_length=length, loss_type=loss_type, **given)
        return FromTRL(GRPOTrainer, config, advantages)

    def rloo(**given: Any) -> FromTRL:
        config = RLOOConfig(bf16=False, **given)
        return FromTRL(RLOOTrainer, config, lambda batch: leave_one_out(batch, config.beta))

    return {
        "trl rloo": rloo(beta=0.0),
        "trl rloo, beta .05": rloo(),
        "trl grpo": grpo("grpo"),
        "trl dr_grpo, no std": grpo("dr_grpo", centred, scale_rewards="none"),
        "trl dr_grpo, group std": grpo("dr_grpo"),
        "trl dapo": grpo(),
        "trl bnpo": grpo("bnpo"),
        "trl cispo": grpo("cispo", epsilon_high=5.0),
        "trl gspo": grpo("grpo", importance_sampling_level="sequence", epsilon=3e-4, epsilon_high=4e-4),
        "trl luspo": grpo("luspo", importance_sampling_level="sequence"),
        "trl sapo": grpo("sapo"),
        "trl vespo": grpo("vespo"),
        "trl KL term": grpo("dr_grpo", nothing, beta=1.0, use_bias_correction_kl=False),
        "trl KL term, corrected": grpo("dr_grpo", nothing, beta=1.0, use_bias_correction_kl=True),
    }


def cases(length: int, reference: SoftmaxPolicy) -> list[Case]:
    """The losses with what they claim to climb; length: of the longest completion."""
    kl = partial(minus_kl, reference=reference)
    claims: dict[str, tuple[str, Objective]] = {
        "trl rloo, beta .05": ("J - 0.05 KL", partial(regularised_objective, kl=0.05, reference=reference)),
        "trl KL term": ("- KL", kl),
        "trl KL term, corrected": ("- KL", kl),
    }
    return claimed(losses(length), claims, reference)
