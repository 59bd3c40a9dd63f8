"""The picture of many audits: which way a loss points, how far, and how much it scatters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from agents.audits.result import Audit
from mdp.plot import color_of, draw_bars, panels, save_figure, styled

KINDS = {"exact": "exact", "consistent": "exact", "scaled": "scaled", "biased": "biased", "no power": "other"}


@styled
def plot_audits(audits: Sequence[tuple[str, Audit]], path: str | Path, title: str) -> None:
    """Write a PNG, SVG or PDF, by the ending of `path`: for each (name, audit) two bars and a point.

    The angle between expected and true gradient, in degrees; the scale along the true one; the trace of the covariance
    of one batch's gradient, in units of the expected one's square.
    """
    figure, (angle, scale, spread) = panels(
        1.2, 1, 1, width=12, height=1.6 + 0.24 * len(audits), title=title, sharey=True
    )
    kinds = {name: KINDS[found.verdict] for name, found in audits}
    draw_bars(scale, {name: found.scale for name, found in audits}, kinds=kinds, level=1, xlabel="scale along it")
    draw_bars(angle, {name: _degrees(found) for name, found in audits}, kinds=kinds,
              xlabel="angle to the gradient that it claims, degrees")  # fmt: skip
    spread.scatter([_relative_trace(found) for _, found in audits], range(len(audits)),
                   c=[color_of(kinds[name]) for name, _ in audits], s=32)  # fmt: skip
    spread.set_xlabel("variance of one batch / |expected|$^2$")
    spread.set_xscale("log")
    spread.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    spread.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    spread.xaxis.set_minor_formatter(NullFormatter())
    seen = [verdict for verdict in KINDS if any(found.verdict == verdict for _, found in audits)]
    patches = [Patch(color=color_of(KINDS[verdict]), label=verdict) for verdict in seen]
    figure.legend(handles=patches, loc="outside lower center", ncols=4, frameon=False)
    save_figure(figure, path)


def _degrees(found: Audit) -> float:
    return math.degrees(math.acos(max(-1.0, min(1.0, found.cosine)))) if math.isfinite(found.cosine) else 0.0


def _relative_trace(found: Audit) -> float:
    square = float(found.expected.square().sum())
    return found.covariance_trace / square if square else math.nan
