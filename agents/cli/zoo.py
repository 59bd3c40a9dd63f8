"""`exactrl envs`: the zoo, with the exact J of the uniform policy and J*."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

import envs
from mdp import evaluate, solve

HEADERS = ("name", "states", "actions", "outcomes", "gamma", "J uniform", "J*", "source")
CAPTION = (
    "J: the expected return from the start. A wide terminal shows every source of the answers.\n"
    "gymnasium.make('envs:exactrl/NAME-v0') plays one, exactrl show exactrl/NAME-v0 draws it."
)


class Row(NamedTuple):
    """One environment with its default parameters: J of the uniform policy, J*, and the sources of its answers."""

    name: str
    states: int
    actions: int
    outcomes: int
    gamma: float
    uniform: float
    best: float
    sources: list[str]


def rows(console: Console) -> Iterator[Row]:
    """Every environment of the zoo, solved; a bar shows how far it is."""
    for name, entry in track(envs.ZOO.items(), "solving", console=console, transient=True):
        mdp = entry.make()
        uniform = evaluate(mdp, mdp.uniform_policy()).objective
        best = float(mdp.start @ solve(mdp).v)
        sources = list(dict.fromkeys(answer.source for answer in entry.answers))
        yield Row(name, mdp.n_states, mdp.n_actions, len(mdp.table.p), mdp.gamma, uniform, best, sources)


def table(found: list[Row]) -> Table:
    """A line for each environment; sources are cut where the terminal is narrow."""
    out = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    lines = [_line(x) for x in found]
    for header, cells in zip(HEADERS, zip(*lines, strict=True), strict=True):
        text = header in (HEADERS[0], HEADERS[-1])
        wide = 8 if header == HEADERS[-1] else max(map(len, (header, *cells)))
        out.add_column(header, justify="left" if text else "right", min_width=wide)
    for line in lines:
        out.add_row(*line[:-1], Text(line[-1], no_wrap=True, overflow="ellipsis"))
    return out


def _line(x: Row) -> list[str]:
    sizes = [f"{n:,}" for n in (x.states, x.actions, x.outcomes)]
    return [x.name, *sizes, f"{x.gamma:g}", _number(x.uniform), _number(x.best), "; ".join(x.sources) or "none known"]


def _number(x: float) -> str:
    return f"{x:.5g}" if abs(x) > 1e-12 else "0"  # where values cancel, what is left is rounding
