"""The README's Python examples run, and print what their comments say."""

from __future__ import annotations

import re
from pathlib import Path

from agents.selftest import MISTAKES
from envs import ZOO
from tests.release.names import of_the_command_line
from tests.release.readme import commands, examples

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_examples_print_what_they_say() -> None:
    examples(README)


def test_the_commands_are_those_of_the_command_line() -> None:
    """`make release` runs them where the wheel is installed; here: there is one for each line, and it is a command."""
    listed = [" ".join(x) for x in commands(README)]
    section = README.partition("## The command line")[2].partition("```\n\n")[0]
    assert len(listed) == len(re.findall(r"^exactrl ", section, re.MULTILINE))
    assert not any("ENV" in x or "FILE" in x or "[" in x for x in listed)
    assert {x.split()[1] for x in listed} == {x.split()[1] for x in of_the_command_line() if re.match(r"exactrl \w", x)}


def test_the_counts_are_those_of_the_code() -> None:
    assert f"{len(MISTAKES)} planted mistakes" in README
    assert f"{len(ZOO)} environments" in README


def test_the_commands_are_those_of_the_makefile() -> None:
    makefile = (Path(__file__).parent.parent / "Makefile").read_text()
    for command in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert f"\n{command}: $(" in makefile
