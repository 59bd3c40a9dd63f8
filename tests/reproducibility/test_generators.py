"""Nothing reads a global random state: by the sources of mdp, envs and agents."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FILES = sorted(path for room in ("mdp", "envs", "agents") for path in (ROOT / room).rglob("*.py"))

OWN = {"Generator", "default_rng", "SeedSequence", "RandomState", "Random"}  # of numpy and Python: states of one's own
DRAWS = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson",
         "dropout", "rand_like", "randn_like", "randint_like", "random_", "normal_", "uniform_",
         "bernoulli_", "exponential_", "cauchy_", "log_normal_", "geometric_", "trunc_normal_",
         "xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_", "orthogonal_"}  # fmt: skip
STATES = {"seed", "manual_seed_all", "set_rng_state", "initial_seed"}  # of torch: torch.seed(), torch.random.seed()
DRAWN_AT_BIRTH = {"Linear", "Embedding", "Conv1d", "Conv2d", "LSTM", "GRU", "Dropout"}  # of torch.nn
ALLOWED = {
    # seeds the global generator within fork_rng, since transformers draws weights from no other
    ("agents/language/loading.py", "torch.manual_seed"),
}


def globally(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, what) of every call that reads or moves a global generator."""
    numpy_or_python = {"np.random", "numpy.random"} | {
        x.name for node in ast.walk(tree) if isinstance(node, ast.Import) for x in node.names if x.name == "random"
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("random", "numpy.random", "torch.random"):
            yield from ((node.lineno, f"{node.module}.{x.name}") for x in node.names if x.name not in OWN)
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            first, _, last = name.rpartition(".")
            given = {keyword.arg for keyword in node.keywords}
            if (
                (first in numpy_or_python and last not in OWN)
                or (last in ("default_rng", "RandomState", "Random", "SeedSequence") and not node.args + node.keywords)
                or (last in DRAWS and "generator" not in given and "rng" not in first)
                or (first in ("torch", "torch.random") and last in STATES)
                or name == "torch.manual_seed"
                or (first in ("nn", "torch.nn") and last in DRAWN_AT_BIRTH)
                or (last == "Generator" and first == "torch" and not is_seeded(tree, node))
            ):
                yield node.lineno, name


def is_seeded(tree: ast.AST, made: ast.Call) -> bool:
    """torch.Generator(...).manual_seed(seed)."""
    return any(isinstance(x, ast.Attribute) and x.value is made and x.attr == "manual_seed" for x in ast.walk(tree))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_reads_a_global_generator(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    assert [x for x in globally(ast.parse(path.read_text())) if (name, x[1]) not in ALLOWED] == []


@pytest.mark.parametrize(
    "wrong",
    ["np.random.normal()", "np.random.seed(0)", "np.random.default_rng()", "import random; random.random()",
     "torch.rand(3)", "torch.manual_seed(0)", "torch.multinomial(p, 1)", "x.normal_(0, 1)", "nn.init.normal_(x)",
     "torch.Generator()", "from random import shuffle", "from numpy.random import rand", "nn.Linear(2, 3)",
     "torch.nn.functional.dropout(x)"],
)  # fmt: skip
def test_what_is_wrong_is_seen(wrong: str) -> None:
    assert len(list(globally(ast.parse(wrong)))) == 1


@pytest.mark.parametrize(
    "right",
    ["np.random.default_rng(0)", "rng.normal()", "torch.rand(3, generator=g)", "x.normal_(0, 1, generator=g)",
     "torch.Generator().manual_seed(0)", "from numpy.random import Generator", "nn.utils.skip_init(nn.Linear, 2, 3)"],
)  # fmt: skip
def test_what_is_right_is_let_pass(right: str) -> None:
    assert list(globally(ast.parse(right))) == []
