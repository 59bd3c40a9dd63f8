"""What a result was made from: a manifest beside every file, or set of files, that a command writes.

    exactrl-verify.png, exactrl-verify.json     exactrl-verify.manifest.json
    exactrl-show-X.svg                          exactrl-show-X.svg.manifest.json, since a PNG may lie beside it
    the folder of `exactrl train --model`       manifest.json in it

That of a run which --resume went on from is kept as manifest-1.json. It says by which command, seed, versions, commit,
threads and kind of processor, from which inputs (sha256), when, and whether the run came to its end, so that the
command gives the same files again (sha256; but the state.json of checkpoints, which has times). It is written last:
where its sha256 are not those of the files, a run ended in between. No host, no user, no folder that the command does
not name.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import packages_distributions, version
from itertools import count
from pathlib import Path
from typing import Any

import torch

import agents
from mdp.files.writing import replacing
from mdp.model.products import cores

ROOT = Path(agents.__file__).parent.parent
VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "MKL_CBWR", "WORLD_SIZE")
NAME = "manifest.json"  # in a folder that is one run's own


@dataclass(frozen=True)
class Manifest:
    """What is known before anything is computed; `write` adds what was made of it."""

    command: str
    seed: int | None
    date: str
    git: dict[str, Any] | None
    inputs: dict[str, dict[str, str]]

    def write(self, files: list[Path], place: Path, *, whole: bool = True) -> Path:
        """Write it to `place`, next to which the files are; a folder among them stands for all that is in it.

        whole: the run came to its end.
        """
        every = sorted(x for path in files for x in (path.rglob("*") if path.is_dir() else [path]) if x.is_file())
        made = {
            "whole": whole, "versions": versions_in_use(), "threads": threads(), "platform": machine(),
            "files": {x.relative_to(place.parent).as_posix(): sha256(x) for x in every},
        }  # fmt: skip
        with replacing(place) as new:
            new.write_text(json.dumps(asdict(self) | made, indent=1) + "\n")
        return place

    def begin(self, folder: Path) -> None:
        """Write it, without files as yet, to the folder of one run; one of a run before gets a number."""
        retire(folder / NAME)
        self.write([], folder / NAME, whole=False)


def retire(place: Path) -> None:
    """Give a manifest that is there the first number that is free."""
    if place.exists():
        numbered = (place.with_name(f"{place.stem}-{k}.json") for k in count(1))
        place.rename(next(path for path in numbered if not path.exists()))


def begun(*given: str | Path | None, seed: int | None = None) -> Manifest:
    """The manifest of this command. given: those of its arguments that may be inputs."""
    inputs = {str(x): {file.name: sha256(file) for file in _files(str(x))} for x in given if x is not None}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Manifest(shlex.join(["exactrl", *sys.argv[1:]]), seed, now, git(), {k: x for k, x in inputs.items() if x})


def _files(given: str) -> list[Path]:
    """A file; those of a folder of transformers; the module of module:function; none of an environment's id."""
    path, module = Path(given), sys.modules.get(given.rpartition(":")[0])
    if path.is_file():
        return [path]
    if (path / "config.json").is_file():
        return sorted(x for x in path.iterdir() if x.is_file())
    source = getattr(module, "__file__", None)
    return [Path(source)] if source else []


def sha256(path: Path) -> str:
    """Of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def beside(files: list[Path]) -> Path:
    """Where the manifest of a set of files is; the first of them gives it its name."""
    first = files[0]
    return first.with_name(f"{first.name if first.suffix == '.svg' else first.stem}.{NAME}")


def git() -> dict[str, Any] | None:
    """The commit that this code is of, and whether its files are others; None outside of a checkout."""
    if not (ROOT / ".git").exists():
        return None

    def said(*question: str) -> str:
        of = ["git", "--no-optional-locks", f"--git-dir={ROOT / '.git'}", f"--work-tree={ROOT}"]
        return subprocess.run([*of, *question], capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {"commit": said("rev-parse", "HEAD"), "dirty": bool(said("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def versions_in_use() -> dict[str, str]:
    """Of Python, and of every distribution of which something was imported."""
    imported = {name.partition(".")[0] for name in tuple(sys.modules)}
    found = {x for package, names in packages_distributions().items() if package in imported for x in names}
    return {"python": platform.python_version()} | {name: version(name) for name in sorted(found, key=str.lower)}


def threads() -> dict[str, Any]:
    """Those of torch; the cores, on which BLAS and the large products of mdp run; what the environment says of both."""
    asked = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    return {"torch": torch.get_num_threads(), "cores": cores()} | asked


def machine() -> dict[str, Any]:
    """The system, the instructions that the processor has, the GPUs that torch sees."""
    gpus = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return {"system": platform.platform(), "instructions": torch.backends.cpu.get_cpu_capability(), "gpus": gpus}
