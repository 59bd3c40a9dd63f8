"""`exactrl verify --model` on a model small enough for a test."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from agents.cli.app import app
from agents.cli.language.verify import Part, Row, table
from tests.agents import models

pytest.importorskip("transformers")


def test_verify_model_prints_and_writes_both_parts(tmp_path: Path) -> None:
    """Three estimates along three directions; at seed 0, no false alarm."""
    folder = models.save(tmp_path / "tiny")
    result = CliRunner().invoke(app, ["verify", "--model", str(folder), "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "one step, all 23 tokens after 4 prompts" in result.output
    assert "top-4 tree, 4 tokens, 256 completions" in result.output
    written = json.loads((tmp_path / "exactrl-verify-model.json").read_text())
    assert written["passed"]
    rows = {row["what"]: row for part in written["parts"] for row in part["rows"]}
    assert rows["autograd through J"]["off"] < 1e-8
    assert rows["scored by whole softmax"]["off"] > 0.01
    assert "…" not in result.output  # it fits 80 columns
    assert (tmp_path / "exactrl-verify-model.png").stat().st_size > 10_000


def test_a_row_beyond_its_limit_fails() -> None:
    rows = [Row("a", "1", 2e-3, 1e-3), Row("b", "1", 2.0, 3.0, unit="SE"), Row("c", "1", 5e-7)]
    text = io.StringIO()
    Console(file=text, width=80, color_system=None).print(table(Part("part", rows, {})))
    printed = [line.split() for line in text.getvalue().splitlines()]
    assert ["a", "1", "2.0e-03", "1e-03", "FAIL"] in printed
    assert ["b", "1", "2.0", "SE", "3.0", "SE", "ok"] in printed
    assert ["c", "1", "5.0e-07"] in printed
    assert not Part("part", rows, {}).passed


def test_verify_model_takes_no_other_problem(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["verify", "FrozenLake-v1", "--model", str(tmp_path)])
    assert "they take no ENV" in str(result.exception)
    result = CliRunner().invoke(app, ["verify", "--model", str(tmp_path)])
    assert "is no model: config.json is missing" in str(result.exception)
