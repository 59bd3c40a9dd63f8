"""Prompts of a JSONL file: room for ten times the file at most, and each prompt once."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from agents.cli.language.lines import Lines

CHAT = '{{"prompt":[{{"role":"","content":"{0}"}}]}}'


@pytest.mark.parametrize("form", ['{{"prompt":"{0}"}}', '{{"prompt": "{0}+1=", "answer": {0}}}', CHAT])
def test_ten_times_the_file_at_most(tmp_path: Path, form: str) -> None:
    """However short the lines are. Python's dictionaries and texts alone would take more."""
    path = tmp_path / "short.jsonl"
    path.write_text("\n".join(form.format(k) for k in range(100_000)))
    tracemalloc.start()
    try:
        lines = Lines(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(lines) == 100_000
    assert peak < 10 * path.stat().st_size


def test_lines_as_a_sequence(tmp_path: Path) -> None:
    path = tmp_path / "three.jsonl"
    path.write_bytes(b'{"prompt": "a", "answer": 1}\r\n {"prompt": "b"}\n{"prompt": "c"}\n')
    lines = Lines(path)
    assert lines[0] == ("a", 1, f"{path}, line 1")
    assert lines[-1] == ("c", None, f"{path}, line 3")
    assert [line.prompt for line in lines[1:]] == ["b", "c"]
    with pytest.raises(IndexError):
        lines[3]


def test_equal_hashes_are_no_equal_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.cli.language.lines.hash", lambda _: 0, raising=False)
    path = tmp_path / "hashes.jsonl"
    path.write_text('{"prompt": "a"}\n{"prompt": "b"}\n{"prompt": [{"role": "a", "content": "b"}]}\n')
    assert len(Lines(path)) == 3
    path.write_text('{"prompt": "a"}\n{"prompt": "b"}\n{"prompt": "b"}\n')
    with pytest.raises(ValueError, match="line 3 has the prompt of line 2"):
        Lines(path)
