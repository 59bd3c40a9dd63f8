"""Numbers and labels as they are written into pictures."""

from __future__ import annotations

from collections.abc import Iterable
from math import floor, log10

from mdp.model.table import Label

CHARACTER = 0.62  # width of a character / font size
SMALLEST = 4.5  # points; smaller text is left out


def number(x: float) -> str:
    """Three digits, whole numbers up to a million in full."""
    text = f"{x:.0f}" if 1e3 <= abs(x) < 1e6 else f"{x:.3g}"
    return "0" if text == "-0" else text


def numbers(values: Iterable[float]) -> list[str]:
    """Numbers with the same decimals, so many that the largest has three digits."""
    xs = [0.0 if x == 0 else float(x) for x in values]
    largest = max(map(abs, xs), default=0.0)
    if largest >= 1e6 or 0 < largest < 1e-3:
        return [number(x) for x in xs]
    decimals = 0 if all(x == round(x) for x in xs) else max(0, 2 - floor(log10(largest)))
    texts = [f"{x:.{decimals}f}" for x in xs]
    return [text.removeprefix("-") if float(text) == 0 else text for text in texts]


def short(label: Label, most: int) -> str:
    """The label in at most that many characters."""
    text = " ".join(str(label).split()).replace("$", r"\$")  # a dollar would begin a formula
    return text if len(text) <= most else text[: most - 1] + "…"


def width(text: str, size: float) -> float:
    """Inches that a line of text takes, about."""
    return CHARACTER * size / 72 * len(text)


def fitting(texts: Iterable[str], inches: float, largest: float = 9.0) -> float:
    """The font size at which every text fits into that width; 0 where it would be too small to read."""
    longest = max((len(text) for text in texts), default=1)
    size = min(largest, 72 * inches / (CHARACTER * max(longest, 1)))
    return size if size >= SMALLEST else 0.0
