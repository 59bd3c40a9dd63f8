"""Command-line arguments, in this process: the last one is a mistake, or the work is tiny, so that it may be done."""

from __future__ import annotations

import io
import linecache
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout

from agents.cli import main
from tests.fuzz.checks import FOLDER, demand
from tests.fuzz.draw import Draw
from tests.fuzz.kept import TWO

PLACE = FOLDER / "commands"
VALUES = ("0", "1", "-1", "2", "0.5", "1e999", "nan", "-inf", "x", "", "9" * 30, "1e-400", "--", "-", "[bold]", "[/x]",
          "ü", "\udc80", "tiny.json", "None", "0x10", "1_0", "\n", "a:b", ":", "a" * 300)  # fmt: skip
ENVS = ("tiny.json", "tiny.npz", "damaged.json", "foreign.npz", "none.json", "notes.txt", "folder", "Nope-v0", ":",
        "a:b", "exactrl/Nope-v0", "CartPole-v1", "[bold].json", "exactrl/", "/", ".", "..", ".json")  # fmt: skip
OPTIONS = {
    "solve": ("--gamma", "--method", "--tolerance", "--out"),
    "variance": ("--gamma", "--out"),
    "show": ("--policy", "--state", "--gamma", "--format", "--out"),
    "verify": ("--gamma", "--episodes", "--seed", "--model", "--self-test", "--out"),
    "audit": ("--gamma", "--horizon", "--group-size", "--groups", "--library", "--samples", "--seed", "--out"),
    "train": ("--gamma", "--updates", "--episodes", "--lr", "--optimizer", "--baseline", "--gradient", "--model",
              "--task", "--reward", "--loss", "--beta", "--groups", "--group-size", "--max-tokens", "--temperature",
              "--top-k", "--top-p", "--pieces", "--checkpoint-every", "--resume", "--sharded", "--seed", "--out"),
    "envs": (),
    "grade": ("--out",),
    "tutorials": ("--edit",),
    "": (),
    "dance": (),
}  # fmt: skip
MISTAKES = (["--nope"], ["--seed", "-1"], ["--seed", "x"], ["--out", "/proc/nowhere"], ["--gamma"],
            ["--out", "notes.txt"], ["--help"], ["--nope=1"], ["-x"], ["--gamma", "one"])  # fmt: skip
TINY = {
    "solve": (["solve", "tiny.json"], ["solve", "tiny.npz", "--gamma", "0.5"]),
    "variance": (["variance", "tiny.json"],),
    "audit": (["audit", "tiny.json", "--loss", "nothing"], ["audit", "tiny.json", "--loss", "no_such:f"]),
    "train": (["train", "--model", "folder"], ["train", "--model", "folder", "--task", "given.jsonl"],
              ["train", "tiny.json", "--lr", "-1"], ["train"]),
    "verify": (["verify", "none.json"], ["verify", "--model", "folder"], ["verify", "tiny.json", "--episodes", "0"]),
    "show": (["show", "tiny.json", "--state", "nowhere"],),
    "grade": (["grade", "none.py"],),
    "tutorials": (["tutorials"], ["tutorials", "99"]),
}  # fmt: skip
WORK = {
    "solve": ["solve", "tiny.json"],
    "variance": ["variance", "tiny.json"],
    "show": ["show", "tiny.json"],
    "verify": ["verify", "tiny.json", "--episodes", "64"],
    "audit": ["audit", "tiny.json", "--horizon", "2", "--samples", "64", "--loss", "own:loss"],
    "train": ["train", "tiny.json", "--updates", "1", "--episodes", "5"],
}
LARGE = ("verify", "audit", "train", "tutorials")  # another value may be work for minutes, or serve a page for ever
DONE = [x for x in VALUES if x != "9" * 30]  # so many updates would be made
SEEDS = [bytes([k, k % 7, 3 * k % 256, k % 5, 11 * k % 256, 7, k, 2 * k % 256]) for k in range(120)]


def arguments(d: Draw) -> list[str]:
    """A command, options with values that may do, and at the end a mistake; or something tiny; or tiny work."""
    command, form = d.of(list(OPTIONS)), d.below(8)
    if command in WORK and form == 2:
        return [*WORK[command], d.of(OPTIONS[command]), d.of(DONE)]
    if command in TINY and form < 2:
        tiny = list(d.of(TINY[command]))
        if d.below(2):
            tiny[d.below(len(tiny))] = d.of(VALUES) if tiny[0] not in LARGE else tiny[-1]
        return tiny
    given = [command] if command else []
    for _ in range(d.below(5)):
        if OPTIONS[command] and d.below(2):
            given += [d.of(OPTIONS[command]), d.of(VALUES)][: 1 if command == "tutorials" else 2]
        elif command != "tutorials":
            given.append(d.of(ENVS) if d.below(4) else d.text().replace("\0", "0"))
    return [x for x in given if x != "--"] + d.of(MISTAKES)


@contextmanager
def place() -> Iterator[None]:
    """A folder with files that are right, and files that are not."""
    if not PLACE.is_dir():
        (PLACE / "folder").mkdir(parents=True)
        TWO.save(PLACE / "tiny.json")
        TWO.save(PLACE / "tiny.npz")
        (PLACE / "damaged.json").write_text('{"format": "exactrl.FiniteMDP/1", "gamma"')
        (PLACE / "foreign.npz").write_bytes(b"PK\3\4")
        (PLACE / "notes.txt").write_text("notes")
        (PLACE / "[bold].json").write_text("[bold]")
        (PLACE / "own.py").write_text("def loss(batch):\n    return -(batch.log_probs * batch.rewards).sum()\n")
        (PLACE / "given.jsonl").write_text('{"prompt": "x"}\n')
    before = sys.argv
    with chdir(PLACE):
        try:
            yield
        finally:
            sys.argv = before


def run(given: list[str]) -> tuple[int, str, BaseException | None]:
    """The exit code, what was said on stderr, and what was raised."""
    out, error = io.StringIO(), io.StringIO()
    with place(), redirect_stdout(out), redirect_stderr(error):
        sys.argv = ["exactrl", *given]
        try:
            main()
        except SystemExit as ended:
            return int(ended.code or 0), error.getvalue(), ended.__context__
    raise AssertionError("main() came back")


def arguments_of_the_command_line(data: bytes) -> None:
    check(arguments(Draw(data)))


def check(given: list[str]) -> None:
    """Raises Finding for an end without the words that it needs."""
    code, said, error = run(given)
    demand(code in (0, 1, 2, 130), f"exit code {code} of {given}")
    demand("Traceback" not in said, f"a traceback of {given}")
    if code == 2:
        demand(said.startswith("exactrl: ") and said.count("\n") == 1 and len(said) > 12, f"{given} says {said!r}")
        demand(is_meant(error), f"{given} is refused by chance: {error!r}")


def is_meant(error: BaseException | None) -> bool:
    """Whether a `raise` statement refused: `None["v"]` raises TypeError with words, too."""
    if error is None or isinstance(error, MemoryError):
        return True
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return linecache.getline(frame.filename, frame.lineno or 0).lstrip().startswith("raise")


os.environ.setdefault("COLUMNS", "100")
