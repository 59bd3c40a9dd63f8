"""How long an exact audit takes, by the number of batches.

    python tests/benchmarks/audit_speed.py

One thread. Writes audit_speed.md next to this file.
"""

from __future__ import annotations

import importlib.metadata
import time
from pathlib import Path

import torch
from torch import Tensor

import envs
from agents import Batch, SoftmaxPolicy, TabularPreferences, audit
from agents.losses import named
from mdp import FiniteMDP

EIGHT = envs.TokenMDP(2, 8, lambda _, completion: float(sum(completion))).finite()
TWELVE = envs.TokenMDP(2, 12, lambda _, completion: float(sum(completion))).finite()
ENDING = envs.TokenMDP("ab.", 3, lambda _, completion: completion.count(0) / 2, eos=".").finite()


def looped(batch: Batch) -> Tensor:
    """RLOO, but with a branch on a value, which torch.func.vmap does not take."""
    return named.rloo()(batch) if float(batch.rewards.sum()) >= 0 else -named.rloo()(batch)


def row(what: str, mdp: FiniteMDP, group_size: int, name: str, loss: object) -> str:
    policy = SoftmaxPolicy(TabularPreferences(mdp)).double()
    before = time.process_time()
    found = audit(loss, policy, mdp, group_size=group_size)  # type: ignore[arg-type]
    seconds = time.process_time() - before
    how = "vmap" if found.vectorised else "loop"
    return f"| {what} | {group_size} | {name} | {how} | {found.batches:,} | {seconds:.2f} | {found.verdict} |"


def main() -> None:
    torch.set_num_threads(1)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("exactrl", "torch", "numpy"))
    lines = [
        "# The time of an exact audit",
        "",
        f"`python tests/benchmarks/audit_speed.py`; one thread, CPU seconds. {versions}.",
        "",
        "| trajectories | group | loss | way | multisets | seconds | verdict |",
        "|---|---|---|---|---|---|---|",
        row("256 (8 binary tokens)", EIGHT, 2, "RLOO", named.rloo()),
        row("256 (8 binary tokens)", EIGHT, 2, "GRPO", named.grpo()),
        row("256 (8 binary tokens)", EIGHT, 2, "RLOO with a branch", looped),
        row("15 (up to 3 tokens)", ENDING, 8, "RLOO", named.rloo()),
        row("15 (up to 3 tokens)", ENDING, 8, "GRPO", named.grpo()),
        row("4,096 (12 binary tokens)", TWELVE, 2, "RLOO", named.rloo()),
        row("4,096 (12 binary tokens)", TWELVE, 2, "GRPO", named.grpo()),
    ]
    page = "\n".join(lines) + "\n"
    Path(__file__).with_suffix(".md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
