"""The learning curve: what the agent saw, and what was true."""

from __future__ import annotations

import os

from agents.learning.training import History
from mdp.plot import draw_curves, panels, save_figure


def plot_history(
    history: History, path: str | os.PathLike[str], *, optimum: tuple[float, str] | None = None, title: str = ""
) -> None:
    """Write a PNG, SVG or PDF, by the ending: the sampled return with 2 standard errors, and the exact J(theta_k).

    optimum: J* and what it is called.
    """
    figure, (axes,) = panels(width=8, height=4.5)
    # the episodes of update k were played by theta_{k-1}
    played, exact = "return of the update's episodes, 2 standard errors", r"exact $J(\theta_k)$ after the update"
    draw_curves(
        axes,
        history.column("update"),
        {played: history.column("sampled_return"), exact: history.column("J")},
        kinds={played: "sampled", exact: "exact"},
        errors={played: history.column("standard_error")},
        levels=None if optimum is None else {optimum[1]: optimum[0]},
        xlabel="update k",
        ylabel="discounted return",
        title=title,
    )
    save_figure(figure, path)
