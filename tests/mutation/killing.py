"""A mutant is tried: a copy of the tree holds it; a fork with the libraries imported runs the tests that reach it."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutation.mutants import Mutant

MEMORY = 12 << 30  # bytes of address space; torch alone takes several
PARTS = (6, 30)
WAIT = 10  # seconds by the clock for one of the processor: others use it too
PASSED = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)  # none: a mutant may change what the cases are called
ROOMS = ("mdp", "envs", "agents", "tests", "tutorials")


@dataclass(frozen=True)
class Outcome:
    """`by`: the test that failed, or "time" or "crash"; None: the mutant survived. passed: the tests that did."""

    by: str | None
    seconds: float
    passed: frozenset[str] = frozenset()


class Tree:
    """A copy of what git knows in `root`, where files may be changed."""

    def __init__(self, root: Path, copy: Path) -> None:
        self.copy, self.clock = copy, time.time()
        shutil.rmtree(copy, ignore_errors=True)
        for name in copied(root):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, copy / name)
        if (root / "models").exists():
            (copy / "models").symlink_to((root / "models").resolve())

    @contextlib.contextmanager
    def holding(self, mutant: Mutant) -> Iterator[None]:
        path = self.copy / mutant.path
        original = path.read_text()
        try:
            self.write(path, mutant.source)
            yield
        finally:
            self.write(path, original)

    def write(self, path: Path, text: str) -> None:
        """At a time of its own, to the second: by which Python knows that its compiled file is old."""
        self.clock += 2
        path.write_text(text)
        os.utime(path, (self.clock, self.clock))


def copied(root: Path) -> list[str]:
    """All files but those that git ignores."""
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in listed if (root / name).is_file()]


def attempt(tree: Tree, tests: list[str], limit: int) -> Outcome:
    """Runs the tests in a fork, in their order, until one fails; for `limit` seconds of the processor."""
    started = time.monotonic()
    said, passed = tree.copy / ".said", tree.copy / ".passed"
    for file in (said, passed):
        file.write_text("")
    if not (child := os.fork()):
        run(tree.copy, tests, limit, said, passed)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what the tests started
    seconds = time.monotonic() - started
    if status == 0:
        return Outcome(None, seconds, frozenset(passed.read_text().splitlines()))
    ended = "time" if status in (-signal.SIGXCPU, -signal.SIGALRM) else "crash"
    return Outcome(said.read_text() or ended, seconds)


def run(folder: Path, tests: list[str], limit: int, said: Path, passed: Path) -> None:
    """In the fork, which never returns: only libraries are imported there, not the rooms."""
    try:
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
        signal.alarm(WAIT * limit)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        sys.dont_write_bytecode = False  # a file that has not changed is compiled once
        silence = os.open(folder / ".output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        os.chdir(folder)
        os.environ["PYTHONPATH"] = str(folder)
        for name in [name for name in sys.modules if name.partition(".")[0] in ROOMS]:
            del sys.modules[name]
        sys.path.insert(0, str(folder))
        for part in parts(tests):
            files = dict.fromkeys(test.partition("::")[0] for test in part)
            options = ["-x", "-q", "--rootdir", str(folder), "-p", "no:cacheprovider", "-p", "no:xdist", *files]
            ended = pytest.main(options, plugins=[Chosen(part, said, passed)])
            if ended not in PASSED:
                os._exit(ended)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(99)


def parts(tests: list[str]) -> Iterator[list[str]]:
    """A few first: most mutants need no more, and only the files of these are imported."""
    first = 0
    for last in (*PARTS, len(tests)):
        if part := tests[first:last]:
            yield part
        first = max(first, last)


class Chosen:
    """A pytest plugin: these tests alone, in this order; writes down which one failed, and which passed."""

    def __init__(self, tests: list[str], said: Path, passed: Path) -> None:
        self.place, self.said, self.passed = {test: i for i, test in enumerate(tests)}, said, passed

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid in self.place]
        items.sort(key=lambda item: self.place[item.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.said.read_text():
            self.said.write_text(report.nodeid)
        if report.passed and report.when == "call":
            with self.passed.open("a") as file:
                file.write(f"{report.nodeid}\n")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.said.write_text(f"import of {report.nodeid}")
