"""What the rows of a soak say: the median of the last quarter beside that of the second; the first is warm-up.

    memory    grows by less than 1 MB: of a leak that this would hide, 1 GB takes weeks
    blocks    sys.getallocatedblocks(): fewer than 1,000 more. They count every Python object, so that a leak of one
              object a call is seen, which pages of memory would hide
    speed     steps per CPU second, over the yardstick's, are at least 0.9 of what they were
"""

from __future__ import annotations

import csv
import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mdp.plot import panels
from mdp.plot.style import SAMPLED, styled

MEGABYTE, BLOCKS, SLOWER = 1.0, 1_000, 0.9
YARDSTICK = "numpy alone"
MEASURED = ("seconds", "cpu_seconds", "megabytes", "blocks")
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Soak:
    """The rows of a run, by column, and what they say."""

    columns: dict[str, Array]

    @classmethod
    def read(cls, path: Path) -> Soak:
        with path.open(newline="") as file:
            names, *rows = csv.reader(file)
        return cls(dict(zip(names, np.array(rows, dtype=float).T, strict=True)))

    def medians(self, name: str) -> tuple[float, float]:
        """Of the second quarter, and of the last."""
        _, second, _, last = np.array_split(self.columns[name], 4)
        return float(np.median(second)), float(np.median(last))

    def growth(self, name: str) -> float:
        second, last = self.medians(name)
        return last - second

    def ratios(self) -> dict[str, float]:
        """The speed of the last quarter over that of the second, in units of the yardstick."""
        speed = Soak({name: x / self.columns[YARDSTICK] for name, x in self.columns.items() if name not in MEASURED})
        return {name: last / second for name in speed.columns for second, last in [speed.medians(name)]}

    def faults(self) -> list[str]:
        """What a run must not do, and this one did."""
        slow = [f"{name} slowed down to {x:.3f}" for name, x in self.ratios().items() if not x >= SLOWER]
        memory, blocks = self.growth("megabytes"), self.growth("blocks")
        return [
            *([f"memory grew by {memory:.2f} MB"] if not memory < MEGABYTE else []),
            *([f"Python's blocks grew by {blocks:,.0f}"] if not blocks < BLOCKS else []),
            *slow,
        ]


def thinned(x: Array, parts: int = 60) -> Array:
    """The median of each part."""
    return np.array([np.median(part) for part in np.array_split(x, min(parts, len(x)))])


@styled
def picture(found: Soak, path: Path) -> None:
    """Memory, and the speed of each beside its own median, over the time."""
    figure, (memory, speed) = panels(1, 1.4, height=4.6)
    minutes = found.columns["seconds"] / 60
    memory.plot(minutes, found.columns["megabytes"], color=SAMPLED)
    memory.set(xlabel="minutes", ylabel="memory of the process, MB", ylim=(0, 1.2 * found.columns["megabytes"].max()))
    for name in found.ratios():
        y = found.columns[name] / np.median(found.columns[name])
        style: Any = {"color": "0.6", "linestyle": "--"} if name == YARDSTICK else {}
        speed.plot(thinned(minutes), thinned(y), label=name, **{"linewidth": 1.3} | style)
    speed.set(xlabel="minutes", ylabel="steps per CPU second, over their median", ylim=(0, 1.5))
    speed.legend(ncol=2, loc="lower center")
    figure.savefig(path)


def page(found: Soak) -> str:
    ratios, seconds, cpu = found.ratios(), *(found.columns[x][-1] for x in ("seconds", "cpu_seconds"))
    (before, after), (fewer, more) = found.medians("megabytes"), found.medians("blocks")
    rates = {name: float(np.median(found.columns[name])) for name in ratios}
    rows = [
        f"| {name} | {rates[name] / 1e6:.3g} | {rates[name] * cpu / len(ratios):.1e} | {ratio:.3f} |"
        for name, ratio in ratios.items()
    ]
    versions = ", ".join(f"{x} {importlib.metadata.version(x)}" for x in ("exactrl", "gymnasium", "numpy", "torch"))
    return f"""# Soak: {cpu / 60:.1f} minutes of CPU time

`OMP_NUM_THREADS=1 python -m tests.benchmarks.soak --minutes {cpu / 60:.0f}`: {len(found.columns["seconds"]):,} rounds
in {seconds / 60:.1f} minutes, of which {1 - cpu / seconds:.0%} went to other work on the machine. {versions}.
How it is done stands in [soak.py](soak.py), what is judged in [soak_verdict.py](soak_verdict.py).

**Verdict: {"; ".join(found.faults()) or "memory does not grow, speed does not fall"}.**

| medians | second quarter | last quarter | growth | limit |
|---|---|---|---|---|
| memory of the process, MB | {before:.2f} | {after:.2f} | {after - before:+.2f} | {MEGABYTE:g} |
| Python's blocks | {fewer:,.0f} | {more:,.0f} | {more - fewer:+,.0f} | {BLOCKS:,} |

| by turns | million steps per CPU second | steps in all | speed, last over second quarter (limit {SLOWER}) |
|---|---|---|---|
{chr(10).join(rows)}

![Memory over the time, and the speeds](soak.png)

Each speed is in units of the yardstick's, numpy's random numbers: other work on the machine slows both. A `History` has
one row for each update and grows with them, as it should; here each training is a new one, of 10 updates.
"""


def write(found: Soak, beside: Path) -> bool:
    """The page and its picture; True where something is refused."""
    text = page(found)
    beside.with_suffix(".md").write_text(text)
    picture(found, beside.with_suffix(".png"))
    print(text)
    return bool(found.faults())
