"""10,000 inputs from a fixed seed for all that reads: refused with words, or sound. See fuzzing.md for the long run."""

from __future__ import annotations

import logging
import random
import zlib

import numpy as np
import pytest

from mdp import FiniteMDP
from mdp.model.table import Table
from tests.fuzz.checks import TRACED, Finding, check_sound, judged, refused
from tests.fuzz.draw import mutated
from tests.fuzz.targets import TARGETS

INPUTS = {
    "from_outcomes": 1100, "from_arrays": 1000, "from_arrays sparse": 800, "from_pairs": 600, "from_gymnasium": 900,
    "from_function": 1000, "load json": 1700, "load npz": 700, "prompts": 1800, "checkpoints": 200, "command line": 200,
}  # fmt: skip


def inputs(seeds: list[bytes], n: int, seed: int) -> list[bytes]:
    """The seeds, then three changed ones for each that is random."""
    rng = random.Random(seed)
    found = list(seeds[:n])
    while len(found) < n:
        new = len(found) % 4 == 0
        found.append(rng.randbytes(rng.randint(1, 256)) if new else mutated(rng.choice(seeds), rng.choice(seeds), rng))
    return found


def test_ten_thousand() -> None:
    assert INPUTS.keys() == TARGETS.keys()
    assert sum(INPUTS.values()) == 10_000


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found(name: str) -> None:
    logging.disable()
    try:
        for data in inputs(list(TARGETS[name].seeds), INPUTS[name], seed=8):
            try:
                judged(TARGETS[name].function, data)
            except BaseException as error:
                raise Finding(f"{name}, {data!r}: {error!r}") from error
    finally:
        logging.disable(logging.NOTSET)


def test_the_judge_sees_time_memory_and_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    traced = next(data for data in (bytes([k]) for k in range(256)) if zlib.crc32(data) % TRACED == 0)
    judged(lambda _: len(bytearray(20 << 20)), traced)
    with pytest.raises(Finding, match=r"it took \d\d,\d\d\d,\d\d\d bytes for 1"):
        judged(lambda _: len(bytearray(40 << 20)), traced)
    monkeypatch.setattr("tests.fuzz.checks.SECONDS", 0.0)
    with pytest.raises(Finding, match=r"it took 0\.\d s"):
        judged(lambda _: None, b"")
    with pytest.raises(Finding, match="ValueError without a word"):
        refused(ValueError(" "))


def test_the_judge_sees_what_is_not_sound() -> None:
    m = FiniteMDP.from_outcomes({("s", "a"): [(0.5, "s", 1), (0.5, "e", 0)]}, gamma=0.9)
    check_sound(m)
    for p, what in (([0.5, 0.25], "does not sum"), ([-0.5, 1.5], "is none"), ([0.5, np.nan], "is none")):
        m.table = Table(m.table.shape, m.table.starts, m.table.after, np.array(p), m.table.rewards)
        with pytest.raises(Finding, match=what):
            check_sound(m)
