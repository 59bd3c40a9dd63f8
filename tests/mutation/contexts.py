"""A pytest plugin: coverage notes for each line which tests run it, in processes that they start too, and a file how
long each of them takes.

    coverage run -m pytest -p tests.mutation.contexts
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import coverage
import pytest

SECONDS = Path(".coverage_seconds.json")  # {a test: seconds, with its fixtures}
taken: defaultdict[str, float] = defaultdict(float)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _begin(item.nodeid)
    try:
        return (yield)
    finally:
        _begin("")


def _begin(context: str) -> None:
    if measuring := coverage.Coverage.current():
        measuring.switch_context(context)
        measuring.set_option("run:context", context)  # of the processes that it starts, to which this is handed down:
        os.environ["COVERAGE_PROCESS_CONFIG"] = measuring.config.serialize()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    taken[report.nodeid] += report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):  # under xdist the one process that all reports come to
        SECONDS.write_text(json.dumps(taken))
