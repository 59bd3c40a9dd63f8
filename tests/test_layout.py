"""Who may import whom, read from the sources."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("mdp", "envs", "agents")
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}

AT_THE_TOP = {
    "mdp": {"mdp", "numpy", "scipy"},
    "envs": {"envs", "mdp", "gymnasium", "numpy"},
    "agents": {"agents", "mdp", "torch", "numpy", "scipy", "gymnasium", "rich", "matplotlib"},
    "agents.libraries": {"agents", "mdp", "torch", "trl", "torchrl", "tensordict", "transformers"},
    "agents.language": {"agents", "mdp", "torch", "tokenizers"},
    "agents.cli": {"agents", "envs", "mdp", "gymnasium", "torch", "numpy", "rich", "matplotlib", "typer"},
}
IN_FUNCTIONS = {
    "mdp": {"gymnasium", "scipy.optimize", "matplotlib", "cycler"},  # slow to import, and needed by few functions
    # when a model is loaded from a path; when it is sharded or saved, and when a run is logged (slow to import)
    "agents": {"transformers", "torch.distributed", "torch.utils.tensorboard"},
}


class Import(NamedTuple):
    """`name` is imported by `module`: inside a function, or for type checkers only."""

    module: str
    name: str
    line: int
    in_function: bool
    types_only: bool

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.name}"


def imports(module: str, path: Path) -> Iterator[Import]:
    """Every import of a file; `from x import y` is x.y where that is a module of ours, else x."""

    def walk(node: ast.AST, in_function: bool, types_only: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            where = (child.lineno, in_function, types_only) if isinstance(child, ast.stmt) else (0, False, False)
            if isinstance(child, ast.Import):
                yield from (Import(module, x.name, *where) for x in child.names)
            elif isinstance(child, ast.ImportFrom):
                package = child.module or ""
                if child.level:
                    parts = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
                    package = ".".join([*parts[: len(parts) - child.level + 1], *([package] if package else [])])
                for x in child.names:
                    inner = f"{package}.{x.name}"
                    yield Import(module, inner if inner in MODULES else package, *where)
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                yield from walk(child, in_function, True)
            else:
                function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
                yield from walk(child, in_function or function, types_only)

    yield from walk(ast.parse(path.read_text()), False, False)


ALL = [found for module, path in MODULES.items() for found in imports(module, path)]


def room(module: str) -> str:
    inner = ".".join(module.split(".")[:2])
    return inner if inner in AT_THE_TOP else module.split(".")[0]


def allowed(found: Import) -> set[str]:
    for_types = {"matplotlib"} if found.types_only else set()
    return AT_THE_TOP[room(found.module)] | for_types | set(sys.stdlib_module_names)


@pytest.mark.parametrize("name", AT_THE_TOP)
def test_each_room_imports_what_it_may(name: str) -> None:
    wrong = [
        str(x) for x in ALL if room(x.module) == name and not x.in_function and x.name.split(".")[0] not in allowed(x)
    ]
    assert wrong == []


def test_imports_inside_functions() -> None:
    def excepted(found: Import) -> bool:
        names = IN_FUNCTIONS.get(found.module.split(".")[0], set())
        return any(f"{found.name}.".startswith(f"{name}.") for name in names)

    assert [str(x) for x in ALL if x.in_function and not x.types_only and not excepted(x)] == []


def test_transformers_is_imported_in_one_file_at_most() -> None:
    assert len({x.module for x in ALL if x.name.split(".")[0] == "transformers" and not x.types_only}) <= 1


def test_no_circles() -> None:
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for found in ALL:
        if not found.types_only and found.name in MODULES and found.name != found.module:
            graph[found.module].add(found.name)
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_the_reader_sees_all_kinds_of_imports(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        "import a.b\nfrom mdp import plot, solve\nfrom . import c\n"
        "if TYPE_CHECKING:\n    import d\nif d:\n    def f():\n        from e import g\n"
    )
    assert [(x.name, x.in_function, x.types_only) for x in imports("mdp.x", path)] == [
        ("a.b", False, False),
        ("mdp.plot", False, False),
        ("mdp", False, False),
        ("mdp", False, False),
        ("d", False, True),
        ("e", True, False),
    ]


@pytest.mark.parametrize(
    ("package", "without"),
    [("mdp", {"torch", "gymnasium", "matplotlib"}), ("envs", {"torch", "matplotlib", "agents"}), ("agents", {"envs"})],
)
def test_what_an_import_leaves_out(package: str, without: set[str]) -> None:
    program = f"import sys, {package}; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert without.isdisjoint(result.stdout.split())
