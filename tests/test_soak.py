"""What tests/benchmarks/soak.py and billion.py measure for an hour, for seconds; and that both can fail."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from envs import ZOO
from tests.benchmarks.billion import ALARM, PLAYED, Agreement, Means
from tests.benchmarks.soak import Play, plays, run
from tests.benchmarks.soak_verdict import MEASURED, YARDSTICK, Soak


def soaked(path: Path, by_turns: dict[str, Play]) -> Soak:
    run(path / "rows.csv", by_turns, rounds=12, turn=0.01)
    return Soak.read(path / "rows.csv")


def test_memory_does_not_grow(tmp_path: Path) -> None:
    """Nothing sampled is compared, and no seconds: memory and blocks alone."""
    by_turns = plays()
    for play in by_turns.values():
        play()
    found = soaked(tmp_path, by_turns)
    assert len(found.columns["seconds"]) == 12
    assert not [x for x in found.faults() if "grew" in x]
    assert all(np.all(found.columns[name] > 0) for name in by_turns)


def mapped() -> mmap.mmap:
    """.8 MB of the system's, not of what tests before have freed in this process."""
    memory = mmap.mmap(-1, 800_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.write(bytes(800_000))
    return memory


@pytest.mark.parametrize(("kept", "fault"), [(mapped, "memory"), (lambda: [[] for _ in range(500)], "blocks")])
def test_what_is_kept_is_found(kept: Callable[[], Any], fault: str, tmp_path: Path) -> None:
    """.8 MB, or 500 lists, that every call leaves behind."""
    heap: list[Any] = []

    def leaks() -> int:
        heap.append(kept())
        return 1

    (said,) = [x for x in soaked(tmp_path, {YARDSTICK: lambda: 1, "leaks": leaks}).faults() if fault in x]
    assert "grew by" in said


def test_slower_is_found() -> None:
    """By a fifth in the last quarter; the machine's own slowness, which the yardstick shares, is not."""
    late = np.where(np.arange(40) < 30, 1.0, 0.8)
    same = dict.fromkeys(MEASURED, np.ones(40))
    assert Soak({**same, YARDSTICK: np.ones(40), "x": late}).faults() == ["x slowed down to 0.800"]
    assert Soak({**same, YARDSTICK: late, "x": late}).faults() == []


@pytest.mark.parametrize("name", PLAYED)
def test_ten_million_steps(name: str) -> None:
    """Of each of the three: false alarm 1e-7 each for z and, but for Taxi, for chi^2. Seed 0.

    The variance is the exact one. Taxi has 300 start states, with 17 episodes each, whose returns have
    an excess kurtosis of 7.5: their chi^2 has another law; 10^9 steps are enough for it.

    The same means are refused where J is that of another gamma, .01 away.
    """
    m = ZOO[name].make(gamma=PLAYED[name])
    found = Means.of(m, 1e7, episodes=5_000)
    assert found.steps >= 1e7
    agreement = Agreement.of(m, found)
    assert abs(agreement.z) < stats.norm.isf(ALARM / 2)
    assert name == "Taxi" or agreement.p_value > ALARM
    assert not Agreement.of(m.with_gamma(m.gamma - 0.01), found).holds()
