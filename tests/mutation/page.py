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

*At first*: killed by the tests of the commit at which the mutant was first tried, with the 95 % interval of Clopper and
Pearson for all mutants. *Equivalent*: survivors that, as judged below, no test could kill; the others' share is what
is called the mutation score. *Now*: with the tests that were written for survivors, so that it says nothing about other
mutants.

| room | mutants | tests of | tried | killed at first | share | equivalent | of the others | killed now | share |
|---|---|---|---|---|---|---|---|---|---|
"""


def share(killed: int, tried: int) -> str:
    return f"{100 * killed / tried:.1f} %"


def interval(killed: int, tried: int) -> str:
    between = binomtest(killed, tried).proportion_ci(0.95, method="exact")
    return f"({100 * between.low:.1f} to {100 * between.high:.1f})"


def row(room: str, mutants: int, of: str, first: list[Line], last: list[Line], equivalent: set[str]) -> str:
    at_first, now = (sum(line["by"] is not None for line in lines) for lines in (first, last))
    n, none = len(first), sum(line["key"] in equivalent for line in last)
    believed = [f"{share(at_first, k)} {interval(at_first, k)}" for k in (n, n - none)]
    cells = [f"`{room}`", f"{mutants:,}", of, n, at_first, believed[0], none, believed[1], now, share(now, n)]
    return f"| {' | '.join(map(str, cells))} |\n"


def rows(room: str, mutants: int, first: dict[str, Line], last: dict[str, Line], equivalent: set[str]) -> str:
    """One for each commit whose tests were first to try, in the order of time."""
    text, tried = "", [line for line in first.values() if line["room"] == room]
    for commit in dict.fromkeys(line.get("commit") for line in tried):
        lines = [line for line in tried if line.get("commit") == commit]
        text += row(room, mutants, commit or "before", lines, [last[line["key"]] for line in lines], equivalent)
    return text


def page(sizes: dict[str, int], tried: list[Line]) -> str:
    """tried: each result, in the order of time; sizes: how many mutants a room has in all."""
    judged = json.loads((HERE / "judged.json").read_text())
    first: dict[str, Line] = {}
    for line in tried:
        first.setdefault(line["key"], line)
    last = {line["key"]: line for line in tried}
    alive = sorted(key for key, line in last.items() if line["by"] is None)
    equivalent = {key for key in alive if judged.get(key, "").startswith("Equivalent")}
    text = INTRODUCTION + "".join(rows(room, size, first, last, equivalent) for room, size in sizes.items())
    text += "\n## Survivors\n"
    for judgement in sorted({judged.get(key, "not judged yet") for key in alive}):
        text += f"\n{judgement}:\n"
        text += "".join(f"- `{key}`\n" for key in alive if judged.get(key, "not judged yet") == judgement)
    return text
