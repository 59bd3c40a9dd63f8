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
PROBES = 64  # random batches on which a loss is looked at; so many of them one by one:
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

    def __init__(
        self, loss: Loss, policy: SoftmaxPolicy, table: Table, probes: Tensor, *, own_width: bool = True
    ) -> None:
        """own_width: every batch is padded to its own longest episode; else only if the loss is seen to mind."""
        self.loss, self.table = loss, table
        self.parameters = [p for p in policy.parameters() if p.requires_grad]
        self.audited = [(p, p._version) for p in policy.parameters()]
        if not self.parameters:
            raise ValueError("no parameter of the policy requires a gradient: there is nothing to audit")
        self.vectorised, self.own_width, self.reached = False, True, False
        _check_kind(loss, table, probes[0])
        few = probes[:LOOPED]
        looped = self(few)
        if not _same(self(few), looped):
            raise ValueError(
                "the loss gives two values for one batch: it draws random numbers or keeps a state. An audit needs a "
                "function of the batch alone"
            )
        beside = self(few[:1]).outside
        self.outside_varies = not all(_equal(self(probe[None]).outside, beside) for probe in few[1:])
        self.vectorised = self._agrees(lambda: self(few), looped)
        if not own_width:
            own = self(probes)
            self.own_width = not self._agrees(lambda: self._padded(probes), own)

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
        """rows (B, N), weight (B,), by default 1."""
        if not self.own_width:
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
        nothing = [torch.zeros_like(y) for y in (x, h, *self.parameters)]
        if not losses.requires_grad:
            return Gradients(losses, nothing[0], nothing[1], nothing[2:])
        self.reached = True
        total = losses.sum() if weight is None else (weight * losses).sum()
        found = torch.autograd.grad(total, [x, h, *self.parameters], allow_unused=True)
        by_x, by_h, *outside = (zero if g is None else g for g, zero in zip(found, nothing, strict=True))
        played = self.table.whole.mask[rows, :width]  # after the end the tables are 0, whatever theta is
        by_x, by_h = torch.where(played, by_x, 0.0), torch.where(played, by_h, 0.0)
        gradients = Gradients(losses.detach(), by_x, by_h, outside)
        self._check_finite(gradients, rows)
        return gradients

    def _losses(self, rows: Tensor, x: Tensor, h: Tensor) -> Tensor:
        def one(rows: Tensor, x: Tensor, h: Tensor) -> Tensor:
            return self.loss(self.table.batch(rows, x.clone(), h.clone()))  # no leaves: a loss may work in place

        if self.vectorised:
            try:
                losses: Tensor = torch.func.vmap(one)(rows, x, h)
                return losses
            except RuntimeError:  # what it took of other batches it does not take of these
                self.vectorised = False
        return torch.stack([one(*batch) for batch in zip(rows.unbind(), x.unbind(), h.unbind(), strict=True)])

    def _agrees(self, other: Callable[[], Gradients], found: Gradients) -> bool:
        """Another way of working gives the same; any error of it is a no: the way that is known is the judge."""
        before, self.vectorised = self.vectorised, True
        try:
            return _same(other(), found) and self.vectorised
        except Exception:
            return False
        finally:
            self.vectorised = before

    def check_reached(self) -> None:
        """Raises ValueError where no batch had a gradient."""
        if not self.reached:
            raise ValueError(
                "the loss does not depend on the policy: no gradient reaches batch.log_probs (detached, or under "
                "no_grad?)"
            )

    def check_variance(self) -> None:
        """Raises ValueError where a variance would miss what the loss reads from the policy beside its batch, or where
        the policy is no longer the one that was audited."""
        if any(p._version != version for p, version in self.audited):
            raise ValueError("the policy was changed after its audit: read covariance_trace before training goes on")
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

    def order(self, rows: Tensor, group_size: int, free: Order, rng: np.random.Generator) -> Order:
        """What of `free` still holds: losses and gradients of `rows` stay when episodes, or groups, change places."""
        groups = len(self.table.group) // group_size
        places = np.arange(groups * group_size).reshape(groups, group_size)
        in_groups, of_groups = free.in_groups and group_size > 1, free.of_groups and groups > 1
        if not (in_groups or of_groups):
            return free
        found = self(rows)

        def stays(shuffled: Callable[[], NDArray[np.int64]]) -> bool:
            order = torch.as_tensor(np.stack([shuffled() for _ in range(len(rows))]), device=rows.device)
            other = self(rows.gather(1, order))
            at = order[:, :, None].expand_as(found.log_probs)
            moved = found._replace(log_probs=found.log_probs.gather(1, at), entropies=found.entropies.gather(1, at))
            return _same(other, moved)

        return Order(
            in_groups=free.in_groups and (not in_groups or stays(lambda: rng.permuted(places, axis=1).ravel())),
            of_groups=free.of_groups and (not of_groups or stays(lambda: rng.permutation(places, axis=0).ravel())),
        )


def _joined(parts: list[Gradients], order: Tensor, T: int) -> Gradients:
    """Parts of different widths as one, padded to T, in another order."""

    def padded(found: list[Tensor]) -> Tensor:
        return torch.cat([nn.functional.pad(x, (0, T - x.shape[2])) for x in found])[order]

    outside = [torch.stack(one).sum(0) for one in zip(*(part.outside for part in parts), strict=True)]
    x, h = padded([part.log_probs for part in parts]), padded([part.entropies for part in parts])
    return Gradients(torch.cat([part.losses for part in parts])[order], x, h, outside)


def _check_kind(loss: Loss, table: Table, rows: Tensor) -> None:
    """Raises TypeError or ValueError for what is no scalar tensor."""
    width = int(table.whole.lengths[rows].max())
    x, h = (y.detach()[rows, :width].requires_grad_() for y in (table.log_probs, table.entropies))
    found = loss(table.batch(rows, x.clone(), h.clone()))
    if not isinstance(found, Tensor):
        raise TypeError(f"the loss returned {type(found).__name__}, not a tensor: it must be a scalar tensor")
    if found.ndim or found.is_complex():
        raise ValueError(f"the loss returned shape {tuple(found.shape)}, not a scalar: take a sum or a mean")


def _same(a: Gradients, b: Gradients) -> bool:
    """Equal up to rounding, batch by batch. A gradient far below all others is rounding; so is a loss below its own."""
    pairs = ((a.log_probs, b.log_probs), (a.entropies, b.entropies))
    sizes = [torch.maximum(_largest(x), _largest(y)) for x, y in pairs]
    size = torch.maximum(*sizes)
    least = 1e-10 * size.max() if len(size) else size
    alike = [bool((_largest(x - y) <= SAME * torch.maximum(size, least)).all()) for x, y in pairs]
    loss = torch.maximum(torch.maximum(a.losses.abs(), b.losses.abs()), torch.maximum(size, least))
    return all(alike) and bool(((a.losses - b.losses).abs() <= SAME * loss).all())


def _largest(x: Tensor) -> Tensor:
    """Of each batch, (B,)."""
    return x.abs().amax((1, 2)) if x.shape[2] else x.new_zeros(len(x))


def _equal(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(torch.allclose(x, y, rtol=SAME, atol=0) for x, y in zip(a, b, strict=True))
