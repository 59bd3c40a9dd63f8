"""What no source may do, read from the sources: unpickle, evaluate text, write a file in its place."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.test_layout import MODULES

FORBIDDEN = {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve"}
WRITERS = {"write_text", "write_bytes", "savefig", "savez", "savez_compressed", "savetxt", "tofile", "save_file"}
IN_PLACE = {  # and why that is no half of a file
    ("agents.cli.course.marking", "open"): "lines for a reader that waits for each of them",
    ("agents.cli.course.commands", "savefig"): "into memory",
    ("agents.learning.checkpoints", "write_text"): "in a folder that is renamed when it is whole",
    ("agents.learning.checkpoints", "save"): "in a folder that is renamed when it is whole",
}


class Resolved(ast.NodeTransformer):
    """Names that an import gives, written out: np.load becomes numpy.load, and load what it was imported from."""

    def __init__(self, tree: ast.AST) -> None:
        self.full: dict[str, str] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                self.full |= {x.asname: x.name for x in node.names if x.asname}
            elif isinstance(node, ast.ImportFrom):
                self.full |= {x.asname or x.name: f"{node.module}.{x.name}" for x in node.names if node.module}

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id not in self.full or not isinstance(node.ctx, ast.Load):
            return node
        return ast.copy_location(ast.parse(self.full[node.id], mode="eval").body, node)


def read(text: str) -> ast.AST:
    tree = ast.parse(text)
    resolved: ast.AST = Resolved(tree).visit(tree)
    return resolved


def calls(tree: ast.AST, *, replacing: bool = False) -> Iterator[tuple[ast.Call, bool]]:
    """Every call; whether it stands inside `with replacing(...)`."""
    for child in ast.iter_child_nodes(tree):
        within = replacing
        if isinstance(child, ast.With):
            within |= any(called(item.context_expr) == "replacing" for item in child.items)
        if isinstance(child, ast.Call):
            yield child, replacing
        yield from calls(child, replacing=within)


def called(node: ast.AST) -> str:
    """The last name of what is called."""
    function = node.func if isinstance(node, ast.Call) else node
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def owner(call: ast.Call) -> str:
    return ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""


def opens_to_write(call: ast.Call) -> bool:
    """open(path, "w"), path.open("w"); a mode that is no literal may be one."""
    if owner(call) == "os":  # os.open has flags
        return "O_RDONLY" not in ast.unparse(call)
    method = isinstance(call.func, ast.Attribute) and owner(call) not in ("archive", "zipfile")
    place = 0 if method else 1  # a zip's has the name first
    given = [*call.args[place : place + 1], *(x.value for x in call.keywords if x.arg == "mode")]
    return any(not isinstance(x, ast.Constant) or set("wax+") & set(str(x.value)) for x in given)


def writes(call: ast.Call) -> bool:
    name = called(call)
    if name == "save":  # a method of ours writes by `replacing`; these do not
        return owner(call).partition(".")[0] in ("", "numpy", "torch")
    if name == "dump":
        return owner(call) == "json"
    return name in WRITERS or (name in ("open", "fdopen", "ZipFile") and opens_to_write(call))


def setting(call: ast.Call, name: str) -> object:
    return next((ast.literal_eval(x.value) for x in call.keywords if x.arg == name), None)


def mistakes(module: str, text: str) -> Iterator[str]:
    tree = read(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            named = [x.name for x in node.names] + [getattr(node, "module", None) or ""]
            yield from (f"{module}:{node.lineno} imports {x}" for x in named if x.split(".")[0] in FORBIDDEN)
    for call, replacing in calls(tree):
        at, name = f"{module}:{call.lineno}", called(call)
        if name in ("eval", "exec") and owner(call) in ("", "builtins"):
            yield f"{at} calls {name}"
        if name in ("import_module", "__import__") and call.args and ast.unparse(call.args[0])[1:-1] in FORBIDDEN:
            yield f"{at} imports {ast.literal_eval(call.args[0])}"
        if name == "load" and owner(call) == "numpy" and setting(call, "allow_pickle") is not False:
            yield f"{at} calls np.load without allow_pickle=False"
        if name == "read_array" and setting(call, "allow_pickle") is not False:
            yield f"{at} calls read_array without allow_pickle=False"
        if name == "load" and owner(call) == "torch" and setting(call, "weights_only") is not True:
            yield f"{at} calls torch.load without weights_only=True"
        if writes(call) and not replacing and (module, name) not in IN_PLACE:
            yield f"{at} writes in place, by {name}"


def test_nothing_is_unpickled_evaluated_or_written_in_its_place() -> None:
    assert [found for module, path in MODULES.items() for found in mistakes(module, path.read_text())] == []


def test_every_exception_is_needed() -> None:
    seen = {(module, called(call)) for module, path in MODULES.items() for call, _ in calls(read(path.read_text()))
            if writes(call)}  # fmt: skip
    assert seen >= IN_PLACE.keys()


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("import pickle", "x:1 imports pickle"),
        ("def f():\n    from pickle import loads", "x:2 imports pickle"),
        ("import shelve as s", "x:1 imports shelve"),
        ("eval(text)", "x:1 calls eval"),
        ("builtins.eval(text)", "x:1 calls eval"),
        ("importlib.import_module('pickle')", "x:1 imports pickle"),
        ("from torch import load as get\nget(path)", "x:2 calls torch.load without weights_only=True"),
        ("import torch as t\nt.load(path)", "x:2 calls torch.load without weights_only=True"),
        ("from zipfile import ZipFile\nZipFile(path, 'w')", "x:2 writes in place, by ZipFile"),
        ("import numpy as np\nnp.load(path)", "x:2 calls np.load without allow_pickle=False"),
        ("numpy.load(path, allow_pickle=True)", "x:1 calls np.load without allow_pickle=False"),
        ("npy.read_array(file)", "x:1 calls read_array without allow_pickle=False"),
        ("archive.open(member, 'w')", "x:1 writes in place, by open"),
        ("torch.load(path)", "x:1 calls torch.load without weights_only=True"),
        ("path.write_text('')", "x:1 writes in place, by write_text"),
        ("open(path, 'w')", "x:1 writes in place, by open"),
        ("open(path, mode='ab')", "x:1 writes in place, by open"),
        ("path.open(mode)", "x:1 writes in place, by open"),
        ("with path.open('r+') as file:\n    pass", "x:1 writes in place, by open"),
        ("np.savez(path, x=x)", "x:1 writes in place, by savez"),
        ("torch.save(x, path)", "x:1 writes in place, by save"),
        ("json.dump(x, file)", "x:1 writes in place, by dump"),
    ],
)
def test_the_reader_sees_it(text: str, mistake: str) -> None:
    assert list(mistakes("x", text)) == [mistake]


def test_the_reader_sees_nothing_else() -> None:
    text = "numpy.load(p, allow_pickle=False)\nmodel.eval()\narchive.open(m)\nzipfile.ZipFile(p)\n"
    text += "with replacing(p) as q:\n    q.write_text(x)"
    assert list(mistakes("x", text)) == []
