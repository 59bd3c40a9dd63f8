"""A training step of SmolLM2-135M beside TRL's RLOOTrainer and GRPOTrainer, turn by turn. Needs the extra bench.

    make model
    pip install -c constraints.txt -e '.[bench]'
    python tests/benchmarks/training_beside_trl.py models/SmolLM2-135M-Instruct [steps]

Three processes at a time (TRL's, ours with transformers' own forward, ours on the fast path) take turns step by step,
with one thread each. 4 prompts x 8 completions x 32 tokens, float32, AdamW. Figures are CPU seconds, medians of the
steps after the first. Writes training_beside_trl.md next to this file.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TEXTS = ["Phone number: ", "3+4=", "1, 2", "1999"]
SETTINGS = (("rloo", 0.05), ("rloo", 0.0), ("grpo", 0.0))
LIMITS = {("rloo", 0.05): (0.65, 0.45), ("rloo", 0.0): (0.6, None), ("grpo", 0.0): (0.85, 0.6)}
NAMES = ("TRL", "exactrl, any model", "exactrl, fast path")


HEAD = """# A training step beside TRL's

`python tests/benchmarks/training_beside_trl.py models/SmolLM2-135M-Instruct` writes this page: CPU seconds of a step
(median, and range, of {} steps after the first), one thread each, processes that take turns on a shared machine.
4 prompts x 8 completions x 32 tokens of SmolLM2-135M-Instruct, float32, AdamW, learning rate 1e-5; no gradient
checkpointing (TRL's default, which costs it time and saves it about 1.5 GB).
"""
FLOOR = """The products alone set a floor. In units of one forward pass over all tokens, a step of TRL's RLOO with a
reference makes six (generation, old, reference, forward, and two for the gradient), and four of them are needed by
anybody: two thirds, before anything else is counted. Without a reference it is three of five. Below that lies what
makes a product itself quicker: the fast path generates with weights that oneDNN has arranged once.
"""
FOOT = """With beta 0.05 both have a frozen reference. On policy exactrl makes no pass for old log-probabilities, and
the gradient of its own samples multiplies nothing again: "scoring" is the reference, the loss, and on the general path
all of the forward pass that is no product with a weight."""


class Worker:
    """A process that makes one step when it is told to."""

    def __init__(self, script: str, model: str, steps: int, *options: str) -> None:
        command = [sys.executable, str(HERE / script), model, "--steps", str(steps), "--take-turns",
                   "--texts", json.dumps(TEXTS), *options]  # fmt: skip
        self.steps: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self.said()

    def said(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args!r} ended: run it by hand to see why")
        found: dict[str, Any] = json.loads(line)
        return found

    def step(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.steps.append(self.said())

    def end(self) -> dict[str, Any]:
        found = self.said()
        self.process.wait()
        return found

    def cpu(self) -> float:
        return float(statistics.median(step["cpu"] for step in self.steps[1:]))

    def parts(self) -> dict[str, float]:
        parts = [step["parts"] for step in self.steps[1:]]
        return {name: statistics.median(x[name] for x in parts) for name in parts[0]}


def compared(model: str, loss: str, beta: float, steps: int) -> tuple[list[Worker], list[dict[str, Any]]]:
    """The three workers after their turns, and what they said at the end."""
    shared = ("--beta", str(beta))
    ours = ("exactrl_worker.py", model, steps, "--loss", loss, *shared)
    theirs = Worker("trl_worker.py", model, steps, "--trainer", loss, *shared)
    workers = [theirs, Worker(*ours, "--general"), Worker(*ours)]
    for k in range(steps):
        for worker in workers:
            worker.step()
            print(f"{loss} beta {beta:g}, step {k + 1}: {worker.steps[-1]['cpu']:.1f} s", flush=True)
    return workers, [worker.end() for worker in workers]


def page(model: str, steps: int) -> str:
    """The whole page."""
    rows: list[str] = []
    parts: list[str] = []
    versions: dict[str, str] = {}
    found: dict[tuple[str, float], dict[str, float]] = {}
    for loss, beta in SETTINGS:
        workers, ends = compared(model, loss, beta, steps)
        first = workers[0].cpu()
        found[loss, beta] = {name: worker.cpu() for name, worker in zip(NAMES, workers, strict=True)}
        limits = (None, *LIMITS[loss, beta])
        for name, worker, end, limit in zip(NAMES, workers, ends, limits, strict=True):
            versions |= end["versions"]
            low, high = (f(step["cpu"] for step in worker.steps[1:]) for f in (min, max))
            at_most = "" if limit is None else f"{limit:g}"
            rows.append(f"| {loss}, beta {beta:g} | {name} | {worker.cpu():.1f} ({low:.1f} to {high:.1f}) | "
                        f"{worker.cpu() / first:.2f} | {at_most} | {end['peak_rss'] / 2**30:.2f} |")  # fmt: skip
            listed = ", ".join(f"{part} {seconds:.1f}" for part, seconds in worker.parts().items())
            parts.append(f"| {loss}, beta {beta:g} | {name} | {listed} |")
    used = "Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + "."
    table = ["| loss | by | s a step | of TRL's | wanted at most | peak GiB |", "|---|---|---|---|---|---|", *rows]
    bare = found["rloo", 0.0][NAMES[2]] / found["rloo", 0.05][NAMES[0]]
    trial = f"The fast path without a reference takes {bare:.2f} of TRL's RLOO by default, with one."
    where = ["Where the time goes, seconds:", "", "| loss | by | |", "|---|---|---|", *parts]
    return "\n".join([HEAD.format(steps - 1), *table, "", trial, "", *where, "", FOOT, "", FLOOR, used, ""])


def main() -> None:
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 6
    text = page(sys.argv[1], steps)
    (HERE / "training_beside_trl.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
