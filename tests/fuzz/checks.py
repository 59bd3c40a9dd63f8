"""What must hold of every input: refused with words, or sound; in time; within ten times its size."""

from __future__ import annotations

import ctypes
import signal
import tempfile
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from mdp import FiniteMDP, evaluate
from mdp.model.checking import PAIRS

SECONDS = 10.0  # for one input, on a machine that has other things to do
LONGEST = 4096  # bytes of an input
ROOM, TIMES = 32 << 20, 10  # bytes that one input may take, and times its size
TRACED = 32  # one input in so many has its memory measured
LABELS = 10_000  # of an MDP that is saved and loaded: a million take seconds, and show no more
PEAK = Path("/proc/self/clear_refs")  # where Linux is asked to measure the peak anew
SCRATCH = tempfile.TemporaryDirectory(prefix="exactrl-fuzz-")  # gone when the process ends
FOLDER = Path(SCRATCH.name)


class Finding(AssertionError):
    """An input that was neither refused with words nor sound."""


def judged(target: Callable[[bytes], object], data: bytes) -> None:
    """Call the target; raises what it raises, and Finding for too much time or memory.

    Which inputs are measured follows from the bytes, so that a finding is found again.
    """
    began, most, peak = time.process_time(), ROOM + TIMES * len(data), 0
    if zlib.crc32(data) % TRACED == 0:
        peak = taken(target, data)
    else:
        target(data)
    if (seconds := time.process_time() - began) > SECONDS:
        raise Finding(f"it took {seconds:.1f} s")
    if peak > most and (peak := taken(target, data)) > most:  # once may be an import
        raise Finding(f"it took {peak:,} bytes for {len(data):,}")


def taken(target: Callable[[bytes], object], data: bytes) -> int:
    """Bytes at the peak: of Python and numpy, or by which the process grew: torch and safetensors have their own."""
    tracemalloc.start()
    try:
        if PEAK.exists():
            _give_back()
            PEAK.write_text("5")
        before = _resident()
        target(data)
        return max(tracemalloc.get_traced_memory()[1], _resident() - before)
    finally:
        tracemalloc.stop()


def _give_back() -> None:
    """What is free goes back to the system: a target that fills it again would not make the process grow."""
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):  # glibc
        libc.malloc_trim(0)


def _resident() -> int:
    """The most bytes that this process had in memory, 0 where the system does not say."""
    status = PEAK.with_name("status").read_text() if PEAK.exists() else ""
    return next((int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM")), 0)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Finding after so many seconds by the clock. libFuzzer has a limit, and SIGALRM, of its own."""

    def end(*_: object) -> None:
        raise Finding(f"it hangs: {seconds:g} s are over")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def made(make: Callable[[], FiniteMDP]) -> FiniteMDP | None:
    """The MDP, sound and the same again out of a file; None where it was refused with words."""
    try:
        mdp = make()
    except (ValueError, TypeError) as error:
        refused(error)
        return None
    check_sound(mdp)
    if mdp.n_states + mdp.n_actions <= LABELS:
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
    pairs, which = np.unique(s * m.n_actions + a, return_inverse=True)  # no (S, A): there may be a million
    demand(np.array_equal(pairs, np.flatnonzero(m.admissible)), "an admissible pair has no outcome, or another has one")
    demand((np.abs(np.bincount(which, p) - 1) <= 1e-9).all(), "p does not sum to 1")
    demand(np.isfinite(m.start).all() and (m.start >= 0).all() and abs(m.start.sum() - 1) <= 1e-9, "start is none")
    demand(0 <= m.gamma <= 1 and not m.start[m.terminal].any(), "gamma or start is none")
    if np.abs(r).max(initial=0) < 1e150 and m.admissible.size < 10_000:
        v = evaluate(m.with_gamma(min(m.gamma, 0.5)), m.uniform_policy()).v
        demand(np.isfinite(v).all(), "v is not finite")


def check_kept(m: FiniteMDP, ending: str) -> None:
    """Saved and loaded it is the same; what no file can hold is refused."""
    path = FOLDER / f"kept{ending}"
    try:
        m.save(path)
    except ValueError as error:
        labels = all(map(_can_be_kept, (*m.states, *m.actions)))
        wide = ending == ".json" and m.observations.dtype == np.longdouble
        demand(not labels or wide or m.n_states * m.n_actions > PAIRS, f"it cannot be saved: {error}")
        return
    again = FiniteMDP.load(path)
    demand((again.states, again.actions, again.gamma) == (m.states, m.actions, m.gamma), "other labels or gamma")
    same = zip((*m.table, m.start, m.observations), (*again.table, again.start, again.observations), strict=True)
    demand(all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in same), "loaded it is another")


def _can_be_kept(label: Any) -> bool:
    """None, bool, int, a finite float, text without halves of characters, and tuples of these."""
    label = label.item() if isinstance(label, np.generic) else label
    if isinstance(label, tuple):
        return all(map(_can_be_kept, label))
    if isinstance(label, str):
        return not any("\ud800" <= x <= "\udfff" for x in label)
    return label is None or isinstance(label, int) or (isinstance(label, float) and isfinite(label))
