"""Two processes under torchrun, one of them killed: the other says what to do and ends; --resume has the same bits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.agents.models import save
from tests.agents.process_worker import SMALL
from tests.agents.two_processes import torchrun
from tests.faults.killing import MODEL, differences, last

pytest.importorskip("transformers")
SECONDS = 900  # for any of the runs; they take 10 on a machine that has no other work
# process 1 writes 4 completions an update: the 14th is in the fourth, while process 0 waits for it
MINE = """
import os, signal
calls = 0

def f(prompt, completion, answer):
    global calls
    calls += 1
    if calls == 14 and os.environ["RANK"] == "1" and os.path.exists("killing"):
        os.kill(os.getpid(), signal.SIGKILL)
    return len(completion) / 5
"""


def train(*arguments: str) -> tuple[int, str]:
    """`exactrl train`: exit code, and what is printed."""
    return torchrun(
        "-m", "exactrl", "train", "--model", "model", *SMALL, "--task", "task.jsonl", "--reward", "mine:f",
        "--checkpoint-every", "1", "--updates", "6", *arguments, seconds=SECONDS,
    )  # fmt: skip


def test_a_process_that_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE)
    Path("task.jsonl").write_text('{"prompt": "12"}\n{"prompt": "345"}\n')
    code, output = train("--out", "whole")
    assert code == 0, output
    assert "destroy_process_group" not in output  # torch's warning where it was not called
    Path("killing").touch()
    code, output = train("--out", "a")
    assert code != 0
    kept = "a/checkpoints/update-000003 is whole: --resume goes on from it"
    lost = r"process 0 of 2 lost another one \(.*\)"
    assert re.search(f"exactrl: {lost}; {kept}\n", output), output
    assert last(MODEL, Path("a")) == 3
    Path("killing").unlink()
    code, output = train("--out", "a", "--resume")
    assert code == 0, output
    assert differences(MODEL, Path("a"), Path("whole")) == ""
