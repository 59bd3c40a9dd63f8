"""One target under atheris, in a process of its own: `python -m tests.fuzz.child NAME RUNS SEED FINDINGS FOLDER`.

FINDINGS gets a line of JSON for each finding of its own kind; the fuzzer goes on. libFuzzer's own words, with the edges
that it covered, go to stderr. FOLDER keeps what it found new ground with, and has the seeds before.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
import traceback
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["mdp", "agents", "envs"]):
    from tests.fuzz.checks import LONGEST, judged
    from tests.fuzz.targets import TARGETS

PATIENCE, MEMORY = 60, 4096  # seconds and MB at which libFuzzer ends the process


def kind_of(error: BaseException) -> str:
    """Findings that come from one place and say the same but for numbers are one."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    said = re.sub(r"\d+", "N", str(error))[:60]
    return f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}: {said}"


def main(name: str, runs: str, seed: str, findings: str, folder: str) -> None:
    target, kinds = TARGETS[name].function, set[str]()

    def one(data: bytes) -> None:
        try:
            judged(target, data)
        except BaseException as error:
            if (kind := kind_of(error)) not in kinds:
                kinds.add(kind)
                with Path(findings).open("a") as file:
                    file.write(json.dumps({"kind": kind, "said": str(error)[:500], "bytes": data.hex()}) + "\n")

    for k, content in enumerate(TARGETS[name].seeds):
        Path(folder, f"seed-{k}").write_bytes(content)
    warnings.simplefilter("ignore")
    logging.disable()
    options = [f"-runs={runs}", f"-seed={seed}", f"-max_len={LONGEST}", f"-timeout={PATIENCE}",
               f"-rss_limit_mb={MEMORY}", "-print_final_stats=1", f"-artifact_prefix={folder}/"]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, folder], one)
    with contextlib.suppress(KeyboardInterrupt):
        atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
