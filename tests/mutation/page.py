"""The page mutation.md: how many mutants were killed, and each survivor with a judgement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

HERE = Path(__file__).parent
Line = dict[str, Any]
INTRODUCTION = """# Mutation testing

A mutant is the program with one small change, by an operator of [mutmut](https://mutmut.readthedocs.io): another
number, another comparison, an argument left out, a value that becomes None. For each one of a random sample the tests
that run the changed line are run, the quickest first, for a limited time. It is killed when a test fails or never
ends. Pictures (`mdp/plot`, `plot.py`) are left out. The commands stand in `__main__.py`.

*At first*: killed by the tests as they were when the mutant was first tried, with the 95 % interval of Clopper and
Pearson for all mutants. *Now*: with those added for survivors, so that the share says nothing about other mutants.

| room | mutants | tried | killed at first | share | killed now | share |
|---|---|---|---|---|---|---|
"""


def share(killed: int, tried: int) -> str:
    return f"{100 * killed / tried:.1f} %"


def interval(killed: int, tried: int) -> str:
    between = binomtest(killed, tried).proportion_ci(0.95, method="exact")
    return f"({100 * between.low:.1f} to {100 * between.high:.1f})"


def row(room: str, mutants: int, first: list[Line], last: list[Line]) -> str:
    at_first, now = (sum(line["by"] is not None for line in lines) for lines in (first, last))
    believed = f"{share(at_first, len(first))} {interval(at_first, len(first))}"
    cells = [f"`{room}`", f"{mutants:,}", len(first), at_first, believed, now, share(now, len(last))]
    return f"| {' | '.join(map(str, cells))} |\n"


def page(sizes: dict[str, int], tried: list[Line]) -> str:
    """tried: each result, in the order of time; sizes: how many mutants a room has in all."""
    judged = json.loads((HERE / "judged.json").read_text())
    first = {line["key"]: line for line in reversed(tried)}
    last = {line["key"]: line for line in tried}
    text = INTRODUCTION
    for room, size in sizes.items():
        text += row(room, size, *([line for line in lines.values() if line["room"] == room] for lines in (first, last)))
    text += "\n## Survivors\n"
    alive = sorted(key for key, line in last.items() if line["by"] is None)
    for judgement in sorted({judged.get(key, "not judged yet") for key in alive}):
        text += f"\n{judgement}:\n"
        text += "".join(f"- `{key}`\n" for key in alive if judged.get(key, "not judged yet") == judgement)
    return text
