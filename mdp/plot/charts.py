"""Curves, bars, and estimates on their exact intervals: each draws on axes that `panels` gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from mdp.plot.style import OTHER, SERIES, color_of, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@styled
def draw_curves(
    axes: Axes,
    x: ArrayLike,
    curves: Mapping[str, ArrayLike],
    *,
    kinds: Mapping[str, str] | None = None,
    errors: Mapping[str, ArrayLike] | None = None,
    levels: Mapping[str, float] | None = None,
    marker: str = "",
    **labels: Any,
) -> None:
    """Lines over x by name; a band of 2 errors around those that have some; levels are dashed lines across.

    kinds: what each name is ("exact", "sampled", ...), which gives its colour. **labels go to `Axes.set`.
    """
    kinds, errors = kinds or {}, errors or {}
    for k, (name, values) in enumerate(curves.items()):
        y, color = np.asarray(values, dtype=float), color_of(kinds.get(name, SERIES[k % len(SERIES)]))
        if name in errors:
            band = 2 * np.asarray(errors[name], dtype=float)
            axes.fill_between(np.asarray(x, dtype=float), y - band, y + band, color=color, alpha=0.2, lw=0)
        axes.plot(x, y, color=color, label=name, marker=marker)
    for name, level in (levels or {}).items():
        axes.axhline(level, color=OTHER, ls="--", lw=1.3, label=name)
    axes.set(**labels)
    if len(curves) + len(levels or {}) > 1:
        axes.legend()


@styled
def draw_bars(
    axes: Axes,
    values: Mapping[str, float],
    *,
    kinds: Mapping[str, str] | None = None,
    errors: Mapping[str, float] | None = None,
    level: float | None = None,
    **labels: Any,
) -> None:
    """A horizontal bar for each name, from the top down, with 2 errors where there are some; a dashed line at `level`.

    A bar of length 0 is drawn as a tick. kinds as in `draw_curves`; bars without one are blue.
    """
    colors = [color_of((kinds or {}).get(name, "exact")) for name in values]
    x, heights = np.array(list(values.values()), dtype=float), np.arange(len(values))
    axes.barh(heights, x, color=colors, height=0.7)
    for name, error in (errors or {}).items():
        axes.errorbar(values[name], list(values).index(name), xerr=2 * error, color="0.15", capsize=4, lw=1.5)
    for at in np.flatnonzero(np.abs(x) < 1e-6):
        axes.plot(0, at, "|", color=colors[at], ms=9, mew=2.5)
    if level is not None:
        axes.axvline(level, color=OTHER, ls="--", lw=1.3)
    axes.set_yticks(heights, list(values))
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set(**labels)


@styled
def draw_estimates(
    axes: Axes,
    estimates: Mapping[str, Sequence[float] | np.ndarray],
    *,
    mean: Mapping[str, float],
    error: Mapping[str, float],
    truth: float | None = None,
    kinds: Mapping[str, str] | None = None,
    **labels: Any,
) -> None:
    """For each name a row: points, one an estimate, on the exact mean and 1 and 2 exact standard errors of it.

    truth: a dotted line through all rows. kinds as in `draw_curves`; rows without one are green.
    """
    for row, (name, points) in enumerate(estimates.items()):
        color, mu, se = color_of((kinds or {}).get(name, "sampled")), mean[name], error[name]
        for k, alpha in ((2, 0.13), (1, 0.28)):
            label = rf"exact mean $\pm$ {k} SE" if row == 0 else None
            axes.fill_betweenx([row - 0.36, row + 0.36], mu - k * se, mu + k * se, color=color, alpha=alpha, lw=0,
                               label=label)  # fmt: skip
        axes.plot([mu, mu], [row - 0.36, row + 0.36], color=color)
        axes.plot(points, row + np.linspace(-0.28, 0.28, len(points)), "o", ms=4.5, color=color, mec="white", mew=0.5)
        axes.text(mu, row - 0.38, f"{mu:.4g}", color=color, ha="center", va="bottom", fontsize=10,
                  bbox={"fc": "white", "ec": "none", "pad": 0.5})  # fmt: skip
    if truth is not None:
        axes.axvline(truth, color="0.15", ls=":", lw=1.5, label="the truth", zorder=0)
    axes.set_yticks(range(len(estimates)), list(estimates))
    axes.set_ylim(len(estimates) - 0.4, -0.9)
    axes.grid(visible=False, axis="y")
    axes.set(**labels)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, -0.35), ncols=3, frameon=False)
