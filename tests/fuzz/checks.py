"""What must hold of every input: refused with words, or sound; in time; within ten times its size."""

from __future__ import annotations

import tempfile
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mdp import FiniteMDP, evaluate

SECONDS = 10.0  # for one input, on a machine that has other things to do
ROOM, TIMES = 32 << 20, 10  # bytes that one input may take, and times its size
TRACED = 32  # one input in so many has its memory measured
SCRATCH = tempfile.TemporaryDirectory(prefix="exactrl-fuzz-")  # gone when the process ends
FOLDER = Path(SCRATCH.name)


class Finding(AssertionError):
    """An input that was neither refused with words nor sound."""


def judged(target: Callable[[bytes], object], data: bytes) -> None:
    """Call the target; raises what it raises, and Finding for too much time or memory.

    Which inputs are measured follows from the bytes, so that a finding is found again.
    """
    traced = zlib.crc32(data) % TRACED == 0
    if traced:
        tracemalloc.start()
    began = time.process_time()
    try:
        target(data)
        peak = tracemalloc.get_traced_memory()[1] if traced else 0
    finally:
        tracemalloc.stop()
    if (seconds := time.process_time() - began) > SECONDS:
        raise Finding(f"it took {seconds:.1f} s")
    if peak > ROOM + TIMES * len(data):
        raise Finding(f"it took {peak:,} bytes for {len(data):,}")


def made(make: Callable[[], FiniteMDP]) -> FiniteMDP | None:
    """The MDP, sound and the same again out of a file; None where it was refused with words."""
    try:
        mdp = make()
    except (ValueError, TypeError) as error:
        refused(error)
        return None
    check_sound(mdp)
    check_kept(mdp, ".npz" if mdp.n_states % 2 else ".json")
    return mdp


def refused(error: Exception) -> None:
    if not str(error).strip():
        raise Finding(f"{type(error).__name__} without a word") from error


def demand(holds: object, what: str) -> None:
    if not holds:
        raise Finding(what)


def check_sound(m: FiniteMDP) -> None:
    """A probability distribution for every admissible pair and at the start, and values where rewards are moderate."""
    s, a, after, r, p = m.table.columns()
    demand(np.isfinite(p).all() and (p >= 0).all() and np.isfinite(r).all(), "a probability or a reward is none")
    demand(((after >= 0) & (after < m.n_states)).all(), "an outcome leads nowhere")
    total = np.zeros(m.admissible.shape)
    np.add.at(total, (s, a), p)
    demand((np.abs(total[m.admissible] - 1) <= 1e-9).all() and not total[~m.admissible].any(), "p does not sum to 1")
    demand(np.isfinite(m.start).all() and (m.start >= 0).all() and abs(m.start.sum() - 1) <= 1e-9, "start is none")
    demand(0 <= m.gamma <= 1 and not m.start[m.terminal].any(), "gamma or start is none")
    if np.abs(r).max(initial=0) < 1e150 and m.admissible.size < 10_000:
        v = evaluate(m.with_gamma(min(m.gamma, 0.5)), m.uniform_policy()).v
        demand(np.isfinite(v).all(), "v is not finite")


def check_kept(m: FiniteMDP, ending: str) -> None:
    """Saved and loaded it is the same; labels that no file can hold are refused."""
    path = FOLDER / f"kept{ending}"
    try:
        m.save(path)
    except ValueError as error:
        demand(any(word in str(error) for word in ("label", "pairs", "float128")), f"it cannot be saved: {error}")
        return
    again = FiniteMDP.load(path)
    demand((again.states, again.actions, again.gamma) == (m.states, m.actions, m.gamma), "other labels or gamma")
    same = zip((*m.table, m.start, m.observations), (*again.table, again.start, again.observations), strict=True)
    demand(all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in same), "loaded it is another")
