"""The lowest versions that pyproject.toml allows, as pip's constraints: what `make oldest` installs and tests.

    python tests/release/bounds.py [extra ...]

A bound says what was tested, or it promises nothing: raise it where `make oldest` fails.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


def lowest(requirement: str) -> str:
    """name==version of name>=version. Raises ValueError for a requirement of any other form."""
    found = re.fullmatch(r"([A-Za-z0-9._-]+)>=([0-9][A-Za-z0-9.]*)", requirement)
    if not found:
        raise ValueError(f"{requirement!r} in pyproject.toml is not of the form name>=version")
    return f"{found[1]}=={found[2]}"


def constraints(extras: list[str]) -> list[str]:
    """Of what is always needed, and of the extras."""
    more = [requirement for extra in extras for requirement in PROJECT["optional-dependencies"][extra]]
    return [lowest(requirement) for requirement in [*PROJECT["dependencies"], *more]]


if __name__ == "__main__":
    print("\n".join(constraints(sys.argv[1:])))
