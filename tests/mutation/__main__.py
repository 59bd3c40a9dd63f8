"""Mutation testing of a random sample: how many wrong programs the tests would let pass.

    python -m tests.mutation mdp 300     tries the first 300 of the room's sample, but those tried before
    python -m tests.mutation again       tries the survivors once more, with five times the time
    python -m tests.mutation check       the tests that killed pass where nothing is changed
    python -m tests.mutation page        writes mutation.md

Which tests run a line comes from `make coverage`; what was found is appended to build/mutation/tried.jsonl.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.mutation.choice import Tests
from tests.mutation.killing import Tree, attempt
from tests.mutation.mutants import File, Mutant
from tests.mutation.page import page

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "mutation"
TRIED = BUILD / "tried.jsonl"
COVERAGE, SECONDS = ROOT / ".coverage", ROOT / ".coverage_seconds.json"
BUDGET = 40.0  # seconds of tests for one mutant, as coverage measured them
LIBRARIES = (
    "gymnasium.vector", "hypothesis", "matplotlib.pyplot", "rich.progress", "scipy.linalg", "scipy.optimize",
    "scipy.sparse.csgraph", "scipy.sparse.linalg", "scipy.stats", "torch", "transformers", "typer.testing",
)  # fmt: skip  # imported once, in the process that forks


def pictures(path: str) -> bool:
    return path.startswith("mdp/plot/") or path.endswith("/plot.py")


def places(room: str) -> list[tuple[str, int]]:
    """All mutants of a room, as (file, number in it), in the order of a hash: any beginning is a random sample."""
    paths = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / room).rglob("*.py"))]
    counted = [(path, i) for path in paths if not pictures(path) for i in range(len(File(ROOT, path)))]
    return sorted(counted, key=lambda place: hashlib.sha256(f"{place[0]} {place[1]}".encode()).digest())


def built(chosen: list[tuple[str, int]]) -> list[Mutant]:
    files = {path: File(ROOT, path) for path, _ in chosen}
    return [files[path][i] for path, i in chosen]


def tried() -> list[dict[str, Any]]:
    """In the order of time. A mutant that was tried again is there twice."""
    return [json.loads(line) for line in TRIED.read_text().splitlines()] if TRIED.exists() else []


def survivors() -> list[Mutant]:
    """Among the mutants that the code has now."""
    last = {line["key"]: line["by"] for line in tried()}
    keys = {key for key, by in last.items() if by is None}
    paths = sorted({key.partition(" ")[0] for key in keys})
    return list({mutant.key: mutant for path in paths for mutant in File(ROOT, path) if mutant.key in keys}.values())


def try_all(chosen: Iterable[Mutant], budget: float) -> None:
    for library in LIBRARIES:
        importlib.import_module(library)
    tests, tree = Tests(ROOT, COVERAGE, SECONDS), Tree(ROOT, BUILD / "tree")
    for mutant in chosen:
        names = tests.chosen(mutant, budget)
        with tree.holding(mutant):
            outcome = attempt(tree, names, limit=30 + 2 * budget) if names else None
        line = {
            "room": mutant.path.partition("/")[0], "key": mutant.key, "line": mutant.lines[0], "tests": len(names),
            "by": outcome.by if outcome else None, "seconds": round(outcome.seconds, 1) if outcome else 0.0,
        }  # fmt: skip
        with TRIED.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print("killed  " if line["by"] else "SURVIVED", mutant.key, "|", line["by"], line["seconds"], flush=True)


def check() -> None:
    """Raises where a test that killed a mutant fails without one: then it killed nothing."""
    names = sorted({str(line["by"]) for line in tried() if "::" in str(line["by"])})
    outcome = attempt(Tree(ROOT, BUILD / "tree"), names, limit=3600)
    if outcome.by:
        raise SystemExit(f"{outcome.by} fails where nothing was changed")
    print(f"{len(names)} tests that killed pass where nothing was changed")


def main(command: str, *arguments: str) -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    if command == "again":
        try_all(survivors(), 5 * BUDGET)
    elif command == "check":
        check()
    elif command == "page":
        rooms = dict.fromkeys(line["room"] for line in tried())
        sizes = {room: len(places(room)) for room in rooms}
        (Path(__file__).parent / "mutation.md").write_text(page(sizes, tried()))
    else:
        chosen, before = built(places(command)[: int(arguments[0])]), {line["key"] for line in tried()}
        try_all((mutant for mutant in chosen if mutant.key not in before), BUDGET)


if __name__ == "__main__":
    main(*sys.argv[1:])
