"""What the exact policy gradient costs beside one evaluation: python tests/benchmarks/gradient_at_size.py [ROUNDS]

W2 of the solver benchmark (a sparse Garnet, 100,000 states, 4 actions, 5 successors, gamma .99) under the softmax of
random preferences: `evaluate`, `occupancy`, `policy_gradient`, and `exact_objective` of a torch policy with its
backward pass. CPU seconds of one process with one thread, medians of the rounds by turns. Writes the page beside it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent.parent.parent))

import numpy as np
import torch

from agents import SoftmaxPolicy, TabularPreferences, exact_objective
from mdp import FiniteMDP, evaluate, occupancy, policy_gradient, softmax_policy
from tests.benchmarks.solving_problems import problem


def ways() -> dict[str, Callable[[], Any]]:
    given = problem("W2")
    m = FiniteMDP.from_arrays(given.P, given.r, gamma=given.gamma)
    h = np.random.default_rng(0).normal(size=m.admissible.shape)
    pi = softmax_policy(m, h)
    policy = SoftmaxPolicy(TabularPreferences(m)).double()
    return {
        "evaluate(m, pi)": lambda: evaluate(m, pi),
        "occupancy(m, pi)": lambda: occupancy(m, pi),
        "policy_gradient(m, h)": lambda: policy_gradient(m, h),
        "exact_objective(policy, m).backward()": lambda: exact_objective(policy, m).backward(),  # type: ignore[no-untyped-call]
    }


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    torch.set_num_threads(1)
    called = ways()
    seconds: dict[str, list[float]] = {name: [] for name in called}
    for _ in range(rounds):
        for name, call in called.items():
            start = time.process_time()
            call()
            seconds[name].append(time.process_time() - start)
    one = median(seconds["evaluate(m, pi)"])
    rows = [f"| `{name}` | {median(x):.3f} | {median(x) / one:.2f} |" for name, x in seconds.items()]
    page = "\n".join([
        "# The exact policy gradient at size", "",
        f"`python tests/benchmarks/gradient_at_size.py {rounds}`: 100,000 states, 400,000 preferences, 2,000,000 "
        "outcomes, gamma .99. CPU seconds, one thread, medians.", "",
        "| | seconds | of one evaluation |", "|---|---|---|", *rows, "",
    ])  # fmt: skip
    Path(__file__).with_suffix(".md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
