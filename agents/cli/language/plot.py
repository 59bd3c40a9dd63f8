"""The pictures of a language model: its training, and how far its sampled gradients lie from the exact ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator

from agents.learning import History
from mdp.plot import color_of, draw_curves, panels, save_figure, styled

if TYPE_CHECKING:
    from agents.cli.language.verify import Part


def draw_training(history: History, path: Path, title: str) -> None:
    """Reward with 2 standard errors, KL to the reference, entropy; by update."""
    figure, axes = panels(1.4, 1, 1, width=12, height=4.2, title=title)
    rows = History(history.rows[1:])
    names = {"sampled_return": "mean reward, 2 standard errors", "kl": "KL to the reference, nats a token",
             "entropy": "entropy, nats a token"}  # fmt: skip
    errors = {names["sampled_return"]: rows.column("standard_error")}
    for at, (column, name) in zip(axes, names.items(), strict=True):
        curve = {name: rows.column(column)}
        draw_curves(at, rows.column("update"), curve, kinds={name: "sampled"}, marker="o", title=name, xlabel="update",
                    errors=errors if name in errors else None)  # fmt: skip
        at.xaxis.set_major_locator(MaxNLocator(integer=True))
    save_figure(figure, path)


@styled
def draw_checks(parts: list[Part], title: str, path: Path) -> None:
    """z of every sampled estimate along every direction, with the limit."""
    z = {name: values for part in parts for name, values in part.z.items()}
    limit = max(row.limit for part in parts for row in part.rows if row.unit and row.limit is not None)
    figure, (axes,) = panels(width=8.5, height=1.4 + 0.8 * len(z))
    axes.axvspan(-limit, limit, color=color_of("exact"), alpha=0.12, lw=0, label=f"no alarm: |z| < {limit:.1f}")
    for k, values in enumerate(z.values()):
        label = "random directions" if k == 0 else None
        axes.scatter(values[1:], [k] * (len(values) - 1), color=color_of("sampled"), label=label)
        axes.scatter(values[:1], [k], color="black", marker="D", label="along grad J" if k == 0 else None)
    axes.axvline(0, color="0.3", lw=1)
    axes.set(yticks=range(len(z)), yticklabels=list(z), xlim=(-1.3 * limit, 1.3 * limit), title=title,
             xlabel="(estimate - exact) / exact standard error")  # fmt: skip
    axes.set_ylim(-0.6, len(z) - 0.4)
    axes.invert_yaxis()
    axes.legend(loc="upper right")
    save_figure(figure, path)
