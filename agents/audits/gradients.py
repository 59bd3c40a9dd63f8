"""A loss, differentiated over many batches at once by the log-probabilities (and entropies) that it sees.

torch.func.vmap takes a loss whose steps do not depend on values (no `if tensor`, no .item(), no boolean index); any
other is called batch by batch. What the loss reads from the policy's parameters by itself (a term on a fixed data set,
say) is differentiated beside.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agents.audits.batches import Order
from agents.audits.trajectories import Table
from agents.losses import Batch
from agents.policies import SoftmaxPolicy

Loss = Callable[[Batch], Tensor]

AT_ONCE = 2**19  # numbers (batches x episodes x steps) that vmap works on at a time
PROBES = 32  # random batches on which a loss is looked at; so many of them one by one:
LOOPED = 8
SAME = 1e-6  # relative; leaves room for losses that round to float32


class Gradients(NamedTuple):
    """Of B batches: the losses (B,); weight times their gradients by log_probs and entropies, (B, N, T) each; and the
    weighted sum of their gradients by theta outside the batch, a tensor for each."""

    losses: Tensor
    log_probs: Tensor
    entropies: Tensor
    outside: list[Tensor]


class Differentiated:
    """A loss over the rows of a table. Raises ValueError or TypeError for a loss that cannot be audited."""

    def __init__(self, loss: Loss, policy: SoftmaxPolicy, table: Table, probes: Tensor) -> None:
        self.loss, self.table = loss, table
        self.parameters = [p for p in policy.parameters() if p.requires_grad]
        self.vectorised, self.width_matters, probes = False, True, probes[:LOOPED]
        _check_losses(loss, table, probes)
        looped = self(probes)
        self.width_matters = not _same(self._padded(probes), looped)
        if not _same(self(probes), looped):
            raise ValueError(
                "the loss gives two values for one batch: it draws random numbers or keeps a state. An audit needs a "
                "function of the batch alone"
            )
        beside = self(probes[:1]).outside
        self.outside_varies = not all(_equal(self(probe[None]).outside, beside) for probe in probes[1:])
        self.vectorised = self._vmap_agrees(looped, probes)

    def over(self, table: Table) -> Differentiated:
        """The same loss over another table."""
        other = copy(self)
        other.table = table
        return other

    @property
    def at_once(self) -> int:
        """Batches that are worked on at a time."""
        steps = len(self.table.group) * max(self.table.log_probs.shape[1], 1)
        return max(64, min(2**15, AT_ONCE // steps)) if self.vectorised else 256

    def __call__(self, rows: Tensor, weight: Tensor | None = None) -> Gradients:
        """rows (B, N), weight (B,), by default 1. Each batch is padded to its longest episode, if the loss minds."""
        if not self.width_matters:
            return self._padded(rows, weight)
        longest = self.table.whole.lengths[rows].amax(1)
        places = [(longest == n).nonzero()[:, 0] for n in sorted(set(longest.tolist()))]
        parts = [self._padded(rows[at], None if weight is None else weight[at], int(longest[at[0]])) for at in places]
        return _joined(parts, torch.cat(places).argsort(), self.table.log_probs.shape[1])

    def _padded(self, rows: Tensor, weight: Tensor | None = None, width: int | None = None) -> Gradients:
        """All batches padded to one width, by default the longest of the table."""
        x = self.table.log_probs.detach()[rows, :width].requires_grad_()
        h = self.table.entropies.detach()[rows, :width].requires_grad_()
        losses = self._losses(rows, x, h)
        if not losses.requires_grad:
            nothing = [torch.zeros_like(y) for y in (x, h, *self.parameters)]
            return Gradients(losses, nothing[0], nothing[1], nothing[2:])
        total = losses.sum() if weight is None else (weight * losses).sum()
        found = torch.autograd.grad(total, [x, h, *self.parameters], allow_unused=True)
        played = self.table.whole.mask[rows, :width]  # after the end the tables are 0, whatever theta is
        by_x, by_h = (torch.zeros_like(x) if g is None else torch.where(played, g, 0.0) for g in found[:2])
        outside = [torch.zeros_like(p) if g is None else g for p, g in zip(self.parameters, found[2:], strict=True)]
        gradients = Gradients(losses.detach(), by_x, by_h, outside)
        self._check_finite(gradients, rows)
        return gradients

    def _losses(self, rows: Tensor, x: Tensor, h: Tensor) -> Tensor:
        def one(rows: Tensor, x: Tensor, h: Tensor) -> Tensor:
            return self.loss(self.table.batch(rows, x, h))

        if self.vectorised:
            losses: Tensor = torch.func.vmap(one)(rows, x, h)
            return losses
        return torch.stack([one(*batch) for batch in zip(rows.unbind(), x.unbind(), h.unbind(), strict=True)])

    def _vmap_agrees(self, looped: Gradients, probes: Tensor) -> bool:
        self.vectorised = True
        try:
            return _same(self(probes), looped)
        except Exception:  # whatever vmap or the loss says to it: the loop is the judge
            return False

    def check_variance(self) -> None:
        """Raises ValueError where a variance would miss what the loss reads from the policy beside its batch."""
        if self.outside_varies:
            raise ValueError(
                "the loss differentiates the policy outside its batch, and differently in every batch: there is no "
                "variance for that. Let it read batch.log_probs"
            )

    def _check_finite(self, found: Gradients, rows: Tensor) -> None:
        fine = found.losses.isfinite() & found.log_probs.isfinite().all((1, 2)) & found.entropies.isfinite().all((1, 2))
        if fine.all():
            return
        b = int((~fine).nonzero()[0])
        what = "the gradient of the loss is not finite"
        if not found.losses[b].isfinite():
            what = f"the loss is {float(found.losses[b])}"
        raise ValueError(f"{what} on the batch of {self.described(rows[b])}")

    def described(self, rows: Tensor) -> str:
        """The first episodes of a batch."""
        w = self.table.whole
        parts = []
        for n in rows[:4].tolist():
            T = int(w.lengths[n])
            parts.append(f"actions {w.actions[n, :T].tolist()} rewards {w.rewards[n, :T].tolist()}")
        return "; ".join(parts) + ("; ..." if len(rows) > 4 else "")

    def order(self, probes: Tensor, group_size: int, rng: np.random.Generator) -> Order:
        """Whether the losses of the probes and their gradients stay when episodes, or groups, change places."""
        groups = len(self.table.group) // group_size
        found = self(probes)

        def stays(shuffled: Callable[[], NDArray[np.int64]]) -> bool:
            order = torch.as_tensor(np.stack([shuffled() for _ in range(len(probes))]), device=probes.device)
            other = self(probes.gather(1, order))
            at = order[:, :, None].expand_as(found.log_probs)
            moved = found._replace(log_probs=found.log_probs.gather(1, at), entropies=found.entropies.gather(1, at))
            return _same(other, moved)

        places = np.arange(groups * group_size).reshape(groups, group_size)
        return Order(
            in_groups=group_size == 1 or stays(lambda: rng.permuted(places, axis=1).ravel()),
            of_groups=groups == 1 or stays(lambda: rng.permutation(places, axis=0).ravel()),
        )


def _joined(parts: list[Gradients], order: Tensor, T: int) -> Gradients:
    """Parts of different widths as one, padded to T, in another order."""

    def padded(found: list[Tensor]) -> Tensor:
        return torch.cat([nn.functional.pad(x, (0, T - x.shape[2])) for x in found])[order]

    outside = [torch.stack(one).sum(0) for one in zip(*(part.outside for part in parts), strict=True)]
    x, h = padded([part.log_probs for part in parts]), padded([part.entropies for part in parts])
    return Gradients(torch.cat([part.losses for part in parts])[order], x, h, outside)


def _check_losses(loss: Loss, table: Table, probes: Tensor) -> None:
    """The kind of value that the loss gives, and that a gradient reaches something."""
    reached = False
    for rows in probes:
        x, h = (y.detach()[rows].requires_grad_() for y in (table.log_probs, table.entropies))
        found = loss(table.batch(rows, x, h))
        if not isinstance(found, Tensor):
            raise TypeError(f"the loss returned {type(found).__name__}, not a tensor: it must be a scalar tensor")
        if found.ndim or found.is_complex():
            raise ValueError(f"the loss returned shape {tuple(found.shape)}, not a scalar: take a sum or a mean")
        reached |= found.requires_grad
    if not reached:
        raise ValueError(
            "the loss does not depend on the policy: no gradient reaches batch.log_probs (detached, or under no_grad?)"
        )


def _same(a: Gradients, b: Gradients) -> bool:
    """Equal up to rounding, relative to the largest of the losses and their gradients: a loss may well be 0."""
    size = max(float(x.abs().max()) for found in (a, b) for x in found[:3] if x.numel())
    pairs = zip(a[:3], b[:3], strict=True)
    return all(x.shape == y.shape and torch.allclose(x, y, rtol=0, atol=SAME * size) for x, y in pairs)


def _equal(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(torch.allclose(x, y, rtol=SAME, atol=0) for x, y in zip(a, b, strict=True))
