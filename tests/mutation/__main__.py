"""Mutation testing of a random sample: how many wrong programs the tests would let pass.

    python -m tests.mutation mdp 300     tries the first 300 of the room's sample, but those tried before
    python -m tests.mutation again       tries the survivors once more, with five times the time
    python -m tests.mutation check       the tests that killed pass where nothing is changed
    python -m tests.mutation page        writes mutation.md

Which tests run a line comes from `make coverage`; what was found is appended to build/mutation/tried.jsonl.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tests.mutation.choice import Choice
from tests.mutation.killing import Tree, attempt
from tests.mutation.mutants import File, Mutant
from tests.mutation.page import page

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "mutation"
TRIED = BUILD / "tried.jsonl"
COVERAGE, SECONDS = ROOT / ".coverage", ROOT / ".coverage_seconds.json"
BUDGET = 60.0  # seconds of tests for one mutant, as coverage measured them
LIBRARIES = (
    "gymnasium.vector", "hypothesis", "matplotlib.pyplot", "rich.progress", "scipy.linalg", "scipy.optimize",
    "scipy.sparse.csgraph", "scipy.sparse.linalg", "scipy.stats", "torch", "transformers", "typer.testing",
)  # fmt: skip  # imported once, in the process that forks


def pictures(path: str) -> bool:
    return path.startswith("mdp/plot/") or path.endswith("/plot.py")


@cache
def files(room: str) -> dict[str, File]:
    paths = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / room).rglob("*.py"))]
    return {path: File(ROOT, path) for path in paths if not pictures(path)}


def sample(room: str, size: int) -> Iterator[Mutant]:
    """The first of all mutants in the order of a hash of their places: a larger sample begins with a smaller one."""
    places = [(path, i) for path, file in files(room).items() for i in range(len(file))]
    places.sort(key=lambda place: hashlib.sha256(f"{place[0]} {place[1]}".encode()).digest())
    yield from (files(room)[path][i] for path, i in places[:size])


def tried() -> list[dict[str, Any]]:
    """In the order of time. A mutant that was tried again is there twice."""
    return [json.loads(line) for line in TRIED.read_text().splitlines()] if TRIED.exists() else []


def survivors() -> list[Mutant]:
    """Among the mutants that the code has now."""
    last = {line["key"]: line["by"] for line in tried()}
    keys = {key for key, by in last.items() if by is None}
    functions = {tuple(key.partition(":")[0].split(" ")) for key in keys}
    found: dict[str, Mutant] = {}
    for path in sorted({path for path, _ in functions}):
        file = File(ROOT, path)
        likely = (file[i] for i, (_, outer) in enumerate(file.found) if (path, outer.name.value) in functions)
        found |= {mutant.key: mutant for mutant in likely if mutant.key in keys}
    return list(found.values())


def elsewhere() -> Path:
    """A folder for a tree outside of git's, of whose state some tests ask; it is gone when this process ends."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder / "tree"


def head() -> str:
    """The commit whose tests are run."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()


def try_all(chosen: Iterable[Mutant], budget: float) -> None:
    for library in LIBRARIES:
        importlib.import_module(library)
    tests, tree, commit = Choice(ROOT, COVERAGE, SECONDS), Tree(ROOT, elsewhere()), head()
    for mutant in chosen:
        names = tests.chosen(mutant, budget)
        with tree.holding(mutant):
            outcome = attempt(tree, names, limit=30 + 2 * round(budget)) if names else None
        line = {
            "room": mutant.path.partition("/")[0], "key": mutant.key, "line": mutant.lines[0], "tests": len(names),
            "by": outcome.by if outcome else None, "seconds": round(outcome.seconds, 1) if outcome else 0.0,
            "commit": commit,
        }  # fmt: skip
        with TRIED.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print("killed  " if line["by"] else "SURVIVED", mutant.key, "|", line["by"], line["seconds"], flush=True)


def check() -> None:
    """Raises where a test that killed a mutant fails without one, or is gone: then it killed nothing."""
    last = {line["key"]: str(line["by"]) for line in tried()}
    names = sorted({by for by in last.values() if "::" in by})
    outcome = attempt(Tree(ROOT, elsewhere()), names, limit=3600)
    if outcome.by:
        raise SystemExit(f"{outcome.by} fails where nothing was changed")
    if gone := set(names) - outcome.passed:
        raise SystemExit(f"{min(gone)} does not run any more, nor do {len(gone) - 1} others that killed")
    print(f"{len(names)} tests that killed pass where nothing was changed")


def main(command: str, *arguments: str) -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    if command == "again":
        try_all(survivors(), 5 * BUDGET)
    elif command == "check":
        check()
    elif command == "page":
        rooms = dict.fromkeys(line["room"] for line in tried())
        sizes = {room: sum(map(len, files(room).values())) for room in rooms}
        (Path(__file__).parent / "mutation.md").write_text(page(sizes, tried()))
    else:
        before = {line["key"] for line in tried()}
        try_all((mutant for mutant in sample(command, int(arguments[0])) if mutant.key not in before), BUDGET)


if __name__ == "__main__":
    main(*sys.argv[1:])
