"""One loss, the model in pieces: gradient accumulation and several processes, without a change of the gradient.

    grad loss = sum over n, t of (d loss / d log pi_nt) grad log pi_nt + (d loss / d H_nt) grad H_nt

The loss sees the whole batch, as a table of numbers, and is differentiated by that table alone. What then goes backward
through the model, some episodes at a time, is linear in log pi and H: no loss has to know how its batch was cut, and a
mean over all tokens or a whitened advantage is what it is in one piece.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from agents.learning.processes import Alone, Processes
from agents.losses import Batch
from agents.policies import SoftmaxPolicy
from agents.policies.preferences import as_tensor
from mdp import Episodes

ROUNDING = 1e3  # times eps: what another order of the same sums may change in a log-probability


class Scores(nn.Module):
    """(log pi, H) of episodes, (n, T) each, as the forward pass of a module, which is what torch's DDP wraps."""

    def __init__(self, policy: SoftmaxPolicy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, episodes: Episodes, entropies: bool = False) -> tuple[Tensor, Tensor | None]:
        return self.policy.log_prob(episodes), self.policy.entropies(episodes) if entropies else None


class Pieces:
    """The gradient of a loss over episodes that are scored `pieces` parts at a time, in one process or in many."""

    def __init__(
        self,
        policy: SoftmaxPolicy,
        loss: Callable[[Batch], Tensor],
        *,
        reference: SoftmaxPolicy | None = None,
        pieces: int = 1,
        processes: Processes | Alone | None = None,
    ) -> None:
        if pieces < 1:
            raise ValueError(f"the number of pieces must be at least 1, not {pieces}")
        self.policy, self.loss, self.reference, self.pieces = policy, loss, reference, pieces
        self.processes = Alone() if processes is None else processes
        self.scores = self.processes.wrapped(Scores(policy))

    def backward(self, episodes: Episodes, trusting: bool = True) -> tuple[Episodes, Batch, Tensor, float]:
        """Put the gradient in the parameters; (all episodes, their batch, the loss, seconds before going backward).

        On policy the log-probabilities are those that the episodes were sampled with, and no forward pass is made for
        them: the first piece, which is scored anyway, shows whether they are. Where a later one shows that it is not
        (episodes of several policies), all is done again with log-probabilities that are scored (trusting=False).
        Raises ValueError where the loss is not a finite scalar, and for shards whose numbers of pieces differ.
        """
        began = perf_counter()
        parts = [episodes.rows(at) for at in np.array_split(np.arange(len(episodes)), self.pieces) if len(at)]
        if self.processes.sharded and not self.processes.equal(len(parts)):
            raise ValueError("the processes have episodes for different numbers of pieces: shards need one number")
        with self.processes.piece(self.scores, last=len(parts) == 1):
            first = self.scores(parts[0])
        known = self._known(episodes, first[0].detach()) if trusting else None
        table = self._scored(parts, self.policy.log_prob) if known is None else known
        reference = None if self.reference is None else self._scored(parts, self.reference.log_prob)
        share = self.processes.shared(episodes)
        x = share.gathered(table).requires_grad_()
        h: list[Tensor] = []

        def entropies() -> Tensor:
            if not h:
                h.append(share.gathered(self._scored(parts, self.policy.entropies)).requires_grad_())
            return h[0]

        batch = Batch.scored(share.episodes, x, None if reference is None else share.gathered(reference), entropies)
        loss = checked(self.loss(batch))
        seconds = perf_counter() - began
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        by_x, by_h = (None if y is None or y.grad is None else share.own(y.grad) for y in (x, h[0] if h else None))
        right = self._sent(parts, by_x, by_h, known, None if by_h is not None else first)
        if known is not None and not self.processes.every(right):
            for p in self.policy.parameters():
                p.grad = None
            return self.backward(episodes, trusting=False)
        return share.episodes, batch, loss.detach(), seconds

    def _sent(
        self, parts: list[Episodes], by_x: Tensor | None, by_h: Tensor | None, known: Tensor | None, first: Any
    ) -> bool:
        """Send the gradient of the table backward through the model; True where `known` is what it says."""
        done, right = 0, True
        for k, part in enumerate(parts):
            with self.processes.piece(self.scores, last=k == len(parts) - 1):
                log_probs, H = first if k == 0 and first is not None else self.scores(part, by_h is not None)
                n, T = log_probs.shape
                right = right and (known is None or close(known[done : done + n, :T], log_probs.detach()))
                total = log_probs.sum() * 0.0 if by_x is None else (by_x[done : done + n, :T] * log_probs).sum()
                if H is not None and by_h is not None:
                    total = total + (by_h[done : done + n, :T] * H).sum()
                (self.processes.world * total).backward()
            done += n
        return right

    def _known(self, episodes: Episodes, first: Tensor) -> Tensor | None:
        """The behaviour's log-probabilities, (N, T), where those of the first piece are this policy's."""
        played = episodes.behaviour_log_probs
        known = None if played is None else as_tensor(played, first).to(first.dtype)
        own = known is not None and close(known[: len(first), : first.shape[1]], first)
        return known if self.processes.every(own) else None

    @torch.no_grad()
    def _scored(self, parts: list[Episodes], scores: Callable[[Episodes], Tensor]) -> Tensor:
        T = max(part.rewards.shape[1] for part in parts)
        return torch.cat([nn.functional.pad(x, (0, T - x.shape[1])) for x in map(scores, parts)])


def close(x: Tensor, y: Tensor) -> bool:
    """Log-probabilities that differ by rounding only."""
    return bool((x - y).abs().max() <= ROUNDING * torch.finfo(x.dtype).eps)


def checked(loss: Tensor) -> Tensor:
    """Raises ValueError for a loss that is not a finite scalar."""
    if loss.ndim != 0 or not torch.isfinite(loss):
        raise ValueError(f"the loss must be a finite scalar, not {loss}")
    return loss
