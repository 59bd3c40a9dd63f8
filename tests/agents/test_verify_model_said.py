"""What the check of a language model says and writes."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from agents.cli.language import commands, verify
from agents.cli.language.verify import Part, Row, table
from tests.agents import models

# ---- what is said and written ----

NAN = [Row("x", "", math.nan, 1.0)]


@pytest.mark.parametrize(
    ("row", "passed"),
    [
        (Row("a", ""), True), (Row("a", "", 5.0), True), (Row("a", "", None, 1.0), True),
        (Row("a", "", 1.0, 1.0), True), (Row("a", "", 1.1, 1.0), False),
    ],
)  # fmt: skip
def test_what_passes(row: Row, passed: bool) -> None:
    assert row.passed == passed
    assert Part("p", [Row("b", ""), row, Row("c", "")], {}).passed == passed


def test_the_table_to_the_letter() -> None:
    rows = [
        Row("J", "0.25"), Row("autograd", "", 2e-9, 1e-6), Row("a", "0.1 ± 0.02", 1.25, 4.39, " SE"),
        Row("far", "cosine 0.1", 0.512),
    ]  # fmt: skip
    text = io.StringIO()
    Console(file=text, width=80, color_system=None).print(table(Part("part", rows, {})))
    assert [line.rstrip() for line in text.getvalue().splitlines()] == TABLE.splitlines()
    text = io.StringIO()
    Console(file=text, width=28, color_system=None).print(table(Part("part", rows, {})))
    assert len(text.getvalue().splitlines()) == len(TABLE.splitlines())  # where there is no room a row stays a line
    text = io.StringIO()
    rows = [Row("bad", "", 2.0, 1e-3)]
    Console(file=text, width=80, force_terminal=True, color_system="standard").print(table(Part("part", rows, {})))
    assert "\x1b[1;31mFAIL\x1b[0m" in text.getvalue()


TABLE = """part

           value        off by   limit
 ─────────────────────────────────────────
 J         0.25
 autograd              2.0e-09   1e-06  ok
 a         0.1 ± 0.02   1.2 SE  4.4 SE  ok
 far       cosine 0.1  5.1e-01

"""


@pytest.mark.parametrize("interrupted", [False, True])
@pytest.mark.parametrize("off", [0.5, 2.0])
def test_what_is_written(interrupted: bool, off: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It passed where every row did and nothing was left out."""
    drawn: list[Any] = []
    monkeypatch.setattr(verify, "draw_checks", lambda *x: drawn.append(x))
    parts = [Part("one", [Row("a", "1", off, 1.0, " SE")], {"z": [1.0]}), Part("two", [], {})]
    written = verify.write(parts, "grad J of x", tmp_path, 5, interrupted=interrupted)
    assert written == [tmp_path / "exactrl-verify-model.png", tmp_path / "exactrl-verify-model.json"]
    assert drawn == [(parts, "grad J of x", written[0])]
    content = json.loads(written[1].read_text())
    packages = {"exactrl", "numpy", "scipy", "torch", "gymnasium", "transformers"}
    assert content.pop("versions").keys() == {"python"} | packages
    row = {"what": "a", "value": "1", "off": off, "limit": 1.0, "unit": " SE"}
    assert content == {
        "model": "grad J of x", "passed": off < 1 and not interrupted, "interrupted": interrupted, "seed": 5,
        "parts": [{"name": "one", "rows": [row], "z": {"z": [1.0]}}, {"name": "two", "rows": [], "z": {}}],
    }  # fmt: skip
    with pytest.raises(ValueError, match="not JSON compliant"):
        verify.write([Part("p", NAN, {})], "", tmp_path, 5, interrupted=False)
    assert json.loads(written[1].read_text())["model"] == "grad J of x"  # what was there before is whole


def run_of(*parts: Part, stops: bool = False) -> Callable[..., Iterator[Part]]:
    def run(*given: Any) -> Iterator[Part]:
        run.given = given  # type: ignore[attr-defined]
        yield from parts
        if stops:
            raise KeyboardInterrupt

    return run


@pytest.mark.parametrize(("off", "stops"), [(0.5, False), (0.5, True), (2.0, False), (2.0, True)])
def test_the_command(off: float, stops: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Model, seed and console go to both parts; ctrl-C leaves what was done, and says so; a number has no colour."""
    model, text = models.save(tmp_path / "tiny"), io.StringIO()
    console = Console(file=text, width=300, force_terminal=True, color_system="standard")
    part = Part("part", [Row("a", "1", off, 1.0)], {})
    run = run_of(part, stops=stops)
    monkeypatch.setattr(verify, "run", run)
    monkeypatch.setattr(verify, "draw_checks", lambda _, __, path: path.touch())
    monkeypatch.setattr(commands, "use_all_cores", lambda: None)
    assert commands.verify_model(model, 7, tmp_path, console) == (stops, off < 1)
    assert run.given == (model, 7, console)  # type: ignore[attr-defined]
    printed = text.getvalue()
    assert printed.index("part") < printed.index(f"\n{verify.CAPTION}\nwrote {tmp_path}/exactrl-verify-model.png and ")
    content = json.loads((tmp_path / "exactrl-verify-model.json").read_text())
    assert [content[key] for key in ("model", "passed", "interrupted", "seed")] == [
        "grad J of tiny, float64", off < 1 and not stops, stops, 7
    ]  # fmt: skip
    assert [x["name"] for x in content["parts"]] == ["part"]
    manifest = json.loads((tmp_path / "exactrl-verify-model.manifest.json").read_text())
    assert (manifest["seed"], manifest["whole"], [*manifest["inputs"]]) == (7, not stops, [str(model)])
    assert manifest["files"].keys() == {"exactrl-verify-model.png", "exactrl-verify-model.json"}


def test_nothing_is_written_where_nothing_was_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(verify, "run", run_of(stops=True))
    monkeypatch.setattr(commands, "use_all_cores", lambda: None)
    assert commands.verify_model(tmp_path, 0, tmp_path, Console(file=text)) == (True, True)
    assert (text.getvalue(), [*tmp_path.iterdir()]) == ("", [])


def test_a_folder_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(verify, "run", run_of(Part("part", [], {})))
    monkeypatch.setattr(verify, "draw_checks", full)
    monkeypatch.setattr(commands, "use_all_cores", lambda: None)
    with pytest.raises(OSError, match=f"^cannot write to {re.escape(str(tmp_path))}: No space left on device$"):
        commands.verify_model(tmp_path, 0, tmp_path, Console(file=io.StringIO()))


@pytest.mark.parametrize(("processes", "threads"), [(None, 8), ("1", 8), ("2", 4), ("3", 2), ("8", 1), ("16", 1)])
def test_processes_of_a_machine_share_its_cores(
    processes: str | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_to: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    monkeypatch.setattr(commands, "cores", lambda: 8)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if processes is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    commands.use_all_cores()
    assert set_to == [threads]
    assert isinstance(set_to[0], int)
