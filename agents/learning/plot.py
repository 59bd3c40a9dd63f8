"""The learning curve: what the agent saw, and what was true."""

from __future__ import annotations

import os

from matplotlib.figure import Figure

from agents.learning.training import History


def plot_history(
    history: History, path: str | os.PathLike[str], *, optimum: tuple[float, str] | None = None, title: str = ""
) -> None:
    """Write a PNG, SVG or PDF, by the ending: the sampled return with 2 standard errors, and the exact J(theta_k).

    optimum: J* and what it is called.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    k, sampled, error = (history.column(name) for name in ("update", "sampled_return", "standard_error"))
    axes.fill_between(k, sampled - 2 * error, sampled + 2 * error, color="C0", alpha=0.25, lw=0)
    # the episodes of update k were played by theta_{k-1}
    axes.plot(k, sampled, color="C0", lw=0.8, label="sampled return of the update's episodes, 2 standard errors")
    axes.plot(k, history.column("J"), color="C1", lw=2, label=r"exact $J(\theta_k)$ after the update")
    if optimum is not None:
        axes.axhline(optimum[0], color="0.3", ls="--", lw=1, label=optimum[1])
    axes.set(xlabel="update k", ylabel="discounted return", title=title)
    axes.legend(fontsize=8, loc="lower right")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
