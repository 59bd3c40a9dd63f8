"""10,000 inputs from a fixed seed for all that reads: refused with words, or sound. See fuzzing.md for the long run."""

from __future__ import annotations

import logging
import random

import pytest

from tests.fuzz.checks import Finding, judged
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


def test_the_judge_sees_time_memory_and_silence() -> None:
    def takes(size: int) -> None:
        bytes(size)

    at = next(data for data in (bytes([k]) for k in range(256)) if _traced(data))
    with pytest.raises(Finding, match=r"it took \d\d\d,\d\d\d,\d\d\d bytes for 1"):
        judged(lambda _: takes(200 << 20), at)
    judged(lambda _: takes(20 << 20), at)


def _traced(data: bytes) -> bool:
    seen = []
    try:
        judged(lambda _: seen.append(bytearray(100 << 20)), data)
    except Finding:
        return True
    return False
