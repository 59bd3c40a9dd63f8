"""The mutants of a file: what mutmut's operators make of the functions in it.

Mutmut leaves out what is decorated, because it keeps all mutants in one file; here each mutant is a file of its own,
and the bodies of decorated functions are mutated too. Annotations, docstrings and decorators are not, nor what stands
outside functions.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider
from mutmut.mutation.file_mutation import NEVER_MUTATE_FUNCTION_NAMES, MutationVisitor
from mutmut.mutation.mutators import mutation_operators
from mutmut.mutation.pragma_handling import IgnoredCode

Lines = tuple[int, int]  # from 1; the first and the last


@dataclass(frozen=True)
class Mutant:
    """One change in one function of one file, which is `source` then."""

    path: str
    function: str
    lines: Lines  # of what is changed
    body: Lines  # of the function
    source: str
    change: str

    @property
    def key(self) -> str:
        """Holds as long as the changed lines do, wherever they stand."""
        return f"{self.path} {self.function}: {self.change}"


class Visitor(MutationVisitor):
    def _skip_node_and_children(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.FunctionDef) and node.decorators:
            return node.name.value in NEVER_MUTATE_FUNCTION_NAMES
        return bool(super()._skip_node_and_children(node))


class File:
    """len(file) mutants, in the order of the text; file[i] is built when it is asked for."""

    def __init__(self, root: Path, path: str) -> None:
        self.path, self.code = path, (root / path).read_text()
        wrapper = MetadataWrapper(cst.parse_module(self.code))
        visitor = Visitor(mutation_operators, IgnoredCode(set(), set(), set()))
        self.module = wrapper.visit(visitor)
        self.places = wrapper.resolve(PositionProvider)
        pairs = ((found, found.contained_by_top_level_function) for found in visitor.mutations)
        self.found = [(found, outer) for found, outer in pairs if isinstance(outer, cst.FunctionDef)]

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[Mutant]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, i: int) -> Mutant:
        found, outer = self.found[i]
        changed = self.module.deep_replace(found.original_node, found.mutated_node)
        assert isinstance(changed, cst.Module)
        place, body = lines(self.places[found.original_node]), lines(self.places[outer])
        return Mutant(self.path, outer.name.value, place, body, changed.code, change(self.code, changed.code))


def lines(place: CodeRange) -> Lines:
    return place.start.line, place.end.line


def change(before: str, after: str) -> str:
    """`the lines that differ -> what they are then`, without indentation."""
    differ = list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=0))[2:]
    return " -> ".join(" ".join(line[1:].strip() for line in differ if line[0] == sign) for sign in "-+")
