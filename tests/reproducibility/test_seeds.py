"""Same seed, same machine, same number of threads: the same bits.

`worker` computes everything that has a seed and everything exact, in processes of their own: with other hashes of
strings (PYTHONHASHSEED), and after other work has moved the global generators of numpy, torch and Python. Held here:

    as many threads         every result is the same to the bit
    1 thread or 2           so are those of ANY_THREADS: draws, sweeps, products with sparse matrices (where they are
                            spread over the cores, a row is one core's), sparse LU
    global generators       nothing reads them, nothing moves them

Not promised for another number of threads, since a sum that threads share is added up in another order. Where bits
were seen to differ between 1 and 2 threads (numpy 2.4, scipy 1.17, torch 2.13):

    OpenBLAS (numpy, scipy)     dot and norm of more than 10,000 entries, LU from 160 rows (complex: triangular solves
                                of any size), products of matrices from 400 x 400
    MKL, ATen (torch)           sums of more than 32,768 entries, X^T X of a tall X, and so the gradient of a network;
                                float32 sigmoid, as the last entries of a thread's part are computed in another way

So dense solves (at most 400 states), Krylov (dots as long as there are states), pgcheck's complex step and trained
networks and language models may differ in their last digits, and after many updates in all of them. `exactrl` gives
torch one thread, but for --model; OMP_NUM_THREADS=1 in front of a command does the same for OpenBLAS. A manifest has
both under "threads". Where an array lies in memory makes no difference (tried at 8 offsets, in both libraries).

Not promised at all: another machine (BLAS chooses by processor), other versions, a GPU (index_add and others add
atomically; torch.use_deterministic_algorithms says which), another number of processes under torchrun. Times are
measured: times.csv, the "..._s" in checkpoints (where also what safetensors notes of a file is in any order; tensors
are the same), TensorBoard's events. No method is chosen by time, all by size.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.reproducibility import worker

ROOT = Path(__file__).parent.parent.parent
ANY_THREADS = (
    "from_outcomes with strings", "simulate", "simulate, statistics", "rollout, table", "vector environment",
    "solve, value iteration", "evaluate, sparse direct", "large product", "picture",
)  # fmt: skip


@cache
def digests(threads: int, hashes: str, *, disturbed: bool) -> dict[str, str]:
    """What a worker says."""
    command = [sys.executable, "-m", "tests.reproducibility.worker", str(threads), *["disturbed"] * disturbed]
    of_threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    environment = os.environ | of_threads | {"PYTHONHASHSEED": hashes, "OMP_WAIT_POLICY": "PASSIVE"}
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(said.stdout)
    return found


@pytest.mark.parametrize("threads", [1, 2])
def test_another_process_gives_the_same_bits(threads: int) -> None:
    """With other hashes of strings, and after other work."""
    if threads > len(os.sched_getaffinity(0)):
        pytest.skip("there is one core")
    assert digests(threads, "1", disturbed=False) == digests(threads, "2", disturbed=True)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one core")
def test_one_thread_or_two() -> None:
    one, two = digests(1, "1", disturbed=False), digests(2, "1", disturbed=False)
    assert [name for name in ANY_THREADS if one[name] != two[name]] == []


def test_nothing_touches_a_global_generator() -> None:
    assert digests(1, "1", disturbed=False)["global state"] == "as it was"


def test_a_digest_sees_every_bit() -> None:
    """And dtypes, shapes, names and order; times are left out."""
    x = np.arange(6.0)
    others = [np.nextafter(x, 9), x[::-1], x.astype(np.float32), x.reshape(2, 3), torch.tensor(x) + 1, {"x": x}, [x, x]]
    assert len({worker.digest(y) for y in (x, *others)}) == 1 + len(others)
    assert worker.digest(torch.tensor(x)) == worker.digest(x)
    assert worker.digest({"loss": 1.0, "sampling_s": 2.0}) == worker.digest({"loss": 1.0, "sampling_s": 3.0})
