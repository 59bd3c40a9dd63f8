"""10,000 inputs from a fixed seed for what reads: refused with words, or sound. See fuzzing.md for the long run."""

from __future__ import annotations

import gc
import logging
import random
import zlib

import numpy as np
import pytest
import torch

from mdp import FiniteMDP
from mdp.model.table import Table
from tests.fuzz import commands
from tests.fuzz.checks import LONGEST, PEAK, TRACED, Finding, check_kept, check_sound, judged, refused, within
from tests.fuzz.draw import mutated
from tests.fuzz.targets import TARGETS

INPUTS = {
    "from_outcomes": 1100, "from_arrays": 1000, "from_arrays sparse": 800, "from_pairs": 600, "from_gymnasium": 800,
    "from_function": 900, "from_simulator": 300, "load json": 1600, "load npz": 700, "prompts": 1800,
    "checkpoints": 200, "command line": 200,
}  # fmt: skip


def inputs(seeds: list[bytes], n: int, seed: int) -> list[bytes]:
    """The seeds, then three changed ones for each that is random, and none twice."""
    rng = random.Random(seed)
    found = dict.fromkeys(seeds[:n])
    while len(found) < n:
        new = len(found) % 4 == 0
        found[rng.randbytes(rng.randint(1, 256)) if new else mutated(rng.choice(seeds), rng.choice(seeds), rng)] = None
    return list(found)


def test_ten_thousand() -> None:
    assert INPUTS.keys() == TARGETS.keys()
    assert sum(INPUTS.values()) == 10_000
    for name, target in TARGETS.items():
        assert len(set(inputs(list(target.seeds), INPUTS[name], seed=8))) == INPUTS[name]


def test_the_fuzzer_cuts_no_seed() -> None:
    assert max(len(data) for target in TARGETS.values() for data in target.seeds) <= LONGEST


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found(name: str) -> None:
    logging.disable()
    try:
        for data in inputs(list(TARGETS[name].seeds), INPUTS[name], seed=8):
            try:
                with within(120):
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
    if PEAK.exists():
        gc.collect()  # what other tests have left, and would be given back in between
        holes = [torch.ones(5_000_000) for _ in range(21)][20:]  # 20 blocks are free again, and still resident
        with pytest.raises(Finding, match=r"it took [78]\d,\d\d\d,\d\d\d bytes for 1"):
            judged(lambda _: torch.ones(20_000_000), traced)
        del holes
    with pytest.raises(Finding, match=r"it hangs: 0\.1 s are over"), within(0.1):
        judged(lambda _: [None for _ in iter(int, 1)], b"")
    monkeypatch.setattr("tests.fuzz.checks.SECONDS", 0.0)
    with pytest.raises(Finding, match=r"it took 0\.\d s"):
        judged(lambda _: None, b"")
    with pytest.raises(Finding, match="ValueError without a word"):
        refused(ValueError(" "))


def test_the_judge_sees_what_is_refused_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.cli.app.solving.run", lambda *_, **__: int("v"))
    with pytest.raises(Finding, match="is refused by chance: ValueError"):
        commands.check(["solve", "tiny.json"])


def test_the_judge_sees_what_is_not_sound() -> None:
    m = FiniteMDP.from_outcomes({("s", "a"): [(0.5, "s", 1), (0.5, "e", 0)]}, gamma=0.9)
    check_sound(m)
    for p, what in (([0.5, 0.25], "does not sum"), ([-0.5, 1.5], "is none"), ([0.5, np.nan], "is none")):
        m.table = Table(m.table.shape, m.table.starts, m.table.after, np.array(p), m.table.rewards)
        with pytest.raises(Finding, match=what):
            check_sound(m)


def test_the_judge_sees_what_save_refuses_and_need_not(monkeypatch: pytest.MonkeyPatch) -> None:
    check_kept(FiniteMDP.from_outcomes({("s", b"a"): [(1, "e", 0)]}, gamma=0.9), ".npz")
    m = FiniteMDP.from_outcomes({("s", ("a", None, 0.5)): [(1, "e", 0)]}, gamma=0.9)

    def refuse(label: object) -> None:
        raise ValueError(f"the label {label!r} cannot be written")

    monkeypatch.setattr("mdp.model.files._encode", refuse)
    with pytest.raises(Finding, match="cannot be saved"):
        check_kept(m, ".npz")
