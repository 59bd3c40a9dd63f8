"""`python -m tests.fuzz [TARGET ...] --runs N`: fuzz the targets, by default all, one process at a time.

N inputs in all, shared among the targets by what an input takes. A run of all writes the page fuzzing.md anew after
each target: what was found, and how far the fuzzer came. build/fuzz/results.json has the same, of a run of some, too.
Needs the extra `fuzz`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mdp.files.writing import replacing
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parent.parent.parent
PAGE, BUILD = Path(__file__).parent / "fuzzing.md", ROOT / "build" / "fuzz"
SHM = Path("/dev/shm")  # files in memory: 200 a second are written
EDGES, DONE = re.compile(r"cov: (\d+) ft:"), re.compile(r"#(\d+)\s")
AT_ONCE = 20_000  # inputs of one process: atheris keeps the result of every comparison of arrays


def fuzzed(name: str, runs: int, seed: int) -> dict[str, Any]:
    """Inputs, seconds, covered edges and findings of one target."""
    folder, findings = BUILD / name.replace(" ", "-"), BUILD / f"{name.replace(' ', '-')}.jsonl"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    findings.write_text("")
    began, inputs, edges, ended = time.perf_counter(), 0, list[str](), list[dict[str, str]]()
    for k, done in enumerate(range(0, runs, AT_ONCE)):  # each goes on from what the ones before it have kept
        code, said = _process(name, min(AT_ONCE, runs - done), seed + k, findings, folder)
        inputs += max(map(int, DONE.findall(said)), default=0)
        edges += EDGES.findall(said)
        if code:
            kind = f"the process ended with exit code {code}"
            ended.append({"kind": kind, "said": said[-2000:], "bytes": ""})
    kinds = {x["kind"]: x for x in (*map(json.loads, findings.read_text().splitlines()), *ended)}
    return {
        "inputs": inputs, "seconds": round(time.perf_counter() - began), "seed": seed,
        "edges": int(edges[-1]) if edges else 0, "first": int(edges[0]) if edges else 0,
        "corpus": len(list(folder.iterdir())),
        "findings": [*kinds.values()],
    }  # fmt: skip


def _process(name: str, runs: int, seed: int, findings: Path, folder: Path) -> tuple[int, str]:
    """The exit code, and what libFuzzer said."""
    command = [sys.executable, "-m", "tests.fuzz.child", name, str(runs), str(seed), str(findings), str(folder)]
    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as scratch:
        ended = subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": scratch},
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                               check=False)  # fmt: skip
    return ended.returncode, ended.stderr


def page(results: dict[str, Any], runs: int) -> str:
    """The record, as Markdown."""
    rows = [
        f"| {name} | {x['inputs']:,} | {x['seconds']:,} | {x['first']:,} | {x['edges']:,} | {x['corpus']:,} | "
        f"{len(x['findings'])} |" for name, x in results.items()
    ]  # fmt: skip
    total = {key: sum(x[key] for x in results.values()) for key in ("inputs", "seconds")}
    found = [f"- {name}: {one['kind']}; input `{one['bytes'][:200]}`" for name, x in results.items()
             for one in x["findings"]]  # fmt: skip
    of = ", ".join(f"{name} {version(name)}" for name in ("atheris", "numpy", "scipy", "torch", "typer"))
    return f"""# Fuzzing: what reads files, tables, environments and arguments

`python -m tests.fuzz --runs {runs}`, coverage-guided, one process at a time, each of at most {AT_ONCE:,} inputs.
An input passes if it is refused with words (ValueError, TypeError; on the command line one line and exit code 2), or
accepted AND sound: each row of the table and the start are probability distributions to 1e-9, values exist, saved and
loaded it is the same. No input may take more than 10 s, nor memory beyond ten times its size and 32 MB (measured on one
in 32: the peak of what Python and numpy allocate, and of what the process has in memory, which torch and safetensors
add to).

| target | inputs | seconds | edges of the seeds | edges | corpus | findings |
|---|---:|---:|---:|---:|---:|---:|
{chr(10).join(rows)}
| all | {total['inputs']:,} | {total['seconds']:,} | | | | {len(found)} |

{chr(10).join(found) or 'Nothing was found that is not mended.'}

Python {platform.python_version()}, {of}; {platform.machine()}, seed {min(x['seed'] for x in results.values())}.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if unknown := set(given.targets) - TARGETS.keys():
        parser.error(f"there is no target {unknown.pop()!r}; there are {', '.join(TARGETS)}")
    names = given.targets or list(TARGETS)
    whole = sum(TARGETS[name].share for name in names)
    results: dict[str, Any] = {}
    BUILD.mkdir(parents=True, exist_ok=True)
    for name in names:
        results[name] = fuzzed(name, round(given.runs * TARGETS[name].share / whole), given.seed)
        print(name, {key: x for key, x in results[name].items() if key != "findings"}, flush=True)
        for one in results[name]["findings"]:
            print("   ", one["kind"], one["bytes"], flush=True)
        with replacing(BUILD / "results.json") as new:
            new.write_text(json.dumps(results, indent=1))
        if not given.targets:
            with replacing(PAGE) as new:
                new.write_text(page(results, given.runs))
    sys.exit(any(x["findings"] for x in results.values()))


if __name__ == "__main__":
    main()
