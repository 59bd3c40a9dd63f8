"""The README's Python examples run, and print what their comments say."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

from agents.selftest import MISTAKES
from envs import ZOO

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_examples_print_what_they_say() -> None:
    """One after the other, as a reader would run them: numbers, verdicts, and lines that are printed."""
    codes = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(codes) == 5
    names: dict[str, object] = {}
    printed = []
    for code in codes:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(code, "README.md", "exec"), names)
        printed.append(out.getvalue())
    for said in re.findall(r"# (-6\.\d+|\[[^\]]*\])", codes[0]):
        assert said in printed[0]
    assert ": pass" in printed[0]
    assert ": FAIL" in printed[0]
    said = [*re.findall(r"^# (\w+ [\d.]+ [\d.]+)$", codes[1], re.MULTILINE), "biased"]
    assert printed[1].splitlines() == said
    assert printed[2].splitlines()[:2] == ["pass", "exact"]
    assert printed[2].splitlines()[2].startswith("torch.Size([8, ")
    assert f"# {float(printed[3].splitlines()[0]):.2f}: " in codes[3]
    assert f"# {printed[3].splitlines()[1]}" in codes[3]
    assert printed[4].splitlines() == ["True", "(10, 50, 3)"]


def test_the_counts_are_those_of_the_code() -> None:
    assert f"{len(MISTAKES)} planted mistakes" in README
    assert f"{len(ZOO)} environments" in README


def test_the_commands_are_those_of_the_makefile() -> None:
    makefile = (Path(__file__).parent.parent / "Makefile").read_text()
    for command in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert f"\n{command}: $(" in makefile
