"""The picture of some checks: how the sampled error falls, and how far apart the exact routes are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mdp.plot import SERIES, panels, save_figure, styled

if TYPE_CHECKING:
    from agents.checks.report import Report

MARKERS = {"autograd": "o", "complex step": "D", "finite differences": "s"}


@styled
def plot_reports(reports: Sequence[Report], path: str | Path) -> None:
    """Write a PNG, SVG or PDF, by the ending of `path`.

    Left: |estimate - grad J| / |grad J| as episodes are added, beside what the exact covariance predicts,
    sqrt(trace / n) / |grad J|. Right: the relative distance of every exact route from the theorem.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from agents import SoftmaxPolicy, TabularPreferences, pgcheck, plot_reports
    >>> from envs import bandit
    >>> policy = SoftmaxPolicy(TabularPreferences(bandit())).double()
    >>> with TemporaryDirectory() as folder:
    ...     plot_reports([pgcheck(policy, bandit(), name="bandit")], Path(folder, "check.svg"))
    ...     Path(folder, "check.svg").stat().st_size > 10_000
    True
    """
    figure, (left, right) = panels(1.35, 1, width=11.5, height=4.6)
    for i, report in enumerate(reports):
        color = SERIES[i % len(SERIES)]
        _sampled(left, report, color)
        _exact(right, report, len(reports) - 1 - i, color)
    left.set(xscale="log", yscale="log", xlabel="episodes", ylabel=r"$|\hat g - \nabla J|\;/\;|\nabla J|$",
             title="Sampled REINFORCE (points) and its exact standard error (lines)")  # fmt: skip
    if left.lines:
        left.legend(loc="best")
    largest = max(row.error for report in reports for row in report.rows if row.route in MARKERS)
    right.set(xscale="log", xlim=(1e-17, max(1e-6, 10 * largest)), xlabel="relative distance from the theorem",
              title="Exact routes", yticks=range(len(reports)), ylim=(-0.6, len(reports) - 0.4))  # fmt: skip
    right.set_yticklabels([report.name for report in reversed(reports)])
    right.axvline(reports[0].rows[0].tolerance, color="0.4", ls="--", lw=1)
    right.text(reports[0].rows[0].tolerance, len(reports) - 0.45, " limit", color="0.4", va="top")
    for route, marker in MARKERS.items():
        right.plot([], [], marker, color="0.3", ms=5, label=route)
    right.legend(loc="upper center", bbox_to_anchor=(0.35, -0.16), ncols=3, frameon=False)
    right.grid(visible=False, axis="y")
    save_figure(figure, path)


def _sampled(axes: Any, report: Report, color: str) -> None:
    if not report.norm:
        return
    n, error = np.array(report.path, dtype=float).T
    shown = np.unique(np.searchsorted(n, np.geomspace(n[0], n[-1], 40)))
    axes.plot(n[shown], error[shown] / report.norm, "o", ms=3, color=color)
    line = np.geomspace(n[0] / 2, n[-1] * 1.2, 50)
    axes.plot(line, np.sqrt(report.trace / line) / report.norm, "-", lw=1.2, color=color,
              label=f"{report.name}: {report.verdict}")  # fmt: skip


def _exact(axes: Any, report: Report, height: int, color: str) -> None:
    for row in report.rows:
        if row.route in MARKERS:
            axes.plot(max(row.error, 1e-17), height, MARKERS[row.route], color=color, ms=6, alpha=0.8)
