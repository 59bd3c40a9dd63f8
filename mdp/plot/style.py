"""One style for all pictures: what a colour means, and letters that can be read from the last row.

The colours are those of Okabe and Ito (2008), which people with any colour vision tell apart. A quantity has the same
colour in every picture:

    exact      blue         what follows from the table p(s',r|s,a)
    sampled    green        what episodes gave
    scaled     orange       the right direction, another length
    biased     vermillion   the mean is another one
    other      grey         limits, optima, and what has no power to tell
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from mdp.files.writing import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Given = ParamSpec("Given")
Result = TypeVar("Result")

EXACT, SAMPLED, SCALED, BIASED, OTHER = "#0072B2", "#009E73", "#E69F00", "#D55E00", "0.45"
COLORS = {"exact": EXACT, "sampled": SAMPLED, "scaled": SCALED, "biased": BIASED, "other": OTHER}
SERIES = [EXACT, BIASED, SAMPLED, "#CC79A7", SCALED, "#56B4E9", "0.3"]  # where colours mean nothing but "another one"

STYLE: Any = {
    "figure.dpi": 130,
    "savefig.dpi": "figure",
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 9.5,
    "legend.framealpha": 0.9,
    "lines.linewidth": 2,
    "lines.markersize": 6,
}


CHART: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.axisbelow": True,
}

UNDATED: Any = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}  # no metadata that change


def styled(draw: Callable[Given, Result]) -> Callable[Given, Result]:
    """The style for everything that a function draws, and for nothing else."""

    @wraps(draw)
    def inside(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        from cycler import cycler
        from matplotlib import rc_context

        style: Any = STYLE | {"axes.prop_cycle": cycler(color=SERIES)}
        with rc_context(style):
            return draw(*args, **kwargs)

    return inside


def color_of(kind: str) -> str:
    """The colour of a quantity; any other colour of matplotlib is itself.

    Raises ValueError for a word that is neither.
    """
    from matplotlib.colors import is_color_like

    if kind not in COLORS and not is_color_like(kind):
        raise ValueError(f"{kind!r} is no colour; one of {', '.join(COLORS)}, or a colour of matplotlib")
    return COLORS.get(kind, kind)


@styled
def panels(
    *widths: float, width: float = 11.0, height: float = 4.2, title: str = "", **kwargs: Any
) -> tuple[Figure, list[Axes]]:
    """A figure with panels side by side, as wide as `widths` say; inches. **kwargs go to `Figure.subplots`."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    with rc_context(CHART):
        axes = figure.subplots(1, max(len(widths), 1), width_ratios=widths or None, squeeze=False, **kwargs)
    if title:
        figure.suptitle(title, fontsize=12)
    return figure, list(axes.flat)


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a PNG, SVG or PDF, by the ending (else PNG): whole or not at all, and each time the same bytes."""
    from matplotlib import rc_context

    kind = Path(path).suffix[1:] or "png"
    with replacing(path) as new, rc_context({"svg.hashsalt": "exactrl"}):
        figure.savefig(new, format=kind, metadata=UNDATED.get(kind))
