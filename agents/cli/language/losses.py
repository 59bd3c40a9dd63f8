"""The losses that a language model can be trained with, by name; the KL to the reference is inside the reward."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from agents.losses import PolicyLoss, named
from agents.losses.advantages import discounted, penalised, reward_to_go

LOSSES: dict[str, Callable[[int], PolicyLoss]] = {
    "reinforce": lambda _: PolicyLoss(discounted(reward_to_go)),
    "rloo": lambda _: named.rloo(),
    "grpo": lambda _: named.grpo(),
    "dr_grpo": lambda horizon: named.dr_grpo(horizon),
    "dapo": lambda _: named.dapo(),
    "bnpo": lambda _: named.bnpo(),
    "gspo": lambda _: named.gspo(),
    "cispo": lambda _: named.cispo(),
    "reinforce_plus_plus": lambda _: named.reinforce_plus_plus(),
}


def loss_of(name: str, horizon: int, beta: float) -> PolicyLoss:
    """A named loss with R_{t+1} - beta (log pi - log reference) in place of R_{t+1}.

    Where the advantage is computed from whole returns, as in rloo and grpo, the penalty is in them. Raises ValueError
    for another name and a beta below 0.
    """
    if name not in LOSSES:
        raise ValueError(f"--loss takes {', '.join(LOSSES)}, not {name!r}")
    if not 0 <= beta < math.inf:
        raise ValueError(f"--beta must be finite and at least 0, not {beta}")
    loss = LOSSES[name](horizon)
    return replace(loss, advantage=penalised(loss.advantage, beta)) if beta else loss
