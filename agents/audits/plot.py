"""The picture of many audits: which way a loss points, how far, and how much it scatters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from agents.audits.result import Audit

COLORS = {"exact": "C2", "consistent": "C2", "scaled": "C0", "biased": "C3", "no power": "0.6"}


def plot_audits(audits: Sequence[tuple[str, Audit]], path: str | Path, title: str) -> None:
    """Write a PNG, SVG or PDF, by the ending of `path`: for each (name, audit) two bars and a point.

    The angle between expected and true gradient, in degrees; the scale along the true one; the trace of the covariance
    of one batch's gradient, in units of the expected one's square.
    """
    figure = Figure(figsize=(12, 1.6 + 0.24 * len(audits)), layout="constrained")
    angle, scale, spread = figure.subplots(1, 3, sharey=True, width_ratios=[1.2, 1, 1])
    colors = [COLORS[found.verdict] for _, found in audits]
    angles = [math.degrees(math.acos(max(-1.0, min(1.0, found.cosine)))) for _, found in audits]
    angles = [x if math.isfinite(x) else 0.0 for x in angles]
    _bars(angle, angles, colors, "angle to the gradient that it claims, degrees")
    _bars(scale, [found.scale for _, found in audits], colors, "scale along it")
    spread.scatter([_relative_trace(found) for _, found in audits], range(len(audits)), c=colors, s=32)
    spread.set_xlabel("variance of one batch / |expected|$^2$", fontsize=9)
    spread.set_xscale("log")
    spread.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    spread.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    spread.xaxis.set_minor_formatter(NullFormatter())
    spread.grid(alpha=0.3)
    scale.axvline(1, color="0.3", lw=1, ls="--")
    angle.set_yticks(range(len(audits)), [name for name, _ in audits], fontsize=8)
    angle.set_ylim(len(audits) - 0.4, -0.6)
    seen = [verdict for verdict in COLORS if any(found.verdict == verdict for _, found in audits)]
    patches = [Patch(color=COLORS[verdict], label=verdict) for verdict in seen]
    figure.legend(handles=patches, loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=150)


def _bars(axes: Axes, values: Sequence[float], colors: Sequence[str], label: str) -> None:
    axes.barh(range(len(values)), values, color=colors, height=0.7)
    axes.set_xlabel(label, fontsize=9)
    axes.grid(alpha=0.3, axis="x")
    for i, x in enumerate(values):  # a bar of length 0 is seen, too
        if x == 0 or abs(x) < 1e-6:
            axes.plot(0, i, "|", color=colors[i], ms=7, mew=2)


def _relative_trace(found: Audit) -> float:
    square = float(found.expected.square().sum())
    return found.covariance_trace / square if square else math.nan
