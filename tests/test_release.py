"""What a release promises: one version, bounds, public names that stay, models that are data."""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from pathlib import Path

import pytest

from agents import load_model, load_tokenizer
from agents.cli import app
from tests.release.bounds import PROJECT, constraints, lowest
from tests.release.names import public, recorded

ROOT = Path(__file__).parent.parent


def test_no_public_name_is_gone() -> None:
    """Those of tests/release/names.txt. CONTRIBUTING.md says how one is retired."""
    assert len(recorded()) > 900
    assert sorted(recorded() - public()) == []


def test_the_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It stands in pyproject.toml alone, and is semantic; a release has a heading of its own in the changelog."""
    monkeypatch.setattr(sys, "argv", ["exactrl", "--version"])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"exactrl {importlib.metadata.version('exactrl')}\n"
    assert importlib.metadata.version("exactrl") == PROJECT["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", PROJECT["version"])
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert headings[1:] == [] or headings[1].startswith(f"{PROJECT['version']} - ")


def test_every_requirement_has_a_lowest_version() -> None:
    found = constraints(list(PROJECT["optional-dependencies"]))
    assert [x.replace(">=", "==") for x in PROJECT["dependencies"]] == found[: len(PROJECT["dependencies"])]
    with pytest.raises(ValueError, match="not of the form name>=version"):
        lowest("numpy")


def test_python_is_said_in_one_voice() -> None:
    """The lowest version that pip lets in, that ruff reads for, and that is named."""
    least = PROJECT["requires-python"].removeprefix(">=")
    named = [x for x in PROJECT["classifiers"] if re.search(r"3\.\d+$", x)]
    assert named[0].endswith(least)
    assert f'target-version = "py{least.replace(".", "")}"' in (ROOT / "pyproject.toml").read_text()


def test_a_folder_of_a_model_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if a person would answer yes: transformers asks, where it is not told."""
    pytest.importorskip("transformers")
    ran, code = tmp_path / "ran", "from transformers import PretrainedConfig, PreTrainedTokenizerFast\n"
    maps = {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own", "AutoTokenizer": ["own.Words", None]}
    config = {"model_type": "own", "auto_map": maps, "tokenizer_class": "Words"}
    for name in ("config.json", "tokenizer_config.json"):
        (tmp_path / name).write_text(json.dumps(config))
    (tmp_path / "own.py").write_text(f"{code}class Own(PretrainedConfig): ...\nopen({str(ran)!r}, 'w')\n")
    monkeypatch.setattr("builtins.input", lambda _: "y")
    with pytest.raises(ValueError, match="holds no causal language model"):
        load_model(tmp_path)
    with pytest.raises(ValueError, match="holds no tokenizer"):
        load_tokenizer(tmp_path)
    assert not ran.exists()
