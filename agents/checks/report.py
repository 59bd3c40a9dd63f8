"""What pgcheck found: to print, to keep, to look at."""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from agents.checks.plot import plot_reports
from mdp.files.writing import replacing


class Row(NamedTuple):
    """One route: its value (|grad J|, its length along 8 directions, or the estimate along grad J), how far it is from
    the theorem (relative; in standard errors for the sampled route), the limit for that, and whether it holds."""

    route: str
    value: float
    error: float
    tolerance: float
    passed: bool
    note: str


@dataclass(frozen=True)
class Report:
    """The outcome of `pgcheck`.

    gradient, estimate (d,): exact, and sampled; judged (d, K): the directions along which the sample is judged, with
    standard_error, z, skewness and excess kurtosis (K,); p_value: of the least probable z, by Bonferroni; trace: the
    exact variance of one episode's estimate, all coordinates together; path: (episodes, |estimate - exact|) as the
    sample grew.
    """

    name: str
    mdp: str
    gamma: float
    parameters: int
    objective: float
    gradient: NDArray[np.float64]
    rows: tuple[Row, ...]
    estimate: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    judged: NDArray[np.float64]
    z: NDArray[np.float64]
    skewness: NDArray[np.float64]
    kurtosis: NDArray[np.float64]
    p_value: float
    false_alarm: float
    trace: float
    path: tuple[tuple[int, float], ...]
    episodes: int
    steps: int
    seed: int

    @property
    def norm(self) -> float:
        """|grad J|."""
        return float(np.linalg.norm(self.gradient))

    @property
    def relative_error(self) -> float:
        """SE / |grad J|: how large an error of the gradient the sample can see."""
        return math.sqrt(self.trace / self.episodes) / self.norm if self.norm else math.inf

    @property
    def has_power(self) -> bool:
        """An estimator of 0 would be caught, with probability .98: |grad J| is 2 standard errors beyond the limit."""
        return bool(self.norm >= (self.rows[-1].tolerance + 2) * self.error_along)

    @property
    def error_along(self) -> float:
        """The standard error of the estimate along grad J; inf where too few episodes were seen to judge it."""
        if not self.norm or not len(self.z) or not np.allclose(self.judged[:, 0] * self.norm, self.gradient):
            return math.inf
        return float(self.standard_error[0])

    @property
    def passed(self) -> bool:
        """Every route agrees, and the sampled one could have disagreed."""
        return all(row.passed for row in self.rows) and self.has_power

    @property
    def verdict(self) -> str:
        """ "pass", "FAIL", or "no power"."""
        if not all(row.passed for row in self.rows):
            return "FAIL"
        return "pass" if self.has_power else "no power"

    def table(self) -> Table:
        """The rows as a rich table."""
        table = Table(title=f"{self.name}: {self.verdict}", title_justify="left", title_style="bold")
        for column in ("route", "value", "off by", "limit", "", "how"):
            table.add_column(column, justify="left" if column in ("route", "how") else "right")
        for row in self.rows:
            unit = " SE" if row.route.startswith("sampled") else ""
            table.add_row(row.route, f"{row.value:.10g}", f"{row.error:.2g}{unit}", f"{row.tolerance:.2g}{unit}",
                          "ok" if row.passed else "FAIL", row.note)  # fmt: skip
        table.caption = self.caption
        table.caption_justify = "left"
        return table

    @property
    def caption(self) -> str:
        """The numbers that say what this check could have seen."""
        shape = f"J = {self.objective:.10g}, |grad J| = {self.norm:.10g}, {self.parameters} parameters"
        power = f"SE / |grad J| = {self.relative_error:.3g} with {self.episodes:,} episodes, {self.steps:,} steps"
        if not self.has_power:
            enough = math.ceil(self.trace / (0.05 * self.norm) ** 2) if self.norm > 1e-9 * math.sqrt(self.trace) else 0
            more = f"; take {enough:,} episodes for .05" if enough else ", grad J is 0 up to rounding"
            power += f": NO POWER{more}"
        odds = f"p = {self.p_value:.2g}; false alarm {self.false_alarm:g}; seed {self.seed}"
        return f"{shape}\n{power}\n{odds}"

    def __str__(self) -> str:
        text = io.StringIO()
        Console(file=text, width=120, color_system=None).print(self.table())
        return text.getvalue()

    def as_dict(self) -> dict[str, Any]:
        """Everything, as json can hold it."""
        plain = {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(self).items()
            if name not in ("rows", "judged")
        }
        error = self.relative_error if self.norm else None  # json has no infinity
        derived = {"norm": self.norm, "relative_error": error, "verdict": self.verdict}
        return plain | derived | {"rows": [row._asdict() for row in self.rows], "passed": self.passed}

    def to_json(self, path: str | Path) -> None:
        """Write `as_dict` to a file."""
        with replacing(path) as new:
            new.write_text(json.dumps(self.as_dict(), indent=1, allow_nan=False))

    def plot(self, path: str | Path) -> None:
        """Draw the sampled error against its exact prediction, and how far the exact routes are apart."""
        plot_reports([self], path)
