"""The console script, before any command."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator

import pytest

import exactrl


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_closed_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    """`exactrl --version >&-`: Python has None in its place."""
    called = []
    monkeypatch.setattr("agents.cli.main", lambda: called.append(sys.stdout))
    monkeypatch.setattr(sys, "stdout", None)
    exactrl.main()
    assert called == [None]
