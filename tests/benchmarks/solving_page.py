"""The page and the picture of the solver benchmark."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mdp.plot import draw_curves, panels

Said = dict[str, Any]
WANTED = {"W1": 0.7, "W2": 0.4, "W3": 0.4, "W4": 0.6, "W5 Taxi": 0.3, "W5 FrozenLake8x8": 0.3}
CALLED = {"quantecon": "QuantEcon", "mdpsolver": "mdpsolver", "mdptoolbox": "pymdptoolbox"}
PAGE = """# Exact solving beside other libraries

`python -m tests.benchmarks.solving --rounds {rounds} --limit {limit:g} --largest {largest}`, which `make bench` runs
with its defaults, writes this page; its docstring says what is done. Rounds: {rounds}, on a shared machine; one core
and one thread; v within 1e-6.

{versions}.

W1: dense Garnet, 500 states, 10 actions, gamma .95. W2: sparse Garnet, 100,000 states, 4 actions, 5 successors, gamma
.99. W3: the same, 1,000,000 states, gamma .95. W4: v of the uniform policy on a 300 x 300 grid, slip .1, -1 a step to a
corner, gamma .999 (the others are given the average of its actions, as one action). W5: from Gymnasium's dictionary to
v*, gamma .99, building included; elsewhere it is not.

## Time of exactrl, as a part of another's

| | beside | by | CPU | wanted at most | wall | first solve, CPU | first solve, wall |
|---|---|---|---|---|---|---|---|
{ratios}

The first solve of a process is that of somebody who solves one thing once: with what is compiled, or read from a cache
of what was. CPU and wall are those of further, fresh models in the same process.

## Seconds and memory

| | | building, first | and then | first solve | and then | wall | MB before the solve | at most | iterations |
|---|---|---|---|---|---|---|---|---|---|
{seconds}

CPU seconds, where it does not say wall; memory is `ru_maxrss` of the whole process, with the imports and the inputs.

## Every method

| | | method | CPU seconds | v is proven within | apart from exactrl's |
|---|---|---|---|---|---|
{methods}

One try each, stopped early where another method of the library was right in far less. Proven: max |T v - v| /
(1 - gamma).

## Size

![CPU seconds and memory against the number of outcomes](solving.png)

