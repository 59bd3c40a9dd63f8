"""Which tests can kill a mutant: those that run its line, one case of each test before the second case of any."""

from __future__ import annotations

import ast
import json
from collections import Counter
from pathlib import Path

from coverage import CoverageData

from tests.mutation.mutants import Lines, Mutant

BROWSER = "tests/tutorials/test_in_browser.py"  # it would take more address space than a mutant is given


class Choice:
    """What the plugin contexts.py wrote: a coverage file, and the seconds of each test."""

    def __init__(self, root: Path, data: Path, seconds: Path) -> None:
        self.root, self.data = root, CoverageData(str(data))
        self.data.read()
        self.seconds: dict[str, float] = json.loads(seconds.read_text())

    def chosen(self, mutant: Mutant, budget: float) -> list[str]:
        """The quickest first, for `budget` seconds; the first one whatever it takes."""
        found: list[str] = []
        for test in self.ordered(self.covering(mutant)):
            budget -= self.seconds[test]
            if found and budget < 0:
                break
            found.append(test)
        return found

    def covering(self, mutant: Mutant) -> set[str]:
        """Of the line itself; else, for a line that has no code of its own, of the statement; else of the function; for
        one that runs while tests are collected, or in a process of theirs, of the file."""
        contexts = self.data.contexts_by_lineno(mutant.path)
        for first, last in (mutant.lines, self.statement(mutant), mutant.body, (1, max(contexts, default=0))):
            named = {test for line in range(first, last + 1) for test in contexts.get(line, ())}
            if tests := {test for test in named & self.seconds.keys() if not test.startswith(BROWSER)}:
                return tests
        return set()

    def statement(self, mutant: Mutant) -> Lines:
        """The shortest that holds the mutated lines."""
        first, last = mutant.lines
        nodes = ast.walk(ast.parse((self.root / mutant.path).read_text()))
        spans = [(node.lineno, node.end_lineno or node.lineno) for node in nodes if isinstance(node, ast.stmt)]
        return min((span for span in spans if span[0] <= first and last <= span[1]), key=lambda span: span[1] - span[0])

    def ordered(self, tests: set[str]) -> list[str]:
        """By seconds; the second case of a test after the first of all."""
        seen: Counter[str] = Counter()
        ranked = []
        for test in sorted(tests, key=lambda test: (self.seconds[test], test)):
            name = test.partition("[")[0]
            ranked.append((seen[name], self.seconds[test], test))
            seen[name] += 1
        return [test for _, _, test in sorted(ranked)]
