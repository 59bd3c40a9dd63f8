"""What an audit found: the expected gradient beside the true one, and a verdict."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from mdp.files.writing import replacing


class Sampled(NamedTuple):
    """Where batches were drawn, not listed: the error of the scale, and how probable so much bias is by chance.

    p_direction: of the part of the mean gradient that is orthogonal to the true one; p_scale: of scale - 1; both judged
    at probability `false_alarm`.
    """

    scale_error: float
    p_direction: float
    p_scale: float
    false_alarm: float


@dataclass(frozen=True)
class Audit:
    """expected = -E[grad loss] (d,), exact (d,): the gradient of the objective. `print` gives the figures and verdict.

    The verdict belongs to this loss, policy, MDP and batch shape (groups x group_size). covariance_trace is that of one
    batch's gradient, computed when it is read. rounding: what float64 may lose in `expected`; trajectories and batches
    that were listed (drawn, where `sample` is given); ordered: as tuples, since the loss depends on their order;
    vectorised: by torch.func.vmap. magnitude: how large the terms are that add up to `expected`.
    """

    loss: str
    policy: str
    mdp: str
    gamma: float
    group_size: int
    groups: int
    tolerance: float
    exact: Tensor
    expected: Tensor
    batches: int
    vectorised: bool
    trace: Callable[[], float]
    trajectories: int = 0
    ordered: bool = False
    rounding: float = 0.0
    magnitude: float = math.inf
    sample: Sampled | None = None

    def against(self, exact: Tensor) -> Audit:
        """The same expected gradient beside another true one. Not for drawn batches, which were judged along one."""
        if self.sample is not None:
            raise ValueError("drawn batches were judged along one gradient: audit again with the other objective")
        return replace(self, exact=exact)

    @cached_property
    def covariance_trace(self) -> float:
        """The sum of the variances of all coordinates of one batch's gradient."""
        return self.trace()

    @property
    def norm(self) -> float:
        """|exact|."""
        return float(self.exact.norm())

    @property
    def vanishes(self) -> bool:
        """The true gradient is 0, up to rounding."""
        return self.norm <= self.rounding

    @property
    def has_power(self) -> bool:
        """Another loss would have been seen: what rounding may hide is at most 1/100 of the true gradient, or of the
        terms of the expected one. Where a softmax saturates both underflow, and every loss has the gradient 0."""
        return self.rounding < 0.01 * max(self.norm, self.magnitude)

    @property
    def scale(self) -> float:
        """<expected, exact> / <exact, exact>; nan where the true gradient is 0."""
        return math.nan if self.vanishes else float(self.expected @ self.exact) / self.norm**2

    @property
    def cosine(self) -> float:
        """Of the angle between the two; nan where the true gradient is 0, 0 where the expected one is."""
        size = float(self.expected.norm())
        if self.vanishes:
            return math.nan
        return 0.0 if size <= self.rounding else float(self.expected @ self.exact) / size / self.norm

    @property
    def relative_error(self) -> float:
        """|expected - exact| / |exact|; inf (or 0) where the true gradient is 0."""
        off = self._off(1.0)
        if self.vanishes:
            return 0.0 if off <= 2 * self.rounding else math.inf
        return off / self.norm

    @property
    def verdict(self) -> str:
        """exact: relative_error <= tolerance. scaled: scale > 0, |expected - scale exact| <= tolerance scale |exact|.
        biased: otherwise. What float64 may have lost is no bias. "no power": it would be called exact or scaled, but
        rounding would have hidden any other loss. Of drawn batches: biased or scaled where the sample says so at its
        odds, "no power" where it would not tell the true gradient from 0, else "consistent"."""
        if self.sample is not None:
            return self._sampled_verdict(self.sample)
        if self.relative_error <= self.tolerance or self._off(1.0) <= 2 * self.rounding:
            return "exact" if self.has_power else "no power"
        scale = self.scale
        seen = scale > 0 and scale * self.norm > 2 * self.rounding
        if seen and self._off(scale) <= self.tolerance * scale * self.norm + 2 * self.rounding:
            return "scaled" if self.has_power else "no power"
        return "biased"

    def _off(self, scale: float) -> float:
        return float((self.expected - scale * self.exact).norm())

    def _sampled_verdict(self, sample: Sampled) -> str:
        if not self.has_power:
            return "no power"
        if sample.p_direction < sample.false_alarm:
            return "biased"
        if self.vanishes:
            return "consistent"
        if sample.p_scale < sample.false_alarm:
            return "scaled" if self.scale > 4 * sample.scale_error else "biased"
        return "consistent" if sample.scale_error < 1 / 6 else "no power"

    @property
    def summary(self) -> str:
        """How the numbers were found."""
        if self.sample is None:
            kind = "tuples" if self.ordered else "multisets"
            how = "vectorised" if self.vectorised else "one by one"
            return f"{self.trajectories:,} trajectories, {self.batches:,} batches listed as {kind}, {how}"
        return (
            f"{self.batches:,} batches drawn; scale within {self.sample.scale_error:.2g} (one standard error); "
            f"p = {self.sample.p_direction:.2g} for the direction, {self.sample.p_scale:.2g} for scale 1, "
            f"judged at {self.sample.false_alarm:g}"
        )

    def table(self) -> Table:
        """The figures as a rich table."""
        title = f"{escape(self.loss)}: {self.verdict}"
        table = Table(title=title, title_justify="left", title_style="bold", show_header=False)
        for name, value in (
            ("cosine with the true gradient", f"{self.cosine:.10g}"),
            ("scale along it", f"{self.scale:.10g}"),
            ("relative error", f"{self.relative_error:.3g}"),
            ("|expected|, |exact|", f"{float(self.expected.norm()):.10g}, {self.norm:.10g}"),
            ("batch", f"{self.groups} group(s) of {self.group_size}"),
            ("policy", f"{self.policy}, {len(self.exact)} parameters"),
            ("problem", self.mdp),
        ):
            table.add_row(name, escape(value))
        table.caption, table.caption_justify = self.summary, "left"
        return table

    def __str__(self) -> str:
        text = io.StringIO()
        Console(file=text, width=120, color_system=None).print(self.table())
        return text.getvalue()

    __repr__ = __str__

    def as_dict(self) -> dict[str, Any]:
        """Everything, as json can hold it; covariance_trace included."""
        plain = {name: value for name, value in vars(self).items() if name not in ("trace", "covariance_trace")}
        plain |= {"exact": self.exact.tolist(), "expected": self.expected.tolist()}
        sample = None if self.sample is None else _finite(self.sample._asdict())
        names = ("norm", "scale", "cosine", "relative_error", "covariance_trace")
        derived = _finite({name: getattr(self, name) for name in names})
        derived |= _finite({"magnitude": self.magnitude})
        return plain | derived | {"sample": sample, "verdict": self.verdict}

    def to_json(self, path: str | Path) -> None:
        """Write `as_dict` to a file."""
        with replacing(path) as new:
            new.write_text(json.dumps(self.as_dict(), indent=1, allow_nan=False))


def _finite(numbers: dict[str, float]) -> dict[str, float | None]:
    return {name: x if math.isfinite(x) else None for name, x in numbers.items()}  # json has no nan and no infinity


def described(loss: object) -> str:
    """The name of a loss: of a function its own, of an object its class."""
    return str(getattr(loss, "__name__", type(loss).__name__))


def described_policy(policy: object) -> str:
    """The kinds of a policy and of its preferences."""
    return f"{type(policy).__name__}({type(getattr(policy, 'preferences', policy)).__name__})"
