"""The parts of a page: code as it stands, formulas beside it, tables, exercises with their solutions."""

from __future__ import annotations

import base64
import inspect
import io
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import marimo as mo
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def number(x: object) -> str:
    """A cell of a table: 6 digits after the point for a float, thousands apart for an int, anything else as it is."""
    if isinstance(x, bool) or not isinstance(x, int | float):
        return str(x)
    return f"{x:,}" if isinstance(x, int) else f"{x:.6f}"


def table(columns: Mapping[str, Iterable[Any]]) -> mo.Html:
    """A table from {heading: values}. All columns have the same length.

    Raises ValueError where they have not.
    """
    rows = zip(*([number(x) for x in values] for values in columns.values()), strict=True)
    lines = [list(columns), ["--:"] * len(columns), *rows]
    return mo.md("\n".join("| " + " | ".join(line) + " |" for line in lines))


def source(*functions: Callable[..., Any]) -> mo.Html:
    """The code of functions, as it stands in their files."""
    code = "\n\n\n".join(inspect.getsource(f).removeprefix("@app.function\n").rstrip() for f in functions)
    return mo.md(f"```python\n{code}\n```")


def beside(formula: str, function: Callable[..., Any]) -> mo.Html:
    """A formula in LaTeX, and beside it the code that computes it."""
    return mo.hstack([mo.md(f"$$\n{formula}\n$$"), source(function)], widths=[2, 3], align="center", gap=1)


def picture(figure: Figure) -> mo.Html:
    """A figure, laid out once and drawn once: marimo's own way draws it twice, at four times the pixels, and savefig
    draws it into nothing before it lays it out.
    """
    png, wide = io.BytesIO(), figure.get_size_inches()[0]
    canvas = FigureCanvasAgg(figure)
    if layout := figure.get_layout_engine():
        layout.execute(figure)
        figure.set_layout_engine("none")
    canvas.print_png(png)  # type: ignore[no-untyped-call]
    data = base64.b64encode(png.getvalue()).decode()
    return mo.Html(f'<img src="data:image/png;base64,{data}" style="width: {85 * wide:.0f}px; max-width: 100%">')


setattr(Figure, "_display_", picture)  # noqa: B010  the method that marimo looks for first


def row(*controls: Any) -> mo.Html:
    """Controls side by side."""
    return mo.hstack(controls, justify="start", align="center", gap=2, wrap=True)


def stacked(*parts: Any) -> mo.Html:
    """A section: text is Markdown, everything else is itself."""
    return mo.vstack([mo.md(part) if isinstance(part, str) else part for part in parts])


def exercise(n: int, question: str, *solution: Any) -> mo.Html:
    """A question, and its solution to be unfolded: text, tables, code; all of it has run when the page is shown."""
    return stacked(f"**Exercise {n}.** {question}", mo.accordion({f"Solution {n}": stacked(*solution)}))
