"""Every public name: what `mdp`, `envs`, `agents` hand out, methods and parameters, the commands and their options.

    python -m tests.release.names      # writes names.txt, at a release

names.txt holds those of the last release, or of the first one that will be. tests/test_release.py holds that none of
them is gone; CONTRIBUTING.md says how one is retired.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

import agents
import agents.losses
import envs
import mdp
from agents.cli.app import app
from agents.losses import named

CALLED = (types.FunctionType, types.MethodType)
RECORD = Path(__file__).with_name("names.txt")
OURS = ("mdp.", "envs.", "agents.")
PACKAGES: tuple[Any, ...] = (mdp, envs, agents, agents.losses)


def parameters(name: str, function: Any) -> Iterator[str]:
    """The name itself, and each parameter that can be given by name."""
    yield name
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found = inspect.signature(function).parameters.values()
    yield from (f"{name}({x.name})" for x in found if x.kind in by_name and x.name != "self")


def members(name: str, cls: type) -> Iterator[str]:
    """What makes one, its fields, and its own public methods: also those of private classes that it is made of."""
    yield from parameters(name, cls) if "__init__" in vars(cls) else [name]
    for part in (x for x in cls.__mro__ if x is cls or (x.__name__.startswith("_") and x.__module__.startswith(OURS))):
        yield from (f"{name}.{x}" for x in inspect.get_annotations(part) if not x.startswith("_"))
        for x in (x for x in vars(part) if not x.startswith("_")):
            value = getattr(cls, x)
            yield from parameters(f"{name}.{x}", value) if isinstance(value, CALLED) else [f"{name}.{x}"]


def of_python() -> Iterator[str]:
    for package in PACKAGES:
        for x in package.__all__:
            name, value = f"{package.__name__}.{x}", getattr(package, x)
            if inspect.isclass(value):
                yield from members(name, value)
            else:
                yield from parameters(name, value) if isinstance(value, CALLED) else [name]
    for x, value in vars(named).items():
        if inspect.isfunction(value) and value.__module__ == named.__name__ and not x.startswith("_"):
            yield from parameters(f"{named.__name__}.{x}", value)
    yield from (f"exactrl/{x}-v0" for x in envs.ZOO)


def of_the_command_line() -> Iterator[str]:
    group: Any = typer.main.get_command(app)
    for name, command in {"": group, **group.commands}.items():
        start = f"exactrl {name}".strip()
        yield start
        yield from (f"{start} {option}" for x in command.params for option in x.opts if option.startswith("--"))


def public() -> set[str]:
    return {*of_python(), *of_the_command_line()}


def recorded() -> set[str]:
    return set(RECORD.read_text().splitlines())


if __name__ == "__main__":
    RECORD.write_text("\n".join(sorted(public())) + "\n")
