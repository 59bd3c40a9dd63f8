"""What the losses of TRL and torchrl do to the gradient, by their own code. Needs the extras `lm` and `bench`.

    pip install -c constraints.txt -e '.[lm,bench]'
    python tests/benchmarks/losses_of_libraries.py

Every batch of two completions of a one-layer Llama with three tokens is listed, as by `exactrl audit --library trl`.
Writes losses_of_libraries.md next to this file.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from agents.audits.catalogue import Found
from agents.cli import audit

VERSIONS = ("exactrl", "trl", "torchrl", "transformers", "torch")
NOTES = """
Reward of a completion: (number of 1s) / 2 + 1 if it ends with token 2, less 0.2 for each token; at most three tokens.
The model is `agents.libraries.instance.tiny_llama(0)`, the reference of every KL `tiny_llama(1)`. Llama rounds to
float32 inside, so that a model in float64 is good to about 1e-7.

- The KL terms of TRL stand alone (advantages 0, beta 1, dr_grpo's denominator), with and without its bias correction,
  beside the gradient of -E[sum of KL]. What both miss: more of an episode is spent where the KL is large. Their figures
  depend on the reference.
- torchrl's KL term is a mean that counts padding and the prompt.
- On policy no ratio leaves 1, so that grpo, gspo and sapo are one loss, and dapo, bnpo, cispo and vespo another.
"""


def row(found: Found) -> str:
    case, claimed, _ = found
    return (
        f"| {case.name} | {case.claims} | {claimed.cosine:.6f} | {claimed.scale:.6g} | {claimed.relative_error:.1e} | "
        f"{claimed.verdict} |"
    )


def rows(library: str) -> list[str]:
    at = audit.setting(None, None, None, group_size=2, groups=1, samples=None, seed=0, library=library)
    return [row(found) for found in audit.run(at, audit.cases(at, None, library)).found]


def main() -> None:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in VERSIONS)
    lines = [
        "# What the losses of TRL and torchrl do to the gradient",
        "",
        f"`python tests/benchmarks/losses_of_libraries.py`; groups of 2, every batch listed. {versions}.",
        "",
        "| loss | claims to climb | cosine | scale | relative error | verdict |",
        "|---|---|---|---|---|---|",
        *rows("trl"),
        *rows("torchrl"),
    ]
    page = "\n".join(lines) + "\n" + NOTES
    Path(__file__).with_suffix(".md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