| successors | states | outcomes | building | solving | iterations | ns | a sweep | v(s') | MB | at most | QuantEcon |
|---|---|---|---|---|---|---|---|---|---|---|---|
{sizes}

Sparse Garnets, 4 actions, 5 successors, gamma .95; CPU seconds of one process each, of further models; ns: of solving,
an outcome; a sweep: the same for one sweep over all rows; v(s'): for looking up v at each outcome's s' and nothing
else, which no sweep can do without; memory before the solve, and at most. QuantEcon: modified policy iteration,
solving. Successors anywhere are read from v at random places, which cost the more the less of v a cache holds, whoever
reads; near by (within 1,000 states round a ring, which mixes slowly and takes more sweeps) v is read in order.
"""


def spent(said: Said, whole: bool, clock: int = 0) -> tuple[float, float]:
    """CPU (0) or wall (1) seconds of the first solve and, in the median, of the others; whole: with building."""
    each = [y[clock] + whole * x[clock] for x, y in zip(said["build"], said["solve"], strict=True)]
    return each[0], statistics.median(each[1:])


def is_whole(workload: str) -> bool:
    return workload.startswith("W5")


def ratio_rows(workload: str, found: Said) -> list[str]:
    ours, whole = found["runs"].get("exactrl", []), is_whole(workload)
    lines = []
    for peer, name in CALLED.items():
        rounds = zip(ours, found["runs"].get(peer, []), strict=False)
        pairs = [(x, y) for x, y in rounds if "solve" in x and "solve" in y]
        front = f"| {workload} | {name} | "
        if not pairs:
            why = dict.fromkeys(x["verdict"] for x in found["trials"][peer if ours else "exactrl"] if x["verdict"])
            lines.append(f"{front}{'; '.join(why)} | | | | | |")
            continue
        cells = []
        for warm, clock in ((1, 0), (1, 1), (0, 0), (0, 1)):
            ratio = statistics.median(spent(x, whole, clock)[warm] / spent(y, whole, clock)[warm] for x, y in pairs)
            cells.append(f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}")
        cells.insert(1, str(WANTED[workload]) if peer == "quantecon" or is_whole(workload) else "")
        lines.append(front + " | ".join([pairs[0][1]["method"], *cells]) + " |")
    return lines


def second_rows(workload: str, found: Said) -> list[str]:
    whole, lines = is_whole(workload), []
    for name, runs in found["runs"].items():
        done = [x for x in runs if "solve" in x]
        if not done:
            continue
        built = [(x["build"][0][0], statistics.median(y[0] for y in x["build"][1:])) for x in done]
        solved = [(*spent(x, whole), spent(x, whole, 1)[1]) for x in done]
        held = [(x["before"] / 1e6, x["peak"] / 1e6) for x in done]
        cells = ["in the solve"] * 2 if whole else middles(built, ".3g")
        cells += [*middles(solved, ".3g"), *middles(held, ".0f"), str(done[0]["iterations"] or "")]
        lines.append(f"| {workload} | {CALLED.get(name, name)} | {' | '.join(cells)} |")
    return lines


def middles(rows: Iterable[tuple[float, ...]], form: str) -> list[str]:
    """The median of each column."""
    return [f"{statistics.median(column):{form}}" for column in zip(*rows, strict=True)]


def method_rows(workload: str, found: Said) -> list[str]:
    lines = []
    for library, of in found["trials"].items():
        for x in of:
            front = f"| {workload} | {CALLED.get(library, library)} | {x.get('method', '')} | "
            if "failed" in x:
                lines.append(front + f"{x['failed']} | | |")
            else:
                note = ", wrong" if x["verdict"] else ""
                cost = spent(x, is_whole(workload))[1]
                apart = "" if x["apart"] is None else f"{x['apart']:.1e}"
                lines.append(front + f"{cost:.3g} | {x['error']:.1e}{note} | {apart} |")
    return lines


def size_rows(grown: Mapping[str, list[Said]]) -> list[str]:
    lines = []
    for graph, x in ((graph, x) for graph, of in grown.items() for x in of):
        ours, theirs = x["exactrl"], x.get("quantecon")
        other = "" if theirs is None else theirs.get("failed") or f"{spent(theirs, False)[1]:.3g}"
        cells = [ours.get("failed", ""), *[""] * 7]
        if "solve" in ours:
            solve, build = spent(ours, False)[1], spent(ours, True)[1] - spent(ours, False)[1]
            cells = [f"{build:.3g}", f"{solve:.3g}", str(ours["iterations"])]
            cells += [f"{1e9 * seconds / ours['outcomes']:.3g}" for seconds in (solve, ours["sweep"], ours["lookup"])]
            cells += [f"{ours[of] / 1e6:.0f}" for of in ("before", "peak")]
        lines.append(f"| {graph} | {x['states']:,} | {ours.get('outcomes', 0):,} | {' | '.join([*cells, other])} |")
    return lines


def picture(grown: Mapping[str, list[Said]], path: Path) -> None:
    figure, (time, memory) = panels(1, 1, title="Sparse Garnets: 4 actions, 5 successors, gamma .95")
    scales: Any = {"xscale": "log", "yscale": "log", "xlabel": "outcomes"}

    def curve(graph: str, library: str, of: Any) -> list[float]:
        return [of(x[library]) if of(x[library]) else float("nan") for x in grown[graph]]

    def solving(x: Said) -> float | None:
        return spent(x, False)[1] if "solve" in x else None

    curves = {
        "exactrl, solving": curve("anywhere", "exactrl", solving),
        "QuantEcon, solving": curve("anywhere", "quantecon", solving),
        "one sweep": curve("anywhere", "exactrl", lambda x: x.get("sweep")),
        "one sweep, successors near by": curve("near by", "exactrl", lambda x: x.get("sweep")),
    }
    outcomes = [20 * x["states"] for x in grown["anywhere"]]
    draw_curves(time, outcomes, curves, marker="o", ylabel="CPU seconds", **scales)
    held = {name: curve("anywhere", library, lambda x: x.get("peak", 0) / 1e9)
            for name, library in {"exactrl": "exactrl", "QuantEcon": "quantecon"}.items()}  # fmt: skip
    draw_curves(memory, outcomes, held, marker="o", ylabel="GB of the process, at most", **scales)
    figure.savefig(path)


def page(asked: Any, found: Mapping[str, Said], grown: Mapping[str, list[Said]], drawn: Path) -> str:
    """The text; the picture is written to `drawn`."""
    picture(grown, drawn)
    used: dict[str, str] = {}
    for of in found.values():
        for x in (x for tried in of["trials"].values() for x in tried):
            used |= x.get("versions", {})

    def table(rows: Any) -> str:
        return "\n".join(line for workload, of in found.items() for line in rows(workload, of))

    return PAGE.format(
        **vars(asked),
        versions=", ".join(f"{name} {version}" for name, version in used.items()),
        ratios=table(ratio_rows),
        seconds=table(second_rows),
        methods=table(method_rows),
        sizes="\n".join(size_rows(grown)),
    )
